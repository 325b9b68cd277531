//! The half of a transfer that sends: which blocks go next, and what an ACK or a silence means for them.

use std::num::NonZero;
use std::time::Duration;

use super::common::{Common, REPEAT_AFTER, UNMEASURED};
use super::options::Negotiated;
use super::pacing::Pacing;
use super::timing::Answered;
use super::window::{Acknowledged, Window};
use super::{Acked, Blocks, Datagrams, Departed, Outcome, Progress, Step};
use crate::moment::Moment;

/// What is particular to a file on its way to a client.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    window: Window,
    pacing: Pacing,
    /// When the window last began anew at the client's wish.
    rewound_at: Option<Moment>,
}

impl Sending {
    pub(super) fn new(negotiated: &Negotiated, length: Option<u64>) -> Sending {
        let first = if negotiated.has_oack() { 0 } else { 1 };
        let last = length.map(|length| last_block(length, negotiated.blksize));
        Sending {
            window: Window::new(first, negotiated.windowsize, last),
            pacing: Pacing::default(),
            rewound_at: None,
        }
    }

    /// What goes next, at most `most` packets of it; `None` while the client must speak first.
    pub(super) fn datagrams<'c>(&self, common: &'c Common, most: u16) -> Option<Datagrams<'c>> {
        let room = u16::try_from(self.pacing.room()).unwrap_or(u16::MAX);
        let allowed = self.window.unsent(common.answered).min(room);
        if allowed == 0 {
            return None;
        }
        let first = self.window.next();
        if first == 0 {
            return Some(Datagrams::Oack(&common.negotiated));
        }
        Some(Datagrams::Data(Blocks {
            first,
            count: allowed.min(most),
            blksize: common.negotiated.blksize,
            oldest: self.window.base(),
        }))
    }

    /// Some of what [`Transfer::datagrams`] told has left. Returns how many packets of it had left before.
    pub(super) fn sent(&mut self, common: &mut Common, now: Moment, departed: Departed) -> u64 {
        common.timing.sent(now, self.has_nothing_out());
        let repeated = self.window.advance(departed.packets);
        common.retransmissions += repeated;
        if let Some(length) = departed.end {
            common.length = Some(length);
            self.window
                .end_at(last_block(length, common.negotiated.blksize));
        }
        let goes_on = self.window.unsent(common.answered) > 0;
        self.pacing.sent(now, departed.packets.into(), goes_on);
        common.first_again_at = None;
        // A repeat of the first packet at the client's wish leaves the handshake's schedule alone, so
        // that a client which cannot hear us does not keep its slot by asking.
        if common.answered || common.timing.retransmit_at().is_none() {
            common.timing.retransmit_after(now, self.rto(common));
        }
        repeated
    }

    /// The client acknowledged `block`, modulo 65,536.
    pub(super) fn on_ack(&mut self, common: &mut Common, now: Moment, block: u16) -> Acked {
        let base = self.window.base();
        let acknowledged = self.window.acknowledge(block);
        let is_progress = matches!(acknowledged, Acknowledged::All | Acknowledged::Part);
        let progress = is_progress.then(|| Progress {
            is_first: !common.answered,
            has_first_block: base <= 1 && self.window.base() > 1,
            timeouts: common.timing.timeouts(),
        });
        let step = match acknowledged {
            Acknowledged::All => self.on_progress(common, now, base, true),
            Acknowledged::Part => self.on_progress(common, now, base, false),
            Acknowledged::Nothing => self.on_repeated_ack(common, now),
            Acknowledged::Stranger => Step::Wait,
        };
        Acked { step, progress }
    }

    /// All blocks from `base` to the window's new one were acknowledged.
    fn on_progress(
        &mut self,
        common: &mut Common,
        now: Moment,
        base: u64,
        whole_window: bool,
    ) -> Step {
        self.pacing.begin_anew();
        match (whole_window, common.timing.is_repeated()) {
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
        common.timing.on_progress(now, answered);
        common.answered = true;
        common.first_again_at = None;
        if self.window.is_complete() {
            return Step::End(Outcome::Complete);
        }
        if !whole_window && self.may_begin_anew(common, now, Duration::ZERO) {
            self.rewound_at = Some(now);
            return self.repeat(common);
        }
        if !self.window.is_at_base() {
            common.timing.retransmit_after(now, self.rto(common));
        }
        Step::Send
    }

    /// A window begins anew at the client's wish once per round trip: every packet that it did not expect
    /// draws the same ACK from it; and not sooner than after `guard`.
    fn may_begin_anew(&self, common: &Common, now: Moment, guard: Duration) -> bool {
        let guard = common.timing.srtt().unwrap_or(UNMEASURED).max(guard);
        self.rewound_at
            .is_none_or(|rewound_at| now.since(rewound_at) >= guard)
            && !self.window.follows_a_repeat()
    }

    /// The block before the outstanding one was acknowledged again.
    ///
    /// In lockstep this sends again only what is long overdue: answering each duplicate ACK with data
    /// would double every packet from then on (the Sorcerer's Apprentice, RFC 1123 section 4.2.3.1).
    /// With a window it means "start again after this block" (RFC 7440 section 4), once per round trip.
    fn on_repeated_ack(&mut self, common: &mut Common, now: Moment) -> Step {
        let Some(sent_at) = common.timing.sent_at() else {
            return Step::Wait;
        };
        let round_trip = common.timing.srtt();
        let again = if self.window.size() == 1 {
            let overdue = round_trip.map_or(UNMEASURED, |srtt| {
                (2 * srtt).clamp(REPEAT_AFTER, UNMEASURED)
            });
            now.since(sent_at) >= overdue
        } else {
            // The rest of the window may still be on the way, if none ever came whole.
            let per_block = common.timing.time_per_block().unwrap_or_default();
            let whole = per_block * self.window.size().into();
            self.may_begin_anew(common, now, whole.min(WHOLE_WINDOW_MAX))
        };
        if !again || self.window.is_at_base() {
            return Step::Wait;
        }
        self.rewound_at = Some(now);
        self.repeat(common)
    }

    /// [`Transfer::deadline`] passed.
    pub(super) fn on_deadline(&mut self, common: &mut Common, now: Moment) -> Step {
        if common.timing.give_up_at() <= now {
            return Step::End(match (common.answered, self.is_unconfirmed(common)) {
                (false, _) => Outcome::NoAnswer,
                (true, false) => Outcome::TimedOut,
                (true, true) => Outcome::CompleteUnconfirmed,
            });
        }
        if self.pacing.resume(now) {
            return Step::Send;
        }
        let wish_is_due = common.first_again_at.take_if(|at| *at <= now).is_some();
        if common.timing.retransmit_at().is_none_or(|at| now < at) {
            return match wish_is_due {
                true => self.repeat(common),
                false => Step::Wait,
            };
        }
        let timeouts = common.timing.on_timeout();
        if timeouts >= first_sendings(common) && !common.answered {
            return Step::End(Outcome::NoAnswer);
        }
        if timeouts >= TAIL_SENDINGS && self.is_unconfirmed(common) {
            return Step::End(Outcome::CompleteUnconfirmed);
        }
        common.timing.back_off();
        self.repeat(common)
    }

    pub(super) fn repeat(&mut self, common: &mut Common) -> Step {
        common.timing.repeat();
        self.pacing.begin_anew();
        self.window.rewind();
        Step::Send
    }

    /// Nothing but what the timing knows is due; see [`super::Transfer::quiet_until`].
    pub(super) fn is_usual(&self, common: &Common) -> bool {
        common.first_again_at.is_none() && self.pacing.resumes_at().is_none()
    }

    /// An ACK of `block` makes progress.
    pub(super) fn awaits(&self, block: u16) -> bool {
        let acknowledged = self.window.clone().acknowledge(block);
        matches!(acknowledged, Acknowledged::All | Acknowledged::Part)
    }

    /// This ACK shows that the client still takes part. A repeated one that comes right behind the first may
    /// be a copy, too.
    pub(super) fn is_carried_on_by(&self, common: &Common, now: Moment, block: u16) -> bool {
        match self.window.clone().acknowledge(block) {
            Acknowledged::All | Acknowledged::Part => true,
            Acknowledged::Nothing => {
                now.since(common.timing.progress_at()) >= common.timing.ack_due_within()
            }
            Acknowledged::Stranger => false,
        }
    }

    /// How long to wait for an answer to what leaves now.
    fn rto(&self, common: &Common) -> Duration {
        let mut rto = common.timing.rto(|| common.negotiated.timeout());
        if self.window.is_around_wrap() {
            rto = rto.max(RTO_AROUND_WRAP);
        }
        match common.timing.timeouts() {
            timeouts @ 1.. if self.is_unconfirmed(common) => {
                rto.max(TAIL_RTO * u32::from(timeouts))
            }
            _ => rto,
        }
    }

    /// Only the ACK of the last block is missing; some block or the OACK was acknowledged.
    pub(super) fn is_unconfirmed(&self, common: &Common) -> bool {
        common.answered && self.window.is_last_out()
    }

    /// When the rest of a window may leave, if it has to wait.
    pub(super) fn resumes_at(&self) -> Option<Moment> {
        self.pacing.resumes_at()
    }

    /// A window leaves in bursts, and there are more to come.
    pub(super) fn is_within_window(&self) -> bool {
        self.pacing.is_within_window()
    }

    /// All that was sent was acknowledged.
    pub(super) fn has_nothing_out(&self) -> bool {
        self.window.is_at_base() && self.window.is_fresh()
    }

    /// Bytes that the client acknowledged.
    pub(super) fn acknowledged_bytes(&self, common: &Common) -> u64 {
        let blocks = self.window.base().saturating_sub(1);
        let bytes = blocks * u64::from(common.negotiated.blksize);
        common.length.map_or(bytes, |length| bytes.min(length))
    }

    pub(super) fn audit(&self, common: &Common) {
        self.window.audit();
        assert!(
            self.window.is_at_base() || common.timing.retransmit_at().is_some(),
            "a block is out and no timer runs"
        );
    }
}

/// How often the first packet is sent.
fn first_sendings(common: &Common) -> u8 {
    match common.negotiated.has_oack() {
        true => OACK_SENDINGS,
        false => DATA_SENDINGS,
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

/// A window takes no longer to arrive once its first blocks have: 64 of them at 50 Mbit/s.
const WHOLE_WINDOW_MAX: Duration = Duration::from_millis(20);

/// Least time before a block is repeated around the wrap from 65,535 to 0: iPXE files a stale block there
/// 65,536 blocks too high, and its download never ends.
const RTO_AROUND_WRAP: Duration = Duration::from_secs(2);

/// Least time after the first repeat of a last block; after the second it is twice that. No slot is held,
/// and U-Boot asks for a lost last block after 5 s only.
const TAIL_RTO: Duration = Duration::from_secs(2);
