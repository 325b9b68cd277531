//! All that lies between the server and the machines: what becomes of packets that leave the world of the
//! [`laboratory`](crate::laboratory).

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::server::{Incoming, OpenError, SendError};
use ripple_tftpd::transfer::options::BLKSIZE_DEFAULT;
use ripple_tftpd::wire::{ERROR_PACKET_MAX, Peer, Refusal, write_error};

use crate::disk::Disk;
use crate::events::{Buffers, Bytes, Content, Event, Events, Reply, moment, number};
use crate::laboratory::{self, Datagram, File, Site, Socket, Stream};
use crate::link::{Lane, Link, Path, nanos, wire_bytes};
use crate::random::Chance;
use crate::world::World;
use ripple_tftpd::firmware::Destination;
use ripple_tftpd::firmware::random::Random;

/// Everything but the server and the machines.
pub(crate) type Network = laboratory::World<Cables>;

/// What is particular to it. The world's own time is that of the core, which is coarser.
#[derive(Debug)]
pub(crate) struct Cables {
    /// Nanoseconds since the beginning.
    pub(crate) clock: u64,
    pub(crate) events: Events,
    pub(crate) buffers: Buffers,
    pub(crate) counts: Counts,
    /// Requests that the server has not read.
    pub(crate) unread: VecDeque<(Peer, Bytes)>,
    /// Clients of the server whose sockets may hold more than it has read.
    pub(crate) readable: Vec<usize>,
    /// How many packets its socket holds.
    pub(crate) receive_buffer: usize,
    /// All transfers take place at that socket.
    pub(crate) single_port: bool,
    /// What is sent by it: bytes that wait for the uplink, and when the last of them will have left.
    shared: Queued,
    request_copies: Chance,
    random: Random,
    uplink: Link,
    /// From the switch to the server: the other direction of the same cable.
    uplink_in: Link,
    /// By machine.
    ways: Vec<Way>,
    hosts: Vec<Host>,
    disk: Option<Disk>,
    /// The server stands still while a page is read that it sends, and until then.
    pub(crate) stands_still: bool,
    pub(crate) stands_until: u64,
    /// By the number of the server's client.
    connections: Vec<Option<Connection>>,
    /// What lies in their sockets.
    inboxes: Vec<VecDeque<Reply>>,
    /// The client at each of the server's ports.
    ports: Vec<u32>,
    next_port: u16,
    /// Packets that wait for the uplink, each with when it will have left.
    leaving: VecDeque<Leaving>,
}

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    /// Datagrams that the server sent.
    pub(crate) sent: u64,
    /// The same in bytes on the wire.
    pub(crate) sent_bytes: u64,
    /// Those of them that found the buffer of the uplink full.
    pub(crate) overflowed: u64,
    /// Packets that found the socket of requests full.
    pub(crate) unheard: u64,
    /// Packets of machines that found a buffer on the way to the server full.
    pub(crate) lost_on_the_way: u64,
    /// Sockets that were opened, and closed.
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    /// How long the disk has read.
    pub(crate) disk_busy: Duration,
}

/// The way between the switch and one machine.
#[derive(Clone, Debug)]
struct Way {
    path: Path,
    link: Link,
    /// From the machine: the other direction of the same cable.
    link_up: Link,
    down: Lane,
    up: Lane,
    host: u32,
}

/// An address.
#[derive(Clone, Debug)]
enum Host {
    /// Of one machine.
    Machine(u32),
    /// Of a translator with several machines behind it.
    Translator {
        outside: HashMap<(u32, u16), u16>,
        /// From [`TRANSLATED_FROM`] on.
        inside: Vec<(u32, u16)>,
    },
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    peer: Peer,
    /// The machine there, and its port; `None` if no machine has ever used that port.
    machine: Option<(u32, u16)>,
    port: u16,
    /// Which opening it is, among all.
    opened: u32,
    queued: Queued,
}

/// What a socket has under way.
#[derive(Clone, Copy, Debug, Default)]
struct Queued {
    /// Bytes that wait for the uplink.
    bytes: u64,
    /// When the last of them will have left.
    empty_at: u64,
}

#[derive(Clone, Copy, Debug)]
struct Leaving {
    at: u64,
    client: u32,
    opened: u32,
    bytes: u64,
}

impl Cables {
    pub(crate) fn new(world: &World, receive_buffer: usize, single_port: bool) -> Cables {
        let population = world.population();
        let shared = world.behind_one_address;
        let host = |number| match shared {
            1 => Host::Machine(number),
            _ => Host::Translator {
                outside: HashMap::new(),
                inside: Vec::new(),
            },
        };
        let way = |(machine, latency): (usize, Option<Duration>)| Way {
            path: Path {
                latency: latency.unwrap_or(world.path.latency),
                ..world.path
            },
            link: Link::new(world.downlink),
            link_up: Link::new(world.downlink),
            down: Lane::default(),
            up: Lane::default(),
            host: number(machine / shared),
        };
        Cables {
            clock: 0,
            events: Events::default(),
            buffers: Buffers::default(),
            counts: Counts::default(),
            unread: VecDeque::new(),
            readable: Vec::new(),
            receive_buffer: world.receive_buffer.unwrap_or(receive_buffer),
            single_port,
            shared: Queued::default(),
            request_copies: world.request_copies,
            random: Random::stream(world.seed, 1),
            uplink: Link::new(world.uplink),
            uplink_in: Link::new(world.uplink),
            ways: world.latencies().enumerate().map(way).collect(),
            hosts: (0..number(population.div_ceil(shared))).map(host).collect(),
            disk: world.disk.map(Disk::new),
            stands_still: false,
            stands_until: 0,
            connections: Vec::new(),
            inboxes: Vec::new(),
            ports: vec![NOBODY; 1 << 16],
            next_port: PORTS_FROM,
            leaving: VecDeque::new(),
        }
    }

    // From the machines to the server.

    /// A machine sends a datagram.
    pub(crate) fn send_up(&mut self, machine: u32, from: u16, to: Destination, bytes: &[u8]) {
        let host = self.ways[machine as usize].host;
        let port = self.hosts[host as usize].port_outside(machine, from);
        let event = match (to, bytes) {
            (Destination::Listener, _) => Event::ToListener {
                host,
                port,
                bytes: self.buffers.keep(bytes),
            },
            (Destination::Transfer(to), &[0, 4, high, low]) => Event::ToTransfer {
                host,
                port,
                to,
                reply: Reply::Ack(u16::from_be_bytes([high, low])),
            },
            (Destination::Transfer(to), _) => Event::ToTransfer {
                host,
                port,
                to,
                reply: Reply::Other(self.buffers.keep(bytes)),
            },
        };
        self.travel_up(machine, bytes.len() as u64, event);
    }

    /// A machine answers that nobody listens at its port `from`.
    pub(crate) fn refuse_up(&mut self, machine: u32, from: u16, to: u16) {
        let host = self.ways[machine as usize].host;
        let port = self.hosts[host as usize].port_outside(machine, from);
        // It quotes the headers of what it is about.
        self.travel_up(machine, 28, Event::ServerUnreachable { host, port, to });
    }

    /// Packets take their turn on the server's cable in the order in which they were sent, and not in that
    /// in which they come to the switch: that differs by no more than one machine has waiting.
    fn travel_up(&mut self, machine: u32, payload: u64, event: Event) {
        let bytes = wire_bytes(payload);
        let way = &mut self.ways[machine as usize];
        let at_switch = way.link_up.take(self.clock, bytes);
        let [first, second] = match at_switch.and_then(|at| self.uplink_in.take(at, bytes)) {
            Some(arrived) => {
                let latency = way.path.latency;
                let arrival = way.up.travel(&way.path, &mut self.random, arrived);
                if matches!(event, Event::ToListener { .. })
                    && self.request_copies.happens(&mut self.random)
                {
                    let behind = nanos(COPY_MIN) + self.random.below(nanos(COPY_SPREAD));
                    let copy = self.copied(event);
                    let at = arrived + nanos(latency) + behind;
                    self.events.file(at, copy);
                }
                arrival
            }
            None => {
                self.counts.lost_on_the_way += 1;
                [None, None]
            }
        };
        self.arrive(first, second, event);
    }

    /// Files the arrival of a packet and of its copy, if they arrive.
    fn arrive(&mut self, first: Option<u64>, second: Option<u64>, event: Event) {
        if let Some(at) = second {
            let copy = self.copied(event);
            self.events.file(at, copy);
        }
        match first {
            Some(at) => self.events.file(at, event),
            None => self.forget(event),
        }
    }

    fn copied(&mut self, mut event: Event) -> Event {
        if let Some(bytes) = bytes_of(&mut event) {
            *bytes = self.buffers.copy(*bytes);
        }
        event
    }

    fn forget(&mut self, mut event: Event) {
        if let Some(bytes) = bytes_of(&mut event) {
            self.buffers.take(*bytes);
        }
    }

    /// A packet has arrived at the socket of requests.
    pub(crate) fn hear(&mut self, host: u32, port: u16, bytes: Bytes) {
        if self.unread.len() >= self.receive_buffer {
            self.counts.unheard += 1;
            self.buffers.take(bytes);
            return;
        }
        self.unread.push_back((peer(host, port), bytes));
    }

    /// A machine's answer has arrived. Returns whether there is a socket for it.
    pub(crate) fn answer(&mut self, host: u32, port: u16, to: u16, reply: Reply) -> bool {
        if self.single_port {
            let bytes = match reply {
                Reply::Ack(block) => {
                    let [high, low] = block.to_be_bytes();
                    self.buffers.keep(&[0, 4, high, low])
                }
                Reply::Other(bytes) => bytes,
            };
            self.hear(host, port, bytes);
            return true;
        }
        let Some(client) = self.client_at(host, port, to) else {
            self.discard(reply);
            self.refuse_down(host, port);
            return false;
        };
        self.inboxes[client].push_back(reply);
        if !self.readable.contains(&client) {
            self.readable.push(client);
        }
        true
    }

    fn discard(&mut self, reply: Reply) {
        if let Reply::Other(bytes) = reply {
            self.buffers.take(bytes);
        }
    }

    /// The server's client at the port `to`, if its socket is connected to this peer.
    pub(crate) fn client_at(&self, host: u32, port: u16, to: u16) -> Option<usize> {
        let client = self.ports[usize::from(to)];
        let connection = self.connections.get(client as usize)?.as_ref()?;
        (connection.peer == peer(host, port)).then_some(client as usize)
    }

    /// ICMP port unreachable for a machine: nothing listens at the server's port that it sent to.
    fn refuse_down(&mut self, host: u32, port: u16) {
        if let Some((machine, port)) = self.hosts[host as usize].inside(port) {
            let at = self.clock + nanos(self.ways[machine as usize].path.latency);
            self.events
                .file(at, Event::MachineUnreachable { machine, port });
        }
    }

    // From the server to the machines.

    /// Puts a packet on the uplink and returns when it will have left it.
    fn send_down(
        &mut self,
        machine: Option<(u32, u16)>,
        from: u16,
        content: Content,
        payload: u64,
    ) -> Option<u64> {
        let bytes = wire_bytes(payload);
        self.counts.sent += 1;
        self.counts.sent_bytes += bytes;
        let left = self.uplink.take(self.clock.max(self.stands_until), bytes);
        let event = |(machine, port)| Event::ToMachine {
            machine,
            port,
            from,
            content,
        };
        let (Some(left), Some(machine)) = (left, machine) else {
            self.counts.overflowed += u64::from(left.is_none());
            self.forget(event(machine.unwrap_or_default()));
            return left;
        };
        let way = &mut self.ways[machine.0 as usize];
        let [first, second] = match way.link.take(left, bytes) {
            Some(arrived) => way.down.travel(&way.path, &mut self.random, arrived),
            None => [None, None],
        };
        self.arrive(first, second, event(machine));
        Some(left)
    }

    /// Sends one packet of a connection, unless its socket is full.
    fn send_one(&mut self, client: usize, content: Content, payload: u64) -> Result<(), SendError> {
        let connection = self.connections[client].expect("the server sends to open clients only");
        let bytes = wire_bytes(payload);
        let (queued, most) = match self.single_port {
            true => (self.shared, SHARED_SOCKET_BUFFER),
            false => (connection.queued, SOCKET_BUFFER),
        };
        if queued.bytes + bytes > most {
            if let Content::Oack(bytes) = content {
                self.buffers.take(bytes);
            }
            return Err(SendError::Full);
        }
        let left = self.send_down(connection.machine, connection.port, content, payload);
        if let Some(at) = left
            && let Some(connection) = &mut self.connections[client]
        {
            for queued in [&mut connection.queued, &mut self.shared] {
                queued.bytes += bytes;
                queued.empty_at = at;
            }
            self.leaving.push_back(Leaving {
                at,
                client: number(client),
                opened: connection.opened,
                bytes,
            });
        }
        Ok(())
    }

    /// Takes note of the packets that have left by now.
    fn settle(&mut self) {
        while let Some(&leaving) = self.leaving.front()
            && leaving.at <= self.clock
        {
            self.leaving.pop_front();
            self.shared.bytes -= leaving.bytes;
            if let Some(connection) = &mut self.connections[leaving.client as usize]
                && connection.opened == leaving.opened
            {
                connection.queued.bytes -= leaving.bytes;
            }
        }
    }

    /// Whether these bytes of a file can be sent now.
    fn is_in_memory(&mut self, file: u16, size: u64, range: (u64, u64)) -> bool {
        let now = self.clock.max(self.stands_until);
        let Some(disk) = &mut self.disk else {
            return true;
        };
        let is_there = disk.prepare(now, file, size, range);
        if !is_there && self.stands_still {
            self.stands_until = disk.ready_at(file, range);
        }
        is_there || self.stands_still
    }

    fn connection(&self, client: usize) -> Connection {
        self.connections[client].expect("the server knows which clients are open")
    }

    /// The machine, and its port, that the server sees as this peer.
    fn machine_at(&self, peer: Peer) -> Option<(u32, u16)> {
        let host = host_of(peer)?;
        self.hosts[host as usize].inside(peer.port)
    }

    fn free_port(&mut self) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(PORTS_FROM);
            if self.ports[usize::from(port)] == NOBODY {
                return port;
            }
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            disk_busy: self.disk.as_ref().map_or(Duration::ZERO, Disk::busy),
            ..self.counts
        }
    }

    /// Each opening has its close, and nothing is open.
    pub(crate) fn is_paired(&self) -> bool {
        let open = self.connections.iter().flatten().count();
        open == 0 && self.counts.opened == self.counts.closed
    }
}

impl Site for Cables {
    fn open(&mut self, client: usize, socket: &Socket) -> Result<Stream, OpenError> {
        if self.connections.len() <= client {
            self.connections.resize(client + 1, None);
            self.inboxes.resize_with(client + 1, VecDeque::new);
        }
        let port = match self.single_port {
            true => SERVER_PORT,
            false => self.free_port(),
        };
        self.ports[usize::from(port)] = number(client);
        self.counts.opened += 1;
        self.connections[client] = Some(Connection {
            peer: socket.peer,
            machine: self.machine_at(socket.peer),
            port,
            opened: u32::try_from(self.counts.opened).expect("fewer than 2^32 transfers"),
            queued: Queued::default(),
        });
        Ok(Stream {
            payload_max: (socket.blksize > BLKSIZE_DEFAULT).then_some(1500 - 28),
            ..Stream::plain(socket)
        })
    }

    fn send(
        &mut self,
        _: Moment,
        client: usize,
        socket: &Socket,
        datagram: Datagram<'_>,
    ) -> Result<(), SendError> {
        self.settle();
        let File { number, size } = socket.file;
        match datagram {
            Datagram::Data {
                block,
                offset,
                length,
            } => {
                let end = offset + u64::from(length);
                if !self.is_in_memory(number, size, (offset, end)) {
                    return Err(SendError::Absent);
                }
                let content = Content::Data {
                    block: low_bits(block),
                    length,
                    file: number,
                    offset,
                };
                self.send_one(client, content, 4 + u64::from(length))
            }
            Datagram::Oack(_, bytes) => {
                let content = Content::Oack(self.buffers.keep(&bytes[2..]));
                self.send_one(client, content, bytes.len() as u64)
            }
            Datagram::Ack(block) => self.send_one(client, Content::Ack(block), 4),
            Datagram::Error(refusal) => {
                let content = Content::Error(refusal.code());
                self.send_one(client, content, error_length(refusal))
            }
        }
    }

    fn note_full(&mut self, client: usize) {
        let connection = self.connection(client);
        let event = Event::Writable {
            client: number(client),
            opened: connection.opened,
        };
        let queued = match self.single_port {
            true => self.shared,
            false => connection.queued,
        };
        self.events.file(queued.empty_at.max(self.clock), event);
    }

    fn refuse(&mut self, _: Moment, peer: Peer, refusal: Refusal) {
        let machine = self.machine_at(peer);
        let content = Content::Error(refusal.code());
        self.send_down(machine, SERVER_PORT, content, error_length(refusal));
    }

    fn receive(&mut self, client: usize, buffer: &mut [u8]) -> Incoming {
        match self.inboxes[client].pop_front() {
            None => Incoming::Nothing,
            Some(Reply::Ack(block)) => {
                let [high, low] = block.to_be_bytes();
                buffer[..4].copy_from_slice(&[0, 4, high, low]);
                Incoming::Datagram(4)
            }
            Some(Reply::Other(bytes)) => {
                let bytes = self.buffers.take(bytes);
                let length = bytes.len().min(buffer.len());
                buffer[..length].copy_from_slice(&bytes[..length]);
                Incoming::Datagram(length)
            }
        }
    }

    fn close(&mut self, client: usize, _: &Socket) {
        while let Some(reply) = self.inboxes[client].pop_front() {
            self.discard(reply);
        }
        let connection = self.connections[client].take();
        let port = connection.expect("closed without being open").port;
        self.ports[usize::from(port)] = NOBODY;
        self.counts.closed += 1;
    }
}

impl Network {
    /// Time goes on, to this number of nanoseconds since the beginning.
    pub(crate) fn set_clock(&mut self, clock: u64) {
        self.clock = clock;
        self.now = moment(clock);
    }

    /// The socket with this opening number is still open, and takes packets again.
    pub(crate) fn empties(&mut self, client: u32, opened: u32) -> bool {
        self.settle();
        let connection = self.connections[client as usize].as_ref();
        let is_open = connection.is_some_and(|connection| connection.opened == opened);
        if is_open {
            self.becomes_writable(client as usize);
        }
        is_open
    }
}

impl Host {
    /// The port from which the server sees what a machine sends from `port`.
    fn port_outside(&mut self, machine: u32, port: u16) -> u16 {
        match self {
            Host::Machine(_) => port,
            Host::Translator { outside, inside } => {
                *outside.entry((machine, port)).or_insert_with(|| {
                    inside.push((machine, port));
                    u16::try_from(usize::from(TRANSLATED_FROM) + inside.len() - 1)
                        .expect("a translator has a port for each of a machine's")
                })
            }
        }
    }

    /// The machine, and its port, that the server sees as `port`.
    fn inside(&self, port: u16) -> Option<(u32, u16)> {
        match self {
            Host::Machine(machine) => Some((*machine, port)),
            Host::Translator { inside, .. } => {
                let place = port.checked_sub(TRANSLATED_FROM)?;
                inside.get(usize::from(place)).copied()
            }
        }
    }
}

fn bytes_of(event: &mut Event) -> Option<&mut Bytes> {
    match event {
        Event::ToListener { bytes, .. }
        | Event::ToTransfer {
            reply: Reply::Other(bytes),
            ..
        }
        | Event::ToMachine {
            content: Content::Oack(bytes),
            ..
        } => Some(bytes),
        _ => None,
    }
}

fn error_length(refusal: Refusal) -> u64 {
    write_error(refusal, &mut [0; ERROR_PACKET_MAX]) as u64
}

/// Hosts are numbered from 10.0.0.0 on.
pub(crate) fn peer(host: u32, port: u16) -> Peer {
    Peer {
        address: IpAddr::V4(Ipv4Addr::from_bits((10 << 24) + host)),
        port,
        scope: 0,
    }
}

fn host_of(peer: Peer) -> Option<u32> {
    match peer.address {
        IpAddr::V4(address) => address.to_bits().checked_sub(10 << 24),
        IpAddr::V6(_) => None,
    }
}

fn low_bits(block: u64) -> u16 {
    u16::try_from(block % (1 << 16)).expect("the remainder is small")
}

/// How far a copy of a request comes behind it.
const COPY_MIN: Duration = Duration::from_millis(2);
const COPY_SPREAD: Duration = Duration::from_millis(7);

/// What the kernel lets a socket have under way by default.
const SOCKET_BUFFER: u64 = 212_992;
/// What our server asks for where all transfers share it, as the kernel doubles it.
const SHARED_SOCKET_BUFFER: u64 = 16 << 20;
const NOBODY: u32 = u32::MAX;
const SERVER_PORT: u16 = 69;
const PORTS_FROM: u16 = 1024;
const TRANSLATED_FROM: u16 = 1024;
