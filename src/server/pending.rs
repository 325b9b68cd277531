//! Those who wait for a slot: where each stands, and when a pending one is taken for gone.
//!
//! A place in the queue is a value that compares: who stands where is decided when a request arrives, and
//! repeats change nothing.

use std::collections::VecDeque;
use std::time::Duration;

use crate::moment::Moment;
use crate::transfer::Wanted;

/// Where a request stands: small files go before large ones, and a client that cannot be kept alive while
/// it waits goes before the others. Then the machine that began its boot first goes first, so that boots are finished
/// rather than begun; within a boot, and for machines that have just been switched on, by arrival. Those
/// far away stand behind all others: see `lending`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    /// The file is none of those for which some slots are kept.
    pub(super) is_large: bool,
    /// Its round trips are so long that its slot is of more use to others.
    pub(super) is_far: bool,
    /// It can be kept alive; Raspberry Pis cannot.
    pub(super) can_wait: bool,
    pub(super) boot_began: Moment,
    pub(super) arrival: u64,
}

/// Clients by their places. Most come to the end and leave from the front, so this takes little time and, with a
/// single one, little room.
#[derive(Debug, Default)]
pub(super) struct Line {
    clients: VecDeque<(Place, usize)>,
}

impl Line {
    pub(super) fn first(&self) -> Option<(Place, usize)> {
        self.clients.front().copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, usize)> {
        self.clients.iter().copied()
    }

    pub(super) fn last(&self) -> Option<(Place, usize)> {
        self.clients.back().copied()
    }

    pub(super) fn insert(&mut self, place: Place, client: usize) {
        if self.clients.is_empty() {
            self.clients.reserve_exact(1);
        }
        let spot = self.clients.partition_point(|&(other, _)| other < place);
        self.clients.insert(spot, (place, client));
    }

    pub(super) fn remove(&mut self, place: Place) {
        let found = self
            .clients
            .binary_search_by_key(&place, |&(other, _)| other);
        if let Ok(spot) = found {
            self.clients.remove(spot);
        }
    }
}

/// A client that waits and was sent nothing: what is known of its repeats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// The options that it asked for last.
    pub(super) wanted: Wanted,
    /// When its last request came.
    pub(super) heard_at: Moment,
    /// Time between the last two requests; `None` while only one was heard.
    last_gap: Option<Duration>,
    /// When it is to be answered and kept alive; `None` if that is never done.
    pub(super) hold_at: Option<Moment>,
    /// Its file is still being looked up, so it stands aside until then, or until the file was found.
    pub(super) aside_until: Option<Moment>,
}

impl Waiting {
    pub(super) fn new(now: Moment, wanted: Wanted, hold_at: Option<Moment>) -> Waiting {
        Waiting {
            wanted,
            heard_at: now,
            last_gap: None,
            hold_at,
            aside_until: None,
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

    /// When something is to be done if nothing is heard.
    pub(super) fn deadline(&self) -> Moment {
        let first = self.aside_until.or(self.hold_at);
        first.map_or(self.expires_at(), |at| at.min(self.expires_at()))
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
        let mut waiting = Waiting::new(at(0), Wanted::default(), None);
        assert_eq!(waiting.expires_at(), at(10));
        waiting.heard(at(4));
        assert_eq!(waiting.expires_at(), at(14));
        waiting.heard(at(12));
        assert_eq!(waiting.expires_at(), at(12) + Duration::from_millis(18_600));
    }

    #[test]
    fn only_a_port_that_fell_silent_is_superseded() {
        let mut waiting = Waiting::new(at(0), Wanted::default(), None);
        assert!(!waiting.may_be_superseded(at(0) + SUPERSEDED_AFTER));
        assert!(waiting.may_be_superseded(at(1)));
        waiting.heard(at(4));
        assert!(!waiting.may_be_superseded(at(8)));
        assert!(waiting.may_be_superseded(at(9)));
    }
}
