//! Machines that boot over the network: state machines of real firmware, to judge a server by.
//!
//! Nothing here has a socket, a clock, a file or a log, and nothing of the server is used but
//! [`crate::moment`]. The driver of a [`Machine`] hands it time and packets, and after every call
//! fetches what it sends with [`Machine::next_datagram`] and asks for its next
//! [`deadline`](Machine::deadline).
//!
//! Read `profile` for what can set kinds apart, `roms`, `loaders` and `tools` for one table per kind,
//! `exchange` for how a request and its transfer go (one engine for all), `chain` for what a boot
//! consists of; this file joins them. Machines that write are in `writer`.

mod adaptive;
pub mod chain;
mod datagram;
mod exchange;
mod kinds;
mod loaders;
mod outbox;
mod profile;
pub mod random;
mod roms;
mod tools;
mod writer;

use std::time::Duration;

use crate::moment::Moment;
pub use chain::{Chain, Role, Step};
pub use datagram::{Datagram, Destination, Packet};
use exchange::{Aim, Effect, End, Exchange};
pub use kinds::Kind;
use outbox::Outbox;
use profile::{Before, Ports, Profile, Restart};
use random::Random;
pub use writer::{Writer, WriterKind, WriterStatus};

/// One machine, from power-on to a complete boot or a failure.
#[derive(Debug)]
pub struct Machine {
    kind: Kind,
    chain: Chain,
    random: Random,
    status: Status,
    since: Moment,
    powered_on: Moment,
    power_ons: u32,
    /// Position in the chain.
    step: usize,
    /// What comes before the reading of the current file is done.
    probed: bool,
    /// It has gone back to the start of the current file.
    sought_back: bool,
    /// What the probe learned.
    known_size: u64,
    /// When the current file was first asked for.
    file_began: Moment,
    files_done: usize,
    /// The end of a pause: think time, or dark until it powers on again.
    wake_at: Option<Moment>,
    /// Whose UDP opened the last port, and that port.
    last_port: Option<(Kind, u16)>,
    /// Where this machine's free-running timer and its counters stand, fixed for its life.
    phase: u64,
    /// What shim has room for at the moment.
    room: u64,
    exchange: Option<Exchange>,
    outbox: Outbox,
}

/// What a machine is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Not powered on yet.
    Off,
    /// Has sent a request and has heard nothing.
    Asking,
    /// Was answered and receives a file.
    Receiving,
    /// Pauses between two requests.
    Thinking,
    /// Has everything.
    Booted,
    /// The boot failed; [`Machine::deadline`] is when it starts again, if ever.
    Failed(Reason),
}

/// Why a boot failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// Nothing came in answer to a request.
    NoReply,
    /// The server fell silent during a transfer, or sent nothing that helped.
    Silence,
    /// One file took longer than the firmware allows for a whole file.
    FileClock,
    /// The server sent this error code for a file that is needed.
    ServerError(u16),
    /// No name of a search list was answered with a file.
    NoConfiguration,
    /// An OACK held something the firmware does not accept.
    BadOption,
    /// A second OACK came, which ends this firmware.
    SecondOack,
    /// A block came that ends this firmware: out of order, repeated too often, or too long.
    BadBlock,
    /// A packet came from a port that is not the transfer's.
    WrongPort,
    /// The server's port was reported closed.
    Unreachable,
    /// The file is not as long as it should be.
    WrongSize,
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reaction {
    /// The payload was filed: these bytes of the file of this step of the chain. A position that is
    /// not that of the bytes sent is a fault of the firmware (GRUB after a late OACK, iPXE at the wrap), or
    /// of the server.
    Filed {
        /// Index into [`Chain::steps`].
        step: usize,
        /// Where in the file the machine believes the bytes belong.
        position: u64,
        /// How many bytes.
        length: u16,
    },
    /// No payload was filed. An answer may still have been queued.
    Ignored,
    /// The port is closed and this machine's stack says so with ICMP port unreachable.
    PortUnreachable,
}

impl Machine {
    /// A machine that is off. Equal arguments give equal machines.
    pub fn new(kind: Kind, chain: Chain, seed: u64) -> Machine {
        let mut random = Random::new(seed);
        let phase = random.next();
        Machine {
            kind,
            chain,
            random,
            status: Status::Off,
            since: Moment::START,
            powered_on: Moment::START,
            power_ons: 0,
            step: 0,
            probed: false,
            sought_back: false,
            known_size: 0,
            file_began: Moment::START,
            files_done: 0,
            wake_at: None,
            last_port: None,
            phase,
            room: 0,
            exchange: None,
            outbox: Outbox::default(),
        }
    }

    /// Begins the boot, or begins it again: what was under way is forgotten, and ports that the
    /// firmware counts are counted from the same start.
    pub fn power_on(&mut self, now: Moment) {
        self.powered_on = now;
        self.power_ons += 1;
        self.exchange = None;
        self.outbox = Outbox::default();
        self.last_port = None;
        self.files_done = 0;
        self.begin_step(now, 0);
    }

    /// A datagram from the server's port `from` came to the machine's port `port`.
    pub fn on_packet(&mut self, now: Moment, port: u16, from: u16, packet: Packet<'_>) -> Reaction {
        let Some(exchange) = self.exchange.as_mut().filter(|it| it.port() == port) else {
            return self.closed_port();
        };
        let (effect, end) = exchange.on_packet(now, from, packet, &mut self.outbox);
        let answered = exchange.answered();
        let reaction = match effect {
            Effect::Nothing => Reaction::Ignored,
            Effect::Unreachable => Reaction::PortUnreachable,
            Effect::Filed { position, length } => Reaction::Filed {
                step: self.step,
                position,
                length,
            },
        };
        match end {
            Some(end) => self.finish(now, end),
            None if answered && self.status == Status::Asking => {
                self.turn(now, Status::Receiving);
            }
            None => {}
        }
        reaction
    }

    /// ICMP port unreachable came back for something sent from `port`.
    pub fn on_unreachable(&mut self, now: Moment, port: u16) {
        let is_open = self.exchange.as_ref().is_some_and(|it| it.port() == port);
        if is_open && self.profile().heeds_unreachable {
            self.finish(now, End::GaveUp(Reason::Unreachable));
        }
    }

    /// The moment of [`deadline`](Machine::deadline) has come; too early does no harm.
    pub fn on_deadline(&mut self, now: Moment) {
        if self.wake_at.is_some_and(|at| at <= now) {
            self.wake_at = None;
            match self.status {
                Status::Failed(_) => self.power_on(now),
                Status::Thinking => self.ask(now),
                Status::Off | Status::Asking | Status::Receiving | Status::Booted => {}
            }
        } else if let Some(exchange) = self.exchange.as_mut()
            && let Some(end) = exchange.on_deadline(now, &mut self.outbox)
        {
            self.finish(now, end);
        }
    }

    /// When [`on_deadline`](Machine::on_deadline) is due, if time alone changes anything.
    pub fn deadline(&self) -> Option<Moment> {
        self.wake_at
            .or_else(|| self.exchange.as_ref().and_then(Exchange::deadline))
    }

    /// The next datagram to be sent; to be called until `None` after every call that may cause one.
    pub fn next_datagram(&mut self) -> Option<Datagram> {
        let outgoing = self.outbox.pop()?;
        let step = self.chain.steps().get(self.step);
        let name = step.map_or("", |step| &step.name);
        let asked = self.exchange.iter().flat_map(Exchange::asked);
        Some(outgoing.datagram(name, asked))
    }

    /// What the machine is doing.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Since when it does that.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// When it was last powered on.
    pub fn powered_on(&self) -> Moment {
        self.powered_on
    }

    /// How often the boot began again.
    pub fn restarts(&self) -> u32 {
        self.power_ons.saturating_sub(1)
    }

    /// Files received completely in this attempt.
    pub fn files_done(&self) -> usize {
        self.files_done
    }

    /// Which step of the chain is under way; [`Chain::steps`] has no such step after the boot.
    pub fn step(&self) -> usize {
        self.step
    }

    /// The port that is open, where one is.
    pub fn port(&self) -> Option<u16> {
        self.exchange.as_ref().map(Exchange::port)
    }

    /// Whether its stack answers with ICMP port unreachable where a port is closed.
    pub fn answers_closed_ports(&self) -> bool {
        self.profile().closed_port_answers
    }

    /// The kind of the machine; single steps may be fetched by another program ([`Step::by`]).
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The boot it goes through.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The program that is at work now, or was last.
    fn program(&self) -> Kind {
        let steps = self.chain.steps();
        let last = steps.len().saturating_sub(1);
        let step = steps.get(self.step.min(last));
        step.and_then(|step| step.by).unwrap_or(self.kind)
    }

    fn profile(&self) -> &'static Profile {
        self.program().profile()
    }

    fn closed_port(&self) -> Reaction {
        if self.status != Status::Off && self.answers_closed_ports() {
            Reaction::PortUnreachable
        } else {
            Reaction::Ignored
        }
    }

    fn turn(&mut self, now: Moment, status: Status) {
        if self.status != status {
            self.since = now;
        }
        self.status = status;
    }

    /// Turns to a step of the chain; past the last one the machine has booted.
    fn begin_step(&mut self, now: Moment, step: usize) {
        self.step = step;
        self.probed = false;
        self.sought_back = false;
        self.known_size = 0;
        self.room = self.profile().buffer.unwrap_or(u64::MAX);
        let Some(next) = self.chain.steps().get(step) else {
            self.wake_at = None;
            return self.turn(now, Status::Booted);
        };
        let think = next.think;
        self.pause(now, think, think + think / 2);
    }

    fn pause(&mut self, now: Moment, least: Duration, most: Duration) {
        self.turn(now, Status::Thinking);
        if most.is_zero() {
            self.ask(now);
        } else {
            self.wake_at = Some(now + self.random.span(least, most));
        }
    }

    /// Sends the first request for the current step.
    fn ask(&mut self, now: Moment) {
        self.wake_at = None;
        let profile = self.profile();
        let has_before = !matches!(profile.before, Before::Nothing);
        let seek = self.chain.steps()[self.step].seeks_back_after;
        let aim = match seek.filter(|_| !self.sought_back) {
            _ if has_before && !self.probed => Aim::Before,
            Some(bytes) => Aim::Part(bytes),
            None => Aim::File,
        };
        if !has_before || aim == Aim::Before {
            self.file_began = now;
        }
        let port = self.open_port(now);
        self.turn(now, Status::Asking);
        self.exchange = Some(Exchange::ask(
            now,
            profile,
            exchange::Setting {
                port,
                aim,
                known_size: self.known_size,
                file_began: self.file_began,
                phase: self.phase,
            },
            &mut self.outbox,
        ));
    }

    fn open_port(&mut self, now: Moment) -> u16 {
        let stack = self.program().network_stack();
        let before = self.last_port.filter(|(of, _)| *of == stack);
        let port = match (self.profile().ports, before) {
            (Ports::Fixed(port), _) => port,
            (Ports::Counted(first), None) => first,
            (Ports::CountedFromOwn { least, most }, None) => {
                Random::new(self.phase).port(least, most)
            }
            (Ports::Counted(_) | Ports::CountedFromOwn { .. }, Some((_, last))) => {
                last.wrapping_add(1).max(PORT_MIN)
            }
            (Ports::OneRandom { .. }, Some((_, last))) => last,
            (Ports::Random { least, most } | Ports::OneRandom { least, most }, _) => {
                self.random.port(least, most)
            }
            (Ports::BySecond { first, span }, _) => {
                let seconds = now.micros() / 1_000_000 + self.phase % 1024;
                first + u16::try_from(seconds % u64::from(span)).unwrap_or(0)
            }
            (Ports::ByClock { first, span }, _) => {
                let millis = now.since(self.powered_on).as_millis() + u128::from(self.phase % 997);
                let offset = u16::try_from(millis % u128::from(span)).unwrap_or(0);
                first + offset
            }
        };
        self.last_port = Some((stack, port));
        port
    }

    /// The current request, or its transfer, is over.
    fn finish(&mut self, now: Moment, end: End) {
        let Some(exchange) = self.exchange.take() else {
            return;
        };
        // Some firmware moved to further ports meanwhile.
        self.last_port = Some((self.program().network_stack(), exchange.port()));
        match end {
            End::Complete { size } => self.complete(now, size),
            End::Probed {
                size,
                pause: (least, most),
            } => {
                self.probed = true;
                self.known_size = size;
                self.pause(now, least, most);
            }
            End::SoughtBack => {
                self.sought_back = true;
                self.pause(now, Duration::ZERO, Duration::ZERO);
            }
            End::Refused(code) => self.without_file(now, Reason::ServerError(code)),
            End::GaveUp(reason) => self.without_file(now, reason),
        }
    }

    fn complete(&mut self, now: Moment, size: u64) {
        if self.room < size {
            // The whole file again, into a buffer twice as large.
            self.room *= 2;
            return self.pause(now, Duration::ZERO, Duration::ZERO);
        }
        let step = &self.chain.steps()[self.step];
        if step.size.is_some_and(|expected| expected != size) {
            return self.fail(now, Reason::WrongSize);
        }
        self.files_done += 1;
        let found = step.role == Role::Search;
        let mut next = self.step + 1;
        while found && self.role_of(next) == Some(Role::Search) {
            next += 1;
        }
        self.begin_step(now, next);
    }

    /// The file of the current step could not be had.
    fn without_file(&mut self, now: Moment, reason: Reason) {
        let next = self.step + 1;
        match self.role_of(self.step) {
            Some(Role::Optional) => self.begin_step(now, next),
            Some(Role::Search) if self.role_of(next) == Some(Role::Search) => {
                self.begin_step(now, next);
            }
            Some(Role::Search) => self.fail(now, Reason::NoConfiguration),
            Some(Role::Required) | None => self.fail(now, reason),
        }
    }

    fn role_of(&self, step: usize) -> Option<Role> {
        self.chain.steps().get(step).map(|step| step.role)
    }

    fn fail(&mut self, now: Moment, reason: Reason) {
        self.turn(now, Status::Failed(reason));
        self.wake_at = match self.profile().restart {
            Restart::Never => None,
            Restart::After { least, most } => Some(
                now + self
                    .random
                    .span(Duration::from_secs(least), Duration::from_secs(most)),
            ),
            Restart::AfterOrPrompt { seconds } => {
                let has_prompt = self.is_configured() && reason != Reason::Silence;
                (!has_prompt).then(|| now + Duration::from_secs(seconds))
            }
        };
    }

    /// The file of this step is one that the configuration names: no search for that lies ahead.
    fn is_configured(&self) -> bool {
        let mut ahead = self.chain.steps().iter().skip(self.step);
        ahead.all(|step| step.role != Role::Search)
    }
}

/// Where a counter of ports goes on after 65535.
const PORT_MIN: u16 = 1024;
