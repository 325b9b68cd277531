//! The queue of those who wait for a slot, and when a waiting client is taken for gone.
//!
//! A place in the queue is a value that compares: who stands where is decided when a client joins, and
//! repeats of its request change nothing. The queue holds keys only; it knows no clients.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::moment::Moment;

/// Where a client stands: first come, first served.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place(u64);

/// Keys of clients, in the order of their places.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<Place, usize>,
    places_given: u64,
}

impl Queue {
    /// The place behind everyone.
    pub(super) fn next_place(&mut self) -> Place {
        self.places_given += 1;
        Place(self.places_given)
    }

    /// Puts a client at a place that nobody has.
    pub(super) fn join(&mut self, place: Place, client: usize) {
        let other = self.waiting.insert(place, client);
        debug_assert!(other.is_none(), "two clients at one place");
    }

    /// Takes the client at `place` out.
    pub(super) fn leave(&mut self, place: Place) {
        self.waiting.remove(&place);
    }

    /// The client who is next.
    pub(super) fn first(&self) -> Option<usize> {
        self.waiting.first_key_value().map(|(_, &client)| client)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Everyone, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, usize)> + '_ {
        self.waiting.iter().map(|(&place, &client)| (place, client))
    }
}

/// A client that waits: what is known of its repeats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) place: Place,
    heard_at: Moment,
    /// Time between the last two requests; none while only one was heard.
    last_gap: Option<Duration>,
}

impl Waiting {
    pub(super) fn new(now: Moment, place: Place) -> Waiting {
        Waiting {
            place,
            heard_at: now,
            last_gap: None,
        }
    }

    /// The client repeated its request.
    pub(super) fn heard(&mut self, now: Moment) {
        self.last_gap = Some(now.since(self.heard_at));
        self.heard_at = now;
    }

    /// When the client is taken for gone unless it repeats its request. The factor bears firmware that
    /// doubles its gaps.
    pub(super) fn expires_at(&self) -> Moment {
        let gap = self.last_gap.unwrap_or_default();
        self.heard_at + SILENCE_MIN.max(gap.mul_f64(GAP_FACTOR) + GAP_SLACK)
    }

    /// A request for the same file from another port of the same host may take this one's place: some
    /// firmware changes the port with every repeat, and this port will not be heard again. A client
    /// that repeats as expected keeps its place; it is another one behind the same address.
    pub(super) fn may_be_superseded(&self, now: Moment) -> bool {
        now.since(self.heard_at) > self.last_gap.unwrap_or_default().max(SUPERSEDED_AFTER)
    }
}

/// A client may be silent for this long at least: the longest first gap of a firmware is 5-7 s.
const SILENCE_MIN: Duration = Duration::from_secs(10);
const GAP_FACTOR: f64 = 2.2;
const GAP_SLACK: Duration = Duration::from_secs(1);

/// Two requests closer than this come from two clients, or from firmware that asks twice on purpose.
const SUPERSEDED_AFTER: Duration = Duration::from_millis(900);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn patience_grows_with_the_gap_between_repeats() {
        let mut waiting = Waiting::new(at(0), Place(0));
        assert_eq!(waiting.expires_at(), at(10));
        waiting.heard(at(4));
        assert_eq!(waiting.expires_at(), at(14));
        waiting.heard(at(12));
        assert_eq!(waiting.expires_at(), at(12) + Duration::from_millis(18_600));
    }

    #[test]
    fn only_a_port_that_fell_silent_is_superseded() {
        let mut waiting = Waiting::new(at(0), Place(0));
        assert!(!waiting.may_be_superseded(at(0) + SUPERSEDED_AFTER));
        assert!(waiting.may_be_superseded(at(1)));
        waiting.heard(at(4));
        assert!(!waiting.may_be_superseded(at(8)));
        assert!(waiting.may_be_superseded(at(9)));
    }
}
