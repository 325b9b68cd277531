//! One client of the server, from its request to its end.
//!
//! Each stage holds just what belongs to it. A client is *pending* (waits, was sent nothing) or served: it
//! is *held* (waits, and is sent a block now and then), *running* (has a slot), *lent* (is far away, and goes
//! on without one), *finishing* (was sent everything, only the last ACK is missing; or has sent everything, which is
//! brought to the disk), *dallying* (has sent everything, and may ask for the last ACK again) or *overtaken* (its client
//! asked again). `Server::change` alone moves it from one to another.

use std::time::Duration;

use crate::moment::Moment;
use crate::name::{self, FileNameBuf};
use crate::transfer::options::BLKSIZE_DEFAULT;
use crate::transfer::{Outcome, Transfer, Wanted};
use crate::wire::{DataHeader, Direction, Mode, Peer};

use super::congestion::Share;
use super::hosts::Wait;
use super::pending::{Place, Waiting};
use super::{Local, Opening, REPLY_MAX, Report};

/// A client and its request.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) peer: Peer,
    pub(super) local: Local,
    pub(super) name: FileNameBuf,
    /// The name as it was asked for, if it is another. Two requests with the same one are for the same file.
    pub(super) asked: Option<Box<[u8]>>,
    pub(super) mode: Mode,
    /// Whether it wants to read the file, or to write it.
    pub(super) direction: Direction,
    pub(super) arrived_at: Moment,
    /// Where it stands whenever it waits.
    pub(super) place: Place,
    pub(super) stage: Stage,
    /// Its transfer, unless it is pending.
    pub(super) served: Option<Box<Served>>,
    pub(super) output: Output,
    /// When its current entry in the wheel comes up.
    pub(super) timer: Option<Moment>,
}

/// Where a client is on its way.
#[derive(Debug)]
pub(super) enum Stage {
    /// Waits, and was sent nothing.
    Pending(Box<Waiting>),
    /// Waits, and is kept alive by a trickle, a block every 1 to 4 s: the next goes out at `trickle_at`. While it does not
    /// answer it stands in no line.
    Held { trickle_at: Moment, in_line: bool },
    /// Has a slot, which lies idle if it has made no progress for longer than usual, or is far away.
    Running { is_idle: bool },
    /// No slot, since it is far away and others wait; it is sent what it may be sent all the same.
    Lent,
    /// No slot: everything was sent, or received.
    Finishing,
    /// No slot: its upload is on the disk, and was reported. The last ACK is repeated for one who did not hear it.
    Dallying,
    /// Neither slot nor place: its machine asked again from the same port, and the client with number `by` answers that.
    Overtaken { by: usize, trickle_at: Moment },
}

/// What becomes of what a client may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Output {
    /// Nothing is to be sent now.
    Idle,
    /// It has a turn to send.
    Ready,
    /// Its socket takes no more for now.
    Full,
    /// Its file has no bytes in memory, and is asked again at `again_at`.
    Absent { again_at: Moment },
}

/// A client that is being served.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) transfer: Transfer,
    began_at: Moment,
    /// When its stage began, and how long it was held before.
    since: Moment,
    held: Duration,
    /// The number of first packets that were taken from the bucket of its network for it.
    pub(super) first_packets_taken: u8,
    /// What its repeats have counted in `congestion`.
    pub(super) congestion_share: Share,
    pub(super) again: Again,
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

impl Stage {
    /// Has got a slot.
    pub(super) const RUNNING: Stage = Stage::Running { is_idle: false };

    /// Waits in no line until it answers; its next block goes out at `trickle_at`.
    pub(super) fn silent(trickle_at: Moment) -> Stage {
        Stage::Held {
            trickle_at,
            in_line: false,
        }
    }

    /// The stage for a second transfer of its client, or for the first again.
    pub(super) fn afresh(&self, trickle_at: Moment, in_line: bool) -> Stage {
        match self {
            Stage::Running { .. } => Stage::RUNNING,
            Stage::Lent => Stage::Lent,
            Stage::Finishing | Stage::Dallying => Stage::Finishing,
            Stage::Pending(_) | Stage::Held { .. } | Stage::Overtaken { .. } => Stage::Held {
                trickle_at,
                in_line,
            },
        }
    }

    /// Where it stands if it waits.
    pub(super) fn wait(&self) -> Option<Wait> {
        match self {
            Stage::Pending(waiting) if waiting.aside_until.is_some() => Some(Wait::Aside),
            Stage::Held { in_line: false, .. } => Some(Wait::Silent),
            Stage::Pending(_) | Stage::Held { .. } => Some(Wait::Queued),
            Stage::Running { .. }
            | Stage::Lent
            | Stage::Finishing
            | Stage::Dallying
            | Stage::Overtaken { .. } => None,
        }
    }

    /// It stands in line for a slot.
    pub(super) fn is_in_line(&self) -> bool {
        self.wait() == Some(Wait::Queued)
    }

    pub(super) fn is_held(&self) -> bool {
        matches!(self, Stage::Held { .. })
    }
}

impl Served {
    pub(super) fn new(now: Moment, transfer: Transfer, again: Again) -> Served {
        Served {
            transfer,
            began_at: now,
            since: now,
            held: Duration::ZERO,
            first_packets_taken: 0,
            congestion_share: Share::default(),
            again,
        }
    }

    /// A stage ends; it was that of being held, or not.
    pub(super) fn end_stage(&mut self, now: Moment, was_held: bool) {
        if was_held && self.waits_for_us() {
            self.transfer.was_kept_waiting(now);
        }
        (self.held, _) = self.times(now, was_held);
        self.since = now;
    }

    /// Time held and time running so far.
    pub(super) fn times(&self, now: Moment, is_held: bool) -> (Duration, Duration) {
        let held = match is_held {
            true => self.held + now.since(self.since),
            false => self.held,
        };
        (held, now.since(self.began_at).saturating_sub(held))
    }

    /// It is answered and did what it could: the next block is ours to send.
    fn waits_for_us(&self) -> bool {
        self.transfer.is_answered() && self.transfer.has_nothing_out()
    }

    /// It has answered nothing for longer than it usually needs.
    pub(super) fn is_overdue(&self, now: Moment) -> bool {
        let timing = self.transfer.timing();
        timing.overdue_at(self.since) <= now || timing.timeouts() > 0
    }
}

impl Client {
    /// A client that has just asked.
    pub(super) fn new(
        opening: Opening<'_>,
        arrived_at: Moment,
        place: Place,
        waiting: Waiting,
    ) -> Client {
        let Opening { asked, name, .. } = opening;
        Client {
            peer: opening.peer,
            local: opening.local,
            name: name.to_owned(),
            asked: (asked != name.as_bytes()).then(|| asked.into()),
            mode: opening.mode,
            direction: opening.direction,
            arrived_at,
            place,
            stage: Stage::Pending(Box::new(waiting)),
            served: None,
            output: Output::Idle,
            timer: None,
        }
    }

    /// It wants to read, or to write, the file of that name, as it was asked for.
    pub(super) fn asks_for(&self, direction: Direction, asked: &[u8]) -> bool {
        self.direction == direction && name::are_same(self.asked(), asked)
    }

    pub(super) fn served(&self) -> Option<&Served> {
        self.served.as_deref()
    }

    /// The name as it was asked for.
    pub(super) fn asked(&self) -> &[u8] {
        self.asked
            .as_deref()
            .unwrap_or(self.name.as_name().as_bytes())
    }

    /// The transfer, once there is one.
    pub(super) fn transfer(&self) -> Option<&Transfer> {
        self.served().map(|served| &served.transfer)
    }

    /// What an equal request has led to, once it is served.
    pub(super) fn again(&self) -> Again {
        self.served().map_or(Again::No, |served| served.again)
    }

    /// What is to be opened for it.
    pub(super) fn opening(&self) -> Opening<'_> {
        Opening {
            peer: self.peer,
            local: self.local,
            asked: self.asked(),
            name: self.name.as_name(),
            direction: self.direction,
            mode: self.mode,
            wanted: self.wanted(),
        }
    }

    /// Bytes that are read of what it answers, once it is served: one more than a block has shows one that is too long.
    pub(super) fn reply_max(&self) -> Option<usize> {
        let blksize = self.transfer()?.negotiated().blksize;
        Some(match self.direction {
            Direction::Read => REPLY_MAX,
            Direction::Write => DataHeader::LENGTH + usize::from(blksize) + 1,
        })
    }

    /// In lockstep all that was out is answered: whatever else its socket holds has time until the next datagram comes,
    /// or a deadline. In a window that may be a wish to begin anew, which is void once more has left.
    pub(super) fn has_caught_up(&self) -> bool {
        let transfer = self.transfer();
        transfer.is_some_and(|it| it.negotiated().windowsize == 1 && it.has_nothing_out())
    }

    /// The options that it asked for.
    pub(super) fn wanted(&self) -> Wanted {
        match (&self.stage, self.transfer()) {
            (Stage::Pending(waiting), _) => waiting.wanted,
            (_, transfer) => transfer.map_or(Wanted::default(), |it| *it.negotiated().wanted()),
        }
    }

    /// It has a slot, or had one and is neither a repeat nor on the disk: it may finish when the server stops.
    pub(super) fn goes_on_while_stopping(&self) -> bool {
        match self.stage {
            Stage::Held { .. } => self
                .served()
                .is_some_and(|served| served.since > served.began_at + served.held),
            Stage::Running { .. } | Stage::Lent | Stage::Finishing => true,
            Stage::Pending(_) | Stage::Dallying | Stage::Overtaken { .. } => false,
        }
    }

    /// What is not acknowledged goes out again by its timer.
    pub(super) fn is_retransmitting(&self) -> bool {
        let is_overtaken = matches!(self.stage, Stage::Overtaken { .. });
        !is_overtaken && !matches!(self.again(), Again::Asked { .. })
    }

    /// It is held and did what it could: the next block is ours to send, when its time comes.
    pub(super) fn is_kept_waiting(&self) -> bool {
        self.stage.is_held() && self.served().is_some_and(Served::waits_for_us)
    }

    /// When it may be sent something new, if that is not at once.
    pub(super) fn trickle_at(&self) -> Option<Moment> {
        match self.stage {
            Stage::Held { trickle_at, .. } | Stage::Overtaken { trickle_at, .. } => {
                Some(trickle_at)
            }
            Stage::Pending(_)
            | Stage::Running { .. }
            | Stage::Lent
            | Stage::Finishing
            | Stage::Dallying => None,
        }
    }

    /// Something goes out when this client is asked now.
    pub(super) fn has_to_send(&self, now: Moment) -> bool {
        let Some(transfer) = self.transfer() else {
            return false;
        };
        // Only what the timer repeats, and the rest of a window, goes out of turn: a client that asks again and
        // again must not get more than its share.
        let must_wait = self.trickle_at().is_some_and(|at| now < at)
            && transfer.is_answered()
            && !transfer.is_out_of_turn();
        !must_wait && transfer.datagrams(1).is_some()
    }

    /// When something is to be done for it if nothing comes; `reclaims`: an idle slot is noted.
    pub(super) fn deadline(&self, reclaims: bool) -> Moment {
        let served = match (&self.stage, self.served()) {
            (Stage::Pending(waiting), _) => return waiting.deadline(),
            (_, Some(served)) => served,
            (_, None) => unreachable!("only who is pending has no transfer"),
        };
        let answer_at = match served.again {
            Again::Asked { answer_at } => Some(answer_at),
            Again::No | Again::Answers { .. } => None,
        };
        let (will_send, again_at) = match self.output {
            Output::Idle => (false, None),
            Output::Ready | Output::Full => (true, None),
            Output::Absent { again_at } => (true, Some(again_at)),
        };
        let trickle_at = self
            .trickle_at()
            .filter(|_| !will_send && served.transfer.datagrams(1).is_some());
        // Who is kept waiting cannot be late, and a slot is not idle while an answer is awaited.
        let transfer_at = match trickle_at.is_some() && self.is_kept_waiting() {
            true => None,
            false => Some(self.transfer_deadline(served)),
        };
        let idle_at = match reclaims && answer_at.is_none() {
            true => self.idle_at(),
            false => None,
        };
        let first = Moment::first_of([answer_at, again_at, trickle_at, transfer_at, idle_at]);
        first.expect("a transfer has a deadline or waits for its block")
    }

    /// When its transfer has to do something about silence.
    pub(super) fn transfer_deadline(&self, served: &Served) -> Moment {
        match self.is_retransmitting() {
            true => served.transfer.deadline(),
            false => served.transfer.silent_deadline(),
        }
    }

    /// When its slot lies idle unless it makes progress; `None` if it has none, or was found to lie idle. One that
    /// is far away has nothing to do but to wait as soon as it was sent something.
    pub(super) fn idle_at(&self) -> Option<Moment> {
        let served = self.served()?;
        if !matches!(self.stage, Stage::Running { is_idle: false }) {
            return None;
        }
        Some(match self.place.is_far {
            true => served.transfer.timing().progress_at().max(served.since) + FAR_AFTER,
            false => served.transfer.timing().overdue_at(served.since),
        })
    }

    /// When it was last known to be alive.
    pub(super) fn heard_at(&self) -> Moment {
        match (&self.stage, self.transfer()) {
            (Stage::Pending(waiting), _) => waiting.heard_at,
            (_, transfer) => transfer.map_or(self.arrived_at, |it| it.timing().progress_at()),
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
        let transfer = self
            .transfer()
            .filter(|_| self.direction == Direction::Read)?;
        let have_arrived = transfer.acknowledged_bytes() > 0;
        let may_be_lost = self.is_retransmitting() && !transfer.has_nothing_out();
        let are_large = transfer.negotiated().blksize > BLKSIZE_DEFAULT;
        (are_large && (have_arrived || may_be_lost))
            .then(|| (have_arrived, transfer.timing().progress_at()))
    }

    /// What the log says about it at its end.
    pub(super) fn report(&self, now: Moment, outcome: Outcome) -> Report<'_> {
        let served = self.served();
        let transfer = self.transfer();
        let bytes = match outcome {
            Outcome::CompleteUnconfirmed => transfer.and_then(Transfer::length).unwrap_or(0),
            _ => transfer.map_or(0, Transfer::acknowledged_bytes),
        };
        let times = served.map(|served| served.times(now, self.stage.is_held()));
        let (held, running) = times.unwrap_or_default();
        let served_from = served.map_or(now, |served| served.began_at);
        Report {
            peer: self.peer,
            asked: self.asked(),
            name: self.name.as_name(),
            direction: self.direction,
            outcome,
            was_answered: !self.is_unanswered(),
            bytes,
            pending: served_from.since(self.arrived_at),
            held,
            running,
            negotiated: transfer.map(Transfer::negotiated),
            retransmissions: transfer.map_or(0, Transfer::retransmissions),
            length: transfer.and_then(Transfer::length),
            round_trip: transfer.and_then(|transfer| transfer.timing().srtt()),
        }
    }
}

/// Just later than what it was sent.
const FAR_AFTER: Duration = Duration::from_micros(1);
