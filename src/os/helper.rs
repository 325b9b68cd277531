//! One thread beside the loop, which waits for disks so that the loop need not.
//!
//! It is started once the process has given up what it may not keep, and is confined as the loop is. Requests and
//! replies are values of a queue each; a reply wakes the poll. While a disk hangs the thread hangs with it: then what
//! is asked of it waits or, past a bound, is not taken. Files that it is to close have no bound of their own: there
//! are never more of them than were open.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

use mio::Waker;

use super::fetch::{Fetch, Fetched, SCRATCH};
use super::files::{Opened, Places, Unavailable};
use super::handle::Closer;
use super::place::{Place, Writable};
use super::resolve::{Answer, Memory, Question, Resolve};
use super::root::{Root, Seen};
use super::rule_file::{RuleFiles, Texts};
use super::spelling::Listings;
use super::worker;
use crate::name::FileNameBuf;
use crate::wire::{Peer, Refusal};

/// What the helper is asked to do.
#[derive(Debug)]
pub enum Job {
    /// To open a file by its name.
    Open(FileNameBuf, Places),
    /// To read a piece of a file for the client of this number; the second number says for which of those that had
    /// the first.
    Read(usize, u32, Fetch),
    /// To look where an upload may go.
    Place(Writable, FileNameBuf),
    /// To say what a requested name comes to.
    Resolve(Box<Resolve>),
    /// To look for a file that differs in case only from what this client asked for.
    OtherCase(Peer, Places, FileNameBuf),
    /// To read files of rules.
    Reread(Arc<RuleFiles>),
    /// To look where the path of the root with this number leads.
    Look(usize, Root),
}

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// The file, and what it is.
    Opened(FileNameBuf, Result<Opened, Unavailable>),
    /// What was read.
    Read(usize, u32, Fetched),
    /// Where an upload of this name may go.
    Placed(FileNameBuf, Result<Place, Refusal>),
    /// What a requested name comes to.
    Resolved(Box<(Question, Answer)>),
    /// The client, the name that it asked for, and the one that is there.
    OtherCase(Peer, FileNameBuf, Option<FileNameBuf>),
    /// What files of rules hold, or which one cannot be used, and why.
    Reread(Result<Texts, (PathBuf, io::Error)>),
    /// Where the path of the root leads.
    Looked(usize, Seen),
}

/// What reaches the thread.
#[derive(Debug)]
enum Task {
    /// It is to be done, and answered.
    Job(Job),
    /// To close a file, which nobody waits for.
    Close(File),
}

/// The helper, as the loop sees it.
#[derive(Debug)]
pub struct Helper {
    tasks: Sender<Task>,
    done: Receiver<Done>,
    /// Jobs that it has and of which the loop has not taken the reply.
    under_way: Cell<usize>,
    /// Jobs that came before those, since the start.
    done_so_far: Cell<u64>,
}

impl Helper {
    /// Starts the thread, and waits until it takes requests. What it learns about directories it leaves in `listings`.
    ///
    /// # Errors
    /// Where no thread may be started.
    pub fn start(waker: Arc<Waker>, listings: Listings) -> io::Result<Helper> {
        let (tasks, todo) = channel();
        // With room for all that is under way, so a reply never waits for the loop.
        let (replies, done) = sync_channel(JOBS_MAX);
        let closing = tasks.clone();
        let closer = Closer::new(move |file| {
            let _ = closing.send(Task::Close(file));
        });
        let mut scratch = vec![0; SCRATCH].into_boxed_slice();
        let mut memory = Memory::new(listings);
        worker::start("disk", move || {
            while let Ok(task) = todo.recv() {
                let reply = match task {
                    Task::Close(file) => {
                        drop(file);
                        continue;
                    }
                    Task::Job(Job::Open(name, places)) => {
                        let opened = places.open(name.as_name(), &closer);
                        Done::Opened(name, opened)
                    }
                    Task::Job(Job::Read(client, serial, fetch)) => {
                        Done::Read(client, serial, fetch.read(&mut scratch))
                    }
                    Task::Job(Job::Place(writable, name)) => {
                        let place = writable.place(name.as_name());
                        Done::Placed(name, place)
                    }
                    Task::Job(Job::Resolve(resolve)) => {
                        let answer = resolve.answer(&mut memory, &closer, &mut |_| {});
                        Done::Resolved(Box::new((resolve.question, answer)))
                    }
                    Task::Job(Job::OtherCase(peer, places, name)) => {
                        let other = memory.other_case(&places, name.as_name(), &closer);
                        Done::OtherCase(peer, name, other)
                    }
                    Task::Job(Job::Reread(files)) => Done::Reread(files.read()),
                    Task::Job(Job::Look(number, root)) => Done::Looked(number, root.look()),
                };
                let _ = replies.send(reply);
                let _ = waker.wake();
            }
        })?;
        Ok(Helper {
            tasks,
            done,
            under_way: Cell::new(0),
            done_so_far: Cell::new(0),
        })
    }

    /// Asks for something; gives it back where too much waits already.
    ///
    /// # Errors
    /// The request itself.
    pub fn ask(&self, job: Job) -> Result<(), Job> {
        if self.under_way.get() >= JOBS_MAX {
            return Err(job);
        }
        self.under_way.update(|count| count + 1);
        // Its end of the queue is never given up.
        let _ = self.tasks.send(Task::Job(job));
        Ok(())
    }

    /// The next reply, if one has come.
    pub fn next(&self) -> Option<Done> {
        let done = self.done.try_recv().ok()?;
        self.under_way.update(|count| count - 1);
        self.done_so_far.update(|count| count + 1);
        Some(done)
    }

    /// How many jobs it has.
    pub fn under_way(&self) -> usize {
        self.under_way.get()
    }

    /// How many jobs it has done, and the replies were taken.
    pub fn done(&self) -> u64 {
        self.done_so_far.get()
    }
}

/// Jobs under way: more than in a full server, but for misses.
const JOBS_MAX: usize = 256;
