//! `tftpd --status`: a running server on a terminal, in a pipe, and as JSON.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::client::{Client, PATIENCE};
use crate::download::Wish;
use crate::machine::eventually;
use crate::monitoring::{Waiting, get};
use crate::root::Root;
use crate::server::{PROGRAM, Server, program};

/// A server that has one client to serve and 40 that wait.
fn full_server(socket: &Path) -> (Root, Server, Client, Waiting) {
    let (root, _) = Root::with_file(400_000);
    let options = ["-n", "1", "--hold", "never", "--control"];
    let options = [&options[..], &[socket.to_str().unwrap()]].concat();
    let server = Server::with(root.path(), &options);
    let mut client = Client::new(server.address()).asking(&Wish::octet("file"));
    client.expect_data(1);
    let waiting = Waiting::new(&server, 40);
    eventually("all of them", PATIENCE, || {
        get(socket, "/status")
            .contains("\"pending\":40,")
            .then_some(())
    });
    (root, server, client, waiting)
}

fn status(arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = program(PROGRAM).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        text(output.stdout),
        text(output.stderr),
        output.status.code(),
    )
}

#[test]
fn plain_text_and_json_where_there_is_no_terminal() {
    let place = Root::new();
    let socket = place.beside("control");
    let (_root, _server, client, _waiting) = full_server(&socket);
    let path = socket.to_str().unwrap();
    for arguments in [
        &["--status", path][..],
        &["--once", path],
        &["--status", "--control", path],
    ] {
        let (text, _, code) = status(arguments);
        assert_eq!(code, Some(0));
        assert!(
            text.contains(": 1 of 1 slots, 40 pending, 0 held, oldest wait "),
            "{text}"
        );
        assert!(text.contains("WAITING 1-40 of 40"), "{text}");
        let first = format!("127.0.0.1:{}", client.port());
        let line = text.lines().find(|line| line.starts_with(&first)).unwrap();
        assert!(
            line.contains(" file ") && line.contains("[              ]   0%"),
            "{line}"
        );
        assert!(text.is_ascii() && !text.contains('\x1b'), "{text}");
    }
    let (text, _, code) = status(&["--status", "--json", path]);
    let seen: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &seen["pending"]), (Some(0), &40.into()));
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let root = Root::new();
    let path = root.beside("control");
    let (text, error, code) = status(&["--status", path.to_str().unwrap()]);
    assert_eq!((&*text, code), ("", Some(1)));
    assert!(
        error.starts_with("tftpd: ") && error.contains("control: No such file"),
        "{error}"
    );
    let (_, error, code) = status(&["--status", "a", "b"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("--status: one socket at a time"), "{error}");
}

/// A terminal, and the program that believes in it.
struct Terminal {
    child: Child,
    master: File,
    text: Arc<Mutex<Vec<u8>>>,
}

fn window(columns: u16, lines: u16) -> Winsize {
    Winsize {
        ws_row: lines,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Terminal {
    fn new(socket: &Path, columns: u16, lines: u16) -> Terminal {
        let pty = openpty(&window(columns, lines), None).unwrap();
        let slave = File::from(pty.slave);
        let mut command = Command::new(PROGRAM);
        command.arg("--status").arg(socket);
        command.stdin(slave.try_clone().unwrap()).stdout(slave);
        command.stderr(Stdio::piped());
        // SAFETY: both calls are safe between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        let master = File::from(pty.master);
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let (mut reader, seen) = (master.try_clone().unwrap(), Arc::clone(&text));
        thread::spawn(move || {
            let mut buffer = [0; 65_536];
            // The end is an error where the last process has closed the terminal.
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                seen.lock().unwrap().extend(&buffer[..length]);
            }
        });
        Terminal {
            child,
            master,
            text,
        }
    }

    fn resize(&self, columns: u16, lines: u16) {
        let size = window(columns, lines);
        // SAFETY: the descriptor is open, and the kernel reads a `winsize`.
        let result = unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &size) };
        assert_eq!(result, 0);
    }

    fn all(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }

    /// The lines of the last whole picture that is as wanted, without what colours them.
    #[track_caller]
    fn wait_for(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        eventually(what, PATIENCE, || {
            let all = self.all();
            let (pictures, _) = all.rsplit_once("\x1b[J")?;
            let (_, picture) = pictures.rsplit_once("\x1b[H")?;
            let plain = ["\x1b[7m", "\x1b[0m", "\x1b[K"];
            let text = plain
                .iter()
                .fold(picture.to_owned(), |text, code| text.replace(code, ""));
            // The terminal itself puts one more before the end of a line.
            let lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
            let lines: Vec<String> = lines.map(str::to_owned).collect();
            wanted(&lines).then_some(lines)
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn assert_fits(lines: &[String], columns: usize, count: usize) {
    assert_eq!(lines.len(), count.min(2 + 3 + 1 + 40), "{lines:#?}");
    for line in lines {
        assert!(
            line.len() <= columns && line.is_ascii() && !line.contains('\x1b'),
            "{line}"
        );
    }
    let titles = lines.iter().filter(|line| line.len() == columns);
    assert!(titles.count() >= 3, "{lines:#?}");
}

#[test]
fn the_screen_fits_scrolls_follows_the_size_and_ends() {
    let place = Root::new();
    let socket = place.beside("control");
    let (_root, server, mut client, waiting) = full_server(&socket);
    let mut terminal = Terminal::new(&socket, 80, 24);
    let lines = terminal.wait_for("a picture", |lines| lines.len() > 5);
    assert_fits(&lines, 80, 24);
    assert!(
        lines[0].contains(": 1 of 1 slots, 40 pending, "),
        "{lines:#?}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("WAITING 1-")),
        "{lines:#?}"
    );
    terminal.master.write_all(b"\x1b[B").unwrap();
    terminal.wait_for("one row further", |lines| {
        lines.iter().any(|line| line.starts_with("WAITING 2-"))
    });
    terminal.master.write_all(b"g").unwrap();
    terminal.wait_for("the beginning", |lines| {
        lines.iter().any(|line| line.starts_with("WAITING 1-"))
    });

    terminal.resize(200, 50);
    let lines = terminal.wait_for("a wide picture", |lines| {
        lines.iter().any(|line| line.len() == 200)
    });
    assert_fits(&lines, 200, 50);
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("WAITING 1-40 of 40")),
        "{lines:#?}"
    );
    client.ack(1);
    client.expect_data(2);
    terminal.wait_for("progress", |lines| {
        lines
            .iter()
            .any(|line| line.contains("[              ]   0%") && line.contains("B/s"))
    });
    terminal.resize(80, 24);
    let lines = terminal.wait_for("a small picture", |lines| lines.len() == 24);
    assert_fits(&lines, 80, 24);

    drop((server, waiting));
    terminal.wait_for("the end of the server", |lines| {
        lines[0].starts_with("the server does not answer")
    });
    terminal.master.write_all(b"q").unwrap();
    let ended = eventually("the end of the screen", PATIENCE, || {
        terminal.child.try_wait().unwrap()
    });
    assert_eq!(ended.code(), Some(0));
    eventually("the terminal as it was", PATIENCE, || {
        terminal
            .all()
            .ends_with("\x1b[?25h\x1b[?1049l")
            .then_some(())
    });
}

#[test]
fn a_terminal_that_goes_ends_the_screen_and_not_the_server() {
    let place = Root::new();
    let socket = place.beside("control");
    let (_root, mut server, _client, _waiting) = full_server(&socket);
    let mut terminal = Terminal::new(&socket, 80, 24);
    terminal.wait_for("a picture", |lines| lines.len() > 5);
    // What a terminal does that is closed.
    let process = Pid::from_raw(terminal.child.id().try_into().unwrap());
    kill(process, Signal::SIGHUP).unwrap();
    let ended = eventually("the end of the screen", PATIENCE, || {
        terminal.child.try_wait().unwrap()
    });
    assert!(ended.code().is_some(), "{ended}");
    assert!(server.is_running());
    get(&socket, "/status");
}
