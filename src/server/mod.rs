//! The many: who waits, who has a slot, who is next.
//!
//! A [`Server`] is told what arrived and what time it is, and asks the world for what it needs through
//! [`Io`]. It has no socket, no clock, no file, no log and no randomness of its own, so the daemon and a
//! simulator drive the very same code.
//!
//! At most `max_transfers` clients run at once. Everybody else waits in a queue that knows repeats,
//! forgets the dead and is never answered "busy". One slab holds waiting and running clients alike; one
//! index finds a client by its peer.
//!
//! Read `pending` (the queue), `wheel` (the timers), `client` (one client); `audit` says what must hold.

mod audit;
mod client;
mod pending;
mod stats;
mod wheel;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use slab::Slab;

use crate::moment::Moment;
use crate::name::{FileName, NAME_MAX, RootPrefixes};
use crate::transfer::{Datagrams, Departed, Negotiated, Outcome, Step, Terms, Transfer, Wanted};
use crate::wire::{Direction, Mode, Peer, Refusal, Reply, Request};
use client::{Client, Phase, Served, Stage, Timer};
use pending::{Place, Queue, Waiting};
pub use stats::Stats;
use wheel::Wheel;

/// The bounds of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Slots: transfers that run at once, at least 1 (`-n`).
    pub max_transfers: usize,
    /// Clients that wait (`-q`).
    pub max_pending: usize,
    /// Time without progress after which a transfer is given up (`-t`).
    pub patience: Duration,
    /// What is granted at most (`-B`, `-W`).
    pub terms: Terms,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_transfers: 32,
            max_pending: 4096,
            patience: Duration::from_secs(35),
            terms: Terms::default(),
        }
    }
}

impl Limits {
    /// Transfers that were sent to their end and wait for the last ACK without a slot. Past this bound
    /// a transfer keeps its slot until that ACK comes.
    pub fn max_finishing(&self) -> usize {
        self.max_transfers.max(FINISHING_MIN)
    }

    /// Sockets that are open for clients at once.
    pub fn max_sockets(&self) -> usize {
        self.max_transfers + self.max_finishing()
    }
}

/// The address that a request was sent to, from which every answer to it goes out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Local {
    /// The address; unspecified where the system is to choose.
    pub address: IpAddr,
    /// The interface that a request to a link-local address came in by, else 0.
    pub interface: u32,
    /// Which of the listening sockets took it.
    pub listener: usize,
}

/// A request that gets a file and a socket.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// Who asked.
    pub peer: Peer,
    /// Which address it asked.
    pub local: Local,
    /// For what.
    pub name: FileName<'a>,
    /// How it is to be sent: octet or netascii.
    pub mode: Mode,
    /// The block size asked for: whether the path carries it matters only above 512 bytes.
    pub blksize: u16,
}

/// An open file and a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Bytes that will be sent; none where only sending them will tell.
    pub length: Option<u64>,
    /// Bytes that one packet carries to this client without fragments; none where that is no matter.
    pub payload_max: Option<u16>,
}

/// Why a file was not opened or found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unopened {
    /// The client is to be told.
    Refused(Refusal),
    /// No descriptor or memory is left: the request waits.
    Exhausted,
    /// There is no way to this client.
    Unreachable,
}

/// Why nothing was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsent {
    /// The socket takes no more until it becomes writable.
    Full,
    /// The client has closed its port.
    PortClosed,
    /// The file could not be read.
    Unreadable,
}

/// Everything that a server can do to the world. A client is named by its number, which is small and
/// is used again after [`Io::close`].
pub trait Io {
    /// Looks whether a file could be opened now.
    ///
    /// # Errors
    /// As [`Io::open`], but never [`Unopened::Unreachable`].
    fn find(&mut self, name: FileName<'_>) -> Result<(), Unopened>;

    /// Opens the file and a socket for `client`.
    ///
    /// # Errors
    /// Where either fails; then nothing stays open.
    fn open(&mut self, client: usize, opening: Opening<'_>) -> Result<Opened, Unopened>;

    /// Sends packets to `client`, as many as leave at once; a packet that the network loses counts as
    /// sent.
    ///
    /// # Errors
    /// [`Unsent`] where not even one left.
    fn send(&mut self, client: usize, datagrams: Datagrams<'_>) -> Result<Departed, Unsent>;

    /// Answers a request with an ERROR, from the address it was sent to.
    fn refuse(&mut self, peer: Peer, local: Local, refusal: Refusal);

    /// Closes what [`Io::open`] opened.
    fn close(&mut self, client: usize);

    /// Takes note of something for the log.
    fn report(&mut self, event: Event<'_>);
}

/// Something that an operator may want to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A request came to its end.
    Ended(Report<'a>),
    /// A request was answered with an ERROR at once; `name` is as the client sent it.
    Refused {
        /// Who asked.
        peer: Peer,
        /// For what, untrusted.
        name: &'a [u8],
        /// Why not.
        refusal: Refusal,
    },
    /// A request was dropped because the queue is full.
    QueueFull {
        /// Who asked.
        peer: Peer,
    },
    /// A request was dropped because no socket towards its sender can be made.
    Unreachable {
        /// Who asked.
        peer: Peer,
    },
    /// Descriptors or memory ran out: admissions pause for a moment.
    Exhausted,
}

/// How a request went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report<'a> {
    /// Who asked.
    pub peer: Peer,
    /// For what.
    pub name: FileName<'a>,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes that arrived, as far as the client told.
    pub bytes: u64,
    /// Time it waited for a slot.
    pub pending: Duration,
    /// Time since it got one.
    pub running: Duration,
    /// The options agreed on, once it got one.
    pub negotiated: Option<&'a Negotiated>,
    /// Packets sent more than once.
    pub retransmissions: u64,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    limits: Limits,
    root: RootPrefixes,
    clients: Slab<Client>,
    by_peer: HashMap<Peer, usize>,
    /// Those who wait, by host, oldest first.
    waiting_of: HashMap<(IpAddr, u32), Vec<usize>>,
    queue: Queue,
    wheel: Wheel,
    /// Those who may have something to send, each once.
    ready: VecDeque<usize>,
    running: usize,
    finishing: usize,
    /// Admissions pause until then: opening failed for want of descriptors.
    paused_until: Option<Moment>,
    /// The server is stopping and ends what still runs then.
    stop_at: Option<Moment>,
    stats: Stats,
}

impl Server {
    /// A server without clients. `root` says by which absolute names its directory is known.
    pub fn new(now: Moment, limits: Limits, root: RootPrefixes) -> Server {
        Server {
            limits,
            root,
            clients: Slab::new(),
            by_peer: HashMap::new(),
            waiting_of: HashMap::new(),
            queue: Queue::default(),
            wheel: Wheel::new(now),
            ready: VecDeque::new(),
            running: 0,
            finishing: 0,
            paused_until: None,
            stop_at: None,
            stats: Stats::default(),
        }
    }

    // What arrives.

    /// A datagram arrived on a listening socket.
    pub fn on_request(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        peer: Peer,
        local: Local,
        datagram: &[u8],
    ) {
        let request = match Request::parse(datagram) {
            Ok(request) => request,
            Err(malformed) => return self.stats.count_malformed(malformed),
        };
        let known = self.by_peer.get(&peer).copied();
        if self.is_stopping() && known.is_none() {
            self.stats.stopping += 1;
            return;
        }
        self.wheel.skip_idle(now);
        let mut buffer = [0; NAME_MAX];
        let name = match self.check(&request, &mut buffer) {
            Ok(name) => name,
            Err(_) if self.is_stopping() => {
                self.stats.stopping += 1;
                return;
            }
            Err(refusal) => {
                self.stats.requests += 1;
                return self.refuse(io, peer, local, &request, refusal);
            }
        };
        let wanted = Wanted::new(request.options());
        if let Some(known) = known
            && self.is_repeat(now, io, known, name, request.mode, wanted)
        {
            self.stats.repeats += 1;
            return;
        }
        self.stats.requests += 1;
        if self.is_stopping() {
            self.stats.stopping += 1;
            return;
        }
        let arrival = Arrival {
            peer,
            local,
            name,
            wanted,
            request: &request,
        };
        self.accept(now, io, &arrival);
    }

    /// What is wrong with a request whatever files there are.
    fn check<'b>(
        &self,
        request: &Request<'_>,
        buffer: &'b mut [u8; NAME_MAX],
    ) -> Result<FileName<'b>, Refusal> {
        match request.direction {
            Direction::Write => return Err(Refusal::ReadOnly),
            Direction::Read => {}
        }
        match request.mode {
            Mode::Octet | Mode::Netascii => {}
            Mode::Mail => return Err(Refusal::MailMode),
            Mode::Unknown => return Err(Refusal::UnknownMode),
        }
        FileName::new(request.filename, &self.root, buffer)
    }

    /// A request came from a peer that is known. Tells whether it is a mere repeat of what is under way;
    /// if not, the old client has been ended.
    fn is_repeat(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        id: usize,
        name: FileName<'_>,
        mode: Mode,
        wanted: Wanted,
    ) -> bool {
        let client = &mut self.clients[id];
        let same_file = client.name.as_name() == name;
        let same_terms = client.mode == mode && client.wanted == wanted;
        let served = match &mut client.stage {
            Stage::Pending(waiting) if same_file => {
                waiting.heard(now);
                client.mode = mode;
                client.wanted = wanted;
                return true;
            }
            Stage::Pending(_) => None,
            Stage::Served(served) => Some(served),
        };
        let Some(served) = served.filter(|_| same_file && same_terms) else {
            self.end(now, io, id, Outcome::MovedOn);
            return false;
        };
        if !served.transfer.is_answered() {
            let step = served.transfer.on_repeated_request(now);
            self.take(now, io, id, step);
            return true;
        }
        if now.since(served.transfer.progress_at()) < RESTART_AFTER {
            return true;
        }
        self.end(now, io, id, Outcome::Restarted);
        false
    }

    /// Admits a request, lets it wait, or answers it with an ERROR.
    fn accept(&mut self, now: Moment, io: &mut impl Io, arrival: &Arrival<'_>) {
        let tried = if self.has_free_slot(now) && self.queue.is_empty() {
            self.serve_at_once(now, io, arrival)
        } else {
            io.find(arrival.name)
                .map(|()| self.let_wait(now, io, arrival))
        };
        match tried {
            Ok(()) => {}
            Err(Unopened::Refused(refusal)) => {
                self.refuse(io, arrival.peer, arrival.local, arrival.request, refusal);
            }
            Err(Unopened::Exhausted) => {
                self.pause(now, io);
                self.let_wait(now, io, arrival);
            }
            Err(Unopened::Unreachable) => {
                self.stats.failed += 1;
                io.report(Event::Unreachable { peer: arrival.peer });
            }
        }
    }

    fn serve_at_once(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        arrival: &Arrival<'_>,
    ) -> Result<(), Unopened> {
        let id = self.clients.vacant_key();
        let Arrival {
            peer,
            local,
            name,
            wanted,
            request,
        } = *arrival;
        let blksize = wanted.blksize();
        let opened = io.open(
            id,
            Opening {
                peer,
                local,
                name,
                mode: request.mode,
                blksize,
            },
        )?;
        let served = self.begin(now, wanted, opened);
        self.insert(now, arrival, Stage::Served(Box::new(served)));
        self.start(id);
        Ok(())
    }

    /// Puts a request into the queue: at the place of one that it supersedes, else at the end.
    fn let_wait(&mut self, now: Moment, io: &mut impl Io, arrival: &Arrival<'_>) {
        let superseded = self.superseded_by(now, arrival);
        if superseded.is_none() && self.queue.len() >= self.limits.max_pending {
            self.stats.queue_full += 1;
            return io.report(Event::QueueFull { peer: arrival.peer });
        }
        let (place, arrived_at) = match superseded {
            Some((old, place, arrived_at)) => {
                self.end(now, io, old, Outcome::Superseded);
                (place, arrived_at)
            }
            None => (self.queue.next_place(), now),
        };
        let id = self.insert(
            arrived_at,
            arrival,
            Stage::Pending(Waiting::new(now, place)),
        );
        self.queue.join(place, id);
        self.waiting_of
            .entry(host_of(arrival.peer))
            .or_default()
            .push(id);
        self.set_timer(id);
    }

    /// The waiting client of the same host and file whose place a request takes, with that place and the
    /// time of its arrival.
    fn superseded_by(&self, now: Moment, arrival: &Arrival<'_>) -> Option<(usize, Place, Moment)> {
        let waiting_there = self.waiting_of.get(&host_of(arrival.peer))?;
        waiting_there
            .iter()
            .take(SUPERSEDED_EXAMINED)
            .find_map(|&id| {
                let client = &self.clients[id];
                match &client.stage {
                    Stage::Pending(waiting)
                        if client.name.as_name() == arrival.name
                            && waiting.may_be_superseded(now) =>
                    {
                        Some((id, waiting.place, client.arrived_at))
                    }
                    Stage::Pending(_) | Stage::Served(_) => None,
                }
            })
    }

    fn insert(&mut self, arrived_at: Moment, arrival: &Arrival<'_>, stage: Stage) -> usize {
        let id = self.clients.insert(Client {
            peer: arrival.peer,
            local: arrival.local,
            name: arrival.name.to_owned(),
            mode: arrival.request.mode,
            wanted: arrival.wanted,
            arrived_at,
            stage,
            timer: None,
            is_ready: false,
            is_blocked: false,
        });
        self.by_peer.insert(arrival.peer, id);
        id
    }

    /// A datagram arrived on the socket of `client`.
    pub fn on_reply(&mut self, now: Moment, io: &mut impl Io, client: usize, datagram: &[u8]) {
        let Some(transfer) = self.transfer_of(client) else {
            return;
        };
        let step = match Reply::parse(datagram) {
            Ok(Reply::Ack(block)) => transfer.on_ack(now, block),
            Ok(Reply::Error { code: 0 | 8, .. }) => Step::End(Outcome::Cancelled),
            Ok(Reply::Error { code, .. }) => Step::End(Outcome::ClientError(code)),
            Err(malformed) => return self.stats.count_malformed(malformed),
        };
        self.take(now, io, client, step);
    }

    /// The client has closed its port (ICMP port unreachable).
    pub fn on_port_closed(&mut self, now: Moment, io: &mut impl Io, client: usize) {
        if self.transfer_of(client).is_some() {
            self.end(now, io, client, Outcome::PortClosed);
        }
    }

    /// The socket of `client` takes packets again.
    pub fn on_writable(&mut self, client: usize) {
        if let Some(blocked) = self
            .clients
            .get_mut(client)
            .filter(|client| client.is_blocked)
        {
            blocked.is_blocked = false;
            self.make_ready(client);
        }
    }

    // What is due.

    /// Does what is due at `now` and gives free slots to those who wait. Called in every turn.
    pub fn on_wakeup(&mut self, now: Moment, io: &mut impl Io) {
        while let Some(due) = self.wheel.pop(now) {
            let current =
                |client: &&mut Client| client.timer.is_some_and(|timer| timer.serial == due.serial);
            let Some(client) = self.clients.get_mut(due.owner).filter(current) else {
                continue;
            };
            client.timer = None;
            if now < client.deadline() {
                self.set_timer(due.owner);
                continue;
            }
            let step = match client.transfer_mut() {
                Some(transfer) => transfer.on_deadline(now),
                None => Step::End(Outcome::Expired),
            };
            self.take(now, io, due.owner, step);
        }
        self.wheel.advance(now);
        self.paused_until = self.paused_until.filter(|&until| now < until);
        if self.stop_at.is_some_and(|stop_at| stop_at <= now) {
            self.end_all(now, io, |_| true);
        }
        self.admit(now, io);
    }

    /// When [`Server::on_wakeup`] is to be called, at the latest; none where nothing will ever be due.
    pub fn next_wakeup(&self) -> Option<Moment> {
        let paused_until = self.paused_until.filter(|_| !self.queue.is_empty());
        let stop_at = self.stop_at.filter(|_| !self.clients.is_empty());
        [self.wheel.next_wakeup(), paused_until, stop_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Gives free slots to those who have waited longest.
    fn admit(&mut self, now: Moment, io: &mut impl Io) {
        while self.has_free_slot(now)
            && let Some(id) = self.queue.first()
        {
            match self.open(now, io, id) {
                Ok(()) => {}
                Err(Unopened::Exhausted) => self.pause(now, io),
                Err(Unopened::Unreachable) => self.end(now, io, id, Outcome::Unreachable),
                Err(Unopened::Refused(refusal)) => {
                    let client = &self.clients[id];
                    io.refuse(client.peer, client.local, refusal);
                    self.end(now, io, id, Outcome::Refused(refusal));
                }
            }
        }
    }

    fn has_free_slot(&self, now: Moment) -> bool {
        self.running < self.limits.max_transfers
            && self.paused_until.is_none_or(|until| until <= now)
    }

    fn pause(&mut self, now: Moment, io: &mut impl Io) {
        self.paused_until = Some(now + EXHAUSTED_PAUSE);
        io.report(Event::Exhausted);
    }

    /// Opens file and socket for a client that waits and lets it run.
    fn open(&mut self, now: Moment, io: &mut impl Io, id: usize) -> Result<(), Unopened> {
        let client = &self.clients[id];
        let opened = io.open(
            id,
            Opening {
                peer: client.peer,
                local: client.local,
                name: client.name.as_name(),
                mode: client.mode,
                blksize: client.wanted.blksize(),
            },
        )?;
        let served = self.begin(now, client.wanted, opened);
        self.leave_queue(id);
        self.clients[id].stage = Stage::Served(Box::new(served));
        self.start(id);
        Ok(())
    }

    fn begin(&self, now: Moment, wanted: Wanted, opened: Opened) -> Served {
        let negotiated = wanted.negotiate(self.limits.terms, opened.length, opened.payload_max);
        let transfer = Transfer::new(now, negotiated, opened.length, self.limits.patience);
        Served {
            transfer,
            since: now,
            phase: Phase::Running,
        }
    }

    fn start(&mut self, id: usize) {
        self.running += 1;
        self.set_timer(id);
        self.make_ready(id);
    }

    // What is sent.

    /// Sends what may be sent: one burst for each client in turn, so that none starves another.
    pub fn send_ready(&mut self, now: Moment, io: &mut impl Io) {
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else {
                break;
            };
            let Some(client) = self.clients.get_mut(id).filter(|client| client.is_ready) else {
                continue;
            };
            client.is_ready = false;
            self.send_burst(now, io, id);
        }
        // Whoever was sent everything has given its slot back.
        self.admit(now, io);
    }

    /// Some client may have more to send in the next turn.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    fn send_burst(&mut self, now: Moment, io: &mut impl Io, id: usize) {
        let Some(transfer) = self.transfer_of(id) else {
            return;
        };
        let Some(datagrams) = transfer.datagrams(BURST_MAX) else {
            return;
        };
        match io.send(id, datagrams) {
            Ok(departed) => {
                transfer.sent(now, departed);
                self.set_timer(id);
                self.give_slot_back_if_all_sent(id);
                self.make_ready(id);
            }
            Err(Unsent::Full) => self.clients[id].is_blocked = true,
            Err(Unsent::PortClosed) => self.on_port_closed(now, io, id),
            Err(Unsent::Unreadable) => {
                // The ERROR is a courtesy: the transfer is over whether it leaves or not.
                let _ = io.send(id, Datagrams::Error(Refusal::ReadFailed));
                self.end(now, io, id, Outcome::Refused(Refusal::ReadFailed));
            }
        }
    }

    /// A transfer that only waits for its last ACK needs no slot. One that never had an ACK keeps it: a
    /// forged request must not get more than a slot's worth of sockets.
    fn give_slot_back_if_all_sent(&mut self, id: usize) {
        let has_room = self.finishing < self.limits.max_finishing();
        if let Stage::Served(served) = &mut self.clients[id].stage
            && served.phase == Phase::Running
            && served.transfer.is_unconfirmed()
            && has_room
        {
            served.phase = Phase::Finishing;
            self.running -= 1;
            self.finishing += 1;
        }
    }

    // The end of it.

    /// Stops: nobody is admitted any more, those who wait are forgotten, and what runs may finish
    /// within the time that the operator allows for silence.
    pub fn stop(&mut self, now: Moment, io: &mut impl Io) {
        self.stop_at = Some(now + self.limits.patience);
        self.end_all(now, io, |client| matches!(client.stage, Stage::Pending(_)));
    }

    /// The server was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop_at.is_some()
    }

    /// The server was stopped and nothing runs any more.
    pub fn is_stopped(&self) -> bool {
        self.stop_at.is_some() && self.clients.is_empty()
    }

    /// What was counted since the start.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Clients that wait for a slot.
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// Clients that are being served, with a slot or without.
    pub fn serving(&self) -> usize {
        self.clients.len() - self.queue.len()
    }

    /// Clients that hold a slot.
    pub fn running(&self) -> usize {
        self.running
    }

    fn end_all(&mut self, now: Moment, io: &mut impl Io, is_meant: impl Fn(&Client) -> bool) {
        let meant = |(id, client): (usize, &Client)| is_meant(client).then_some(id);
        let ids: Vec<usize> = self.clients.iter().filter_map(meant).collect();
        for id in ids {
            self.end(now, io, id, Outcome::ShutDown);
        }
    }

    /// Takes a client out of everything that knows it.
    fn end(&mut self, now: Moment, io: &mut impl Io, id: usize, outcome: Outcome) {
        self.leave_queue(id);
        let client = self.clients.remove(id);
        self.by_peer.remove(&client.peer);
        if let Stage::Served(served) = &client.stage {
            match served.phase {
                Phase::Running => self.running -= 1,
                Phase::Finishing => self.finishing -= 1,
            }
            io.close(id);
            self.paused_until = None;
        }
        let outcome = match outcome {
            // It was sent everything and went on with its boot without a last ACK.
            Outcome::MovedOn | Outcome::PortClosed
                if client.transfer().is_some_and(Transfer::is_unconfirmed) =>
            {
                Outcome::CompleteUnconfirmed
            }
            _ => outcome,
        };
        match outcome {
            Outcome::Complete | Outcome::CompleteUnconfirmed => self.stats.completed += 1,
            Outcome::Refused(_) if client.transfer().is_none() => self.stats.refused += 1,
            _ => self.stats.failed += 1,
        }
        io.report(Event::Ended(client.report(now, outcome)));
    }

    fn leave_queue(&mut self, id: usize) {
        let client = &self.clients[id];
        let Stage::Pending(waiting) = &client.stage else {
            return;
        };
        self.queue.leave(waiting.place);
        let host = host_of(client.peer);
        if let Some(waiting_there) = self.waiting_of.get_mut(&host) {
            waiting_there.retain(|&other| other != id);
            if waiting_there.is_empty() {
                self.waiting_of.remove(&host);
            }
        }
    }

    // Small helpers.

    fn refuse(
        &mut self,
        io: &mut impl Io,
        peer: Peer,
        local: Local,
        request: &Request<'_>,
        refusal: Refusal,
    ) {
        self.stats.refused += 1;
        io.refuse(peer, local, refusal);
        io.report(Event::Refused {
            peer,
            name: request.filename,
            refusal,
        });
    }

    fn transfer_of(&mut self, id: usize) -> Option<&mut Transfer> {
        self.clients.get_mut(id)?.transfer_mut()
    }

    /// Does what a transfer wants.
    fn take(&mut self, now: Moment, io: &mut impl Io, id: usize, step: Step) {
        match step {
            Step::Wait => self.set_timer(id),
            Step::Send => {
                self.set_timer(id);
                self.make_ready(id);
            }
            Step::End(outcome) => self.end(now, io, id, outcome),
        }
    }

    /// Files a client's deadline unless its entry in the wheel comes up by then anyway.
    fn set_timer(&mut self, id: usize) {
        let client = &mut self.clients[id];
        let deadline = client.deadline();
        if client.timer.is_none_or(|timer| deadline < timer.comes_up) {
            let (serial, comes_up) = self.wheel.file(id, deadline);
            client.timer = Some(Timer { serial, comes_up });
        }
    }

    fn make_ready(&mut self, id: usize) {
        let client = &mut self.clients[id];
        let has_more = client
            .transfer()
            .is_some_and(|transfer| transfer.datagrams(1).is_some());
        if has_more && !client.is_ready && !client.is_blocked {
            client.is_ready = true;
            self.ready.push_back(id);
        }
    }
}

/// What tells one host from another: its address, and the interface where it is link-local.
fn host_of(peer: Peer) -> (IpAddr, u32) {
    (peer.address, peer.scope)
}

/// A request that passed the first checks.
struct Arrival<'a> {
    peer: Peer,
    local: Local,
    name: FileName<'a>,
    wanted: Wanted,
    request: &'a Request<'a>,
}

/// Packets sent to one client before the next one has its turn: a burst that small receive rings bear.
const BURST_MAX: u16 = 16;

/// A request for the file that its sender is being sent is a stray repeat if the client made progress
/// within this time. Later it means that the machine rebooted: ports repeat across reboots.
const RESTART_AFTER: Duration = Duration::from_secs(2);

/// Waiting requests of one host that are looked through for one to supersede.
const SUPERSEDED_EXAMINED: usize = 64;

/// How long admissions pause when descriptors run out, unless a transfer ends before.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Few slots do not mean few machines that are about to end.
const FINISHING_MIN: usize = 64;
