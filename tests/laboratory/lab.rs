//! A server in its world, and the turns of the daemon's loop in virtual time.

use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::name::RootPrefixes;
use ripple_tftpd::server::{Limits, Local, Server};
use ripple_tftpd::wire::Peer;

use super::site::Site;
use super::world::World;

#[derive(Debug)]
pub(crate) struct Lab<S> {
    pub(crate) server: Server,
    pub(crate) world: World<S>,
    pub(crate) limits: Limits,
    turns: u64,
    /// The server is audited once in this number of turns: in each, but where thousands of clients make that too slow.
    pub(crate) audited_every: u64,
}

impl<S: Site> Lab<S> {
    /// A server that has just been started, in a world without files.
    pub(crate) fn start(now: Moment, limits: Limits, root: RootPrefixes, site: S) -> Lab<S> {
        Lab {
            server: Server::new(now, limits),
            world: World::new(now, site, root),
            limits,
            turns: 0,
            audited_every: 1,
        }
    }

    // What arrives.

    /// On a listening socket.
    pub(crate) fn request(&mut self, peer: Peer, local: Local, datagram: &[u8]) {
        self.world.expect_request(peer, local);
        let now = self.world.now;
        self.server
            .on_request(now, &mut self.world, peer, local, datagram);
    }

    /// On the socket of a client.
    pub(crate) fn reply(&mut self, client: usize, datagram: &[u8]) {
        self.world.expect_reply(client);
        let now = self.world.now;
        self.server.on_reply(now, &mut self.world, client, datagram);
    }

    /// The socket of a client may hold something.
    pub(crate) fn readable(&mut self, client: usize) {
        let now = self.world.now;
        while self.server.on_readable(now, &mut self.world, client) {}
    }

    /// ICMP port unreachable, on the socket of a client.
    pub(crate) fn port_closes(&mut self, client: usize) {
        let now = self.world.now;
        self.server.on_port_closed(now, &mut self.world, client);
    }

    /// The socket of a client takes packets again.
    pub(crate) fn becomes_writable(&mut self, client: usize) {
        self.world.becomes_writable(client);
        self.server.on_writable(client);
    }

    /// SIGTERM.
    pub(crate) fn stop(&mut self) {
        let (now, drain) = (self.world.now, self.limits.patience);
        self.server.stop(now, &mut self.world, drain);
    }

    // Turns.

    /// The server is audited after the wake-up: it is then that nobody may wait beside a free slot.
    pub(crate) fn wake(&mut self) {
        self.turns += 1;
        assert!(self.turns <= TURNS_MAX, "the server never comes to rest");
        while let Some((client, stored)) = self.world.take_stored() {
            let now = self.world.now;
            self.server.on_stored(now, &mut self.world, client, stored);
        }
        self.server.on_wakeup(self.world.now, &mut self.world);
        if self.turns.is_multiple_of(self.audited_every) {
            self.server.audit(self.world.now);
        }
    }

    pub(crate) fn send(&mut self) {
        self.server.send_ready(self.world.now, &mut self.world);
        self.check();
    }

    /// What must hold at any time and takes none to look at.
    pub(crate) fn check(&self) {
        let open = self.world.open_now();
        assert!(self.server.running() <= self.limits.max_transfers);
        assert!(self.server.running() <= open);
        assert!(open <= self.limits.max_sockets());
        assert_eq!(self.server.serving(), open);
    }

    /// Turns until the server would sleep, without time passing.
    pub(crate) fn come_to_rest(&mut self) {
        for _ in 0..AT_REST_AFTER {
            self.wake();
            self.send();
            if !self.wants_a_turn() {
                return;
            }
        }
        panic!("the server spins without sleeping");
    }

    /// The server would not sleep now.
    pub(crate) fn wants_a_turn(&self) -> bool {
        let is_due = |at| at <= self.world.now;
        self.server.has_ready() || self.next_wakeup().is_some_and(is_due)
    }

    /// When the next turn is, if nothing comes.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        let both = [self.server.next_wakeup(), self.world.next_stored()];
        both.into_iter().flatten().min()
    }

    /// There is room again for what a peer sends.
    pub(crate) fn has_room(&mut self, peer: Peer) {
        self.world.wanting.remove(&peer);
        self.world.full.remove(&peer);
        if let Some(client) = self.world.client_of(peer) {
            self.server.on_room(self.world.now, client);
        }
    }

    // Time.

    /// Lets time pass, with turns whenever the server asked for one, and at the end.
    pub(crate) fn pass_until(&mut self, until: Moment) {
        assert!(self.world.now <= until, "time does not go back");
        while let Some(wakeup) = self.next_wakeup()
            && wakeup <= until
        {
            self.world.now = self.world.now.max(wakeup);
            self.come_to_rest();
        }
        self.world.now = until;
        self.come_to_rest();
    }

    pub(crate) fn pass(&mut self, span: Duration) {
        self.pass_until(self.world.now + span);
    }

    /// Lets time pass until the server would sleep for ever. Returns how many turns that took.
    pub(crate) fn wakeups_until_asleep(&mut self) -> u64 {
        let turns_before = self.turns;
        while let Some(wakeup) = self.next_wakeup() {
            self.world.now = self.world.now.max(wakeup);
            self.come_to_rest();
        }
        self.turns - turns_before
    }

    /// Lets time pass without a turn, as if the machine had been busy with something else.
    pub(crate) fn oversleep(&mut self, span: Duration) {
        self.world.now = self.world.now + span;
    }
}

/// Turns in one test: far more than any needs.
const TURNS_MAX: u64 = 2_000_000;

/// Turns at one moment. A whole window leaves in a few.
const AT_REST_AFTER: u32 = 1_000;
