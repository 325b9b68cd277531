//! The world around a server: files that are only sizes, sockets, what fails, and books of all of it.
//!
//! A number is open once and closed once, and nothing is sent to a closed one, nor to a full one; answers leave
//! from an address that was asked; a client that never answered is sent little; a request draws one ERROR at most; no
//! block lies beyond the end of its file. Of an upload nothing is created before its client has answered, what is
//! acknowledged was stored, and what is acknowledged last is on the disk. A server that breaks any of it ends the test.

use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::name::{FileName, NAME_MAX, RootPrefixes};
use ripple_tftpd::server::{
    Event, Incoming, Io, Local, OpenError, Opened, Opening, Room, SendError, StoreError,
    UPLOAD_WINDOW_MAX,
};
use ripple_tftpd::transfer::options::{BLKSIZE_MAX, BLKSIZE_MIN, OACK_MAX};
use ripple_tftpd::transfer::{Blocks, DATA_SENDINGS, Datagrams, Departed, OACK_SENDINGS};
use ripple_tftpd::wire::{Direction, Mode, Peer, Refusal, Request};

use super::site::{Datagram, File, NO_FILE, OLDER, Site, Socket, Stored, Stream};

/// What the server acts on. What is particular is found as if it were the world's own.
#[derive(Debug)]
pub(crate) struct World<S> {
    pub(crate) site: S,
    pub(crate) now: Moment,
    /// Another server than ours: it may send more to those who never answer.
    pub(crate) is_lenient: bool,

    // What it is like.
    /// The absolute names of the directory that is served.
    root: RootPrefixes,
    /// Names that mean another, as by a map file.
    pub(crate) mapped: HashMap<Vec<u8>, Vec<u8>>,
    files: HashMap<Vec<u8>, File>,
    faults: HashMap<Vec<u8>, Refusal>,
    /// No descriptor is left.
    pub(crate) exhausted: bool,
    /// Files that cannot be read any more.
    pub(crate) unreadable: HashSet<Vec<u8>>,
    /// Files that are being looked up, and for which clients of the queue they were asked.
    pub(crate) busy: HashSet<Vec<u8>>,
    pub(crate) asked_busy: Vec<usize>,
    /// Files whose bytes are not in memory.
    pub(crate) absent: HashSet<Vec<u8>>,
    /// How often one of them was asked for some.
    pub(crate) asked_in_vain: u64,
    /// Peers to which no socket can be connected.
    pub(crate) unreachable: HashSet<Peer>,
    /// Peers whose port is closed: a send fails.
    pub(crate) closed_ports: HashSet<Peer>,
    /// Peers whose socket takes only this number of packets more.
    pub(crate) room: HashMap<Peer, u16>,

    // The disk that is written to.
    /// Uploads are on.
    pub(crate) takes_uploads: bool,
    /// How long it takes until a file that has ended is safe.
    pub(crate) disk_takes: Duration,
    /// Files that cannot be written to their end, and why.
    pub(crate) unwritable: HashMap<Vec<u8>, Refusal>,
    /// Peers for whose next window there is no room, and those for whose next block there is none.
    pub(crate) wanting: HashSet<Peer>,
    pub(crate) full: HashSet<Peer>,
    /// Files that were uploaded.
    pub(crate) uploaded: HashMap<Vec<u8>, Vec<u8>>,
    /// Sockets with files that have ended, and when these are safe.
    finishing: Vec<(Moment, usize)>,

    // The books.
    /// By the server's number of the client.
    sockets: Vec<Option<Socket>>,
    /// In the order in which they were opened.
    by_peer: HashMap<Peer, Vec<usize>>,
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    /// Packets that left.
    pub(crate) packets: u64,
    /// Which addresses of the server each peer has asked.
    asked: HashMap<Peer, Vec<Local>>,
    /// Requests delivered and not refused yet.
    refusals_left: u64,
}

impl<S> World<S> {
    pub(crate) fn new(now: Moment, site: S, root: RootPrefixes) -> World<S> {
        World {
            site,
            now,
            is_lenient: false,
            root,
            mapped: HashMap::new(),
            files: HashMap::new(),
            faults: HashMap::new(),
            exhausted: false,
            unreadable: HashSet::new(),
            busy: HashSet::new(),
            asked_busy: Vec::new(),
            absent: HashSet::new(),
            asked_in_vain: 0,
            unreachable: HashSet::new(),
            closed_ports: HashSet::new(),
            room: HashMap::new(),
            takes_uploads: false,
            disk_takes: Duration::ZERO,
            unwritable: HashMap::new(),
            wanting: HashSet::new(),
            full: HashSet::new(),
            uploaded: HashMap::new(),
            finishing: Vec::new(),
            sockets: Vec::new(),
            by_peer: HashMap::new(),
            opened: 0,
            closed: 0,
            packets: 0,
            asked: HashMap::new(),
            refusals_left: 0,
        }
    }

    // Files.

    /// The file of that name, which is made if there is none.
    pub(crate) fn add_file(&mut self, name: impl AsRef<[u8]>, size: u64) -> File {
        let number = u16::try_from(self.files.len()).expect("fewer than 65,536 files");
        let new = File { number, size };
        let file = self.files.entry(name.as_ref().into()).or_insert(new);
        file.size = size;
        *file
    }

    /// From now on a request for `name` is refused in this way.
    pub(crate) fn add_fault(&mut self, name: &str, refusal: Refusal) {
        self.faults.insert(name.into(), refusal);
    }

    pub(crate) fn remove_file(&mut self, name: &str) {
        self.files.remove(name.as_bytes());
    }

    // Sockets.

    /// Sockets that are open.
    pub(crate) fn open_now(&self) -> usize {
        usize::try_from(self.opened - self.closed).expect("sockets are in memory")
    }

    pub(crate) fn socket(&self, client: usize) -> Option<&Socket> {
        self.sockets.get(client)?.as_ref()
    }

    /// All that are open, by the server's number.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = (usize, &Socket)> {
        let all = self.sockets.iter().enumerate();
        all.filter_map(|(client, socket)| Some((client, socket.as_ref()?)))
    }

    /// The number under which the server has a socket for `peer`: of two, that which was opened last, or the
    /// other one for [`older`].
    pub(crate) fn client_of(&self, peer: Peer) -> Option<usize> {
        match peer.scope {
            OLDER => self
                .by_peer
                .get(&Peer { scope: 0, ..peer })?
                .iter()
                .nth_back(1),
            _ => self.by_peer.get(&peer)?.last(),
        }
        .copied()
    }

    fn socket_mut(&mut self, client: usize) -> Option<&mut Socket> {
        self.sockets.get_mut(client)?.as_mut()
    }

    /// The older sockets of a peer are marked, the newest is not.
    fn mark_older(&mut self, peer: Peer) {
        let Some(clients) = self.by_peer.get(&peer) else {
            return;
        };
        for (place, &client) in clients.iter().rev().enumerate() {
            let socket = self.sockets[client].as_mut().expect("it is open");
            socket.is_older = place > 0;
        }
    }

    fn has_asked(&self, peer: Peer, local: Local) -> bool {
        let asked = self.asked.get(&peer);
        asked.is_some_and(|asked| asked.contains(&local))
    }

    // Uploads.

    /// When the next upload that has ended is safe, or fails.
    pub(crate) fn next_stored(&self) -> Option<Moment> {
        self.finishing.iter().map(|&(at, _)| at).min()
    }

    /// Takes the next of those that are due: its client, and what became of it.
    pub(crate) fn take_stored(&mut self) -> Option<(usize, Result<(), Refusal>)> {
        let due = self.finishing.iter().position(|&(at, _)| at <= self.now)?;
        let (_, client) = self.finishing.remove(due);
        let socket = self.sockets[client].as_mut().expect("it is open");
        if let Some(&refusal) = self.unwritable.get(&socket.name) {
            return Some((client, Err(refusal)));
        }
        let upload = socket.upload.as_mut().expect("it is an upload");
        upload.is_safe = true;
        self.uploaded
            .insert(socket.name.clone(), upload.bytes.clone());
        Some((client, Ok(())))
    }

    // What is about to arrive.

    /// A datagram on a listening socket.
    pub(crate) fn expect_request(&mut self, peer: Peer, local: Local) {
        self.refusals_left += 1;
        let asked = self.asked.entry(peer).or_default();
        if !asked.contains(&local) {
            asked.push(local);
        }
        for &client in self.by_peer.get(&peer).into_iter().flatten() {
            let socket = self.sockets[client].as_mut().expect("it is open");
            socket.repeats += 1;
        }
    }

    /// A datagram on the socket of a client.
    pub(crate) fn expect_reply(&mut self, client: usize) {
        if let Some(socket) = self.socket_mut(client) {
            socket.was_heard = true;
        }
    }

    /// The socket of a client takes packets again.
    pub(crate) fn becomes_writable(&mut self, client: usize) {
        if let Some(socket) = self.socket_mut(client) {
            socket.is_full = false;
        }
    }
}

impl<S> Deref for World<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.site
    }
}

impl<S> DerefMut for World<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.site
    }
}

impl<S: Site> World<S> {
    fn look_up(&mut self, name: FileName<'_>) -> Result<File, OpenError> {
        let name = name.as_bytes();
        for component in name.split(|&byte| byte == b'/') {
            assert!(
                !matches!(component, b"" | b"." | b"..") && !component.contains(&0),
                "an unsafe name is looked up"
            );
        }
        self.site.find()?;
        if self.exhausted {
            return Err(OpenError::Exhausted);
        }
        if self.busy.contains(name) {
            return Err(OpenError::Busy(None));
        }
        if let Some(&refusal) = self.faults.get(name) {
            return Err(OpenError::Refused(refusal));
        }
        let found = self.files.get(name).copied();
        found.ok_or(OpenError::Refused(Refusal::NotFound))
    }

    /// The file that is read, or none for one that may be written.
    fn file_of(&mut self, opening: Opening<'_>) -> Result<File, OpenError> {
        let found = self.look_up(opening.name);
        match (opening.direction, found) {
            (Direction::Read, found) => found,
            (Direction::Write, Ok(_) | Err(OpenError::Refused(Refusal::NotFound))) => {
                match self.takes_uploads {
                    true => Ok(NO_FILE),
                    false => Err(OpenError::Refused(Refusal::ReadOnly)),
                }
            }
            (Direction::Write, error) => error,
        }
    }

    fn connect(
        &mut self,
        client: usize,
        local: Local,
        socket: &Socket,
    ) -> Result<Stream, OpenError> {
        let peer = socket.peer;
        assert!(
            self.socket(client).is_none(),
            "client {client} is opened twice"
        );
        assert!(self.has_asked(peer, local), "it was asked elsewhere");
        if self.unreachable.contains(&peer) {
            return Err(OpenError::Unreachable);
        }
        self.site.open(client, socket)
    }

    fn keep(&mut self, client: usize, socket: Socket) {
        let peer = socket.peer;
        if self.sockets.len() <= client {
            self.sockets.resize_with(client + 1, || None);
        }
        self.sockets[client] = Some(socket);
        self.opened += 1;
        let of_peer = self.by_peer.entry(peer).or_default();
        of_peer.push(client);
        let is_third = of_peer.len() > 2;
        assert!(self.is_lenient || !is_third, "a third socket for {peer}");
        self.mark_older(peer);
    }

    fn send_one(&mut self, client: usize, datagram: Datagram<'_>) -> Result<(), SendError> {
        let socket = self.sockets[client].as_mut().expect("it is open");
        let room = self.room.get_mut(&socket.peer);
        if room.as_deref() == Some(&0) {
            return Err(SendError::Full);
        }
        self.site.send(self.now, client, socket, datagram)?;
        if let Some(room) = room {
            *room -= 1;
        }
        self.packets += 1;
        let sendings = match datagram {
            Datagram::Oack(..) => OACK_SENDINGS,
            Datagram::Data { .. } => DATA_SENDINGS,
            Datagram::Ack(_) => 1,
            Datagram::Error(_) => return Ok(()),
        };
        // A writer asks again by itself.
        let sendings = if socket.upload.is_some() { 1 } else { sendings };
        if !socket.was_heard && !self.is_lenient {
            socket.sent_unheard += 1;
            assert!(
                socket.sent_unheard <= u64::from(sendings) + socket.repeats,
                "too much for one who never answered"
            );
        }
        Ok(())
    }

    /// What is acknowledged was stored.
    fn check_ack(&self, client: usize, block: u16) {
        let socket = self.socket(client).expect("it is open");
        let upload = socket.upload.as_ref().expect("blocks came from it");
        let [.., high, low] = socket.block.to_be_bytes();
        assert_eq!(block.to_be_bytes(), [high, low], "not the last in order");
        assert!(
            upload.is_safe || !upload.has_ended,
            "the last ACK before the file is safe"
        );
    }

    fn send_blocks(&mut self, client: usize, blocks: Blocks) -> Result<Departed, SendError> {
        let socket = self.sockets[client].as_ref().expect("it is open");
        let length = socket.length;
        let last = length / u64::from(blocks.blksize) + 1;
        assert!(1 <= blocks.count, "asked to send nothing");
        assert!(1 <= blocks.oldest && blocks.oldest <= blocks.first);
        assert!(blocks.first <= last, "a block past the end of the file");
        assert!(
            socket.was_heard || self.is_lenient || (blocks.first, blocks.count) == (1, 1),
            "more than one block for one who never answered"
        );
        let stop = (blocks.first + u64::from(blocks.count)).min(last + 1);
        let mut departed = Departed {
            packets: 0,
            end: None,
        };
        for block in blocks.first..stop {
            let offset = blocks.offset(block);
            let left = (length - offset).min(blocks.blksize.into());
            let datagram = Datagram::Data {
                block,
                offset,
                length: u16::try_from(left).expect("at most a block"),
            };
            match self.send_one(client, datagram) {
                Ok(()) => departed.packets += 1,
                Err(_) if departed.packets > 0 => break,
                Err(unsent) => return Err(unsent),
            }
            self.sockets[client].as_mut().expect("it is open").block = block;
            departed.end = (block == last).then_some(length);
        }
        Ok(departed)
    }
}

impl<S: Site> Io for World<S> {
    fn resolve<'b>(
        &mut self,
        _: Peer,
        request: &Request<'_>,
        buffer: &'b mut [u8; NAME_MAX],
    ) -> Result<FileName<'b>, OpenError> {
        let name = self.mapped.get(request.filename);
        let name = name.map_or(request.filename, Vec::as_slice);
        FileName::new(name, &self.root, buffer).map_err(OpenError::Refused)
    }

    fn find(&mut self, opening: Opening<'_>) -> Result<Option<u64>, OpenError> {
        let file = self.file_of(opening)?;
        Ok(match opening.direction {
            Direction::Read => Some(file.size),
            Direction::Write => opening.wanted.announced().map(NonZero::get),
        })
    }

    fn open(&mut self, client: usize, opening: Opening<'_>) -> Result<Opened, OpenError> {
        let Opening {
            peer,
            local,
            name,
            direction,
            mode,
            wanted,
            ..
        } = opening;
        let blksize = wanted.blksize();
        assert!(BLKSIZE_MIN <= blksize && blksize <= BLKSIZE_MAX);
        let file = self.file_of(opening);
        if matches!(file, Err(OpenError::Busy(_))) {
            self.asked_busy.push(client);
        }
        let mut socket = Socket::new(self.now, peer, name, mode, blksize, file?);
        let is_upload = direction == Direction::Write;
        socket.upload = is_upload.then(Stored::default);
        let stream = self.connect(client, local, &socket)?;
        socket.length = stream.length;
        self.keep(client, socket);
        Ok(Opened {
            length: (mode == Mode::Octet && !is_upload).then_some(stream.length),
            payload_max: stream.payload_max,
        })
    }

    fn store(&mut self, client: usize, bytes: &[u8]) -> Result<Room, StoreError> {
        let socket = self.sockets[client].as_mut().expect("it is open");
        assert!(socket.was_heard, "a file for one who never answered");
        if self.full.contains(&socket.peer) {
            return Err(StoreError::Full);
        }
        self.site.store()?;
        let upload = socket.upload.as_mut().expect("it is an upload");
        assert!(!upload.has_ended, "more after the end");
        upload.bytes.extend_from_slice(bytes);
        upload.unwritten += bytes.len();
        assert!(
            upload.unwritten <= 2 * UPLOAD_WINDOW_MAX,
            "no room was told of"
        );
        socket.block += 1;
        if self.wanting.contains(&socket.peer) {
            return Ok(Room::Wanting);
        }
        upload.unwritten = 0;
        Ok(Room::ForWindow)
    }

    fn finish(&mut self, client: usize) {
        let socket = self.sockets[client].as_mut().expect("it is open");
        let upload = socket.upload.as_mut().expect("it is an upload");
        assert!(!upload.has_ended, "it ends twice");
        upload.has_ended = true;
        // One disk, which does one thing after the other.
        let before = self.finishing.iter().map(|&(at, _)| at).max();
        let begins = before.map_or(self.now, |before| before.max(self.now));
        self.finishing.push((begins + self.disk_takes, client));
    }

    fn send(&mut self, client: usize, datagrams: Datagrams<'_>) -> Result<Departed, SendError> {
        let socket = self.socket(client);
        let socket = socket.expect("nothing is sent to a client that was closed");
        assert!(!socket.is_full, "sent to a socket that takes nothing");
        if self.closed_ports.contains(&socket.peer) {
            return Err(SendError::PortClosed);
        }
        let is_error = matches!(datagrams, Datagrams::Error(_));
        if !is_error && self.unreadable.contains(&socket.name) {
            return Err(SendError::Unreadable(Refusal::ReadFailed));
        }
        if matches!(datagrams, Datagrams::Data(_)) && self.absent.contains(&socket.name) {
            self.asked_in_vain += 1;
            return Err(SendError::Absent);
        }
        let one = Departed {
            packets: 1,
            end: None,
        };
        let result = match datagrams {
            Datagrams::Data(blocks) => self.send_blocks(client, blocks),
            Datagrams::Oack(negotiated) => {
                let mut buffer = [0xAA; OACK_MAX];
                let end = negotiated.write_oack(&mut buffer);
                assert!(negotiated.has_oack() && 2 < end);
                let datagram = Datagram::Oack(negotiated, &buffer[..end]);
                self.send_one(client, datagram).map(|()| one)
            }
            Datagrams::Ack(block) => {
                self.check_ack(client, block);
                self.send_one(client, Datagram::Ack(block)).map(|()| one)
            }
            Datagrams::Error(refusal) => {
                let datagram = Datagram::Error(refusal);
                self.send_one(client, datagram).map(|()| one)
            }
        };
        if result == Err(SendError::Full) {
            let socket = self.socket_mut(client).expect("it is open");
            socket.is_full = true;
            self.site.note_full(client);
        }
        result
    }

    fn refuse(&mut self, peer: Peer, local: Local, refusal: Refusal) {
        let is_answered = self.has_asked(peer, local) && !local.is_broadcast;
        assert!(is_answered, "the answer would come from elsewhere");
        let left = self.refusals_left.checked_sub(1);
        self.refusals_left = left.expect("one ERROR at most for each request");
        self.site.refuse(self.now, peer, refusal);
    }

    fn receive(&mut self, client: usize, buffer: &mut [u8]) -> Incoming {
        let incoming = self.site.receive(client, buffer);
        if matches!(incoming, Incoming::Datagram(_)) {
            self.expect_reply(client);
        }
        incoming
    }

    fn close(&mut self, client: usize) {
        let socket = self.sockets.get_mut(client).and_then(Option::take);
        let socket = socket.expect("closed without being open");
        self.finishing.retain(|&(_, other)| other != client);
        self.closed += 1;
        self.site.close(client, &socket);
        if let Some(of_peer) = self.by_peer.get_mut(&socket.peer) {
            of_peer.retain(|&other| other != client);
            if of_peer.is_empty() {
                self.by_peer.remove(&socket.peer);
            }
        }
        self.mark_older(socket.peer);
    }

    fn report(&mut self, event: Event<'_>) {
        if let Event::Ended(report) = event {
            assert!(report.pending <= self.now.since(Moment::START));
        }
        self.site.report(self.now, event);
    }
}
