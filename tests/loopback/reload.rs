//! SIGHUP: the rules that stand in files are read again, and nothing that is under way notices.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::Signal;

use crate::client::{Client, fetch, fetch_bytes};
use crate::download::{Download, Wish};
use crate::machine::is_root;
use crate::root::{Root, assert_same};
use crate::server::{Server, serving};

/// A file of rules in a directory of its own beside the root.
struct RuleFile(PathBuf);

impl RuleFile {
    fn new(root: &Root, name: &str, text: &str) -> RuleFile {
        let path = root.beside("rules").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        RuleFile(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn rewrite(&self, text: &str) {
        fs::write(&self.0, text).unwrap();
    }

    /// By another file, as editors do it.
    fn replace(&self, text: &str) {
        let new = self.0.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &self.0).unwrap();
    }
}

/// Sends SIGHUP and waits for the line that says what it did.
fn reload(server: &Server) -> String {
    let is_told = |line: &str| line.contains("reloaded");
    let before = server
        .log_lines()
        .iter()
        .filter(|line| is_told(line))
        .count();
    server.signal(Signal::SIGHUP);
    let lines = server.wait_for_lines("a reload", before + 1, is_told);
    lines.last().unwrap().clone()
}

#[test]
fn a_map_is_read_again_whether_it_was_rewritten_or_replaced() {
    let root = Root::new();
    let [one, two, three] = ["one", "two", "three"].map(|name| root.write(name, name.len() * 100));
    let map = RuleFile::new(&root, "map", "r ^file$ one\n");
    let kinds = if is_root() { 4 } else { 1 };
    for options in [
        &[][..],
        &["-u", "nobody"],
        &["--chroot"],
        &["--no-sandbox", "-u", "root"],
    ]
    .into_iter()
    .take(kinds)
    {
        map.rewrite("r ^file$ one\n");
        let server = Server::with(root.path(), &[&["-m", map.path()][..], options].concat());
        let address = server.address();
        assert_same(&fetch_bytes(address, "file"), &one);
        map.rewrite("r ^file$ two\n# more\nr x y\n");
        assert_eq!(reload(&server), "INFO reloaded: 2 rules in the map");
        assert_same(&fetch_bytes(address, "file"), &two);
        map.replace("r ^file$ three\n");
        assert_eq!(reload(&server), "INFO reloaded: 1 rules in the map");
        assert_same(&fetch_bytes(address, "file"), &three);
        assert_eq!(reload(&server), "INFO reloaded: no rule has changed");
        map.replace("r ^file$ one\nr (\n");
        let line = reload(&server);
        let expected = format!(
            "WARN not reloaded, the old rules stay: {}: line 2, column 4: regular expression: a ( without its )",
            map.path()
        );
        assert_eq!(line, expected);
        assert_same(&fetch_bytes(address, "file"), &three);
        fs::remove_file(&map.0).unwrap();
        assert!(
            reload(&server).contains("the old rules stay: "),
            "{options:?}"
        );
        assert_same(&fetch_bytes(address, "file"), &three);
    }
}

#[test]
fn an_access_list_is_read_again_beside_the_options() {
    let (root, bytes) = Root::with_file(700);
    let list = RuleFile::new(&root, "access", "# the lab\nallow 127.0.0.0/8\n");
    let server = Server::with(
        root.path(),
        &["--access", list.path(), "--deny", "127.0.0.9"],
    );
    let asks = |last: u8| {
        let mut client = Client::at(Ipv4Addr::new(127, 0, 0, last), server.address())
            .asking(&Wish::octet("file"));
        // Who is served is asked for after who is not: the server works in order.
        let mut witness = Client::at(Ipv4Addr::new(127, 0, 0, 1), server.address());
        assert_same(&witness.fetch(&Wish::octet("file")).unwrap().bytes, &bytes);
        client.receive_if_there().is_some()
    };
    assert_eq!((asks(2), asks(9)), (true, false));
    list.replace("allow 127.0.0.1\nallow 127.0.0.9/32\n");
    assert!(reload(&server).contains("127.0.0.9/32 is both allowed and denied"));
    assert_eq!((asks(2), asks(9)), (true, false));
    list.replace("allow 127.0.0.1\n");
    assert_eq!(reload(&server), "INFO reloaded: 2 networks");
    assert_eq!((asks(2), asks(9)), (false, false));
}

/// What waits keeps the name that it was given, what runs its file.
#[test]
fn what_runs_and_what_waits_is_untouched() {
    let root = Root::new();
    let [one, two] = ["one", "two"].map(|name| root.write(name, 50_000 + name.len()));
    let map = RuleFile::new(&root, "map", "r ^file$ one\n");
    let server = Server::with(
        root.path(),
        &["-m", map.path(), "-n", "1", "--hold", "never", "-v"],
    );
    let wish = Wish::octet("file");
    let mut running = Client::new(server.address()).asking(&wish);
    let mut download = Download::new(&wish);
    let answer = download.on_packet(running.receive()).unwrap();
    let mut waiting = Client::new(server.address()).asking(&wish);
    server.wait_for_log(&["queued, 1 waiting"]);
    map.rewrite("r ^file$ two\n");
    reload(&server);
    // It repeats what it asked for, and is known.
    waiting.request(&wish);
    running.send(&answer);
    assert_same(&running.complete(download).unwrap().bytes, &one);
    assert_same(&waiting.complete(Download::new(&wish)).unwrap().bytes, &one);
    assert_same(&fetch_bytes(server.address(), "file"), &two);
}

/// Five hundred clients ask at once, more than there are slots, and again when they have the file; rules change all the time.
/// Each file is the old one or the new one, and every client gets one.
#[test]
fn five_hundred_clients_are_served_while_rules_change_a_hundred_times() {
    let root = Root::new();
    let [one, two] =
        [("one", 20_000), ("two", 30_000)].map(|(name, length)| root.write(name, length));
    let map = RuleFile::new(&root, "map", "r ^file$ one\n");
    let list = RuleFile::new(&root, "access", "allow 127.0.0.0/8\n");
    let server = Server::with(root.path(), &["-m", map.path(), "--access", list.path()]);
    let address = server.address();
    let (is_over, is_begun) = (AtomicBool::new(false), Barrier::new(CLIENTS + 1));
    let fetch_twice = || {
        is_begun.wait();
        let mut seen = [0_u32; 2];
        while seen[0] + seen[1] < 2 || !is_over.load(Ordering::Relaxed) {
            let wish = Wish::octet("file").option("blksize", 1400);
            let bytes = fetch(address, &wish).unwrap().bytes;
            seen[usize::from(bytes.len() == two.len())] += 1;
            assert_same(&bytes, if bytes.len() == one.len() { &one } else { &two });
        }
        seen
    };
    let seen = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(fetch_twice)).collect();
        is_begun.wait();
        for round in 0..100 {
            let name = if round % 2 == 0 { "two" } else { "one" };
            map.replace(&format!("r ^file$ {name}\n"));
            list.replace(&format!("allow 127.0.0.0/8\ndeny 192.0.2.{round}\n"));
            assert_eq!(
                reload(&server),
                "INFO reloaded: 1 rules in the map, 2 networks"
            );
        }
        is_over.store(true, Ordering::Relaxed);
        let seen = clients.into_iter().map(|client| client.join().unwrap());
        seen.fold([0, 0], |all, seen| [all[0] + seen[0], all[1] + seen[1]])
    });
    assert!(seen[0] + seen[1] >= 1000, "{seen:?}");
    assert!(seen[0] > 50 && seen[1] > 50, "{seen:?}");
}

const CLIENTS: usize = 500;

/// It is read by root, and later by nobody.
#[test]
fn a_map_that_only_root_may_read_is_mentioned_at_the_start() {
    if !is_root() {
        return;
    }
    let (root, bytes) = Root::with_file(700);
    let map = RuleFile::new(&root, "map", "r ^f$ file\n");
    fs::set_permissions(&map.0, fs::Permissions::from_mode(0o600)).unwrap();
    let server = Server::with(root.path(), &["-m", map.path()]);
    server.wait_for_log(&[
        map.path(),
        "Permission denied",
        "SIGHUP will keep the old rules",
    ]);
    assert!(reload(&server).contains("the old rules stay: "));
    assert_same(&fetch_bytes(server.address(), "f"), &bytes);
    chown(&map.0, Some(65_534), None).unwrap();
}

/// In such a directory the sandbox leaves the file open, and nothing beside it.
#[test]
fn a_map_in_a_general_directory_is_found_if_it_is_rewritten() {
    if !is_root() {
        return;
    }
    let root = Root::new();
    let [one, two] = ["one", "two"].map(|name| root.write(name, 100 + name.len()));
    // The temporary directory is one.
    let path = std::env::temp_dir().join(format!("tftpd-map-{}", std::process::id()));
    let map = RuleFile(path);
    map.rewrite("r ^file$ one\n");
    let server = Server::with(root.path(), &["-m", map.path()]);
    let is_general = map.0.parent() == Some("/tmp".as_ref());
    if is_general {
        server.wait_for_log(&[map.path(), "in a general directory"]);
    }
    assert_same(&fetch_bytes(server.address(), "file"), &one);
    map.rewrite("r ^file$ two\n");
    assert_eq!(reload(&server), "INFO reloaded: 1 rules in the map");
    assert_same(&fetch_bytes(server.address(), "file"), &two);
    // Another file in its place is one that the sandbox bars: the old rules stay, and the log says why.
    map.replace("r ^file$ one\n");
    if is_general {
        let line = reload(&server);
        assert!(line.contains("the old rules stay: "), "{line}");
        assert!(line.contains("Permission denied"), "{line}");
        assert_same(&fetch_bytes(server.address(), "file"), &two);
    }
    // Without the sandbox it is found, as another user and in a root of its own, too.
    for options in [
        &["--no-sandbox"][..],
        &["--no-sandbox", "-u", "nobody", "--chroot"],
    ] {
        map.rewrite("r ^file$ one\n");
        let options = [&["-m", map.path()][..], options].concat();
        let server = Server::with(root.path(), &options);
        map.replace("r ^file$ two\n");
        assert_eq!(reload(&server), "INFO reloaded: 1 rules in the map");
        assert_same(&fetch_bytes(server.address(), "file"), &two);
    }
    fs::remove_file(&map.0).unwrap();
}

#[test]
fn without_files_of_rules_the_signal_says_so_in_one_line() {
    let (_root, bytes, server) = serving(700, &[]);
    assert_eq!(reload(&server), "INFO reloaded: no rule has changed");
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
}
