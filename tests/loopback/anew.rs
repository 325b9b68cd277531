//! Clients that begin anew from the same port: right behind the last ACK, after they ended a transfer
//! themselves, or in its midst.

use std::array::from_fn;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::download::Wish;
use crate::packet;
use crate::root::{Root, assert_same};
use crate::server::Server;

/// As the interactive clients of BSD and tftp-hpa, which have one socket for a whole session.
#[test]
fn a_request_right_behind_the_last_ack_is_answered() {
    let root = Root::new();
    let bytes = root.write("small", 100);
    let server = Server::start(root.path());
    let mut client = Client::new(server.address()).asking(&Wish::octet("small"));
    for _ in 0..20 {
        assert_same(&client.expect_data(1), &bytes);
        client.ack(1);
        client.request(&Wish::octet("small"));
        client.forget_tid();
    }
    assert_same(&client.expect_data(1), &bytes);
    client.ack(1);
    let complete = |line: &str| line.contains("complete;");
    server.wait_for_lines("complete", 21, complete);
    assert_eq!(server.lines_with("last ACK missing"), [""; 0]);
}

/// What the loader of FreeBSD and illumos asks for, and the answer to it.
fn loaders_wish() -> Wish {
    Wish::octet("kernel")
        .option("blksize", 1428)
        .option("tsize", 0)
}

const LOADERS_KERNEL: usize = 300_000;
const LOADERS_OACK: [(&str, &str); 2] = [("blksize", "1428"), ("tsize", "300000")];

/// The loader of FreeBSD and illumos seeks backwards: it ends the transfer and asks again at once.
#[test]
fn a_request_right_behind_an_error_is_answered() {
    let root = Root::new();
    let bytes = root.write("kernel", LOADERS_KERNEL);
    let server = Server::start(root.path());
    let wish = loaders_wish();
    let mut client = Client::new(server.address()).asking(&wish);
    for blocks in 0..33 {
        client.expect_oack(&LOADERS_OACK);
        for block in 0..=blocks {
            client.ack(block);
            let at = usize::from(block) * 1428;
            assert_same(&client.expect_data(block + 1), &bytes[at..at + 1428]);
        }
        client.send(&packet::error(0, "RRQ read aborted"));
        client.request(&wish);
        client.forget_tid();
    }
    client.expect_oack(&LOADERS_OACK);
}

/// The same loader opens a file twice, closing it without a packet in between, and takes whatever DATA 1
/// comes for the answer. The older transfer's would put bytes of 512-byte blocks into its kernel.
#[test]
fn a_loader_that_opens_twice_has_the_right_bytes() {
    let root = Root::new();
    let bytes = root.write("kernel", LOADERS_KERNEL);
    let server = Server::start(root.path());
    let wish = loaders_wish();
    let mut client = Client::new(server.address());
    for _ in 0..3 {
        client.request(&wish);
        client.expect_oack(&LOADERS_OACK);
        client.ack(0);
        client.expect_data(1);
        client.forget_tid();
    }
    // An answer of the older transfer would come from another port, which the client does not allow.
    let download = client.fetch(&wish).unwrap();
    assert_same(&download.bytes, &bytes);
    server.wait_for_lines("complete", 1, |line| line.contains("complete;"));
}

#[test]
fn a_request_after_a_lost_last_ack_is_answered() {
    let root = Root::new();
    let bytes = root.write("small", 100);
    let server = Server::start(root.path());
    let wish = Wish::octet("small").option("blksize", 1024);
    let mut client = Client::new(server.address());
    for _ in 0..10 {
        client.request(&wish);
        client.expect_oack(&[("blksize", "1024")]);
        client.ack(0);
        assert_same(&client.expect_data(1), &bytes);
        client.forget_tid();
    }
    let unconfirmed = |line: &str| line.contains("last ACK missing");
    server.wait_for_lines("last ACK missing", 9, unconfirmed);
}

/// The interactive client of tftp-hpa has one socket for a session, and waits 5 s before it asks again.
#[test]
fn tftp_gets_files_again_and_again_in_one_session() {
    let root = Root::new();
    root.write("one", 100);
    root.write("two", 40_000);
    let server = Server::start(root.path());
    let into = Root::new();
    for files in [["one"; 10], from_fn(|place| ["one", "two"][place % 2])] {
        let gets = files.map(|file| format!("get {file}\n")).concat();
        let began = Instant::now();
        let mut tftp = Command::new("tftp");
        tftp.args(["-m", "binary", "127.0.0.1"])
            .arg(server.address().port().to_string())
            .current_dir(into.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut child = match tftp.spawn() {
            Ok(child) => child,
            Err(error) => return eprintln!("skipped: tftp: {error}"),
        };
        child
            .stdin
            .take()
            .unwrap()
            .write_all(gets.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success());
        assert!(began.elapsed() < 10 * GET_MAX, "{:?}", began.elapsed());
        for file in ["one", "two"]
            .into_iter()
            .filter(|file| files.contains(file))
        {
            let got = fs::read(into.path().join(file)).unwrap();
            assert_same(&got, &fs::read(root.path().join(file)).unwrap());
        }
    }
    server.wait_for_lines("complete", 20, |line| line.contains("complete;"));
    assert_eq!(server.lines_with("last ACK missing"), [""; 0]);
}

/// For one `get`: a request that is not answered is repeated after 5 s.
const GET_MAX: Duration = Duration::from_millis(200);
