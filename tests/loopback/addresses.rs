//! Where the server listens, and that answers come from the very address that was asked. The client itself checks the latter
//! for each packet it hears.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::process::Command;
use std::time::Duration;

use nix::net::if_::if_nametoindex;

use crate::client::{Client, PATIENCE, fetch_bytes};
use crate::download::Wish;
use crate::machine::{at_the_other_end, eventually, has_ipv6, in_own_network, lay_cable, run};
use crate::root::{Root, assert_same};
use crate::server::{PROGRAM, Server, program, serving};

/// A file and a miss, so that a transfer's own socket and the listening socket both have to answer. Neither client is the
/// one that the other's answer is for.
fn serves_and_refuses(mut client: Client, mut other: Client, bytes: &[u8]) {
    let fetched = client.fetch(&Wish::octet("file")).unwrap();
    assert_same(&fetched.bytes, bytes);
    other.request(&Wish::octet("missing"));
    other.expect_error(1);
}

#[test]
fn several_listening_addresses() {
    if !has_ipv6() {
        return;
    }
    let (_root, bytes, server) = serving(
        5_000,
        &["-a", "127.0.0.1:0", "-a", "127.0.0.3:0", "-a", "[::1]:0"],
    );
    let addresses = server.addresses();
    let hosts = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect::<Vec<_>>();
    assert_eq!(hosts, ["127.0.0.1", "127.0.0.3", "::1"]);
    for &address in addresses {
        assert_ne!(address.port(), 0);
        serves_and_refuses(Client::new(address), Client::new(address), &bytes);
    }
}

#[test]
fn a_wildcard_listener_answers_from_the_address_asked() {
    let (_root, bytes, server) = serving(5_000, &["-a", "0.0.0.0:0"]);
    for host in [
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::new(127, 0, 0, 2),
        Ipv4Addr::new(127, 11, 12, 13),
    ] {
        let asked = SocketAddr::from((host, server.address().port()));
        serves_and_refuses(Client::new(asked), Client::new(asked), &bytes);
        // A client of the same machine with an address of its own.
        let local = Ipv4Addr::new(127, 9, 9, 9);
        serves_and_refuses(Client::at(local, asked), Client::at(local, asked), &bytes);
    }
}

/// Nobody may send from a broadcast address, so the answer comes from the address of the interface it came in by. A file that
/// is not there draws no answer: another server on the cable may have it.
#[test]
fn a_request_to_the_broadcast_address_is_served_or_left_to_others() {
    let (root, bytes) = Root::with_file(5_000);
    for listener in ["0.0.0.0:0", "[::]:0"] {
        if listener.starts_with('[') && !has_ipv6() {
            continue;
        }
        let server = Server::with(root.path(), &["-v", "-a", listener]);
        let everybody =
            SocketAddr::from((Ipv4Addr::new(127, 255, 255, 255), server.address().port()));
        serves_or_says_nothing(
            &server,
            || Client::broadcasting(everybody, Ipv4Addr::LOCALHOST),
            &bytes,
        );
    }
}

/// Between two machines, by each way of IPv4 and IPv6 to ask everybody.
#[test]
fn a_request_to_everybody_on_a_cable_is_served_or_left_to_others() {
    in_own_network(|| {
        if !lay_cable("here", "there") {
            return;
        }
        run("ip", "address add 192.0.2.1/24 brd + dev here");
        run("ip", "-6 address add 2001:db8::1/64 dev here nodad");
        run("ip", "link set here up");
        let (root, bytes) = Root::with_file(5_000);
        let servers =
            ["0.0.0.0:0", "[::]:0"].map(|at| Server::with(root.path(), &["-v", "-a", at]));
        let [v4, v6] = servers.each_ref().map(|server| server.address().port());
        let set_up = [
            "address add 192.0.2.7/24 brd + dev there",
            "route add default dev there",
            "-6 address add 2001:db8::7/64 dev there nodad",
        ];
        // A socket for both families hears no multicast of IPv4.
        let everybody = [
            (0, [192, 0, 2, 255], v4),
            (0, [224, 0, 0, 1], v4),
            (1, [192, 0, 2, 255], v6),
            (1, [255, 255, 255, 255], v6),
        ];
        let clients = at_the_other_end("there", &set_up, move || {
            let ask = |to| {
                let client = Client::at(Ipv4Addr::new(192, 0, 2, 7), to);
                client.calling_out(Ipv4Addr::new(192, 0, 2, 1))
            };
            let mut pairs = Vec::new();
            for (server, host, port) in everybody {
                let to = SocketAddr::from((host, port));
                pairs.push((server, [ask(to), ask(to)]));
            }
            let interface = if_nametoindex("there").unwrap();
            let all_nodes = SocketAddrV6::new(ALL_NODES, v6, 0, interface);
            let of = |host| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host);
            let ask = || Client::at(of(7), all_nodes.into()).calling_out(of(1));
            pairs.push((1, [ask(), ask()]));
            pairs
        });
        for (server, pair) in clients {
            let mut pair = pair.into_iter();
            serves_or_says_nothing(&servers[server], || pair.next().unwrap(), &bytes);
        }
    });
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Asks for a file that is there, and for others.
#[track_caller]
fn serves_or_says_nothing(server: &Server, mut client: impl FnMut() -> Client, bytes: &[u8]) {
    let mut left_alone = client();
    for name in ["missing", "../file", "/"] {
        left_alone.request(&Wish::octet(name));
        let asked = format!(":{} \"{name}\"", left_alone.port());
        let line = server.wait_for_log(&[&asked]);
        assert!(
            line.starts_with("DEBUG ") && line.contains("broadcast request not answered"),
            "{line}"
        );
    }
    left_alone.send_to_server(b"\0\x02file\0octet\0");
    server.wait_for_log(&[&format!(
        ":{} \"file\": broadcast request not answered",
        left_alone.port()
    )]);
    let mut served = client();
    let wish = Wish::octet("file");
    assert_same(&served.fetch(&wish).unwrap().bytes, bytes);
    left_alone.expect_nothing_yet();
}

#[test]
fn ipv6() {
    if !has_ipv6() {
        return;
    }
    let (_root, bytes, server) = serving(5_000, &["-a", "[::1]:0"]);
    assert!(server.address().is_ipv6());
    serves_and_refuses(
        Client::new(server.address()),
        Client::new(server.address()),
        &bytes,
    );
}

#[test]
fn one_listener_for_both_families() {
    if !has_ipv6() {
        return;
    }
    let (_root, bytes, server) = serving(5_000, &["-a", "[::]:0"]);
    let port = server.address().port();
    for asked in [
        SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), port)),
    ] {
        serves_and_refuses(Client::new(asked), Client::new(asked), &bytes);
    }
    // A client is called by the name it has, not by its name in IPv6.
    server.wait_for_log(&["127.0.0.1:", "\"file\": complete"]);
    assert_eq!(server.lines_with("ffff:"), [""; 0]);
}

#[test]
fn without_ipv6_the_default_serves_ipv4() {
    in_own_network(|| {
        let no_ipv6 = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
        std::fs::write(no_ipv6, "1").unwrap();
        let (root, bytes) = Root::with_file(5_000);
        let mut command = program(PROGRAM);
        command.arg("-r").arg(root.path());
        let server = Server::launch(command, 1);
        assert_eq!(server.address().port(), 69);
        assert_same(
            &fetch_bytes("127.0.0.1:69".parse().unwrap(), "file"),
            &bytes,
        );
    });
}

#[test]
fn the_default_is_port_69_of_both_families() {
    in_own_network(|| {
        if !has_ipv6() {
            return;
        }
        let (root, bytes) = Root::with_file(5_000);
        let mut command = program(PROGRAM);
        command.arg("-r").arg(root.path());
        let server = Server::launch(command, 1);
        assert_eq!(server.address(), "[::]:69".parse().unwrap());
        for asked in ["127.0.0.1:69", "[::1]:69"] {
            assert_same(&fetch_bytes(asked.parse().unwrap(), "file"), &bytes);
        }
    });
}

#[test]
fn an_address_without_a_port_means_port_69() {
    in_own_network(|| {
        if !has_ipv6() {
            return;
        }
        let (_root, bytes, server) = serving(5_000, &["-a", "127.0.0.1", "-a", "[::1]"]);
        for asked in ["127.0.0.1:69", "[::1]:69"] {
            assert!(server.addresses().contains(&asked.parse().unwrap()));
            assert_same(&fetch_bytes(asked.parse().unwrap(), "file"), &bytes);
        }
    });
}

/// The kernel would choose the first address of the interface, which is not the one the client waits for.
#[test]
fn secondary_addresses() {
    in_own_network(|| {
        if !has_ipv6() {
            return;
        }
        run("ip", "address add 192.0.2.1/24 dev lo");
        run("ip", "address add 192.0.2.2/24 dev lo");
        run("ip", "address add 2001:db8::1/64 dev lo nodad");
        run("ip", "address add 2001:db8::2/64 dev lo nodad");
        let (root, bytes) = Root::with_file(5_000);
        for listener in ["0.0.0.0:0", "[::]:0"] {
            let server = Server::with(root.path(), &["-a", listener]);
            for host in ["192.0.2.1", "192.0.2.2"] {
                let asked = SocketAddr::new(host.parse().unwrap(), server.address().port());
                let client = || Client::at(Ipv4Addr::new(192, 0, 2, 1), asked);
                serves_and_refuses(client(), client(), &bytes);
            }
        }
        let server = Server::with(root.path(), &["-a", "[::]:0"]);
        for host in ["2001:db8::1", "2001:db8::2"] {
            let asked = SocketAddr::new(host.parse().unwrap(), server.address().port());
            let client = || Client::at("2001:db8::1".parse::<Ipv6Addr>().unwrap(), asked);
            serves_and_refuses(client(), client(), &bytes);
        }
    });
}

/// The address of a link says nothing without the link, and the answer must go back by the same one.
#[test]
fn link_local_clients() {
    in_own_network(|| {
        if !has_ipv6() {
            return;
        }
        run("ip", "link add name left type veth peer name right");
        run("ip", "address add fe80::1/64 dev left nodad");
        run("ip", "address add fe80::2/64 dev right nodad");
        run("ip", "link set left up");
        run("ip", "link set right up");
        let (_root, bytes, server) = serving(5_000, &["-a", "[::]:0"]);
        let scope = interface_index("left");
        let asked = SocketAddrV6::new(
            "fe80::1".parse().unwrap(),
            server.address().port(),
            0,
            scope,
        );
        let client = || Client::on_link("fe80::1".parse().unwrap(), scope, asked.into());
        serves_and_refuses(client(), client(), &bytes);
    });
}

/// By `ip`, since /sys may still show the network this process began in.
fn interface_index(name: &str) -> u32 {
    let output = Command::new("ip")
        .args(["-o", "link", "show", name])
        .output()
        .unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    line.split_once(':').unwrap().0.parse().unwrap()
}

/// As a machine that boots starts its services, or a cluster moves an address: the server is there first.
#[test]
fn an_address_that_is_not_there_yet_is_served_once_it_is() {
    in_own_network(|| {
        let (root, bytes) = Root::with_file(5_000);
        let mut cases = vec![("192.0.2.77:69", "address add 192.0.2.77/24 dev lo")];
        if has_ipv6() {
            cases.push((
                "[2001:db8::77]:69",
                "address add 2001:db8::77/64 dev lo nodad",
            ));
        }
        for (asked, appears) in cases {
            let server = Server::with(root.path(), &["-a", asked]);
            let asked: SocketAddr = asked.parse().unwrap();
            assert_eq!(server.address(), asked);
            server.wait_for_log(&[
                "WARN",
                &asked.to_string(),
                "not an address of this machine yet",
            ]);
            run("ip", appears);
            let local = asked.ip();
            // The kernel takes a moment to have a route to a new IPv6 address, and packets are lost meanwhile.
            eventually("an answer", PATIENCE, || {
                let mut probe = Client::at(local, asked).asking(&Wish::octet("missing"));
                probe.receive_within(Duration::from_millis(100))
            });
            serves_and_refuses(Client::at(local, asked), Client::at(local, asked), &bytes);
            assert_eq!(server.lines_with("yet").len(), 1);
            // One that is there needs no warning.
            drop(server);
            let server = Server::with(root.path(), &["-a", &asked.to_string()]);
            assert_same(&fetch_bytes(asked, "file"), &bytes);
            assert_eq!(server.lines_with("yet"), [""; 0]);
        }
    });
}
