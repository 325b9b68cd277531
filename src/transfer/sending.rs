//! A transfer that sends: which blocks go next, and what an ACK or a silence means for them.
//!
//! Methods that a receiving transfer has, too, are explained in `either`.

use std::time::Duration;

use super::common::Common;
use super::pacing::Pacing;
use super::timing::UNMEASURED;
use super::window::Window;
use super::{Blocks, Datagrams, Departed, Outcome, Progress};
use crate::moment::Moment;

/// A file on its way to a client.
#[derive(Clone, Debug)]
pub struct Sending {
    pub(super) common: Common,
    pub(super) window: Window,
    pub(super) pacing: Pacing,
    /// When the window last began anew at the client's wish.
    rewound_at: Option<Moment>,
}

impl Sending {
    pub(super) fn new(common: Common) -> Sending {
        let first = u64::from(!common.negotiated.has_oack());
        let mut window = Window::new(first, common.negotiated.windowsize);
        if let Some(length) = common.length {
            window.end_at(last_block(length, common.negotiated.blksize));
        }
        Sending {
            common,
            window,
            pacing: Pacing::default(),
            rewound_at: None,
        }
    }

    pub(super) fn datagrams(&self, most: u16) -> Option<Datagrams<'_>> {
        let allowed = self.unsent().min(self.pacing.room());
        if allowed == 0 {
            return None;
        }
        let first = self.window.next;
        if first == 0 {
            return Some(Datagrams::Oack(&self.common.negotiated));
        }
        Some(Datagrams::Data(Blocks {
            first,
            count: allowed.min(most),
            blksize: self.common.negotiated.blksize,
            oldest: self.window.base,
        }))
    }

    fn unsent(&self) -> u16 {
        self.window.unsent(self.common.answered)
    }

    pub(super) fn sent(&mut self, now: Moment, departed: Departed) -> u64 {
        self.common.timing.sent(now, self.window.out() == 0);
        let repeated = self.window.advance(departed.packets);
        self.common.retransmissions += repeated;
        if let Some(length) = departed.end {
            self.common.length = Some(length);
            self.window
                .end_at(last_block(length, self.common.negotiated.blksize));
        }
        let goes_on = self.unsent() > 0;
        self.pacing.sent(now, departed.packets, goes_on);
        self.common.first_again_at = None;
        // A repeat of the first packet at the client's wish leaves the handshake's schedule alone, so
        // that a client which cannot hear us does not keep its slot by asking.
        if self.common.answered || self.common.timing.retransmit_at.is_none() {
            self.arm_timer(now);
        }
        repeated
    }

    pub(super) fn on_ack(&mut self, now: Moment, block: u16) -> Option<Progress> {
        let blocks = self.window.acknowledged_by(block)?;
        if blocks == 0 {
            self.on_repeated_ack(now);
            return None;
        }
        let base = self.window.base;
        let has_first_block = base <= 1 && base + u64::from(blocks) > 1;
        let progress = self.common.note_answer(has_first_block);
        self.on_progress(now, blocks);
        let is_complete = self.window.is_complete();
        Some(Progress {
            is_complete,
            ..progress
        })
    }

    /// The first `blocks` of those that are out were acknowledged.
    fn on_progress(&mut self, now: Moment, blocks: u16) {
        let is_oack = self.window.base == 0;
        let is_whole = u64::from(blocks) == self.window.out();
        self.window.acknowledge(blocks);
        self.pacing.restart();
        if !is_whole {
            self.pacing.lost_after(now, blocks);
        } else if !self.common.timing.is_repeated() {
            self.pacing.arrived(now);
        }
        // The OACK tells how long a window will take.
        let size = self.window.size;
        let (blocks, is_guess) = if is_oack {
            (size, size > 1)
        } else {
            (blocks, false)
        };
        let timing = &mut self.common.timing;
        timing.on_progress(now, blocks, is_whole, is_guess);
        if !is_whole && self.may_rewind(now, Duration::ZERO) {
            self.rewind(now);
        } else if !self.window.is_at_base() {
            self.arm_timer(now);
        }
    }

    /// A window begins anew at the client's wish once per round trip, and not sooner than after `guard`: every packet
    /// that the client did not expect draws the same ACK from it.
    fn may_rewind(&self, now: Moment, guard: Duration) -> bool {
        let guard = self.common.timing.srtt().unwrap_or(UNMEASURED).max(guard);
        let is_early = |at| now.since(at) < guard;
        !self.rewound_at.is_some_and(is_early) && !self.window.follows_a_repeat()
    }

    fn rewind(&mut self, now: Moment) {
        self.rewound_at = Some(now);
        self.send_again();
    }

    /// The block before the outstanding one was acknowledged again.
    ///
    /// In lockstep this sends again only what is long overdue: answering each duplicate ACK with data
    /// would double every packet from then on (the Sorcerer's Apprentice, RFC 1123 section 4.2.3.1).
    /// With a window it means "start again after this block" (RFC 7440 section 4), once per round trip.
    fn on_repeated_ack(&mut self, now: Moment) {
        let timing = &self.common.timing;
        let again = if self.window.size == 1 {
            timing.is_sent_long_ago(now)
        } else {
            // The rest of the window may still be on the way, if none ever came whole.
            let per_block = timing.time_per_block().unwrap_or_default();
            let whole = per_block * self.window.size.into();
            self.may_rewind(now, whole.min(WHOLE_WINDOW_MAX))
        };
        if again && !self.window.is_at_base() {
            self.rewind(now);
        }
    }

    pub(super) fn on_deadline(&mut self, now: Moment) -> Option<Outcome> {
        let timing = &mut self.common.timing;
        if timing.give_up_at() <= now {
            return Some(match (self.common.answered, self.is_unconfirmed()) {
                (false, _) => Outcome::NoAnswer,
                (true, false) => Outcome::TimedOut,
                (true, true) => Outcome::CompleteUnconfirmed,
            });
        }
        if self.pacing.resume(now) {
            return None;
        }
        let is_asked = self.common.is_asked_again(now);
        if !self.common.timing.is_late(now) {
            if is_asked {
                self.send_again();
            }
            return None;
        }
        let timeouts = self.common.timing.on_timeout();
        let first_sendings = match self.common.negotiated.has_oack() {
            true => OACK_SENDINGS,
            false => DATA_SENDINGS,
        };
        if timeouts >= first_sendings && !self.common.answered {
            return Some(Outcome::NoAnswer);
        }
        if timeouts >= TAIL_SENDINGS && self.is_unconfirmed() {
            return Some(Outcome::CompleteUnconfirmed);
        }
        self.common.timing.retransmit_at = None;
        self.send_again();
        None
    }

    /// What is out goes out again.
    pub(super) fn send_again(&mut self) {
        self.common.timing.repeat();
        self.pacing.restart();
        self.window.rewind();
    }

    /// Waits for an answer to what is out.
    fn arm_timer(&mut self, now: Moment) {
        let timing = &self.common.timing;
        let mut rto = timing.rto();
        if self.window.is_around_wrap() {
            rto = rto.max(RTO_AROUND_WRAP);
        }
        if timing.timeouts() > 0 && self.is_unconfirmed() {
            rto = rto.max(TAIL_RTO * timing.timeouts().into());
        }
        self.common.timing.retransmit_at = Some(now + rto);
    }

    pub(super) fn is_unconfirmed(&self) -> bool {
        self.common.answered && self.window.is_last_out()
    }

    pub(super) fn is_out_of_turn(&self) -> bool {
        self.common.timing.timeouts() > 0 || self.pacing.is_within_window()
    }

    pub(super) fn acknowledged_bytes(&self) -> u64 {
        let blocks = self.window.base.saturating_sub(1);
        let bytes = blocks * u64::from(self.common.negotiated.blksize);
        self.common.length.map_or(bytes, |length| bytes.min(length))
    }

    pub(super) fn audit(&self) {
        self.window.audit();
        assert!(
            self.window.is_at_base() || self.common.timing.retransmit_at.is_some(),
            "a block is out and no timer runs"
        );
    }
}

/// The number of the block that ends a file: always shorter than `blksize`, empty where the length is a
/// multiple of it (RFC 1350 section 6).
fn last_block(length: u64, blksize: u16) -> u64 {
    1 + length / u64::from(blksize)
}

/// How often a transfer's first packet is sent before the transfer is given up. GRUB never asks again once
/// it had an OACK and waits 33 s for what comes next: with 3 % of the packets lost, three sendings ended
/// one boot in some thousands. An OACK is small; DATA 1 may go to somebody who never asked.
pub const OACK_SENDINGS: u8 = 5;
/// See [`OACK_SENDINGS`].
pub const DATA_SENDINGS: u8 = 3;

/// How often the last block is sent before its ACK is taken for granted. It costs a socket and no slot, and GRUB,
/// which never asks again, waits 33 s for it: with 3 % of the packets lost, three sendings were too few
/// for one boot in some thousands.
pub const TAIL_SENDINGS: u8 = 6;

/// A window takes no longer to arrive once its first blocks have: 64 of them at 50 Mbit/s.
const WHOLE_WINDOW_MAX: Duration = Duration::from_millis(20);

/// Least time before a block is repeated around the wrap from 65,535 to 0: iPXE files a stale block there
/// 65,536 blocks too high, and its download never ends.
const RTO_AROUND_WRAP: Duration = Duration::from_secs(2);

/// Least time after the first repeat of a last block; after the second it is twice that. No slot is held,
/// and U-Boot asks for a lost last block after 5 s only.
const TAIL_RTO: Duration = Duration::from_secs(2);
