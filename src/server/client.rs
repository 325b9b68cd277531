//! One client of the server, from its request to its end.
//!
//! Each stage holds just what belongs to it. A client waits, or is served; one that is served runs (it
//! holds a slot) or finishes: everything was sent, only the last ACK is missing, and the slot has been
//! given back.

use crate::moment::Moment;
use crate::name::FileNameBuf;
use crate::transfer::{Outcome, Transfer, Wanted};
use crate::wire::{Mode, Peer};

use super::pending::Waiting;
use super::{Local, Report};

/// A client and its request.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) peer: Peer,
    pub(super) local: Local,
    pub(super) name: FileNameBuf,
    pub(super) mode: Mode,
    pub(super) wanted: Wanted,
    pub(super) arrived_at: Moment,
    pub(super) stage: Stage,
    /// Its current entry in the wheel.
    pub(super) timer: Option<Timer>,
    /// It stands in the list of those who may have something to send.
    pub(super) is_ready: bool,
    /// Its socket takes no more for now.
    pub(super) is_blocked: bool,
}

/// Where a client is on its way.
#[derive(Debug)]
pub(super) enum Stage {
    /// Waits; it was sent nothing.
    Pending(Waiting),
    /// Has an open file and a socket.
    Served(Box<Served>),
}

/// A client that is being served.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) transfer: Transfer,
    pub(super) since: Moment,
    pub(super) phase: Phase,
}

/// What a served client holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// A slot.
    Running,
    /// No slot: everything was sent.
    Finishing,
}

/// A client's current entry in the wheel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    pub(super) serial: u64,
    pub(super) comes_up: Moment,
}

impl Client {
    /// The transfer, once there is one.
    pub(super) fn transfer(&self) -> Option<&Transfer> {
        match &self.stage {
            Stage::Pending(_) => None,
            Stage::Served(served) => Some(&served.transfer),
        }
    }

    /// The transfer, to be told something.
    pub(super) fn transfer_mut(&mut self) -> Option<&mut Transfer> {
        match &mut self.stage {
            Stage::Pending(_) => None,
            Stage::Served(served) => Some(&mut served.transfer),
        }
    }

    /// When something is to be done for it if nothing comes.
    pub(super) fn deadline(&self) -> Moment {
        match &self.stage {
            Stage::Pending(waiting) => waiting.expires_at(),
            Stage::Served(served) => served.transfer.deadline(),
        }
    }

    /// What the log says about it at its end.
    pub(super) fn report(&self, now: Moment, outcome: Outcome) -> Report<'_> {
        let served = match &self.stage {
            Stage::Pending(_) => None,
            Stage::Served(served) => Some(served),
        };
        let transfer = served.map(|served| &served.transfer);
        let bytes = match outcome {
            Outcome::CompleteUnconfirmed => transfer.and_then(Transfer::length).unwrap_or(0),
            _ => transfer.map_or(0, Transfer::acknowledged_bytes),
        };
        Report {
            peer: self.peer,
            name: self.name.as_name(),
            outcome,
            bytes,
            pending: served
                .map_or(now, |served| served.since)
                .since(self.arrived_at),
            running: served
                .map(|served| now.since(served.since))
                .unwrap_or_default(),
            negotiated: transfer.map(Transfer::negotiated),
            retransmissions: transfer.map_or(0, Transfer::retransmissions),
        }
    }
}
