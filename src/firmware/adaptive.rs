//! iPXE's retransmission timer, which remembers how long it had to wait.

use std::time::Duration;

use crate::moment::Moment;

/// iPXE's timer. It follows four times the round-trip time and doubles when it runs out. What it
/// doubled to stays: as many packets as it ran out before pass until it measures again.
#[derive(Debug, Default)]
pub(super) struct Adaptive {
    timeout: Duration,
    expirations: u32,
    started: Option<Moment>,
}

impl Adaptive {
    pub(super) fn start(&mut self, now: Moment) -> Moment {
        self.timeout = self.timeout.max(ADAPTIVE_MIN);
        self.started = Some(now);
        now + self.timeout
    }

    /// A packet was sent because one came; the timer learns from how long that took.
    pub(super) fn restart(&mut self, now: Moment) {
        let Some(started) = self.started.take() else {
            return;
        };
        if 0 < self.expirations {
            self.expirations -= 1;
        } else {
            self.timeout = self.timeout * 7 / 8 + now.since(started) / 2;
        }
    }

    /// The timer ran out; false if it has grown past all patience.
    pub(super) fn expired(&mut self) -> bool {
        self.started = None;
        self.expirations += 1;
        self.timeout *= 2;
        self.timeout <= ADAPTIVE_MAX
    }
}

/// The bounds of iPXE's timer.
const ADAPTIVE_MIN: Duration = Duration::from_millis(250);
const ADAPTIVE_MAX: Duration = Duration::from_secs(10);
