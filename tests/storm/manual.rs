//! The options in the manual page are those of `--help`, with the same names, values and defaults, in the
//! same order.

use crate::page::{Described, of_help, of_manual, section};
use crate::rehearsal::Rehearsal;

const MANUAL: &str = include_str!("../../man/tftp-storm.1");

/// What `scripts/bench` wrote, and where it is shown.
const MEASURED: &str = include_str!("bench.md");
const README: &str = include_str!("README.md");

#[test]
fn the_page_shows_what_was_measured() {
    assert!(MEASURED.lines().count() > 30, "{MEASURED}");
    assert!(
        README.contains(MEASURED),
        "the page shows another table than bench.md"
    );
    assert!(README.contains("(bench.svg)"));
}

#[test]
fn the_manual_describes_every_option() {
    let help = help();
    assert!(help.len() > 10, "{help:?}");
    assert_eq!(of_manual(MANUAL), help);
}

#[test]
fn the_synopsis_names_every_option() {
    let synopsis = section(MANUAL, "SYNOPSIS");
    for (names, _) in help() {
        let long = names.split("--").nth(1).unwrap();
        let long = long.split(' ').next().unwrap();
        // The two that only print have letters, and are known by them.
        let name = match names.split_once(", ") {
            Some((letter, _)) => letter.trim_start_matches('-').to_owned(),
            None => format!("-{long}"),
        };
        let is_there = synopsis.split_whitespace().any(|word| word == name);
        assert!(is_there, "no {names} in {synopsis}");
    }
}

#[test]
fn a_difference_is_found() {
    for (old, new) in [
        ("Default: 500.", "Default: 501."),
        ("Default: 1.", ""),
        (".It Fl -pid Ar PID", ".It Fl -pid Ar N"),
        (".It Fl -json Ar FILE", ".It Fl -jason Ar FILE"),
        (".It Fl -retry\n", ""),
    ] {
        assert!(MANUAL.contains(old), "the manual has no {old}");
        assert_ne!(of_manual(&MANUAL.replace(old, new)), help(), "{old}");
    }
}

fn help() -> Vec<Described> {
    of_help(&Rehearsal::run(&["--help"]).must_be_well().table)
}
