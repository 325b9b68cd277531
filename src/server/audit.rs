//! What must hold between any two calls of a [`Server`], and what holds once it was woken. Tests, fuzzers
//! and the simulator ask.

use std::collections::{HashMap, HashSet};

use crate::moment::Moment;

use super::Server;
use super::change::Count;
use super::client::{Again, Client, Output, Stage};
use super::hosts::{Host, host_of};
use super::wheel::TICK;

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
            // A held client is sent its block when its timer comes up.
            assert!(
                !client.has_to_send(now - TICK) || client.output != Output::Idle,
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
            "a slot is free and a client waits"
        );
    }

    /// Checks what must hold after every call, whichever it was.
    ///
    /// # Panics
    /// As [`Server::audit`].
    pub fn audit_books(&self) {
        self.audit_counts();
        let ready: HashSet<usize> = self.ready.iter().copied().collect();
        let in_line: HashSet<usize> = self.queue.all().collect();
        assert_eq!(in_line.len(), self.queue.len(), "a client is in line twice");
        for (id, client) in &self.clients {
            assert_eq!(
                client.stage.is_in_line(),
                in_line.contains(&id),
                "the queue and its clients differ"
            );
            let mut waiting = self.queue.waiting_of(host_of(client.peer));
            assert_eq!(
                waiting.any(|other| other == id),
                client.stage.wait().is_some(),
                "the list of a host is wrong"
            );
            // A client in that list is looked at before anything else may be due.
            match client.output {
                Output::Ready => assert!(ready.contains(&id), "its turn to send never comes"),
                Output::Idle | Output::Full | Output::Absent { .. } => self.audit_timer(client),
            }
            self.audit_client(id, client);
        }
    }

    /// What was due before the client had its turn to send is due in the next turn of the wheel: nothing comes up before.
    fn audit_timer(&self, client: &Client) {
        let comes_up = client.timer.expect("every client has one");
        assert!(
            comes_up < client.deadline(self.limits.reclaim) + TICK
                || self.wheel.comes_up_next(comes_up),
            "a timer comes up too late"
        );
    }

    fn audit_client(&self, id: usize, client: &Client) {
        if let Some(transfer) = client.transfer() {
            transfer.audit();
        }
        // Of two clients of one peer each knows the other; the newer has not answered, the older has.
        let newest = match client.stage {
            Stage::Overtaken { by, .. } => {
                let newer = &self.clients[by];
                assert_eq!(newer.again(), Again::Answers { older: id });
                assert_eq!(client.again(), Again::No);
                assert_eq!(newer.name.as_name(), client.name.as_name());
                by
            }
            _ => id,
        };
        assert_eq!(
            self.by_peer.get(&client.peer),
            Some(&newest),
            "a client is not found by its peer"
        );
        match client.again() {
            Again::Answers { older } => {
                let older = &self.clients[older].stage;
                assert!(matches!(*older, Stage::Overtaken { by, .. } if by == id));
                assert!(client.is_unanswered(), "who answers has decided");
            }
            Again::Asked { .. } => {
                assert!(!client.is_unanswered(), "a repeat in the handshake");
            }
            Again::No => {}
        }
    }

    fn audit_counts(&self) {
        let mut count = Count::default();
        for (_, client) in &self.clients {
            *count.of(&client.stage) += 1;
            let is_running = matches!(client.stage, Stage::Running { .. });
            count.running_large += usize::from(is_running && client.place.is_large);
        }
        assert_eq!(self.count, count, "clients are miscounted");
        assert_eq!(self.by_peer.len() + count.overtaken, self.clients.len());
        let limits = &self.limits;
        let without_slot = count.finishing + count.overtaken;
        // A client that lost its slot goes back to those who wait, whatever their number.
        let max_waiting = limits.max_pending + limits.max_transfers + limits.max_lent();
        for (is_within, what) in [
            (count.running <= limits.max_transfers, "too many run"),
            (
                count.running_large <= limits.large_slots(),
                "large files have the slots of small ones",
            ),
            (count.lent <= limits.max_lent(), "too many have lent"),
            (
                count.dallying <= limits.max_kept().max(limits.max_finishing()),
                "too many dally",
            ),
            (
                without_slot <= limits.max_finishing(),
                "too many have neither slot nor place",
            ),
            (count.waiting() <= max_waiting, "too many wait"),
        ] {
            assert!(is_within, "{what}");
        }
    }

    /// No bound of a host is passed, nor that of unvalidated clients; who waits beside a free slot may not have it.
    fn audit_turns(&self, now: Moment) {
        let mut by_host: HashMap<Host, usize> = HashMap::new();
        for (_, client) in &self.clients {
            let is_counted = matches!(client.stage, Stage::Running { .. } | Stage::Lent);
            *by_host.entry(host_of(client.peer)).or_default() += usize::from(is_counted);
        }
        let limits = &self.limits;
        let mut unvalidated = 0;
        for (&host, &running) in &by_host {
            assert_eq!(self.queue.running_of(host), running, "slots of a host");
            let is_within = running <= limits.per_client || !limits.bounds(host);
            assert!(is_within, "one client has too many slots");
            let is_validated = self.queue.is_validated(host);
            unvalidated += if is_validated { 0 } else { running };
        }
        assert_eq!(self.queue.unvalidated_running(), unvalidated, "their slots");
        let is_within = unvalidated <= limits.slots_for_unvalidated();
        assert!(is_within, "unvalidated clients have too many slots");
        for (_, client) in &self.clients {
            let is_free = !self.is_paused(now) && self.has_slot(client.place.is_large);
            let may_run = is_free && self.queue.may_run(host_of(client.peer));
            assert!(
                !may_run || !client.stage.is_in_line(),
                "a slot is free and a client waits that may have it"
            );
        }
    }
}
