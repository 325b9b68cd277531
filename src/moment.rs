//! Points in time as the protocol core sees them.
//!
//! A [`Moment`] counts microseconds since the server (or a simulation) began. It has no "now": whoever
//! owns a clock hands the time in, so the same core runs in production and in virtual time.

use std::fmt;
use std::num::NonZero;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time, in microseconds since the start.
///
/// Inside it is one more than that, so that an `Option<Moment>` takes no more room: a client has several.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(NonZero<u64>);

impl Moment {
    /// The beginning of time.
    pub const START: Moment = Moment::from_micros(0);

    /// The moment that lies `micros` microseconds after the start.
    pub const fn from_micros(micros: u64) -> Moment {
        Moment(NonZero::<u64>::MIN.saturating_add(micros))
    }

    /// Microseconds since the start.
    pub const fn micros(self) -> u64 {
        self.0.get() - 1
    }

    /// How long ago `earlier` was; zero where it lies ahead.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(self.micros().saturating_sub(earlier.micros()))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    /// Saturates at the end of time, some 580,000 years from the start.
    fn add(self, span: Duration) -> Moment {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Moment::from_micros(self.micros().saturating_add(micros))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;

    /// Saturates at the start.
    fn sub(self, span: Duration) -> Moment {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Moment::from_micros(self.micros().saturating_sub(micros))
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.micros();
        write!(f, "{}.{:06} s", micros / 1_000_000, micros % 1_000_000)
    }
}
