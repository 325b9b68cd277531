//! A world that fails: whatever the server asks of it may be refused, at any time and in every way that
//! the trait `Io` allows.

use ripple_tftpd::moment::Moment;
use ripple_tftpd::server::{Event, OpenError, SendError, StoreError};
use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::{Direction, Mode, Refusal};

use super::laboratory::choices::Choices;
use super::laboratory::{Datagram, Site, Socket, Stream};

#[derive(Debug)]
pub(crate) struct Faulty<C> {
    pub(crate) choices: C,
    /// One call in this number fails; 0: none.
    pub(crate) faults: u64,
    pub(crate) ended: Vec<Outcome>,
    /// Files that came whole.
    pub(crate) uploads: u64,
}

impl<C: Choices> Faulty<C> {
    fn fails(&mut self) -> bool {
        self.faults > 0 && self.choices.one_in(self.faults)
    }
}

impl<C: Choices> Site for Faulty<C> {
    fn find(&mut self) -> Result<(), OpenError> {
        if !self.fails() {
            return Ok(());
        }
        Err(match self.choices.below(6) {
            0 | 1 => OpenError::Exhausted,
            2 => OpenError::Busy(None),
            _ => OpenError::Refused(self.choices.pick(&REFUSALS)),
        })
    }

    fn open(&mut self, _: usize, socket: &Socket) -> Result<Stream, OpenError> {
        if self.fails() {
            return Err(OpenError::Unreachable);
        }
        let size = socket.file.size;
        let length = match socket.mode == Mode::Netascii {
            // A text grows by its line ends.
            true => size + self.choices.below(size + 1),
            false => size,
        };
        let payload_max = match self.choices.below(4) {
            0 => Some(self.choices.port()),
            1 => Some(1472),
            _ => None,
        };
        Ok(Stream {
            length,
            payload_max,
        })
    }

    fn send(&mut self, _: Moment, _: usize, _: &Socket, _: Datagram<'_>) -> Result<(), SendError> {
        match self.fails() {
            true => Err(self.choices.pick(&UNSENT)),
            false => Ok(()),
        }
    }

    fn store(&mut self) -> Result<(), StoreError> {
        if !self.fails() {
            return Ok(());
        }
        Err(match self.choices.below(3) {
            0 => StoreError::Full,
            1 => StoreError::Failed(Refusal::NoSpace),
            _ => StoreError::Failed(Refusal::WriteFailed),
        })
    }

    fn report(&mut self, _: Moment, event: Event<'_>) {
        if let Event::Ended(report) = event {
            let is_upload = report.direction == Direction::Write;
            self.uploads += u64::from(is_upload && report.outcome == Outcome::Complete);
            self.ended.push(report.outcome);
        }
    }
}

/// What there is, with its size in bytes.
pub(crate) const FILES: [(&str, u64); 6] = [
    ("empty", 0),
    ("small", 100),
    ("even", 1024),
    ("medium", 20_000),
    ("large", 50_000_000),
    // As sparse as a file can be.
    ("a/huge", i64::MAX as u64),
];

/// Whatever may be wrong with a file.
const REFUSALS: [Refusal; 9] = [
    Refusal::NotFound,
    Refusal::NameTooLong,
    Refusal::OutsideRoot,
    Refusal::NotAFile,
    Refusal::NoAccess,
    Refusal::NotPublic,
    Refusal::ReadFailed,
    Refusal::NoSpace,
    Refusal::WriteFailed,
];

/// Every way in which a send fails.
const UNSENT: [SendError; 5] = [
    SendError::Full,
    SendError::Full,
    SendError::Absent,
    SendError::PortClosed,
    SendError::Unreadable(Refusal::ReadFailed),
];
