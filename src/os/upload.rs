//! A file that is being uploaded, on its way to the disk.
//!
//! It grows under a temporary name beside its place and takes that by a rename, once its bytes are on the disk. So the
//! name has the whole old file or the whole new one, whenever the machine fails. In place it is written only where
//! nothing else is possible (see `place`). All of this may wait for a disk.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};

use super::directory::TO_LIST;
use super::place::{How, Place};
use super::state::{Identity, State};
use crate::name::UNFINISHED;

/// An upload under way. Dropped before its end, it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Upload {
    place: Place,
    /// Nothing is made before the first bytes.
    file: Option<File>,
    /// The name under which it grows; `None` in place.
    temporary: Option<Vec<u8>>,
    /// Bytes that were written, and those of them that are on their way to the disk.
    written: u64,
    started: u64,
}

/// Directories whose names were put on the disk, or could not be.
pub(super) type Synced = HashMap<Identity, nix::Result<()>>;

impl Upload {
    pub(super) fn new(place: Place) -> Upload {
        Upload {
            place,
            file: None,
            temporary: None,
            written: 0,
            started: 0,
        }
    }

    /// Writes the bytes that come next.
    ///
    /// # Errors
    /// As write(2), and where the file cannot be made.
    pub(super) fn append(&mut self, bytes: &[u8]) -> nix::Result<()> {
        self.file()?.write_all(bytes).map_err(errno)?;
        self.written += bytes.len() as u64;
        if self.written - self.started >= START_EVERY {
            self.start_writing();
        }
        Ok(())
    }

    /// Lets the disk begin with what it does not have yet, and does not wait.
    pub(super) fn start_writing(&mut self) {
        let Some(file) = &self.file else { return };
        let offset = i64::try_from(self.started).unwrap_or(0);
        let count = i64::try_from(self.written - self.started).unwrap_or(0);
        let flags = libc::SYNC_FILE_RANGE_WRITE;
        // SAFETY: no pointers. An error is found by fsync, too, or the file system does not know such a call.
        let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, count, flags) };
        self.started = self.written;
    }

    /// Puts the file in its place when its bytes are on the disk. Its name is there after [`Upload::sync_name`].
    ///
    /// # Errors
    /// As fsync(2) and rename(2).
    pub(super) fn finish(&mut self) -> nix::Result<()> {
        fsync(self.file()?)?;
        if let How::Renamed { replaces, .. } = self.place.how
            && let Some(temporary) = &self.temporary
        {
            let Place {
                directory, name, ..
            } = &self.place;
            match rename(directory, temporary, name, replaces) {
                Err(Errno::EEXIST) if self.place.may_replace_now() => {
                    rename(directory, temporary, name, true)?;
                }
                result => result?,
            }
            self.temporary = None;
        }
        Ok(())
    }

    /// Puts the name of the file on the disk, if it is new, with all names of its directory. Uploads that end together
    /// share what came of that: `synced`.
    pub(super) fn sync_name(&mut self, synced: &mut Synced) -> nix::Result<()> {
        if self.place.is_in_place() {
            return Ok(());
        }
        let directory = State::of(&self.place.directory)?.identity();
        if let Some(result) = synced.get(&directory) {
            return *result;
        }
        let result = match openat(&self.place.directory, ".", TO_LIST, Mode::empty()) {
            Ok(directory) => match fsync(directory) {
                // A file system without such a call.
                Err(Errno::EINVAL | Errno::ENOSYS) => Ok(()),
                result => result,
            },
            // It may be written to and not be read. The journal that has the file has its name as well.
            Err(Errno::EACCES) => fsync(self.file()?),
            Err(error) => Err(error),
        };
        synced.insert(directory, result);
        result
    }

    /// The file, which is made if it was not yet.
    fn file(&mut self) -> nix::Result<&mut File> {
        if self.file.is_none() {
            self.file = Some(self.make()?);
        }
        self.file.as_mut().ok_or(Errno::EBADF)
    }

    fn make(&mut self) -> nix::Result<File> {
        let directory = &self.place.directory;
        let common = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        match self.place.how {
            How::InPlace => {
                let flags = common | OFlag::O_NONBLOCK;
                let file = openat(directory, &self.place.name[..], flags, Mode::empty())?;
                if !State::of(&file)?.is_regular() {
                    return Err(Errno::EPERM);
                }
                let file = File::from(file);
                file.set_len(0).map_err(errno)?;
                Ok(file)
            }
            How::Renamed { mode, .. } => {
                let (temporary, file) = create(directory, common, mode)?;
                self.temporary = Some(temporary);
                Ok(File::from(file))
            }
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let flags = UnlinkatFlags::NoRemoveDir;
            // If that fails it is stale, and removed after the next start.
            let _ = unlinkat(&self.place.directory, &temporary[..], flags);
        }
    }
}

/// Makes a file with a temporary name that nobody has.
fn create(directory: &OwnedFd, common: OFlag, mode: Mode) -> nix::Result<(Vec<u8>, OwnedFd)> {
    let flags = common | OFlag::O_CREAT | OFlag::O_EXCL;
    let mut tries = 0..TRIES_MAX;
    loop {
        let number = RandomState::new().build_hasher().finish();
        let name = [UNFINISHED, format!("{number:016x}").as_bytes()].concat();
        match openat(directory, &name[..], flags, mode) {
            Ok(file) => return Ok((name, file)),
            Err(Errno::EEXIST) if tries.next().is_some() => {}
            Err(error) => return Err(error),
        }
    }
}

fn rename(directory: &OwnedFd, from: &[u8], to: &[u8], replaces: bool) -> nix::Result<()> {
    match replaces {
        true => rename_with(directory, from, to, 0),
        false => match rename_with(directory, from, to, libc::RENAME_NOREPLACE) {
            // A file system that does not know this: looked at before, though not in the same moment.
            Err(Errno::EINVAL) => match State::at(directory, to) {
                Err(Errno::ENOENT) => rename_with(directory, from, to, 0),
                Ok(_) => Err(Errno::EEXIST),
                Err(error) => Err(error),
            },
            result => result,
        },
    }
}

fn rename_with(
    directory: &OwnedFd,
    from: &[u8],
    to: &[u8],
    flags: libc::c_uint,
) -> nix::Result<()> {
    let name = |bytes: &[u8]| std::ffi::CString::new(bytes).map_err(|_| Errno::EINVAL);
    let (from, to) = (name(from)?, name(to)?);
    let directory = directory.as_raw_fd();
    // SAFETY: both names end with a zero. The wrapper of nix is for one C library only.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            directory,
            from.as_ptr(),
            directory,
            to.as_ptr(),
            flags,
        )
    };
    Errno::result(result).map(drop)
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// The disk begins with this number of bytes at once: as much as a disk with long ways writes well, and few enough that the
/// end of a large file does not wait for all of it.
const START_EVERY: u64 = 1 << 20;

/// Of 2^64 names one is free.
const TRIES_MAX: usize = 4;
