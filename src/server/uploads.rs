//! Clients that send a file: what becomes of a block, and who may write which name.
//!
//! A request alone owns nothing, since anybody can forge one. A name is claimed by the last request for it, and
//! owned by the first client that sends a block: others are refused until its file is on the disk, or it is given up.

use std::collections::HashMap;

use super::client::{Client, Output, Stage};
use super::hosts::host_of;
use super::{Event, Io, Opening, PACKET_OVERHEAD, Room, Server, StoreError};
use crate::moment::Moment;
use crate::name::{FileName, FileNameBuf};
use crate::transfer::{Arrived, Datagrams, Outcome, Receiving};
use crate::wire::Refusal;

/// The client that claims or owns each name that is to be written: no more than there are clients.
pub(super) type Writers = HashMap<FileNameBuf, usize>;

impl Server {
    // Blocks.

    /// A client has sent a block.
    pub(super) fn on_block(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        id: usize,
        block: u16,
        payload: &[u8],
    ) {
        if !self.clients[id].is_retransmitting() {
            self.settle_for_older(now, io, id, block);
        }
        let Some(upload) = self.upload(id) else {
            return;
        };
        match upload.on_block(now, block, payload.len()) {
            Arrived::Next => self.store(now, io, id, payload),
            Arrived::Stray => self.schedule(now, id),
            Arrived::TooLong => self.break_off(now, io, id, Refusal::LongBlock),
        }
    }

    fn upload(&mut self, id: usize) -> Option<&mut Receiving> {
        self.served(id)?.transfer.upload()
    }

    fn store(&mut self, now: Moment, io: &mut impl Io, id: usize, payload: &[u8]) {
        if self.clients[id].is_unanswered() {
            if self.is_being_written(self.clients[id].name.as_name()) {
                self.break_off(now, io, id, Refusal::BeingWritten);
                return;
            }
            self.claim_name(id);
        }
        let stored = io.store(id, payload);
        let Some(upload) = self.upload(id) else {
            return;
        };
        let has_room = match stored {
            Ok(Room::ForWindow) => true,
            Ok(Room::Wanting) => false,
            Err(StoreError::Full) => {
                upload.not_stored();
                self.schedule(now, id);
                return;
            }
            Err(StoreError::Failed(refusal)) => {
                self.break_off(now, io, id, refusal);
                return;
            }
        };
        let progress = upload.stored(now, payload.len(), has_room);
        let is_received = upload.has_ended();
        self.keepalive
            .sent(now, payload.len() as u64 + PACKET_OVERHEAD);
        self.progressed(now, io, id, progress);
        if is_received && self.served(id).is_some() {
            if matches!(
                self.clients[id].stage,
                Stage::Held { .. } | Stage::Running { .. }
            ) {
                self.release_slot(now, id);
            }
            io.finish(id);
        }
    }

    /// There is room for one window more of what `client` sends, where [`Io::store`] had none.
    pub fn on_room(&mut self, now: Moment, client: usize) {
        if let Some(upload) = self.upload(client) {
            upload.on_room(now);
            self.schedule(now, client);
        }
    }

    /// The upload of `client` is safe on the disk, or it failed, at whatever time.
    pub fn on_stored(
        &mut self,
        now: Moment,
        io: &mut impl Io,
        client: usize,
        stored: Result<(), Refusal>,
    ) {
        let Some(upload) = self.upload(client) else {
            return;
        };
        match stored {
            Err(refusal) => self.break_off(now, io, client, refusal),
            Ok(()) => {
                upload.on_safe(now);
                self.dally(now, io, client);
            }
        }
    }

    /// A file is on the disk, which is all that there is to report. The last ACK goes out, and again for one who did
    /// not hear it; without room for that, once.
    fn dally(&mut self, now: Moment, io: &mut impl Io, id: usize) {
        let client = &self.clients[id];
        let outcome = Outcome::Complete;
        self.stats.count_end(outcome, true);
        io.report(Event::Ended(client.report(now, outcome)));
        let may = self.may_hold_one_more() || self.may_finish_one_more();
        self.change(now, id, |client| client.stage = Stage::Dallying);
        let client = &self.clients[id];
        self.writers.remove(&client.name);
        if may {
            return;
        }
        if client.output != Output::Full
            && let Some(datagrams) = client.transfer().and_then(|it| it.datagrams(1))
        {
            let _ = io.send(id, datagrams);
        }
        self.end(now, io, id, outcome);
    }

    /// Ends a transfer with an ERROR, which is a courtesy: it is over whether that leaves or not.
    pub(super) fn break_off(&mut self, now: Moment, io: &mut impl Io, id: usize, refusal: Refusal) {
        if self.clients[id].output != Output::Full {
            let _ = io.send(id, Datagrams::Error(refusal));
        }
        self.end(now, io, id, Outcome::Refused(refusal));
    }

    // Names.

    /// A client that has sent a block writes the file of this name.
    pub(super) fn is_being_written(&self, name: FileName<'_>) -> bool {
        let writer = self.writer_of(name);
        writer.is_some_and(|id| !self.clients[id].is_unanswered())
    }

    fn writer_of(&self, name: FileName<'_>) -> Option<usize> {
        self.writers.get(name.as_bytes()).copied()
    }

    /// The client of the same host that asked to write the same file from another port, and has sent no block: Cisco
    /// routers repeat their request so.
    pub(super) fn upload_superseded_by(&self, opening: Opening<'_>) -> Option<usize> {
        let id = self.writer_of(opening.name)?;
        let client = &self.clients[id];
        (client.is_unanswered() && host_of(client.peer) == host_of(opening.peer)).then_some(id)
    }

    pub(super) fn claim_name(&mut self, id: usize) {
        let name = self.clients[id].name.clone();
        self.writers.insert(name, id);
    }

    /// The client with this number is gone.
    pub(super) fn release_name(&mut self, id: usize, client: &Client) {
        if self.writers.get(&client.name) == Some(&id) {
            self.writers.remove(&client.name);
        }
    }
}
