//! Names of which only the letters are known, not their case: looked for in directories that are read.
//!
//! Among names that differ in case only the exact one is tried first, the others in the order of their bytes; where one
//! leads nowhere the next is tried. Letters are those of ASCII; other bytes are compared as they are. What a directory
//! holds is remembered as long as it does not change. Only the helper does this: it waits for disks.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::os::fd::AsFd;

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use super::beneath::{self, Place};
use crate::name::{FileName, FileNameBuf, NAME_MAX, RootPrefixes};

/// Looks for spellings.
#[derive(Debug, Default)]
pub(super) struct Speller {
    listings: HashMap<Identity, Listing>,
    /// Names in all of them.
    names_kept: usize,
}

/// Device and inode.
type Identity = (u64, u64);

/// Of a directory, when its names changed last: seconds and nanoseconds of mtime and ctime.
type Changed = [i64; 4];

/// What a directory holds: names that differ in case only stand together, in the order of their bytes.
#[derive(Debug)]
struct Listing {
    changed: Changed,
    names: Vec<Box<[u8]>>,
}

/// One search.
struct Search<'s, F> {
    speller: &'s mut Speller,
    places: &'s [Place<'s>],
    /// In which root.
    at: usize,
    components: Vec<&'s [u8]>,
    /// Whether a path is what is looked for.
    is_it: F,
    /// What may still be read and entered.
    budget: usize,
    /// The path so far.
    path: Vec<u8>,
    /// The first path of which only the last component is missing.
    new: Option<Vec<u8>>,
}

impl Speller {
    /// The spelling of `name` beneath one of `places` for which `is_it` holds; for a file that is to be made, one of which all but the
    /// last component is there. `None` if there is neither.
    pub(super) fn spell(
        &mut self,
        places: &[Place<'_>],
        name: FileName<'_>,
        may_be_new: bool,
        mut is_it: impl FnMut(FileName<'_>) -> bool,
    ) -> Option<FileNameBuf> {
        let components: Vec<&[u8]> = name.as_bytes().split(|&byte| byte == b'/').collect();
        if components.len() > DEPTH_MAX {
            return None;
        }
        let mut new = None;
        let mut budget = ENTRIES_MAX;
        for at in 0..places.len() {
            let mut search = Search {
                speller: self,
                places,
                at,
                components: components.clone(),
                is_it: &mut is_it,
                budget,
                path: Vec::new(),
                new: None,
            };
            if search.enter(0) {
                return safe(&search.path);
            }
            budget = search.budget;
            new = new.or(search.new);
        }
        new.filter(|_| may_be_new).and_then(|path| safe(&path))
    }
}

impl<F: FnMut(FileName<'_>) -> bool> Search<'_, F> {
    /// Looks for the component with this number, and for all behind it. Returns whether the path is found.
    fn enter(&mut self, number: usize) -> bool {
        let wanted = self.components[number];
        let is_last = number + 1 == self.components.len();
        let Some(candidates) = self.candidates(wanted) else {
            return false;
        };
        let length = self.path.len();
        for candidate in &candidates {
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(candidate);
            let is_found = match is_last {
                true => safe(&self.path).is_some_and(|path| (self.is_it)(path.as_name())),
                false => self.enter(number + 1),
            };
            if is_found {
                return true;
            }
            self.path.truncate(length);
        }
        if is_last && self.new.is_none() {
            let directory = self.path.as_slice();
            let slash = if directory.is_empty() { &b""[..] } else { b"/" };
            self.new = Some([directory, slash, wanted].concat());
        }
        false
    }

    /// The names in the directory of the present path that are `wanted` but for the case; `None` if there is no such
    /// directory, or too much was looked at.
    fn candidates(&mut self, wanted: &[u8]) -> Option<Vec<Box<[u8]>>> {
        self.budget = self.budget.checked_sub(ENTERED)?;
        let directory = beneath::open_directory(self.places, self.at, &self.path).ok()?;
        let state = fstat(&directory).ok()?;
        #[allow(clippy::unnecessary_cast, reason = "the width differs between systems")]
        let (identity, changed) = (
            (state.st_dev as u64, state.st_ino as u64),
            [
                state.st_mtime as i64,
                state.st_mtime_nsec as i64,
                state.st_ctime as i64,
                state.st_ctime_nsec as i64,
            ],
        );
        if let Some(listing) = self.speller.listings.get(&identity)
            && listing.changed == changed
        {
            return Some(listing.matching(wanted));
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let Ok(mut entries) = Dir::openat(directory.as_fd(), ".", flags, Mode::empty()) else {
            // It can be searched, but not read.
            return Some(vec![wanted.into()]);
        };
        let mut names: Vec<Box<[u8]>> = Vec::new();
        for entry in entries.iter() {
            self.budget = self.budget.checked_sub(1)?;
            names.push(Box::from(entry.ok()?.file_name().to_bytes()));
        }
        names.sort_unstable_by(|one, other| by_letters(one, other));
        let listing = Listing { changed, names };
        let matching = listing.matching(wanted);
        self.speller.keep(identity, listing);
        Some(matching)
    }
}

impl Speller {
    /// Remembers what a directory holds, unless that may change without a trace: within a tick of the clock of the file system.
    fn keep(&mut self, identity: Identity, listing: Listing) {
        let now = clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, |now: TimeSpec| now.tv_sec());
        let [mtime, _, ctime, _] = listing.changed;
        if let Some(old) = self.listings.remove(&identity) {
            self.names_kept -= old.names.len();
        }
        if mtime.max(ctime) + TICK >= now {
            return;
        }
        if self.names_kept + listing.names.len() > NAMES_KEPT
            || self.listings.len() >= LISTINGS_KEPT
        {
            self.listings.clear();
            self.names_kept = 0;
        }
        self.names_kept += listing.names.len();
        self.listings.insert(identity, listing);
    }
}

impl Listing {
    /// The exact name first.
    fn matching(&self, wanted: &[u8]) -> Vec<Box<[u8]>> {
        let begin = self
            .names
            .partition_point(|name| letters(name, wanted) == Ordering::Less);
        let equal = self.names[begin..]
            .iter()
            .take_while(|name| name.eq_ignore_ascii_case(wanted));
        let mut equal: Vec<Box<[u8]>> = equal.cloned().collect();
        if let Some(exact) = equal.iter().position(|name| **name == *wanted) {
            equal[..=exact].rotate_right(1);
        }
        equal
    }
}

fn safe(path: &[u8]) -> Option<FileNameBuf> {
    let mut buffer = [0; NAME_MAX];
    let name = FileName::new(path, &RootPrefixes::default(), &mut buffer).ok()?;
    Some(name.to_owned())
}

/// Compares the letters without their case.
fn letters(one: &[u8], other: &[u8]) -> Ordering {
    let one_lower = one.iter().map(u8::to_ascii_lowercase);
    one_lower.cmp(other.iter().map(u8::to_ascii_lowercase))
}

/// By the letters, and only then by the case.
pub(super) fn by_letters(one: &[u8], other: &[u8]) -> Ordering {
    letters(one, other).then_with(|| one.cmp(other))
}

/// Names in directories that are looked at for one request.
const ENTRIES_MAX: usize = 100_000;
/// What it counts to enter a directory, whether it is remembered or not.
const ENTERED: usize = 64;
/// Components of a name.
const DEPTH_MAX: usize = 32;
/// Names that are remembered, in all directories together: some 10 MB.
const NAMES_KEPT: usize = 200_000;
/// Directories that are remembered.
const LISTINGS_KEPT: usize = 4096;
/// Seconds in which two changes may bear one time; FAT has the coarsest clock.
const TICK: i64 = 2;
