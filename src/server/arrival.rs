//! What becomes of a request: a repeat is recognised, a fault is answered at once, and the rest gets a
//! slot or a place in the queue.

use super::client::{Again, Client, Phase, Stage};
use super::hosts::host_of;
use super::pending::{Place, SUPERSEDED_AFTER, Waiting};
use super::{Event, Heard, Io, Local, Opening, Server, Unopened};
use crate::moment::Moment;
use crate::name::{FileName, NAME_MAX};
use crate::transfer::{Outcome, Wanted};
use crate::wire::{Direction, Mode, Peer, Refusal, Request};

/// A request that passed the first checks.
pub(super) struct Arrival<'a> {
    pub(super) peer: Peer,
    pub(super) local: Local,
    pub(super) name: FileName<'a>,
    pub(super) mode: Mode,
    pub(super) wanted: Wanted,
    /// The name as the client spelled it.
    pub(super) spelled: &'a [u8],
}

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
                return Heard::Judged;
            }
        };
        self.hear_out(now, io, peer);
        let known = self.by_peer.get(&peer).copied();
        if self.is_stopping() && known.is_none() {
            self.stats.stopping += 1;
            return Heard::Judged;
        }
        self.wheel.skip_idle(now);
        let mut buffer = [0; NAME_MAX];
        let name = match self.check(&request, &mut buffer) {
            Ok(name) => name,
            Err(_) if self.is_stopping() => {
                self.stats.stopping += 1;
                return Heard::Judged;
            }
            Err(refusal) => {
                self.stats.requests += 1;
                self.refuse(now, io, peer, local, request.filename, refusal);
                return Heard::Judged;
            }
        };
        let wanted = Wanted::new(request.options());
        let arrival = Arrival {
            peer,
            local,
            name,
            mode: request.mode,
            wanted,
            spelled: request.filename,
        };
        if let Some(known) = known
            && self.is_repeat(now, io, known, &arrival)
        {
            self.stats.repeats += 1;
            return Heard::Judged;
        }
        self.stats.requests += 1;
        if self.is_stopping() {
            self.stats.stopping += 1;
            return Heard::Judged;
        }
        self.accept(now, io, &arrival)
    }

    /// What is wrong with a request whatever files there are.
    fn check<'b>(
        &self,
        request: &Request<'_>,
        buffer: &'b mut [u8; NAME_MAX],
    ) -> Result<FileName<'b>, Refusal> {
        match request.direction {
            Direction::Write => return Err(Refusal::ReadOnly),
            Direction::Read => {}
        }
        match request.mode {
            Mode::Octet | Mode::Netascii => {}
            Mode::Mail => return Err(Refusal::MailMode),
            Mode::Unknown => return Err(Refusal::UnknownMode),
        }
        FileName::new(request.filename, &self.root, buffer)
    }

    /// A request came from a peer that is known. Tells whether it is a mere repeat of what is under way;
    /// if not, the old client has been ended.
    fn is_repeat(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        id: usize,
        arrival: &Arrival<'_>,
    ) -> bool {
        let mode = arrival.mode;
        let client = &mut self.clients[id];
        let same_file = client.name.as_name() == arrival.name;
        let same_terms = (client.mode, client.local) == (mode, arrival.local)
            && *client.wanted() == arrival.wanted;
        let served = match &mut client.stage {
            Stage::Pending(waiting) if same_file => {
                waiting.heard(now);
                client.mode = mode;
                waiting.wanted = arrival.wanted;
                client.local = arrival.local;
                return true;
            }
            Stage::Pending(_) => None,
            Stage::Served(served) => Some(served),
        };
        let Some(served) = served.filter(|_| same_file && same_terms) else {
            if let Some(Again::Answers { older }) = client.again() {
                self.end(now, io, older, Outcome::MovedOn);
            }
            self.end(now, io, id, Outcome::MovedOn);
            return false;
        };
        if served.transfer.is_answered() {
            return self.asks_anew(now, io, id);
        }
        self.repeat_first_packet(now, io, id);
        true
    }

    /// Reads what a client has answered to its transfers so far: what it sent first counts first.
    fn hear_out(&mut self, now: Moment, io: &mut impl Io, peer: Peer) {
        let Some(&id) = self.by_peer.get(&peer) else {
            return;
        };
        if let Some(Again::Answers { older }) = self.clients[id].again() {
            self.read_to_the_end(now, io, older);
        }
        self.read_to_the_end(now, io, id);
    }

    /// Admits a request, lets it wait, or answers it with an ERROR, unless its file is busy.
    pub(super) fn accept(&mut self, now: Moment, io: &mut impl Io, arrival: &Arrival<'_>) -> Heard {
        self.arrivals += 1;
        let replaced = usize::from(self.superseded_by(now, arrival).is_some());
        let boot_began = self.queue.heard(now, host_of(arrival.peer), replaced);
        let place = Place {
            is_large: true,
            is_far: false,
            can_wait: !arrival.wanted.is_raspberry_pi(),
            boot_began,
            arrival: self.arrivals,
        };
        match self.serve_or_let_wait(now, io, arrival, place) {
            Ok(()) => self.report_taken(io, arrival),
            Err(Unopened::Refused(refusal)) => {
                let (peer, local) = (arrival.peer, arrival.local);
                self.refuse(now, io, peer, local, arrival.spelled, refusal);
            }
            Err(Unopened::Exhausted) => {
                self.pause(now, io);
                self.let_wait(now, io, arrival, place);
                self.report_taken(io, arrival);
            }
            Err(Unopened::Busy(awaited)) => {
                // It will be counted when it comes again.
                self.stats.requests -= 1;
                return Heard::Busy(awaited);
            }
            Err(Unopened::Unreachable) => {
                self.stats.failed += 1;
                io.report(Event::Unreachable { peer: arrival.peer });
            }
        }
        Heard::Judged
    }

    fn report_taken(&self, io: &mut impl Io, arrival: &Arrival<'_>) {
        let (peer, name) = (arrival.peer, arrival.name);
        // Past a bound it was dropped.
        if let Some(&id) = self.by_peer.get(&peer) {
            let waiting = match self.clients[id].phase() {
                None => self.count.pending + self.count.held,
                Some(_) => 0,
            };
            io.report(Event::Taken {
                peer,
                name,
                waiting,
            });
        }
    }

    fn serve_or_let_wait(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        arrival: &Arrival<'_>,
        mut place: Place,
    ) -> Result<(), Unopened> {
        let host = host_of(arrival.peer);
        let is_free = |server: &Server, is_large| {
            let first = server.queue.first();
            server.has_slot(is_large)
                && first.is_none_or(|(first, _)| first.is_large && !is_large)
                && !server.is_paused(now)
                && server.may_run(host)
        };
        if is_free(self, true) && self.has_first_packet(now, host) {
            return self.serve_at_once(now, io, arrival, place);
        }
        place.is_large = self.limits.is_large(io.find(arrival.name)?);
        if is_free(self, place.is_large) && self.has_first_packet(now, host) {
            return self.serve_at_once(now, io, arrival, place);
        }
        self.let_wait(now, io, arrival, place);
        Ok(())
    }

    fn serve_at_once(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        arrival: &Arrival<'_>,
        mut place: Place,
    ) -> Result<(), Unopened> {
        let id = self.clients.vacant_key();
        let Arrival {
            peer,
            local,
            name,
            mode,
            wanted,
            ..
        } = *arrival;
        let blksize = wanted.blksize();
        let opened = io.open(
            id,
            Opening {
                peer,
                local,
                name,
                mode,
                blksize,
            },
        )?;
        place.is_large = self.limits.is_large(opened.size);
        let served = self.begin(now, host_of(peer), wanted, opened, Phase::Running);
        self.insert(now, arrival, place, Stage::Served(Box::new(served)));
        self.make_ready(now, id);
        Ok(())
    }

    /// Puts a request into the queue: at its place, or at that of one that it supersedes.
    fn let_wait(&mut self, now: Moment, io: &mut impl Io, arrival: &Arrival<'_>, mut place: Place) {
        let superseded = self.superseded_by(now, arrival);
        let host = host_of(arrival.peer);
        if superseded.is_none() {
            if !self.queue.has_room_for(host) {
                self.stats.client_full += 1;
                return;
            }
            let waiting = self.count.pending + self.count.held;
            if waiting >= self.limits.max_pending && !self.make_room(now, io, host) {
                self.stats.queue_full += 1;
                return io.report(Event::QueueFull { peer: arrival.peer });
            }
        }
        let mut arrived_at = now;
        if let Some(old) = superseded {
            place = self.clients[old].place;
            arrived_at = self.clients[old].arrived_at;
            self.end(now, io, old, Outcome::Superseded);
        }
        let hold_at = self.limits.hold.map(|hold| now.max(arrived_at + hold));
        let waiting = Waiting::new(now, arrival.wanted, hold_at);
        let stage = Stage::Pending(Box::new(waiting));
        let id = self.insert(arrived_at, arrival, place, stage);
        self.join_queue(id);
    }

    /// The client of the same host and file that waits for its first packet or has not answered it, and
    /// whose place a request takes. One that was sent an OACK does not give way: its ACK may be lost and
    /// the newcomer be its neighbour behind the same address, and some firmware says nothing after it.
    fn superseded_by(&self, now: Moment, arrival: &Arrival<'_>) -> Option<usize> {
        let waiting = self.queue.waiting_of(host_of(arrival.peer));
        let unanswered = waiting.filter(|&id| self.clients[id].is_unanswered());
        unanswered.take(SUPERSEDED_EXAMINED).find(|&id| {
            let client = &self.clients[id];
            let gives_way = match &client.stage {
                // Its place is that of another one, too.
                Stage::Served(served) if served.again != Again::No => false,
                Stage::Pending(waiting) => waiting.may_be_superseded(now),
                Stage::Served(served) => {
                    served.phase == Phase::Held
                        && !served.transfer.negotiated().has_oack()
                        && now.since(served.transfer.progress_at()) > SUPERSEDED_AFTER
                }
            };
            gives_way && client.name.as_name() == arrival.name
        })
    }

    pub(super) fn insert(
        &mut self,
        arrived_at: Moment,
        arrival: &Arrival<'_>,
        place: Place,
        stage: Stage,
    ) -> usize {
        let id = self.clients.insert(Client {
            peer: arrival.peer,
            local: arrival.local,
            name: arrival.name.to_owned(),
            mode: arrival.mode,
            arrived_at,
            place,
            is_queued: false,
            stage,
            timer: None,
            is_ready: false,
            is_blocked: false,
            try_again_at: None,
        });
        self.by_peer.insert(arrival.peer, id);
        self.queue.host(host_of(arrival.peer)).add_client();
        self.count(arrived_at, id);
        self.set_timer(id);
        id
    }

    fn refuse(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        peer: Peer,
        local: Local,
        name: &[u8],
        refusal: Refusal,
    ) {
        if local.is_everybody {
            self.stats.unanswered += 1;
            io.report(Event::Unanswered {
                peer,
                name,
                refusal,
            });
        } else if self.send_refusal(now, io, peer, local, refusal) {
            self.stats.refused += 1;
            io.report(Event::Refused {
                peer,
                name,
                refusal,
            });
        }
    }
}

/// Unanswered requests of one host that are looked through for one to supersede.
const SUPERSEDED_EXAMINED: usize = 64;
