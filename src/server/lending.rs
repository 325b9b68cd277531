//! Whose slots are lent: clients far away, or slow, have little under way on the link for all the time that
//! they have a slot, and the next in line may be next door.
//!
//! While others wait, a client that is far goes on without a slot, at the same speed; as many as there are slots
//! do so at a time. The others far away stand in line behind all that are near. What counts is the bytes that
//! a slot brings, so a client gains nothing by small blocks, small windows or ACKs that come late.

use std::time::Duration;

use crate::moment::Moment;
use crate::transfer::Transfer;

/// Knows how near the nearest clients are.
#[derive(Debug)]
pub(super) struct Lending {
    since: Moment,
    /// Bytes a second of the nearest client, if it asks for one block at a time: of those who have answered
    /// after `since`, and in the span before.
    nearest: u64,
    nearest_before: u64,
    /// When it may be reported again that those far away are too many.
    tell_at: Moment,
}

impl Lending {
    pub(super) fn new(now: Moment) -> Lending {
        Lending {
            since: now,
            nearest: 0,
            nearest_before: 0,
            tell_at: now,
        }
    }

    /// A client made progress. Returns whether it is far away, by the time that it usually takes; `was_far` until now,
    /// and it `ran_for` so long.
    pub(super) fn is_far(
        &mut self,
        now: Moment,
        transfer: &Transfer,
        was_far: bool,
        ran_for: Duration,
    ) -> bool {
        let Some(per_block) = transfer.timing().time_per_block() else {
            return was_far;
        };
        let nanos = u64::try_from(per_block.as_nanos()).unwrap_or(u64::MAX);
        let negotiated = transfer.negotiated();
        let pace = u64::from(negotiated.blksize) * 1_000_000_000 / nanos.max(1);
        if self.since + SPAN <= now {
            let is_short = now < self.since + 2 * SPAN;
            self.nearest_before = if is_short { self.nearest } else { 0 };
            (self.since, self.nearest) = (now, 0);
        }
        self.nearest = self.nearest.max(pace / u64::from(negotiated.windowsize));
        let least = self.nearest.max(self.nearest_before) / FAR_FACTOR;
        let most = PACE_MAX.saturating_mul(1 + ran_for.as_secs() / NEAR_FOR.as_secs());
        let least = least.clamp(PACE_MIN, most);
        pace < if was_far { 2 * least } else { least }
    }

    /// More clients are far away than may go on without a slot. Returns whether that is to be reported.
    pub(super) fn are_too_many(&mut self, now: Moment) -> bool {
        let is_due = self.tell_at <= now;
        if is_due {
            self.tell_at = now + TOLD_EVERY;
        }
        is_due
    }
}

/// A client this many times slower than the nearest is far away.
const FAR_FACTOR: u64 = 4;

/// Less than this, in bytes a second, is far in any company: a block of 1,432 bytes every 44 ms. 32
/// slots of it are 8 Mbit/s.
const PACE_MIN: u64 = 32 << 10;

/// This much is near at first: a block of 512 bytes every 5.2 ms. Old ROMs that share 100 Mbit/s wait 4 ms, and a
/// single client with large windows makes nobody else slow.
const PACE_MAX: u64 = 96 << 10;

/// Each time that a client has run for so long, as much more is needed to be near: nobody keeps a slot for a large
/// file by being just quick enough. By then the nearest are measured behind the same queue as all others.
const NEAR_FOR: Duration = Duration::from_secs(2);

/// How long it is remembered how near the nearest are: held ones are heard of every 4 s.
const SPAN: Duration = Duration::from_secs(5);

const TOLD_EVERY: Duration = Duration::from_secs(60);
