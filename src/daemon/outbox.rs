//! What clients are sent by the socket that they share: it is gathered for a turn of the loop, and leaves in the order in
//! which it was given, with few system calls.
//!
//! What was taken counts as sent. Only bytes that are mapped are gathered: they stay where they are until the connection
//! is closed, and before that they leave, or are lost.

use std::collections::VecDeque;

use crate::os::departures::MESSAGES_MAX;
use crate::transfer::Blocks;

/// What waits to leave by one socket.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Runs of blocks, each with its client.
    pub runs: VecDeque<(usize, Blocks)>,
    /// The socket takes no more; an event follows when it does again.
    pub is_full: bool,
    /// The clients that wait for that.
    pub waiting: Vec<usize>,
}

impl Outbox {
    /// Takes a run of blocks.
    pub(super) fn add(&mut self, client: usize, run: Blocks) {
        self.runs.push_back((client, run));
    }

    /// As much is here as one call sends.
    pub(super) fn is_due(&self) -> bool {
        self.runs.len() >= MESSAGES_MAX
    }

    /// Whether something of `client` has not left yet.
    pub(super) fn holds(&self, client: usize) -> bool {
        self.runs.iter().any(|(of, _)| *of == client)
    }

    /// What `client` was sent is lost.
    pub(super) fn forget(&mut self, client: usize) {
        self.runs.retain(|(of, _)| *of != client);
        self.waiting.retain(|of| *of != client);
    }

    /// These messages, the first that were planned, are dealt with.
    pub(super) fn retire(&mut self, messages: &[(usize, Blocks)]) {
        for (_, blocks) in messages {
            let Some((_, run)) = self.runs.front_mut() else {
                return;
            };
            run.first += u64::from(blocks.count);
            run.count -= blocks.count;
            if run.count == 0 {
                self.runs.pop_front();
            }
        }
    }
}
