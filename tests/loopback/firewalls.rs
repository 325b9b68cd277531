//! Firewalls between server and client that do not let everything through: what the log says about it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use crate::client::{Client, PATIENCE, fetch_bytes};
use crate::download::Wish;
use crate::machine::{at_the_other_end, has_program, in_own_network, lay_cable, run, skipped};
use crate::root::{Root, assert_same};
use crate::server::{Server, serving};

/// As on loopback, where the client's own system rejects what comes for a closed port: nothing distinguishes it from a firewall.
#[test]
fn a_first_packet_that_is_rejected() {
    let (root, bytes) = Root::with_file(100_000);
    for (host, by) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
        let server = Server::with(root.path(), &["-a", &format!("{host}:0")]);
        let wish = || Wish::octet("file");
        for wish in [wish(), wish().option("tsize", 0), Wish::netascii("file")] {
            let gone = Client::new(server.address()).asking(&wish);
            is_warned_of(&server, host, gone, by);
        }
        assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    }
}

/// A client that had to wait for its first packet.
#[test]
fn a_first_packet_of_a_held_client_that_is_rejected() {
    let (_root, _, server) = serving(300_000, &["-n", "1", "--hold", "1"]);
    let mut first = Client::new(server.address()).asking(&Wish::octet("file"));
    first.expect_data(1);
    let gone = Client::new(server.address()).asking(&Wish::octet("file"));
    is_warned_of(&server, "127.0.0.1", gone, "127.0.0.1");
}

/// The log warns of a client that closes its port before the answer comes.
#[track_caller]
fn is_warned_of(server: &Server, host: &str, gone: Client, by: &str) {
    let asked = format!("{host}:{} \"file\"", gone.port());
    drop(gone);
    let line = server.wait_for_log(&[&asked]);
    assert!(line.starts_with("WARN "), "{line}");
    let rejected = format!("{asked}: first packet rejected by {by}; 0 bytes");
    assert!(line.contains(&rejected), "{line}");
}

/// A client that has acknowledged something and closes its port just goes, as machines that reset do.
#[test]
fn a_client_that_closes_its_port_later_is_no_warning() {
    let (_root, _, server) = serving(100_000, &[]);
    let mut gone = Client::new(server.address()).asking(&Wish::octet("file"));
    gone.expect_data(1);
    gone.ack(1);
    gone.expect_data(2);
    let asked = format!(":{} \"file\"", gone.port());
    gone.ack(2);
    drop(gone);
    let line = server.wait_for_log(&[&asked]);
    assert!(line.starts_with("INFO "), "{line}");
    assert!(
        line.contains("client closed its port; 1024 bytes"),
        "{line}"
    );
}

/// A router that knows nothing of TFTP: the request passes, the answer from another port does not.
#[test]
fn a_firewall_on_the_way_is_named() {
    let verdicts = [
        (
            "reject with icmp type port-unreachable",
            "first packet rejected by 192.0.2.2;",
        ),
        (
            "reject with icmp type admin-prohibited",
            "packets rejected by 192.0.2.2: ",
        ),
        (
            "reject with icmp type host-prohibited",
            "packets rejected by 192.0.2.2: ",
        ),
        (
            "reject with icmp type host-unreachable",
            "packets rejected by 192.0.2.2: ",
        ),
        (
            "reject with icmp type prot-unreachable",
            "packets rejected by 192.0.2.2: ",
        ),
    ];
    for (verdict, expected) in verdicts {
        let rule = format!("ip saddr 192.0.2.1 udp sport != 69 {verdict}");
        behind_a_router(&rule, 1500, move |root, to_client| {
            let server = Server::with(root, &["-a", "192.0.2.1:0"]);
            let client = to_client(server.address());
            client.request(&Wish::octet("file").option("blksize", 1000));
            let asked = format!("198.51.100.7:{}", client.port());
            let line = server.wait_for_log(&["WARN ", &asked, expected]);
            assert!(line.starts_with("WARN "), "{line}");
        });
    }
}

/// A client at 198.51.100.7 behind a router at 192.0.2.2, which treats what it forwards by a rule of nftables and has a link of
/// this MTU behind it. The test gets the directory of the server, which is 192.0.2.1, and what makes a client.
fn behind_a_router(
    rule: &str,
    mtu: u16,
    test: impl FnOnce(&Path, &dyn Fn(SocketAddr) -> Client) + Send + 'static,
) {
    let rules =
        format!("table ip t {{ chain c {{ type filter hook forward priority 0; {rule}; }}; }}");
    behind_rules(rules, mtu, test);
}

/// The same with whole tables. The router is 198.51.100.1 for the client.
pub(crate) fn behind_rules(
    rules: String,
    mtu: u16,
    test: impl FnOnce(&Path, &dyn Fn(SocketAddr) -> Client) + Send + 'static,
) {
    if !has_program("nft", "--version") {
        return skipped("there is no nft");
    }
    in_own_network(move || {
        if !lay_cable("here", "near") {
            return;
        }
        run("ip", "address add 192.0.2.1/24 dev here");
        run("ip", "link set here up");
        run("ip", "route add default via 192.0.2.2");
        let (asks, wanted) = std::sync::mpsc::channel::<SocketAddr>();
        let (gives, made) = std::sync::mpsc::channel();
        // Its network is there as long as something in it.
        let _router = at_the_other_end("near", &["address add 192.0.2.2/24 dev near"], move || {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            assert!(lay_cable("far", "there"));
            run("ip", "address add 198.51.100.1/24 dev far");
            run("ip", &format!("link set far mtu {mtu} up"));
            let nft = Command::new("nft").arg(&rules).output().unwrap();
            assert!(nft.status.success(), "{nft:?}");
            let set_up = [
                "address add 198.51.100.7/24 dev there",
                "route add default via 198.51.100.1",
            ];
            at_the_other_end("there", &set_up, move || {
                std::thread::spawn(move || {
                    for to in wanted {
                        let client = Client::at(Ipv4Addr::new(198, 51, 100, 7), to);
                        if gives.send(client).is_err() {
                            break;
                        }
                    }
                });
            });
            std::net::UdpSocket::bind("192.0.2.2:0").unwrap()
        });
        let (root, _) = Root::with_file(100_000);
        let to_client = |to| {
            asks.send(to).unwrap();
            made.recv_timeout(PATIENCE).unwrap()
        };
        test(root.path(), &to_client);
    });
}
