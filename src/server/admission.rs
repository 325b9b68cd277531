//! Who gets a slot, who loses it, and how those who wait are kept alive.
//!
//! pending → held → running → finishing: a client may skip a stage, and goes back only from running, when
//! its slot lies idle while others wait: to held, or to lent if it is far away.

use std::time::Duration;

use super::client::{Client, Phase, Served, Stage};
use super::hosts::{Host, host_of};
use super::pending::Place;
use super::{Event, Io, Opened, Opening, PACKET_OVERHEAD, Server, Unopened};
use crate::moment::Moment;
use crate::transfer::{Outcome, Step, Terms, Transfer, Wanted};

impl Server {
    /// Gives free slots to those who are next, and idle ones where none is free.
    pub(super) fn admit(&mut self, now: Moment, io: &mut impl Io) {
        while !self.queue.is_deserted() {
            let Some(id) = self.next_in_line(now) else {
                if self.is_paused(now) || !self.may_hold_more() || !self.take_idle_slot_back(now) {
                    return;
                }
                continue;
            };
            match &self.clients[id].stage {
                Stage::Served(_) => {
                    self.leave_queue(id);
                    self.ends_its_wait(now, id);
                    self.enter(now, id, Phase::Running);
                }
                Stage::Pending(_) => self.open(now, io, id, Phase::Running),
            }
        }
    }

    /// Who gets the next free slot. While descriptors are lacking, only those who have theirs.
    pub(super) fn next_in_line(&self, now: Moment) -> Option<usize> {
        let mut firsts = self.queue.firsts().take(match self.is_paused(now) {
            true => LOOKED_AT_WITHOUT_DESCRIPTORS,
            false => 1,
        });
        let may_be_next =
            |&(_, id): &(Place, usize)| !self.is_paused(now) || self.clients[id].served().is_some();
        let (place, id) = firsts.find(may_be_next)?;
        self.has_slot(place.is_large).then_some(id)
    }

    /// Neither its host nor its network has all that it may have.
    pub(super) fn may_run(&self, host: Host) -> bool {
        self.queue.may_run(host)
    }

    /// A slot is free for a large file, or for a small one.
    pub(super) fn has_slot(&self, is_large: bool) -> bool {
        let large = self.limits.large_slots().min(self.congestion.max_running());
        self.count.running < self.limits.max_transfers
            && (!is_large || self.count.running_large < large)
    }

    pub(super) fn is_paused(&self, now: Moment) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    pub(super) fn pause(&mut self, now: Moment, io: &mut impl Io) {
        self.paused_until = Some(now + EXHAUSTED_PAUSE);
        io.report(Event::Exhausted);
    }

    /// Opens file and socket for a pending client and lets it run, or holds it.
    fn open(&mut self, now: Moment, io: &mut impl Io, id: usize, phase: Phase) {
        let host = host_of(self.clients[id].peer);
        if !self.has_first_packet(now, host) {
            return self.hold_later(id, now + FIRST_PACKET_AGAIN, phase);
        }
        let client = &self.clients[id];
        let wanted = *client.wanted();
        let opening = Opening {
            peer: client.peer,
            local: client.local,
            name: client.name.as_name(),
            mode: client.mode,
            blksize: wanted.blksize(),
        };
        match io.open(id, opening) {
            Ok(opened) => {
                let served = self.begin(now, host, wanted, opened, phase);
                if phase == Phase::Running {
                    self.leave_queue(id);
                }
                self.uncount(id);
                self.clients[id].stage = Stage::Served(Box::new(served));
                self.count(now, id);
                self.make_ready(now, id);
                self.set_timer(id);
            }
            Err(unopened) => {
                let (peer, local) = (client.peer, client.local);
                match unopened {
                    Unopened::Exhausted => self.pause(now, io),
                    Unopened::Busy(_) => self.stand_aside(now, id, phase),
                    Unopened::Unreachable => self.end(now, io, id, Outcome::Unreachable),
                    Unopened::Refused(refusal) => {
                        if !local.is_everybody {
                            self.send_refusal(now, io, peer, local, refusal);
                        }
                        self.end(now, io, id, Outcome::Refused(refusal));
                    }
                }
            }
        }
    }

    /// The file of a pending client cannot be told yet: those behind it go first.
    fn stand_aside(&mut self, now: Moment, id: usize, phase: Phase) {
        // One that was to be held will be tried again.
        if phase == Phase::Running
            && let Stage::Pending(waiting) = &mut self.clients[id].stage
        {
            waiting.aside_until = Some(now + BUSY_AGAIN);
            self.leave_queue(id);
            self.set_timer(id);
        }
    }

    /// More is known of the file for which `client` was answered [`Unopened::Busy`]. Called before
    /// [`Server::on_wakeup`] of the same turn.
    pub fn on_found(&mut self, now: Moment, client: usize) {
        let hold = self.limits.hold;
        let Some(found) = self.clients.get_mut(client) else {
            return;
        };
        let arrived_at = found.arrived_at;
        let Stage::Pending(waiting) = &mut found.stage else {
            return;
        };
        if hold.is_some_and(|hold| arrived_at + hold <= now) {
            waiting.hold_at = Some(now);
        }
        if waiting.aside_until.take().is_some() {
            self.join_queue(client);
        }
        self.set_timer(client);
    }

    /// A client that was to be held could not be.
    fn hold_later(&mut self, id: usize, again_at: Moment, phase: Phase) {
        if let Stage::Pending(waiting) = &mut self.clients[id].stage
            && phase == Phase::Held
        {
            waiting.hold_at = Some(again_at);
            self.set_timer(id);
        }
    }

    /// A client of `host` that is about to be served.
    pub(super) fn begin(
        &mut self,
        now: Moment,
        host: Host,
        wanted: Wanted,
        opened: Opened,
        phase: Phase,
    ) -> Served {
        let mut terms = self.limits.terms;
        let max_blksize = self.queue.host(host).max_blksize(now);
        terms.max_blksize = terms.max_blksize.min(max_blksize);
        let bound = self.congestion.max_windowsize(self.count.running);
        terms.max_windowsize = terms.max_windowsize.min(bound);
        if phase == Phase::Held {
            terms = Terms {
                max_windowsize: terms.max_windowsize.min(HELD_WINDOWSIZE),
                ..terms
            };
        }
        let negotiated = wanted.negotiate(terms, opened.length, opened.payload_max);
        let transfer = Transfer::new(now, negotiated, opened.length, self.limits.patience);
        let mut served = Served::new(now, transfer, phase);
        served.first_packets_taken = u8::from(self.take_first_packet(now, host));
        served
    }

    // Deadlines.

    /// A client that waits in silence fell silent itself, or has waited long enough to be held.
    pub(super) fn on_pending_deadline(&mut self, now: Moment, io: &mut impl Io, id: usize) {
        let Stage::Pending(waiting) = &mut self.clients[id].stage else {
            return;
        };
        if waiting.expires_at() <= now {
            return self.end(now, io, id, Outcome::Expired);
        }
        let is_held = waiting.hold_at.is_some_and(|at| at <= now);
        if is_held {
            // Should opening fail for want of descriptors, it is tried again.
            waiting.hold_at = Some(now + HOLD_AGAIN);
        }
        if waiting.aside_until.is_some_and(|at| at <= now) {
            waiting.aside_until = None;
            self.join_queue(id);
        }
        self.set_timer(id);
        if is_held && self.count.held < self.limits.max_held {
            self.open(now, io, id, Phase::Held);
        }
    }

    /// A packet is overdue, a held client is to be fed, or a slot may lie idle.
    pub(super) fn on_served_deadline(&mut self, now: Moment, io: &mut impl Io, id: usize) {
        let client = &mut self.clients[id];
        let will_be_told = client.is_blocked;
        let Some(served) = client.served_mut() else {
            return;
        };
        if served.is_answer_due(now) {
            return self.on_answer_due(now, io, id);
        }
        if !served.transfer.has_nothing_out() {
            io.read_again(id);
        }
        let step = if served.is_kept_waiting() && !will_be_told {
            served.transfer.was_kept_waiting(now);
            Step::Send
        } else if served.transfer_deadline() <= now {
            served.transfer.on_deadline(now)
        } else {
            Step::Send
        };
        match served.phase {
            Phase::Running => self.note_idle_slot(now, id),
            // No longer slow, but silent.
            Phase::Lent if served.transfer.timeouts() >= TIMEOUTS_WITH_SLOT => {
                self.give_way(now, id, Phase::Held);
            }
            // Whoever does not answer gives way until it does.
            Phase::Held if served.transfer.timeouts() > 0 => {
                self.leave_queue(id);
                self.note_silent_stranger(id);
            }
            Phase::Held | Phase::Lent | Phase::Finishing | Phase::Overtaken { .. } => {}
        }
        self.take(now, io, id, step);
    }

    // Slots taken back and given back.

    /// A running client that makes no progress has a slot that others may have.
    pub(super) fn note_idle_slot(&mut self, now: Moment, id: usize) {
        let client = &mut self.clients[id];
        let Some(idle_at) = client.idle_at().filter(|_| self.limits.reclaim) else {
            return;
        };
        let Some(served) = client.served_mut() else {
            return;
        };
        if now < idle_at && served.transfer.timeouts() < TIMEOUTS_WITH_SLOT {
            return;
        }
        served.mark_idle(now);
        self.idle.push_back(id);
        if self.idle.len() > 2 * self.limits.max_transfers {
            let is_idle = |id: &usize| self.clients.get(*id).is_some_and(Client::has_idle_slot);
            self.idle.retain(is_idle);
        }
    }

    /// Whoever loses its slot keeps its descriptors: if they are short, only somebody who has its own
    /// gets that slot.
    fn may_hold_more(&self) -> bool {
        self.count.held < self.limits.max_held_with_lenders()
            || self
                .queue
                .first()
                .is_some_and(|(_, id)| self.clients[id].served().is_some())
    }

    /// Whoever has been idle longest becomes held: retransmission goes on, and with its next ACK it stands
    /// in line again, by its boot before those who came later. If it is far away it goes on without a slot, as
    /// long as not too many do; then it gives way only to who may be near. If all who wait have reached a bound
    /// of their own, only one of those whom it counts gives its slot. Returns whether there was one.
    fn take_idle_slot_back(&mut self, now: Moment) -> bool {
        let first = self.queue.first();
        let may_be_near = first.is_some_and(|(place, _)| !place.is_far);
        let is_meant = |id: &usize| {
            let client = self.clients.get(*id).filter(|it| it.has_idle_slot());
            client.is_some_and(|it| {
                let is_slow = it.place.is_far && !it.served().is_some_and(|it| it.is_overdue(now));
                let gives_way = !is_slow || may_be_near || self.may_lend();
                gives_way && (first.is_some() || self.queue.is_in_the_way(host_of(it.peer)))
            })
        };
        let Some(place) = self.idle.iter().position(is_meant) else {
            return false;
        };
        let Some(id) = self.idle.remove(place) else {
            return false;
        };
        let client = &self.clients[id];
        let is_silent = client.served().is_some_and(|it| it.is_overdue(now));
        let phase = match client.place.is_far && !is_silent && self.may_lend() {
            true => Phase::Lent,
            false => Phase::Held,
        };
        self.give_way(now, id, phase);
        true
    }

    /// One more may go on without a slot: not while slots are left empty because a queue on the way overflows.
    fn may_lend(&self) -> bool {
        self.count.lent < self.limits.max_lent()
            && self.congestion.max_running() >= self.limits.max_transfers
    }

    /// A client with a slot, or one that has lent it, goes on without.
    fn give_way(&mut self, now: Moment, id: usize, phase: Phase) {
        if let Some(served) = self.clients[id].served_mut() {
            served.feed_at = now;
        }
        self.enter(now, id, phase);
    }

    /// A client made progress: how far away it is decides what it goes on with, and where it stands in line.
    pub(super) fn note_distance(&mut self, now: Moment, io: &mut impl Io, id: usize) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        let Some(served) = client.served().filter(|_| self.limits.reclaim) else {
            return self.stand_in_line_again(id);
        };
        let (peer, place, phase) = (client.peer, client.place, served.phase);
        let windowsize = served.transfer.negotiated().windowsize;
        let per_block = served.transfer.time_per_block().unwrap_or_default();
        let round_trip = per_block * windowsize.into();
        let is_far = self
            .lending
            .is_far(now, &served.transfer, client.place.is_far);
        match phase {
            Phase::Running => self.clients[id].place.is_far = is_far,
            Phase::Lent if is_far => {}
            Phase::Lent => {
                self.give_way(now, id, Phase::Held);
                self.stand_elsewhere(now, id, is_far);
                self.stand_in_line_again(id);
            }
            Phase::Held => {
                if is_far != place.is_far {
                    self.stand_elsewhere(now, id, is_far);
                }
                self.stand_in_line_again(id);
                let waits = is_far && !self.has_slot(true);
                if waits && self.may_lend() && self.may_run(host_of(peer)) {
                    self.leave_queue(id);
                    self.give_way(now, id, Phase::Lent);
                } else if waits && self.lending.are_too_many(now) {
                    io.report(Event::FarAway { peer, round_trip });
                }
            }
            Phase::Finishing | Phase::Overtaken { .. } => {}
        }
    }

    /// A held client that is far away stands behind all that are near, whatever the size of its file.
    fn stand_elsewhere(&mut self, now: Moment, id: usize, is_far: bool) {
        self.leave_queue(id);
        self.uncount(id);
        let place = &mut self.clients[id].place;
        place.is_far = is_far;
        place.is_large |= is_far;
        self.count(now, id);
    }

    /// A client that had given way and answers is in line again.
    pub(super) fn stand_in_line_again(&mut self, id: usize) {
        let Some(client) = self.clients.get(id) else {
            return;
        };
        let answers =
            |served: &Served| served.phase == Phase::Held && served.transfer.timeouts() == 0;
        if !client.is_queued && client.served().is_some_and(answers) {
            self.join_queue(id);
        }
    }

    /// A transfer that only waits for its last ACK needs no slot. One that never had an ACK keeps it: a
    /// forged request must not get more than a slot's worth of sockets.
    pub(super) fn give_slot_back_if_all_sent(&mut self, now: Moment, id: usize) {
        let Some(served) = self.clients[id].served() else {
            return;
        };
        if matches!(served.phase, Phase::Held | Phase::Running)
            && served.transfer.is_unconfirmed()
            && self.may_finish_one_more()
        {
            self.leave_queue(id);
            self.enter(now, id, Phase::Finishing);
        }
    }

    // Keeping alive.

    /// A held client is about to be sent something new.
    pub(super) fn ends_its_wait(&mut self, now: Moment, id: usize) {
        if let Some(served) = self.clients[id].served_mut()
            && served.is_kept_waiting()
        {
            served.transfer.was_kept_waiting(now);
        }
    }

    /// A held client was sent a block, or its whole window: the next one has time.
    pub(super) fn was_fed(&mut self, now: Moment, id: usize) {
        if let Some(served) = self.clients[id].served_mut()
            && served.phase == Phase::Held
            && served.feed_at <= now
            && served.transfer.datagrams(1).is_none()
        {
            served.feed_at = now + self.keepalive.interval();
        }
    }

    /// Those who were held together are not fed together.
    pub(super) fn spread_first_feeding(&mut self, now: Moment, id: usize) {
        let interval = self.keepalive.interval();
        let part = self.keepalive.part_of(interval);
        if let Some(served) = self.clients[id].served_mut() {
            served.feed_at = now + part;
        }
    }

    // Books.

    pub(super) fn enter(&mut self, now: Moment, id: usize, phase: Phase) {
        self.uncount(id);
        if let Some(served) = self.clients[id].served_mut() {
            served.enter(now, phase);
        }
        // Slots for small files are for those who are near.
        let place = &mut self.clients[id].place;
        place.is_large |= place.is_far && phase == Phase::Held;
        self.count(now, id);
        self.make_ready(now, id);
        self.set_timer(id);
    }

    pub(super) fn count(&mut self, now: Moment, id: usize) {
        let client = &self.clients[id];
        let host = host_of(client.peer);
        let place = client.place;
        match client.phase() {
            None => {
                self.count.pending += 1;
                self.queue.waits(now, host, place, id);
            }
            Some(Phase::Held) => {
                self.count.held += 1;
                self.queue.waits(now, host, place, id);
            }
            Some(Phase::Running) => {
                self.count.running += 1;
                self.count.running_large += usize::from(place.is_large);
                self.queue.runs(host);
            }
            Some(Phase::Lent) => {
                self.count.lent += 1;
                self.queue.runs(host);
            }
            Some(Phase::Finishing) => self.count.finishing += 1,
            Some(Phase::Overtaken { .. }) => self.count.overtaken += 1,
        }
        if self.clients[id].is_queued {
            self.queue.join(host, place);
        }
        self.keepalive.add(self.fed_in_a_round(id));
    }

    pub(super) fn uncount(&mut self, id: usize) {
        self.keepalive.remove(self.fed_in_a_round(id));
        let client = &self.clients[id];
        let host = host_of(client.peer);
        let place = client.place;
        match client.phase() {
            None => {
                self.count.pending -= 1;
                self.queue.waits_no_longer(host, place);
            }
            Some(Phase::Held) => {
                self.count.held -= 1;
                self.queue.waits_no_longer(host, place);
            }
            Some(Phase::Running) => {
                self.count.running -= 1;
                self.count.running_large -= usize::from(place.is_large);
                self.queue.runs_no_longer(host);
            }
            Some(Phase::Lent) => {
                self.count.lent -= 1;
                self.queue.runs_no_longer(host);
            }
            Some(Phase::Finishing) => self.count.finishing -= 1,
            Some(Phase::Overtaken { .. }) => self.count.overtaken -= 1,
        }
    }

    /// Bytes that a held client gets each time it is fed.
    fn fed_in_a_round(&self, id: usize) -> u64 {
        let held = self.clients[id]
            .served()
            .filter(|served| served.phase == Phase::Held);
        held.map_or(0, |served| {
            let negotiated = served.transfer.negotiated();
            let packets = u64::from(negotiated.windowsize);
            packets * (u64::from(negotiated.blksize) + PACKET_OVERHEAD)
        })
    }

    pub(super) fn join_queue(&mut self, id: usize) {
        let client = &mut self.clients[id];
        client.is_queued = true;
        let host = host_of(client.peer);
        self.queue.join(host, client.place);
    }

    pub(super) fn leave_queue(&mut self, id: usize) {
        let client = &mut self.clients[id];
        if std::mem::take(&mut client.is_queued) {
            let host = host_of(client.peer);
            self.queue.leave(host, client.place);
        }
    }
}

/// The largest window of a client that waited: one of it keeps the client alive.
const HELD_WINDOWSIZE: u16 = 4;

/// Timeouts in a row after which a client that runs gives way to others.
const TIMEOUTS_WITH_SLOT: u8 = 2;

/// When holding a client is tried again that would be the first packet too many of its network: those
/// who answer have given theirs back by then.
const FIRST_PACKET_AGAIN: Duration = Duration::from_millis(250);

/// When holding a client is tried again after descriptors ran out.
const HOLD_AGAIN: Duration = Duration::from_secs(1);

/// When a file that could not be told is asked for again, should nothing be heard of it before.
const BUSY_AGAIN: Duration = Duration::from_secs(1);

/// How many of the first in line are looked at while descriptors are lacking, for one that has its own.
const LOOKED_AT_WITHOUT_DESCRIPTORS: usize = 64;

/// How long admissions pause when descriptors run out, unless a transfer ends before.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
