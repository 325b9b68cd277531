//! A transfer that receives: which block is the next, and when what came is acknowledged.
//!
//! ACKs are answers and not a timer's: U-Boot takes every OACK, and after its last block every ACK, for the one it
//! waits for. One leaves when a window is complete, when a block shows that another was lost, or when one was
//! repeated; and it waits while what was stored has no room to follow, or the whole file is not on the disk yet.
//! Only after a long silence the last one is repeated, and never the final one.

use std::time::Duration;

use super::common::Common;
use super::{Arrived, Datagrams, Outcome, Progress, low_bits};
use crate::moment::Moment;

/// A file on its way from a client.
#[derive(Clone, Debug)]
pub struct Receiving {
    pub(super) common: Common,
    /// The last block that was stored; all before it were.
    stored: u64,
    /// The last block that was acknowledged, 0 for the OACK.
    acknowledged: u64,
    /// An answer is to leave as soon as it may.
    is_due: bool,
    /// What was stored has no room to follow.
    is_withheld: bool,
    end: End,
    /// The last block that came too early since then: those that follow belong to the same window.
    early: u64,
}

/// How near the end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// The last block has not come.
    Ahead,
    /// All was stored.
    Stored,
    /// All is safe on the disk; the last ACK is repeated if it is asked for.
    Safe,
}

impl Receiving {
    pub(super) fn new(common: Common) -> Receiving {
        Receiving {
            common,
            stored: 0,
            acknowledged: 0,
            is_due: true,
            is_withheld: false,
            end: End::Ahead,
            early: 0,
        }
    }

    /// What goes next: the OACK until a block has come, then the ACK of the last in order.
    pub(super) fn answer(&self) -> Option<Datagrams<'_>> {
        if !self.is_due || self.is_withheld || self.end == End::Stored {
            return None;
        }
        let negotiated = &self.common.negotiated;
        Some(match self.common.answered {
            false if negotiated.has_oack() => Datagrams::Oack(negotiated),
            _ => Datagrams::Ack(low_bits(self.stored)),
        })
    }

    pub(super) fn sent(&mut self, now: Moment) -> u64 {
        let timing = &mut self.common.timing;
        let is_repeated = timing.sent_at().is_some() && self.acknowledged == self.stored;
        if is_repeated {
            timing.repeat();
            self.common.retransmissions += 1;
        }
        timing.sent(now, !is_repeated);
        self.common.first_again_at = None;
        self.is_due = false;
        self.acknowledged = self.stored;
        self.arm_timer();
        u64::from(is_repeated)
    }

    /// A block came.
    pub fn on_block(&mut self, now: Moment, block: u16, length: usize) -> Arrived {
        if self.common.timing.sent_at().is_none() {
            // It cannot be an answer to anything.
            return Arrived::Stray;
        }
        if usize::from(self.common.negotiated.blksize) < length {
            return Arrived::TooLong;
        }
        match self.ahead(block) {
            Some(1) => return Arrived::Next,
            Some(ahead) => self.is_due |= self.shows_gap(now, self.stored + ahead),
            None => self.is_due |= self.is_repeated(now, block),
        }
        Arrived::Stray
    }

    /// How many blocks after the last one stored it is; `None` if it is none that is awaited.
    pub(super) fn ahead(&self, block: u16) -> Option<u64> {
        let ahead = u64::from(block.wrapping_sub(low_bits(self.stored)));
        (1 <= ahead && ahead <= self.takes()).then_some(ahead)
    }

    /// How many blocks may come before the next answer.
    fn takes(&self) -> u64 {
        let window = u64::from(self.common.negotiated.windowsize);
        match self.end {
            End::Ahead => self.acknowledged + window - self.stored,
            End::Stored | End::Safe => 0,
        }
    }

    /// A block of this window came and one before it did not. Returns whether that is worth an ACK: once for each
    /// sending of the window (RFC 7440 section 4), which begins again with a lower number, or after a while.
    fn shows_gap(&mut self, now: Moment, block: u64) -> bool {
        let is_known = self.stored < self.early && self.early < block;
        self.early = block;
        !is_known || self.common.timing.is_sent_long_ago(now)
    }

    /// Whether a block came that was stored before. In lockstep only the last one is repeated, by a client that did not
    /// hear our answer; with a window it may be any of them, and the first of them counts.
    fn is_repeated(&mut self, now: Moment, block: u16) -> bool {
        let windowsize = self.common.negotiated.windowsize;
        let behind = low_bits(self.stored).wrapping_sub(block);
        if self.stored <= behind.into() || windowsize <= behind {
            return false;
        }
        let timing = &mut self.common.timing;
        // It is there, and waits for us.
        if self.end == End::Stored || self.is_withheld {
            timing.was_kept_waiting(now);
        }
        windowsize == 1 || timing.is_sent_long_ago(now)
    }

    /// The block that [`Receiving::on_block`] found to be the next was stored; `has_room`: one more window can be.
    pub fn stored(&mut self, now: Moment, length: usize, has_room: bool) -> Progress {
        self.stored += 1;
        self.is_withheld = !has_room;
        let progress = self.common.note_answer(self.stored == 1);
        let blksize = usize::from(self.common.negotiated.blksize);
        if length < blksize {
            self.common.length = Some(self.bytes() - (blksize - length) as u64);
            self.end = End::Stored;
        }
        self.is_due = self.takes() == 0;
        if self.is_due {
            let blocks = low_bits(self.stored - self.acknowledged);
            self.common.timing.on_progress(now, blocks, true, false);
        } else {
            self.common.timing.heard(now);
            self.arm_timer();
        }
        progress
    }

    /// It was not, for want of memory: it is as good as lost. The client repeats it, or is asked to when there is room:
    /// by an ACK in a window, which means "start again after this block"; in lockstep that would be one more of the
    /// block before.
    pub fn not_stored(&mut self) {
        self.is_withheld = true;
        self.arm_timer();
    }

    /// There is room for a window again.
    pub fn on_room(&mut self, now: Moment) {
        if std::mem::take(&mut self.is_withheld) {
            self.common.timing.was_kept_waiting(now);
            self.arm_timer();
        }
    }

    /// The whole file is safe on the disk: its last block may be acknowledged.
    pub fn on_safe(&mut self, now: Moment) {
        self.end = End::Safe;
        self.is_withheld = false;
        self.common.timing.was_kept_waiting(now);
        self.answer_again();
    }

    pub(super) fn answer_again(&mut self) {
        self.is_due = true;
    }

    // Silence.

    pub(super) fn on_deadline(&mut self, now: Moment) -> Option<Outcome> {
        if self.over_at() <= now {
            return Some(match (self.end, self.common.answered) {
                (End::Safe, _) => Outcome::Complete,
                (_, false) => Outcome::NoAnswer,
                (_, true) => Outcome::TimedOut,
            });
        }
        let mut is_wanted = self.common.is_asked_again(now);
        if !is_wanted && self.common.timing.is_late(now) {
            if self.common.timing.on_timeout() == 1 {
                self.arm_timer();
            } else {
                self.common.timing.retransmit_at = None;
                is_wanted = true;
            }
        }
        self.is_due |= is_wanted;
        None
    }

    /// Waits for the next block. If none comes in time the client is late; and if it has been silent for much longer
    /// than its own timer may be, the last answer is repeated.
    fn arm_timer(&mut self) {
        let timing = &self.common.timing;
        let after = match timing.timeouts() {
            _ if self.end != End::Ahead || self.is_withheld => None,
            0 => Some(timing.rto()),
            1..=SILENT_ANSWERS if self.common.answered => Some(self.silence(SILENCE_MIN)),
            _ => None,
        };
        let since = timing.silent_since();
        self.common.timing.retransmit_at = after.map(|after| since + after);
    }

    /// Longer than a client's own timer, which is the `timeout` that it asks for.
    fn silence(&self, least: Duration) -> Duration {
        let agreed = self.common.negotiated.timeout().unwrap_or_default();
        (2 * agreed).max(least)
    }

    /// When it is over unless the client is heard.
    pub(super) fn over_at(&self) -> Moment {
        let timing = &self.common.timing;
        let silent_for = |least| timing.silent_since() + self.silence(least);
        match (self.end, self.common.answered) {
            // For as long as the client may repeat its last block.
            (End::Safe, _) => silent_for(SILENCE_MIN),
            // It repeats its request, and not our answer.
            (_, false) if timing.sent_at().is_some() => {
                timing.give_up_at().min(silent_for(HANDSHAKE_SILENCE_MIN))
            }
            (End::Ahead | End::Stored, _) => timing.give_up_at(),
        }
    }

    /// The last block was received and stored.
    pub fn has_ended(&self) -> bool {
        self.end != End::Ahead
    }

    /// Every block but the last one is full.
    pub(super) fn bytes(&self) -> u64 {
        match self.end {
            End::Ahead => self.stored * u64::from(self.common.negotiated.blksize),
            End::Stored | End::Safe => self.common.length.unwrap_or_default(),
        }
    }

    pub(super) fn audit(&self) {
        let window = u64::from(self.common.negotiated.windowsize);
        assert!(self.acknowledged <= self.stored && self.stored <= self.acknowledged + window);
        let timing = &self.common.timing;
        assert!(
            self.is_due
                || self.is_withheld
                || self.has_ended()
                || timing.retransmit_at.is_some()
                || timing.timeouts() > 0,
            "a block is awaited and no timer runs"
        );
    }
}

/// The longest timers of clients that name none are 5 to 7 s.
const SILENCE_MIN: Duration = Duration::from_secs(10);

/// An OACK that nobody answers is sent for so long where a file is read, too.
const HANDSHAKE_SILENCE_MIN: Duration = Duration::from_secs(20);

/// How often an answer is repeated in a silence.
const SILENT_ANSWERS: u8 = 3;
