//! What other servers do when more ask than they serve, to compare with: each a few knobs on one small
//! server around the [`Transfer`] of production, so that nothing but the policy differs.
//!
//! That flatters most of them: their own transfers repeat packets later, and some send them twice.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use slab::Slab;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::name::{FileName, FileNameBuf, NAME_MAX, RootPrefixes};
use ripple_tftpd::server::{Io, Local, Opening, SendError};
use ripple_tftpd::transfer::{Datagrams, Outcome, Terms, Transfer, Wanted};
use ripple_tftpd::wire::{Direction, Mode, Peer, Refusal, Reply, Request};

use crate::laboratory::LOCAL;
use crate::network::Network;
use crate::server::{RECEIVE_BUFFER, RECEIVE_BUFFER_DEFAULT, ServerUnderTest};

/// The knobs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) name: &'static str,
    /// Transfers at once.
    cap: usize,
    when_full: WhenFull,
    /// A repeated request does not begin a second transfer.
    knows_repeats: bool,
    /// How long a transfer without an answer keeps its place.
    holds_dead: Option<Duration>,
    receive_buffer: usize,
}

/// What becomes of a request past the cap.
#[derive(Clone, Copy, Debug)]
enum WhenFull {
    Drop,
    /// It is answered with an ERROR.
    Refuse,
    /// It stays in the buffer of the socket.
    LeaveUnread,
    /// It waits in a queue that knows repeats by address and port, and nothing else.
    Queue,
    /// It waits in a queue that has one entry for each host and file; the newest port is answered.
    QueueHosts,
}

const PLAIN: Policy = Policy {
    name: "no cap",
    cap: usize::MAX,
    when_full: WhenFull::Drop,
    knows_repeats: true,
    holds_dead: None,
    receive_buffer: RECEIVE_BUFFER_DEFAULT,
};

/// All of them, each with who does it so.
pub(crate) const POLICIES: [Policy; 9] = [
    // OpenBSD tftpd and others that know repeats.
    PLAIN,
    // tftpd-hpa, rs-tftpd.
    Policy {
        name: "no cap, no dedup",
        knows_repeats: false,
        ..PLAIN
    },
    // atftpd, Tftpd64.
    Policy {
        name: "cap 100, drop",
        cap: 100,
        ..PLAIN
    },
    // r-tftpd.
    Policy {
        name: "cap 100, ERROR",
        cap: 100,
        when_full: WhenFull::Refuse,
        ..PLAIN
    },
    Policy {
        name: "cap 32, unread",
        cap: 32,
        when_full: WhenFull::LeaveUnread,
        knows_repeats: false,
        ..PLAIN
    },
    Policy {
        name: "cap 50, unread",
        cap: 50,
        when_full: WhenFull::LeaveUnread,
        knows_repeats: false,
        ..PLAIN
    },
    // dnsmasq.
    Policy {
        name: "cap 50, dead kept",
        cap: 50,
        when_full: WhenFull::LeaveUnread,
        knows_repeats: false,
        holds_dead: Some(Duration::from_secs(120)),
        ..PLAIN
    },
    // The idea of 2002 as it was written down.
    Policy {
        name: "cap 32, silent FIFO",
        cap: 32,
        when_full: WhenFull::Queue,
        receive_buffer: RECEIVE_BUFFER,
        ..PLAIN
    },
    // The same done well.
    Policy {
        name: "cap 32, host FIFO",
        cap: 32,
        when_full: WhenFull::QueueHosts,
        receive_buffer: RECEIVE_BUFFER,
        ..PLAIN
    },
];

/// A server with one of the policies.
#[derive(Debug)]
pub(crate) struct Other {
    policy: Policy,
    running: Slab<Running>,
    by_peer: HashMap<Peer, usize>,
    waiting: VecDeque<Waiting>,
    /// Who is due when, with the number of its beginning.
    timers: BinaryHeap<Reverse<(Moment, usize, u64)>>,
    ready: VecDeque<usize>,
    begun: u64,
}

#[derive(Debug)]
struct Running {
    peer: Peer,
    name: FileNameBuf,
    transfer: Transfer,
    begun_at: Moment,
    /// Which beginning it is, among all.
    begun: u64,
    filed: Option<Moment>,
    /// It is over but keeps its place until then.
    dead_until: Option<Moment>,
    is_ready: bool,
    is_blocked: bool,
}

#[derive(Debug)]
struct Waiting {
    peer: Peer,
    name: FileNameBuf,
    mode: Mode,
    wanted: Wanted,
}

impl Waiting {
    fn opening(&self, local: Local) -> Opening<'_> {
        Opening {
            peer: self.peer,
            local,
            asked: self.name.as_name().as_bytes(),
            name: self.name.as_name(),
            direction: Direction::Read,
            mode: self.mode,
            wanted: self.wanted,
        }
    }
}

impl Other {
    pub(crate) fn new(policy: Policy) -> Other {
        Other {
            policy,
            running: Slab::new(),
            by_peer: HashMap::new(),
            waiting: VecDeque::new(),
            timers: BinaryHeap::new(),
            ready: VecDeque::new(),
            begun: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.running.len() >= self.policy.cap
    }

    fn begin(&mut self, now: Moment, io: &mut Network, local: Local, request: &Waiting) {
        let id = self.running.vacant_key();
        let Ok(opened) = io.open(id, request.opening(local)) else {
            return;
        };
        let negotiated =
            request
                .wanted
                .negotiate(Terms::default(), opened.length, opened.payload_max);
        self.begun += 1;
        self.running.insert(Running {
            peer: request.peer,
            name: request.name.clone(),
            transfer: Transfer::new(now, negotiated, opened.length, PATIENCE),
            begun_at: now,
            begun: self.begun,
            filed: None,
            dead_until: None,
            is_ready: false,
            is_blocked: false,
        });
        self.by_peer.insert(request.peer, id);
        self.take(now, io, id, None);
    }

    /// Sends what may be sent, unless the transfer is over.
    fn take(&mut self, now: Moment, io: &mut Network, id: usize, outcome: Option<Outcome>) {
        if let Some(outcome) = outcome {
            return self.end(now, io, id, outcome);
        }
        self.make_ready(id);
        self.set_timer(id);
    }

    fn end(&mut self, now: Moment, io: &mut Network, id: usize, outcome: Outcome) {
        let running = &mut self.running[id];
        let is_dead = matches!(outcome, Outcome::NoAnswer | Outcome::TimedOut);
        if is_dead && let Some(holds) = self.policy.holds_dead {
            let until = running.begun_at + holds;
            if now < until {
                running.dead_until = Some(until);
                return self.set_timer(id);
            }
        }
        let running = self.running.remove(id);
        if self.by_peer.get(&running.peer) == Some(&id) {
            self.by_peer.remove(&running.peer);
        }
        io.close(id);
    }

    fn make_ready(&mut self, id: usize) {
        let running = &mut self.running[id];
        let has_more = running.transfer.datagrams(1).is_some() && running.dead_until.is_none();
        if has_more && !running.is_ready && !running.is_blocked {
            running.is_ready = true;
            self.ready.push_back(id);
        }
    }

    fn set_timer(&mut self, id: usize) {
        let running = &mut self.running[id];
        let deadline = running.deadline();
        if running.filed.is_none_or(|filed| deadline < filed) {
            running.filed = Some(deadline);
            self.timers.push(Reverse((deadline, id, running.begun)));
        }
    }
}

impl Running {
    fn deadline(&self) -> Moment {
        self.dead_until.unwrap_or_else(|| self.transfer.deadline())
    }
}

impl ServerUnderTest for Other {
    fn name(&self) -> &'static str {
        self.policy.name
    }

    fn receive_buffer(&self) -> usize {
        self.policy.receive_buffer
    }

    fn reads_requests(&self) -> bool {
        match self.policy.when_full {
            WhenFull::LeaveUnread => !self.is_full(),
            WhenFull::Drop | WhenFull::Refuse | WhenFull::Queue | WhenFull::QueueHosts => true,
        }
    }

    fn on_request(
        &mut self,
        now: Moment,
        io: &mut Network,
        peer: Peer,
        local: Local,
        bytes: &[u8],
    ) {
        let Ok(request) = Request::parse(bytes) else {
            return;
        };
        let mut buffer = [0; NAME_MAX];
        let Ok(name) = FileName::new(request.filename, &RootPrefixes::default(), &mut buffer)
        else {
            return io.refuse(peer, local, Refusal::NotFound);
        };
        let request = Waiting {
            peer,
            name: name.to_owned(),
            mode: request.mode,
            wanted: Wanted::new(request.options()),
        };
        if io.find(request.opening(local)).is_err() {
            return io.refuse(peer, local, Refusal::NotFound);
        }
        if self.policy.knows_repeats
            && let Some(&known) = self.by_peer.get(&peer)
        {
            if self.running[known].name.as_name() == name {
                self.running[known].transfer.on_repeated_request(now);
                return self.take(now, io, known, None);
            }
            self.end(now, io, known, Outcome::MovedOn);
        }
        if !self.is_full() {
            return self.begin(now, io, local, &request);
        }
        match self.policy.when_full {
            WhenFull::Drop | WhenFull::LeaveUnread => {}
            WhenFull::Refuse => io.refuse(peer, local, Refusal::ReadFailed),
            WhenFull::Queue => {
                if self.waiting.iter().all(|waiting| waiting.peer != peer) {
                    self.waiting.push_back(request);
                }
            }
            WhenFull::QueueHosts => {
                let is_same = |waiting: &&mut Waiting| {
                    waiting.peer.address == peer.address && waiting.name == request.name
                };
                match self.waiting.iter_mut().find(is_same) {
                    Some(waiting) => *waiting = request,
                    None => self.waiting.push_back(request),
                }
            }
        }
    }

    fn on_reply(&mut self, now: Moment, io: &mut Network, client: usize, bytes: &[u8]) {
        let Some(running) = self.running.get_mut(client) else {
            return;
        };
        let outcome = match Reply::parse(bytes) {
            Ok(Reply::Ack(block)) => {
                let progress = running.transfer.on_ack(now, block);
                let is_complete = progress.is_some_and(|it| it.is_complete);
                is_complete.then_some(Outcome::Complete)
            }
            Ok(Reply::Error { .. }) => Some(Outcome::Cancelled),
            Ok(Reply::Data { .. }) | Err(_) => return,
        };
        if running.dead_until.is_none() {
            self.take(now, io, client, outcome);
        }
    }

    fn on_port_closed(&mut self, now: Moment, io: &mut Network, client: usize) {
        if self.running.contains(client) {
            self.end(now, io, client, Outcome::PortClosed);
        }
    }

    fn on_writable(&mut self, client: usize) {
        if let Some(running) = self.running.get_mut(client) {
            running.is_blocked = false;
            self.make_ready(client);
        }
    }

    fn on_wakeup(&mut self, now: Moment, io: &mut Network) {
        while let Some(&Reverse((at, id, begun))) = self.timers.peek()
            && at <= now
        {
            self.timers.pop();
            let is_current =
                |running: &&mut Running| running.begun == begun && running.filed == Some(at);
            let Some(running) = self.running.get_mut(id).filter(is_current) else {
                continue;
            };
            running.filed = None;
            if now < running.deadline() {
                self.set_timer(id);
                continue;
            }
            let is_ignored = !running.transfer.is_answered()
                && now.since(running.begun_at) >= HANDSHAKE_PATIENCE;
            let outcome = match running.dead_until {
                Some(_) => Some(Outcome::Cancelled),
                None if is_ignored => Some(Outcome::NoAnswer),
                None => running.transfer.on_deadline(now),
            };
            self.take(now, io, id, outcome);
        }
        while !self.is_full()
            && let Some(request) = self.waiting.pop_front()
        {
            self.begin(now, io, LOCAL, &request);
        }
    }

    fn send_ready(&mut self, now: Moment, io: &mut Network) {
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else {
                return;
            };
            let Some(running) = self.running.get_mut(id).filter(|it| it.is_ready) else {
                continue;
            };
            running.is_ready = false;
            let Some(datagrams) = running.transfer.datagrams(BURST) else {
                continue;
            };
            // Data and OACK only: a policy has no files that shrink.
            debug_assert!(!matches!(datagrams, Datagrams::Error(_)));
            match io.send(id, datagrams) {
                Ok(departed) => {
                    running.transfer.sent(now, departed);
                    self.take(now, io, id, None);
                }
                Err(SendError::Full) => running.is_blocked = true,
                Err(SendError::PortClosed | SendError::Unreadable(_) | SendError::Absent) => {
                    self.end(now, io, id, Outcome::PortClosed);
                }
            }
        }
    }

    fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    fn next_wakeup(&self) -> Option<Moment> {
        self.timers.peek().map(|&Reverse((at, ..))| at)
    }

    fn glance(&self, _: Moment) {
        assert!(self.running.len() <= self.policy.cap, "more run than may");
        assert!(
            self.waiting.is_empty() || self.is_full(),
            "a place is free and a client waits"
        );
    }

    fn audit(&self, _: Moment) {
        for (_, running) in &self.running {
            running.transfer.audit();
        }
    }
}

/// How long each of them tries, about as tftpd-hpa does.
const PATIENCE: Duration = Duration::from_secs(25);

/// How long each of them tries in a handshake: longer would keep the places of those that are gone.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(7);

const BURST: u16 = 16;
