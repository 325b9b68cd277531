//! What the server counts. Numbers only: who reads them is the daemon's business.

use crate::transfer::Outcome;
use crate::wire::Malformed;

/// Counters since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Requests that were neither malformed nor repeats.
    pub requests: u64,
    /// Repeats of a request that waits or is being served.
    pub repeats: u64,
    /// Requests answered with an ERROR.
    pub refused: u64,
    /// Requests to a broadcast or multicast address that could not be served: another server may have the file.
    pub unanswered: u64,
    /// Probes that were answered.
    pub probes: u64,
    /// ERROR answers and repeated first packets not sent: a network whose machines have not answered
    /// draws a bounded number.
    pub withheld: u64,
    /// Requests dropped because as many of their address waited already.
    pub client_full: u64,
    /// Requests dropped because the queue was full.
    pub queue_full: u64,
    /// Datagrams dropped: from an address that may not ask (`--allow`, `--deny`).
    pub denied: u64,
    /// Requests dropped because the server is stopping.
    pub stopping: u64,
    /// Transfers that came to their end, the last ACK seen or not.
    pub completed: u64,
    /// Transfers that the client cancelled: size probes, mostly.
    pub cancelled: u64,
    /// Requests that another one of the same client replaced, and copies that were answered.
    pub replaced: u64,
    /// Packets sent more than once.
    pub retransmissions: u64,
    /// Requests that ended in any other way once they were accepted.
    pub failed: u64,
    /// Datagrams dropped: too short for what they claim to be.
    pub short: u64,
    /// Datagrams dropped: of a kind that has no place where it arrived.
    pub misplaced: u64,
    /// Datagrams dropped: a request whose name or mode does not end.
    pub unterminated: u64,
    /// Datagrams dropped: longer than any request.
    pub oversized: u64,
    /// Datagrams dropped: from port 0, which no answer reaches.
    pub unanswerable: u64,
}

impl Stats {
    /// Datagrams that were dropped, for whatever reason.
    pub fn dropped(&self) -> u64 {
        let full = self.client_full + self.queue_full;
        self.denied + full + self.unanswered + self.stopping + self.malformed()
    }

    /// Datagrams that were dropped for what they are.
    pub fn malformed(&self) -> u64 {
        self.short + self.misplaced + self.unterminated + self.oversized + self.unanswerable
    }

    /// Counts an end.
    pub(super) fn count_end(&mut self, outcome: Outcome, was_served: bool) {
        let counter = match outcome {
            Outcome::Complete | Outcome::CompleteUnconfirmed => &mut self.completed,
            Outcome::Cancelled => &mut self.cancelled,
            Outcome::Restarted | Outcome::Duplicate | Outcome::MovedOn | Outcome::Superseded => {
                &mut self.replaced
            }
            Outcome::Evicted => &mut self.queue_full,
            Outcome::Refused(_) if !was_served => &mut self.refused,
            Outcome::ShutDown if !was_served => &mut self.stopping,
            Outcome::Refused(_)
            | Outcome::ClientError(_)
            | Outcome::PortClosed
            | Outcome::NoAnswer
            | Outcome::TimedOut
            | Outcome::Expired
            | Outcome::Unreachable
            | Outcome::ShutDown => &mut self.failed,
        };
        *counter += 1;
    }

    /// Counts a datagram that was dropped.
    pub fn count_malformed(&mut self, malformed: Malformed) {
        match malformed {
            Malformed::Short => self.short += 1,
            Malformed::Opcode => self.misplaced += 1,
            Malformed::Name | Malformed::Mode => self.unterminated += 1,
            Malformed::Oversized => self.oversized += 1,
            Malformed::Unanswerable => self.unanswerable += 1,
        }
    }
}
