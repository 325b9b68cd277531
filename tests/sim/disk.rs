//! A disk, and the pages of the server's memory in front of it. It reads one request after the other; when a page
//! will be there follows from what was asked for before it, so it needs no events.

use std::collections::HashMap;
use std::time::Duration;

use crate::link::nanos;

/// What a disk can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Drive {
    /// Bytes in a second.
    pub(crate) rate: u64,
    /// What each request costs that does not go on where the last one ended.
    pub(crate) seek: Duration,
}

impl Drive {
    /// How long files take that are read piece by piece, with a seek for each: nobody need be slower.
    pub(crate) fn time_for(self, count: u32, size: u64) -> Duration {
        let pieces = u32::try_from(size.div_ceil(READ_AHEAD)).unwrap_or(u32::MAX);
        let pages = size.div_ceil(PAGE) * PAGE;
        (self.seek * pieces + Duration::from_nanos(self.reading(pages))) * count
    }

    fn reading(self, bytes: u64) -> u64 {
        bytes * 1_000_000_000 / self.rate
    }
}

/// A disk in use, with a cold cache at first.
#[derive(Debug)]
pub(crate) struct Disk {
    drive: Drive,
    /// By the number of a file: when each of its pages will be there, in nanoseconds.
    pages: HashMap<u16, Vec<Option<u64>>>,
    /// When the last request will have been served.
    free_at: u64,
    /// How long all requests have taken, or will.
    busy: Duration,
    /// Where that will leave the head: a file, and the page there.
    head: (u16, usize),
}

impl Disk {
    pub(crate) fn new(drive: Drive) -> Disk {
        Disk {
            drive,
            pages: HashMap::new(),
            free_at: 0,
            busy: Duration::ZERO,
            head: (0, 0),
        }
    }

    pub(crate) fn busy(&self) -> Duration {
        self.busy
    }

    /// Whether the bytes from `begin` to `end` are in memory; asks for them, and for those behind them.
    pub(crate) fn prepare(&mut self, now: u64, file: u16, size: u64, range: (u64, u64)) -> bool {
        let (begin, end) = range;
        if end <= begin {
            return true;
        }
        let ahead = begin - begin % READ_AHEAD;
        self.ask(now, file, size, ahead);
        self.ask(now, file, size, ahead + READ_AHEAD);
        let pages = &self.pages[&file][page(begin)..=page(end - 1)];
        pages.iter().all(|at| at.is_some_and(|at| at <= now))
    }

    /// When all of these bytes will be there, which were asked for.
    pub(crate) fn ready_at(&self, file: u16, range: (u64, u64)) -> u64 {
        let pages = &self.pages[&file][page(range.0)..=page(range.1 - 1)];
        pages.iter().flatten().copied().max().unwrap_or(0)
    }

    /// Asks for the piece from `begin` on, as far as nobody has.
    fn ask(&mut self, now: u64, file: u16, size: u64, begin: u64) {
        let count = page(size.max(1) - 1) + 1;
        let pages = self.pages.entry(file).or_insert_with(|| vec![None; count]);
        let end = page(begin + READ_AHEAD).min(count);
        let Some(first) = (page(begin)..end).find(|&page| pages[page].is_none()) else {
            return;
        };
        let missing = (first..end).filter(|&page| pages[page].is_none()).count() as u64;
        let seek = match self.head == (file, first) {
            true => 0,
            false => nanos(self.drive.seek),
        };
        let takes = seek + self.drive.reading(missing * PAGE);
        self.busy += Duration::from_nanos(takes);
        self.free_at = self.free_at.max(now) + takes;
        self.head = (file, end);
        for ready_at in &mut pages[first..end] {
            ready_at.get_or_insert(self.free_at);
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // Files are smaller than memory.
fn page(offset: u64) -> usize {
    (offset / PAGE) as usize
}

const PAGE: u64 = 4096;

/// What is asked for at once.
const READ_AHEAD: u64 = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    /// A piece takes a millisecond, and a seek ten.
    fn disk() -> Disk {
        Disk::new(Drive {
            rate: 1000 * READ_AHEAD,
            seek: Duration::from_millis(10),
        })
    }

    #[test]
    fn what_is_asked_for_comes_one_after_the_other() {
        let mut disk = disk();
        let first = (0, 1428);
        assert!(!disk.prepare(0, 1, 1 << 20, first));
        assert_eq!(disk.ready_at(1, first), 11 * MILLISECOND);
        // The second piece follows at once, and another file behind that.
        assert_eq!(
            disk.ready_at(1, (READ_AHEAD, READ_AHEAD + 1)),
            12 * MILLISECOND
        );
        assert!(!disk.prepare(0, 2, 5000, (4096, 5000)));
        let two_pages = disk.drive.reading(2 * PAGE);
        assert_eq!(disk.ready_at(2, (0, 5000)), 22 * MILLISECOND + two_pages);
        assert!(!disk.prepare(11 * MILLISECOND - 1, 1, 1 << 20, first));
        assert!(disk.prepare(11 * MILLISECOND, 1, 1 << 20, first));
    }

    #[test]
    fn what_is_there_is_not_read_again() {
        let mut disk = disk();
        disk.prepare(0, 1, READ_AHEAD, (0, 1));
        let read = disk.free_at;
        assert!(disk.prepare(read, 1, READ_AHEAD, (READ_AHEAD - 1, READ_AHEAD)));
        assert!(
            disk.prepare(read, 1, READ_AHEAD, (READ_AHEAD, READ_AHEAD)),
            "nothing"
        );
        assert_eq!(disk.free_at, read);
    }
}
