//! The operating system: clock, poll, sockets, files, signals. All system calls and all `unsafe` are here.
//!
//! Nothing here decides anything about TFTP: each file offers one thing of the system with the traps
//! taken out. Sockets are never blocking. `nix` and `socket2` make most calls; the few that neither can
//! make without an allocation for each packet are made directly.
//!
//! Read `clock`, `poll`, `receive`, `listener`, `socket`, `files`, `process`.

mod beneath;
pub mod clock;
pub mod content;
mod control;
pub mod files;
pub mod listener;
mod mapping;
pub mod poll;
#[cfg(feature = "storm")]
pub mod port;
pub mod process;
pub mod receive;
pub mod socket;

use std::io;

use nix::errno::Errno;

/// The system ran out of something that others will give back: descriptors, memory, ports, and what one
/// user may watch with epoll.
pub fn is_exhaustion(error: &io::Error) -> bool {
    let lacking = [
        Errno::EMFILE,
        Errno::ENFILE,
        Errno::ENOBUFS,
        Errno::ENOMEM,
        Errno::ENOSPC,
        Errno::EADDRINUSE,
        Errno::EAGAIN,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| lacking.contains(&Errno::from_raw(code)))
}
