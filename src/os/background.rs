//! What classic init scripts expect: a process that leaves its terminal, and a file that holds its number.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;

use nix::fcntl::OFlag;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{
    ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid, write,
};

use super::handed::nothing;

/// Who this process is after [`leave_terminal`].
#[derive(Debug)]
pub enum Fork {
    /// The one that was started. The other one serves now or has failed: this is the status to end with.
    Started(u8),
    /// The one that is to serve.
    Server(Waiting),
}

/// The process that was started, which waits until its child serves or fails.
#[derive(Debug)]
pub struct Waiting(OwnedFd);

impl Waiting {
    /// Makes it write this text to its standard error.
    pub fn report(&self, text: &str) {
        let _ = write(&self.0, text.as_bytes());
    }

    /// Lets it end well.
    pub fn release(self) {
        self.report(SERVES);
    }
}

/// Goes on in a process of its own, without a terminal and with nothing behind the standard streams. There must be
/// no other thread yet.
///
/// # Errors
/// Where no process may be started, or there is no /dev/null.
pub fn leave_terminal() -> io::Result<Fork> {
    // A script may wait until nobody holds what it had open. Where the kernel lacks the call, it has to.
    // SAFETY: takes numbers only, and nothing was opened yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    let nothing = nothing()?;
    let (message, waiting) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: there is one thread only, so the child may do what its parent could.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop(waiting);
            Ok(Fork::Started(status_of(child, message)?))
        }
        ForkResult::Child => {
            setsid()?;
            chdir("/")?;
            dup2_stdin(nothing.as_fd())?;
            dup2_stdout(nothing.as_fd())?;
            dup2_stderr(nothing.as_fd())?;
            Ok(Fork::Server(Waiting(waiting)))
        }
    }
}

/// Waits until `child` serves or has ended, and writes its messages to standard error.
fn status_of(child: Pid, message: OwnedFd) -> io::Result<u8> {
    let mut text = String::new();
    let _ = File::from(message).read_to_string(&mut text);
    let serves = text.ends_with(SERVES);
    let _ = io::stderr().write_all(text.trim_end_matches(SERVES).as_bytes());
    if serves {
        return Ok(0);
    }
    let status = match waitpid(child, None)? {
        WaitStatus::Exited(_, status) => status,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
        _ => 1,
    };
    Ok(u8::try_from(status).unwrap_or(1))
}

/// What no message contains.
const SERVES: &str = "\0";

/// A file that holds the number of this process until the value goes.
#[derive(Debug)]
pub struct PidFile {
    file: File,
    path: PathBuf,
    may_remove: bool,
}

impl PidFile {
    /// Opens the file, and changes nothing in it yet: it may be that of an instance that still runs. It can be
    /// removed in the end if the right to do so is not given up.
    ///
    /// # Errors
    /// Where it cannot be opened, or something else stands at its path.
    pub fn open(path: &Path, may_remove: bool) -> io::Result<PidFile> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        options
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = PidFile {
            file: options.open(path)?,
            path: std::path::absolute(path)?,
            may_remove,
        };
        let is_number = |text: String| text.trim().bytes().all(|byte| byte.is_ascii_digit());
        match file.file.metadata()?.is_file() && file.text().is_some_and(is_number) {
            true => Ok(file),
            false => Err(io::Error::new(
                ErrorKind::AlreadyExists,
                "something else than the file of a process number is there",
            )),
        }
    }

    /// Writes our number.
    ///
    /// # Errors
    /// Where the disk is full.
    pub fn write(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(own_number().as_bytes(), 0)
    }

    /// What it holds; `None` if that is more than a number.
    fn text(&self) -> Option<String> {
        let mut bytes = [0; 32];
        let length = self.file.read_at(&mut bytes, 0).ok()?;
        let text = bytes
            .get(..length)
            .filter(|text| text.len() < bytes.len())?;
        String::from_utf8(text.into()).ok()
    }

    fn is_at_its_path(&self) -> bool {
        let number = |of: fs::Metadata| (of.dev(), of.ino());
        let ours = self.file.metadata().map(number);
        let there = fs::symlink_metadata(&self.path).map(number);
        ours.is_ok_and(|ours| there.is_ok_and(|there| ours == there))
    }
}

impl Drop for PidFile {
    /// Leaves it alone if another instance has written its number.
    fn drop(&mut self) {
        if self.text() != Some(own_number()) {
            return;
        }
        let _ = self.file.set_len(0);
        if self.may_remove && self.is_at_its_path() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn own_number() -> String {
    format!("{}\n", process::id())
}
