//! The command line as an operator meets it: exit status, and what is said where.

use std::ffi::OsStr;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output};

use crate::client::PATIENCE;
use crate::machine::{eventually, has_ipv6, skipped};
use crate::root::Root;
use crate::server::{PROGRAM, Server, program};

/// Runs the program, which must come to an end by itself.
fn told(arguments: &[&str]) -> Output {
    let mut child = program(PROGRAM).args(arguments).spawn().unwrap();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("the end of the program", PATIENCE, || {
            child.try_wait().unwrap()
        })
    }));
    let Ok(status) = ended else {
        child.kill().unwrap();
        panic!("{arguments:?} did not end: {:?}", child.wait_with_output());
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut stdout)
        .unwrap();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_end(&mut stderr)
        .unwrap();
    Output {
        status,
        stdout,
        stderr,
    }
}

/// What it complains of, in one line that says who complains.
#[track_caller]
fn complaint(arguments: &[&str], code: i32) -> String {
    let output = told(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert_eq!(output.stdout, b"", "{arguments:?}");
    assert!(
        stderr.starts_with("tftpd: ") && stderr.ends_with('\n'),
        "{arguments:?}: {stderr}"
    );
    stderr
}

/// What it prints when asked for it.
#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let output = told(arguments);
    assert_eq!(
        (output.status.code(), &output.stderr[..]),
        (Some(0), &b""[..]),
        "{arguments:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_names_every_option() {
    let help = printed(&["-h"]);
    assert_eq!(help, printed(&["--help"]));
    for option in [
        "-r, --root",
        "-n, --max-transfers",
        "-q, --max-pending",
        "-a, --listen",
        "-t, --timeout",
        "-B, --max-blksize",
        "-W, --max-windowsize",
        "--no-mtu-clamp",
        "-v, --verbose",
        "-C, --check",
        "-h, --help",
        "-V, --version",
    ] {
        assert!(help.contains(option), "{option} in:\n{help}");
    }
    for default in ["32", "20000", "[::]:69", "35", "65464", "64"] {
        assert!(help.contains(default), "{default} in:\n{help}");
    }
}

#[test]
fn version_is_that_of_the_package() {
    let version = printed(&["-V"]);
    assert_eq!(version, printed(&["--version"]));
    assert!(
        version.starts_with("tftpd ") && version.contains(env!("CARGO_PKG_VERSION")),
        "{version}"
    );
}

#[test]
fn wrong_command_lines() {
    let root = Root::new();
    let root = root.path().to_str().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&[], "-r"),
        (&["-r"], "r"),
        (&["-r", "blksize"], "tftpd-hpa's -r is --refuse here"),
        (&["-m", "100", root], "atftpd's -m is -n here"),
        (&["-d", root], "-r DIR"),
        (&["-r", root, "--refuse", "blocksize"], "windowsize"),
        (&["-r", root, "--frobnicate"], "frobnicate"),
        (&["-r", root, "-Z"], "Z"),
        (&["-r", root, "-n"], "n"),
        (&["-r", root, "-n", "0"], "max-transfers"),
        (&["-r", root, "-n", "many"], "'many'"),
        (&["-r", root, "-n", "-1"], "max-transfers"),
        (&["-r", root, "-n", "3.5"], "'3.5'"),
        (&["-r", root, "-n", "99999999999999999999"], "max-transfers"),
        (&["-r", root, "-n", "1", "-n", "2"], "n"),
        (&["-r", root, "-q", "-5"], "max-pending"),
        (&["-r", root, "-q", ""], "max-pending"),
        (&["-r", root, "-t", "0"], "timeout"),
        (&["-r", root, "-t", "10s"], "'10s'"),
        (&["-r", root, "-B", "7"], "max-blksize"),
        (&["-r", root, "-B", "65465"], "max-blksize"),
        (&["-r", root, "-W", "0"], "max-windowsize"),
        (&["-r", root, "-W", "65536"], "max-windowsize"),
        (&["-r", root, "-a", "nowhere"], "'nowhere'"),
        (&["-r", root, "-a", "127.0.0.1:65536"], "listen"),
        (&["-r", root, "-a", "[::1"], "listen"),
        (&["-r", root, "-a", ":65536"], "listen"),
        (&["-r", root, "--no-mtu-clamp=yes"], "no-mtu-clamp"),
        (&["-C"], "-r"),
        (&["-C", "-r", root, "-B", "7"], "max-blksize"),
    ];
    for (arguments, named) in cases {
        let message = complaint(arguments, 2);
        assert!(message.contains(named), "{arguments:?}: {message}");
    }
}

#[test]
fn a_root_that_is_none() {
    let root = Root::new();
    root.write("file", 10);
    let cases = [
        (root.file("missing"), "No such file"),
        (root.file("file"), "Not a directory"),
    ];
    for (path, why) in &cases {
        let path = path.to_str().unwrap();
        for arguments in [&["-r", path, "-a", "127.0.0.1:0"][..], &["-C", "-r", path]] {
            let message = complaint(arguments, 1);
            assert!(message.contains(path) && message.contains(why), "{message}");
        }
    }
    complaint(&["-r", ""], 2);
}

#[test]
fn a_check_says_nothing_if_all_is_well_and_listens_nowhere() {
    let root = Root::new();
    let root = root.path().to_str().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for check in ["-C", "--check"] {
        assert_eq!(printed(&[check, "-r", root, "-a", &address]), "");
    }
}

#[test]
fn a_port_in_use() {
    let root = Root::new();
    let root = root.path().to_str().unwrap();
    for host in ["127.0.0.1:0", "[::1]:0"] {
        if host.starts_with('[') && !has_ipv6() {
            continue;
        }
        let taken = UdpSocket::bind(host).unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let message = complaint_after_log(&["-r", root, "-a", &address]);
        assert!(
            message.contains(&address) && message.contains("in use"),
            "{message}"
        );
    }
    // The same port of another protocol is another port.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    drop(Server::with(
        root.as_ref(),
        &["-a", &taken.local_addr().unwrap().to_string()],
    ));
}

#[test]
fn two_servers_never_share_a_port() {
    let root = Root::new();
    let first = Server::start(root.path());
    let address = first.address().to_string();
    let message = complaint_after_log(&["-r", root.path().to_str().unwrap(), "-a", &address]);
    assert!(
        message.contains(&address) && message.contains("in use"),
        "{message}"
    );
}

/// It may get the address later.
#[test]
fn an_address_of_another_machine_is_listened_on_with_a_warning() {
    let root = Root::new();
    let mut command = program(PROGRAM);
    command
        .arg("-r")
        .arg(root.path())
        .args(["-a", "127.0.0.1:0", "-a", "192.0.2.1:0"]);
    let server = Server::launch(command, 2);
    server.wait_for_log(&["WARN 192.0.2.1:", "not an address of this machine yet"]);
}

/// As `complaint`, where something may have been logged before.
#[track_caller]
fn complaint_after_log(arguments: &[&str]) -> String {
    let output = told(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(1), &b""[..]),
        "{stderr}"
    );
    let last = stderr.lines().last().unwrap();
    assert!(last.starts_with("tftpd: "), "{stderr}");
    last.to_owned()
}

/// `[::]` takes IPv4 as well, so that the other one finds the port taken by ourselves.
#[test]
fn an_address_beside_every_address() {
    if !has_ipv6() {
        return;
    }
    let root = Root::new();
    let free = UdpSocket::bind("[::]:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let root = root.path().to_str().unwrap();
    for [narrow, wide] in [
        ["0.0.0.0", "[::]"],
        ["127.0.0.1", "[::]"],
        ["[::1]", "[::]"],
        ["127.0.0.1", "0.0.0.0"],
    ] {
        for [first, second] in [[narrow, wide], [wide, narrow]] {
            let [first, second] = [first, second].map(|host| format!("{host}:{port}"));
            let output = told(&["-r", root, "-a", &first, "-a", &second]);
            assert_eq!(output.status.code(), Some(1));
            let message = String::from_utf8(output.stderr).unwrap();
            let wide = wide.trim_matches(['[', ']']);
            let expected =
                format!("tftpd: listen on {second} ({wide} takes it as well: name it alone): ");
            assert!(message.contains(&expected), "{message}");
            // Waiting for oneself would be in vain.
            assert!(!message.contains("trying again"), "{message}");
        }
    }
}

#[test]
fn a_root_that_is_not_utf_8() {
    let root = Root::new();
    let bytes = root.write(OsStr::from_bytes(b"gr\xfc\xdfe/file"), 600);
    let path = root.file(OsStr::from_bytes(b"gr\xfc\xdfe"));
    let server = Server::start(&path);
    assert_eq!(crate::client::fetch_bytes(server.address(), "file"), bytes);
    let mut check = program(PROGRAM);
    let output = check.arg("--check").arg("-r").arg(&path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// A container without root has one user only, and to become another is not possible.
#[test]
fn a_container_whose_only_user_is_its_root() {
    let (root, bytes) = Root::with_file(600);
    let unshared = |options: &[&str]| {
        let mut command = program("unshare");
        command.args([
            "--user",
            "--map-root-user",
            PROGRAM,
            "-a",
            "127.0.0.1:0",
            "-r",
        ]);
        command.arg(root.path()).args(options);
        command
    };
    let is_possible = Command::new("unshare")
        .args(["--user", "--map-root-user", "true"])
        .status();
    if !is_possible.is_ok_and(|status| status.success()) {
        return skipped("no user namespace of its own");
    }
    let output = unshared(&[]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("-u root keeps the user"), "{told}");
    let server = Server::launch(unshared(&["-u", "root"]), 1);
    assert_eq!(crate::client::fetch_bytes(server.address(), "file"), bytes);
}
