//! A thread beside the loop, which waits for disks so that the loop need not.
//!
//! It is started once the process has given up what it may not keep, and is confined as the loop is. Tasks and replies
//! are values of a queue each; a reply wakes the poll. While a disk hangs the thread hangs with it: then what is asked
//! of it waits or, past a bound, is not taken.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;

use mio::Waker;

/// The thread, as the loop sees it.
#[derive(Debug)]
pub struct Worker<T, R> {
    tasks: Sender<T>,
    pub(super) replies: Receiver<R>,
    /// Tasks that wait for a reply, at most.
    most: usize,
    asked: Cell<usize>,
    replied: Cell<usize>,
}

/// The loop, as the thread sees it.
pub(super) struct Desk<T, R> {
    pub todo: Receiver<T>,
    replies: Sender<R>,
    waker: Arc<Waker>,
}

impl<T: Send + 'static, R: Send + 'static> Worker<T, R> {
    /// Starts the thread, and waits until it runs. It goes with the process, whether its work ends or not: the end of a
    /// thread needs system calls of its own. At most this number of tasks wait for a reply. The work may ask for more,
    /// and sees the end of the loop once it has given that up.
    ///
    /// # Errors
    /// Where no thread may be started.
    pub(super) fn spawn(
        name: &str,
        most: usize,
        waker: Arc<Waker>,
        work: impl FnOnce(Desk<T, R>, Sender<T>) + Send + 'static,
    ) -> io::Result<Worker<T, R>> {
        let (tasks, todo) = channel();
        let (to_loop, replies) = channel();
        let desk = Desk {
            todo,
            replies: to_loop,
            waker,
        };
        let (ready, is_ready) = sync_channel(0);
        let more = tasks.clone();
        let builder = thread::Builder::new().name(name.into());
        builder.stack_size(STACK).spawn(move || {
            let _ = ready.send(());
            work(desk, more);
            loop {
                thread::park();
            }
        })?;
        is_ready.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(Worker {
            tasks,
            replies,
            most,
            asked: Cell::new(0),
            replied: Cell::new(0),
        })
    }

    /// Asks for something; gives it back where too much waits already.
    ///
    /// # Errors
    /// The task itself.
    pub fn ask(&self, task: T) -> Result<(), T> {
        if self.under_way() >= self.most {
            return Err(task);
        }
        self.asked.update(|count| count + 1);
        self.tasks.send(task).map_err(|unsent| unsent.0)
    }

    /// The next reply, if one has come.
    pub fn next(&self) -> Option<R> {
        let reply = self.replies.try_recv().ok()?;
        self.replied.update(|count| count + 1);
        Some(reply)
    }

    /// How many tasks it has, where each is replied to.
    pub fn under_way(&self) -> usize {
        self.asked.get().saturating_sub(self.replied.get())
    }

    /// How many replies were taken.
    pub fn done(&self) -> usize {
        self.replied.get()
    }
}

impl<T, R> Desk<T, R> {
    /// Hands a reply to the loop.
    pub(super) fn reply(&self, reply: R) {
        let _ = self.replies.send(reply);
        let _ = self.waker.wake();
    }
}

/// Such a thread opens files, reads and writes, and nothing it calls needs much.
const STACK: usize = 64 << 10;
