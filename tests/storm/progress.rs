//! What a person at a terminal sees while machines boot: the standard error is a pseudo-terminal here.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use nix::pty::{OpenptyResult, Winsize, openpty};

use crate::rehearsal::{Rehearsal, program, serving, silent, words};

/// What is written to the terminal, and what comes of the run.
fn at_a_terminal(arguments: &[&str]) -> (String, Rehearsal) {
    let size = Winsize {
        ws_row: 24,
        ws_col: 120,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
    let mut command = program(arguments);
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    let child = command.stderr(Stdio::from(slave)).spawn().unwrap();
    // It holds our end of the terminal too.
    drop(command);
    let mut shown = Vec::new();
    let mut terminal = File::from(master);
    let mut buffer = [0; 4096];
    // Linux ends a terminal that nobody has open any more with an error (EIO).
    while let Ok(length) = terminal.read(&mut buffer) {
        if length == 0 {
            break;
        }
        shown.extend_from_slice(&buffer[..length]);
    }
    let run = Rehearsal::of(child.wait_with_output().unwrap());
    (String::from_utf8(shown).unwrap(), run)
}

/// Three machines that ask there.
fn machines(address: &str) -> Vec<&str> {
    words(address, "kernel --clients 3 --mix pxelinux --arrival 0s")
}

#[test]
fn a_terminal_shows_how_many_wait_and_is_wiped_in_the_end() {
    let (_silent, address) = silent();
    let arguments = [machines(&address), vec!["--limit", "1s"]].concat();
    let (shown, run) = at_a_terminal(&arguments);
    assert_eq!(run.row("unfinished"), "3");
    let waiting = "booting 0, waiting 3, done 0, failed 0";
    assert!(shown.contains(waiting), "{shown:?}");
    // Nothing of the bar is left: its line is erased (ECMA-48, EL).
    let after = shown.rsplit_once(waiting).unwrap().1;
    assert!(after.contains("\x1b[2K"), "{shown:?}");
    // The results go to standard output.
    assert!(!run.table.contains(waiting), "{run:?}");
}

/// The last look is at those who have booted, before the bar goes.
#[test]
fn a_terminal_shows_how_many_have_booted() {
    let (_root, server) = serving(&[("kernel", 20_000)]);
    let address = server.address().to_string();
    let (shown, run) = at_a_terminal(&machines(&address));
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(shown.contains("done 3, failed 0"), "{shown:?}");
}

#[test]
fn what_is_no_terminal_shows_nothing() {
    let (_silent, address) = silent();
    let run = Rehearsal::run(&[machines(&address), vec!["--limit", "500ms"]].concat());
    assert_eq!(run.row("unfinished"), "3");
    assert_eq!(run.complaint, "");
}
