//! A hop with a small MTU that loses fragments.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use crate::client::{Client, PATIENCE};
use crate::download::{Download, Wish};
use crate::machine::{at_the_other_end, has_program, in_own_network, lay_cable, run, skipped};
use crate::root::assert_same;
use crate::server::serving;

/// The server's own link carries 1500 bytes, so the server cannot know. Who is silent twice is served the third time.
#[test]
fn blocks_that_are_lost_as_fragments() {
    if !has_program("nft", "--version") {
        return skipped("there is no nft");
    }
    in_own_network(|| {
        if !lay_cable("here", "near") {
            return;
        }
        run("ip", "address add 192.0.2.1/24 dev here");
        run("ip", "link set here up");
        run("ip", "route add default via 192.0.2.2");
        let (asks, wanted) = mpsc::channel();
        let (gives, made) = mpsc::channel();
        let address = ["address add 192.0.2.2/24 dev near"];
        // Its network is there as long as its socket.
        let _router = at_the_other_end("near", &address, || route_in_fragments(wanted, gives));
        let (_root, bytes, server) = serving(100_000, &["-a", "192.0.2.1:0", "-t", "4"]);
        let client = || {
            asks.send(server.address()).unwrap();
            made.recv_timeout(PATIENCE).unwrap()
        };
        let wish = Wish::octet("file").option("blksize", 1468);
        for _ in 0..2 {
            let mut silent: Client = client();
            silent.request(&wish);
            silent.expect_oack(&[("blksize", "1468")]);
            silent.ack(0);
            let line = format!(
                "198.51.100.7:{} \"file\": timed out; 0 bytes",
                silent.port()
            );
            server.wait_for_log(&[&line]);
            silent.expect_nothing_yet();
        }
        let line = server.wait_for_log(&["WARN 198.51.100.7:", "twice in a row", "(see -B)"]);
        assert!(line.contains("512 bytes for 10 minutes"), "{line}");
        let mut third = client();
        third.request(&wish);
        third.expect_oack(&[("blksize", "512")]);
        third.ack(0);
        let download = Download::new(&Wish::octet("file"));
        assert_same(&third.complete(download).unwrap().bytes, &bytes);
    });
}

/// A router whose link to a client at 198.51.100.7 carries 1400 bytes, and on which fragments are lost. Makes a client there
/// for each address that is wanted.
fn route_in_fragments(
    wanted: mpsc::Receiver<SocketAddr>,
    gives: mpsc::Sender<Client>,
) -> std::net::UdpSocket {
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    assert!(lay_cable("far", "there"));
    run("ip", "address add 198.51.100.1/24 dev far");
    run("ip", "link set far mtu 1400 up");
    let set_up = [
        "address add 198.51.100.7/24 dev there",
        "route add default via 198.51.100.1",
    ];
    at_the_other_end("there", &set_up, move || {
        // Before the kernel would put them together.
        let rules = "table ip t {\n chain c {\n type filter hook prerouting priority -450;\n \
                     ip frag-off & 0x3fff != 0 drop;\n }\n}\n";
        let nft = Command::new("nft").arg(rules).output().unwrap();
        assert!(nft.status.success(), "{nft:?}");
        thread::spawn(move || {
            for to in wanted {
                let client = Client::at(Ipv4Addr::new(198, 51, 100, 7), to);
                if gives.send(client).is_err() {
                    break;
                }
            }
        });
    });
    std::net::UdpSocket::bind("192.0.2.2:0").unwrap()
}
