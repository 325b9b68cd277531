//! What becomes of a request: a repeat is recognised, a fault is answered at once, and the rest gets a
//! slot or a place in the queue.

use super::client::{Again, Client, Stage};
use super::hosts::host_of;
use super::pending::{Place, SUPERSEDED_AFTER, Waiting};
use super::{Event, Heard, Io, Local, OpenError, Opening, Server};
use crate::moment::Moment;
use crate::name::{FileName, NAME_MAX};
use crate::transfer::{Outcome, Wanted};
use crate::wire::{Direction, Mode, Peer, Refusal, Request};

impl Server {
    /// A datagram arrived on a listening socket.
    pub fn on_request(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        peer: Peer,
        local: Local,
        datagram: &[u8],
    ) -> Heard {
        let request = match Request::parse(datagram) {
            Ok(request) => request,
            Err(malformed) => {
                self.drop_malformed(io, peer, malformed);
                return Heard::NoRequest;
            }
        };
        self.hear_out(now, io, peer);
        let known = self.by_peer.get(&peer).copied();
        if self.is_stopping() && known.is_none() {
            self.stats.stopping += 1;
            return Heard::Judged;
        }
        // A wheel that was empty for long is not turned tick by tick.
        self.wheel.skip_idle(now);
        if request.is_probe() {
            return self.answer_probe(now, io, peer, local, &request);
        }
        let mut buffer = [0; NAME_MAX];
        let fault = fault_of(&request, local);
        let is_repeat = known.is_some_and(|known| {
            fault.is_none()
                && self.clients[known].asks_for(request.direction, request.filename)
                && self.repeat(now, io, known, local, &request)
        });
        if is_repeat {
            self.stats.repeats += 1;
            return Heard::Judged;
        }
        let resolved = match fault {
            Some(refusal) => Err(OpenError::Refused(refusal)),
            None => io.resolve(peer, &request, &mut buffer),
        };
        match resolved {
            Ok(name) => {
                if let Some(&moved_on) = self.by_peer.get(&peer) {
                    self.move_on(now, io, moved_on);
                }
                self.accept(now, io, opening(peer, local, &request, name))
            }
            Err(OpenError::Refused(refusal)) => {
                self.refuse(now, io, (peer, local), request.filename, None, refusal);
                Heard::Judged
            }
            Err(OpenError::Busy(awaited)) => Heard::Busy(awaited),
            Err(OpenError::Exhausted | OpenError::Unreachable) => Heard::Busy(None),
        }
    }

    /// A request came from a peer that has asked for this file. Returns whether it is a mere repeat of what is under
    /// way; if not, the old client has been ended.
    fn repeat(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        id: usize,
        local: Local,
        request: &Request<'_>,
    ) -> bool {
        let client = &mut self.clients[id];
        let wanted = Wanted::new(request.options());
        let same_terms =
            (client.mode, client.local, client.wanted()) == (request.mode, local, wanted);
        let is_unanswered = client.is_unanswered();
        match &mut client.stage {
            Stage::Pending(waiting) => {
                waiting.heard(now);
                waiting.wanted = wanted;
                client.mode = request.mode;
                client.local = local;
                true
            }
            _ if same_terms && is_unanswered => {
                self.repeat_first_packet(now, id);
                true
            }
            _ if same_terms => self.ask_anew(now, io, id),
            _ => {
                self.move_on(now, io, id);
                false
            }
        }
    }

    /// The peer of this client wants something else.
    fn move_on(&mut self, now: Moment, io: &mut impl Io, id: usize) {
        if let Again::Answers { older } = self.clients[id].again() {
            self.end(now, io, older, Outcome::MovedOn);
        }
        self.end(now, io, id, Outcome::MovedOn);
    }

    /// Reads what a client has answered to its transfers so far: what it sent first counts first.
    fn hear_out(&mut self, now: Moment, io: &mut impl Io, peer: Peer) {
        let Some(&id) = self.by_peer.get(&peer) else {
            return;
        };
        if let Again::Answers { older } = self.clients[id].again() {
            self.read_to_the_end(now, io, older);
        }
        self.read_to_the_end(now, io, id);
    }

    /// Refuses a request, leaves it while its file is busy, or puts it into the queue, from where the first in line gets a
    /// free slot at once.
    pub(super) fn accept(&mut self, now: Moment, io: &mut impl Io, opening: Opening<'_>) -> Heard {
        if self.is_stopping() {
            self.stats.stopping += 1;
            return Heard::Judged;
        }
        let Opening {
            peer,
            asked,
            name,
            direction,
            wanted,
            ..
        } = opening;
        let host = host_of(peer);
        let superseded = match direction {
            Direction::Read => self.superseded_by(now, opening),
            Direction::Write => self.upload_superseded_by(opening),
        };
        let replaced = usize::from(superseded.is_some());
        let boot_began = self.queue.heard(now, host, replaced);
        let is_large = match self.find(now, io, opening) {
            Ok(is_large) => is_large,
            Err(heard) => return heard,
        };
        self.stats.requests += 1;
        self.arrivals += 1;
        let place = Place {
            is_large,
            is_far: false,
            can_wait: !wanted.is_raspberry_pi(),
            boot_began,
            arrival: self.arrivals,
        };
        let (place, arrived_at) = match superseded {
            Some(old) => {
                let old = self.end_and_return(now, io, old, Outcome::Superseded);
                (old.place, old.arrived_at)
            }
            None => (place, now),
        };
        let hold_at = self.limits.hold.map(|hold| now.max(arrived_at + hold));
        let waiting = Waiting::new(now, wanted, hold_at);
        let id = self.insert(now, Client::new(opening, arrived_at, place, waiting));
        if direction == Direction::Write {
            self.claim_name(id);
        }
        if self.next_in_line(now) == Some(id) {
            self.open(now, io, id, Stage::RUNNING);
        }
        if let Some(client) = self.clients.get(id) {
            let waits = client.served().is_none();
            if !waits || superseded.is_some() || self.keep_or_drop(now, io, id) {
                let waiting = if waits { self.count.waiting() } else { 0 };
                io.report(Event::Taken {
                    peer,
                    asked,
                    name,
                    waiting,
                });
            }
        }
        Heard::Judged
    }

    /// Looks for the file of a request. Returns whether it is large.
    ///
    /// # Errors
    /// Where that is all that becomes of the request: it was answered with an ERROR, or its file is busy.
    fn find(&mut self, now: Moment, io: &mut impl Io, opening: Opening<'_>) -> Result<bool, Heard> {
        let Opening { asked, name, .. } = opening;
        let found = match opening.direction {
            Direction::Write if self.is_being_written(name) => {
                Err(OpenError::Refused(Refusal::BeingWritten))
            }
            Direction::Read | Direction::Write => io.find(opening),
        };
        match found {
            Ok(size) => Ok(size.is_none_or(|size| self.limits.is_large(size))),
            Err(OpenError::Refused(refusal)) => {
                let from = (opening.peer, opening.local);
                self.refuse(now, io, from, asked, Some(name), refusal);
                Err(Heard::Judged)
            }
            Err(OpenError::Busy(awaited)) => Err(Heard::Busy(awaited)),
            Err(OpenError::Exhausted | OpenError::Unreachable) => {
                self.pause(now, io);
                Ok(true)
            }
        }
    }

    /// One more client waits. Returns whether it may: past a bound it is dropped, unless another one is evicted.
    fn keep_or_drop(&mut self, now: Moment, io: &mut impl Io, id: usize) -> bool {
        let peer = self.clients[id].peer;
        let host = host_of(peer);
        if self.queue.has_all_slots(host) && self.count.running < self.limits.max_transfers {
            io.report(Event::AddressFull { peer });
        }
        if !self.queue.has_room_for(host) {
            self.stats.client_full += 1;
            self.remove(now, id);
            return false;
        }
        let is_full = self.count.waiting() > self.limits.max_pending;
        if !is_full {
            return true;
        }
        let Some(evicted) = self.queue.evicted_by(host) else {
            self.stats.queue_full += 1;
            self.remove(now, id);
            io.report(Event::QueueFull { peer });
            return false;
        };
        self.end(now, io, evicted, Outcome::Evicted);
        true
    }

    /// The client of the same host and file that waits for its first packet or has not answered it, and
    /// whose place a request takes. One that was sent an OACK does not give way: its ACK may be lost and
    /// the newcomer be its neighbour behind the same address, and some firmware says nothing after it.
    fn superseded_by(&self, now: Moment, opening: Opening<'_>) -> Option<usize> {
        let waiting = self.queue.waiting_of(host_of(opening.peer));
        let unanswered = waiting.filter(|&id| self.clients[id].is_unanswered());
        unanswered.take(SUPERSEDED_EXAMINED).find(|&id| {
            let client = &self.clients[id];
            let gives_way = match (&client.stage, client.transfer()) {
                (Stage::Pending(waiting), _) => waiting.may_be_superseded(now),
                (Stage::Held { .. }, Some(transfer)) => {
                    // If it answers another one, its place is that of both.
                    client.again() == Again::No
                        && !transfer.negotiated().has_oack()
                        && now.since(transfer.timing().progress_at()) > SUPERSEDED_AFTER
                }
                (_, _) => false,
            };
            gives_way && client.asks_for(opening.direction, opening.asked)
        })
    }

    fn refuse(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        (peer, local): (Peer, Local),
        name: &[u8],
        looked_up: Option<FileName<'_>>,
        refusal: Refusal,
    ) {
        if self.is_stopping() {
            self.stats.stopping += 1;
            return;
        }
        self.stats.requests += 1;
        let is_answered = !local.is_broadcast;
        if !is_answered {
            self.stats.unanswered += 1;
        } else if self.send_refusal(now, io, peer, local, refusal) {
            self.stats.refused += 1;
        } else {
            return;
        }
        io.report(Event::Refused {
            peer,
            name,
            looked_up,
            refusal,
            is_answered,
        });
    }
}

/// A request whose name is known.
pub(super) fn opening<'a>(
    peer: Peer,
    local: Local,
    request: &Request<'a>,
    name: FileName<'a>,
) -> Opening<'a> {
    Opening {
        peer,
        local,
        asked: request.filename,
        name,
        direction: request.direction,
        mode: request.mode,
        wanted: Wanted::new(request.options()),
    }
}

/// What is wrong with a request whatever files there are.
pub(super) fn fault_of(request: &Request<'_>, local: Local) -> Option<Refusal> {
    match (request.direction, request.mode) {
        // Another server may take the file.
        (Direction::Write, _) if local.is_broadcast => Some(Refusal::ReadOnly),
        (_, Mode::Octet | Mode::Netascii) => None,
        (_, Mode::Mail) => Some(Refusal::MailMode),
        (_, Mode::Unknown) => Some(Refusal::UnknownMode),
    }
}

/// Unanswered requests of one host that are looked through for one to supersede.
const SUPERSEDED_EXAMINED: usize = 64;
