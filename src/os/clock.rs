//! The only clock: monotonic time, as moments since the process began to serve; and the time of day, for records.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::moment::Moment;

/// The time of day, since 1970: for those who read what we write, and for nothing that is decided.
pub fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// A clock that never goes back and does not care for the time of day.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What the system's clock said then, in microseconds.
    start: u64,
}

impl Clock {
    /// A clock that stands at [`Moment::START`].
    pub fn start() -> Clock {
        Clock {
            start: system_micros(),
        }
    }

    /// The time.
    pub fn now(&self) -> Moment {
        Moment::from_micros(system_micros().saturating_sub(self.start))
    }
}

/// Microseconds on the system's monotonic clock. It is read in each turn of the loop, and cheaper so than by `Instant`.
#[allow(
    clippy::unnecessary_cast,
    clippy::cast_sign_loss,
    reason = "the clock begins at 0, and the width of its fields differs between systems"
)]
pub(super) fn system_micros() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every system has this clock");
    time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1000
}
