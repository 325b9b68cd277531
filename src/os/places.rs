//! Where files are looked for, and what it is to have opened one. The helper opens here, however long that takes.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use memmap2::Mmap;
use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::stat::{FileStat, Mode, SFlag, major, minor};

use super::beneath::{self, Place};
use super::devices::{self, DeviceNumber, LocalDevice};
use super::handle::{Closer, Handle};
use super::mapping;
use crate::name::{FileName, FileNameBuf};
use crate::wire::Refusal;

/// A name that is to be looked up, and where.
#[derive(Debug)]
pub struct Lookup {
    pub(super) name: FileNameBuf,
    pub(super) places: Places,
}

/// Where files are looked for.
#[derive(Debug)]
pub struct Places {
    pub(super) directories: Vec<Named>,
    pub(super) public_only: bool,
}

/// A directory, and the absolute paths by which it is known.
pub(super) type Named = (Arc<OwnedFd>, Arc<[Vec<u8>]>);

/// A file that the helper has opened.
#[derive(Debug)]
pub struct Opened {
    pub(super) regular: Regular,
    /// Its device, if that is one of this machine.
    pub(super) local_device: Option<LocalDevice>,
}

/// A regular file that is open.
#[derive(Clone, Debug)]
pub(super) struct Regular {
    /// Of a file of a server, which is asked about that, too; given up before the file.
    pub(super) bytes: Option<Arc<Mmap>>,
    pub(super) file: Arc<Handle>,
    pub(super) state: FileStat,
    pub(super) look: mapping::Look,
}

/// Why a file cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unavailable {
    /// The client gets an ERROR.
    Refused(Refusal),
    /// Not for the moment: another process gives its lease on it back, or a file server is slow.
    Busy,
    /// The helper has to look for it: what is in memory does not say.
    Unknown,
    /// Descriptors or memory ran out.
    Exhausted,
}

impl Lookup {
    /// As [`Places::open`].
    pub(super) fn open(&self, closer: &Closer) -> Result<Opened, Unavailable> {
        self.places.open(self.name.as_name(), closer)
    }
}

impl Places {
    /// The directories themselves.
    pub(super) fn list(&self) -> Vec<Place<'_>> {
        let places = self.directories.iter().map(|(directory, names)| Place {
            directory: directory.as_fd(),
            names,
        });
        places.collect()
    }

    fn find(&self, name: FileName<'_>) -> Result<(OwnedFd, FileStat), Unavailable> {
        let places = self.list();
        let mut first = None;
        for at in 0..places.len() {
            let file = beneath::open(&places, at, name.as_bytes()).map_err(unavailable);
            match file.and_then(|file| regular(file, self.public_only)) {
                Err(Unavailable::Refused(refusal)) if is_elsewhere(refusal) => {
                    first = first.or(Some(refusal));
                }
                result => return result,
            }
        }
        Err(Unavailable::Refused(first.unwrap_or(Refusal::NotFound)))
    }

    /// Opens the file, however long that takes, and asks for its beginning. Unless it lies in this machine, `closer`
    /// closes it.
    pub(super) fn open(&self, name: FileName<'_>, closer: &Closer) -> Result<Opened, Unavailable> {
        let (file, state) = self.find(name)?;
        // Where its bytes lie is read as well, which nobody can ask for without waiting.
        let advice = PosixFadviseAdvice::POSIX_FADV_WILLNEED;
        let _ = posix_fadvise(&file, 0, BEGINNING, advice);
        let local_device = devices::local_device(&file);
        let file = File::from(file);
        let look = mapping::Look::of(&file, local_device);
        let is_remote = local_device.is_none() && state.st_size > 0;
        let bytes = is_remote.then(|| mapping::map(&file, size_of(&state)).ok());
        let file = Arc::new(match local_device {
            Some(_) => Handle::local(file),
            None => Handle::remote(file, closer),
        });
        let regular = Regular {
            bytes: bytes.flatten(),
            file,
            state,
            look,
        };
        Ok(Opened {
            regular,
            local_device,
        })
    }
}

/// There is no file of that name here, but perhaps in another root.
pub(super) fn is_elsewhere(refusal: Refusal) -> bool {
    matches!(refusal, Refusal::NotFound | Refusal::NotAFile)
}

/// The file, if it may be served.
pub(super) fn regular(
    file: OwnedFd,
    public_only: bool,
) -> Result<(OwnedFd, FileStat), Unavailable> {
    let state = devices::state_of(&file).map_err(unavailable)?;
    if devices::kind_of(&state) != SFlag::S_IFREG {
        Err(Unavailable::Refused(Refusal::NotAFile))
    } else if public_only && state.st_mode & Mode::S_IROTH.bits() == 0 {
        Err(Unavailable::Refused(Refusal::NotPublic))
    } else {
        Ok((file, state))
    }
}

/// The device of a file.
pub(super) fn number_of(state: &FileStat) -> DeviceNumber {
    let part = |number| u32::try_from(number).unwrap_or(u32::MAX);
    (part(major(state.st_dev)), part(minor(state.st_dev)))
}

/// Its bytes.
pub(super) fn size_of(state: &FileStat) -> u64 {
    u64::try_from(state.st_size).unwrap_or(0)
}

/// What an error of open(2) means.
pub(super) fn unavailable(error: Errno) -> Unavailable {
    Unavailable::Refused(match error {
        Errno::ENOENT | Errno::ENOTDIR => Refusal::NotFound,
        Errno::ENAMETOOLONG => Refusal::NameTooLong,
        Errno::EXDEV => Refusal::OutsideRoot,
        Errno::ENXIO | Errno::ENODEV | Errno::EISDIR => Refusal::NotAFile,
        Errno::EAGAIN | Errno::EINTR | Errno::ETIMEDOUT | Errno::ESTALE => {
            return Unavailable::Busy;
        }
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => return Unavailable::Exhausted,
        Errno::EACCES | Errno::EPERM | Errno::ELOOP => Refusal::NoAccess,
        _ => Refusal::ReadFailed,
    })
}

/// As much as a transfer asks for at once.
const BEGINNING: i64 = 128 << 10;
