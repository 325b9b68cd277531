//! How long to wait for an answer: the RTO of RFC 6298, within the bounds that boot firmware can bear.
//!
//! Whether a sample may be taken at all (Karn's rule) is the caller's business. Spans of time are plain numbers in here:
//! all of this is reckoned with each ACK.

use std::time::Duration;

/// Round-trip estimates of one transfer.
#[derive(Clone, Debug, Default)]
pub(super) struct Retransmit {
    /// Smoothed round-trip time and its variation, once something was measured.
    estimate: Option<Estimate>,
    /// Timeouts since the last progress: each doubles the RTO.
    backoff: u32,
    /// What a block usually takes until it is acknowledged, repeats included.
    per_block: Option<Nanos>,
    /// How many measurements it rests on; 0 while it is guessed.
    acknowledgements: u8,
    /// This path has lost a packet.
    is_lossy: bool,
}

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

impl Retransmit {
    /// A packet that was sent once was answered after `round_trip` (RFC 6298 section 2).
    ///
    /// Where an ACK was lost and the client sent it again by itself, that looks like a round trip of a
    /// quarter of a second, so one that is far longer than usual counts as less.
    pub(super) fn sample(&mut self, round_trip: Duration) {
        let round_trip = nanos(round_trip);
        let Some(Estimate {
            srtt,
            rttvar,
            usual,
        }) = self.estimate
        else {
            let (srtt, rttvar, usual) = (round_trip, round_trip / 2, round_trip);
            self.estimate = Some(Estimate {
                srtt,
                rttvar,
                usual,
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

    /// So many blocks were acknowledged so long after the first of them had left. Unlike a round trip that
    /// holds for what was sent again, too; one long wait hardly moves it. A guess holds until the next one.
    pub(super) fn acknowledged(&mut self, after: Duration, blocks: u64, is_guess: bool) {
        let each = nanos(after) / blocks.max(1);
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

    /// The client made progress.
    pub(super) fn restart(&mut self) {
        self.backoff = 0;
    }

    /// Nothing came in time (RFC 6298 section 5.5).
    pub(super) fn back_off(&mut self) {
        self.backoff = (self.backoff + 1).min(BACKOFF_MAX);
    }

    /// What was sent again was acknowledged so long after its last sending. About a round trip means that
    /// a packet was lost, and that waiting longer next time gains nothing; any other time may be that of
    /// a client that was busy and answers the first sending.
    pub(super) fn repeat_answered(&mut self, after: Duration) {
        self.is_lossy |= self.estimate.is_some_and(|it| nanos(after) <= 2 * it.usual);
    }

    /// How long to wait; never longer than `agreed`, the `timeout` option (RFC 2349), which is at least 1 s.
    pub(super) fn rto(&self, agreed: impl FnOnce() -> Option<Duration>) -> Duration {
        let base = self
            .estimate
            .map_or(nanos(RTO_INITIAL), |Estimate { srtt, rttvar, .. }| {
                srtt + (4 * rttvar).max(nanos(RTO_MARGIN))
            });
        let least = if self.is_lossy {
            RTO_MIN_LOSSY
        } else {
            RTO_MIN
        };
        let rto = Duration::from_nanos(base.max(nanos(least)) << self.backoff);
        match rto <= AGREED_MIN {
            true => rto,
            false => rto.min(agreed().unwrap_or(RTO_MAX)),
        }
    }

    /// What a round trip usually takes, once something was measured.
    pub(super) fn usual(&self) -> Option<Duration> {
        let usual = self.estimate?.usual;
        Some(Duration::from_nanos(usual))
    }

    /// What a block usually takes until it is acknowledged, once one was.
    pub(super) fn time_per_block(&self) -> Option<Duration> {
        self.per_block.map(Duration::from_nanos)
    }

    pub(super) fn srtt(&self) -> Option<Duration> {
        let srtt = self.estimate?.srtt;
        Some(Duration::from_nanos(srtt))
    }
}

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

/// The least `timeout` that can be agreed.
const AGREED_MIN: Duration = Duration::from_secs(1);

/// Where no `timeout` was agreed: GRUB and U-Boot with lwIP never repeat anything themselves.
const RTO_MAX: Duration = Duration::from_secs(5);

/// More than the usual round trip, four times and this, is an outlier.
const OUTLIER_FACTOR: u64 = 4;
const OUTLIER_SLACK: Nanos = nanos(Duration::from_millis(100));

/// How far one long round trip moves the usual one at most, times eight.
const USUAL_STEP: Nanos = nanos(Duration::from_millis(10));

/// Doublings after which the RTO is past every bound, so that it cannot overflow.
const BACKOFF_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn the_rto_follows_rfc_6298_within_its_bounds() {
        let mut retransmit = Retransmit::default();
        assert_eq!(retransmit.rto(|| None), RTO_INITIAL);
        retransmit.sample(400 * MILLISECOND);
        assert_eq!(retransmit.rto(|| None), 1200 * MILLISECOND);
        retransmit.sample(200 * MILLISECOND);
        assert_eq!(retransmit.srtt(), Some(375 * MILLISECOND));
        assert_eq!(retransmit.rto(|| None), 1175 * MILLISECOND);
        for _ in 0..60 {
            retransmit.sample(MILLISECOND);
        }
        assert_eq!(retransmit.rto(|| None), RTO_MIN);
    }

    #[test]
    fn a_long_and_even_path_has_a_margin() {
        let mut retransmit = Retransmit::default();
        (0..100).for_each(|_| retransmit.sample(400 * MILLISECOND));
        assert_eq!(retransmit.rto(|| None), 450 * MILLISECOND);
    }

    #[test]
    fn a_proven_loss_lowers_the_bound_and_a_busy_client_does_not() {
        let mut retransmit = Retransmit::default();
        retransmit.repeat_answered(Duration::ZERO);
        assert_eq!(retransmit.rto(|| None), RTO_INITIAL);
        retransmit.sample(MILLISECOND);
        retransmit.repeat_answered(3 * MILLISECOND);
        assert_eq!(retransmit.rto(|| None), RTO_MIN);
        retransmit.repeat_answered(2 * MILLISECOND);
        assert_eq!(retransmit.rto(|| None), RTO_MIN_LOSSY);
        retransmit.sample(101 * MILLISECOND);
        assert!(
            retransmit.rto(|| None) > RTO_MIN_LOSSY,
            "the round trip decides"
        );
    }

    #[test]
    fn silence_doubles_the_rto_up_to_what_was_agreed() {
        let agreed = Some(Duration::from_secs(3));
        let mut retransmit = Retransmit::default();
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(retransmit.rto(|| agreed).as_secs());
            retransmit.back_off();
        }
        assert_eq!(seen, [1, 2, 3, 3]);
        retransmit.restart();
        assert_eq!(retransmit.rto(|| agreed), RTO_INITIAL);
    }
}
