//! The options in the manual page are those of `--help`, with the same names, values and defaults, in the
//! same order.

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

/// `--clients N` and `500`.
type Described = (String, Option<String>);

#[test]
fn the_manual_describes_every_option() {
    let help = of_help();
    assert!(help.len() > 10, "{help:?}");
    assert_eq!(of_manual(MANUAL), help);
}

#[test]
fn the_synopsis_names_every_option() {
    let synopsis = section(MANUAL, "SYNOPSIS");
    for (names, _) in of_help() {
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
        assert_ne!(of_manual(&MANUAL.replace(old, new)), of_help(), "{old}");
    }
}

/// `  --clients N    how many machines boot (default: 500)`
fn of_help() -> Vec<Described> {
    let run = Rehearsal::run(&["--help"]);
    let lines = run.must_be_well().table.lines().map(str::trim);
    let options = lines.filter(|line| line.starts_with('-'));
    options
        .map(|line| {
            let (names, text) = line.split_once("  ").unwrap();
            let default = text.split_once("(default: ");
            let default = default.map(|(_, default)| default.trim_end_matches(')').to_owned());
            (names.to_owned(), default)
        })
        .collect()
}

/// `.It Fl h , Fl -help` or `.It Fl -pid Ar PID`; the default ends the text, on a line of its own.
fn of_manual(manual: &str) -> Vec<Described> {
    let items = section(manual, "DESCRIPTION").split("\n.It ").skip(1);
    items
        .map(|item| {
            let (title, text) = item.split_once('\n').unwrap_or((item, ""));
            let names = title
                .replace("Fl ", "-")
                .replace(" , ", ", ")
                .replace("Ar ", "");
            let default = text.lines().find_map(|line| line.strip_prefix("Default: "));
            let default =
                default.map(|default| default.strip_suffix('.').unwrap_or(default).to_owned());
            (names, default)
        })
        .collect()
}

/// A section of the manual, without its title.
fn section<'a>(manual: &'a str, title: &str) -> &'a str {
    let (_, start) = manual.split_once(&format!("\n.Sh {title}\n")).unwrap();
    start
        .split_once("\n.Sh ")
        .map_or(start, |(section, _)| section)
}
