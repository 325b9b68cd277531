//! How much may be under way at once: less while many packets get lost.
//!
//! A window cannot shrink once it is agreed, and the windows of all who run can be more than a small
//! buffer on the way holds. So the loss among what was sent lately decides what the next ones are
//! granted. Where nothing gets lost, everybody gets what it asks for.
//!
//! Even one block for each slot can be too much. Then whoever is answered fills the buffer again before
//! one whose packet was lost gets through, and that one may never. So some slots stay empty, but only
//! while round trips also show that packets queue on the way: what gets lost by chance would be lost with
//! fewer slots as well, and a queue means that fewer slots leave no link idle.

use std::time::Duration;

use crate::moment::Moment;

/// Watches losses and round trips, and bounds windows and slots.
#[derive(Debug)]
pub(super) struct Congestion {
    slots: u64,
    /// Blocks that all who run may have under way together.
    budget: u64,
    most: u64,
    /// Packets since the last judgement, and how many of them were repeats.
    sent: u64,
    repeated: u64,
    /// Round trips of those who were sent them, in microseconds, and how many were added up.
    round_trips: u64,
    counted: u64,
    /// The shortest round trip of this while and of the one before, and when this one began.
    shortest: Duration,
    shortest_before: Duration,
    since: Moment,
}

impl Congestion {
    pub(super) fn new(now: Moment, slots: usize) -> Congestion {
        let slots = u64::try_from(slots).unwrap_or(u64::MAX);
        let most = slots.saturating_mul(u16::MAX.into());
        Congestion {
            slots,
            budget: most,
            most,
            sent: 0,
            repeated: 0,
            round_trips: 0,
            counted: 0,
            shortest: Duration::MAX,
            shortest_before: Duration::MAX,
            since: now,
        }
    }

    /// So many packets left for one client, some of them not for the first time; `round_trip` is its
    /// usual one, once something was measured.
    pub(super) fn sent(
        &mut self,
        now: Moment,
        packets: u64,
        repeated: u64,
        round_trip: Option<Duration>,
    ) {
        self.sent += packets;
        self.repeated += repeated;
        if let Some(round_trip) = round_trip {
            self.shortest = self.shortest.min(round_trip);
            let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
            self.round_trips = self.round_trips.saturating_add(micros);
            self.counted += 1;
        }
        if self.sent >= JUDGED_OVER {
            self.judge();
        }
        if now.since(self.since) >= SHORTEST_OVER {
            self.shortest_before = std::mem::replace(&mut self.shortest, Duration::MAX);
            self.since = now;
        }
    }

    fn judge(&mut self) {
        let loses = self.repeated * 100 > self.sent * REPEATS_MAX_PERCENT;
        self.budget = if loses {
            let usual = self.slots.saturating_mul(WINDOW_USUAL);
            let least = if self.is_queueing() {
                self.slots.div_ceil(SLOTS_KEPT)
            } else {
                self.slots
            };
            (self.budget.min(usual) / 2).max(least)
        } else {
            self.budget
                .saturating_add(self.budget / 10 + 1)
                .min(self.most)
        };
        (self.sent, self.repeated) = (0, 0);
        (self.round_trips, self.counted) = (0, 0);
    }

    /// Round trips are several times what they are on an empty path.
    fn is_queueing(&self) -> bool {
        let shortest = self.shortest.min(self.shortest_before);
        let mean = self.round_trips.checked_div(self.counted);
        // The shortest may be forgotten already, and then it is longer than any.
        let queueing = shortest.saturating_mul(QUEUE_FACTOR);
        mean.is_some_and(|mean| Duration::from_micros(mean) >= queueing)
    }

    /// The largest window for one more client beside so many that run.
    pub(super) fn max_windowsize(&self, running: usize) -> u16 {
        let running = u64::try_from(running).unwrap_or(u64::MAX);
        let each = self.budget / running.max(1);
        u16::try_from(each.max(1)).unwrap_or(u16::MAX)
    }

    /// How many may run, small files apart.
    pub(super) fn max_running(&self) -> usize {
        usize::try_from(self.budget.min(self.slots)).unwrap_or(usize::MAX)
    }
}

/// Packets after which the losses among them are judged.
const JUDGED_OVER: u64 = 500;

/// More repeats than that among them mean that too much is under way.
const REPEATS_MAX_PERCENT: u64 = 2;

/// The window that most firmware asks for, if it asks for one: the first step down begins here.
const WINDOW_USUAL: u64 = 4;

/// One slot in so many is never taken away.
const SLOTS_KEPT: u64 = 4;

/// A round trip that is so many times the shortest was spent in queues.
const QUEUE_FACTOR: u32 = 4;

/// For how long at least a short round trip is remembered: paths change.
const SHORTEST_OVER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Option<Duration> = Some(Duration::from_micros(100));
    const LONG: Option<Duration> = Some(Duration::from_micros(500));

    fn congestion(slots: usize) -> Congestion {
        Congestion::new(Moment::START, slots)
    }

    #[test]
    fn losses_lower_the_windows_and_their_absence_raises_them() {
        let now = Moment::START;
        let mut congestion = congestion(32);
        assert_eq!(congestion.max_windowsize(32), u16::MAX);
        congestion.sent(now, JUDGED_OVER, 10, SHORT);
        assert_eq!(congestion.max_windowsize(32), u16::MAX, "2 % is borne");
        congestion.sent(now, JUDGED_OVER - 1, 11, SHORT);
        assert_eq!(congestion.max_windowsize(32), u16::MAX, "not judged yet");
        congestion.sent(now, 1, 0, SHORT);
        let windows = [32, 1].map(|running| congestion.max_windowsize(running));
        assert_eq!(windows, [2, 64]);
        for _ in 0..5 {
            congestion.sent(now, JUDGED_OVER, JUDGED_OVER, SHORT);
        }
        let windows = [32, 0].map(|running| congestion.max_windowsize(running));
        assert_eq!(windows, [1, 32], "never none");
        assert_eq!(congestion.max_running(), 32, "lost by chance");
        for _ in 0..200 {
            congestion.sent(now, JUDGED_OVER, 0, LONG);
        }
        assert_eq!(congestion.max_windowsize(32), u16::MAX);
    }

    #[test]
    fn a_shortest_round_trip_that_was_forgotten_is_no_sign_of_a_queue() {
        let mut congestion = congestion(32);
        congestion.sent(Moment::START, 1, 0, LONG);
        for minute in 1..=3 {
            congestion.sent(Moment::START + minute * SHORTEST_OVER, 1, 0, None);
        }
        congestion.sent(Moment::START + 4 * SHORTEST_OVER, JUDGED_OVER, 100, None);
        assert_eq!(congestion.max_running(), 32);
    }

    #[test]
    fn losses_in_a_queue_lower_the_slots_too() {
        let now = Moment::START;
        let mut congestion = congestion(32);
        congestion.sent(now, 1, 0, SHORT);
        for running in [32, 32, 16, 8, 8] {
            congestion.sent(now, JUDGED_OVER, JUDGED_OVER / 10, LONG);
            assert_eq!(congestion.max_running(), running);
        }
        for _ in 0..30 {
            congestion.sent(now, JUDGED_OVER, 0, LONG);
        }
        assert_eq!(congestion.max_running(), 32);
        // A path that has grown longer is no queue, once the shorter one is forgotten.
        let later = now + 2 * SHORTEST_OVER;
        congestion.sent(now + SHORTEST_OVER, 1, 0, LONG);
        congestion.sent(later, 1, 0, LONG);
        for _ in 0..10 {
            congestion.sent(later, JUDGED_OVER, JUDGED_OVER / 10, LONG);
        }
        assert_eq!(congestion.max_running(), 32);
    }

    #[test]
    fn any_number_of_slots_is_borne() {
        let mut congestion = congestion(usize::MAX);
        congestion.sent(Moment::START, JUDGED_OVER, JUDGED_OVER, None);
        congestion.sent(Moment::START, JUDGED_OVER, 0, Some(Duration::MAX));
        assert!(congestion.max_windowsize(usize::MAX) >= 1);
        assert_eq!(
            Congestion::new(Moment::START, 1).max_windowsize(usize::MAX),
            1
        );
    }
}
