//! The fixture for a whole `Server`: a script like that of `talk`, with several clients, for a server
//! in the laboratory.
//!
//! Timers come up by the tick of the server's wheel, so `at` lets everything happen that is due by then;
//! the script names it on the same line.

use std::collections::VecDeque;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::name::RootPrefixes;
use ripple_tftpd::server::{Event, Incoming, Limits, SendError};
use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::{Peer, Refusal};

use crate::laboratory::{Datagram, LOCAL, Lab, Site, Socket, host, older, packets};
use crate::{moment, option_bytes};

/// The files of the world, and their lengths.
pub(crate) const KERNEL: (&str, u64) = ("kernel", 10_000);
pub(crate) const CONFIG: (&str, u64) = ("config", 100);
pub(crate) const IMAGE: (&str, u64) = ("image", 5_000_000_000);
const DIRECTORY: &str = "directory";

/// A packet that left towards a client's port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Packet {
    /// Whole, as bytes.
    Oack(Vec<u8>),
    Data {
        block: u64,
        length: u64,
    },
    Ack(u16),
    Error(Refusal),
}

/// How a request ended: port, outcome, bytes that arrived.
type Ending = (u16, Outcome, u64);

/// What the server did and the script has not named yet. Packets to the [`older`] of two transfers are told apart.
pub(crate) struct Unnamed {
    left: VecDeque<(Peer, Packet)>,
    /// When a packet last left.
    pub(crate) last_sent_at: Moment,
    ended: VecDeque<Ending>,
    /// What the socket of the only client holds; `None`: its port was closed.
    unread: VecDeque<Option<Vec<u8>>>,
}

impl Default for Unnamed {
    fn default() -> Unnamed {
        Unnamed {
            left: VecDeque::new(),
            last_sent_at: Moment::START,
            ended: VecDeque::new(),
            unread: VecDeque::new(),
        }
    }
}

impl Unnamed {
    /// What the server did so far is of no matter.
    pub(crate) fn forget(&mut self) {
        self.left.clear();
        self.ended.clear();
    }
}

impl Site for Unnamed {
    fn send(
        &mut self,
        now: Moment,
        _: usize,
        socket: &Socket,
        datagram: Datagram<'_>,
    ) -> Result<(), SendError> {
        self.last_sent_at = now;
        let packet = match datagram {
            Datagram::Oack(_, bytes) => Packet::Oack(bytes.to_vec()),
            Datagram::Data { block, length, .. } => Packet::Data {
                block,
                length: length.into(),
            },
            Datagram::Ack(block) => Packet::Ack(block),
            Datagram::Error(refusal) => Packet::Error(refusal),
        };
        self.left.push_back((socket.told_peer(), packet));
        Ok(())
    }

    fn receive(&mut self, _: usize, buffer: &mut [u8]) -> Incoming {
        match self.unread.pop_front() {
            None => Incoming::Nothing,
            Some(None) => Incoming::PortClosed,
            Some(Some(datagram)) => {
                buffer[..datagram.len()].copy_from_slice(&datagram);
                Incoming::Datagram(datagram.len())
            }
        }
    }

    fn refuse(&mut self, _: Moment, peer: Peer, refusal: Refusal) {
        self.left.push_back((peer, Packet::Error(refusal)));
    }

    fn report(&mut self, _: Moment, event: Event<'_>) {
        if let Event::Ended(report) = event {
            let ending = (report.peer.port, report.outcome, report.bytes);
            self.ended.push_back(ending);
        }
    }
}

/// A conversation of a server with clients, each known by its port.
pub(crate) struct Desk {
    pub(crate) lab: Lab<Unnamed>,
}

impl Desk {
    /// A server with this many slots.
    pub(crate) fn new(max_transfers: usize) -> Desk {
        Desk::with(Limits {
            max_transfers,
            // Here the rules of a transfer are at stake, and not who waits for whom.
            hold: None,
            reclaim: false,
            small_file: 0,
            ..Limits::default()
        })
    }

    pub(crate) fn with(limits: Limits) -> Desk {
        let root = RootPrefixes::default();
        let mut lab = Lab::start(Moment::START, limits, root, Unnamed::default());
        for (name, size) in [KERNEL, CONFIG, IMAGE] {
            lab.world.add_file(name, size);
        }
        lab.world.add_fault(DIRECTORY, Refusal::NotAFile);
        lab.world.takes_uploads = true;
        Desk { lab }
    }

    /// Time goes on, and everything that is due by then happens.
    pub(crate) fn at(&mut self, seconds: f64) -> &mut Desk {
        self.nothing();
        self.lab.pass_until(moment(seconds));
        self
    }

    // What comes in.

    /// A read request in octet mode.
    pub(crate) fn asks(&mut self, port: u16, (name, _): (&str, u64), options: &str) -> &mut Desk {
        let request = packets::request(1, name, "octet", &[]);
        let datagram = [request, option_bytes(options)].concat();
        self.listener_gets(port, &datagram)
    }

    /// A write request in octet mode.
    pub(crate) fn writes(&mut self, port: u16, name: &str, options: &str) -> &mut Desk {
        let request = packets::request(2, name, "octet", &[]);
        let datagram = [request, option_bytes(options)].concat();
        self.listener_gets(port, &datagram)
    }

    /// A block of an upload: of bytes that tell where in the file they belong.
    pub(crate) fn block(&mut self, port: u16, block: u64, length: usize) -> &mut Desk {
        let [.., high, low] = block.to_be_bytes();
        let bytes = block_bytes(block, length);
        self.socket_gets(port, &[&[0, 3, high, low][..], &bytes].concat())
    }

    /// There is room again for what this client sends.
    pub(crate) fn has_room(&mut self, port: u16) -> &mut Desk {
        self.lab.has_room(client(port));
        self.turn()
    }

    /// Any datagram on the listening socket.
    pub(crate) fn listener_gets(&mut self, port: u16, datagram: &[u8]) -> &mut Desk {
        self.nothing();
        self.lab.request(client(port), LOCAL, datagram);
        self.turn()
    }

    /// Any datagram on the socket of the client with this port.
    pub(crate) fn socket_gets(&mut self, port: u16, datagram: &[u8]) -> &mut Desk {
        self.reply(client(port), datagram).turn()
    }

    /// An ACK on the older of two sockets of this port.
    pub(crate) fn older_gets_ack(&mut self, port: u16, block: u16) -> &mut Desk {
        let ack = packets::ack(block.into());
        self.reply(older(client(port)), &ack).turn()
    }

    /// An ERROR with this code on the older of two sockets of this port.
    pub(crate) fn older_gets_error(&mut self, port: u16, code: u8) -> &mut Desk {
        self.reply(older(client(port)), &packets::error(code))
            .turn()
    }

    /// An ACK and, read in the same turn, a request.
    pub(crate) fn acks_and_asks(
        &mut self,
        port: u16,
        block: u16,
        file: (&str, u64),
        options: &str,
    ) -> &mut Desk {
        self.reply(client(port), &packets::ack(block.into()))
            .asks(port, file, options)
    }

    pub(crate) fn acks(&mut self, port: u16, block: u16) -> &mut Desk {
        self.socket_gets(port, &packets::ack(block.into()))
    }

    pub(crate) fn sends_error(&mut self, port: u16, code: u16) -> &mut Desk {
        self.socket_gets(port, &packets::error(code))
    }

    /// The socket of the only client holds this, and nothing says so; `None`: its port was closed.
    pub(crate) fn holds_unread(&mut self, unread: &[Option<[u8; 4]>]) -> &mut Desk {
        let unread = unread.iter().map(|it| it.map(Vec::from));
        self.lab.world.unread.extend(unread);
        self
    }

    /// The poll says that this socket may hold something.
    pub(crate) fn is_readable(&mut self, port: u16) -> &mut Desk {
        self.nothing();
        let client = self.client(client(port));
        self.lab.readable(client);
        self.turn()
    }

    /// ICMP port unreachable.
    pub(crate) fn closes_its_port(&mut self, port: u16) -> &mut Desk {
        self.nothing();
        let client = self.client(client(port));
        self.lab.port_closes(client);
        self.turn()
    }

    /// SIGTERM.
    pub(crate) fn is_told_to_stop(&mut self) -> &mut Desk {
        self.lab.stop();
        self.turn()
    }

    /// From now on reading a file fails.
    pub(crate) fn files_break(&mut self) -> &mut Desk {
        for (name, _) in [KERNEL, CONFIG, IMAGE] {
            self.lab.world.unreadable.insert(name.into());
        }
        self
    }

    // What must go out.

    /// An OACK that says this: "blksize 1024, tsize 10000".
    pub(crate) fn oack(&mut self, port: u16, options: &str) -> &mut Desk {
        let bytes = [vec![0, 6], option_bytes(options)].concat();
        self.sent(port, Packet::Oack(bytes))
    }

    pub(crate) fn data(&mut self, port: u16, block: u64, length: u64) -> &mut Desk {
        self.sent(port, Packet::Data { block, length })
    }

    pub(crate) fn ack(&mut self, port: u16, block: u16) -> &mut Desk {
        self.sent(port, Packet::Ack(block))
    }

    /// This file was uploaded whole, in blocks of `blksize` bytes.
    pub(crate) fn has_file(&mut self, name: &str, size: usize, blksize: usize) -> &mut Desk {
        let blocks = (1..).map(|block| block_bytes(block, blksize));
        let whole: Vec<u8> = blocks.flatten().take(size).collect();
        let found = self.lab.world.uploaded.get(name.as_bytes());
        assert!(found == Some(&whole), "{name} is not what was sent");
        self
    }

    /// The upload from port 2000 has come to its end, and the file is whole.
    pub(crate) fn received(&mut self, name: &str, size: usize, blksize: usize) -> &mut Desk {
        self.ended(2000, Outcome::Complete, size as u64)
            .has_file(name, size, blksize)
    }

    pub(crate) fn has_no_file(&mut self, name: &str) -> &mut Desk {
        assert!(!self.lab.world.uploaded.contains_key(name.as_bytes()));
        self
    }

    pub(crate) fn error(&mut self, port: u16, refusal: Refusal) -> &mut Desk {
        self.sent(port, Packet::Error(refusal))
    }

    /// An ERROR to another host.
    pub(crate) fn error_of(&mut self, peer: Peer, refusal: Refusal) -> &mut Desk {
        self.sent_to(peer, Packet::Error(refusal))
    }

    fn sent(&mut self, port: u16, packet: Packet) -> &mut Desk {
        self.sent_to(client(port), packet)
    }

    fn sent_to(&mut self, peer: Peer, packet: Packet) -> &mut Desk {
        let found = self.lab.world.left.pop_front();
        let expected = (peer, packet);
        assert_eq!(found, Some(expected), "at {:?}", self.lab.world.now);
        self
    }

    /// The request from this port has come to its end, with this number of bytes arrived.
    pub(crate) fn ended(&mut self, port: u16, outcome: Outcome, bytes: u64) -> &mut Desk {
        let found = self.lab.world.ended.pop_front();
        let expected = (port, outcome, bytes);
        assert_eq!(found, Some(expected), "at {:?}", self.lab.world.now);
        self
    }

    /// Nothing (more) was sent, and nothing (more) has ended.
    pub(crate) fn nothing(&mut self) -> &mut Desk {
        let Unnamed { left, ended, .. } = &self.lab.world.site;
        assert!(left.is_empty(), "these left too: {left:?}");
        assert!(ended.is_empty(), "these ended too: {ended:?}");
        self
    }

    /// This number of clients run, and this number of sockets are open.
    pub(crate) fn serves(&mut self, running: usize, sockets: usize) -> &mut Desk {
        assert_eq!(self.lab.server.running(), running, "running");
        assert_eq!(self.lab.world.open_now(), sockets, "open sockets");
        self
    }

    /// How often a file was opened so far.
    pub(crate) fn opened(&self) -> u64 {
        self.lab.world.opened
    }

    // Behind the scenes.

    /// Whatever is to happen now happens.
    fn turn(&mut self) -> &mut Desk {
        self.lab.come_to_rest();
        self
    }

    fn reply(&mut self, peer: Peer, datagram: &[u8]) -> &mut Desk {
        self.nothing();
        let client = self.client(peer);
        self.lab.reply(client, datagram);
        self
    }

    fn client(&self, peer: Peer) -> usize {
        let client = self.lab.world.client_of(peer);
        client.expect("a client with this port has such a socket")
    }
}

/// What block `block` of an upload holds.
fn block_bytes(block: u64, length: usize) -> Vec<u8> {
    let [.., high, low] = block.to_be_bytes();
    let pattern = [high, low, high ^ 0x5A];
    pattern.iter().copied().cycle().take(length).collect()
}

/// The client with this port.
pub(crate) fn client(port: u16) -> Peer {
    host(99, port)
}

impl Drop for Desk {
    /// A script that ends must have named everything that happened.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.nothing();
        }
    }
}
