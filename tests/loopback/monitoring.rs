//! What can be seen of the server while it runs: the file of `--stats`, the socket of `--control`, SIGUSR1, and the line after a storm.
//! Nothing of it stops the server.

use std::fs;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use serde_json::Value;

use crate::client::{Client, PATIENCE, fetch, fetch_bytes};
use crate::download::{Download, Wish};
use crate::machine::{eventually, in_own_mounts, is_asleep, is_root, skipped, sleeps};
use crate::put::Put;
use crate::root::{Root, assert_same};
use crate::server::{PROGRAM, Server, program, serving};
use crate::uploads::writable;

const DASHBOARD: &str = include_str!("../../scripts/grafana.json");

/// The body of what is answered to `GET path`.
#[track_caller]
pub(crate) fn get(socket: &Path, path: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
    assert!(
        head.contains(&format!("Content-Length: {}\r\n", body.len())),
        "{head}"
    );
    body.to_owned()
}

/// A server of one file with a control socket.
fn controlled(length: usize) -> (Root, Vec<u8>, Server, PathBuf) {
    let (root, bytes) = Root::with_file(length);
    let socket = root.beside("control");
    let server = Server::with(root.path(), &["--control", socket.to_str().unwrap()]);
    (root, bytes, server, socket)
}

fn status(socket: &Path) -> Value {
    serde_json::from_str(&get(socket, "/status")).unwrap()
}

/// File and stage of each.
fn rows(of: &Value) -> Vec<[&str; 2]> {
    let rows = of.as_array().unwrap().iter();
    rows.map(|row| ["name", "stage"].map(|field| row[field].as_str().unwrap()))
        .collect()
}

fn promtool() -> Option<PathBuf> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/usr/bin/promtool");
    let path = std::env::var_os("PATH")?;
    let mut all = std::env::split_paths(&path).map(|folder| folder.join("promtool"));
    all.find(|file| file.exists())
        .or_else(|| unpacked.exists().then_some(unpacked))
}

/// A server with one client that runs, halfway through its file, and one that waits.
fn busy(options: &[&str]) -> (Root, Server, Client, Client) {
    let (root, _, server) = serving(
        400_000,
        &[&["-n", "1", "--hold", "never"], options].concat(),
    );
    let mut first = Client::new(server.address()).asking(&Wish::octet("file"));
    first.expect_data(1);
    let second = Client::new(server.address()).asking(&Wish::octet("/file"));
    (root, server, first, second)
}

/// Clients with addresses of their own that wait, and ask again as firmware does, until the value goes.
pub(crate) struct Waiting {
    _stop: Sender<()>,
}

impl Waiting {
    pub(crate) fn new(server: &Server, count: u8) -> Waiting {
        let clients = (0..count).map(|number| {
            Client::at(Ipv4Addr::new(127, 0, 1, number), server.address())
                .asking(&Wish::octet("file"))
        });
        let clients: Vec<Client> = clients.collect();
        let (stop, stopped) = channel::<()>();
        thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_secs(2)) == Err(RecvTimeoutError::Timeout) {
                for client in &clients {
                    client.request(&Wish::octet("file"));
                }
            }
        });
        Waiting { _stop: stop }
    }
}

#[test]
fn the_control_socket_shows_who_runs_and_who_waits() {
    let root = Root::new();
    let socket = root.beside("control");
    let (_root, server, mut first, _second) = busy(&["--control", socket.to_str().unwrap()]);
    assert_eq!(
        fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let seen = eventually("one that waits", PATIENCE, || {
        let has_waited = |seen: &Value| seen["oldest_wait"].as_f64() > Some(0.0);
        Some(status(&socket)).filter(|seen| seen["pending"] == 1 && has_waited(seen))
    });
    assert_eq!((&seen["slots"], &seen["running"]), (&1.into(), &1.into()));
    assert_eq!(rows(&seen["served"]), [["file", "running"]]);
    assert_eq!(rows(&seen["waiting"]), [["file", "pending"]]);
    assert_eq!(seen["served"][0]["size"], 400_000);
    assert_eq!(seen["served"][0]["port"], first.port());
    first.ack(1);
    first.expect_data(2);
    let later = status(&socket);
    assert_eq!(later["served"][0]["bytes"], 512);
    assert!(later["sent_bytes"].as_u64() >= Some(1024));
    // What is no request for a page gets an answer as well.
    for (request, code) in [
        ("GET /secret HTTP/1.0\n\n", "404"),
        ("POST /status HTTP/1.1\r\n\r\n", "405"),
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with(&format!("HTTP/1.0 {code} ")), "{text}");
    }
    drop(server);
}

#[test]
fn what_ended_is_shown_last_first() {
    let (root, _, server, socket) = controlled(10);
    for _ in 0..40 {
        fetch_bytes(server.address(), "file");
    }
    root.write("last", 10);
    fetch_bytes(server.address(), "last");
    let seen = eventually("all ends", PATIENCE, || {
        Some(status(&socket)).filter(|seen| seen["complete"] == 41)
    });
    let ended = seen["ended"].as_array().unwrap();
    assert_eq!(ended.len(), 32);
    assert_eq!(
        (&ended[0]["name"], &ended[0]["outcome"]),
        (&"last".into(), &"complete".into())
    );
    assert_eq!(ended[1]["name"], "file");
}

/// The names of metrics in an exposition, as queries have them.
fn metrics(text: &str) -> Vec<&str> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect()
}

#[test]
fn metrics_are_as_prometheus_wants_them_and_the_dashboard_asks_for_no_others() {
    let root = Root::new();
    let socket = root.beside("control");
    let (_root, server, _first, second) = busy(&["--control", socket.to_str().unwrap()]);
    fetch(server.address(), &Wish::octet("missing")).unwrap_err();
    second.send_to_server(b"\0\x04\0\x01");
    let text = eventually("a refusal counted", PATIENCE, || {
        let text = get(&socket, "/metrics");
        text.contains("\ntftpd_refusals_total{code=\"1\",reason=\"not_found\"} 1\n")
            .then_some(text)
    });
    for line in [
        "tftpd_slots 1",
        "tftpd_clients{stage=\"running\"} 1",
        "tftpd_clients{stage=\"pending\"} 1",
        "tftpd_dropped_datagrams_total{reason=\"misplaced\"} 1",
        "tftpd_requests_total 3",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
    }
    let known = metrics(&text);
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<&str> = targets
        .map(|target| target["expr"].as_str().unwrap())
        .collect();
    assert!(queries.len() > 10, "{queries:?}");
    for query in queries {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let words = query
            .split(|c| !is_word(c))
            .filter(|word| word.starts_with("tftpd_"));
        let unknown: Vec<&str> = words
            .clone()
            .filter(|word| !known.contains(word) && *word != "tftpd_transfers_total")
            .collect();
        assert!(
            words.count() > 0 && unknown.is_empty(),
            "{query}: {unknown:?}"
        );
    }
    let Some(promtool) = promtool() else {
        return skipped("no promtool to check metrics with");
    };
    assert_checked(&promtool, &text);
}

fn assert_checked(promtool: &Path, text: &str) {
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(
        output.status.success() && told.trim().is_empty(),
        "{told}\n{text}"
    );
}

/// With everything that happened at the end, once more; and a histogram adds up.
#[test]
fn histograms_count_what_is_complete() {
    let (_root, _, server, socket) = controlled(40_000);
    for _ in 0..3 {
        fetch_bytes(server.address(), "file");
    }
    let text = eventually("three ends", PATIENCE, || {
        let text = get(&socket, "/metrics");
        text.contains("tftpd_transfers_total{kind=\"read\",outcome=\"complete\"} 3\n")
            .then_some(text)
    });
    for line in [
        "tftpd_transfer_size_bytes_bucket{le=\"32768\"} 0",
        "tftpd_transfer_size_bytes_bucket{le=\"131072\"} 3",
        "tftpd_transfer_size_bytes_bucket{le=\"+Inf\"} 3",
        "tftpd_transfer_size_bytes_sum 120000",
        "tftpd_service_seconds_count 3",
        "tftpd_wait_seconds_bucket{le=\"0.001\"} 3",
        "tftpd_first_answer_seconds_count 3",
        "tftpd_round_trip_seconds_count 3",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
    }
    if let Some(promtool) = promtool() {
        assert_checked(&promtool, &text);
    }
}

/// One that does not read, one that never asks, one that sends too much; more of them than there is room for.
#[test]
fn clients_of_the_control_socket_that_do_nothing_harm_nobody() {
    let (_root, bytes, mut server, socket) = controlled(5_000);
    let mut idle = Vec::new();
    for number in 0..20 {
        let mut stream = UnixStream::connect(&socket).unwrap();
        match number % 3 {
            0 => stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap(),
            1 => {}
            _ => drop(stream.write_all(&[b'x'; 10_000])),
        }
        idle.push(stream);
        assert_eq!(status(&socket)["slots"], 32);
    }
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    // A client that is silent is dropped, and then there is nothing left to do.
    for mut stream in idle {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    eventually("a server at rest", PATIENCE, || {
        is_asleep(server.process()).then_some(())
    });
    assert!(server.is_running());
}

#[test]
fn a_path_that_is_taken_is_a_warning_and_a_deserted_socket_is_replaced() {
    let (root, bytes) = Root::with_file(5_000);
    let socket = root.beside("control");
    let options = ["--control", socket.to_str().unwrap()];
    let first = Server::with(root.path(), &options);
    let second = Server::with(root.path(), &options);
    second.wait_for_log(&[
        "WARN",
        "control: Address already in use",
        "goes on without it",
    ]);
    assert_same(&fetch_bytes(second.address(), "file"), &bytes);
    assert_eq!(status(&socket)["requests"], 0, "it is the first one's");
    drop((first, second));
    assert!(socket.exists());
    let third = Server::with(root.path(), &options);
    fetch_bytes(third.address(), "file");
    assert_eq!(status(&socket)["requests"], 1);
    drop(third);

    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "precious").unwrap();
    let fourth = Server::with(root.path(), &options);
    fourth.wait_for_log(&["WARN", "control: Address already in use"]);
    assert_same(&fetch_bytes(fourth.address(), "file"), &bytes);
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
}

/// While the old instance lets its transfers finish.
#[test]
fn the_next_instance_has_the_control_socket() {
    let root = Root::new();
    let socket = root.beside("control");
    let options = ["--control", socket.to_str().unwrap()];
    let (_root, old, mut client, _) = busy(&options);
    old.signal(Signal::SIGTERM);
    old.wait_for_log(&["stopping"]);
    let new = Server::with(root.path(), &options);
    assert_eq!(status(&socket)["running"], 0);
    client.ack(1);
    client.expect_data(2);
    drop(new);
}

fn value(text: &str, name: &str) -> Option<f64> {
    let line = text
        .lines()
        .find(|line| line.split(' ').next() == Some(name))?;
    line.split(' ').nth(1)?.parse().ok()
}

/// What the file says of a counter, once it is there.
#[track_caller]
fn wait_for(file: &Path, name: &str, wanted: f64) -> String {
    eventually(&format!("{name} {wanted}"), PATIENCE, || {
        let text = fs::read_to_string(file).ok()?;
        // Never a part of it.
        assert!(text.ends_with("\"} 1\n"), "{text}");
        (value(&text, name) == Some(wanted)).then_some(text)
    })
}

#[test]
fn statistics_are_replaced_while_anything_changes_and_never_when_idle() {
    let (root, _) = Root::with_file(5_000);
    let folder = root.beside("stats");
    fs::create_dir(&folder).unwrap();
    if is_root() {
        chown(&folder, Some(65_534), Some(65_534)).unwrap();
    }
    let file = folder.join("tftpd.prom");
    // As in our unit.
    let before = umask(Mode::from_bits_truncate(0o777));
    let server = Server::with(root.path(), &["--stats", file.to_str().unwrap()]);
    umask(before);
    wait_for(&file, "tftpd_requests_total", 0.0);
    let first = fs::metadata(&file).unwrap().ino();
    fetch_bytes(server.address(), "file");
    let text = wait_for(&file, "tftpd_requests_total", 1.0);
    assert_eq!(value(&text, "tftpd_sent_bytes_total"), Some(5_000.0));
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o644);
    assert!(value(&text, "tftpd_resident_memory_bytes").is_some_and(|bytes| bytes > 100_000.0));
    assert!(value(&text, "tftpd_max_fds").is_some_and(|most| most > 64.0));
    wait_for(&file, "tftpd_clients{stage=\"finishing\"}", 0.0);
    assert_ne!(
        fs::metadata(&file).unwrap().ino(),
        first,
        "it is replaced, not rewritten"
    );
    let names = fs::read_dir(&folder).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["tftpd.prom"]);
    // A timer of the transfer may come up once more.
    thread::sleep(Duration::from_secs(5));
    let before = sleeps(server.process());
    thread::sleep(Duration::from_secs(5));
    assert_eq!(sleeps(server.process()), before, "woken while idle");
}

/// As another user, with another root, with and without the sandbox.
#[test]
fn both_work_under_every_confinement() {
    if !is_root() {
        return skipped("another user and another root need root");
    }
    for options in [
        &["-u", "4321:4321"][..],
        &["-u", "4321:4321", "--chroot"],
        &["-u", "4321:4321", "--no-sandbox"],
        &["-u", "root"],
    ] {
        let (root, _) = Root::with_file(5_000);
        let folder = root.beside("stats");
        fs::create_dir(&folder).unwrap();
        if options[1] != "root" {
            chown(&folder, Some(4321), Some(4321)).unwrap();
        }
        let (file, socket) = (folder.join("tftpd.prom"), root.beside("control"));
        let watch = [
            "--stats",
            file.to_str().unwrap(),
            "--control",
            socket.to_str().unwrap(),
        ];
        let server = Server::with(root.path(), &[options, &watch].concat());
        fetch_bytes(server.address(), "file");
        wait_for(&file, "tftpd_requests_total", 1.0);
        assert_eq!(status(&socket)["requests"], 1, "{options:?}");
        let text = get(&socket, "/metrics");
        assert!(
            value(&text, "tftpd_open_fds").is_some_and(|open| open > 5.0),
            "{options:?}"
        );
        assert_eq!(fs::metadata(&socket).unwrap().uid(), 0);
    }
}

/// The directory is removed, and comes back; the disk is full, and has room again: one warning each, one line when all is well.
#[test]
fn a_disk_that_is_full_or_gone_stops_statistics_only() {
    let warnings = |server: &Server| server.lines_with("goes on without it").len();
    let (root, bytes) = Root::with_file(5_000);
    let missing = root.beside("missing/tftpd.prom");
    let server = Server::with(root.path(), &["--stats", missing.to_str().unwrap()]);
    server.wait_for_log(&[
        "WARN",
        "tftpd.prom: No such file or directory",
        "goes on without it",
    ]);
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    drop(server);

    in_own_mounts(move || {
        let disk = root.beside("disk");
        fs::create_dir(&disk).unwrap();
        let flags = MsFlags::empty();
        if let Err(error) = mount(
            Some("none"),
            &disk,
            Some("tmpfs"),
            flags,
            Some("size=256k,mode=777"),
        ) {
            return skipped(&format!("no tmpfs may be mounted: {error}"));
        }
        let file = disk.join("tftpd.prom");
        let server = Server::with(root.path(), &["--stats", file.to_str().unwrap()]);
        wait_for(&file, "tftpd_requests_total", 0.0);
        let filler = disk.join("filler");
        let _ = fs::write(&filler, vec![1; 1 << 20]).unwrap_err();
        for _ in 0..3 {
            assert_same(&fetch_bytes(server.address(), "file"), &bytes);
            thread::sleep(Duration::from_millis(2_200));
        }
        server.wait_for_log(&[
            "WARN",
            "tftpd.prom: No space left on device",
            "goes on without it",
        ]);
        assert_eq!(warnings(&server), 1);
        fs::remove_file(&filler).unwrap();
        fetch_bytes(server.address(), "file");
        server.wait_for_log(&["INFO", "tftpd.prom: written again"]);
        wait_for(&file, "tftpd_requests_total", 4.0);
    });
}

#[test]
fn sigusr1_writes_all_of_it_to_the_log_within_bounds() {
    let (_root, server, mut first, second) = busy(&[]);
    let _waiting = Waiting::new(&server, 30);
    first.ack(1);
    first.expect_data(2);
    eventually("31 that wait", PATIENCE, || {
        server.signal(Signal::SIGUSR1);
        let wanted =
            "now: 1 of 1 slots taken, 0 lent, 0 finishing, 31 pending, 0 held, oldest wait ";
        (!server.lines_with(wanted).is_empty()).then_some(())
    });
    let address = |client: &Client| format!("now: 127.0.0.1:{} \"file\": ", client.port());
    let line = server.wait_for_log(&[&address(&first), "running, "]);
    assert!(
        line.contains(" of 400000 bytes, waited 0.000 s, running "),
        "{line}"
    );
    server.wait_for_log(&[&address(&second), "pending, 0 bytes, waited "]);
    // Once the next answer begins, all of this one is there.
    let begins = |lines: &[String]| -> Vec<usize> {
        let all = 0..lines.len();
        all.filter(|&at| lines[at].contains("slots taken"))
            .collect()
    };
    let answers = begins(&server.log_lines()).len();
    let lines = eventually("one more answer", PATIENCE, || {
        server.signal(Signal::SIGUSR1);
        let lines = server.log_lines();
        (begins(&lines).len() > answers).then_some(lines)
    });
    let begins = begins(&lines);
    let shown = lines[begins[answers - 1]..begins[answers]]
        .iter()
        .filter(|line| line.contains(": pending, "));
    assert_eq!(shown.count(), 20);
}

#[test]
fn a_storm_has_one_line_when_it_is_over() {
    let (_root, bytes, server) = serving(5_000, &["-n", "1"]);
    let wish = Wish::octet("file");
    let mut first = Client::new(server.address()).asking(&wish);
    let mut second = Client::new(server.address()).asking(&wish);
    first.complete(Download::new(&wish)).unwrap();
    let download = second.complete(Download::new(&wish)).unwrap();
    assert_same(&download.bytes, &bytes);
    let line = server.wait_for_log(&["INFO storm over after "]);
    assert!(
        line.contains(": 2 complete (0 uploads), 1 waited, at most 1 at a time, for at most "),
        "{line}"
    );
    assert!(
        line.contains("meanwhile 100 % of the slots in use, processor "),
        "{line}"
    );
    assert!(
        line.ends_with(" sends waited for the disk, 0 for the link"),
        "{line}"
    );
    assert_eq!(server.lines_with("storm over").len(), 1);
}

/// In the counters, on every page, on the screen, in the log and in the line after a storm.
#[test]
fn uploads_are_seen_wherever_downloads_are() {
    let Some(root) = writable() else { return };
    root.write("file", 600);
    let socket = root.beside("control");
    let path = socket.to_str().unwrap();
    let server = Server::with(root.path(), &["-c", "-n", "1", "--control", path]);
    let bytes = vec![7; 100 * 512];
    let put = Put::octet("saved", &bytes).option("tsize", bytes.len());
    let mut upload = put.begin(server.address()).unwrap();
    upload.go_on_until(50 * 512).unwrap();
    let seen = status(&socket);
    let row = &seen["served"][0];
    assert_eq!(
        (&row["name"], &row["kind"]),
        (&"saved".into(), &"write".into())
    );
    assert_eq!(
        (&row["bytes"], &row["size"]),
        (&25_600.into(), &51_200.into())
    );
    let screen = || {
        let output = program(PROGRAM).args(["--once", path]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let text = screen();
    assert!(
        text.contains(" saved ") && text.contains("[<<<<<<<       ]  50%"),
        "{text}"
    );
    server.signal(Signal::SIGUSR1);
    server.wait_for_log(&["\"saved\": running, 25600 of 51200 bytes received, waited "]);

    // It makes no progress while this one waits, so it lends its slot.
    let wish = Wish::octet("file");
    let mut waits = Client::new(server.address()).asking(&wish);
    waits.complete(Download::new(&wish)).unwrap();
    upload.finish().unwrap();
    let seen = eventually("both ends", PATIENCE, || {
        Some(status(&socket)).filter(|seen| seen["complete"] == 2)
    });
    let ended = seen["ended"].as_array().unwrap();
    let ended: Vec<_> = ended
        .iter()
        .map(|row| [&row["name"], &row["kind"]])
        .collect();
    assert_eq!(ended, [["saved", "write"], ["file", "read"]]);
    // A block that was late was sent again.
    assert!(seen["received_bytes"].as_u64() >= Some(51_200), "{seen}");
    assert!(screen().contains(" upload complete "), "{}", screen());
    let metrics = get(&socket, "/metrics");
    for line in [
        "tftpd_transfers_total{kind=\"write\",outcome=\"complete\"} 1",
        "tftpd_transfers_total{kind=\"read\",outcome=\"complete\"} 1",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line} in\n{metrics}");
    }
    assert!(value(&metrics, "tftpd_received_bytes_total") >= Some(51_200.0));
    server.wait_for_log(&["INFO storm over after ", ": 2 complete (1 uploads), "]);
}
