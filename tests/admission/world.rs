//! A world for a [`Server`] in virtual time: files that are only sizes, sockets that only remember what
//! was sent, and the loop that drives the server as the daemon does.
//!
//! The world keeps its own books: a number is open once, closed once, and nothing is sent to a closed
//! one. Whatever breaks that ends the test. So does a server that wants to be woken for ever without
//! letting time pass.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::name::{FileName, RootPrefixes};
use ripple_tftpd::server::{Event, Io, Limits, Local, Opened, Opening, Server, Unopened, Unsent};
use ripple_tftpd::transfer::{Datagrams, Departed, Outcome};
use ripple_tftpd::wire::{Mode, Peer, Refusal};

/// Something that left for a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Packet {
    Oack,
    Data(u64),
    Error(Refusal),
}

/// A packet and when it left for whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Moment,
    pub(crate) peer: Peer,
    pub(crate) packet: Packet,
}

/// A file and a socket that were opened, and for whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Open {
    pub(crate) at: Moment,
    pub(crate) peer: Peer,
    pub(crate) name: Vec<u8>,
    pub(crate) mode: Mode,
    pub(crate) blksize: u16,
    length: u64,
    /// Which opening it is.
    number: usize,
}

/// How a request ended, as reported for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ended {
    pub(crate) at: Moment,
    pub(crate) peer: Peer,
    pub(crate) name: Vec<u8>,
    pub(crate) outcome: Outcome,
    pub(crate) bytes: u64,
    pub(crate) pending: Duration,
}

/// What the server did, all kinds in one order. Of two transfers of a peer, the older is that of [`older`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    Opened(Peer),
    Sent(Peer, Packet),
    Refused(Peer, Refusal),
    /// With the outcome and the time spent waiting.
    Ended(Peer, Outcome, Duration),
    QueueFull(Peer),
    Unreachable(Peer),
    Exhausted,
}

/// What the server acts on, and what it did.
#[derive(Debug, Default)]
pub(crate) struct World {
    // What the world is like.
    files: HashMap<Vec<u8>, u64>,
    faults: HashMap<Vec<u8>, Refusal>,
    /// No descriptor is left.
    pub(crate) exhausted: bool,
    /// Files that cannot be read any more.
    pub(crate) unreadable: HashSet<Vec<u8>>,
    /// Files that are being looked up, and for which clients of the queue they were asked.
    pub(crate) busy: HashSet<Vec<u8>>,
    pub(crate) asked_busy: Vec<usize>,
    /// Files whose bytes are not in memory.
    pub(crate) absent: HashSet<Vec<u8>>,
    /// How often one of them was asked for some.
    pub(crate) asked_in_vain: u64,
    /// Peers to which no socket can be connected.
    pub(crate) unreachable: HashSet<Peer>,
    /// Peers whose port is closed: a send fails.
    pub(crate) closed_ports: HashSet<Peer>,
    /// Peers whose socket takes only so many packets more.
    pub(crate) room: HashMap<Peer, u16>,

    // What the server did.
    sockets: HashMap<usize, Open>,
    pub(crate) opens: Vec<Open>,
    pub(crate) closes: usize,
    pub(crate) sent: Vec<Sent>,
    pub(crate) refusals: Vec<(Moment, Peer, Refusal)>,
    pub(crate) unanswered: Vec<(Peer, Refusal)>,
    pub(crate) refusals_reported: usize,
    pub(crate) ended: Vec<Ended>,
    pub(crate) queue_full: Vec<Peer>,
    pub(crate) unreachable_reported: Vec<Peer>,
    pub(crate) exhausted_reported: Vec<Moment>,
    /// The block size in each OACK.
    pub(crate) granted: Vec<(Peer, u16)>,
    pub(crate) lost_reported: Vec<Peer>,

    /// Whose socket was closed last, as deeds tell it.
    closed: Option<Peer>,
    /// All of this since the last look.
    deeds: Vec<Deed>,
    now: Option<Moment>,
}

impl World {
    /// What the server did since the last look.
    pub(crate) fn take_deeds(&mut self) -> Vec<Deed> {
        std::mem::take(&mut self.deeds)
    }

    pub(crate) fn add_file(&mut self, name: &str, length: u64) {
        self.files.insert(name.into(), length);
    }

    /// From now on a request for `name` is refused in this way.
    pub(crate) fn add_fault(&mut self, name: &str, refusal: Refusal) {
        self.faults.insert(name.into(), refusal);
    }

    pub(crate) fn remove_file(&mut self, name: &str) {
        self.files.remove(name.as_bytes());
    }

    /// The number under which the server has a socket for `peer`: of two, that which was opened last, or
    /// the other one for [`older`].
    pub(crate) fn client_of(&self, peer: Peer) -> Option<usize> {
        let is_meant = |open: &Open| open.peer == peer || older(open.peer) == peer;
        let sockets = self.sockets.iter().filter(|(_, open)| is_meant(open));
        let mut clients: Vec<_> = sockets.map(|(&id, open)| (open.number, id)).collect();
        clients.sort_unstable();
        let newest = clients.pop();
        let found = match peer.scope {
            OLDER => clients.pop(),
            _ => newest,
        };
        found.map(|(_, id)| id)
    }

    /// The peer of a socket, as deeds tell it.
    fn told_peer(&self, client: usize) -> Peer {
        let peer = self.sockets[&client].peer;
        match self.client_of(peer) == Some(client) {
            true => peer,
            false => older(peer),
        }
    }

    /// Sockets that are open.
    pub(crate) fn open_now(&self) -> usize {
        self.sockets.len()
    }

    /// Everything that left for `peer`, in order.
    pub(crate) fn packets_to(&self, peer: Peer) -> Vec<Packet> {
        self.sendings_to(peer)
            .iter()
            .map(|sent| sent.packet)
            .collect()
    }

    pub(crate) fn last_packet_to(&self, peer: Peer) -> Option<Packet> {
        let is_meant = |sent: &&Sent| sent.peer == peer;
        self.sent
            .iter()
            .rev()
            .find(is_meant)
            .map(|sent| sent.packet)
    }

    pub(crate) fn sendings_to(&self, peer: Peer) -> Vec<Sent> {
        let is_meant = |sent: &&Sent| sent.peer == peer;
        self.sent.iter().filter(is_meant).copied().collect()
    }

    /// How requests of `peer` ended, in order.
    pub(crate) fn outcomes_of(&self, peer: Peer) -> Vec<Outcome> {
        let is_meant = |ended: &&Ended| ended.peer == peer;
        let outcome = |ended: &Ended| ended.outcome;
        self.ended.iter().filter(is_meant).map(outcome).collect()
    }

    /// Who was served, in the order in which their files were opened.
    pub(crate) fn served(&self) -> Vec<Peer> {
        self.opens.iter().map(|open| open.peer).collect()
    }

    fn look_up(&self, name: FileName<'_>) -> Result<u64, Unopened> {
        if self.exhausted {
            return Err(Unopened::Exhausted);
        }
        if self.busy.contains(name.as_bytes()) {
            return Err(Unopened::Busy(None));
        }
        if let Some(&refusal) = self.faults.get(name.as_bytes()) {
            return Err(Unopened::Refused(refusal));
        }
        let found = self.files.get(name.as_bytes()).copied();
        found.ok_or(Unopened::Refused(Refusal::NotFound))
    }

    fn now(&self) -> Moment {
        self.now.expect("the lab tells the time before each call")
    }
}

/// The bounds of a server that waits in silence and knows no sizes of files.
pub(crate) fn silent_fifo() -> Limits {
    Limits {
        hold: None,
        reclaim: false,
        small_file: 0,
        ..Limits::default()
    }
}

impl Io for World {
    fn find(&mut self, name: FileName<'_>) -> Result<u64, Unopened> {
        self.look_up(name)
    }

    fn open(&mut self, client: usize, opening: Opening<'_>) -> Result<Opened, Unopened> {
        assert!(
            !self.sockets.contains_key(&client),
            "number {client} is open already"
        );
        let answers_from = Local {
            is_everybody: false,
            ..opening.local
        };
        assert_eq!(answers_from, local(), "it comes from elsewhere");
        let looked_up = self.look_up(opening.name);
        if looked_up == Err(Unopened::Busy(None)) {
            self.asked_busy.push(client);
        }
        let length = looked_up?;
        if self.unreachable.contains(&opening.peer) {
            return Err(Unopened::Unreachable);
        }
        assert_eq!(
            self.client_of(older(opening.peer)),
            None,
            "a third socket for {}",
            opening.peer
        );
        let open = Open {
            at: self.now(),
            peer: opening.peer,
            name: opening.name.as_bytes().to_vec(),
            mode: opening.mode,
            blksize: opening.blksize,
            length,
            number: self.opens.len(),
        };
        self.opens.push(open.clone());
        self.deeds.push(Deed::Opened(opening.peer));
        self.sockets.insert(client, open);
        Ok(Opened {
            size: length,
            length: Some(length),
            payload_max: None,
        })
    }

    fn send(&mut self, client: usize, datagrams: Datagrams<'_>) -> Result<Departed, Unsent> {
        let at = self.now();
        let open = self
            .sockets
            .get(&client)
            .expect("nothing is sent to a client that was closed");
        let peer = open.peer;
        if self.closed_ports.contains(&peer) {
            return Err(Unsent::PortClosed);
        }
        let is_error = matches!(datagrams, Datagrams::Error(_));
        if !is_error && self.unreadable.contains(&open.name) {
            return Err(Unsent::Unreadable(Refusal::ReadFailed));
        }
        if matches!(datagrams, Datagrams::Data(_)) && self.absent.contains(&open.name) {
            self.asked_in_vain += 1;
            return Err(Unsent::Absent);
        }
        let room = self.room.get(&peer).copied();
        if room == Some(0) {
            return Err(Unsent::Full);
        }
        let mut end = None;
        let packets: Vec<Packet> = match datagrams {
            Datagrams::Oack(negotiated) => {
                let told = self.told_peer(client);
                self.granted.push((told, negotiated.blksize));
                vec![Packet::Oack]
            }
            Datagrams::Error(refusal) => vec![Packet::Error(refusal)],
            Datagrams::Data(blocks) => {
                assert!(1 <= blocks.count, "asked to send nothing");
                assert!(1 <= blocks.oldest && blocks.oldest <= blocks.first);
                let last = open.length / u64::from(blocks.blksize) + 1;
                assert!(blocks.first <= last, "a block past the end of the file");
                let count = blocks.count.min(room.unwrap_or(u16::MAX));
                let stop = (blocks.first + u64::from(count)).min(last + 1);
                end = (stop == last + 1).then_some(open.length);
                (blocks.first..stop).map(Packet::Data).collect()
            }
        };
        let count = u16::try_from(packets.len()).expect("a burst is short");
        if let Some(room) = self.room.get_mut(&peer) {
            *room -= count;
        }
        let told = self.told_peer(client);
        let deed = |&packet: &Packet| Deed::Sent(told, packet);
        self.deeds.extend(packets.iter().map(deed));
        let sent = packets.into_iter().map(|packet| Sent { at, peer, packet });
        self.sent.extend(sent);
        Ok(Departed {
            packets: count,
            end,
        })
    }

    fn refuse(&mut self, peer: Peer, answered_from: Local, refusal: Refusal) {
        assert_eq!(
            answered_from,
            local(),
            "the answer would come from elsewhere"
        );
        let now = self.now();
        self.refusals.push((now, peer, refusal));
        self.deeds.push(Deed::Refused(peer, refusal));
    }

    fn close(&mut self, client: usize) {
        assert!(
            self.sockets.contains_key(&client),
            "number {client} was closed twice"
        );
        self.closed = Some(self.told_peer(client));
        self.sockets.remove(&client);
        self.closes += 1;
    }

    fn report(&mut self, event: Event<'_>) {
        let at = self.now();
        match event {
            Event::Ended(report) => {
                // Whoever had a socket was closed just before.
                let told = self.closed.take().unwrap_or(report.peer);
                let deed = Deed::Ended(told, report.outcome, report.pending);
                self.deeds.push(deed);
                self.ended.push(Ended {
                    at,
                    peer: report.peer,
                    name: report.name.as_bytes().to_vec(),
                    outcome: report.outcome,
                    bytes: report.bytes,
                    pending: report.pending,
                });
            }
            Event::Refused { .. } => self.refusals_reported += 1,
            Event::Taken { .. } | Event::Nonsense { .. } => {}
            Event::Unanswered { peer, refusal, .. } => self.unanswered.push((peer, refusal)),
            Event::QueueFull { peer } => {
                self.deeds.push(Deed::QueueFull(peer));
                self.queue_full.push(peer);
            }
            Event::Unreachable { peer } => {
                self.deeds.push(Deed::Unreachable(peer));
                self.unreachable_reported.push(peer);
            }
            Event::LargeBlocksLost { peer } => self.lost_reported.push(peer),
            Event::FarAway { .. } => {}
            Event::Exhausted => {
                self.deeds.push(Deed::Exhausted);
                self.exhausted_reported.push(at);
            }
        }
    }
}

/// Something that arrives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// On the listening socket.
    Request(Peer, Vec<u8>),
    /// On the socket of a transfer; lost where there is none.
    Reply(Peer, Vec<u8>),
    /// ICMP port unreachable, on the socket of a transfer.
    PortClosed(Peer),
    /// The socket of a transfer takes packets again.
    Writable(Peer),
}

/// The server, its world, and the time there.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) now: Moment,
    pub(crate) server: Server,
    pub(crate) world: World,
    limits: Limits,
    turns: u64,
    /// The books are checked in every so many turns: in each, but where thousands of clients make that
    /// too slow.
    pub(crate) audited_every: u64,
}

impl Lab {
    /// A server that has just been started, with `small` (one block), `medium` (4 blocks) and `large`
    /// (10,000 blocks of the default size) to serve.
    pub(crate) fn new(limits: Limits) -> Lab {
        let mut world = World::default();
        world.add_file("small", 100);
        world.add_file("medium", 3 * 512 + 100);
        world.add_file("large", 10_000 * 512 - 1);
        let now = Moment::START;
        Lab {
            now,
            server: Server::new(now, limits, RootPrefixes::default()),
            world,
            limits,
            turns: 0,
            audited_every: 1,
        }
    }

    pub(crate) fn with_slots(max_transfers: usize) -> Lab {
        Lab::new(Limits {
            max_transfers,
            ..silent_fifo()
        })
    }

    /// One turn of the loop, in the daemon's order. The books are checked after the wake-up: it is then
    /// that nobody may wait beside a free slot.
    pub(crate) fn turn(&mut self, arrivals: &[Arrival]) {
        for arrival in arrivals {
            self.deliver(arrival);
        }
        self.wake();
        self.send();
    }

    // The parts of a turn.

    pub(crate) fn wake(&mut self) {
        self.turns += 1;
        assert!(self.turns <= TURNS_MAX, "the server never comes to rest");
        self.world.now = Some(self.now);
        self.server.on_wakeup(self.now, &mut self.world);
        if self.turns.is_multiple_of(self.audited_every) {
            self.server.audit(self.now);
        }
    }

    pub(crate) fn send(&mut self) {
        self.world.now = Some(self.now);
        self.server.send_ready(self.now, &mut self.world);
        assert!(self.server.running() <= self.limits.max_transfers);
        assert!(self.server.running() <= self.world.open_now());
        assert!(self.world.open_now() <= self.limits.max_sockets());
        assert_eq!(
            self.world.opens.len() - self.world.closes,
            self.world.open_now()
        );
    }

    pub(crate) fn stop(&mut self) {
        self.world.now = Some(self.now);
        let drain = self.limits.patience;
        self.server.stop(self.now, &mut self.world, drain);
    }

    pub(crate) fn deliver(&mut self, arrival: &Arrival) {
        self.world.now = Some(self.now);
        let (now, world) = (self.now, &mut self.world);
        match arrival {
            Arrival::Request(peer, datagram) => {
                self.server.on_request(now, world, *peer, local(), datagram);
            }
            Arrival::Reply(peer, datagram) => {
                if let Some(client) = world.client_of(*peer) {
                    self.server.on_reply(now, world, client, datagram);
                }
            }
            Arrival::PortClosed(peer) => {
                if let Some(client) = world.client_of(*peer) {
                    self.server.on_port_closed(now, world, client);
                }
            }
            Arrival::Writable(peer) => {
                if let Some(client) = world.client_of(*peer) {
                    self.server.on_writable(client);
                }
            }
        }
    }

    /// Turns until the server would sleep, without time passing.
    pub(crate) fn settle(&mut self, arrivals: &[Arrival]) {
        self.turn(arrivals);
        let mut turns = 0;
        while self.wants_a_turn() {
            self.turn(&[]);
            turns += 1;
            assert!(turns < SETTLE_MAX, "the server spins without sleeping");
        }
    }

    /// The server would not sleep now.
    pub(crate) fn wants_a_turn(&self) -> bool {
        let is_due = self.server.next_wakeup().is_some_and(|at| at <= self.now);
        self.server.has_ready() || is_due
    }

    /// Lets time pass, with a turn whenever the server asked for one.
    pub(crate) fn pass(&mut self, span: Duration) {
        self.pass_until(self.now + span);
    }

    pub(crate) fn pass_until(&mut self, until: Moment) {
        assert!(self.now <= until, "time does not go back");
        while let Some(wakeup) = self.server.next_wakeup()
            && wakeup <= until
        {
            self.now = self.now.max(wakeup);
            self.settle(&[]);
        }
        self.now = until;
        self.settle(&[]);
    }

    /// Lets time pass until the server would sleep for ever. Tells how often it was woken.
    pub(crate) fn wakeups_until_asleep(&mut self) -> u64 {
        let turns_before = self.turns;
        while let Some(wakeup) = self.server.next_wakeup() {
            self.now = self.now.max(wakeup);
            self.settle(&[]);
        }
        self.turns - turns_before
    }

    /// Lets time pass without a turn, as if the machine had been busy with something else.
    pub(crate) fn oversleep(&mut self, span: Duration) {
        self.now = self.now + span;
    }

    // What clients do, each in a turn of its own.

    pub(crate) fn ask(&mut self, peer: Peer, name: &str) {
        self.settle(&[request(peer, name)]);
    }

    /// A request that was sent to everybody.
    pub(crate) fn ask_everybody(&mut self, peer: Peer, datagram: &[u8]) {
        let everybody = Local {
            is_everybody: true,
            ..local()
        };
        self.world.now = Some(self.now);
        self.server
            .on_request(self.now, &mut self.world, peer, everybody, datagram);
        self.settle(&[]);
    }

    pub(crate) fn ack(&mut self, peer: Peer, block: u64) {
        self.settle(&[ack(peer, block)]);
    }

    /// Acknowledges whatever was sent last until nothing more comes.
    pub(crate) fn fetch_rest(&mut self, peer: Peer) {
        for _ in 0..FETCH_MAX {
            self.ack_last(peer);
            if self.world.client_of(peer).is_none() {
                return;
            }
        }
        panic!("the file has no end");
    }

    /// Lets a client fetch everything but send no last ACK.
    pub(crate) fn fetch_all_but_last_ack(&mut self, peer: Peer, last: u64) {
        while self.world.last_packet_to(peer) != Some(Packet::Data(last)) {
            self.ack_last(peer);
        }
    }

    /// Acknowledges what was sent last.
    pub(crate) fn ack_last(&mut self, peer: Peer) {
        match self.world.last_packet_to(peer) {
            Some(Packet::Data(block)) => self.ack(peer, block),
            Some(Packet::Oack) => self.ack(peer, 0),
            Some(Packet::Error(_)) | None => panic!("{peer} is not being served"),
        }
    }
}

// What clients send.

pub(crate) fn request(peer: Peer, name: &str) -> Arrival {
    request_with(peer, name, "octet", &[])
}

pub(crate) fn request_with(
    peer: Peer,
    name: &str,
    mode: &str,
    options: &[(&str, &str)],
) -> Arrival {
    Arrival::Request(peer, request_datagram(1, name, mode, options))
}

pub(crate) fn request_datagram(
    opcode: u8,
    name: &str,
    mode: &str,
    options: &[(&str, &str)],
) -> Vec<u8> {
    let mut datagram = vec![0, opcode];
    let texts = options.iter().flat_map(|&(name, value)| [name, value]);
    for text in [name, mode].into_iter().chain(texts) {
        datagram.extend(text.bytes());
        datagram.push(0);
    }
    datagram
}

pub(crate) fn ack(peer: Peer, block: u64) -> Arrival {
    let [.., high, low] = block.to_be_bytes();
    Arrival::Reply(peer, vec![0, 4, high, low])
}

pub(crate) fn error(peer: Peer, code: u8) -> Arrival {
    Arrival::Reply(peer, vec![0, 5, 0, code, b'x', 0])
}

/// Client number `number`, with an address of its own.
pub(crate) fn client(number: u8) -> Peer {
    behind(number, 2070)
}

/// A port of the host with this number.
pub(crate) fn behind(host: u8, port: u16) -> Peer {
    Peer {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)),
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
const OLDER: u32 = u32::MAX;

/// The address that every request here is sent to.
pub(crate) fn local() -> Local {
    Local {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254)),
        interface: 0,
        listener: 1,
        is_everybody: false,
    }
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Something that is to happen at `expected` happened then, or up to a tick of the server's timers later.
#[track_caller]
pub(crate) fn assert_on_time(happened: Moment, expected: Moment) {
    assert!(
        expected <= happened && happened <= expected + TICK,
        "expected at {expected:?}, happened at {happened:?}"
    );
}

/// How coarse the server's timers may be.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Turns in one test: far more than any needs.
const TURNS_MAX: u64 = 2_000_000;
/// Turns at one moment. A whole window leaves in a few.
const SETTLE_MAX: u32 = 1_000;
/// ACKs for one file.
const FETCH_MAX: u32 = 20_000;
