//! When a transfer acts, whichever way its file goes: how long an answer is waited for, how often in vain, and
//! when patience ends. It knows no blocks.
//!
//! The RTO is that of RFC 6298, within the bounds that boot firmware can bear. Measured spans of time are plain
//! numbers in here: all of this is reckoned with each ACK.

use std::time::Duration;

use crate::moment::Moment;

/// The times of one transfer.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Once a round trip was measured.
    estimate: Option<Estimate>,
    /// What a block usually takes until it is acknowledged, repeats included.
    per_block: Option<Nanos>,
    /// How many measurements it rests on; 0 while it is guessed.
    acknowledgements: u8,
    /// This path has lost a packet.
    is_lossy: bool,
    rto_max: Duration,
    /// Timeouts since the last progress: each doubles the RTO.
    timeouts: u8,
    patience: Duration,
    /// When the client last made progress; at first, when the transfer began.
    progress_at: Moment,
    /// When the client last made progress, or was sent what it had been kept waiting for.
    patient_from: Moment,
    /// When the last packet left.
    sent_at: Option<Moment>,
    /// When something of the current window first left, repeated or not.
    window_from: Option<Moment>,
    /// The current window was sent from its beginning, and nothing of it again: it measures the round trip (Karn's rule).
    is_timed: bool,
    /// Something was sent again since the last progress.
    is_repeated: bool,
    /// When to act on what is not acknowledged; `None` if nothing is out.
    pub(super) retransmit_at: Option<Moment>,
}

/// The round trip.
#[derive(Clone, Copy, Debug)]
struct Estimate {
    srtt: Nanos,
    rttvar: Nanos,
    /// As `srtt`, but one long round trip hardly moves it.
    usual: Nanos,
}

/// A span of time in nanoseconds.
type Nanos = u64;

/// No span that is measured comes near to the bound of 584 years, nor four times that span.
const fn nanos(span: Duration) -> Nanos {
    span.as_secs() * 1_000_000_000 + span.subsec_nanos() as Nanos
}

impl Timing {
    /// `agreed` is the `timeout` option (RFC 2349): no answer is waited for longer.
    pub(super) fn new(now: Moment, patience: Duration, agreed: Option<Duration>) -> Timing {
        Timing {
            estimate: None,
            per_block: None,
            acknowledgements: 0,
            is_lossy: false,
            rto_max: agreed.unwrap_or(RTO_MAX),
            timeouts: 0,
            patience,
            progress_at: now,
            patient_from: now,
            sent_at: None,
            window_from: None,
            is_timed: false,
            is_repeated: false,
            retransmit_at: None,
        }
    }

    // What happened.

    /// Packets left; `begins` if they are the first of a window, and none of them left before.
    pub(super) fn sent(&mut self, now: Moment, begins: bool) {
        self.is_timed |= begins;
        self.window_from.get_or_insert(now);
        self.sent_at = Some(now);
    }

    /// What is out goes out again.
    pub(super) fn repeat(&mut self) {
        self.is_timed = false;
        self.is_repeated = true;
    }

    /// The client acknowledged this number of blocks, at least 1; `is_whole`: all that was out. An OACK travels alone:
    /// what it tells of a block of a window `is_guess`.
    pub(super) fn on_progress(&mut self, now: Moment, blocks: u16, is_whole: bool, is_guess: bool) {
        if let Some(from) = self.window_from.take() {
            let after = nanos(now.since(from));
            self.acknowledged(after / u64::from(blocks), is_guess);
            if is_whole && self.is_timed {
                self.sample(after);
            }
        }
        self.is_timed = false;
        if std::mem::take(&mut self.is_repeated)
            && let Some(sent_at) = self.sent_at
        {
            self.repeat_answered(nanos(now.since(sent_at)));
        }
        self.heard(now);
    }

    /// A packet that was sent once was answered after `round_trip` (RFC 6298 section 2).
    ///
    /// Where an ACK was lost and the client sent it again by itself, that looks like a round trip of a
    /// quarter of a second, so one that is far longer than usual counts as less.
    fn sample(&mut self, round_trip: Nanos) {
        let Some(Estimate {
            srtt,
            rttvar,
            usual,
        }) = self.estimate
        else {
            self.estimate = Some(Estimate {
                srtt: round_trip,
                rttvar: round_trip / 2,
                usual: round_trip,
            });
            return;
        };
        let counted = round_trip.min(OUTLIER_FACTOR * usual + OUTLIER_SLACK);
        self.estimate = Some(Estimate {
            rttvar: (rttvar * 3 + srtt.abs_diff(counted)) / 4,
            srtt: (srtt * 7 + counted) / 8,
            usual: (usual * 7 + round_trip.min(2 * usual + USUAL_STEP)) / 8,
        });
    }

    /// Blocks were acknowledged, after this time for `each`. Unlike a round trip that holds for what was sent again,
    /// too; one long wait hardly moves it. A guess holds until the next one.
    fn acknowledged(&mut self, each: Nanos, is_guess: bool) {
        self.per_block = Some(match (self.per_block, self.acknowledgements) {
            (None, _) | (_, 0) => each,
            // The first may have been lost.
            (Some(first), 1) => first.min(each),
            (Some(usual), _) => (usual * 7 + each.min(2 * usual + USUAL_STEP)) / 8,
        });
        self.acknowledgements = match is_guess {
            true => 0,
            false => self.acknowledgements.saturating_add(1),
        };
    }

    /// What was sent again was acknowledged so long after its last sending. About a round trip means that
    /// a packet was lost, and that waiting longer next time gains nothing; any other time may be that of
    /// a client that was busy and answers the first sending.
    fn repeat_answered(&mut self, after: Nanos) {
        self.is_lossy |= self.estimate.is_some_and(|it| after <= 2 * it.usual);
    }

    /// The client is there, and the window is not complete.
    pub(super) fn heard(&mut self, now: Moment) {
        self.timeouts = 0;
        self.progress_at = now;
        self.patient_from = now;
        self.retransmit_at = None;
    }

    /// An answer is overdue.
    pub(super) fn is_late(&self, now: Moment) -> bool {
        self.retransmit_at.is_some_and(|at| at <= now)
    }

    /// No answer came in time, and the next one has more. Returns how often in a row that is.
    pub(super) fn on_timeout(&mut self) -> u8 {
        self.timeouts = self.timeouts.saturating_add(1);
        self.timeouts
    }

    /// The client had to wait for us until now: that was no silence of its own.
    pub(super) fn was_kept_waiting(&mut self, now: Moment) {
        self.patient_from = now;
    }

    // What follows from it.

    /// Something was sent again since the last progress.
    pub(super) fn is_repeated(&self) -> bool {
        self.is_repeated
    }

    /// How long to wait for an answer to what leaves now.
    pub(super) fn rto(&self) -> Duration {
        let base = self
            .estimate
            .map_or(nanos(RTO_INITIAL), |Estimate { srtt, rttvar, .. }| {
                srtt + (4 * rttvar).max(nanos(RTO_MARGIN))
            });
        let least = match self.is_lossy {
            true => RTO_MIN_LOSSY,
            false => RTO_MIN,
        };
        let doublings = self.timeouts.min(DOUBLINGS_MAX);
        Duration::from_nanos(base.max(nanos(least)) << doublings).min(self.rto_max)
    }

    /// The smoothed round trip, once one was measured.
    pub fn srtt(&self) -> Option<Duration> {
        self.estimate.map(|it| Duration::from_nanos(it.srtt))
    }

    /// What left last is old: an answer to it would have come, or what is repeated belongs to what left before.
    pub(super) fn is_sent_long_ago(&self, now: Moment) -> bool {
        let after = self.srtt().map_or(UNMEASURED, |srtt| {
            (2 * srtt).clamp(REPEAT_AFTER, UNMEASURED)
        });
        self.sent_at.is_some_and(|at| now.since(at) >= after)
    }

    /// When it is given up unless the client makes progress.
    pub fn give_up_at(&self) -> Moment {
        self.patient_from + self.patience
    }

    /// When something was last heard, or sent, or the client was no longer kept waiting.
    pub(super) fn silent_since(&self) -> Moment {
        let heard_at = self.patient_from;
        self.sent_at.map_or(heard_at, |at| at.max(heard_at))
    }

    /// Timeouts since the client last made progress.
    pub fn timeouts(&self) -> u8 {
        self.timeouts
    }

    /// When the client last made progress; the beginning of the transfer if it has made none.
    pub fn progress_at(&self) -> Moment {
        self.progress_at
    }

    /// When the last packet left; `None` before the first.
    pub fn sent_at(&self) -> Option<Moment> {
        self.sent_at
    }

    /// How long after the client repeats its request an ACK may show that the network copied the request.
    pub fn ack_due_within(&self) -> Duration {
        self.srtt().map_or(ACK_DUE_MAX, |srtt| {
            (2 * srtt).clamp(ACK_DUE_MIN, ACK_DUE_MAX)
        })
    }

    /// How long the client usually takes to acknowledge what it was sent, for each block of it, whether or not
    /// it had to be sent again; `None` until it has acknowledged something.
    pub fn time_per_block(&self) -> Option<Duration> {
        self.per_block.map(Duration::from_nanos)
    }

    /// When the client is overdue, if it has its slot since `since`, and its slot lies idle: well before the packet is
    /// sent again, since a slot can be given away and taken back for nothing.
    pub fn overdue_at(&self, since: Moment) -> Moment {
        let after = self.estimate.map_or(OVERDUE_MAX, |it| {
            Duration::from_nanos(OVERDUE_FACTOR * it.usual).clamp(OVERDUE_MIN, OVERDUE_MAX)
        });
        self.progress_at.max(since) + after
    }

    pub(super) fn audit(&self) {
        assert!(self.window_from <= self.sent_at);
    }
}

/// A packet younger than this is not sent again at the client's wish: firmware repeats requests within
/// 5-9 ms, and PXELINUX its ACKs within 110 ms.
pub(super) const REPEAT_AFTER: Duration = Duration::from_millis(100);

/// What a round trip may take before one was measured. What was measured may have been the client's own
/// pause instead, where its ACK was lost and it sent another: an old ROM asks four times, 1 s apart.
pub(super) const UNMEASURED: Duration = Duration::from_secs(1);

/// Bounds of the time in which an ACK of what is on its way may show that a request was a copy. The network
/// makes copies within 10 ms; a client that has begun anew waits for its answer.
const ACK_DUE_MIN: Duration = Duration::from_millis(10);
const ACK_DUE_MAX: Duration = Duration::from_millis(50);

/// Bounds of the time after which a client that makes no progress has lost a packet rather than been
/// slow.
const OVERDUE_FACTOR: u64 = 4;
const OVERDUE_MIN: Duration = Duration::from_millis(5);
const OVERDUE_MAX: Duration = Duration::from_secs(1);

/// Before anything was measured (RFC 6298 section 2.1).
const RTO_INITIAL: Duration = Duration::from_secs(1);

/// A premature repeat harms some firmware more than a short wait does. But it must come before that of iPXE,
/// which sends an unanswered ACK again after 250 ms: where the ACK was lost, that looks like a slow answer, and
/// the loss is never proved.
const RTO_MIN: Duration = Duration::from_millis(200);

/// Least time beyond the round trip, the G of RFC 6298: on a long and even path RTTVAR shrinks to nothing,
/// and every answer would race with the timer.
const RTO_MARGIN: Duration = Duration::from_millis(50);

/// [`RTO_MIN`] once the path has been seen to lose packets: in lockstep each of them costs the RTO.
const RTO_MIN_LOSSY: Duration = Duration::from_millis(100);

/// Where no `timeout` was agreed: GRUB and U-Boot with lwIP never repeat anything themselves.
const RTO_MAX: Duration = Duration::from_secs(5);

/// More than the usual round trip, four times and this, is an outlier.
const OUTLIER_FACTOR: u64 = 4;
const OUTLIER_SLACK: Nanos = nanos(Duration::from_millis(100));

/// How far one long round trip moves the usual one at most, times eight.
const USUAL_STEP: Nanos = nanos(Duration::from_millis(10));

/// Doublings after which the RTO is past every bound, so that it cannot overflow.
const DOUBLINGS_MAX: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Nanos = 1_000_000;

    fn timing(agreed: Option<Duration>) -> Timing {
        Timing::new(Moment::START, Duration::MAX, agreed)
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_rto_follows_rfc_6298_within_its_bounds() {
        let mut timing = timing(None);
        assert_eq!(timing.rto(), RTO_INITIAL);
        timing.sample(400 * MILLISECOND);
        assert_eq!(timing.rto(), millis(1200));
        timing.sample(200 * MILLISECOND);
        assert_eq!(timing.srtt(), Some(millis(375)));
        assert_eq!(timing.rto(), millis(1175));
        for _ in 0..60 {
            timing.sample(MILLISECOND);
        }
        assert_eq!(timing.rto(), RTO_MIN);
    }

    #[test]
    fn a_long_and_even_path_has_a_margin() {
        let mut timing = timing(None);
        (0..100).for_each(|_| timing.sample(400 * MILLISECOND));
        assert_eq!(timing.rto(), millis(450));
    }

    #[test]
    fn a_proven_loss_lowers_the_bound_and_a_busy_client_does_not() {
        let mut timing = timing(None);
        timing.repeat_answered(0);
        assert_eq!(timing.rto(), RTO_INITIAL);
        timing.sample(MILLISECOND);
        timing.repeat_answered(3 * MILLISECOND);
        assert_eq!(timing.rto(), RTO_MIN);
        timing.repeat_answered(2 * MILLISECOND);
        assert_eq!(timing.rto(), RTO_MIN_LOSSY);
        timing.sample(101 * MILLISECOND);
        assert!(timing.rto() > RTO_MIN_LOSSY, "the round trip decides");
    }

    #[test]
    fn silence_doubles_the_rto_up_to_what_was_agreed() {
        let mut timing = timing(Some(Duration::from_secs(3)));
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(timing.rto().as_secs());
            timing.on_timeout();
        }
        assert_eq!(seen, [1, 2, 3, 3]);
        timing.heard(Moment::START);
        assert_eq!(timing.rto(), RTO_INITIAL);
    }
}
