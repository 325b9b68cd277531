//! The server's hands: [`Io`] for real, with sockets, files and the log.
//!
//! Only this file and `connection` know both the protocol core and the operating system.

use std::io::{self, ErrorKind, IoSlice};
use std::mem;
use std::net::IpAddr;
use std::num::NonZero;
use std::time::Duration;

use nix::errno::Errno;

use super::connection::{Connection, Way};
use super::events::LogEvent;
use super::flush::{Scratch, flush};
use super::log::Log;
use super::lookups::{Lookups, Request, Sought};
use super::metrics::Metrics;
use super::naming::{Meant, Naming};
use super::nat::Suspects;
use super::outbox::Outbox;
use super::uploads::{News, Uploads};
use crate::config::{self, Settings};
use crate::moment::Moment;
use crate::name::{FileName, NAME_MAX};
use crate::os;
use crate::os::content::Content;
use crate::os::fetch::Fetched;
use crate::os::files::{Files, Unavailable};
use crate::os::helper::{Done, Helper, Job};
use crate::os::listener::{Listener, Rejected};
use crate::os::poll::{Poll, Source};
use crate::os::ports::Ports;
use crate::os::socket::ClientSocket;
use crate::server::{
    Awaited, Event, Incoming, Io, Local, OpenError, Opened, Opening, Room, SendError, StoreError,
};
use crate::transfer::options::{BLKSIZE_DEFAULT, OACK_MAX};
use crate::transfer::{Datagrams, Departed};
use crate::wire::{
    self, Direction, ERROR_PACKET_MAX, Mode, PROBE_OACK, Peer, Refusal, ack_packet, write_error,
    write_error_with,
};

/// Everything outside of the server.
#[derive(Debug)]
pub(super) struct World {
    /// What wakes the loop.
    pub poll: Poll,
    /// Where requests come in.
    pub listeners: Vec<Listener>,
    /// What the operator reads.
    pub log: Log,
    /// The time of this turn of the loop.
    pub now: Moment,
    /// The directory that is served.
    pub files: Files,
    /// How a requested name becomes that of a file.
    pub naming: Naming,
    /// What waits for disks, once it was started.
    pub helper: Option<Helper>,
    /// The helper may have done more than was taken note of.
    pub has_done: bool,
    /// Who waits while it looks names up.
    pub lookups: Lookups,
    /// What is being uploaded.
    pub uploads: Uploads,
    /// The last serial number that was given to a connection.
    last_serial: u32,
    /// By the client's number.
    connections: Vec<Option<Connection>>,
    mtu_clamp: bool,
    /// The kernel can cut a buffer into packets.
    segments: bool,
    /// Clients whose sockets may hold more than was read, each once.
    pub unread: Vec<usize>,
    /// What is counted for statistics.
    pub metrics: Metrics,
    /// Those of clients' sockets.
    ports: Ports,
    /// Transfers take place at the listening sockets.
    pub is_shared: bool,
    /// What leaves by each of these at the end of the turn.
    outboxes: Vec<Outbox>,
    scratch: Scratch,
    /// Clients whose files could not be read when it left.
    unreadable: Vec<usize>,
    /// Addresses that look like a NAT.
    suspects: Suspects,
    /// When the next line about an address with too many clients may be written.
    address_full_at: Moment,
    /// Who rejected the last packet that was rejected, and to which client it was.
    rejection: Option<(Peer, IpAddr)>,
}

impl World {
    /// The world of a server that is about to begin.
    pub(super) fn new(
        poll: Poll,
        files: Files,
        naming: Naming,
        log: Log,
        now: Moment,
        settings: &Settings,
    ) -> World {
        let range = match &settings.ports {
            config::Ports::Any | config::Ports::Single => None,
            config::Ports::Range(range) => Some(range.clone()),
        };
        let listeners = Vec::new();
        World {
            poll,
            listeners,
            log,
            now,
            files,
            naming,
            helper: None,
            has_done: false,
            lookups: Lookups::default(),
            uploads: Uploads::default(),
            last_serial: 0,
            connections: Vec::new(),
            mtu_clamp: settings.mtu_clamp,
            segments: false,
            unread: Vec::new(),
            metrics: Metrics::new(),
            ports: Ports::new(range),
            is_shared: settings.ports == config::Ports::Single,
            outboxes: Vec::new(),
            scratch: Scratch::default(),
            unreadable: Vec::new(),
            suspects: Suspects::default(),
            address_full_at: now,
            rejection: None,
        }
    }

    /// The directory that is served may be another one.
    pub(super) fn names_changed(&mut self) {
        let prefixes = self.files.root_prefixes();
        self.naming.change(|names| names.prefixes = prefixes);
    }

    /// The next thing that the helper has done.
    pub(super) fn next_done(&mut self) -> Option<Done> {
        if !self.has_done {
            return None;
        }
        let done = self.helper.as_ref().and_then(Helper::next);
        self.has_done = done.is_some();
        done
    }

    /// The next thing that the writer has done. To be asked before [`World::next_done`], which forgets that there may be
    /// something.
    pub(super) fn next_news(&mut self) -> Option<News> {
        match self.has_done {
            true => self.uploads.next(self.now),
            false => None,
        }
    }

    /// A request waits for something that was asked of the helper.
    pub(super) fn await_name(&mut self, awaited: Awaited, peer: Peer, request: Request) {
        match awaited.0.checked_sub(UPLOADS) {
            None => self.lookups.add_request(awaited, peer, request),
            Some(number) => {
                let lookups = &mut self.uploads.lookups;
                lookups.add_request(Awaited(number), peer, request);
            }
        }
    }

    /// A request of `peer` was judged: those before it count no more.
    pub(super) fn forget_requests(&mut self, peer: Peer) {
        self.lookups.forget(peer);
        self.uploads.lookups.forget(peer);
    }

    /// Says why an upload was not written.
    pub(super) fn write_failed(&mut self, client: usize, error: Errno) {
        if let Some(Some(connection)) = self.connections.get(client) {
            let failed = LogEvent::WriteFailed(connection.peer, &error.into());
            self.log.write(self.now, &failed);
        }
    }

    /// Those who asked for what the helper found have it.
    pub(super) fn forget_found(&mut self) {
        self.naming.forget_answer();
        self.files.forget_found();
        self.uploads.forget_found();
    }

    /// Whether an upload may go where it is to, for this client of the queue.
    fn find_place(&mut self, opening: Opening<'_>, client: Option<usize>) -> Result<(), OpenError> {
        match self.uploads.judge(opening.name, opening.wanted.announced()) {
            Some(judged) => judged.map_err(OpenError::Refused),
            None => Err(self.look_for_place(opening.name, client)),
        }
    }

    /// The socket of `client` may hold something.
    pub(super) fn read_again(&mut self, client: usize) {
        if self.note_unread(client, true) == Some(false) {
            self.unread.push(client);
        }
    }

    /// Lets the helper look where an upload may go; otherwise as [`World::look_up`].
    fn look_for_place(&mut self, name: FileName<'_>, client: Option<usize>) -> OpenError {
        let Some(writable) = self.files.writable() else {
            return OpenError::Refused(Refusal::ReadOnly);
        };
        let lookups = &mut self.uploads.lookups;
        let sought = Sought::File(name.to_owned());
        let awaited = match lookups.under_way(&sought) {
            Some(awaited) => awaited,
            None => {
                let helper = self.helper.as_ref();
                let job = Job::Place(writable, name.to_owned());
                if helper.is_none_or(|helper| helper.ask(job).is_err()) {
                    self.log.names_dropped += 1;
                    return OpenError::Busy(None);
                }
                lookups.begin(sought)
            }
        };
        if let Some(client) = client {
            lookups.add_client(awaited, client);
        }
        OpenError::Busy(Some(Awaited(awaited.0 + UPLOADS)))
    }

    /// Keeps what is open for `client`. Returns a number that distinguishes it from others that had its number.
    fn keep(&mut self, client: usize, peer: Peer, way: Way, content: Option<Content>) -> u32 {
        if self.connections.len() <= client {
            self.connections.resize_with(client + 1, || None);
        }
        self.last_serial = self.last_serial.wrapping_add(1);
        self.connections[client] = Some(Connection {
            peer,
            serial: self.last_serial,
            read_error: 0,
            way,
            content,
            wants_writable: false,
            is_unheard: true,
            is_unread: false,
            segments: self.segments,
        });
        self.last_serial
    }

    /// The helper has read something for `client`; returns false if that one is gone.
    pub(super) fn fetched(&mut self, client: usize, serial: u32, fetched: Fetched) -> bool {
        let connection = self.connections.get_mut(client).and_then(Option::as_mut);
        let connection = connection.filter(|it| it.serial == serial);
        connection.is_some_and(|connection| {
            if let Some(content) = &mut connection.content {
                content.fetched(self.now, Some(fetched));
            }
            true
        })
    }

    /// Does what has to follow where nothing was sent.
    fn unsent(&mut self, client: usize, unsent: SendError) -> SendError {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(client).and_then(Option::as_mut) else {
            return unsent;
        };
        match unsent {
            SendError::Full => {
                self.metrics.traffic.full_sockets += 1;
                self.watch_writable(client, true);
            }
            SendError::Absent => {
                self.metrics.traffic.disk_waits += 1;
                if let (Some(helper), Some(content)) = (&self.helper, &mut connection.content)
                    && let Some(fetch) = content.take_fetch()
                    && helper
                        .ask(Job::Read(client, connection.serial, fetch))
                        .is_err()
                {
                    content.fetched(now, None);
                }
            }
            SendError::Unreadable(_) => {
                let code = mem::take(&mut connection.read_error);
                if code != 0 {
                    let peer = connection.peer;
                    let error = io::Error::from_raw_os_error(code.into());
                    self.log.write(now, &LogEvent::DiskFailed(peer, &error));
                }
            }
            SendError::PortClosed => self.rejection = connection.rejection(),
        }
        unsent
    }

    /// What it means for a request or a client of the queue that a file was not opened.
    fn unopened(
        &mut self,
        unavailable: Unavailable,
        name: FileName<'_>,
        client: Option<usize>,
    ) -> OpenError {
        match unavailable {
            Unavailable::Refused(refusal) => OpenError::Refused(refusal),
            Unavailable::Busy => OpenError::Busy(None),
            Unavailable::Unknown => {
                let job = Job::Open(name.to_owned(), self.files.places());
                let sought = Sought::File(name.to_owned());
                OpenError::Busy(self.look_up(sought, job, client))
            }
            Unavailable::Exhausted => OpenError::Exhausted,
        }
    }

    /// Lets the helper look a name up, unless it does already. Returns `None` if too much waits for it: then nothing is
    /// done: the client asks again.
    fn look_up(&mut self, sought: Sought, job: Job, client: Option<usize>) -> Option<Awaited> {
        let awaited = match self.lookups.under_way(&sought) {
            Some(awaited) => awaited,
            None => {
                if self.helper.as_ref()?.ask(job).is_err() {
                    self.log.names_dropped += 1;
                    return None;
                }
                self.lookups.begin(sought)
            }
        };
        if let Some(client) = client {
            self.lookups.add_client(awaited, client);
        }
        Some(awaited)
    }

    /// Lets the helper look whether a name that is missing is there in another case, for the log.
    fn look_for_other_case(&mut self, event: Event<'_>) {
        if let Event::Refused {
            peer,
            served: Some(name),
            refusal: Refusal::NotFound,
            ..
        } = event
            && self.naming.wants_hint(self.now)
            && let Some(helper) = &self.helper
        {
            let job = Job::OtherCase(peer, self.files.places(), name.to_owned());
            let _ = helper.ask(job);
        }
    }

    /// One more socket takes requests.
    pub(super) fn add_listener(&mut self, listener: Listener) {
        self.segments = listener.has_segments();
        self.listeners.push(listener);
        self.outboxes.push(Outbox::default());
    }

    /// Notes whether `client` is in the list of sockets to read, and returns whether it was; `None` if it is gone.
    pub(super) fn note_unread(&mut self, client: usize, is_unread: bool) -> Option<bool> {
        let connection = self.connections.get_mut(client)?.as_mut()?;
        Some(mem::replace(&mut connection.is_unread, is_unread))
    }

    /// The socket of `client` became writable: one event is enough.
    pub(super) fn on_writable(&mut self, client: usize) {
        self.watch_writable(client, false);
    }

    /// Asks for an event when the socket of `client` takes packets again, or for none.
    fn watch_writable(&mut self, client: usize, wanted: bool) {
        let Some(connection) = self.connections.get_mut(client).and_then(Option::as_mut) else {
            return;
        };
        let socket = match &connection.way {
            Way::Own(socket) => socket,
            Way::Shared(local) => {
                let number = local.listener;
                if wanted {
                    self.outboxes[number].waiting.push(client);
                    self.watch_listener(number, true);
                }
                return;
            }
        };
        if connection.wants_writable == wanted {
            return;
        }
        match self
            .poll
            .want_writable(socket, Source::Client(client), wanted)
        {
            Ok(()) => connection.wants_writable = wanted,
            Err(error) => self.log.write(self.now, &LogEvent::PollFailed(&error)),
        }
    }

    /// Asks for an event when a listening socket takes packets again, or for none.
    fn watch_listener(&mut self, number: usize, wanted: bool) {
        let (listener, outbox) = (&self.listeners[number], &mut self.outboxes[number]);
        if outbox.is_full == wanted {
            return;
        }
        let source = Source::Listener(number);
        match self.poll.want_writable(listener, source, wanted) {
            Ok(()) => outbox.is_full = wanted,
            Err(error) => self.log.write(self.now, &LogEvent::PollFailed(&error)),
        }
    }

    /// A listening socket takes packets again. Returns the clients that wait for that.
    pub(super) fn on_listener_writable(&mut self, number: usize) -> Vec<usize> {
        if self.flush(number) {
            return Vec::new();
        }
        self.watch_listener(number, false);
        mem::take(&mut self.outboxes[number].waiting)
    }

    /// Lets what was gathered for a listening socket leave. Returns whether some of it has to wait.
    fn flush(&mut self, number: usize) -> bool {
        let World {
            listeners,
            outboxes,
            connections,
            scratch,
            ..
        } = self;
        let flushed = flush(
            &mut outboxes[number],
            &listeners[number],
            connections,
            scratch,
        );
        self.unreadable.extend(flushed.unreadable);
        if flushed.is_full {
            self.watch_listener(number, true);
        }
        flushed.is_full
    }

    /// Lets what was gathered in this turn leave. Returns the next client whose file could not be read.
    pub(super) fn flush_all(&mut self) -> Option<usize> {
        for number in 0..self.outboxes.len() {
            if !self.outboxes[number].is_full {
                self.flush(number);
            }
        }
        self.unreadable.pop()
    }

    /// A client has sent something to a shared socket.
    pub(super) fn hear(&mut self, client: usize) {
        if let Some(connection) = self.connections.get_mut(client).and_then(Option::as_mut) {
            connection.is_unheard = false;
        }
    }

    /// A packet to `client` by a shared socket was rejected. Returns whether its port is closed.
    pub(super) fn rejected(&mut self, client: usize, rejected: &Rejected) -> bool {
        let Some(connection) = self.connections.get(client).and_then(Option::as_ref) else {
            return false;
        };
        let (peer, is_unheard) = (connection.peer, connection.is_unheard);
        let error = io::Error::from_raw_os_error(rejected.error);
        let by = rejected.by.filter(|_| is_unheard);
        if is_refused(&error) {
            self.rejection = by.map(|by| (peer, by));
            return true;
        }
        if let Some(by) = by {
            let error = &error;
            let rejected = LogEvent::Rejected { peer, by, error };
            self.log.write(self.now, &rejected);
        }
        false
    }

    /// How packets are to reach a client, and how many bytes one carries without being cut into fragments. Where it is by
    /// a shared socket, a spare one finds out whether there is a way.
    fn find_way(
        &mut self,
        client: usize,
        peer: Peer,
        local: Local,
        blksize: u16,
    ) -> Result<(Way, Option<u16>), OpenError> {
        let World {
            connections, ports, ..
        } = self;
        // A client that asked anew has another one.
        let is_unfit = |port| {
            let mut open = connections.iter().flatten().filter(|it| it.peer == peer);
            open.any(|it| matches!(&it.way, Way::Own(socket) if socket.port == port))
        };
        let from = (local.address, local.interface);
        let socket = ClientSocket::connect(from, peer.into(), ports, is_unfit);
        let (is_shared, poll) = (self.is_shared, &self.poll);
        let socket = socket
            .and_then(|socket| {
                if !is_shared {
                    poll.add(&socket, Source::Client(client))?;
                }
                Ok(socket)
            })
            .map_err(|error| match os::is_exhaustion(&error) {
                true => OpenError::Exhausted,
                false => OpenError::Unreachable,
            })?;
        let payload_max = self.payload_max(&socket, peer, blksize);
        let way = match is_shared {
            true => Way::Shared(local),
            false => Way::Own(socket),
        };
        Ok((way, payload_max))
    }

    /// Answers a request from where it arrived, and that is all.
    fn answer(&mut self, peer: Peer, local: Local, datagram: &[u8]) {
        let Some(listener) = self.listeners.get(local.listener) else {
            return;
        };
        let pieces = [IoSlice::new(datagram)];
        let sent = listener.send_from(local.address, local.interface, peer.into(), &pieces);
        match sent {
            Ok(()) => self.metrics.traffic.sent_datagrams += 1,
            Err(error) => {
                let failed = LogEvent::AnswerFailed(peer, &error);
                self.log.write(self.now, &failed);
            }
        }
    }

    fn payload_max(&self, socket: &ClientSocket, peer: Peer, blksize: u16) -> Option<u16> {
        // Every path carries the default block size or has to cut it up.
        if !self.mtu_clamp || blksize <= BLKSIZE_DEFAULT {
            return None;
        }
        socket.payload_max(peer.address).ok()
    }
}

impl Io for World {
    fn resolve<'b>(
        &mut self,
        peer: Peer,
        request: &wire::Request<'_>,
        buffer: &'b mut [u8; NAME_MAX],
    ) -> Result<FileName<'b>, OpenError> {
        let names = self.naming.names();
        if names.are_plain() {
            let name = FileName::new(request.filename, &names.prefixes, buffer);
            return name.map_err(OpenError::Refused);
        }
        let files = &mut self.files;
        let (meant, off_link) = self.naming.resolve(self.now, peer, request, files);
        if let Some(off_link) = off_link {
            self.log.write(self.now, &LogEvent::NotOnTheLink(off_link));
        }
        match meant {
            Meant::Name(name) => Ok(name.as_name().copied(buffer)),
            Meant::Refused(refusal) => Err(OpenError::Refused(refusal)),
            Meant::Unknown(question) => {
                let job = Job::Resolve(self.naming.question(question.clone(), &self.files));
                Err(OpenError::Busy(self.look_up(
                    Sought::Name(question),
                    job,
                    None,
                )))
            }
        }
    }

    fn find(&mut self, opening: Opening<'_>) -> Result<Option<u64>, OpenError> {
        let name = opening.name;
        match opening.direction {
            Direction::Read => {
                let found = self.files.find(name);
                let found = found.map_err(|it| self.unopened(it, name, None));
                found.map(Some)
            }
            Direction::Write => {
                self.find_place(opening, None)?;
                Ok(opening.wanted.announced().map(NonZero::get))
            }
        }
    }

    fn open(&mut self, client: usize, opening: Opening<'_>) -> Result<Opened, OpenError> {
        let as_text = opening.mode == Mode::Netascii;
        if opening.direction == Direction::Write {
            self.find_place(opening, Some(client))?;
            let Opening { peer, local, .. } = opening;
            let (way, payload_max) =
                self.find_way(client, peer, local, opening.wanted.blksize())?;
            let serial = self.keep(client, peer, way, None);
            self.uploads.begin(self.now, (client, serial), as_text);
            return Ok(Opened {
                length: None,
                payload_max,
            });
        }
        let (content, size) = match self.files.open(opening.name, as_text) {
            Ok(opened) => opened,
            Err(unavailable) => {
                return Err(self.unopened(unavailable, opening.name, Some(client)));
            }
        };
        if size > 0 && !as_text && matches!(content, Content::Read(_)) {
            let name = opening.name.as_bytes();
            self.log.write(self.now, &LogEvent::Unmapped(name));
        }
        let Opening { peer, local, .. } = opening;
        let blksize = opening.wanted.blksize();
        let (way, payload_max) = self.find_way(client, peer, local, blksize)?;
        let opened = Opened {
            length: content.length(),
            payload_max,
        };
        self.keep(client, peer, way, Some(content));
        Ok(opened)
    }

    fn send(&mut self, client: usize, datagrams: Datagrams<'_>) -> Result<Departed, SendError> {
        let World {
            connections,
            listeners,
            outboxes,
            scratch,
            unreadable,
            ..
        } = self;
        let connection = connections.get_mut(client).and_then(Option::as_mut);
        let connection = connection.expect("the server sends to open clients only");
        let shared = connection.shared();
        if shared.is_some_and(|number| outboxes[number].is_full) {
            return Err(self.unsent(client, SendError::Full));
        }
        if let Some(number) = shared
            && !matches!(datagrams, Datagrams::Data(_))
            && outboxes[number].holds(client)
        {
            let outbox = &mut outboxes[number];
            let flushed = flush(outbox, &listeners[number], connections, scratch);
            unreadable.extend(flushed.unreadable);
        }
        let connection = connections[client].as_mut().expect("it is still open");
        let result = match datagrams {
            Datagrams::Oack(negotiated) => {
                let mut buffer = [0; OACK_MAX];
                let length = negotiated.write_oack(&mut buffer);
                connection.send_whole(listeners, &buffer[..length])
            }
            Datagrams::Ack(block) => connection.send_whole(listeners, &ack_packet(block)),
            Datagrams::Error(refusal) => {
                let mut buffer = [0; ERROR_PACKET_MAX];
                let length = write_error(refusal, &mut buffer);
                connection.send_whole(listeners, &buffer[..length])
            }
            Datagrams::Data(blocks) => {
                connection.send_blocks(self.now, client, blocks, listeners, outboxes)
            }
        };
        if let Some(number) = shared
            && self.outboxes[number].is_due()
        {
            self.flush(number);
        }
        match result {
            Ok(departed) => {
                self.metrics.traffic.sent(datagrams, departed);
                Ok(departed)
            }
            Err(unsent) => Err(self.unsent(client, unsent)),
        }
    }

    fn refuse(&mut self, peer: Peer, local: Local, refusal: Refusal) {
        let mut buffer = [0; ERROR_PACKET_MAX];
        let length = match refusal {
            Refusal::Forbidden => write_error_with(refusal, &self.naming.forbidden, &mut buffer),
            _ => write_error(refusal, &mut buffer),
        };
        self.answer(peer, local, &buffer[..length]);
    }

    fn confirm(&mut self, peer: Peer, local: Local) {
        self.answer(peer, local, PROBE_OACK);
    }

    fn receive(&mut self, client: usize, buffer: &mut [u8]) -> Incoming {
        let Some(connection) = self.connections.get_mut(client).and_then(Option::as_mut) else {
            return Incoming::Nothing;
        };
        let peer = connection.peer;
        let Way::Own(socket) = &connection.way else {
            return Incoming::Nothing;
        };
        let received = match connection.is_unheard {
            true => socket.receive(buffer),
            false => {
                let reply = socket.receive_from_peer(buffer);
                reply.map(|reply| (reply, peer.into()))
            }
        };
        match received {
            // Between bind and connect anybody's packet may have come in.
            Ok((_, from)) if connection.is_unheard && Peer::from(from) != peer => Incoming::Noise,
            Ok((reply, _)) => {
                connection.is_unheard = false;
                self.metrics.traffic.received_datagrams += 1;
                Incoming::Datagram(reply.len())
            }
            Err(error) if is_refused(&error) => {
                self.rejection = connection.rejection();
                Incoming::PortClosed
            }
            Err(error) => match after_error(&error) {
                AfterError::TryAgain => {
                    if let Some((_, by)) = connection.rejection() {
                        let error = &error;
                        let rejected = LogEvent::Rejected { peer, by, error };
                        self.log.write(self.now, &rejected);
                    }
                    Incoming::Noise
                }
                AfterError::Empty => Incoming::Nothing,
                AfterError::Report => {
                    let failed = LogEvent::ReceiveFailed(peer, &error);
                    self.log.write(self.now, &failed);
                    Incoming::Nothing
                }
            },
        }
    }

    fn store(&mut self, client: usize, bytes: &[u8]) -> Result<Room, StoreError> {
        let stored = self.uploads.store(self.now, client, bytes)?;
        self.metrics.traffic.received_bytes += bytes.len() as u64;
        Ok(stored)
    }

    fn finish(&mut self, client: usize) {
        self.uploads.finish(self.now, client);
    }

    fn close(&mut self, client: usize) {
        self.uploads.close(client);
        let shared = self.connections[client]
            .as_ref()
            .and_then(Connection::shared);
        if let Some(number) = shared {
            if self.outboxes[number].holds(client) {
                self.flush(number);
            }
            self.outboxes[number].forget(client);
            self.unreadable.retain(|&of| of != client);
        }
        self.connections[client] = None;
    }

    fn report(&mut self, event: Event<'_>) {
        let rejection = match event {
            Event::Ended(report) => self.rejection.take_if(|(peer, _)| *peer == report.peer),
            _ => None,
        };
        let rejected_by = rejection.map(|(_, by)| by);
        let now = self.now;
        if let Event::AddressFull { .. } = event {
            if now < self.address_full_at {
                return;
            }
            self.address_full_at = now + ADDRESS_FULL_EVERY;
        }
        self.metrics.note(self.now, &event);
        let line = match event {
            Event::Refused {
                peer,
                name,
                refusal: Refusal::Forbidden,
                ..
            } => LogEvent::Forbidden(peer, name, &self.naming.forbidden),
            _ => LogEvent::Server { event, rejected_by },
        };
        self.log.write(now, &line);
        self.look_for_other_case(event);
        if let Event::Ended(report) = event
            && !self.is_shared
            && let Some(address) = self.suspects.note(&report)
        {
            self.log.write(now, &LogEvent::Rewritten(address));
        }
    }
}

/// From here on the numbers count lookups of uploads, see [`Awaited`].
const UPLOADS: usize = usize::MAX / 2;

/// What to do after an error of a receive.
pub(super) enum AfterError {
    /// Nothing more is there.
    Empty,
    /// It was about an earlier packet; there may be more behind it.
    TryAgain,
    /// It should not be.
    Report,
}

pub(super) fn after_error(error: &io::Error) -> AfterError {
    if error.kind() == ErrorKind::WouldBlock {
        return AfterError::Empty;
    }
    match error.raw_os_error().map(Errno::from_raw) {
        Some(
            Errno::EINTR
            | Errno::ECONNREFUSED
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::ENETDOWN
            | Errno::ENONET
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::EPROTO
            | Errno::EMSGSIZE
            | Errno::EPERM
            | Errno::EACCES,
        ) => AfterError::TryAgain,
        _ => AfterError::Report,
    }
}

/// It concerns the operator, not each request.
const ADDRESS_FULL_EVERY: Duration = Duration::from_secs(60);

fn is_refused(error: &io::Error) -> bool {
    error.kind() == ErrorKind::ConnectionRefused
}
