//! Directories that are searched, entered or listed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::dir::{Dir, Entry};
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, faccessat};

/// How a directory is opened to look names up in it.
pub(super) const TO_SEARCH: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// How one is opened to list the names in it.
pub(super) const TO_LIST: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

/// What it takes to make files in one.
pub(super) const MAKING: AccessFlags = AccessFlags::W_OK.union(AccessFlags::X_OK);

/// Opens a directory in another, over no link.
pub(super) fn enter(directory: &impl AsFd, name: &[u8]) -> nix::Result<OwnedFd> {
    let flags = TO_SEARCH | OFlag::O_NOFOLLOW;
    openat(directory, name, flags, Mode::empty())
}

/// Whether this process, as who it is now, can open files by name in a directory.
///
/// # Errors
/// Why not.
pub fn may_search(directory: &impl AsFd) -> io::Result<()> {
    enter(directory, b".")?;
    Ok(())
}

/// Whether this process, as who it is now, can make files in a directory.
///
/// # Errors
/// Why not.
pub fn may_make_files(directory: &impl AsFd) -> io::Result<()> {
    may(directory, b".", MAKING)?;
    Ok(())
}

/// Whether this process, as who it is now, has these rights to what is called so in a directory.
pub(super) fn may(directory: &impl AsFd, name: &[u8], rights: AccessFlags) -> nix::Result<()> {
    // Without flags the kernel asks for the real user, who is the effective one by now.
    faccessat(directory, name, rights, AtFlags::empty())
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
