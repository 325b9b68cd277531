//! What the kernel says of a file (statx(2)).

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::SFlag;

/// What is known of a file.
#[derive(Clone, Copy)]
pub(super) struct State(libc::statx);

/// Major and minor.
pub(super) type DeviceNumber = (u32, u32);

/// Which file it is, by device and inode.
pub(super) type Identity = (DeviceNumber, u64);

/// Seconds and nanoseconds.
pub(super) type Time = (i64, u32);

/// What makes two open files the same file in the same state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Version {
    identity: Identity,
    /// Bytes.
    pub size: u64,
    /// When it was last written to.
    pub modified: Time,
    /// When that, its names or its rights last changed.
    changed: Time,
}

impl State {
    /// Of an open file.
    pub(super) fn of(file: &impl AsFd) -> nix::Result<State> {
        statx(file, "", libc::AT_EMPTY_PATH)
    }

    /// Of an open file, as far as it is known without asking anybody.
    pub(super) fn known(file: &impl AsFd) -> nix::Result<State> {
        statx(file, "", libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC)
    }

    /// Of what is called so in a directory, be it a link.
    pub(super) fn at(directory: &impl AsFd, name: &[u8]) -> nix::Result<State> {
        let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
        statx(directory, name, flags)
    }

    /// Of what a path leads to.
    pub(super) fn behind(path: &Path) -> nix::Result<State> {
        statx(&AT_FDCWD, path, libc::AT_NO_AUTOMOUNT)
    }

    /// What sort of file it is.
    pub(super) fn kind(&self) -> SFlag {
        SFlag::from_bits_truncate(self.mode()) & SFlag::S_IFMT
    }

    pub(super) fn is_regular(&self) -> bool {
        self.kind() == SFlag::S_IFREG
    }

    pub(super) fn mode(&self) -> u32 {
        self.0.stx_mode.into()
    }

    pub(super) fn device(&self) -> DeviceNumber {
        (self.0.stx_dev_major, self.0.stx_dev_minor)
    }

    pub(super) fn identity(&self) -> Identity {
        (self.device(), self.0.stx_ino)
    }

    pub(super) fn version(&self) -> Version {
        let time = |at: libc::statx_timestamp| (at.tv_sec, at.tv_nsec);
        Version {
            identity: self.identity(),
            size: self.0.stx_size,
            modified: time(self.0.stx_mtime),
            changed: time(self.0.stx_ctime),
        }
    }

    /// The number of the user to whom it belongs.
    pub(super) fn owner(&self) -> u32 {
        self.0.stx_uid
    }

    /// It has no name any more.
    pub(super) fn is_removed(&self) -> bool {
        self.0.stx_nlink == 0
    }

    /// Something is mounted on it.
    pub(super) fn is_mounted(&self) -> bool {
        let mounted = u64::from(libc::STATX_ATTR_MOUNT_ROOT.unsigned_abs());
        self.0.stx_attributes & mounted != 0
    }
}

impl Version {
    /// When it was written to or otherwise changed last, in seconds.
    pub(super) fn changed_at(&self) -> i64 {
        self.modified.0.max(self.changed.0)
    }
}

fn statx<P: ?Sized + NixPath>(at: &impl AsFd, path: &P, flags: i32) -> nix::Result<State> {
    let mut state = MaybeUninit::<libc::statx>::uninit();
    let descriptor = at.as_fd().as_raw_fd();
    // SAFETY: the path ends with a zero, and the kernel fills the whole of `state` where it returns 0.
    path.with_nix_path(|path| unsafe {
        let wanted = libc::STATX_BASIC_STATS;
        let result = libc::statx(descriptor, path.as_ptr(), flags, wanted, state.as_mut_ptr());
        Errno::result(result).map(|_| State(state.assume_init()))
    })?
}
