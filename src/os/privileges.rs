//! What the process may do, and giving it up for good: user, groups, capabilities, the root directory.

use std::io;
use std::os::fd::BorrowedFd;

use nix::sys::prctl::set_no_new_privs;
use nix::unistd::{Gid, Uid, chroot, fchdir, getegid, geteuid, setgroups, setresgid, setresuid};

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
    // struct __user_cap_header_struct: the version, and 0 for this process.
    let header = [CAPABILITY_VERSION_3, 0];
    // struct __user_cap_data_struct, twice: effective, permitted, inheritable.
    let none = [[0_u32; 3]; 2];
    // SAFETY: the kernel reads a header, and the two sets that this version of it has.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    set_no_new_privs()?;
    Ok(())
}

/// The version with sets of 64 capabilities (since Linux 2.6.26).
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
const CAPABILITIES_MAX: libc::c_ulong = 64;
