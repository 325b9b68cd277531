//! A file system of the test's own, with one file, that speaks the protocol of /dev/fuse (fuse(4)). Its reads are answered
//! when and as the test says.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::client::PATIENCE;
use crate::machine::skipped;

/// A file system with one file, `file`.
pub(crate) struct Disk {
    path: PathBuf,
    reads: Arc<Reads>,
}

/// What becomes of a read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Read {
    Answered,
    AnsweredAfter(Duration),
    /// It waits until reads are treated otherwise.
    Held,
    /// It ends in EIO.
    Failed,
}

type Treatment = Box<dyn Fn(Range<usize>) -> Read + Send>;

/// Reads that were asked for, and what becomes of them.
struct Reads {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    held: usize,
    treatment: Treatment,
}

impl Reads {
    /// Waits as long as a read of that range is to wait; the error that it is to end with.
    fn may_be_answered(&self, range: Range<usize>) -> Result<(), i32> {
        let mut state = self.state.lock().unwrap();
        let mut is_held = false;
        loop {
            let treated = (state.treatment)(range.clone());
            if is_held && !matches!(treated, Read::Held) {
                state.held -= 1;
            }
            match treated {
                Read::Answered => return Ok(()),
                Read::AnsweredAfter(delay) => {
                    drop(state);
                    thread::sleep(delay);
                    return Ok(());
                }
                Read::Failed => return Err(libc::EIO),
                Read::Held => {
                    if !is_held {
                        is_held = true;
                        state.held += 1;
                        self.changed.notify_all();
                    }
                    state = self.changed.wait(state).unwrap();
                }
            }
        }
    }
}

impl Disk {
    /// One that answers all reads for now. None, and says so, where there is no such thing.
    pub(crate) fn mount(path: &Path, bytes: Vec<u8>) -> Option<Disk> {
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
        let reads = Arc::new(Reads {
            state: Mutex::new(State {
                held: 0,
                treatment: Box::new(|_| Read::Answered),
            }),
            changed: Condvar::new(),
        });
        let disk = Disk {
            path: path.to_owned(),
            reads: Arc::clone(&reads),
        };
        let device = Arc::new(device);
        thread::spawn(move || serve(&device, &Arc::new(bytes), &reads));
        Some(disk)
    }

    /// From now on; what is held is treated so as well.
    pub(crate) fn treat_reads(&self, treatment: impl Fn(Range<usize>) -> Read + Send + 'static) {
        self.reads.state.lock().unwrap().treatment = Box::new(treatment);
        self.reads.changed.notify_all();
    }

    pub(crate) fn answer(&self) {
        self.treat_reads(|_| Read::Answered);
    }

    pub(crate) fn wait_for_a_held_read(&self) {
        let state = self.reads.state.lock().unwrap();
        let wait = self
            .reads
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.held == 0);
        assert!(!wait.unwrap().1.timed_out(), "nothing was read");
    }

    pub(crate) fn holds_reads(&self) -> bool {
        self.reads.state.lock().unwrap().held > 0
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
                let offset = usize::try_from(request.number(48)).unwrap();
                let size = usize::try_from(request.number(56) & 0xFFFF_FFFF).unwrap();
                let begin = offset.min(bytes.len());
                let end = (offset + size).min(bytes.len());
                let (device, bytes, reads) =
                    (Arc::clone(device), Arc::clone(bytes), Arc::clone(reads));
                thread::spawn(move || match reads.may_be_answered(begin..end) {
                    Ok(()) => answer(&device, unique, 0, &bytes[begin..end]),
                    Err(error) => answer(&device, unique, error, &[]),
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
