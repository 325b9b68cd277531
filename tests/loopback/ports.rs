//! Transfers from a range of ports: a firewall lets these through and no others.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;

use crate::client::{Client, PATIENCE, fetch};
use crate::clients::Clients;
use crate::download::Wish;
use crate::machine::raise_own_file_limit;
use crate::packet;
use crate::root::{Root, assert_same};
use crate::server::{PROGRAM, Server, program};

/// As many ports as wanted, which nobody uses.
fn unused(count: u16) -> RangeInclusive<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Below those that the system picks from.
    let process = u16::try_from(std::process::id() % 1000).unwrap();
    for _ in 0..1000 {
        let first = 11_000 + (process + NEXT.fetch_add(1, Ordering::Relaxed)) % 1000 * 20;
        let range = first..=first + (count - 1);
        let bound = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if range.clone().all(bound) {
            return range;
        }
    }
    panic!("no {count} ports in a row are free");
}

fn text(range: &RangeInclusive<u16>) -> String {
    format!("{}:{}", range.start(), range.end())
}

/// Ten sockets to each port, and another client sends nonsense and ERROR packets to all of them meanwhile.
#[test]
fn a_hundred_clients_at_once_through_ten_ports() {
    raise_own_file_limit();
    let (root, bytes) = Root::with_file(60_000);
    let range = unused(10);
    let options = ["-R", &text(&range), "-n", "100", "--small-file", "0"];
    let server = Server::with(root.path(), &options);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            while !stop.load(Ordering::Relaxed) {
                for port in range.clone() {
                    for datagram in [packet::error(0, "away"), packet::ack(1), vec![0; 9]] {
                        // Refused where nothing is open yet.
                        let _ = other.send_to(&datagram, (Ipv4Addr::LOCALHOST, port));
                    }
                }
                thread::yield_now();
            }
        });
        let mut clients = Clients::new(server.address());
        for _ in 0..100 {
            clients.add(Wish::octet("file"));
        }
        clients.begin(100);
        let tids = clients.tids();
        clients.complete(PATIENCE);
        stop.store(true, Ordering::Relaxed);
        assert!(tids.keys().all(|tid| range.contains(&tid.port())));
        assert_eq!((tids.len(), tids.values().sum()), (10, 100), "{tids:?}");
        clients.must_all_have(&bytes);
    });
}

/// Each port is taken once before one is taken twice.
#[test]
fn ports_that_nobody_uses_come_first() {
    let (root, _) = Root::with_file(60_000);
    let range = unused(8);
    let server = Server::with(root.path(), &["-R", &text(&range)]);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::new(server.address())).collect();
    let mut ports: Vec<u16> = Vec::new();
    for client in &mut clients {
        client.request(&Wish::octet("file"));
        client.expect_data(1);
        ports.push(client.tid().port());
    }
    ports.sort_unstable();
    assert_eq!(ports, range.collect::<Vec<_>>());
}

/// It asks for the same file from the same port: the two transfers must have different ones at this end.
#[test]
fn a_client_that_asks_anew_is_answered_from_another_port_even_if_all_are_in_use() {
    let (root, bytes) = Root::with_file(60_000);
    let range = unused(3);
    let server = Server::with(root.path(), &["-R", &text(&range)]);
    let mut others: Vec<Client> = (0..3).map(|_| Client::new(server.address())).collect();
    for other in &mut others {
        other.request(&Wish::octet("file"));
        other.expect_data(1);
    }
    for _ in 0..20 {
        let mut client = Client::new(server.address());
        let wish = Wish::octet("file");
        client.request(&wish);
        client.expect_data(1);
        client.ack(1);
        client.expect_data(2);
        let first = client.tid();
        client.forget_tid();
        let download = client.fetch(&wish).unwrap();
        assert_same(&download.bytes, &bytes);
        assert_ne!(client.tid(), first);
    }
}

#[test]
fn without_a_port_that_is_free_requests_wait() {
    let (root, bytes) = Root::with_file(600);
    let range = unused(1);
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, *range.start())).unwrap();
    let server = Server::with(root.path(), &["-R", &text(&range)]);
    let _client = Client::new(server.address()).asking(&Wish::octet("file"));
    server.wait_for_log(&["out of descriptors"]);
    drop(taken);
    let download = fetch(server.address(), &Wish::octet("file")).unwrap();
    assert_same(&download.bytes, &bytes);
}

#[test]
fn ipv6_has_the_same_ports() {
    let (root, bytes) = Root::with_file(60_000);
    let range = unused(10);
    let options = ["-R", &text(&range), "-a", "[::]:0"];
    let server = Server::with(root.path(), &options);
    let port = server.address().port();
    for host in ["[::1]", "127.0.0.1"] {
        let to: SocketAddr = format!("{host}:{port}").parse().unwrap();
        let mut client = Client::new(to);
        let download = client.fetch(&Wish::octet("file")).unwrap();
        assert_same(&download.bytes, &bytes);
        assert!(range.contains(&client.tid().port()), "{}", client.tid());
    }
}

#[test]
fn a_check_warns_of_few_ports() {
    let (root, _) = Root::with_file(10);
    for (range, words) in [
        ("2000:2062", "--port-range: 63 ports: 64 or more"),
        ("2000:2063", ""),
    ] {
        let mut command = program(PROGRAM);
        command.arg("--check").arg("-R").arg(range).arg(root.path());
        let output = command.output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{told}");
        assert!(told.starts_with(words), "{told}");
        assert_eq!(told.is_empty(), words.is_empty(), "{told}");
    }
}
