//! Bursts that a small receive ring bears.
//!
//! Some clients ask for windows of 64 or 16 blocks and have a ring of 8 or 4 frames: what comes at once
//! beyond that is lost, in each window at the same place. They acknowledge a window only when it is whole, so
//! it must not be cut short; it leaves in bursts of that size with a pause after each. What a busy network
//! drops can look the same, so a ring is forgotten after some seconds. Nothing here knows blocks.

use std::num::NonZero;
use std::time::Duration;

use crate::moment::Moment;

/// How the windows of one transfer leave.
#[derive(Clone, Debug)]
pub(super) struct Pacing {
    /// After how many blocks the last window was lost, and how many in a row at this place.
    place: u16,
    same: u8,
    /// How many were lost since one arrived whole, the worst of them after this many blocks.
    lost: u8,
    least: u16,
    /// How many it takes to believe in a ring.
    convincing: u8,
    /// `None` where windows leave whole.
    ring: Option<Ring>,
    /// For how long a ring is believed in the next time.
    believed_for: Duration,
    /// Blocks that have left since the client was heard.
    sent: u16,
    /// When the next burst may leave, while there is a pause.
    resumes_at: Option<Moment>,
}

/// A receive ring that is smaller than the window.
#[derive(Clone, Copy, Debug)]
struct Ring {
    /// Blocks that it bears.
    burst: NonZero<u16>,
    pause: Duration,
    believed_until: Moment,
}

impl Default for Pacing {
    fn default() -> Pacing {
        Pacing {
            place: 0,
            same: 0,
            lost: 0,
            least: u16::MAX,
            convincing: CONVINCING,
            ring: None,
            believed_for: BELIEVED_FOR,
            sent: 0,
            resumes_at: None,
        }
    }
}

impl Pacing {
    /// How many blocks may leave now.
    pub(super) fn room(&self) -> u16 {
        match (self.ring, self.resumes_at) {
            (None, _) => u16::MAX,
            (Some(_), Some(_)) => 0,
            (Some(Ring { burst, .. }), None) => burst.get() - self.sent % burst,
        }
    }

    /// So many blocks left, and the window has more if `goes_on`.
    pub(super) fn sent(&mut self, now: Moment, blocks: u16, goes_on: bool) {
        self.sent = self.sent.saturating_add(blocks);
        if let Some(Ring { burst, pause, .. }) = self.ring
            && self.sent % burst == 0
        {
            self.resumes_at = goes_on.then(|| now + pause);
        }
    }

    pub(super) fn resumes_at(&self) -> Option<Moment> {
        self.resumes_at
    }

    /// A burst has left since the client was heard: what follows is the rest of its window.
    pub(super) fn is_within_window(&self) -> bool {
        self.ring.is_some_and(|ring| ring.burst.get() <= self.sent)
    }

    /// Ends the pause if it is over. Returns whether it ended.
    pub(super) fn resume(&mut self, now: Moment) -> bool {
        self.resumes_at.take_if(|at| *at <= now).is_some()
    }

    /// The client was heard, or not for too long: its ring is empty.
    pub(super) fn restart(&mut self) {
        self.sent = 0;
        self.resumes_at = None;
    }

    /// A window arrived whole.
    pub(super) fn arrived(&mut self, now: Moment) {
        self.forget_losses();
        match self.ring {
            None => self.believed_for = BELIEVED_FOR,
            Some(ring) if ring.believed_until <= now => {
                self.ring = None;
                // If the ring is there, the very next window shows it.
                (self.place, self.same) = (ring.burst.get(), self.convincing - 1);
            }
            Some(_) => {}
        }
    }

    fn forget_losses(&mut self) {
        (self.same, self.lost, self.least) = (0, 0, u16::MAX);
    }

    /// A window was lost after this many blocks.
    pub(super) fn lost_after(&mut self, now: Moment, blocks: u16) {
        let is_same = blocks.abs_diff(self.place) <= 1 + self.place / 16;
        self.same = if is_same {
            self.same.saturating_add(1)
        } else {
            1
        };
        self.lost = self.lost.saturating_add(1);
        self.place = blocks;
        self.least = self.least.min(blocks);
        if let Some(ring) = &mut self.ring {
            // The ring was not empty yet; or there is none, and bursts are of no use.
            ring.pause = (2 * ring.pause).min(PAUSE_MAX);
            if self.lost >= CONVINCING {
                self.ring = None;
                self.convincing = self.convincing.saturating_mul(2);
                self.forget_losses();
            }
        } else if self.same >= self.convincing
            || self.lost >= self.convincing.saturating_mul(ANYWHERE)
        {
            self.ring = NonZero::new(self.least).map(|burst| Ring {
                burst,
                pause: PAUSE_MIN,
                believed_until: now + self.believed_for,
            });
            self.believed_for = self.believed_for.saturating_mul(2);
            self.forget_losses();
        }
    }
}

/// Windows lost in a row at the same place: by chance that is rare.
const CONVINCING: u8 = 3;

/// It takes this many times more at different places: a client that keeps blocks which came too early asks for
/// the first that is missing.
const ANYWHERE: u8 = 3;

/// Firmware has emptied its ring by then, and the timers cannot tell less apart.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// With a ring of 4, a window of 64 takes 0.3 s: no firmware asks again before.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// How long a ring is believed in; twice as long each time that it is still there. To find that out costs a
/// window and, where the client does not complain of a gap, a second. With 5 s, one of 200 storms through a
/// buffer of 32 KiB took 18 % longer than its bytes need; with 2 s, none of 300 did.
const BELIEVED_FOR: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn lose(pacing: &mut Pacing, places: &[u16]) {
        let now = Moment::START;
        places
            .iter()
            .for_each(|&place| pacing.lost_after(now, place));
    }

    fn pause(pacing: &Pacing) -> Duration {
        pacing.ring.expect("it is believed in").pause
    }

    #[test]
    fn three_windows_in_a_row_that_are_lost_at_one_place_show_a_ring() {
        for (places, room) in [
            (&[8, 8][..], u16::MAX),
            (&[8, 8, 8], 8),
            (&[9, 8, 9], 8),
            (&[8, 20, 8, 8], u16::MAX),
            (&[40, 11, 2, 33], u16::MAX),
        ] {
            let mut pacing = Pacing::default();
            lose(&mut pacing, places);
            assert_eq!(pacing.room(), room, "{places:?}");
        }
        let mut pacing = Pacing::default();
        lose(&mut pacing, &[8, 8]);
        pacing.arrived(Moment::START);
        lose(&mut pacing, &[8]);
        assert_eq!(pacing.room(), u16::MAX, "one came whole between them");
    }

    #[test]
    fn a_burst_is_followed_by_a_pause() {
        let mut pacing = Pacing::default();
        lose(&mut pacing, &[8, 8, 8]);
        pacing.sent(Moment::START, 5, true);
        assert_eq!((pacing.room(), pacing.resumes_at()), (3, None));
        pacing.sent(Moment::START, 3, true);
        let at = Moment::START + PAUSE_MIN;
        assert_eq!((pacing.room(), pacing.resumes_at()), (0, Some(at)));
        assert!(!pacing.resume(Moment::START));
        assert!(pacing.resume(at));
        assert_eq!(pacing.room(), 8);
        pacing.sent(at, 8, false);
        assert_eq!(pacing.resumes_at(), None, "the window is sent");
    }

    #[test]
    fn bursts_that_do_not_help_end() {
        let mut pacing = Pacing::default();
        lose(&mut pacing, &[8, 8, 8, 30, 12]);
        assert_eq!((pacing.room(), pause(&pacing)), (8, 4 * PAUSE_MIN));
        lose(&mut pacing, &[3]);
        assert_eq!(pacing.room(), u16::MAX);
        lose(&mut pacing, &[8, 8, 8]);
        assert_eq!(pacing.room(), u16::MAX, "now it takes more");
    }

    #[test]
    fn a_ring_is_forgotten_after_some_seconds() {
        let mut pacing = Pacing::default();
        let (early, later) = (
            Moment::START + BELIEVED_FOR / 2,
            Moment::START + BELIEVED_FOR,
        );
        lose(&mut pacing, &[8, 8, 8, 8]);
        pacing.arrived(early);
        assert_eq!((pacing.room(), pause(&pacing)), (8, 2 * PAUSE_MIN));
        pacing.arrived(later);
        assert_eq!(pacing.room(), u16::MAX);
        pacing.lost_after(later, 8);
        assert_eq!(
            (pacing.room(), pause(&pacing)),
            (8, PAUSE_MIN),
            "it is there"
        );
        pacing.arrived(later + BELIEVED_FOR);
        assert_eq!(pacing.room(), 8, "for twice as long");
        pacing.arrived(later + 2 * BELIEVED_FOR);
        pacing.arrived(later + 2 * BELIEVED_FOR);
        lose(&mut pacing, &[8, 8]);
        assert_eq!(pacing.room(), u16::MAX, "a window came whole without it");
    }
}
