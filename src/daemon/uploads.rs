//! What clients upload, on its way to the writer: looked up, buffered, handed on in large pieces.
//!
//! Memory is bounded for each client and for all; a client that is too fast for the disk waits until
//! there is room again.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::time::Duration;

use nix::errno::Errno;

use crate::moment::Moment;
use crate::name::{FileName, FileNameBuf};
use crate::os::place::{Place, refusal};
use crate::os::writer::{Key, Task, Writer, Written};
use crate::server::{Room, StoreError, UPLOAD_WINDOW_MAX};
use crate::wire::Refusal;
use crate::wire::netascii::Decoder;

/// Everything about uploads that is no packet.
#[derive(Debug)]
pub(super) struct Uploads {
    /// Writes; `None` if uploads are off.
    pub writer: Option<Writer>,
    /// Bytes that a file may have.
    max: u64,
    /// Where the helper found that an upload may go, for those who asked.
    pub found: Option<(FileNameBuf, Result<Place, Refusal>)>,
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
    pub(super) fn new(writer: Option<Writer>, max: u64) -> Uploads {
        Uploads {
            writer,
            max,
            found: None,
            by_client: BTreeMap::new(),
            buffered: 0,
        }
    }

    /// Whether a file of this name, and of the size that is announced, may be written; `None` if that is not known.
    pub(super) fn judge(
        &self,
        name: FileName<'_>,
        announced: Option<NonZero<u64>>,
    ) -> Option<Result<(), Refusal>> {
        let found = self.found.as_ref();
        let (_, place) = found.filter(|(found, _)| found.as_name() == name)?;
        let announced = announced.map_or(0, NonZero::get);
        Some(match place {
            Err(refusal) => Err(*refusal),
            Ok(place) if announced > place.room.min(self.max) => Err(Refusal::NoSpace),
            Ok(_) => Ok(()),
        })
    }

    /// Begins a file at the place that was found; [`Uploads::judge`] has allowed it.
    pub(super) fn begin(&mut self, now: Moment, key: Key, is_text: bool) {
        let (Some((_, Ok(place))), Some(writer)) = (self.found.take(), &self.writer) else {
            return;
        };
        let receiving = Receiving {
            key,
            is_in_place: place.is_in_place(),
            decoder: is_text.then(Decoder::default),
            buffer: Vec::new(),
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
        let Uploads {
            writer: Some(writer),
            by_client,
            buffered,
            ..
        } = self
        else {
            return Err(StoreError::Failed(Refusal::WriteFailed));
        };
        let Some(receiving) = by_client.get_mut(&client) else {
            return Err(StoreError::Failed(Refusal::WriteFailed));
        };
        let before = receiving.buffer.len();
        if receiving.size + bytes.len() as u64 > self.max {
            return Err(StoreError::Failed(Refusal::NoSpace));
        }
        if !receiving.has_room(*buffered, bytes.len()) {
            receiving.wants_room = true;
            return Err(StoreError::Full);
        }
        match &mut receiving.decoder {
            Some(decoder) => decoder.decode(bytes, &mut receiving.buffer),
            None => receiving.buffer.extend_from_slice(bytes),
        }
        let grown = receiving.buffer.len() - before;
        *buffered += grown;
        receiving.size += grown as u64;
        if receiving.is_due(now, *buffered) {
            receiving.hand_over(now, writer);
        }
        if receiving.has_room(*buffered, UPLOAD_WINDOW_MAX) {
            return Ok(Room::ForWindow);
        }
        receiving.wants_room = true;
        Ok(Room::Wanting)
    }

    /// The last bytes were stored: the file is to be put on the disk.
    pub(super) fn finish(&mut self, now: Moment, client: usize) {
        let receiving = self.by_client.get_mut(&client);
        if let (Some(receiving), Some(writer)) = (receiving, &self.writer) {
            if let Some(decoder) = receiving.decoder.take() {
                let before = receiving.buffer.len();
                decoder.end(&mut receiving.buffer);
                self.buffered += receiving.buffer.len() - before;
            }
            receiving.hand_over(now, writer);
            let _ = writer.ask(Task::Finish(receiving.key));
        }
    }

    /// Forgets a client. What it has not finished is removed.
    pub(super) fn close(&mut self, client: usize) {
        if let (Some(receiving), Some(writer)) = (self.by_client.remove(&client), &self.writer) {
            self.buffered -= receiving.buffer.len();
            let _ = writer.ask(Task::Abort(receiving.key));
        }
    }

    /// What the writer has done next, if it is news for the server.
    pub(super) fn next(&mut self, now: Moment) -> Option<News> {
        loop {
            let Some(written) = self.writer.as_ref()?.next() else {
                return self.next_with_room().map(News::Room);
            };
            let news = match written {
                Written::Appended(key, bytes, result) => {
                    self.appended(now, key, bytes.len(), result)
                }
                Written::Finished(key, result) => {
                    let ours = self.by_client.get(&key.0).filter(|it| it.key == key);
                    ours.is_some().then(|| {
                        self.by_client.remove(&key.0);
                        let result = result.map_err(|error| (refusal(error), error));
                        News::Stored(key.0, result)
                    })
                }
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
        bytes: usize,
        result: Result<(), Errno>,
    ) -> Option<News> {
        self.buffered -= bytes;
        let receiving = self.by_client.get_mut(&key.0);
        if let Some(receiving) = receiving.filter(|it| it.key == key) {
            if let Err(error) = result {
                return Some(News::Stored(key.0, Err((refusal(error), error))));
            }
            receiving.under_way -= 1;
            if let Some(writer) = &self.writer
                && receiving.is_due(now, self.buffered)
            {
                receiving.hand_over(now, writer);
            }
        }
        self.next_with_room().map(News::Room)
    }

    /// A client that was told that there is no room, and has it now.
    fn next_with_room(&mut self) -> Option<usize> {
        let mut waiting = self.by_client.iter_mut();
        let (client, receiving) = waiting.find(|(_, receiving)| {
            receiving.wants_room && receiving.has_room(self.buffered, UPLOAD_WINDOW_MAX)
        })?;
        receiving.wants_room = false;
        Some(*client)
    }
}

impl Receiving {
    /// Whether this number of bytes more can be kept in memory, beside those of all.
    fn has_room(&self, buffered: usize, bytes: usize) -> bool {
        self.buffer.len() + bytes <= BUFFER_MAX && buffered + bytes <= BUFFERED_MAX
    }

    /// What is buffered is worth a write, and the writer has none of it. Pieces of many slow clients together must leave
    /// room for the others.
    fn is_due(&self, now: Moment, buffered: usize) -> bool {
        let is_worth = self.is_in_place
            || self.buffer.len() >= PIECE
            || buffered >= BUFFERED_MAX / 2
            || now.since(self.handed_at) >= HAND_EVERY;
        self.under_way == 0 && is_worth
    }

    /// Hands all that is buffered to the writer.
    fn hand_over(&mut self, now: Moment, writer: &Writer) {
        if !self.buffer.is_empty() {
            self.under_way += 1;
            self.handed_at = now;
            let piece = std::mem::take(&mut self.buffer);
            let _ = writer.ask(Task::Append(self.key, piece));
        }
    }
}

/// Bytes that are worth a write, and the way to the other thread and back.
const PIECE: usize = 128 << 10;
/// Bytes of one client: two pieces, and as much again while these are written.
const BUFFER_MAX: usize = 2 * PIECE;
/// Bytes of all clients: of 32 as much as each may have. Their buffers may be twice as large.
const BUFFERED_MAX: usize = 32 * BUFFER_MAX;
/// However slowly a file comes in, so often some of it is written: what is not written to for hours is taken for stale.
const HAND_EVERY: Duration = Duration::from_secs(60);
