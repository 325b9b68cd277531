//! One file on its way to one client: which packets go next, and what an ACK or a silence means for them.

use std::num::NonZero;
use std::time::Duration;

use super::options::Negotiated;
use super::pacing::Pacing;
use super::timing::{Answered, Timing};
use super::window::{Acknowledged, Window};
use super::{Acked, Blocks, Datagrams, Departed, Outcome, Progress, Step};
use crate::moment::Moment;

/// One file on its way to one client.
#[derive(Clone, Debug)]
pub struct Transfer {
    negotiated: Negotiated,
    /// Bytes in all; unknown for netascii until the end was sent.
    length: Option<u64>,
    window: Window,
    pacing: Pacing,
    timing: Timing,
    /// The client acknowledged something: the handshake is over.
    answered: bool,
    /// Packets sent more than once.
    retransmissions: u64,
    /// When the window last began anew at the client's wish.
    rewound_at: Option<Moment>,
    /// When the first packet goes out again at the client's wish.
    first_again_at: Option<Moment>,
}

impl Transfer {
    /// A transfer of `length` bytes (`None`: not known before they are sent) on the terms of `negotiated`;
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
            timing: Timing::new(now, patience),
            negotiated,
            length,
            answered: false,
            retransmissions: 0,
            rewound_at: None,
            first_again_at: None,
        }
    }

    /// What goes next, at most `most` packets of it; `None` while the client must speak first.
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
        self.timing.sent(now, self.has_nothing_out());
        let repeated = self.window.advance(departed.packets);
        self.retransmissions += repeated;
        if let Some(length) = departed.end {
            self.length = Some(length);
            self.window
                .end_at(last_block(length, self.negotiated.blksize));
        }
        let goes_on = self.window.unsent(self.answered) > 0;
        self.pacing.sent(now, departed.packets.into(), goes_on);
        self.first_again_at = None;
        // A repeat of the first packet at the client's wish leaves the handshake's schedule alone, so
        // that a client which cannot hear us does not keep its slot by asking.
        if self.answered || self.timing.retransmit_at().is_none() {
            self.timing.retransmit_after(now, self.rto());
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
            timeouts: self.timing.timeouts(),
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
        match (whole_window, self.timing.is_repeated()) {
            (true, false) => self.pacing.arrived(now),
            (true, true) => {}
            (false, _) => self.pacing.lost_after(now, self.window.base() - base),
        }
        let answered = Answered {
            // The OACK tells how long a window will take.
            blocks: match base {
                0 => self.window.size().into(),
                _ => self.window.base() - base,
            },
            is_whole: whole_window,
            is_guess: base == 0 && self.window.size() > 1,
        };
        self.timing.on_progress(now, answered);
        self.answered = true;
        self.first_again_at = None;
        if self.window.is_complete() {
            return Step::End(Outcome::Complete);
        }
        if !whole_window && self.may_begin_anew(now, Duration::ZERO) {
            self.rewound_at = Some(now);
            return self.repeat();
        }
        if !self.window.is_at_base() {
            self.timing.retransmit_after(now, self.rto());
        }
        Step::Send
    }

    /// A window begins anew at the client's wish once per round trip: every packet that it did not expect
    /// draws the same ACK from it; and not sooner than after `guard`.
    fn may_begin_anew(&self, now: Moment, guard: Duration) -> bool {
        let guard = self.timing.srtt().unwrap_or(UNMEASURED).max(guard);
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
        let Some(sent_at) = self.timing.sent_at() else {
            return Step::Wait;
        };
        let round_trip = self.timing.srtt();
        let again = if self.window.size() == 1 {
            let overdue = round_trip.map_or(UNMEASURED, |srtt| {
                (2 * srtt).clamp(REPEAT_AFTER, UNMEASURED)
            });
            now.since(sent_at) >= overdue
        } else {
            // The rest of the window may still be on the way, if none ever came whole.
            let per_block = self.timing.time_per_block().unwrap_or_default();
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
        self.timing.was_kept_waiting(now);
    }

    /// The client repeated its request in the handshake: its first packet may be lost. It goes out once more,
    /// when it is old enough.
    pub fn on_repeated_request(&mut self, now: Moment) -> Step {
        let Some(sent_at) = self.timing.sent_at().filter(|_| !self.answered) else {
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
        if self.timing.give_up_at() <= now {
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
        if self.timing.retransmit_at().is_none_or(|at| now < at) {
            return match wish_is_due {
                true => self.repeat(),
                false => Step::Wait,
            };
        }
        let timeouts = self.timing.on_timeout();
        if timeouts >= self.first_sendings() && !self.answered {
            return Step::End(Outcome::NoAnswer);
        }
        if timeouts >= TAIL_SENDINGS && self.is_unconfirmed() {
            return Step::End(Outcome::CompleteUnconfirmed);
        }
        self.timing.back_off();
        self.repeat()
    }

    fn first_sendings(&self) -> u8 {
        match self.negotiated.has_oack() {
            true => OACK_SENDINGS,
            false => DATA_SENDINGS,
        }
    }

    fn repeat(&mut self) -> Step {
        self.timing.repeat();
        self.pacing.begin_anew();
        self.window.rewind();
        Step::Send
    }

    /// When [`Transfer::on_deadline`] wants to be called.
    pub fn deadline(&self) -> Moment {
        let repeats = Moment::first_of([self.timing.retransmit_at(), self.first_again_at]);
        let silent = self.silent_deadline();
        repeats.map_or(silent, |at| at.min(silent))
    }

    /// The same while nothing is repeated.
    pub fn silent_deadline(&self) -> Moment {
        let resumes_at = self.pacing.resumes_at();
        let give_up_at = self.timing.give_up_at();
        resumes_at.map_or(give_up_at, |at| at.min(give_up_at))
    }

    /// Neither [`Transfer::deadline`] nor [`Timing::overdue_after`] the last progress comes before; `None` if that would
    /// have to be looked at. It is the cheaper question.
    pub fn quiet_until(&self) -> Option<Moment> {
        let is_usual = self.first_again_at.is_none() && self.pacing.resumes_at().is_none();
        is_usual.then(|| self.timing.quiet_until())
    }

    /// Its timer was not looked at for a while: what was due before `now` is due now.
    pub fn resume(&mut self, now: Moment) {
        self.timing.resume(now);
    }

    /// An ACK of `block` makes progress.
    pub fn awaits(&self, block: u16) -> bool {
        let acknowledged = self.window.clone().acknowledge(block);
        matches!(acknowledged, Acknowledged::All | Acknowledged::Part)
    }

    /// This ACK shows that the client still takes part. A repeated one that comes right behind the first may
    /// be a copy, too.
    pub fn is_carried_on_by(&self, now: Moment, block: u16) -> bool {
        match self.window.clone().acknowledge(block) {
            Acknowledged::All | Acknowledged::Part => true,
            Acknowledged::Nothing => {
                now.since(self.timing.progress_at()) >= self.timing.ack_due_within()
            }
            Acknowledged::Stranger => false,
        }
    }

    /// How long to wait for an answer to what leaves now.
    fn rto(&self) -> Duration {
        let mut rto = self.timing.rto(|| self.negotiated.timeout());
        if self.window.is_around_wrap() {
            rto = rto.max(RTO_AROUND_WRAP);
        }
        match self.timing.timeouts() {
            timeouts @ 1.. if self.is_unconfirmed() => rto.max(TAIL_RTO * u32::from(timeouts)),
            _ => rto,
        }
    }

    /// The client acknowledged something: the handshake is over.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Only the ACK of the last block is missing; some block or the OACK was acknowledged.
    pub fn is_unconfirmed(&self) -> bool {
        self.answered && self.window.is_last_out()
    }

    /// When it acts, and what is known of the way.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// A window leaves in bursts, and there are more to come.
    pub fn is_within_window(&self) -> bool {
        self.pacing.is_within_window()
    }

    /// All that was sent was acknowledged.
    pub fn has_nothing_out(&self) -> bool {
        self.window.is_at_base() && self.window.is_fresh()
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

    /// Bytes of the whole file as sent; `None` while a netascii file has not come to its end.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Checks what must hold between any two calls.
    ///
    /// # Panics
    /// Where our own bookkeeping is wrong.
    pub fn audit(&self) {
        self.window.audit();
        self.timing.audit();
        assert!(
            self.window.is_at_base() || self.timing.retransmit_at().is_some(),
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
