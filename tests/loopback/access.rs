//! Who may ask, how much one address may have, and what an address draws that never answers.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::client::{Client, PATIENCE, fetch, fetch_bytes};
use crate::download::Wish;
use crate::machine::has_ipv6;
use crate::root::{Root, assert_same};
use crate::server::{Server, serving};

const ALLOWED: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 1);
const DENIED: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 2);

/// Whatever `client` sends there comes nothing, and by the time we know the server has seen it.
fn is_ignored(client: &mut Client, server: SocketAddr) {
    client.request(&Wish::octet("file"));
    client.request(&Wish::octet("missing"));
    client.send_to_server(b"nonsense");
    let mut allowed = Client::at(ALLOWED, server).asking(&Wish::octet("missing"));
    allowed.expect_error(1);
    assert_eq!(client.receive_within(Duration::from_millis(100)), None);
}

#[test]
fn a_denied_address_gets_no_answer_and_is_counted() {
    let (root, bytes) = Root::with_file(2_000);
    let cases: [&[&str]; 3] = [
        &["--deny", "127.0.3.2"],
        &["--allow", "127.0.3.1"],
        &[
            "--deny",
            "127.0.3.2/31",
            "--allow",
            "127.0.3.0/24",
            "--deny",
            "127.0.3.2",
        ],
    ];
    for rules in cases {
        let mut server = Server::with(root.path(), rules);
        is_ignored(&mut Client::at(DENIED, server.address()), server.address());
        let mut allowed = Client::at(ALLOWED, server.address()).asking(&Wish::octet("file"));
        allowed.expect_data(1);
        let mut rest = Client::at(ALLOWED, server.address());
        let wish = Wish::octet("file");
        rest.request(&wish);
        let download = rest.complete(crate::download::Download::new(&wish));
        assert_same(&download.unwrap().bytes, &bytes);
        server.wait_for_log(&["WARN dropped", " from denied addresses"]);
        server.signal(Signal::SIGTERM);
        server.signal(Signal::SIGTERM);
        server.wait(PATIENCE);
        server.wait_for_log(&["stopped: ", " 3 dropped,"]);
    }
}

#[test]
fn an_ipv4_network_holds_for_a_socket_of_both_families() {
    if !has_ipv6() {
        return;
    }
    let (root, bytes) = Root::with_file(600);
    let rules = [
        "-a",
        "[::]:0",
        "--allow",
        "127.0.0.0/8",
        "--deny",
        "::ffff:127.0.3.2",
    ];
    let server = Server::with(root.path(), &rules);
    let port = server.address().port();
    let over_ipv4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    assert_same(&fetch_bytes(over_ipv4, "file"), &bytes);
    is_ignored(&mut Client::at(DENIED, over_ipv4), over_ipv4);
    let over_ipv6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    is_ignored(&mut Client::new(over_ipv6), over_ipv4);
}

#[test]
fn one_address_has_as_many_transfers_as_the_operator_says_and_no_more() {
    let (root, _) = Root::with_file(2_000);
    let options = ["-n", "8", "--per-client", "2", "--per-client-pending", "1"];
    let server = Server::with(root.path(), &options);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::new(server.address())).collect();
    for client in &clients {
        client.request(&Wish::octet("file"));
    }
    clients[0].expect_data(1);
    clients[1].expect_data(1);
    // The third one waits, the fourth is not even remembered, and an address of its own is served.
    let mut other = Client::at(ALLOWED, server.address()).asking(&Wish::octet("file"));
    other.expect_data(1);
    for client in &mut clients[2..] {
        assert_eq!(client.receive_within(Duration::from_millis(50)), None);
    }
    clients[0].send(&[0, 5, 0, 0, b'x', 0]);
    clients[2].expect_data(1);
    assert_eq!(clients[3].receive_within(Duration::from_millis(50)), None);
    server.wait_for_log(&["WARN dropped", " 1 over --per-client-pending"]);
}

/// Every byte that arrives at a port which never answers: what a victim gets for one forged request.
#[test]
fn a_request_without_an_answer_draws_three_blocks_or_five_small_oacks() {
    let (_root, _, server) = serving(100_000, &[]);
    let plain = Wish::octet("file");
    let with_options = Wish::octet("file").option("tsize", 0).option("timeout", 1);
    let victims: Vec<UdpSocket> = [plain, with_options]
        .iter()
        .map(|wish| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.send_to(&wish.packet(), server.address()).unwrap();
            socket
        })
        .collect();
    server.wait_for_lines("given up", 2, |line| {
        line.contains("no answer to the first packet")
    });
    let heard = |socket: &UdpSocket| -> Vec<usize> {
        let mut datagram = [0; 2048];
        let more = std::iter::from_fn(|| socket.recv(&mut datagram).ok());
        more.collect()
    };
    assert_eq!(heard(&victims[0]), [516; 3]);
    let oacks = heard(&victims[1]);
    // tsize=100000, timeout=1
    assert_eq!(oacks, [2 + 13 + 10; 5]);
}

#[test]
fn a_flood_of_unvalidated_addresses_of_one_network_draws_a_bounded_number_of_first_packets() {
    let (_root, _, server) = serving(100_000, &[]);
    // 200 addresses of one /24, ten requests each, none of them ever answered.
    let sockets: Vec<UdpSocket> = (1..=200)
        .map(|number| {
            let socket = UdpSocket::bind((Ipv4Addr::new(127, 9, 9, number), 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
        .collect();
    let begin = Instant::now();
    let mut packets = 0_u64;
    let mut bytes = 0;
    let mut datagram = [0; 2048];
    while begin.elapsed() < Duration::from_secs(5) {
        for socket in &sockets {
            socket
                .send_to(&Wish::octet("file").packet(), server.address())
                .unwrap();
            while let Ok(length) = socket.recv(&mut datagram) {
                packets += 1;
                bytes += length;
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let seconds = begin.elapsed().as_secs() + 1;
    println!("{packets} packets, {bytes} bytes in {seconds} s");
    // Each first packet may be sent twice more by the timer.
    assert!(packets <= 3 * (1024 + 32 * seconds), "{packets}");
    assert!(packets >= 200, "{packets}: nobody was answered at first");
    // Another network is served at once.
    assert!(fetch(server.address(), &Wish::octet("file")).is_ok());
}
