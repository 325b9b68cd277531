//! What clients write: on the disk when it was acknowledged to its end, whole or not at all, and nowhere else.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::client::{PATIENCE, fetch, fetch_bytes};
use crate::download::Wish;
use crate::machine::{eventually, is_root, skipped};
use crate::netascii::on_the_wire;
use crate::put::Put;
use crate::root::{Root, assert_same, mixed, pattern, text};
use crate::server::{PROGRAM, Server, program};

pub(crate) const NOBODY: u32 = 65534;

/// A root in which the server, as `nobody`, may make files.
pub(crate) fn writable() -> Option<Root> {
    if !is_root() {
        skipped("another owner needs root");
        return None;
    }
    let root = Root::new();
    chown(root.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    Some(root)
}

fn put(server: &Server, name: &str, bytes: &[u8]) -> Result<(), (u16, String)> {
    Put::octet(name, bytes).to(server.address())
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// All names below a directory.
pub(crate) fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The names of unfinished uploads.
pub(crate) fn unfinished(path: &Path) -> Vec<String> {
    let names = names(path).into_iter();
    names
        .filter(|name| name.starts_with(".tftpd-upload-"))
        .collect()
}

#[test]
fn files_of_all_sizes_with_all_options() {
    let Some(root) = writable() else { return };
    let server = Server::with(root.path(), &["-c"]);
    for size in [0, 1, 511, 512, 513, 1024, 100_000, 1_000_000] {
        let bytes = pattern(size, 3);
        for options in [
            &[][..],
            &[("tsize", "0")],
            &[("blksize", "1428"), ("tsize", "SIZE")],
            &[("blksize", "1024"), ("windowsize", "16"), ("timeout", "3")],
            &[("blksize", "8192"), ("windowsize", "64")],
        ] {
            let mut wish = Put::octet("file", &bytes);
            for &(name, value) in options {
                let value = value.replace("SIZE", &size.to_string());
                wish = wish.option(name, value);
            }
            assert_eq!(wish.to(server.address()), Ok(()), "{wish:?}");
            assert_same(&fs::read(root.file("file")).unwrap(), &bytes);
            assert_same(&fetch_bytes(server.address(), "file"), &bytes);
            assert_eq!(names(root.path()), ["file"]);
        }
    }
    let state = fs::metadata(root.file("file")).unwrap();
    assert_eq!((state.uid(), mode(&root.file("file"))), (NOBODY, 0o644));
}

/// Block 65535 is followed by 0.
#[test]
fn a_file_of_more_than_65535_blocks() {
    let Some(root) = writable() else { return };
    let server = Server::with(root.path(), &["-c"]);
    let bytes = pattern(66_000 * 8, 4);
    let wish = Put::octet("file", &bytes)
        .option("blksize", 8)
        .option("windowsize", 64);
    assert_eq!(wish.to(server.address()), Ok(()));
    assert_same(&fs::read(root.file("file")).unwrap(), &bytes);
}

#[test]
fn netascii_becomes_text_of_this_system() {
    let Some(root) = writable() else { return };
    let server = Server::with(root.path(), &["-c"]);
    for length in [0, 1, 511, 512, 513, 300_000] {
        let text = text(length);
        let wire = on_the_wire(&text);
        let wish = Put {
            mode: "netascii",
            ..Put::octet("text", &wire)
        };
        for wish in [wish.clone(), wish.option("blksize", 1001)] {
            assert_eq!(wish.to(server.address()), Ok(()));
            assert_same(&fs::read(root.file("text")).unwrap(), &text);
        }
    }
}

#[test]
fn however_the_server_is_confined() {
    let Some(root) = writable() else { return };
    let bytes = pattern(200_000, 5);
    let cases: [&[&str]; 5] = [
        &["-c"],
        &["-c", "--no-sandbox"],
        &["-c", "--chroot"],
        &["-c", "-u", "4711:4712"],
        &["-c", "-u", "root", "-U", "000"],
    ];
    for options in cases {
        let owner = match options.last() {
            Some(&"4711:4712") => 4711,
            Some(&"000") => 0,
            _ => NOBODY,
        };
        chown(root.path(), Some(owner), Some(owner)).unwrap();
        let server = Server::with(root.path(), options);
        for _ in 0..2 {
            assert_eq!(put(&server, "file", &bytes), Ok(()), "{options:?}");
            assert_same(&fs::read(root.file("file")).unwrap(), &bytes);
        }
        let state = fs::metadata(root.file("file")).unwrap();
        assert_eq!(state.uid(), owner, "{options:?}");
        fs::remove_file(root.file("file")).unwrap();
    }
}

#[test]
fn what_may_be_written() {
    let Some(root) = writable() else { return };
    let lay = || {
        for (name, mode) in [("public", 0o666), ("program", 0o777), ("locked", 0o644)] {
            root.write_bytes(name, b"old");
            chmod(&root.file(name), mode);
        }
        root.write_bytes("own", b"old");
        chown(root.file("own"), Some(NOBODY), None).unwrap();
        chmod(&root.file("own"), 0o640);
        let _ = fs::remove_file(root.file("new"));
    };
    let all = ["new", "public", "program", "own", "locked"];
    let code = |result: Result<(), (u16, String)>| result.err().map(|(code, _)| code);
    let (yes, no, none) = (None, Some(2), Some(1));
    let cases: [(&[&str], [Option<u16>; 5]); 7] = [
        (&[], [no, no, no, no, no]),
        (&["-c"], [yes, yes, yes, yes, no]),
        (&["-o"], [none, yes, yes, yes, no]),
        (&["-c", "--write-once"], [yes, no, no, no, no]),
        (&["-c", "--public-only"], [yes, yes, yes, no, no]),
        (&["-o", "-u", "root"], [none, yes, yes, no, no]),
        (&["-c", "--upload-dir", "sub"], [no, no, no, no, no]),
    ];
    fs::create_dir(root.file("sub")).unwrap();
    for (options, expected) in cases {
        lay();
        let server = Server::with(root.path(), options);
        let found = all.map(|name| code(put(&server, name, b"written")));
        assert_eq!(found, expected, "{options:?}");
        for (name, found) in all.into_iter().zip(found) {
            let text = fs::read_to_string(root.file(name));
            let expected = match found {
                None => "written",
                Some(_) if name == "new" => "",
                Some(_) => "old",
            };
            assert_eq!(text.unwrap_or_default(), expected, "{options:?} {name}");
        }
    }
}

/// Where memory does not know what a name comes to, the helper looks: for the name, and for the place.
#[test]
fn new_files_with_names_as_sites_spell_them() {
    let Some(root) = writable() else { return };
    for (name, mode) in [("Backup", 0o777), ("closed", 0o755), ("127.0.0.1", 0o777)] {
        fs::create_dir(root.file(name)).unwrap();
        chmod(&root.file(name), mode);
    }
    root.write_bytes("Backup/Old", b"old");
    chmod(&root.file("Backup/Old"), 0o666);
    let map = root.rules("rP ^save/ Backup/\nr ^shut/ closed/\n");
    let (cased, mapped, own) = (["-i"], ["-m", &map], ["--unique-root", "ip"]);
    let cases: [(&[&str], &str, Result<&str, u16>); 12] = [
        (&cased, "backup/new", Ok("Backup/new")),
        (&cased, "BACKUP\\NEW2", Ok("Backup/NEW2")),
        (&cased, "new", Ok("new")),
        (&cased, "backup/OLD", Ok("Backup/Old")),
        (&cased, "CLOSED/new", Err(2)),
        (&cased, "Nowhere/new", Err(2)),
        (&mapped, "save/mapped", Ok("Backup/mapped")),
        (&mapped, "shut/mapped", Err(2)),
        (&mapped, "straight", Ok("straight")),
        (&own, "own", Ok("127.0.0.1/own")),
        (&own, "Backup/Old", Err(2)),
        (&own, "../Backup/Old", Err(2)),
    ];
    for ports in [&[][..], &["--single-port"]] {
        for (options, name, expected) in cases {
            let server = Server::with(root.path(), &[&["-c"], options, ports].concat());
            let result = put(&server, name, b"written");
            let code = result.map_err(|(code, _)| code);
            assert_eq!(code, expected.map(drop), "{options:?} {name}");
            if let Ok(place) = expected {
                assert_eq!(fs::read(root.file(place)).unwrap(), b"written", "{name}");
                fs::write(root.file(place), "old").unwrap();
                if place != "Backup/Old" {
                    fs::remove_file(root.file(place)).unwrap();
                }
            }
        }
        assert_eq!(fs::read(root.file("Backup/Old")).unwrap(), b"old");
    }
}

/// The mode of what is replaced stays, but nobody may execute it.
#[test]
fn modes_and_links() {
    let Some(root) = writable() else { return };
    let server = Server::with(root.path(), &["-c", "-U", "027"]);
    assert_eq!(put(&server, "new", b"1"), Ok(()));
    assert_eq!(mode(&root.file("new")), 0o640);
    for (before, after) in [(0o4777, 0o666), (0o602, 0o602), (0o666, 0o666)] {
        root.write_bytes("file", b"old");
        chown(root.file("file"), Some(NOBODY), None).unwrap();
        chmod(&root.file("file"), before);
        assert_eq!(put(&server, "file", b"2"), Ok(()));
        assert_eq!(mode(&root.file("file")), after, "{before:o}");
    }
    fs::create_dir(root.file("sub")).unwrap();
    chown(root.file("sub"), Some(NOBODY), None).unwrap();
    symlink("sub/target", root.file("link")).unwrap();
    symlink(root.beside("secret"), root.file("out")).unwrap();
    symlink("../secret", root.file("up")).unwrap();
    assert_eq!(put(&server, "link", b"3"), Ok(()));
    assert_eq!(fs::read(root.file("sub/target")).unwrap(), b"3");
    assert!(root.file("link").is_symlink());
    for name in ["out", "up", "../secret", "none/file", "sub", ""] {
        let code = put(&server, name, b"4").unwrap_err().0;
        let expected = if name.is_empty() { 1 } else { 2 };
        assert_eq!(code, expected, "{name}");
    }
    assert!(!root.beside("secret").exists());
}

/// `touch f; chmod 666 f` in a directory of another user.
#[test]
fn a_file_whose_directory_is_not_writable_is_written_in_place() {
    if !is_root() {
        return skipped("another owner needs root");
    }
    let root = Root::new();
    root.write_bytes("file", &pattern(300_000, 6));
    root.write_bytes("sticky/file", b"old");
    for name in ["file", "sticky/file"] {
        chmod(&root.file(name), 0o666);
    }
    chmod(&root.file("sticky"), 0o1777);
    let server = Server::with(root.path(), &["-o"]);
    for (name, length) in [("file", 100_000), ("file", 0), ("sticky/file", 5_000)] {
        let before = fs::metadata(root.file(name)).unwrap().ino();
        let bytes = pattern(length, 7);
        assert_eq!(put(&server, name, &bytes), Ok(()));
        assert_same(&fs::read(root.file(name)).unwrap(), &bytes);
        let state = fs::metadata(root.file(name)).unwrap();
        assert_eq!((state.ino(), state.uid()), (before, 0), "{name}");
    }
    // What breaks off stays cut short; the manual says so.
    root.write_bytes("file", b"a long text");
    let bytes = pattern(5_000, 8);
    let mut writing = Put::octet("file", &bytes).begin(server.address()).unwrap();
    writing.go_on_until(512).unwrap();
    eventually("its first block", PATIENCE, || {
        (fs::read(root.file("file")).unwrap() == bytes[..512]).then_some(())
    });
    writing.give_up();
    assert_eq!(names(root.path()), ["file", "sticky"]);
}

#[test]
fn an_upload_that_breaks_off_leaves_the_old_file_and_nothing_else() {
    let Some(root) = writable() else { return };
    root.write_bytes("file", b"old");
    chown(root.file("file"), Some(NOBODY), None).unwrap();
    let server = Server::with(root.path(), &["-c", "-t", "5"]);
    let bytes = pattern(1_000_000, 9);
    for name in ["file", "new"] {
        let wish = Put::octet(name, &bytes).option("blksize", 8192);
        let mut writing = wish.begin(server.address()).unwrap();
        writing.go_on_until(500_000).unwrap();
        let temporary = eventually("a temporary file", PATIENCE, || {
            unfinished(root.path()).pop()
        });
        // Nobody reads or writes it under that name.
        for spelling in [temporary.clone(), temporary.to_uppercase()] {
            let read = fetch(server.address(), &Wish::octet(&spelling));
            assert_eq!(read.unwrap_err().0, 1);
            assert_eq!(put(&server, &spelling, b"x").unwrap_err().0, 1);
        }
        // Readers get the old file until the new one is whole.
        match name {
            "file" => assert_eq!(fetch_bytes(server.address(), "file"), b"old"),
            _ => {
                let read = fetch(server.address(), &Wish::octet(name));
                assert_eq!(read.unwrap_err().0, 1);
            }
        }
        // The one gives up, the other falls silent.
        if name == "file" {
            writing.give_up();
        }
        eventually("nothing left behind", PATIENCE, || {
            unfinished(root.path()).is_empty().then_some(())
        });
        assert_eq!(fs::read(root.file("file")).unwrap(), b"old");
    }
    assert_eq!(names(root.path()), ["file"]);
}

/// Who is given an OACK and never sends a block makes no file.
#[test]
fn a_request_alone_makes_no_file() {
    let Some(root) = writable() else { return };
    let server = Server::with(root.path(), &["-c", "-t", "1"]);
    for _ in 0..3 {
        let wish = Put::octet("file", b"x").option("tsize", 100);
        drop(wish.begin(server.address()).unwrap());
    }
    server.wait_for_lines("the ends", 1, |line| line.contains("\"file\""));
    assert_eq!(names(root.path()), [""; 0]);
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let Some(root) = writable() else { return };
    let server = Server::with(root.path(), &["-c", "--max-upload", "100000"]);
    let small = pattern(100_000, 1);
    let large = pattern(100_001, 1);
    assert_eq!(put(&server, "small", &small), Ok(()));
    let announced = Put::octet("large", &large).option("tsize", large.len());
    assert_eq!(announced.begin(server.address()).err().unwrap().0, 3);
    assert_eq!(put(&server, "large", &large).unwrap_err().0, 3);
    let absurd = Put::octet("large", &large).option("tsize", u64::MAX);
    assert_eq!(absurd.begin(server.address()).err().unwrap().0, 3);
    eventually("nothing left behind", PATIENCE, || {
        (names(root.path()) == ["small"]).then_some(())
    });
}

#[test]
fn a_check_names_the_directories_that_are_closed_to_uploads() {
    let Some(root) = writable() else { return };
    for name in ["closed", "open"] {
        fs::create_dir(root.file(name)).unwrap();
    }
    chmod(&root.file("open"), 0o777);
    for (options, expected) in [
        (&["-c"][..], ""),
        (&["-c", "--upload-dir", "open"], ""),
        (&["-o", "--upload-dir", "closed"], ""),
        (
            &["-c", "--upload-dir", "open", "--upload-dir", "closed"],
            "\"closed\": user nobody cannot make files",
        ),
    ] {
        let mut command = program(PROGRAM);
        command
            .args(["--check", "-u", "nobody", "-r"])
            .arg(root.path());
        let output = command.args(options).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{options:?}");
        assert_eq!(
            told.lines().count(),
            usize::from(!expected.is_empty()),
            "{told}"
        );
        assert!(told.starts_with(expected), "{told}");
    }
    let mut command = program(PROGRAM);
    command
        .args(["--check", "-c", "--upload-dir", "none", "-r"])
        .arg(root.path());
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && told.contains("--upload-dir: none below"),
        "{told}"
    );
}

/// At a random moment, 200 times: the name has the whole old file or the whole new one, and the new one if its writer
/// heard so.
#[test]
fn a_server_that_is_killed_leaves_a_whole_file() {
    let Some(root) = writable() else { return };
    let mut old = pattern(300_000, 0);
    root.write_bytes("file", &old);
    chown(root.file("file"), Some(NOBODY), None).unwrap();
    root.write_bytes(".tftpd-upload-mine", b"a user's");
    let (mut replaced, mut heard) = (0, 0);
    for round in 1..=200 {
        let mut server = Server::with(root.path(), &["-c"]);
        let new = pattern(300_000, round);
        let delay = Duration::from_micros(mixed(round) % 30_000);
        let writer = {
            let (address, new) = (server.address(), new.clone());
            thread::spawn(move || write_until_it_ends(address, &new))
        };
        thread::sleep(delay);
        server.signal(nix::sys::signal::Signal::SIGKILL);
        server.wait(PATIENCE);
        let has_heard = writer.join().unwrap();
        let found = fs::read(root.file("file")).unwrap();
        assert!(found == old || found == new, "round {round}: a mixture");
        assert!(
            found == new || !has_heard,
            "round {round}: it was acknowledged"
        );
        replaced += u32::from(found == new);
        heard += u32::from(has_heard);
        old = found;
    }
    println!("{replaced} of 200 were replaced, {heard} writers heard so");
    assert!(
        0 < replaced && replaced < 200,
        "{replaced}: too soon or too late"
    );
    // What is left is removed once it is old, by the next server.
    let temporary = unfinished(root.path());
    assert!(
        temporary.len() > 1,
        "nothing was left that could be removed"
    );
    let stale = SystemTime::now() - Duration::from_secs(2 * 3600);
    let young = root.file(".tftpd-upload-00000000000000aa");
    fs::write(&young, "young").unwrap();
    chown(&young, Some(NOBODY), None).unwrap();
    for name in &temporary {
        let file = fs::File::options().write(true).open(root.file(name));
        file.unwrap().set_modified(stale).unwrap();
    }
    let count = temporary.len() - 1;
    let server = Server::with(root.path(), &["-c"]);
    server.wait_for_log(&[&format!("removed {count} unfinished uploads")]);
    let expected = [".tftpd-upload-00000000000000aa", ".tftpd-upload-mine"];
    assert_eq!(unfinished(root.path()), expected);
}

/// Returns whether the last ACK came.
fn write_until_it_ends(server: SocketAddr, bytes: &[u8]) -> bool {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let options = [("blksize", "8192")];
    let request = crate::packet::write_request_with(b"file", "octet", &options);
    socket.send_to(&request, server).unwrap();
    let mut packet = [0; 600];
    let Ok((_, tid)) = socket.recv_from(&mut packet) else {
        return false;
    };
    socket.connect(tid).unwrap();
    let blocks = bytes.len() / 8192 + 1;
    for block in 1..=blocks {
        let begin = (block - 1) * 8192;
        let end = bytes.len().min(begin + 8192);
        let data = crate::packet::data(u16::try_from(block).unwrap(), &bytes[begin..end]);
        if socket.send(&data).is_err() {
            return false;
        }
        match socket.recv(&mut packet) {
            Ok(4) if packet[..4] == crate::packet::ack(u16::try_from(block).unwrap()) => {}
            _ => return false,
        }
    }
    true
}
