//! `tftp-storm` against the real server: both programs as they are, on a port of their own.
//!
//! Read `rehearsal` for how they are run; the other modules are tests by subject.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

#[path = "../surroundings/manual.rs"]
mod page;
mod rehearsal;
#[path = "../surroundings/mod.rs"]
mod surroundings;

mod command_line;
mod files;
mod manual;
mod progress;
mod storms;
mod uploads;
