//! What must hold between any two calls of a [`Server`], and what holds once it was woken. Tests, fuzzers
//! and the simulator ask.

use std::collections::{HashMap, HashSet};

use crate::moment::Moment;

use super::client::{Again, Client, Phase, Served};
use super::hosts::{Host, host_of};
use super::networks::network_of;
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
            running_large: running.filter(|(_, client)| client.place.is_large).count(),
            lent: in_phase(Some(Phase::Lent)).count(),
            finishing: in_phase(Some(Phase::Finishing)).count(),
            overtaken: self.overtaken().count(),
        };
        assert_eq!(self.count, count, "clients are miscounted");
        let limits = &self.limits;
        assert!(
            count.running <= limits.max_transfers,
            "more run than there are slots"
        );
        assert!(
            count.running_large <= limits.large_slots(),
            "large files have the slots of small ones"
        );
        assert!(
            count.lent <= limits.max_lent(),
            "too many go on without a slot"
        );
        assert!(
            count.finishing + count.overtaken <= limits.max_finishing(),
            "too many are open without a slot or a place"
        );
        // A client that lost its slot goes back to those who wait, whatever their number.
        let waiting = count.pending + count.held;
        assert!(
            waiting <= limits.max_pending + limits.max_transfers + limits.max_lent(),
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
                client.phase().is_some() || client.is_queued || client.is_aside(),
                "a pending client is forgotten"
            );
        }
    }

    /// Whoever waits beside a free slot has reached a bound of its host or is a stranger who has to wait;
    /// nobody else's bound is reached, and none is passed.
    fn audit_turns(&self, now: Moment) {
        let mut by_host: HashMap<Host, usize> = HashMap::new();
        for (_, client) in &self.clients {
            if matches!(client.phase(), Some(Phase::Running | Phase::Lent)) {
                *by_host.entry(host_of(client.peer)).or_default() += 1;
            }
        }
        let limits = &self.limits;
        for (&host, &running) in &by_host {
            let may = running <= limits.per_client || !limits.bounds(host);
            assert!(may, "one client has too many slots");
        }
        let strangers = by_host
            .iter()
            .filter(|&(&host, _)| !self.queue.is_proven(host));
        let strangers: usize = strangers.map(|(_, &running)| running).sum();
        assert!(
            strangers <= limits.slots_for_strangers(),
            "strangers have too many slots"
        );
        for (_, client) in &self.clients {
            let is_free = !self.is_paused(now) && self.has_slot(client.place.is_large);
            if !client.is_queued || !is_free {
                continue;
            }
            let host = host_of(client.peer);
            let host_is_full = limits.bounds(host)
                && by_host
                    .get(&host)
                    .is_some_and(|&running| running >= limits.per_client);
            let stranger_waits = !self.queue.is_proven(host)
                && (strangers >= limits.slots_for_strangers()
                    || self.queue.is_drained(network_of(host)));
            assert!(
                host_is_full || stranger_waits,
                "a slot is free and somebody waits who may have it"
            );
        }
    }

    fn audit_indexes(&self) {
        assert_eq!(
            self.by_peer.len() + self.count.overtaken,
            self.clients.len(),
            "one client per peer, or two of which one is overtaken"
        );
        for (id, client) in &self.clients {
            let mut waiting = self.queue.waiting_of(host_of(client.peer));
            let waits = matches!(client.phase(), None | Some(Phase::Held));
            assert_eq!(
                waiting.any(|other| other == id),
                waits,
                "the list of a host is wrong"
            );
            let newest = match client.phase() {
                Some(Phase::Overtaken { by }) => by,
                _ => id,
            };
            assert_eq!(
                self.by_peer.get(&client.peer),
                Some(&newest),
                "a client is not found by its peer"
            );
            self.audit_pair(id, client);
        }
    }

    /// Of two clients of one peer each knows the other; the newer has not answered, the older has.
    fn audit_pair(&self, id: usize, client: &Client) {
        if let Some(Phase::Overtaken { by }) = client.phase() {
            let newer = &self.clients[by];
            assert_eq!(newer.again(), Some(Again::Answers { older: id }));
            assert_eq!(client.again(), Some(Again::No));
            assert_eq!(newer.name.as_name(), client.name.as_name());
        }
        match client.again() {
            Some(Again::Answers { older }) => {
                let by = Phase::Overtaken { by: id };
                assert_eq!(self.clients[older].phase(), Some(by));
                assert!(client.is_unanswered(), "who answers has decided");
            }
            Some(Again::Asked { .. }) => {
                assert!(!client.is_unanswered(), "a repeat in the handshake");
            }
            Some(Again::No) | None => {}
        }
    }

    fn overtaken(&self) -> impl Iterator<Item = &Client> {
        let clients = self.clients.iter().map(|(_, client)| client);
        clients.filter(|client| matches!(client.phase(), Some(Phase::Overtaken { .. })))
    }
}
