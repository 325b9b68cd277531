//! A file that is replaced again and again, by a thread of its own: a disk that hangs stops this file and nothing else.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use mio::Waker;
use nix::fcntl::{OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, fchmod};

use super::directory::TO_SEARCH;
use super::worker::Worker;

/// Where the file stands: a directory that is open, and a name in it.
#[derive(Debug)]
pub struct Target {
    /// In it the file and one with another name beside it are written.
    pub directory: OwnedFd,
    name: OsString,
}

impl Target {
    /// Opens the directory of `path`. To be called before the root is changed and paths are given up.
    ///
    /// # Errors
    /// There is no such directory, or the path names no file.
    pub fn open(path: &Path) -> io::Result<Target> {
        let whole = std::path::absolute(path)?;
        let (Some(parent), Some(name)) = (whole.parent(), whole.file_name()) else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        Ok(Target {
            directory: open(parent, TO_SEARCH, Mode::empty())?,
            name: name.into(),
        })
    }

    /// Opens the file as it is there now.
    pub(super) fn open_file(&self, flags: OFlag) -> nix::Result<OwnedFd> {
        openat(&self.directory, &*self.name, flags, Mode::empty())
    }

    /// Readers have the old text or the new one.
    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let mut beside = self.name.clone();
        beside.push(".new");
        let directory = &self.directory;
        let mode = Mode::from_bits_truncate(FILE_MODE);
        let mut file = File::from(openat(directory, &*beside, WRITING, mode)?);
        // In spite of the umask: it is there to be read.
        fchmod(&file, mode)?;
        file.write_all(text)?;
        drop(file);
        renameat(directory, &*beside, directory, &*self.name)?;
        Ok(())
    }
}

/// The thread that writes it, as the loop sees it. While a text is under way it takes no other.
pub type Publisher = Worker<String, io::Result<()>>;

impl Publisher {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where no thread may be started.
    pub fn start(target: Target, waker: Arc<Waker>) -> io::Result<Publisher> {
        Publisher::spawn("statistics", 1, waker, move |desk, _| {
            while let Ok(text) = desk.todo.recv() {
                desk.reply(target.replace(text.as_bytes()));
            }
        })
    }
}

/// Everybody may read it; the filter of system calls knows this as well.
pub(super) const FILE_MODE: libc::mode_t = 0o644;

/// How the file is opened; the filter of system calls knows these flags.
const WRITING: OFlag = OFlag::O_WRONLY
    .union(OFlag::O_CREAT)
    .union(OFlag::O_TRUNC)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
