//! An open file, and what it was when it was opened.
//!
//! A file that is written to while it is sent would reach a client half old and half new, of the right length.
//! The time of its last change gives that away; it is looked at when the end of the file is about to leave. Servers of
//! files are not asked for it then: the helper did so when it read the last bytes.

use std::io;
use std::sync::Arc;

use nix::sys::stat::FileStat;

use super::devices;
use super::handle::Handle;

/// A file that is to reach its clients as it was.
#[derive(Debug)]
pub(super) struct Original {
    pub file: Arc<Handle>,
    /// Bytes.
    pub length: u64,
    /// When it was last written to: seconds and nanoseconds.
    modified: (i64, i64),
}

impl Original {
    /// `file`, whose state is `state`.
    #[allow(
        clippy::unnecessary_cast,
        reason = "the width of these fields differs between systems"
    )]
    pub(super) fn new(file: Arc<Handle>, state: &FileStat) -> Original {
        Original {
            file,
            length: u64::try_from(state.st_size).unwrap_or(0),
            modified: (state.st_mtime as i64, state.st_mtime_nsec as i64),
        }
    }

    /// Looks whether the file is what it was. The time of a change to its names and rights (ctime) says nothing:
    /// it moves, too, where another file takes the place of this one.
    ///
    /// # Errors
    /// `UnexpectedEof` where it was written to or cut short, else as statx(2).
    pub(super) fn must_be_unchanged(&self) -> io::Result<()> {
        let state = devices::known_state(&**self.file)?;
        let modified = state.stx_mtime;
        let is_same = (state.stx_size, modified.tv_sec, i64::from(modified.tv_nsec))
            == (self.length, self.modified.0, self.modified.1);
        match is_same {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
