//! The many: who waits, who has a slot, who is next.
//!
//! A [`Server`] is handed what arrived and the time, and asks the world for what it needs through
//! [`Io`]. It has no socket, no clock, no file, no log and no randomness of its own, so the daemon and a
//! simulator drive the very same code.
//!
//! At most `max_transfers` clients run at once. All others wait in a queue that knows repeats, forgets clients that
//! are gone and never answers "busy"; a client that waits long is answered and kept alive with a block now and then.
//! One slab holds waiting and running clients alike; one index finds a client by its peer.
//!
//! Read `limits`, `io` (what is asked of the world), `pending` (places in the queue), `client` (one client and its
//! stages), `change` (the one place where a stage changes), `arrival` (what becomes of a request), `replies` (what
//! clients answer), `admission` (who gets a slot, and who loses it). Then `uploads` (clients that send a file), `anew`
//! (clients that ask for the same file again), and the helpers: `queue` (who is next), `hosts` and `networks` (what is
//! remembered of them, each in a bounded `table`), `unvalidated` (what a forged request brings about), `keepalive` (how
//! often the held are sent a block), `lending` (who is far away), `congestion` (how much may be under way), `wheel`
//! (the timers). `stats` and `view` are for people; `audit` says what must hold.

mod admission;
mod anew;
mod arrival;
mod audit;
mod change;
mod client;
mod congestion;
mod hosts;
mod io;
mod keepalive;
mod lending;
mod limits;
mod networks;
mod pending;
mod queue;
mod replies;
mod stats;
mod table;
mod unvalidated;
mod uploads;
mod view;
mod wheel;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use slab::Slab;

use crate::moment::Moment;
use crate::transfer::options::BLKSIZE_MAX;
use crate::transfer::{Departed, Negotiated, Outcome};
use crate::wire::{DataHeader, Direction, Malformed, Peer, Refusal};
pub use change::Count;
use client::{Client, Output, Stage};
use congestion::Congestion;
pub use io::{
    Awaited, Event, Heard, Incoming, Io, OpenError, Opened, Opening, REPLY_MAX, Report, Room,
    SendError, StoreError, UPLOAD_WINDOW_MAX,
};
use keepalive::Keepalive;
use lending::Lending;
pub use limits::Limits;
pub use networks::{
    ERRORS_BURST, ERRORS_PER_SECOND, FIRST_PACKETS_BURST, FIRST_PACKETS_PER_SECOND,
};
use queue::Queue;
pub use stats::Stats;
use uploads::Writers;
pub use view::Standing;
use wheel::Wheel;

/// The address that a request was sent to, from which every answer to it goes out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Local {
    /// The address; unspecified where the system is to choose.
    pub address: IpAddr,
    /// The interface that a request to a link-local address came in by, else 0.
    pub interface: u32,
    /// Which of the listening sockets took it.
    pub listener: usize,
    /// It was sent to a broadcast or multicast address: another server may have the file, and a fault here is
    /// answered with silence (RFC 1123 section 4.2.3.5).
    pub is_broadcast: bool,
}

/// How far the server is on its way to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Serving,
    /// Serves, and answers no probes.
    LameDuck,
    /// Serves nobody new, and ends what still runs then.
    Stopping {
        until: Moment,
    },
}

/// The server.
#[derive(Debug)]
pub struct Server {
    limits: Limits,
    clients: Slab<Client>,
    by_peer: HashMap<Peer, usize>,
    writers: Writers,
    queue: Queue,
    wheel: Wheel,
    /// Room for the timers of one turn.
    due: Vec<(usize, Moment)>,
    keepalive: Keepalive,
    congestion: Congestion,
    lending: Lending,
    /// Those who may have something to send, each once.
    ready: VecDeque<usize>,
    /// Those whose slots lie idle, longest first.
    idle: VecDeque<usize>,
    count: Count,
    /// Room for one packet of a client, and a byte: one that is too long shows.
    buffer: Vec<u8>,
    /// Requests that ever got a place in the queue.
    arrivals: u64,
    /// Admissions pause until then: opening failed for want of descriptors.
    paused_until: Option<Moment>,
    phase: Phase,
    stats: Stats,
}

impl Server {
    /// A server without clients.
    pub fn new(now: Moment, limits: Limits) -> Server {
        // All that a packet may add to has its room from the beginning; and a table that has to grow leaves
        // a hole in memory.
        let running = limits.max_transfers + limits.max_lent() + limits.max_finishing();
        let timers = TIMERS_EACH * running.max(TIMERS_MIN / TIMERS_EACH);
        Server {
            limits,
            clients: Slab::with_capacity(running),
            by_peer: HashMap::with_capacity(limits.max_transfers),
            writers: Writers::new(),
            queue: Queue::new(limits),
            wheel: Wheel::new(now, timers),
            due: Vec::with_capacity(timers),
            keepalive: Keepalive::new(now, limits.keepalive_share),
            congestion: Congestion::new(limits.max_transfers),
            lending: Lending::new(now),
            ready: VecDeque::with_capacity(running),
            idle: VecDeque::with_capacity(limits.max_transfers),
            count: Count::default(),
            buffer: vec![0; DataHeader::LENGTH + usize::from(BLKSIZE_MAX) + 1],
            arrivals: 0,
            paused_until: None,
            phase: Phase::Serving,
            stats: Stats::default(),
        }
    }

    // What arrives: requests are taken in `arrival`, what clients answer in `replies`.

    /// The socket of `client` takes packets again, or its file has bytes.
    pub fn on_writable(&mut self, client: usize) {
        if let Some(blocked) = self.clients.get_mut(client)
            && matches!(blocked.output, Output::Full | Output::Absent { .. })
        {
            blocked.output = Output::Ready;
            self.ready.push_back(client);
        }
    }

    // What is due.

    /// Does what is due at `now` and gives free slots to those who wait. Called in every turn.
    pub fn on_wakeup(&mut self, now: Moment, io: &mut impl Io) {
        // All that is due is taken out first: whatever is filed again comes up in a later turn.
        let mut due_now = std::mem::take(&mut self.due);
        due_now.extend(std::iter::from_fn(|| self.wheel.pop(now)));
        self.wheel.advance(now);
        for (id, came_up) in due_now.drain(..) {
            if let Some(client) = self.clients.get_mut(id)
                && client.timer == Some(came_up)
            {
                client.timer = None;
                self.on_deadline(now, io, id);
            }
        }
        self.due = due_now;
        self.paused_until = self.paused_until.filter(|&until| now < until);
        self.queue.refill(now);
        self.congestion.forget(now);
        if matches!(self.phase, Phase::Stopping { until } if until <= now) {
            self.end_all(now, io, |_| true);
        }
        self.fill_slots(now, io);
    }

    fn on_deadline(&mut self, now: Moment, io: &mut impl Io, id: usize) {
        if let Output::Absent { again_at } = self.clients[id].output
            && again_at <= now
        {
            self.on_writable(id);
        }
        let client = &self.clients[id];
        if client.deadline(self.limits.reclaim) <= now && !client.is_kept_waiting() {
            // Its socket may not have been read to its end.
            self.read_to_the_end(now, io, id);
        }
        let Some(client) = self.clients.get(id) else {
            return;
        };
        match &client.stage {
            _ if now < client.deadline(self.limits.reclaim) => self.schedule(now, id),
            Stage::Pending(_) => self.on_pending_deadline(now, io, id),
            _ => self.on_served_deadline(now, io, id),
        }
    }

    /// When [`Server::on_wakeup`] is to be called, at the latest; `None` if nothing will ever be due.
    pub fn next_wakeup(&self) -> Option<Moment> {
        let paused_until = self.paused_until.filter(|_| !self.queue.is_deserted());
        let stop_at = match self.phase {
            Phase::Stopping { until } if !self.clients.is_empty() => Some(until),
            Phase::Stopping { .. } | Phase::LameDuck | Phase::Serving => None,
        };
        let refill = self.queue.next_refill();
        Moment::first_of([self.wheel.next_wakeup(), paused_until, stop_at, refill])
    }

    // What is sent.

    /// Sends what may be sent: one burst for each client in turn, so that none starves another.
    pub fn send_ready(&mut self, now: Moment, io: &mut impl Io) {
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else {
                break;
            };
            let client = self.clients.get_mut(id);
            let Some(client) = client.filter(|it| it.output == Output::Ready) else {
                continue;
            };
            client.output = Output::Idle;
            self.send_burst(now, io, id);
            if self.clients.contains(id) {
                self.schedule(now, id);
            }
        }
        // Those who were sent everything have given their slots back.
        self.fill_slots(now, io);
    }

    /// Some client may have more to send in the next turn.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    fn send_burst(&mut self, now: Moment, io: &mut impl Io, id: usize) {
        let Some(served) = self.served(id) else {
            return;
        };
        let transfer = &served.transfer;
        let Some(datagrams) = transfer.datagrams(burst_max(transfer.negotiated())) else {
            return;
        };
        let unsent = match io.send(id, datagrams) {
            Ok(departed) => return self.on_sent(now, id, departed),
            Err(unsent) => unsent,
        };
        match unsent {
            SendError::Full => self.clients[id].output = Output::Full,
            SendError::Absent => {
                let again_at = now + ABSENT_AGAIN;
                self.clients[id].output = Output::Absent { again_at };
            }
            SendError::PortClosed => self.on_port_closed(now, io, id),
            SendError::Unreadable(refusal) => self.break_off(now, io, id, refusal),
        }
    }

    /// The file of a client could not be read, or is no longer what it was.
    pub fn on_unreadable(&mut self, now: Moment, io: &mut impl Io, id: usize, refusal: Refusal) {
        if self.served(id).is_some() {
            self.break_off(now, io, id, refusal);
        }
    }

    fn on_sent(&mut self, now: Moment, id: usize, departed: Departed) {
        let client = &mut self.clients[id];
        let served = client.served.as_deref_mut();
        let served = served.expect("packets leave for those who are served");
        let transfer = &mut served.transfer;
        let repeated = transfer.sent(now, departed);
        self.stats.retransmissions += repeated;
        let packets = u64::from(departed.packets);
        if client.direction == Direction::Read {
            // A first packet that nobody answers says nothing about the path.
            let repeated = repeated * u64::from(transfer.is_answered());
            let share = &mut served.congestion_share;
            self.congestion.sent(now, packets, repeated, share);
            let packet = u64::from(transfer.negotiated().blksize) + PACKET_OVERHEAD;
            self.keepalive.sent(now, packets * packet);
        }
        let is_all_sent = transfer.is_unconfirmed();
        match client.stage {
            // A transfer that only waits for its last ACK needs no slot. One that never had an ACK keeps it: a
            // forged request must not get more than a slot's worth of sockets.
            Stage::Held { .. } | Stage::Running { .. } if is_all_sent => self.release_slot(now, id),
            // The window left whole: the next one has time.
            Stage::Held { trickle_at, .. }
                if trickle_at <= now && transfer.datagrams(1).is_none() =>
            {
                self.rest(id, now + self.keepalive.interval());
            }
            _ => {}
        }
    }

    // The end.

    /// Serves on, but answers no probe any more, so that a load balancer sends nobody new.
    pub fn become_lame_duck(&mut self) {
        self.phase = Phase::LameDuck;
    }

    /// Stops: nobody new is admitted, those who wait for their first slot are ended, and what runs, or
    /// ran and lost its slot for a moment, may finish within `drain`.
    pub fn stop(&mut self, now: Moment, io: &mut impl Io, drain: Duration) {
        self.phase = Phase::Stopping { until: now + drain };
        self.end_all(now, io, |client| !client.goes_on_while_stopping());
    }

    /// The server is stopping.
    pub fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. })
    }

    /// The server was stopped and nothing runs any more.
    pub fn is_stopped(&self) -> bool {
        self.is_stopping() && self.clients.is_empty()
    }

    /// Ends everything at once.
    pub fn abort(&mut self, now: Moment, io: &mut impl Io) {
        self.phase = Phase::Stopping { until: now };
        self.end_all(now, io, |_| true);
    }

    // What is counted.

    /// Drops a datagram that is no request.
    pub fn drop_malformed(&mut self, io: &mut impl Io, peer: Peer, malformed: Malformed) {
        self.stats.count_malformed(malformed);
        io.report(Event::Malformed { peer, malformed });
    }

    /// Counts a datagram from an address that may not ask.
    pub fn count_denied(&mut self) {
        self.stats.denied += 1;
    }

    /// What was counted since the start.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Clients that wait and were sent nothing.
    pub fn pending(&self) -> usize {
        self.count.pending
    }

    /// Clients that wait and are kept alive.
    pub fn held(&self) -> usize {
        self.count.held
    }

    /// Clients that are being served, with a slot or without.
    pub fn serving(&self) -> usize {
        self.clients.len() - self.count.pending
    }

    /// Clients that hold a slot.
    pub fn running(&self) -> usize {
        self.count.running
    }

    fn end_all(&mut self, now: Moment, io: &mut impl Io, is_meant: impl Fn(&Client) -> bool) {
        let meant = |(id, client): (usize, &Client)| is_meant(client).then_some(id);
        let ids: Vec<usize> = self.clients.iter().filter_map(meant).collect();
        for id in ids {
            self.end(now, io, id, Outcome::ShutDown);
        }
    }
}

/// Packets sent to one client before the next one has its turn. Small receive rings bear sixteen; who asks
/// for a larger window can take more.
fn burst_max(negotiated: &Negotiated) -> u16 {
    if negotiated.windowsize <= BURST_MAX {
        BURST_MAX
    } else {
        BURST_MAX_WIDE
    }
}

const BURST_MAX: u16 = 16;

/// As many as one system call can send.
const BURST_MAX_WIDE: u16 = 64;

/// Entries of one client in the wheel: each time its deadline moves closer there is one more, until the old
/// ones have come up.
const TIMERS_EACH: usize = 4;
/// A single client may have many while its round trips become shorter.
const TIMERS_MIN: usize = 1024;

/// After what time a file is asked again for bytes that it did not have in memory.
const ABSENT_AGAIN: Duration = Duration::from_millis(5);

/// Bytes of a packet beside its block: Ethernet, IPv4, UDP and TFTP headers.
const PACKET_OVERHEAD: u64 = 18 + 20 + 8 + 4;
