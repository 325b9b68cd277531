//! The queue of those who wait for a slot, and when a client that waits in silence is taken for gone.
//!
//! A place in the queue is a value that compares: who stands where is decided when a request arrives, and
//! repeats change nothing. The queue holds keys only; it knows no clients.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::moment::Moment;

/// Where a request stands: whoever cannot be kept alive while it waits goes before the others. Then the
/// machine that began its boot first goes first, so that boots are finished rather than begun; within a
/// boot, and for machines that have just been switched on, by arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    pub(super) can_wait: bool,
    pub(super) boot_began: Moment,
    pub(super) arrival: u64,
}

/// What a client waits for. Some slots serve small files only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Size {
    /// A file for which a slot is kept.
    Small,
    /// Any other file.
    Bulk,
}

/// Keys of clients, in the order of their places.
#[derive(Debug, Default)]
pub(super) struct Queue {
    small: BTreeMap<Place, usize>,
    bulk: BTreeMap<Place, usize>,
}

impl Queue {
    /// Puts a client at its place.
    pub(super) fn join(&mut self, place: Place, size: Size, client: usize) {
        let other = self.of_mut(size).insert(place, client);
        debug_assert!(other.is_none(), "two clients at one place");
    }

    /// Takes the client at `place` out.
    pub(super) fn leave(&mut self, place: Place, size: Size) {
        self.of_mut(size).remove(&place);
    }

    /// Those who may have the next free slot, first come first; `bulk` tells whether a slot is free for
    /// large files.
    pub(super) fn iter(&self, bulk: bool) -> impl Iterator<Item = usize> + '_ {
        let mut small = self.small.iter().peekable();
        let mut large = self
            .bulk
            .iter()
            .take(if bulk { usize::MAX } else { 0 })
            .peekable();
        std::iter::from_fn(move || {
            let small_first = match (small.peek(), large.peek()) {
                (Some((small, _)), Some((large, _))) => small < large,
                (small, _) => small.is_some(),
            };
            let next = if small_first {
                small.next()
            } else {
                large.next()
            };
            next.map(|(_, &client)| client)
        })
    }

    pub(super) fn len(&self) -> usize {
        self.small.len() + self.bulk.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.bulk.is_empty()
    }

    /// Nobody waits who would have a slot of this kind before a client that comes now.
    pub(super) fn is_empty_for(&self, size: Size) -> bool {
        match size {
            Size::Small => self.small.is_empty(),
            Size::Bulk => self.is_empty(),
        }
    }

    fn of_mut(&mut self, size: Size) -> &mut BTreeMap<Place, usize> {
        match size {
            Size::Small => &mut self.small,
            Size::Bulk => &mut self.bulk,
        }
    }
}

/// A client that waits and was sent nothing: what is known of its repeats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    heard_at: Moment,
    /// Time between the last two requests; none while only one was heard.
    last_gap: Option<Duration>,
    /// When it is to be answered and kept alive; none where that is never done.
    pub(super) hold_at: Option<Moment>,
}

impl Waiting {
    pub(super) fn new(now: Moment, hold_at: Option<Moment>) -> Waiting {
        Waiting {
            heard_at: now,
            last_gap: None,
            hold_at,
        }
    }

    /// The client repeated its request.
    pub(super) fn heard(&mut self, now: Moment) {
        self.last_gap = Some(now.since(self.heard_at));
        self.heard_at = now;
    }

    /// When its last request came.
    pub(super) fn heard_at(&self) -> Moment {
        self.heard_at
    }

    /// When the client is taken for gone unless it repeats its request. The factor bears firmware that
    /// doubles its gaps.
    pub(super) fn expires_at(&self) -> Moment {
        let gap = self.last_gap.unwrap_or_default();
        self.heard_at + SILENCE_MIN.max(gap.mul_f64(GAP_FACTOR) + GAP_SLACK)
    }

    /// When something is to be done if nothing is heard.
    pub(super) fn deadline(&self) -> Moment {
        self.hold_at
            .map_or(self.expires_at(), |at| at.min(self.expires_at()))
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
pub(super) const SUPERSEDED_AFTER: Duration = Duration::from_millis(900);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn patience_grows_with_the_gap_between_repeats() {
        let mut waiting = Waiting::new(at(0), None);
        assert_eq!(waiting.expires_at(), at(10));
        waiting.heard(at(4));
        assert_eq!(waiting.expires_at(), at(14));
        waiting.heard(at(12));
        assert_eq!(waiting.expires_at(), at(12) + Duration::from_millis(18_600));
    }

    #[test]
    fn only_a_port_that_fell_silent_is_superseded() {
        let mut waiting = Waiting::new(at(0), None);
        assert!(!waiting.may_be_superseded(at(0) + SUPERSEDED_AFTER));
        assert!(waiting.may_be_superseded(at(1)));
        waiting.heard(at(4));
        assert!(!waiting.may_be_superseded(at(8)));
        assert!(waiting.may_be_superseded(at(9)));
    }

    #[test]
    fn who_began_to_boot_first_goes_first_and_small_files_have_slots_of_their_own() {
        let place = |boot, arrival| Place {
            can_wait: true,
            boot_began: at(boot),
            arrival,
        };
        let mut queue = Queue::default();
        queue.join(place(9, 1), Size::Bulk, 1);
        queue.join(place(9, 2), Size::Small, 2);
        queue.join(place(3, 3), Size::Bulk, 3);
        queue.join(place(9, 4), Size::Small, 4);
        assert_eq!(Vec::from_iter(queue.iter(true)), [3, 1, 2, 4]);
        assert_eq!(Vec::from_iter(queue.iter(false)), [2, 4]);
        queue.leave(place(3, 3), Size::Bulk);
        assert_eq!(Vec::from_iter(queue.iter(true)), [1, 2, 4]);
        let hurried = Place {
            can_wait: false,
            ..place(10, 5)
        };
        queue.join(hurried, Size::Bulk, 5);
        assert_eq!(Vec::from_iter(queue.iter(true)), [5, 1, 2, 4]);
    }
}
