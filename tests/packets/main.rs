//! Datagrams in tables, both ways: what each one means to us, and what we answer, byte for byte.
//!
//! Every row names the clause of the RFC that it rests on, or the fault of another server or client that
//! it guards against. Nothing here opens a socket or a file.
//!
//! `requests` and `replies` are what arrives, `options` is what is granted, `answers` is what leaves,
//! `names` is which file is meant, `mutation` is all of it at once with a million broken datagrams.

#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing to unwrap has failed"
)]

mod answers;
#[path = "../laboratory/choices.rs"]
mod choices;
mod mutation;
mod names;
mod options;
mod replies;
mod requests;

/// A read request for `boot` in octet mode with these options: "blksize=1432,tsize=0".
fn read_request(options: &str) -> Vec<u8> {
    [b"\0\x01boot\0octet\0", &*option_bytes(options)].concat()
}

/// Options as they are on the wire.
fn option_bytes(options: &str) -> Vec<u8> {
    match options {
        "" => Vec::new(),
        _ => (options.replace(['=', ','], "\0") + "\0").into_bytes(),
    }
}
