//! What the machine does to a server: full disks, limits, addresses and interfaces that come and go, calls that fail, clocks that
//! are set. None of it ends the process or costs a slot for ever.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::client::{Client, PATIENCE, fetch, fetch_bytes};
use crate::download::{Download, Wish};
use crate::machine::{
    eventually, has_program, in_own_network, is_root, open_files, packets_without_route, run,
    skipped, status,
};
use crate::root::{Root, assert_same};
use crate::server::{PROGRAM, Server, program};
use crate::victim::{Victim, forger, go_halfway};

// The log.

/// A server whose standard error is `stderr`, at an address of its own.
struct Mute {
    child: std::process::Child,
    address: SocketAddr,
}

impl Mute {
    /// Where it listens cannot be read from a log that takes nothing.
    fn start(root: &Path, stderr: Stdio) -> Mute {
        Mute::launch(program(PROGRAM), root, stderr)
    }

    fn launch(mut command: Command, root: &Path, stderr: Stdio) -> Mute {
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        command
            .arg("-r")
            .arg(root)
            .arg("-a")
            .arg(address.to_string());
        let child = command.stdout(Stdio::null()).stderr(stderr).spawn();
        let child = child.unwrap();
        let mute = Mute { child, address };
        eventually("an answer", PATIENCE, || {
            let mut probe = Client::new(address);
            probe.request(&Wish::octet("missing"));
            probe.receive_within(Duration::from_millis(100))
        });
        mute
    }

    #[track_caller]
    fn serves(&mut self, bytes: &[u8], times: usize) {
        let before = open_files(self.child.id());
        for _ in 0..times {
            assert_same(&fetch_bytes(self.address, "file"), bytes);
        }
        assert!(self.child.try_wait().unwrap().is_none(), "it has ended");
        eventually("descriptors back", PATIENCE, || {
            (open_files(self.child.id()) <= before).then_some(())
        });
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// ENOSPC for every line.
#[test]
fn a_log_on_a_full_device() {
    let (root, bytes) = Root::with_file(600);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    Mute::start(root.path(), full.into()).serves(&bytes, 50);
}

/// A disk that is full takes a part of a line at last. When there is room again, lines are whole again, and the lost ones counted.
#[test]
fn a_log_on_a_full_disk() {
    if !is_root() {
        return skipped("a small file system needs root");
    }
    let (root, bytes) = Root::with_file(600);
    let disk = root.beside("disk");
    fs::create_dir(&disk).unwrap();
    let disk_name = disk.to_str().unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=16k", "none", disk_name]);
    if !mount.status().is_ok_and(|status| status.success()) {
        return skipped("nothing can be mounted here");
    }
    let _unmounted = OnDrop(|| run("umount", &format!("--lazy {disk_name}")));
    fs::write(disk.join("ballast"), [0; 4096]).unwrap();
    let log = disk.join("log");
    let file = fs::File::options().create(true).append(true).open(&log);
    let mut mute = Mute::start(root.path(), file.unwrap().into());
    // Some 130 bytes a line.
    mute.serves(&bytes, 200);
    let room = fs::metadata(&log).unwrap().len();
    assert_eq!(room, 3 * 4096, "the disk is not full");
    fs::remove_file(disk.join("ballast")).unwrap();
    mute.serves(&bytes, 5);
    let text = fs::read_to_string(&log).unwrap();
    let count = |line: &&str| line.contains("log lines were dropped");
    let lost: Vec<&str> = text.lines().filter(count).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert!(lost[0].starts_with("WARN "), "{lost:?}");
    for line in text.lines() {
        assert!(
            line.starts_with("INFO ") || line.starts_with("WARN "),
            "{line}"
        );
    }
    let last = text.lines().last().unwrap();
    assert!(last.contains("complete;"), "{last}");
}

/// SIGXFSZ ends a process that writes past `ulimit -f`, unless it is ignored.
#[test]
fn a_log_at_the_limit_of_its_size() {
    let (root, bytes) = Root::with_file(600);
    let log = fs::File::create(root.beside("log")).unwrap();
    let mut command = program("sh");
    command.args(["-c", "ulimit -f 4; exec \"$@\"", "sh", PROGRAM]);
    let mut mute = Mute::launch(command, root.path(), log.into());
    mute.serves(&bytes, 100);
    assert!(fs::metadata(root.beside("log")).unwrap().len() <= 4 * 1024);
}

/// How systemd connects it to the journal, which may hang.
#[test]
fn a_log_socket_that_nobody_reads() {
    let (root, bytes) = Root::with_file(600);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stderr: std::os::fd::OwnedFd = theirs.into();
    let mut mute = Mute::start(root.path(), stderr.into());
    mute.serves(&bytes, 2000);
    // And then its reader is gone: EPIPE.
    drop(ours);
    mute.serves(&bytes, 20);
}

/// Standard streams that are closed: no socket may take their place and be written log lines to.
#[test]
fn standard_streams_that_are_closed() {
    let (root, bytes) = Root::with_file(600);
    let mut command = program("sh");
    command.args(["-c", "exec \"$@\" <&- >&- 2>&-", "sh", PROGRAM]);
    Mute::launch(command, root.path(), Stdio::null()).serves(&bytes, 50);
}

// Limits.

/// No local port is left in the range: EADDRINUSE. Those who wait are served when there is one again.
#[test]
fn out_of_local_ports() {
    in_own_network(|| {
        let (root, bytes) = Root::with_file(5_000);
        let mut server = Server::start(root.path());
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
    let mut server = Server::start(root.path());
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

fn limit_address_space(process: u32, bytes: u64) {
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

// Calls that fail.

/// A server of which each call that is named fails in this way, as often as `when` of strace says; none where that cannot be.
fn with_failing_calls(root: &Root, failing: &str) -> Option<Server> {
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
    command.args(["-e", &format!("inject={failing}")]);
    command.arg(PROGRAM).arg("-r").arg(root.path());
    command.args(["-a", "127.0.0.1:0"]);
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
        // The table of files of the whole system is full.
        ("openat2:error=ENFILE:when=1..3", 2),
        ("openat2:error=EMFILE:when=1..3", 2),
        ("openat2:error=ENOMEM:when=1..3", 2),
        // Of sockets, the first is the listening one.
        ("socket:error=ENFILE:when=2..4", 2),
        ("socket:error=ENOBUFS:when=2..4", 2),
        ("bind:error=EADDRINUSE:when=2..4", 2),
        ("connect:error=EAGAIN:when=1..3", 2),
        // The first two are for the signals and the listening socket.
        ("epoll_ctl:error=ENOMEM:when=4..5", 1),
        ("epoll_ctl:error=ENOSPC:when=4..5", 1),
    ] {
        let (root, bytes) = Root::with_file(5_000);
        let Some(mut server) = with_failing_calls(&root, failing) else {
            return;
        };
        let before = open_files(server.process());
        for _ in 0..2 {
            let fetched = fetch(server.address(), &Wish::octet("file"));
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
        victim.server.wait_for_log(&["192.0.2.7", "no way there"]);
        victim
            .server
            .wait_for_log(&["192.0.2.7", "cannot be answered", "No route to host"]);
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
        let mut cable = Command::new("ip");
        cable.args("link add here type veth peer name there".split(' '));
        if !cable.status().is_ok_and(|status| status.success()) {
            return skipped("there is no veth");
        }
        run("ip", "address add 192.0.2.1/24 dev here");
        run("ip", "link set here up");
        let mut server = Server::with(root.path(), &options);
        let before = open_files(server.process());
        let asked: SocketAddr = server.address();
        let wish = Wish::octet("file");
        let (client, download) = at_the_other_end("there", move || {
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

/// Makes something in a network of its own at the other end of the cable, with the address 192.0.2.2. What is made there, sockets
/// above all, stays there.
fn at_the_other_end<T: Send + 'static>(
    interface: &'static str,
    make: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (told, ours) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let there = thread::spawn(move || {
        // SAFETY: no pointers; it concerns this thread only.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        // SAFETY: no arguments, no failure.
        told.send(unsafe { libc::gettid() }).unwrap();
        wait.recv().unwrap();
        run("ip", &format!("address add 192.0.2.2/24 dev {interface}"));
        run("ip", &format!("link set {interface} up"));
        make()
    });
    let thread = ours.recv().unwrap();
    run("ip", &format!("link set {interface} netns {thread}"));
    go.send(()).unwrap();
    there.join().unwrap()
}

// The clock.

/// The time of day may be set at any moment, by hours and backwards: nobody reads it. A library in front of the C library makes
/// it jump with each look, and notes whether anybody looked.
#[test]
fn a_clock_that_is_stepped() {
    let (root, bytes) = Root::with_file(5_000);
    let Some(library) = wild_clock(&root) else {
        return;
    };
    let mut command = program(PROGRAM);
    command
        .env("LD_PRELOAD", library)
        .env("CLOCK_NOTES", root.beside(""));
    command.arg("-r").arg(root.path());
    command.args(["-a", "127.0.0.1:0", "-t", "3"]);
    let mut server = Server::launch(command, 1);
    let before = open_files(server.process());
    let wish = Wish::octet("file");
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    // Timers run as ever: a block is sent again, and a silent client given up.
    let (mut client, mut download) = go_halfway(Client::new(server.address()), &wish);
    let block = client.receive_datagram();
    assert_eq!(client.receive_datagram(), block, "the same block again");
    client.send(&download.on_packet(crate::packet::parse(&block)).unwrap());
    assert_same(&client.complete(download).unwrap().bytes, &bytes);
    let silent = go_halfway(Client::new(server.address()), &wish);
    server.wait_for_log(&["timed out"]);
    drop(silent);
    eventually("descriptors back", PATIENCE, || {
        (open_files(server.process()) == before).then_some(())
    });
    assert!(server.is_running());
    assert!(
        root.beside("monotonic").exists(),
        "the library had no effect"
    );
    assert!(
        !root.beside("realtime").exists(),
        "the time of day was read"
    );
}

/// The library, built here; none where there is no compiler.
fn wild_clock(root: &Root) -> Option<std::path::PathBuf> {
    let (source, library) = (root.beside("clock.c"), root.beside("clock.so"));
    fs::write(&source, WILD_CLOCK).unwrap();
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-o"]);
    match command.arg(&library).arg(&source).output() {
        Ok(output) if output.status.success() => Some(library),
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => {
            skipped("there is no C compiler");
            None
        }
    }
}

const WILD_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static void note(const char *what) {
    char path[4096];
    const char *directory = getenv("CLOCK_NOTES");
    snprintf(path, sizeof path, "%s/%s", directory ? directory : "/", what);
    close(open(path, O_CREAT | O_WRONLY, 0600));
}

static void step(long *seconds) {
    static int looks;
    note("realtime");
    *seconds += (looks++ % 2 ? 1 : -1) * looks * 3600L;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        step(&time->tv_sec);
    } else if (clock == CLOCK_MONOTONIC) {
        note("monotonic");
    }
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void) zone;
    int result = syscall(SYS_gettimeofday, time, 0);
    step(&time->tv_sec);
    return result;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"#;

/// Does something when it goes, also when a test fails.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
