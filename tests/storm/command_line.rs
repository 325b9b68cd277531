//! Exit statuses and messages that need no server.

use crate::rehearsal::Rehearsal;
use crate::surroundings::root::Root;

#[test]
fn a_wrong_command_line_is_told_from_a_failure() {
    for arguments in [
        &[][..],
        &["127.0.0.1"],
        &["127.0.0.1", "kernel", "--clients", "none"],
        &["127.0.0.1", "kernel", "--toast"],
        &["127.0.0.1", "--chain", "no such chain"],
    ] {
        let run = Rehearsal::run(arguments);
        assert_eq!(run.status, Some(2), "{run:?}");
        assert!(
            run.complaint.starts_with("tftp-storm: ") && run.complaint.contains("--help"),
            "{run:?}"
        );
        assert_eq!(run.table, "");
    }
}

#[test]
fn what_cannot_be_had_is_named() {
    let directory = Root::new();
    let nowhere = directory.at("nowhere");
    let cases: [(&[&str], &str); 4] = [
        (&["--verify", &nowhere], "nowhere"),
        (&["--verify", &directory.at("")], "kernel: No such file"),
        (&["--pid", "4294967295"], "no process"),
        (&["--from", "192.0.2.1"], "192.0.2.1"),
    ];
    for (arguments, part) in cases {
        let common = ["127.0.0.1:1", "kernel", "--clients", "1", "--arrival", "0s"];
        let run = Rehearsal::run(&[&common[..], arguments].concat());
        assert_eq!(run.status, Some(1), "{run:?}");
        assert!(run.complaint.contains(part), "{run:?}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for (argument, part) in [("--help", "Usage: tftp-storm"), ("-V", "tftp-storm ")] {
        let run = Rehearsal::run(&[argument]);
        assert!(run.must_be_well().table.starts_with(part), "{run:?}");
    }
}
