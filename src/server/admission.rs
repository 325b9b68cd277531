//! Who gets a slot, and who loses it.
//!
//! pending → held → running → finishing (then dallying, for an upload): a client may skip a stage. It goes back from running
//! when its slot lies idle while others wait: to held, or to lent if it is far away; and from lent to held when it falls
//! silent. How a held client is kept alive: `Client::has_to_send` allows its block, `Server::rest` puts the next one off.

use std::time::Duration;

use super::client::{Again, Client, Output, Served, Stage};
use super::hosts::host_of;
use super::limits::PAUSE;
use super::pending::Place;
use super::{Event, Io, OpenError, Opened, Server};
use crate::moment::Moment;
use crate::transfer::{Outcome, Transfer};
use crate::wire::Direction;

impl Server {
    /// Gives free slots to those who are next.
    fn admit(&mut self, now: Moment, io: &mut impl Io) {
        while let Some(id) = self.next_in_line(now) {
            if self.clients[id].served().is_some() {
                self.change(now, id, |client| client.stage = Stage::RUNNING);
            } else {
                self.open(now, io, id, Stage::RUNNING);
            }
        }
    }

    /// Gives free slots to those who are next, and idle ones if none is free.
    pub(super) fn fill_slots(&mut self, now: Moment, io: &mut impl Io) {
        while !self.queue.is_deserted() {
            self.admit(now, io);
            if self.queue.is_deserted() || !self.take_idle_slot_back(now) {
                return;
            }
        }
    }

    /// Who gets the next free slot. While descriptors are lacking, only those who have theirs.
    pub(super) fn next_in_line(&self, now: Moment) -> Option<usize> {
        if !self.has_slot(false) {
            return None;
        }
        let mut firsts = self.queue.firsts().take(match self.is_paused(now) {
            true => LOOKED_AT_WITHOUT_DESCRIPTORS,
            false => 1,
        });
        let may_be_next =
            |&(_, id): &(Place, usize)| !self.is_paused(now) || self.clients[id].served().is_some();
        let (place, id) = firsts.find(may_be_next)?;
        self.has_slot(place.is_large).then_some(id)
    }

    /// A slot is free for a large file, or for a small one.
    pub(super) fn has_slot(&self, is_large: bool) -> bool {
        let large = || self.limits.large_slots().min(self.congestion.max_running());
        self.count.running < self.limits.max_transfers
            && (!is_large || self.count.running_large < large())
    }

    pub(super) fn is_paused(&self, now: Moment) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    pub(super) fn pause(&mut self, now: Moment, io: &mut impl Io) {
        self.paused_until = Some(now + PAUSE);
        io.report(Event::Exhausted);
    }

    /// Opens file and socket for a pending client, which runs from now on, or is held. If its network has no first packet
    /// left nothing is done, and the queue offers none of its clients for a moment.
    pub(super) fn open(&mut self, now: Moment, io: &mut impl Io, id: usize, stage: Stage) {
        let Client { peer, local, .. } = self.clients[id];
        if !self.queue.has_first_packet(now, host_of(peer)) {
            return;
        }
        match io.open(id, self.clients[id].opening()) {
            Ok(opened) => {
                let served = self.begin(now, id, opened, stage.is_held(), Again::No);
                self.change(now, id, |client| {
                    client.served = Some(Box::new(served));
                    client.stage = stage;
                });
            }
            Err(OpenError::Exhausted) => self.pause(now, io),
            Err(OpenError::Busy(_)) => {
                // Those behind it go first.
                self.stand_aside(now, id, Some(now + BUSY_AGAIN));
            }
            Err(OpenError::Unreachable) => self.end(now, io, id, Outcome::Unreachable),
            Err(OpenError::Refused(refusal)) => {
                if !local.is_broadcast {
                    self.send_refusal(now, io, peer, local, refusal);
                }
                self.end(now, io, id, Outcome::Refused(refusal));
            }
        }
    }

    /// A pending client leaves the line while its file is being found, or stands in it again.
    fn stand_aside(&mut self, now: Moment, id: usize, until: Option<Moment>) {
        let hold = self.limits.hold;
        self.change(now, id, |client| {
            if let Stage::Pending(waiting) = &mut client.stage {
                waiting.aside_until = until;
                waiting.hold_at = hold.map(|hold| now.max(client.arrived_at + hold));
            }
        });
    }

    /// More is known of the file for which `client` was answered [`OpenError::Busy`]. Called before
    /// [`Server::on_wakeup`] of the same turn.
    pub fn on_found(&mut self, now: Moment, client: usize) {
        if self.clients.contains(client) {
            self.stand_aside(now, client, None);
        }
    }

    /// A transfer for the client with this number, which may be sent no large windows if it is held.
    pub(super) fn begin(
        &mut self,
        now: Moment,
        id: usize,
        opened: Opened,
        is_held: bool,
        again: Again,
    ) -> Served {
        let client = &self.clients[id];
        let (host, wanted) = (host_of(client.peer), client.wanted());
        let mut terms = self.limits.terms;
        let max_blksize = self.queue.host(host).max_blksize(now);
        terms.max_blksize = terms.max_blksize.min(max_blksize);
        let bound = self.congestion.max_windowsize(self.count.running);
        let bound = bound.min(if is_held { HELD_WINDOWSIZE } else { u16::MAX });
        terms.max_windowsize = terms.max_windowsize.min(bound);
        let patience = self.limits.patience;
        let Opened {
            length,
            payload_max,
        } = opened;
        let transfer = match client.direction {
            Direction::Read => {
                let negotiated = wanted.negotiate(terms, length, payload_max);
                Transfer::new(now, negotiated, length, patience)
            }
            Direction::Write => {
                let negotiated = wanted.negotiate_upload(terms, payload_max);
                Transfer::receiving(now, negotiated, patience)
            }
        };
        let mut served = Served::new(now, transfer, again);
        served.first_packets_taken = u8::from(self.queue.take_first_packet(now, host));
        served
    }

    // Deadlines.

    /// A pending client has stopped repeating its request, or has waited long enough to be held.
    pub(super) fn on_pending_deadline(&mut self, now: Moment, io: &mut impl Io, id: usize) {
        let Stage::Pending(waiting) = &mut self.clients[id].stage else {
            return;
        };
        if waiting.expires_at() <= now {
            return self.end(now, io, id, Outcome::Expired);
        }
        if waiting.aside_until.is_some() {
            return self.stand_aside(now, id, None);
        }
        // Should opening fail it is tried again.
        waiting.hold_at = Some(now + HOLD_AGAIN);
        self.schedule(now, id);
        if self.may_hold_one_more() && !self.is_paused(now) {
            let stage = Stage::Held {
                trickle_at: now,
                in_line: true,
            };
            self.open(now, io, id, stage);
        }
    }

    /// A packet is overdue, a held client is to be sent its next block, or a slot may lie idle.
    pub(super) fn on_served_deadline(&mut self, now: Moment, io: &mut impl Io, id: usize) {
        let client = &mut self.clients[id];
        if matches!(client.again(), Again::Asked { answer_at } if answer_at <= now) {
            return self.on_answer_due(now, io, id);
        }
        let is_blocked = matches!(client.output, Output::Full | Output::Absent { .. });
        let is_kept_waiting = client.is_kept_waiting() && !is_blocked;
        let is_due = |served: &Served| client.transfer_deadline(served) <= now;
        let is_late = !is_kept_waiting && client.served().is_some_and(is_due);
        let Some(served) = &mut client.served else {
            return;
        };
        let outcome = match is_late {
            true => served.transfer.on_deadline(now),
            false => None,
        };
        if is_kept_waiting {
            served.transfer.was_kept_waiting(now);
        }
        let timeouts = served.transfer.timing().timeouts();
        self.give_way(now, id, timeouts);
        match outcome {
            Some(outcome) => self.conclude(now, io, id, outcome),
            None => self.schedule(now, id),
        }
    }

    // Slots taken back and given back.

    /// The slot of a client that makes no progress lies idle from now on; one that missed a timeout leaves the line, or the
    /// lent slot, until it answers.
    fn give_way(&mut self, now: Moment, id: usize, timeouts: u8) {
        let client = &self.clients[id];
        let stage = match client.stage {
            Stage::Running { .. } => {
                let idle_at = client.idle_at().filter(|_| self.limits.reclaim);
                let is_idle = idle_at.is_some_and(|at| at <= now);
                is_idle.then_some(Stage::Running { is_idle: true })
            }
            // No longer slow, but silent.
            Stage::Lent => (timeouts > 0).then(|| Stage::silent(now)),
            // Until it answers.
            Stage::Held {
                trickle_at,
                in_line: true,
            } => (timeouts > 0).then(|| Stage::silent(trickle_at)),
            Stage::Pending(_)
            | Stage::Held { in_line: false, .. }
            | Stage::Finishing
            | Stage::Dallying
            | Stage::Overtaken { .. } => None,
        };
        if let Some(stage) = stage {
            self.change(now, id, |client| client.stage = stage);
        }
    }

    /// Takes the slot of the client that has been idle longest, which is held from now on: retransmission goes on, and
    /// with its next ACK it stands in line again, by its boot before those who came later. One that is far away goes on
    /// without a slot while few enough do; else it gives way only to those who may be near. If all who wait have reached
    /// a bound of their own, only a client that counts for that bound gives its slot. Returns whether there was one.
    fn take_idle_slot_back(&mut self, now: Moment) -> bool {
        if self.idle.is_empty() {
            return false;
        }
        let first = self.queue.first();
        // A client that loses its slot keeps its descriptors: if they are short, only one that has its own gets
        // that slot.
        let kept = self.count.held + self.count.dallying;
        let may_hold_more = kept < self.limits.max_held_with_lenders();
        let has_its_own = first.is_some_and(|(_, id)| self.clients[id].served().is_some());
        if self.is_paused(now) || !(may_hold_more || has_its_own) {
            return false;
        }
        let may_lend = self.may_lend();
        let may_be_near = first.is_some_and(|(place, _)| !place.is_far);
        let is_slow = |it: &Client| {
            let is_silent = it.served().is_some_and(|it| it.is_overdue(now));
            it.place.is_far && !is_silent
        };
        let is_meant = |&id: &usize| {
            let it = &self.clients[id];
            (!is_slow(it) || may_be_near || may_lend)
                && (first.is_some() || self.queue.is_in_the_way(host_of(it.peer)))
        };
        let Some(id) = self.idle.iter().copied().find(is_meant) else {
            return false;
        };
        let stage = match may_lend && is_slow(&self.clients[id]) {
            true => Stage::Lent,
            false => Stage::silent(now),
        };
        self.change(now, id, |client| client.stage = stage);
        true
    }

    /// One more may go on without a slot: not while slots are left empty because a queue on the way overflows.
    fn may_lend(&self) -> bool {
        self.count.lent < self.limits.max_lent()
            && self.congestion.max_running() >= self.limits.max_transfers
    }

    /// A client made progress: its slot lies idle no longer, a held one stands in line again, and how far away it is
    /// decides what it goes on with, and where it stands.
    pub(super) fn place_after_progress(&mut self, now: Moment, io: &mut impl Io, id: usize) {
        let client = &mut self.clients[id];
        let Some(served) = client.served.as_deref() else {
            return;
        };
        let was_far = client.place.is_far;
        let (_, ran_for) = served.times(now, client.stage.is_held());
        let is_far =
            self.limits.reclaim && self.lending.is_far(now, &served.transfer, was_far, ran_for);
        let trickle_at = match client.stage {
            Stage::Running { is_idle } => {
                client.place.is_far = is_far;
                if is_idle && !is_far {
                    self.change(now, id, |client| client.stage = Stage::RUNNING);
                }
                return;
            }
            Stage::Lent if is_far => return,
            Stage::Lent => now,
            Stage::Held { trickle_at, .. } => trickle_at,
            Stage::Pending(_) | Stage::Finishing | Stage::Dallying | Stage::Overtaken { .. } => {
                return;
            }
        };
        let per_block = served
            .transfer
            .timing()
            .time_per_block()
            .unwrap_or_default();
        let round_trip = per_block * served.transfer.negotiated().windowsize.into();
        let peer = client.peer;
        let length = served.transfer.length();
        let is_large = length.map_or(client.place.is_large, |it| self.limits.is_large(it));
        if is_far != was_far || !client.stage.is_in_line() {
            // One that is far away stands behind all that are near, whatever the size of its file.
            self.change(now, id, |client| {
                client.place.is_far = is_far;
                client.place.is_large = is_large || is_far;
                client.stage = Stage::Held {
                    trickle_at,
                    in_line: true,
                };
            });
        }
        if is_far && !self.has_slot(true) {
            if self.may_lend() && self.queue.may_run(host_of(peer)) {
                self.change(now, id, |client| client.stage = Stage::Lent);
            } else if self.lending.are_too_many(now) {
                io.report(Event::FarAway { peer, round_trip });
            }
        }
    }

    /// Everything was sent: there is no need of a slot or a place, if not too many have neither.
    pub(super) fn release_slot(&mut self, now: Moment, id: usize) {
        if self.may_finish_one_more() {
            self.change(now, id, |client| client.stage = Stage::Finishing);
        }
    }

    /// One more transfer may be open without a slot and without a place in the queue.
    pub(super) fn may_finish_one_more(&self) -> bool {
        let without_slot = self.count.finishing + self.count.overtaken;
        let dallying = match self.limits.max_kept() {
            0 => self.count.dallying,
            _ => 0,
        };
        without_slot + dallying < self.limits.max_finishing()
    }

    /// One more client may keep a socket without a slot.
    pub(super) fn may_hold_one_more(&self) -> bool {
        self.count.held + self.count.dallying < self.limits.max_kept()
    }
}

/// The largest window of a client that waited: one of it keeps the client alive.
const HELD_WINDOWSIZE: u16 = 4;

/// When holding a client is tried again: those who answer have given the first packets of their network back by then.
const HOLD_AGAIN: Duration = Duration::from_millis(250);

/// When a file whose name is still being looked up is asked for again, at the latest.
const BUSY_AGAIN: Duration = Duration::from_secs(1);

/// How many of the first in line are looked at while descriptors are lacking, for one that has its own.
const LOOKED_AT_WITHOUT_DESCRIPTORS: usize = 64;
