//! Where files are looked for, and what it is to have opened one. The helper opens here, however long that takes.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::stat::{Mode, SFlag};

use super::beneath;
use super::devices::LocalDevice;
use super::mapping;
use super::opened::{Closer, Opened};
use super::state::State;
use super::traversal::Tree;
use crate::name::{FileName, NAME_MAX, RootPrefixes};
use crate::wire::Refusal;

/// Where files are looked for: in each tree in turn. Links may lead from one to another.
#[derive(Clone, Debug)]
pub struct Places {
    pub(super) trees: Vec<Tree>,
    /// Only files that others may read (o+r) are opened.
    pub(super) public_only: bool,
}

/// Why a file cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unavailable {
    /// The client gets an ERROR.
    Refused(Refusal),
    /// Not for the moment: another process gives its lease on it back, or a file server is slow.
    Busy,
    /// The helper has to look for it: what is in memory does not say.
    Unknown,
    /// Descriptors or memory ran out.
    Exhausted,
}

impl Places {
    /// Opens the file, however long that takes, and asks for its beginning. Unless it lies in this machine, `closer`
    /// closes it.
    pub(super) fn open(
        &self,
        name: FileName<'_>,
        closer: &Closer,
    ) -> Result<Arc<Opened>, Unavailable> {
        let (file, state) = first_of(0..self.trees.len(), |at| {
            let file = beneath::open(&self.trees, at, name.as_bytes());
            regular(file.map_err(unavailable)?, self.public_only)
        })?;
        // Where its bytes lie is read as well, which nobody can ask for without waiting.
        let advice = PosixFadviseAdvice::POSIX_FADV_WILLNEED;
        let _ = posix_fadvise(&file, 0, BEGINNING, advice);
        let local_device = LocalDevice::of(&file);
        let mut opened = Opened::new(file, &state, local_device);
        if local_device.is_none() {
            opened.closer = Some(closer.clone());
            opened.bytes = mapping::map(&opened).ok();
        }
        Ok(Arc::new(opened))
    }

    /// What a request draws for a path below the tree with number `at`.
    pub fn answer(&self, at: usize, path: &[u8]) -> Answer {
        let mut buffer = [0; NAME_MAX];
        let name = FileName::new(path, &RootPrefixes::default(), &mut buffer);
        if !name.is_ok_and(|name| name.as_bytes() == path) {
            return Err(Unserved::Unnameable);
        }
        let file = beneath::open(&self.trees, at, path);
        let state = file.and_then(|file| State::of(&file));
        let state = state.map_err(Unserved::Failed)?;
        let is_public = state.mode() & Mode::S_IROTH.bits() != 0;
        match state.kind() {
            SFlag::S_IFREG if self.public_only && !is_public => Err(Unserved::NotPublic),
            SFlag::S_IFREG => Ok(()),
            SFlag::S_IFDIR => Err(Unserved::Failed(Errno::EISDIR)),
            _ => Err(Unserved::Failed(Errno::ENXIO)),
        }
    }
}

/// What a request for a path draws: the file, or a refusal.
pub type Answer = Result<(), Unserved>;

/// Why nothing is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unserved {
    /// Others may not read it.
    NotPublic,
    /// There is no such request: a name is cleaned before it is looked up, or it is too long.
    Unnameable,
    /// It cannot be opened, or is no regular file.
    Failed(Errno),
}

/// What is found in the first place that has a file of that name.
pub(super) fn first_of<P, T>(
    places: impl IntoIterator<Item = P>,
    mut open: impl FnMut(P) -> Result<T, Unavailable>,
) -> Result<T, Unavailable> {
    let mut first = None;
    for place in places {
        match open(place) {
            Err(Unavailable::Refused(refusal @ (Refusal::NotFound | Refusal::NotAFile))) => {
                first = first.or(Some(refusal));
            }
            result => return result,
        }
    }
    Err(Unavailable::Refused(first.unwrap_or(Refusal::NotFound)))
}

/// The file, if it may be served.
pub(super) fn regular(file: OwnedFd, public_only: bool) -> Result<(OwnedFd, State), Unavailable> {
    let state = State::of(&file).map_err(unavailable)?;
    if !state.is_regular() {
        Err(Unavailable::Refused(Refusal::NotAFile))
    } else if public_only && state.mode() & Mode::S_IROTH.bits() == 0 {
        Err(Unavailable::Refused(Refusal::NotPublic))
    } else {
        Ok((file, state))
    }
}

/// What an error of open(2) means.
pub(super) fn unavailable(error: Errno) -> Unavailable {
    Unavailable::Refused(match error {
        Errno::ENOENT | Errno::ENOTDIR => Refusal::NotFound,
        Errno::ENAMETOOLONG => Refusal::NameTooLong,
        Errno::EXDEV => Refusal::OutsideRoot,
        Errno::ENXIO | Errno::ENODEV | Errno::EISDIR => Refusal::NotAFile,
        Errno::EAGAIN | Errno::EINTR | Errno::ETIMEDOUT | Errno::ESTALE => {
            return Unavailable::Busy;
        }
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => return Unavailable::Exhausted,
        Errno::EACCES | Errno::EPERM | Errno::ELOOP => Refusal::NoAccess,
        _ => Refusal::ReadFailed,
    })
}

/// As much as a transfer asks for at once.
const BEGINNING: i64 = 128 << 10;
