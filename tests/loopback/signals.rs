//! SIGTERM and SIGINT let running transfers finish, a second one does not, and others do nothing.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::{Client, PATIENCE, fetch_bytes};
use crate::download::{Download, Wish};
use crate::root::{Root, assert_same};
use crate::server::Server;

const AT_ONCE: Duration = Duration::from_secs(5);

fn halfway(server: &Server) -> (Client, Download) {
    let wish = Wish::octet("file");
    let mut client = Client::new(server.address());
    client.request(&wish);
    let mut download = Download::new(&wish);
    while download.blocks < 3 {
        let answer = download.on_packet(client.receive()).unwrap();
        client.send(&answer);
    }
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
        let mut waiting = Client::new(server.address());
        waiting.request(&Wish::octet("file"));
        server.signal(signal);
        server.wait_for_signal_taken();
        server.wait_for_log(&["INFO stopping"]);
        let mut late = Client::new(server.address());
        late.request(&Wish::octet("file"));
        late.request(&Wish::octet("missing"));

        for (client, download) in &mut running {
            let download = std::mem::replace(download, Download::new(&Wish::octet("")));
            assert_same(&client.complete(download).unwrap().bytes, &bytes);
        }
        assert_eq!(server.wait(AT_ONCE).code(), Some(0), "{signal}");
        for client in [&mut waiting, &mut late] {
            client.expect_nothing_yet();
        }
        let log = server.log_lines();
        assert_eq!(
            log.iter()
                .filter(|line| line.contains("\"file\": complete"))
                .count(),
            2,
            "{log:?}"
        );
    }
}

#[test]
fn a_transfer_that_hangs_is_waited_for_no_longer_than_the_timeout() {
    let (root, _) = Root::with_file(100_000);
    let mut server = Server::with(root.path(), &["-t", "2"]);
    let _hanging = halfway(&server);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(PATIENCE).code(), Some(0));
}

/// However alive the transfer is.
#[test]
fn a_transfer_that_goes_on_for_ever_is_waited_for_no_longer_than_the_timeout() {
    let (root, _) = Root::with_file(10_000_000);
    let mut server = Server::with(root.path(), &["-t", "2"]);
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
    let (root, bytes) = Root::with_file(100_000);
    let mut server = Server::start(root.path());
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
    let (root, bytes) = Root::with_file(600);
    let mut server = Server::start(root.path());
    let address = server.address().to_string();
    server.signal(Signal::SIGTERM);
    server.wait(AT_ONCE);
    let server = Server::with(root.path(), &["-a", &address]);
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
}
