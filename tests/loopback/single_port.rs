//! All transfers over the port that is listened on. The whole suite runs in this mode as well (see `server::Mode`); here is what is
//! true of it alone.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::{Client, PATIENCE, fetch_bytes};
use crate::clients::Clients;
use crate::download::Wish;
use crate::machine::{
    datagrams_dropped_at, datagrams_sent, eventually, in_own_network, is_root, is_stopped, library,
    open_files, raise_own_file_limit, skipped,
};
use crate::packet;
use crate::put::Put;
use crate::root::{Root, assert_same};
use crate::server::{PROGRAM, Server, program};
use crate::signals::halfway_at;
use crate::uploads::{unfinished, writable};
use crate::victim::forger;

fn start(root: &Root, options: &[&str]) -> Server {
    Server::with(root.path(), &[&["--single-port"], options].concat())
}

#[test]
fn every_transfer_comes_from_the_port_that_was_asked() {
    let root = Root::new();
    let length = 90_001;
    let bytes = root.write("file", length);
    for listen in ["127.0.0.1:0", "[::1]:0", "[::]:0", "0.0.0.0:0"] {
        let server = start(&root, &["-a", listen]);
        let port = server.address().port();
        let hosts: &[&str] = match listen {
            "[::1]:0" => &["[::1]"],
            "[::]:0" => &["[::1]", "127.0.0.1", "127.0.0.9"],
            "0.0.0.0:0" => &["127.0.0.1", "127.0.0.9"],
            _ => &["127.0.0.1"],
        };
        for host in hosts {
            let to: SocketAddr = format!("{host}:{port}").parse().unwrap();
            for (blksize, windowsize) in [(512, 1), (1468, 1), (1400, 16), (512, 64), (32_000, 4)] {
                let wish = Wish::octet("file")
                    .option("blksize", blksize)
                    .option("windowsize", windowsize);
                let mut client = Client::new(to);
                let download = client.fetch(&wish).unwrap();
                assert_same(&download.bytes, &bytes);
                assert_eq!((client.tid(), download.duplicates), (to, 0));
            }
            let mut client = Client::new(to);
            let download = client.fetch(&Wish::netascii("file")).unwrap();
            assert!(download.bytes.len() >= length);
            assert_eq!(client.tid(), to);
        }
    }
}

/// The first request lets the server look where its root leads, and waits for that: what the client said before, and comes
/// behind it, does not take its place.
#[test]
fn what_is_no_request_takes_no_place_of_one() {
    let root = Root::new();
    let bytes = root.write("file", 5_000);
    let server = start(&root, &[]);
    server.signal(Signal::SIGSTOP);
    eventually("a server that is stopped", PATIENCE, || {
        is_stopped(server.process()).then_some(())
    });
    let mut client = Client::new(server.address()).asking(&Wish::octet("file"));
    client.send_to_server(&packet::ack(7));
    client.send_to_server(b"nonsense");
    server.signal(Signal::SIGCONT);
    assert_same(&client.expect_data(1), &bytes[..512]);
}

/// More packets than one call sends, for clients that are told apart by their addresses and ports.
#[test]
fn many_clients_with_windows_get_the_right_bytes() {
    raise_own_file_limit();
    let root = Root::new();
    let names: Vec<String> = (0..100).map(|number| format!("file-{number}")).collect();
    let files: Vec<Vec<u8>> = (0..100)
        .map(|number| root.write(&names[number], 60_000 + number))
        .collect();
    let server = start(&root, &["-n", "100", "--small-file", "0"]);
    let mut clients = Clients::new(server.address());
    for (number, name) in names.iter().enumerate() {
        clients.add(Wish::octet(name).option("windowsize", 1 + number % 40));
    }
    clients.complete(PATIENCE);
    for (member, bytes) in clients.members().iter().zip(&files) {
        assert_same(&member.download.bytes, bytes);
    }
    assert_eq!(clients.tids().len(), 1);
}

/// The system call takes three messages at most, and every other time none at all: what has to wait is the first to leave
/// next, and the order is that of the ACKs.
#[test]
fn what_the_socket_does_not_take_leaves_first_later() {
    let root = Root::new();
    let bytes = root.write("file", 60_000);
    let Some(library) = library(&root, TAKES_FEW) else {
        return;
    };
    let mut command = program(PROGRAM);
    command
        .env("LD_PRELOAD", library)
        .arg("-r")
        .arg(root.path());
    // The library writes to standard error.
    command.args([
        "-a",
        "127.0.0.1:0",
        "--single-port",
        "--no-sandbox",
        "-n",
        "40",
    ]);
    command.args(["--small-file", "0"]);
    let server = Server::launch(command, 1);
    let mut clients = Clients::new(server.address());
    for number in 0..40 {
        clients.add(Wish::octet("file").option("windowsize", 1 + number % 2 * 7));
    }
    clients.begin(40);
    // All ACKs are there when the next turn begins.
    server.signal(Signal::SIGSTOP);
    eventually("the stop", PATIENCE, || {
        is_stopped(server.process()).then_some(())
    });
    clients.answer_all();
    server.signal(Signal::SIGCONT);
    clients.complete(PATIENCE);
    for member in clients.members() {
        assert_same(&member.download.bytes, &bytes);
        assert_eq!(member.download.duplicates, 0);
    }
    server.wait_for_log(&["37 messages wait"]);
    assert_eq!(server.lines_with("out of order"), [""; 0]);
}

/// Compares what it is given with what it has not taken the time before.
const TAKES_FEW: &str = r#"
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <errno.h>
    #include <netinet/in.h>
    #include <stdio.h>
    #include <sys/socket.h>

    static unsigned short waits[1024];
    static unsigned waiting, calls;

    static unsigned short port(struct mmsghdr *message) {
        return ((struct sockaddr_in *)message->msg_hdr.msg_name)->sin_port;
    }

    int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
        int (*real)(int, struct mmsghdr *, unsigned, int) = dlsym(RTLD_NEXT, "sendmmsg");
        for (unsigned each = 0; each < waiting; each++)
            if (each >= count || port(&messages[each]) != waits[each])
                fprintf(stderr, "WARN message %u of %u out of order\n", each, count);
        int sent = -1;
        if (calls++ % 2 == 0)
            sent = real(fd, messages, count < 3 ? count : 3, flags);
        else
            errno = EAGAIN;
        int error = errno;
        waiting = 0;
        for (unsigned each = sent < 0 ? 0 : sent; each < count; each++)
            waits[waiting++] = port(&messages[each]);
        if (sent > 0 && waiting > 0)
            fprintf(stderr, "WARN %u messages wait\n", waiting);
        errno = error;
        return sent;
    }
"#;

/// The kernel tells it of the shared socket; the client behind gets the slot at once.
#[test]
fn a_client_that_closes_its_port_frees_its_slot() {
    let (root, bytes) = Root::with_file(60_000);
    for listen in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        let server = start(
            &root,
            &["-n", "1", "-t", "600", "-a", listen, "--hold", "never"],
        );
        let to = match listen {
            "[::]:0" => (Ipv4Addr::LOCALHOST, server.address().port()).into(),
            _ => server.address(),
        };
        let (gone, _) = halfway_at(to);
        let port = gone.port();
        gone.ack(4);
        drop(gone);
        assert_same(&fetch_bytes(to, "file"), &bytes);
        server.wait_for_log(&[&format!(":{port} \"file\""), "client closed its port"]);
    }
}

#[test]
fn packets_of_unknown_peers_draw_nothing_and_disturb_nobody() {
    let (root, bytes) = Root::with_file(60_000);
    let server = start(&root, &[]);
    let (mut client, download) = halfway_at(server.address());
    let mut unknown: Vec<Client> = (0..20).map(|_| Client::new(server.address())).collect();
    for client in &unknown {
        for datagram in [
            packet::ack(0),
            packet::ack(4),
            packet::error(0, "away"),
            vec![0, 3, 0, 1, 7],
        ] {
            client.send_to_server(&datagram);
        }
    }
    assert_same(&client.complete(download).unwrap().bytes, &bytes);
    for client in &mut unknown {
        client.expect_nothing_yet();
    }
}

#[test]
fn those_who_wait_cost_no_descriptor() {
    let (root, _) = Root::with_file(600_000);
    let server = start(&root, &["-n", "1", "--hold", "0"]);
    let (_running, _) = halfway_at(server.address());
    let before = open_files(server.process());
    let mut held: Vec<Client> = (0..50).map(|_| Client::new(server.address())).collect();
    for client in &mut held {
        client.request(&Wish::octet("file"));
        client.expect_data(1);
    }
    assert_eq!(open_files(server.process()), before);
}

/// As many as come in while the loop is busy for a moment. Without the right to a large buffer the kernel grants a small one.
#[test]
fn five_thousand_acks_in_one_turn() {
    if !is_root() {
        return skipped("a large receive buffer needs root");
    }
    let (root, bytes) = Root::with_file(60_000);
    let server = start(&root, &[]);
    let (mut client, download) = halfway_at(server.address());
    server.signal(Signal::SIGSTOP);
    eventually("the stop", PATIENCE, || {
        is_stopped(server.process()).then_some(())
    });
    let unknown = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for number in 0..5000 {
        let block = u16::try_from(number).unwrap();
        unknown
            .send_to(&packet::ack(block), server.address())
            .unwrap();
    }
    let mut last = Client::new(server.address()).asking(&Wish::octet("missing"));
    server.signal(Signal::SIGCONT);
    last.expect_error(1);
    assert_eq!(datagrams_dropped_at(server.address().port()), 0);
    assert_same(&client.complete(download).unwrap().bytes, &bytes);
}

/// What a request draws at most, if nobody answers.
const FIRST_PACKETS: usize = 5;

/// A forger makes each speak to the other, or to itself, and, what no client can, one write what the other reads.
#[test]
fn two_servers_never_keep_each_other_busy() {
    in_own_network(|| {
        let (Some(forger), Some(reading), Some(writing)) = (forger(), writable(), writable())
        else {
            return;
        };
        let bytes = reading.write("file", 60_000);
        let listen = ["127.0.0.1:69", "127.0.0.2:69"];
        let servers = [(&reading, listen[0]), (&writing, listen[1])]
            .map(|(root, at)| start(root, &["-c", "-a", at]));
        let forged = Cell::new(0);
        let forge = |from: usize, to: usize, datagram: &[u8]| {
            forged.set(forged.get() + 1);
            let from = listen[from].parse().unwrap();
            forger.send(from, servers[to].address(), datagram);
        };
        let options = [&[][..], &[("blksize", "1024")]];
        let read = options.map(|options| packet::read_request(b"file", "octet", options));
        let write = options.map(|options| packet::write_request_with(b"copied", "octet", options));
        // An honest client writes and reads as much meanwhile.
        let rounds = Cell::new(0);
        let copied_meanwhile = || {
            rounds.set(rounds.get() + 1);
            for server in &servers {
                let name = format!("honest{}", rounds.get());
                Put::octet(&name, &bytes).to(server.address()).unwrap();
                assert_same(&fetch_bytes(server.address(), &name), &bytes);
            }
            let is_copied =
                |root: &Root| root.file("copied").exists() || !unfinished(root.path()).is_empty();
            [&reading, &writing].map(is_copied)
        };
        for (read, write) in read.iter().zip(&write) {
            for (reads, writes) in [(0, 1), (0, 0)] {
                forge(reads, writes, write);
                forge(writes, reads, read);
                assert_eq!(copied_meanwhile(), [false; 2], "{reads} to {writes}");
            }
        }
        let others = [
            packet::read_request(b"missing", "octet", &[]),
            packet::ack(0),
            packet::ack(1),
            packet::data(1, &[7; 512]),
            packet::error(0, "away"),
            b"\0\x06blksize\x001024\0".to_vec(),
        ];
        for (from, to) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            for datagram in read.iter().chain(&others) {
                forge(from, to, datagram);
            }
        }
        assert_eq!(copied_meanwhile(), [false; 2]);
        let honest = rounds.get() * 2 * 2 * 2 * (bytes.len() / 512 + 2);
        let (forged, sent) = (forged.get(), usize::try_from(datagrams_sent()).unwrap());
        assert!(
            sent <= honest + FIRST_PACKETS * forged,
            "{sent}, of them {honest} honest, after {forged} forged ones"
        );
    });
}

/// Running transfers go on; requests that arrive meanwhile are dropped.
#[test]
fn running_transfers_finish_at_the_end() {
    let (root, bytes) = Root::with_file(60_000);
    let mut server = start(&root, &["--drain", "20"]);
    let (mut running, download) = halfway_at(server.address());
    server.signal(Signal::SIGTERM);
    server.wait_for_log(&["INFO stopping"]);
    let mut late = Client::new(server.address()).asking(&Wish::octet("file"));
    late.request(&Wish::octet("missing"));
    assert_same(&running.complete(download).unwrap().bytes, &bytes);
    assert_eq!(server.wait(PATIENCE).code(), Some(0));
    late.expect_nothing_yet();
}

/// The older transfer of two is carried on by what it waits for.
#[test]
fn a_client_that_asks_anew_is_answered_from_the_beginning() {
    let (root, bytes) = Root::with_file(60_000);
    let server = start(&root, &[]);
    for _ in 0..5 {
        let (mut client, _) = halfway_at(server.address());
        // What the older transfer sent is read before.
        while client.receive_within(Duration::from_millis(20)).is_some() {}
        let download = client.fetch(&Wish::octet("file")).unwrap();
        assert_same(&download.bytes, &bytes);
    }
}

/// Many machines behind one address: the log names the option.
#[test]
fn an_address_with_all_its_slots_is_named() {
    let (root, _) = Root::with_file(60_000);
    let server = start(&root, &["--per-client", "2"]);
    let mut clients: Vec<Client> = (0..6).map(|_| Client::new(server.address())).collect();
    for client in &mut clients {
        client.request(&Wish::octet("file"));
    }
    for client in &mut clients[..2] {
        client.expect_data(1);
    }
    let line = server.wait_for_log(&["127.0.0.1: ", "--per-client are running"]);
    assert!(line.starts_with("WARN "), "{line}");
    let mut last = Client::new(server.address()).asking(&Wish::octet("missing"));
    last.expect_error(1);
    assert_eq!(server.lines_with("--per-client are running").len(), 1);
}
