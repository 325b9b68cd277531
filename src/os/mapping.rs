//! A file in memory, shared by all transfers of it, whose bytes only the kernel ever reads.
//!
//! If the file shrinks, the send of one block fails (EFAULT), where touching the bytes here would be SIGBUS for
//! everybody. And the kernel reads what is not in memory yet while everybody waits: so each transfer asks
//! for the pages ahead of it, and looks whether those it is about to send have come (preadv2(2) with
//! RWF_NOWAIT, or mincore(2) where the file system does not know that).
//!
//! The look is at the first and last byte of some 128 KiB or more, which are asked for in order. Where neither
//! call tells the truth, a stalled disk stalls the server: mincore(2) claims that all is there if the file is
//! neither ours nor writable. tmpfs has nothing to wait for.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use memmap2::{Advice, Mmap, MmapOptions};
use nix::errno::Errno;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use super::original::Original;

/// A read-only mapping of a whole file that is not empty.
#[derive(Debug)]
pub(super) struct Mapping {
    bytes: Mmap,
    original: Original,
    look: Cell<Look>,
}

/// How this file system tells what is in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    /// By a read that does not wait.
    Read,
    /// By the pages of the mapping.
    Pages,
    /// It cannot or need not.
    Never,
}

impl Mapping {
    /// Maps a file.
    ///
    /// # Errors
    /// Where the file system, the address space or the number of mappings forbids it, or too little would
    /// be left of the last two; then the file is handed back.
    pub(super) fn new(original: Original) -> Result<Mapping, Original> {
        let Ok(length) = usize::try_from(original.length) else {
            return Err(original);
        };
        // SAFETY: the file may change or shrink at any time. The bytes are handed to the kernel, which
        // copes with that, and never read here: `Mapped` gives out slices only to `Content::bytes`.
        match unsafe { MmapOptions::new().len(length).map(&original.file) } {
            Ok(bytes) if has_reserve() => Ok(Mapping {
                bytes,
                original,
                look: Cell::new(Look::Read),
            }),
            Ok(_) | Err(_) => Err(original),
        }
    }

    /// Whether the byte at `offset` is in memory, as far as can be told.
    fn is_resident(&self, offset: usize) -> bool {
        if self.look.get() == Look::Read {
            match read_without_waiting(&self.original.file, offset) {
                Ok(is_there) => return is_there,
                Err(_) => {
                    let kind = fstatfs(&self.original.file).map(|state| state.filesystem_type());
                    self.look.set(match kind {
                        Ok(TMPFS_MAGIC) => Look::Never,
                        _ => Look::Pages,
                    });
                }
            }
        }
        self.look.get() != Look::Pages || is_page_resident(&self.bytes, offset)
    }

    /// Asks for the pages from `begin` on. Where the system does not listen, nothing is lost.
    fn will_need(&self, begin: usize) {
        let count = READ_AHEAD.min(self.bytes.len() - begin);
        let _ = self.bytes.advise_range(Advice::WillNeed, begin, count);
    }
}

/// A mapping, and how far one transfer has looked ahead in it.
#[derive(Debug)]
pub struct Mapped {
    mapping: Rc<Mapping>,
    /// All before it was found to be in memory.
    resident_to: usize,
    /// How many bytes are looked at together: twice as many each time, while all are there.
    step: usize,
}

impl Mapped {
    pub(super) fn new(mapping: Rc<Mapping>) -> Mapped {
        Mapped {
            mapping,
            resident_to: 0,
            step: READ_AHEAD,
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.mapping.bytes.len() as u64
    }

    /// The end of a file is given out only if it still is what it was. Else a mixture of old and new bytes would be
    /// complete; and a file that was cut within a page leaves zeros in its place, without an error.
    pub(super) fn prepare(&mut self, begin: u64, end: u64) -> io::Result<()> {
        let length = self.mapping.bytes.len();
        let place = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(length);
        let (begin, end) = (place(begin), place(end));
        if end > self.resident_to && !self.look_ahead(begin, end) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if end == length {
            self.mapping.original.must_be_unchanged()?;
        }
        Ok(())
    }

    /// Whether the bytes from `begin` to `end` are in memory; asks for them, or for those behind them.
    fn look_ahead(&mut self, begin: usize, end: usize) -> bool {
        let mapping = &*self.mapping;
        let end_of = |step| end.max(begin + step).min(mapping.bytes.len());
        let is_there = |step| {
            let last = end_of(step) - 1;
            let is_one_page = begin / PAGE_MIN == last / PAGE_MIN;
            mapping.is_resident(begin) && (is_one_page || mapping.is_resident(last))
        };
        if !is_there(self.step) {
            self.step = READ_AHEAD;
            if !is_there(self.step) {
                mapping.will_need(begin);
                return false;
            }
        }
        self.resident_to = end_of(self.step);
        self.step = (2 * self.step).min(STEP_MAX);
        let next = (self.resident_to + self.step).min(mapping.bytes.len());
        if self.resident_to < next && !mapping.is_resident(next - 1) {
            self.step = READ_AHEAD;
            mapping.will_need(self.resident_to);
        }
        true
    }

    pub(super) fn bytes(&self, offset: u64, most: u16) -> &[u8] {
        let length = self.mapping.bytes.len();
        let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(length);
        &self.mapping.bytes[begin..(begin + usize::from(most)).min(length)]
    }
}

/// There is room for what the program itself may need: a file can do without a mapping, an allocation
/// that fails ends the program.
fn has_reserve() -> bool {
    MmapOptions::new().len(RESERVE).map_anon().is_ok()
}

/// Tries to read one byte and tells whether it was there. Behind the end of the file, too, there is nothing
/// to wait for.
fn read_without_waiting(file: &File, offset: usize) -> io::Result<bool> {
    let mut byte = 0_u8;
    let vector = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    // SAFETY: the vector has one entry, which describes the byte that the kernel may write to.
    let read = unsafe {
        libc::preadv2(
            file.as_raw_fd(),
            &raw const vector,
            1,
            offset,
            libc::RWF_NOWAIT,
        )
    };
    if read >= 0 {
        return Ok(true);
    }
    match Errno::last() {
        Errno::EAGAIN => Ok(false),
        error => Err(error.into()),
    }
}

/// Whether the page of this byte is in memory; where that cannot be told, as if it were.
fn is_page_resident(bytes: &Mmap, offset: usize) -> bool {
    let mut state = 1_u8;
    let page = offset & !(PAGE_MIN - 1);
    // SAFETY: the address lies in the mapping, which begins at a page, and one byte of state is written for
    // the page at it. Where pages are larger than assumed, the call fails.
    let result = unsafe {
        let address = bytes.as_ptr().add(page).cast_mut();
        libc::mincore(address.cast(), 1, &raw mut state)
    };
    result != 0 || state & 1 != 0
}

/// What one madvise(2) reads at most, unless the device says otherwise. No more is asked for at once: who has
/// too many requests under way waits in that call.
const READ_AHEAD: usize = 128 << 10;

/// Where all is in memory, three looks for so many bytes cost nothing.
const STEP_MAX: usize = 1 << 20;

/// More than a full server has taken with the default bounds. It is only asked for, never touched.
const RESERVE: usize = 32 << 20;

/// No system that we run on has smaller pages.
const PAGE_MIN: usize = 4096;
