//! The options in the manual page and in `--help` are those of the option table, with the same names,
//! values and defaults, in the same order.

use ripple_tftpd::cli::{self, Flag, OPTIONS};

#[path = "surroundings/manual.rs"]
mod page;

use page::{Described, of_help, of_manual, section};

const MANUAL: &str = include_str!("../man/tftpd.8");
const UNIT: &str = include_str!("../scripts/tftpd.service");
const IN_TFTPD: &str = include_str!("../man/in.tftpd.8");
const FRONT_PAGE: &str = include_str!("../README.md");

/// Where the words of the log stand.
const WORDS: [&str; 3] = [
    include_str!("../src/daemon/lines.rs"),
    include_str!("../src/daemon/words.rs"),
    include_str!("../src/wire/mod.rs"),
];

#[test]
fn the_manual_describes_every_option() {
    assert_eq!(of_manual(MANUAL), of_table());
}

#[test]
fn the_help_describes_every_option() {
    assert_eq!(of_help(&cli::help()), of_table());
}

/// The page of in.tftpd names every option that it takes, each once.
#[test]
fn the_manual_of_the_other_door_names_every_option() {
    let items = section(IN_TFTPD, "DESCRIPTION").split("\n.It ").skip(1);
    let titles = items.map(|item| item.split_once('\n').map_or(item, |(title, _)| title));
    let words = titles.flat_map(|title| title.split(" Ar ").next().map(str::to_owned));
    let words: Vec<String> = words.collect();
    let mut described: Vec<&str> = words
        .iter()
        .flat_map(|title| title.split_whitespace())
        .filter(|word| !["Fl", ",", "Ar", "DIR"].contains(word))
        .collect();
    let mut taken = Vec::new();
    for names in cli::in_tftpd_options() {
        taken.extend(names.short().map(String::from));
        taken.push(format!("-{}", names.long()));
    }
    described.sort_unstable();
    taken.sort_unstable();
    assert_eq!(described, taken);
}

#[test]
fn the_synopsis_names_every_option() {
    let synopsis = section(MANUAL, "SYNOPSIS");
    let words: Vec<&str> = synopsis.split_whitespace().collect();
    for flag in OPTIONS {
        let name = flag
            .names
            .short()
            .map_or_else(|| format!("-{}", flag.names.long()), String::from);
        assert!(words.contains(&name.as_str()), "no Fl {name} in {synopsis}");
    }
}

#[test]
fn a_difference_is_found() {
    let changes = [
        ("Default: 32.", "Default: 33."),
        ("Default: 20000.", ""),
        (
            ".It Fl t , Fl -timeout Ar SECONDS",
            ".It Fl t , Fl -timeout Ar N",
        ),
        (".It Fl v , Fl -verbose", ".It Fl v , Fl -loud"),
        (".It Fl B , Fl -max-blksize", ".It Fl b , Fl -max-blksize"),
        (".It Fl C , Fl -check\n", ""),
        (
            ".It Fl C , Fl -check\n",
            ".It Fl x , Fl -extra\n.It Fl C , Fl -check\n",
        ),
    ];
    for (old, new) in changes {
        assert!(MANUAL.contains(old), "the manual has no {old}");
        assert_ne!(
            of_manual(&MANUAL.replace(old, new)),
            of_table(),
            "{old} -> {new}"
        );
    }
    let help = cli::help();
    assert_ne!(
        of_help(&help.replace("(default: 32)", "(default: 33)")),
        of_table()
    );
    assert_ne!(of_help(&help.replace("--check", "--look")), of_table());
}

/// An operator looks for what the log says.
#[test]
fn the_log_lines_of_the_manual_and_the_front_page_are_those_of_the_program() {
    let words = WORDS.concat();
    // A literal that goes on in the next line is one text.
    let pieces = words.split("\\\n").map(str::trim_start);
    let words: String = pieces.collect();
    let log = section(MANUAL, "LOG").lines();
    let items = log.filter_map(|line| line.strip_prefix(".It Li "));
    let of_manual: Vec<&str> = items.flat_map(|item| item.split(" , ")).collect();
    let table = FRONT_PAGE
        .split_once("| symptom | in the log | remedy |")
        .expect("the front page has this table");
    let rows = table
        .1
        .lines()
        .skip(2)
        .take_while(|row| row.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(2));
    let of_page: Vec<&str> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(of_manual.len() > 30 && of_page.len() > 15);
    for line in of_manual.iter().chain(&of_page) {
        let parts = line.split(": ").filter(|part| !words.contains(part));
        assert_eq!(Vec::from_iter(parts), Vec::<&str>::new(), "in {line}");
    }
    assert!(
        !words.contains("no way there"),
        "what is not logged is missed"
    );
}

fn of_table() -> Vec<Described> {
    let described = |flag: &Flag| {
        let default = Some(flag.default).filter(|default| !default.is_empty());
        (flag.names.0.to_owned(), default.map(str::to_owned))
    };
    OPTIONS.iter().map(described).collect()
}

/// Five failures in ten seconds left it dead for good, and a disk mounted after the start was not served.
#[test]
fn the_unit_waits_for_what_it_serves_and_begins_again_for_ever() {
    let value = |key: &str| {
        let mut values = UNIT.lines().filter_map(|line| line.strip_prefix(key));
        let value = values.next().unwrap_or_else(|| panic!("no {key}"));
        assert_eq!(values.next(), None, "{key} twice");
        value
    };
    let command = value("ExecStart=");
    let mounts = value("RequiresMountsFor=");
    assert!(command.contains(&format!(" -r {mounts} ")), "{command}");
    assert_eq!(value("Restart="), "on-failure");
    assert_eq!(value("StartLimitIntervalSec="), "0");
    // Without a limit, a pause is what keeps a start that fails from filling the journal.
    assert!(value("RestartSec=").parse::<u32>().expect("seconds") >= 1);
    let manual = section(MANUAL, "EXAMPLES");
    for key in [
        "Type=",
        "RequiresMountsFor=",
        "StartLimitIntervalSec=",
        "RestartSec=",
    ] {
        let line = format!("\n{key}{}\n", value(key));
        assert!(manual.contains(&line), "{line} in the manual");
    }
}
