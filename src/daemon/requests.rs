//! What comes in at the listening sockets, and how that ends: requests, and, where all transfers take place there
//! (`--single-port`), what clients answer and errors of packets to any of them.

use std::mem;
use std::time::Duration;

use super::events::LogEvent;
use super::io::{AfterError, World, after_error};
use super::lookups::Request;
use super::{Daemon, REQUEST_BATCHES};
use crate::config::PORT;
use crate::moment::Moment;
use crate::os::listener::Listener;
use crate::os::receive::{Batch, Received};
use crate::server::{Local, Server};
use crate::wire::{Malformed, Peer, Refusal};

impl Daemon {
    /// Hands requests to the server, a bounded number from each listening socket. While the server stops
    /// they stay unread: a port that is open but silent makes firmware ask again, and the next instance answers. A
    /// shared socket is read on, and requests are dropped.
    pub(super) fn receive_requests(&mut self, now: Moment) {
        let is_stopping = self.server.is_stopping();
        if is_stopping && !self.world.is_shared {
            return self.unread_listeners.clear();
        }
        if !is_stopping && !self.unread_listeners.is_empty() {
            let World { files, helper, .. } = &self.world;
            for root in &mut self.roots {
                root.look(now, files, helper.as_ref());
            }
        }
        let must_wait = !is_stopping && self.roots_awaited_until(now).is_some();
        if must_wait && !self.world.is_shared {
            return;
        }
        if !must_wait {
            self.receive_deferred(now);
        }
        if self.unread_listeners.is_empty() {
            return;
        }
        let mut listeners = mem::take(&mut self.unread_listeners);
        let mut requests = mem::take(&mut self.requests);
        listeners.retain(|&number| self.read_listener(now, &mut requests, number, must_wait));
        self.requests = requests;
        self.unread_listeners = listeners;
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
                Err(error) => match after_error(&error) {
                    AfterError::Empty => return false,
                    AfterError::TryAgain => {}
                    AfterError::Report => {
                        self.world.log.write(now, &LogEvent::ListenFailed(&error));
                        return false;
                    }
                },
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
        if world.is_shared
            && let Some(client) = server.recipient(peer, received.bytes)
        {
            world.hear(client);
            server.on_reply(now, world, client, received.bytes);
            return;
        }
        if world.is_shared && is_forged_upload(peer, &world.listeners[listener], received.bytes) {
            return server.drop_malformed(world, peer, Malformed::Unanswerable);
        }
        let asked = world.listeners[listener].destination(received);
        let local = Local {
            address: asked.address,
            interface: asked.interface,
            listener,
            is_everybody: asked.is_everybody,
        };
        match must_wait {
            true => self.defer(now, peer, local, received.bytes),
            false => judge(now, server, world, peer, local, received.bytes),
        }
    }

    /// Takes a request that cannot be judged before the directory was looked at; what comes behind it can. Past the bound
    /// it is forgotten: its client repeats it.
    pub(super) fn defer(&mut self, now: Moment, peer: Peer, local: Local, datagram: &[u8]) {
        if self.deferred.len() < DEFERRED_MAX {
            let request = Request {
                local,
                datagram: datagram.into(),
                at: now,
            };
            self.deferred.push((peer, request));
        }
    }

    /// Judges what was deferred.
    pub(super) fn receive_deferred(&mut self, now: Moment) {
        for (peer, request) in mem::take(&mut self.deferred) {
            let Daemon { server, world, .. } = self;
            judge(now, server, world, peer, request.local, &request.datagram);
        }
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
                // There may be two, which ask for the same file.
                for _ in 0..2 {
                    if let Some(client) = server.client_of(rejected.to.into())
                        && world.rejected(client, &rejected)
                    {
                        server.on_port_closed(now, world, client);
                    }
                }
            }
            true
        });
    }

    /// Lets what this turn sent leave.
    pub(super) fn flush(&mut self, now: Moment) {
        let Daemon { server, world, .. } = self;
        while let Some(client) = world.flush_all() {
            server.on_unreadable(now, world, client, Refusal::ReadFailed);
            server.on_wakeup(now, world);
            server.send_ready(now, world);
        }
    }

    /// Begins to stop; the second time, ends at once.
    pub(super) fn stop(&mut self, now: Moment) {
        let lame_duck = self.rules.lame_duck;
        if self.drain_at.is_some() {
            self.server.abort(now, &mut self.world);
        } else {
            self.manager.stopping();
            self.watch.stopping();
            self.drain_at = Some(now + lame_duck);
            if lame_duck > Duration::ZERO {
                self.server.become_lame_duck();
                self.world.log.write(now, &LogEvent::LameDuck(lame_duck));
            }
        }
    }

    /// Begins the drain if it is time.
    pub(super) fn drain(&mut self, now: Moment) {
        if self.server.is_stopping() || self.drain_at.is_none_or(|at| now < at) {
            return;
        }
        let drain = self.rules.drain;
        self.server.stop(now, &mut self.world, drain);
        let serving = self.server.serving();
        let stopping = LogEvent::Stopping { serving, drain };
        self.world.log.write(now, &stopping);
    }
}

/// Whether a server is made to send what another one is made to write, which would copy a file by two forged requests:
/// where all transfers take place at one port, that is a server's.
fn is_forged_upload(peer: Peer, listener: &Listener, datagram: &[u8]) -> bool {
    let is_servers = peer.port == PORT || peer.port == listener.address().port();
    is_servers && datagram.starts_with(&[0, 2])
}

/// Hands a request to the server, and lets it wait if its file has to be looked up.
fn judge(
    now: Moment,
    server: &mut Server,
    world: &mut World,
    peer: Peer,
    local: Local,
    datagram: &[u8],
) {
    match server.on_request(now, world, peer, local, datagram) {
        Some(awaited) => {
            let request = Request {
                local,
                datagram: datagram.into(),
                at: now,
            };
            world.await_name(awaited, peer, request);
        }
        None => world.forget_requests(peer),
    }
}

/// More come within the time that a look takes in a storm only.
const DEFERRED_MAX: usize = 4096;
/// As many as there may be requests.
const REJECTIONS_AT_ONCE: usize = 256;
