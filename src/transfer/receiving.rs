//! The half of a transfer that receives: which block is the next, and when what came is acknowledged.
//!
//! ACKs are answers and not a timer's: U-Boot takes every OACK, and after its last block every ACK, for the one it
//! waits for. One leaves when a window is complete, when a block shows that another was lost, or when one was
//! repeated; and it waits while what was stored has no room to follow, or the whole file is not on the disk yet.
//! Only after a long silence the last one is repeated, and never the final one.

use std::time::Duration;

use super::common::{Common, REPEAT_AFTER, UNMEASURED};
use super::timing::Answered;
use super::{Acked, Arrived, Datagrams, Outcome, Progress, Step};
use crate::moment::Moment;

/// What is particular to a file on its way from a client.
#[derive(Clone, Debug)]
pub(super) struct Receiving {
    /// The last block that was stored; all before it were.
    stored: u64,
    /// The last block that was acknowledged, 0 for the OACK.
    acknowledged: u64,
    /// Bytes stored.
    bytes: u64,
    /// An answer is to leave as soon as it may.
    is_due: bool,
    /// What was stored has no room to follow.
    is_withheld: bool,
    end: End,
    /// The last block that came too early since then: those that follow belong to the same window.
    early: u64,
    /// Answers repeated since the client was last heard.
    silent_answers: u8,
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
    pub(super) fn new() -> Receiving {
        Receiving {
            stored: 0,
            acknowledged: 0,
            bytes: 0,
            is_due: true,
            is_withheld: false,
            end: End::Ahead,
            early: 0,
            silent_answers: 0,
        }
    }

    /// What goes next: the OACK until a block has come, then the ACK of the last in order.
    pub(super) fn answer<'c>(&self, common: &'c Common) -> Option<Datagrams<'c>> {
        if !self.is_due || self.is_withheld || self.end == End::Stored {
            return None;
        }
        Some(match common.answered {
            false if common.negotiated.has_oack() => Datagrams::Oack(&common.negotiated),
            _ => Datagrams::Ack(low_bits(self.stored)),
        })
    }

    /// The answer left. Returns 1 if it was not the first of its kind.
    pub(super) fn sent(&mut self, common: &mut Common, now: Moment) -> u64 {
        let is_repeated = common.timing.sent_at().is_some() && self.acknowledged == self.stored;
        if is_repeated {
            common.timing.repeat();
            common.retransmissions += 1;
        }
        common.timing.sent(now, !is_repeated);
        common.first_again_at = None;
        self.is_due = false;
        self.acknowledged = self.stored;
        self.wait(common, now);
        u64::from(is_repeated)
    }

    /// Waits for the next block. If it does not come in time the client is silent; nothing is repeated.
    fn wait(&self, common: &mut Common, now: Moment) {
        if self.end == End::Ahead {
            let rto = common.timing.rto(|| common.negotiated.timeout());
            common.timing.retransmit_after(now, rto);
        }
    }

    /// A block came.
    pub(super) fn on_block(
        &mut self,
        common: &mut Common,
        now: Moment,
        block: u16,
        length: usize,
    ) -> Arrived {
        if common.timing.sent_at().is_none() {
            // It cannot be an answer to anything.
            return Arrived::Stray(Step::Wait);
        }
        if usize::from(common.negotiated.blksize) < length {
            return Arrived::TooLong;
        }
        let ahead = u64::from(block.wrapping_sub(low_bits(self.stored)));
        let behind = u64::from(low_bits(self.stored).wrapping_sub(block));
        if ahead == 1 && self.takes(common) >= 1 {
            return Arrived::Next;
        }
        let is_wanted = if 2 <= ahead && ahead <= self.takes(common) {
            self.shows_gap(common, now, self.stored + ahead)
        } else {
            self.is_repeated(common, now, behind)
        };
        self.is_due |= is_wanted;
        Arrived::Stray(match is_wanted {
            true => self.step(common),
            false => Step::Wait,
        })
    }

    /// How many blocks may come before the next answer.
    fn takes(&self, common: &Common) -> u64 {
        let window = u64::from(common.negotiated.windowsize);
        match self.end {
            End::Ahead => self.acknowledged + window - self.stored,
            End::Stored | End::Safe => 0,
        }
    }

    /// A block of this window came and one before it did not. Returns whether that is worth an ACK: once for each
    /// sending of the window (RFC 7440 section 4), which begins again with a lower number, or after a while.
    fn shows_gap(&mut self, common: &Common, now: Moment, block: u64) -> bool {
        let is_known = self.stored < self.early && self.early < block;
        self.early = block;
        !is_known || answered_before(common, now, again_after(common))
    }

    /// A block came that was stored before. In lockstep only the last one is repeated, by a client that did not hear
    /// our answer; with a window it may be any of them, and the first of them counts.
    fn is_repeated(&mut self, common: &mut Common, now: Moment, behind: u64) -> bool {
        let windowsize = common.negotiated.windowsize;
        if self.stored <= behind || u64::from(windowsize) <= behind {
            return false;
        }
        // It is there, and waits for us.
        if self.end == End::Stored || self.is_withheld {
            common.timing.was_kept_waiting(now);
        }
        windowsize == 1 || answered_before(common, now, again_after(common))
    }

    /// The next block was stored.
    pub(super) fn stored(
        &mut self,
        common: &mut Common,
        now: Moment,
        length: usize,
        has_room: bool,
    ) -> Acked {
        self.stored += 1;
        self.bytes += length as u64;
        self.silent_answers = 0;
        self.is_withheld = !has_room;
        let progress = Progress {
            is_first: !common.answered,
            has_first_block: self.stored == 1,
            timeouts: common.timing.timeouts(),
        };
        common.answered = true;
        common.first_again_at = None;
        if length < usize::from(common.negotiated.blksize) {
            self.end = End::Stored;
            common.length = Some(self.bytes);
        }
        self.is_due = self.takes(common) == 0;
        if self.is_due {
            common.timing.on_progress(
                now,
                Answered {
                    blocks: self.stored - self.acknowledged,
                    is_whole: true,
                    is_guess: false,
                },
            );
        } else {
            common.timing.heard(now);
            self.wait(common, now);
        }
        Acked {
            step: self.step(common),
            progress: Some(progress),
        }
    }

    /// It was not, for want of memory. The client repeats it, or is asked to when there is room: by an ACK in a window,
    /// which means "start again after this block"; in lockstep that would be one more of the block before.
    pub(super) fn not_stored(&mut self) {
        self.is_withheld = true;
    }

    /// There is room again.
    pub(super) fn on_room(&mut self, common: &mut Common, now: Moment) -> Step {
        if std::mem::take(&mut self.is_withheld) {
            common.timing.was_kept_waiting(now);
        }
        self.step(common)
    }

    fn step(&self, common: &Common) -> Step {
        match self.answer(common) {
            Some(_) => Step::Send,
            None => Step::Wait,
        }
    }

    /// The whole file is safe.
    pub(super) fn on_safe(&mut self, common: &mut Common, now: Moment) -> Step {
        self.end = End::Safe;
        self.is_withheld = false;
        common.timing.was_kept_waiting(now);
        self.answer_again()
    }

    pub(super) fn answer_again(&mut self) -> Step {
        self.is_due = true;
        Step::Send
    }

    // Silence.

    pub(super) fn on_deadline(&mut self, common: &mut Common, now: Moment) -> Step {
        if self.over_at(common) <= now {
            return Step::End(match (self.end, common.answered) {
                (End::Safe, _) => Outcome::Complete,
                (_, false) => Outcome::NoAnswer,
                (_, true) => Outcome::TimedOut,
            });
        }
        if common.first_again_at.take_if(|at| *at <= now).is_some() {
            return self.answer_again();
        }
        if common.timing.retransmit_at().is_some_and(|at| at <= now) {
            common.timing.on_timeout();
            common.timing.back_off();
            self.wait(common, now);
        }
        match self.silent_too_long_at(common) {
            Some(at) if at <= now => {
                self.silent_answers += 1;
                self.answer_again()
            }
            _ => Step::Wait,
        }
    }

    /// When the client has been silent for so long that the last answer is repeated: hardly ever, since its own timer
    /// is shorter.
    pub(super) fn silent_too_long_at(&self, common: &Common) -> Option<Moment> {
        let may = common.answered
            && self.end == End::Ahead
            && self.answer(common).is_none()
            && !self.is_withheld
            && self.silent_answers < SILENT_ANSWERS;
        may.then(|| silent_since(common) + silence(common, SILENCE_MIN))
    }

    /// When it is over unless the client is heard.
    pub(super) fn over_at(&self, common: &Common) -> Moment {
        let give_up_at = common.timing.give_up_at();
        match (self.end, common.answered) {
            // For as long as the client may repeat its last block.
            (End::Safe, _) => silent_since(common) + silence(common, SILENCE_MIN),
            // It repeats its request, and not our answer.
            (_, false) if common.timing.sent_at().is_some() => {
                give_up_at.min(silent_since(common) + silence(common, HANDSHAKE_SILENCE_MIN))
            }
            (End::Ahead | End::Stored, _) => give_up_at,
        }
    }

    /// This block shows that the client goes on.
    pub(super) fn is_carried_on_by(&self, common: &Common, block: u16) -> bool {
        let ahead = u64::from(block.wrapping_sub(low_bits(self.stored)));
        1 <= ahead && ahead <= self.takes(common)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end != End::Ahead
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn audit(&self, common: &Common) {
        let window = u64::from(common.negotiated.windowsize);
        assert!(self.acknowledged <= self.stored && self.stored <= self.acknowledged + window);
        assert!(
            self.is_due || self.end != End::Ahead || common.timing.retransmit_at().is_some(),
            "a block is awaited and no timer runs"
        );
    }
}

/// The last answer left this long ago.
fn answered_before(common: &Common, now: Moment, span: Duration) -> bool {
    let sent_at = common.timing.sent_at();
    sent_at.is_some_and(|sent_at| now.since(sent_at) >= span)
}

/// After how much time a block that is not the next cannot belong to what was under way when the last answer left.
fn again_after(common: &Common) -> Duration {
    let round_trip = common.timing.srtt();
    round_trip.map_or(REPEAT_AFTER, |srtt| {
        (2 * srtt).clamp(REPEAT_AFTER, UNMEASURED)
    })
}

/// When something was last heard, or sent, or the client was no longer kept waiting.
fn silent_since(common: &Common) -> Moment {
    let heard_at = common.timing.patient_from();
    common
        .timing
        .sent_at()
        .map_or(heard_at, |at| at.max(heard_at))
}

/// Longer than a client's own timer, which is the `timeout` that it asks for.
fn silence(common: &Common, least: Duration) -> Duration {
    let agreed = common.negotiated.timeout().unwrap_or_default();
    (2 * agreed).max(least)
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the wire has the low 16 bits"
)]
fn low_bits(block: u64) -> u16 {
    block as u16
}

/// The longest timers of clients that name none are 5 to 7 s.
const SILENCE_MIN: Duration = Duration::from_secs(10);

/// An OACK that nobody answers is sent for so long where a file is read, too.
const HANDSHAKE_SILENCE_MIN: Duration = Duration::from_secs(20);

/// How often an answer is repeated in a silence.
const SILENT_ANSWERS: u8 = 3;
