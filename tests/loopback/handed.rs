//! Sockets that are handed over, as by a service manager or a super-server.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::background::{assert_confined, assert_idle};
use crate::client::{Client, PATIENCE, fetch_bytes};
use crate::download::Wish;
use crate::machine::{at_the_other_end, eventually, has_ipv6, in_own_network, lay_cable, run};
use crate::packet::write_request;
use crate::root::{Root, assert_same};
use crate::server::{PROGRAM, Server, program};
use crate::signals::halfway_at;

const AT_ONCE: Duration = Duration::from_secs(5);

/// The server with up to two sockets as descriptors 3 and 4, as a service manager hands them over.
fn managed(root: &Root, sockets: Vec<OwnedFd>, names: &str, options: &[&str]) -> Command {
    let mut command = program("sh");
    let count = sockets.len();
    let script = r#"export LISTEN_PID=$$; exec "$@" 3<&0 4<&1 0</dev/null 1>&2"#;
    command.args(["-c", script, "sh"]).arg(PROGRAM);
    let mut sockets = sockets.into_iter();
    command.stdin(sockets.next().unwrap());
    if let Some(second) = sockets.next() {
        command.stdout(second);
    }
    command.env("LISTEN_FDS", count.to_string());
    command.env("LISTEN_FDNAMES", names);
    command.arg("-r").arg(root.path()).args(options);
    command
}

/// With the socket as descriptor 0 only.
fn by_inetd(root: &Root, name: &str, socket: OwnedFd, options: &[&str]) -> Command {
    let link = root.beside(name);
    let _ = std::os::unix::fs::symlink(PROGRAM, &link);
    let mut command = program(link);
    command.stdin(socket).args(options).arg(root.path());
    command
}

fn bound(address: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(address).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn copy(socket: &UdpSocket) -> OwnedFd {
    socket.try_clone().unwrap().into()
}

#[test]
fn sockets_of_both_families_are_served_and_named() {
    if !has_ipv6() {
        return;
    }
    let (root, bytes) = Root::with_file(5_000);
    let (v4, v4_address) = bound("127.0.0.1:0");
    let (v6, v6_address) = bound("[::1]:0");
    let command = managed(&root, vec![v4.into(), v6.into()], "four:", &[]);
    let server = Server::launch(command, 2);
    assert_eq!(server.addresses(), [v4_address, v6_address]);
    server.wait_for_log(&["(handed over: descriptor 3 four)"]);
    server.wait_for_log(&["(handed over: descriptor 4 )"]);
    for address in [v4_address, v6_address] {
        assert_same(&fetch_bytes(address, "file"), &bytes);
        server.wait_for_log(&[&format!("{address}: receive buffer of ")]);
    }
    assert_confined(server.process());
}

/// `[::]` takes IPv4 as well.
#[test]
fn one_socket_for_both_families() {
    if !has_ipv6() {
        return;
    }
    let (root, bytes) = Root::with_file(5_000);
    let (socket, address) = bound("[::]:0");
    let _server = Server::launch(managed(&root, vec![socket.into()], "", &[]), 1);
    for ip in [
        Ipv4Addr::new(127, 0, 0, 7).into(),
        Ipv6Addr::LOCALHOST.into(),
    ] {
        let asked = SocketAddr::new(ip, address.port());
        assert_same(&fetch_bytes(asked, "file"), &bytes);
    }
}

/// The kernel tells of a datagram that came so early less than of others: its answer comes from the address that was
/// asked all the same.
#[test]
fn requests_that_came_before_the_start_are_answered() {
    let (root, bytes) = Root::with_file(5_000);
    let wish = Wish::octet("file");
    for everywhere in ["0.0.0.0:0", "[::]:0"] {
        if everywhere.contains('[') && !has_ipv6() {
            continue;
        }
        let (socket, address) = bound(everywhere);
        let asked =
            [[127, 0, 0, 1], [127, 0, 0, 5]].map(|ip| SocketAddr::from((ip, address.port())));
        let mut early = asked.map(Client::new);
        early.iter().for_each(|client| client.request(&wish));
        let _server = Server::launch(by_inetd(&root, "tftpd", socket.into(), &[]), 1);
        for (client, asked) in early.iter_mut().zip(asked) {
            let download = crate::download::Download::new(&wish);
            assert_same(&client.complete(download).unwrap().bytes, &bytes);
            assert_eq!(client.tid().ip(), asked.ip());
        }
    }
}

/// To everybody on the cable, before the start: nobody else knows which of our addresses that meant.
#[test]
fn an_early_broadcast_is_answered_from_an_address_of_ours() {
    in_own_network(|| {
        if !lay_cable("here", "there") {
            return;
        }
        run(
            "ip",
            "address add 192.0.2.1/24 broadcast 192.0.2.255 dev here",
        );
        run("ip", "link set here up");
        let (root, bytes) = Root::with_file(700);
        let (socket, _) = bound("0.0.0.0:69");
        let own = "address add 192.0.2.2/24 broadcast 192.0.2.255 dev there";
        let mut client = at_the_other_end("there", &[own], || {
            let everybody = "192.0.2.255:69".parse().unwrap();
            let client = Client::at(Ipv4Addr::new(192, 0, 2, 2), everybody);
            client.calling_out(Ipv4Addr::new(192, 0, 2, 1))
        });
        socket.set_nonblocking(true).unwrap();
        // The cable is not there at once.
        eventually("the request", PATIENCE, || {
            client.request(&Wish::octet("file"));
            socket.peek_from(&mut [0; 9]).ok()
        });
        let _server = Server::launch(by_inetd(&root, "tftpd", socket.into(), &[]), 1);
        let download = crate::download::Download::new(&Wish::octet("file"));
        assert_same(&client.complete(download).unwrap().bytes, &bytes);
    });
}

/// As inetd, xinetd and `StandardInput=socket` do it: all three streams are the socket, and the log goes elsewhere.
#[test]
fn a_socket_in_the_place_of_every_stream_is_never_written_to() {
    let (root, bytes) = Root::with_file(5_000);
    let (socket, address) = bound("127.0.0.1:0");
    let mut command = by_inetd(&root, "in.tftpd", copy(&socket), &["-s", "-v"]);
    command.stdout(copy(&socket)).stderr(copy(&socket));
    let mut child = command.spawn().unwrap();
    assert_same(&fetch_bytes(address, "file"), &bytes);
    for stream in 0..3 {
        let link = fs::read_link(format!("/proc/{}/fd/{stream}", child.id()));
        assert_eq!(link.unwrap(), Path::new("/dev/null"));
    }
    assert_confined(child.id());
    assert_idle(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn nothing_is_written_to_a_socket_when_the_start_fails() {
    let root = Root::new();
    let reader = UdpSocket::bind("127.0.0.1:0").unwrap();
    for options in [
        &["--frobnicate"][..],
        &["-u", "no-such-user"],
        &["--help"],
        &["--version"],
    ] {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // A write would reach a peer.
        socket.connect(reader.local_addr().unwrap()).unwrap();
        let mut command = by_inetd(&root, "tftpd", copy(&socket), options);
        command.stdout(copy(&socket)).stderr(copy(&socket));
        command.status().unwrap();
        reader.set_nonblocking(true).unwrap();
        assert!(reader.recv(&mut [0; 9]).is_err(), "{options:?}");
    }
}

/// The next instance has what came while the one before stopped.
#[test]
fn the_next_instance_answers_what_came_meanwhile() {
    let (root, bytes) = Root::with_file(100_000);
    let (socket, address) = bound("127.0.0.1:0");
    let start = || Server::launch(by_inetd(&root, "in.tftpd", copy(&socket), &["-ls"]), 1);
    let mut first = start();
    let warned = first.wait_for_log(&["WARN", "-l"]);
    assert!(warned.contains("in.tftpd(8)"), "{warned}");
    let (mut running, download) = halfway_at(address);
    first.signal(Signal::SIGTERM);
    first.wait_for_log(&["INFO stopping"]);
    let mut late = Client::new(address).asking(&Wish::octet("file"));
    // It is not in the background, and a transfer may finish.
    assert_same(&running.complete(download).unwrap().bytes, &bytes);
    assert_eq!(first.wait(AT_ONCE).code(), Some(0));
    let _second = start();
    let download = crate::download::Download::new(&Wish::octet("file"));
    assert_same(&late.complete(download).unwrap().bytes, &bytes);
    assert_same(&fetch_bytes(address, "file"), &bytes);
}

#[test]
fn an_address_beside_it_is_an_error_in_one_language_and_ignored_in_the_other() {
    let (root, bytes) = Root::with_file(700);
    let unused = ["-a", "127.0.0.1:1"];
    for (options, named) in [
        (&unused[..], "tftpd: -a 127.0.0.1:1: "),
        (&["-4"], "tftpd: -4: "),
        (&["-b"], "tftpd: -b: "),
    ] {
        let (socket, _) = bound("127.0.0.1:0");
        let output = by_inetd(&root, "tftpd", socket.into(), options)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            told.starts_with(named) && told.contains("handed over"),
            "{told}"
        );
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    let (socket, address) = bound("127.0.0.1:0");
    let options = [&unused[..], &["-t", "900", "-4", "--listen", "-s"]].concat();
    let server = Server::launch(by_inetd(&root, "in.tftpd", socket.into(), &options), 1);
    assert_eq!(server.addresses(), [address]);
    server.wait_for_log(&["WARN", ": -t 900, -a 127.0.0.1:1, -4, -l; see in.tftpd(8)"]);
    assert_same(&fetch_bytes(address, "file"), &bytes);
}

#[test]
fn sockets_of_another_kind_are_named() {
    let root = Root::new();
    let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
    connected.connect("127.0.0.1:9").unwrap();
    let unbound = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Datagram,
        nix::sys::socket::SockFlag::empty(),
        None,
    );
    let path = root.beside("socket");
    let wrong: [OwnedFd; 4] = [
        TcpListener::bind("127.0.0.1:0").unwrap().into(),
        connected.into(),
        UnixDatagram::bind(path).unwrap().into(),
        unbound.unwrap(),
    ];
    for socket in wrong {
        let again = socket.try_clone().unwrap();
        for (command, name) in [
            (
                by_inetd(&root, "in.tftpd", socket, &[]),
                "in.tftpd: descriptor 0: ",
            ),
            (
                managed(&root, vec![again], "", &[]),
                "tftpd: descriptor 3 : ",
            ),
        ] {
            let mut command = command;
            let output = command.output().unwrap();
            let told = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{told}");
            assert!(
                told.starts_with(name) && told.contains("not a UDP socket"),
                "{told}"
            );
        }
    }
    // What was promised is not there.
    let mut command = program("sh");
    command.args([
        "-c",
        r#"LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&-"#,
        "sh",
        PROGRAM,
    ]);
    let output = command.arg(root.path()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.starts_with("tftpd: sockets that were handed over: "),
        "{told}"
    );
}

/// A pair of UNIX sockets is what some programs take for a pipe; and what was meant for another process is not ours.
#[test]
fn what_was_not_handed_over_is_not_taken() {
    let (root, bytes) = Root::with_file(700);
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let mut command = by_inetd(&root, "tftpd", ours.into(), &["-a", "127.0.0.1:0"]);
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let server = Server::launch(command, 1);
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
}

/// Nothing of a flood that came before the start is in the way of anybody.
#[test]
fn a_full_buffer_at_the_start_is_worked_off() {
    let (root, bytes) = Root::with_file(700);
    let (socket, address) = bound("127.0.0.1:0");
    let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..5_000_u32 {
        flood
            .send_to(
                &write_request(format!("new{number}").as_bytes(), "octet"),
                address,
            )
            .unwrap();
    }
    let _server = Server::launch(by_inetd(&root, "tftpd", socket.into(), &[]), 1);
    assert_same(&fetch_bytes(address, "file"), &bytes);
}

/// Where `systemd-socket-activate` is there, by the real thing.
#[test]
fn a_service_manager_hands_its_socket_over() {
    if !crate::machine::has_program("systemd-socket-activate", "--version") {
        return crate::machine::skipped("there is no systemd-socket-activate");
    }
    let (root, bytes) = Root::with_file(700);
    for inetd in [&["--inetd"][..], &["--fdname=boot"]] {
        let address = crate::background::own_address();
        let mut command = program("systemd-socket-activate");
        command.args(["-d", "-l", &address.to_string()]).args(inetd);
        command.arg(PROGRAM).arg("-r").arg(root.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // It listens in its own time, and starts the server by the first request.
        let fetched = eventually("an answer", PATIENCE, || {
            let mut probe = Client::new(address).asking(&Wish::octet("missing"));
            probe.receive_within(Duration::from_millis(100))
        });
        assert!(!fetched.is_empty());
        assert_same(&fetch_bytes(address, "file"), &bytes);
        assert_confined(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
