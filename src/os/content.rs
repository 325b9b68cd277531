//! The bytes of an open file, block by block.
//!
//! An octet file is mapped (see `mapping`). What cannot be mapped, and netascii, is read and translated through a buffer
//! that holds a window, not a file.

use std::collections::VecDeque;
use std::sync::Arc;
use std::{io, mem};

use super::fetch::{Errand, Fetch};
use super::mapping::Mapped;
use super::nowait::read_without_waiting;
use super::opened::Opened;
use crate::moment::Moment;
use crate::wire::netascii;

/// A file that is being sent.
#[derive(Debug)]
pub enum Content {
    /// Octets from a mapping, which other transfers may share.
    Mapped(Mapped),
    /// What is read when it is needed.
    Read(Box<Buffered>),
}

impl Content {
    /// Makes `count` bytes of the stream from `offset` on available to [`Content::bytes`], or what there is
    /// of them. Nothing before `oldest` is asked for again.
    ///
    /// # Errors
    /// `WouldBlock` where they are not in memory yet, but on their way; `UnexpectedEof` where the file was written
    /// to or cut short, which is looked for with the last bytes at the latest; else where it cannot be read.
    pub fn prepare(&mut self, now: Moment, offset: u64, count: u64, oldest: u64) -> io::Result<()> {
        match self {
            Content::Mapped(mapped) => mapped.prepare(now, offset, offset + count),
            Content::Read(content) => content.prepare(offset + count, oldest),
        }
    }

    /// The bytes at `offset` of the stream, `most` of them unless it ends before, as two pieces of which the
    /// second may be empty. They were asked for with the last [`Content::prepare`].
    pub fn bytes(&self, offset: u64, most: u16) -> [&[u8]; 2] {
        match self {
            Content::Mapped(mapped) => [mapped.bytes(offset, most), &[]],
            Content::Read(content) => content.bytes(offset, most),
        }
    }

    /// Bytes in all, where they are known before they are sent.
    pub fn length(&self) -> Option<u64> {
        match self {
            Content::Mapped(mapped) => Some(mapped.length()),
            Content::Read(content) => (!content.is_text).then_some(content.opened.version.size),
        }
    }

    /// What the helper is to read before [`Content::prepare`] can succeed.
    pub fn errand(&mut self) -> &mut Errand {
        match self {
            Content::Mapped(mapped) => &mut mapped.errand,
            Content::Read(content) => &mut content.errand,
        }
    }
}

/// A file that is read into a buffer, at once where it is in memory, else by the helper.
#[derive(Debug)]
pub struct Buffered {
    opened: Arc<Opened>,
    /// It is translated to netascii.
    is_text: bool,
    /// How many bytes of the file were read.
    read: u64,
    /// Bytes of the stream that may still be asked for, and where in it they begin.
    stream: VecDeque<u8>,
    begin: u64,
    /// What is read next.
    piece: Vec<u8>,
    errand: Errand,
}

impl Buffered {
    pub(super) fn new(opened: Arc<Opened>, is_text: bool) -> Buffered {
        Buffered {
            opened,
            is_text,
            read: 0,
            stream: VecDeque::new(),
            begin: 0,
            piece: Vec::new(),
            errand: Errand::None,
        }
    }

    fn prepare(&mut self, end: u64, oldest: u64) -> io::Result<()> {
        self.forget_before(oldest);
        let length = self.opened.version.size;
        while self.end() < end && self.read < length {
            self.read_some(end - self.end())?;
        }
        match self.read == length && self.end() <= end {
            true => self.opened.must_be_unchanged(),
            false => Ok(()),
        }
    }

    fn bytes(&self, offset: u64, most: u16) -> [&[u8]; 2] {
        let end = (offset + u64::from(most)).min(self.end());
        let end = usize::try_from(end - self.begin).unwrap_or(usize::MAX);
        let begin = usize::try_from(offset - self.begin)
            .unwrap_or(usize::MAX)
            .min(end);
        let (front, back) = self.stream.as_slices();
        let of_front = &front[begin.min(front.len())..end.min(front.len())];
        let of_back = &back[begin.saturating_sub(front.len())..end.saturating_sub(front.len())];
        [of_front, of_back]
    }

    fn end(&self) -> u64 {
        self.begin + self.stream.len() as u64
    }

    fn forget_before(&mut self, oldest: u64) {
        let count = usize::try_from(oldest.saturating_sub(self.begin)).unwrap_or(usize::MAX);
        let count = count.min(self.stream.len());
        self.stream.drain(..count);
        self.begin += count as u64;
    }

    /// Reads at most `wanted` bytes of the file. Where memory is lacking for a moment, that is as if they were.
    fn read_some(&mut self, wanted: u64) -> io::Result<()> {
        let count = match mem::take(&mut self.errand) {
            Errand::None => self.read_now(wanted)?,
            // What was asked for last time.
            Errand::Done(fetched, _) => {
                self.piece = fetched.buffer;
                fetched.count?
            }
            errand @ (Errand::Wanted(_) | Errand::UnderWay) => {
                self.errand = errand;
                return Err(io::ErrorKind::WouldBlock.into());
            }
        };
        if count < self.piece.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Each byte may become two.
        let room = self.stream.try_reserve(2 * count);
        room.map_err(|_| io::ErrorKind::WouldBlock)?;
        self.read += count as u64;
        match self.is_text {
            true => netascii::translate(&self.piece, &mut self.stream),
            false => self.stream.extend(&self.piece),
        }
        Ok(())
    }

    /// Reads the piece if all of it is in memory; else the helper has to.
    fn read_now(&mut self, wanted: u64) -> io::Result<usize> {
        let length = wanted.min(self.opened.version.size - self.read);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let room = self
            .piece
            .try_reserve(length.saturating_sub(self.piece.len()));
        room.map_err(|_| io::ErrorKind::WouldBlock)?;
        self.piece.resize(length, 0);
        match read_without_waiting(&self.opened, self.read, &mut self.piece) {
            Ok(Some(count)) if count == length || count == 0 => return Ok(count),
            // Not in memory, or not all of it; or this file system does not know.
            Ok(_) | Err(_) => {}
        }
        self.errand = Errand::Wanted(Fetch {
            file: Arc::clone(&self.opened),
            offset: self.read,
            length,
            buffer: mem::take(&mut self.piece),
        });
        Err(io::ErrorKind::WouldBlock.into())
    }
}
