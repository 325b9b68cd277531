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

/// A read request for `boot` in octet mode with these options.
fn read_request(options: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut datagram = b"\0\x01boot\0octet\0".to_vec();
    for (name, value) in options {
        for text in [name, value] {
            datagram.extend_from_slice(text);
            datagram.push(0);
        }
    }
    datagram
}
