//! A run: the turn of the daemon's loop in virtual time, and the machines around it.
//!
//! What happens within one microsecond, which is all that the core can tell apart, is one batch, as
//! for `epoll`. A turn of the server follows only where something of it was meant for the server.

mod machines;
mod writers;

use std::mem;
use std::time::Duration;

use ripple_tftpd::firmware::random::Random;
use ripple_tftpd::firmware::{Chain, Step};
use ripple_tftpd::moment::Moment;
use ripple_tftpd::name::RootPrefixes;

use crate::events::{Event, moment, number};
use crate::laboratory::{File, LOCAL};
use crate::link::nanos;
use crate::measure::{Fate, Results, Tally};
use crate::network::{Cables, Network, peer};
use crate::random::Digest;
use crate::server::ServerUnderTest;
use crate::world::{Arrival, World};
use machines::Seat;
use writers::Writing;

/// Runs a world with a server in it until every machine has booted or given up, and the server is at
/// rest.
///
/// # Panics
/// Where the server breaks one of its promises, a machine got a wrong byte, or the budget of virtual
/// time is used up.
pub(crate) fn run(world: &World, server: impl ServerUnderTest) -> Results {
    Run::new(world, server).finish()
}

struct Run<'w, S> {
    world: &'w World,
    server: S,
    network: Network,
    seats: Vec<Seat>,
    /// Those that write, numbered behind the others.
    writers: Vec<Writing>,
    /// The files of each group's chain, by step.
    chains: Vec<Vec<Option<File>>>,
    random: Random,
    /// What the server reads.
    datagram: Vec<u8>,
    digest: Digest,
    tally: Tally,
    /// Machines whose boot is not over.
    under_way: usize,
    /// When the server wants to be called.
    wake_at: Option<Moment>,
    turns: u64,
    /// Turns of this microsecond: none may go on for ever.
    turns_now: u32,
    replay: Replay,
}

impl<'w, S: ServerUnderTest> Run<'w, S> {
    fn new(world: &'w World, server: S) -> Run<'w, S> {
        let single_port = world.single_port && server.is_ours();
        let cables = Cables::new(world, server.receive_buffer(), single_port);
        let mut network = Network::new(Moment::START, cables, RootPrefixes::default());
        network.is_lenient = !server.is_ours();
        network.stands_still = !server.is_ours();
        let mut run = Run {
            world,
            server,
            network,
            seats: Vec::new(),
            writers: Vec::new(),
            chains: Vec::new(),
            random: Random::stream(world.seed, 2),
            datagram: Vec::new(),
            digest: Digest::default(),
            tally: Tally::default(),
            under_way: world.population(),
            wake_at: None,
            turns: 0,
            turns_now: 0,
            replay: Replay {
                what: format!("{world}"),
                now: 0,
            },
        };
        for (number, group) in world.groups.iter().enumerate() {
            let files = run.files_of(&group.chain);
            run.chains.push(files);
            for _ in 0..group.count {
                run.seat(number);
            }
        }
        run.switch_on_all();
        run.let_write();
        run
    }

    fn files_of(&mut self, chain: &Chain) -> Vec<Option<File>> {
        let file = |step: &Step| {
            step.size
                .map(|size| self.network.add_file(step.name.as_bytes(), size))
        };
        chain.steps().iter().map(file).collect()
    }

    /// Files when each machine is switched on. The kinds come mixed, as in a rack.
    fn switch_on_all(&mut self) {
        let count = self.seats.len();
        let mut order: Vec<usize> = (0..count).collect();
        for place in (1..count).rev() {
            let other = self.random.below(place as u64 + 1);
            order.swap(place, usize::try_from(other).unwrap_or(0));
        }
        for (place, &machine) in order.iter().enumerate() {
            let at = match self.world.arrival {
                Arrival::AtOnce => 0,
                Arrival::Within(span) => self.random.below(nanos(span)),
                Arrival::Staggered(gap) => place as u64 * nanos(gap),
            };
            let later = self.world.groups[self.seats[machine].group].later;
            self.network
                .events
                .file(at + nanos(later), Event::SwitchOn(number(machine)));
        }
    }

    // Time.

    fn finish(mut self) -> Results {
        while let Some(at) = self.next_at() {
            if self.under_way == 0 && self.is_at_rest() {
                break;
            }
            if at > nanos(self.world.budget) && !self.server.is_ours() {
                self.lose_the_rest();
                break;
            }
            assert!(
                at <= nanos(self.world.budget),
                "{} machines are still under way when the time is used up",
                self.under_way
            );
            if moment(at) != self.network.now {
                self.turns_now = 0;
            }
            self.network.set_clock(at);
            self.replay.now = at;
            if self.is_server_concerned() {
                match self.network.stands_until > self.network.clock {
                    true => self.wake_at = Some(moment(self.network.stands_until + 1000)),
                    false => {
                        self.turn();
                        let kept_until = self.network.clock + nanos(self.world.turn_takes);
                        self.network.stands_until = self.network.stands_until.max(kept_until);
                    }
                }
            }
        }
        assert_eq!(self.under_way, 0, "nothing will ever happen again");
        assert!(self.is_at_rest(), "something was left open");
        Results::new(
            self.world,
            &self.server,
            self.digest,
            self.tally,
            self.network.counts(),
            self.network.events.happened,
        )
    }

    /// Another's machines that boot again and again without an end.
    fn lose_the_rest(&mut self) {
        for seat in &mut self.seats {
            if seat.fate == Fate::UnderWay {
                seat.fate = Fate::GaveUp;
                self.under_way -= 1;
                self.tally.gave_up(seat.machine.kind());
            }
        }
    }

    fn is_at_rest(&self) -> bool {
        !self.server.is_ours() || self.network.is_paired() && self.network.unread.is_empty()
    }

    fn next_at(&self) -> Option<u64> {
        let wake_at = [self.wake_at, self.network.next_stored()];
        let wake_at = wake_at.into_iter().flatten().min();
        let wake_at = wake_at.map(|at| (at.micros() * 1000).max(self.network.clock));
        [wake_at, self.network.events.next_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Lets everything happen that happens in this microsecond, and returns whether the server has
    /// something to do.
    fn is_server_concerned(&mut self) -> bool {
        let now = self.network.now;
        let end = (now.micros() + 1) * 1000;
        let is_due = |at: Option<Moment>| at.is_some_and(|at| at <= now);
        let mut concerned = is_due(self.wake_at) || is_due(self.network.next_stored());
        while let Some((at, event)) = self.network.events.pop_before(end) {
            self.network.set_clock(at);
            self.digest.add(at);
            concerned |= self.happen(event);
        }
        concerned
    }

    // The server.

    /// One turn of the daemon's loop: receive, wake, send, sleep.
    fn turn(&mut self) {
        let now = self.network.now;
        self.receive_requests(now);
        self.receive_replies(now);
        while let Some((client, stored)) = self.network.take_stored() {
            self.server
                .on_stored(now, &mut self.network, client, stored);
        }
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "the server is never done sending");
            self.server.on_wakeup(now, &mut self.network);
            self.server.send_ready(now, &mut self.network);
            if !self.server.has_ready() {
                break;
            }
        }
        self.server.glance(now);
        self.turns += 1;
        if self.turns.is_multiple_of(self.audit_every()) {
            self.server.audit(now);
        }
        self.turns_now += 1;
        assert!(self.turns_now < TURNS_MAX, "the server does not sleep");
        self.wake_at = self.server.next_wakeup();
        if self.server.has_ready() || !self.network.readable.is_empty() {
            self.wake_at = Some(now);
        }
        if !self.network.unread.is_empty() && self.server.reads_requests() {
            self.wake_at = Some(now + Duration::from_micros(1));
        }
    }

    /// An audit looks at everybody: in a large world it would be all that is done.
    fn audit_every(&self) -> u64 {
        match self.seats.len() + self.writers.len() {
            0..AUDITED_ALWAYS => 1,
            many => many as u64,
        }
    }

    fn receive_requests(&mut self, now: Moment) {
        for _ in 0..REQUESTS_AT_ONCE {
            if !self.server.reads_requests() {
                return;
            }
            let Some((peer, bytes)) = self.network.unread.pop_front() else {
                return;
            };
            self.datagram.clear();
            let bytes = self.network.buffers.take(bytes);
            self.datagram.extend_from_slice(bytes);
            let (server, network, bytes) = (&mut self.server, &mut self.network, &self.datagram);
            let recipient = match network.single_port {
                true => server.recipient(peer, bytes),
                false => None,
            };
            match recipient {
                Some(client) => {
                    network.expect_reply(client);
                    server.on_reply(now, network, client, bytes);
                }
                None => {
                    network.expect_request(peer, LOCAL);
                    server.on_request(now, network, peer, LOCAL, bytes);
                }
            }
        }
    }

    fn receive_replies(&mut self, now: Moment) {
        let mut readable = mem::take(&mut self.network.readable);
        readable.retain(|&client| self.server.on_readable(now, &mut self.network, client));
        readable.append(&mut self.network.readable);
        self.network.readable = readable;
    }

    // What happens.

    /// Returns whether it concerned the server.
    fn happen(&mut self, event: Event) -> bool {
        let now = self.network.now;
        match event {
            Event::SwitchOn(machine) | Event::Deadline(machine)
                if self.writing(machine).is_some() =>
            {
                if let Some(it) = self.writing(machine) {
                    it.on_time(now);
                }
                self.attend_writer(machine);
            }
            Event::ToMachine {
                machine,
                port,
                from,
                content,
            } if self.writing(machine).is_some() => self.tell(machine, port, from, content),
            Event::MachineUnreachable { machine, .. } if self.writing(machine).is_some() => {}
            Event::SwitchOn(machine) => self.switch_on(machine),
            Event::Deadline(machine) => self.on_deadline(machine),
            Event::ToMachine {
                machine,
                port,
                from,
                content,
            } => self.deliver(machine, port, from, content),
            Event::MachineUnreachable { machine, port } => {
                let seat = &mut self.seats[machine as usize];
                if !seat.is_off {
                    seat.machine.on_unreachable(now, port);
                    self.attend(machine);
                }
            }
            Event::ToTransfer {
                host,
                port,
                to,
                reply,
            } => return self.network.answer(host, port, to, reply),
            Event::ToListener { host, port, bytes } => {
                self.network.hear(host, port, bytes);
                return true;
            }
            Event::ServerUnreachable { host, port, .. } if self.network.single_port => {
                // There may be two, which ask for the same file.
                for _ in 0..2 {
                    if let Some(client) = self.server.client_of(peer(host, port)) {
                        self.server.on_port_closed(now, &mut self.network, client);
                    }
                }
                return true;
            }
            Event::ServerUnreachable { host, port, to } => {
                if let Some(client) = self.network.client_at(host, port, to) {
                    self.server.on_port_closed(now, &mut self.network, client);
                    return true;
                }
            }
            Event::Writable { client, opened } => {
                if self.network.empties(client, opened) {
                    self.server.on_writable(client as usize);
                    return true;
                }
            }
        }
        false
    }
}

/// Says how to see a failure again.
struct Replay {
    what: String,
    now: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{} failed at {:?}; TFTPD_SEED replays it",
                self.what,
                moment(self.now)
            );
        }
    }
}

/// How long a file takes to the disk, one after the other: that of a laptop.
const DISK_TAKES: Duration = Duration::from_millis(5);

/// Requests that the daemon takes in one turn.
const REQUESTS_AT_ONCE: usize = 256;

/// Far above what a turn takes: a window of 64 leaves in four bursts.
const ROUNDS_MAX: u32 = 10_000;
const TURNS_MAX: u32 = 100_000;

/// In worlds of fewer machines every turn is audited.
const AUDITED_ALWAYS: usize = 40;
