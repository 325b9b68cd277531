//! The bytes of an open file, block by block.
//!
//! An octet file is mapped (see `mapping`). What cannot be mapped is read with pread(2). Netascii is read and
//! translated through a buffer that holds a window, not a file.

use std::collections::VecDeque;
use std::sync::Arc;
use std::{io, mem};

use super::fetch::{Fetch, Fetched};
use super::mapping::Mapped;
use super::nowait::read_without_waiting;
use super::original::Original;
use crate::moment::Moment;
use crate::wire::netascii;

/// A file that is being sent.
#[derive(Debug)]
pub enum Content {
    /// Octets from a mapping, which other transfers may share.
    Mapped(Mapped),
    /// Octets that are read when they are needed.
    Read(Box<ReadContent>),
    /// Text that is translated to netascii.
    Text(Box<TextContent>),
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
            Content::Read(content) => content.prepare(offset, count),
            Content::Text(content) => content.prepare(offset + count, oldest),
        }
    }

    /// The bytes at `offset` of the stream, `most` of them unless it ends before, as two pieces of which the
    /// second may be empty. They were asked for with the last [`Content::prepare`].
    pub fn bytes(&self, offset: u64, most: u16) -> [&[u8]; 2] {
        match self {
            Content::Mapped(mapped) => [mapped.bytes(offset, most), &[]],
            Content::Read(content) => [content.bytes(offset, most), &[]],
            Content::Text(content) => content.bytes(offset, most),
        }
    }

    /// What the helper is to read before [`Content::prepare`] can succeed, where it was not asked yet.
    pub fn take_fetch(&mut self) -> Option<Fetch> {
        match self {
            Content::Mapped(mapped) => mapped.take_fetch(),
            Content::Read(content) => content.piece.take_fetch(),
            Content::Text(content) => content.piece.take_fetch(),
        }
    }

    /// The helper has read what was taken, or was not asked.
    pub fn fetched(&mut self, now: Moment, fetched: Option<Fetched>) {
        match self {
            Content::Mapped(mapped) => mapped.fetched(now, fetched),
            Content::Read(content) => content.piece.fetched(fetched),
            Content::Text(content) => content.piece.fetched(fetched),
        }
    }

    /// Bytes in all, where they are known before they are sent.
    pub fn length(&self) -> Option<u64> {
        match self {
            Content::Mapped(mapped) => Some(mapped.length()),
            Content::Read(content) => Some(content.original.version.size),
            Content::Text(_) => None,
        }
    }
}

/// A piece of a file that is read into a buffer, at once where it is in memory, else by the helper.
#[derive(Debug, Default)]
struct Piece {
    /// The bytes, and where in the file they begin.
    buffer: Vec<u8>,
    begin: u64,
    state: PieceState,
}

/// What became of the reading of a piece.
#[derive(Debug, Default)]
enum PieceState {
    #[default]
    Nothing,
    /// The helper is to be asked.
    Wanted(Fetch),
    /// It was asked.
    Asked,
    /// It has read so much.
    Here(io::Result<usize>),
}

impl Piece {
    /// Reads all bytes from `offset` to `offset + count`.
    fn read(&mut self, original: &Original, offset: u64, count: u64) -> io::Result<()> {
        match mem::take(&mut self.state) {
            PieceState::Nothing => {}
            PieceState::Here(result) if self.begin == offset => {
                return match result? == self.buffer.len() && self.buffer.len() as u64 == count {
                    true => Ok(()),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
            // It was asked for something that is not wanted any more.
            PieceState::Here(_) => {}
            state @ (PieceState::Wanted(_) | PieceState::Asked) => {
                self.state = state;
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        resize(&mut self.buffer, count)?;
        self.begin = offset;
        if self.buffer.is_empty() {
            return Ok(());
        }
        match read_without_waiting(&original.file, offset, &mut self.buffer) {
            Ok(Some(read)) if read == self.buffer.len() => return Ok(()),
            Ok(Some(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            // Not in memory, or not all of it; or this file system does not know.
            Ok(_) | Err(_) => {}
        }
        self.state = PieceState::Wanted(Fetch {
            file: Arc::clone(&original.file),
            offset,
            length: self.buffer.len(),
            buffer: mem::take(&mut self.buffer),
        });
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn take_fetch(&mut self) -> Option<Fetch> {
        match mem::take(&mut self.state) {
            PieceState::Wanted(fetch) => {
                self.state = PieceState::Asked;
                Some(fetch)
            }
            state => {
                self.state = state;
                None
            }
        }
    }

    fn fetched(&mut self, fetched: Option<Fetched>) {
        self.state = match fetched {
            Some(fetched) => {
                self.buffer = fetched.buffer;
                self.begin = fetched.offset;
                PieceState::Here(fetched.count)
            }
            None => PieceState::Nothing,
        };
    }
}

/// A file that is read block by block.
#[derive(Debug)]
pub struct ReadContent {
    original: Original,
    /// What was read last.
    piece: Piece,
}

impl ReadContent {
    pub(super) fn new(original: Original) -> ReadContent {
        ReadContent {
            original,
            piece: Piece::default(),
        }
    }

    fn prepare(&mut self, offset: u64, count: u64) -> io::Result<()> {
        let left = self.original.version.size.saturating_sub(offset);
        let count = count.min(left);
        self.piece.read(&self.original, offset, count)?;
        match count == left {
            true => self.original.must_be_unchanged(),
            false => Ok(()),
        }
    }

    fn bytes(&self, offset: u64, most: u16) -> &[u8] {
        let Piece { buffer, begin, .. } = &self.piece;
        let begin = usize::try_from(offset - begin).unwrap_or(usize::MAX);
        let begin = begin.min(buffer.len());
        let end = (begin + usize::from(most)).min(buffer.len());
        &buffer[begin..end]
    }
}

/// Makes a buffer as long as wanted; where memory is lacking for a moment, that is as if the bytes were.
fn resize(buffer: &mut Vec<u8>, length: u64) -> io::Result<()> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let room = buffer.try_reserve(length.saturating_sub(buffer.len()));
    room.map_err(|_| io::ErrorKind::WouldBlock)?;
    buffer.resize(length, 0);
    Ok(())
}

/// A text file on its way through the translation.
#[derive(Debug)]
pub struct TextContent {
    original: Original,
    /// How many bytes of the file were read.
    read: u64,
    /// Translated bytes that may still be asked for, and where in the stream they begin.
    translated: VecDeque<u8>,
    begin: u64,
    /// What was read last.
    piece: Piece,
}

impl TextContent {
    pub(super) fn new(original: Original) -> TextContent {
        TextContent {
            original,
            read: 0,
            translated: VecDeque::new(),
            begin: 0,
            piece: Piece::default(),
        }
    }

    fn prepare(&mut self, end: u64, oldest: u64) -> io::Result<()> {
        self.forget_before(oldest);
        while self.end() < end && self.read < self.original.version.size {
            self.translate_some(end - self.end())?;
        }
        Ok(())
    }

    fn bytes(&self, offset: u64, most: u16) -> [&[u8]; 2] {
        let end = (offset + u64::from(most)).min(self.end());
        let end = usize::try_from(end - self.begin).unwrap_or(usize::MAX);
        let begin = usize::try_from(offset - self.begin)
            .unwrap_or(usize::MAX)
            .min(end);
        let (front, back) = self.translated.as_slices();
        let of_front = &front[begin.min(front.len())..end.min(front.len())];
        let of_back = &back[begin.saturating_sub(front.len())..end.saturating_sub(front.len())];
        [of_front, of_back]
    }

    fn end(&self) -> u64 {
        self.begin + self.translated.len() as u64
    }

    fn forget_before(&mut self, oldest: u64) {
        let count = usize::try_from(oldest.saturating_sub(self.begin)).unwrap_or(usize::MAX);
        let count = count.min(self.translated.len());
        self.translated.drain(..count);
        self.begin += count as u64;
    }

    /// Reads and translates at most `wanted` bytes of the file.
    fn translate_some(&mut self, wanted: u64) -> io::Result<()> {
        let count = match &self.piece.state {
            // What was asked for last time.
            PieceState::Here(_) => self.piece.buffer.len() as u64,
            _ => wanted.min(self.original.version.size - self.read),
        };
        self.piece.read(&self.original, self.read, count)?;
        // Each byte may become two.
        let room = self.translated.try_reserve(2 * self.piece.buffer.len());
        room.map_err(|_| io::ErrorKind::WouldBlock)?;
        if self.read + count == self.original.version.size {
            self.original.must_be_unchanged()?;
        }
        self.read += count;
        netascii::translate(&self.piece.buffer, &mut self.translated);
        Ok(())
    }
}
