//! Points in time as the protocol core sees them.
//!
//! A [`Moment`] counts microseconds since the server (or a simulation) began. It has no "now": the owner
//! of the clock hands the time in, so the same core runs in production and in virtual time.

use std::fmt;
use std::num::NonZero;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time, in microseconds since the start.
///
/// Stored plus one, so that an `Option<Moment>` takes no more room: a client has several.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(NonZero<u64>);

impl Moment {
    /// The beginning of time.
    pub const START: Moment = Moment::from_micros(0);

    /// The end of time, some 580,000 years from the start: never.
    pub const END: Moment = Moment(NonZero::<u64>::MAX);

    /// The moment that lies `micros` microseconds after the start.
    pub const fn from_micros(micros: u64) -> Moment {
        Moment(NonZero::<u64>::MIN.saturating_add(micros))
    }

    /// Microseconds since the start.
    pub const fn micros(self) -> u64 {
        self.0.get() - 1
    }

    /// The earliest of those given; `None` if none is. A plain loop: it runs several times for each packet.
    pub fn first_of<const COUNT: usize>(all: [Option<Moment>; COUNT]) -> Option<Moment> {
        let mut first = Moment::END;
        for at in all {
            first = first.min(at.unwrap_or(Moment::END));
        }
        (first < Moment::END).then_some(first)
    }

    /// How long ago `earlier` was; zero where it lies ahead.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(self.micros().saturating_sub(earlier.micros()))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    /// Saturates at [`Moment::END`].
    fn add(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(micros_of(span)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;

    /// Saturates at the start.
    fn sub(self, span: Duration) -> Moment {
        Moment::from_micros(self.micros().saturating_sub(micros_of(span)))
    }
}

/// Whole microseconds; cheaper than the number of 128 bits that a `Duration` gives, and it is asked for with each
/// packet.
fn micros_of(span: Duration) -> u64 {
    let whole = span.as_secs().saturating_mul(1_000_000);
    whole.saturating_add(span.subsec_micros().into())
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.micros();
        write!(f, "{}.{:06} s", micros / 1_000_000, micros % 1_000_000)
    }
}
