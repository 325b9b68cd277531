//! The process itself: signals and limits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::sys::sysinfo::sysinfo;

/// Signals, as something to poll.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM or SIGINT: stop.
    Stop,
    /// SIGHUP.
    HangUp,
    /// SIGUSR1: show what there is.
    Show,
    /// One that has no meaning.
    Ignored,
}

impl Signals {
    /// Takes signals out of their usual course: those that stop us, and those that would end or stop us
    /// though nobody meant it (`IGNORED`).
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn new() -> io::Result<Signals> {
        let mut set: SigSet = IGNORED.into_iter().collect();
        set.extend([
            Number::SIGTERM,
            Number::SIGINT,
            Number::SIGHUP,
            Number::SIGUSR1,
        ]);
        set.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Signals {
            descriptor: SignalFd::with_flags(&set, flags)?,
        })
    }

    /// Waits for `span` at most, and returns early, with true, if a signal to stop comes.
    pub fn stop_within(&self, span: Duration) -> bool {
        let mut polled = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(span).unwrap_or(PollTimeout::MAX);
        // An error is one of an interruption at most, and then the caller asks again.
        let _ = poll(&mut polled, timeout);
        std::iter::from_fn(|| self.next()).any(|signal| signal == Signal::Stop)
    }

    /// The next signal that came, if one did.
    pub fn next(&self) -> Option<Signal> {
        let info = self.descriptor.read_signal().ok()??;
        Some(match Number::try_from(info.ssi_signo.cast_signed()) {
            Ok(Number::SIGTERM | Number::SIGINT) => Signal::Stop,
            Ok(Number::SIGHUP) => Signal::HangUp,
            Ok(Number::SIGUSR1) => Signal::Show,
            _ => Signal::Ignored,
        })
    }
}

/// Signals that end or stop a program by default, and mean nothing to this one: what an operator or a script
/// may send by custom, timers that were inherited, a log file at the limit of its size (the write fails
/// instead), a background job that writes to its terminal. The `QUIT` of a keyboard and faults still end it.
const IGNORED: [Number; 9] = [
    Number::SIGUSR2,
    Number::SIGPIPE,
    Number::SIGALRM,
    Number::SIGVTALRM,
    Number::SIGPROF,
    Number::SIGIO,
    Number::SIGPWR,
    Number::SIGXFSZ,
    Number::SIGTTOU,
];

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// No file that this process makes from now on can be executed, whichever mode it asks for (umask(2)).
pub fn bar_execution_of_new_files() {
    umask(Mode::from_bits_truncate(0o111));
}

/// Bytes of memory that this machine has.
pub fn memory() -> io::Result<u64> {
    Ok(sysinfo()?.ram_total())
}

/// Raises the limit of open descriptors to `needed`, past the hard limit where we may, and returns the
/// limit that is then in force.
pub fn raise_descriptor_limit(needed: u64) -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= needed {
        return Ok(soft);
    }
    if setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed)).is_err() {
        setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard)?;
    }
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0)
}
