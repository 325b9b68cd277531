//! What is put into a world: the server of production, or a policy to compare it with.

use ripple_tftpd::moment::Moment;
use ripple_tftpd::server::{Incoming, Io, Limits, Local, REPLY_MAX, Server};
use ripple_tftpd::wire::{Peer, Refusal};

use crate::network::Network;

/// What a run needs of a server. The calls are those of the daemon's loop, in its order.
pub(crate) trait ServerUnderTest {
    /// Its name in the table.
    fn name(&self) -> &'static str;

    /// Requests that its listening socket holds.
    fn receive_buffer(&self) -> usize {
        RECEIVE_BUFFER
    }

    /// It would take a request now.
    fn reads_requests(&self) -> bool {
        true
    }

    /// It is held to all promises: no wrong byte, and everything that was opened is closed in the end.
    fn is_ours(&self) -> bool {
        false
    }

    /// Whose a datagram is that came to a socket that all share; `None` if it may be a request.
    fn recipient(&self, _: Peer, _: &[u8]) -> Option<usize> {
        None
    }

    /// The transfer of a peer, the newer one if there are two.
    fn client_of(&self, _: Peer) -> Option<usize> {
        None
    }

    fn on_request(&mut self, now: Moment, io: &mut Network, peer: Peer, local: Local, bytes: &[u8]);
    fn on_reply(&mut self, now: Moment, io: &mut Network, client: usize, bytes: &[u8]);
    fn on_port_closed(&mut self, now: Moment, io: &mut Network, client: usize);

    /// The socket of a client holds something. Returns whether there may be more of use.
    fn on_readable(&mut self, now: Moment, io: &mut Network, client: usize) -> bool {
        let mut buffer = [0; REPLY_MAX];
        while let Incoming::Datagram(length) = io.receive(client, &mut buffer) {
            self.on_reply(now, io, client, &buffer[..length]);
        }
        false
    }

    fn on_writable(&mut self, client: usize);

    /// An upload is on the disk.
    fn on_stored(&mut self, _: Moment, _: &mut Network, _client: usize, _: Result<(), Refusal>) {}

    fn on_wakeup(&mut self, now: Moment, io: &mut Network);
    fn send_ready(&mut self, now: Moment, io: &mut Network);
    fn has_ready(&self) -> bool;
    fn next_wakeup(&self) -> Option<Moment>;

    /// What must hold after every turn and is quickly checked.
    fn glance(&self, now: Moment);

    /// All that must hold after a turn.
    fn audit(&self, now: Moment);
}

/// The server of production.
#[derive(Debug)]
pub(crate) struct Production {
    server: Server,
    limits: Limits,
}

impl Production {
    pub(crate) fn new(limits: Limits) -> Production {
        Production {
            server: Server::new(Moment::START, limits),
            limits,
        }
    }
}

impl ServerUnderTest for Production {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn recipient(&self, peer: Peer, bytes: &[u8]) -> Option<usize> {
        self.server.recipient(peer, bytes)
    }

    fn client_of(&self, peer: Peer) -> Option<usize> {
        self.server.client_of(peer)
    }

    fn on_request(
        &mut self,
        now: Moment,
        io: &mut Network,
        peer: Peer,
        local: Local,
        bytes: &[u8],
    ) {
        self.server.on_request(now, io, peer, local, bytes);
    }

    fn on_reply(&mut self, now: Moment, io: &mut Network, client: usize, bytes: &[u8]) {
        self.server.on_reply(now, io, client, bytes);
    }

    fn on_port_closed(&mut self, now: Moment, io: &mut Network, client: usize) {
        self.server.on_port_closed(now, io, client);
    }

    fn on_readable(&mut self, now: Moment, io: &mut Network, client: usize) -> bool {
        self.server.on_readable(now, io, client)
    }

    fn on_writable(&mut self, client: usize) {
        self.server.on_writable(client);
    }

    fn on_stored(
        &mut self,
        now: Moment,
        io: &mut Network,
        client: usize,
        stored: Result<(), Refusal>,
    ) {
        self.server.on_stored(now, io, client, stored);
    }

    fn on_wakeup(&mut self, now: Moment, io: &mut Network) {
        self.server.on_wakeup(now, io);
    }

    fn send_ready(&mut self, now: Moment, io: &mut Network) {
        self.server.send_ready(now, io);
    }

    fn has_ready(&self) -> bool {
        self.server.has_ready()
    }

    fn next_wakeup(&self) -> Option<Moment> {
        self.server.next_wakeup()
    }

    fn glance(&self, now: Moment) {
        self.server.audit_line(now);
        assert!(
            self.server.running() <= self.limits.max_transfers,
            "more run than there are slots"
        );
        assert!(
            self.server.pending() <= self.limits.max_pending,
            "the queue is too long"
        );
    }

    fn audit(&self, now: Moment) {
        self.server.audit(now);
    }
}

/// Requests in 16 MiB, which the kernel counts with about 1 kB each.
pub(crate) const RECEIVE_BUFFER: usize = 16_000;

/// Requests in the 212,992 bytes that a socket has unless its program asks for more.
pub(crate) const RECEIVE_BUFFER_DEFAULT: usize = 270;
