//! Which devices are disks of this machine.

use std::os::fd::AsFd;

use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, ISOFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC,
    TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs,
};

use super::state::{DeviceNumber, State};

/// A disk of this machine, or a part of its memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LocalDevice {
    pub number: DeviceNumber,
    pub is_memory: bool,
}

impl LocalDevice {
    /// The device of an open file, if that is one of this machine. It may wait for a server.
    pub(super) fn of(file: &impl AsFd) -> Option<LocalDevice> {
        let kind = fstatfs(file).ok()?.filesystem_type();
        if !LOCAL.contains(&kind) {
            return None;
        }
        Some(LocalDevice {
            number: State::known(file).ok()?.device(),
            is_memory: kind == TMPFS_MAGIC,
        })
    }
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
