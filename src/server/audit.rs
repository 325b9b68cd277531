//! What must hold between any two calls of a [`Server`]. Tests and the simulator ask after every turn.

use std::collections::HashSet;

use crate::moment::Moment;

use super::Server;
use super::client::{Phase, Stage};
use super::wheel::TICK;

impl Server {
    /// Checks the books. It looks at every client, so it is for tests.
    ///
    /// # Panics
    /// Where they are wrong: that is a bug of ours.
    pub fn audit(&self, now: Moment) {
        self.audit_slots();
        self.audit_queue(now);
        self.audit_indexes();
        for (_, client) in &self.clients {
            let timer = client
                .timer
                .expect("every client has an entry in the wheel");
            assert!(
                timer.comes_up < client.deadline() + TICK,
                "a timer comes up too late"
            );
            if let Some(transfer) = client.transfer() {
                transfer.audit();
                let has_more = transfer.datagrams(1).is_some();
                let will_be_asked = client.is_ready || client.is_blocked;
                assert!(
                    !has_more || will_be_asked,
                    "a client with something to send is forgotten"
                );
            }
        }
    }

    fn audit_slots(&self) {
        let count = |wanted: Phase| {
            let is_meant = |stage: &Stage| match stage {
                Stage::Pending(_) => false,
                Stage::Served(served) => served.phase == wanted,
            };
            self.clients
                .iter()
                .filter(|(_, client)| is_meant(&client.stage))
                .count()
        };
        assert_eq!(self.running, count(Phase::Running), "slots are miscounted");
        assert_eq!(
            self.finishing,
            count(Phase::Finishing),
            "finishing clients are miscounted"
        );
        assert!(
            self.running <= self.limits.max_transfers,
            "more run than there are slots"
        );
        assert!(
            self.finishing <= self.limits.max_finishing(),
            "too many wait for a last ACK"
        );
    }

    /// To be asked after [`Server::on_wakeup`]: until then a free slot may wait for its next client.
    fn audit_queue(&self, now: Moment) {
        assert!(
            self.queue.len() <= self.limits.max_pending,
            "the queue is too long"
        );
        assert!(
            self.queue.is_empty() || !self.has_free_slot(now),
            "a slot is free and somebody waits"
        );
        let pending = |(id, client): (usize, &super::Client)| {
            matches!(client.stage, Stage::Pending(_)).then_some(id)
        };
        let pending: HashSet<usize> = self.clients.iter().filter_map(pending).collect();
        let queued: HashSet<usize> = self.queue.iter().map(|(_, id)| id).collect();
        assert_eq!(pending, queued, "the queue and the waiting clients differ");
        assert_eq!(
            queued.len(),
            self.queue.len(),
            "somebody stands in the queue twice"
        );
    }

    fn audit_indexes(&self) {
        assert_eq!(
            self.by_peer.len(),
            self.clients.len(),
            "one client per peer"
        );
        let waiting_there: usize = self.waiting_of.values().map(Vec::len).sum();
        assert_eq!(
            waiting_there,
            self.queue.len(),
            "the list of a host is wrong"
        );
        for (id, client) in &self.clients {
            assert_eq!(
                self.by_peer.get(&client.peer),
                Some(&id),
                "a client is not found by its peer"
            );
        }
    }
}
