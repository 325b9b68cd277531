//! Many clients at once in one thread, each with a socket of its own: they repeat their requests as firmware does, and go on with
//! their transfers as soon as they are let in.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use crate::client::PATIENCE;
use crate::download::{Download, Wish};
use crate::packet;
use crate::root::assert_same;

pub(crate) struct Clients {
    poll: Poll,
    server: SocketAddr,
    first: Ipv4Addr,
    members: Vec<Member>,
    last_turn: Instant,
    longest_gap: Duration,
}

pub(crate) struct Member {
    socket: UdpSocket,
    wish: Wish,
    tid: Option<SocketAddr>,
    asked_at: Instant,
    held_back: Option<Vec<u8>>,
    pub(crate) download: Download,
    /// How often it asked.
    pub(crate) requests: u32,
}

impl Clients {
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self::at(MACHINES, server)
    }

    /// Each with an address of its own, from `first` on.
    pub(crate) fn at(first: Ipv4Addr, server: SocketAddr) -> Self {
        Self {
            poll: Poll::new().unwrap(),
            server,
            first,
            members: Vec::new(),
            last_turn: Instant::now(),
            longest_gap: Duration::ZERO,
        }
    }

    /// A new client that asks at once.
    pub(crate) fn add(&mut self, wish: Wish) {
        let address = address_after(self.first, self.members.len());
        let mut socket = UdpSocket::bind(address.into()).unwrap();
        self.poll
            .registry()
            .register(&mut socket, Token(self.members.len()), Interest::READABLE)
            .unwrap();
        let download = Download::new(&wish);
        let mut member = Member {
            socket,
            wish,
            tid: None,
            asked_at: Instant::now(),
            held_back: None,
            download,
            requests: 0,
        };
        member.ask(self.server);
        self.members.push(member);
    }

    /// From one turn to the next: if it is more than [`TURN_MAX`], this process was kept from its work, and may have answered
    /// so late that it was sent a packet again.
    pub(crate) fn longest_gap(&self) -> Duration {
        self.longest_gap
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    #[track_caller]
    pub(crate) fn must_all_have(&self, bytes: &[u8]) {
        for member in &self.members {
            assert_same(&member.download.bytes, bytes);
        }
    }

    /// How many of them the server has answered.
    pub(crate) fn begun(&self) -> usize {
        self.members
            .iter()
            .filter(|member| member.download.has_begun())
            .count()
    }

    /// Takes part until all are over.
    pub(crate) fn complete(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        self.last_turn = Instant::now();
        for member in &mut self.members {
            if let Some(answer) = member.held_back.take() {
                member.answer(&answer);
            }
        }
        while let Some(waiting) = self
            .members
            .iter()
            .filter(|member| !member.download.is_over())
            .count()
            .checked_sub(1)
        {
            assert!(
                Instant::now() < deadline,
                "{} not complete within {within:?}, {} begun",
                waiting + 1,
                self.begun()
            );
            self.turn(Answers::Sent);
        }
    }

    /// Listens without answering anything that is no first packet, until this many have been answered.
    pub(crate) fn begin(&mut self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.begun() < count {
            assert!(
                Instant::now() < deadline,
                "{} of {count} answered",
                self.begun()
            );
            self.turn(Answers::HeldBack);
        }
    }

    /// Everybody sends what it held back.
    pub(crate) fn answer_all(&mut self) {
        for member in &mut self.members {
            let answer = member.held_back.take().expect("an answer held back");
            member.answer(&answer);
        }
    }

    /// Everybody sends what it held back, and waits for the next packet.
    pub(crate) fn go_on_by_one(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        self.answer_all();
        while self.members.iter().any(|it| it.held_back.is_none()) {
            assert!(Instant::now() < deadline, "a packet is missing");
            self.turn(Answers::HeldBack);
        }
    }

    /// Goes on for a while, whatever comes of it.
    pub(crate) fn listen(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.turn(Answers::Sent);
        }
    }

    fn turn(&mut self, answers: Answers) {
        let mut events = Events::with_capacity(256);
        match self.poll.poll(&mut events, Some(TURN_MAX)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return,
            result => result.unwrap(),
        }
        self.longest_gap = self.longest_gap.max(self.last_turn.elapsed());
        self.last_turn = Instant::now();
        for event in &events {
            self.members[event.token().0].on_readable(answers);
        }
        for member in &mut self.members {
            if !member.download.has_begun() && member.asked_at.elapsed() >= REPEAT_AFTER {
                member.ask(self.server);
            }
        }
    }

    /// The ports that answered, each with the number of clients it answered to.
    pub(crate) fn tids(&self) -> HashMap<SocketAddr, usize> {
        let mut tids = HashMap::new();
        for tid in self.members.iter().filter_map(|member| member.tid) {
            *tids.entry(tid).or_default() += 1;
        }
        tids
    }
}

/// How long one turn waits for packets.
pub(crate) const TURN_MAX: Duration = Duration::from_millis(50);

#[derive(Clone, Copy)]
enum Answers {
    Sent,
    HeldBack,
}

impl Member {
    fn ask(&mut self, server: SocketAddr) {
        self.asked_at = Instant::now();
        self.requests += 1;
        self.socket.send_to(&self.wish.packet(), server).unwrap();
    }

    fn answer(&mut self, packet: &[u8]) {
        self.held_back = None;
        let tid = self.tid.expect("a server that answered");
        self.socket.send_to(packet, tid).unwrap();
    }

    fn on_readable(&mut self, answers: Answers) {
        let mut buffer = vec![0; 65536];
        loop {
            let (length, from) = match self.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("receiving: {error}"),
            };
            // Where a repeat is read behind the first ACK, and this process pauses then, a second transfer answers it: as
            // firmware does, only the one that was answered first is heard.
            if from != *self.tid.get_or_insert(from) {
                assert!(self.requests > 1, "a second transfer for one request");
                continue;
            }
            let answer = self.download.on_packet(packet::parse(&buffer[..length]));
            match (answers, answer) {
                (_, None) => {}
                (Answers::Sent, Some(answer)) => self.answer(&answer),
                (Answers::HeldBack, Some(answer)) => self.held_back = Some(answer),
            }
        }
    }
}

/// Machines differ in their addresses; several behind one address are distinguished by other rules.
pub(crate) fn own_address(number: usize) -> SocketAddrV4 {
    address_after(MACHINES, number)
}

fn address_after(first: Ipv4Addr, number: usize) -> SocketAddrV4 {
    let number: u32 = number.try_into().unwrap();
    SocketAddrV4::new(Ipv4Addr::from_bits(first.to_bits() + number), 0)
}

/// The first of them, where it makes no difference.
const MACHINES: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 0);

/// Early enough that many repeat while they wait.
const REPEAT_AFTER: Duration = Duration::from_millis(200);
