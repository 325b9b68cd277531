//! What the machine does to a server: limits, calls that fail, addresses and interfaces that come and go. None of it ends the
//! process or costs a slot for ever. What happens to its log is in `log_faults`, to its clock in `clock`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{Client, PATIENCE, fetch, fetch_bytes};
use crate::clients::Clients;
use crate::descriptors;
use crate::download::{Download, Wish};
use crate::machine::{
    alone, at_the_other_end, eventually, has_program, in_own_network, lay_cable, library,
    open_files, packets_without_route, raise_own_file_limit, run, skipped, status,
};
use crate::root::{Root, assert_same};
use crate::server::{Mode, PROGRAM, Server, program, serving};
use crate::victim::{Victim, forger, go_halfway};

// Limits.

/// No local port is left in the range: EADDRINUSE. Those who wait are served when there is one again.
#[test]
fn out_of_local_ports() {
    if Mode::wanted() != Mode::OwnPorts {
        return skipped("only ports that the system picks run out so");
    }
    in_own_network(|| {
        let (_root, bytes, mut server) = serving(5_000, &[]);
        let before = open_files(server.process());
        let wish = Wish::octet("file");
        let clients: Vec<Client> = (0..6).map(|_| Client::new(server.address())).collect();
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "30001 30004").unwrap();
        clients.iter().for_each(|client| client.request(&wish));
        server.wait_for_log(&["WARN", "out of descriptors"]);
        let mut waiting = Vec::new();
        let mut ports = Vec::new();
        for mut client in clients {
            match client.receive_within(Duration::from_millis(300)) {
                Some(_) => {
                    ports.push(client.tid().port());
                    // Only now its port comes free.
                    waiting.insert(0, (client, true));
                }
                None => waiting.push((client, false)),
            }
        }
        ports.sort_unstable();
        assert_eq!(
            ports,
            [30001, 30002, 30003, 30004],
            "no range was exhausted"
        );
        for (mut client, has_first) in waiting {
            let mut download = Download::new(&wish);
            if has_first {
                // Its first block is sent again.
                client.request(&wish);
            }
            while !download.is_over() {
                if let Some(answer) = download.on_packet(client.receive()) {
                    client.send(&answer);
                }
            }
            assert_same(&download.bytes, &bytes);
        }
        eventually("descriptors back", PATIENCE, || {
            (open_files(server.process()) == before).then_some(())
        });
        assert!(server.is_running());
    });
}

/// No address space is left to map a file: it is read instead.
#[test]
fn out_of_memory_for_mappings() {
    let (root, bytes) = Root::with_file(40 << 20);
    let mut server = descriptors::start(root.path());
    let before = open_files(server.process());
    let is_mapped = |server: &Server| {
        let maps = fs::read_to_string(format!("/proc/{}/maps", server.process())).unwrap();
        maps.contains(root.file("file").to_str().unwrap())
    };
    let wish = Wish::octet("file").option("blksize", 8192);
    let used = status(server.process(), "VmSize") << 10;
    limit_address_space(server.process(), used + (16 << 20));
    for _ in 0..2 {
        let (mut client, download) = go_halfway(Client::new(server.address()), &wish);
        assert!(!is_mapped(&server), "the limit does not hold");
        server.wait_for_log(&["WARN", "\"file\"", "read instead"]);
        assert_same(&client.complete(download).unwrap().bytes, &bytes);
    }
    limit_address_space(server.process(), libc::RLIM_INFINITY);
    let (mut client, download) = go_halfway(Client::new(server.address()), &wish);
    assert!(
        is_mapped(&server),
        "it is not mapped with room for it either"
    );
    assert_same(&client.complete(download).unwrap().bytes, &bytes);
    eventually("descriptors back", PATIENCE, || {
        (open_files(server.process()) == before).then_some(())
    });
    assert!(server.is_running());
}

/// Files take the address space until hardly any is left, and then more clients come: the program has room for them.
#[test]
fn address_space_taken_by_many_files() {
    let _turn = alone();
    let root = Root::new();
    let all: Vec<_> = (0..600)
        .map(|number| root.write(format!("file{number}"), 200_000 + number))
        .collect();
    let mut server = descriptors::start_with(root.path(), &["-n", "700"]);
    let used = status(server.process(), "VmSize") << 10;
    limit_address_space(server.process(), used + (40 << 20));
    raise_own_file_limit();
    let mut clients = Clients::new(server.address());
    for number in 0..all.len() {
        clients.add(Wish::octet(format!("file{number}")).option("blksize", 8192));
    }
    clients.begin(all.len());
    let mapped = mapped_files(&server, &root);
    assert!(0 < mapped && mapped < all.len() / 2, "{mapped} are mapped");
    clients.complete(PATIENCE * 2);
    for (member, bytes) in clients.members().iter().zip(&all) {
        assert_same(&member.download.bytes, bytes);
    }
    assert!(server.is_running());
}

pub(crate) fn limit_address_space(process: u32, bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the limit lives during the call, and nothing is written.
    let result = unsafe {
        libc::prlimit(
            process.try_into().unwrap(),
            libc::RLIMIT_AS,
            &raw const limit,
            std::ptr::null_mut(),
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Some mappings fail with ENOMEM, as where `vm.max_map_count` is reached: those files are read, and nobody else notices. A library
/// that is loaded first lets one in five succeed.
#[test]
fn mappings_that_fail() {
    let _turn = alone();
    let root = Root::new();
    let Some(library) = library(&root, FEW_MAPPINGS) else {
        return;
    };
    let all: Vec<_> = (0..100)
        .map(|number| root.write(format!("file{number}"), 20_000 + number))
        .collect();
    let mut command = program(PROGRAM);
    command
        .env("LD_PRELOAD", library)
        .arg("-r")
        .arg(root.path());
    command.args(["-n", "120", "-a", "127.0.0.1:0"]);
    let mut server = Server::launch(command, 1);
    let before = open_files(server.process());
    let began_at = Instant::now();
    for _ in 0..2 {
        let mut clients = Clients::new(server.address());
        (0..all.len()).for_each(|number| clients.add(Wish::octet(format!("file{number}"))));
        clients.begin(all.len());
        assert_eq!(mapped_files(&server, &root), all.len() / 5);
        clients.complete(PATIENCE);
        for (member, bytes) in clients.members().iter().zip(&all) {
            assert_same(&member.download.bytes, bytes);
        }
        eventually("descriptors and mappings back", PATIENCE, || {
            let files = open_files(server.process());
            (files == before && mapped_files(&server, &root) == 0).then_some(())
        });
    }
    let told = server.lines_with("mapped into memory: read instead");
    let told = u64::try_from(told.len()).unwrap();
    let most = 20 * (began_at.elapsed().as_secs() + 2);
    assert!(0 < told && told <= most, "{told} lines of {most}");
    assert!(server.is_running());
}

fn mapped_files(server: &Server, root: &Root) -> usize {
    let maps = fs::read_to_string(format!("/proc/{}/maps", server.process())).unwrap();
    maps.matches(root.path().to_str().unwrap()).count()
}

/// Of the calls that map a file to be read after the program has begun.
const FEW_MAPPINGS: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *mmap(void *at, size_t length, int protection, int flags, int file, off_t offset) {
    static int calls;
    if (file >= 0 && protection == PROT_READ && ++calls % 5) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *) syscall(SYS_mmap, at, length, protection, flags, file, offset);
}

void *mmap64(void *at, size_t length, int protection, int flags, int file, off_t offset) {
    return mmap(at, length, protection, flags, file, offset);
}
"#;

// Calls that fail.

/// A server of which each call that is named fails in this way, as often as `when` of strace says; `None` if that cannot be.
fn with_failing_calls(root: &Root, failing: &str) -> Option<Server> {
    traced(root, &["-e", &format!("inject={failing}")])
}

/// A server whose calls strace writes to `trace` beside the root; `None` if that cannot be.
pub(crate) fn traced(root: &Root, strace: &[&str]) -> Option<Server> {
    if !has_program("strace", "-V") {
        skipped("there is no strace");
        return None;
    }
    let mut probe = Command::new("strace");
    probe
        .args(["-o", "/dev/null", "true"])
        .stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        skipped("strace may not trace");
        return None;
    }
    let mut command = program("strace");
    // The tracer steps aside, so that the server is our own child.
    command.args(["-D", "-qq", "-o"]).arg(root.beside("trace"));
    command.args(strace);
    command.arg(PROGRAM).arg("-r").arg(root.path());
    command.args(["-a", "127.0.0.1:0", "--no-sandbox"]);
    Some(Server::launch(command, 1))
}

/// How many calls were made to fail.
fn injected(root: &Root) -> usize {
    let trace = fs::read_to_string(root.beside("trace")).unwrap();
    trace.matches("(INJECTED)").count()
}

/// Buffers and memory of the kernel that run out for a moment: as if the packet had been lost, or the request came later.
#[test]
fn calls_that_fail_for_want_of_something() {
    for (failing, at_least) in [
        // A queue that is full, each third time.
        ("sendmsg:error=ENOBUFS:when=2+3", 3),
        ("sendmsg:error=ENOMEM:when=2+3", 3),
        // Nobody cuts a window into packets for us.
        ("sendmsg:error=EIO:when=2+3", 3),
        // The table of files of the whole system is full.
        ("openat2:error=ENFILE:when=1..3", 2),
        ("openat2:error=EMFILE:when=1..3", 2),
        ("openat2:error=ENOMEM:when=1..3", 2),
        // Of sockets, the first is the listening one.
        ("socket:error=ENFILE:when=2..4", 2),
        ("socket:error=ENOBUFS:when=2..4", 2),
        ("bind:error=EADDRINUSE:when=2..4", 2),
        ("connect:error=EAGAIN:when=1..3", 2),
        // The first three are for the timer, the signals and the listening socket.
        ("epoll_ctl:error=ENOMEM:when=5..6", 1),
        ("epoll_ctl:error=ENOSPC:when=5..6", 1),
    ] {
        let (root, bytes) = Root::with_file(5_000);
        let Some(mut server) = with_failing_calls(&root, failing) else {
            return;
        };
        let before = open_files(server.process());
        let wish = Wish::octet("file");
        for wish in [wish.clone(), wish.option("windowsize", 4)] {
            let fetched = fetch(server.address(), &wish);
            assert_same(&fetched.expect(failing).bytes, &bytes);
        }
        assert!(server.is_running(), "{failing}");
        eventually(failing, PATIENCE, || {
            (open_files(server.process()) == before).then_some(())
        });
        assert!(injected(&root) >= at_least, "{failing} never failed");
    }
}

/// A kernel without IPv6 says EAFNOSUPPORT: the default is then IPv4.
#[test]
fn a_kernel_without_ipv6() {
    in_own_network(|| {
        let (root, bytes) = Root::with_file(600);
        if !has_program("strace", "-V") {
            return skipped("there is no strace");
        }
        let mut command = program("strace");
        command.args(["-D", "-qq", "-o"]).arg(root.beside("trace"));
        command.args(["-e", "inject=socket:error=EAFNOSUPPORT:when=1"]);
        command.arg(PROGRAM).arg("-r").arg(root.path());
        let server = Server::launch(command, 1);
        assert_eq!(injected(&root), 1);
        assert_eq!(server.address(), "0.0.0.0:69".parse().unwrap());
        assert_same(
            &fetch_bytes("127.0.0.1:69".parse().unwrap(), "file"),
            &bytes,
        );
    });
}

// The network.

/// EHOSTUNREACH: for a transfer as if packets were lost, for a new request a line in the log.
#[test]
fn a_host_that_becomes_unreachable() {
    in_own_network(|| {
        let Some(forger) = forger() else { return };
        run("ip", "address add 192.0.2.7/32 dev lo");
        let victim = Victim::with(&["-t", "8"]);
        let far = Ipv4Addr::new(192, 0, 2, 7);
        let client = Client::at(far, victim.address());
        let (mut client, download) = go_halfway(client, &Wish::octet("file"));
        run("ip", "address del 192.0.2.7/32 dev lo");
        run("ip", "route add unreachable 192.0.2.7/32");
        let other = SocketAddrV4::new(far, client.port() ^ 1);
        assert!(forger.is_heard(other));
        for name in ["file", "missing"] {
            forger.send(other, victim.address(), &Wish::octet(name).packet());
        }
        victim
            .server
            .wait_for_log(&["192.0.2.7", "network unreachable"]);
        victim
            .server
            .wait_for_log(&["192.0.2.7", "cannot send an answer", "No route to host"]);
        // The block that the client waits for is sent in vain meanwhile.
        thread::sleep(Duration::from_millis(1200));
        assert_same(&fetch_bytes(victim.address(), "file"), &victim.bytes);
        run("ip", "route del unreachable 192.0.2.7/32");
        run("ip", "address add 192.0.2.7/32 dev lo");
        assert_same(&client.complete(download).unwrap().bytes, &victim.bytes);
        victim.must_be_unharmed();
    });
}

/// The address that a transfer answers from is taken away: it goes on when the address is back, and is given up if not.
#[test]
fn an_address_removed_while_serving() {
    in_own_network(|| {
        run("ip", "address add 192.0.2.1/32 dev lo");
        for listener in ["0.0.0.0:69", "192.0.2.1:69"] {
            let (root, bytes) = Root::with_file(20_000);
            let options = ["-a", listener, "-t", "3"];
            let mut server = Server::with(root.path(), &options);
            let before = open_files(server.process());
            let asked = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 69));
            let client = || Client::at(Ipv4Addr::LOCALHOST, asked);
            let wish = Wish::octet("file");
            let (mut back, download) = go_halfway(client(), &wish);
            run("ip", "address del 192.0.2.1/32 dev lo");
            thread::sleep(Duration::from_millis(1200));
            run("ip", "address add 192.0.2.1/32 dev lo");
            assert_same(&back.complete(download).unwrap().bytes, &bytes);

            let gone = go_halfway(client(), &wish);
            run("ip", "address del 192.0.2.1/32 dev lo");
            server.wait_for_log(&["timed out"]);
            eventually("descriptors back", PATIENCE, || {
                (open_files(server.process()) == before).then_some(())
            });
            drop(gone);
            run("ip", "address add 192.0.2.1/32 dev lo");
            let fetched = client().fetch(&wish).unwrap();
            assert_same(&fetched.bytes, &bytes);
            assert!(server.is_running());
        }
    });
}

/// A cable between two networks: the server's end of it goes down and up again, under a transfer and under the listener.
#[test]
fn an_interface_that_goes_down_and_up() {
    in_own_network(|| {
        let (root, bytes) = Root::with_file(60_000);
        let options = ["-a", "192.0.2.1:69", "-t", "4"];
        if !lay_cable("here", "there") {
            return;
        }
        run("ip", "address add 192.0.2.1/24 dev here");
        run("ip", "link set here up");
        let mut server = Server::with(root.path(), &options);
        let before = open_files(server.process());
        let asked: SocketAddr = server.address();
        let wish = Wish::octet("file");
        let addresses = ["address add 192.0.2.2/24 dev there"];
        let (client, download) = at_the_other_end("there", &addresses, move || {
            let client = Client::at(Ipv4Addr::new(192, 0, 2, 2), asked);
            go_halfway(client, &Wish::octet("file"))
        });
        let mut client = client;
        let lost = packets_without_route();
        run("ip", "link set here down");
        eventually("a block sent in vain", PATIENCE, || {
            (packets_without_route() > lost).then_some(())
        });
        assert!(server.is_running());
        run("ip", "link set here up");
        // Its address stays, as with any interface that goes down and up.
        assert_same(&client.complete(download).unwrap().bytes, &bytes);

        run("ip", "link set here down");
        client.forget_tid();
        client.request(&wish);
        thread::sleep(Duration::from_millis(300));
        run("ip", "link set here up");
        let again = eventually("an answer", PATIENCE, || {
            client.forget_tid();
            client.request(&wish);
            let first = client.receive_within(Duration::from_millis(500))?;
            Some(crate::packet::parse(&first))
        });
        let mut download = Download::new(&wish);
        client.send(&download.on_packet(again).unwrap());
        assert_same(&client.complete(download).unwrap().bytes, &bytes);
        eventually("descriptors back", PATIENCE, || {
            (open_files(server.process()) == before).then_some(())
        });
        assert!(server.is_running());
    });
}
