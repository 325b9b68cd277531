//! What must hold between any two calls of a [`Server`], and what holds once it was woken. Tests, fuzzers
//! and the simulator ask.

use std::collections::{HashMap, HashSet};

use crate::moment::Moment;

use super::client::{Client, Phase, Served};
use super::hosts::{Host, host_of};
use super::pending::Size;
use super::unproven::{Network, network_of};
use super::wheel::TICK;
use super::{Count, Server};

impl Server {
    /// Checks everything, after [`Server::on_wakeup`]. It looks at every client, so it is for tests.
    ///
    /// # Panics
    /// Where something is wrong: that is a bug of ours.
    pub fn audit(&self, now: Moment) {
        self.audit_books();
        self.audit_line(now);
        self.audit_turns(now);
        for (_, client) in &self.clients {
            // A held client is fed when its timer comes up.
            let will_be_asked = client.is_ready || client.is_blocked;
            let has_to_send = |served: &Served| served.has_to_send(now - TICK);
            assert!(
                !client.served().is_some_and(has_to_send) || will_be_asked,
                "a client with something to send is forgotten"
            );
        }
    }

    /// Checks that nobody waits for a slot that is free, after [`Server::on_wakeup`]. It takes no time.
    ///
    /// # Panics
    /// As [`Server::audit`].
    pub fn audit_line(&self, now: Moment) {
        assert!(
            self.next_in_line(now).is_none(),
            "a slot is free and somebody waits"
        );
    }

    /// Checks what must hold after every call, whichever it was.
    ///
    /// # Panics
    /// As [`Server::audit`].
    pub fn audit_books(&self) {
        self.audit_slots();
        self.audit_queue();
        self.audit_indexes();
        for (_, client) in &self.clients {
            self.audit_client(client);
        }
    }

    fn audit_client(&self, client: &Client) {
        let timer = client
            .timer
            .expect("every client has an entry in the wheel");
        assert!(
            timer.comes_up < client.deadline(self.limits.reclaim) + TICK,
            "a timer comes up too late"
        );
        assert!(
            client.is_blocked || client.try_again_at.is_none(),
            "who may send is to be asked to try again"
        );
        if let Some(served) = client.served() {
            served.transfer.audit();
        }
    }

    fn audit_slots(&self) {
        let in_phase = |phase: Option<Phase>| {
            self.clients
                .iter()
                .filter(move |(_, client)| client.phase() == phase)
        };
        let running = in_phase(Some(Phase::Running));
        let count = Count {
            pending: in_phase(None).count(),
            held: in_phase(Some(Phase::Held)).count(),
            running: in_phase(Some(Phase::Running)).count(),
            running_bulk: running
                .filter(|(_, client)| client.size == Size::Bulk)
                .count(),
            finishing: in_phase(Some(Phase::Finishing)).count(),
        };
        assert_eq!(self.count, count, "clients are miscounted");
        let limits = &self.limits;
        let bulk_slots = limits.max_transfers - limits.small_slots();
        assert!(
            count.running <= limits.max_transfers,
            "more run than there are slots"
        );
        assert!(
            count.running_bulk <= bulk_slots,
            "large files have the slots of small ones"
        );
        assert!(
            count.finishing <= limits.max_finishing(),
            "too many wait for a last ACK"
        );
        // A client that lost its slot goes back to those who wait, whatever their number.
        let waiting = count.pending + count.held;
        assert!(
            waiting <= limits.max_pending + limits.max_transfers,
            "too many wait"
        );
    }

    fn audit_queue(&self) {
        let queued: HashSet<usize> = self.queue.all().collect();
        assert_eq!(
            queued.len(),
            self.queue.len(),
            "somebody stands in the queue twice"
        );
        for (id, client) in &self.clients {
            assert_eq!(
                client.is_queued,
                queued.contains(&id),
                "the queue and its clients differ"
            );
            let may_wait = matches!(client.phase(), None | Some(Phase::Held));
            assert!(
                may_wait || !client.is_queued,
                "somebody with a slot waits for one"
            );
            assert!(
                client.phase().is_some() || client.is_queued,
                "a pending client is forgotten"
            );
        }
    }

    /// Whoever waits beside a free slot has reached a bound of its host or its network; nobody else's
    /// bound is reached, and none is passed.
    fn audit_turns(&self, now: Moment) {
        let mut by_host: HashMap<Host, usize> = HashMap::new();
        let mut by_network: HashMap<(Network, bool), usize> = HashMap::new();
        for (_, client) in &self.clients {
            if client.phase() != Some(Phase::Running) {
                continue;
            }
            let host = host_of(client.peer);
            *by_host.entry(host).or_default() += 1;
            if !self.hosts.is_proven(host) {
                let is_bulk = client.size == Size::Bulk;
                *by_network.entry((network_of(host), is_bulk)).or_default() += 1;
            }
        }
        let limits = &self.limits;
        for (&host, &running) in &by_host {
            let may = running <= limits.per_client || !limits.bounds(host);
            assert!(may, "one client has too many slots");
        }
        let of = |network, is_bulk| by_network.get(&(network, is_bulk)).copied().unwrap_or(0);
        for &(network, _) in by_network.keys() {
            let (small, bulk) = (of(network, false), of(network, true));
            let may = bulk <= limits.slots_for_network(Size::Bulk)
                && small + bulk <= limits.slots_for_network(Size::Small);
            assert!(may, "strangers of one network have too many slots");
        }
        let all: usize = by_network.values().sum();
        let bulk_of =
            |(&(_, is_bulk), &count): (&(Network, bool), &usize)| count * usize::from(is_bulk);
        let all_bulk: usize = by_network.iter().map(bulk_of).sum();
        let strangers_are_full = |size| {
            all >= limits.slots_for_strangers(Size::Small)
                || (size == Size::Bulk && all_bulk >= limits.slots_for_strangers(Size::Bulk))
        };
        assert!(
            all <= limits.slots_for_strangers(Size::Small)
                && all_bulk <= limits.slots_for_strangers(Size::Bulk),
            "strangers have too many slots"
        );
        for (_, client) in &self.clients {
            if !client.is_queued || self.is_paused(now) || !self.has_slot(client.size) {
                continue;
            }
            let host = host_of(client.peer);
            let network = network_of(host);
            let (small, bulk) = (of(network, false), of(network, true));
            let host_is_full = by_host
                .get(&host)
                .is_some_and(|&it| it >= limits.per_client);
            let network_is_full = small + bulk >= limits.slots_for_network(Size::Small)
                || (client.size == Size::Bulk && bulk >= limits.slots_for_network(Size::Bulk))
                || strangers_are_full(client.size)
                || self.queue.is_drained(network);
            let must_wait = (host_is_full && limits.bounds(host))
                || (network_is_full && !self.hosts.is_proven(host));
            assert!(
                must_wait,
                "a slot is free and somebody waits who may have it"
            );
        }
    }

    fn audit_indexes(&self) {
        assert_eq!(
            self.by_peer.len(),
            self.clients.len(),
            "one client per peer"
        );
        for (id, client) in &self.clients {
            let mut waiting = self.queue.waiting_of(host_of(client.peer));
            let waits = matches!(client.phase(), None | Some(Phase::Held));
            assert_eq!(
                waiting.any(|other| other == id),
                waits,
                "the list of a host is wrong"
            );
            assert_eq!(
                self.by_peer.get(&client.peer),
                Some(&id),
                "a client is not found by its peer"
            );
        }
    }
}
