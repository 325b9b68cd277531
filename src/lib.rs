//! A TFTP server for network booting: a fixed number of transfers run at full speed, all other clients wait, in
//! silence at first, then kept alive.
//!
//! # The map
//!
//! Each room imports only from rooms before it; `tests/house.rs` watches this.
//!
//! | room | what it is for | what it never does |
//! |---|---|---|
//! | [`moment`] | points in time | know what time it is |
//! | [`wire`] | bytes ⇄ meaning | allocate, panic, know files |
//! | [`name`] | a requested name made safe | look at a file system |
//! | [`transfer`] | one file to one client | send, read, wait |
//! | [`server`] | the many: slots, queue, timers | anything but through [`server::Io`] |
//! | [`os`] | system calls, and all `unsafe` | decide anything |
//! | [`access`] | which addresses may ask | know packets |
//! | [`config`] | checked settings | read arguments |
//! | [`cli`] | arguments → settings | act on them |
//! | [`daemon`] | the loop that joins them | know the protocol |
//! | [`firmware`] | machines that boot, to judge the server by | run in the server, use its `wire` |
//! | `storm` | `tftp-storm`, a program of its own: those machines over real sockets | name anything of the server |
//!
//! [`server`] and [`os`] do not know each other; only `daemon::io` and `daemon::connection` know both. The first five rooms,
//! and [`access`], have no socket, clock, file, log or randomness: time is an argument, so tests and
//! simulations run the code of production in virtual time.
//!
//! Read in this order: README, this page, [`moment`], [`wire`], [`name`], [`transfer`], [`server`],
//! [`os`], [`daemon`].

#![deny(unsafe_code)]

pub mod access;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod firmware;
pub mod moment;
pub mod name;
pub mod os;
pub mod server;
pub mod transfer;
pub mod wire;
