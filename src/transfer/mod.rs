//! One file to or from one client: what to send next, and what an ACK, a block or a silence means.
//!
//! A [`Transfer`] is a value. It learns what left, which ACK or block came, and when its deadline passed; then it is
//! asked what goes next, and when its next deadline is. It holds no file bytes, no socket and no clock, and never sends
//! by itself.
//!
//! Blocks are counted from 1 in 64 bits and wrap only on the wire. The OACK is block 0, so a handshake
//! with options and one without differ in nothing but the number they begin with.
//!
//! What a transfer in either direction has is in `common`, with `options` (what was agreed) and `timing` (when to act,
//! and how long to wait). One that sends is in `sending`, with `window` (which blocks may be out) and `pacing` (for
//! clients with small receive rings); one that receives is in `receiving`. `either` asks whichever it is.

mod common;
mod either;
pub mod options;
mod pacing;
mod receiving;
mod sending;
mod timing;
mod window;

use crate::wire::Refusal;
pub use either::Transfer;
pub use options::{Negotiated, Terms, Wanted};
pub use receiving::Receiving;
pub use sending::{DATA_SENDINGS, OACK_SENDINGS, Sending, TAIL_SENDINGS};
pub use timing::Timing;

/// How a request ended that was taken. Every one ends exactly once, and the log says how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Every block was acknowledged.
    Complete,
    /// Everything but the last block was acknowledged, and the ACK of that one never came: several
    /// clients do not send it.
    CompleteUnconfirmed,
    /// ERROR 0 or 8 from the client: how firmware ends a size probe.
    Cancelled,
    /// Another ERROR from the client, with its code.
    ClientError(u16),
    /// The client closed its port (ICMP port unreachable).
    PortClosed,
    /// The first packet was sent [`OACK_SENDINGS`] or [`DATA_SENDINGS`] times without an answer.
    NoAnswer,
    /// The client made no progress for the time that the operator allows (`-t`).
    TimedOut,
    /// The client asked for the same file again, and answered the second transfer.
    Restarted,
    /// A copy of a request, made by the network: the client went on with its transfer.
    Duplicate,
    /// The client asked for something else from the same port.
    MovedOn,
    /// A request from another port of the same host took this one's place in the queue.
    Superseded,
    /// The client waited in a full queue and made room: it was unvalidated and did not answer its first packet, or was
    /// the newest of a crowded network.
    Evicted,
    /// The client fell silent while it waited.
    Expired,
    /// The file could not be opened, or could not be read to its end.
    Refused(Refusal),
    /// No socket towards the client could be made.
    Unreachable,
    /// The server was stopped.
    ShutDown,
}

/// What a block of an upload is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Arrived {
    /// The next in order: it is to be stored, and [`Receiving::stored`] or [`Receiving::not_stored`] to be called.
    Next,
    /// None that is of use now: repeated, too early, or of no meaning.
    Stray,
    /// More bytes than agreed: the client gets an ERROR.
    TooLong,
}

/// A client acknowledged something for the first time, or sent a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// It is the first answer: the transfer is established.
    pub is_first: bool,
    /// It acknowledges the first blocks of the file.
    pub has_first_block: bool,
    /// Timeouts in a row before it.
    pub timeouts: u8,
    /// The file is complete, and the transfer over.
    pub is_complete: bool,
}

/// What goes to a client next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Datagrams<'t> {
    /// The options granted.
    Oack(&'t Negotiated),
    /// One DATA packet for each of these blocks.
    Data(Blocks),
    /// An ACK of everything up to this block, modulo 65,536.
    Ack(u16),
    /// An ERROR packet; the transfer ends with it.
    Error(Refusal),
}

/// A run of consecutive blocks. Where the file ends within it, the block that holds the end is shorter
/// than the others (perhaps empty) and those after it do not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocks {
    /// Number of the first, counted from 1.
    pub first: u64,
    /// How many, at least 1.
    pub count: u16,
    /// Bytes in each.
    pub blksize: u16,
    /// No block before this one will be asked for again.
    pub oldest: u64,
}

impl Blocks {
    /// Where `block` begins in the file, in bytes.
    pub fn offset(self, block: u64) -> u64 {
        (block - 1) * u64::from(self.blksize)
    }
}

/// How much of some [`Datagrams`] left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Departed {
    /// How many packets.
    pub packets: u16,
    /// The length of the whole stream in bytes, where the last of them was its end.
    pub end: Option<u64>,
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the wire has the low 16 bits"
)]
fn low_bits(block: u64) -> u16 {
    block as u16
}
