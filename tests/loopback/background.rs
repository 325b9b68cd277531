//! In the background, as classic init scripts want it: who started it waits until it serves, and a file holds its number.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

use crate::client::{PATIENCE, fetch_bytes};
use crate::machine::{
    eventually, field, has_program, in_own_network, is_asleep, is_root, skipped, sleeps,
};
use crate::root::{Root, assert_same};
use crate::server::{PROGRAM, program};
use crate::signals::halfway_at;

/// A server that left the process that started it.
pub(crate) struct Background {
    process: Pid,
}

impl Background {
    /// Whatever becomes the server in the background and writes its number to that file.
    #[track_caller]
    pub(crate) fn start(mut command: Command, pid_file: PathBuf) -> Background {
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && output.stdout.is_empty(),
            "{told}"
        );
        // It is there by now.
        let number = fs::read_to_string(pid_file).unwrap();
        let process = Pid::from_raw(number.trim_end().parse().unwrap());
        let server = Background { process };
        assert!(server.is_running(), "{process}");
        server
    }

    /// On an address of its own.
    #[track_caller]
    pub(crate) fn with(root: &Root, options: &[&str]) -> (Background, SocketAddr) {
        let address = own_address();
        let command = in_background(root, address, options);
        (Background::start(command, root.beside("pid")), address)
    }

    pub(crate) fn number(&self) -> u32 {
        self.process.as_raw().try_into().unwrap()
    }

    pub(crate) fn is_running(&self) -> bool {
        let program = fs::canonicalize(PROGRAM).unwrap();
        fs::read_link(format!("/proc/{}/exe", self.process)).is_ok_and(|path| path == program)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.process, signal).unwrap();
    }

    #[track_caller]
    pub(crate) fn wait(&self, within: Duration) {
        eventually("its end", within, || (!self.is_running()).then_some(()));
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if self.is_running() {
            self.signal(Signal::SIGKILL);
        }
    }
}

/// An address at which nobody else looks for a free port.
pub(crate) fn own_address() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let own = Ipv4Addr::new(127, 78, 0, COUNT.fetch_add(1, Ordering::Relaxed));
    let free = UdpSocket::bind((own, 0)).unwrap();
    free.local_addr().unwrap()
}

pub(crate) fn in_background(root: &Root, address: SocketAddr, options: &[&str]) -> Command {
    let mut command = program(PROGRAM);
    command.args(["-b", "-a", &address.to_string(), "-P"]);
    command.arg(root.beside("pid")).arg("-r").arg(root.path());
    command.args(options);
    command
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const AT_ONCE: Duration = Duration::from_secs(5);

#[test]
fn the_command_returns_when_it_serves() {
    let (root, bytes) = Root::with_file(5_000);
    let address = own_address();
    let mut command = in_background(&root, address, &[]);
    // Names that are not absolute, although it leaves this directory.
    command.current_dir(root.beside(".")).args(["-v"]);
    let server = Background::start(command, root.beside("pid"));
    assert_same(&fetch_bytes(address, "file"), &bytes);
    assert_eq!(
        getsid(Some(server.process)),
        Ok(server.process),
        "a session of its own"
    );
    for stream in 0..3 {
        let link = format!("/proc/{}/fd/{stream}", server.process);
        assert_eq!(fs::read_link(link).unwrap(), Path::new("/dev/null"));
    }
    let directory = fs::read_link(format!("/proc/{}/cwd", server.process));
    assert_eq!(directory.unwrap(), Path::new("/"));
    server.signal(Signal::SIGTERM);
    server.wait(AT_ONCE);
    // The sandbox lets nobody remove it.
    assert_eq!(fs::read(root.beside("pid")).unwrap(), b"");
}

/// Relative names are those of the directory in which it was started.
#[test]
fn relative_names_mean_what_they_say() {
    let (root, bytes) = Root::with_file(700);
    let address = own_address();
    let mut command = program(PROGRAM);
    command.args(["-b", "-P", "pid", "-r", "root", "-a", &address.to_string()]);
    command.current_dir(root.beside("."));
    let server = Background::start(command, root.beside("pid"));
    assert_same(&fetch_bytes(address, "file"), &bytes);
    assert!(server.is_running());
}

#[test]
fn it_is_as_confined_and_as_idle_as_in_the_foreground() {
    let (root, bytes) = Root::with_file(700);
    let (server, address) = Background::with(&root, &[]);
    assert_same(&fetch_bytes(address, "file"), &bytes);
    assert_confined(server.number());
    assert_idle(server.number());
}

/// As `privileges` shows it of the usual start.
#[track_caller]
pub(crate) fn assert_confined(process: u32) {
    let of = |name| field(&format!("/proc/{process}/status"), name);
    assert_eq!([of("NoNewPrivs"), of("CapEff")], ["1", "0000000000000000"]);
    assert_eq!(of("Seccomp"), "2");
    assert!(!is_root() || of("Uid") != "0");
}

/// As `idle` shows it.
#[track_caller]
pub(crate) fn assert_idle(process: u32) {
    // The timer of a transfer comes up once more.
    let before = eventually("rest", PATIENCE, || {
        let before = sleeps(process);
        std::thread::sleep(Duration::from_secs(2));
        (before == sleeps(process) && is_asleep(process)).then_some(before)
    });
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(sleeps(process), before, "it was woken");
}

/// What is wrong is said to the process that waits, with the status of the foreground.
#[test]
fn a_start_that_fails_says_so_and_leaves_the_file_alone() {
    let root = Root::new();
    fs::write(root.beside("pid"), "12\n").unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let cases: [(SocketAddr, &[&str], i32, &str); 3] = [
        (
            own_address(),
            &["-u", "no-such-user"],
            1,
            "tftpd: user no-such-user: ",
        ),
        (address, &[], 1, "in use"),
        (own_address(), &["-n", "0"], 2, "--max-transfers"),
    ];
    for (address, options, status, why) in cases {
        let output = in_background(&root, address, options).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{options:?}");
        assert!(told(&output).contains(why), "{}", told(&output));
        assert_eq!(fs::read(root.beside("pid")).unwrap(), b"12\n");
    }
}

#[test]
fn a_stale_number_is_no_obstacle_but_anything_else_is() {
    let (root, bytes) = Root::with_file(700);
    let pid_file = root.beside("pid");
    for stale in ["", "1\n", "999999", "4711 \n"] {
        fs::write(&pid_file, stale).unwrap();
        let (server, address) = Background::with(&root, &[]);
        assert_same(&fetch_bytes(address, "file"), &bytes);
        drop(server);
    }
    let precious = root.beside("precious");
    for text in ["root:x:0:0:root\n", "12345678901234567890123456789012345\n"] {
        fs::write(&precious, text).unwrap();
        for is_link in [false, true] {
            let _ = fs::remove_file(&pid_file);
            match is_link {
                true => symlink(&precious, &pid_file).unwrap(),
                false => drop(fs::copy(&precious, &pid_file).unwrap()),
            }
            let output = in_background(&root, own_address(), &[]).output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            let place = format!("tftpd: {}: ", pid_file.display());
            assert!(told(&output).contains(&place), "{}", told(&output));
            assert_eq!(fs::read_to_string(&precious).unwrap(), text);
            assert_eq!(fs::read_to_string(&pid_file).unwrap(), text);
        }
    }
}

/// It was given to the next instance, by whatever way.
#[test]
fn a_file_that_holds_another_number_stays_as_it_is() {
    let (root, _) = Root::with_file(700);
    for options in [&[][..], &["--no-sandbox"]] {
        let (server, _) = Background::with(&root, options);
        fs::write(root.beside("pid"), "1\n").unwrap();
        server.signal(Signal::SIGTERM);
        server.wait(AT_ONCE);
        assert_eq!(fs::read(root.beside("pid")).unwrap(), b"1\n");
    }
}

#[test]
fn where_it_may_be_removed_it_is() {
    let (root, _) = Root::with_file(700);
    let user = if is_root() { &["-u", "root"][..] } else { &[] };
    let (server, _) = Background::with(&root, &[&["--no-sandbox"], user].concat());
    server.signal(Signal::SIGTERM);
    server.wait(AT_ONCE);
    assert!(!root.beside("pid").exists());
}

/// In the foreground, too.
#[test]
fn a_number_is_written_in_the_foreground() {
    let (root, _) = Root::with_file(700);
    let path = root.beside("pid");
    let mut server = crate::server::Server::with(root.path(), &["-P", path.to_str().unwrap()]);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        format!("{}\n", server.process())
    );
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(AT_ONCE).code(), Some(0));
    assert_eq!(fs::read(&path).unwrap(), b"");
}

/// Scripts start the next instance after a second, and take one that is still there for it.
#[test]
fn nothing_is_waited_for_at_the_end() {
    let (root, _) = Root::with_file(100_000);
    let (server, address) = Background::with(&root, &[]);
    let _running = halfway_at(address);
    server.signal(Signal::SIGTERM);
    server.wait(Duration::from_secs(1));
}

/// What Debian's init script does, in a process tree of its own: `--name` means any process of that name.
const INIT: &str = r#"
program=$1; shift
start() {
    start-stop-daemon --start --quiet --oknodo --exec "$program" -- \
        --listen --user nobody --address 127.0.0.1:69 --secure "$@"
}
stop() { start-stop-daemon --stop --quiet --oknodo --name in.tftpd; }
start "$@"; echo "started $?"; read line
stop; echo "stopped $?"; sleep 1; start "$@"; echo "started $?"; read line
start "$@"; echo "started $?"; read line
stop; echo "stopped $?"; read line
"#;

#[test]
fn an_init_script_restarts_it_during_a_slow_transfer() {
    if !has_program("start-stop-daemon", "--version") {
        return skipped("there is no start-stop-daemon");
    }
    in_own_network(|| {
        let (root, bytes) = Root::with_file(100_000);
        // A copy: the link's own name is the one that the process has.
        fs::copy(PROGRAM, root.beside("tftpd")).unwrap();
        symlink("tftpd", root.beside("in.tftpd")).unwrap();
        let mut script = program("unshare");
        script.args([
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            INIT,
            "sh",
        ]);
        script.arg(root.beside("in.tftpd")).arg(root.path());
        script.stdin(Stdio::piped()).stderr(Stdio::inherit());
        let mut script = script.spawn().unwrap();
        let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
        let mut input = script.stdin.take().unwrap();
        let server = "127.0.0.1:69".parse().unwrap();
        let mut expect = |line: &str| match lines.next() {
            None => false,
            Some(told) => {
                assert_eq!(told.unwrap(), line);
                true
            }
        };
        if !expect("started 0") {
            script.wait().unwrap();
            return skipped("no process tree of its own");
        }
        assert_same(&fetch_bytes(server, "file"), &bytes);
        let _slow = halfway_at(server);
        input.write_all(b"\n").unwrap();
        assert!(expect("stopped 0") && expect("started 0"));
        assert_same(&fetch_bytes(server, "file"), &bytes);
        // A second start is none.
        input.write_all(b"\n").unwrap();
        assert!(expect("started 0"));
        assert_same(&fetch_bytes(server, "file"), &bytes);
        input.write_all(b"\n").unwrap();
        assert!(expect("stopped 0"));
        eventually("a free port", AT_ONCE, || UdpSocket::bind(server).ok());
        drop(input);
        script.wait().unwrap();
    });
}
