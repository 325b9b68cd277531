//! A thread beside the loop, for what may wait for a disk. It is confined as the loop is.

use std::io;
use std::sync::mpsc::sync_channel;
use std::thread;

/// Starts a thread of this name, and waits until it runs. It goes with the process, whether its work ends or not: the
/// end of a thread needs system calls of its own.
///
/// # Errors
/// Where no thread may be started.
pub(super) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let (ready, is_ready) = sync_channel(0);
    let builder = thread::Builder::new().name(name.into());
    builder.stack_size(STACK).spawn(move || {
        let _ = ready.send(());
        work();
        loop {
            thread::park();
        }
    })?;
    let started = is_ready.recv();
    started.map_err(|_| io::ErrorKind::BrokenPipe.into())
}

/// Such a thread opens files, reads and writes, and nothing it calls needs much.
const STACK: usize = 64 << 10;
