//! What the sandbox forbids, each shown by a process that enters it and tries.
//!
//! A test runs this program once more, for the one "test" named `attempt`: it enters the sandbox as the server does, tries what the
//! environment names, by the thread of the loop or by that of its helper, and ends with the error as its status. Elsewhere, `tests/loopback/privileges.rs` shows that the server does its
//! work in there.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

mod attempts;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use attempts::{ATTEMPTS, BY, By, ENTERED, Layers, MISSING, PARENT, ROOT, WHAT};

use Outcome::{Ended, Missing, Refused, Succeeded};

/// What came of an attempt.
#[derive(PartialEq, Eq, Debug)]
enum Outcome {
    Succeeded,
    /// The system said no, with this error.
    Refused(i32),
    /// The process was ended for this system call.
    Ended(i64),
    /// The layer that was to be tried is not there.
    Missing,
}

/// A directory with `root/file`, releases of which `root/current` names the first, and, beside all that, `secret`.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let test = thread::current().name().unwrap().replace(':', "-");
        let path =
            std::env::temp_dir().join(format!("tftpd-sandbox-{}-{test}", std::process::id()));
        fs::create_dir_all(path.join("root")).unwrap();
        fs::write(path.join("root/file"), "inside").unwrap();
        for release in ["root/v1", "root/v2"] {
            fs::create_dir(path.join(release)).unwrap();
            fs::write(path.join(release).join("file"), release).unwrap();
        }
        symlink("v1", path.join("root/current")).unwrap();
        fs::create_dir(path.join("root/up")).unwrap();
        for name in ["file", "other"] {
            fs::write(path.join("root/up").join(name), name).unwrap();
        }
        symlink("../../secret", path.join("root/up/link")).unwrap();
        fs::write(path.join("secret"), "outside").unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn attempted(directory: &Path, layers: Layers, by: By, what: &str) -> Outcome {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "attempts::attempt"])
        .env(WHAT, what)
        .env(ENTERED, layers.name())
        .env(BY, by.name())
        .env(ROOT, directory)
        .env(PARENT, std::process::id().to_string())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    match output.status.code() {
        Some(0) => Succeeded,
        Some(MISSING) => Missing,
        Some(159) => {
            // One line, of the log's own form.
            let line = stderr
                .lines()
                .find(|line| line.starts_with("ERROR system call "));
            let number = line
                .unwrap_or_else(|| panic!("{what}: no record: {stderr}"))
                .split(' ')
                .nth(3);
            Ended(number.unwrap().parse().unwrap())
        }
        Some(error) if error < 134 => Refused(error),
        _ => panic!("{what}: {:?}: {stderr}", output.status),
    }
}

/// Attempts, and what must come of each of them.
type Expected<'e> = (Outcome, &'e [&'e str]);

/// Tries everything in a table by each thread, and says so where the layers are not there to be tried.
fn hold(layers: Layers, expected: &[Expected<'_>]) {
    let directory = Directory::new();
    let each = expected
        .iter()
        .flat_map(|(outcome, attempts)| attempts.iter().map(move |what| (what, outcome)));
    for (what, expected) in each {
        assert!(ATTEMPTS.iter().any(|(name, _)| name == what), "{what}");
        for by in By::ALL {
            let outcome = attempted(&directory.0, layers, by, what);
            if outcome == Missing {
                let test = thread::current();
                let name = test.name().unwrap_or_default();
                let layers = layers.name();
                let _ = writeln!(std::io::stderr(), "skipped: {name}: there is no {layers}");
                return;
            }
            assert_eq!(&outcome, expected, "{what} by {by:?}");
        }
    }
    let left: Vec<_> = fs::read_dir(&directory.0)
        .unwrap()
        .chain(fs::read_dir(directory.0.join("root")).unwrap())
        .collect();
    assert_eq!(left.len(), 7, "nothing was made or removed: {left:?}");
}

/// Each attempt is one that succeeds outside of the sandbox; else the others would show nothing.
#[test]
fn without_a_sandbox_all_of_it_is_possible() {
    for (what, _) in ATTEMPTS {
        for by in By::ALL {
            let directory = Directory::new();
            let outcome = attempted(&directory.0, Layers::None, by, what);
            assert_eq!(outcome, Succeeded, "{what} by {by:?}");
        }
    }
}

const DENIED: Outcome = Refused(libc::EACCES);

const READS_ELSEWHERE: &[&str] = &["read outside", "read /etc/passwd", "list outside"];

const CHANGES: &[&str] = &[
    "create inside",
    "create outside",
    "write inside",
    "remove inside",
    "rename inside",
];

/// Changes, and the system call for which the filter ends the process where nothing may be written.
const FILTERED_CHANGES: [Expected<'_>; 4] = [
    (
        Ended(libc::SYS_openat),
        &["create inside", "create outside", "write inside"],
    ),
    (Ended(libc::SYS_unlinkat), &["remove inside"]),
    (Ended(libc::SYS_renameat2), &["rename inside"]),
    (Ended(libc::SYS_mkdirat), &["make a directory"]),
];

#[test]
fn the_files_served_can_be_read() {
    for layers in [Layers::Both, Layers::Landlock, Layers::Seccomp] {
        hold(layers, &[(Succeeded, &["read inside", "UDP socket"])]);
    }
}

/// The standard library's queues do so while both threads use them: on a busy machine that ended the server.
#[test]
fn a_thread_may_give_way_to_another() {
    for layers in [Layers::Both, Layers::Seccomp] {
        hold(layers, &[(Succeeded, &["give way to a thread"])]);
    }
}

#[test]
fn landlock_bars_every_other_file_and_all_writing() {
    hold(
        Layers::Landlock,
        &[
            (DENIED, READS_ELSEWHERE),
            (DENIED, CHANGES),
            (
                DENIED,
                &["create by openat2", "make a directory", "execute"],
            ),
        ],
    );
}

/// A link to the root may be swapped: what lies beneath the directory that holds it can be read, and nothing else.
#[test]
fn a_root_that_is_a_link() {
    hold(
        Layers::Linked,
        &[
            (Succeeded, &["read inside", "read another release"]),
            (DENIED, READS_ELSEWHERE),
            (DENIED, CHANGES),
            (DENIED, &["execute"]),
        ],
    );
}

#[test]
fn landlock_bars_tcp_and_signals_of_others() {
    hold(
        Layers::NewLandlock,
        &[
            (DENIED, &["bind TCP", "connect TCP"]),
            (Refused(libc::EPERM), &["signal another process"]),
        ],
    );
}

/// Also where Landlock is missing.
#[test]
fn the_filter_ends_a_process_that_makes_another_system_call() {
    hold(Layers::Seccomp, &FILTERED_CHANGES);
    let sockets = ["bind TCP", "connect TCP", "unix socket", "netlink socket"];
    hold(
        Layers::Seccomp,
        &[
            (Ended(libc::SYS_execve), &["execute"]),
            (Ended(libc::SYS_clone), &["fork"]),
            (Ended(libc::SYS_socket), &sockets),
            (Ended(libc::SYS_mmap), &["executable memory"]),
            (Ended(libc::SYS_mprotect), &["memory made executable"]),
            (Ended(libc::SYS_kill), &["signal another process"]),
        ],
    );
}

/// A filter cannot see the flags of openat2, so without Landlock it makes as if there were no such call.
#[test]
fn without_landlock_nothing_is_created_by_openat2() {
    hold(
        Layers::Seccomp,
        &[(Refused(libc::ENOSYS), &["create by openat2"])],
    );
}

/// What may be written for statistics is one directory, by its descriptor.
#[test]
fn where_statistics_are_written_nothing_else_is() {
    hold(Layers::Replacing, &FILTERED_CHANGES);
    hold(
        Layers::Replacing,
        &[
            (Succeeded, &["read inside"]),
            (DENIED, &["read outside", "create by openat2"]),
        ],
    );
}

/// Landlock alone: only below the directories for uploads, and no more there than an upload needs.
#[test]
fn landlock_lets_uploads_be_written_and_nothing_else() {
    let denied = [
        "upload beside",
        "upload outside",
        "write through a link out",
        "upload a program",
        "upload a program by openat2",
        "make a link",
        "move out",
        "make a directory for uploads",
        "make a device",
        "execute",
    ];
    hold(
        Layers::WritingLandlock,
        &[
            (Succeeded, &["read inside", "upload"]),
            (DENIED, CHANGES),
            (DENIED, &denied),
            (Refused(libc::EXDEV), &["make a hard link"]),
        ],
    );
}

#[test]
fn the_filter_lets_uploads_be_written_and_nothing_else() {
    let opened = [
        "upload a program",
        "write inside",
        "write through a link out",
    ];
    hold(
        Layers::WritingSeccomp,
        &[
            (Succeeded, &["upload"]),
            (Ended(libc::SYS_openat), &opened),
            (Refused(libc::ENOSYS), &["upload a program by openat2"]),
            (Ended(libc::SYS_renameat2), &["exchange"]),
            (Ended(libc::SYS_fchmodat), &["change a mode"]),
            (Ended(libc::SYS_linkat), &["make a hard link"]),
            (Ended(libc::SYS_symlinkat), &["make a link"]),
            (Ended(libc::SYS_mkdirat), &["make a directory"]),
            (Ended(libc::SYS_execve), &["execute"]),
        ],
    );
}

#[test]
fn both_together_with_uploads() {
    let denied = [
        "upload beside",
        "upload outside",
        "upload a program by openat2",
    ];
    hold(
        Layers::WritingBoth,
        &[
            (Succeeded, &["read inside", "upload"]),
            (DENIED, &denied),
            (DENIED, &["read outside"]),
            (Ended(libc::SYS_openat), &["upload a program"]),
        ],
    );
}

#[test]
fn both_together() {
    hold(
        Layers::Both,
        &[
            (DENIED, &["read outside", "read /etc/passwd"]),
            (DENIED, &["create by openat2"]),
            (Ended(libc::SYS_openat), &["create outside"]),
            (Ended(libc::SYS_execve), &["execute"]),
            (Ended(libc::SYS_socket), &["connect TCP"]),
        ],
    );
}
