//! A run: the turn of the daemon's loop in virtual time, and the machines around it.
//!
//! What happens within one microsecond, which is all that the core can tell apart, is one batch, as
//! for `epoll`. A turn of the server follows only where something of it was meant for the server.

use std::mem;
use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::name::RootPrefixes;

use crate::events::{Content, Event, moment, number};
use crate::laboratory::{File, LOCAL};
use crate::link::nanos;
use crate::measure::{Fate, Results, Tally};
use crate::network::{Cables, Network, peer};
use crate::random::Digest;
use crate::server::ServerUnderTest;
use crate::world::{Arrival, World};
use ripple_tftpd::firmware::random::Random;
use ripple_tftpd::firmware::{Chain, Destination, Machine, Packet, Reaction, Role, Status, Step};
use ripple_tftpd::firmware::{Writer, WriterStatus};

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

/// A machine and what the world knows of it.
struct Seat {
    machine: Machine,
    group: usize,
    fate: Fate,
    /// It has no power.
    is_off: bool,
    /// After this many more blocks its power is cut.
    cut_after: Option<u32>,
    comes_back: bool,
    /// When its event comes up, in microseconds; later events of it are void.
    filed: u64,
    first_on: Option<Moment>,
    /// When it asked for the file that has not begun.
    asked_at: Option<Moment>,
    /// Boots that it has begun again.
    restarts: u32,
    /// This boot has failed.
    has_failed: bool,
    /// It filed bytes where others belong.
    is_spoiled: bool,
    held: Vec<Held>,
    /// Datagrams of this try that brought something new, and their bytes on the wire.
    needed: u64,
}

/// What a machine has of the file of a step.
#[derive(Clone, Debug, Default)]
struct Held {
    /// All bytes before this one.
    to: u64,
    /// Pieces beyond that, in order.
    ahead: Vec<(u64, u64)>,
    /// The last block came: the shorter one.
    has_end: bool,
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

    /// Machines that write begin when the others are switched on, each with a file of its own.
    fn let_write(&mut self) {
        self.network.takes_uploads = self.world.writing() > 0;
        self.network.disk_takes = DISK_TAKES;
        for (group, of) in self.world.writers.iter().enumerate() {
            for number in 0..of.count {
                let name = format!("upload-{group}-{number}");
                let writer = Writer::new(of.kind, name, of.size, self.random.next());
                self.writers.push(Writing {
                    writer,
                    filed: u64::MAX,
                });
            }
        }
        for place in 0..self.writers.len() {
            let machine = number(self.seats.len() + place);
            let at = match self.world.arrival {
                Arrival::AtOnce => 0,
                Arrival::Within(span) => self.random.below(nanos(span)),
                Arrival::Staggered(gap) => place as u64 * nanos(gap),
            };
            self.network.events.file(at, Event::SwitchOn(machine));
        }
    }

    fn files_of(&mut self, chain: &Chain) -> Vec<Option<File>> {
        let file = |step: &Step| {
            step.size
                .map(|size| self.network.add_file(step.name.as_bytes(), size))
        };
        chain.steps().iter().map(file).collect()
    }

    fn seat(&mut self, group: usize) {
        let of = &self.world.groups[group];
        let seed = self.random.next();
        let reboots = self.world.reboots.happens(&mut self.random);
        let vanishes = self.world.vanishes.happens(&mut self.random);
        let cut_after = (reboots || vanishes).then(|| 1 + self.random.below(CUT_WITHIN));
        self.seats.push(Seat {
            machine: Machine::new(of.kind, of.chain.clone(), seed),
            group,
            fate: Fate::UnderWay,
            is_off: true,
            cut_after: cut_after.map(|blocks| u32::try_from(blocks).unwrap_or(1)),
            comes_back: reboots && !vanishes,
            filed: u64::MAX,
            first_on: None,
            asked_at: None,
            restarts: 0,
            has_failed: false,
            is_spoiled: false,
            held: vec![Held::default(); of.chain.steps().len()],
            needed: 0,
        });
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
        match self.seats.len() {
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

    // Machines that write.

    fn writing(&mut self, machine: u32) -> Option<&mut Writing> {
        let place = (machine as usize).checked_sub(self.seats.len())?;
        self.writers.get_mut(place)
    }

    /// A packet comes to a machine that writes.
    fn tell(&mut self, machine: u32, port: u16, from: u16, content: Content) {
        let now = self.network.now;
        self.digest.add(u64::from(machine));
        let place = machine as usize - self.seats.len();
        let packet = match content {
            Content::Data { block, length, .. } => Packet::Data { block, length },
            Content::Oack(bytes) => Packet::Oack(self.network.buffers.take(bytes)),
            Content::Ack(block) => Packet::Ack(block),
            Content::Error(code) => Packet::Error { code },
        };
        let writer = &mut self.writers[place].writer;
        let was_busy = writer.status() == WriterStatus::Busy;
        writer.on_packet(now, port, from, packet);
        if was_busy && writer.status() == WriterStatus::Done {
            // What was acknowledged is on the disk.
            let written = self.network.uploaded.get(writer.name().as_bytes());
            let is_whole = written.is_some_and(|bytes| writer.is_file(bytes));
            assert!(is_whole, "{} is not what was sent", writer.name());
            self.under_way -= 1;
        }
        self.attend_writer(machine);
    }

    fn attend_writer(&mut self, machine: u32) {
        let mut bytes = Vec::new();
        let place = machine as usize - self.seats.len();
        let it = &mut self.writers[place];
        let status = it.writer.status();
        assert!(
            matches!(status, WriterStatus::Busy | WriterStatus::Done),
            "{} {status:?}",
            it.writer.name()
        );
        while let Some(to) = it.writer.next_datagram(&mut bytes) {
            self.network.send_up(machine, it.writer.port(), to, &bytes);
        }
        if let Some(deadline) = it.writer.deadline()
            && deadline.micros() < it.filed
        {
            it.filed = deadline.micros();
            let at = (it.filed * 1000).max(self.network.clock);
            self.network.events.file(at, Event::Deadline(machine));
        }
    }

    fn switch_on(&mut self, machine: u32) {
        let now = self.network.now;
        let seat = &mut self.seats[machine as usize];
        seat.is_off = false;
        if seat.first_on.is_some() {
            self.tally.power_cuts += 1;
        }
        seat.first_on.get_or_insert(now);
        seat.machine.power_on(now);
        seat.begin_again();
        self.attend(machine);
    }

    fn on_deadline(&mut self, machine: u32) {
        let now = self.network.now;
        let seat = &mut self.seats[machine as usize];
        if seat.filed != now.micros() || seat.is_off {
            return;
        }
        seat.filed = u64::MAX;
        if seat
            .machine
            .deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            seat.machine.on_deadline(now);
        }
        self.attend(machine);
    }

    fn deliver(&mut self, machine: u32, port: u16, from: u16, content: Content) {
        let now = self.network.now;
        let seat = &mut self.seats[machine as usize];
        self.digest.add(u64::from(machine));
        if seat.is_off {
            if let Content::Oack(bytes) = content {
                self.network.buffers.take(bytes);
            }
            return;
        }
        let packet = match content {
            Content::Data { block, length, .. } => Packet::Data { block, length },
            Content::Oack(bytes) => Packet::Oack(self.network.buffers.take(bytes)),
            Content::Ack(block) => Packet::Ack(block),
            Content::Error(code) => Packet::Error { code },
        };
        match seat.machine.on_packet(now, port, from, packet) {
            Reaction::Filed {
                step,
                position,
                length,
            } => {
                let Content::Data {
                    file,
                    offset,
                    length: sent,
                    ..
                } = content
                else {
                    panic!("only blocks hold bytes");
                };
                let wanted = self.chains[seat.group][step].map(|file| file.number);
                if (Some(file), offset, sent) == (wanted, position, length) {
                    seat.file(step, position, length);
                } else {
                    seat.is_spoiled = true;
                    self.tally.misfiled += 1;
                }
            }
            Reaction::Ignored => seat.needed += u64::from(seat.asked_at.is_some()),
            Reaction::PortUnreachable => {
                self.network.refuse_up(machine, port, from);
                return self.attend(machine);
            }
        }
        if let Some(asked_at) = seat.asked_at.take() {
            self.tally.first_packets.push(now.since(asked_at));
        }
        if matches!(content, Content::Data { .. }) && self.is_cut(machine) {
            return;
        }
        self.attend(machine);
    }

    /// Returns whether the power of a machine fails with this block.
    fn is_cut(&mut self, machine: u32) -> bool {
        let seat = &mut self.seats[machine as usize];
        let Some(blocks) = seat.cut_after.filter(|_| seat.fate == Fate::UnderWay) else {
            return false;
        };
        seat.cut_after = blocks.checked_sub(1).filter(|&left| left > 0);
        if seat.cut_after.is_some() {
            return false;
        }
        seat.is_off = true;
        seat.filed = u64::MAX;
        if seat.comes_back {
            let pause = nanos(OFF_MIN) + self.random.below(nanos(OFF_SPREAD));
            let at = self.network.clock + pause;
            self.network.events.file(at, Event::SwitchOn(machine));
        } else {
            seat.fate = Fate::Vanished;
            self.under_way -= 1;
            self.tally.vanished += 1;
        }
        true
    }

    /// Does what a machine wants after an event.
    fn attend(&mut self, machine: u32) {
        let now = self.network.now;
        let seat = &mut self.seats[machine as usize];
        if seat.restarts < seat.machine.restarts() {
            seat.begin_again();
            self.tally.restarts += 1;
        }
        while let Some(datagram) = seat.machine.next_datagram() {
            if datagram.to == Destination::Listener {
                seat.asked_at.get_or_insert(now);
                // A file that is opened again is read again.
                seat.held[seat.machine.step()] = Held::default();
            }
            self.network
                .send_up(machine, datagram.from_port, datagram.to, datagram.bytes());
        }
        if seat.fate == Fate::UnderWay {
            self.look_at(machine);
        }
        self.file_deadline(machine);
    }

    /// Looks whether a boot is over.
    fn look_at(&mut self, machine: u32) {
        let now = self.network.now;
        let seat = &mut self.seats[machine as usize];
        let kind = seat.machine.kind();
        match seat.machine.status() {
            // Two transfers for one request can do that; ours must not.
            Status::Booted if seat.is_spoiled && !self.server.is_ours() => {
                seat.fate = Fate::GaveUp;
                self.under_way -= 1;
                self.tally.gave_up(kind);
            }
            Status::Booted => {
                seat.fate = Fate::Booted;
                seat.must_hold_all(machine, &self.chains[seat.group]);
                self.under_way -= 1;
                let first_on = seat.first_on.expect("it was switched on");
                let group = &self.world.groups[seat.group];
                self.tally
                    .booted(now, first_on, seat.needed, (seat.group, group));
            }
            Status::Failed(reason) if !seat.has_failed => {
                seat.has_failed = true;
                self.tally.failed(kind, reason);
                let begins_again = self.world.tries_again && seat.machine.deadline().is_some();
                if !begins_again {
                    seat.fate = Fate::GaveUp;
                    seat.is_off = true;
                    self.under_way -= 1;
                    self.tally.gave_up(kind);
                }
            }
            Status::Failed(_)
            | Status::Off
            | Status::Asking
            | Status::Receiving
            | Status::Thinking => {}
        }
    }

    fn file_deadline(&mut self, machine: u32) {
        let seat = &mut self.seats[machine as usize];
        let Some(deadline) = seat.machine.deadline().filter(|_| !seat.is_off) else {
            return;
        };
        let at = deadline.max(self.network.now).micros();
        if at < seat.filed {
            seat.filed = at;
            let at = (at * 1000).max(self.network.clock);
            self.network.events.file(at, Event::Deadline(machine));
        }
    }
}

/// A machine that writes.
struct Writing {
    writer: Writer,
    /// When its event comes up, in microseconds.
    filed: u64,
}

impl Writing {
    fn on_time(&mut self, now: Moment) {
        self.filed = u64::MAX;
        match self.writer.status() {
            WriterStatus::Idle => self.writer.begin(now),
            _ => self.writer.on_deadline(now),
        }
    }
}

impl Seat {
    fn begin_again(&mut self) {
        self.restarts = self.machine.restarts();
        self.has_failed = false;
        self.is_spoiled = false;
        self.held.fill(Held::default());
        self.asked_at = None;
        self.needed = 0;
    }

    /// The machine put bytes into the file of a step.
    fn file(&mut self, step: usize, position: u64, length: u16) {
        let held = &mut self.held[step];
        let end = position + u64::from(length);
        let is_new = held.add(position, end);
        self.needed += u64::from(is_new);
    }

    /// A machine that booted has every byte of every file.
    fn must_hold_all(&self, machine: u32, files: &[Option<File>]) {
        assert!(
            !self.is_spoiled,
            "machine {machine} booted with wrong bytes"
        );
        let mut complete = 0;
        for (number, (held, file)) in self.held.iter().zip(files).enumerate() {
            let step = &self.machine.chain().steps()[number];
            let is_complete = file.is_some_and(|file| held.is_all_of(file));
            let may_lack = step.role != Role::Required && held.is_empty();
            assert!(
                is_complete || may_lack,
                "machine {machine} booted with {} of {file:?} in step {number}",
                held.to
            );
            complete += usize::from(is_complete);
        }
        assert_eq!(
            complete,
            self.machine.files_done(),
            "files of machine {machine}"
        );
    }
}

impl Held {
    fn is_empty(&self) -> bool {
        self.to == 0 && self.ahead.is_empty()
    }

    fn is_all_of(&self, file: File) -> bool {
        self.to == file.size && self.ahead.is_empty()
    }

    /// Returns whether there was anything new in a piece.
    fn add(&mut self, begin: u64, end: u64) -> bool {
        if begin == end {
            return !mem::replace(&mut self.has_end, true);
        }
        if end <= self.to || self.ahead.contains(&(begin, end)) {
            return false;
        }
        if begin > self.to {
            let place = self.ahead.partition_point(|&piece| piece < (begin, end));
            self.ahead.insert(place, (begin, end));
            return true;
        }
        self.to = end;
        while let Some(&(begin, end)) = self.ahead.first()
            && begin <= self.to
        {
            self.to = self.to.max(end);
            self.ahead.remove(0);
        }
        true
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

/// Blocks within which the power of a machine fails, where it does.
const CUT_WITHIN: u64 = 400;

/// How long a machine is off, from its power to the first request of its next boot.
const OFF_MIN: Duration = Duration::from_secs(1);
const OFF_SPREAD: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_complete_when_every_byte_came() {
        let file = File {
            number: 0,
            size: 1000,
        };
        let mut held = Held::default();
        assert!(held.add(0, 400));
        assert!(!held.add(0, 400), "a copy brings nothing new");
        assert!(held.add(800, 1000), "a piece may come early");
        assert!(!held.is_all_of(file));
        assert!(held.add(400, 800));
        assert!(held.is_all_of(file));
        assert!(held.add(1000, 1000), "an empty last block");
        assert!(!held.add(1000, 1000));
    }

    #[test]
    fn a_hole_is_seen() {
        let mut held = Held::default();
        for (begin, end) in [(0, 10), (20, 30), (30, 40)] {
            held.add(begin, end);
        }
        assert!(!held.is_all_of(File {
            number: 0,
            size: 40
        }));
    }
}
