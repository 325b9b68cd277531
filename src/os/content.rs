//! The bytes of an open file, block by block.
//!
//! An octet file is mapped (see `mapping`). What cannot be mapped is read with pread(2). Netascii is read and
//! translated through a buffer that holds a window, not a file.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;

use super::mapping::Mapped;
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

    /// Bytes in all, where they are known before they are sent.
    pub fn length(&self) -> Option<u64> {
        match self {
            Content::Mapped(mapped) => Some(mapped.length()),
            Content::Read(content) => Some(content.original.length),
            Content::Text(_) => None,
        }
    }
}

/// A file that is read block by block.
#[derive(Debug)]
pub struct ReadContent {
    original: Original,
    /// What was read last, and where in the file it begins.
    buffer: Vec<u8>,
    begin: u64,
}

impl ReadContent {
    pub(super) fn new(original: Original) -> ReadContent {
        ReadContent {
            original,
            buffer: Vec::new(),
            begin: 0,
        }
    }

    fn prepare(&mut self, offset: u64, count: u64) -> io::Result<()> {
        let left = self.original.length.saturating_sub(offset);
        let count = count.min(left);
        resize(&mut self.buffer, count)?;
        self.begin = offset;
        self.original.file.read_exact_at(&mut self.buffer, offset)?;
        match count == left {
            true => self.original.must_be_unchanged(),
            false => Ok(()),
        }
    }

    fn bytes(&self, offset: u64, most: u16) -> &[u8] {
        let begin = usize::try_from(offset - self.begin).unwrap_or(usize::MAX);
        let begin = begin.min(self.buffer.len());
        let end = (begin + usize::from(most)).min(self.buffer.len());
        &self.buffer[begin..end]
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
    buffer: Vec<u8>,
}

impl TextContent {
    pub(super) fn new(original: Original) -> TextContent {
        TextContent {
            original,
            read: 0,
            translated: VecDeque::new(),
            begin: 0,
            buffer: Vec::new(),
        }
    }

    fn prepare(&mut self, end: u64, oldest: u64) -> io::Result<()> {
        self.forget_before(oldest);
        while self.end() < end && self.read < self.original.length {
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
        let count = wanted.min(self.original.length - self.read);
        resize(&mut self.buffer, count)?;
        // Each byte may become two.
        let room = self.translated.try_reserve(2 * self.buffer.len());
        room.map_err(|_| io::ErrorKind::WouldBlock)?;
        self.original
            .file
            .read_exact_at(&mut self.buffer, self.read)?;
        if self.read + count == self.original.length {
            self.original.must_be_unchanged()?;
        }
        self.read += count;
        netascii::translate(&self.buffer, &mut self.translated);
        Ok(())
    }
}
