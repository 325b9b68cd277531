//! How large a window a new transfer may have: smaller while many packets get lost.
//!
//! A window cannot shrink once it is agreed, and the windows of all who run can be more than a small
//! buffer on the way holds. So the loss among what was sent lately decides what the next ones are
//! granted. Where nothing gets lost, everybody gets what it asks for.

/// Watches the losses and bounds windows.
#[derive(Debug)]
pub(super) struct Windows {
    slots: u64,
    /// Blocks that all who run may have under way together.
    budget: u64,
    most: u64,
    /// Packets since the last judgement, and how many of them were repeats.
    sent: u64,
    repeated: u64,
}

impl Windows {
    pub(super) fn new(slots: usize) -> Windows {
        let slots = u64::try_from(slots).unwrap_or(u64::MAX);
        let most = slots.saturating_mul(u16::MAX.into());
        Windows {
            slots,
            budget: most,
            most,
            sent: 0,
            repeated: 0,
        }
    }

    /// So many packets left, some of them not for the first time.
    pub(super) fn sent(&mut self, packets: u64, repeated: u64) {
        self.sent += packets;
        self.repeated += repeated;
        if self.sent < JUDGED_OVER {
            return;
        }
        self.budget = if self.repeated * 100 > self.sent * REPEATS_MAX_PERCENT {
            let usual = self.slots.saturating_mul(WINDOW_USUAL);
            (self.budget.min(usual) / 2).max(self.slots)
        } else {
            self.budget
                .saturating_add(self.budget / 10 + 1)
                .min(self.most)
        };
        (self.sent, self.repeated) = (0, 0);
    }

    /// The largest window for one more client beside so many that run.
    pub(super) fn most(&self, running: usize) -> u16 {
        let running = u64::try_from(running).unwrap_or(u64::MAX);
        let each = self.budget / running.max(1);
        u16::try_from(each.max(1)).unwrap_or(u16::MAX)
    }
}

/// Packets after which the losses among them are judged.
const JUDGED_OVER: u64 = 500;

/// More repeats than that among them mean that too much is under way.
const REPEATS_MAX_PERCENT: u64 = 2;

/// The window that most firmware asks for, if it asks for one: the first step down begins here.
const WINDOW_USUAL: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_lower_the_windows_and_their_absence_raises_them() {
        let mut windows = Windows::new(32);
        assert_eq!(windows.most(32), u16::MAX);
        windows.sent(JUDGED_OVER, 10);
        assert_eq!(windows.most(32), u16::MAX, "2 % is borne");
        windows.sent(JUDGED_OVER - 1, 11);
        assert_eq!(windows.most(32), u16::MAX, "not judged yet");
        windows.sent(1, 0);
        assert_eq!((windows.most(32), windows.most(1)), (2, 64));
        for _ in 0..5 {
            windows.sent(JUDGED_OVER, JUDGED_OVER);
        }
        assert_eq!((windows.most(32), windows.most(0)), (1, 32), "never none");
        for _ in 0..200 {
            windows.sent(JUDGED_OVER, 0);
        }
        assert_eq!(windows.most(32), u16::MAX);
    }

    #[test]
    fn any_number_of_slots_is_borne() {
        let mut windows = Windows::new(usize::MAX);
        windows.sent(JUDGED_OVER, JUDGED_OVER);
        windows.sent(JUDGED_OVER, 0);
        assert!(windows.most(usize::MAX) >= 1);
        assert_eq!(Windows::new(1).most(usize::MAX), 1);
    }
}
