//! Bytes ⇄ meaning: what TFTP datagrams say (RFC 1350, 2347, 2348, 2349, 7440).
//!
//! Parsing borrows from the datagram and never allocates; building writes into a
//! buffer of the caller. Nothing here knows files, sockets or the state of a transfer.
//!
//! Read `request` first, then `reply`, `header` and `netascii`.

pub mod header;
pub mod netascii;
pub mod reply;
pub mod request;

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

pub use header::{
    DataHeader, ERROR_PACKET_MAX, PROBE_OACK, ack_packet, write_error, write_error_with,
};
pub use reply::Reply;
pub use request::{Direction, Mode, Request};

/// The opcodes of RFC 1350 section 5 and RFC 2347.
pub mod opcode {
    /// Read request.
    pub const RRQ: u16 = 1;
    /// Write request.
    pub const WRQ: u16 = 2;
    /// A block of data.
    pub const DATA: u16 = 3;
    /// Acknowledgment of a block, or of an OACK (block 0).
    pub const ACK: u16 = 4;
    /// End of a transfer, with a reason.
    pub const ERROR: u16 = 5;
    /// Options granted.
    pub const OACK: u16 = 6;
}

/// The other end of a transfer: its address and port, which together are its TID (RFC 1350 section 4).
///
/// An IPv4 client that arrived through an IPv6 socket has its IPv4 address here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Peer {
    /// Address of the client, never IPv4-mapped.
    pub address: IpAddr,
    /// Its UDP port.
    pub port: u16,
    /// The interface of a link-local IPv6 address, else 0.
    pub scope: u32,
}

impl From<SocketAddr> for Peer {
    fn from(from: SocketAddr) -> Peer {
        let address = from.ip().to_canonical();
        let scope = match from {
            SocketAddr::V6(v6) if address.is_ipv6() => v6.scope_id(),
            SocketAddr::V6(_) | SocketAddr::V4(_) => 0,
        };
        Peer {
            address,
            port: from.port(),
            scope,
        }
    }
}

impl From<Peer> for SocketAddr {
    fn from(peer: Peer) -> SocketAddr {
        match peer.address {
            IpAddr::V4(v4) => SocketAddr::from((v4, peer.port)),
            IpAddr::V6(v6) => SocketAddrV6::new(v6, peer.port, 0, peer.scope).into(),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::from(*self).fmt(f)
    }
}

/// Why a request is answered with an ERROR packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// There is no file of that name.
    NotFound,
    /// The request names no file at all.
    EmptyName,
    /// The name is longer than any that we look up.
    NameTooLong,
    /// The name would leave the served directory, or holds a NUL.
    OutsideRoot,
    /// The name is that of a directory, a device, a pipe or a socket.
    NotAFile,
    /// The server may not read the file.
    NoAccess,
    /// Others may not read the file (o+r), and only such files are served.
    NotPublic,
    /// A rule of the operator's map refuses the name.
    Forbidden,
    /// A write request: uploads are off.
    ReadOnly,
    /// The obsolete mode `mail` (RFC 1350 section 1).
    MailMode,
    /// A mode that is none of `octet`, `netascii`, `mail`.
    UnknownMode,
    /// Reading the file failed.
    ReadFailed,
    /// The file was written to, or cut short, while it was being sent.
    FileChanged,
    /// A write request: there is no such directory.
    NoDirectory,
    /// A write request: outside of the directories for uploads.
    NoUploadsHere,
    /// A write request: there is such a file, and files are not replaced.
    FileExists,
    /// A write request: others may not write to the file (o+w), and only such files are replaced.
    NotPublicForWriting,
    /// A write request: another client is writing the file.
    BeingWritten,
    /// A write request, or a block of it: no room on the disk, or more than is allowed.
    NoSpace,
    /// Writing the file failed.
    WriteFailed,
    /// A block of a write request is longer than agreed.
    LongBlock,
}

impl Refusal {
    /// The error code on the wire (RFC 1350, appendix).
    ///
    /// Permanent faults are 1 or 2: firmware starts again after any other code.
    pub fn code(self) -> u16 {
        self.code_and_message().0
    }

    /// The text on the wire and in the log. It never holds a path of the server.
    pub fn message(self) -> &'static str {
        self.code_and_message().1
    }

    fn code_and_message(self) -> (u16, &'static str) {
        match self {
            Refusal::NotFound => (1, "no such file"),
            Refusal::EmptyName => (1, "empty file name"),
            Refusal::NameTooLong => (2, "file name too long"),
            Refusal::OutsideRoot => (2, "outside the served directory"),
            Refusal::NotAFile => (2, "not a regular file"),
            Refusal::NoAccess => (2, "access denied"),
            Refusal::NotPublic => (2, "not readable by others (o+r)"),
            Refusal::Forbidden => (2, "access violation"),
            Refusal::ReadOnly => (2, "uploads are off"),
            Refusal::MailMode => (4, "mail mode is not supported"),
            Refusal::UnknownMode => (4, "unknown transfer mode"),
            Refusal::ReadFailed => (0, "file changed or could not be read"),
            Refusal::FileChanged => (0, "file changed while it was sent"),
            Refusal::NoDirectory => (2, "no such directory"),
            Refusal::NoUploadsHere => (2, "no uploads to this directory"),
            Refusal::FileExists => (2, "file exists and is not replaced"),
            Refusal::NotPublicForWriting => (2, "not writable by others (o+w)"),
            Refusal::BeingWritten => (2, "another upload of this file is under way"),
            Refusal::NoSpace => (3, "disk full or file too large"),
            Refusal::WriteFailed => (0, "file could not be written"),
            Refusal::LongBlock => (4, "block longer than agreed"),
        }
    }
}

/// Why a datagram is dropped without an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Malformed {
    /// Too short for its opcode.
    Short,
    /// An opcode that has no place on this socket.
    Opcode,
    /// The file name does not end.
    Name,
    /// The mode is missing or does not end.
    Mode,
    /// Longer than any request.
    Oversized,
    /// From a port that no client has: 0, which no answer reaches, or that of a server, which would answer in turn.
    Unanswerable,
}

/// The 16-bit number at `at`, in network byte order, if the datagram is that long.
pub(crate) fn number_at(datagram: &[u8], at: usize) -> Option<u16> {
    let bytes = datagram.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Splits `bytes` at the first NUL: what stands before it and what follows it.
pub(crate) fn split_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}
