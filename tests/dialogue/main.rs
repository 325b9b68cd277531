//! One transfer as a conversation with times: every rule of the transfer, the handshake and the end has
//! a test named after it.
//!
//! A test reads as a script. `talk` is the fixture for a bare `Transfer`, with times to the microsecond;
//! `path` lets a transfer and a plain client talk by themselves over a path with a delay and one fault;
//! `desk` is the one for a whole `Server` in the `laboratory`, for what is decided there.
//! The scripts fail when anything is sent that the script does not expect, and when a deadline passes unnoticed.

#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing to unwrap has failed"
)]

mod acks;
mod anew;
mod clients;
mod desk;
mod end;
mod handshake;
#[path = "../laboratory/mod.rs"]
mod laboratory;
mod path;
mod repeats;
mod rings;
mod seen_elsewhere;
mod talk;
mod timing;
mod uploads;
mod windows;
mod wrap;

use ripple_tftpd::moment::Moment;

/// The moment that lies this many seconds after the start, to the nearest microsecond.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "scripts are short and begin at 0"
)]
fn moment(seconds: f64) -> Moment {
    Moment::from_micros((seconds * 1e6).round() as u64)
}

/// The options of a request, from "blksize 1024, tsize 0".
fn option_bytes(options: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in options.split([',', ' ']).filter(|text| !text.is_empty()) {
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    bytes
}
