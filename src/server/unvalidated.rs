//! Unvalidated clients: those of hosts that have not answered a packet of ours. All of them may be forged.
//!
//! What they are sent comes out of the buckets of their network (`networks`); in a full queue they make room for others
//! (`queue`).

use super::arrival::{fault_of, opening};
use super::client::Output;
use super::hosts::host_of;
use super::{Heard, Io, Local, OpenError, Phase, Server};
use crate::moment::Moment;
use crate::name::NAME_MAX;
use crate::wire::{Peer, Refusal, Request};

impl Server {
    /// A client in its handshake asks again.
    pub(super) fn repeat_first_packet(&mut self, now: Moment, id: usize) {
        let host = host_of(self.clients[id].peer);
        if !self.queue.has_first_packet(now, host) {
            self.stats.withheld += 1;
            return;
        }
        let Some(served) = self.served(id) else {
            return;
        };
        let leaves = served.transfer.on_repeated_request(now);
        // What is about to leave anyway was taken before.
        if leaves
            && self.clients[id].output != Output::Ready
            && self.queue.take_first_packet(now, host)
            && let Some(served) = self.served(id)
        {
            served.first_packets_taken = served.first_packets_taken.saturating_add(1);
        }
        self.schedule(now, id);
    }

    /// Answers a request with an ERROR, unless its network drew too many. Returns whether it did.
    pub(super) fn send_refusal(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        peer: Peer,
        local: Local,
        refusal: Refusal,
    ) -> bool {
        let may = self.queue.take_error(now, host_of(peer));
        if may {
            io.refuse(peer, local, refusal);
        } else {
            self.stats.withheld += 1;
        }
        may
    }

    /// Answers a probe as far as its network may be sent packets; it takes no slot and no place.
    pub(super) fn answer_probe(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        peer: Peer,
        local: Local,
        request: &Request<'_>,
    ) -> Heard {
        let host = host_of(peer);
        if self.phase != Phase::Serving
            || local.is_broadcast
            || !self.queue.has_first_packet(now, host)
        {
            self.stats.withheld += 1;
            return Heard::NoRequest;
        }
        let mut buffer = [0; NAME_MAX];
        let found = match fault_of(request, local) {
            Some(refusal) => Err(OpenError::Refused(refusal)),
            None => {
                let name = io.resolve(peer, request, &mut buffer);
                name.and_then(|name| io.find(opening(peer, local, request, name)))
            }
        };
        match found {
            Ok(_) => {
                self.queue.take_first_packet(now, host);
                io.confirm(peer, local);
            }
            Err(OpenError::Refused(refusal)) => {
                if !self.send_refusal(now, io, peer, local, refusal) {
                    return Heard::NoRequest;
                }
            }
            Err(OpenError::Busy(awaited)) => return Heard::Busy(awaited),
            Err(OpenError::Exhausted | OpenError::Unreachable) => return Heard::NoRequest,
        }
        self.stats.probes += 1;
        Heard::NoRequest
    }
}
