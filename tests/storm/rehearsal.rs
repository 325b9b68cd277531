//! The server with some files, and rehearsals against it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A directory that goes with the value.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tftp-storm-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Directory(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it, as an argument.
    pub(crate) fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file whose bytes differ from place to place.
    pub(crate) fn file(&self, name: &str, size: usize) -> &Directory {
        let mut state = 1_u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        let bytes: Vec<u8> = (0..size).map(|_| byte()).collect();
        fs::write(self.0.join(name), bytes).unwrap();
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // It may have been removed already.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Our server, on a free port of the loopback.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    pub(crate) fn start(root: &Directory) -> Server {
        Server::with(root, &[])
    }

    pub(crate) fn with(root: &Directory, options: &[&str]) -> Server {
        Server::at("127.0.0.1:0", root, options)
    }

    pub(crate) fn at(address: &str, root: &Directory, options: &[&str]) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tftpd"))
            .env_remove("RUST_LOG")
            .arg("-r")
            .arg(root.path())
            .args(["-a", address])
            .args(options)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (found, address) = mpsc::channel();
        // Reads to the end, lest the server's log fills the pipe.
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on ") {
                    // Nobody waits any more if the test is over.
                    let _ = found.send(address.trim().parse());
                }
            }
        });
        let address = address.recv_timeout(PATIENCE);
        let Ok(Ok(address)) = address else {
            // It may have ended by itself.
            let _ = child.kill();
            panic!("the server does not say where it listens: {address:?}");
        };
        Server { child, address }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// SIGTERM.
    pub(crate) fn stop(&self) {
        let process = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(process, Signal::SIGTERM).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }

    pub(crate) fn process(&self) -> String {
        self.child.id().to_string()
    }

    /// A rehearsal against it, of the arguments in `line` and those in `more`.
    pub(crate) fn rehearse(&self, line: &str, more: &[&str]) -> Rehearsal {
        let address = self.address();
        let words: Vec<&str> = std::iter::once(address.as_str())
            .chain(line.split_whitespace())
            .chain(more.iter().copied())
            .collect();
        Rehearsal::run(&words)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run of tftp-storm has said.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    pub(crate) status: Option<i32>,
    pub(crate) table: String,
    pub(crate) complaint: String,
}

/// The program with these arguments, not run yet.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tftp-storm"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Rehearsal {
    pub(crate) fn run(arguments: &[&str]) -> Rehearsal {
        Rehearsal::of(program(arguments).output().unwrap())
    }

    pub(crate) fn of(output: Output) -> Rehearsal {
        Rehearsal {
            status: output.status.code(),
            table: String::from_utf8(output.stdout).unwrap(),
            complaint: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What the table says in the row of this name.
    #[track_caller]
    pub(crate) fn row(&self, name: &str) -> &str {
        let mut rows = self.table.lines();
        let row = rows.find_map(|line| line.strip_prefix(name));
        row.unwrap_or_else(|| panic!("no row {name}: {self:?}"))
            .trim()
    }

    #[track_caller]
    pub(crate) fn must_be_well(&self) -> &Rehearsal {
        assert_eq!(self.status, Some(0), "{self:?}");
        assert_eq!(
            self.complaint, "",
            "it is quiet where nobody looks at a terminal"
        );
        self
    }
}

pub(crate) fn json(directory: &Directory, name: &str) -> Value {
    serde_json::from_str(&directory.read(name)).unwrap()
}

const PATIENCE: Duration = Duration::from_secs(20);
