//! The one place where a client comes, goes from one stage to another, stands elsewhere in line, and ends. What
//! follows from where it is changes with it: counts, queue, the round of those who are held, its timer, and whether
//! it stands in the list of those who may have something to send.
//!
//! Kept elsewhere: which names are being written (`uploads`), which of two transfers of a peer goes on (`anew`), whether a
//! host is validated (`queue`), and who has a turn to send once what blocked it is over (`mod`).

use std::mem;

use super::client::{Again, Client, Output, Served, Stage};
use super::hosts::{Waiter, host_of};
use super::{Event, Io, PACKET_OVERHEAD, Server};
use crate::moment::Moment;
use crate::transfer::{Outcome, Transfer};

/// How many clients are in each stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Waits, and was sent nothing.
    pub pending: usize,
    /// Waits, and is kept alive.
    pub held: usize,
    /// Has a slot.
    pub running: usize,
    /// Of the running, those with large files.
    pub running_large: usize,
    /// Far away: goes on without a slot.
    pub lent: usize,
    /// Was sent everything; the last ACK is missing.
    pub finishing: usize,
    /// Has everything on the disk; its last ACK may be lost.
    pub dallying: usize,
    /// Asked again, and another transfer answers.
    pub overtaken: usize,
}

impl Count {
    /// All that need no slot any more: operators see them as one.
    pub fn shown_as_finishing(&self) -> usize {
        self.finishing + self.dallying + self.overtaken
    }

    pub(super) fn of(&mut self, stage: &Stage) -> &mut usize {
        match stage {
            Stage::Pending(_) => &mut self.pending,
            Stage::Held { .. } => &mut self.held,
            Stage::Running { .. } => &mut self.running,
            Stage::Lent => &mut self.lent,
            Stage::Finishing => &mut self.finishing,
            Stage::Dallying => &mut self.dallying,
            Stage::Overtaken { .. } => &mut self.overtaken,
        }
    }

    /// Those who wait for a slot.
    pub(super) fn waiting(&self) -> usize {
        self.pending + self.held
    }
}

impl Server {
    /// A client comes. Returns its number.
    pub(super) fn insert(&mut self, now: Moment, client: Client) -> usize {
        let peer = client.peer;
        let id = self.clients.insert(client);
        self.by_peer.insert(peer, id);
        self.queue.host(host_of(peer)).clients += 1;
        self.enter(now, id);
        self.schedule(now, id);
        id
    }

    /// Changes the stage of a client, or where it stands.
    pub(super) fn change(&mut self, now: Moment, id: usize, change: impl FnOnce(&mut Client)) {
        self.leave(id);
        let client = &mut self.clients[id];
        let before = mem::discriminant(&client.stage);
        let was_held = client.stage.is_held();
        change(client);
        if let Some(served) = &mut client.served
            && mem::discriminant(&client.stage) != before
        {
            served.end_stage(now, was_held);
        }
        // Slots for small files are for those who are near.
        client.place.is_large |= client.place.is_far && client.stage.is_held();
        self.enter(now, id);
        self.schedule(now, id);
    }

    /// The next block of a client has time until then, if it is held.
    pub(super) fn rest(&mut self, id: usize, until: Moment) {
        if let Stage::Held { trickle_at, .. } = &mut self.clients[id].stage {
            *trickle_at = until;
        }
    }

    /// An equal request of a client that is served has led to this.
    pub(super) fn set_again(&mut self, id: usize, again: Again) {
        if let Some(served) = self.served(id) {
            served.again = again;
        }
    }

    /// Forgets a client without a word: nothing is closed or reported.
    pub(super) fn remove(&mut self, now: Moment, id: usize) -> Client {
        self.leave(id);
        let client = self.clients.remove(id);
        self.release_name(id, &client);
        self.part(now, &client);
        let record = self.queue.host(host_of(client.peer));
        record.remove_client(client.heard_at());
        client
    }

    /// A client has come to its end.
    pub(super) fn end(&mut self, now: Moment, io: &mut impl Io, id: usize, outcome: Outcome) {
        self.end_and_return(now, io, id, outcome);
    }

    /// The same; returns the client.
    pub(super) fn end_and_return(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        id: usize,
        outcome: Outcome,
    ) -> Client {
        let client = self.remove(now, id);
        if let Some((have_arrived, at)) = client.large_blocks()
            && (have_arrived || outcome == Outcome::TimedOut)
            && self
                .queue
                .host(host_of(client.peer))
                .note_large_blocks(now, have_arrived, at)
        {
            io.report(Event::LargeBlocksLost { peer: client.peer });
        }
        if client.transfer().is_some() {
            io.close(id);
            // Descriptors are free again.
            self.paused_until = None;
        }
        if matches!(client.stage, Stage::Dallying) {
            // It was reported when its file was on the disk.
            return client;
        }
        let outcome = match outcome {
            // It was sent everything and went on with its boot without a last ACK.
            Outcome::MovedOn | Outcome::PortClosed | Outcome::Restarted
                if client.transfer().is_some_and(Transfer::is_unconfirmed) =>
            {
                Outcome::CompleteUnconfirmed
            }
            _ => outcome,
        };
        self.stats.count_end(outcome, client.transfer().is_some());
        io.report(Event::Ended(client.report(now, outcome)));
        client
    }

    /// The transfer of a client is over. Where the client has asked again, that request is next.
    pub(super) fn conclude(&mut self, now: Moment, io: &mut impl Io, id: usize, outcome: Outcome) {
        match self.clients[id].again() {
            Again::Asked { .. } => self.begin_anew(now, io, id, outcome),
            Again::No | Again::Answers { .. } => self.end(now, io, id, outcome),
        }
    }

    /// A client that may have something to send has its turn in the next [`Server::send_ready`]. The deadline of any other
    /// is filed, unless its entry in the wheel comes up by then anyway.
    pub(super) fn schedule(&mut self, now: Moment, id: usize) {
        let client = &mut self.clients[id];
        if client.output == Output::Idle && client.has_to_send(now) {
            client.output = Output::Ready;
            self.ready.push_back(id);
        }
        if client.output == Output::Ready {
            return;
        }
        let deadline = client.deadline(self.limits.reclaim);
        if client.timer.is_none_or(|comes_up| deadline < comes_up) {
            client.timer = Some(self.wheel.file(id, deadline));
        }
    }

    pub(super) fn served(&mut self, id: usize) -> Option<&mut Served> {
        self.clients.get_mut(id)?.served.as_deref_mut()
    }

    // The books.

    fn enter(&mut self, now: Moment, id: usize) {
        let client = &self.clients[id];
        let (host, place) = (host_of(client.peer), client.place);
        *self.count.of(&client.stage) += 1;
        if let Some(wait) = client.stage.wait() {
            let waiter = Waiter {
                place,
                client: id,
                wait,
            };
            self.queue.waits(now, host, waiter);
        }
        match client.stage {
            Stage::Pending(_) | Stage::Held { .. } => {
                self.keepalive.add(bytes_in_a_round(client));
            }
            Stage::Running { is_idle } => {
                self.count.running_large += usize::from(place.is_large);
                self.queue.runs(host);
                if is_idle {
                    self.idle.push_back(id);
                }
            }
            Stage::Lent => self.queue.runs(host),
            Stage::Finishing | Stage::Dallying | Stage::Overtaken { .. } => {}
        }
    }

    fn leave(&mut self, id: usize) {
        let client = &self.clients[id];
        let (host, place) = (host_of(client.peer), client.place);
        *self.count.of(&client.stage) -= 1;
        match client.stage {
            Stage::Pending(_) | Stage::Held { .. } => {
                self.queue.waits_no_longer(host, place);
                self.keepalive.remove(bytes_in_a_round(client));
            }
            Stage::Running { is_idle } => {
                self.count.running_large -= usize::from(place.is_large);
                self.queue.runs_no_longer(host);
                if is_idle {
                    self.idle.retain(|&other| other != id);
                }
            }
            Stage::Lent => self.queue.runs_no_longer(host),
            Stage::Finishing | Stage::Dallying | Stage::Overtaken { .. } => {}
        }
    }
}

/// Bytes that a client is sent in each round of those who are held.
fn bytes_in_a_round(client: &Client) -> u64 {
    client.transfer().map_or(0, |transfer| {
        let negotiated = transfer.negotiated();
        u64::from(negotiated.windowsize) * (u64::from(negotiated.blksize) + PACKET_OVERHEAD)
    })
}
