//! Routers between client and server that rewrite addresses or refuse what nobody asked for, as in front of containers, and which
//! ports pass them.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::client::Client;
use crate::download::{Download, Wish};
use crate::firewalls::behind_rules;
use crate::machine::{has_program, in_own_network, is_root, skipped};
use crate::server::{Mode, Server};

/// The ports of transfers.
const DEFAULT: &[&str] = &["-v"];
const RANGE: &[&str] = &["-R", "20000:20063"];
const SINGLE: &[&str] = &["--single-port"];

/// The server and the address under which the router publishes it.
const SERVER: &str = "192.0.2.1:69";
const PUBLISHED: &str = "198.51.100.1:69";

/// Requests to the router go to the server; what the server sends on its own comes from the router.
const DNAT: &str = "table ip n {
    chain in { type nat hook prerouting priority -100; udp dport 69 dnat to 192.0.2.1; };
    chain out { type nat hook postrouting priority 100; oifname \"far\" masquerade; };
}";
/// The server sees the router's address instead of the client's, too.
const FULL_NAT: &str = "table ip n {
    chain in { type nat hook prerouting priority -100; udp dport 69 dnat to 192.0.2.1; };
    chain out { type nat hook postrouting priority 100; masquerade random; };
}";
/// The same, and the kernel looks into requests.
const FULL_NAT_WITH_HELPER: &str = "table ip n {
    ct helper tftp { type \"tftp\" protocol udp; };
    chain look { type filter hook prerouting priority -150; udp dport 69 ct helper set \"tftp\"; };
    chain in { type nat hook prerouting priority -100; udp dport 69 dnat to 192.0.2.1; };
    chain out { type nat hook postrouting priority 100; masquerade random; };
}";
/// Only answers pass.
const STATEFUL: &str = "table ip f {
    chain c { type filter hook forward priority 0; policy drop;
        ct state established accept; ip daddr 192.0.2.1 udp dport 69 accept; };
}";
/// Nothing is remembered; these ports are open.
const STATELESS: &str = "table ip f {
    chain c { type filter hook forward priority 0; policy drop;
        ip daddr 192.0.2.1 udp dport { 69, 20000-20063 } accept;
        ip saddr 192.0.2.1 udp sport { 69, 20000-20063 } accept; };
}";

/// Which of the three ways of choosing ports get a file through these rules, the server bound to its address or to all.
fn expect(rules: &str, to: &'static str, expected: [(&'static [&'static str], bool); 3]) {
    if Mode::wanted() != Mode::OwnPorts {
        return skipped("it compares the ways of choosing ports");
    }
    for listen in [SERVER, "0.0.0.0:69", "[::]:69"] {
        behind_rules(rules.to_owned(), 1500, move |root, to_client| {
            for (options, passes) in expected {
                let server = Server::with(root, &[&["-a", listen], options].concat());
                let to: SocketAddr = to.parse().unwrap();
                let passed = gets_the_file(&mut to_client(to));
                assert_eq!(passed, passes, "{listen} {options:?}");
                drop(server);
            }
        });
    }
}

fn gets_the_file(client: &mut Client) -> bool {
    let wish = Wish::octet("file").option("blksize", 1400);
    // The first packet may be lost where a part of the kernel is loaded for it.
    let oack = (0..3).find_map(|_| {
        client.request(&wish);
        client.receive_within(Duration::from_millis(500))
    });
    let Some(oack) = oack else {
        return false;
    };
    let mut download = Download::new(&wish);
    let answer = download.on_packet(crate::packet::parse(&oack));
    client.send(&answer.unwrap());
    client.complete(download).unwrap().bytes.len() == 100_000
}

#[test]
fn a_published_port() {
    expect(
        DNAT,
        PUBLISHED,
        [(DEFAULT, true), (RANGE, true), (SINGLE, true)],
    );
}

#[test]
fn a_published_port_and_a_source_that_is_rewritten() {
    expect(
        FULL_NAT,
        PUBLISHED,
        [(DEFAULT, false), (RANGE, false), (SINGLE, true)],
    );
}

#[test]
fn a_source_that_is_rewritten_and_a_helper() {
    if !is_root() || !has_program("nft", "--version") {
        return skipped("a network of its own needs root and nft");
    }
    let (gives, has_helper) = std::sync::mpsc::channel();
    in_own_network(move || {
        let nft = Command::new("nft").arg(FULL_NAT_WITH_HELPER).output();
        gives.send(nft.unwrap().status.success()).unwrap();
    });
    if has_helper.recv() != Ok(true) {
        return skipped("the kernel has no nf_conntrack_tftp");
    }
    let expected = [(DEFAULT, true), (RANGE, true), (SINGLE, true)];
    expect(FULL_NAT_WITH_HELPER, PUBLISHED, expected);
}

#[test]
fn a_firewall_that_lets_only_answers_pass() {
    expect(
        STATEFUL,
        SERVER,
        [(DEFAULT, false), (RANGE, false), (SINGLE, true)],
    );
}

#[test]
fn a_filter_that_has_some_ports_open() {
    expect(
        STATELESS,
        SERVER,
        [(DEFAULT, false), (RANGE, true), (SINGLE, true)],
    );
}

/// The server says so once, and names the way out.
#[test]
fn rewritten_addresses_are_noticed() {
    if Mode::wanted() == Mode::SinglePort {
        return skipped("nothing is rewritten with a single port");
    }
    behind_rules(FULL_NAT.to_owned(), 1500, |root, to_client| {
        let server = Server::with(root, &["-a", SERVER]);
        for _ in 0..8 {
            let client = to_client(PUBLISHED.parse().unwrap());
            client.request(&Wish::octet("file"));
            let from = ["192.0.2.2:", "\"file\": first packet rejected by 192.0.2.2"];
            server.wait_for_log(&from);
        }
        let line = server.wait_for_log(&["--single-port"]);
        assert!(line.starts_with("WARN 192.0.2.2: "), "{line}");
        assert_eq!(server.lines_with("--single-port").len(), 1);
    });
}
