//! Sockets that were open before the program began: from a service manager (sd_listen_fds(3)), or as descriptor 0
//! from inetd, xinetd and units with `StandardInput=socket`.

use std::env::var;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process;

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use socket2::{Domain, SockRef};

/// A socket of any kind, and what it is called.
pub type Socket = (OwnedFd, String);

/// Takes what was handed over, and lets no standard stream be a socket of the network any longer. Returns the sockets,
/// and whether standard error was one. To be called once, before anything is opened or written.
///
/// # Errors
/// Where a descriptor that was promised is not open, or there is no /dev/null.
pub fn take() -> io::Result<(Vec<Socket>, bool)> {
    let mut sockets = Vec::new();
    let is_mute = family(io::stderr().as_fd()).is_some_and(is_inet);
    if is_mute {
        dup2_stderr(nothing()?)?;
    }
    if family(io::stdout().as_fd()).is_some_and(is_inet) {
        dup2_stdout(nothing()?)?;
    }
    let stdin = io::stdin();
    // The parent may use a pair of UNIX sockets as a pipe.
    let is_pipe = || SockRef::from(&stdin).peer_addr().is_ok();
    if family(stdin.as_fd()).is_some_and(|family| is_inet(family) || !is_pipe()) {
        let socket = stdin.as_fd().try_clone_to_owned()?;
        sockets.push((socket, "descriptor 0".into()));
        dup2_stdin(nothing()?)?;
    }
    if var("LISTEN_PID").is_ok_and(|pid| pid == process::id().to_string()) {
        let count = var("LISTEN_FDS").ok().and_then(|text| text.parse().ok());
        let names = var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        for raw in (FIRST..).take(count.unwrap_or(0)) {
            // SAFETY: only looks whether it is open.
            fcntl(unsafe { BorrowedFd::borrow_raw(raw) }, FcntlArg::F_GETFD)?;
            // SAFETY: it is open and was promised to be ours.
            let socket = unsafe { OwnedFd::from_raw_fd(raw) };
            let name = names.next().unwrap_or_default();
            sockets.push((socket, format!("descriptor {raw} {name}")));
        }
    }
    Ok((sockets, is_mute))
}

/// The family of a socket; `None` if it is none.
fn family(descriptor: BorrowedFd<'_>) -> Option<Domain> {
    SockRef::from(&descriptor).domain().ok()
}

fn is_inet(family: Domain) -> bool {
    family == Domain::IPV4 || family == Domain::IPV6
}

/// Opens what takes everything and gives nothing.
pub(super) fn nothing() -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    Ok(open("/dev/null", flags, Mode::empty())?)
}

/// The first descriptor that a service manager hands over.
const FIRST: RawFd = 3;
