//! A second opinion on who is served and who waits: the rules of admission and nothing else, in a few
//! plain lists that are searched from end to end.
//!
//! The model is told what arrived and is shown what the server did, deed by deed. What follows at once
//! from an arrival it knows for certain. What time brings (a timeout, an expiry, a repeated packet) it
//! judges: was it due, and is nothing overdue? It shares no code with the server beyond the names of
//! outcomes and packets.
//!
//! Transfers here are in lockstep, over files of a few blocks.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::server::Limits;
use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::{Peer, Refusal};

use crate::world::{Deed, Packet, TICK, World, millis, older, seconds};

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wish {
    pub(crate) file: &'static str,
    /// If it asks for a size of its blocks the transfer begins with an OACK.
    pub(crate) blksize: Option<&'static str>,
}

/// One who waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) peer: Peer,
    pub(crate) wish: Wish,
    arrived_at: Moment,
    heard_at: Moment,
    gap: Option<Duration>,
    boot_began: Moment,
}

/// One who is being served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    pub(crate) peer: Peer,
    pub(crate) wish: Wish,
    waited: Duration,
    since: Moment,
    progress_at: Moment,
    /// An ACK has come.
    answered: bool,
    /// The block that is to be acknowledged next; 0 is the OACK.
    pub(crate) block: u64,
    /// When that block was sent first and last, and how often.
    first_sent_at: Option<Moment>,
    sent_at: Option<Moment>,
    sendings: u32,
    /// Everything was sent: it holds no slot any more.
    is_finishing: bool,
    /// Its socket took nothing for a while, so its timetable is its own.
    was_full: bool,
    asked_again: Option<AskedAgain>,
    /// A repeated ACK may have called for its block once more.
    is_called_for: bool,
    /// Another transfer answers its client: this one has no slot, and its peer is told as [`older`].
    is_overtaken: bool,
    /// Bytes of its file.
    length: u64,
    /// As its OACK says: which hosts lose large blocks is not judged here.
    blksize: u16,
}

/// An equal request came after an ACK. It is answered after two round trips, which the model does not
/// measure: after 10 to 50 ms.
#[derive(Clone, Copy, Debug)]
struct AskedAgain {
    at: Moment,
    /// It may have been dropped since.
    may_be_over: bool,
}

/// The rules.
#[derive(Debug)]
pub(crate) struct Model {
    limits: Limits,
    /// Bytes of the files there are.
    lengths: HashMap<&'static str, u64>,
    /// In the order in which they will be served.
    pub(crate) waiting: Vec<Waiter>,
    pub(crate) served: Vec<Served>,
    /// Descriptors had run out: until then a slot may stay free.
    paused_until: Option<Moment>,
    stop_at: Option<Moment>,
    /// By host: when its boot began, and when it was last heard.
    boots: HashMap<IpAddr, (Moment, Moment)>,
    /// Time that passed although the server wanted to be woken.
    pub(crate) overslept: Duration,
}

impl Waiter {
    fn expires_at(&self) -> Moment {
        let by_gap = self.gap.map_or(Duration::ZERO, |gap| gap.mul_f64(2.2)) + seconds(1);
        self.heard_at + by_gap.max(seconds(10))
    }

    fn gives_way(&self, now: Moment, peer: Peer, wish: Wish) -> bool {
        let same_host = self.peer.address == peer.address && self.wish.file == wish.file;
        same_host && now.since(self.heard_at) > self.gap.unwrap_or_default().max(millis(900))
    }
}

impl Served {
    fn packet(&self) -> Packet {
        match self.block {
            0 => Packet::Oack,
            block => Packet::Data(block),
        }
    }

    /// The block that ends its file.
    pub(crate) fn last(&self) -> u64 {
        self.length / u64::from(self.blksize) + 1
    }

    /// How often its first packet is sent, and for how long an answer to it is awaited.
    fn handshake(&self) -> (u32, Duration) {
        match self.wish.blksize {
            Some(_) => (5, seconds(17)),
            None => (3, seconds(7)),
        }
    }

    fn owes_only_its_last_ack(&self) -> bool {
        self.answered && self.block == self.last() && self.sent_at.is_some()
    }

    /// It shows that the client takes part: whether a repeated ACK does that depends on the round trip.
    fn is_shown_by(&self, now: Moment, block: u64) -> Option<bool> {
        if block == self.block && self.sent_at.is_some() {
            return Some(true);
        }
        let is_repeated = self.block > 0 && block == (self.block - 1) & 0xFFFF;
        match now.since(self.progress_at) {
            _ if !is_repeated => Some(false),
            since if since < ANSWER_MIN => Some(false),
            since if since < ANSWER_MAX => None,
            _ => Some(true),
        }
    }

    fn moved_on(&self) -> Outcome {
        self.or_unconfirmed(Outcome::MovedOn)
    }

    fn or_unconfirmed(&self, outcome: Outcome) -> Outcome {
        if self.owes_only_its_last_ack() {
            Outcome::CompleteUnconfirmed
        } else {
            outcome
        }
    }
}

impl Model {
    pub(crate) fn new(limits: Limits, lengths: HashMap<&'static str, u64>) -> Model {
        Model {
            limits,
            lengths,
            waiting: Vec::new(),
            served: Vec::new(),
            paused_until: None,
            stop_at: None,
            boots: HashMap::new(),
            overslept: Duration::ZERO,
        }
    }

    pub(crate) fn running(&self) -> usize {
        let has_slot = |one: &&Served| !one.is_finishing && !one.is_overtaken;
        self.served.iter().filter(has_slot).count()
    }

    fn may_admit(&self, now: Moment) -> bool {
        let is_paused = self.paused_until.is_some_and(|until| now < until);
        self.running() < self.limits.max_transfers && !is_paused
    }

    // What arrives. Each of these says what the server must have done, exactly.

    pub(crate) fn on_request(
        &mut self,
        now: Moment,
        world: &World,
        peer: Peer,
        wish: Wish,
        deeds: Vec<Deed>,
    ) {
        let mut deeds = Deeds(deeds.into());
        if let Some(waiter) = self.waiting.iter_mut().find(|one| one.peer == peer) {
            if waiter.wish.file == wish.file {
                waiter.gap = Some(now.since(waiter.heard_at));
                waiter.heard_at = now;
                waiter.wish = wish;
                return deeds.none_left();
            }
            let waited = now.since(waiter.arrived_at);
            deeds.expect(Deed::Ended(peer, Outcome::MovedOn, waited));
            let place = self.waiting.iter().position(|one| one.peer == peer);
            self.forget_waiter(place.expect("it waits"));
        }
        if let Some(&served) = self.served.iter().find(|one| one.peer == peer) {
            let outcome = if served.wish != wish {
                self.end_older(peer, Outcome::MovedOn, &mut deeds);
                served.moved_on()
            } else if let Some(outcome) = self.asks_again(now, peer, &deeds) {
                outcome
            } else {
                return deeds.none_left();
            };
            deeds.expect(Deed::Ended(peer, outcome, served.waited));
            self.forget_served(peer);
        }
        if self.stop_at.is_some() {
            return deeds.none_left();
        }
        self.begin(now, world, peer, wish, &mut deeds);
        deeds.none_left();
    }

    /// A request for what its client is being sent. Returns how that transfer ends, if it does.
    fn asks_again(&mut self, now: Moment, peer: Peer, deeds: &Deeds) -> Option<Outcome> {
        let served = self.served.iter_mut().find(|one| one.peer == peer)?;
        if !served.answered || served.asked_again.is_some_and(|asked| !asked.may_be_over) {
            return None;
        }
        if served.owes_only_its_last_ack() {
            let on_its_way = now.since(served.sent_at?);
            let ends = !deeds.0.is_empty();
            // The server may have heard that it asked, and not have been woken since.
            let has_asked = served.asked_again.is_some();
            assert!(
                ends || has_asked || on_its_way < ANSWER_MAX,
                "not answered: {served:?}"
            );
            assert!(
                !ends || ANSWER_MIN <= on_its_way,
                "its ACK may come: {served:?}"
            );
            if ends {
                return Some(Outcome::CompleteUnconfirmed);
            }
        }
        served.asked_again = Some(AskedAgain {
            at: served.asked_again.map_or(now, |asked| asked.at),
            may_be_over: served.asked_again.is_some(),
        });
        None
    }

    /// Two transfers of one client: the older ends.
    fn end_older(&mut self, peer: Peer, outcome: Outcome, deeds: &mut Deeds) {
        let Some(one) = self.served.iter().find(|one| one.peer == older(peer)) else {
            return;
        };
        deeds.expect(Deed::Ended(
            one.peer,
            one.or_unconfirmed(outcome),
            one.waited,
        ));
        self.forget_served(older(peer));
    }

    /// The newer of two transfers of a client is gone: the other one has its slot again.
    fn older_goes_on(&mut self, peer: Peer) {
        if let Some(one) = self.served.iter_mut().find(|one| one.peer == older(peer)) {
            one.peer = peer;
            one.is_overtaken = false;
        }
    }

    fn begin(&mut self, now: Moment, world: &World, peer: Peer, wish: Wish, deeds: &mut Deeds) {
        let boot_began = self.boot_goes_on(now, peer, wish);
        if world.exhausted {
            deeds.expect(Deed::Exhausted);
            self.paused_until = Some(now + millis(100));
        } else if !self.lengths.contains_key(wish.file) {
            return deeds.expect(Deed::Refused(peer, Refusal::NotFound));
        }
        let place = self.join(now, peer, wish, boot_began, deeds);
        if place == 0 && self.may_admit(now) {
            let waiter = self.waiting.remove(0);
            let waited = now.since(waiter.arrived_at);
            if world.unreachable.contains(&peer) {
                self.was_alive(peer, now);
                return deeds.expect(Deed::Ended(peer, Outcome::Unreachable, waited));
            }
            deeds.expect(Deed::Opened(peer));
            self.serve(now, peer, wish, waited);
            deeds.expect(Deed::Taken(peer, 0));
        } else if self.waiting.len() > self.limits.max_pending {
            deeds.expect(Deed::QueueFull(peer));
            self.waiting.remove(place);
        } else {
            deeds.expect(Deed::Taken(peer, self.waiting.len()));
        }
    }

    /// A request joins the queue, at the place of one that makes way for it, or where its boot began. Returns where.
    fn join(
        &mut self,
        now: Moment,
        peer: Peer,
        wish: Wish,
        boot_began: Moment,
        deeds: &mut Deeds,
    ) -> usize {
        let mut waiter = Waiter {
            peer,
            wish,
            arrived_at: now,
            heard_at: now,
            gap: None,
            boot_began,
        };
        let gives_way = |one: &Waiter| one.gives_way(now, peer, wish);
        if self.waiting.iter().any(gives_way) {
            // Where several may give way, either is right.
            let (old, outcome, waited) = deeds.ended();
            let place = self.waiting.iter().position(|one| one.peer == old);
            let place = place.expect("the evicted one waits");
            assert!(self.waiting[place].gives_way(now, peer, wish));
            waiter.arrived_at = self.waiting[place].arrived_at;
            waiter.boot_began = self.waiting[place].boot_began;
            assert_eq!(
                (outcome, waited),
                (Outcome::Superseded, now.since(waiter.arrived_at))
            );
            self.waiting[place] = waiter;
            return place;
        }
        // Who began to boot first stands first.
        let is_before = |one: &Waiter| one.boot_began <= boot_began;
        let last = self.waiting.iter().rposition(is_before);
        let place = last.map_or(0, |last| last + 1);
        self.waiting.insert(place, waiter);
        place
    }

    /// A boot ends with a pause of more than a minute, unless a request of its host still waits or is
    /// served; after 15 minutes; and where another one of its host waits or runs, but for one that makes way
    /// for this.
    fn boot_goes_on(&mut self, now: Moment, peer: Peer, wish: Wish) -> Moment {
        let is_its_own = |other: Peer| other.address == peer.address;
        let waiting = self.waiting.iter().filter(|one| is_its_own(one.peer));
        let served = self.served.iter().filter(|one| is_its_own(one.peer));
        let running = served.clone().filter(|one| !one.is_finishing);
        let is_expected = waiting.clone().next().is_some() || served.clone().next().is_some();
        let gives_way = |one: &&Waiter| one.gives_way(now, peer, wish);
        let replaced = usize::from(waiting.clone().any(|one| gives_way(&one)));
        let has_others = waiting.count() + running.count() > replaced;
        let boot = self.boots.entry(peer.address).or_insert((now, now));
        let has_paused = now.since(boot.1) > seconds(60) && !is_expected;
        if has_paused || has_others || now.since(boot.0) > seconds(900) {
            boot.0 = now;
        }
        boot.1 = now;
        boot.0
    }

    fn was_alive(&mut self, peer: Peer, heard_at: Moment) {
        if let Some(boot) = self.boots.get_mut(&peer.address) {
            boot.1 = boot.1.max(heard_at);
        }
    }

    /// A request that is refused to every client.
    pub(crate) fn on_fault(&mut self, peer: Peer, refusal: Refusal, deeds: Vec<Deed>) {
        let mut deeds = Deeds(deeds.into());
        if self.stop_at.is_none() {
            deeds.expect(Deed::Refused(peer, refusal));
        }
        deeds.none_left();
    }

    pub(crate) fn on_ack(&mut self, now: Moment, peer: Peer, block: u64, deeds: Vec<Deed>) {
        let mut deeds = Deeds(deeds.into());
        let peer = self.decide_for_older(now, peer, block, &mut deeds);
        let Some(served) = self.served.iter().find(|one| one.peer == peer) else {
            return deeds.none_left();
        };
        let mut served = *served;
        if served.block == block && served.sent_at.is_some() {
            self.end_older(peer, Outcome::Restarted, &mut deeds);
            served.answered = true;
            served.progress_at = now;
            served.block += 1;
            served.first_sent_at = None;
            served.sent_at = None;
            served.sendings = 0;
            let is_over = served.block > served.last();
            let old = self.served.iter_mut().find(|one| one.peer == peer);
            *old.expect("it is served") = served;
            if is_over {
                deeds.expect(Deed::Ended(peer, Outcome::Complete, served.waited));
                self.forget_served(peer);
            }
        }
        deeds.none_left();
    }

    /// An ACK to a transfer whose client asked again. Returns as whose that transfer is known from now on.
    fn decide_for_older(&mut self, now: Moment, peer: Peer, block: u64, deeds: &mut Deeds) -> Peer {
        let Some(served) = self.served.iter_mut().find(|one| one.peer == peer) else {
            return peer;
        };
        let is_shown = served.is_shown_by(now, block);
        served.is_called_for |= is_shown != Some(false);
        if !served.is_overtaken {
            match (&mut served.asked_again, is_shown) {
                (Some(asked), None) => asked.may_be_over = true,
                (asked, Some(true)) => *asked = None,
                (_, Some(false)) | (None, None) => {}
            }
            return peer;
        }
        let newer = Peer { scope: 0, ..peer };
        if !is_shown.unwrap_or(!deeds.0.is_empty()) {
            return peer;
        }
        let of_newer = self.served.iter().find(|one| one.peer == newer);
        let waited = of_newer.expect("it was overtaken by another").waited;
        deeds.expect(Deed::Ended(newer, Outcome::Duplicate, waited));
        self.forget_served(newer);
        self.older_goes_on(newer);
        newer
    }

    /// An ERROR or an ICMP message.
    pub(crate) fn on_end(
        &mut self,
        now: Moment,
        world: &World,
        peer: Peer,
        outcome: Outcome,
        deeds: Vec<Deed>,
    ) {
        let mut deeds = Deeds(deeds.into());
        let Some(&served) = self.served.iter().find(|one| one.peer == peer) else {
            return deeds.none_left();
        };
        let is_newer = !served.is_overtaken;
        let is_older = |one: &Served| one.peer == older(peer);
        let is_pair = is_newer && self.served.iter().any(is_older);
        let outcome = match outcome {
            Outcome::PortClosed => served.or_unconfirmed(outcome),
            Outcome::ClientError(_) if is_pair => Outcome::Duplicate,
            Outcome::Cancelled if is_pair => {
                self.end_older(peer, Outcome::Restarted, &mut deeds);
                outcome
            }
            _ => outcome,
        };
        deeds.expect(Deed::Ended(peer, outcome, served.waited));
        self.forget_served(peer);
        self.older_goes_on(peer);
        let is_error = matches!(outcome, Outcome::Cancelled | Outcome::ClientError(_));
        if let Some(asked) = served.asked_again.filter(|_| is_error) {
            self.begin_anew(now, world, (peer, served.wish), asked, &mut deeds);
        }
        deeds.none_left();
    }

    /// The transfer of a client that asked again is over: its request is a new one, unless an ACK may have shown that it
    /// was a copy; then what the server does tells.
    fn begin_anew(
        &mut self,
        now: Moment,
        world: &World,
        (peer, wish): (Peer, Wish),
        asked: AskedAgain,
        deeds: &mut Deeds,
    ) {
        if self.stop_at.is_none() && (!asked.may_be_over || deeds.have_new(peer)) {
            self.begin(now, world, peer, wish, deeds);
        }
    }

    pub(crate) fn on_stop(&mut self, now: Moment, deeds: Vec<Deed>) {
        let mut deeds = Deeds(deeds.into());
        let overtaken = self.served.iter().filter(|one| one.is_overtaken).count();
        for _ in 0..self.waiting.len() + overtaken {
            let (peer, outcome, waited) = deeds.ended();
            if let Some(&one) = self.served.iter().find(|one| one.peer == peer) {
                assert!(one.is_overtaken, "it may finish");
                assert_eq!((outcome, waited), (Outcome::ShutDown, one.waited));
                self.forget_served(peer);
                continue;
            }
            let place = self.waiting.iter().position(|one| one.peer == peer);
            let waiter = self.forget_waiter(place.expect("it waited"));
            assert_eq!(
                (outcome, waited),
                (Outcome::ShutDown, now.since(waiter.arrived_at))
            );
        }
        deeds.none_left();
        self.stop_at = Some(now + self.limits.patience);
    }

    // What the server does of its own accord. Each deed must be due, or be what comes next.

    pub(crate) fn judge(&mut self, now: Moment, world: &World, deeds: Vec<Deed>) {
        for served in &mut self.served {
            served.was_full |= world.room.contains_key(&served.peer);
            if let Some(asked) = &mut served.asked_again {
                // The second transfer may have found no socket.
                asked.may_be_over |= world.exhausted || world.unreachable.contains(&served.peer);
            }
        }
        let mut refused = None;
        let mut deeds = Deeds(deeds.into());
        while let Some(deed) = deeds.0.pop_front() {
            match deed {
                Deed::Opened(peer) if self.served.iter().any(|one| one.peer == peer) => {
                    self.answer_again(now, peer);
                }
                Deed::Opened(peer) => {
                    let first = self.first_to_be_admitted(now);
                    assert_eq!(peer, first.peer, "a client was overtaken");
                    assert!(!world.exhausted && !world.unreachable.contains(&peer));
                    self.waiting.remove(0);
                    let waited = now.since(first.arrived_at);
                    self.serve(now, peer, first.wish, waited);
                }
                Deed::Exhausted => {
                    assert!(world.exhausted);
                    self.first_to_be_admitted(now);
                    self.paused_until = Some(now + millis(100));
                }
                Deed::Refused(peer, refusal) => {
                    let first = self.first_to_be_admitted(now);
                    assert_eq!(peer, first.peer);
                    assert_eq!(self.lengths.get(first.wish.file), None);
                    refused = Some((peer, refusal));
                }
                Deed::Ended(peer, outcome, waited) => {
                    let again = self.may_begin_anew(now, peer, outcome);
                    self.judge_end(now, world, peer, outcome, waited, refused.take());
                    if let Some((wish, asked)) = again {
                        self.begin_anew(now, world, (peer, wish), asked, &mut deeds);
                    }
                }
                Deed::Sent(peer, packet) => {
                    if packet == Packet::Oack
                        && let Some(served) = self.served.iter_mut().find(|it| it.peer == peer)
                        && let Some(granted) = world.granted.iter().rfind(|it| it.0 == peer)
                    {
                        served.blksize = granted.1;
                        assert!([512, 1024].contains(&served.blksize));
                    }
                    self.judge_packet(now, peer, packet);
                }
                Deed::Taken(..) | Deed::QueueFull(_) => panic!("nothing arrived: {deed:?}"),
            }
        }
        assert_eq!(refused, None, "a refused request goes on");
    }

    /// A second transfer answers a client that asked again, in the slot of the older one.
    fn answer_again(&mut self, now: Moment, peer: Peer) {
        let served = self.served.iter_mut().find(|one| one.peer == peer);
        let served = served.expect("it is served");
        let asked = served.asked_again.take().expect("it asked again");
        assert!(ANSWER_MIN <= now.since(asked.at), "too early: {served:?}");
        assert!(!served.owes_only_its_last_ack() && self.stop_at.is_none());
        served.peer = older(peer);
        served.is_overtaken = true;
        let wish = served.wish;
        self.serve(now, peer, wish, Duration::ZERO);
    }

    /// What a client that asked again gets by a request of its own, where its transfer ends for that.
    fn may_begin_anew(
        &self,
        now: Moment,
        peer: Peer,
        outcome: Outcome,
    ) -> Option<(Wish, AskedAgain)> {
        let served = self.served.iter().find(|one| one.peer == peer)?;
        let asked = served.asked_again?;
        let is_due = match outcome {
            Outcome::CompleteUnconfirmed => served.owes_only_its_last_ack(),
            // Patience with the old one ends before the answer is due.
            Outcome::TimedOut => true,
            Outcome::Restarted => {
                let is_given_up = served.progress_at + self.limits.patience <= now;
                let is_over = self.stop_at.is_some() || is_given_up;
                is_over && ANSWER_MIN <= now.since(asked.at)
            }
            _ => false,
        };
        is_due.then_some((served.wish, asked))
    }

    fn first_to_be_admitted(&self, now: Moment) -> Waiter {
        assert!(self.may_admit(now), "no slot is free");
        let first = self.waiting.first().copied();
        first.expect("a client waits")
    }

    fn judge_end(
        &mut self,
        now: Moment,
        world: &World,
        peer: Peer,
        outcome: Outcome,
        waited: Duration,
        refused: Option<(Peer, Refusal)>,
    ) {
        if let Some(place) = self.waiting.iter().position(|one| one.peer == peer) {
            let waiter = self.waiting[place];
            assert_eq!(waited, now.since(waiter.arrived_at));
            match outcome {
                Outcome::Expired => assert!(waiter.expires_at() <= now, "it may yet repeat"),
                Outcome::Unreachable => {
                    assert_eq!(place, 0);
                    self.first_to_be_admitted(now);
                    assert!(world.unreachable.contains(&peer));
                }
                Outcome::Refused(refusal) => assert_eq!(refused, Some((peer, refusal))),
                _ => panic!("{peer} waited and ended as {outcome:?}"),
            }
            self.forget_waiter(place);
            return;
        }
        let served = self.served.iter().find(|one| one.peer == peer);
        let served = served.expect("only who waits or is served can end");
        assert_eq!(waited, served.waited);
        let is_out_of_patience = served.progress_at + self.limits.patience <= now;
        let is_right = match outcome {
            Outcome::TimedOut => {
                served.answered && is_out_of_patience && !served.owes_only_its_last_ack()
            }
            Outcome::NoAnswer => {
                let first_sent_at = served.first_sent_at;
                let (sendings, patience) = served.handshake();
                let was_sent_all = served.sendings >= sendings
                    && first_sent_at.is_some_and(|at| at + patience <= now);
                !served.answered && (was_sent_all || is_out_of_patience)
            }
            Outcome::CompleteUnconfirmed => {
                let port_closed = world.closed_ports.contains(&peer);
                served.owes_only_its_last_ack()
                    && (served.sendings >= 6
                        || port_closed
                        || is_out_of_patience
                        || served.asked_again.is_some())
            }
            Outcome::Restarted => {
                let is_over = self.stop_at.is_some() || is_out_of_patience;
                served.asked_again.is_some() && is_over
            }
            Outcome::PortClosed => world.closed_ports.contains(&peer),
            Outcome::Refused(Refusal::ReadFailed) => {
                world.unreadable.contains(served.wish.file.as_bytes())
            }
            Outcome::ShutDown => self.stop_at.is_some_and(|at| at <= now),
            _ => false,
        };
        assert!(is_right, "{outcome:?} without a cause: {served:?}");
        self.forget_served(peer);
        self.older_goes_on(peer);
    }

    fn judge_packet(&mut self, now: Moment, peer: Peer, packet: Packet) {
        let served = self.served.iter_mut().find(|one| one.peer == peer);
        let served = served.expect("packets go to those who are served only");
        if packet == Packet::Error(Refusal::ReadFailed) {
            // Its end follows, and is judged then.
            return;
        }
        assert_eq!(packet, served.packet(), "the wrong packet");
        // In the handshake the clock sends by its own timetable, whatever the client wished before.
        let by_timetable = !served.answered
            && served
                .first_sent_at
                .is_some_and(|at| at + seconds(1) <= now);
        let is_recent = |at: Moment| now.since(at) < millis(100);
        assert!(
            by_timetable || !served.sent_at.is_some_and(is_recent),
            "sent again too early: {served:?}"
        );
        let is_silent =
            served.is_overtaken || served.asked_again.is_some_and(|asked| !asked.may_be_over);
        assert!(
            // A repeat that found its socket full leaves when that takes it.
            !is_silent || served.sent_at.is_none() || served.is_called_for || served.was_full,
            "repeated to a client that asked again: {served:?}"
        );
        served.first_sent_at.get_or_insert(now);
        served.sent_at = Some(now);
        served.is_called_for = false;
        served.sendings += 1;
        // There are fewer peers here than may owe their last ACK, so the slot is always given back.
        served.is_finishing |= served.owes_only_its_last_ack();
    }

    fn serve(&mut self, now: Moment, peer: Peer, wish: Wish, waited: Duration) {
        self.served.push(Served {
            peer,
            wish,
            waited,
            since: now,
            progress_at: now,
            answered: false,
            block: u64::from(wish.blksize.is_none()),
            first_sent_at: None,
            sent_at: None,
            sendings: 0,
            is_finishing: false,
            was_full: false,
            asked_again: None,
            is_called_for: false,
            is_overtaken: false,
            length: self.lengths[wish.file],
            blksize: wish.blksize.map_or(512, |it| it.parse().expect("a number")),
        });
    }

    fn forget_waiter(&mut self, place: usize) -> Waiter {
        let waiter = self.waiting.remove(place);
        self.was_alive(waiter.peer, waiter.heard_at);
        waiter
    }

    fn forget_served(&mut self, peer: Peer) {
        let place = self.served.iter().position(|one| one.peer == peer);
        let served = self.served.remove(place.expect("it was served"));
        self.was_alive(peer, served.progress_at);
        self.paused_until = None;
    }

    /// What must hold whenever the server sleeps.
    pub(crate) fn check_at_rest(&self, now: Moment) {
        assert!(self.running() <= self.limits.max_transfers);
        assert!(self.waiting.len() <= self.limits.max_pending);
        assert!(
            self.waiting.is_empty() || !self.may_admit(now),
            "the server sleeps, a slot is free, and {} wait",
            self.waiting.len()
        );
        for waiter in &self.waiting {
            assert!(now < waiter.expires_at() + TICK, "overdue: {waiter:?}");
        }
        for served in &self.served {
            let give_up_at = served.progress_at + self.limits.patience;
            assert!(now < give_up_at + TICK, "overdue: {served:?}");
            if let Some(asked) = served.asked_again.filter(|asked| !asked.may_be_over) {
                let answer_at = asked.at + ANSWER_MAX + TICK + self.overslept;
                assert!(now < answer_at, "not answered: {served:?}");
            }
            let is_on_schedule = !served.answered && !served.was_full;
            let (sendings, patience) = served.handshake();
            let late = sendings * TICK + self.overslept;
            assert!(
                !is_on_schedule || now < served.since + patience + late,
                "overdue: {served:?}"
            );
        }
        let is_over = self.stop_at.is_some_and(|at| at <= now);
        assert!(!is_over || self.served.is_empty());
    }
}

/// Deeds that are compared one by one.
struct Deeds(VecDeque<Deed>);

impl Deeds {
    #[track_caller]
    fn expect(&mut self, expected: Deed) {
        assert_eq!(self.0.pop_front(), Some(expected));
    }

    #[track_caller]
    fn ended(&mut self) -> (Peer, Outcome, Duration) {
        match self.0.pop_front() {
            Some(Deed::Ended(peer, outcome, waited)) => (peer, outcome, waited),
            other => panic!("expected an end, found {other:?}"),
        }
    }

    /// What follows shows that a request of `peer` is new.
    fn have_new(&self, peer: Peer) -> bool {
        self.0.iter().any(|deed| match deed {
            Deed::Taken(other, _)
            | Deed::Refused(other, _)
            | Deed::QueueFull(other)
            | Deed::Ended(other, Outcome::Unreachable, _) => *other == peer,
            Deed::Opened(_) | Deed::Sent(..) | Deed::Ended(..) | Deed::Exhausted => false,
        })
    }

    #[track_caller]
    fn none_left(&self) {
        assert_eq!(self.0, [], "the server did more than it should");
    }
}

/// Two round trips, within these bounds.
const ANSWER_MIN: Duration = millis(10);
const ANSWER_MAX: Duration = millis(50);
