//! An open file, and what it was when it was opened.
//!
//! A file that is written to while it is sent would reach a client half old and half new, of the right length.
//! The time of its last change gives that away; it is looked at when the end of the file is about to leave. Servers of
//! files are not asked for it then: the helper did so when it read the last bytes.

use std::io;
use std::sync::Arc;

use memmap2::Mmap;

use super::devices::LocalDevice;
use super::handle::Handle;
use super::nowait::Look;
use super::state::{State, Version};

/// A regular file that is open.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Of a file of a server, which is asked about that, too; given up before the file.
    pub(super) bytes: Option<Arc<Mmap>>,
    pub(super) original: Original,
    pub(super) look: Look,
    /// Its device, if that is one of this machine.
    pub(super) local_device: Option<LocalDevice>,
}

/// A file that is to reach its clients as it was.
#[derive(Clone, Debug)]
pub(super) struct Original {
    pub file: Arc<Handle>,
    pub version: Version,
}

impl Original {
    /// Looks whether the file is what it was. The time of a change to its names and rights (ctime) says nothing:
    /// it moves, too, where another file takes the place of this one.
    ///
    /// # Errors
    /// `UnexpectedEof` where it was written to or cut short, else as statx(2).
    pub(super) fn must_be_unchanged(&self) -> io::Result<()> {
        let Version { size, modified, .. } = State::known(&**self.file)?.version();
        match (size, modified) == (self.version.size, self.version.modified) {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
