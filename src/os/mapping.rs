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
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem};

use memmap2::{Advice, Mmap, MmapOptions};
use nix::sys::resource::{UsageWho, getrusage};

use super::fetch::{Errand, Fetch};
use super::nowait::{LOOK_MAX, Look, PAGE_MIN, is_in_memory, look_without_waiting};
use super::opened::Opened;
use crate::moment::Moment;

/// A read-only mapping of a whole file that is not empty.
#[derive(Debug)]
pub(super) struct Mapping {
    /// Given up before the file, whose closing may be another's.
    bytes: Arc<Mmap>,
    opened: Arc<Opened>,
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

/// Maps a file. NFS may ask its server before it does.
///
/// # Errors
/// As mmap(2).
pub(super) fn map(opened: &Opened) -> io::Result<Arc<Mmap>> {
    let length = usize::try_from(opened.version.size).map_err(io::Error::other)?;
    // SAFETY: the file may change or shrink at any time. The bytes are handed to the kernel, which
    // copes with that, and never read here: `Mapped` gives out slices only to `Content::bytes`.
    let bytes = unsafe { MmapOptions::new().len(length).map(&**opened) };
    bytes.map(Arc::new)
}

impl Mapping {
    /// Maps a file, unless it is; `reads_counted` as [`reads_are_counted`] says.
    ///
    /// # Errors
    /// Where the file system, the address space or the number of mappings forbids it, or too little would
    /// be left of the last two; then the file is handed back.
    pub(super) fn new(opened: Arc<Opened>, reads_counted: bool) -> Result<Mapping, Arc<Opened>> {
        match opened.bytes.clone().map_or_else(|| map(&opened), Ok) {
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
                    look: Cell::new(opened.look),
                    opened,
                    seen: vec![nothing; places].into(),
                    is_cold: Cell::new(!reads_counted),
                })
            }
            Ok(_) | Err(_) => Err(opened),
        }
    }

    /// Returns how many bytes from `begin` on, which is the beginning of a page, are in memory without a gap, as far as
    /// is known; looks no further than to `end`, and than one part.
    fn resident(&self, begin: usize, end: usize) -> usize {
        let wanted = (end - begin).min(PART);
        if self.look.get() == Look::Read {
            match look_without_waiting(&self.opened, begin as u64, wanted) {
                // Behind the end of a file that was cut there is nothing to wait for.
                Ok(Some(count)) if count % PAGE_MIN != 0 || count == 0 => return wanted,
                Ok(count) => return count.unwrap_or(0),
                Err(_) => self.look_otherwise(),
            }
        }
        match self.look.get() {
            Look::Read | Look::Helper => 0,
            Look::Never => wanted,
        }
    }

    /// This file system knows no reads that do not wait, nor does it count what is read.
    fn look_otherwise(&self) {
        self.is_cold.set(true);
        let device = self.opened.local_device;
        self.look
            .set(match device.is_some_and(|device| device.is_memory) {
                true => Look::Never,
                false => Look::Helper,
            });
    }

    /// Whether all from `begin` to `end` is in memory, as its first and its last page say, where no page is missing in
    /// between.
    fn is_warm(&self, begin: usize, end: usize) -> bool {
        if self.is_cold.get() {
            return false;
        }
        let (first, last) = (begin / PAGE_MIN, (end - 1) / PAGE_MIN);
        let is_there = |page: usize| is_in_memory(&self.opened, (page * PAGE_MIN) as u64);
        match is_there(last).and_then(|is_last| Ok(is_last && (first == last || is_there(first)?)))
        {
            Ok(true) => return true,
            // Another process is about to read it.
            Ok(false) => self.is_cold.set(true),
            Err(_) => self.look_otherwise(),
        }
        false
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
    /// Lately, all from `seen` to there was asked for.
    asked_to: usize,
    /// Since when something that is needed is not in memory.
    absent_since: Option<Moment>,
    pub(super) errand: Errand,
}

impl Mapped {
    pub(super) fn new(mapping: Rc<Mapping>) -> Mapped {
        Mapped {
            mapping,
            seen: 0..0,
            seen_at: Moment::START,
            asked_to: 0,
            absent_since: None,
            errand: Errand::None,
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
        let failed = self.take_note();
        if !self.is_seen(now, begin, end) && !self.look_ahead(now, begin, end) {
            return Err(failed.unwrap_or_else(|| self.wait(now)));
        }
        self.absent_since = None;
        if end == length {
            self.mapping.opened.must_be_unchanged()?;
        }
        Ok(())
    }

    /// What is needed next is absent: it is on its way, or for the helper to read.
    fn wait(&mut self, now: Moment) -> io::Error {
        let since = *self.absent_since.get_or_insert(now);
        let may_never_come =
            now.since(since) >= ABSENT_MAX || self.mapping.look.get() == Look::Helper;
        if matches!(self.errand, Errand::None) && may_never_come {
            let begin = self.seen.end & !(PAGE_MIN - 1);
            let end = (begin + PART).min(self.mapping.bytes.len());
            self.errand = Errand::Wanted(Fetch {
                file: Arc::clone(&self.mapping.opened),
                offset: begin as u64,
                length: end - begin,
                buffer: Vec::new(),
            });
        }
        io::ErrorKind::WouldBlock.into()
    }

    /// Takes note of what the helper has read. Returns why it could not.
    fn take_note(&mut self) -> Option<io::Error> {
        let (fetched, at) = match mem::take(&mut self.errand) {
            Errand::Done(fetched, at) => (fetched, at),
            errand => {
                self.errand = errand;
                return None;
            }
        };
        let begin = usize::try_from(fetched.offset).unwrap_or(usize::MAX);
        let asked_to = (begin + PART).min(self.mapping.bytes.len());
        let end = match fetched.count {
            // Behind the end of a file that was cut there is nothing to wait for.
            Ok(0) => asked_to,
            Ok(count) => begin + count,
            Err(error) => return Some(error),
        };
        let continues = self.seen.start <= begin && begin <= self.seen.end;
        if continues && at < self.seen_at + SEEN_FOR {
            self.seen.end = end.max(self.seen.end);
        } else {
            self.seen = begin..end;
            self.seen_at = at;
        }
        self.asked_to = self.asked_to.max(asked_to);
        None
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
            let found = if let Some(at) = self.mapping.seen_at(now, part) {
                self.seen_at = self.seen_at.min(at);
                part_end
            } else if self.mapping.is_warm(page, warm_end) {
                warm_end
            } else {
                page + self.mapping.resident(page, part_end)
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
            && self.mapping.look.get() == Look::Read
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
