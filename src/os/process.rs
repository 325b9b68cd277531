//! The process itself: signals, limits, and a standard error that must never block us.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
#[cfg(feature = "storm")]
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
#[cfg(feature = "storm")]
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd};
#[cfg(feature = "storm")]
use nix::sys::time::TimeValLike;

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
}

impl Signals {
    /// Takes SIGTERM, SIGINT and SIGHUP out of their usual course. SIGXFSZ, which would end us where a
    /// log file is as large as it may become, is blocked for good: the write fails instead.
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn new() -> io::Result<Signals> {
        let mut set = SigSet::empty();
        for number in [Number::SIGTERM, Number::SIGINT, Number::SIGHUP] {
            set.add(number);
        }
        let mut blocked = set;
        blocked.add(Number::SIGXFSZ);
        blocked.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Signals {
            descriptor: SignalFd::with_flags(&set, flags)?,
        })
    }

    /// The next signal that came, if one did.
    pub fn next(&self) -> Option<Signal> {
        let info = self.descriptor.read_signal().ok()??;
        let is_hang_up = info.ssi_signo == Number::SIGHUP as u32;
        Some(if is_hang_up {
            Signal::HangUp
        } else {
            Signal::Stop
        })
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

/// Raises the limit of open descriptors to `needed`, past the hard limit where we may, and tells the
/// limit that is then in force.
///
/// # Errors
/// None that can be expected.
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

/// The processor time that this process has used up.
///
/// # Errors
/// None that can be expected.
#[cfg(feature = "storm")]
pub fn processor_time() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| u64::try_from(time.num_microseconds()).unwrap_or(0))
        .sum();
    Ok(Duration::from_micros(micros))
}

/// Standard error for log lines: what does not leave at once is dropped and counted.
#[derive(Debug, Default)]
pub struct LogLines {
    dropped: u64,
    /// A disk that became full took a part of a line.
    is_cut: bool,
}

impl LogLines {
    /// Writes one line if that does not block.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if !takes_a_line()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.is_cut {
            io::stderr().write_all(b"\n")?;
            self.is_cut = false;
        }
        let line = &line[..line.len().min(LINE_MAX)];
        let written = io::stderr().write(line)?;
        self.is_cut = written < line.len();
        match self.is_cut {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl Write for LogLines {
    /// Takes one line. It always succeeds: a log that cannot be written is no reason to stop.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.dropped > 0 {
            let note = format!("WARN {} log lines were dropped\n", self.dropped);
            if self.write_line(note.as_bytes()).is_ok() {
                self.dropped = 0;
            }
        }
        if self.dropped > 0 || self.write_line(line).is_err() {
            self.dropped += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe that polls as writable takes this many bytes without blocking (pipe(7)).
const LINE_MAX: usize = libc::PIPE_BUF;

/// Whether standard error takes a line now. Safe to call in the handler of a signal.
pub(super) fn takes_a_line() -> io::Result<bool> {
    let stderr = io::stderr();
    let mut polled = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let ready = poll(&mut polled, PollTimeout::ZERO)?;
    Ok(ready > 0
        && polled[0]
            .revents()
            .is_some_and(|events| events == PollFlags::POLLOUT))
}
