//! The only clock: monotonic time, as moments since the process began to serve.

use std::time::Instant;

use crate::moment::Moment;

/// A clock that never goes back and does not care for the time of day.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that stands at [`Moment::START`].
    pub fn start() -> Clock {
        Clock {
            start: Instant::now(),
        }
    }

    /// The time.
    pub fn now(&self) -> Moment {
        Moment::START + self.start.elapsed()
    }
}
