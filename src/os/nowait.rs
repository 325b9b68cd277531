//! Reads that do not wait for a disk (preadv2(2) with RWF_NOWAIT): of what is in memory, or of nothing.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

use super::devices::LocalDevice;

/// How to find out what is in memory on this file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// By a read that does not wait.
    Read,
    /// It does not: the helper reads what will be needed.
    Helper,
    /// All of it is: it has no disk.
    Never,
}

impl Look {
    /// How the file system of an open file does. It may wait for a server.
    pub(super) fn of(file: &File, local_device: Option<LocalDevice>) -> Look {
        match local_device {
            None if is_in_memory(file, 0).is_err() => Look::Helper,
            Some(_) | None => Look::Read,
        }
    }
}

/// Reads from `offset` on what is in memory; returns how many bytes that were, 0 behind the end of the file, `None` if
/// not even the first is there. Then the kernel begins to read its page.
///
/// # Errors
/// Where the file system does not know such reads.
pub(super) fn read_without_waiting(
    file: &File,
    offset: u64,
    buffer: &mut [u8],
) -> io::Result<Option<usize>> {
    let vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    read_vectors(file, offset, &[vector])
}

/// Returns whether the byte at `offset` is in memory, or behind the end of the file; otherwise as
/// [`read_without_waiting`].
///
/// # Errors
/// As there.
pub(super) fn is_in_memory(file: &File, offset: u64) -> io::Result<bool> {
    read_without_waiting(file, offset, &mut [0]).map(|count| count.is_some())
}

/// Looks at the bytes from `offset` on, `wanted` of them but no more than [`LOOK_MAX`]; otherwise as
/// [`read_without_waiting`].
///
/// # Errors
/// As there.
pub(super) fn look_without_waiting(
    file: &File,
    offset: u64,
    wanted: usize,
) -> io::Result<Option<usize>> {
    let mut page = [0_u8; PAGE_MIN];
    let vector = libc::iovec {
        iov_base: page.as_mut_ptr().cast(),
        iov_len: PAGE_MIN,
    };
    let mut vectors = [vector; LOOK_MAX / PAGE_MIN];
    let count = wanted.div_ceil(PAGE_MIN).clamp(1, vectors.len());
    vectors[count - 1].iov_len = wanted.min(LOOK_MAX) - (count - 1) * PAGE_MIN;
    read_vectors(file, offset, &vectors[..count])
}

fn read_vectors(file: &File, offset: u64, vectors: &[libc::iovec]) -> io::Result<Option<usize>> {
    let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    let count = libc::c_int::try_from(vectors.len()).map_err(io::Error::other)?;
    // SAFETY: there are this many vectors; each describes bytes of a buffer above, which the kernel may write to.
    let read = unsafe {
        libc::preadv2(
            file.as_raw_fd(),
            vectors.as_ptr(),
            count,
            offset,
            libc::RWF_NOWAIT,
        )
    };
    match usize::try_from(read) {
        Ok(count) => Ok(Some(count)),
        Err(_) => match Errno::last() {
            Errno::EAGAIN => Ok(None),
            error => Err(error.into()),
        },
    }
}

/// No system that we run on has smaller pages.
pub(super) const PAGE_MIN: usize = 4096;

/// What one look takes in at most.
pub(super) const LOOK_MAX: usize = 128 << 10;
