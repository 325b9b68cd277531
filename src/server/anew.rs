//! A client that asks for the file again which it is being sent, after it has acknowledged something.
//!
//! Either it has begun anew, as FreeBSD's loader does within milliseconds, or the network made a copy of its
//! request. The transfer under way falls silent at once, since some clients take its packets for the answer;
//! only what an ACK has called for still goes out. Where it has a packet on the way, the ACK of that would
//! show a copy, so it is awaited for a moment. Then a second transfer answers and has the slot, or the
//! place in the queue. The first ACK to either decides which of them goes on.

use super::client::{Again, Client, Output, Stage};
use super::limits::PAUSE;
use super::{Io, OpenError, Server};
use crate::moment::Moment;
use crate::transfer::{Outcome, Transfer};
use crate::wire::Direction;

impl Server {
    /// An equal request came from a client that has acknowledged something. Returns whether that is taken
    /// care of; if not, its transfer was complete and has ended, and the request is new.
    pub(super) fn ask_anew(&mut self, now: Moment, io: &mut impl Io, id: usize) -> bool {
        let client = &self.clients[id];
        if matches!(client.stage, Stage::Dallying) {
            self.end(now, io, id, Outcome::Complete);
            return false;
        }
        let is_to_leave = client.output != Output::Idle || client.has_to_send(now);
        let Some(served) = client.served() else {
            return false;
        };
        if let Again::Asked { .. } = served.again {
            return true;
        }
        let transfer = &served.transfer;
        let is_unconfirmed = transfer.is_unconfirmed();
        let answer_at = if is_unconfirmed {
            transfer.timing().sent_at().unwrap_or(now) + transfer.timing().ack_due_within()
        } else if is_to_leave || !transfer.has_nothing_out() {
            now + transfer.timing().ack_due_within()
        } else {
            now
        };
        if now < answer_at {
            self.set_again(id, Again::Asked { answer_at });
            self.schedule(now, id);
        } else if is_unconfirmed {
            self.end(now, io, id, Outcome::CompleteUnconfirmed);
            return false;
        } else {
            self.answer_anew(now, io, id);
        }
        true
    }

    /// Nothing showed that the request of such a client is a copy.
    pub(super) fn on_answer_due(&mut self, now: Moment, io: &mut impl Io, id: usize) {
        let transfer = self.clients[id].transfer();
        match transfer.is_some_and(Transfer::is_unconfirmed) {
            true => self.begin_anew(now, io, id, Outcome::CompleteUnconfirmed),
            false => self.answer_anew(now, io, id),
        }
    }

    /// Answers by a second transfer, which takes the slot or the place of the older one.
    fn answer_anew(&mut self, now: Moment, io: &mut impl Io, id: usize) {
        let client = &self.clients[id];
        let is_given_up = client
            .transfer()
            .is_some_and(|it| it.timing().give_up_at() <= now);
        // Two transfers of one peer cannot be told apart by the blocks that it sends.
        let is_upload = client.direction == Direction::Write;
        if is_upload || is_given_up || self.is_stopping() {
            return self.begin_anew(now, io, id, Outcome::Restarted);
        }
        // It may be a copy, or a repeat that crossed the first packet: who is alive is not ended for want of room.
        if !self.may_finish_one_more() {
            return self.not_answered(now, io, id, OpenError::Exhausted);
        }
        let is_held = client.stage.is_held();
        let by = self.clients.vacant_key();
        let opened = match io.open(by, client.opening()) {
            Ok(opened) => opened,
            Err(unopened) => return self.not_answered(now, io, id, unopened),
        };
        let again = Again::Answers { older: id };
        let served = self.begin(now, id, opened, is_held, again);
        let client = &self.clients[id];
        let newer = Client {
            name: client.name.clone(),
            asked: client.asked.clone(),
            arrived_at: now,
            stage: client.stage.afresh(now, true),
            served: Some(Box::new(served)),
            output: Output::Idle,
            timer: None,
            ..*client
        };
        self.set_again(id, Again::No);
        self.change(now, id, |older| {
            let trickle_at = older.trickle_at().unwrap_or(now);
            older.stage = Stage::Overtaken { by, trickle_at };
        });
        self.insert(now, newer);
    }

    /// A second transfer has no room, or its file or socket could not be opened.
    fn not_answered(&mut self, now: Moment, io: &mut impl Io, id: usize, unopened: OpenError) {
        let Client { peer, local, .. } = self.clients[id];
        let again = match unopened {
            OpenError::Busy(_) | OpenError::Exhausted => Again::Asked {
                answer_at: now + PAUSE,
            },
            OpenError::Refused(_) | OpenError::Unreachable => Again::No,
        };
        self.set_again(id, again);
        self.schedule(now, id);
        if let OpenError::Refused(refusal) = unopened {
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
        let client = self.end_and_return(now, io, id, outcome);
        // What the client has sent since goes first: it is not handed in again.
        let _ = self.accept(now, io, client.opening());
    }

    // Which of two goes on.

    /// An ACK, or a block, of a client that asked again is about to be taken. If it shows that the older transfer goes
    /// on, the request was a copy.
    pub(super) fn settle_for_older(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        id: usize,
        block: u16,
    ) {
        let client = &self.clients[id];
        let carries_on = |it: &Transfer| it.is_carried_on_by(now, block);
        if !client.transfer().is_some_and(carries_on) {
            return;
        }
        self.set_again(id, Again::No);
        if let Stage::Overtaken { by, .. } = self.clients[id].stage {
            self.end(now, io, by, Outcome::Duplicate);
        }
    }

    /// The client of a second transfer has answered: the older one is over.
    pub(super) fn settle_for_newer(&mut self, now: Moment, io: &mut impl Io, id: usize) {
        if let Again::Answers { older } = self.clients[id].again() {
            self.set_again(id, Again::No);
            self.end(now, io, older, Outcome::Restarted);
        }
    }

    /// The client with this number is gone: its peer is that of the other of two, if there were two.
    pub(super) fn part(&mut self, now: Moment, client: &Client) {
        match (client.again(), &client.stage) {
            (Again::Answers { older }, stage) => {
                self.by_peer.insert(client.peer, older);
                self.change(now, older, |older| {
                    older.stage = stage.afresh(older.trickle_at().unwrap_or(now), false);
                });
            }
            (_, &Stage::Overtaken { by, .. }) => self.set_again(by, Again::No),
            (_, _) => {
                self.by_peer.remove(&client.peer);
            }
        }
    }
}
