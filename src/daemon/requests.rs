//! What comes in at the listening sockets, and how that ends: requests, and, where all transfers take place there
//! (`--single-port`), what clients answer and errors of packets to any of them.

use std::io::{Error, ErrorKind};
use std::mem;

use super::Daemon;
use super::events::LogEvent;
use super::io::is_about_earlier;
use super::lookups::{Request, Sought};
use crate::config::PORT;
use crate::moment::Moment;
use crate::os::receive::{Batch, Received};
use crate::server::{Heard, Local};
use crate::wire::{self, Malformed, Peer};

impl Daemon {
    /// Hands requests to the server, a bounded number from each listening socket. While the server stops they stay
    /// unread: a port that is open but silent makes firmware ask again, and the next instance answers. A shared socket
    /// is read on, and requests are dropped. While the roots are looked at, requests wait as well, so the first one after
    /// a swap has the new directory.
    pub(super) fn receive_requests(&mut self, now: Moment) {
        let is_stopping = self.server.is_stopping();
        if is_stopping && !self.world.is_shared() {
            self.unread_listeners.clear();
        }
        if !is_stopping && !self.unread_listeners.is_empty() {
            self.look_at_roots(now);
        }
        let must_wait = !is_stopping && self.roots_awaited_until(now).is_some();
        if !must_wait && mem::take(&mut self.requests_wait) {
            self.hand_in(now, &Sought::Roots);
        }
        if must_wait && !self.world.is_shared() {
            return;
        }
        let mut listeners = mem::take(&mut self.unread_listeners);
        let mut requests = mem::take(&mut self.requests);
        listeners.retain(|&number| self.read_listener(now, &mut requests, number, must_wait));
        self.requests = requests;
        self.unread_listeners = listeners;
        self.world.forget_found();
    }

    /// Reads a bounded number of datagrams. Returns whether there may be more.
    fn read_listener(
        &mut self,
        now: Moment,
        requests: &mut Batch,
        number: usize,
        must_wait: bool,
    ) -> bool {
        for _ in 0..REQUEST_BATCHES {
            match requests.receive(&self.world.listeners[number]) {
                Ok(datagrams) => {
                    for received in datagrams.iter() {
                        self.take(now, number, received, must_wait);
                    }
                    if !datagrams.is_full() {
                        return false;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if is_about_earlier(&error) => {}
                Err(error) => {
                    self.world.log.write(now, &LogEvent::ListenFailed(&error));
                    return false;
                }
            }
        }
        true
    }

    /// A datagram came to a listening socket: a request, or, where that is shared, what a client answers.
    fn take(&mut self, now: Moment, listener: usize, received: Received<'_>, must_wait: bool) {
        self.world.metrics.traffic.received_datagrams += 1;
        let (server, world) = (&mut self.server, &mut self.world);
        // No answer ever reaches port 0.
        let Some(peer) = received.from.map(Peer::from) else {
            return;
        };
        if peer.port == 0 {
            return server.drop_malformed(world, peer, Malformed::Unanswerable);
        }
        if !self.rules.access.allows(peer.address) {
            return server.count_denied();
        }
        if received.is_truncated {
            return server.drop_malformed(world, peer, Malformed::Oversized);
        }
        let datagram = received.bytes;
        if world.is_shared() {
            if let Some(client) = server.recipient(peer, datagram) {
                if let Some(open) = world.connection(client) {
                    open.is_unheard = false;
                }
                server.on_reply(now, world, client, datagram);
                return;
            }
            // To send what another server is made to write would copy a file by two forged requests.
            let ports = [PORT, world.listeners[listener].address().port()];
            if ports.contains(&peer.port) && datagram.starts_with(&[0, 2]) {
                return server.drop_malformed(world, peer, Malformed::Unanswerable);
            }
        }
        let asked = world.listeners[listener].destination(received);
        let local = Local {
            address: asked.address,
            interface: asked.interface,
            listener,
            is_broadcast: asked.is_broadcast,
        };
        self.judge(now, peer, local, datagram, must_wait);
    }

    /// What some have waited for is known now.
    pub(super) fn hand_in(&mut self, now: Moment, sought: &Sought) {
        let Daemon { server, world, .. } = self;
        let found = world.lookups.end(now, sought);
        for request in found.requests {
            let (peer, local) = (request.peer, request.local);
            // Its file may have to be looked up once more.
            let heard = server.on_request(now, world, peer, local, &request.datagram);
            if let Heard::Busy(Some(awaited)) = heard {
                world.lookups.add(awaited, request);
            }
        }
        for client in found.clients {
            server.on_found(now, client);
        }
        // The next client takes what was found.
        server.on_wakeup(now, world);
        world.forget_found();
    }

    /// Hands a request to the server. It waits if the roots have to be looked at first, or its file has to be looked up.
    fn judge(&mut self, now: Moment, peer: Peer, local: Local, datagram: &[u8], must_wait: bool) {
        let Daemon { server, world, .. } = self;
        let request = || Request {
            peer,
            local,
            datagram: datagram.into(),
            at: now,
        };
        // What is no request takes no place of one.
        if must_wait
            && wire::Request::parse(datagram).is_ok()
            && let Some(awaited) = world.lookups.await_for(None, Sought::Roots, |_| true)
        {
            self.requests_wait = true;
            return world.lookups.add(awaited, request());
        }
        match server.on_request(now, world, peer, local, datagram) {
            Heard::Busy(Some(awaited)) => world.lookups.add(awaited, request()),
            // It counts for nothing, and what the client asked before for as much as ever.
            Heard::Busy(None) | Heard::NoRequest => {}
            Heard::Judged => world.lookups.forget(peer),
        }
    }

    pub(super) fn look_at_roots(&mut self, now: Moment) {
        for root in &mut self.roots {
            root.look(now, &self.world.files, &self.world.helper);
        }
    }

    /// Until when requests wait for a look at the roots.
    pub(super) fn roots_awaited_until(&self, now: Moment) -> Option<Moment> {
        let until = self.roots.iter().map(|root| root.waits_until(now));
        until.flatten().max()
    }

    /// Ends the clients whose ports are closed, as the kernel was told; a bounded number at once.
    pub(super) fn receive_rejections(&mut self, now: Moment) {
        let Daemon {
            server,
            world,
            rejecting,
            ..
        } = self;
        rejecting.retain(|&number| {
            for _ in 0..REJECTIONS_AT_ONCE {
                let Some(rejected) = world.listeners[number].rejected() else {
                    return false;
                };
                let error = Error::from_raw_os_error(rejected.error);
                // There may be two, which ask for the same file.
                for _ in 0..2 {
                    if let Some(client) = server.client_of(rejected.to.into())
                        && world.rejected(client, &error, rejected.by)
                    {
                        server.on_port_closed(now, world, client);
                    }
                }
            }
            true
        });
    }
}

/// Requests taken with one system call, and how often in one turn before transfers have theirs.
pub(super) const REQUESTS_AT_ONCE: usize = 64;
const REQUEST_BATCHES: usize = 4;
/// As many as there may be requests.
const REJECTIONS_AT_ONCE: usize = 256;
