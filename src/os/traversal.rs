//! A way through directories component by component, where the kernel cannot go it in one call (before Linux 5.6) or will
//! not (an absolute link). See `beneath`, which decides.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use super::devices::kind_of;

/// A directory beneath which files are opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'r> {
    pub(super) directory: BorrowedFd<'r>,
    /// The absolute paths by which links may name it; the last leads over no link.
    pub(super) names: &'r [Vec<u8>],
}

/// A walk from a root, without following any link blindly.
pub(super) struct Traversal<'r> {
    places: &'r [Place<'r>],
    /// In which of them it is.
    at: usize,
    /// Where the walk is: each directory entered from the one before, with its name there.
    pub(super) directories: Vec<(Vec<u8>, OwnedFd)>,
    links: usize,
    /// Whether what the path names at its end has to be there.
    pub(super) last_may_be_missing: bool,
}

/// What an absolute link means that does not begin with a name of the root.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    /// It was written for a chroot: it begins at the root.
    FromRoot,
    /// It leads out.
    Refused,
}

impl Traversal<'_> {
    pub(super) fn new<'r>(places: &'r [Place<'r>], at: usize) -> Traversal<'r> {
        Traversal {
            places,
            at,
            directories: Vec::new(),
            links: 0,
            last_may_be_missing: false,
        }
    }

    /// Goes as far as the directory that holds what `path` names, and returns its name there; `None` if `path` ends at
    /// the directory itself.
    pub(super) fn go(&mut self, path: &[u8], foreign: Foreign) -> nix::Result<Option<Vec<u8>>> {
        let mut rest = VecDeque::new();
        push_front(&mut rest, path);
        while let Some(component) = rest.pop_front() {
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    if self.directories.pop().is_none() {
                        self.leave(&mut rest)?;
                    }
                    continue;
                }
                _ => {}
            }
            let state = fstatat(self.here(), &component[..], AtFlags::AT_SYMLINK_NOFOLLOW);
            let is_last = rest.is_empty();
            if matches!(state, Err(Errno::ENOENT)) && is_last && self.last_may_be_missing {
                return Ok(Some(component));
            }
            let kind = kind_of(&state?);
            if kind == SFlag::S_IFLNK {
                let target = readlinkat(self.here(), &component[..])?;
                self.follow(target.as_bytes(), foreign, &mut rest)?;
            } else if is_last {
                return Ok(Some(component));
            } else {
                self.enter(component)?;
            }
        }
        Ok(None)
    }

    pub(super) fn here(&self) -> BorrowedFd<'_> {
        let last = self.directories.last();
        last.map_or(self.places[self.at].directory, |(_, directory)| {
            directory.as_fd()
        })
    }

    pub(super) fn enter(&mut self, component: Vec<u8>) -> nix::Result<()> {
        if self.directories.len() >= DEPTH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let entered = openat(self.here(), &component[..], flags, Mode::empty())?;
        self.directories.push((component, entered));
        Ok(())
    }

    fn follow(
        &mut self,
        target: &[u8],
        foreign: Foreign,
        rest: &mut VecDeque<Vec<u8>>,
    ) -> nix::Result<()> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::ELOOP);
        }
        if !target.starts_with(b"/") {
            push_front(rest, target);
            return Ok(());
        }
        let (at, path) = match (self.place_of(target), foreign) {
            (Some(found), _) => found,
            (None, Foreign::FromRoot) => (self.at, target),
            (None, Foreign::Refused) => return Err(Errno::EXDEV),
        };
        push_front(rest, path);
        self.at = at;
        self.directories.clear();
        Ok(())
    }

    /// The place in which an absolute path lies, and what is left from there.
    fn place_of<'t>(&self, target: &'t [u8]) -> Option<(usize, &'t [u8])> {
        let places = self.places.iter().enumerate();
        let inside = places.flat_map(|(at, place)| {
            place.names.iter().filter_map(move |name| {
                let inner = target.strip_prefix(&name[..])?;
                (inner.is_empty() || inner.starts_with(b"/")).then_some((at, inner))
            })
        });
        // Of places one of which lies in the other, the inner one.
        inside.min_by_key(|(_, inner)| inner.len())
    }

    /// A link leads above the place where the walk is: perhaps to another one.
    fn leave(&mut self, rest: &mut VecDeque<Vec<u8>>) -> nix::Result<()> {
        let mut path: Vec<&[u8]> = match self.places[self.at].names.last() {
            Some(real) if self.places.len() > 1 => real.split(|&byte| byte == b'/').collect(),
            _ => return Err(Errno::EXDEV),
        };
        path.pop();
        for component in &*rest {
            match component.as_slice() {
                b"" | b"." => {}
                b".." => drop(path.pop()),
                _ => path.push(component),
            }
        }
        let path = path.join(&b'/');
        let (at, inner) = self.place_of(&path).ok_or(Errno::EXDEV)?;
        rest.clear();
        push_front(rest, inner);
        self.at = at;
        Ok(())
    }
}

fn push_front(rest: &mut VecDeque<Vec<u8>>, path: &[u8]) {
    for component in path.split(|&byte| byte == b'/').rev() {
        rest.push_front(component.to_vec());
    }
}

/// As the kernel's own bound on links.
const LINKS_MAX: usize = 40;
/// Directories held open by a walk.
const DEPTH_MAX: usize = 64;
