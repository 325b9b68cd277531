//! One file to one client: what to send next, and what an ACK or a silence means.
//!
//! A [`Transfer`] is a value. It is asked what goes next and told when that left, which ACK came, and
//! when its deadline passed. It holds no file bytes, no socket and no clock, and never sends by itself.
//!
//! Blocks are counted from 1 in 64 bits and wrap only on the wire. The OACK is block 0, so a handshake
//! with options and one without differ in nothing but the number they begin with.
//!
//! Read `options` (what was agreed), `window` (which blocks may be out), `retransmit` (when to repeat),
//! `pacing` (for clients with small receive rings).

pub mod options;
mod pacing;
mod retransmit;
mod window;

use std::num::NonZero;
use std::time::Duration;

use crate::moment::Moment;
use crate::wire::Refusal;
pub use options::{Negotiated, Terms, Wanted};
use pacing::Pacing;
use retransmit::Retransmit;
use window::{Acknowledged, Window};

/// How a request ended. Every one ends exactly once, and the log says how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Every block was acknowledged.
    Complete,
    /// Everything but the last block was acknowledged, and the ACK of that one never came: several
    /// clients do not send it.
    CompleteUnconfirmed,
    /// ERROR 0 or 8 from the client: how firmware ends a size probe.
    Cancelled,
    /// Another ERROR from the client, with its code.
    ClientError(u16),
    /// The client closed its port (ICMP port unreachable).
    PortClosed,
    /// The first packet was sent [`OACK_SENDINGS`] or [`DATA_SENDINGS`] times without an answer.
    NoAnswer,
    /// The client made no progress for the time that the operator allows (`-t`).
    TimedOut,
    /// The client asked for the same file again, and answered the second transfer.
    Restarted,
    /// A copy of a request, made by the network: the client went on with its transfer.
    Duplicate,
    /// The client asked for something else from the same port.
    MovedOn,
    /// A request from another port of the same host took this one's place in the queue.
    Superseded,
    /// The client waited, and the queue was full of strangers of its network.
    CrowdedOut,
    /// The client fell silent while it waited.
    Expired,
    /// The file could not be opened, or could not be read to its end.
    Refused(Refusal),
    /// No socket towards the client could be made.
    Unreachable,
    /// The server was told to stop.
    ShutDown,
}

/// What a transfer wants after it was told something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Step {
    /// Nothing now: wait for the client or the deadline.
    Wait,
    /// There may be something to send: ask [`Transfer::datagrams`].
    Send,
    /// It is over.
    End(Outcome),
}

/// What an ACK brought about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Acked {
    /// What the transfer wants now.
    pub step: Step,
    /// What it moved on; `None` if the ACK was stale, or a duplicate.
    pub progress: Option<Progress>,
}

/// A client acknowledged something for the first time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// It is the first answer: the transfer is established.
    pub is_first: bool,
    /// It acknowledges the first blocks of the file.
    pub has_first_block: bool,
    /// Timeouts in a row before it.
    pub timeouts: u8,
}

/// What goes to a client next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Datagrams<'t> {
    /// The options granted.
    Oack(&'t Negotiated),
    /// One DATA packet for each of these blocks.
    Data(Blocks),
    /// An ERROR packet; the transfer ends with it.
    Error(Refusal),
}

/// A run of consecutive blocks. Where the file ends within it, the block that holds the end is shorter
/// than the others (perhaps empty) and those after it do not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocks {
    /// Number of the first, counted from 1.
    pub first: u64,
    /// How many, at least 1.
    pub count: u16,
    /// Bytes in each.
    pub blksize: u16,
    /// No block before this one will be asked for again.
    pub oldest: u64,
}

impl Blocks {
    /// Where `block` begins in the file, in bytes.
    pub fn offset(self, block: u64) -> u64 {
        (block - 1) * u64::from(self.blksize)
    }
}

/// What of some [`Datagrams`] left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Departed {
    /// How many packets.
    pub packets: u16,
    /// The length of the whole stream in bytes, where the last of them was its end.
    pub end: Option<u64>,
}

/// One file on its way to one client.
#[derive(Clone, Debug)]
pub struct Transfer {
    negotiated: Negotiated,
    /// Bytes in all; unknown for netascii until the end was sent.
    length: Option<u64>,
    window: Window,
    pacing: Pacing,
    retransmit: Retransmit,
    /// The client acknowledged something: the handshake is over.
    answered: bool,
    /// Timeouts since the last progress.
    timeouts: u8,
    /// Packets sent more than once.
    retransmissions: u64,
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
    /// When the window last began anew at the client's wish.
    rewound_at: Option<Moment>,
    /// When the first packet goes out again at the client's wish.
    first_again_at: Option<Moment>,
}

impl Transfer {
    /// A transfer of `length` bytes (none: not known before they are sent) on the terms of `negotiated`;
    /// it is given up after `patience` without progress.
    pub fn new(
        now: Moment,
        negotiated: Negotiated,
        length: Option<u64>,
        patience: Duration,
    ) -> Transfer {
        let first = if negotiated.has_oack() { 0 } else { 1 };
        let last = length.map(|length| last_block(length, negotiated.blksize));
        Transfer {
            window: Window::new(first, negotiated.windowsize, last),
            pacing: Pacing::default(),
            retransmit: Retransmit::default(),
            negotiated,
            length,
            answered: false,
            timeouts: 0,
            retransmissions: 0,
            patience,
            progress_at: now,
            patient_from: now,
            sent_at: None,
            timed_from: None,
            window_from: None,
            is_repeated: false,
            retransmit_at: None,
            rewound_at: None,
            first_again_at: None,
        }
    }

    /// What goes next, at most `most` packets of it; none while the client must speak first.
    pub fn datagrams(&self, most: u16) -> Option<Datagrams<'_>> {
        let room = u16::try_from(self.pacing.room()).unwrap_or(u16::MAX);
        let allowed = self.window.unsent(self.answered).min(room);
        if allowed == 0 {
            return None;
        }
        let first = self.window.next();
        if first == 0 {
            return Some(Datagrams::Oack(&self.negotiated));
        }
        Some(Datagrams::Data(Blocks {
            first,
            count: allowed.min(most),
            blksize: self.negotiated.blksize,
            oldest: self.window.base(),
        }))
    }

    /// Some of what [`Transfer::datagrams`] told has left. Returns how many packets of it had left before.
    pub fn sent(&mut self, now: Moment, departed: Departed) -> u64 {
        if self.window.is_at_base() && self.timeouts == 0 && self.window.is_fresh() {
            self.timed_from = Some(now);
        }
        self.window_from.get_or_insert(now);
        let repeated = self.window.advance(departed.packets);
        self.retransmissions += repeated;
        if let Some(length) = departed.end {
            self.length = Some(length);
            self.window
                .end_at(last_block(length, self.negotiated.blksize));
        }
        let goes_on = self.window.unsent(self.answered) > 0;
        self.pacing.sent(now, departed.packets.into(), goes_on);
        self.sent_at = Some(now);
        self.first_again_at = None;
        // A repeat of the first packet at the client's wish leaves the handshake's schedule alone, so
        // that a client which cannot hear us does not keep its slot by asking.
        if self.answered || self.retransmit_at.is_none() {
            self.retransmit_at = Some(now + self.rto());
        }
        repeated
    }

    /// The client acknowledged `block`, modulo 65,536.
    pub fn on_ack(&mut self, now: Moment, block: u16) -> Acked {
        let base = self.window.base();
        let acknowledged = self.window.acknowledge(block);
        let is_progress = matches!(acknowledged, Acknowledged::All | Acknowledged::Part);
        let progress = is_progress.then(|| Progress {
            is_first: !self.answered,
            has_first_block: base <= 1 && self.window.base() > 1,
            timeouts: self.timeouts,
        });
        let step = match acknowledged {
            Acknowledged::All => self.on_progress(now, base, true),
            Acknowledged::Part => self.on_progress(now, base, false),
            Acknowledged::Nothing => self.on_repeated_ack(now),
            Acknowledged::Stranger => Step::Wait,
        };
        Acked { step, progress }
    }

    /// All blocks from `base` to the window's new one were acknowledged.
    fn on_progress(&mut self, now: Moment, base: u64, whole_window: bool) -> Step {
        self.pacing.begin_anew();
        match (whole_window, self.is_repeated) {
            (true, false) => self.pacing.arrived(),
            (true, true) => {}
            (false, _) => self.pacing.lost_after(self.window.base() - base),
        }
        if let Some(from) = self.window_from.take() {
            let blocks = match base {
                // The OACK travels alone; it tells how long a window will take.
                0 => self.window.size().into(),
                _ => self.window.base() - base,
            };
            let is_guess = base == 0 && self.window.size() > 1;
            self.retransmit
                .acknowledged(now.since(from), blocks, is_guess);
        }
        if let Some(from) = self.timed_from.take()
            && whole_window
        {
            self.retransmit.sample(now.since(from));
        }
        if std::mem::take(&mut self.is_repeated)
            && let Some(sent_at) = self.sent_at
        {
            self.retransmit.repeat_answered(now.since(sent_at));
        }
        self.retransmit.restart();
        self.answered = true;
        self.timeouts = 0;
        self.progress_at = now;
        self.patient_from = now;
        self.retransmit_at = None;
        self.first_again_at = None;
        if self.window.is_complete() {
            return Step::End(Outcome::Complete);
        }
        if !whole_window && self.may_begin_anew(now, Duration::ZERO) {
            self.rewound_at = Some(now);
            return self.repeat();
        }
        if !self.window.is_at_base() {
            self.retransmit_at = Some(now + self.rto());
        }
        Step::Send
    }

    /// A window begins anew at the client's wish once per round trip: every packet that it did not expect
    /// draws the same ACK from it; and not sooner than after `guard`.
    fn may_begin_anew(&self, now: Moment, guard: Duration) -> bool {
        let guard = self.retransmit.srtt().unwrap_or(UNMEASURED).max(guard);
        self.rewound_at
            .is_none_or(|rewound_at| now.since(rewound_at) >= guard)
            && !self.window.follows_a_repeat()
    }

    /// The block before the outstanding one was acknowledged again.
    ///
    /// In lockstep this sends again only what is long overdue: answering each duplicate ACK with data
    /// would double every packet from then on (the Sorcerer's Apprentice, RFC 1123 section 4.2.3.1).
    /// With a window it means "start again after this block" (RFC 7440 section 4), once per round trip.
    fn on_repeated_ack(&mut self, now: Moment) -> Step {
        let Some(sent_at) = self.sent_at else {
            return Step::Wait;
        };
        let round_trip = self.retransmit.srtt();
        let again = if self.window.size() == 1 {
            let overdue = round_trip.map_or(UNMEASURED, |srtt| {
                (2 * srtt).clamp(REPEAT_AFTER, UNMEASURED)
            });
            now.since(sent_at) >= overdue
        } else {
            // The rest of the window may still be on the way, if none ever came whole.
            let per_block = self.retransmit.time_per_block().unwrap_or_default();
            let whole = per_block * self.window.size().into();
            self.may_begin_anew(now, whole.min(WHOLE_WINDOW_MAX))
        };
        if !again || self.window.is_at_base() {
            return Step::Wait;
        }
        self.rewound_at = Some(now);
        self.repeat()
    }

    /// The client had to wait for us until now: that was no silence of its own.
    pub fn was_kept_waiting(&mut self, now: Moment) {
        self.patient_from = now;
    }

    /// The client repeated its request in the handshake: its first packet may be lost. It goes out once more,
    /// when it is old enough.
    pub fn on_repeated_request(&mut self, now: Moment) -> Step {
        let Some(sent_at) = self.sent_at.filter(|_| !self.answered) else {
            return Step::Wait;
        };
        if now.since(sent_at) >= REPEAT_AFTER {
            return self.repeat();
        }
        let is_new = self.first_again_at.is_none() && !self.window.is_at_base();
        if is_new {
            self.first_again_at = Some(sent_at + REPEAT_AFTER);
        }
        match is_new {
            true => Step::Send,
            false => Step::Wait,
        }
    }

    /// [`Transfer::deadline`] passed.
    pub fn on_deadline(&mut self, now: Moment) -> Step {
        if self.give_up_at() <= now {
            return Step::End(match (self.answered, self.is_unconfirmed()) {
                (false, _) => Outcome::NoAnswer,
                (true, false) => Outcome::TimedOut,
                (true, true) => Outcome::CompleteUnconfirmed,
            });
        }
        if self.pacing.resume(now) {
            return Step::Send;
        }
        let wish_is_due = self.first_again_at.take_if(|at| *at <= now).is_some();
        if self.retransmit_at.is_none_or(|at| now < at) {
            return match wish_is_due {
                true => self.repeat(),
                false => Step::Wait,
            };
        }
        self.timeouts = self.timeouts.saturating_add(1);
        if self.timeouts >= self.first_sendings() && !self.answered {
            return Step::End(Outcome::NoAnswer);
        }
        if self.timeouts >= TAIL_SENDINGS && self.is_unconfirmed() {
            return Step::End(Outcome::CompleteUnconfirmed);
        }
        self.retransmit.back_off();
        self.retransmit_at = None;
        self.repeat()
    }

    fn first_sendings(&self) -> u8 {
        match self.negotiated.has_oack() {
            true => OACK_SENDINGS,
            false => DATA_SENDINGS,
        }
    }

    fn repeat(&mut self) -> Step {
        self.timed_from = None;
        self.is_repeated = true;
        self.pacing.begin_anew();
        self.window.rewind();
        Step::Send
    }

    /// When [`Transfer::on_deadline`] wants to be called.
    pub fn deadline(&self) -> Moment {
        let repeats = [self.retransmit_at, self.first_again_at];
        let times = repeats.into_iter().flatten();
        times.fold(self.silent_deadline(), Moment::min)
    }

    /// The same while nothing is repeated.
    pub fn silent_deadline(&self) -> Moment {
        let resumes_at = self.pacing.resumes_at();
        resumes_at.map_or(self.give_up_at(), |at| at.min(self.give_up_at()))
    }

    /// Its timer was not looked at for a while: what was due before `now` is due now.
    pub fn resume(&mut self, now: Moment) {
        self.patient_from = self.patient_from.max(now - self.patience);
        self.retransmit_at = self.retransmit_at.map(|at| at.max(now));
    }

    /// When it is given up unless the client makes progress.
    pub fn give_up_at(&self) -> Moment {
        self.patient_from + self.patience
    }

    /// How long after the client repeats its request an ACK may show that the network copied the request.
    pub fn ack_due_within(&self) -> Duration {
        let round_trip = self.retransmit.srtt();
        round_trip.map_or(ACK_DUE_MAX, |srtt| {
            (2 * srtt).clamp(ACK_DUE_MIN, ACK_DUE_MAX)
        })
    }

    /// This ACK shows that the client still takes part. A repeated one that comes right behind the first may
    /// be a copy, too.
    pub fn is_carried_on_by(&self, now: Moment, block: u16) -> bool {
        match self.window.clone().acknowledge(block) {
            Acknowledged::All | Acknowledged::Part => true,
            Acknowledged::Nothing => now.since(self.progress_at) >= self.ack_due_within(),
            Acknowledged::Stranger => false,
        }
    }

    /// When the last packet left; `None` before the first.
    pub fn sent_at(&self) -> Option<Moment> {
        self.sent_at
    }

    /// How long to wait for an answer to what leaves now.
    fn rto(&self) -> Duration {
        let rto = self.retransmit.rto(self.negotiated.timeout());
        let around_wrap = if self.window.is_around_wrap() {
            RTO_AROUND_WRAP
        } else {
            Duration::ZERO
        };
        let tail = match self.timeouts {
            1.. if self.is_unconfirmed() => TAIL_RTO * u32::from(self.timeouts),
            _ => Duration::ZERO,
        };
        rto.max(around_wrap).max(tail)
    }

    /// The client acknowledged something: the handshake is over.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Only the ACK of the last block is missing; some block or the OACK was acknowledged.
    pub fn is_unconfirmed(&self) -> bool {
        self.answered && self.window.is_last_out()
    }

    /// When the client last made progress; the beginning of the transfer where it has made none.
    pub fn progress_at(&self) -> Moment {
        self.progress_at
    }

    /// A window leaves in bursts, and there are more to come.
    pub fn is_within_window(&self) -> bool {
        self.pacing.is_within_window()
    }

    /// All that was sent was acknowledged.
    pub fn has_nothing_out(&self) -> bool {
        self.window.is_at_base() && self.window.is_fresh()
    }

    /// Timeouts since the client last made progress.
    pub fn timeouts(&self) -> u8 {
        self.timeouts
    }

    /// How long the client usually takes to acknowledge what it was sent, for each block of it, whether or not
    /// it had to be sent again; `None` until it has acknowledged something.
    pub fn time_per_block(&self) -> Option<Duration> {
        self.retransmit.time_per_block()
    }

    /// After how much time without progress the client's slot lies idle: well before the packet is
    /// sent again, since a slot can be given away and taken back for nothing.
    pub fn overdue_after(&self) -> Duration {
        let overdue = self.retransmit.usual().map(|usual| OVERDUE_FACTOR * usual);
        overdue.map_or(OVERDUE_MAX, |overdue| {
            overdue.clamp(OVERDUE_MIN, OVERDUE_MAX)
        })
    }

    /// The options agreed on.
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// Packets sent more than once.
    pub fn retransmissions(&self) -> u64 {
        self.retransmissions
    }

    /// Bytes that the client acknowledged.
    pub fn acknowledged_bytes(&self) -> u64 {
        let blocks = self.window.base().saturating_sub(1);
        let bytes = blocks * u64::from(self.negotiated.blksize);
        self.length.map_or(bytes, |length| bytes.min(length))
    }

    /// Bytes of the whole file as sent; none while a netascii file has not come to its end.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Checks what must hold between any two calls.
    ///
    /// # Panics
    /// Where our own bookkeeping is wrong.
    pub fn audit(&self) {
        self.window.audit();
        assert!(
            self.sent_at
                .is_none_or(|at| at >= self.timed_from.unwrap_or(Moment::START))
        );
        assert!(
            self.window.is_at_base() || self.retransmit_at.is_some(),
            "a block is out and no timer runs"
        );
    }
}

/// The number of the block that ends a file: always shorter than `blksize`, empty where the length is a
/// multiple of it (RFC 1350 section 6).
fn last_block(length: u64, blksize: u16) -> NonZero<u64> {
    NonZero::<u64>::MIN.saturating_add(length / u64::from(blksize))
}

/// How often a transfer's first packet is sent before the transfer is given up. GRUB never asks again once
/// it had an OACK and waits 33 s for what comes next: with 3 % of the packets lost, three sendings ended
/// one boot in some thousands. An OACK is small; DATA 1 may go to somebody who never asked.
pub const OACK_SENDINGS: u8 = 5;
/// See [`OACK_SENDINGS`].
pub const DATA_SENDINGS: u8 = 3;

/// How often the last one is, before its ACK is taken for granted. It costs a socket and no slot, and GRUB,
/// which never asks again, waits 33 s for it: with 3 % of the packets lost, three sendings were too few
/// for one boot in some thousands.
pub const TAIL_SENDINGS: u8 = 6;

/// A packet younger than this is not sent again at the client's wish: firmware repeats requests within
/// 5-9 ms, and PXELINUX its ACKs within 110 ms.
const REPEAT_AFTER: Duration = Duration::from_millis(100);

/// Bounds of the time in which an ACK of what is on its way may show that a request was a copy. The network
/// makes copies within 10 ms; a client that has begun anew waits for its answer.
const ACK_DUE_MIN: Duration = Duration::from_millis(10);
const ACK_DUE_MAX: Duration = Duration::from_millis(50);

/// Bounds of the time after which a client that makes no progress has lost a packet rather than been
/// slow.
const OVERDUE_FACTOR: u32 = 4;
const OVERDUE_MIN: Duration = Duration::from_millis(5);
const OVERDUE_MAX: Duration = Duration::from_secs(1);
/// What a round trip may take before one was measured. What was measured may have been the client's own
/// pause instead, where its ACK was lost and it sent another: an old ROM asks four times, 1 s apart.
const UNMEASURED: Duration = Duration::from_secs(1);

/// A window takes no longer to arrive once its first blocks have: 64 of them at 50 Mbit/s.
const WHOLE_WINDOW_MAX: Duration = Duration::from_millis(20);

/// Least time before a block is repeated around the wrap from 65,535 to 0: iPXE files a stale block there
/// 65,536 blocks too high, and its download never ends.
const RTO_AROUND_WRAP: Duration = Duration::from_secs(2);

/// Least time after the first repeat of a last block; after the second it is twice that. No slot is held,
/// and U-Boot asks for a lost last block after 5 s only.
const TAIL_RTO: Duration = Duration::from_secs(2);
