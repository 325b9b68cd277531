//! What the program gives up before it serves, and that it can do everything it has to do without that.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::{Client, PATIENCE, fetch, fetch_bytes, refusal_of};
use crate::clients::Clients;
use crate::download::Wish;
use crate::machine::{field, has_ipv6, is_root, skipped, threads};
use crate::packet::write_request;
use crate::root::{Root, assert_same, text};
use crate::server::{PROGRAM, Server, program, serving};

const NOBODY: u32 = 65534;

fn needs_root() -> bool {
    let is_root = is_root();
    if !is_root {
        skipped("only root can become another user");
    }
    is_root
}

fn status_of(server: &Server, name: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{}/status", server.process())).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Four times: real, effective, saved, and of the file system.
#[track_caller]
fn assert_is(server: &Server, user: u32, group: u32) {
    let times = |id: u32| vec![id.to_string(); 4];
    assert_eq!(status_of(server, "Uid"), times(user));
    assert_eq!(status_of(server, "Gid"), times(group));
}

#[track_caller]
fn assert_no_capabilities(server: &Server) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status_of(server, set), ["0000000000000000"], "{set}");
    }
    assert_eq!(status_of(server, "NoNewPrivs"), ["1"]);
}

/// As an ordinary user with a copy of the program that it can read.
fn unprivileged(root: &Root, before: &str) -> Command {
    let copy = root.beside("tftpd");
    fs::copy(PROGRAM, &copy).unwrap();
    let mut command = program("sh");
    command
        .args(["-c", &format!("{before} exec \"$@\""), "sh"])
        .arg(copy);
    command.arg("-r").arg(root.path());
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

#[test]
fn started_as_root_it_becomes_another_user_without_capabilities_or_groups() {
    if !needs_root() {
        return;
    }
    let (root, bytes) = Root::with_file(600);
    let has_tftp = fs::read_to_string("/etc/passwd")
        .unwrap()
        .contains("\ntftp:");
    let server = Server::start(root.path());
    assert_no_capabilities(&server);
    assert_eq!(status_of(&server, "CapBnd"), ["0000000000000000"]);
    assert_eq!(status_of(&server, "Groups"), Vec::<String>::new());
    assert_ne!(status_of(&server, "Uid")[0], "0");
    if !has_tftp {
        assert_is(&server, NOBODY, NOBODY);
    }
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
}

#[test]
fn users_and_groups_by_name_and_number() {
    if !needs_root() {
        return;
    }
    let (root, bytes) = Root::with_file(600);
    let cases = [
        ("nobody", NOBODY, NOBODY),
        ("65534", NOBODY, NOBODY),
        ("4711:4712", 4711, 4712),
        ("nobody:0", NOBODY, 0),
        ("root", 0, 0),
    ];
    for (name, user, group) in cases {
        let server = Server::with(root.path(), &["-u", name]);
        assert_is(&server, user, group);
        assert_eq!(status_of(&server, "Groups"), Vec::<String>::new(), "{name}");
        assert_no_capabilities(&server);
        assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    }
}

/// Groups that were inherited, as by `sudo`, are no longer there.
#[test]
fn inherited_groups_are_given_up() {
    if !needs_root() {
        return;
    }
    let (root, bytes) = Root::with_file(600);
    fs::set_permissions(root.file("file"), fs::Permissions::from_mode(0o640)).unwrap();
    chown(root.file("file"), None, Some(4713)).unwrap();
    let mut command = program("setpriv");
    command.args(["--groups", "4713", PROGRAM, "-a", "127.0.0.1:0", "-r"]);
    let Ok(_) = Command::new("setpriv").arg("--version").output() else {
        return skipped("there is no setpriv");
    };
    command.arg(root.path());
    let server = Server::launch(command, 1);
    assert_eq!(refusal_of(server.address(), "file"), 2);
    let server = Server::with(root.path(), &["-u", "nobody:4713"]);
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
}

#[test]
fn files_that_only_root_can_read_are_refused() {
    if !needs_root() {
        return;
    }
    let (root, bytes) = Root::with_file(600);
    fs::set_permissions(root.file("file"), fs::Permissions::from_mode(0o600)).unwrap();
    let server = Server::start(root.path());
    assert_eq!(refusal_of(server.address(), "file"), 2);
    // Root without capabilities is the owner still.
    let server = Server::with(root.path(), &["-u", "root"]);
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
}

/// The directories above the root need not be open to the user, the root itself must be.
#[test]
fn a_root_that_the_user_cannot_search_is_told_at_start() {
    if !needs_root() {
        return;
    }
    let (root, bytes) = Root::with_file(600);
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(root.path().parent().unwrap(), closed.clone()).unwrap();
    let server = Server::start(root.path());
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    assert_eq!(server.lines_with("WARN "), [""; 0]);

    fs::set_permissions(root.path(), closed).unwrap();
    let server = Server::start(root.path());
    let path = root.path().to_str().unwrap();
    server.wait_for_log(&["WARN", path, "Permission denied"]);
    assert_eq!(refusal_of(server.address(), "file"), 2);
    let (status, message) = ended(Command::new(PROGRAM).args(["-C", "-r", path]));
    assert_eq!(status, Some(1));
    assert!(
        message.contains(path) && message.contains("Permission denied"),
        "{message}"
    );
}

/// Exit status and last words of a program that does not serve.
fn ended(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), told)
}

#[test]
fn users_that_cannot_be_become() {
    let root = Root::new();
    let path = root.path().to_str().unwrap();
    for check in [&["-C"][..], &["-a", "127.0.0.1:0"]] {
        for (user, why) in [
            ("no-such-user", "no such user"),
            ("0:no-such-group", "no such group"),
            ("4711", "USER:GROUP"),
        ] {
            let (status, message) = ended(
                Command::new(PROGRAM)
                    .args(["-r", path, "-u", user])
                    .args(check),
            );
            assert_eq!(status, Some(1), "{message}");
            assert!(
                message.starts_with("tftpd: user ")
                    && message.contains(user)
                    && message.contains(why),
                "{message}"
            );
        }
    }
    // Without root: oneself, and nobody else.
    let mut other = unprivileged(&root, "");
    let (status, message) = ended(other.args(["-C", "-u", "0:0"]));
    assert_eq!(status, Some(1));
    assert!(message.contains("only root"), "{message}");
    let oneself = match is_root() {
        true => format!("{NOBODY}:{NOBODY}"),
        false => format!("{}:{}", nix::unistd::geteuid(), nix::unistd::getegid()),
    };
    let (status, message) = ended(unprivileged(&root, "").args(["-C", "-u", &oneself]));
    assert_eq!((status, &*message), (Some(0), ""));
}

#[test]
fn names_work_as_ever_when_the_root_is_changed() {
    if !needs_root() {
        return;
    }
    let (root, bytes) = Root::with_file(600);
    let inner = root.write("boot/kernel", 700);
    fs::write(root.beside("secret"), "secret").unwrap();
    symlink(root.file("boot/kernel"), root.file("absolute")).unwrap();
    symlink("boot/kernel", root.file("relative")).unwrap();
    symlink(root.beside("secret"), root.file("outside")).unwrap();
    symlink("/boot/kernel", root.file("another-root")).unwrap();
    let server = Server::with(root.path(), &["--chroot"]);
    let own_root = fs::read_link(format!("/proc/{}/root", server.process())).unwrap();
    assert_eq!(own_root, root.path().canonicalize().unwrap());
    assert_no_capabilities(&server);
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    let with_prefix = root.file("file");
    assert_same(
        &fetch_bytes(server.address(), with_prefix.to_str().unwrap()),
        &bytes,
    );
    for name in ["boot/kernel", "absolute", "relative", "another-root"] {
        assert_same(&fetch_bytes(server.address(), name), &inner);
    }
    for (name, code) in [("outside", 1), ("../secret", 2)] {
        assert_eq!(refusal_of(server.address(), name), code, "{name}");
    }
}

#[test]
fn the_root_is_changed_by_root_only() {
    let root = Root::new();
    let (status, message) = ended(unprivileged(&root, "").args(["--chroot", "-a", "127.0.0.1:0"]));
    assert_eq!(status, Some(1));
    assert!(message.contains("tftpd: chroot: "), "{message}");
}

#[test]
fn the_sandbox_is_on_unless_it_is_turned_off() {
    let (root, bytes, server) = serving(600, &[]);
    let line = server.wait_for_log(&["INFO", "sandbox: "]);
    let filtered = if line.contains("system calls") {
        "2"
    } else {
        "0"
    };
    assert_eq!(
        field(&format!("/proc/{}/status", server.process()), "Seccomp"),
        filtered
    );
    let server = Server::with(root.path(), &["--no-sandbox"]);
    server.wait_for_log(&["INFO", "sandbox: off"]);
    assert_eq!(
        field(&format!("/proc/{}/status", server.process()), "Seccomp"),
        "0"
    );
    assert_no_capabilities(&server);
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
}

/// The filter would end the program at the first call that it does not know. What else there is to do is done by the other tests,
/// which run inside the sandbox as well.
#[test]
fn every_feature_works_in_the_sandbox() {
    let root = Root::new();
    let mut command = program(PROGRAM);
    command.arg("-r").arg(root.path());
    walk_every_feature(&root, command);
}

/// Here nobody was root, not even at the start.
#[test]
fn every_feature_works_in_the_sandbox_of_an_ordinary_user() {
    let root = Root::new();
    let server = walk_every_feature(&root, unprivileged(&root, ""));
    let line = server.wait_for_log(&["INFO", "sandbox: "]);
    assert!(!line.contains("user "), "it became another user: {line}");
}

fn walk_every_feature(root: &Root, mut command: Command) -> Server {
    let bytes = root.write("file", 100_000);
    let lines = text(20_000);
    root.write_bytes("lines", &lines);
    fs::create_dir(root.file("directory")).unwrap();
    symlink(root.file("file"), root.file("link")).unwrap();
    command.args(["-n", "4", "-vv", "--hold", "0", "-a", "127.0.0.1:0"]);
    let has_ipv6 = has_ipv6();
    if has_ipv6 {
        command.args(["-a", "[::1]:0"]);
    }
    let mut server = Server::launch(command, 1 + usize::from(has_ipv6));
    let is_filtered = server
        .wait_for_log(&["INFO", "sandbox: "])
        .contains("system calls");
    assert_no_capabilities(&server);
    let both = threads(server.process());
    assert_eq!(both.len(), 2);
    for thread in both {
        let status = format!("/proc/{}/task/{thread}/status", server.process());
        let filtered = field(&status, "Seccomp");
        assert_eq!(filtered, if is_filtered { "2" } else { "0" }, "{thread}");
        assert_eq!(field(&status, "NoNewPrivs"), "1", "{thread}");
        for set in ["CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(field(&status, set), "0000000000000000", "{thread}: {set}");
        }
    }

    for &address in server.addresses() {
        let wish = Wish::octet("file")
            .option("blksize", 1400)
            .option("windowsize", 8)
            .option("tsize", 0);
        assert_same(&fetch(address, &wish).unwrap().bytes, &bytes);
        assert_same(&fetch_bytes(address, "link"), &bytes);
        fetch(address, &Wish::netascii("lines").option("windowsize", 4)).unwrap();
        for (name, code) in [
            ("missing", 1),
            ("directory", 2),
            ("../file", 2),
            ("lines/file", 1),
        ] {
            assert_eq!(refusal_of(address, name), code, "{name}");
        }
        let mut upload = Client::new(address);
        upload.send_to_server(&write_request(b"file", "octet"));
        upload.expect_error(2);
    }
    server.signal(Signal::SIGHUP);
    server.wait_for_signal_taken();
    cut_short(root, &server);

    // Tables grow, and large blocks of memory come and go, when hundreds are kept alive at once.
    let mut clients = Clients::new(server.address());
    (0..400).for_each(|number| {
        let name = format!("file{number}");
        root.write(&name, 3_000);
        clients.add(Wish::octet(name));
    });
    clients.complete(PATIENCE * 2);
    // A stop interrupts the sleep of the loop.
    server.signal(Signal::SIGSTOP);
    server.signal(Signal::SIGCONT);
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);

    assert_eq!(threads(server.process()).len(), 2);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(PATIENCE).code(), Some(0));
    assert_eq!(server.lines_with("ERROR "), [""; 0]);
    server
}

/// A file that shrinks while it is sent.
fn cut_short(root: &Root, server: &Server) {
    root.write("cut", 300_000);
    let mut client = Client::new(server.address());
    let download = client.begin(&Wish::octet("cut"), 1);
    let cut = fs::File::options()
        .write(true)
        .open(root.file("cut"))
        .unwrap();
    cut.set_len(0).unwrap();
    assert_eq!(client.complete(download).unwrap_err().0, 0);
}

/// No descriptors, and no room for a mapping: the paths that are seldom taken, as a user who cannot raise limits.
#[test]
fn scarcity_is_survived_in_the_sandbox() {
    let root = Root::new();
    fs::File::create(root.file("large"))
        .unwrap()
        .set_len(8 << 30)
        .unwrap();
    let small: Vec<_> = (0..60)
        .map(|number| root.write(format!("file{number}"), 20_000))
        .collect();
    let mut command = unprivileged(&root, "ulimit -n 40; ulimit -v 1000000;");
    command.args(["-n", "100", "-a", "127.0.0.1:0", "-vv"]);
    let mut server = Server::launch(command, 1);
    server.wait_for_log(&["WARN", "descriptors"]);

    let mut clients = Clients::new(server.address());
    (0..small.len()).for_each(|number| clients.add(Wish::octet(format!("file{number}"))));
    clients.complete(PATIENCE);
    for (member, bytes) in clients.members().iter().zip(&small) {
        assert_same(&member.download.bytes, bytes);
    }
    server.wait_for_log(&["WARN", "requests wait"]);

    // The process may not have so much memory, so it is not mapped, and nevertheless it is sent.
    let mut client = Client::new(server.address()).asking(&Wish::octet("large").option("tsize", 0));
    client.expect_oack(&[("tsize", "8589934592")]);
    client.ack(0);
    assert_eq!(client.expect_data(1), [0; 512]);
    let mut other = Client::new(server.address()).asking(&Wish::octet("file0"));
    other.expect_data(1);
    assert!(is_mapped(&server, &root.file("file0")));
    assert!(!is_mapped(&server, &root.file("large")));
    server.signal(Signal::SIGTERM);
    server.wait_for_signal_taken();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(Duration::from_secs(5)).code(), Some(0));
}

fn is_mapped(server: &Server, file: &Path) -> bool {
    let maps = fs::read_to_string(format!("/proc/{}/maps", server.process())).unwrap();
    maps.contains(file.to_str().unwrap())
}
