//! A log that takes no lines, for whatever reason, costs lines and nothing else. Pipes are in `logging`.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, ttyname};

use crate::client::{Client, PATIENCE, fetch_bytes};
use crate::download::Wish;
use crate::machine::{eventually, is_root, open_files, run, skipped};
use crate::root::{Root, assert_same};
use crate::server::{PROGRAM, program};

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
        // Between two looks nobody else takes a port of an address that is used here only.
        static COUNT: AtomicU8 = AtomicU8::new(1);
        let own = Ipv4Addr::new(127, 77, 0, COUNT.fetch_add(1, Ordering::Relaxed));
        let free = std::net::UdpSocket::bind((own, 0)).unwrap();
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
            let mut probe = Client::new(address).asking(&Wish::octet("missing"));
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

impl Mute {
    #[track_caller]
    fn ends_when_told(&mut self) {
        let process = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(process, Signal::SIGTERM).unwrap();
        let status = eventually("the end", Duration::from_secs(5), || {
            self.child.try_wait().unwrap()
        });
        assert_eq!(status.code(), Some(0));
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
        // The disk may have been full within the first word of a line.
        let begins = |word: &str| line.starts_with(word) || word.starts_with(line);
        assert!(begins("INFO ") || begins("WARN "), "{line}");
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
    let stderr: OwnedFd = theirs.into();
    let mut mute = Mute::start(root.path(), stderr.into());
    mute.serves(&bytes, 2000);
    // And then its reader is gone: EPIPE.
    drop(ours);
    mute.serves(&bytes, 20);
}

/// A terminal that nobody reads, its own side and the one that a program has open, which the server's parent shares.
fn terminal() -> (OwnedFd, OwnedFd) {
    let pair = openpty(None, None).unwrap();
    (pair.master, pair.slave)
}

fn never_blocks(terminal: impl AsFd) -> bool {
    let flags = OFlag::from_bits_retain(fcntl(terminal, FcntlArg::F_GETFL).unwrap());
    flags.contains(OFlag::O_NONBLOCK)
}

/// As `docker run -t` or `ssh -t` has it once the other end is gone: after some 18 kB the terminal takes no more. It polls as
/// writable all the same, but a line blocks.
#[test]
fn a_terminal_that_nobody_reads() {
    let (root, bytes) = Root::with_file(600);
    let (_unread, ours) = terminal();
    let mut mute = Mute::start(root.path(), ours.try_clone().unwrap().into());
    mute.serves(&bytes, 1000);
    assert!(!never_blocks(&ours), "its parent's terminal was changed");
    mute.ends_when_told();
}

/// Ctrl-S, which many press by mistake for years.
#[test]
fn a_terminal_whose_output_was_stopped() {
    let (root, bytes) = Root::with_file(600);
    let (keyboard, ours) = terminal();
    let mut mute = Mute::start(root.path(), ours.into());
    fs::File::from(keyboard.try_clone().unwrap())
        .write_all(b"\x13")
        .unwrap();
    mute.serves(&bytes, 300);
    mute.ends_when_told();
}

/// As after `su` in a session that the terminal does not control: it cannot be opened again.
#[test]
fn a_terminal_of_another_user_that_nobody_reads() {
    if !is_root() {
        return skipped("to be another user needs root");
    }
    let (root, bytes) = Root::with_file(600);
    let (_unread, ours) = terminal();
    let path = ttyname(&ours).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = program(PROGRAM);
    command.uid(65534).gid(65534);
    let mut mute = Mute::launch(command, root.path(), ours.into());
    mute.serves(&bytes, 1000);
    mute.ends_when_told();
}

/// Standard streams that are closed: no socket may take their place and be written log lines to.
#[test]
fn standard_streams_that_are_closed() {
    let (root, bytes) = Root::with_file(600);
    let mut command = program("sh");
    command.args(["-c", "exec \"$@\" <&- >&- 2>&-", "sh", PROGRAM]);
    Mute::launch(command, root.path(), Stdio::null()).serves(&bytes, 50);
}

/// Does something when it goes, also when a test fails.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
