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
//! | [`names`] | names as sites spell them | look at a file system |
//! | [`transfer`] | one file to or from one client | send, read, wait |
//! | [`server`] | the many: slots, queue, timers | anything but through [`server::Io`] |
//! | [`os`] | system calls, and all `unsafe` | decide anything |
//! | [`access`] | which addresses may ask | know packets |
//! | [`config`] | checked settings | read arguments |
//! | [`cli`] | arguments → settings | act on them |
//! | [`daemon`] | the loop that joins them | decide who is next, or what is sent next |
//! | [`screen`] | `tftpd --status`: a running server on a terminal | know the server but by its control socket |
//! | [`firmware`] | machines that boot, to judge the server by | run in the server, use its `wire` |
//! | `storm` | `tftp-storm`, a program of its own: those machines over real sockets | name anything of the server |
//!
//! [`server`] and [`os`] do not know each other; only `daemon` knows both. The first
//! six rooms, and [`access`], have no socket, clock, file, log or randomness: time is an argument, so tests and
//! simulations run the code of production in virtual time.
//!
//! # From a request to a transfer
//!
//! 1. The loop (`daemon/mod`, `daemon/requests`) hands what listening sockets take to [`server::Server::on_request`].
//! 2. `server/arrival` recognises a repeat, answers a fault with an ERROR, and has the file found: while a disk is
//!    asked for it the request is set aside, to be handed in again. Then it becomes a client of the queue, *pending*.
//! 3. `server/admission` gives it a slot, at once or later, and opens its file and socket by [`server::Io::open`].
//!    A [`transfer::Transfer`] then says what goes next.
//! 4. [`server::Server::send_ready`] sends that. An ACK comes by `server/replies` to [`transfer::Transfer::on_ack`].
//!
//! The stages of a client are `Stage` in `server/client`. They change in one place, `server/change`, and with them all
//! counts, places in line and timers. An upload is a transfer whose blocks come in, `transfer/receiving`; a TFTP option
//! is in `transfer/options`, a command line option in `cli/tftpd`, a log line in `daemon/events` (in `server/io` if the
//! core reports it) and its words in `daemon/lines`, a system call in [`os`] and its filter.
//!
//! # Two reading lanes
//!
//! The first lane takes an hour; `tests/house.rs` holds it, without blank lines, to 4,000 lines:
//!
//! - README, `main`, `lib`, `moment`
//! - `wire/mod`, `wire/request`, `name`
//! - `transfer/mod`, `transfer/sending`
//! - `server/mod`, `server/io`, `server/pending`, `server/client`, `server/change`, `server/arrival`, `server/replies`,
//!   `server/admission`
//! - `daemon/mod`
//!
//! The second lane, when you need it:
//!
//! - what both directions share: `transfer/either`, `transfer/common`; windows and timing: `transfer/window`,
//!   `transfer/timing`, `transfer/pacing`, `transfer/options`, `server/wheel`
//! - what clients answer: `wire/reply`; clients that write: `transfer/receiving`, `server/uploads`
//! - what bounds the many: `server/limits`; who is next, and who lends a slot: `server/queue`, `server/lending`,
//!   `server/congestion`, `server/keepalive`
//! - clients that ask anew: `server/anew`; what must hold, and what is seen from outside: `server/audit`,
//!   `server/view`, `server/stats`
//! - defences: `server/networks`, `server/hosts`, `server/table`, `server/unvalidated`, `os/seccomp`, `os/landlock`,
//!   `os/privileges`
//! - the loop's hands: `daemon/requests`, `daemon/lookups`, `daemon/io`, `daemon/world`, `daemon/connection`,
//!   `daemon/outbox`, `os/socket`, `os/listener`; its log: `daemon/events`, `daemon/lines`, `daemon/log`
//! - names: `names`, `daemon/naming`, `daemon/rules`, `os/resolve`, `os/spelling`, `os/neighbours`
//! - files and disks: `os/files`, `os/mapping`, `os/beneath`, `os/root`, `os/helper`
//! - uploads: `daemon/uploads`, `os/place`, `os/upload`, `os/writer`, `os/sweep`
//! - the laboratory: [`firmware`], `tests/laboratory`, `tests/sim`

#![deny(unsafe_code)]

pub mod access;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod firmware;
pub mod moment;
pub mod name;
pub mod names;
pub mod os;
pub mod screen;
pub mod server;
pub mod transfer;
pub mod wire;
