//! How much may be under way at once: less while many packets get lost.
//!
//! A window cannot shrink once it is agreed, and the windows of all who run can be more than a small
//! buffer on the way holds. So the loss among what was sent lately decides what the next ones are
//! granted. Where nothing gets lost, everybody gets what it asks for.
//!
//! Even one block for each slot can be too much. Then whoever is answered fills the buffer again before
//! one whose packet was lost gets through, and that one may never. So some slots stay empty, but only
//! while those who lost a packet also lose its repeats: what is lost by chance comes through the second
//! time, and would be lost with fewer slots as well.

/// Watches losses, and bounds windows and slots.
#[derive(Debug)]
pub(super) struct Congestion {
    slots: u64,
    /// Blocks that all who run may have under way together.
    budget: u64,
    most: u64,
    /// Packets since the last judgement, and how many of them were repeats.
    sent: u64,
    repeated: u64,
    /// Clients that went on after a timeout, and how many of them after more than one; older ones count
    /// half with each judgement. Whoever is gone counts in neither.
    recovered: u64,
    recovered_late: u64,
}

impl Congestion {
    pub(super) fn new(slots: usize) -> Congestion {
        let slots = u64::try_from(slots).unwrap_or(u64::MAX);
        let most = slots.saturating_mul(u16::MAX.into());
        Congestion {
            slots,
            budget: most,
            most,
            sent: 0,
            repeated: 0,
            recovered: 0,
            recovered_late: 0,
        }
    }

    /// So many packets left, some of them not for the first time.
    pub(super) fn sent(&mut self, packets: u64, repeated: u64) {
        self.sent += packets;
        self.repeated += repeated;
        if self.sent >= JUDGED_OVER {
            self.judge();
        }
    }

    /// A client made progress after so many timeouts in a row.
    pub(super) fn recovered(&mut self, timeouts: u8) {
        self.recovered += u64::from(timeouts >= 1);
        self.recovered_late += u64::from(timeouts >= 2);
    }

    fn judge(&mut self) {
        let loses = self.repeated * 100 > self.sent * REPEATS_MAX_PERCENT;
        self.budget = if loses {
            let usual = self.slots.saturating_mul(WINDOW_USUAL);
            let least = if self.loses_repeats() {
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
        self.recovered /= 2;
        self.recovered_late /= 2;
    }

    fn loses_repeats(&self) -> bool {
        self.recovered >= RECOVERED_MIN
            && self.recovered_late * 100 >= self.recovered * LATE_MIN_PERCENT
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

/// Of those who lose a packet by chance, where one in ten is lost each way, a fifth lose its repeat too.
const LATE_MIN_PERCENT: u64 = 25;

/// Fewer recoveries tell nothing.
const RECOVERED_MIN: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_lower_the_windows_and_their_absence_raises_them() {
        let mut congestion = Congestion::new(32);
        assert_eq!(congestion.max_windowsize(32), u16::MAX);
        congestion.sent(JUDGED_OVER, 10);
        assert_eq!(congestion.max_windowsize(32), u16::MAX, "2 % is borne");
        congestion.sent(JUDGED_OVER - 1, 11);
        assert_eq!(congestion.max_windowsize(32), u16::MAX, "not judged yet");
        congestion.sent(1, 0);
        let windows = [32, 1].map(|running| congestion.max_windowsize(running));
        assert_eq!(windows, [2, 64]);
        for _ in 0..5 {
            congestion.sent(JUDGED_OVER, JUDGED_OVER);
        }
        let windows = [32, 0].map(|running| congestion.max_windowsize(running));
        assert_eq!(windows, [1, 32], "never none");
        assert_eq!(congestion.max_running(), 32);
        for _ in 0..200 {
            congestion.sent(JUDGED_OVER, 0);
        }
        assert_eq!(congestion.max_windowsize(32), u16::MAX);
    }

    #[test]
    fn lost_repeats_lower_the_slots_and_chance_does_not() {
        let lossy = |late: usize| {
            let mut congestion = Congestion::new(32);
            let judgements = (0..5).map(|_| {
                (0..10).for_each(|place| congestion.recovered(if place < late { 2 } else { 1 }));
                congestion.sent(JUDGED_OVER, JUDGED_OVER / 10);
                congestion.max_running()
            });
            (Vec::from_iter(judgements), congestion)
        };
        let (running, mut congestion) = lossy(5);
        assert_eq!(running, [32, 32, 16, 8, 8]);
        for _ in 0..30 {
            congestion.sent(JUDGED_OVER, 0);
        }
        assert_eq!(congestion.max_running(), 32);
        assert_eq!(lossy(2).0, [32; 5]);
        assert_eq!(lossy(0).0, [32; 5]);
    }

    #[test]
    fn any_number_of_slots_is_borne() {
        let mut congestion = Congestion::new(usize::MAX);
        congestion.recovered(u8::MAX);
        congestion.sent(JUDGED_OVER, JUDGED_OVER);
        congestion.sent(JUDGED_OVER, 0);
        assert!(congestion.max_windowsize(usize::MAX) >= 1);
        assert_eq!(Congestion::new(1).max_windowsize(usize::MAX), 1);
    }
}
