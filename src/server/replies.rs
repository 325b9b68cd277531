//! What clients answer: how far a socket is read, and what an ACK, an ERROR or a closed port means.
//!
//! The loop reads requests before replies, and no socket further than it has to. So before a request of a
//! known peer is judged, all that this peer has answered is read: what a client sent first counts first.

use super::client::Again;
use super::hosts::host_of;
use super::{Incoming, Io, REPLY_MAX, Server};
use crate::moment::Moment;
use crate::transfer::{Outcome, Step};
use crate::wire::Reply;

impl Server {
    /// The socket of `client` may hold something. Reads until all that matters now was heard, and no
    /// further: to find the socket empty would take one more system call for each block. Tells whether
    /// there may be something of use left.
    pub fn on_readable(&mut self, now: Moment, io: &mut impl Io, client: usize) -> bool {
        self.read(now, io, client, REPLIES_AT_ONCE, Until::CaughtUp)
    }

    /// Reads all that `client` has answered so far.
    pub(super) fn read_to_the_end(&mut self, now: Moment, io: &mut impl Io, client: usize) {
        self.read(now, io, client, REPLIES_IN_A_SOCKET, Until::Empty);
    }

    fn read(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        client: usize,
        most: u16,
        until: Until,
    ) -> bool {
        let mut buffer = [0; REPLY_MAX];
        let mut is_port_closed = false;
        let mut may_hold_more = true;
        for _ in 0..most {
            if self.transfer_of(client).is_none() {
                return false;
            }
            let is_enough = match io.receive(client, &mut buffer) {
                Incoming::Datagram(length) => {
                    let is_caught_up = self.on_reply(now, io, client, &buffer[..length]);
                    is_caught_up && until == Until::CaughtUp
                }
                // It may have said something before.
                Incoming::PortClosed => {
                    is_port_closed = true;
                    false
                }
                Incoming::Noise => false,
                Incoming::Nothing => true,
            };
            if is_enough {
                may_hold_more = false;
                break;
            }
        }
        if is_port_closed {
            self.on_port_closed(now, io, client);
        }
        may_hold_more
    }

    /// A datagram arrived on the socket of `client`. Tells whether it acknowledged, in lockstep, all that was
    /// out: then whatever else the socket holds has time until the next one, or [`Io::read_again`].
    pub fn on_reply(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        client: usize,
        datagram: &[u8],
    ) -> bool {
        let reply = Reply::parse(datagram);
        if let Ok(reply) = &reply {
            self.settle_for_older(now, io, client, reply);
        }
        let Some(transfer) = self.transfer_of(client) else {
            return true;
        };
        let was_answered = transfer.is_answered();
        let had_nothing_out = transfer.has_nothing_out();
        let had_blocks = transfer.acknowledged_bytes() > 0;
        let (progress_before, timeouts) = (transfer.progress_at(), transfer.timeouts());
        let step = match reply {
            Ok(Reply::Ack(block)) => transfer.on_ack(now, block),
            Ok(Reply::Error { code: 0 | 8, .. }) => Step::End(Outcome::Cancelled),
            // Not for who has never answered: that one is in no transfer with us.
            Ok(Reply::Error {
                code: 5,
                message: STRAY_BLOCK,
            }) if was_answered => return false,
            Ok(Reply::Error { code, .. }) => Step::End(Outcome::ClientError(code)),
            Err(malformed) => {
                self.stats.count_malformed(malformed);
                return false;
            }
        };
        // In a window, a stray copy of an ACK is a wish to begin anew, unless it is read before more leaves.
        let is_lockstep = transfer.negotiated().windowsize == 1;
        let is_caught_up = is_lockstep && !had_nothing_out && transfer.has_nothing_out();
        let is_error = matches!(
            step,
            Step::End(Outcome::Cancelled | Outcome::ClientError(_))
        );
        if (transfer.is_answered() || is_error) && !was_answered {
            self.spread_first_feeding(now, client);
            self.proves(client);
        }
        if !had_blocks && let Some((true, at)) = self.clients[client].large_blocks() {
            let host = host_of(self.clients[client].peer);
            self.queue.host(host).note_large_blocks(now, true, at);
        }
        let asked_again =
            is_error && matches!(self.clients[client].again(), Some(Again::Asked { .. }));
        let step = self.settle_for_newer(now, io, client, step);
        if self
            .transfer_of(client)
            .is_some_and(|transfer| transfer.progress_at() > progress_before)
        {
            self.congestion.recovered(timeouts);
            self.note_distance(now, io, client);
        }
        match step {
            Step::End(outcome) if asked_again => self.begin_anew(now, io, client, outcome),
            _ => self.take(now, io, client, step),
        }
        is_caught_up
    }

    /// The client has closed its port (ICMP port unreachable).
    pub fn on_port_closed(&mut self, now: Moment, io: &mut impl Io, client: usize) {
        if self.transfer_of(client).is_some() {
            self.end(now, io, client, Outcome::PortClosed);
        }
    }
}

/// How far a socket is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// To an ACK, in lockstep, of all that is out.
    CaughtUp,
    /// To its end.
    Empty,
}

/// What lwIP says, with ERROR 5, of a block that it does not wait for, while it goes on with the transfer.
const STRAY_BLOCK: &[u8] = b"Wrong block number";

/// One reply is usual.
const REPLIES_AT_ONCE: u16 = 4;
/// More than the receive buffer of a socket holds, which counts each with 768 bytes.
const REPLIES_IN_A_SOCKET: u16 = 512;
