//! What clients upload, on its way to the writer: looked up, buffered, handed on in large pieces.
//!
//! Memory is bounded for each client and for all; a client that is too fast for the disk waits until
//! there is room again.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::time::Duration;

use nix::errno::Errno;

use super::lookups::Lookups;
use crate::moment::Moment;
use crate::name::{FileName, FileNameBuf};
use crate::os::place::{Place, refusal};
use crate::os::writer::{Key, Task, Writer, Written};
use crate::server::{Room, StoreError, UPLOAD_WINDOW_MAX};
use crate::wire::Refusal;
use crate::wire::netascii::Decoder;

/// Everything about uploads that is no packet.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    /// Writes; `None` if uploads are off.
    pub writer: Option<Writer>,
    /// Bytes that a file may have.
    pub max: u64,
    /// Who waits while the helper looks where an upload may go.
    pub lookups: Lookups,
    /// What it found last, for those who asked.
    known: Option<(FileNameBuf, Result<Place, Refusal>)>,
    by_client: BTreeMap<usize, Receiving>,
    /// Bytes that the writer does not have yet, or has not written.
    buffered: usize,
}

/// A file that comes in.
#[derive(Debug)]
struct Receiving {
    key: Key,
    is_in_place: bool,
    /// Undoes netascii.
    decoder: Option<Decoder>,
    /// What the writer does not have yet.
    buffer: Vec<u8>,
    /// For the time when it has that.
    spare: Vec<u8>,
    /// Pieces that it has and has not written.
    under_way: usize,
    /// Bytes of the file.
    size: u64,
    /// When it was given something last.
    handed_at: Moment,
    wants_room: bool,
}

/// What the server is to hear.
#[derive(Debug)]
pub(super) enum News {
    /// There is room for a window of this client.
    Room(usize),
    /// The file of this client is on the disk, or it will not be, for this reason.
    Stored(usize, Result<(), (Refusal, Errno)>),
    /// The number of files that an earlier process left behind and that were removed.
    Swept(u64),
}

impl Uploads {
    /// Takes note of what the helper found, until [`Uploads::forget_found`].
    pub(super) fn keep_found(&mut self, name: FileNameBuf, place: Result<Place, Refusal>) {
        self.known = Some((name, place));
    }

    /// Those who asked for it have it.
    pub(super) fn forget_found(&mut self) {
        self.known = None;
    }

    /// Whether a file of this name, and of the size that is announced, may be written; `None` if that is not known.
    pub(super) fn judge(
        &self,
        name: FileName<'_>,
        announced: Option<NonZero<u64>>,
    ) -> Option<Result<(), Refusal>> {
        let known = self.known.as_ref();
        let (_, place) = known.filter(|(known, _)| known.as_name() == name)?;
        let announced = announced.map_or(0, NonZero::get);
        Some(match place {
            Err(refusal) => Err(*refusal),
            Ok(place) if announced > place.room.min(self.max) => Err(Refusal::NoSpace),
            Ok(_) => Ok(()),
        })
    }

    /// Begins a file at the place that was found; [`Uploads::judge`] has allowed it.
    pub(super) fn begin(&mut self, now: Moment, key: Key, is_text: bool) {
        let (Some((_, Ok(place))), Some(writer)) = (self.known.take(), &self.writer) else {
            return;
        };
        let receiving = Receiving {
            key,
            is_in_place: place.is_in_place(),
            decoder: is_text.then(Decoder::default),
            buffer: Vec::new(),
            spare: Vec::new(),
            under_way: 0,
            size: 0,
            handed_at: now,
            wants_room: false,
        };
        let _ = writer.ask(Task::Begin(key, place));
        self.by_client.insert(key.0, receiving);
    }

    /// Takes the bytes that come next.
    ///
    /// # Errors
    /// Where there is no room for them now, or the file becomes too large.
    pub(super) fn store(
        &mut self,
        now: Moment,
        client: usize,
        bytes: &[u8],
    ) -> Result<Room, StoreError> {
        let Some(receiving) = self.by_client.get_mut(&client) else {
            return Err(StoreError::Failed(Refusal::WriteFailed));
        };
        let before = receiving.buffer.len();
        if receiving.size + bytes.len() as u64 > self.max {
            return Err(StoreError::Failed(Refusal::NoSpace));
        }
        if !has_room(self.buffered, receiving, bytes.len()) {
            receiving.wants_room = true;
            return Err(StoreError::Full);
        }
        match &mut receiving.decoder {
            Some(decoder) => decoder.decode(bytes, &mut receiving.buffer),
            None => receiving.buffer.extend_from_slice(bytes),
        }
        let grown = receiving.buffer.len() - before;
        self.buffered += grown;
        receiving.size += grown as u64;
        // Pieces of many slow clients together must leave room for the others.
        let is_due = receiving.is_in_place
            || receiving.buffer.len() >= PIECE
            || self.buffered >= BUFFERED_MAX / 2
            || now.since(receiving.handed_at) >= HAND_EVERY;
        if is_due && receiving.under_way == 0 {
            self.hand_over(now, client);
        }
        Ok(self.room_of(client))
    }

    /// Whether there is room for one window more.
    fn room_of(&mut self, client: usize) -> Room {
        let buffered = self.buffered;
        match self.by_client.get_mut(&client) {
            Some(receiving) if !has_room(buffered, receiving, UPLOAD_WINDOW_MAX) => {
                receiving.wants_room = true;
                Room::Wanting
            }
            Some(_) | None => Room::ForWindow,
        }
    }

    /// The last bytes were stored: the file is to be put on the disk.
    pub(super) fn finish(&mut self, now: Moment, client: usize) {
        if let Some(receiving) = self.by_client.get_mut(&client) {
            if let Some(decoder) = receiving.decoder.take() {
                let before = receiving.buffer.len();
                decoder.end(&mut receiving.buffer);
                self.buffered += receiving.buffer.len() - before;
            }
            let key = receiving.key;
            self.hand_over(now, client);
            self.ask(Task::Finish(key));
        }
    }

    /// Forgets a client. What it has not finished is removed.
    pub(super) fn close(&mut self, client: usize) {
        if let Some(receiving) = self.by_client.remove(&client) {
            self.buffered -= receiving.buffer.len();
            self.ask(Task::Abort(receiving.key));
        }
    }

    /// What the writer has done next, if it is news for the server.
    pub(super) fn next(&mut self, now: Moment) -> Option<News> {
        loop {
            let Some(written) = self.writer.as_ref()?.next() else {
                return self.next_with_room().map(News::Room);
            };
            let news = match written {
                Written::Appended(key, buffer, result) => self.appended(now, key, buffer, result),
                Written::Finished(key, result) => self.of(key).is_some().then(|| {
                    self.by_client.remove(&key.0);
                    let result = result.map_err(|error| (refusal(error), error));
                    News::Stored(key.0, result)
                }),
                Written::Swept(0) => None,
                Written::Swept(removed) => Some(News::Swept(removed)),
            };
            if news.is_some() {
                return news;
            }
        }
    }

    fn appended(
        &mut self,
        now: Moment,
        key: Key,
        mut buffer: Vec<u8>,
        result: Result<(), Errno>,
    ) -> Option<News> {
        self.buffered -= buffer.len();
        buffer.clear();
        let is_crowded = self.buffered >= BUFFERED_MAX / 2;
        let has_spares = self.by_client.len() <= SPARES_MAX;
        if let Some(receiving) = self.of(key) {
            if let Err(error) = result {
                return Some(News::Stored(key.0, Err((refusal(error), error))));
            }
            receiving.under_way -= 1;
            if has_spares {
                receiving.spare = buffer;
            }
            let is_due = receiving.buffer.len() >= PIECE
                || is_crowded
                || (receiving.is_in_place && !receiving.buffer.is_empty());
            if is_due && receiving.under_way == 0 {
                self.hand_over(now, key.0);
            }
        }
        self.next_with_room().map(News::Room)
    }

    /// A client that was told that there is no room, and has it now.
    fn next_with_room(&mut self) -> Option<usize> {
        let mut waiting = self.by_client.iter_mut();
        let found = waiting.find(|(_, receiving)| {
            receiving.wants_room && has_room(self.buffered, receiving, UPLOAD_WINDOW_MAX)
        });
        let (client, receiving) = found?;
        receiving.wants_room = false;
        Some(*client)
    }

    /// The file with this key, unless its client is gone.
    fn of(&mut self, key: Key) -> Option<&mut Receiving> {
        let receiving = self.by_client.get_mut(&key.0);
        receiving.filter(|receiving| receiving.key == key)
    }

    /// Hands all that is buffered of a client to the writer.
    fn hand_over(&mut self, now: Moment, client: usize) {
        let (Some(receiving), Some(writer)) = (self.by_client.get_mut(&client), &self.writer)
        else {
            return;
        };
        if !receiving.buffer.is_empty() {
            receiving.under_way += 1;
            receiving.handed_at = now;
            let next = std::mem::take(&mut receiving.spare);
            let piece = std::mem::replace(&mut receiving.buffer, next);
            let _ = writer.ask(Task::Append(receiving.key, piece));
        }
    }

    fn ask(&self, task: Task) {
        if let Some(writer) = &self.writer {
            let _ = writer.ask(task);
        }
    }
}

/// Whether this number of bytes more of a client can be kept in memory.
fn has_room(buffered: usize, receiving: &Receiving, bytes: usize) -> bool {
    receiving.buffer.len() + bytes <= BUFFER_MAX && buffered + bytes <= BUFFERED_MAX
}

/// Bytes that are worth a write, and the way to the other thread and back.
const PIECE: usize = 128 << 10;
/// Bytes of one client: two pieces, and as much again while these are written.
const BUFFER_MAX: usize = 2 * PIECE;
/// Bytes of all clients: of 32 as much as each may have. Their buffers may be twice as large.
const BUFFERED_MAX: usize = 32 * BUFFER_MAX;
/// More clients have no buffer to spare: with that, all of it is at most 24 megabytes.
const SPARES_MAX: usize = 32;
/// However slowly a file comes in, so often some of it is written: what is not written to for hours is taken for stale.
const HAND_EVERY: Duration = Duration::from_secs(60);
