//! What these tests remember of what the server did, and what clients do to it: the suite's part of the
//! [`laboratory`](crate::laboratory).

use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::name::RootPrefixes;
use ripple_tftpd::server::{Event, Limits, Local, OpenError, SendError};
use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::{Peer, Refusal};

pub(crate) use crate::laboratory::packets::request as request_datagram;
use crate::laboratory::{self, Datagram, LOCAL, Site, Socket, Stream, packets};
pub(crate) use crate::laboratory::{host as behind, older};

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
    /// A new request, and how many wait since then; 0 if it is served.
    Taken(Peer, usize),
    Sent(Peer, Packet),
    Refused(Peer, Refusal),
    /// With the outcome and the time spent waiting.
    Ended(Peer, Outcome, Duration),
    QueueFull(Peer),
    Exhausted,
}

/// What the server did.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) opens: Vec<Socket>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) refusals: Vec<(Moment, Peer, Refusal)>,
    pub(crate) unanswered: Vec<(Peer, Refusal)>,
    pub(crate) refusals_reported: usize,
    pub(crate) ended: Vec<Ended>,
    pub(crate) queue_full: Vec<Peer>,
    pub(crate) exhausted_reported: Vec<Moment>,
    /// The block size in each OACK.
    pub(crate) granted: Vec<(Peer, u16)>,
    pub(crate) lost_reported: Vec<Peer>,

    /// Whose socket was closed last, as deeds tell it.
    closed: Option<Peer>,
    /// All of this since the last look.
    deeds: Vec<Deed>,
}

pub(crate) type World = laboratory::World<Record>;
pub(crate) type Lab = laboratory::Lab<Record>;

impl Record {
    /// What the server did since the last look.
    pub(crate) fn take_deeds(&mut self) -> Vec<Deed> {
        std::mem::take(&mut self.deeds)
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
        self.opens.iter().map(|socket| socket.peer).collect()
    }
}

impl Site for Record {
    fn open(&mut self, _: usize, socket: &Socket) -> Result<Stream, OpenError> {
        self.opens.push(socket.clone());
        self.deeds.push(Deed::Opened(socket.peer));
        Ok(Stream::plain(socket))
    }

    fn send(
        &mut self,
        at: Moment,
        _: usize,
        socket: &Socket,
        datagram: Datagram<'_>,
    ) -> Result<(), SendError> {
        let (peer, told) = (socket.peer, socket.told_peer());
        let packet = match datagram {
            Datagram::Oack(negotiated, _) => {
                self.granted.push((told, negotiated.blksize));
                Packet::Oack
            }
            Datagram::Data { block, .. } => Packet::Data(block),
            Datagram::Ack(_) => panic!("nobody writes here"),
            Datagram::Error(refusal) => Packet::Error(refusal),
        };
        self.deeds.push(Deed::Sent(told, packet));
        self.sent.push(Sent { at, peer, packet });
        Ok(())
    }

    fn refuse(&mut self, now: Moment, peer: Peer, refusal: Refusal) {
        self.refusals.push((now, peer, refusal));
        self.deeds.push(Deed::Refused(peer, refusal));
    }

    fn close(&mut self, _: usize, socket: &Socket) {
        self.closed = Some(socket.told_peer());
    }

    fn report(&mut self, at: Moment, event: Event<'_>) {
        match event {
            Event::Ended(report) => {
                // If it had a socket, that was closed just before.
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
            Event::Refused {
                is_answered: true, ..
            } => self.refusals_reported += 1,
            Event::Refused { peer, refusal, .. } => self.unanswered.push((peer, refusal)),
            Event::Taken { peer, waiting, .. } => self.deeds.push(Deed::Taken(peer, waiting)),
            Event::Malformed { .. } => {}
            Event::QueueFull { peer } => {
                self.deeds.push(Deed::QueueFull(peer));
                self.queue_full.push(peer);
            }
            Event::LargeBlocksLost { peer } => self.lost_reported.push(peer),
            Event::FarAway { .. } | Event::AddressFull { .. } => {}
            Event::Exhausted => {
                self.deeds.push(Deed::Exhausted);
                self.exhausted_reported.push(at);
            }
        }
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

impl Lab {
    /// A server that has just been started, with `small` (one block), `medium` (4 blocks) and `large`
    /// (10,000 blocks of the default size) to serve.
    pub(crate) fn new(limits: Limits) -> Lab {
        let root = RootPrefixes::default();
        let mut lab = Lab::start(Moment::START, limits, root, Record::default());
        lab.world.add_file("small", 100);
        lab.world.add_file("medium", 3 * 512 + 100);
        lab.world.add_file("large", 10_000 * 512 - 1);
        lab
    }

    pub(crate) fn with_slots(max_transfers: usize) -> Lab {
        Lab::new(Limits {
            max_transfers,
            ..silent_fifo()
        })
    }

    /// One turn of the loop, in the daemon's order.
    pub(crate) fn turn(&mut self, arrivals: &[Arrival]) {
        for arrival in arrivals {
            self.deliver(arrival);
        }
        self.wake();
        self.send();
    }

    pub(crate) fn deliver(&mut self, arrival: &Arrival) {
        match arrival {
            Arrival::Request(peer, datagram) => self.request(*peer, LOCAL, datagram),
            Arrival::Reply(peer, datagram) => {
                if let Some(client) = self.world.client_of(*peer) {
                    self.reply(client, datagram);
                }
            }
            Arrival::PortClosed(peer) => {
                if let Some(client) = self.world.client_of(*peer) {
                    self.port_closes(client);
                }
            }
            Arrival::Writable(peer) => {
                if let Some(client) = self.world.client_of(*peer) {
                    self.becomes_writable(client);
                }
            }
        }
    }

    /// Turns until the server would sleep, without time passing.
    pub(crate) fn settle(&mut self, arrivals: &[Arrival]) {
        for arrival in arrivals {
            self.deliver(arrival);
        }
        self.come_to_rest();
    }

    // What clients do, each in a turn of its own.

    pub(crate) fn ask(&mut self, peer: Peer, name: &str) {
        self.settle(&[request(peer, name)]);
    }

    /// One after the other.
    pub(crate) fn ask_each(&mut self, peers: impl IntoIterator<Item = Peer>, name: &str) {
        for peer in peers {
            self.ask(peer, name);
        }
    }

    pub(crate) fn ask_with(&mut self, peer: Peer, name: &str, options: &[(&str, &str)]) {
        self.settle(&[request_with(peer, name, "octet", options)]);
    }

    /// A request that was sent to everybody.
    pub(crate) fn ask_everybody(&mut self, peer: Peer, datagram: &[u8]) {
        let everybody = Local {
            is_broadcast: true,
            ..LOCAL
        };
        self.request(peer, everybody, datagram);
        self.come_to_rest();
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

pub(crate) fn ack(peer: Peer, block: u64) -> Arrival {
    Arrival::Reply(peer, packets::ack(block).into())
}

pub(crate) fn error(peer: Peer, code: u8) -> Arrival {
    Arrival::Reply(peer, packets::error(code).into())
}

/// Client number `number`, with an address of its own.
pub(crate) fn client(number: u8) -> Peer {
    behind(number, 2070)
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

/// ACKs for one file.
const FETCH_MAX: u32 = 20_000;
