//! The server's hands: [`Io`] for real, with sockets, files and the log.
//!
//! The only file that knows both the protocol core and the operating system.

use std::io::{self, ErrorKind, IoSlice};

use nix::errno::Errno;

use super::log::Log;
use crate::moment::Moment;
use crate::name::FileName;
use crate::os;
use crate::os::content::Content;
use crate::os::files::{Files, Unavailable};
use crate::os::listener::Listener;
use crate::os::poll::{Poll, Source};
use crate::os::socket::ClientSocket;
use crate::server::{Event, Io, Local, Opened, Opening, Unopened, Unsent};
use crate::transfer::options::{BLKSIZE_DEFAULT, OACK_MAX};
use crate::transfer::{Blocks, Datagrams, Departed};
use crate::wire::{DataHeader, ERROR_PACKET_MAX, Mode, Peer, Refusal, write_error};

/// Everything outside of the server.
#[derive(Debug)]
pub(super) struct World {
    /// What wakes the loop.
    pub poll: Poll,
    /// Where requests come in.
    pub listeners: Vec<Listener>,
    /// What is told to the operator.
    pub log: Log,
    /// The time of this turn of the loop.
    pub now: Moment,
    files: Files,
    /// By the client's number.
    connections: Vec<Option<Connection>>,
    mtu_clamp: bool,
}

/// What is open for a client.
#[derive(Debug)]
pub(super) struct Connection {
    /// Its socket.
    pub socket: ClientSocket,
    content: Content,
    wants_writable: bool,
}

impl World {
    /// The world of a server that is about to begin.
    pub(super) fn new(poll: Poll, files: Files, log: Log, now: Moment, mtu_clamp: bool) -> World {
        let listeners = Vec::new();
        World {
            poll,
            listeners,
            log,
            now,
            files,
            connections: Vec::new(),
            mtu_clamp,
        }
    }

    /// What is open for `client`, if anything is.
    pub(super) fn connection(&self, client: usize) -> Option<&Connection> {
        self.connections.get(client)?.as_ref()
    }

    /// The socket of `client` became writable: no need to be told again.
    pub(super) fn on_writable(&mut self, client: usize) {
        self.watch_writable(client, false);
    }

    /// Asks to be told when the socket of `client` takes packets again, or no longer.
    fn watch_writable(&mut self, client: usize, wanted: bool) {
        let Some(connection) = self.connections.get_mut(client).and_then(Option::as_mut) else {
            return;
        };
        if connection.wants_writable == wanted {
            return;
        }
        match self
            .poll
            .want_writable(&connection.socket, Source::Client(client), wanted)
        {
            Ok(()) => connection.wants_writable = wanted,
            Err(error) => self.log.warning(self.now, || format!("epoll: {error}")),
        }
    }

    fn payload_max(&self, socket: &ClientSocket, blksize: u16) -> Option<u16> {
        // Every path carries the default block size or has to cut it up.
        if !self.mtu_clamp || blksize <= BLKSIZE_DEFAULT {
            return None;
        }
        socket.payload_max().ok()
    }
}

impl Io for World {
    fn find(&mut self, name: FileName<'_>) -> Result<u64, Unopened> {
        self.files.find(name).map_err(unopened)
    }

    fn open(&mut self, client: usize, opening: Opening<'_>) -> Result<Opened, Unopened> {
        let as_text = opening.mode == Mode::Netascii;
        let (content, size) = self.files.open(opening.name, as_text).map_err(unopened)?;
        let Local {
            address, interface, ..
        } = opening.local;
        let socket = ClientSocket::connect(address, interface, opening.peer.into())
            .and_then(|socket| {
                self.poll
                    .add(&socket, Source::Client(client))
                    .map(|()| socket)
            })
            .map_err(|error| match os::is_exhaustion(&error) {
                true => Unopened::Exhausted,
                false => Unopened::Unreachable,
            })?;
        let opened = Opened {
            size,
            length: content.length(),
            payload_max: self.payload_max(&socket, opening.blksize),
        };
        if self.connections.len() <= client {
            self.connections.resize_with(client + 1, || None);
        }
        self.connections[client] = Some(Connection {
            socket,
            content,
            wants_writable: false,
        });
        Ok(opened)
    }

    fn send(&mut self, client: usize, datagrams: Datagrams<'_>) -> Result<Departed, Unsent> {
        let connection = self.connections.get_mut(client).and_then(Option::as_mut);
        let connection = connection.expect("the server sends to open clients only");
        let result = match datagrams {
            Datagrams::Oack(negotiated) => {
                let mut buffer = [0; OACK_MAX];
                let length = negotiated.write_oack(&mut buffer);
                connection.send_whole(&buffer[..length])
            }
            Datagrams::Error(refusal) => {
                let mut buffer = [0; ERROR_PACKET_MAX];
                let length = write_error(refusal, &mut buffer);
                connection.send_whole(&buffer[..length])
            }
            Datagrams::Data(blocks) => connection.send_blocks(blocks),
        };
        if result == Err(Unsent::Full) {
            self.watch_writable(client, true);
        }
        result
    }

    fn refuse(&mut self, peer: Peer, local: Local, refusal: Refusal) {
        let Some(listener) = self.listeners.get(local.listener) else {
            return;
        };
        let mut buffer = [0; ERROR_PACKET_MAX];
        let length = write_error(refusal, &mut buffer);
        let sent = listener.send_from(
            local.address,
            local.interface,
            peer.into(),
            &buffer[..length],
        );
        if let Err(error) = sent {
            self.log
                .warning(self.now, || format!("{peer}: cannot be answered: {error}"));
        }
    }

    fn close(&mut self, client: usize) {
        self.connections[client] = None;
    }

    fn report(&mut self, event: Event<'_>) {
        self.log.event(self.now, event);
    }
}

impl Connection {
    fn send_whole(&self, datagram: &[u8]) -> Result<Departed, Unsent> {
        sent(self.socket.send(&[IoSlice::new(datagram)]))?;
        Ok(Departed {
            packets: 1,
            end: None,
        })
    }

    fn send_blocks(&mut self, blocks: Blocks) -> Result<Departed, Unsent> {
        let Blocks {
            first,
            count,
            blksize,
            oldest,
        } = blocks;
        let oldest = blocks.offset(oldest.max(1));
        let mut departed = Departed {
            packets: 0,
            end: None,
        };
        for block in first..first + u64::from(count) {
            let offset = blocks.offset(block);
            let result = self.send_block(block, offset, blksize, oldest);
            match result {
                Ok(length) => {
                    departed.packets += 1;
                    if length < usize::from(blksize) {
                        departed.end = Some(offset + length as u64);
                        break;
                    }
                }
                Err(Unsent::Full) if departed.packets > 0 => break,
                Err(unsent) => return Err(unsent),
            }
        }
        Ok(departed)
    }

    /// Sends one block and tells how many bytes of the file it holds.
    fn send_block(
        &mut self,
        block: u64,
        offset: u64,
        blksize: u16,
        oldest: u64,
    ) -> Result<usize, Unsent> {
        let header = DataHeader::new(block);
        let [front, back] = self
            .content
            .block(offset, blksize, oldest)
            .map_err(|_| Unsent::Unreadable)?;
        let pieces = [&header.0[..], front, back].map(IoSlice::new);
        let count = if back.is_empty() { 2 } else { 3 };
        sent(self.socket.send(&pieces[..count]))?;
        Ok(front.len() + back.len())
    }
}

/// What the result of a send means: the network may lose packets, and so may a full device queue, a
/// firewall or a route that is gone; the timer repeats what was lost.
fn sent(result: io::Result<()>) -> Result<(), Unsent> {
    let Err(error) = result else { return Ok(()) };
    if error.kind() == ErrorKind::WouldBlock {
        return Err(Unsent::Full);
    }
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ECONNREFUSED) => Err(Unsent::PortClosed),
        // The file shrank: its pages are gone.
        Some(Errno::EFAULT) => Err(Unsent::Unreadable),
        _ => Ok(()),
    }
}

fn unopened(unavailable: Unavailable) -> Unopened {
    match unavailable {
        Unavailable::Refused(refusal) => Unopened::Refused(refusal),
        Unavailable::Exhausted => Unopened::Exhausted,
    }
}
