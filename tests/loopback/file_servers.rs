//! File systems that have to ask a server (NFS, FUSE) and may get no answer: only the clients that want their files wait.
//! What is asked is a file system of the test's own (see `fuse`).

use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;

use crate::client::{Client, PATIENCE, fetch, fetch_bytes};
use crate::download::{Download, Wish};
use crate::fuse::{Asked, Disk, Treatment};
use crate::machine::{eventually, in_own_mounts, is_stopped, threads};
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

/// A late ACK or nonsense from a client whose request waits for its name: the request is answered all the same.
#[test]
fn what_is_no_request_ends_none_that_waits() {
    in_own_mounts(|| {
        let root = Root::new();
        let near = root.write("near", 5_000);
        let Some(disk) = mounted(&root, "disk", 5_000) else {
            return;
        };
        disk.have_nothing_remembered();
        for options in [&["--single-port"][..], &[]] {
            println!("{options:?}");
            let server = Server::with(root.path(), options);
            let _end = disk.answering_at_the_end();
            disk.hang();
            let mut client = Client::new(server.address());
            client.request(&Wish::octet("disk/file"));
            disk.wait_for_held(|_| true);
            let probe = packet::read_request(b"near", "octet", &[("x-probe", "1")]);
            for datagram in [&packet::ack(7)[..], b"", b"\0\x01near", &probe] {
                client.send_to_server(datagram);
            }
            client.expect_oack(&[("x-probe", "1")]);
            // Behind them: they were read.
            assert_same(&fetch_bytes(server.address(), "near"), &near);
            disk.answer();
            client.forget_tid();
            client.expect_data(1);
        }
    });
}

/// The operator learns that a file server does not answer, once, and that it does again.
#[test]
fn a_file_server_that_does_not_answer_is_in_the_log() {
    in_own_mounts(|| {
        let root = Root::new();
        let near = root.write("near", 5_000);
        let Some(disk) = mounted(&root, "disk", 5_000) else {
            return;
        };
        let server = Server::start(root.path());
        let _end = disk.answering_at_the_end();
        let fetch_near = || assert_same(&fetch_bytes(server.address(), "near"), &near);
        fetch_near();
        disk.hang();
        let mut client = Client::new(server.address()).asking(&Wish::octet("disk/file"));
        server.wait_for_log(&["WARN no answer from the disk or file server for "]);
        fetch_near();
        disk.answer();
        client.expect_data(1);
        server.wait_for_log(&["INFO the disk or file server answers again, after "]);
        assert_eq!(server.lines_with("no answer from").len(), 1);
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
            // Any request lets the server look, once a second.
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
            wait_until_closed(&server, &root.file("disk"));
        }
    });
}

/// What has to ask for the file, or is told that it cannot be had for a moment, is no reason for an ERROR, which would be final
/// for firmware: the client asks again, or waits in its place.
#[test]
fn errors_that_pass_are_no_answer() {
    in_own_mounts(|| {
        for error in [libc::EAGAIN, libc::EINTR, libc::ETIMEDOUT, libc::ESTALE] {
            for wish in [
                Wish::octet("disk/file"),
                Wish::netascii("disk/file").option("blksize", 1000),
            ] {
                let root = Root::new();
                let near = root.write("near", 2_000);
                let Some(disk) = mounted(&root, "disk", FAR) else {
                    return;
                };
                let server = Server::start(root.path());
                let _end = disk.answering_at_the_end();
                let mut client = Client::new(server.address());
                disk.hold(|asked| *asked == Asked::Open);
                client.request(&wish);
                disk.wait_for_held(|asked| *asked == Asked::Open);
                disk.treat(move |asked| match asked {
                    Asked::Open => Treatment::Failed(error),
                    _ => Treatment::Answered,
                });
                for _ in 0..3 {
                    // That the helper has answered is known by another name that it looked up since.
                    let none = fetch(server.address(), &Wish::octet("disk/none")).unwrap_err();
                    assert_eq!(none.0, 1, "{none:?}");
                    assert_same(&fetch_bytes(server.address(), "near"), &near);
                    client.expect_nothing_yet();
                    client.request(&wish);
                }
                disk.answer();
                let first = eventually("an answer", PATIENCE, || {
                    client.request(&wish);
                    client.receive_within(Duration::from_millis(200))
                });
                let mut download = Download::new(&wish);
                let answer = download.on_packet(packet::parse(&first)).unwrap();
                client.send(&answer);
                let download = client.complete(download).unwrap();
                assert_same(&download.bytes, &letters(FAR));
                assert_eq!(
                    server.lines_with("file\": refused"),
                    [""; 0],
                    "error {error}"
                );
            }
        }
    });
}

/// More names than the helper takes: those it has taken are answered once it can, the others when their clients ask again.
#[test]
fn more_names_than_the_helper_takes() {
    in_own_mounts(|| {
        let root = Root::new();
        let near = root.write("near", 200_000);
        let Some(disk) = mounted(&root, "disk", FAR) else {
            return;
        };
        let server = Server::start(root.path());
        let _end = disk.answering_at_the_end();
        let fetch_near = || assert_same(&fetch_bytes(server.address(), "near"), &near);
        fetch_near();
        let threads_before = threads(server.process());
        disk.hang();
        let mut clients: Vec<_> = (0..JOBS_MAX + 100)
            .map(|number| {
                let wish = Wish::octet(format!("disk/none{number}"));
                (Client::new(server.address()), wish, false)
            })
            .collect();
        for (client, wish, _) in &clients {
            client.request(wish);
        }
        disk.wait_for_held(|_| true);
        for _ in 0..3 {
            fetch_near();
        }
        let is_lookup = |asked: &Asked| matches!(asked, Asked::Lookup(_));
        assert_eq!(disk.count_held(is_lookup), 1, "one thread waits");
        let none_came = |(client, _, _): &mut (Client, Wish, bool)| client.expect_nothing_yet();
        clients.iter_mut().for_each(none_came);

        disk.answer();
        // What the helper took it did in order; what is asked now comes behind all that.
        eventually("a name looked up", PATIENCE, || {
            let mut last = Client::new(server.address()).asking(&Wish::octet("disk/last"));
            last.receive_within(Duration::from_millis(200))
        });
        for (client, _, is_answered) in &mut clients {
            *is_answered = client.receive_if_there().is_some();
        }
        let answered = clients.iter().filter(|(.., is_answered)| *is_answered);
        let answered = answered.count();
        // Now and then the helper looks at the root.
        assert!((JOBS_MAX - 2..=JOBS_MAX).contains(&answered), "{answered}");
        for (client, wish, _) in clients.iter_mut().filter(|(.., is_answered)| !is_answered) {
            client.request(wish);
            assert!(client.expect_error(1).contains("no such file"));
        }
        server.wait_for_log(&["WARN dropped", " while the disk did not answer"]);
        fetch_near();
        let far = fetch(server.address(), &Wish::octet("disk/file")).unwrap();
        assert_same(&far.bytes, &letters(FAR));
        assert_eq!(threads(server.process()), threads_before);
    });
}

/// Files that are to be closed while nobody answers are closed at last, however many they are.
#[test]
fn files_that_wait_to_be_closed() {
    in_own_mounts(|| {
        let root = Root::new();
        let near = root.write("near", 200_000);
        let Some(disk) = mounted(&root, "disk", FAR) else {
            return;
        };
        let server = Server::with(root.path(), &["-n", "400"]);
        let _end = disk.answering_at_the_end();
        let wish = Wish::octet("disk/file");
        let clients: Vec<_> = (0..JOBS_MAX + 20)
            .map(|_| go_halfway(Client::new(server.address()), &wish).0)
            .collect();
        disk.hang();
        for client in &clients {
            client.send(&packet::error(0, "enough"));
        }
        disk.wait_for_held(|asked| *asked == Asked::Flush);
        for _ in 0..3 {
            assert_same(&fetch_bytes(server.address(), "near"), &near);
        }
        assert!(disk.holds(|asked| *asked == Asked::Flush));
        disk.answer();
        wait_until_closed(&server, &root.file("disk"));
    });
}

/// The helper, too, opens nothing outside of the root, nor does the process end for its system calls.
#[test]
fn links_that_only_the_helper_follows() {
    in_own_mounts(|| {
        let root = Root::new();
        let near = root.write("near", 2_000);
        std::fs::write(root.beside("secret"), "outside").unwrap();
        let Some(disk) = mounted(&root, "disk", FAR) else {
            return;
        };
        disk.have_nothing_remembered();
        let secret = root.beside("secret").display().to_string();
        for sandbox in [&[][..], &["--no-sandbox"]] {
            let mut server = Server::with(root.path(), sandbox);
            let ask = || fetch(server.address(), &Wish::octet("disk/link"));
            for (target, expected) in [
                ("../near", Ok(())),
                ("/near", Ok(())),
                ("file", Ok(())),
                ("../../secret", Err(2)),
                (&secret[..], Err(1)),
                ("/etc/passwd", Err(1)),
                ("link", Err(2)),
                (".", Err(2)),
                ("/proc/self/mem", Err(1)),
            ] {
                disk.point_link_to(target);
                let answer = ask();
                if let (Ok(download), "../near" | "/near") = (&answer, target) {
                    assert_same(&download.bytes, &near);
                }
                let answer = answer.map(drop).map_err(|(code, _)| code);
                assert_eq!(answer, expected, "{target}");
            }
            assert!(server.is_running());
        }
    });
}

/// The state of a file is asked for by the helper, and the end of a file that was written to is not sent.
#[test]
fn a_mixture_of_a_file_of_a_server_of_files() {
    in_own_mounts(|| {
        for wish in [Wish::octet("disk/file"), Wish::netascii("disk/file")] {
            let root = Root::new();
            let Some(disk) = mounted(&root, "disk", 400_000) else {
                return;
            };
            disk.have_nothing_remembered();
            let server = Server::start(root.path());
            let _end = disk.answering_at_the_end();
            let (mut client, download) = go_halfway(Client::new(server.address()), &wish);
            disk.touch_file();
            let (code, message) = client.complete(download).unwrap_err();
            assert_eq!(code, 0, "{message}");
            server.wait_for_log(&["disk/file", "changed"]);
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

#[track_caller]
fn wait_until_closed(server: &Server, below: &Path) {
    eventually("its files closed", PATIENCE, || {
        let paths = open_paths(server.process());
        (!paths.iter().any(|path| path.starts_with(below))).then_some(())
    });
}

/// What the helper has to do at most, by the name of the constant in `os/helper.rs`.
const JOBS_MAX: usize = 256;
