//! The whole server; the input decides what arrives, how much time passes and what fails: the histories
//! of `tests/hostile`, chosen byte by byte.

#![no_main]

#[path = "../../hostile/history.rs"]
mod history;
#[path = "../../laboratory/mod.rs"]
pub(crate) mod laboratory;
#[path = "../../hostile/world.rs"]
#[allow(dead_code, reason = "the ordinary suite counts what happened")]
mod world;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    history::History::new(laboratory::choices::Bytes::new(input)).play();
});
