//! A client that asks for the file again which it is being sent, after it has acknowledged something.
//!
//! Either it has begun anew, as FreeBSD's loader does within milliseconds, or the network made a copy of its
//! request. The transfer under way falls silent at once, since some clients take its packets for the answer;
//! only what an ACK has called for still goes out. Where it has a packet on the way, the ACK of that would
//! show a copy, so it is awaited for a moment. Then a second transfer answers and has the slot, or the
//! place in the queue. The first ACK to either decides which of them goes on.

use super::arrival::Arrival;
use super::client::{Again, Client, Phase, Served, Stage};
use super::hosts::host_of;
use super::{Io, Opening, Server, Unopened};
use crate::moment::Moment;
use crate::transfer::{Outcome, Step};
use crate::wire::Reply;

impl Server {
    /// An equal request came from a client that has acknowledged something. Returns whether that is taken
    /// care of; if not, its transfer was complete and has ended, and the request is new.
    pub(super) fn asks_anew(&mut self, now: Moment, io: &mut impl Io, id: usize) -> bool {
        let client = &mut self.clients[id];
        let is_blocked = client.is_blocked;
        let Some(served) = client.served_mut() else {
            return false;
        };
        if let Again::Asked { .. } = served.again {
            return true;
        }
        let transfer = &served.transfer;
        let is_on_its_way = !transfer.has_nothing_out() || is_blocked || served.has_to_send(now);
        let answer_at = if transfer.is_unconfirmed() {
            transfer.sent_at().unwrap_or(now) + transfer.ack_due_within()
        } else if is_on_its_way {
            now + transfer.ack_due_within()
        } else {
            now
        };
        served.again = Again::Asked { answer_at };
        if now < answer_at {
            self.set_timer(id);
            return true;
        }
        if served.transfer.is_unconfirmed() {
            self.end(now, io, id, Outcome::CompleteUnconfirmed);
            return false;
        }
        self.answer_anew(now, io, id);
        true
    }

    /// Nothing showed that the request of such a client is a copy.
    pub(super) fn on_answer_due(&mut self, now: Moment, io: &mut impl Io, id: usize) {
        self.read_to_the_end(now, io, id);
        let Some(client) = self.clients.get(id) else {
            return;
        };
        match client.served() {
            Some(served) if served.is_answer_due(now) => {
                if served.transfer.is_unconfirmed() {
                    self.begin_anew(now, io, id, Outcome::CompleteUnconfirmed);
                } else {
                    self.answer_anew(now, io, id);
                }
            }
            Some(_) | None => self.set_timer(id),
        }
    }

    /// Answers by a second transfer, which takes the slot or the place of the older one.
    fn answer_anew(&mut self, now: Moment, io: &mut impl Io, id: usize) {
        let client = &self.clients[id];
        let is_given_up = client.transfer().is_some_and(|it| it.give_up_at() <= now);
        if is_given_up || self.is_stopping() || !self.may_finish_one_more() {
            return self.begin_anew(now, io, id, Outcome::Restarted);
        }
        let (peer, local, mode) = (client.peer, client.local, client.mode);
        let (place, wanted) = (client.place, *client.wanted());
        let phase = client.phase().expect("only who is served asks anew");
        let name = client.name.clone();
        let by = self.clients.vacant_key();
        let opening = Opening {
            peer,
            local,
            name: name.as_name(),
            mode,
            blksize: wanted.blksize(),
        };
        let opened = match io.open(by, opening) {
            Ok(opened) => opened,
            Err(unopened) => return self.not_answered(now, io, id, unopened),
        };
        let mut served = self.begin(now, host_of(peer), wanted, opened, phase);
        served.again = Again::Answers { older: id };
        self.leave_queue(id);
        if let Some(older) = self.clients[id].served_mut() {
            older.again = Again::No;
        }
        self.enter(now, id, Phase::Overtaken { by });
        let arrival = Arrival {
            peer,
            local,
            name: name.as_name(),
            mode,
            wanted,
            spelled: name.as_name().as_bytes(),
        };
        self.insert(now, &arrival, place, Stage::Served(Box::new(served)));
        if phase == Phase::Held {
            self.join_queue(by);
        }
        self.make_ready(now, by);
    }

    /// File or socket of a second transfer could not be opened.
    fn not_answered(&mut self, now: Moment, io: &mut impl Io, id: usize, unopened: Unopened) {
        let client = &mut self.clients[id];
        let (peer, local) = (client.peer, client.local);
        if let Some(served) = client.served_mut() {
            served.again = match unopened {
                Unopened::Busy(_) | Unopened::Exhausted => Again::Asked {
                    answer_at: now + ANSWER_AGAIN,
                },
                Unopened::Refused(_) | Unopened::Unreachable => Again::No,
            };
            served.transfer.resume(now);
        }
        self.note_idle_slot(now, id);
        self.set_timer(id);
        if let Unopened::Refused(refusal) = unopened {
            self.send_refusal(now, io, peer, local, refusal);
        }
    }

    /// Ends a transfer of a client that asked again, and takes its request for a new one.
    pub(super) fn begin_anew(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        id: usize,
        outcome: Outcome,
    ) {
        let client = &self.clients[id];
        let name = client.name.clone();
        let arrival = Arrival {
            peer: client.peer,
            local: client.local,
            name: name.as_name(),
            mode: client.mode,
            wanted: *client.wanted(),
            spelled: name.as_name().as_bytes(),
        };
        self.end(now, io, id, outcome);
        if !self.is_stopping() {
            self.stats.requests += 1;
            // What the client has sent since goes first: it is not handed in again.
            let _ = self.accept(now, io, &arrival);
        }
    }

    // Which of two goes on.

    /// An answer of a client that asked again is about to be taken: does it show that the older transfer goes
    /// on?
    pub(super) fn settle_for_older(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        id: usize,
        reply: &Reply<'_>,
    ) {
        let Some(served) = self.clients.get_mut(id).and_then(Client::served_mut) else {
            return;
        };
        let &Reply::Ack(block) = reply else { return };
        if served.is_repeating() || !served.transfer.is_carried_on_by(now, block) {
            return;
        }
        served.again = Again::No;
        served.transfer.resume(now);
        match served.phase {
            Phase::Overtaken { by } => self.end(now, io, by, Outcome::Duplicate),
            Phase::Running => self.note_idle_slot(now, id),
            Phase::Held | Phase::Lent | Phase::Finishing => {}
        }
    }

    /// The client of a second transfer has sent something, and `step` is what came of it. If that is an
    /// answer, the older transfer is over; an ERROR may be a complaint of a packet from a port that is not
    /// known to it.
    pub(super) fn settle_for_newer(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        id: usize,
        step: Step,
    ) -> Step {
        let served = self.clients[id].served_mut();
        let Some(served) = served else { return step };
        let Again::Answers { older } = served.again else {
            return step;
        };
        match step {
            Step::End(Outcome::ClientError(_)) => Step::End(Outcome::Duplicate),
            Step::Wait | Step::Send if !served.transfer.is_answered() => step,
            Step::Wait | Step::Send | Step::End(_) => {
                served.again = Again::No;
                self.end(now, io, older, Outcome::Restarted);
                step
            }
        }
    }

    /// The client with this number is gone: its peer is that of the other of two, if there were two.
    pub(super) fn part(&mut self, now: Moment, client: &Client) {
        let again = client.served().map_or(Again::No, |served| served.again);
        match (again, client.phase()) {
            (Again::Answers { older }, Some(phase)) => {
                self.by_peer.insert(client.peer, older);
                if let Some(served) = self.clients[older].served_mut() {
                    served.transfer.resume(now);
                }
                self.enter(now, older, phase);
            }
            (_, Some(Phase::Overtaken { by })) => {
                if let Some(served) = self.clients[by].served_mut() {
                    served.again = Again::No;
                }
            }
            (_, _) => {
                self.by_peer.remove(&client.peer);
            }
        }
    }

    /// One more transfer may be open without a slot and without a place in the queue.
    pub(super) fn may_finish_one_more(&self) -> bool {
        self.count.finishing + self.count.overtaken < self.limits.max_finishing()
    }
}

impl Served {
    /// What is not acknowledged goes out again by its timer.
    pub(super) fn is_repeating(&self) -> bool {
        let is_overtaken = matches!(self.phase, Phase::Overtaken { .. });
        !is_overtaken && !matches!(self.again, Again::Asked { .. })
    }

    /// The client asked again, and nothing showed in time that it did not.
    pub(super) fn is_answer_due(&self, now: Moment) -> bool {
        matches!(self.again, Again::Asked { answer_at } if answer_at <= now)
    }
}

/// When an answer is tried again after descriptors ran out, or while the file is busy.
const ANSWER_AGAIN: std::time::Duration = std::time::Duration::from_millis(100);
