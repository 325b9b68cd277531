//! Everything outside of the server: sockets, files, threads, the log.

use std::cell::Cell;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::{io, mem};

use super::connection::{Connection, Way};
use super::events::LogEvent;
use super::log::Log;
use super::lookups::{Lookups, Sought};
use super::metrics::Metrics;
use super::naming::Naming;
use super::nat::Suspects;
use super::outbox::Outbox;
use super::uploads::Uploads;
use crate::moment::Moment;
use crate::name::FileName;
use crate::os;
use crate::os::content::Content;
use crate::os::files::{Files, Unavailable};
use crate::os::helper::{Helper, Job};
use crate::os::listener::Listener;
use crate::os::poll::{Poll, Source};
use crate::os::ports::Ports;
use crate::os::socket::ClientSocket;
use crate::server::{OpenError, Opened, Opening, SendError};
use crate::transfer::options::BLKSIZE_DEFAULT;
use crate::wire::{Peer, Refusal};

/// What the server acts on by [`crate::server::Io`], and the loop as well.
#[derive(Debug)]
pub(super) struct World {
    /// The time of this turn of the loop.
    pub now: Moment,
    /// What wakes the loop.
    pub poll: Poll,
    /// What the operator reads.
    pub log: Log,
    /// What is counted for statistics.
    pub metrics: Metrics,
    /// Where requests come in.
    pub listeners: Vec<Listener>,
    /// What leaves by each of these at the end of the turn, if all transfers take place there; else empty.
    pub outboxes: Vec<Outbox>,
    /// Those of clients' sockets.
    pub ports: Ports,
    /// By the client's number.
    pub connections: Vec<Option<Connection>>,
    /// The last serial number that was given to a connection.
    pub last_serial: u32,
    /// Clients whose sockets may hold more than was read.
    pub unread: Vec<usize>,
    pub mtu_clamp: bool,
    /// The kernel can cut a buffer into packets.
    pub segments: bool,
    /// The directory that is served.
    pub files: Files,
    /// How a requested name becomes that of a file.
    pub naming: Naming,
    /// What waits for disks.
    pub helper: Helper,
    /// Who waits for that.
    pub lookups: Lookups,
    /// What is being uploaded.
    pub uploads: Uploads,
    /// Addresses that look like a NAT.
    pub suspects: Suspects,
    /// When the next line about an address with too many clients may be written.
    pub address_full_at: Moment,
    /// Who rejected the last packet that was rejected, and to which client it was.
    pub rejection: Option<(Peer, IpAddr)>,
}

impl World {
    /// All transfers take place at the listening sockets.
    pub(super) fn is_shared(&self) -> bool {
        !self.outboxes.is_empty()
    }

    pub(super) fn connection(&mut self, client: usize) -> Option<&mut Connection> {
        self.connections.get_mut(client)?.as_mut()
    }

    /// Those who asked for what the helper found have it.
    pub(super) fn forget_found(&mut self) {
        self.naming.answered = None;
        self.uploads.found = None;
        self.files.forget_found();
    }

    /// Lets the helper look something up, for a client of the queue or for a request. If too much waits for it, nothing
    /// is done: the client asks again.
    pub(super) fn look_up(&mut self, sought: Sought, client: Option<usize>) -> OpenError {
        let World {
            lookups,
            files,
            naming,
            helper,
            log,
            ..
        } = self;
        OpenError::Busy(lookups.await_for(client, sought, |sought| {
            let job = match sought {
                Sought::File(name) => Some(Job::Open(name.clone(), files.places())),
                Sought::Place(name) => {
                    let writable = files.writable();
                    writable.map(|writable| Job::Place(writable, name.clone()))
                }
                Sought::Name(question) => Some(Job::Resolve(naming.job(question.clone(), files))),
                Sought::Roots => None,
            };
            let is_asked = job.is_some_and(|job| helper.ask(job).is_ok());
            log.names_dropped += u64::from(!is_asked);
            is_asked
        }))
    }

    /// What it means for a request or a client of the queue that a file was not opened.
    pub(super) fn unopened(
        &mut self,
        unavailable: Unavailable,
        name: FileName<'_>,
        client: Option<usize>,
    ) -> OpenError {
        match unavailable {
            Unavailable::Refused(refusal) => OpenError::Refused(refusal),
            Unavailable::Busy => OpenError::Busy(None),
            Unavailable::Unknown => self.look_up(Sought::File(name.to_owned()), client),
            Unavailable::Exhausted => OpenError::Exhausted,
        }
    }

    /// Whether an upload may go where it wants to.
    pub(super) fn find_place(
        &mut self,
        opening: &Opening<'_>,
        client: Option<usize>,
    ) -> Result<(), OpenError> {
        match self.uploads.judge(opening.name, opening.wanted.announced()) {
            Some(judged) => judged.map_err(OpenError::Refused),
            None if self.uploads.writer.is_none() => Err(OpenError::Refused(Refusal::ReadOnly)),
            None => Err(self.look_up(Sought::Place(opening.name.to_owned()), client)),
        }
    }

    /// Opens a way to a client that is sent `content`, or that sends itself. If it is by a shared socket, a spare one
    /// finds out whether there is a way.
    pub(super) fn connect(
        &mut self,
        client: usize,
        opening: &Opening<'_>,
        content: Option<Content>,
    ) -> Result<Opened, OpenError> {
        let (peer, local, is_shared) = (opening.peer, opening.local, self.is_shared());
        let World {
            connections,
            ports,
            poll,
            ..
        } = self;
        // A client that asked anew has another one.
        let is_unfit = |port| {
            let mut open = connections.iter().flatten().filter(|it| it.peer == peer);
            open.any(|it| matches!(&it.way, Way::Own(socket) if socket.port == port))
        };
        let from = (local.address, local.interface);
        let socket = ClientSocket::connect(from, peer.into(), ports, is_unfit);
        let socket = socket.and_then(|socket| match is_shared {
            true => Ok(socket),
            false => poll.add(&socket, Source::Client(client)).map(|()| socket),
        });
        let socket = socket.map_err(|error| match os::is_exhaustion(&error) {
            true => OpenError::Exhausted,
            false => OpenError::Unreachable,
        })?;
        // Every path carries the default block size or has to cut it up.
        let is_clamped = self.mtu_clamp && opening.wanted.blksize() > BLKSIZE_DEFAULT;
        let opened = Opened {
            length: content.as_ref().and_then(Content::length),
            payload_max: match is_clamped {
                true => socket.payload_max(peer.address).ok(),
                false => None,
            },
        };
        if connections.len() <= client {
            connections.resize_with(client + 1, || None);
        }
        self.last_serial = self.last_serial.wrapping_add(1);
        connections[client] = Some(Connection {
            peer,
            serial: self.last_serial,
            way: match is_shared {
                true => Way::Shared(local),
                false => Way::Own(socket),
            },
            content,
            wants_writable: false,
            is_unheard: true,
            segments: Cell::new(self.segments),
        });
        Ok(opened)
    }

    /// Does what has to follow where nothing was sent.
    pub(super) fn not_sent(&mut self, client: usize, unsent: SendError) {
        let Some(connection) = self.connections[client].as_mut() else {
            return;
        };
        match unsent {
            SendError::Full => {
                self.metrics.traffic.full_sockets += 1;
                self.watch_writable(client, true);
            }
            SendError::Absent => {
                self.metrics.traffic.disk_waits += 1;
                if let Some(content) = &mut connection.content
                    && let Some(fetch) = content.errand().take_fetch()
                {
                    let job = Job::Read(client, connection.serial, fetch);
                    if self.helper.ask(job).is_err() {
                        content.errand().end(self.now, None);
                    }
                }
            }
            SendError::PortClosed => {
                let by = connection.rejected_by();
                self.rejected(client, &io::ErrorKind::ConnectionRefused.into(), by);
            }
            SendError::Unreadable(_) => {}
        }
    }

    /// A packet to `client` was rejected. Returns whether its port is closed.
    pub(super) fn rejected(
        &mut self,
        client: usize,
        error: &io::Error,
        by: Option<IpAddr>,
    ) -> bool {
        let Some(connection) = self.connection(client) else {
            return false;
        };
        let peer = connection.peer;
        let by = by.filter(|_| connection.is_unheard);
        let is_closed = error.kind() == io::ErrorKind::ConnectionRefused;
        match by {
            _ if is_closed => self.rejection = by.map(|by| (peer, by)),
            Some(by) => {
                let rejected = LogEvent::Rejected { peer, by, error };
                self.log.write(self.now, &rejected);
            }
            None => {}
        }
        is_closed
    }

    /// Asks for an event when the socket of `client` takes packets again, or for none.
    pub(super) fn watch_writable(&mut self, client: usize, wanted: bool) {
        let shared = self.connection(client).and_then(|open| open.shared());
        match shared {
            None => self.watch(Source::Client(client), wanted),
            Some(number) if wanted => {
                self.outboxes[number].waiting.push(client);
                self.watch(Source::Listener(number), true);
            }
            Some(_) => {}
        }
    }

    /// Lets what was gathered for a listening socket leave. Returns whether some of it has to wait.
    pub(super) fn flush(&mut self, number: usize) -> bool {
        let outbox = &mut self.outboxes[number];
        let is_full = outbox.flush(&self.listeners[number], &mut self.connections);
        if is_full {
            self.watch(Source::Listener(number), true);
        }
        is_full
    }

    /// A listening socket takes packets again. Returns the clients that wait for that.
    pub(super) fn on_listener_writable(&mut self, number: usize) -> Vec<usize> {
        if self.flush(number) {
            return Vec::new();
        }
        self.watch(Source::Listener(number), false);
        mem::take(&mut self.outboxes[number].waiting)
    }

    /// Asks for an event when a socket takes packets again, or for none.
    fn watch(&mut self, source: Source, wanted: bool) {
        let (socket, is_watched) = match source {
            Source::Listener(number) => {
                let socket = self.listeners[number].as_fd();
                (socket, &mut self.outboxes[number].is_full)
            }
            Source::Client(client) => match self.connections.get_mut(client) {
                Some(Some(Connection {
                    way: Way::Own(socket),
                    wants_writable,
                    ..
                })) => ((*socket).as_fd(), wants_writable),
                _ => return,
            },
            _ => return,
        };
        if *is_watched != wanted {
            match self.poll.want_writable(&socket, source, wanted) {
                Ok(()) => *is_watched = wanted,
                Err(error) => self.log.write(self.now, &LogEvent::PollFailed(&error)),
            }
        }
    }
}
