//! Rehearsals against a server, and what they say.

use std::fs;
use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::surroundings::root::Root;
use crate::surroundings::server::Server;

/// A server of these files with these lengths.
pub(crate) fn serving(files: &[(&str, usize)]) -> (Root, Server) {
    let root = Root::new();
    for (name, length) in files {
        root.write(name, *length);
    }
    let server = Server::start(root.path());
    (root, server)
}

/// A socket that hears and never answers, and its address.
pub(crate) fn silent() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

/// As [`rehearse`], with every byte compared.
pub(crate) fn verify(root: &Root, server: &Server, line: &str) -> Rehearsal {
    rehearse(server, line, &["--verify", &root.at("")])
}

/// A rehearsal against a server, of the arguments in `line` and those in `more`.
pub(crate) fn rehearse(server: &Server, line: &str, more: &[&str]) -> Rehearsal {
    let address = server.address().to_string();
    Rehearsal::run(&[&words(&address, line)[..], more].concat())
}

/// A server and the arguments in `line`.
pub(crate) fn words<'a>(address: &'a str, line: &'a str) -> Vec<&'a str> {
    std::iter::once(address)
        .chain(line.split_whitespace())
        .collect()
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

pub(crate) fn read(root: &Root, name: &str) -> String {
    fs::read_to_string(root.file(name)).unwrap()
}

pub(crate) fn json(root: &Root, name: &str) -> Value {
    serde_json::from_str(&read(root, name)).unwrap()
}
