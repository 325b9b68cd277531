//! In the place of `seccomp` on processors for which there is no filter of system calls.

use std::io;
use std::os::fd::RawFd;

/// Does nothing; 0 says that no call is barred.
///
/// # Errors
/// None.
pub fn confine(
    _opens_beneath: bool,
    _writes: bool,
    _replaces_in: Option<RawFd>,
) -> io::Result<usize> {
    Ok(0)
}
