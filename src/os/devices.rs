//! Which devices are disks of this machine, and the state of open files, as far as the kernel knows without asking a
//! server.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, ISOFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC,
    TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs,
};

/// A disk of this machine, or a part of its memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LocalDevice {
    pub number: DeviceNumber,
    pub is_memory: bool,
}

/// Major and minor.
pub(super) type DeviceNumber = (u32, u32);

/// The device of an open file, if that is one of this machine. It may wait for a server.
pub(super) fn local_device(file: &impl AsFd) -> Option<LocalDevice> {
    let kind = fstatfs(file).ok()?.filesystem_type();
    let number = LOCAL.contains(&kind).then(|| device_of(file)).flatten()?;
    Some(LocalDevice {
        number,
        is_memory: kind == TMPFS_MAGIC,
    })
}

/// The device of an open file, as far as it is known without asking anybody.
pub(super) fn device_of(file: &impl AsFd) -> Option<DeviceNumber> {
    let state = known_state(file).ok()?;
    Some((state.stx_dev_major, state.stx_dev_minor))
}

/// The state of an open file, as far as it is known without asking anybody.
///
/// # Errors
/// As statx(2).
pub(super) fn known_state(file: &impl AsFd) -> nix::Result<libc::statx> {
    let mut state = std::mem::MaybeUninit::<libc::statx>::uninit();
    let descriptor = file.as_fd().as_raw_fd();
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    let wanted = libc::STATX_BASIC_STATS;
    // SAFETY: the path ends with a zero, and the kernel fills the whole of `state` where it returns 0.
    unsafe {
        let result = libc::statx(descriptor, c"".as_ptr(), flags, wanted, state.as_mut_ptr());
        Errno::result(result).map(|_| state.assume_init())
    }
}

/// What sort of file it is.
pub(super) fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// The state of an open file.
pub(super) fn state_of(file: &impl AsFd) -> nix::Result<FileStat> {
    fstat(file)
}

/// Where opening a file whose name is cached does not wait. ext2 and ext3 have the number of ext4.
const LOCAL: &[FsType] = &[
    EXT4_SUPER_MAGIC,
    XFS_SUPER_MAGIC,
    BTRFS_SUPER_MAGIC,
    OVERLAYFS_SUPER_MAGIC,
    TMPFS_MAGIC,
    ISOFS_SUPER_MAGIC,
];
