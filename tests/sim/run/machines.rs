//! The machines that boot: what each does when something happens to it, and what it has of its files.

use std::mem;
use std::time::Duration;

use ripple_tftpd::firmware::{Destination, Machine, Packet, Reaction, Role, Status};
use ripple_tftpd::moment::Moment;

use super::Run;
use crate::events::{Content, Event};
use crate::laboratory::File;
use crate::link::nanos;
use crate::measure::Fate;
use crate::server::ServerUnderTest;

/// A machine and what the world knows of it.
pub(super) struct Seat {
    pub(super) machine: Machine,
    pub(super) group: usize,
    pub(super) fate: Fate,
    /// It has no power.
    pub(super) is_off: bool,
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

impl<S: ServerUnderTest> Run<'_, S> {
    /// Puts a machine of a group into the world, without power.
    pub(super) fn seat(&mut self, group: usize) {
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

    pub(super) fn switch_on(&mut self, machine: u32) {
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

    pub(super) fn on_deadline(&mut self, machine: u32) {
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

    pub(super) fn deliver(&mut self, machine: u32, port: u16, from: u16, content: Content) {
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
    pub(super) fn attend(&mut self, machine: u32) {
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

/// How long a machine is off, from its power to the first request of its next boot.
const OFF_MIN: Duration = Duration::from_secs(1);
const OFF_SPREAD: Duration = Duration::from_secs(20);

/// Blocks within which the power of a machine fails, where it does.
const CUT_WITHIN: u64 = 400;

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
