//! When a transfer acts, whichever way its file goes: how long an answer is waited for, how often in vain, and
//! when patience ends. It knows no blocks.

use std::time::Duration;

use super::retransmit::Retransmit;
use crate::moment::Moment;

/// The times of one transfer.
#[derive(Clone, Debug)]
pub struct Timing {
    retransmit: Retransmit,
    /// Timeouts since the last progress.
    timeouts: u8,
    patience: Duration,
    /// When the client last made progress; at first, when the transfer began.
    progress_at: Moment,
    /// When the client last made progress, or was sent what it had been kept waiting for.
    patient_from: Moment,
    /// When the last packet left.
    sent_at: Option<Moment>,
    /// When the first packet of the current window left, if none of it was repeated (Karn's rule).
    timed_from: Option<Moment>,
    /// When something of the current window first left, repeated or not.
    window_from: Option<Moment>,
    /// Something was sent again since the last progress.
    is_repeated: bool,
    /// When to send again what is not acknowledged.
    retransmit_at: Option<Moment>,
}

/// What an answer acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    /// How many blocks, at least 1.
    pub(super) blocks: u64,
    /// All that was out.
    pub(super) is_whole: bool,
    /// It tells little of what a block takes: an OACK travels alone.
    pub(super) is_guess: bool,
}

impl Timing {
    pub(super) fn new(now: Moment, patience: Duration) -> Timing {
        Timing {
            retransmit: Retransmit::default(),
            timeouts: 0,
            patience,
            progress_at: now,
            patient_from: now,
            sent_at: None,
            timed_from: None,
            window_from: None,
            is_repeated: false,
            retransmit_at: None,
        }
    }

    // What happened.

    /// Packets left; `begins` if they are the first of a window, and none of them left before.
    pub(super) fn sent(&mut self, now: Moment, begins: bool) {
        if begins && self.timeouts == 0 {
            self.timed_from = Some(now);
        }
        self.window_from.get_or_insert(now);
        self.sent_at = Some(now);
    }

    /// What is out is sent again in `after` unless an answer comes.
    pub(super) fn retransmit_after(&mut self, now: Moment, after: Duration) {
        self.retransmit_at = Some(now + after);
    }

    /// What is out goes out again.
    pub(super) fn repeat(&mut self) {
        self.timed_from = None;
        self.is_repeated = true;
    }

    /// The client made progress.
    pub(super) fn on_progress(&mut self, now: Moment, answered: Answered) {
        let Answered {
            blocks,
            is_whole,
            is_guess,
        } = answered;
        if let Some(from) = self.window_from.take() {
            let after = now.since(from);
            self.retransmit.acknowledged(after, blocks, is_guess);
        }
        if let Some(from) = self.timed_from.take()
            && is_whole
        {
            self.retransmit.sample(now.since(from));
        }
        if std::mem::take(&mut self.is_repeated)
            && let Some(sent_at) = self.sent_at
        {
            self.retransmit.repeat_answered(now.since(sent_at));
        }
        self.heard(now);
    }

    /// The client is there, and the window is not complete.
    pub(super) fn heard(&mut self, now: Moment) {
        self.retransmit.restart();
        self.timeouts = 0;
        self.progress_at = now;
        self.patient_from = now;
        self.retransmit_at = None;
    }

    /// No answer came in time. Returns how often in a row that is.
    pub(super) fn on_timeout(&mut self) -> u8 {
        self.timeouts = self.timeouts.saturating_add(1);
        self.timeouts
    }

    /// It is tried again, and the next answer has more time.
    pub(super) fn back_off(&mut self) {
        self.retransmit.back_off();
        self.retransmit_at = None;
    }

    /// The client had to wait for us until now: that was no silence of its own.
    pub(super) fn was_kept_waiting(&mut self, now: Moment) {
        self.patient_from = now;
    }

    // What follows from it.

    /// Something was sent again since the last progress.
    pub(super) fn is_repeated(&self) -> bool {
        self.is_repeated
    }

    /// When to send again what is not acknowledged; `None` if nothing is out.
    pub(super) fn retransmit_at(&self) -> Option<Moment> {
        self.retransmit_at
    }

    /// How long to wait for an answer to what leaves now; never longer than `agreed`, the `timeout` option.
    pub(super) fn rto(&self, agreed: impl FnOnce() -> Option<Duration>) -> Duration {
        self.retransmit.rto(agreed)
    }

    /// The smoothed round trip, once one was measured.
    pub fn srtt(&self) -> Option<Duration> {
        self.retransmit.srtt()
    }

    /// When it is given up unless the client makes progress.
    pub fn give_up_at(&self) -> Moment {
        self.patient_from + self.patience
    }

    /// When the client last made progress, or was sent what it had been kept waiting for.
    pub(super) fn patient_from(&self) -> Moment {
        self.patient_from
    }

    /// Timeouts since the client last made progress.
    pub fn timeouts(&self) -> u8 {
        self.timeouts
    }

    /// When the client last made progress; the beginning of the transfer if it has made none.
    pub fn progress_at(&self) -> Moment {
        self.progress_at
    }

    /// When the last packet left; `None` before the first.
    pub fn sent_at(&self) -> Option<Moment> {
        self.sent_at
    }

    /// How long after the client repeats its request an ACK may show that the network copied the request.
    pub fn ack_due_within(&self) -> Duration {
        self.srtt().map_or(ACK_DUE_MAX, |srtt| {
            (2 * srtt).clamp(ACK_DUE_MIN, ACK_DUE_MAX)
        })
    }

    /// How long the client usually takes to acknowledge what it was sent, for each block of it, whether or not
    /// it had to be sent again; `None` until it has acknowledged something.
    pub fn time_per_block(&self) -> Option<Duration> {
        self.retransmit.time_per_block()
    }

    /// When the client is overdue, if it has its slot since `since`, and its slot lies idle: well before the packet is
    /// sent again, since a slot can be given away and taken back for nothing.
    pub fn overdue_at(&self, since: Moment) -> Moment {
        let overdue = self.retransmit.usual().map(|usual| OVERDUE_FACTOR * usual);
        let after = overdue.map_or(OVERDUE_MAX, |overdue| {
            overdue.clamp(OVERDUE_MIN, OVERDUE_MAX)
        });
        self.progress_at.max(since) + after
    }

    /// Whatever is usual, a timeout, an idle slot or the end of patience, is not due before.
    pub(super) fn quiet_until(&self) -> Moment {
        self.progress_at + OVERDUE_MIN
    }

    pub(super) fn audit(&self) {
        let timed_from = self.timed_from.unwrap_or(Moment::START);
        assert!(self.sent_at.is_none_or(|at| at >= timed_from));
    }
}

/// Bounds of the time in which an ACK of what is on its way may show that a request was a copy. The network
/// makes copies within 10 ms; a client that has begun anew waits for its answer.
const ACK_DUE_MIN: Duration = Duration::from_millis(10);
const ACK_DUE_MAX: Duration = Duration::from_millis(50);

/// Bounds of the time after which a client that makes no progress has lost a packet rather than been
/// slow.
const OVERDUE_FACTOR: u32 = 4;
const OVERDUE_MIN: Duration = Duration::from_millis(5);
const OVERDUE_MAX: Duration = Duration::from_secs(1);
