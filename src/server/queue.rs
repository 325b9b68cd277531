//! Who is next: those who wait, in the order of their places, as far as they may have a slot.
//!
//! Everybody stands in the line of their host, and of each line only the first is shown to the next level:
//! a validated host shows it to the front, any other to its network, and the network to the front of
//! unvalidated. A host that runs as many transfers as it may shows nobody, nor does a network that has no
//! first packet left; nobody looks at the front of unvalidated clients while all of them together have their share of
//! the slots. So a client that must not be next is skipped without being looked at, and every step costs
//! little. Small files come first in every line by their place.
//!
//! The queue has the tables of hosts and of networks. It holds keys of clients only; it knows none.

use std::collections::VecDeque;

use super::Limits;
use super::hosts::{HOSTS_MAX, Host, HostRecord, Wait, Waiter};
use super::limits::PAUSE;
use super::networks::{NETWORKS_MAX, Network, NetworkRecord, network_of};
use super::pending::{Line, Place};
use super::table::Table;
use crate::moment::Moment;

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    hosts: Table<Host, HostRecord>,
    networks: Table<Network, NetworkRecord>,
    /// Those of validated hosts who may have the next slot, first come first.
    validated: Line,
    /// The same of all others.
    unvalidated: Line,
    /// Those of unvalidated hosts that were sent their first packet and say nothing.
    silent: Line,
    /// Slots that unvalidated clients have.
    unvalidated_running: u32,
    /// Networks of which more unvalidated clients wait than their part of the queue: a few at most.
    crowded: Vec<Network>,
    /// Networks that have no first packet left, and when they are looked at again.
    throttled: VecDeque<(Moment, Network)>,
    queued: usize,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Queue {
        Queue {
            limits,
            hosts: Table::new(HOSTS_MAX, limits.max_transfers),
            networks: Table::new(NETWORKS_MAX, 0),
            validated: Line::default(),
            unvalidated: Line::default(),
            silent: Line::default(),
            unvalidated_running: 0,
            crowded: Vec::new(),
            throttled: VecDeque::new(),
            queued: 0,
        }
    }

    // Who is next.

    /// Who has the next free slot, and where it stands.
    pub(super) fn first(&self) -> Option<(Place, usize)> {
        self.firsts().next()
    }

    /// Who has the next free slots, as far as that is known: the first of each host, and of each network
    /// the first unvalidated client.
    pub(super) fn firsts(&self) -> impl Iterator<Item = (Place, usize)> {
        let mut validated = self.validated.iter().peekable();
        let unvalidated = self
            .unvalidated
            .iter()
            .filter(|_| self.unvalidated_may_run());
        let mut unvalidated = unvalidated.peekable();
        std::iter::from_fn(move || match (validated.peek(), unvalidated.peek()) {
            (Some(one), Some(other)) if one < other => validated.next(),
            (_, Some(_)) => unvalidated.next(),
            (_, None) => validated.next(),
        })
    }

    /// Nobody stands in line, not even for what others of the same host have.
    pub(super) fn is_deserted(&self) -> bool {
        self.queued == 0
    }

    fn unvalidated_may_run(&self) -> bool {
        (self.unvalidated_running as usize) < self.limits.slots_for_unvalidated()
    }

    /// A client of `host` may have a slot, if one is free.
    pub(super) fn may_run(&self, host: Host) -> bool {
        let is_unvalidated_and_may =
            || self.unvalidated_may_run() && !self.is_throttled(network_of(host));
        let record = self.hosts.get(host);
        record.map_or_else(is_unvalidated_and_may, |record| {
            !self.is_full(host, record) && (record.is_validated || is_unvalidated_and_may())
        })
    }

    /// What runs for `host` counts for a bound that others of its own have reached: unvalidated clients share one.
    pub(super) fn is_in_the_way(&self, host: Host) -> bool {
        let record = self.hosts.get(host);
        record.is_some_and(|record| !record.is_validated || record.first_queued().is_some())
    }

    /// As many of `host` run as may.
    pub(super) fn has_all_slots(&self, host: Host) -> bool {
        let record = self.hosts.get(host);
        record.is_some_and(|record| self.is_full(host, record))
    }

    fn is_full(&self, host: Host, record: &HostRecord) -> bool {
        record.running as usize >= self.limits.per_client && self.limits.bounds(host)
    }

    // Hosts.

    /// A request came from `host` that replaces `replaced` of those who wait. Returns when its boot began.
    pub(super) fn heard(&mut self, now: Moment, host: Host, replaced: usize) -> Moment {
        self.hosts.enter(now, host).heard(now, replaced)
    }

    /// `host` has answered in this boot.
    pub(super) fn is_validated(&self, host: Host) -> bool {
        self.hosts
            .get(host)
            .is_some_and(|record| record.is_validated)
    }

    /// What bounds what is sent to `host`; `None` if nothing does since it has answered.
    fn bounds(&mut self, now: Moment, host: Host) -> Option<&mut NetworkRecord> {
        let is_bounded = !self.is_validated(host);
        is_bounded.then(|| self.networks.enter(now, network_of(host)))
    }

    /// A client of `host` may be sent a first packet. If its network has none left, its unvalidated clients wait a
    /// moment.
    pub(super) fn has_first_packet(&mut self, now: Moment, host: Host) -> bool {
        let network = self.bounds(now, host);
        let has = network.is_none_or(|network| network.has_first_packet(now));
        if !has && !self.is_throttled(network_of(host)) {
            self.change_network(network_of(host), |network| network.is_throttled = true);
            self.throttled.push_back((now + PAUSE, network_of(host)));
        }
        has
    }

    /// A client of `host` is about to be sent a first packet. Returns whether its network gave it.
    pub(super) fn take_first_packet(&mut self, now: Moment, host: Host) -> bool {
        let network = self.bounds(now, host);
        network.is_some_and(|network| network.take_first_packet(now))
    }

    /// `host` may be sent an ERROR packet, which its network gives.
    pub(super) fn take_error(&mut self, now: Moment, host: Host) -> bool {
        let network = self.bounds(now, host);
        network.is_none_or(|network| network.take_error(now))
    }

    /// What is remembered of `host`, which has clients or has just asked.
    pub(super) fn host(&mut self, host: Host) -> &mut HostRecord {
        let record = self.hosts.get_mut(host);
        record.expect("a host is remembered while it has clients")
    }

    // Joining and leaving.

    /// A client of `host` waits from now on, in line or not.
    pub(super) fn waits(&mut self, now: Moment, host: Host, waiter: Waiter) {
        let Waiter { place, client, .. } = waiter;
        self.queued += usize::from(waiter.wait == Wait::Queued);
        if !self.is_validated(host) {
            self.networks.enter(now, network_of(host));
            self.change_network(network_of(host), |network| network.waiting += 1);
            if waiter.wait == Wait::Silent {
                self.silent.insert(place, client);
            }
        }
        self.change(host, |record| record.add_waiter(waiter));
    }

    /// It does no longer.
    pub(super) fn waits_no_longer(&mut self, host: Host, place: Place) {
        let stood = self.change(host, |record| record.remove_waiter(place));
        self.queued -= usize::from(stood == Wait::Queued);
        self.silent.remove(place);
        if !self.is_validated(host) {
            self.change_network(network_of(host), |network| network.waiting -= 1);
        }
    }

    /// A client of `host` has a slot from now on.
    pub(super) fn runs(&mut self, host: Host) {
        self.unvalidated_running += u32::from(!self.is_validated(host));
        self.change(host, |record| record.running += 1);
    }

    /// It has none any longer.
    pub(super) fn runs_no_longer(&mut self, host: Host) {
        self.unvalidated_running -= u32::from(!self.is_validated(host));
        self.change(host, |record| record.running -= 1);
    }

    /// A client of `host` has answered, for which this number of first packets was taken: from now on the host speaks for
    /// itself.
    pub(super) fn validates(&mut self, host: Host, first_packets: u8) {
        if let Some(network) = self.networks.get_mut(network_of(host)) {
            network.give_back(first_packets);
        }
        let Some(record) = self.hosts.get(host).filter(|it| !it.is_validated) else {
            return;
        };
        self.unvalidated_running -= record.running;
        let waiting = record.waiters.len();
        for waiter in &record.waiters {
            self.silent.remove(waiter.place);
        }
        self.change_network(network_of(host), |network| network.waiting -= waiting);
        self.change(host, |record| record.is_validated = true);
    }

    /// Changes what is known of a host, and with it which of its clients is shown.
    fn change<T>(&mut self, host: Host, change: impl FnOnce(&mut HostRecord) -> T) -> T {
        let before = self.shown(host);
        let changed = change(self.host(host));
        let after = self.shown(host);
        if before != after {
            if let Some((is_validated, place, _)) = before {
                self.change_line(host, is_validated, |line| line.remove(place));
            }
            if let Some((is_validated, place, client)) = after {
                self.change_line(host, is_validated, |line| line.insert(place, client));
            }
        }
        changed
    }

    /// Who stands first in the line of a host, if it may have one more slot, and whether it shows that one as validated.
    fn shown(&self, host: Host) -> Option<(bool, Place, usize)> {
        let record = self.hosts.get(host)?;
        let first = record.first_queued()?;
        let is_shown = !self.is_full(host, record);
        is_shown.then_some((record.is_validated, first.place, first.client))
    }

    /// Changes the line in which the first of a host stands.
    fn change_line(&mut self, host: Host, is_validated: bool, change: impl FnOnce(&mut Line)) {
        match is_validated {
            true => change(&mut self.validated),
            false => self.change_network(network_of(host), |it| change(&mut it.firsts)),
        }
    }

    /// Changes what is known of a network, if anything is, and with it who of it is shown, and whether it is crowded.
    fn change_network(&mut self, network: Network, change: impl FnOnce(&mut NetworkRecord)) {
        let Some(record) = self.networks.get_mut(network) else {
            return;
        };
        let before = record.first();
        change(record);
        let after = record.first();
        if before != after {
            if let Some((place, _)) = before {
                self.unvalidated.remove(place);
            }
            if let Some((place, client)) = after {
                self.unvalidated.insert(place, client);
            }
        }
        self.crowded.retain(|&other| other != network);
        if record.waiting > self.limits.network_part() {
            self.crowded.push(network);
        }
    }

    // Bounds of what waits.

    /// As many clients of `host` may wait as do.
    pub(super) fn has_room_for(&self, host: Host) -> bool {
        let waiting = self.hosts.get(host).map_or(0, |it| it.waiters.len());
        waiting <= self.limits.per_client_pending || !self.limits.bounds(host)
    }

    /// The queue is full and a client of `host` has come. Returns who is evicted: an unvalidated client that was sent
    /// its first packet in vain, else the newest of the most crowded network, if there is one and `host` is not of it.
    pub(super) fn evicted_by(&self, host: Host) -> Option<usize> {
        if let Some((_, client)) = self.silent.first() {
            return Some(client);
        }
        let waiting = |network| self.networks.get(network).map_or(0, |it| it.waiting);
        let crowded = self.crowded.iter().copied();
        let network = crowded.max_by_key(|&network| waiting(network))?;
        if !self.is_validated(host) && waiting(network) <= waiting(network_of(host)) {
            return None;
        }
        let newest = self.networks.get(network)?.firsts.last();
        newest.map(|(_, client)| client)
    }

    /// The clients of `host` that wait, by their places.
    pub(super) fn waiting_of(&self, host: Host) -> impl Iterator<Item = usize> + '_ {
        let waiters = self.hosts.get(host).map(|record| &record.waiters);
        waiters.into_iter().flatten().map(|waiter| waiter.client)
    }

    // Networks without first packets.

    /// The network has no first packet left.
    pub(super) fn is_throttled(&self, network: Network) -> bool {
        self.networks.get(network).is_some_and(|it| it.is_throttled)
    }

    /// Looks again at those whose moment is over.
    pub(super) fn refill(&mut self, now: Moment) {
        while let Some(&(at, network)) = self.throttled.front()
            && at <= now
        {
            self.throttled.pop_front();
            self.change_network(network, |record| record.is_throttled = false);
        }
    }

    /// When [`Queue::refill`] has something to do.
    pub(super) fn next_refill(&self) -> Option<Moment> {
        self.throttled.front().map(|&(at, _)| at)
    }
}

/// For the audit.
impl Queue {
    /// Everybody who stands in a line, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> + '_ {
        let waiters = self.hosts.values().flat_map(|record| &record.waiters);
        let queued = waiters.filter(|waiter| waiter.wait == Wait::Queued);
        queued.map(|waiter| waiter.client)
    }

    /// How many of `host` run.
    pub(super) fn running_of(&self, host: Host) -> usize {
        self.hosts.get(host).map_or(0, |it| it.running as usize)
    }

    /// How many slots unvalidated clients have.
    pub(super) fn unvalidated_running(&self) -> usize {
        self.unvalidated_running as usize
    }

    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.queued
    }
}
