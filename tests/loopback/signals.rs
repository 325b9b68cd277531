//! SIGTERM and SIGINT let running transfers finish, a second one does not, and others do nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::{Client, PATIENCE, fetch_bytes};
use crate::download::{Download, Wish};
use crate::machine::{eventually, skipped};
use crate::root::{Root, assert_same};
use crate::server::{Mode, PROGRAM, Server, program, serving};

const AT_ONCE: Duration = Duration::from_secs(5);

fn halfway(server: &Server) -> (Client, Download) {
    halfway_at(server.address())
}

pub(crate) fn halfway_at(server: SocketAddr) -> (Client, Download) {
    let mut client = Client::new(server);
    let download = client.begin(&Wish::octet("file"), 3);
    (client, download)
}

#[test]
fn an_idle_server_ends_at_once_and_well() {
    let (root, bytes) = Root::with_file(600);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::start(root.path());
        assert_same(&fetch_bytes(server.address(), "file"), &bytes);
        server.wait_for_log(&["complete"]);
        server.signal(signal);
        assert_eq!(server.wait(AT_ONCE).code(), Some(0), "{signal}");
    }
}

#[test]
fn running_transfers_finish_and_nobody_else_is_let_in() {
    let (root, bytes) = Root::with_file(100_000);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::with(root.path(), &["-n", "2"]);
        let mut running = [halfway(&server), halfway(&server)];
        let mut waiting = Client::new(server.address()).asking(&Wish::octet("file"));
        server.signal(signal);
        server.wait_for_signal_taken();
        server.wait_for_log(&["INFO stopping"]);
        let mut late = Client::new(server.address()).asking(&Wish::octet("file"));
        late.request(&Wish::octet("missing"));

        for (client, download) in &mut running {
            let download = std::mem::replace(download, Download::new(&Wish::octet("")));
            assert_same(&client.complete(download).unwrap().bytes, &bytes);
        }
        assert_eq!(server.wait(AT_ONCE).code(), Some(0), "{signal}");
        for client in [&mut waiting, &mut late] {
            client.expect_nothing_yet();
        }
        assert_eq!(server.lines_with("\"file\": complete").len(), 2);
    }
}

#[test]
fn a_transfer_that_hangs_is_waited_for_no_longer_than_the_drain() {
    let (root, _) = Root::with_file(100_000);
    for (options, seconds) in [(&["--drain", "0"][..], 0), (&["--drain", "1"], 1), (&[], 3)] {
        let mut server = Server::with(root.path(), options);
        let _hanging = halfway(&server);
        let begin = Instant::now();
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(PATIENCE).code(), Some(0));
        assert!(
            begin.elapsed() >= Duration::from_secs(seconds),
            "{options:?}"
        );
    }
}

/// With the drain of the default; `-t` is 35.
#[test]
fn an_unresponsive_transfer_does_not_keep_the_next_instance_waiting() {
    let (root, bytes, mut old) = serving(100_000, &[]);
    let address = old.address().to_string();
    let _hanging = halfway(&old);
    old.signal(Signal::SIGTERM);
    // Its successor comes while it still has the port.
    let new = Server::with(root.path(), &["-a", &address]);
    new.wait_for_log(&["WARN", &address, "in use"]);
    assert_eq!(old.wait(AT_ONCE).code(), Some(0));
    assert_same(&fetch_bytes(new.address(), "file"), &bytes);
}

/// A client that asks meanwhile is left to the next instance: nothing reads its request, and the port stays open.
#[test]
fn requests_stay_unread_while_it_stops() {
    if Mode::wanted() == Mode::SinglePort {
        return skipped("a shared socket is read to the end");
    }
    let (_root, _, mut server) = serving(100_000, &[]);
    let port = server.address().port();
    let (running, _) = halfway(&server);
    server.signal(Signal::SIGTERM);
    server.wait_for_log(&["INFO stopping"]);
    assert_eq!(unread_bytes(port), 0);
    let mut late = Client::new(server.address()).asking(&Wish::octet("file"));
    late.request(&Wish::octet("missing"));
    // The loop takes its turns all the same.
    running.ack(3);
    server.signal(Signal::SIGUSR1);
    server.wait_for_signal_taken();
    assert!(unread_bytes(port) > 0, "they were read");
    assert_eq!(server.wait(AT_ONCE).code(), Some(0));
    late.expect_nothing_yet();
}

/// What waits in the buffer of the IPv4 socket at `port`.
fn unread_bytes(port: u16) -> u64 {
    let table = fs::read_to_string("/proc/thread-self/net/udp").unwrap();
    let end = format!(":{port:04X}");
    let mut rows = table.lines().map(|row| row.split_whitespace());
    let row = rows.find(|row| {
        row.clone()
            .nth(1)
            .is_some_and(|local| local.ends_with(&end))
    });
    let queues = row.unwrap().nth(4).unwrap();
    u64::from_str_radix(queues.split_once(':').unwrap().1, 16).unwrap()
}

#[test]
fn a_start_that_waits_for_its_port_ends_when_told() {
    let (root, _) = Root::with_file(10);
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = program(PROGRAM);
    command.args(["-a", &address, "-r"]).arg(root.path());
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let waits = |line: &std::io::Result<String>| line.as_ref().unwrap().contains("in use");
    assert!(log.any(|line| waits(&line)));
    let process = Pid::from_raw(child.id().try_into().unwrap());
    kill(process, Signal::SIGTERM).unwrap();
    let status = eventually("its end", Duration::from_secs(3), || {
        child.try_wait().unwrap()
    });
    assert_eq!(status.code(), Some(1));
}

/// However alive the transfer is.
#[test]
fn a_transfer_that_goes_on_for_ever_is_waited_for_no_longer_than_the_drain() {
    let (_root, _, mut server) = serving(10_000_000, &["--drain", "2"]);
    let (mut client, mut download) = halfway(&server);
    server.signal(Signal::SIGTERM);
    // A client that takes a block every 0.2 s would need hours.
    while let Some(datagram) = client.receive_within(Duration::from_secs(1)) {
        match crate::packet::parse(&datagram) {
            // The server may say that it goes.
            crate::packet::Packet::Error { .. } => break,
            packet => {
                std::thread::sleep(Duration::from_millis(200));
                let answer = download.on_packet(packet);
                if !server.is_running() {
                    break;
                }
                answer.into_iter().for_each(|answer| client.send(&answer));
            }
        }
        assert!(download.blocks < 100, "it goes on and on");
    }
    assert_eq!(server.wait(AT_ONCE).code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (root, _) = Root::with_file(100_000);
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::start(root.path());
        let _hanging = halfway(&server);
        server.signal(Signal::SIGTERM);
        server.wait_for_signal_taken();
        assert!(server.is_running());
        server.signal(second);
        assert_eq!(server.wait(AT_ONCE).code(), Some(0));
    }
}

/// Some of them would end a program that does nothing about them; SIGUSR1 is what people try for statistics.
#[test]
fn signals_without_a_meaning_change_nothing() {
    let (_root, bytes, mut server) = serving(100_000, &[]);
    let (mut client, download) = halfway(&server);
    let meaningless = [
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGALRM,
        Signal::SIGVTALRM,
        Signal::SIGPROF,
        Signal::SIGPIPE,
        Signal::SIGIO,
        Signal::SIGPWR,
        Signal::SIGXFSZ,
        Signal::SIGTTOU,
        Signal::SIGHUP,
        Signal::SIGUSR1,
    ];
    for signal in meaningless {
        server.signal(signal);
        assert_same(&fetch_bytes(server.address(), "file"), &bytes);
        assert!(server.is_running(), "{signal}");
    }
    assert_same(&client.complete(download).unwrap().bytes, &bytes);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(AT_ONCE).code(), Some(0));
}

#[test]
fn the_port_is_free_again_when_it_has_ended() {
    let (root, bytes, mut server) = serving(600, &[]);
    let address = server.address().to_string();
    server.signal(Signal::SIGTERM);
    server.wait(AT_ONCE);
    let server = Server::with(root.path(), &["-a", &address]);
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
}

/// For a load balancer: probes are not answered from the signal on, and clients that were sent here are served for a while.
#[test]
fn a_lame_duck_serves_on_but_answers_no_probes() {
    let (_root, bytes, mut server) = serving(60_000, &["--lame-duck", "2", "--drain", "20"]);
    let probe = Wish::octet("file").option("x-probe", 1);
    let mut prober = Client::new(server.address()).asking(&probe);
    prober.expect_oack(&[("x-probe", "1")]);
    let (mut running, download) = halfway(&server);
    server.signal(Signal::SIGTERM);
    server.wait_for_log(&["lame duck: for 2 s"]);
    prober.request(&probe);
    // It is read behind the probe.
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    prober.expect_nothing_yet();
    server.wait_for_log(&["INFO stopping; 1 transfers have 20 s"]);
    let mut late = Client::new(server.address()).asking(&Wish::octet("file"));
    assert_same(&running.complete(download).unwrap().bytes, &bytes);
    assert_eq!(server.wait(PATIENCE).code(), Some(0));
    late.expect_nothing_yet();
}

#[test]
fn a_second_signal_ends_a_lame_duck_at_once() {
    let (_root, _, mut server) = serving(60_000, &["--lame-duck", "600", "--drain", "600"]);
    let _running = halfway(&server);
    server.signal(Signal::SIGTERM);
    server.wait_for_log(&["lame duck: for 600 s"]);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(AT_ONCE).code(), Some(0));
}
