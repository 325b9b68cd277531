//! Service managers that are told how it goes, and logs that are not standard error: the journal and syslog.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, fstat, makedev, mknod};
use nix::time::{ClockId, clock_gettime};

use crate::background::{Background, assert_confined, assert_idle, in_background, own_address};
use crate::client::{Client, PATIENCE, fetch_bytes};
use crate::download::Wish;
use crate::machine::{eventually, in_own_mounts, is_asleep, is_root};
use crate::root::{Root, assert_same};
use crate::server::{PROGRAM, Server, in_tftpd, program};
use crate::signals::halfway_at;

const AT_ONCE: Duration = Duration::from_secs(5);

/// A socket that takes datagrams, with the next of them as text.
struct Reader(UnixDatagram);

impl Reader {
    fn at(path: &Path) -> Reader {
        let reader = Reader(UnixDatagram::bind(path).unwrap());
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        reader
    }

    fn within(&self, patience: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 8192];
        let length = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].into()).unwrap())
    }

    #[track_caller]
    fn next(&self) -> String {
        self.within(PATIENCE).expect("a datagram")
    }

    /// The first that holds these words.
    #[track_caller]
    fn find(&self, words: &str) -> String {
        loop {
            let text = self.next();
            if text.contains(words) {
                return text;
            }
        }
    }
}

/// The server, told to tell.
fn notifying(root: &Root, socket: &str, options: &[&str]) -> Server {
    let mut command = program(PROGRAM);
    command.env("NOTIFY_SOCKET", socket).arg(root.path());
    command.args(["-a", "127.0.0.1:0"]).args(options);
    Server::launch(command, 1)
}

/// By a path and by an abstract name, also where the process sees no path any longer.
#[test]
fn a_service_manager_is_told_when_it_serves_and_when_it_stops() {
    let (root, bytes) = Root::with_file(5_000);
    let path = root.beside("notify");
    let abstract_name = format!("tftpd-loopback-{}", std::process::id());
    let address = UnixAddress::from_abstract_name(&abstract_name).unwrap();
    let readers = [
        (Reader::at(&path), path.to_str().unwrap().to_owned()),
        (
            Reader(UnixDatagram::bind_addr(&address).unwrap()),
            format!("@{abstract_name}"),
        ),
    ];
    for (reader, name) in readers {
        let mut ways = vec![&[][..], &["--no-sandbox"]];
        if is_root() {
            ways.push(&["--chroot"]);
        }
        for options in ways {
            let mut server = notifying(&root, &name, options);
            assert_eq!(reader.next(), "READY=1");
            assert_eq!(reader.next(), "STATUS=0 of 32 slots taken, 0 waiting");
            assert_same(&fetch_bytes(server.address(), "file"), &bytes);
            if options.is_empty() {
                assert_confined(server.process());
                assert_idle(server.process());
            }
            server.signal(Signal::SIGTERM);
            reader.find("STOPPING=1");
            assert_eq!(server.wait(AT_ONCE).code(), Some(0), "{options:?}");
            while reader.within(Duration::from_millis(1)).is_some() {}
        }
    }
}

/// Since when rules are read again, and when they were, whether they are good or not; several at once as well.
#[test]
fn a_service_manager_is_told_that_rules_are_read_again() {
    let (root, _) = Root::with_file(100);
    let path = root.beside("notify");
    let reader = Reader::at(&path);
    let map = root.rules("r a b\n");
    let server = notifying(&root, path.to_str().unwrap(), &["-m", &map]);
    assert_eq!(reader.next(), "READY=1");
    reader.find("STATUS=");
    let micros = || {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
        now.tv_sec() * 1_000_000 + now.tv_nsec() / 1_000
    };
    for rules in ["r a c\n", "r ( bad\n", "r a c\n"] {
        fs::write(&map, rules).unwrap();
        let before = micros();
        server.signal(Signal::SIGHUP);
        let told = reader.next();
        let since = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        let since: i64 = since.expect(&told).parse().unwrap();
        assert!(before <= since && since <= micros(), "{told}");
        assert_eq!(reader.next(), "READY=1", "{rules}");
    }
    for _ in 0..10 {
        server.signal(Signal::SIGHUP);
    }
    // Ten signals may be one; each RELOADING is followed by a READY, and the last word is READY.
    let mut told = vec![reader.find("RELOADING=1")];
    while let Some(text) = reader.within(AT_ONCE / 5) {
        told.push(text);
    }
    assert_eq!(told.last().unwrap(), "READY=1", "{told:?}");
}

/// However fast the numbers change; the last one is told, too.
#[test]
fn the_status_is_told_once_a_second_while_it_changes() {
    let (root, bytes) = Root::with_file(100_000);
    let path = root.beside("notify");
    let reader = Reader::at(&path);
    let server = notifying(&root, path.to_str().unwrap(), &["-n", "2"]);
    reader.find("STATUS=0 of 2 slots taken, 0 waiting");
    let begin = std::time::Instant::now();
    let mut fetched = 0;
    while begin.elapsed() < Duration::from_secs(3) {
        assert_same(&fetch_bytes(server.address(), "file"), &bytes);
        fetched += 1;
    }
    let running = [halfway_at(server.address()), halfway_at(server.address())];
    let _waiting = Client::new(server.address()).asking(&Wish::octet("file"));
    let mut told = 1;
    while reader.next() != "STATUS=2 of 2 slots taken, 1 waiting" {
        told += 1;
    }
    let seconds = begin.elapsed().as_secs_f64();
    assert!(
        fetched > 10 && f64::from(told) <= seconds + 2.0,
        "{told} in {seconds} s"
    );
    drop(running);
}

#[test]
fn a_watchdog_is_fed_and_nobody_elses_is() {
    let (root, _) = Root::with_file(10);
    let path = root.beside("notify");
    let reader = Reader::at(&path);
    for (pid, is_ours) in [(None, true), (Some("1"), false)] {
        let mut command = program(PROGRAM);
        command.env("NOTIFY_SOCKET", &path).arg(root.path());
        command
            .args(["-a", "127.0.0.1:0"])
            .env("WATCHDOG_USEC", "400000");
        if let Some(pid) = pid {
            command.env("WATCHDOG_PID", pid);
        }
        let server = Server::launch(command, 1);
        reader.find("STATUS=0 of 32");
        match is_ours {
            true => (0..5).for_each(|_| assert_eq!(reader.next(), "WATCHDOG=1")),
            false => assert_eq!(reader.within(Duration::from_secs(1)), None),
        }
        drop(server);
        while reader.within(Duration::from_millis(1)).is_some() {}
    }
}

/// A service manager wants the process that it started.
#[test]
fn it_does_not_leave_a_service_manager() {
    let (root, bytes) = Root::with_file(700);
    let path = root.beside("notify");
    let reader = Reader::at(&path);
    let mut command = program(PROGRAM);
    command
        .env("NOTIFY_SOCKET", &path)
        .args(["-b", "-r"])
        .arg(root.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        output.stderr.starts_with(b"tftpd: -b: not where"),
        "{output:?}"
    );
    let mut command = program(in_tftpd(&root));
    command
        .env("NOTIFY_SOCKET", &path)
        .args(["-l", "-s", "-a", "127.0.0.1:0"])
        .arg(root.path());
    let server = Server::launch(command, 1);
    server.wait_for_log(&["WARN", "-l"]);
    assert_eq!(reader.next(), "READY=1");
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
}

/// Nobody reads what it tells.
#[test]
fn a_service_manager_that_does_not_read_stops_nobody() {
    let (root, bytes) = Root::with_file(700);
    let path = root.beside("notify");
    let reader = Reader::at(&path);
    let (full, _) = (UnixDatagram::unbound().unwrap(), ());
    full.set_nonblocking(true).unwrap();
    while full.send_to(b"full", &path).is_ok() {}
    let mut server = notifying(&root, path.to_str().unwrap(), &[]);
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    drop(reader);
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(AT_ONCE).code(), Some(0));
}

/// The journal wants priorities; anything else that is said to be it and is not gets none.
#[test]
fn lines_for_the_journal_begin_with_a_priority() {
    let (root, _) = Root::with_file(700);
    for is_journal in [true, false] {
        let path = root.beside("journal");
        let log = File::create(&path).unwrap();
        let stat = fstat(log.as_fd()).unwrap();
        let inode = stat.st_ino + u64::from(!is_journal);
        let mut command = program(PROGRAM);
        command.env("JOURNAL_STREAM", format!("{}:{inode}", stat.st_dev));
        let address = own_address();
        command
            .args(["-v", "-a", &address.to_string()])
            .arg(root.path());
        let mut child = command.stderr(log).spawn().unwrap();
        let missing = |name: &str| {
            eventually("an answer", PATIENCE, || {
                let mut client = Client::new(address).asking(&Wish::octet(name));
                client.receive_within(Duration::from_millis(100))
            })
        };
        missing("missing");
        let has_line = || fs::read_to_string(&path).unwrap().contains("no such file");
        eventually("its line", PATIENCE, || has_line().then_some(()));
        child.kill().unwrap();
        child.wait().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let priority = |number: &str| match is_journal {
            true => format!("<{number}>"),
            false => String::new(),
        };
        for (number, level) in [("7", "DEBUG"), ("6", "INFO"), ("4", "WARN")] {
            let head = format!("{}{level} ", priority(number));
            assert!(text.lines().any(|line| line.starts_with(&head)), "{text}");
        }
        assert!(
            text.lines().all(|line| line.starts_with('<') == is_journal),
            "{text}"
        );
    }
}

/// Runs a test in a /dev of its own, which holds what a process needs, and at first no log.
fn in_own_devices(test: impl FnOnce() + Send + 'static) {
    in_own_mounts(|| {
        let none = None::<&str>;
        mount(Some("tmpfs"), "/dev", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let everybody = Mode::from_bits_truncate(0o666);
        for (path, minor) in [("/dev/null", 3), ("/dev/urandom", 9)] {
            mknod(path, SFlag::S_IFCHR, everybody, makedev(1, minor)).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        }
        test();
    });
}

/// `<PRI>Mmm dd hh:mm:ss NAME[NUMBER]: LEVEL ...`, as glibc writes it.
#[track_caller]
fn assert_is_of_syslog(line: &str, priority: u8, name: &str, process: u32, level: &str) {
    let (head, time) = line.split_once('>').unwrap();
    assert_eq!(head, format!("<{priority}"), "{line}");
    let (time, text) = time.split_at(15);
    let months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    assert!(
        months.split(' ').any(|month| time.starts_with(month)),
        "{line}"
    );
    let shape: String = time[3..]
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert!(
        [" 00 00:00:00", "  0 00:00:00"].contains(&&*shape),
        "{line}"
    );
    let text = text.strip_prefix(&format!(" {name}[{process}]: {level} "));
    assert!(text.is_some_and(|text| !text.ends_with('\n')), "{line}");
}

#[test]
fn the_background_logs_to_syslog_and_finds_one_that_was_restarted() {
    in_own_devices(|| {
        let (root, bytes) = Root::with_file(700);
        let syslog = Reader::at(Path::new("/dev/log"));
        let (server, address) = Background::with(&root, &[]);
        let line = syslog.find("listening on ");
        assert_is_of_syslog(&line, 24 + 6, "tftpd", server.number(), "INFO");
        assert_confined(server.number());
        fetch_bytes(address, "file");
        syslog.find("\"file\": complete");

        // Nobody takes lines for a while.
        drop(syslog);
        let refused = || {
            let mut client = Client::new(address).asking(&Wish::octet("missing"));
            client.expect_error(1);
            // The line follows the answer.
            eventually("rest", PATIENCE, || {
                is_asleep(server.number()).then_some(())
            });
        };
        refused();
        refused();
        fs::remove_file("/dev/log").unwrap();
        refused();
        let syslog = Reader::at(Path::new("/dev/log"));
        refused();
        let line = syslog.next();
        assert_is_of_syslog(&line, 24 + 4, "tftpd", server.number(), "WARN");
        assert!(line.ends_with("3 log lines were dropped"), "{line}");
        let line = syslog.next();
        assert_is_of_syslog(&line, 24 + 4, "tftpd", server.number(), "WARN");
        assert!(line.contains("\"missing\": refused"), "{line}");

        // It does not read any more.
        for _ in 0..500 {
            assert_same(&fetch_bytes(address, "file"), &bytes);
        }
        server.signal(Signal::SIGTERM);
        server.wait(AT_ONCE);
    });
}

/// In the foreground: nothing on standard error, and under the name by which it was called.
#[test]
fn syslog_instead_of_standard_error() {
    in_own_devices(|| {
        let (root, _) = Root::with_file(700);
        let syslog = Reader::at(Path::new("/dev/log"));
        let address = own_address();
        let log = root.beside("stderr");
        let mut command = program(PROGRAM);
        let told = File::create(&log).unwrap();
        // Never both: it is not the journal's business.
        let stat = fstat(told.as_fd()).unwrap();
        command.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
        command
            .args(["--syslog", "-a", &address.to_string()])
            .arg(root.path());
        let mut child = command.stderr(told).spawn().unwrap();
        let line = syslog.find("listening on ");
        assert_is_of_syslog(&line, 24 + 6, "tftpd", child.id(), "INFO");
        fetch_bytes(address, "file");
        syslog.find("\"file\": complete");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "");
        // Why it does not start is told in both places.
        let mut command = program(PROGRAM);
        command
            .args(["--syslog", "-u", "no-such-user"])
            .arg(root.path());
        let output = command.output().unwrap();
        assert!(output.stderr.starts_with(b"tftpd: user no-such-user: "));
        let line = syslog.find("no-such-user");
        assert!(
            line.starts_with("<27>") && line.contains("]: ERROR user no-such-user: "),
            "{line}"
        );
    });
}

/// inetd's way: the streams are the socket, so even a wrong command line goes to syslog.
#[test]
fn a_server_whose_streams_are_a_socket_logs_to_syslog() {
    in_own_devices(|| {
        let (root, bytes) = Root::with_file(700);
        let syslog = Reader::at(Path::new("/dev/log"));
        let link = in_tftpd(&root);
        let start = |options: &[&str]| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            let copy = || std::os::fd::OwnedFd::from(socket.try_clone().unwrap());
            let mut command = program(&link);
            command.stdin(copy()).stdout(copy()).stderr(copy());
            let child = command.args(options).arg(root.path()).spawn().unwrap();
            (child, address)
        };
        let (mut child, address) = start(&["-s", "-t", "900"]);
        let line = syslog.find("-t 900");
        assert_is_of_syslog(&line, 24 + 4, "in.tftpd", child.id(), "WARN");
        assert_same(&fetch_bytes(address, "file"), &bytes);
        syslog.find("\"file\": complete");
        child.kill().unwrap();
        child.wait().unwrap();
        let (mut child, _) = start(&["-s", "-S", "tftp"]);
        let line = syslog.next();
        assert_is_of_syslog(&line, 24 + 3, "in.tftpd", child.id(), "ERROR");
        assert!(line.contains("--service"), "{line}");
        assert_eq!(child.wait().unwrap().code(), Some(2));
    });
}

/// What the sandbox ends is told in the log, wherever that is.
#[test]
fn a_violation_is_told_to_syslog() {
    in_own_devices(|| {
        let (root, _) = Root::with_file(700);
        let Some(library) = crate::machine::library(&root, FORBIDDEN) else {
            return;
        };
        let syslog = Reader::at(Path::new("/dev/log"));
        let address = own_address();
        let mut command = in_background(&root, address, &[]);
        command.env("LD_PRELOAD", library);
        let server = Background::start(command, root.beside("pid"));
        let _client = Client::new(address).asking(&Wish::octet("file"));
        syslog.find("ERROR system call ");
        server.wait(AT_ONCE);
    });
}

/// Receives as ever, and then asks for something that the server never does.
const FORBIDDEN: &str = r"
#define _GNU_SOURCE
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
int recvmmsg(int s, struct mmsghdr *v, unsigned n, int f, struct timespec *t) {
    long got = syscall(SYS_recvmmsg, s, v, n, f, t);
    if (got > 0) syscall(SYS_getppid);
    return got;
}
";

/// Of a root of its own: the connection is made before, and a syslogd that is started again is found if it has a socket
/// in there.
#[test]
fn syslog_in_a_root_of_its_own() {
    in_own_devices(|| {
        let (root, bytes) = Root::with_file(700);
        let syslog = Reader::at(Path::new("/dev/log"));
        let (server, address) = Background::with(&root, &["--chroot"]);
        assert_same(&fetch_bytes(address, "file"), &bytes);
        syslog.find("\"file\": complete");
        drop(syslog);
        fs::create_dir(root.file("dev")).unwrap();
        let syslog = Reader::at(&root.file("dev/log"));
        assert_same(&fetch_bytes(address, "file"), &bytes);
        syslog.find("\"file\": complete");
        assert!(server.is_running());
    });
}
