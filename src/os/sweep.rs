//! Unfinished uploads that an earlier process left behind: found and removed after the start.
//!
//! Removed is what has a temporary name, belongs to this user, is a regular file and was not written to for so long that
//! no server can still be at it. Each step looks at one directory, so that uploads need not wait for the end.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::dir::Type;
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::clock::unix_time;
use super::directory::{enter, entries};
use super::state::State;
use crate::name::UNFINISHED;

/// A walk that goes on with each `step`.
#[derive(Debug)]
pub struct Sweep {
    /// Directories, each with those in it that were not entered yet.
    levels: Vec<(OwnedFd, Vec<Vec<u8>>)>,
    /// Names that may still be read.
    names_left: usize,
    /// Files that were removed.
    pub(super) removed: u64,
}

impl Sweep {
    /// A walk past everything beneath these directories.
    pub(super) fn new(directories: Vec<OwnedFd>) -> Sweep {
        let levels = directories.into_iter();
        Sweep {
            levels: levels.map(|it| (it, vec![b".".to_vec()])).collect(),
            names_left: NAMES_MAX,
            removed: 0,
        }
    }

    /// Goes on to the next directory; returns false at the end.
    pub(super) fn step(&mut self) -> bool {
        let Some((above, names)) = self.levels.last_mut() else {
            return false;
        };
        let Some(name) = names.pop() else {
            self.levels.pop();
            return true;
        };
        if let Ok(directory) = enter(above, &name)
            && self.levels.len() < DEPTH_MAX
        {
            let inside = self.look(&directory);
            self.levels.push((directory, inside));
        }
        true
    }

    /// Removes what is stale, and returns the directories in this one.
    fn look(&mut self, directory: &OwnedFd) -> Vec<Vec<u8>> {
        let Ok(entries) = entries(directory) else {
            return Vec::new();
        };
        let mut inside = Vec::new();
        for entry in entries.map_while(Result::ok) {
            if self.names_left == 0 {
                break;
            }
            self.names_left -= 1;
            let name = entry.file_name().to_bytes();
            if is_temporary(name) && is_stale(&directory, name) {
                let flags = UnlinkatFlags::NoRemoveDir;
                self.removed += u64::from(unlinkat(directory, name, flags).is_ok());
            } else if matches!(entry.file_type(), Some(Type::Directory) | None) {
                inside.push(name.to_vec());
            }
        }
        inside
    }
}

/// It has exactly the form that [`super::upload`] gives.
fn is_temporary(name: &[u8]) -> bool {
    let number = name.strip_prefix(UNFINISHED);
    number.is_some_and(|number| {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        number.len() == 16 && number.iter().all(is_digit)
    })
}

fn is_stale(directory: &impl AsFd, name: &[u8]) -> bool {
    let Ok(state) = State::at(directory, name) else {
        return false;
    };
    let written = u64::try_from(state.version().modified.0).map(Duration::from_secs);
    state.is_regular()
        && state.owner() == geteuid().as_raw()
        && written.is_ok_and(|written| unix_time().saturating_sub(written) >= STALE_AFTER)
}

/// Twice the longest time that a client without progress is waited for (`-t`): no server writes to the file any more.
pub(super) const STALE_AFTER: Duration = Duration::from_secs(7200);

/// As many as --check reads.
const NAMES_MAX: usize = 100_000;
/// Directories held open.
const DEPTH_MAX: usize = 64;
