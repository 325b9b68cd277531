//! `tftpd --probe`: how an orchestrator asks whether a server serves.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Output;
use std::thread;

use crate::client::Client;
use crate::download::Wish;
use crate::packet::{self, Packet};
use crate::root::Root;
use crate::server::{PROGRAM, Server, program, serving};

fn probe(server: SocketAddr, more: &[&str]) -> (Option<i32>, String) {
    let mut command = program(PROGRAM);
    command.arg("--probe").arg(server.to_string()).args(more);
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    (status.code(), text)
}

#[track_caller]
fn expect(server: SocketAddr, more: &[&str], code: i32, words: &str) {
    let (status, text) = probe(server, more);
    assert!(text.contains(words), "{text}");
    assert_eq!(status, Some(code), "{text}");
}

#[test]
fn a_probe_says_whether_a_server_serves() {
    let (root, _) = Root::with_file(60_000);
    for host in ["127.0.0.1", "[::1]"] {
        let server = Server::with(root.path(), &["-a", &format!("{host}:0")]);
        let address = server.address();
        expect(address, &[], 0, "answers, after ");
        expect(address, &["file"], 0, "serves, after ");
        let (_, text) = probe(address, &["file"]);
        let time = text.split("after ").last().unwrap();
        let (whole, tenth) = time.strip_suffix(" ms\n").unwrap().split_once('.').unwrap();
        assert!(whole.parse::<u32>().is_ok() && tenth.parse::<u8>().is_ok_and(|it| it < 10));
        expect(address, &["missing"], 1, "ERROR 1 no such file");
        expect(address, &["../x"], 1, "ERROR 2 ");
        drop(server);
        expect(address, &[], 1, "Connection refused");
    }
}

/// Nobody answers, and the request is repeated meanwhile.
#[test]
fn a_probe_ends_in_time() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = silent.local_addr().unwrap();
    expect(server, &["--probe-timeout", "1"], 1, "no answer within 1 s");
    let mut buffer = [0; 100];
    silent.set_nonblocking(true).unwrap();
    let mut asked = 0;
    while let Ok((length, _)) = silent.recv_from(&mut buffer) {
        assert_eq!(
            &buffer[..length],
            b"\0\x01x-probe-of-no-file\0octet\0x-probe\x001\0"
        );
        asked += 1;
    }
    assert!((2..=3).contains(&asked), "{asked}");
}

/// A full server answers, and the probe takes nothing.
#[test]
fn a_full_server_answers_probes_and_logs_none() {
    let (root, _) = Root::with_file(60_000);
    let options = ["-n", "1", "-q", "0", "-v", "--per-client", "1"];
    let server = Server::with(root.path(), &options);
    let mut running = Client::new(server.address()).asking(&Wish::octet("file"));
    running.expect_data(1);
    let others: Vec<Client> = (0..3).map(|_| Client::new(server.address())).collect();
    for other in &others {
        other.request(&Wish::octet("file"));
    }
    for _ in 0..5 {
        expect(server.address(), &[], 0, "answers");
        expect(server.address(), &["file"], 0, "serves");
    }
    // From the port of a transfer, too, which goes on.
    let wish = Wish::octet("file").option("X-Probe", 1);
    running.request(&wish);
    let answer = running.receive_from_anywhere();
    assert_eq!(
        packet::parse(&answer),
        Packet::Oack(vec![("x-probe".into(), "1".into())])
    );
    let mut late = Client::new(server.address()).asking(&Wish::octet("missing"));
    late.expect_error(1);
    assert_eq!(server.lines_with("x-probe"), [""; 0]);
    assert_eq!(server.lines_with("admitted").len(), 1);
}

/// A server that does not know the option begins a transfer, which is ended.
#[test]
fn another_server_is_told_that_nobody_waits() {
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = other.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let mut buffer = [0; 600];
        let (_, from) = other.recv_from(&mut buffer).unwrap();
        let mut data = vec![0, 3, 0, 1];
        data.extend([7; 512]);
        other.send_to(&data, from).unwrap();
        let (length, _) = other.recv_from(&mut buffer).unwrap();
        buffer[..length].to_vec()
    });
    expect(server, &["file"], 0, "serves");
    assert_eq!(thread.join().unwrap()[..4], [0, 5, 0, 0]);
}

/// A client that may not ask gets no answer by a probe either, and forged ones draw as little as other first packets.
#[test]
fn probes_are_bounded_as_first_packets_are() {
    let (root, _, server) = serving(60_000, &["--deny", "127.0.0.1"]);
    let wait = ["--probe-timeout", "1"];
    expect(server.address(), &wait, 1, "no answer within 1 s");
    let server = Server::start(root.path());
    let mut client = Client::at(Ipv4Addr::new(127, 9, 9, 9), server.address());
    let wish = Wish::octet("file").option("x-probe", 1);
    for _ in 0..2000 {
        client.request(&wish);
    }
    let mut end = Client::new(server.address()).asking(&Wish::octet("missing"));
    end.expect_error(1);
    let mut answers = 0;
    while client.receive_if_there().is_some() {
        answers += 1;
    }
    assert!((1..1000).contains(&answers), "{answers} answers");
}
