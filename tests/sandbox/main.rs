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
    let told = String::from_utf8(output.stderr).unwrap();
    match output.status.code() {
        Some(0) => Succeeded,
        Some(MISSING) => Missing,
        Some(159) => {
            // One line, of the log's own form.
            let line = told
                .lines()
                .find(|line| line.starts_with("ERROR system call "));
            let number = line
                .unwrap_or_else(|| panic!("{what}: no record: {told}"))
                .split(' ')
                .nth(3);
            Ended(number.unwrap().parse().unwrap())
        }
        Some(error) if error < 134 => Refused(error),
        _ => panic!("{what}: {:?}: {told}", output.status),
    }
}

/// Tries everything in a table by each thread, and says so where the layers are not there to be tried.
fn hold(layers: Layers, expected: &[(&str, Outcome)]) {
    let directory = Directory::new();
    let each = By::ALL
        .into_iter()
        .flat_map(|by| expected.iter().map(move |entry| (by, entry)));
    for (by, (what, expected)) in each {
        assert!(ATTEMPTS.iter().any(|(name, _)| name == what), "{what}");
        let outcome = attempted(&directory.0, layers, by, what);
        if outcome == Missing {
            let test = thread::current();
            let name = test.name().unwrap_or_default();
            let _ = writeln!(
                std::io::stderr(),
                "skipped: {name}: there is no {}",
                layers.name()
            );
            return;
        }
        assert_eq!(&outcome, expected, "{what} by {by:?}");
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

#[test]
fn the_files_served_can_be_read() {
    for layers in [Layers::Both, Layers::Landlock, Layers::Seccomp] {
        hold(
            layers,
            &[("read inside", Succeeded), ("UDP socket", Succeeded)],
        );
    }
}

/// The standard library's queues do so while both threads use them: on a busy machine that ended the server.
#[test]
fn a_thread_may_give_way_to_another() {
    for layers in [Layers::Both, Layers::Seccomp] {
        hold(layers, &[("give way to a thread", Succeeded)]);
    }
}

#[test]
fn landlock_bars_every_other_file_and_all_writing() {
    hold(
        Layers::Landlock,
        &[
            ("read outside", Refused(libc::EACCES)),
            ("read /etc/passwd", Refused(libc::EACCES)),
            ("list outside", Refused(libc::EACCES)),
            ("create inside", Refused(libc::EACCES)),
            ("create outside", Refused(libc::EACCES)),
            ("create by openat2", Refused(libc::EACCES)),
            ("write inside", Refused(libc::EACCES)),
            ("remove inside", Refused(libc::EACCES)),
            ("rename inside", Refused(libc::EACCES)),
            ("make a directory", Refused(libc::EACCES)),
            ("execute", Refused(libc::EACCES)),
        ],
    );
}

/// A link to the root may be swapped: what lies beneath the directory that holds it can be read, and nothing else.
#[test]
fn a_root_that_is_a_link() {
    hold(
        Layers::Linked,
        &[
            ("read inside", Succeeded),
            ("read another release", Succeeded),
            ("read outside", Refused(libc::EACCES)),
            ("read /etc/passwd", Refused(libc::EACCES)),
            ("list outside", Refused(libc::EACCES)),
            ("create inside", Refused(libc::EACCES)),
            ("write inside", Refused(libc::EACCES)),
            ("execute", Refused(libc::EACCES)),
        ],
    );
}

#[test]
fn landlock_bars_tcp_and_signals_of_others() {
    hold(
        Layers::NewLandlock,
        &[
            ("bind TCP", Refused(libc::EACCES)),
            ("connect TCP", Refused(libc::EACCES)),
            ("signal another process", Refused(libc::EPERM)),
        ],
    );
}

/// Also where Landlock is missing.
#[test]
fn the_filter_ends_whoever_makes_another_system_call() {
    hold(
        Layers::Seccomp,
        &[
            ("execute", Ended(libc::SYS_execve)),
            ("fork", Ended(libc::SYS_clone)),
            ("create inside", Ended(libc::SYS_openat)),
            ("create outside", Ended(libc::SYS_openat)),
            ("write inside", Ended(libc::SYS_openat)),
            ("remove inside", Ended(libc::SYS_unlinkat)),
            ("rename inside", Ended(libc::SYS_renameat2)),
            ("make a directory", Ended(libc::SYS_mkdirat)),
            ("bind TCP", Ended(libc::SYS_socket)),
            ("connect TCP", Ended(libc::SYS_socket)),
            ("unix socket", Ended(libc::SYS_socket)),
            ("netlink socket", Ended(libc::SYS_socket)),
            ("executable memory", Ended(libc::SYS_mmap)),
            ("memory made executable", Ended(libc::SYS_mprotect)),
            ("signal another process", Ended(libc::SYS_kill)),
        ],
    );
}

/// A filter cannot see the flags of openat2, so without Landlock it makes as if there were no such call.
#[test]
fn without_landlock_nothing_is_created_by_openat2() {
    hold(
        Layers::Seccomp,
        &[("create by openat2", Refused(libc::ENOSYS))],
    );
}

/// What may be written for statistics is one directory, by its descriptor.
#[test]
fn where_statistics_are_written_nothing_else_is() {
    hold(
        Layers::Replacing,
        &[
            ("read inside", Succeeded),
            ("read outside", Refused(libc::EACCES)),
            ("create by openat2", Refused(libc::EACCES)),
            ("create inside", Ended(libc::SYS_openat)),
            ("create outside", Ended(libc::SYS_openat)),
            ("write inside", Ended(libc::SYS_openat)),
            ("remove inside", Ended(libc::SYS_unlinkat)),
            ("rename inside", Ended(libc::SYS_renameat2)),
            ("make a directory", Ended(libc::SYS_mkdirat)),
        ],
    );
}

/// Landlock alone: only below the directories for uploads, and no more there than an upload needs.
#[test]
fn landlock_lets_uploads_be_written_and_nothing_else() {
    hold(
        Layers::WritingLandlock,
        &[
            ("read inside", Succeeded),
            ("upload", Succeeded),
            ("upload beside", Refused(libc::EACCES)),
            ("upload outside", Refused(libc::EACCES)),
            ("write through a link out", Refused(libc::EACCES)),
            ("upload a program", Refused(libc::EACCES)),
            ("upload a program by openat2", Refused(libc::EACCES)),
            ("make a link", Refused(libc::EACCES)),
            ("make a hard link", Refused(libc::EXDEV)),
            ("move out", Refused(libc::EACCES)),
            ("make a directory for uploads", Refused(libc::EACCES)),
            ("make a device", Refused(libc::EACCES)),
            ("create inside", Refused(libc::EACCES)),
            ("create outside", Refused(libc::EACCES)),
            ("write inside", Refused(libc::EACCES)),
            ("remove inside", Refused(libc::EACCES)),
            ("rename inside", Refused(libc::EACCES)),
            ("execute", Refused(libc::EACCES)),
        ],
    );
}

#[test]
fn the_filter_lets_uploads_be_written_and_nothing_else() {
    hold(
        Layers::WritingSeccomp,
        &[
            ("upload", Succeeded),
            ("upload a program", Ended(libc::SYS_openat)),
            ("upload a program by openat2", Refused(libc::ENOSYS)),
            ("write inside", Ended(libc::SYS_openat)),
            ("write through a link out", Ended(libc::SYS_openat)),
            ("exchange", Ended(libc::SYS_renameat2)),
            ("change a mode", Ended(libc::SYS_fchmodat)),
            ("make a hard link", Ended(libc::SYS_linkat)),
            ("make a link", Ended(libc::SYS_symlinkat)),
            ("make a directory", Ended(libc::SYS_mkdirat)),
            ("execute", Ended(libc::SYS_execve)),
        ],
    );
}

#[test]
fn both_together_with_uploads() {
    hold(
        Layers::WritingBoth,
        &[
            ("read inside", Succeeded),
            ("upload", Succeeded),
            ("upload beside", Refused(libc::EACCES)),
            ("upload outside", Refused(libc::EACCES)),
            ("upload a program by openat2", Refused(libc::EACCES)),
            ("upload a program", Ended(libc::SYS_openat)),
            ("read outside", Refused(libc::EACCES)),
        ],
    );
}

#[test]
fn both_together() {
    hold(
        Layers::Both,
        &[
            ("read outside", Refused(libc::EACCES)),
            ("read /etc/passwd", Refused(libc::EACCES)),
            ("create by openat2", Refused(libc::EACCES)),
            ("create outside", Ended(libc::SYS_openat)),
            ("execute", Ended(libc::SYS_execve)),
            ("connect TCP", Ended(libc::SYS_socket)),
        ],
    );
}
