//! A disk that does not answer stalls those who wait for it and nobody else. The disk is a file system of the test's own, which
//! speaks the protocol of /dev/fuse (fuse(4)) and answers no read until it is told to.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::client::{Client, PATIENCE, fetch};
use crate::download::{Download, Wish};
use crate::machine::{in_own_mounts, skipped};
use crate::root::{Root, assert_same};
use crate::server::Server;

#[test]
fn a_disk_that_stalls_stops_only_those_who_wait_for_it() {
    in_own_mounts(|| {
        let root = Root::new();
        std::fs::create_dir(root.file("memory")).unwrap();
        let no_flags = MsFlags::empty();
        let options = Some("size=32m,mode=755");
        mount(
            Some("test"),
            &root.file("memory"),
            Some("tmpfs"),
            no_flags,
            options,
        )
        .unwrap();
        std::fs::create_dir(root.file("disk")).unwrap();
        stall(&root);
    });
}

/// One client waits for the file `disk/file`; another one has its file from `memory` meanwhile.
fn stall(root: &Root) {
    let large = root.write("memory/file", 16 << 20);
    let stalled_bytes = Root::new().write("stalled", 3 << 20);
    let Some(disk) = Disk::mount(&root.file("disk"), stalled_bytes.clone()) else {
        return;
    };
    let server = Server::start(root.path());
    let fetch_large = |server: &Server| {
        let began_at = Instant::now();
        let wish = Wish::octet("memory/file").option("blksize", 1468);
        let fetched = fetch(server.address(), &wish).unwrap();
        assert_same(&fetched.bytes, &large);
        began_at.elapsed()
    };
    let usual = fetch_large(&server);

    let mut waiting = Client::new(server.address());
    let wish = Wish::octet("disk/file")
        .option("blksize", 1468)
        .option("windowsize", 16);
    waiting.request(&wish);
    let mut download = Download::new(&wish);
    let oack = waiting.receive();
    let answer = download.on_packet(oack).expect("an OACK is acknowledged");
    waiting.send(&answer);
    disk.wait_for_a_read();

    let meanwhile = fetch_large(&server);
    assert!(disk.is_stalled(), "the read was answered too early");
    println!("16 MiB from memory: {usual:?}, {meanwhile:?} beside a stalled disk");
    assert_eq!(waiting.receive_within(Duration::from_millis(1)), None);

    disk.answer();
    let download = waiting.complete(download).unwrap();
    assert_same(&download.bytes, &stalled_bytes);
}

/// A file system with one file, `file`.
struct Disk {
    path: PathBuf,
    reads: Arc<Reads>,
}

/// Reads that were asked for, and whether they may be answered.
#[derive(Default)]
struct Reads {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    asked: usize,
    may_answer: bool,
}

impl Disk {
    /// None, and says so, where there is no such thing.
    fn mount(path: &Path, bytes: Vec<u8>) -> Option<Disk> {
        let device = match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
            Ok(device) => device,
            Err(error) => {
                skipped(&format!("/dev/fuse: {error}"));
                return None;
            }
        };
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
            device.as_raw_fd()
        );
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        if let Err(error) = mount(Some("test"), path, Some("fuse"), flags, Some(&options[..])) {
            skipped(&format!("mount: {error}"));
            return None;
        }
        let reads = Arc::<Reads>::default();
        let disk = Disk {
            path: path.to_owned(),
            reads: Arc::clone(&reads),
        };
        let device = Arc::new(device);
        thread::spawn(move || serve(&device, &Arc::new(bytes), &reads));
        Some(disk)
    }

    fn wait_for_a_read(&self) {
        let state = self.reads.state.lock().unwrap();
        let wait = self
            .reads
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.asked == 0);
        assert!(!wait.unwrap().1.timed_out(), "the file was never read");
    }

    fn is_stalled(&self) -> bool {
        let state = self.reads.state.lock().unwrap();
        state.asked > 0 && !state.may_answer
    }

    fn answer(&self) {
        self.reads.state.lock().unwrap().may_answer = true;
        self.reads.changed.notify_all();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.answer();
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

/// Answers the kernel until the file system is gone.
fn serve(device: &Arc<File>, bytes: &Arc<Vec<u8>>, reads: &Arc<Reads>) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(length) = (&**device).read(&mut buffer) {
        let request = Request(&buffer[..length]);
        let unique = request.number(8);
        match request.opcode() {
            FORGET | BATCH_FORGET => {}
            INIT => answer(device, unique, 0, &init()),
            LOOKUP if request.body().starts_with(b"file\0") => {
                let mut entry = Answer::default();
                // Node, generation, how long both answers hold.
                entry.put(FILE).put(0).put(3600).put(3600).put(0);
                answer(device, unique, 0, &entry.attributes(FILE, bytes.len()).0);
            }
            GETATTR => {
                let mut attributes = Answer::default();
                attributes.put(3600).put(0);
                let node = request.number(16);
                answer(
                    device,
                    unique,
                    0,
                    &attributes.attributes(node, bytes.len()).0,
                );
            }
            OPEN | OPENDIR => answer(device, unique, 0, &[0; 16]),
            READ => {
                reads.state.lock().unwrap().asked += 1;
                reads.changed.notify_all();
                let offset = usize::try_from(request.number(48)).unwrap();
                let size = usize::try_from(request.number(56) & 0xFFFF_FFFF).unwrap();
                let (device, bytes, reads) =
                    (Arc::clone(device), Arc::clone(bytes), Arc::clone(reads));
                thread::spawn(move || {
                    let state = reads.state.lock().unwrap();
                    let state = reads.changed.wait_while(state, |state| !state.may_answer);
                    drop(state.unwrap());
                    let begin = offset.min(bytes.len());
                    let end = (offset + size).min(bytes.len());
                    answer(&device, unique, 0, &bytes[begin..end]);
                });
            }
            RELEASE | RELEASEDIR | FLUSH => answer(device, unique, 0, &[]),
            LOOKUP => answer(device, unique, libc::ENOENT, &[]),
            _ => answer(device, unique, libc::ENOSYS, &[]),
        }
    }
}

/// A header of 40 bytes (length, opcode, unique, node, user, group, process), and what belongs to it.
struct Request<'a>(&'a [u8]);

impl Request<'_> {
    fn opcode(&self) -> u32 {
        u32::from_ne_bytes(self.0[4..8].try_into().unwrap())
    }

    fn number(&self, place: usize) -> u64 {
        u64::from_ne_bytes(self.0[place..place + 8].try_into().unwrap())
    }

    fn body(&self) -> &[u8] {
        &self.0[40..]
    }
}

#[derive(Default)]
struct Answer(Vec<u8>);

impl Answer {
    fn put(&mut self, number: u64) -> &mut Answer {
        self.0.extend(number.to_ne_bytes());
        self
    }

    fn put_half(&mut self, number: u32) -> &mut Answer {
        self.0.extend(number.to_ne_bytes());
        self
    }

    /// struct fuse_attr.
    fn attributes(&mut self, node: u64, length: usize) -> &mut Answer {
        let (mode, length) = match node {
            FILE => (libc::S_IFREG | 0o666, u64::try_from(length).unwrap()),
            _ => (libc::S_IFDIR | 0o755, 0),
        };
        self.put(node).put(length).put(length.div_ceil(512));
        // Three times, and their nanoseconds.
        self.put(0)
            .put(0)
            .put(0)
            .put_half(0)
            .put_half(0)
            .put_half(0);
        // Mode, links, user, group, device, block size, flags.
        self.put_half(mode).put_half(1).put_half(0).put_half(0);
        self.put_half(0).put_half(4096).put_half(0)
    }
}

/// Version 7.31 with reads that do not wait for each other.
fn init() -> Vec<u8> {
    let mut init = Answer::default();
    init.put_half(7)
        .put_half(31)
        .put_half(1 << 20)
        .put_half(ASYNC_READ);
    init.put_half(12 | 10 << 16)
        .put_half(4096)
        .put_half(1)
        .put_half(32);
    init.0.resize(64, 0);
    init.0
}

fn answer(mut device: &File, unique: u64, error: i32, body: &[u8]) {
    let length = u32::try_from(16 + body.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend((-error).to_ne_bytes());
    bytes.extend(unique.to_ne_bytes());
    bytes.extend(body);
    // The one who asked may be gone.
    let _ = device.write(&bytes);
}

const FILE: u64 = 2;

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const RELEASEDIR: u32 = 29;
const BATCH_FORGET: u32 = 42;

const ASYNC_READ: u32 = 1;
