//! The real program under test: started on ports of its own, its log collected, ended when the value goes.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;
use super::machine::{eventually, pending_signals};
use super::root::Root;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tftpd");

pub(crate) struct Server {
    child: Child,
    log: Arc<Log>,
    addresses: Vec<SocketAddr>,
}

/// Where transfers take place, if the test does not say: the whole suite can run in each of these modes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    OwnPorts,
    PortRange,
    SinglePort,
}

impl Mode {
    /// As the environment variable `TFTPD_TEST_PORTS` says: nothing, `range` or `single`.
    pub(crate) fn wanted() -> Self {
        match std::env::var("TFTPD_TEST_PORTS").as_deref() {
            Err(_) | Ok("") => Self::OwnPorts,
            Ok("range") => Self::PortRange,
            Ok("single") => Self::SinglePort,
            Ok(other) => panic!("TFTPD_TEST_PORTS={other}"),
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::OwnPorts => &[],
            // Below those that the system picks from; servers of several tests may share them.
            Self::PortRange => &["-R", "20000:29999"],
            Self::SinglePort => &["--single-port"],
        }
    }
}

/// What the server has written to its standard error so far.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

/// A directory with one file, named `file`, what it holds, and a server of it with these options.
pub(crate) fn serving(length: usize, options: &[&str]) -> (Root, Vec<u8>, Server) {
    let (root, bytes) = Root::with_file(length);
    let server = Server::with(root.path(), options);
    (root, bytes, server)
}

/// The program under the name that packages link to it.
pub(crate) fn in_tftpd(root: &Root) -> PathBuf {
    let link = root.beside("in.tftpd");
    if !link.is_symlink() {
        symlink(PROGRAM, &link).unwrap();
    }
    link
}

/// The program with a quiet environment and nothing to read.
pub(crate) fn program(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(path);
    command
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Server {
    /// On 127.0.0.1 and a free port.
    pub(crate) fn start(root: &Path) -> Self {
        Self::with(root, &[])
    }

    /// With more options; listening on 127.0.0.1 if they do not say where.
    pub(crate) fn with(root: &Path, options: &[&str]) -> Self {
        let mut command = program(PROGRAM);
        command.arg("-r").arg(root).args(options);
        let names_ports = |option: &&str| ["-R", "--single-port"].contains(option);
        if !options.iter().any(names_ports) {
            command.args(Mode::wanted().options());
        }
        let mut listeners = options.iter().filter(|&&option| option == "-a").count();
        if listeners == 0 {
            command.args(["-a", "127.0.0.1:0"]);
            listeners = 1;
        }
        Self::launch(command, listeners)
    }

    /// Any command that becomes the server and logs its `listeners` addresses.
    pub(crate) fn launch(mut command: Command, listeners: usize) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let mut server = Self {
            child,
            log: Arc::default(),
            addresses: Vec::new(),
        };
        let log = Arc::clone(&server.log);
        thread::spawn(move || log.collect(stderr));
        server.wait_for_lines("listening on", listeners, |line| {
            listening_address(line).is_some()
        });
        server.addresses = server
            .log_lines()
            .iter()
            .filter_map(|line| listening_address(line))
            .collect();
        server
    }

    /// The first one it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log_lines(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().clone()
    }

    /// The lines so far that hold these words.
    pub(crate) fn lines_with(&self, words: &str) -> Vec<String> {
        let mut lines = self.log_lines();
        lines.retain(|line| line.contains(words));
        lines
    }

    /// The first line of the log that holds all of these words.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, words: &[&str]) -> String {
        let holds = |line: &str| words.iter().all(|word| line.contains(word));
        self.wait_for_lines(&format!("{words:?}"), 1, holds)
            .swap_remove(0)
    }

    #[track_caller]
    pub(crate) fn wait_for_lines(
        &self,
        what: &str,
        count: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            let found: Vec<String> = lines.iter().filter(|line| wanted(line)).cloned().collect();
            if found.len() >= count {
                return found;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                // The log itself is shown when the server goes.
                drop(lines);
                panic!("{} of {count} times {what} in the log", found.len());
            };
            lines = self.log.grown.wait_timeout(lines, left).unwrap().0;
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Until no signal is left that the server has not seen.
    #[track_caller]
    pub(crate) fn wait_for_signal_taken(&self) {
        eventually("a signal taken", PATIENCE, || {
            (pending_signals(self.process()) == 0).then_some(())
        });
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self, within: Duration) -> ExitStatus {
        eventually("the end of the server", within, || {
            self.child.try_wait().unwrap()
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log_lines();
            let shown = &log[..log.len().min(LINES_SHOWN)];
            eprintln!(
                "log of the server, {} lines:\n{}",
                log.len(),
                shown.join("\n")
            );
        }
    }
}

/// Of a log that explains a failure.
const LINES_SHOWN: usize = 50;

impl Log {
    fn collect(&self, stderr: ChildStderr) {
        for line in BufReader::new(stderr).lines() {
            let Ok(line) = line else { return };
            self.lines.lock().unwrap().push(line);
            self.grown.notify_all();
        }
    }
}

/// Of a line such as `INFO listening on 127.0.0.1:40123`, or the same as JSON.
pub(crate) fn listening_address(line: &str) -> Option<SocketAddr> {
    let text = line.split_once("listening on ");
    let (_, address) = text.or_else(|| line.split_once(r#""event":"listening","address":""#))?;
    let mut words = address.split([' ', '"', '\n']);
    words.next()?.parse().ok()
}
