//! What a transfer in either direction has.

use std::time::Duration;

use super::Progress;
use super::options::Negotiated;
use super::timing::Timing;
use crate::moment::Moment;

/// What both kinds of transfer act on.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub(super) negotiated: Negotiated,
    /// Bytes in all; unknown for netascii until the end was sent, and for an upload that announces none.
    pub(super) length: Option<u64>,
    pub(super) timing: Timing,
    /// The client acknowledged something, or sent a block: the handshake is over.
    pub(super) answered: bool,
    /// Packets sent more than once.
    pub(super) retransmissions: u64,
    /// When the first packet goes out again at the client's wish.
    pub(super) first_again_at: Option<Moment>,
}

impl Common {
    pub(super) fn new(
        now: Moment,
        negotiated: Negotiated,
        length: Option<u64>,
        patience: Duration,
    ) -> Common {
        Common {
            negotiated,
            length,
            timing: Timing::new(now, patience, negotiated.timeout()),
            answered: false,
            retransmissions: 0,
            first_again_at: None,
        }
    }

    /// The client acknowledged something for the first time, or sent a block.
    pub(super) fn note_answer(&mut self, has_first_block: bool) -> Progress {
        let progress = Progress {
            is_first: !self.answered,
            has_first_block,
            timeouts: self.timing.timeouts(),
            is_complete: false,
        };
        self.answered = true;
        self.first_again_at = None;
        progress
    }

    /// The client asked for the first packet again, and that is old enough now.
    pub(super) fn is_asked_again(&mut self, now: Moment) -> bool {
        self.first_again_at.take_if(|at| *at <= now).is_some()
    }
}
