//! Who is next: those who wait, in the order of their places, as far as they may have a slot.
//!
//! Everybody stands in the line of their host, and of each line only the first is shown to the next level:
//! a proven host shows it to the front, any other to its network, and the network to the front of
//! strangers. A host that runs as many transfers as it may shows nobody, nor does a network that has no
//! first packet left; nobody looks at the front of strangers while all of them together have their share of
//! the slots. So whoever must not be next is skipped without being looked at, and every step costs the
//! logarithm of a length. Small files come first in every line by their place.
//!
//! The queue holds keys only; it knows no clients.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::Limits;
use super::hosts::Host;
use super::pending::Place;
use super::unproven::{Network, network_of};
use crate::moment::Moment;

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    /// Those of proven hosts who may have the next slot, first come first.
    proven: BTreeMap<Place, usize>,
    /// The same of all others.
    strangers: BTreeMap<Place, usize>,
    /// Slots that strangers have.
    strangers_running: usize,
    hosts: HashMap<Host, HostLine>,
    networks: HashMap<Network, NetworkLine>,
    /// Networks whose strangers crowd the queue: no more than have a part of it each.
    crowds: Vec<Network>,
    /// Networks that have no first packet left, and when they are looked at again.
    drained: VecDeque<(Moment, Network)>,
    queued: usize,
}

/// The clients of one host that wait or run. It exists while there are any.
#[derive(Debug, Default)]
struct HostLine {
    is_proven: bool,
    running: usize,
    /// Those who wait; most hosts that run a transfer have none.
    waiters: Option<Box<Waiters>>,
}

/// The clients of one host that wait.
#[derive(Debug, Default)]
struct Waiters {
    /// All of them, in the order in which they became pending or held.
    all: Vec<(Place, usize)>,
    /// Those of them who stand in line.
    queued: VecDeque<(Place, usize)>,
    shown: Option<Place>,
}

/// The unproven hosts of one network.
#[derive(Debug, Default)]
struct NetworkLine {
    /// Their clients that wait, whether they stand in a line or gave way in it.
    waiting: BTreeMap<Place, usize>,
    /// The first of each host.
    firsts: BTreeMap<Place, usize>,
    shown: Option<Place>,
    is_drained: bool,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Queue {
        Queue {
            limits,
            proven: BTreeMap::new(),
            strangers: BTreeMap::new(),
            strangers_running: 0,
            hosts: HashMap::with_capacity(limits.max_transfers),
            networks: HashMap::new(),
            crowds: Vec::new(),
            drained: VecDeque::new(),
            queued: 0,
        }
    }

    // Who is next.

    /// Who has the next free slot, and where it stands.
    pub(super) fn first(&self) -> Option<(Place, usize)> {
        let stranger = self.strangers.first_key_value();
        let stranger = stranger.filter(|_| self.strangers_may_run());
        let firsts = self.proven.first_key_value().into_iter().chain(stranger);
        firsts.min().map(|(&place, &client)| (place, client))
    }

    /// Nobody stands in line, not even for what others of his own have.
    pub(super) fn is_deserted(&self) -> bool {
        self.queued == 0
    }

    fn strangers_may_run(&self) -> bool {
        self.strangers_running < self.limits.slots_for_strangers()
    }

    /// A client of `host` may have a slot, if one is free.
    pub(super) fn may_run(&self, host: Host, is_proven: bool) -> bool {
        let line = self.hosts.get(&host);
        !line.is_some_and(|line| self.is_full(host, line))
            && (is_proven || self.strangers_may_run() && !self.is_drained(network_of(host)))
    }

    /// What runs for `host` counts for a bound that others of its own have reached: strangers share one.
    pub(super) fn is_in_the_way(&self, host: Host) -> bool {
        let line = self.hosts.get(&host);
        let has_queued = |line: &HostLine| {
            line.waiters
                .as_ref()
                .is_some_and(|it| !it.queued.is_empty())
        };
        line.is_some_and(|line| !line.is_proven || has_queued(line))
    }

    fn is_full(&self, host: Host, line: &HostLine) -> bool {
        line.running >= self.limits.per_client && self.limits.bounds(host)
    }

    // Joining and leaving.

    /// Puts a client that waits at its place.
    pub(super) fn join(&mut self, host: Host, place: Place, client: usize) {
        let waiters = self.line(host).waiters.get_or_insert_default();
        let queued = &mut waiters.queued;
        let spot = queued.partition_point(|&(other, _)| other < place);
        queued.insert(spot, (place, client));
        self.queued += 1;
        self.show(host);
    }

    /// Takes the client at `place` out.
    pub(super) fn leave(&mut self, host: Host, place: Place) {
        if let Some(waiters) = &mut self.line(host).waiters {
            let queued = &mut waiters.queued;
            if let Ok(spot) = queued.binary_search_by_key(&place, |&(other, _)| other) {
                queued.remove(spot);
                self.queued -= 1;
            }
        }
        self.show(host);
    }

    // Books.

    /// A client of `host` waits from now on.
    pub(super) fn waits(&mut self, host: Host, is_proven: bool, place: Place, client: usize) {
        let line = self.hosts.entry(host).or_default();
        line.is_proven = is_proven;
        let waiters = line.waiters.get_or_insert_default();
        waiters.all.push((place, client));
        if !is_proven {
            self.change_crowd(network_of(host), |waiting| {
                waiting.insert(place, client);
            });
        }
    }

    /// It does no longer.
    pub(super) fn waits_no_longer(&mut self, host: Host, place: Place) {
        let line = self.line(host);
        let is_proven = line.is_proven;
        let waiters = line.waiters.as_mut().expect("it waited until now");
        waiters.all.retain(|&(other, _)| other != place);
        if !is_proven {
            self.change_crowd(network_of(host), |waiting| {
                waiting.remove(&place);
            });
            self.show_network(network_of(host));
        }
        self.forget(host);
    }

    /// A client of `host` has a slot from now on.
    pub(super) fn runs(&mut self, host: Host, is_proven: bool) {
        let line = self.hosts.entry(host).or_default();
        line.is_proven = is_proven;
        line.running += 1;
        self.strangers_running += usize::from(!is_proven);
        self.show(host);
    }

    /// It has none any longer.
    pub(super) fn runs_no_longer(&mut self, host: Host) {
        let line = self.line(host);
        line.running -= 1;
        let was_stranger = !line.is_proven;
        self.strangers_running -= usize::from(was_stranger);
        self.show(host);
        self.forget(host);
    }

    /// A client of `host` has answered: from now on the host speaks for itself.
    pub(super) fn proves(&mut self, host: Host) {
        let Some(line) = self.hosts.get_mut(&host).filter(|line| !line.is_proven) else {
            return;
        };
        line.is_proven = true;
        self.strangers_running -= line.running;
        let (waiting, shown) = match &mut line.waiters {
            Some(waiters) => (std::mem::take(&mut waiters.all), waiters.shown.take()),
            None => Default::default(),
        };
        if let Some(network) = self.networks.get_mut(&network_of(host))
            && let Some(place) = shown
        {
            network.firsts.remove(&place);
        }
        self.change_crowd(network_of(host), |crowd| {
            waiting.iter().for_each(|(place, _)| {
                crowd.remove(place);
            });
        });
        if let Some(waiters) = &mut self.line(host).waiters {
            waiters.all = waiting;
        }
        self.show_network(network_of(host));
        self.show(host);
    }

    fn line(&mut self, host: Host) -> &mut HostLine {
        let line = self.hosts.get_mut(&host);
        line.expect("whoever waits or runs has a line")
    }

    /// Shows the first of a line to its network or to the front, or nobody.
    fn show(&mut self, host: Host) {
        let Some(line) = self.hosts.get(&host) else {
            return;
        };
        let is_full = self.is_full(host, line);
        let line = self.hosts.get_mut(&host).expect("it was there");
        let network = (!line.is_proven).then(|| network_of(host));
        let level = match network {
            None => &mut self.proven,
            Some(network) => &mut self.networks.entry(network).or_default().firsts,
        };
        if let Some(waiters) = &mut line.waiters {
            let first = waiters.queued.front().filter(|_| !is_full).copied();
            replace(level, &mut waiters.shown, first);
        }
        if let Some(network) = network {
            self.show_network(network);
        }
    }

    /// Shows the first of a network to the front of strangers, or nobody.
    fn show_network(&mut self, network: Network) {
        let Some(line) = self.networks.get_mut(&network) else {
            return;
        };
        let first = line.firsts.first_key_value();
        let first = first.filter(|_| !line.is_drained);
        let first = first.map(|(&place, &client)| (place, client));
        replace(&mut self.strangers, &mut line.shown, first);
        if line.is_over() {
            self.networks.remove(&network);
        }
    }

    fn forget(&mut self, host: Host) {
        let Some(line) = self.hosts.get_mut(&host) else {
            return;
        };
        line.waiters.take_if(|waiters| waiters.is_over());
        if line.waiters.is_none() && line.running == 0 {
            self.hosts.remove(&host);
        }
    }

    // Bounds of what waits.

    /// One more client of `host` may wait.
    pub(super) fn has_room_for(&self, host: Host) -> bool {
        let waiters = self.hosts.get(&host).and_then(|line| line.waiters.as_ref());
        let waiting = waiters.map_or(0, |waiters| waiters.all.len());
        waiting < self.limits.per_client_pending || !self.limits.bounds(host)
    }

    /// The queue is full, and a client of `host` comes: the newest of those who wait in the network whose
    /// strangers crowd the queue, if one does and `host` is none of them.
    pub(super) fn newest_of_crowd(&self, host: Host, is_proven: bool) -> Option<usize> {
        let waiting =
            |network: Network| self.networks.get(&network).map_or(0, |it| it.waiting.len());
        let crowd = self.crowds.iter().copied();
        let network = crowd.max_by_key(|&network| waiting(network))?;
        if !is_proven && waiting(network) <= waiting(network_of(host)) + 1 {
            return None;
        }
        let waiting = &self.networks.get(&network)?.waiting;
        waiting.last_key_value().map(|(_, &newest)| newest)
    }

    /// The clients of `host` that wait, in the order in which they became pending or held.
    pub(super) fn waiting_of(&self, host: Host) -> impl Iterator<Item = usize> + '_ {
        let line = self.hosts.get(&host);
        let waiters = line.and_then(|line| line.waiters.as_ref());
        let all = waiters.map_or(&[][..], |waiters| &waiters.all);
        all.iter().map(|&(_, client)| client)
    }

    fn change_crowd(&mut self, network: Network, change: impl FnOnce(&mut BTreeMap<Place, usize>)) {
        let waiting = &mut self.networks.entry(network).or_default().waiting;
        let was_crowd = waiting.len() > self.limits.crowd();
        change(waiting);
        match (was_crowd, waiting.len() > self.limits.crowd()) {
            (false, true) => self.crowds.push(network),
            (true, false) => self.crowds.retain(|&other| other != network),
            (false, false) | (true, true) => {}
        }
    }

    // Networks without first packets.

    /// The network of `host` has no first packet left: its strangers wait a moment.
    pub(super) fn drain(&mut self, now: Moment, host: Host) {
        let network = network_of(host);
        let line = self.networks.entry(network).or_default();
        if !std::mem::replace(&mut line.is_drained, true) {
            self.drained.push_back((now + DRAINED_PAUSE, network));
            self.show_network(network);
        }
    }

    /// The network has no first packet left.
    pub(super) fn is_drained(&self, network: Network) -> bool {
        let line = self.networks.get(&network);
        line.is_some_and(|line| line.is_drained)
    }

    /// Looks again at those whose moment is over.
    pub(super) fn refill(&mut self, now: Moment) {
        while let Some(&(at, network)) = self.drained.front()
            && at <= now
        {
            self.drained.pop_front();
            if let Some(line) = self.networks.get_mut(&network) {
                line.is_drained = false;
            }
            self.show_network(network);
        }
    }

    /// When [`Queue::refill`] has something to do.
    pub(super) fn next_refill(&self) -> Option<Moment> {
        self.drained.front().map(|&(at, _)| at)
    }
}

/// For the audit.
impl Queue {
    /// Everybody who stands in a line, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> + '_ {
        let waiters = self.hosts.values().filter_map(|line| line.waiters.as_ref());
        let queued = waiters.flat_map(|waiters| &waiters.queued);
        queued.map(|&(_, client)| client)
    }

    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.queued
    }
}

impl Waiters {
    fn is_over(&self) -> bool {
        self.all.is_empty() && self.queued.is_empty()
    }
}

impl NetworkLine {
    fn is_over(&self) -> bool {
        !self.is_drained && self.firsts.is_empty() && self.waiting.is_empty()
    }
}

/// Puts `first` into a level in place of what was shown there before.
fn replace(
    level: &mut BTreeMap<Place, usize>,
    shown: &mut Option<Place>,
    first: Option<(Place, usize)>,
) {
    let place = first.map(|(place, _)| place);
    if *shown == place {
        return;
    }
    if let Some(old) = std::mem::replace(shown, place) {
        level.remove(&old);
    }
    if let Some((place, client)) = first {
        let other = level.insert(place, client);
        debug_assert!(other.is_none(), "two clients at one place");
    }
}

/// How long a network without first packets is not looked at: two or three have come into its bucket then.
pub(super) const DRAINED_PAUSE: Duration = Duration::from_millis(100);
