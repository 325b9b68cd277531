//! Directories that are searched, entered or listed.

use std::os::fd::{AsFd, OwnedFd};

use nix::dir::{Dir, Entry};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

/// How a directory is opened to look names up in it.
pub(super) const TO_SEARCH: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// How one is opened to list the names in it.
pub(super) const TO_LIST: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// Opens a directory in another, over no link.
pub(super) fn enter(directory: &impl AsFd, name: &[u8]) -> nix::Result<OwnedFd> {
    let flags = TO_SEARCH | OFlag::O_NOFOLLOW;
    openat(directory, name, flags, Mode::empty())
}

/// Whether names can be looked up in a directory by who we are.
pub(super) fn may_search(directory: &impl AsFd) -> nix::Result<()> {
    enter(directory, b".").map(drop)
}

/// What is in a directory, but for itself and the one above.
pub(super) fn entries(
    directory: &OwnedFd,
) -> nix::Result<impl Iterator<Item = nix::Result<Entry>> + use<>> {
    let listing = Dir::openat(directory, ".", TO_LIST, Mode::empty())?;
    let is_dots = |entry: &Entry| matches!(entry.file_name().to_bytes(), b"." | b"..");
    let entries = listing.into_iter();
    Ok(entries.filter(move |entry| !entry.as_ref().is_ok_and(is_dots)))
}
