//! How much may be under way at once: less while many packets get lost.
//!
//! A window cannot shrink once it is agreed, and the windows of all who run can be more than a small
//! buffer on the way holds. So the loss among what was sent lately decides what the next ones are
//! granted. Where nothing gets lost, everybody gets what it asks for; what got lost is forgotten after some
//! seconds, and one client alone changes nothing.
//!
//! Even one block for each slot can be too much. Then a client that is answered fills the buffer again before
//! one whose packet was lost gets through, and that one may never. So some slots stay empty, but only
//! while those who lost a packet also lose its repeats: what is lost by chance comes through the second
//! time, and would be lost with fewer slots as well.

use std::time::Duration;

use crate::moment::Moment;

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
    /// How many judgements there were, when the last was, and when one last found that packets get lost.
    judgements: u32,
    judged_at: Moment,
    lossy_at: Moment,
    /// Clients that went on after a timeout, and how many of them after more than one; older ones count
    /// half with each judgement. A client that is gone counts in neither.
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
            judgements: 0,
            judged_at: Moment::START,
            lossy_at: Moment::START,
            recovered: 0,
            recovered_late: 0,
        }
    }

    /// `packets` left for one client, `repeated` of them not for the first time.
    pub(super) fn sent(&mut self, now: Moment, packets: u64, repeated: u64, share: &mut Share) {
        if share.judgement != self.judgements {
            share.judgement = self.judgements;
            share.repeated = 0;
        }
        let repeated = u32::try_from(repeated).unwrap_or(u32::MAX);
        let repeated = repeated.min(REPEATS_OF_ONE - share.repeated);
        share.repeated += repeated;
        self.sent += packets;
        self.repeated += u64::from(repeated);
        if self.sent >= JUDGED_OVER {
            self.judge(now);
        }
    }

    /// Forgets what is long ago. Called in every turn.
    pub(super) fn forget(&mut self, now: Moment) {
        if self.lossy_at + FORGOTTEN_AFTER <= now {
            self.budget = self.most;
        }
        if self.judged_at + FORGOTTEN_AFTER <= now {
            self.start_judgement(now);
        }
    }

    /// A client made progress after `timeouts` timeouts in a row.
    pub(super) fn recovered(&mut self, timeouts: u8) {
        self.recovered += u64::from(timeouts >= 1);
        self.recovered_late += u64::from(timeouts >= 2);
    }

    fn judge(&mut self, now: Moment) {
        let loses = self.repeated * 100 > self.sent * REPEATS_MAX_PERCENT;
        self.budget = if loses {
            self.lossy_at = now;
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
        self.start_judgement(now);
    }

    fn start_judgement(&mut self, now: Moment) {
        self.judgements = self.judgements.wrapping_add(1);
        self.judged_at = now;
        (self.sent, self.repeated) = (0, 0);
        self.recovered /= 2;
        self.recovered_late /= 2;
    }

    fn loses_repeats(&self) -> bool {
        self.recovered >= RECOVERED_MIN
            && self.recovered_late * 100 >= self.recovered * LATE_MIN_PERCENT
    }

    /// The largest window for one more client beside this many that run.
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

/// What one client has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    judgement: u32,
    repeated: u32,
}

/// Packets after which the losses among them are judged.
const JUDGED_OVER: u64 = 500;

/// More repeats than that among them mean that too much is under way.
const REPEATS_MAX_PERCENT: u64 = 2;

/// Repeats that one client counts in a judgement at most: it may have a small receive ring, or a bad cable,
/// and so may another, but it takes three to be too many.
const REPEATS_OF_ONE: u32 = 5;

/// After so long without too many losses they are forgotten, and so is what was sent meanwhile if it was too
/// little to be judged. A link of 10 Mbit/s that is full is judged every 0.6 s.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// The window that most firmware asks for, if it asks for one: the first step down begins here.
const WINDOW_USUAL: u64 = 4;

/// One slot in this many is never taken away.
const SLOTS_KEPT: u64 = 4;

/// Of those who lose a packet by chance, where one in ten is lost each way, a fifth lose its repeat too.
const LATE_MIN_PERCENT: u64 = 25;

/// Fewer recoveries show nothing.
const RECOVERED_MIN: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// As many clients as it takes send this, each the same.
    fn send(congestion: &mut Congestion, packets: u64, repeated: u64) {
        send_at(congestion, Moment::START, packets, repeated);
    }

    fn send_at(congestion: &mut Congestion, now: Moment, packets: u64, repeated: u64) {
        for _ in 0..repeated {
            congestion.sent(now, 1, 1, &mut Share::default());
        }
        congestion.sent(now, packets - repeated, 0, &mut Share::default());
    }

    #[test]
    fn losses_lower_the_windows_and_their_absence_raises_them() {
        let mut congestion = Congestion::new(32);
        assert_eq!(congestion.max_windowsize(32), u16::MAX);
        send(&mut congestion, JUDGED_OVER, 10);
        assert_eq!(congestion.max_windowsize(32), u16::MAX, "2 % is borne");
        send(&mut congestion, JUDGED_OVER - 1, 11);
        assert_eq!(congestion.max_windowsize(32), u16::MAX, "not judged yet");
        send(&mut congestion, 1, 0);
        let windows = [32, 1].map(|running| congestion.max_windowsize(running));
        assert_eq!(windows, [2, 64]);
        for _ in 0..5 {
            send(&mut congestion, JUDGED_OVER, JUDGED_OVER);
        }
        let windows = [32, 0].map(|running| congestion.max_windowsize(running));
        assert_eq!(windows, [1, 32], "never none");
        assert_eq!(congestion.max_running(), 32);
        for _ in 0..200 {
            send(&mut congestion, JUDGED_OVER, 0);
        }
        assert_eq!(congestion.max_windowsize(32), u16::MAX);
    }

    #[test]
    fn lost_repeats_lower_the_slots_and_chance_does_not() {
        let lossy = |late: usize| {
            let mut congestion = Congestion::new(32);
            let judgements = (0..5).map(|_| {
                (0..10).for_each(|place| congestion.recovered(if place < late { 2 } else { 1 }));
                send(&mut congestion, JUDGED_OVER, JUDGED_OVER / 10);
                congestion.max_running()
            });
            (Vec::from_iter(judgements), congestion)
        };
        let (running, mut congestion) = lossy(5);
        assert_eq!(running, [32, 32, 16, 8, 8]);
        for _ in 0..30 {
            send(&mut congestion, JUDGED_OVER, 0);
        }
        assert_eq!(congestion.max_running(), 32);
        assert_eq!(lossy(2).0, [32; 5]);
        assert_eq!(lossy(0).0, [32; 5]);
    }

    #[test]
    fn any_number_of_slots_is_borne() {
        let mut congestion = Congestion::new(usize::MAX);
        congestion.recovered(u8::MAX);
        send(&mut congestion, JUDGED_OVER, JUDGED_OVER);
        send(&mut congestion, JUDGED_OVER, 0);
        assert!(congestion.max_windowsize(usize::MAX) >= 1);
        assert_eq!(Congestion::new(1).max_windowsize(usize::MAX), 1);
    }

    #[test]
    fn losses_are_forgotten_after_some_seconds() {
        let mut congestion = Congestion::new(32);
        send(&mut congestion, JUDGED_OVER, JUDGED_OVER);
        congestion.forget(Moment::START + FORGOTTEN_AFTER / 2);
        assert_eq!(congestion.max_windowsize(32), 2);
        congestion.forget(Moment::START + FORGOTTEN_AFTER);
        assert_eq!(congestion.max_windowsize(32), u16::MAX);
        // Nor is a little that was sent then judged with what is sent much later.
        send_at(&mut congestion, Moment::START, JUDGED_OVER / 2, 20);
        let later = Moment::START + 3 * FORGOTTEN_AFTER;
        congestion.forget(later);
        send_at(&mut congestion, later, JUDGED_OVER, 0);
        assert_eq!(congestion.max_windowsize(32), u16::MAX);
    }

    #[test]
    fn what_one_client_loses_lowers_nobody_elses_window() {
        for (clients, expected) in [(1, u16::MAX), (2, u16::MAX), (3, 2)] {
            let mut congestion = Congestion::new(32);
            let mut shares = vec![Share::default(); clients];
            for number in 0..10 * usize::try_from(JUDGED_OVER).unwrap_or(1) {
                let is_lost = u64::from(number % 4 < 3);
                congestion.sent(Moment::START, 1, is_lost, &mut shares[number % clients]);
                if congestion.judgements == 1 {
                    break;
                }
            }
            assert_eq!(congestion.max_windowsize(32), expected, "{clients}");
        }
    }
}
