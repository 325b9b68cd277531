//! Running out of descriptors makes requests wait; it ends neither the server nor a request.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::client::{Client, PATIENCE, fetch_bytes};
use crate::clients::Clients;
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
    let mut clients = Clients::new(server.address());
    (0..5).for_each(|_| clients.add(Wish::octet("file")));

    let before = processor_ticks(server.process());
    clients.listen(Duration::from_millis(1500));
    assert_eq!(clients.begun(), 0, "no answer, and above all no ERROR");
    assert!(server.is_running());
    let busy = processor_ticks(server.process()) - before;
    assert!(
        busy < 30,
        "{busy} hundredths of a second of work while there was nothing to do"
    );

    limit_open_files(server.process(), PLENTY);
    clients.complete(PATIENCE);
    clients.must_all_have(&bytes);
    let told = server.lines_with("descriptors");
    assert!(told.iter().any(|line| line.starts_with("WARN ")));
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
    let mut clients = Clients::new(server.address());
    (0..all.len()).for_each(|number| clients.add(Wish::octet(format!("file{number}"))));
    clients.complete(PATIENCE);
    for (member, bytes) in clients.members().iter().zip(&all) {
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
    let mut client = Client::new(server.address()).asking(&Wish::octet("file"));
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
    let mut clients = Clients::new(server.address());
    (0..100).for_each(|_| clients.add(Wish::octet("file")));
    clients.begin(100);
    clients.complete(PATIENCE);
    clients.must_all_have(&bytes);
    assert_eq!(server.lines_with("WARN "), [""; 0]);
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
    let mut clients = Clients::new(server.address());
    (0..60).for_each(|_| clients.add(Wish::octet("file")));
    clients.complete(PATIENCE);
    clients.must_all_have(&bytes);
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
        let mut client = Client::new(server.address()).asking(&Wish::octet(name));
        client.receive();
    }
    assert_eq!(files_in_use(&server), before);
}

/// The server as a user who cannot raise the limit of `files`, which `sh` sets.
fn limited(root: &Root, files: usize, options: &[&str]) -> Command {
    let copy = root.beside("tftpd");
    if !copy.exists() {
        std::fs::copy(PROGRAM, &copy).unwrap();
    }
    let mut command = program("sh");
    command
        .args(["-c", &format!("ulimit -n {files}; exec \"$@\""), "sh"])
        .arg(copy)
        .arg("-r")
        .arg(root.path())
        .args(["-a", "127.0.0.1:0"])
        .args(options)
        .uid(65534)
        .gid(65534);
    command
}

/// Seen with a hard limit of 1024: held clients took all descriptors, and misses and small files waited for 5 s.
#[test]
fn held_clients_leave_descriptors_for_misses_and_small_files() {
    if !is_root() {
        return skipped("another user is needed, and for that root");
    }
    let (root, bytes) = Root::with_file(600);
    root.write("kernel", 500_000);
    let options = ["-n", "4", "--hold", "0", "-q", "1000"];
    let server = Server::launch(limited(&root, 300, &options), 1);
    let line = server.wait_for_log(&["INFO", "300 descriptors"]);
    let held: usize = line
        .split_once("at most ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .expect(&line);
    assert!(30 <= held && held < 130, "{line}");
    let mut clients = Clients::new(server.address());
    (0..300).for_each(|_| clients.add(Wish::octet("kernel")));
    clients.begin(held);
    for _ in 0..20 {
        let mut client = Client::new(server.address()).asking(&Wish::octet("missing"));
        client.expect_error(1);
        assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    }
    assert_eq!(server.lines_with("out of descriptors"), [""; 0]);
    drop(clients);
}

#[test]
fn a_limit_at_which_nobody_is_ever_served_ends_the_start() {
    if !is_root() {
        return skipped("another user is needed, and for that root");
    }
    let (root, bytes) = Root::with_file(600);
    let lowest = (5..40).find(|&files| {
        let limited = limited(&root, files, &["-n", "1"]);
        let mut command = program("timeout");
        command.arg("1").arg(limited.get_program());
        command.args(limited.get_args()).uid(65534).gid(65534);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        let goes_on = output.status.code() == Some(124);
        let failures = text.lines().filter(|line| line.starts_with("tftpd: "));
        assert!(
            goes_on || output.status.code() == Some(1) && failures.count() == 1,
            "{files}: {}: {text}",
            output.status
        );
        goes_on
    });
    let lowest = lowest.expect("forty are enough");
    println!("{lowest} descriptors are the fewest with which it starts");
    let server = Server::launch(limited(&root, lowest, &["-n", "1"]), 1);
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
}
