//! What is particular to a world, and the words in which it speaks: packets, files, sockets, addresses.

use std::net::{IpAddr, Ipv4Addr};

use ripple_tftpd::moment::Moment;
use ripple_tftpd::name::FileName;
use ripple_tftpd::server::{Event, Incoming, Local, OpenError, SendError, StoreError};
use ripple_tftpd::transfer::Negotiated;
use ripple_tftpd::wire::{Mode, Peer, Refusal};

/// What is particular to a world: what becomes of a packet, and what fails beside what the world was told to.
pub(crate) trait Site {
    /// A file is looked for.
    ///
    /// # Errors
    /// As for `Io::find`.
    fn find(&mut self) -> Result<(), OpenError> {
        Ok(())
    }

    /// A file is opened that is there.
    ///
    /// # Errors
    /// As for `Io::open`.
    fn open(&mut self, _client: usize, socket: &Socket) -> Result<Stream, OpenError> {
        Ok(Stream::plain(socket))
    }

    /// A block of an upload is to be stored.
    ///
    /// # Errors
    /// As for `Io::store`.
    fn store(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// A packet leaves.
    ///
    /// # Errors
    /// As for `Io::send`.
    fn send(
        &mut self,
        now: Moment,
        client: usize,
        socket: &Socket,
        datagram: Datagram<'_>,
    ) -> Result<(), SendError>;

    /// The server was told that a socket is full.
    fn note_full(&mut self, _client: usize) {}

    /// A request is answered with an ERROR.
    fn refuse(&mut self, _: Moment, _: Peer, _: Refusal) {}

    /// As `Io::receive`.
    fn receive(&mut self, _client: usize, _: &mut [u8]) -> Incoming {
        Incoming::Nothing
    }

    /// A socket is gone.
    fn close(&mut self, _client: usize, _: &Socket) {}

    /// As `Io::report`.
    fn report(&mut self, _: Moment, _: Event<'_>) {}
}

/// A packet that leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Datagram<'a> {
    /// With its bytes.
    Oack(&'a Negotiated, &'a [u8]),
    Data {
        block: u64,
        offset: u64,
        length: u16,
    },
    Ack(u16),
    Error(Refusal),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct File {
    /// Files are numbered as they were added.
    pub(crate) number: u16,
    /// In bytes.
    pub(crate) size: u64,
}

/// What an upload has instead.
pub(super) const NO_FILE: File = File {
    number: u16::MAX,
    size: 0,
};

/// What was stored of an upload.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) bytes: Vec<u8>,
    /// Those of them that are in memory only.
    pub(super) unwritten: usize,
    pub(super) has_ended: bool,
    pub(super) is_safe: bool,
}

/// What is sent of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stream {
    /// In bytes; the server is told in octet mode only.
    pub(crate) length: u64,
    pub(crate) payload_max: Option<u16>,
}

impl Stream {
    /// The file as it lies there.
    pub(crate) fn plain(socket: &Socket) -> Stream {
        Stream {
            length: socket.file.size,
            payload_max: None,
        }
    }
}

/// A file and a socket that were opened, and for whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Socket {
    pub(crate) opened_at: Moment,
    pub(crate) peer: Peer,
    pub(crate) name: Vec<u8>,
    pub(crate) mode: Mode,
    pub(crate) blksize: u16,
    pub(crate) file: File,
    pub(super) length: u64,
    pub(crate) upload: Option<Stored>,
    /// Another one was opened for the same peer since.
    pub(super) is_older: bool,
    /// The block that was sent last, or stored last.
    pub(crate) block: u64,
    /// It took nothing more and did not become writable yet.
    pub(super) is_full: bool,
    /// Something came from the client.
    pub(super) was_heard: bool,
    /// Packets sent before that, and requests of its peer, each of which may draw one more.
    pub(super) sent_unheard: u64,
    pub(super) repeats: u64,
}

impl Socket {
    pub(super) fn new(
        opened_at: Moment,
        peer: Peer,
        name: FileName<'_>,
        mode: Mode,
        blksize: u16,
        file: File,
    ) -> Socket {
        Socket {
            opened_at,
            peer,
            name: name.as_bytes().to_vec(),
            mode,
            blksize,
            file,
            length: file.size,
            upload: None,
            is_older: false,
            block: 0,
            is_full: false,
            was_heard: false,
            sent_unheard: 0,
            repeats: 0,
        }
    }

    /// Its peer; of two sockets of one peer, the older is that of [`older`].
    pub(crate) fn told_peer(&self) -> Peer {
        match self.is_older {
            true => older(self.peer),
            false => self.peer,
        }
    }
}

/// A port of the host with this number.
pub(crate) fn host(number: u8, port: u16) -> Peer {
    Peer {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)),
        port,
        scope: 0,
    }
}

/// Stands for the older of two transfers of a peer that has begun anew.
pub(crate) fn older(peer: Peer) -> Peer {
    Peer {
        scope: OLDER,
        ..peer
    }
}

/// No interface has this number.
pub(super) const OLDER: u32 = u32::MAX;

/// An address of the server.
pub(crate) const LOCAL: Local = Local {
    address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254)),
    interface: 0,
    listener: 1,
    is_broadcast: false,
};
