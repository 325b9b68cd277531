//! A file system of the test's own that speaks the protocol of /dev/fuse (fuse(4)): a file, a directory to mount something on, and
//! a link. What is asked of it is answered when and as the test says.

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

/// A file system with `file`, `directory` and `link`.
pub(crate) struct Disk {
    path: PathBuf,
    requests: Arc<Requests>,
}

/// What the kernel may ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// A name in one of the directories.
    Lookup(Vec<u8>),
    /// What a file is, its length and times.
    Attributes,
    Open,
    Read(Range<usize>),
    Write(Range<usize>),
    /// Its length or times are set.
    Change,
    /// fsync(2).
    Sync,
    /// A descriptor is closed.
    Flush,
    /// statfs(2).
    Statistics,
    /// Where the link leads.
    Target,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Treatment {
    Answered,
    AnsweredAfter(Duration),
    /// It waits until it is treated otherwise.
    Held,
    /// It ends in this error.
    Failed(i32),
}

type Treat = Box<dyn Fn(&Asked) -> Treatment + Send>;

/// What was asked for, and what becomes of it.
struct Requests {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// What is held now.
    held: Vec<Asked>,
    treat: Treat,
    /// Where the link leads.
    target: Vec<u8>,
    /// When the file was written to.
    modified: u64,
    /// The kernel may remember names and attributes.
    are_remembered: bool,
    /// The content of the file.
    bytes: Vec<u8>,
}

impl Requests {
    /// Waits as long as the request is to wait; the error that it is to end with.
    fn may_be_answered(&self, asked: &Asked) -> Result<(), i32> {
        let mut state = self.state.lock().unwrap();
        let mut is_held = false;
        loop {
            let treated = (state.treat)(asked);
            if is_held && !matches!(treated, Treatment::Held) {
                let place = state.held.iter().position(|held| held == asked);
                state.held.swap_remove(place.unwrap());
            }
            match treated {
                Treatment::Answered => return Ok(()),
                Treatment::AnsweredAfter(delay) => {
                    drop(state);
                    thread::sleep(delay);
                    return Ok(());
                }
                Treatment::Failed(error) => return Err(error),
                Treatment::Held => {
                    if !is_held {
                        is_held = true;
                        state.held.push(asked.clone());
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
        Disk::mount_with(path, bytes, "")
    }

    /// One whose modes hold.
    pub(crate) fn mount_with_modes(path: &Path, bytes: Vec<u8>) -> Option<Disk> {
        Disk::mount_with(path, bytes, ",default_permissions")
    }

    fn mount_with(path: &Path, bytes: Vec<u8>, more: &str) -> Option<Disk> {
        let device = match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
            Ok(device) => device,
            Err(error) => {
                skipped(&format!("/dev/fuse: {error}"));
                return None;
            }
        };
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,allow_other{more}",
            device.as_raw_fd()
        );
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        if let Err(error) = mount(Some("test"), path, Some("fuse"), flags, Some(&options[..])) {
            skipped(&format!("mount: {error}"));
            return None;
        }
        let requests = Arc::new(Requests {
            state: Mutex::new(State {
                held: Vec::new(),
                treat: Box::new(|_| Treatment::Answered),
                target: b"directory".to_vec(),
                modified: 1,
                are_remembered: true,
                bytes,
            }),
            changed: Condvar::new(),
        });
        let disk = Disk {
            path: path.to_owned(),
            requests: Arc::clone(&requests),
        };
        let device = Arc::new(device);
        thread::spawn(move || serve(&device, &requests));
        Some(disk)
    }

    /// From now on; what is held is treated so as well.
    pub(crate) fn treat(&self, treat: impl Fn(&Asked) -> Treatment + Send + 'static) {
        self.requests.state.lock().unwrap().treat = Box::new(treat);
        self.requests.changed.notify_all();
    }

    /// Reads are treated so; all else is answered.
    pub(crate) fn treat_reads(&self, treat: impl Fn(Range<usize>) -> Treatment + Send + 'static) {
        self.treat(move |asked| match asked {
            Asked::Read(range) => treat(range.clone()),
            _ => Treatment::Answered,
        });
    }

    pub(crate) fn answer(&self) {
        self.treat(|_| Treatment::Answered);
    }

    /// What is meant is not answered any more, all else is.
    pub(crate) fn hold(&self, is_meant: impl Fn(&Asked) -> bool + Send + 'static) {
        self.treat(move |asked| match is_meant(asked) {
            true => Treatment::Held,
            false => Treatment::Answered,
        });
    }

    /// Nothing is answered any more.
    pub(crate) fn hang(&self) {
        self.treat(|_| Treatment::Held);
    }

    /// All is answered when the value goes: to be declared behind what waits for the disk.
    pub(crate) fn answering_at_the_end(&self) -> Answering<'_> {
        Answering(self)
    }

    /// The kernel asks for names and attributes each time, as for those that are old.
    pub(crate) fn have_nothing_remembered(&self) {
        self.requests.state.lock().unwrap().are_remembered = false;
    }

    pub(crate) fn point_link_to(&self, target: &str) {
        self.requests.state.lock().unwrap().target = target.into();
    }

    /// The content of the file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.requests.state.lock().unwrap().bytes.clone()
    }

    pub(crate) fn touch_file(&self) {
        self.requests.state.lock().unwrap().modified += 1;
    }

    pub(crate) fn wait_for_a_held_read(&self) {
        self.wait_for_held(|asked| matches!(asked, Asked::Read(_)));
    }

    #[track_caller]
    pub(crate) fn wait_for_held(&self, is_meant: impl Fn(&Asked) -> bool) {
        let state = self.requests.state.lock().unwrap();
        let changed = &self.requests.changed;
        let wait =
            changed.wait_timeout_while(state, PATIENCE, |state| !state.held.iter().any(&is_meant));
        let (state, timeout) = wait.unwrap();
        let held = state.held.clone();
        drop(state);
        assert!(!timeout.timed_out(), "only {held:?} was asked for");
    }

    pub(crate) fn holds_reads(&self) -> bool {
        self.holds(|asked| matches!(asked, Asked::Read(_)))
    }

    /// How much of what is meant is held.
    pub(crate) fn count_held(&self, is_meant: impl Fn(&Asked) -> bool) -> usize {
        let state = self.requests.state.lock().unwrap();
        state.held.iter().filter(|asked| is_meant(asked)).count()
    }

    pub(crate) fn holds(&self, is_meant: impl Fn(&Asked) -> bool) -> bool {
        self.requests
            .state
            .lock()
            .unwrap()
            .held
            .iter()
            .any(is_meant)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.answer();
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

/// The disk answers when this goes, before anybody waits for the end of those who wait for the disk.
pub(crate) struct Answering<'a>(&'a Disk);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.answer();
    }
}

/// Answers the kernel until the file system is gone.
fn serve(device: &Arc<File>, requests: &Arc<Requests>) {
    let mut buffer = vec![0; 2 << 20];
    while let Ok(length) = (&**device).read(&mut buffer) {
        let request = Request(buffer[..length].to_vec());
        match request.opcode() {
            FORGET | BATCH_FORGET => continue,
            INIT => {
                answer(device, request.unique(), 0, &init());
                continue;
            }
            _ => {}
        }
        let (device, requests) = (Arc::clone(device), Arc::clone(requests));
        thread::spawn(move || {
            let length = requests.state.lock().unwrap().bytes.len();
            let asked = request.asked(length);
            let may = asked.map_or(Ok(()), |asked| requests.may_be_answered(&asked));
            let result = may.and_then(|()| request.result(&requests));
            match result {
                Ok(body) => answer(&device, request.unique(), 0, &body),
                Err(error) => answer(&device, request.unique(), error, &[]),
            }
        });
    }
}

/// A header of 40 bytes (length, opcode, unique, node, user, group, process), and what belongs to it.
struct Request(Vec<u8>);

impl Request {
    fn opcode(&self) -> u32 {
        u32::from_ne_bytes(self.0[4..8].try_into().unwrap())
    }

    fn unique(&self) -> u64 {
        self.number(8)
    }

    fn node(&self) -> u64 {
        self.number(16)
    }

    fn number(&self, place: usize) -> u64 {
        u64::from_ne_bytes(self.0[place..place + 8].try_into().unwrap())
    }

    /// A name, without the zero at its end.
    fn name(&self) -> &[u8] {
        self.0[40..].split(|&byte| byte == 0).next().unwrap()
    }

    /// What a read is to read of this many bytes.
    fn range(&self, length: usize) -> Range<usize> {
        let offset = usize::try_from(self.number(48)).unwrap();
        let size = usize::try_from(self.number(56) & 0xFFFF_FFFF).unwrap();
        offset.min(length)..(offset + size).min(length)
    }

    /// None of what is always answered.
    fn asked(&self, length: usize) -> Option<Asked> {
        Some(match self.opcode() {
            LOOKUP => Asked::Lookup(self.name().to_vec()),
            GETATTR => Asked::Attributes,
            OPEN => Asked::Open,
            READ => Asked::Read(self.range(length)),
            WRITE => Asked::Write(self.range(usize::MAX)),
            SETATTR => Asked::Change,
            FSYNC => Asked::Sync,
            FLUSH => Asked::Flush,
            STATFS => Asked::Statistics,
            READLINK => Asked::Target,
            _ => return None,
        })
    }

    fn result(&self, requests: &Requests) -> Result<Vec<u8>, i32> {
        let mut state = requests.state.lock().unwrap();
        if self.opcode() == SETATTR && self.number(40) & SETS_SIZE != 0 {
            let length = usize::try_from(self.number(56)).unwrap();
            state.bytes.resize(length, 0);
        }
        // How long names and attributes hold.
        let seconds = if state.are_remembered { 3600 } else { 0 };
        let (length, modified) = (state.bytes.len(), state.modified);
        let mut answer = Answer::default();
        match self.opcode() {
            LOOKUP => {
                let node = match (self.node(), self.name()) {
                    (TOP, b"file") => FILE,
                    (TOP, b"directory") => DIRECTORY,
                    (TOP, b"link") => LINK,
                    _ => return Err(libc::ENOENT),
                };
                // Node, generation, how long both answers hold.
                answer.put(node).put(0).put(seconds).put(seconds).put(0);
                answer.attributes(node, length, modified);
            }
            WRITE => {
                let range = self.range(usize::MAX);
                if state.bytes.len() < range.end {
                    state.bytes.resize(range.end, 0);
                }
                let count = u32::try_from(range.len()).unwrap();
                state.bytes[range.clone()].copy_from_slice(&self.0[80..80 + range.len()]);
                answer.put_half(count).put_half(0);
            }
            FSYNC => {}
            GETATTR | SETATTR => {
                answer.put(seconds).put(0);
                answer.attributes(self.node(), length, modified);
            }
            READLINK => answer.0.extend(&state.target),
            OPEN | OPENDIR => answer.0.extend([0; 16]),
            READ => answer.0.extend(&state.bytes[self.range(length)]),
            STATFS => answer.0.extend([0; 80]),
            RELEASE | RELEASEDIR | FLUSH => {}
            _ => return Err(libc::ENOSYS),
        }
        Ok(answer.0)
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
    fn attributes(&mut self, node: u64, length: usize, modified: u64) {
        let (mode, length) = match node {
            FILE => (libc::S_IFREG | 0o666, u64::try_from(length).unwrap()),
            LINK => (libc::S_IFLNK | 0o777, 9),
            _ => (libc::S_IFDIR | 0o755, 0),
        };
        self.put(node).put(length).put(length.div_ceil(512));
        // When it was read, written to and changed, and the nanoseconds of that.
        self.put(1)
            .put(modified)
            .put(1)
            .put_half(0)
            .put_half(0)
            .put_half(0);
        // Mode, links, user, group, device, block size, flags.
        self.put_half(mode).put_half(1).put_half(0).put_half(0);
        self.put_half(0).put_half(4096).put_half(0);
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

const TOP: u64 = 1;
const FILE: u64 = 2;
const DIRECTORY: u64 = 3;
const LINK: u64 = 4;

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const READLINK: u32 = 5;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const RELEASEDIR: u32 = 29;
const BATCH_FORGET: u32 = 42;

/// Of the bits that say what is set.
const SETS_SIZE: u64 = 1 << 3;

const ASYNC_READ: u32 = 1;
