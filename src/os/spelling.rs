//! Names of which only the letters are known, not their case: looked for in directories that are read.
//!
//! Among names that differ in case only the exact one is tried first, the others in the order of their bytes; where one
//! leads nowhere the next is tried. Letters are those of ASCII; other bytes are compared as they are. What a directory
//! holds is remembered as long as it does not change. Only the helper reads directories: that waits for disks. The loop
//! looks at what is remembered, so that most of the many names that are missing take it no longer than an open file.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};

use nix::errno::Errno;

use super::beneath;
use super::clock::unix_time;
use super::directory::entries;
use super::state::{DeviceNumber, Identity, State, Version};
use super::traversal::Tree;
use crate::name::{FileName, FileNameBuf, NAME_MAX, RootPrefixes};

/// What directories hold, for all threads. No thread holds the lock while it waits for anything.
#[derive(Clone, Debug, Default)]
pub struct Listings(Arc<Mutex<Kept>>);

type Kept = HashMap<Identity, Arc<Listing>>;

/// What may be looked at.
pub(super) enum Reach<'s> {
    /// Everything, however long that takes.
    Disk,
    /// What is remembered of directories, on the devices for which this holds; nothing is waited for.
    Memory(&'s dyn Fn(DeviceNumber) -> bool),
}

/// Names that are spelled as asked but for the case.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spelled {
    /// Of what is there.
    pub there: Option<FileNameBuf>,
    /// The first of which only the last component is missing.
    pub new: Option<FileNameBuf>,
}

/// What is remembered does not say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotKnown;

/// What a directory holds: names that differ in case only stand together, in the order of their bytes.
#[derive(Debug)]
struct Listing {
    version: Version,
    names: Vec<Box<[u8]>>,
}

/// One search.
struct Search<'s, F> {
    listings: &'s Listings,
    reach: &'s Reach<'s>,
    trees: &'s [Tree],
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

impl Listings {
    /// The spelling of `name` beneath one of `trees` for which `is_it` holds.
    ///
    /// # Errors
    /// [`NotKnown`], from memory alone, where a directory was not read yet or has changed since, or `is_it` does not
    /// know.
    pub(super) fn spell(
        &self,
        reach: &Reach<'_>,
        trees: &[Tree],
        name: FileName<'_>,
        is_it: impl FnMut(FileName<'_>) -> Result<bool, NotKnown>,
    ) -> Result<Spelled, NotKnown> {
        let mut search = Search {
            listings: self,
            reach,
            trees,
            at: 0,
            components: name.as_bytes().split(|&byte| byte == b'/').collect(),
            is_it,
            budget: ENTRIES_MAX,
            path: Vec::new(),
            new: None,
        };
        let mut there = None;
        let is_shallow = search.components.len() <= DEPTH_MAX;
        while is_shallow && there.is_none() && search.at < trees.len() {
            if search.enter(0)? {
                there = safe(&search.path);
            }
            search.at += 1;
        }
        let new = search.new.and_then(|path| safe(&path));
        Ok(Spelled { there, new })
    }
}

impl<F: FnMut(FileName<'_>) -> Result<bool, NotKnown>> Search<'_, F> {
    /// Looks for the component with this number, and for all behind it. Returns whether the path is found.
    fn enter(&mut self, number: usize) -> Result<bool, NotKnown> {
        let wanted = self.components[number];
        let is_last = number + 1 == self.components.len();
        let Some(candidates) = self.candidates(wanted)? else {
            return Ok(false);
        };
        let length = self.path.len();
        for candidate in &candidates {
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(candidate);
            let is_found = match (is_last, safe(&self.path)) {
                (true, Some(path)) => (self.is_it)(path.as_name())?,
                (true, None) => false,
                (false, _) => self.enter(number + 1)?,
            };
            if is_found {
                return Ok(true);
            }
            self.path.truncate(length);
        }
        if is_last && self.new.is_none() {
            let directory = self.path.as_slice();
            let slash = if directory.is_empty() { &b""[..] } else { b"/" };
            self.new = Some([directory, slash, wanted].concat());
        }
        Ok(false)
    }

    /// The names in the directory of the present path that are `wanted` but for the case; `None` if there is no such
    /// directory, or too much was looked at.
    fn candidates(&mut self, wanted: &[u8]) -> Result<Option<Vec<Box<[u8]>>>, NotKnown> {
        let Some(budget) = self.budget.checked_sub(ENTERED) else {
            return Ok(None);
        };
        self.budget = budget;
        match self.reach {
            Reach::Disk => Ok(self.candidates_on_disk(wanted)),
            Reach::Memory(is_local) => {
                let root = &self.trees[self.at].directory;
                let state = match self.path.is_empty() {
                    true => State::known(root),
                    false => match beneath::open_directory_cached(root, &self.path) {
                        Ok(directory) => State::known(&directory),
                        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
                        Err(error) => Err(error),
                    },
                };
                let state = state.map_err(|_| NotKnown)?;
                // Who holds the lock is not waited for.
                let kept = self.listings.0.try_lock().map_err(|_| NotKnown)?;
                let listing = known(&kept, &state).filter(|_| is_local(state.device()));
                Ok(Some(listing.ok_or(NotKnown)?.matching(wanted)))
            }
        }
    }

    fn candidates_on_disk(&mut self, wanted: &[u8]) -> Option<Vec<Box<[u8]>>> {
        let directory = beneath::open_directory(self.trees, self.at, &self.path).ok()?;
        let state = State::of(&directory).ok()?;
        let listing = known(&self.listings.lock(), &state);
        if let Some(listing) = listing {
            return Some(listing.matching(wanted));
        }
        let Some(names) = self.read(&directory) else {
            // It can be searched, but not read.
            return Some(vec![wanted.into()]);
        };
        let listing = Arc::new(Listing {
            version: state.version(),
            names: names?,
        });
        let matching = listing.matching(wanted);
        self.listings.keep(state.identity(), listing);
        Some(matching)
    }

    /// All names in a directory, in order; the inner `None` if there are too many. `None` if it cannot be read.
    fn read(&mut self, directory: &OwnedFd) -> Option<Option<Vec<Box<[u8]>>>> {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        for entry in entries(directory).ok()? {
            match (self.budget.checked_sub(1), entry) {
                (Some(left), Ok(entry)) => {
                    self.budget = left;
                    names.push(Box::from(entry.file_name().to_bytes()));
                }
                (_, _) => return Some(None),
            }
        }
        names.sort_unstable_by(|one, other| by_letters(one, other));
        Some(Some(names))
    }
}

impl Listings {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().expect("nobody panics who holds it")
    }

    /// Remembers what a directory holds, unless that may change without a trace: within a tick of the clock of the file system.
    fn keep(&self, identity: Identity, listing: Arc<Listing>) {
        let mut kept = self.lock();
        kept.remove(&identity);
        let now = unix_time().as_secs().cast_signed();
        if listing.version.changed_at() + TICK >= now {
            return;
        }
        let names: usize = kept.values().map(|other| other.names.len()).sum();
        if names + listing.names.len() > NAMES_KEPT || kept.len() >= LISTINGS_KEPT {
            kept.clear();
        }
        kept.insert(identity, listing);
    }
}

/// What is remembered of a directory in this state.
fn known(kept: &Kept, state: &State) -> Option<Arc<Listing>> {
    let listing = kept.get(&state.identity())?;
    (listing.version == state.version()).then(|| Arc::clone(listing))
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::os::root::Root;

    struct Tree(PathBuf);

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// What is remembered holds until a directory on the way changes, and a directory that has just changed is read again.
    #[test]
    fn what_is_remembered_is_known_at_once_until_it_changes() {
        let name = format!("tftpd-spelling-{}", std::process::id());
        let tree = Tree(std::env::temp_dir().join(name));
        let here = |name: &str| tree.0.join(name);
        fs::create_dir_all(here("Boot/Fonts")).expect("directories");
        fs::write(here("Boot/Fonts/A.ttf"), "").expect("a file");
        let root = Root::open(&tree.0).expect("a root");
        let trees = [root.tree];
        let listings = Listings::default();
        let text = |found: FileNameBuf| {
            let bytes = found.as_name().as_bytes().to_vec();
            String::from_utf8(bytes).expect("text")
        };
        let is_file = |name: FileName<'_>| {
            let name = String::from_utf8(name.as_bytes().to_vec()).expect("text");
            tree.0.join(name).is_file()
        };
        let on_disk = |name: &str| {
            let (name, is_it) = (safe(name.as_bytes())?, |name: FileName<'_>| {
                Ok(is_file(name))
            });
            let found = listings.spell(&Reach::Disk, &trees, name.as_name(), is_it);
            found.ok()?.there.map(text)
        };
        let now = |name: &str| {
            let name = safe(name.as_bytes()).expect("a safe name");
            let is_it = |name: FileName<'_>| Ok(is_file(name));
            let found = listings.spell(&Reach::Memory(&|_| true), &trees, name.as_name(), is_it);
            found
                .map(|found| found.there.map(text))
                .map_err(|NotKnown| ())
        };
        // Within a tick of the clock nothing is remembered.
        assert_eq!(
            on_disk("boot/fonts/a.TTF").as_deref(),
            Some("Boot/Fonts/A.ttf")
        );
        assert_eq!(now("boot/fonts/a.TTF"), Err(()));
        let patience = Instant::now() + Duration::from_secs(20);
        while now("boot/fonts/a.TTF").is_err() {
            assert!(Instant::now() < patience, "it is never remembered");
            thread::sleep(Duration::from_millis(50));
            on_disk("boot/fonts/a.TTF");
        }
        assert_eq!(now("boot/fonts/a.TTF"), Ok(Some("Boot/Fonts/A.ttf".into())));
        for missing in ["boot/fonts/b.ttf", "boot/x", "none", "boot/fonts/a.ttf/x"] {
            assert_eq!(now(missing), Ok(None), "{missing}");
        }
        // Nothing is known of the disks of others.
        let name = safe(b"none").expect("a safe name");
        let elsewhere = listings.spell(&Reach::Memory(&|_| false), &trees, name.as_name(), |_| {
            Ok(true)
        });
        assert!(elsewhere.is_err());
        // What is asked whether a file is there may not know.
        let name = safe(b"boot/fonts/a.ttf").expect("a safe name");
        let unknown = listings.spell(&Reach::Memory(&|_| true), &trees, name.as_name(), |_| {
            Err(NotKnown)
        });
        assert!(unknown.is_err());
        fs::write(here("Boot/Fonts/b.TTF"), "").expect("a file");
        assert_eq!(now("boot/fonts/b.ttf"), Err(()));
        assert_eq!(now("boot/x"), Ok(None));
        assert_eq!(
            on_disk("boot/fonts/b.ttf").as_deref(),
            Some("Boot/Fonts/b.TTF")
        );
        // A twin of a directory on the way.
        fs::create_dir_all(here("BOOT")).expect("a directory");
        assert_eq!(now("boot/x"), Err(()));
        fs::write(here("BOOT/X"), "").expect("a file");
        assert_eq!(on_disk("boot/x").as_deref(), Some("BOOT/X"));
        // Another directory in the place of one that is remembered.
        fs::rename(here("Boot"), here("old")).expect("a directory");
        assert_eq!(now("boot/fonts/a.ttf"), Err(()));
        assert_eq!(on_disk("boot/fonts/a.ttf"), None);
    }
}
