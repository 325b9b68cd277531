//! The bytes of an open file, block by block.
//!
//! An octet file is mapped, and its blocks are slices of the mapping that only the kernel ever reads: if
//! the file shrinks, the send of one block fails (EFAULT), where touching the bytes here would be SIGBUS
//! for everybody. What cannot be mapped is read with pread(2). Netascii is read and translated through a
//! buffer that holds a window, not a file.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use memmap2::{Mmap, MmapOptions};

use crate::wire::netascii;

/// A read-only mapping of a whole file that is not empty.
#[derive(Debug)]
pub struct Mapping {
    bytes: Mmap,
    file: File,
}

impl Mapping {
    /// Maps the first `length` bytes of `file`.
    ///
    /// # Errors
    /// Where the file system, the address space or the number of mappings forbids it; then the file is
    /// handed back.
    pub(super) fn new(file: File, length: usize) -> Result<Mapping, File> {
        // SAFETY: the file may change or shrink at any time. The bytes are handed to the kernel, which
        // copes with that, and never read here: `Mapping` gives out slices only to `Content::block`.
        match unsafe { MmapOptions::new().len(length).map(&file) } {
            Ok(bytes) => Ok(Mapping { bytes, file }),
            Err(_) => Err(file),
        }
    }

    /// The block at `offset`. A file that was cut within a page leaves zeros in its place, without an
    /// error, so the block that ends it is given out only if the end is still there.
    fn block(&self, offset: u64, blksize: u16) -> io::Result<&[u8]> {
        let length = self.bytes.len();
        let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(length);
        let end = (begin + usize::from(blksize)).min(length);
        if end == length && self.file.metadata()?.len() < length as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(&self.bytes[begin..end])
    }
}

/// A file that is being sent.
#[derive(Debug)]
pub enum Content {
    /// Octets from a mapping, which other transfers may share.
    Mapped(Rc<Mapping>),
    /// Octets that are read when they are needed.
    Read(ReadContent),
    /// Text that is translated to netascii.
    Text(TextContent),
}

impl Content {
    /// The block at `offset` of the stream, as two pieces of which the second may be empty. The last
    /// block is the one that is shorter than `blksize`. Nothing before `oldest` is asked for again.
    ///
    /// # Errors
    /// Where the file cannot be read, or has become shorter.
    pub fn block(&mut self, offset: u64, blksize: u16, oldest: u64) -> io::Result<[&[u8]; 2]> {
        match self {
            Content::Mapped(mapping) => Ok([mapping.block(offset, blksize)?, &[]]),
            Content::Read(content) => content.block(offset, blksize),
            Content::Text(content) => content.block(offset, blksize, oldest),
        }
    }

    /// Bytes in all, where they are known before they are sent.
    pub fn length(&self) -> Option<u64> {
        match self {
            Content::Mapped(mapping) => Some(mapping.bytes.len() as u64),
            Content::Read(content) => Some(content.length),
            Content::Text(_) => None,
        }
    }
}

/// A file that is read block by block.
#[derive(Debug)]
pub struct ReadContent {
    file: File,
    length: u64,
    buffer: Vec<u8>,
}

impl ReadContent {
    pub(super) fn new(file: File, length: u64) -> ReadContent {
        ReadContent {
            file,
            length,
            buffer: Vec::new(),
        }
    }

    fn block(&mut self, offset: u64, blksize: u16) -> io::Result<[&[u8]; 2]> {
        let left = self.length.saturating_sub(offset);
        let wanted = usize::from(blksize).min(usize::try_from(left).unwrap_or(usize::MAX));
        self.buffer.resize(wanted, 0);
        self.file.read_exact_at(&mut self.buffer, offset)?;
        Ok([&self.buffer, &[]])
    }
}

/// A text file on its way through the translation.
#[derive(Debug)]
pub struct TextContent {
    file: File,
    /// Bytes of the file when it was opened, and how many of them were read.
    length: u64,
    read: u64,
    /// Translated bytes that may still be asked for, and where in the stream they begin.
    translated: VecDeque<u8>,
    begin: u64,
    buffer: Vec<u8>,
}

impl TextContent {
    pub(super) fn new(file: File, length: u64) -> TextContent {
        TextContent {
            file,
            length,
            read: 0,
            translated: VecDeque::new(),
            begin: 0,
            buffer: Vec::new(),
        }
    }

    fn block(&mut self, offset: u64, blksize: u16, oldest: u64) -> io::Result<[&[u8]; 2]> {
        self.forget_before(oldest);
        let end = offset + u64::from(blksize);
        while self.end() < end && self.read < self.length {
            self.translate_some(end - self.end())?;
        }
        let end = usize::try_from(end.min(self.end()) - self.begin).unwrap_or(usize::MAX);
        let begin = usize::try_from(offset - self.begin)
            .unwrap_or(usize::MAX)
            .min(end);
        let (front, back) = self.translated.as_slices();
        let of_front = &front[begin.min(front.len())..end.min(front.len())];
        let of_back = &back[begin.saturating_sub(front.len())..end.saturating_sub(front.len())];
        Ok([of_front, of_back])
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
        let count = wanted.min(self.length - self.read);
        self.buffer.resize(usize::try_from(count).unwrap_or(0), 0);
        self.file.read_exact_at(&mut self.buffer, self.read)?;
        self.read += count;
        netascii::translate(&self.buffer, &mut self.translated);
        Ok(())
    }
}
