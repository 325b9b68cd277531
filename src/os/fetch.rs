//! A piece of a file that is read where that may take long.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::{io, mem};

use super::opened::Opened;
use crate::moment::Moment;

/// What becomes of the reading of a piece.
#[derive(Debug, Default)]
pub enum Errand {
    /// Nothing is to be read.
    #[default]
    None,
    /// The helper is to be asked.
    Wanted(Fetch),
    /// It was asked.
    UnderWay,
    /// It had read this at that time.
    Done(Fetched, Moment),
}

/// A piece of a file that is to be read.
#[derive(Debug)]
pub struct Fetch {
    pub(super) file: Arc<Opened>,
    pub(super) offset: u64,
    pub(super) length: usize,
    /// Where the bytes go, as long as the piece; empty where they only have to be in memory.
    pub(super) buffer: Vec<u8>,
}

/// A piece that was read.
#[derive(Debug)]
pub struct Fetched {
    pub(super) offset: u64,
    /// How many bytes were there before the end of the file or the first that cannot be read.
    pub(super) count: io::Result<usize>,
    pub(super) buffer: Vec<u8>,
}

impl Errand {
    /// What the helper is to be asked, if it was not yet.
    pub fn take_fetch(&mut self) -> Option<Fetch> {
        match mem::replace(self, Errand::UnderWay) {
            Errand::Wanted(fetch) => Some(fetch),
            other => {
                *self = other;
                None
            }
        }
    }

    /// The helper has read it, or was not asked.
    pub fn end(&mut self, now: Moment, fetched: Option<Fetched>) {
        *self = fetched.map_or(Errand::None, |fetched| Errand::Done(fetched, now));
    }
}

impl Fetch {
    /// Reads it to its end, into `scratch` where it has no buffer of its own.
    pub(super) fn read(mut self, scratch: &mut [u8]) -> Fetched {
        let mut done = 0;
        let count = loop {
            let left = self.length - done;
            let target = match self.buffer.get_mut(done..) {
                Some(target) if !target.is_empty() => target,
                _ => &mut scratch[..left.min(SCRATCH)],
            };
            if left == 0 {
                break Ok(done);
            }
            match self.file.read_at(target, self.offset + done as u64) {
                Ok(0) => break Ok(done),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What was read before it is of use, where it had only to be in memory.
                Err(_) if done > 0 && self.buffer.is_empty() => break Ok(done),
                Err(error) => break Err(error),
            }
        };
        if self.file.closer.is_some() {
            // Its state is asked for here, so the loop need not (see `opened`).
            let _ = self.file.metadata();
        }
        Fetched {
            offset: self.offset,
            count,
            buffer: self.buffer,
        }
    }
}

/// What is read into nowhere at once.
pub(super) const SCRATCH: usize = 16 << 10;
