//! Log lines on their way out: to standard error, to the journal behind it, or to syslog. None of these may ever
//! block us.

use std::env::var;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::termios::tcgetsid;
use nix::unistd::{dup2_stderr, write};

use super::clock::unix_time;

/// Takes log lines: what does not leave at once is dropped and counted.
#[derive(Debug)]
pub struct LogLines {
    form: Form,
    /// The line at hand, as it leaves.
    text: Vec<u8>,
    dropped: u64,
    /// A disk that became full took a part of a line.
    is_cut: bool,
}

/// What stands before a line.
#[derive(Clone, Copy, Debug)]
enum Form {
    Plain,
    /// The priority, as journald reads it (sd-daemon(3)).
    Journal,
    /// What glibc's syslog(3) writes (RFC 3164), under this name.
    Syslog(&'static str),
}

impl LogLines {
    /// Lines for standard error, with priorities where that is the journal.
    pub fn to_stderr() -> LogLines {
        let is_journal = var("JOURNAL_STREAM").is_ok_and(|stream| {
            fstat(io::stderr()).is_ok_and(|of| stream == format!("{}:{}", of.st_dev, of.st_ino))
        });
        unblock_stderr();
        LogLines::new(match is_journal {
            true => Form::Journal,
            false => Form::Plain,
        })
    }

    /// Lines for syslog under this name, and whether a syslogd takes them yet. To be called before the rights to make
    /// sockets and read the time zone are given up.
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn to_syslog(name: &'static str) -> io::Result<(LogLines, io::Result<()>)> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        LOG.store(socket.into_raw_fd(), Ordering::Relaxed);
        let mut lines = LogLines::new(Form::Syslog(name));
        lines.form.write_head(b'I', &mut lines.text);
        Ok((lines, connect_to_syslog()))
    }

    fn new(form: Form) -> LogLines {
        LogLines {
            form,
            text: Vec::new(),
            dropped: 0,
            is_cut: false,
        }
    }

    /// From now on what follows the name of the level is JSON, and leaves without that name.
    pub fn write_json(&mut self) {
        JSON.store(true, Ordering::Relaxed);
    }

    /// Writes one line if that does not block.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if !takes_a_line()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.is_cut {
            write(log_descriptor(), b"\n")?;
            self.is_cut = false;
        }
        self.text.clear();
        self.form
            .write_head(line.first().copied().unwrap_or(0), &mut self.text);
        let words = line.iter().position(|&byte| byte == b' ');
        let line = match words.filter(|_| is_json()) {
            Some(space) => &line[space + 1..],
            None => line,
        };
        let room = LINE_MAX - self.text.len();
        self.text.extend(&line[..line.len().min(room)]);
        if matches!(self.form, Form::Syslog(_)) {
            self.text.pop_if(|byte| *byte == b'\n');
        }
        let written = match (write(log_descriptor(), &self.text), self.form) {
            // Syslogd was started, or restarted.
            (Err(Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::ENOTCONN), Form::Syslog(_)) => {
                connect_to_syslog()?;
                write(log_descriptor(), &self.text)?
            }
            (written, _) => written?,
        };
        self.is_cut = written < self.text.len();
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
            let dropped = self.dropped;
            let note = match is_json() {
                false => format!("WARN {dropped} log lines were dropped\n"),
                true => {
                    let time = unix_time().as_secs();
                    format!(
                        "WARN {{\"time\":{time},\"level\":\"warn\",\"event\":\"lines_lost\",\"lines\":{dropped}}}\n"
                    )
                }
            };
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

impl Form {
    /// Writes what stands before a line that begins with the name of its level.
    fn write_head(self, level: u8, text: &mut Vec<u8>) {
        let priority = match level {
            b'E' => libc::LOG_ERR,
            b'W' => libc::LOG_WARNING,
            b'I' => libc::LOG_INFO,
            _ => libc::LOG_DEBUG,
        };
        // Nothing stops a vector from growing.
        let _ = match self {
            Form::Plain => Ok(()),
            Form::Journal => write!(text, "<{priority}>"),
            Form::Syslog(name) => {
                let (priority, process) = (libc::LOG_DAEMON | priority, process::id());
                let time = local_time();
                let month = &MONTHS[3 * usize::try_from(time.tm_mon).unwrap_or(0)..][..3];
                let (day, hour, minute) = (time.tm_mday, time.tm_hour, time.tm_min);
                let second = time.tm_sec;
                write!(
                    text,
                    "<{priority}>{month} {day:2} {hour:02}:{minute:02}:{second:02} {name}[{process}]: "
                )
            }
        };
    }
}

fn local_time() -> libc::tm {
    let now = unix_time().as_secs().cast_signed();
    // SAFETY: a `tm` may be all zeros, and both pointers are to values of this function.
    unsafe {
        let mut time = std::mem::zeroed();
        libc::localtime_r(&now, &mut time);
        time
    }
}

fn connect_to_syslog() -> io::Result<()> {
    connect(log_descriptor().as_raw_fd(), &UnixAddr::new("/dev/log")?)?;
    Ok(())
}

/// Where log lines go: standard error, or a socket of its own that is never closed.
static LOG: AtomicI32 = AtomicI32::new(libc::STDERR_FILENO);

/// Lines of the log are JSON: the name of the level in front is for the priority only.
static JSON: AtomicBool = AtomicBool::new(false);

/// Safe to call in the handler of a signal.
pub(super) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Safe to call in the handler of a signal.
pub(super) fn log_descriptor() -> BorrowedFd<'static> {
    let raw: RawFd = LOG.load(Ordering::Relaxed);
    // SAFETY: nobody closes standard error or the socket.
    unsafe { BorrowedFd::borrow_raw(raw) }
}

/// Whether the log takes a line now. Safe to call in the handler of a signal.
pub(super) fn takes_a_line() -> io::Result<bool> {
    let mut polled = [PollFd::new(log_descriptor(), PollFlags::POLLOUT)];
    let ready = poll(&mut polled, PollTimeout::ZERO)?;
    Ok(ready > 0
        && polled[0]
            .revents()
            .is_some_and(|events| events == PollFlags::POLLOUT))
}

/// Makes writes to standard error fail where they would block: terminals and pipes are opened anew and
/// without blocking, since the flag of the old description is our parent's as well. Regular files and
/// sockets stay as they are.
fn unblock_stderr() {
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

/// A pipe that polls as writable takes this many bytes without blocking (pipe(7)).
const LINE_MAX: usize = libc::PIPE_BUF;

/// As RFC 3164 spells them, in any locale.
const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
