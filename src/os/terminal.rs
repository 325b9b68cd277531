//! A terminal that shows something until the user has enough (termios(3), ioctl_tty(2)).

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use nix::unistd::{read, write};

/// The terminal of standard output, as it was found once the value goes.
#[derive(Debug)]
pub struct Terminal {
    signals: SignalFd,
    /// How the keyboard was set; `None` if standard input is no terminal.
    before: Option<Termios>,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// Nothing, for the time that was given.
    Time,
    /// The terminal may have another size now.
    Resized,
    /// What one key sends.
    Keys(Vec<u8>),
    /// A signal to end, or the terminal is gone.
    Ended,
}

impl Terminal {
    /// Takes it over; `None` if standard output is no terminal.
    ///
    /// # Errors
    /// Where it cannot be set.
    pub fn open() -> io::Result<Option<Terminal>> {
        if !io::stdout().is_terminal() {
            return Ok(None);
        }
        let mut set = SigSet::empty();
        set.extend([
            Signal::SIGWINCH,
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGQUIT,
        ]);
        set.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&set, flags)?;
        let before = match io::stdin().is_terminal() {
            true => Some(tcgetattr(io::stdin())?),
            false => None,
        };
        let terminal = Terminal { signals, before };
        if let Some(before) = &terminal.before {
            let mut keys = before.clone();
            keys.local_flags &= !(LocalFlags::ICANON | LocalFlags::ECHO);
            keys.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
            keys.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
            tcsetattr(io::stdin(), SetArg::TCSANOW, &keys)?;
        }
        // Its other screen, without a cursor.
        terminal.write(b"\x1b[?1049h\x1b[?25l\x1b[2J")?;
        Ok(Some(terminal))
    }

    /// Columns and lines.
    pub fn size(&self) -> (usize, usize) {
        // SAFETY: a `winsize` may be all zeros, and the kernel fills in this one.
        let size = unsafe {
            let mut size: libc::winsize = std::mem::zeroed();
            libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size);
            size
        };
        match (size.ws_col, size.ws_row) {
            (0, _) | (_, 0) => (80, 24),
            (columns, lines) => (columns.into(), lines.into()),
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match write(io::stdout().as_fd(), bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until something happens, for this long at most.
    pub fn wait(&self, span: Duration) -> io::Result<Input> {
        let stdin = io::stdin();
        let mut polled = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
        ];
        let watched = if self.before.is_some() { 2 } else { 1 };
        let timeout = PollTimeout::try_from(span).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled[..watched], timeout) {
            Ok(0) => return Ok(Input::Time),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(info) = self.signals.read_signal()? {
            let number = Signal::try_from(info.ssi_signo.cast_signed());
            return Ok(match number {
                Ok(Signal::SIGWINCH) => Input::Resized,
                _ => Input::Ended,
            });
        }
        let mut keys = [0; 16];
        match read(&stdin, &mut keys) {
            Ok(0) | Err(Errno::EIO) => Ok(Input::Ended),
            Ok(length) => Ok(Input::Keys(keys[..length].to_vec())),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Input::Resized),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.write(b"\x1b[?25h\x1b[?1049l");
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}
