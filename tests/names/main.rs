//! Names as sites spell them: the map language by a table of cases, and beside the C library.
//!
//! `cases` holds results of tftpd-hpa itself. `reference` reads and applies rules in its own plain way, with
//! regcomp(3); `beside` gives both the same random rules and names.

#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing to unwrap has failed"
)]

mod beside;
mod cases;
#[path = "../laboratory/choices.rs"]
mod choices;
mod language;
#[allow(unsafe_code, reason = "regcomp(3) is called directly")]
mod reference;

use ripple_tftpd::names::map::{Asked, Dialect, Map, Mapped, STEPS_MAX};

fn asked<'n>(name: &'n [u8], client: &str, is_write: bool) -> Asked<'n> {
    Asked {
        name,
        client: client.parse().unwrap(),
        hardware: None,
        is_write,
    }
}

/// What a file of rules makes of a name: the name, `refused: why`, or `file rejected`.
fn result(file: &str, asked: Asked<'_>) -> String {
    let Ok(map) = Map::read(file.as_bytes(), STEPS_MAX, Dialect::InTftpd) else {
        return "file rejected".into();
    };
    // No name can be opened.
    match map.apply(asked, &mut |_| Some(false)) {
        Mapped::Name(name) => name.iter().copied().map(char::from).collect(),
        Mapped::Refused(text) => format!("refused: {}", text.escape_ascii()),
        Mapped::Unknown => unreachable!("all is known"),
    }
}
