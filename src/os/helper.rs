//! One thread beside the loop, which waits for disks so that the loop need not.
//!
//! It is started once the process has given up what it may not keep, and is confined as the loop is. Requests and
//! replies are values of a bounded queue each; a reply wakes the poll. While a disk hangs the thread hangs with it:
//! then what is asked of it waits or, once the queue is full, is not taken.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use mio::Waker;

use super::fetch::{Fetch, Fetched, SCRATCH};
use super::files::{Lookup, Opened, Unavailable};
use crate::name::FileNameBuf;

/// What the helper is asked to do.
#[derive(Debug)]
pub enum Job {
    /// To open a file by its name.
    Open(Lookup),
    /// To read a piece of a file for the client of this number; the second number says for which of those that had
    /// the first.
    Read(usize, u32, Fetch),
}

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// The file, and what it is.
    Opened(FileNameBuf, Result<Opened, Unavailable>),
    /// What was read.
    Read(usize, u32, Fetched),
}

/// The helper, as the loop sees it.
#[derive(Debug)]
pub struct Helper {
    jobs: SyncSender<Job>,
    done: Receiver<Done>,
}

impl Helper {
    /// Starts the thread, and waits until it takes requests.
    ///
    /// # Errors
    /// Where no thread may be started.
    pub fn start(waker: Waker) -> io::Result<Helper> {
        let (jobs, todo) = sync_channel(JOBS_MAX);
        // With room for all that is under way, so a reply never waits for the loop.
        let (replies, done) = sync_channel(JOBS_MAX + 1);
        let (ready, is_ready) = sync_channel(0);
        let work = move || {
            let mut scratch = vec![0; SCRATCH].into_boxed_slice();
            let _ = ready.send(());
            while let Ok(job) = todo.recv() {
                let reply = match job {
                    Job::Open(lookup) => {
                        let opened = lookup.open();
                        Done::Opened(lookup.name, opened)
                    }
                    Job::Read(client, serial, fetch) => {
                        Done::Read(client, serial, fetch.read(&mut scratch))
                    }
                };
                let _ = replies.send(reply);
                let _ = waker.wake();
            }
            // The end of a thread needs system calls of its own: it goes with the process.
            loop {
                thread::park();
            }
        };
        let builder = thread::Builder::new().name("disk".into());
        builder.stack_size(STACK).spawn(work)?;
        is_ready
            .recv()
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(Helper { jobs, done })
    }

    /// Asks for something; gives it back where too much waits already.
    ///
    /// # Errors
    /// The request itself.
    pub fn ask(&self, job: Job) -> Result<(), Job> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }

    /// The next reply, if one has come.
    pub fn next(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }
}

/// Requests that wait for the helper: more than are under way in a full server, but for misses.
const JOBS_MAX: usize = 256;

/// It opens files and reads, and nothing it calls needs much.
const STACK: usize = 64 << 10;
