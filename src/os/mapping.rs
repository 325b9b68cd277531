//! A file in memory, shared by all transfers of it, whose bytes only the kernel ever reads.
//!
//! If the file shrinks, the send of one block fails (EFAULT), where touching the bytes here would be SIGBUS for
//! everybody. And a send that needs a page which is not in memory stops everybody until the disk has answered. So each
//! transfer asks for the pages ahead of it in order (madvise(2)), and sends none that was not seen in memory: by a read
//! that does not wait (see `nowait`). Such a read begins to fetch the page that it does not find, and then proves nothing
//! about those around it: only pages that were asked for are looked at, and each of them. Only where the kernel counts
//! what a thread reads (/proc/PID/io), and no page of the file had to be read when it was asked for, the first and the
//! last page of a part stand for all. What one transfer saw holds for all others, for a moment.
//!
//! Where the file system knows no such reads (NFS, FUSE), the helper reads before each part is sent: there, to ask for
//! pages may wait, too. It also reads what does not come within a second, and so finds out what cannot be read at all.
//! tmpfs has nothing to wait for.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use memmap2::{Advice, Mmap, MmapOptions};
use nix::sys::resource::{UsageWho, getrusage};

use super::fetch::{Fetch, Fetched};
use super::nowait::{
    LOOK_MAX, Look, PAGE_MIN, is_in_memory, is_pair_in_memory, look_without_waiting,
};
use super::original::{Opened, Original};
use crate::moment::Moment;

/// A read-only mapping of a whole file that is not empty.
#[derive(Debug)]
pub(super) struct Mapping {
    /// Given up before the file: the last reference to that may only be its handle's, which knows who closes it.
    bytes: Arc<Mmap>,
    original: Original,
    look: Cell<Look>,
    /// Parts of the file that were in memory lately, each at its number modulo the length of this.
    seen: Box<[Cell<Seen>]>,
    /// Some of it had to be read since it was mapped, or that is not known: pages may be missing anywhere.
    is_cold: Cell<bool>,
}

/// A part of a file that was seen in memory.
#[derive(Clone, Copy, Debug)]
struct Seen {
    part: usize,
    at: Moment,
}

/// Maps the first `length` bytes of a file, at least one. NFS may ask its server before it does.
///
/// # Errors
/// As mmap(2).
pub(super) fn map(file: &File, length: u64) -> io::Result<Arc<Mmap>> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    // SAFETY: the file may change or shrink at any time. The bytes are handed to the kernel, which
    // copes with that, and never read here: `Mapped` gives out slices only to `Content::bytes`.
    let bytes = unsafe { MmapOptions::new().len(length).map(file) };
    bytes.map(Arc::new)
}

impl Mapping {
    /// Maps a file, unless it is; `reads_counted` as [`reads_are_counted`] says.
    ///
    /// # Errors
    /// Where the file system, the address space or the number of mappings forbids it, or too little would
    /// be left of the last two; then the file is handed back.
    pub(super) fn new(opened: Opened, reads_counted: bool) -> Result<Mapping, Original> {
        let Opened {
            bytes,
            original,
            look,
            ..
        } = opened;
        match bytes.map_or_else(|| map(&original.file, original.version.size), Ok) {
            Ok(bytes) if has_reserve() => {
                let length = bytes.len();
                // What is read is for us to say: the usual advice is read_ahead_kb around each fault, 8 MB on many
                // disks.
                if length > PAGE_MIN {
                    let _ = bytes.advise(Advice::Random);
                }
                let nothing = Cell::new(Seen {
                    part: usize::MAX,
                    at: Moment::START,
                });
                let places = length.div_ceil(PART).min(PARTS_SEEN_MAX);
                Ok(Mapping {
                    bytes,
                    original,
                    look: Cell::new(look),
                    seen: vec![nothing; places].into(),
                    is_cold: Cell::new(!reads_counted),
                })
            }
            Ok(_) | Err(_) => Err(original),
        }
    }

    /// Returns how many bytes from `begin` on, which is the beginning of a page, are in memory without a gap, as far as
    /// is known; looks no further than to `end`, and than one part.
    fn resident(&self, begin: usize, end: usize) -> usize {
        let wanted = (end - begin).min(PART);
        if self.look.get().is_by_read() {
            match look_without_waiting(&self.original.file, begin as u64, wanted) {
                // Behind the end of a file that was cut there is nothing to wait for.
                Ok(Some(count)) if count % PAGE_MIN != 0 || count == 0 => return wanted,
                Ok(count) => return count.unwrap_or(0),
                Err(_) => self.look_otherwise(),
            }
        }
        match self.look.get() {
            Look::Read | Look::Memory | Look::Helper => 0,
            Look::Never => wanted,
        }
    }

    /// This file system knows no reads that do not wait, nor does it count what is read.
    fn look_otherwise(&self) {
        self.is_cold.set(true);
        self.look.set(match self.look.get() {
            Look::Memory | Look::Never => Look::Never,
            Look::Read | Look::Helper => Look::Helper,
        });
    }

    /// Whether all from `begin` to `end` is in memory, as its first page, unless that was seen, and its last page say,
    /// where no page is missing in between. Returns whether the page behind it is there as well; `None` if not all is.
    fn is_warm(&self, begin: usize, end: usize, is_begin_seen: bool) -> Option<bool> {
        if self.is_cold.get() {
            return None;
        }
        let file = &self.original.file;
        let is_begin_seen = is_begin_seen || end - begin <= PAGE_MIN;
        let is_begin_there = match is_begin_seen {
            true => Ok(true),
            false => is_in_memory(file, begin as u64),
        };
        let looked = is_begin_there.and_then(|is_there| match is_there {
            true => is_pair_in_memory(file, end as u64 - 1),
            false => Ok(None),
        });
        match looked {
            Ok(Some(is_next)) => return Some(is_next),
            // Another process is about to read it.
            Ok(None) => self.is_cold.set(true),
            Err(_) => self.look_otherwise(),
        }
        None
    }

    /// Asks for the pages from `begin` to `end`. Where the system does not listen, nothing is lost.
    fn will_need(&self, begin: usize, end: usize) {
        let before = (!self.is_cold.get()).then(bytes_read);
        let _ = self
            .bytes
            .advise_range(Advice::WillNeed, begin, end - begin);
        if before.is_some_and(|before| bytes_read() != before) {
            self.is_cold.set(true);
        }
    }

    /// When all of a part was seen in memory, if that was a moment ago.
    fn seen_at(&self, now: Moment, part: usize) -> Option<Moment> {
        let seen = self.seen[part % self.seen.len()].get();
        (seen.part == part && now < seen.at + SEEN_FOR).then_some(seen.at)
    }

    /// Takes note that the bytes of a range were in memory.
    fn note_seen(&self, at: Moment, range: &Range<usize>) {
        let end = match range.end == self.bytes.len() {
            true => range.end.div_ceil(PART),
            false => range.end / PART,
        };
        for part in range.start.div_ceil(PART)..end {
            self.seen[part % self.seen.len()].set(Seen { part, at });
        }
    }
}

/// A mapping, and how far one transfer has looked ahead in it.
#[derive(Debug)]
pub struct Mapped {
    mapping: Rc<Mapping>,
    /// These bytes were in memory at that time, or later.
    seen: Range<usize>,
    seen_at: Moment,
    /// So was the page behind them.
    is_next_seen: bool,
    /// Lately, all from `seen` to there was asked for.
    asked_to: usize,
    /// Only while something that is needed is not in memory.
    absent: Option<Box<Absent>>,
}

/// Something that is needed and not in memory.
#[derive(Debug)]
struct Absent {
    since: Moment,
    by_helper: Option<ByHelper>,
}

/// What the helper has to do with it.
#[derive(Debug)]
enum ByHelper {
    /// It is to read these bytes.
    Wanted(Range<usize>),
    /// It was asked to.
    Asked(Range<usize>),
    /// It could not read all of them: the next that are absent may be those.
    Suspected,
    /// It could not read the first of them.
    Failed(io::Error),
}

impl Mapped {
    pub(super) fn new(mapping: Rc<Mapping>) -> Mapped {
        Mapped {
            mapping,
            seen: 0..0,
            seen_at: Moment::START,
            is_next_seen: false,
            asked_to: 0,
            absent: None,
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.mapping.bytes.len() as u64
    }

    /// The end of a file is given out only if it still is what it was. Else a mixture of old and new bytes would be
    /// complete; and a file that was cut within a page leaves zeros in its place, without an error.
    pub(super) fn prepare(&mut self, now: Moment, begin: u64, end: u64) -> io::Result<()> {
        let length = self.mapping.bytes.len();
        let place = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(length);
        let (begin, end) = (place(begin), place(end));
        if !self.is_seen(now, begin, end) && !self.look_ahead(now, begin, end) {
            return Err(self.wait(now));
        }
        // What the helper could not read may be next.
        if self.absent.is_some() {
            self.absent = self
                .absent
                .take()
                .filter(|absent| absent.by_helper.is_some());
        }
        if end == length {
            self.mapping.original.must_be_unchanged()?;
        }
        Ok(())
    }

    /// What is needed next is absent: it is on its way, or for the helper to read.
    fn wait(&mut self, now: Moment) -> io::Error {
        let begin = self.seen.end & !(PAGE_MIN - 1);
        let end = (begin + PART).min(self.mapping.bytes.len());
        let nothing = || {
            Box::new(Absent {
                since: now,
                by_helper: None,
            })
        };
        let absent = self.absent.get_or_insert_with(nothing);
        let may_never_come =
            now.since(absent.since) >= ABSENT_MAX || self.mapping.look.get() == Look::Helper;
        absent.by_helper = match absent.by_helper.take() {
            Some(ByHelper::Failed(error)) => return error,
            Some(ByHelper::Suspected) => Some(ByHelper::Wanted(begin..end)),
            None if may_never_come => Some(ByHelper::Wanted(begin..end)),
            other => other,
        };
        io::ErrorKind::WouldBlock.into()
    }

    pub(super) fn take_fetch(&mut self) -> Option<Fetch> {
        let by_helper = &mut self.absent.as_mut()?.by_helper;
        let Some(ByHelper::Wanted(range)) = by_helper else {
            return None;
        };
        let range = range.clone();
        *by_helper = Some(ByHelper::Asked(range.clone()));
        let fetch = Fetch {
            file: Arc::clone(&self.mapping.original.file),
            offset: range.start as u64,
            length: range.len(),
            buffer: Vec::new(),
        };
        Some(fetch)
    }

    pub(super) fn fetched(&mut self, now: Moment, fetched: Option<Fetched>) {
        let Some(absent) = &mut self.absent else {
            return;
        };
        let Some(ByHelper::Asked(range)) = absent.by_helper.take() else {
            return;
        };
        let count = match fetched.map(|fetched| fetched.count) {
            // Behind the end of a file that was cut there is nothing to wait for.
            Some(Ok(0)) => range.len(),
            Some(Ok(count)) => count,
            Some(Err(error)) => {
                absent.by_helper = Some(ByHelper::Failed(error));
                return;
            }
            None => return,
        };
        if count < range.len() {
            absent.by_helper = Some(ByHelper::Suspected);
        }
        let end = range.start + count;
        let continues = self.seen.start <= range.start && range.start <= self.seen.end;
        if continues && now < self.seen_at + SEEN_FOR {
            self.seen.end = end.max(self.seen.end);
        } else {
            self.seen = range.start..end;
            self.seen_at = now;
        }
        self.is_next_seen = false;
        self.asked_to = self.asked_to.max(range.end);
    }

    fn is_seen(&self, now: Moment, begin: usize, end: usize) -> bool {
        self.seen.start <= begin && end <= self.seen.end && now < self.seen_at + SEEN_FOR
    }

    /// Whether the bytes from `begin` to `end` are in memory; asks for them, and for those behind them.
    fn look_ahead(&mut self, now: Moment, begin: usize, end: usize) -> bool {
        if !self.is_seen(now, begin, self.seen.end.max(begin)) {
            let page = begin & !(PAGE_MIN - 1);
            self.seen = page..page;
            self.seen_at = now;
            self.is_next_seen = false;
            self.asked_to = page;
        }
        self.ask_to(now, end + PART);
        let is_news_from = (self.seen.end / PART * PART).max(self.seen.start);
        while self.seen.end < end {
            let page = self.seen.end & !(PAGE_MIN - 1);
            let part = page / PART;
            let part_end = ((part + 1) * PART).min(self.mapping.bytes.len());
            // All that was asked for was there then.
            let warm_end = self.asked_to.max(part_end);
            let is_begin_seen = std::mem::take(&mut self.is_next_seen);
            let found = if let Some(at) = self.mapping.seen_at(now, part) {
                self.seen_at = self.seen_at.min(at);
                part_end
            } else if let Some(is_next) = self.mapping.is_warm(page, warm_end, is_begin_seen) {
                self.is_next_seen = is_next;
                warm_end
            } else {
                // Twice as much each time, while all is there.
                let step = self.seen.len().clamp(PAGE_MIN, PART);
                let to = part_end.min(end.max(self.seen.end + step));
                page + self.mapping.resident(page, to)
            };
            if found <= self.seen.end {
                return false;
            }
            self.seen.end = found;
        }
        self.mapping
            .note_seen(self.seen_at, &(is_news_from..self.seen.end));
        true
    }

    /// Asks in order for all before `end` that was not asked for lately, and for the rest of that part.
    fn ask_to(&mut self, now: Moment, end: usize) {
        let length = self.mapping.bytes.len();
        // A single page comes by itself.
        while length > PAGE_MIN
            && self.mapping.look.get().is_by_read()
            && self.asked_to < end.min(length)
        {
            let part = self.asked_to / PART;
            let is_seen = self.mapping.seen_at(now, part).is_some();
            let parts = if is_seen { 1 } else { self.parts_at_once() };
            let to = ((part + parts) * PART).min(length);
            if !is_seen {
                self.mapping.will_need(self.asked_to, to);
            }
            self.asked_to = to;
        }
    }

    /// How many parts are asked for, and looked at, by one call: more each time, while all is in memory.
    fn parts_at_once(&self) -> usize {
        match self.mapping.is_cold.get() {
            true => 1,
            false => (self.seen.len() / PART).clamp(1, PARTS_AT_ONCE),
        }
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

/// Whether the kernel counts what a thread reads from disks.
pub(super) fn reads_are_counted() -> bool {
    Path::new("/proc/self/io").exists()
}

/// What this thread had read from disks so far, in the kernel's unit; never changes where it does not count.
fn bytes_read() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.block_reads())
}

/// What is asked for at once: what one madvise(2) reads at most, unless the device says otherwise. With too many
/// requests under way that call waits.
const PART: usize = LOOK_MAX;

/// As long as nothing has to be read, one call may be for this number of parts.
const PARTS_AT_ONCE: usize = 4;

/// Pages that were in memory may be taken away where memory is short.
const SEEN_FOR: Duration = Duration::from_millis(100);

/// Parts of one file that are remembered: as many transfers of it as usually run at once, and more.
const PARTS_SEEN_MAX: usize = 64;

/// More than a full server has taken with the default bounds. It is only asked for, never touched.
const RESERVE: usize = 32 << 20;

/// Bytes that are absent for so long may be on a disk that answers no more, or that answers with an error: the helper
/// finds out.
const ABSENT_MAX: Duration = Duration::from_secs(1);
