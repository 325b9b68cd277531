//! Routine errors of sockets, and floods: they concern one client at most, and never the server.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::{Client, PATIENCE, fetch_bytes};
use crate::download::{Download, Wish};
use crate::machine::{
    alone, eventually, has_program, in_own_network, open_files, packets_without_route, run, skipped,
};
use crate::packet;
use crate::root::assert_same;
use crate::server::{Mode, Server, serving};

/// The ICMP messages that come back for its ERRORs and first blocks are none of the listening socket's business.
#[test]
fn hundreds_of_clients_that_are_gone_before_the_answer() {
    let (_root, bytes, mut server) = serving(5_000, &[]);
    let before = open_files(server.process());
    for _ in 0..150 {
        for name in ["missing", "file"] {
            drop(Client::new(server.address()).asking(&Wish::octet(name)));
        }
    }
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    eventually("all sockets closed", PATIENCE, || {
        (open_files(server.process()) == before).then_some(())
    });
    assert!(server.is_running());
}

/// EPERM from a firewall: as if the packets were lost, no more.
#[test]
fn a_firewall_that_forbids_sending() {
    in_own_network(|| {
        if !has_program("nft", "--version") {
            return skipped("there is no nft");
        }
        let (_root, bytes, mut server) = serving(20_000, &[]);
        let mut client = Client::new(server.address());
        let mut download = client.begin(&Wish::octet("file"), 3);

        run("nft", "add table inet wall");
        run(
            "nft",
            "add chain inet wall out { type filter hook output priority 0 ; }",
        );
        // What the server sends to its clients, not what they send to it: it may not even refuse.
        run(
            "nft",
            &format!("add rule inet wall out udp dport {} drop", client.port()),
        );
        let mut forbidden = Client::new(server.address());
        run(
            "nft",
            &format!("add rule inet wall out udp dport {} drop", forbidden.port()),
        );
        forbidden.request(&Wish::octet("missing"));
        forbidden.request(&Wish::octet("file"));
        // The answer to this one may not leave either.
        let answer = download.on_packet(client.receive()).unwrap();
        client.send(&answer);

        assert_same(&fetch_bytes(server.address(), "file"), &bytes);
        assert!(server.is_running());
        client.expect_nothing_yet();
        forbidden.expect_nothing_yet();
        run("nft", "flush ruleset");
        assert_same(&client.complete(download).unwrap().bytes, &bytes);
        assert_same(&forbidden.expect_data(1), &bytes[..512]);
    });
}

/// ENETUNREACH: a route may come back.
#[test]
fn a_route_that_is_gone_for_a_while() {
    in_own_network(|| {
        run("ip", "address add 192.0.2.7/32 dev lo");
        let (_root, bytes, mut server) = serving(20_000, &[]);
        let port = server.address().port();
        let asked = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut client = Client::at(Ipv4Addr::new(192, 0, 2, 7), asked);
        let download = client.begin(&Wish::octet("file"), 3);

        let before = packets_without_route();
        run("ip", "address del 192.0.2.7/32 dev lo");
        eventually("a block sent again in vain", PATIENCE, || {
            (packets_without_route() > before).then_some(())
        });
        assert_same(&fetch_bytes(server.address(), "file"), &bytes);
        assert!(server.is_running());
        run("ip", "address add 192.0.2.7/32 dev lo");
        assert_same(&client.complete(download).unwrap().bytes, &bytes);
    });
}

/// The interface itself goes down and up again.
#[test]
fn a_network_that_is_down_for_a_while() {
    in_own_network(|| {
        let (_root, bytes, mut server) = serving(20_000, &[]);
        let mut client = Client::new(server.address());
        let download = client.begin(&Wish::octet("file"), 3);
        run("ip", "link set lo down");
        assert!(server.is_running());
        run("ip", "link set lo up");
        // The ACK or the block was lost; the server sends it again.
        assert_same(&client.complete(download).unwrap().bytes, &bytes);
        assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    });
}

/// A flood of requests that are refused, and of rubbish, does not starve a transfer under way.
#[test]
fn a_flood_at_the_listener_starves_no_transfer() {
    if Mode::wanted() == Mode::SinglePort {
        return skipped("what floods a shared socket delays all");
    }
    let _turn = alone();
    let (_root, bytes, mut server) = serving(1_000_000, &[]);
    let wish = Wish::octet("file").option("blksize", 1408);
    let mut client = Client::new(server.address());
    let download = client.begin(&wish, 3);
    let (over, count) = (AtomicBool::new(false), AtomicU32::new(0));
    let fetched = thread::scope(|scope| {
        let flood = |datagram: Vec<u8>| {
            let (over, count, address) = (&over, &count, server.address());
            move || {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                while !over.load(Ordering::Relaxed) {
                    let sent = socket.send_to(&datagram, address).is_ok();
                    count.fetch_add(u32::from(sent), Ordering::Relaxed);
                }
            }
        };
        let _end = SetOnDrop(&over);
        // A miss costs the server more than it costs the sender, so the queue of its socket never runs empty.
        for _ in 0..3 {
            scope.spawn(flood(packet::read_request(b"missing", "octet", &[])));
        }
        scope.spawn(flood(vec![0xaa; 600]));
        let enough = || (count.load(Ordering::Relaxed) > 50_000).then_some(());
        eventually("a flood", PATIENCE, enough);
        client.complete(download)
    });
    assert_same(&fetched.unwrap().bytes, &bytes);
    assert!(server.is_running());
    // And afterwards it is as before, once a request finds room in the receive buffer again.
    eventually("an answer after the flood", PATIENCE, || {
        let mut probe = Client::new(server.address()).asking(&Wish::octet("missing"));
        probe.receive_within(Duration::from_millis(100)).map(drop)
    });
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    let warnings = server.lines_with("WARN ").len();
    assert!(
        (1..2000).contains(&warnings),
        "{warnings} warnings for a flood of misses"
    );
}

/// A flood at the port of one transfer is that client's own trouble.
#[test]
fn a_flood_of_one_client_starves_no_other() {
    let _turn = alone();
    let (_root, bytes, server) = serving(300_000, &[]);
    let mut noisy = Client::new(server.address());
    let wish = Wish::octet("file");
    noisy.begin(&wish, 3);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = SetOnDrop(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                noisy.ack(0);
            }
        });
        let mut client = Client::new(server.address());
        let download = client.begin(&wish, 3);
        assert_same(&client.complete(download).unwrap().bytes, &bytes);
    });
}

/// Ends the threads of a test, also when the test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Old ACKs for ever are no progress: the slot comes free after the timeout, not never.
#[test]
fn a_client_that_repeats_an_old_ack_for_ever() {
    let (_root, bytes, server) = serving(20_000, &["-n", "1", "-t", "2"]);
    let mut stuck = Client::new(server.address());
    stuck.begin(&Wish::octet("file"), 3);
    let mut next = Client::new(server.address()).asking(&Wish::octet("file"));
    let first = (0..200).find_map(|_| {
        stuck.ack(1);
        stuck.ack(2);
        next.receive_within(Duration::from_millis(50))
    });
    assert_same(&first.expect("the slot")[4..], &bytes[..512]);
    server.wait_for_log(&["timed out"]);
}

/// A client that has sent an ACK and, right behind it, an ERROR to a server that was stopped meanwhile.
fn acknowledge_and_complain(server: &Server) -> Client {
    let mut client = Client::new(server.address()).asking(&Wish::octet("file"));
    client.expect_data(1);
    server.signal(Signal::SIGSTOP);
    client.ack(1);
    client.send(&packet::error(3, "disk full"));
    client
}

/// The server reads no further than to an ACK of all that is out. What comes right behind it is found before
/// the block that answers the ACK is given up.
#[test]
fn an_error_right_behind_an_ack_ends_the_transfer() {
    let (_root, _, server) = serving(5_000, &[]);
    let before = open_files(server.process());
    let _client = acknowledge_and_complain(&server);
    server.signal(Signal::SIGCONT);
    let line = server.wait_for_log(&["client error 3"]);
    assert!(line.contains("file"), "{line}");
    eventually("descriptors back", PATIENCE, || {
        (open_files(server.process()) == before).then_some(())
    });
}

/// The client has closed its port when the server comes to read what it said before.
#[test]
fn an_error_counts_although_the_port_is_closed() {
    let (_root, _, server) = serving(5_000, &[]);
    drop(acknowledge_and_complain(&server));
    server.signal(Signal::SIGCONT);
    server.wait_for_log(&["client error 3"]);
}

/// In a window a second copy of an ACK is a wish to begin anew, but not where both have come before the next
/// window leaves.
#[test]
fn copies_of_an_ack_that_wait_with_it_repeat_no_window() {
    let (_root, bytes, server) = serving(20_000, &["-v"]);
    let wish = Wish::octet("file").option("windowsize", 4);
    let mut client = Client::new(server.address()).asking(&wish);
    let mut download = Download::new(&wish);
    while download.blocks < 8 {
        let answer = download.on_packet(client.receive());
        let is_stopped = download.blocks == 4 && answer.is_some();
        if is_stopped {
            server.signal(Signal::SIGSTOP);
        }
        for datagram in answer.iter() {
            (0..if is_stopped { 3 } else { 1 }).for_each(|_| client.send(datagram));
        }
        if is_stopped {
            server.signal(Signal::SIGCONT);
        }
    }
    let download = client.complete(download).unwrap();
    assert_same(&download.bytes, &bytes);
    assert_eq!(download.duplicates, 0);
}
