//! The log: what an operator reads, and that it never stops the server.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStderr, Stdio};

use crate::client::{Client, fetch, fetch_bytes};
use crate::download::{Download, Wish};
use crate::machine::{is_root, skipped};
use crate::root::{Root, assert_same};
use crate::server::{PROGRAM, Server, listening_address, program, serving};

#[test]
fn one_line_for_a_transfer() {
    let (_root, _, server) = serving(42_430, &[]);
    let wish = Wish::octet("/file")
        .option("blksize", 1408)
        .option("windowsize", 2);
    let mut client = Client::new(server.address()).asking(&wish);
    client.complete(Download::new(&wish)).unwrap();
    let line = server.wait_for_log(&["complete"]);
    let start = format!(
        "INFO 127.0.0.1:{} \"file\": complete; 42430 bytes, pending 0.",
        client.port()
    );
    assert!(line.starts_with(&start), "{line}");
    assert!(
        line.contains(" s, running 0.") && line.contains(" MB/s, "),
        "{line}"
    );
    assert!(
        line.ends_with(", blksize 1408, windowsize 2, 0 retransmissions"),
        "{line}"
    );
}

#[test]
fn one_line_for_a_refusal() {
    let (_root, _, server) = serving(10, &[]);
    for (name, why) in [("missing", "no such file"), ("../file", "")] {
        let mut client = Client::new(server.address()).asking(&Wish::octet(name));
        client.receive();
        let line = server.wait_for_log(&[&format!(
            "127.0.0.1:{} \"{name}\": refused: {why}",
            client.port()
        )]);
        assert!(line.starts_with("WARN "), "{line}");
    }
}

/// With `-v`: what becomes of a request, and who sends what is none.
#[test]
fn one_line_as_a_request_is_taken_and_for_nonsense() {
    let (_root, _, server) = serving(100_000, &["-v", "-n", "1"]);
    let mut first = Client::new(server.address()).asking(&Wish::octet("file"));
    first.expect_data(1);
    let second = Client::new(server.address()).asking(&Wish::octet("/file"));
    let third = Client::new(server.address());
    third.send_to_server(b"\0\x04\0\x01");
    for (client, words) in [
        (&first, "\"file\": admitted"),
        (&second, "\"file\": queued, 1 waiting"),
        (&third, "datagram dropped: not a request"),
    ] {
        let line = server.wait_for_log(&[&format!("127.0.0.1:{}", client.port()), words]);
        assert!(line.starts_with("DEBUG "), "{line}");
    }
}

/// So that nobody has to guess who the server is.
#[test]
fn a_refusal_names_the_user_who_may_not_read() {
    if !is_root() {
        return skipped("a file of another user needs root");
    }
    let (root, _) = Root::with_file(10);
    let file = root.path().join("file");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    for (options, user) in [
        (&[][..], "nobody (65534:65534)"),
        (&["-u", "4321:4321"], "4321 (4321:4321)"),
    ] {
        let server = Server::with(root.path(), options);
        fetch(server.address(), &Wish::octet("file")).unwrap_err();
        let line = server.wait_for_log(&["\"file\": refused: access denied to user", user]);
        assert!(line.starts_with("WARN "), "{line}");
    }
}

#[test]
fn names_cannot_forge_lines() {
    let root = Root::new();
    let name = b"a\nINFO forged \x1b[31m\xe9\"";
    root.write(OsStr::from_bytes(name), 10);
    let server = Server::start(root.path());
    fetch_bytes(server.address(), name);
    let line = server.wait_for_log(&["complete"]);
    assert!(
        line.contains("\\x1b[31m") && line.to_ascii_lowercase().contains("\\xe9"),
        "{line}"
    );
    assert!(
        line.bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' '),
        "{line}"
    );
    let long = "n".repeat(1000);
    fetch(server.address(), &Wish::octet(&long)).unwrap_err();
    assert!(
        server
            .log_lines()
            .iter()
            .all(|line| line.len() < 1024 && !line.starts_with("INFO forged"))
    );
}

/// Format characters, escape sequences and bytes that are no text, thousands of them: few lines, each harmless.
#[test]
fn a_flood_of_evil_names_writes_few_lines_and_none_is_interpreted() {
    let (_root, bytes, server) = serving(10, &[]);
    let client = Client::new(server.address());
    let begin = std::time::Instant::now();
    for number in 0..3000_u32 {
        let mut name = format!("%s%n{{}}{number}\r\nINFO x \x1b]0;t\x07").into_bytes();
        name.extend([0x9b, 0xff, 0xfe, 0x7f]);
        name.resize(300, b'%');
        client.request(&Wish::octet(&name));
    }
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    server.wait_for_log(&["complete"]);
    let shown = server.wait_for_log(&["%s%n{}0", "refused"]);
    let seconds = begin.elapsed().as_secs() + 2;
    let lines = server.log_lines();
    let refused = lines.iter().filter(|line| line.contains("refused: "));
    assert!((1..=20 * seconds).contains(&(refused.count() as u64)));
    for line in &lines {
        assert!(line.len() < 1200, "{line}");
        assert!(
            line.bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' '),
            "{line}"
        );
    }
    assert!(
        shown.contains("\\r\\nINFO x \\x1b]0;t\\x07\\x9b\\xff\\xfe\\x7f%%")
            && shown.contains("...\""),
        "{shown}"
    );
}

/// Whatever comes in, and whichever part writes: each line is one object.
#[test]
fn every_line_is_json_on_demand() {
    let (root, bytes) = Root::with_file(600);
    let name = b"a\n\"\x1b[31m\xe9{}";
    root.write(OsStr::from_bytes(name), 10);
    let mut server = Server::with(root.path(), &["-vv", "--log-format", "json"]);
    fetch_bytes(server.address(), name);
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    // The first of its kind: more than some in a second are only counted.
    fetch(server.address(), &Wish::octet("missing")).unwrap_err();
    let client = Client::new(server.address());
    client.send_to_server(b"\0\x04\0\x01");
    for number in 0..100_u8 {
        let evil = [b"\r\n\"}", &[number, b'"', 255 - number, b'\\'][..]].concat();
        client.request(&Wish::octet(&evil));
    }
    // What was sent before has been read when this is answered.
    fetch_bytes(server.address(), "file");
    server.signal(nix::sys::signal::Signal::SIGTERM);
    server.wait(crate::client::PATIENCE);
    server.wait_for_log(&[r#""event":"stopped""#]);
    let lines = server.log_lines();
    let objects: Vec<serde_json::Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let of = |event: &str, field: &str, value: &str| {
        let found = objects
            .iter()
            .find(|line| line["event"] == event && line[field] == value);
        found
            .cloned()
            .unwrap_or_else(|| panic!("no {event} with {field} {value}"))
    };
    let evil = of("ended", "name_hex", "610a221b5b33316de97b7d");
    assert_eq!(evil["outcome"], "complete");
    assert_eq!(evil["bytes"], 10);
    let whole = of("ended", "name", "file");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let age = now.unwrap().as_secs_f64() - whole["time"].as_f64().unwrap();
    assert!((0.0..3600.0).contains(&age), "{age} s");
    assert_eq!(of("refused", "name", "missing")["code"], 1);
    assert_eq!(of("nonsense", "fault", "not_a_request")["level"], "debug");
    assert!(of("library", "level", "trace")["message"].is_string());
    assert!(of("settings", "level", "debug")["settings"].is_string());
}

#[test]
fn more_words_on_demand() {
    let (root, _, quiet) = serving(10, &[]);
    let loud = Server::with(root.path(), &["-v"]);
    let most = Server::with(root.path(), &["-vv"]);
    for server in [&quiet, &loud, &most] {
        fetch_bytes(server.address(), "file");
        server.wait_for_log(&["complete"]);
    }
    assert_eq!(quiet.lines_with("DEBUG "), [""; 0]);
    for server in [&loud, &most] {
        assert_ne!(server.lines_with("DEBUG "), [""; 0]);
    }
}

#[test]
fn rust_log_is_heard_unless_overridden() {
    let (root, _) = Root::with_file(10);
    let with = |level: &str, options: &[&str]| {
        let mut command = program(PROGRAM);
        command
            .env("RUST_LOG", level)
            .arg("-r")
            .arg(root.path())
            .args(["-a", "127.0.0.1:0"])
            .args(options);
        command
    };
    let debug = Server::launch(with("debug", &[]), 1);
    assert_ne!(debug.lines_with("DEBUG "), [""; 0]);
    let overridden = Server::launch(with("off", &["-v"]), 1);
    assert_ne!(overridden.lines_with("DEBUG "), [""; 0]);
}

/// A server whose standard error is a pipe that takes 4096 bytes and that is read up to the line with the address.
fn with_a_small_pipe(root: &Root) -> (Running, BufReader<ChildStderr>, SocketAddr) {
    let mut command = program(PROGRAM);
    let mut child = Running(
        command
            .arg("-r")
            .arg(root.path())
            .args(["-a", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut log = BufReader::new(child.0.stderr.take().unwrap());
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended");
        if let Some(address) = listening_address(&line) {
            break address;
        }
    };
    // Not before: so small a pipe may have no room for that line, and nobody would ever hear of it.
    // SAFETY: the descriptor is open, and no memory is handed over.
    assert!(unsafe { libc::fcntl(log.get_ref().as_raw_fd(), libc::F_SETPIPE_SZ, 4096) } >= 4096);
    (child, log, address)
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Seen in other servers: the disk or the reader of the log stops, and so does all service.
#[test]
fn a_standard_error_that_nobody_reads() {
    let (root, bytes) = Root::with_file(600);
    let (mut child, mut log, address) = with_a_small_pipe(&root);
    for _ in 0..200 {
        assert_same(&fetch_bytes(address, "file"), &bytes);
    }
    assert!(child.0.try_wait().unwrap().is_none());

    // When it is read again, lines come again, and the lost ones are counted. One or two may have been
    // lost at the start, before the pipe was read for the first time.
    let count_lost = |line: &str| -> u32 {
        let number = line.split_whitespace().find_map(|word| word.parse().ok());
        number.filter(|_| line.contains("dropped")).unwrap_or(0)
    };
    let mut lost = 0;
    let mut line = String::new();
    for _ in 0..300 {
        fetch_bytes(address, "file");
        line.clear();
        log.read_line(&mut line).unwrap();
        assert!(
            line.starts_with("INFO ") || line.starts_with("WARN "),
            "a line cut in two: {line}"
        );
        lost = count_lost(&line);
        if lost > 10 {
            break;
        }
    }
    assert!((100..300).contains(&lost), "{lost} lost");
}

#[test]
fn a_standard_error_whose_reader_is_gone() {
    let (root, bytes) = Root::with_file(600);
    let (mut child, log, address) = with_a_small_pipe(&root);
    drop(log);
    for _ in 0..10 {
        assert_same(&fetch_bytes(address, "file"), &bytes);
    }
    assert!(child.0.try_wait().unwrap().is_none());
}

/// Nothing but records: whatever comes in, each line begins with a level.
#[test]
fn every_line_begins_with_its_level() {
    let (_root, _, mut server) = serving(600, &["-vv"]);
    fetch_bytes(server.address(), "file");
    fetch(server.address(), &Wish::octet("missing")).unwrap_err();
    server.signal(nix::sys::signal::Signal::SIGTERM);
    server.wait(crate::client::PATIENCE);
    server.wait_for_log(&["stopped"]);
    for line in server.log_lines() {
        let level = line.split(' ').next().unwrap();
        assert!(
            ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level),
            "{line}"
        );
    }
}
