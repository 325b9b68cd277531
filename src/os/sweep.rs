//! Unfinished uploads that an earlier process left behind: found and removed after the start.
//!
//! Removed is what has a temporary name, belongs to this user, is a regular file and was not written to for so long that
//! no server can still be at it. Each step looks at one name, so that uploads need not wait for the end.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::clock::unix_time;
use super::state::State;
use super::walk::{Bounds, Seen, Walk};
use crate::name::UNFINISHED;

/// A walk that goes on with each `step`.
#[derive(Debug)]
pub struct Sweep {
    walks: Vec<Walk>,
    /// Files that were removed.
    pub(super) removed: u64,
}

impl Sweep {
    /// A walk past everything beneath these directories.
    pub(super) fn new(directories: Vec<OwnedFd>) -> Sweep {
        let walks = directories.into_iter().map(|it| Walk::new(it, BOUNDS));
        Sweep {
            walks: walks.collect(),
            removed: 0,
        }
    }

    /// Goes on to the next name, and removes what is stale; returns false at the end.
    pub(super) fn step(&mut self) -> bool {
        let Some(walk) = self.walks.last_mut() else {
            return false;
        };
        match walk.step() {
            None => drop(self.walks.pop()),
            Some(Seen::File) => {
                let file = walk.file();
                if let Some((directory, name)) = file.filter(|(_, name)| is_temporary(name))
                    && is_stale(&directory, name)
                {
                    let flags = UnlinkatFlags::NoRemoveDir;
                    self.removed += u64::from(unlinkat(directory, name, flags).is_ok());
                }
            }
            Some(_) => {}
        }
        true
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
const BOUNDS: Bounds = Bounds {
    names: 100_000,
    depth: 64,
};
