//! What the process may do, and giving it up for good: user, groups, capabilities, the root directory.

use std::io;
use std::os::fd::BorrowedFd;

use nix::fcntl::AtFlags;
use nix::sys::prctl::set_no_new_privs;
use nix::unistd::{
    AccessFlags, Gid, Uid, chroot, faccessat, fchdir, getegid, geteuid, setgroups, setresgid,
    setresuid,
};

use super::directory;

/// The numbers of the user and the group as which this process acts.
pub fn acts_as() -> (u32, u32) {
    (geteuid().as_raw(), getegid().as_raw())
}

/// Makes `directory` the root of every path, for this process and for ever. Needs CAP_SYS_CHROOT.
///
/// # Errors
/// Where that is not allowed.
pub fn change_root(directory: BorrowedFd<'_>) -> io::Result<()> {
    fchdir(directory)?;
    chroot(".")?;
    Ok(())
}

/// Becomes `user` and `group`, without supplementary groups.
///
/// # Errors
/// Where that is not allowed. Clearing the groups may be forbidden to a process that is that user already.
pub fn become_user(user: u32, group: u32) -> io::Result<()> {
    let cleared = setgroups(&[]);
    if acts_as() != (user, group) {
        cleared?;
    }
    let group = Gid::from_raw(group);
    setresgid(group, group, group)?;
    let user = Uid::from_raw(user);
    setresuid(user, user, user)?;
    Ok(())
}

/// Takes every capability out of the bounding set, where we may: nothing that is executed later could have
/// it, not even as root.
pub fn empty_bounding_set() {
    for capability in 0..CAPABILITIES_MAX {
        // SAFETY: takes numbers only. It fails past the last capability the kernel knows, and without
        // CAP_SETPCAP.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        if result != 0 {
            return;
        }
    }
}

/// Gives up every capability, and the way to any new one: those that executing a file would give
/// (capabilities(7), `no_new_privs` in prctl(2)).
pub fn drop_capabilities() -> io::Result<()> {
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION_3,
        process: 0,
    };
    let none = [CapabilitySets::default(); 2];
    // SAFETY: the kernel reads a header, and the two sets that this version of it has.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    set_no_new_privs()?;
    Ok(())
}

/// Whether this process, as who it is now, can open files by name in `directory`.
///
/// # Errors
/// Why not.
pub fn may_search(directory: BorrowedFd<'_>) -> io::Result<()> {
    Ok(directory::may_search(&directory)?)
}

/// Whether this process, as who it is now, can make files in `directory`.
///
/// # Errors
/// Why not.
pub fn may_make_files(directory: BorrowedFd<'_>) -> io::Result<()> {
    // Without flags the kernel asks for the real user, who is the effective one by now.
    let how = AccessFlags::W_OK | AccessFlags::X_OK;
    faccessat(directory, ".", how, AtFlags::empty())?;
    Ok(())
}

/// `struct __user_cap_header_struct` of capset(2).
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    /// 0: this one.
    process: i32,
}

/// `struct __user_cap_data_struct`: 32 capabilities.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilitySets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The version with sets of 64 capabilities (since Linux 2.6.26).
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
const CAPABILITIES_MAX: libc::c_ulong = 64;
