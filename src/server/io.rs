//! What the server asks of the world, and what it reports.

use std::time::Duration;

use super::Local;
use crate::name::{FileName, NAME_MAX};
use crate::transfer::options::BUFFERED_WINDOW_MAX;
use crate::transfer::{Datagrams, Departed, Negotiated, Outcome, Wanted};
use crate::wire::{Direction, Malformed, Mode, Peer, Refusal, Request};

/// A request whose name is known: a file is looked up for it, and opened with a socket.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// Who asked.
    pub peer: Peer,
    /// Which address it asked.
    pub local: Local,
    /// For what, as the client sent it.
    pub asked: &'a [u8],
    /// The name that is looked up, or under which an upload is stored.
    pub name: FileName<'a>,
    /// Whether the file goes to the client, or comes from it.
    pub direction: Direction,
    /// How it goes: octet or netascii.
    pub mode: Mode,
    /// The options asked for. What an upload announces is only the client's word: nothing is allocated by it.
    pub wanted: Wanted,
}

/// A socket, and an open file if that is to be sent. Of an upload nothing lies on the disk before [`Io::store`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Bytes that will be sent; `None` if only sending them will show it, or the file comes from the client.
    pub length: Option<u64>,
    /// Bytes that one packet carries to this client without fragments; `None` if that is no matter.
    pub payload_max: Option<u16>,
}

/// How much can be stored now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// One window more, of at most [`UPLOAD_WINDOW_MAX`] bytes.
    ForWindow,
    /// Less: what was stored is acknowledged after [`super::Server::on_room`].
    Wanting,
}

/// Why a block was not stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// Memory for uploads is short: the block is as good as lost, until [`super::Server::on_room`].
    Full,
    /// The upload is over, and the client gets an ERROR.
    Failed(Refusal),
}

/// Why a file was not opened or found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// The client gets an ERROR.
    Refused(Refusal),
    /// Not known yet: the name is being looked up on a disk, or another process has the file for a moment. A
    /// client in the queue waits, until [`super::Server::on_found`] at best. A request that just arrived is
    /// forgotten: its client repeats it, or the world, if that awaits something, hands it to
    /// [`super::Server::on_request`] again.
    Busy(Option<Awaited>),
    /// No descriptor or memory is left: the request waits.
    Exhausted,
    /// The network of this client is unreachable.
    Unreachable,
}

/// What became of a request that arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// It was answered or dropped, or it waits.
    Judged,
    /// It was none, or a probe: what its client asked for before counts as much as ever.
    NoRequest,
    /// Its file is busy and it is forgotten. If the world awaits something, it can be handed in again then.
    Busy(Option<Awaited>),
}

/// Something that the world awaits, by a number of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Awaited(pub usize);

/// Why nothing was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendError {
    /// The socket takes no more until it becomes writable.
    Full,
    /// The bytes are not in memory yet, but on their way.
    Absent,
    /// The client has closed its port.
    PortClosed,
    /// The file could not be read, or is no longer what it was: the client gets an ERROR.
    Unreadable(Refusal),
}

/// What the socket of a client held next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// A datagram: this many bytes of it are in the buffer now.
    Datagram(usize),
    /// The client has closed its port; what it sent before that may follow.
    PortClosed,
    /// Nothing that matters; more may follow.
    Noise,
    /// Nothing: the socket is empty.
    Nothing,
}

/// Bytes that are read at most of a reply of one who reads a file: an ACK has 4, and of an ERROR only the code and a
/// short text matter.
pub const REPLY_MAX: usize = 128;

/// Bytes in a window of an upload, at most: so much is kept in memory for a client until it is written.
pub const UPLOAD_WINDOW_MAX: usize = BUFFERED_WINDOW_MAX as usize;

/// Everything that a server can do to the world. A client is named by its number, which is small and
/// is used again after [`Io::close`].
pub trait Io {
    /// The name of the file that a request is for, as it is looked up, written to `buffer`. It is asked for each
    /// request that is no repeat, again if that is handed in again.
    ///
    /// # Errors
    /// As [`Io::find`].
    fn resolve<'b>(
        &mut self,
        peer: Peer,
        request: &Request<'_>,
        buffer: &'b mut [u8; NAME_MAX],
    ) -> Result<FileName<'b>, OpenError>;

    /// Looks whether a file could be opened or written now, and returns its size in bytes, if that is known.
    ///
    /// # Errors
    /// As [`Io::open`], but never [`OpenError::Unreachable`].
    fn find(&mut self, opening: Opening<'_>) -> Result<Option<u64>, OpenError>;

    /// Opens the file and a socket for `client`. Of an upload nothing is created yet: its address may be forged.
    ///
    /// # Errors
    /// Where either fails; then nothing stays open.
    fn open(&mut self, client: usize, opening: Opening<'_>) -> Result<Opened, OpenError>;

    /// Sends packets to `client`, as many as leave at once; a packet that the network loses counts as
    /// sent.
    ///
    /// # Errors
    /// [`SendError`] where not even one left.
    fn send(&mut self, client: usize, datagrams: Datagrams<'_>) -> Result<Departed, SendError>;

    /// Answers a request with an ERROR, from the address it was sent to.
    fn refuse(&mut self, peer: Peer, local: Local, refusal: Refusal);

    /// Answers a probe: what it names could be served. A world in which nobody probes has nothing to do.
    fn confirm(&mut self, _peer: Peer, _local: Local) {}

    /// Takes the next datagram out of the socket of `client`, as much of it as `buffer` holds. A world that delivers
    /// each by [`super::Server::on_reply`] has nothing to take.
    fn receive(&mut self, _client: usize, _buffer: &mut [u8]) -> Incoming {
        Incoming::Nothing
    }

    /// Takes the next bytes of an upload, as they came: the payload of one block, in order. The first call begins the
    /// file. Should it fail later, the world calls [`super::Server::on_stored`] at any time.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing of the block was taken.
    fn store(&mut self, client: usize, bytes: &[u8]) -> Result<Room, StoreError>;

    /// All of an upload was stored. The world calls [`super::Server::on_stored`] once it is safe on the disk under
    /// its name, or if that failed.
    fn finish(&mut self, client: usize);

    /// Closes what [`Io::open`] opened. An upload that is not on the disk yet is thrown away.
    fn close(&mut self, client: usize);

    /// Takes note of something for the log.
    fn report(&mut self, event: Event<'_>);
}

/// Something that an operator may want to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A request came to its end.
    Ended(Report<'a>),
    /// A request cannot be served, and was answered with an ERROR at once; `name` is as the client sent it.
    Refused {
        /// Who asked.
        peer: Peer,
        /// For what, untrusted.
        name: &'a [u8],
        /// The name that was looked up, if one was.
        looked_up: Option<FileName<'a>>,
        /// Why not.
        refusal: Refusal,
        /// Not so if it went to a broadcast or multicast address: that got no answer.
        is_answered: bool,
    },
    /// A request was taken.
    Taken {
        /// Who asked.
        peer: Peer,
        /// For what, as the client sent it.
        asked: &'a [u8],
        /// For what, as it is looked up.
        name: FileName<'a>,
        /// How many wait, this one among them; 0 if it has a slot at once.
        waiting: usize,
    },
    /// A datagram at a listening socket was no request.
    Malformed {
        /// Who sent it.
        peer: Peer,
        /// What is wrong with it.
        malformed: Malformed,
    },
    /// A request was dropped because the queue is full.
    QueueFull {
        /// Who asked.
        peer: Peer,
    },
    /// Descriptors or memory ran out: admissions pause for a moment.
    Exhausted,
    /// A client acknowledged its OACK and then no block of more than 512 bytes, twice in a row: its host is
    /// granted no larger ones for 10 minutes.
    LargeBlocksLost {
        /// The client.
        peer: Peer,
    },
    /// A request waits because its address has as many slots as one may have.
    AddressFull {
        /// Who asked.
        peer: Peer,
    },
    /// More clients are far away than slots and the link are of use to: reported now and then.
    FarAway {
        /// One of them.
        peer: Peer,
        /// Its usual round trip.
        round_trip: Duration,
    },
}

/// How a request went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report<'a> {
    /// Who asked.
    pub peer: Peer,
    /// For what, as the client sent it.
    pub asked: &'a [u8],
    /// For what, as it is looked up.
    pub name: FileName<'a>,
    /// Whether the file went to the client, or came from it.
    pub direction: Direction,
    /// How it ended.
    pub outcome: Outcome,
    /// The client acknowledged something.
    pub was_answered: bool,
    /// Bytes that the client acknowledged, or all of a file whose last ACK alone is missing; or those that came from it
    /// and were stored.
    pub bytes: u64,
    /// Time it waited and was sent nothing.
    pub pending: Duration,
    /// Time it waited and was kept alive.
    pub held: Duration,
    /// Time it had a slot, and waited for its last ACK.
    pub running: Duration,
    /// The options agreed on, once there was a transfer.
    pub negotiated: Option<&'a Negotiated>,
    /// Packets sent more than once.
    pub retransmissions: u64,
    /// Bytes of the whole file, as far as they are known.
    pub length: Option<u64>,
    /// The usual round trip, once one was measured.
    pub round_trip: Option<Duration>,
}
