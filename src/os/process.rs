//! The process itself: signals, limits, and a standard error that must never block us.

use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
#[cfg(feature = "storm")]
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::sysinfo::sysinfo;
use nix::sys::termios::tcgetsid;
#[cfg(feature = "storm")]
use nix::sys::time::TimeValLike;
use nix::unistd::dup2_stderr;

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
        set.extend([Number::SIGTERM, Number::SIGINT, Number::SIGHUP]);
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
            _ => Signal::Ignored,
        })
    }
}

/// Signals that end or stop a program by default, and mean nothing to this one: what an operator or a script
/// may send by custom, timers that were inherited, a log file at the limit of its size (the write fails
/// instead), a background job that writes to its terminal. The `QUIT` of a keyboard and faults still end it.
const IGNORED: [Number; 10] = [
    Number::SIGUSR1,
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

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

/// Bytes of memory that this machine has.
///
/// # Errors
/// None that can be expected.
pub fn memory() -> io::Result<u64> {
    Ok(sysinfo()?.ram_total())
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

/// Makes writes to standard error fail where they would block: terminals and pipes are opened anew and
/// without blocking, since the flag of the old description is our parent's as well. Regular files and
/// sockets stay as they are.
///
/// To be called before the rights to open files are given up.
pub fn unblock_stderr() {
    let stderr = io::stderr();
    let is_terminal = stderr.is_terminal();
    let is_pipe = fstat(&stderr).is_ok_and(|stat| {
        SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFIFO
    });
    if !is_terminal && !is_pipe {
        return;
    }
    let again = reopened("/proc/self/fd/2").or_else(|| {
        // The terminal of another user, as after `su`, can be opened by this name if it controls us.
        let controls_us = is_terminal && tcgetsid(&stderr).is_ok();
        controls_us.then(|| reopened("/dev/tty")).flatten()
    });
    if let Some(again) = again
        && dup2_stderr(again).is_ok()
    {
        return;
    }
    if is_terminal && let Ok(flags) = fcntl(&stderr, FcntlArg::F_GETFL) {
        // Our parent may not expect it, but a terminal that polls as writable blocks all the same.
        let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
        let _ = fcntl(&stderr, FcntlArg::F_SETFL(flags));
    }
}

fn reopened(path: &str) -> Option<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).ok()
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
