//! Many machines at once. Each gets its file whole, nobody gets a packet twice, and afterwards nothing is left of it.

use std::collections::HashSet;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::{Client, PATIENCE, fetch, refusal_of};
use crate::clients::{Clients, TURN_MAX};
use crate::download::Wish;
use crate::machine::{alone, eventually, field, open_files, raise_own_file_limit, status};
use crate::root::Root;
use crate::server::{Mode, Server, serving};

/// What the allocator may keep of a storm, in KiB.
const KEPT: u64 = 2 << 10;

#[test]
fn five_hundred_clients_at_once_through_32_slots() {
    let _turn = alone();
    raise_own_file_limit();
    let (_root, bytes, server) = serving(1_000_000, &["-n", "32"]);
    let wish = |number: usize| match number % 3 {
        0 => Wish::octet("file")
            .option("blksize", 8192)
            .option("windowsize", 4)
            .option("tsize", 0),
        1 => Wish::octet("file")
            .option("blksize", 1408)
            .option("windowsize", 16),
        _ => Wish::octet("file")
            .option("tsize", 0)
            .option("blksize", 4096),
    };
    (0..3).for_each(|number| drop(fetch(server.address(), &wish(number)).unwrap()));
    server.wait_for_lines("complete", 3, |line| line.contains(": complete"));
    let files = open_files(server.process());
    let memory = status(server.process(), "VmRSS");

    let mut clients = Clients::new(server.address());
    (0..500).for_each(|number| clients.add(wish(number)));
    clients.complete(Duration::from_secs(60));

    clients.must_all_have(&bytes);
    let duplicates: u64 = clients
        .members()
        .iter()
        .map(|member| member.download.duplicates)
        .sum();
    let is_disturbed = clients.longest_gap() > 2 * TURN_MAX;
    assert!(
        duplicates == 0 || is_disturbed,
        "{duplicates} DATA packets came twice"
    );
    let requests: u32 = clients.members().iter().map(|member| member.requests).sum();
    assert!(requests > 500, "nobody asked twice: this was no storm");

    let lines = server.wait_for_lines("complete", 503, |line| line.contains(": complete"));
    assert_eq!(lines.len(), 503, "one transfer for each client");
    eventually("all files closed", PATIENCE, || {
        (open_files(server.process()) == files).then_some(())
    });
    let after = status(server.process(), "VmRSS");
    assert!(
        after <= memory + KEPT,
        "{memory} KiB before, {after} KiB after"
    );
}

#[test]
fn no_more_slots_than_asked_for() {
    let _turn = alone();
    let (_root, _, server) = serving(10_000, &["-n", "7"]);
    let mut clients = Clients::new(server.address());
    (0..30).for_each(|_| clients.add(Wish::octet("file")));
    clients.begin(7);
    // All have asked; their requests are dealt with before that of a miss.
    assert_eq!(refusal_of(server.address(), "missing"), 1);
    assert_eq!(clients.begun(), 7);
    clients.complete(PATIENCE);
}

/// Anonymous memory, exactly: what stands in `status` is rounded per thread.
fn own_bytes(server: &Server) -> u64 {
    let rollup = format!("/proc/{}/smaps_rollup", server.process());
    field(&rollup, "Anonymous").parse::<u64>().unwrap() << 10
}

/// The buffers that requests come into belong to the server, however many transfers there are. All of them are used when
/// many clients ask at once, so here they are used before.
fn fill_receive_buffers(server: &Server) {
    let client = Client::new(server.address());
    server.signal(Signal::SIGSTOP);
    (0..200).for_each(|_| client.send_to_server(&[0xFF; 100]));
    server.signal(Signal::SIGCONT);
    // A client that is told of a miss was read after them.
    let miss = fetch(server.address(), &Wish::octet("missing"));
    assert_eq!(miss.unwrap_err().0, 1);
}

#[test]
fn memory_of_a_thousand_transfers_under_way() {
    const TRANSFERS: usize = 1000;
    let _turn = alone();
    raise_own_file_limit();
    let (root, _) = Root::with_file(100_000);
    // Three eighths of the slots are not for unvalidated addresses, which all of them are at first. A client that is answered has a slot.
    let server = Server::with(root.path(), &["-n", "1700", "--hold", "never"]);
    fetch(server.address(), &Wish::octet("file")).unwrap();
    server.wait_for_log(&["complete"]);
    fill_receive_buffers(&server);
    let idle = own_bytes(&server);
    let mut clients = Clients::new(server.address());
    for _ in 0..TRANSFERS {
        let wish = Wish::octet("file").option("blksize", 1428);
        clients.add(wish.option("tsize", 0).option("windowsize", 1));
    }
    clients.begin(TRANSFERS);
    (0..3).for_each(|_| clients.go_on_by_one());
    let each = (own_bytes(&server) - idle) / TRANSFERS as u64;
    eprintln!("{each} bytes for each transfer");
    // 909 before a client could begin anew, lend its slot, and have a window in bursts; 1,134 to 1,200 since.
    assert!(each < 1250, "{each} bytes for each transfer");
    let ports: HashSet<_> = clients.tids().into_keys().collect();
    if Mode::wanted() == Mode::OwnPorts {
        let each = "each transfer has a port of its own";
        assert_eq!(ports.len(), TRANSFERS, "{each}");
    }
    clients.complete(PATIENCE);
}
