//! What clients answer: how far a socket is read, and what an ACK, an ERROR or a closed port means.
//!
//! The loop reads requests before replies, and no socket further than it has to. So before a request of a
//! known peer is judged, all that this peer has answered is read: what a client sent first counts first.

use std::mem;

use super::client::{Again, Client};
use super::hosts::host_of;
use super::{Incoming, Io, Server};
use crate::moment::Moment;
use crate::transfer::{Outcome, Progress};
use crate::wire::{Direction, Malformed, Peer, Reply};

impl Server {
    /// The socket of `client` may hold something. Reads until all that matters now was heard, and no
    /// further: to find the socket empty would take one more system call for each block. Returns whether
    /// there may be something of use left.
    pub fn on_readable(&mut self, now: Moment, io: &mut impl Io, client: usize) -> bool {
        self.read(now, io, client, REPLIES_AT_ONCE, Client::has_caught_up)
    }

    /// Reads all that `client` has answered so far.
    pub(super) fn read_to_the_end(&mut self, now: Moment, io: &mut impl Io, client: usize) {
        self.read(now, io, client, REPLIES_IN_A_SOCKET, |_| false);
    }

    fn read(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        client: usize,
        most: u16,
        is_enough: impl Fn(&Client) -> bool,
    ) -> bool {
        let mut buffer = mem::take(&mut self.buffer);
        let arrival = |server: &Server| server.clients.get(client).map(|it| it.place.arrival);
        let arrival_before = arrival(self);
        let mut is_port_closed = false;
        let mut may_hold_more = true;
        for _ in 0..most {
            let reply_max = self.clients.get(client).and_then(Client::reply_max);
            match reply_max.map(|most| io.receive(client, &mut buffer[..most])) {
                Some(Incoming::Datagram(length)) => {
                    self.on_reply(now, io, client, &buffer[..length]);
                    may_hold_more = self.clients.get(client).is_some_and(|it| !is_enough(it));
                }
                // It may have said something before that.
                Some(Incoming::PortClosed) => is_port_closed = true,
                Some(Incoming::Noise) => {}
                Some(Incoming::Nothing) | None => may_hold_more = false,
            }
            if !may_hold_more {
                break;
            }
        }
        self.buffer = buffer;
        // An ERROR may have ended it, and a new client may have its number by now.
        if is_port_closed && arrival(self) == arrival_before {
            self.on_port_closed(now, io, client);
        }
        may_hold_more
    }

    /// A datagram arrived on the socket of `client`.
    pub fn on_reply(&mut self, now: Moment, io: &mut impl Io, client: usize, datagram: &[u8]) {
        let it = self.clients.get(client).filter(|it| it.served.is_some());
        let Some(it) = it else {
            return;
        };
        match (Reply::parse(datagram), it.direction) {
            (Ok(Reply::Ack(block)), Direction::Read) => {
                self.on_ack(now, io, client, block);
            }
            (Ok(Reply::Data { block, payload }), Direction::Write) => {
                self.on_block(now, io, client, block, payload);
            }
            (Ok(Reply::Ack(_) | Reply::Data { .. }), _) => {
                self.stats.count_malformed(Malformed::Opcode);
            }
            // Not for who has never answered: that one is in no transfer with us.
            (
                Ok(Reply::Error {
                    code: 5,
                    message: STRAY_BLOCK,
                }),
                _,
            ) if !it.is_unanswered() => {}
            (Ok(Reply::Error { code, .. }), _) => self.on_error(now, io, client, code),
            (Err(malformed), _) => self.stats.count_malformed(malformed),
        }
    }

    /// Whose a datagram is that came from `peer` to a socket that all share; `None` if it may be a request, or `peer` is
    /// not known or was not answered yet. Of two transfers of one peer, what the older one waits for is its own.
    pub fn recipient(&self, peer: Peer, datagram: &[u8]) -> Option<usize> {
        if let Some([0, 1 | 2]) = datagram.first_chunk() {
            return None;
        }
        let id = *self.by_peer.get(&peer)?;
        self.clients[id].transfer()?;
        match (self.clients[id].again(), Reply::parse(datagram)) {
            (Again::Answers { older }, Ok(Reply::Ack(block))) if block != 0 => {
                let transfer = self.clients[older].transfer();
                let is_its = transfer.is_some_and(|it| it.awaits(block));
                Some(if is_its { older } else { id })
            }
            _ => Some(id),
        }
    }

    /// The client of `peer`, pending or served; the newer one if there are two.
    pub fn client_of(&self, peer: Peer) -> Option<usize> {
        self.by_peer.get(&peer).copied()
    }

    fn on_ack(&mut self, now: Moment, io: &mut impl Io, id: usize, block: u16) {
        if !self.clients[id].is_retransmitting() {
            self.settle_for_older(now, io, id, block);
        }
        let Some(served) = self.served(id) else {
            return;
        };
        match served.transfer.on_ack(now, block) {
            Some(progress) => self.progressed(now, io, id, progress),
            None => self.schedule(now, id),
        }
    }

    /// A client has acknowledged something, or sent a block.
    pub(super) fn progressed(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        id: usize,
        progress: Progress,
    ) {
        if progress.is_first {
            // Those who were held together are not sent their blocks together.
            let trickle_at = now + self.keepalive.first_interval();
            self.rest(id, trickle_at);
            self.validates(id);
            self.settle_for_newer(now, io, id);
        }
        if progress.has_first_block
            && let Some((true, at)) = self.clients[id].large_blocks()
        {
            let host = host_of(self.clients[id].peer);
            self.queue.host(host).note_large_blocks(now, true, at);
        }
        if progress.timeouts > 0 && self.clients[id].direction == Direction::Read {
            self.congestion.recovered(progress.timeouts);
        }
        self.place_after_progress(now, io, id);
        match progress.is_complete {
            true => self.conclude(now, io, id, Outcome::Complete),
            false => self.schedule(now, id),
        }
    }

    fn on_error(&mut self, now: Moment, io: &mut impl Io, id: usize, code: u16) {
        if self.clients[id].is_unanswered() {
            self.validates(id);
        }
        let outcome = match code {
            0 | 8 => Outcome::Cancelled,
            _ => Outcome::ClientError(code),
        };
        let outcome = match (self.clients[id].again(), outcome) {
            // It may be a complaint about a packet from a port that is not known to the client.
            (Again::Answers { .. }, Outcome::ClientError(_)) => Outcome::Duplicate,
            (_, outcome) => {
                self.settle_for_newer(now, io, id);
                outcome
            }
        };
        self.conclude(now, io, id, outcome);
    }

    /// A client has answered a packet of ours, and with it its host.
    fn validates(&mut self, id: usize) {
        let host = host_of(self.clients[id].peer);
        let taken = self
            .served(id)
            .map(|it| mem::take(&mut it.first_packets_taken));
        self.queue.validates(host, taken.unwrap_or_default());
    }

    /// The client has closed its port (ICMP port unreachable).
    pub fn on_port_closed(&mut self, now: Moment, io: &mut impl Io, client: usize) {
        if self.served(client).is_some() {
            self.end(now, io, client, Outcome::PortClosed);
        }
    }
}

/// What lwIP says, with ERROR 5, of a block that it does not wait for, while it goes on with the transfer.
const STRAY_BLOCK: &[u8] = b"Wrong block number";

/// One reply is usual.
const REPLIES_AT_ONCE: u16 = 4;
/// More than the receive buffer of a socket holds, which counts each with 768 bytes.
const REPLIES_IN_A_SOCKET: u16 = 512;
