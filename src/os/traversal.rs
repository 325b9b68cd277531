//! A way through directories component by component, where the kernel cannot go it in one call (before Linux 5.6) or will
//! not (an absolute link). See `beneath`, which decides.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::iter;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::readlinkat;
use nix::sys::stat::SFlag;

use super::directory::enter;
use super::state::State;

/// A directory beneath which files are opened.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub directory: Arc<OwnedFd>,
    /// The absolute paths by which links may name it; the last leads over no link.
    pub names: Arc<[Vec<u8>]>,
}

/// A walk from a root, without following any link blindly.
pub(super) struct Traversal<'t> {
    trees: &'t [Tree],
    /// In which of them it is.
    at: usize,
    /// Where the walk is: each directory entered from the one before, with its name there.
    pub(super) directories: Vec<(Vec<u8>, OwnedFd)>,
    /// Each link that was followed: the path from the root to the directory that holds it, and what was left from there.
    pub(super) links: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an absolute link means that does not begin with a name of the root.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    /// It was written for a chroot: it begins at the root.
    FromRoot,
    /// It leads out.
    Refused,
}

impl Tree {
    /// What is left of an absolute path from this directory on, if it leads here or beneath.
    pub(super) fn strip<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        self.names.iter().find_map(|name| {
            let inner = path.strip_prefix(&name[..])?;
            (inner.is_empty() || inner.starts_with(b"/")).then_some(inner)
        })
    }

    /// Its path without links.
    pub(super) fn real_path(&self) -> &Path {
        let last = self.names.last().map_or(&b"/"[..], Vec::as_slice);
        Path::new(OsStr::from_bytes(last))
    }
}

impl Traversal<'_> {
    pub(super) fn new(trees: &[Tree], at: usize) -> Traversal<'_> {
        Traversal {
            trees,
            at,
            directories: Vec::new(),
            links: Vec::new(),
        }
    }

    /// Goes as far as the directory that holds what `path` names, and returns its name there, whether it is there or not;
    /// `None` if `path` ends at the directory itself.
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
            let is_last = rest.is_empty();
            match State::at(&self.here(), &component) {
                Err(Errno::ENOENT) if is_last => return Ok(Some(component)),
                state if state?.kind() == SFlag::S_IFLNK => {
                    self.follow(&component, foreign, &mut rest)?;
                }
                _ if is_last => return Ok(Some(component)),
                _ => self.enter(component)?,
            }
        }
        Ok(None)
    }

    pub(super) fn here(&self) -> BorrowedFd<'_> {
        let last = self.directories.last();
        let here = last.map_or(&*self.trees[self.at].directory, |(_, entered)| entered);
        here.as_fd()
    }

    /// The path from the root to where the walk is.
    pub(super) fn path(&self) -> Vec<u8> {
        let names = self.directories.iter().map(|(name, _)| &name[..]);
        names.collect::<Vec<_>>().join(&b'/')
    }

    pub(super) fn enter(&mut self, component: Vec<u8>) -> nix::Result<()> {
        if self.directories.len() >= DEPTH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let entered = enter(&self.here(), &component)?;
        self.directories.push((component, entered));
        Ok(())
    }

    fn follow(
        &mut self,
        link: &[u8],
        foreign: Foreign,
        rest: &mut VecDeque<Vec<u8>>,
    ) -> nix::Result<()> {
        if self.links.len() >= LINKS_MAX {
            return Err(Errno::ELOOP);
        }
        let left = rest.iter().map(Vec::as_slice).filter(|it| !it.is_empty());
        let left: Vec<&[u8]> = iter::once(link).chain(left).collect();
        self.links.push((self.path(), left.join(&b'/')));
        let target = readlinkat(self.here(), link)?;
        let target = target.as_bytes();
        if !target.starts_with(b"/") {
            push_front(rest, target);
            return Ok(());
        }
        let (at, path) = match (self.tree_of(target), foreign) {
            (Some(found), _) => found,
            (None, Foreign::FromRoot) => (self.at, target),
            (None, Foreign::Refused) => return Err(Errno::EXDEV),
        };
        push_front(rest, path);
        self.at = at;
        self.directories.clear();
        Ok(())
    }

    /// The tree in which an absolute path lies, and what is left from there.
    fn tree_of<'p>(&self, path: &'p [u8]) -> Option<(usize, &'p [u8])> {
        let trees = self.trees.iter().enumerate();
        let inside = trees.filter_map(|(at, tree)| Some((at, tree.strip(path)?)));
        // Of trees one of which lies in the other, the inner one.
        inside.min_by_key(|(_, inner)| inner.len())
    }

    /// A link leads above the tree where the walk is: perhaps to another one.
    fn leave(&mut self, rest: &mut VecDeque<Vec<u8>>) -> nix::Result<()> {
        let mut path: Vec<&[u8]> = match self.trees[self.at].names.last() {
            Some(real) if self.trees.len() > 1 => real.split(|&byte| byte == b'/').collect(),
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
        let (at, inner) = self.tree_of(&path).ok_or(Errno::EXDEV)?;
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
