//! Who is served, who waits, who is next: the server as a whole, driven through its public calls in
//! virtual time. No socket, no clock, no file.
//!
//! `world` is what these tests remember of the server, and do to it, in the `laboratory`; read both first. `queue` is about those who
//! wait, `peers` about requests from peers that are known, `slots` about how a slot is taken and given
//! back, `endings` about stopping, silence and sleep. These know a server that waits in silence; `held`
//! is about those who are kept alive while they wait, `boots` about who is next, `busy` about
//! files that cannot be told yet, `large_blocks` about hosts that lose them, `idle` about slots that
//! nobody uses, `unvalidated` about what one address may have and what forged requests draw. `histories` compares thousands of random days with the simple `model`.

#![allow(
    clippy::unwrap_used,
    reason = "what a test expects to be there is there, or the test fails"
)]

mod boots;
mod busy;
mod endings;
mod held;
mod histories;
mod idle;
#[path = "../laboratory/mod.rs"]
mod laboratory;
mod large_blocks;
mod lending;
mod model;
mod peers;
mod queue;
mod slots;
mod unvalidated;
mod world;
