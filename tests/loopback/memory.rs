//! What a server takes at most that has as much to remember as its settings allow.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::{Client, PATIENCE, fetch};
use crate::clients::Clients;
use crate::download::Wish;
use crate::machine::{alone, library, raise_own_file_limit, status};
use crate::root::Root;
use crate::server::{Mode, PROGRAM, Server, program};

/// With the defaults of `-n` and `-q`: more machines were heard of than are remembered, and the queue is full of clients that are
/// kept alive, each with a name as long as can be.
#[test]
fn memory_of_a_full_server() {
    let _turn = alone();
    raise_own_file_limit();
    let root = Root::new();
    let long = [
        "d".repeat(255),
        "e".repeat(255),
        "f".repeat(255),
        "g".repeat(255),
    ]
    .join("/");
    root.write(&long, 600);
    let mut server = Server::with(root.path(), &["--hold", "0"]);
    let empty = status(server.process(), "VmRSS");

    let mut client = Client::new(server.address());
    let miss = Wish::octet("missing");
    for number in 0..MACHINES {
        // Spread over many networks.
        let address = Ipv4Addr::from_bits((127 << 24) + number * 223 % (1 << 24));
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.send_to(&miss.packet(), server.address()).unwrap();
        if number % 500 == 0 {
            // A client that asks now is answered after the others were.
            client.request(&miss);
            client.expect_error(1);
        }
    }
    let heard = status(server.process(), "VmRSS");

    // As many as the descriptors of this machine allow are kept alive; the others wait in silence.
    let lines = server.log_lines();
    let bound = lines.iter().find_map(|line| line.split_once("at most "));
    let bound = bound.and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    let held = match Mode::wanted() {
        Mode::OwnPorts | Mode::PortRange => bound.unwrap_or(WAITING).min(WAITING),
        // The clients here need descriptors.
        Mode::SinglePort => 5000,
    };
    let mut clients = Clients::new(server.address());
    (0..held).for_each(|_| clients.add(Wish::octet(&long)));
    clients.begin(held);
    let alive = status(server.process(), "VmRSS");
    for number in 0..WAITING + SLOTS - held {
        let number = u32::try_from(number).unwrap();
        let socket =
            UdpSocket::bind((Ipv4Addr::from_bits((127 << 24 | 128 << 16) + number), 0)).unwrap();
        let wish = Wish::octet(&long);
        socket.send_to(&wish.packet(), server.address()).unwrap();
        if number % 500 == 0 {
            client.request(&miss);
            client.expect_error(1);
        }
    }
    client.request(&miss);
    client.expect_error(1);
    let full = status(server.process(), "VmRSS");
    println!(
        "VmRSS in KiB: {empty} at the start, {heard} with all machines, {alive} with {held} kept alive, {full} with a \
         full queue"
    );
    assert!(full < RESIDENT_MAX, "{full} KiB");
    drop(clients);

    assert_eq!(
        fetch(server.address(), &Wish::octet(&long))
            .unwrap()
            .bytes
            .len(),
        600
    );
    server.signal(Signal::SIGTERM);
    server.wait(PATIENCE + Duration::from_secs(40));
    let line = server.wait_for_log(&["INFO stopped: "]);
    let requests: usize = line.split(' ').nth(2).unwrap().parse().unwrap();
    assert!(
        requests > usize::try_from(MACHINES).unwrap() + WAITING,
        "{line}"
    );
}

#[test]
fn a_machine_with_little_memory_says_how_short_its_queue_is() {
    let root = Root::new();
    let Some(library) = library(&root, LITTLE_MEMORY) else {
        return;
    };
    for (chosen, is_said) in [(&[][..], true), (&["-q", "20000"], false)] {
        let mut command = program(PROGRAM);
        command
            .env("LD_PRELOAD", &library)
            .args(["-a", "127.0.0.1:0"])
            .args(chosen)
            .arg("-r")
            .arg(root.path());
        let server = Server::launch(command, 1);
        let said = server.log_lines().iter().any(|line| {
            line.starts_with("INFO 64 MB of memory") && line.contains(" 5000 requests")
        });
        assert_eq!(said, is_said, "{chosen:?}: {:?}", server.log_lines());
    }
}

/// A machine with 64 MB.
const LITTLE_MEMORY: &str = "
#include <string.h>
#include <sys/sysinfo.h>
int sysinfo(struct sysinfo *info) {
    memset(info, 0, sizeof *info);
    info->totalram = 64 << 20;
    info->mem_unit = 1;
    return 0;
}
";

/// More than the server remembers.
const MACHINES: u32 = 70_000;

/// The default of `-q`.
pub(crate) const WAITING: usize = 20_000;

/// The default of `-n`: nobody answers, so these are lent.
const SLOTS: usize = 32;

/// KiB. README and the manual name it.
pub(crate) const RESIDENT_MAX: u64 = 64_000_000 >> 10;
