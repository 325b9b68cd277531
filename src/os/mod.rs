//! The operating system: clock, poll, sockets, files, signals. All system calls and all `unsafe` are here.
//!
//! Nothing here decides anything about TFTP: each file offers one thing of the system with the traps
//! taken out. Sockets are never blocking. `nix` and `socket2` make most calls; the few that neither can
//! make without an allocation for each packet are made directly.
//!
//! Read `clock`, `poll`, `receive`, `listener`, `socket`, `files`, `process`, `privileges`, `landlock`, `seccomp`.

#![allow(
    unsafe_code,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "all system calls are in this room"
)]

pub mod background;
mod beneath;
pub mod clock;
pub mod content;
mod control;
pub mod departures;
mod devices;
pub mod directory;
pub mod fetch;
pub mod files;
pub mod handed;
pub mod helper;
pub mod landlock;
pub mod lines;
pub mod listener;
pub mod local;
mod mapping;
pub mod neighbours;
pub mod notify;
mod nowait;
mod opened;
pub mod place;
mod places;
pub mod poll;
pub mod port;
pub mod ports;
pub mod privileges;
pub mod process;
pub mod publish;
pub mod receive;
pub mod resolve;
mod root;
pub mod rule_file;
#[cfg_attr(
    not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )),
    path = "no_seccomp.rs"
)]
pub mod seccomp;
pub mod socket;
mod spelling;
mod state;
pub mod sweep;
pub mod terminal;
mod traversal;
mod upload;
pub mod usage;
pub mod users;
pub mod walk;
pub mod worker;
pub mod writer;

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
    is_one_of(error, &lacking)
}

fn is_one_of(error: &io::Error, known: &[Errno]) -> bool {
    let code = error.raw_os_error();
    code.is_some_and(|code| known.contains(&Errno::from_raw(code)))
}
