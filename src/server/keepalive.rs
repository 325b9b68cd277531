//! How often those who are held get a block: often enough to stay alive, and as far as that allows, together
//! no more than a share of what the server sends.

use std::time::Duration;

use crate::moment::Moment;

/// Measures the output and says how long a held client waits between two blocks.
#[derive(Debug)]
pub(super) struct Keepalive {
    share_percent: u8,
    /// Bytes sent since `since`, and the smoothed rate before that, in bytes a second.
    sent: u64,
    since: Moment,
    rate: u64,
    /// Bytes of one round in which each held client is sent something once.
    round: u64,
    /// Spreads those who are held at the same time.
    spread: u64,
}

impl Keepalive {
    pub(super) fn new(now: Moment, share_percent: u8) -> Keepalive {
        Keepalive {
            share_percent,
            sent: 0,
            since: now,
            rate: 0,
            round: 0,
            spread: 0,
        }
    }

    /// These bytes left.
    pub(super) fn sent(&mut self, now: Moment, bytes: u64) {
        self.sent += bytes;
        if self.since + MEASURED_OVER <= now {
            let span = now.since(self.since);
            let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
            let rate = self.sent.saturating_mul(1_000_000) / micros;
            self.rate = if span > 4 * MEASURED_OVER {
                rate
            } else {
                (self.rate + rate) / 2
            };
            self.sent = 0;
            self.since = now;
        }
    }

    /// One more client is held, who gets `bytes` in a round.
    pub(super) fn add(&mut self, bytes: u64) {
        self.round += bytes;
    }

    /// A client who got `bytes` in a round is held no longer.
    pub(super) fn remove(&mut self, bytes: u64) {
        self.round -= bytes;
    }

    /// Time from one block of a held client to the next.
    pub(super) fn interval(&self) -> Duration {
        let bytes_a_second = self.rate * u64::from(self.share_percent) / 100;
        let micros = self
            .round
            .saturating_mul(1_000_000)
            .checked_div(bytes_a_second);
        Duration::from_micros(micros.unwrap_or(u64::MAX)).clamp(INTERVAL_MIN, INTERVAL_MAX)
    }

    /// A part of the interval, another one for each caller, evenly spread.
    pub(super) fn first_interval(&mut self) -> Duration {
        self.spread = self.spread.wrapping_add(GOLDEN_SECTION);
        let thousandth = u32::try_from(self.spread >> 32).unwrap_or(0) / (u32::MAX / 1000);
        self.interval() * thousandth / 1000
    }
}

/// No firmware needs more, and some die of 5 s without a block.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(4);

/// The output is measured over this time at least.
const MEASURED_OVER: Duration = Duration::from_millis(250);

/// 2^64 divided by the golden ratio: its multiples are spread evenly, however many there are.
const GOLDEN_SECTION: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_keeps_the_share_within_its_bounds() {
        let mut keepalive = Keepalive::new(Moment::START, 10);
        assert_eq!(keepalive.interval(), INTERVAL_MAX);
        // 10 MB/s: a tenth feeds 2,000 clients with 1,000 bytes every 2 s.
        for quarter in 1..40 {
            let now = Moment::from_micros(quarter * 250_000);
            keepalive.sent(now, 2_500_000);
        }
        assert_eq!(keepalive.interval(), INTERVAL_MIN);
        (0..2000).for_each(|_| keepalive.add(1000));
        assert_eq!(keepalive.interval().as_millis(), 2000);
        (0..8000).for_each(|_| keepalive.add(1000));
        assert_eq!(keepalive.interval(), INTERVAL_MAX);
        (0..10_000).for_each(|_| keepalive.remove(1000));
        assert_eq!(keepalive.interval(), INTERVAL_MIN);
    }

    #[test]
    fn parts_are_spread_over_the_span() {
        let mut keepalive = Keepalive::new(Moment::START, 10);
        let mut parts: Vec<_> = (0..100).map(|_| keepalive.first_interval()).collect();
        parts.sort();
        let widest = parts.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(widest < Some(INTERVAL_MAX / 50), "{widest:?}");
        assert!(parts.iter().all(|&part| part <= INTERVAL_MAX));
    }
}
