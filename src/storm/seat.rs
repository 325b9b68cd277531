//! One machine of the storm and the books that are kept of it.

use std::rc::Rc;

use ripple_tftpd::firmware::{Chain, Machine, Packet, Reaction, Reason, Status};
use ripple_tftpd::moment::Moment;

use crate::coverage::Coverage;
use crate::library::Library;
use crate::plan::Planned;
use crate::track::Track;

/// A machine and its books.
pub(crate) struct Seat {
    pub(crate) planned: Planned,
    pub(crate) machine: Machine,
    pub(crate) fate: Fate,
    /// When its entry in the timers comes up; others of it are void.
    pub(crate) filed: Option<Moment>,
    /// Its sockets, the newest last.
    pub(crate) sockets: Vec<usize>,
    pub(crate) track: Track,
    pub(crate) first_data: Option<Moment>,
    /// When it booted, or failed for good.
    pub(crate) ended: Option<Moment>,
    /// Every failure, for those that try again.
    pub(crate) failures: Vec<(Moment, Failure)>,
    /// The first byte that was wrong.
    pub(crate) wrong: Option<Wrong>,
    /// Bytes of this attempt.
    pub(crate) bytes: u64,
    coverage: Coverage,
    reference: Option<Rc<[u8]>>,
    last_block: u16,
    power_ons: u32,
}

/// How a machine ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    UnderWay,
    Booted,
    Failed(Failure),
}

/// Why a machine failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Failure {
    /// Its firmware gave up.
    Firmware(Reason),
    /// It booted from wrong bytes.
    WrongBytes,
}

/// Where the first wrong byte is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wrong {
    pub(crate) file: String,
    pub(crate) position: u64,
}

/// What became of a datagram with data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    /// So many bytes that were not here before.
    New(u64),
    /// The machine had it already.
    Duplicate,
    /// It came before its turn and was thrown away.
    OutOfOrder,
    /// Its port was closed already.
    Late,
    /// No data.
    NoData,
}

impl Seat {
    pub(crate) fn new(planned: Planned, chain: Chain) -> Seat {
        Seat {
            planned,
            machine: Machine::new(planned.kind, chain, planned.seed),
            fate: Fate::UnderWay,
            filed: None,
            sockets: Vec::new(),
            track: Track::default(),
            first_data: None,
            ended: None,
            failures: Vec::new(),
            wrong: None,
            bytes: 0,
            coverage: Coverage::default(),
            reference: None,
            last_block: 0,
            power_ons: 0,
        }
    }

    /// The deadline of the machine came; at first that is its power.
    pub(crate) fn on_deadline(&mut self, now: Moment) {
        if self.machine.status() == Status::Off {
            self.machine.power_on(now);
        } else {
            self.machine.on_deadline(now);
        }
        if self.power_ons <= self.machine.restarts() {
            self.power_ons = self.machine.restarts() + 1;
            self.bytes = 0;
            self.wrong = None;
        }
    }

    /// A request leaves: what follows belongs to the file of the current step, from its start.
    pub(crate) fn on_request(&mut self, now: Moment, library: Option<&mut Library>) {
        self.track.asked(now);
        self.coverage = Coverage::default();
        self.last_block = 0;
        let step = self.machine.chain().steps().get(self.machine.step());
        self.reference = match (library, step) {
            (Some(library), Some(step)) => library.file(&step.name),
            _ => None,
        };
    }

    /// A datagram from the server came to the machine's port.
    pub(crate) fn on_packet(
        &mut self,
        now: Moment,
        port: u16,
        from: u16,
        datagram: &[u8],
        verifies: bool,
    ) -> Use {
        let Some(packet) = Packet::parse(datagram) else {
            return Use::NoData;
        };
        let is_open = self.machine.port() == Some(port);
        let (step, files_done) = (self.machine.step(), self.machine.files_done());
        let reaction = self.machine.on_packet(now, port, from, packet);
        let usage = match (packet, reaction) {
            (Packet::Data { block, .. }, Reaction::Filed { position, .. }) => {
                self.first_data.get_or_insert(now);
                self.track.received(now);
                self.last_block = block;
                let payload = &datagram[DATA_HEADER..];
                if verifies {
                    self.compare(step, position, payload);
                }
                match self.coverage.add(position, position + payload.len() as u64) {
                    0 if !payload.is_empty() => Use::Duplicate,
                    new => Use::New(new),
                }
            }
            (Packet::Data { .. }, _) if !is_open => Use::Late,
            (Packet::Data { block, .. }, _) if block.wrapping_sub(self.last_block + 1) < HALF => {
                Use::OutOfOrder
            }
            (Packet::Data { .. }, _) => Use::Duplicate,
            (Packet::Oack(_) | Packet::Ack(_) | Packet::Error { .. }, _) => {
                self.track.answered(now);
                Use::NoData
            }
        };
        if let Use::New(bytes) = usage {
            self.bytes += bytes;
        }
        if self.machine.status() == Status::Thinking && files_done == self.machine.files_done() {
            self.track.paused(now);
        }
        if files_done < self.machine.files_done() {
            self.track.completed(now);
            if verifies {
                self.compare_length(step);
            }
        }
        usage
    }

    fn compare(&mut self, step: usize, position: u64, payload: &[u8]) {
        if self.wrong.is_some() {
            return;
        }
        let expected = self.reference.as_deref().unwrap_or_default();
        let begin = usize::try_from(position).unwrap_or(usize::MAX);
        let expected = expected.get(begin..).unwrap_or_default();
        if expected.starts_with(payload) {
            return;
        }
        let same = payload.iter().zip(expected).take_while(|(a, b)| a == b);
        self.is_wrong(step, position + same.count() as u64);
    }

    fn compare_length(&mut self, step: usize) {
        let length = self.reference.as_deref().map(|bytes| bytes.len() as u64);
        if self.wrong.is_none() && length.is_none_or(|length| !self.coverage.is_all_of(length)) {
            self.is_wrong(step, self.coverage.to);
        }
    }

    fn is_wrong(&mut self, step: usize, position: u64) {
        let step = self.machine.chain().steps().get(step);
        let file = step.map_or("", |step| &step.name).to_owned();
        self.wrong = Some(Wrong { file, position });
    }

    /// Looks whether the boot is over; a failed machine starts again only where it may.
    pub(crate) fn look(&mut self, now: Moment, retry: bool) -> Fate {
        if self.fate != Fate::UnderWay {
            return self.fate;
        }
        let failure = match self.machine.status() {
            Status::Booted if self.wrong.is_none() => {
                self.fate = Fate::Booted;
                self.ended = Some(now);
                return self.fate;
            }
            Status::Booted => Failure::WrongBytes,
            Status::Failed(reason) => Failure::Firmware(reason),
            Status::Off | Status::Asking | Status::Receiving | Status::Thinking => {
                return Fate::UnderWay;
            }
        };
        let since = self.machine.since();
        if self.failures.last().is_none_or(|&(at, _)| at != since) {
            self.failures.push((since, failure));
            self.track.failed(now);
        }
        if !retry || self.machine.deadline().is_none() {
            self.fate = Fate::Failed(failure);
            self.ended = Some(now);
        }
        self.fate
    }

    /// When it has to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        match (self.fate, self.machine.status()) {
            (Fate::UnderWay, Status::Off) => Some(self.planned.on_at),
            (Fate::UnderWay, _) => self.machine.deadline(),
            (Fate::Booted | Fate::Failed(_), _) => None,
        }
    }
}

/// Opcode and block number.
const DATA_HEADER: usize = 4;
/// Numbers less than this ahead lie before us, others behind.
const HALF: u16 = 0x8000;
