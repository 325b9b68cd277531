//! File systems that have to ask a server (NFS, FUSE) and may get no answer: only the clients that want their files wait.
//! What is asked is a file system of the test's own (see `fuse`).

use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;

use crate::client::{Client, PATIENCE, fetch, fetch_bytes};
use crate::download::{Download, Wish};
use crate::fuse::{Asked, Disk};
use crate::machine::{eventually, in_own_mounts, is_stopped};
use crate::packet;
use crate::root::{Root, assert_same, pattern};
use crate::server::Server;
use crate::victim::go_halfway;

/// A request behind one that waits for its name, from the same port: once that name was looked up, it is not judged again, as
/// if its client had begun anew.
#[test]
fn a_request_behind_one_that_waits_is_judged_once() {
    in_own_mounts(|| {
        let root = Root::new();
        let near = root.write("near", 5_000);
        let Some(disk) = mounted(&root, "disk", 100_000) else {
            return;
        };
        let server = Server::start(root.path());
        let _end = disk.answering_at_the_end();
        let mut client = Client::new(server.address());
        let wish = Wish::octet("disk/file");
        client.request(&wish);
        client.expect_data(1);
        client.ack(1);
        client.expect_data(2);
        // It begins anew, and gets no answer as long as the file cannot be opened once more.
        disk.hold(|asked| *asked == Asked::Open);
        client.request(&wish);
        disk.wait_for_held(|asked| *asked == Asked::Open);
        // Then it ends the transfer, and asks for something else. Both are read in one turn of the loop.
        server.signal(Signal::SIGSTOP);
        eventually("a server that is stopped", PATIENCE, || {
            is_stopped(server.process()).then_some(())
        });
        client.send(&packet::error(0, "seek"));
        client.request(&Wish::octet("near"));
        server.signal(Signal::SIGCONT);
        client.forget_tid();
        assert_same(&client.expect_data(1), &near[..512]);
        client.ack(1);
        client.expect_data(2);
        disk.answer();
        // By its timer; an answer to a second request would come sooner, and from another port.
        client.expect_data(2);
    });
}

/// The same in both modes.
fn letters(length: usize) -> Vec<u8> {
    let bytes = pattern(length, 1).into_iter();
    bytes.map(|byte| b'a' + byte % 26).collect()
}

/// A file system at that place of the root.
fn mounted(root: &Root, name: &str, length: usize) -> Option<Disk> {
    std::fs::create_dir(root.file(name)).unwrap();
    Disk::mount(&root.file(name), letters(length))
}

/// The path of the root lies where nobody answers any more: a file system of this machine below it is served all the same, to
/// those who have begun and to those who come.
#[test]
fn a_look_at_a_root_that_is_not_answered_stops_nobody() {
    in_own_mounts(|| {
        for is_a_link in [false, true] {
            println!("a link: {is_a_link}");
            let root = Root::new();
            let Some(disk) = mounted(&root, "disk", 1) else {
                return;
            };
            disk.have_nothing_remembered();
            let path = root.file("disk/directory");
            let bytes = filled(&path, "file", 6_000_000);
            let path = match is_a_link {
                true => root.file("disk/link"),
                false => path,
            };
            let server = Server::start(&path);
            let _end = disk.answering_at_the_end();
            let wish = Wish::octet("file").option("blksize", 1400);
            fetch(server.address(), &wish).unwrap();
            let (mut running, download) = go_halfway(Client::new(server.address()), &wish);
            disk.hang();
            // Whoever comes lets the server look, once a second.
            let waits = eventually("a look", PATIENCE, || {
                let began_at = Instant::now();
                assert_same(&fetch_bytes(server.address(), "file")[..9], &bytes[..9]);
                disk.holds(|_| true).then(|| began_at.elapsed())
            });
            println!("beside the look that is not answered: {waits:?}");
            assert_same(&running.complete(download).unwrap().bytes, &bytes);
            assert_same(&fetch(server.address(), &wish).unwrap().bytes, &bytes);
            assert!(disk.holds(|_| true), "the look was answered too early");
            disk.answer();
        }
    });
}

/// What is asked about an open file when its end is sent, and when it is closed; and what else the loop must not ask.
#[test]
fn an_open_file_of_which_nothing_is_heard_stops_only_its_client() {
    in_own_mounts(|| {
        for mode in ["octet", "netascii"] {
            let root = Root::new();
            let bytes = root.write("near", 3_000_000);
            let Some(disk) = mounted(&root, "disk", FAR) else {
                return;
            };
            disk.have_nothing_remembered();
            let server = Server::start(root.path());
            let _end = disk.answering_at_the_end();
            let wish = Wish {
                mode,
                ..Wish::octet("disk/file").option("blksize", 8192)
            };
            let far: Vec<_> = (0..3)
                .map(|_| go_halfway(Client::new(server.address()), &wish))
                .collect();
            let near = Wish::octet("near").option("blksize", 1400);
            let (mut running, download) = go_halfway(Client::new(server.address()), &near);
            disk.hang();
            let mut waiting = Vec::new();
            for (number, (client, download)) in far.into_iter().enumerate() {
                match number {
                    // Its end is asked for, then it is closed.
                    0 => waiting.push(go_on(client, download)),
                    // It is closed at once, by its client or since that is gone.
                    1 => client.send(&packet::error(0, "enough")),
                    _ => drop(client),
                }
            }
            disk.wait_for_held(|_| true);
            assert_same(&running.complete(download).unwrap().bytes, &bytes);
            for _ in 0..3 {
                assert_same(&fetch(server.address(), &near).unwrap().bytes, &bytes);
            }
            assert!(disk.holds(|_| true), "it was answered too early");
            disk.answer();
            for far in waiting {
                assert_same(&far.join().unwrap(), &letters(FAR));
            }
            let none = |target: &Path| target.starts_with(root.file("disk"));
            eventually("its files closed", PATIENCE, || {
                (!open_paths(server.process()).iter().any(|path| none(path))).then_some(())
            });
        }
    });
}

/// Takes part in the rest of a transfer, by a thread of its own.
fn go_on(mut client: Client, download: Download) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || client.complete(download).unwrap().bytes)
}

/// A file system in memory at that place, with one file.
fn filled(path: &Path, name: &str, length: usize) -> Vec<u8> {
    let options = Some("size=32m,mode=755");
    mount(Some("test"), path, Some("tmpfs"), MsFlags::empty(), options).unwrap();
    let bytes = pattern(length, 7);
    std::fs::write(path.join(name), &bytes).unwrap();
    bytes
}

/// What a process has open, by name.
fn open_paths(process: u32) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    // Some are closed meanwhile.
    let targets = entries.map(|entry| std::fs::read_link(entry.unwrap().path()));
    targets.filter_map(Result::ok).collect()
}

const FAR: usize = 40_000;
