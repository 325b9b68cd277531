//! A file that is replaced again and again, by a thread of its own: a disk that hangs stops this file and nothing else.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use mio::Waker;
use nix::fcntl::{OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, fchmod};

use super::worker;

/// Where the file stands: a directory that is open, and a name in it.
#[derive(Debug)]
pub struct Target {
    directory: OwnedFd,
    name: OsString,
}

impl Target {
    /// Opens the directory of `path`. To be called before the root is changed and paths are given up.
    ///
    /// # Errors
    /// There is no such directory, or the path names no file.
    pub fn open(path: &Path) -> io::Result<Target> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Target {
            directory: open(parent, flags, Mode::empty())?,
            name: name.into(),
        })
    }

    /// The directory, in which the file and one with another name beside it are written.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
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

/// The thread that writes it, as the loop sees it.
#[derive(Debug)]
pub struct Publisher {
    texts: SyncSender<String>,
    done: Receiver<io::Result<()>>,
    is_busy: Cell<bool>,
}

impl Publisher {
    /// Starts the thread, and waits until it takes texts.
    ///
    /// # Errors
    /// Where no thread may be started.
    pub fn start(target: Target, waker: Arc<Waker>) -> io::Result<Publisher> {
        let (texts, todo) = sync_channel::<String>(1);
        let (results, done) = sync_channel(1);
        worker::start("statistics", move || {
            while let Ok(text) = todo.recv() {
                let _ = results.send(target.replace(text.as_bytes()));
                let _ = waker.wake();
            }
        })?;
        Ok(Publisher {
            texts,
            done,
            is_busy: Cell::new(false),
        })
    }

    /// A text is under way: no other is taken.
    pub fn is_busy(&self) -> bool {
        self.is_busy.get()
    }

    /// Writes this text next, unless one is under way.
    pub fn publish(&self, text: String) {
        if !self.is_busy.replace(true) {
            // It is empty, and its other end is never given up.
            let _ = self.texts.try_send(text);
        }
    }

    /// What came of the text under way, if that is known.
    pub fn next(&self) -> Option<io::Result<()>> {
        let result = self.done.try_recv().ok()?;
        self.is_busy.set(false);
        Some(result)
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
