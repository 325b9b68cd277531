//! Options over a real socket: what is granted, in which order and spelling (RFC 2347, 2348, 2349, 7440).

use crate::client::{Client, fetch};
use crate::download::Wish;
use crate::machine::{has_ipv6, in_own_network, run};
use crate::packet;
use crate::root::{Root, assert_same};
use crate::server::{Server, serving};

#[test]
fn granted_in_the_clients_order_and_spelling_and_nothing_else() {
    let (_root, _, server) = serving(700, &[]);
    let wish = Wish::octet("file")
        .option("WindowSize", 4)
        .option("x-unknown", "yes")
        .option("TSIZE", 0)
        .option("timeout", 3)
        .option("blkSize", 1024);
    let mut client = Client::new(server.address()).asking(&wish);
    client.expect_oack(&[
        ("WindowSize", "4"),
        ("TSIZE", "700"),
        ("timeout", "3"),
        ("blkSize", "1024"),
    ]);
    client.send(&packet::error(8, "just asking"));
}

#[test]
fn unusable_options_are_left_out_and_never_an_error() {
    let (_root, bytes, server) = serving(700, &[]);
    for (name, value) in [
        ("blksize", "7"),
        ("blksize", "512x"),
        ("blksize", "-1"),
        ("blksize", "1000000000000000000000000000000"),
        ("timeout", "0"),
        ("timeout", "256"),
        ("windowsize", "0"),
        ("windowsize", "65536"),
        ("x-unknown", "1"),
    ] {
        let download = fetch(server.address(), &Wish::octet("file").option(name, value)).unwrap();
        assert_eq!(download.agreed, [], "{name} {value}");
        assert_same(&download.bytes, &bytes);
    }
}

#[test]
fn the_operators_bounds_lower_what_is_granted() {
    let (_root, bytes, server) = serving(70_000, &["-B", "1000", "-W", "3"]);
    let wish = Wish::octet("file")
        .option("blksize", 65464)
        .option("windowsize", 65535);
    let download = fetch(server.address(), &wish).unwrap();
    assert_eq!(
        (download.option("blksize"), download.option("windowsize")),
        (Some("1000"), Some("3"))
    );
    assert_same(&download.bytes, &bytes);
}

#[test]
fn without_bounds_the_defaults_hold() {
    let (_root, bytes, server) = serving(200_000, &[]);
    // The loopback interface carries 65,536 bytes at once.
    let download = fetch(
        server.address(),
        &Wish::octet("file").option("blksize", 65464),
    )
    .unwrap();
    assert_eq!(download.option("blksize"), Some("65464"));
    assert_same(&download.bytes, &bytes);
    let download = fetch(
        server.address(),
        &Wish::octet("file").option("windowsize", 65535),
    )
    .unwrap();
    assert_eq!(download.option("windowsize"), Some("64"));
    assert_same(&download.bytes, &bytes);
}

/// Firmware cannot put fragments together, so a block is no larger than what one frame carries: 1500 bytes less the headers of IPv4
/// (20) or IPv6 (40), UDP (8) and DATA (4).
#[test]
fn blocks_fit_the_path_unless_the_operator_says_otherwise() {
    in_own_network(|| {
        if !has_ipv6() {
            return;
        }
        run("ip", "link set lo mtu 1500");
        let (root, bytes) = Root::with_file(20_000);
        let both = ["-a", "127.0.0.1:0", "-a", "[::1]:0"];
        for (options, granted) in [
            (&[][..], ["1468", "1448"]),
            (&["--no-mtu-clamp"], ["8000", "8000"]),
        ] {
            let server = Server::with(root.path(), &[&both, options].concat());
            for (&address, granted) in server.addresses().iter().zip(granted) {
                let download =
                    fetch(address, &Wish::octet("file").option("blksize", 8000)).unwrap();
                assert_eq!(
                    download.option("blksize"),
                    Some(granted),
                    "{address} {options:?}"
                );
                assert_same(&download.bytes, &bytes);
            }
        }
    });
}
