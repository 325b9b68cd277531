//! The fixture for a whole `Server`: a script like that of `talk`, with several clients, and a world that
//! remembers what it was told to send, open, close and log.
//!
//! Timers come up by the tick of the server's wheel, so `at` lets everything happen that is due by then;
//! the script names it on the same line.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use ripple_tftpd::moment::Moment;
use ripple_tftpd::name::{FileName, RootPrefixes};
use ripple_tftpd::server::{Event, Io, Limits, Local, Opened, Opening, Server, Unopened, Unsent};
use ripple_tftpd::transfer::options::OACK_MAX;
use ripple_tftpd::transfer::{Datagrams, Departed, Outcome};
use ripple_tftpd::wire::{Mode, Peer, Refusal};

use crate::{moment, option_bytes};

const SERVER: Local = Local {
    address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    interface: 0,
    listener: 0,
    is_everybody: false,
};

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
    Error(Refusal),
}

/// How a request ended: port, outcome, bytes that arrived.
type Ending = (u16, Outcome, u64);

/// Which transfer of a port: a client that begins anew has two for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Transfer {
    Newest,
    Older,
}

/// A file and a socket.
struct Open {
    port: u16,
    length: u64,
    /// Which opening it is.
    number: usize,
}

/// What the server did to the world.
#[derive(Default)]
struct World {
    /// By client number.
    open: BTreeMap<usize, Open>,
    /// Reading fails from now on.
    is_unreadable: bool,
    left: VecDeque<(u16, Packet, Transfer)>,
    ended: VecDeque<Ending>,
    /// How often a file was opened.
    opened: usize,
}

impl World {
    /// The client of the server that has the newest or the older transfer of a port.
    fn client(&self, port: u16, which: Transfer) -> Option<usize> {
        let of_port = self.open.iter().filter(|(_, open)| open.port == port);
        let mut clients: Vec<_> = of_port
            .map(|(&client, open)| (open.number, client))
            .collect();
        clients.sort_unstable();
        let (_, newest) = clients.pop()?;
        match which {
            Transfer::Newest => Some(newest),
            Transfer::Older => clients.pop().map(|(_, older)| older),
        }
    }

    fn leave(&mut self, client: usize, packet: Packet) {
        let port = self.open[&client].port;
        let which = match self.client(port, Transfer::Newest) == Some(client) {
            true => Transfer::Newest,
            false => Transfer::Older,
        };
        self.left.push_back((port, packet, which));
    }

    fn length(name: FileName<'_>) -> Result<u64, Unopened> {
        let known = [KERNEL, CONFIG, IMAGE]
            .into_iter()
            .find(|(known, _)| known.as_bytes() == name.as_bytes());
        match known {
            Some((_, length)) => Ok(length),
            None if name.as_bytes() == DIRECTORY.as_bytes() => {
                Err(Unopened::Refused(Refusal::NotAFile))
            }
            None => Err(Unopened::Refused(Refusal::NotFound)),
        }
    }
}

impl Io for World {
    fn find(&mut self, name: FileName<'_>) -> Result<u64, Unopened> {
        World::length(name)
    }

    fn open(&mut self, client: usize, opening: Opening<'_>) -> Result<Opened, Unopened> {
        assert_eq!(
            opening.local, SERVER,
            "answers leave from the address asked"
        );
        let length = World::length(opening.name)?;
        self.opened += 1;
        let open = Open {
            port: opening.peer.port,
            length,
            number: self.opened,
        };
        let other = self.open.insert(client, open);
        assert!(other.is_none(), "client {client} is opened twice");
        Ok(Opened {
            size: length,
            length: (opening.mode == Mode::Octet).then_some(length),
            payload_max: None,
        })
    }

    fn send(&mut self, client: usize, datagrams: Datagrams<'_>) -> Result<Departed, Unsent> {
        let length = self.open[&client].length;
        let mut departed = Departed {
            packets: 1,
            end: None,
        };
        match datagrams {
            Datagrams::Oack(negotiated) => {
                let mut buffer = [0xAA; OACK_MAX];
                let end = negotiated.write_oack(&mut buffer);
                self.leave(client, Packet::Oack(buffer[..end].to_vec()));
            }
            Datagrams::Data(_) if self.is_unreadable => {
                return Err(Unsent::Unreadable(Refusal::ReadFailed));
            }
            Datagrams::Data(blocks) => {
                let blksize = u64::from(blocks.blksize);
                let last = length / blksize + 1;
                let end = (blocks.first + u64::from(blocks.count)).min(last + 1);
                for block in blocks.first..end {
                    let length = (length - blocks.offset(block)).min(blksize);
                    self.leave(client, Packet::Data { block, length });
                }
                departed.packets = u16::try_from(end - blocks.first).unwrap();
                departed.end = (end == last + 1).then_some(length);
            }
            Datagrams::Error(refusal) => self.leave(client, Packet::Error(refusal)),
        }
        Ok(departed)
    }

    fn refuse(&mut self, peer: Peer, local: Local, refusal: Refusal) {
        assert_eq!(local, SERVER, "answers leave from the address asked");
        let packet = Packet::Error(refusal);
        self.left.push_back((peer.port, packet, Transfer::Newest));
    }

    fn close(&mut self, client: usize) {
        let was_open = self.open.remove(&client);
        assert!(was_open.is_some(), "client {client} is closed twice");
    }

    fn report(&mut self, event: Event<'_>) {
        match event {
            Event::Ended(report) => {
                self.ended
                    .push_back((report.peer.port, report.outcome, report.bytes));
            }
            Event::Refused { .. }
            | Event::Taken { .. }
            | Event::Nonsense { .. }
            | Event::Unanswered { .. }
            | Event::QueueFull { .. }
            | Event::Unreachable { .. }
            | Event::Exhausted
            | Event::LargeBlocksLost { .. }
            | Event::FarAway { .. } => {}
        }
    }
}

/// A conversation of a server with clients, each known by its port.
pub(crate) struct Desk {
    pub(crate) server: Server,
    world: World,
    now: Moment,
}

impl Desk {
    /// A server with this many slots.
    pub(crate) fn new(max_transfers: usize) -> Desk {
        let limits = Limits {
            max_transfers,
            // Here the rules of a transfer are at stake, and not who waits for whom.
            hold: None,
            reclaim: false,
            small_file: 0,
            ..Limits::default()
        };
        Desk {
            server: Server::new(Moment::START, limits, RootPrefixes::default()),
            world: World::default(),
            now: Moment::START,
        }
    }

    /// Time goes on, and everything that is due by then happens.
    pub(crate) fn at(&mut self, seconds: f64) -> &mut Desk {
        self.nothing();
        let until = moment(seconds);
        while let Some(wakeup) = self.server.next_wakeup().filter(|&wakeup| wakeup <= until) {
            self.now = self.now.max(wakeup);
            self.turn();
        }
        self.now = until;
        self
    }

    // What comes in.

    /// A read request in octet mode.
    pub(crate) fn asks(&mut self, port: u16, (name, _): (&str, u64), options: &str) -> &mut Desk {
        let start = [b"\0\x01", name.as_bytes(), b"\0octet\0"].concat();
        let datagram = [start, option_bytes(options)].concat();
        self.listener_gets(port, &datagram)
    }

    /// Any datagram on the listening socket.
    pub(crate) fn listener_gets(&mut self, port: u16, datagram: &[u8]) -> &mut Desk {
        self.nothing();
        let peer = Peer {
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 99)),
            port,
            scope: 0,
        };
        self.server
            .on_request(self.now, &mut self.world, peer, SERVER, datagram);
        self.turn()
    }

    /// Any datagram on the socket of the client with this port.
    pub(crate) fn socket_gets(&mut self, port: u16, datagram: &[u8]) -> &mut Desk {
        self.nothing();
        self.reply(port, Transfer::Newest, datagram);
        self.turn()
    }

    fn reply(&mut self, port: u16, which: Transfer, datagram: &[u8]) {
        let client = self.client(port, which);
        self.server
            .on_reply(self.now, &mut self.world, client, datagram);
    }

    /// An ACK on the older of two sockets of this port.
    pub(crate) fn older_gets_ack(&mut self, port: u16, block: u16) -> &mut Desk {
        self.nothing();
        let [high, low] = block.to_be_bytes();
        self.reply(port, Transfer::Older, &[0, 4, high, low]);
        self.turn()
    }

    /// An ERROR with this code on the older of two sockets of this port.
    pub(crate) fn older_gets_error(&mut self, port: u16, code: u8) -> &mut Desk {
        self.nothing();
        self.reply(port, Transfer::Older, &[0, 5, 0, code, 0]);
        self.turn()
    }

    /// An ACK and, read in the same turn, a request.
    pub(crate) fn acks_and_asks(
        &mut self,
        port: u16,
        block: u16,
        (name, _): (&str, u64),
        options: &str,
    ) -> &mut Desk {
        let [high, low] = block.to_be_bytes();
        self.nothing()
            .reply(port, Transfer::Newest, &[0, 4, high, low]);
        let start = [b"\0\x01", name.as_bytes(), b"\0octet\0"].concat();
        self.listener_gets(port, &[start, option_bytes(options)].concat())
    }

    pub(crate) fn acks(&mut self, port: u16, block: u16) -> &mut Desk {
        let [high, low] = block.to_be_bytes();
        self.socket_gets(port, &[0, 4, high, low])
    }

    pub(crate) fn sends_error(&mut self, port: u16, code: u16) -> &mut Desk {
        let [high, low] = code.to_be_bytes();
        let datagram = [&[0, 5, high, low], &b"no more\0"[..]].concat();
        self.socket_gets(port, &datagram)
    }

    /// ICMP port unreachable.
    pub(crate) fn closes_its_port(&mut self, port: u16) -> &mut Desk {
        self.nothing();
        let client = self.client(port, Transfer::Newest);
        self.server
            .on_port_closed(self.now, &mut self.world, client);
        self.turn()
    }

    /// SIGTERM.
    pub(crate) fn is_told_to_stop(&mut self) -> &mut Desk {
        let drain = Limits::default().patience;
        self.server.stop(self.now, &mut self.world, drain);
        self.turn()
    }

    /// From now on reading a file fails.
    pub(crate) fn files_break(&mut self) -> &mut Desk {
        self.world.is_unreadable = true;
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

    pub(crate) fn error(&mut self, port: u16, refusal: Refusal) -> &mut Desk {
        self.sent(port, Packet::Error(refusal))
    }

    fn sent(&mut self, port: u16, packet: Packet) -> &mut Desk {
        let found = self.world.left.pop_front();
        let expected = (port, packet, Transfer::Newest);
        assert_eq!(found, Some(expected), "at {:?}", self.now);
        self
    }

    /// The request from this port has come to its end, with so many bytes arrived.
    pub(crate) fn ended(&mut self, port: u16, outcome: Outcome, bytes: u64) -> &mut Desk {
        let found = self.world.ended.pop_front();
        assert_eq!(found, Some((port, outcome, bytes)), "at {:?}", self.now);
        self
    }

    /// Nothing (more) was sent, and nothing (more) has ended.
    pub(crate) fn nothing(&mut self) -> &mut Desk {
        assert!(
            self.world.left.is_empty(),
            "these left too: {:?}",
            self.world.left
        );
        assert!(
            self.world.ended.is_empty(),
            "these ended too: {:?}",
            self.world.ended
        );
        self
    }

    /// So many clients run, and so many sockets are open.
    pub(crate) fn serves(&mut self, running: usize, sockets: usize) -> &mut Desk {
        assert_eq!(self.server.running(), running, "running");
        assert_eq!(self.world.open.len(), sockets, "open sockets");
        self
    }

    /// How often a file was opened so far.
    pub(crate) fn opened(&self) -> usize {
        self.world.opened
    }

    // Behind the scenes.

    /// Turns of the daemon's loop, wake and then send, until it would sleep. Whatever is to happen now
    /// must have happened by then; the audit fails where a slot is free and somebody waits.
    fn turn(&mut self) -> &mut Desk {
        for _ in 0..TURNS_MAX {
            self.server.on_wakeup(self.now, &mut self.world);
            self.server.send_ready(self.now, &mut self.world);
            let is_due = |wakeup| wakeup <= self.now;
            if !self.server.has_ready() && !self.server.next_wakeup().is_some_and(is_due) {
                self.server.audit(self.now);
                return self;
            }
        }
        panic!("the loop never comes to rest");
    }

    fn client(&self, port: u16, which: Transfer) -> usize {
        let client = self.world.client(port, which);
        client.expect("a client with this port has such a socket")
    }
}

impl Drop for Desk {
    /// A script that ends must have named everything that happened.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.nothing();
        }
    }
}

/// More turns in one moment than any script needs.
const TURNS_MAX: usize = 1000;
