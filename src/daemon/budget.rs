//! How many lines of a kind the log writes in a second.

use std::time::Duration;

use crate::moment::Moment;

/// How many lines of a kind are written, so that a flood of them fills no disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rate {
    /// Something is wrong.
    Warning,
    /// A transfer came to its end.
    Transfer,
    /// Brought about by an address that never acknowledged anything: anybody can forge a request.
    Unvalidated,
    /// Detail that `-v` asks for.
    Detail,
    /// It cannot be brought about from the network.
    Unlimited,
}

impl Rate {
    /// Of each kind but the last: enough to see what goes wrong; faster than any real boot storm ends transfers; enough
    /// for a boot storm, and to find one machine in a flood.
    pub(super) const LINES_PER_SECOND: [u32; 4] = [20, 2000, 20, 1000];
}

/// A number of lines a second, and how many were suppressed.
#[derive(Debug)]
pub(super) struct Budget {
    per_second: u32,
    left: u32,
    second: Moment,
    /// How many were suppressed since the last line.
    pub(super) suppressed: u64,
}

impl Budget {
    pub(super) fn new(now: Moment, per_second: u32) -> Budget {
        Budget {
            per_second,
            left: per_second,
            second: now,
            suppressed: 0,
        }
    }

    /// Takes one line and returns how many were suppressed before it; `None` if this one is, too.
    pub(super) fn take(&mut self, now: Moment) -> Option<u64> {
        if now.since(self.second) >= Duration::from_secs(1) {
            self.second = now;
            self.left = self.per_second;
        }
        if self.left == 0 {
            self.suppressed += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_lets_a_number_through_each_second_and_counts_the_others() {
        let second = Duration::from_secs(1);
        let mut budget = Budget::new(Moment::START, 2);
        let taken: Vec<_> = (0..5).map(|_| budget.take(Moment::START)).collect();
        assert_eq!(taken, [Some(0), Some(0), None, None, None]);
        assert_eq!(budget.take(Moment::START + second), Some(3));
        assert_eq!(budget.take(Moment::START + second), Some(0));
    }
}
