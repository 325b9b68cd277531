//! The thread that looks names up, opens files and reads them.
//!
//! Files that it is to close have no bound of their own: there are never more of them than were open.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use mio::Waker;

use super::fetch::{Fetch, Fetched, SCRATCH};
use super::files::{Places, Unavailable};
use super::opened::{Closer, Opened};
use super::place::{Place, Writable};
use super::resolve::{Answer, Resolve};
use super::root::{Root, Seen};
use super::rule_file::{RuleFiles, Texts};
use super::spelling::{Listings, Reach};
use super::worker::Worker;
use crate::name::{FileName, FileNameBuf};
use crate::names::map::Question;
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
    /// To close a file, which nobody waits for.
    Close(File),
}

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// The file, and what it is.
    Opened(FileNameBuf, Result<Arc<Opened>, Unavailable>),
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

/// The helper, as the loop sees it.
pub type Helper = Worker<Job, Done>;

impl Helper {
    /// Starts the thread. What it learns about directories it leaves in `listings`.
    ///
    /// # Errors
    /// Where no thread may be started.
    pub fn start(waker: Arc<Waker>, listings: Listings) -> io::Result<Helper> {
        Helper::spawn("disk", JOBS_MAX, waker, move |desk, tasks| {
            let closer = Closer(Arc::new(move |file| {
                let _ = tasks.send(Job::Close(file));
            }));
            let mut scratch = vec![0; SCRATCH].into_boxed_slice();
            while let Ok(job) = desk.todo.recv() {
                desk.reply(match job {
                    Job::Open(name, places) => {
                        let opened = places.open(name.as_name(), &closer);
                        Done::Opened(name, opened)
                    }
                    Job::Read(client, serial, fetch) => {
                        Done::Read(client, serial, fetch.read(&mut scratch))
                    }
                    Job::Place(writable, name) => {
                        let place = writable.place(name.as_name());
                        Done::Placed(name, place)
                    }
                    Job::Resolve(resolve) => {
                        let answer = resolve.answer(&listings, &closer, &mut |_| {});
                        Done::Resolved(Box::new((resolve.question, answer)))
                    }
                    Job::OtherCase(peer, places, name) => {
                        let is_it = |path: FileName<'_>| Ok(places.open(path, &closer).is_ok());
                        let trees = &places.trees;
                        let spelled = listings.spell(&Reach::Disk, trees, name.as_name(), is_it);
                        Done::OtherCase(peer, name, spelled.ok().and_then(|it| it.there))
                    }
                    Job::Reread(files) => Done::Reread(files.read()),
                    Job::Look(number, root) => Done::Looked(number, root.look()),
                    Job::Close(file) => {
                        drop(file);
                        continue;
                    }
                });
            }
        })
    }
}

/// Jobs under way: more than in a full server, but for misses.
const JOBS_MAX: usize = 256;
