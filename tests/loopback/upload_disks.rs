//! Disks that are full, read-only, slow, hang or fail while something is uploaded to them: the client hears so at once, the
//! old file stays, nothing is left behind, and nobody else waits. ext4 on loop devices, and file systems of the test's own
//! (see `fuse`).

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;

use crate::client::{Client, PATIENCE, fetch, fetch_bytes};
use crate::download::{Download, Wish};
use crate::fuse::{Asked, Disk, Treatment};
use crate::machine::{eventually, in_own_mounts, mount_ext4, run};
use crate::packet;
use crate::put::Put;
use crate::root::{Root, assert_same, pattern};
use crate::server::Server;
use crate::uploads::{NOBODY, names, unfinished, writable};

/// A root with ext4 of its own at `disk`, which holds `file`, and in which the server may write.
struct SmallDisk {
    root: Root,
    old: Vec<u8>,
}

impl SmallDisk {
    fn new(size: &str) -> Option<SmallDisk> {
        let root = writable()?;
        if !mount_ext4(&root, "-b 1024 -N 16", size) {
            return None;
        }
        let old = root.write("disk/file", 20_000);
        for path in ["disk", "disk/file"] {
            chown(root.file(path), Some(NOBODY), None).unwrap();
        }
        Some(SmallDisk { root, old })
    }

    fn assert_untouched(&self) {
        let disk = self.root.file("disk");
        assert_same(&fs::read(disk.join("file")).unwrap(), &self.old);
        eventually("nothing left behind", PATIENCE, || {
            unfinished(&disk).is_empty().then_some(())
        });
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.root.file("disk"), MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_disk_that_is_full() {
    in_own_mounts(|| {
        for size in ["128K", "1M"] {
            let Some(disk) = SmallDisk::new(size) else {
                return;
            };
            let server = Server::with(disk.root.path(), &["-c"]);
            let large = pattern(2 << 20, 1);
            for name in ["disk/file", "disk/new"] {
                let wish = Put::octet(name, &large).option("blksize", 1428);
                assert_eq!(wish.to(server.address()).unwrap_err().0, 3, "{size} {name}");
                server.wait_for_log(&["cannot write an upload", "No space left"]);
                disk.assert_untouched();
                let announced = wish.option("tsize", large.len());
                assert_eq!(announced.begin(server.address()).err().unwrap().0, 3);
            }
            assert_eq!(names(&disk.root.file("disk")), ["file", "lost+found"]);
            // All the room is there again.
            let small = pattern(60_000, 2);
            assert_eq!(Put::octet("disk/new", &small).to(server.address()), Ok(()));
            assert_same(&fs::read(disk.root.file("disk/new")).unwrap(), &small);
        }
    });
}

#[test]
fn a_disk_without_inodes() {
    in_own_mounts(|| {
        let Some(disk) = SmallDisk::new("1M") else {
            return;
        };
        let server = Server::with(disk.root.path(), &["-c"]);
        let mut count = 0;
        while fs::write(disk.root.file("disk").join(count.to_string()), "").is_ok() {
            count += 1;
        }
        for name in ["disk/file", "disk/new"] {
            let begun = Put::octet(name, b"x").begin(server.address());
            assert_eq!(begun.err().unwrap().0, 3, "{name}");
        }
        disk.assert_untouched();
        fs::remove_file(disk.root.file("disk/0")).unwrap();
        assert_eq!(Put::octet("disk/new", b"x").to(server.address()), Ok(()));
    });
}

#[test]
fn a_disk_that_becomes_read_only() {
    in_own_mounts(|| {
        let Some(disk) = SmallDisk::new("1M") else {
            return;
        };
        let server = Server::with(disk.root.path(), &["-c"]);
        let bytes = pattern(30_000, 3);
        let mut writing = Put::octet("disk/file", &bytes)
            .begin(server.address())
            .unwrap();
        let mounted = disk.root.file("disk");
        run("mount", &format!("-o remount,ro {}", mounted.display()));
        assert_eq!(writing.finish().unwrap_err().0, 0);
        disk.assert_untouched();
        for name in ["disk/file", "disk/new"] {
            let begun = Put::octet(name, &bytes).begin(server.address());
            assert_eq!(begun.err().unwrap().0, 0, "{name}");
        }
    });
}

#[test]
fn a_directory_that_goes_away() {
    let Some(root) = writable() else { return };
    let directory = root.file("directory");
    fs::create_dir(&directory).unwrap();
    chown(&directory, Some(NOBODY), None).unwrap();
    let server = Server::with(root.path(), &["-c"]);
    let bytes = pattern(400_000, 4);
    let wish = Put::octet("directory/file", &bytes).option("blksize", 8192);
    // Before its first bytes are written, and after.
    for written in [0, 300_000] {
        let mut writing = wish.begin(server.address()).unwrap();
        writing.go_on_until(written).unwrap();
        if written > 0 {
            eventually("a temporary file", PATIENCE, || {
                unfinished(&directory).pop()
            });
        }
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(writing.finish().unwrap_err().0, 0);
        assert_eq!(wish.begin(server.address()).err().unwrap().0, 2);
        fs::create_dir(&directory).unwrap();
        chown(&directory, Some(NOBODY), None).unwrap();
    }
    assert_eq!(wish.to(server.address()), Ok(()));
    assert_same(&fs::read(directory.join("file")).unwrap(), &bytes);
}

/// A root with a file system of the test's own at `disk`, whose `file` can be written in place, and a cached file.
fn mounted(root: &Root) -> Option<(Disk, Vec<u8>)> {
    let near = root.write("near", 3 << 20);
    fs::create_dir(root.file("disk")).unwrap();
    let disk = Disk::mount_with_modes(&root.file("disk"), b"old".to_vec())?;
    Some((disk, near))
}

type IsMeant = fn(&Asked) -> bool;

#[test]
fn a_disk_that_fails() {
    in_own_mounts(|| {
        let is_write = |asked: &Asked| matches!(asked, Asked::Write(_));
        let is_sync = |asked: &Asked| *asked == Asked::Sync;
        let is_change = |asked: &Asked| *asked == Asked::Change;
        let cases: [(IsMeant, i32, u16); 6] = [
            (is_write, libc::EIO, 0),
            (is_write, libc::EDQUOT, 3),
            (is_write, libc::ENOSPC, 3),
            (is_write, libc::EFBIG, 3),
            (is_sync, libc::EIO, 0),
            (is_change, libc::EROFS, 0),
        ];
        let root = Root::new();
        let Some((disk, near)) = mounted(&root) else {
            return;
        };
        let server = Server::with(root.path(), &["-o"]);
        let _end = disk.answering_at_the_end();
        let bytes = pattern(50_000, 5);
        let wish = Put::octet("disk/file", &bytes);
        for (is_meant, error, code) in cases {
            disk.treat(move |asked| match is_meant(asked) {
                true => Treatment::Failed(error),
                false => Treatment::Answered,
            });
            let began_at = Instant::now();
            let (found, message) = wish.to(server.address()).unwrap_err();
            let took = began_at.elapsed();
            println!("errno {error}: ERROR {found} {message:?} after {took:?}");
            assert_eq!(found, code, "errno {error}");
            assert_same(&fetch_bytes(server.address(), "near"), &near);
        }
        server.wait_for_log(&["cannot write an upload", "quota"]);
        disk.answer();
        assert_eq!(wish.to(server.address()), Ok(()));
        assert_same(&disk.bytes(), &bytes);
    });
}

#[test]
fn a_disk_that_hangs_stops_uploads_only() {
    in_own_mounts(|| {
        let is_write = |asked: &Asked| matches!(asked, Asked::Write(_));
        let is_sync = |asked: &Asked| *asked == Asked::Sync;
        let cases: [IsMeant; 2] = [is_write, is_sync];
        for is_meant in cases {
            let root = Root::new();
            let Some((disk, near)) = mounted(&root) else {
                return;
            };
            fs::create_dir(root.file("other")).unwrap();
            let Some(other) = Disk::mount(&root.file("other"), pattern(100_000, 6)) else {
                return;
            };
            let server = Server::with(root.path(), &["-o"]);
            let _end = disk.answering_at_the_end();
            disk.hold(is_meant);
            let bytes = pattern(50_000, 7);
            let writer = put_beside(&server, &bytes);
            disk.wait_for_held(is_meant);
            // What is in memory, and what the helper has to look up and to read.
            assert_same(&fetch_bytes(server.address(), "near"), &near);
            assert_same(&fetch_bytes(server.address(), "other/file"), &other.bytes());
            let missing = fetch(server.address(), &Wish::octet("other/none"));
            assert_eq!(missing.unwrap_err().0, 1);
            assert!(disk.holds(is_meant) && !writer.is_finished());
            disk.answer();
            assert_eq!(writer.join().unwrap(), Ok(()));
            assert_same(&disk.bytes(), &bytes);
        }
    });
}

#[test]
fn sigterm_ends_the_server_while_an_upload_hangs() {
    in_own_mounts(|| {
        let root = Root::new();
        let Some((disk, _)) = mounted(&root) else {
            return;
        };
        let mut server = Server::with(root.path(), &["-o", "--drain", "1"]);
        let _end = disk.answering_at_the_end();
        let is_sync = |asked: &Asked| *asked == Asked::Sync;
        disk.hold(is_sync);
        let bytes = pattern(5_000, 8);
        let wish = Put::octet("disk/file", &bytes);
        let mut writing = wish.begin(server.address()).unwrap();
        writing.go_on_until(4_608).unwrap();
        writing.send_window();
        disk.wait_for_held(is_sync);
        server.signal(Signal::SIGTERM);
        // The process itself cannot go before the system call of its thread has returned.
        server.wait_for_log(&["stopped: "]);
        assert!(disk.holds(is_sync), "it was answered too early");
        disk.answer();
        let status = server.wait(PATIENCE);
        assert!(status.success(), "{status}");
    });
}

fn put_beside(server: &Server, bytes: &[u8]) -> JoinHandle<Result<(), (u16, String)>> {
    let (address, bytes) = (server.address(), bytes.to_vec());
    thread::spawn(move || Put::octet("disk/file", &bytes).to(address))
}

/// 50 ms for each request: who fetches a cached file meanwhile has no such pause.
#[test]
fn an_upload_to_a_slow_disk_does_not_slow_readers_down() {
    in_own_mounts(|| {
        let _alone = crate::machine::alone();
        let root = Root::new();
        let Some((disk, near)) = mounted(&root) else {
            return;
        };
        let server = Server::with(root.path(), &["-o"]);
        let _end = disk.answering_at_the_end();
        let usual = pauses(&server, &near);
        disk.treat(|_| Treatment::AnsweredAfter(SLOW));
        let bytes = pattern(50_000, 9);
        let writer = put_beside(&server, &bytes);
        let mut beside = Vec::new();
        while !writer.is_finished() {
            beside.extend(pauses(&server, &near));
        }
        assert_eq!(writer.join().unwrap(), Ok(()));
        assert_same(&disk.bytes(), &bytes);
        let usual = percentile(usual, 99);
        let beside = percentile(beside, 99);
        println!(
            "p99 of the pauses of a reader: {usual:?} alone, {beside:?} beside an upload to a slow disk"
        );
        assert!(beside < SLOW, "{beside:?}");
    });
}

/// The times between two packets of a client that fetches a file.
fn pauses(server: &Server, expected: &[u8]) -> Vec<Duration> {
    let wish = Wish::octet("near").option("blksize", 1428);
    let mut client = Client::new(server.address()).asking(&wish);
    let mut download = Download::new(&wish);
    let mut pauses = Vec::new();
    let mut last_at = Instant::now();
    while !download.is_over() {
        let packet = client.receive_datagram();
        pauses.push(last_at.elapsed());
        last_at = Instant::now();
        if let Some(answer) = download.on_packet(packet::parse(&packet)) {
            client.send(&answer);
        }
    }
    assert_same(&download.bytes, expected);
    pauses
}

fn percentile(mut pauses: Vec<Duration>, percent: usize) -> Duration {
    pauses.sort();
    pauses[(pauses.len() - 1) * percent / 100]
}

/// Directories with others' files: the mode of the disk decides.
#[test]
fn a_directory_that_can_be_written_and_not_read() {
    let Some(root) = writable() else { return };
    let directory = root.file("box");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o733)).unwrap();
    let server = Server::with(root.path(), &["-c"]);
    assert_eq!(Put::octet("box/file", b"x").to(server.address()), Ok(()));
    assert_eq!(fs::read(directory.join("file")).unwrap(), b"x");
    assert_eq!(names(&directory), ["file"]);
}

/// Of the slow disk.
const SLOW: Duration = Duration::from_millis(50);
