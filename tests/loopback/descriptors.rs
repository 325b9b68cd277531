//! Running out of descriptors makes requests wait; it ends neither the server nor a request.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use crate::client::{Client, PATIENCE, fetch_bytes};
use crate::crowd::Crowd;
use crate::download::Wish;
use crate::machine::{
    descriptors, eventually, is_root, limit_open_files, open_files, processor_ticks, skipped,
};
use crate::root::{Root, assert_same};
use crate::server::{PROGRAM, Server, program};

/// As a limit it allows no further one: descriptors are numbered, and the lowest free number is taken.
fn lowest_free(server: &Server) -> u64 {
    let used = descriptors(server.process());
    (0..).find(|number| !used.contains(number)).unwrap()
}

/// A server whose limits this process may change: those of another user can be changed with CAP_SYS_RESOURCE only,
/// which not every root has.
pub(crate) fn start(root: &Path) -> Server {
    start_with(root, &[])
}

pub(crate) fn start_with(root: &Path, options: &[&str]) -> Server {
    let stay_root: &[&str] = if is_root() { &["-u", "root"] } else { &[] };
    Server::with(root, &[options, stay_root].concat())
}

const PLENTY: u64 = 1024;

fn files_in_use(server: &Server) -> u64 {
    open_files(server.process()).try_into().unwrap()
}

/// Seen in other servers: the loop ends with "Too many open files".
#[test]
fn requests_wait_until_there_are_descriptors_again() {
    let (root, bytes) = Root::with_file(20_000);
    let mut server = start(root.path());
    limit_open_files(server.process(), lowest_free(&server));
    let mut crowd = Crowd::new(server.address());
    (0..5).for_each(|_| crowd.add(Wish::octet("file")));

    let before = processor_ticks(server.process());
    crowd.listen(Duration::from_millis(1500));
    assert_eq!(crowd.begun(), 0, "no answer, and above all no ERROR");
    assert!(server.is_running());
    let busy = processor_ticks(server.process()) - before;
    assert!(
        busy < 30,
        "{busy} hundredths of a second of work while there was nothing to do"
    );

    limit_open_files(server.process(), PLENTY);
    crowd.complete(PATIENCE);
    for member in crowd.members() {
        assert_same(&member.download.bytes, &bytes);
    }
    assert!(
        server
            .log_lines()
            .iter()
            .any(|line| line.starts_with("WARN ") && line.contains("descriptors"))
    );
}

#[test]
fn with_few_descriptors_clients_take_turns() {
    let root = Root::new();
    let server = start(root.path());
    let all: Vec<_> = (0..12)
        .map(|number| root.write(format!("file{number}"), 50_000 + number))
        .collect();
    let before = files_in_use(&server);
    limit_open_files(server.process(), lowest_free(&server) + 4);
    let mut crowd = Crowd::new(server.address());
    (0..all.len()).for_each(|number| crowd.add(Wish::octet(format!("file{number}"))));
    crowd.complete(PATIENCE);
    for (member, bytes) in crowd.members().iter().zip(&all) {
        assert_same(&member.download.bytes, bytes);
    }
    eventually("descriptors back", PATIENCE, || {
        (files_in_use(&server) == before).then_some(())
    });
}

/// A waiting client must be let in when a slot comes free, even if it does not ask again.
#[test]
fn a_client_that_asked_once_while_there_were_none() {
    let (root, bytes) = Root::with_file(300);
    let server = start(root.path());
    limit_open_files(server.process(), lowest_free(&server));
    let mut client = Client::new(server.address());
    client.request(&Wish::octet("file"));
    server.wait_for_log(&["WARN", "descriptors"]);
    limit_open_files(server.process(), PLENTY);
    assert_same(&client.expect_data(1), &bytes);
    client.ack(1);
}

#[test]
fn the_limit_is_raised_to_what_n_needs() {
    let (root, bytes) = Root::with_file(600);
    let mut command = program("sh");
    // The soft limit alone is lowered; raising it needs no privilege.
    command
        .args(["-c", "ulimit -S -n 40; exec \"$@\"", "sh", PROGRAM, "-r"])
        .arg(root.path());
    command.args(["-n", "100", "-a", "127.0.0.1:0"]);
    let server = Server::launch(command, 1);
    let mut crowd = Crowd::new(server.address());
    (0..100).for_each(|_| crowd.add(Wish::octet("file")));
    crowd.begin(100);
    crowd.complete(PATIENCE);
    assert!(
        crowd
            .members()
            .iter()
            .all(|member| member.download.bytes == bytes)
    );
    assert!(
        !server
            .log_lines()
            .iter()
            .any(|line| line.starts_with("WARN")),
        "{:?}",
        server.log_lines()
    );
}

#[test]
fn a_limit_that_cannot_be_raised_is_told_at_start() {
    if !is_root() {
        return skipped("another user is needed, and for that root");
    }
    let (root, bytes) = Root::with_file(600);
    let copy = root.beside("tftpd");
    std::fs::copy(PROGRAM, &copy).unwrap();
    let mut command = program("sh");
    command
        .args(["-c", "ulimit -n 40; exec \"$@\"", "sh"])
        .arg(copy)
        .arg("-r")
        .arg(root.path());
    command
        .args(["-n", "100", "-a", "127.0.0.1:0"])
        .uid(65534)
        .gid(65534);
    let server = Server::launch(command, 1);
    let line = server.wait_for_log(&["WARN", "descriptors"]);
    assert!(line.contains("40") && line.contains("-n 100"), "{line}");
    // It serves nevertheless, as many at once as there can be.
    let mut crowd = Crowd::new(server.address());
    (0..60).for_each(|_| crowd.add(Wish::octet("file")));
    crowd.complete(PATIENCE);
    assert!(
        crowd
            .members()
            .iter()
            .all(|member| member.download.bytes == bytes)
    );
}

/// A miss takes no descriptor for longer than it takes to look.
#[test]
fn misses_and_refusals_leak_nothing() {
    let (root, bytes) = Root::with_file(600);
    std::fs::create_dir(root.file("directory")).unwrap();
    let server = Server::start(root.path());
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    server.wait_for_log(&["\"file\": complete"]);
    let before = files_in_use(&server);
    for name in ["missing", "directory", "../file", "missing/file"].repeat(50) {
        let mut client = Client::new(server.address());
        client.request(&Wish::octet(name));
        client.receive();
    }
    assert_eq!(files_in_use(&server), before);
}
