//! An open file, what it was when it was opened, and what is to be known to send it.
//!
//! A file that is written to while it is sent would reach a client half old and half new, of the right length.
//! The time of its last change gives that away; it is looked at when the end of the file is about to leave. Servers of
//! files are not asked for it then: the helper did so when it read the last bytes.
//!
//! To close a file may mean to ask a server and to wait for its answer: that is the helper's, too.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use memmap2::Mmap;

use super::devices::LocalDevice;
use super::nowait::Look;
use super::state::{State, Version};

/// A regular file that is open; closed with the value.
#[derive(Debug)]
pub struct Opened {
    /// Always there, but for the end.
    file: Option<File>,
    /// What it was.
    pub(super) version: Version,
    pub(super) look: Look,
    /// Its device, if that is one of this machine.
    pub(super) local_device: Option<LocalDevice>,
    /// Of a file of a server, which is asked about that, too.
    pub(super) bytes: Option<Arc<Mmap>>,
    /// Who closes a file of a server or a daemon, which may take long.
    pub(super) closer: Option<Closer>,
}

/// Takes files to be closed.
#[derive(Clone)]
pub(super) struct Closer(pub Arc<dyn Fn(File) + Send + Sync>);

impl Opened {
    /// A file that was found in this state. It may wait for a server.
    pub(super) fn new(file: OwnedFd, state: &State, local_device: Option<LocalDevice>) -> Opened {
        let file = File::from(file);
        Opened {
            look: Look::of(&file, local_device),
            file: Some(file),
            version: state.version(),
            local_device,
            bytes: None,
            closer: None,
        }
    }

    /// Looks whether the file is what it was. The time of a change to its names and rights (ctime) says nothing:
    /// it moves, too, where another file takes the place of this one.
    ///
    /// # Errors
    /// `UnexpectedEof` where it was written to or cut short, else as statx(2).
    pub(super) fn must_be_unchanged(&self) -> io::Result<()> {
        let Version { size, modified, .. } = State::known(&**self)?.version();
        match (size, modified) == (self.version.size, self.version.modified) {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Deref for Opened {
    type Target = File;

    fn deref(&self) -> &File {
        self.file.as_ref().expect("it is taken out at the end only")
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // The last reference to the file may only be the one whose closing is known to be handed over.
        self.bytes = None;
        if let (Some(file), Some(Closer(close))) = (self.file.take(), &self.closer) {
            close(file);
        }
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closer")
    }
}
