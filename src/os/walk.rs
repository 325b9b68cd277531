//! A walk past everything below a directory, as who we are.
//!
//! It goes by descriptors and follows no link on its way. Nothing but directories is opened.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::vec;

use nix::errno::Errno;
use nix::fcntl::readlinkat;
use nix::sys::stat::SFlag;

use super::directory::{enter, entries, may_search};
use super::spelling::by_letters;
use super::state::State;

/// A walk that goes on with each [`Walk::step`].
#[derive(Debug)]
pub struct Walk {
    bounds: Bounds,
    /// Directories, each entered from the one before.
    levels: Vec<Level>,
    /// Of what was seen last.
    path: Vec<u8>,
    /// Names that were read.
    names_read: usize,
    is_cut_short: bool,
}

/// Where a walk ends, however much there is.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Names that are read, in all directories together.
    pub names: usize,
    /// Directories between the root and what is looked at, each of which stays open meanwhile.
    pub depth: usize,
}

#[derive(Debug)]
struct Level {
    directory: OwnedFd,
    /// Names in it that were not looked at yet.
    left: vec::IntoIter<Vec<u8>>,
    /// Of the path that leads here.
    path_length: usize,
}

/// What lies at a path.
#[derive(Debug)]
pub enum Seen {
    /// A directory; [`Walk::names`] are in it.
    Directory,
    /// A directory in which this user cannot look up names.
    Closed(io::Error),
    /// A directory in which this user can look up names, but not list them.
    Unlisted(io::Error),
    /// A directory below more others than the walk enters.
    TooDeep,
    /// A regular file.
    File,
    /// A symbolic link, with what is written in it.
    Link(Vec<u8>),
    /// Something else: what it is.
    Special(&'static str),
    /// Something that cannot be looked at.
    Failed(io::Error),
}

impl Walk {
    /// A walk past everything below this directory.
    pub fn new(directory: OwnedFd, bounds: Bounds) -> Walk {
        let first = Level {
            directory,
            left: vec![ROOT.to_vec()].into_iter(),
            path_length: 0,
        };
        Walk {
            bounds,
            levels: vec![first],
            path: Vec::new(),
            names_read: 0,
            is_cut_short: false,
        }
    }

    /// Goes on to the next path, which begins with the root itself; `None` at the end.
    pub fn step(&mut self) -> Option<Seen> {
        loop {
            let level = self.levels.last_mut()?;
            let Some(name) = level.left.next() else {
                self.levels.pop();
                continue;
            };
            self.path.truncate(level.path_length);
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend(&name);
            match self.look(&name) {
                // It was removed meanwhile.
                Err(Errno::ENOENT) => {}
                Err(error) => return Some(Seen::Failed(error.into())),
                Ok(seen) => return Some(seen),
            }
        }
    }

    /// The path that was seen last, from the root, which itself is `.`.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The names in the directory that was seen last. Those that differ in ASCII letter case only stand together.
    pub fn names(&self) -> &[Vec<u8>] {
        self.levels
            .last()
            .map_or(&[], |level| level.left.as_slice())
    }

    /// There were more names than it may read.
    pub fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// The directory of what was seen last, unless that is one that was entered, and its name there.
    pub(super) fn file(&self) -> Option<(BorrowedFd<'_>, &[u8])> {
        let level = self.levels.last()?;
        let name = &self.path[level.path_length..];
        Some((
            level.directory.as_fd(),
            name.strip_prefix(b"/").unwrap_or(name),
        ))
    }

    fn look(&mut self, name: &[u8]) -> nix::Result<Seen> {
        let Some(here) = self.levels.last().map(|level| level.directory.as_fd()) else {
            return Err(Errno::ENOENT);
        };
        Ok(match State::at(&here, name)?.kind() {
            SFlag::S_IFDIR => self.enter(name),
            SFlag::S_IFREG => Seen::File,
            SFlag::S_IFLNK => Seen::Link(readlinkat(here, name)?.into_vec()),
            SFlag::S_IFIFO => Seen::Special("FIFO"),
            SFlag::S_IFSOCK => Seen::Special("socket"),
            _ => Seen::Special("device"),
        })
    }

    fn enter(&mut self, name: &[u8]) -> Seen {
        // One of them is not entered: it holds the root.
        if self.levels.len() > self.bounds.depth {
            return Seen::TooDeep;
        }
        let Some(here) = self.levels.last().map(|level| level.directory.as_fd()) else {
            return Seen::TooDeep;
        };
        let opened = enter(&here, name).map_err(io::Error::from);
        let opened = opened.and_then(|directory| {
            may_search(&directory)?;
            Ok(directory)
        });
        let directory = match opened {
            Ok(directory) => directory,
            Err(error) => return Seen::Closed(error),
        };
        let names = match self.list(&directory) {
            Ok(names) => names,
            Err(error) => return Seen::Unlisted(error.into()),
        };
        let path_length = match name {
            ROOT => 0,
            _ => self.path.len(),
        };
        self.levels.push(Level {
            directory,
            left: names.into_iter(),
            path_length,
        });
        Seen::Directory
    }

    fn list(&mut self, directory: &OwnedFd) -> nix::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for entry in entries(directory)? {
            let entry = entry?;
            if self.names_read >= self.bounds.names {
                self.is_cut_short = true;
                break;
            }
            self.names_read += 1;
            names.push(entry.file_name().to_bytes().to_vec());
        }
        names.sort_unstable_by(|one, other| by_letters(one, other));
        Ok(names)
    }
}

/// The name of the root in itself.
const ROOT: &[u8] = b".";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;
    use crate::os::places::{Places, Unserved};
    use crate::os::root::Root;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Tree {
            let name = format!("tftpd-walk-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).expect("a directory");
            Tree(path)
        }

        /// All paths, each with what was seen there, and whether the walk was cut short.
        fn walk(&self, bounds: Bounds) -> (Vec<(String, Seen)>, bool) {
            let directory = fs::File::open(&self.0).expect("a directory");
            let mut walk = Walk::new(directory.into(), bounds);
            let mut seen = Vec::new();
            while let Some(what) = walk.step() {
                let path = String::from_utf8(walk.path().to_vec()).expect("text");
                seen.push((path, what));
            }
            (seen, walk.is_cut_short())
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const WIDE: Bounds = Bounds {
        names: 1000,
        depth: 64,
    };

    #[test]
    fn it_reads_no_more_names_than_it_may() {
        let tree = Tree::new("names");
        fs::create_dir(tree.0.join("a")).expect("a directory");
        for name in ["a/1", "a/2", "a/3", "b"] {
            fs::write(tree.0.join(name), name).expect("a file");
        }
        let of = |names| tree.walk(Bounds { names, ..WIDE });
        // The root has no name that is read.
        for (names, seen, is_cut_short) in [
            (0, 1, true),
            (1, 2, true),
            (2, 3, true),
            (4, 5, true),
            (5, 6, false),
            (6, 6, false),
        ] {
            let (paths, was_cut_short) = of(names);
            assert_eq!(
                (paths.len(), was_cut_short),
                (seen, is_cut_short),
                "{names}"
            );
        }
        let (paths, _) = of(5);
        let paths: Vec<_> = paths.iter().map(|(path, _)| &path[..]).collect();
        assert_eq!(paths, [".", "a", "a/1", "a/2", "a/3", "b"]);
    }

    #[test]
    fn it_enters_no_more_directories_than_it_may() {
        let tree = Tree::new("depth");
        fs::create_dir_all(tree.0.join("1/2/3/4")).expect("directories");
        fs::write(tree.0.join("z"), "z").expect("a file");
        let (seen, is_cut_short) = tree.walk(Bounds { depth: 2, ..WIDE });
        let paths: Vec<_> = seen.iter().map(|(path, _)| &path[..]).collect();
        assert_eq!(paths, [".", "1", "1/2", "z"]);
        assert!(matches!(seen[1].1, Seen::Directory));
        assert!(matches!(seen[2].1, Seen::TooDeep));
        assert!(!is_cut_short);
    }

    #[test]
    fn it_follows_no_link_and_ends() {
        let tree = Tree::new("links");
        fs::create_dir(tree.0.join("d")).expect("a directory");
        for (target, name) in [(".", "here"), ("..", "d/up"), ("d", "e"), ("loop", "loop")] {
            symlink(target, tree.0.join(name)).expect("a link");
        }
        let (seen, _) = tree.walk(WIDE);
        let places = Places {
            trees: vec![Root::open(&tree.0).expect("a root").tree],
            public_only: false,
        };
        let leads: Vec<_> = seen
            .iter()
            .filter(|(_, seen)| matches!(seen, Seen::Link(_)))
            .map(|(path, _)| (&path[..], places.answer(0, path.as_bytes())))
            .collect();
        assert_eq!(seen.len(), 2 + 4);
        assert!(
            matches!(
                leads[..],
                [
                    ("d/up", Err(Unserved::Failed(Errno::EISDIR))),
                    ("e", Err(Unserved::Failed(Errno::EISDIR))),
                    ("here", Err(Unserved::Failed(Errno::EISDIR))),
                    ("loop", Err(Unserved::Failed(Errno::ELOOP)))
                ]
            ),
            "{leads:?}"
        );
    }

    #[test]
    fn names_that_differ_in_case_only_stand_together() {
        let mut names = [&b"b"[..], b"ab", b"B.", b"AC", b"B", b"Ab", b"a"];
        names.sort_unstable_by(|one, other| by_letters(one, other));
        assert_eq!(names, [&b"a"[..], b"Ab", b"ab", b"AC", b"B", b"b", b"B."]);
    }
}
