//! One client of the server, from its request to its end.
//!
//! Each stage holds just what belongs to it. A client is *pending* (waits, was sent nothing) or served;
//! one that is served is *held* (waits, and is fed a block now and then), *running* (has a slot) or
//! *finishing* (was sent everything, only the last ACK is missing).

use std::num::NonZero;
use std::time::Duration;

use crate::moment::Moment;
use crate::name::FileNameBuf;
use crate::transfer::options::BLKSIZE_DEFAULT;
use crate::transfer::{Outcome, Transfer, Wanted};
use crate::wire::{Mode, Peer};

use super::congestion::Share;
use super::pending::{Place, Waiting};
use super::{Local, Report};

/// A client and its request.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) peer: Peer,
    pub(super) local: Local,
    pub(super) name: FileNameBuf,
    pub(super) mode: Mode,
    pub(super) arrived_at: Moment,
    /// Where it stands whenever it waits.
    pub(super) place: Place,
    pub(super) is_queued: bool,
    pub(super) stage: Stage,
    /// Its current entry in the wheel.
    pub(super) timer: Option<Timer>,
    /// It stands in the list of those who may have something to send.
    pub(super) is_ready: bool,
    /// Its socket takes no more for now, or its file has no bytes.
    pub(super) is_blocked: bool,
    /// When the file is asked again.
    pub(super) try_again_at: Option<Moment>,
}

/// Where a client is on its way.
#[derive(Debug)]
pub(super) enum Stage {
    /// Waits; it was sent nothing.
    Pending(Box<Waiting>),
    /// Has an open file and a socket.
    Served(Box<Served>),
}

/// A client that is being served.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) transfer: Transfer,
    pub(super) phase: Phase,
    began_at: Moment,
    /// When the phase began, and how long it was held before.
    since: Moment,
    held: Duration,
    /// Held: when it is fed next.
    pub(super) feed_at: Moment,
    /// So many first packets were taken from the bucket of its network for it.
    pub(super) first_packets_taken: u8,
    /// What its repeats counted for the windows of others.
    pub(super) congestion_share: Share,
    pub(super) again: Again,
    /// Running: when its slot was last found to lie idle.
    idle_from: Option<Moment>,
}

/// What a served client holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// No slot: it is kept alive.
    Held,
    /// A slot.
    Running,
    /// No slot, since it is far away and others wait; it is sent what it may be sent all the same.
    Lent,
    /// No slot: everything was sent.
    Finishing,
    /// Neither slot nor place: the client asked again, and the client with this number answers it.
    Overtaken { by: usize },
}

/// What an equal request has led to that came after the client had acknowledged something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Again {
    /// There was none, or it was a copy.
    No,
    /// It is answered then, unless an ACK comes first.
    Asked { answer_at: Moment },
    /// This transfer answers it; the older one is there, overtaken.
    Answers { older: usize },
}

/// A client's current entry in the wheel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    pub(super) serial: NonZero<u64>,
    pub(super) comes_up: Moment,
}

impl Served {
    pub(super) fn new(now: Moment, transfer: Transfer, phase: Phase) -> Served {
        Served {
            transfer,
            phase,
            began_at: now,
            since: now,
            held: Duration::ZERO,
            feed_at: now,
            first_packets_taken: 0,
            congestion_share: Share::default(),
            again: Again::No,
            idle_from: None,
        }
    }

    pub(super) fn enter(&mut self, now: Moment, phase: Phase) {
        (self.held, _) = self.times(now);
        self.since = now;
        self.phase = phase;
    }

    /// Time held and time running so far.
    fn times(&self, now: Moment) -> (Duration, Duration) {
        let held = match self.phase {
            Phase::Held => self.held + now.since(self.since),
            Phase::Running | Phase::Lent | Phase::Finishing | Phase::Overtaken { .. } => self.held,
        };
        (held, now.since(self.began_at).saturating_sub(held))
    }

    /// It had a slot at some time.
    pub(super) fn has_run(&self) -> bool {
        match self.phase {
            Phase::Held => self.since > self.began_at + self.held,
            Phase::Running | Phase::Lent | Phase::Finishing => true,
            Phase::Overtaken { .. } => false,
        }
    }

    /// It is held and did what it could: the next block is ours to send, when its time comes.
    pub(super) fn is_kept_waiting(&self) -> bool {
        self.phase == Phase::Held && self.transfer.is_answered() && self.transfer.has_nothing_out()
    }

    /// Something goes out when this client is asked now.
    pub(super) fn has_to_send(&self, now: Moment) -> bool {
        // Only what the timer repeats, and the rest of a window, goes out of turn: a client that asks again and
        // again must not get more than its share.
        let is_fed = matches!(self.phase, Phase::Held | Phase::Overtaken { .. })
            && self.transfer.is_answered()
            && self.transfer.timeouts() == 0
            && !self.transfer.is_within_window();
        let must_wait = is_fed && now < self.feed_at;
        !must_wait && self.transfer.datagrams(1).is_some()
    }

    /// When something is to be done if nothing comes; its slot may be found to lie idle at `is_lent_at`, and
    /// `will_send` says that it need not be reminded of what it may send.
    fn deadline(&self, is_lent_at: Option<Moment>, will_send: bool) -> Moment {
        let answer_at = match self.again {
            Again::Asked { answer_at } => Some(answer_at),
            Again::No | Again::Answers { .. } => None,
        };
        let deadline = answer_at.map_or(self.transfer_deadline(), |at| {
            at.min(self.transfer_deadline())
        });
        let is_to_be_fed = !will_send && self.transfer.datagrams(1).is_some();
        match self.phase {
            Phase::Held if !will_send && self.is_kept_waiting() => {
                answer_at.map_or(self.feed_at, |at| at.min(self.feed_at))
            }
            Phase::Held | Phase::Overtaken { .. } if is_to_be_fed => deadline.min(self.feed_at),
            // A slot is not found idle while an answer is awaited.
            Phase::Running if answer_at.is_some() => deadline,
            Phase::Held
            | Phase::Running
            | Phase::Lent
            | Phase::Finishing
            | Phase::Overtaken { .. } => is_lent_at.map_or(deadline, |at| at.min(deadline)),
        }
    }

    /// When its transfer is to be told that nothing came.
    pub(super) fn transfer_deadline(&self) -> Moment {
        match self.is_repeating() {
            true => self.transfer.deadline(),
            false => self.transfer.silent_deadline(),
        }
    }

    /// Its slot was found to lie idle, and it made no progress since; or it is far away.
    fn is_idle(&self, is_far: bool) -> bool {
        let last = self.transfer.progress_at().max(self.since);
        let is_idle = |from| last < from || is_far && self.since < from;
        self.phase == Phase::Running && self.idle_from.is_some_and(is_idle)
    }

    /// Its slot is found to lie idle.
    pub(super) fn mark_idle(&mut self, now: Moment) {
        self.idle_from = Some(now);
    }

    /// It has answered nothing for longer than it usually needs.
    pub(super) fn is_overdue(&self, now: Moment) -> bool {
        self.overdue_at() <= now || self.transfer.timeouts() > 0
    }

    fn overdue_at(&self) -> Moment {
        self.transfer.progress_at().max(self.since) + self.transfer.overdue_after()
    }
}

impl Client {
    pub(super) fn served(&self) -> Option<&Served> {
        match &self.stage {
            Stage::Pending(_) => None,
            Stage::Served(served) => Some(served),
        }
    }

    pub(super) fn served_mut(&mut self) -> Option<&mut Served> {
        match &mut self.stage {
            Stage::Pending(_) => None,
            Stage::Served(served) => Some(served),
        }
    }

    /// What an equal request has led to, once it is served.
    pub(super) fn again(&self) -> Option<Again> {
        self.served().map(|served| served.again)
    }

    /// The options that it asked for.
    pub(super) fn wanted(&self) -> &Wanted {
        match &self.stage {
            Stage::Pending(waiting) => &waiting.wanted,
            Stage::Served(served) => served.transfer.negotiated().wanted(),
        }
    }

    /// It waits for its file to be found, out of the line.
    pub(super) fn is_aside(&self) -> bool {
        match &self.stage {
            Stage::Pending(waiting) => waiting.aside_until.is_some(),
            Stage::Served(_) => false,
        }
    }

    /// The transfer, once there is one.
    pub(super) fn transfer(&self) -> Option<&Transfer> {
        self.served().map(|served| &served.transfer)
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        self.served().map(|served| served.phase)
    }

    /// It has a slot that lies idle.
    pub(super) fn has_idle_slot(&self) -> bool {
        let is_far = self.place.is_far;
        self.served().is_some_and(|served| served.is_idle(is_far))
    }

    /// When its slot lies idle unless it makes progress; `None` if it has none, or was found to lie idle. Whoever
    /// is far away has nothing to do but to wait as soon as it was sent something.
    pub(super) fn idle_at(&self) -> Option<Moment> {
        let served = self.served()?;
        if served.phase != Phase::Running || served.is_idle(self.place.is_far) {
            return None;
        }
        Some(match self.place.is_far {
            true => served.transfer.progress_at().max(served.since) + FAR_AFTER,
            false => served.overdue_at(),
        })
    }

    /// When it was last known to be alive.
    pub(super) fn heard_at(&self) -> Moment {
        match &self.stage {
            Stage::Pending(waiting) => waiting.heard_at(),
            Stage::Served(served) => served.transfer.progress_at(),
        }
    }

    /// It was sent nothing yet, or has not answered.
    pub(super) fn is_unanswered(&self) -> bool {
        self.transfer()
            .is_none_or(|transfer| !transfer.is_answered())
    }

    /// Whether blocks of more than 512 bytes arrived there, and when it last made progress; `None` if it was sent
    /// none, or asked again since.
    pub(super) fn large_blocks(&self) -> Option<(bool, Moment)> {
        let served = self.served()?;
        let transfer = &served.transfer;
        let have_arrived = transfer.acknowledged_bytes() > 0;
        let may_be_lost = served.is_repeating() && !transfer.has_nothing_out();
        let are_large = transfer.negotiated().blksize > BLKSIZE_DEFAULT;
        (are_large && (have_arrived || may_be_lost)).then(|| (have_arrived, transfer.progress_at()))
    }

    /// When something is to be done for it if nothing comes; `reclaims`: an idle slot is noted.
    pub(super) fn deadline(&self, reclaims: bool) -> Moment {
        match &self.stage {
            Stage::Pending(waiting) => waiting.deadline(),
            Stage::Served(served) => {
                let is_lent_at = self.idle_at().filter(|_| reclaims);
                let deadline = served.deadline(is_lent_at, self.is_ready || self.is_blocked);
                self.try_again_at.map_or(deadline, |at| at.min(deadline))
            }
        }
    }

    /// What the log says about it at its end.
    pub(super) fn report(&self, now: Moment, outcome: Outcome) -> Report<'_> {
        let served = self.served();
        let transfer = self.transfer();
        let bytes = match outcome {
            Outcome::CompleteUnconfirmed => transfer.and_then(Transfer::length).unwrap_or(0),
            _ => transfer.map_or(0, Transfer::acknowledged_bytes),
        };
        let was_answered = transfer.is_some_and(Transfer::is_answered);
        let (held, running) = served.map(|served| served.times(now)).unwrap_or_default();
        Report {
            peer: self.peer,
            name: self.name.as_name(),
            outcome,
            was_answered,
            bytes,
            pending: served
                .map_or(now, |served| served.began_at)
                .since(self.arrived_at),
            held,
            running,
            negotiated: transfer.map(Transfer::negotiated),
            retransmissions: transfer.map_or(0, Transfer::retransmissions),
        }
    }
}

/// Time enough to be sent something.
const FAR_AFTER: Duration = Duration::from_micros(1);
