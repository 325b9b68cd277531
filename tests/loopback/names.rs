//! Names as clients write them, and what is behind a name: only regular files, only beneath the root.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::client::{Client, fetch, fetch_bytes};
use crate::download::Wish;
use crate::machine::{is_root, run, skipped};
use crate::packet;
use crate::root::{Root, assert_same};
use crate::server::{PROGRAM, Server, program, serving};

/// The code of the ERROR that answers the name, from the port that was asked.
fn refused(server: &Server, name: impl AsRef<[u8]>) -> u16 {
    let mut client = Client::new(server.address()).asking(&Wish::octet(name));
    let (code, message) = client
        .complete(crate::download::Download::new(&Wish::octet("")))
        .unwrap_err();
    assert_eq!(client.tid(), server.address());
    assert!(!message.is_empty());
    code
}

#[test]
fn spellings_of_one_name() {
    let root = Root::new();
    let bytes = root.write("boot/kernel", 1_000);
    let server = Server::start(root.path());
    let whole = root.file("boot/kernel");
    for name in [
        &b"boot/kernel"[..],
        b"/boot/kernel",
        b"///boot//kernel",
        b"boot/./kernel",
        b"boot\\kernel",
        b"\\boot\\kernel",
        b"boot/../boot/kernel",
        b"boot/kernel\xff",
        b"boot/kernel\xff\xff",
        whole.as_os_str().as_bytes(),
    ] {
        assert_same(&fetch_bytes(server.address(), name), &bytes);
    }
}

#[test]
fn names_are_bytes_and_not_utf_8() {
    let root = Root::new();
    for name in [
        &b"gr\xfc\xdfe"[..],
        "grüße".as_bytes(),
        b"a b",
        b"%s%n",
        b"\x01\x7f",
        b"-r",
    ] {
        let bytes = root.write(OsStr::from_bytes(name), 600);
        let server = Server::start(root.path());
        assert_same(&fetch_bytes(server.address(), name), &bytes);
    }
}

#[test]
fn modes_in_any_case_and_no_others() {
    let (_root, bytes, server) = serving(600, &[]);
    for mode in ["octet", "OCTET", "oCtEt"] {
        let download = fetch(
            server.address(),
            &Wish {
                mode,
                ..Wish::octet("file")
            },
        )
        .unwrap();
        assert_same(&download.bytes, &bytes);
    }
    for mode in ["mail", "binary", "octets"] {
        let (code, _) = fetch(
            server.address(),
            &Wish {
                mode,
                ..Wish::octet("file")
            },
        )
        .unwrap_err();
        assert_eq!(code, 4, "{mode:?}");
    }
}

#[test]
fn names_that_lead_out_of_the_root() {
    let (root, _) = Root::with_file(10);
    fs::write(root.beside("secret"), "secret").unwrap();
    fs::create_dir(root.file("sub")).unwrap();
    let server = Server::start(root.path());
    for name in [
        &b"../secret"[..],
        b"/../secret",
        b"sub/../../secret",
        b"..\\secret",
        b"sub\\..\\..\\secret",
        b"..",
        b"../root/file",
    ] {
        assert_eq!(refused(&server, name), 2, "{}", name.escape_ascii());
    }
    // Outside by name but not beneath the root's own path: a name like any other, and not there.
    assert_eq!(
        refused(&server, root.beside("secret").as_os_str().as_bytes()),
        1
    );
    assert_eq!(refused(&server, "/etc/passwd"), 1);
}

#[test]
fn names_that_are_empty_missing_or_too_long() {
    let (_root, _, server) = serving(10, &[]);
    assert_eq!(refused(&server, ""), 1);
    assert_eq!(refused(&server, "missing"), 1);
    assert_eq!(refused(&server, "missing/file"), 1);
    // Longer than any file system has it.
    assert!([1, 2].contains(&refused(&server, "a".repeat(300))));
    assert_eq!(refused(&server, "a".repeat(1025)), 2);
    assert!([1, 2].contains(&refused(&server, "file/below")));
}

#[test]
fn symbolic_links_inside_and_out() {
    let root = Root::new();
    let bytes = root.write("boot/kernel", 1_000);
    fs::write(root.beside("secret"), "secret").unwrap();
    symlink("boot/kernel", root.file("inside")).unwrap();
    symlink("../boot", root.file("boot/again")).unwrap();
    symlink("../secret", root.file("outside")).unwrap();
    symlink(root.beside("secret"), root.file("absolute")).unwrap();
    symlink("..", root.file("above")).unwrap();
    symlink("loop", root.file("loop")).unwrap();
    symlink("nowhere", root.file("dangling")).unwrap();
    let server = Server::start(root.path());

    assert_same(&fetch_bytes(server.address(), "inside"), &bytes);
    assert_same(&fetch_bytes(server.address(), "boot/again/kernel"), &bytes);
    assert_eq!(refused(&server, "outside"), 2);
    // From the root, as in a chroot; there is no such file.
    assert_eq!(refused(&server, "absolute"), 1);
    assert_eq!(refused(&server, "above/secret"), 2);
    assert_eq!(refused(&server, "dangling"), 1);
    assert!([1, 2].contains(&refused(&server, "loop")));
}

/// Seen in other servers: a directory served as an empty file.
#[test]
fn a_directory_served_as_an_empty_file() {
    let root = Root::new();
    root.write("directory/file", 10);
    let server = Server::start(root.path());
    for name in ["directory", "directory/", "/", ".", "directory/.."] {
        let code = refused(&server, name);
        assert!(
            code == 2 || code == 1 && name != "directory",
            "{name} {code}"
        );
    }
}

/// Seen in other servers: opening a FIFO waits for a writer, for ever, with everybody else.
#[test]
fn a_fifo_or_device_that_hangs_the_server() {
    let (root, bytes) = Root::with_file(10);
    run("mkfifo", root.file("fifo").to_str().unwrap());
    let _socket = UnixListener::bind(root.file("socket")).unwrap();
    let server = Server::start(root.path());
    assert_eq!(refused(&server, "fifo"), 2);
    assert_eq!(refused(&server, "socket"), 2);
    if is_root()
        && Command::new("mknod")
            .arg(root.file("zero"))
            .args(["c", "1", "5"])
            .status()
            .unwrap()
            .success()
    {
        assert_eq!(refused(&server, "zero"), 2);
    } else {
        skipped("a device cannot be made here");
    }
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
}

#[test]
fn an_unreadable_file() {
    if !is_root() {
        let (root, _) = Root::with_file(10);
        fs::set_permissions(root.file("file"), fs::Permissions::from_mode(0o000)).unwrap();
        let server = Server::start(root.path());
        assert_eq!(refused(&server, "file"), 2);
        return;
    }
    // Root reads everything, so the server runs as another user; from a copy, for that one may not enter where the program is.
    use std::os::unix::process::CommandExt;
    let (root, _) = Root::with_file(10);
    let readable = root.write("readable", 600);
    root.write("closed/file", 10);
    fs::set_permissions(root.file("file"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(root.file("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let copy = root.beside("tftpd");
    fs::copy(PROGRAM, &copy).unwrap();
    let mut command = program(copy);
    command
        .uid(65534)
        .gid(65534)
        .arg("-r")
        .arg(root.path())
        .args(["-a", "127.0.0.1:0"]);
    let server = Server::launch(command, 1);
    assert_eq!(refused(&server, "file"), 2);
    assert_eq!(refused(&server, "closed/file"), 2);
    assert_same(&fetch_bytes(server.address(), "readable"), &readable);
}

#[test]
fn uploads_are_refused_and_leave_no_file() {
    let (root, bytes, server) = serving(10, &[]);
    for name in ["new", "file"] {
        let mut client = Client::new(server.address());
        client.send_to_server(&packet::write_request(name.as_bytes(), "octet"));
        client.expect_error(2);
        assert_eq!(client.tid(), server.address());
    }
    assert!(!root.file("new").exists());
    assert_same(&fs::read(root.file("file")).unwrap(), &bytes);
}

/// No answer to what is no request, so that two servers never talk to each other for ever.
#[test]
fn what_is_no_request_gets_no_answer() {
    let (_root, bytes, server) = serving(10, &[]);
    let mut client = Client::new(server.address());
    let long = [&b"\0\x01file\0octet\0x\0"[..], &[b'y'; 2048], b"\0"].concat();
    for datagram in [
        &b""[..],
        b"\0",
        b"\0\x01",
        b"\0\x01file",
        b"\0\x01file\0",
        b"\0\x01file\0octet",
        b"\0\x01file\0\0",
        b"\0\x03\0\x01data",
        b"\0\x04\0\0",
        b"\0\x05\0\x01error\0",
        b"\0\x06tsize\09\0",
        b"\0\0file\0octet\0",
        b"\x01\0file\0octet\0",
        b"\0\x07file\0octet\0",
        &long,
    ] {
        client.send_to_server(datagram);
    }
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    client.expect_nothing_yet();
}

/// Rubbish after the last option, seen from ROMs that send their whole buffer.
#[test]
fn rubbish_behind_a_request_does_not_fail_it() {
    let (_root, bytes, server) = serving(10, &[]);
    for rubbish in [
        &b"\0"[..],
        b"\0\0\0\0",
        b"blksize",
        b"\xff\xff\xff",
        b"blksize\0",
    ] {
        let mut client = Client::new(server.address());
        client.send_to_server(&[&b"\0\x01file\0octet\0"[..], rubbish].concat());
        assert_same(&client.expect_data(1), &bytes);
        client.ack(1);
    }
}
