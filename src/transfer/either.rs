//! One transfer, whichever way its file goes: what both directions share, and which half has the rest.

use std::num::NonZero;
use std::time::Duration;

use super::common::{Common, REPEAT_AFTER};
use super::options::Negotiated;
use super::receiving::Receiving;
use super::sending::Sending;
use super::timing::Timing;
use super::{Acked, Arrived, Datagrams, Departed, Step};
use crate::moment::Moment;

/// One file on its way to or from one client.
#[derive(Clone, Debug)]
pub struct Transfer {
    common: Common,
    half: Half,
}

#[derive(Clone, Debug)]
enum Half {
    Sending(Sending),
    Receiving(Receiving),
}

impl Transfer {
    /// A transfer of `length` bytes to a client (`None`: not known before they are sent) on the terms of
    /// `negotiated`; it is given up after `patience` without progress.
    pub fn new(
        now: Moment,
        negotiated: Negotiated,
        length: Option<u64>,
        patience: Duration,
    ) -> Transfer {
        let half = Half::Sending(Sending::new(&negotiated, length));
        Transfer::with(now, negotiated, length, patience, half)
    }

    /// A transfer from a client.
    pub fn receiving(now: Moment, negotiated: Negotiated, patience: Duration) -> Transfer {
        let length = negotiated.wanted().announced().map(NonZero::get);
        let half = Half::Receiving(Receiving::new());
        Transfer::with(now, negotiated, length, patience, half)
    }

    fn with(
        now: Moment,
        negotiated: Negotiated,
        length: Option<u64>,
        patience: Duration,
        half: Half,
    ) -> Transfer {
        Transfer {
            common: Common {
                negotiated,
                length,
                timing: Timing::new(now, patience),
                answered: false,
                retransmissions: 0,
                first_again_at: None,
            },
            half,
        }
    }

    /// What goes next, at most `most` packets of it; `None` while the client must speak first.
    pub fn datagrams(&self, most: u16) -> Option<Datagrams<'_>> {
        match &self.half {
            Half::Sending(sending) => sending.datagrams(&self.common, most),
            Half::Receiving(receiving) => receiving.answer(&self.common),
        }
    }

    /// Some of what [`Transfer::datagrams`] told has left. Returns how many packets of it had left before.
    pub fn sent(&mut self, now: Moment, departed: Departed) -> u64 {
        let common = &mut self.common;
        match &mut self.half {
            Half::Sending(sending) => sending.sent(common, now, departed),
            Half::Receiving(receiving) => receiving.sent(common, now),
        }
    }

    /// The client acknowledged `block`, modulo 65,536. Who sends the file has nothing to acknowledge.
    pub fn on_ack(&mut self, now: Moment, block: u16) -> Acked {
        match &mut self.half {
            Half::Sending(sending) => sending.on_ack(&mut self.common, now, block),
            Half::Receiving(_) => Acked {
                step: Step::Wait,
                progress: None,
            },
        }
    }

    /// A block of `length` bytes came, its number modulo 65,536. Nobody sends one to whom we send the file.
    pub fn on_block(&mut self, now: Moment, block: u16, length: usize) -> Arrived {
        match &mut self.half {
            Half::Sending(_) => Arrived::Stray(Step::Wait),
            Half::Receiving(receiving) => receiving.on_block(&mut self.common, now, block, length),
        }
    }

    /// The block that [`Transfer::on_block`] found to be the next was stored; `has_room`: one more window can be.
    pub fn stored(&mut self, now: Moment, length: usize, has_room: bool) -> Acked {
        match &mut self.half {
            Half::Sending(_) => unreachable!("nothing was found to be the next"),
            Half::Receiving(receiving) => receiving.stored(&mut self.common, now, length, has_room),
        }
    }

    /// That block was not stored, for want of memory: it is as good as lost.
    pub fn not_stored(&mut self) {
        if let Half::Receiving(receiving) = &mut self.half {
            receiving.not_stored();
        }
    }

    /// There is room for a window again.
    pub fn on_room(&mut self, now: Moment) -> Step {
        match &mut self.half {
            Half::Sending(_) => Step::Wait,
            Half::Receiving(receiving) => receiving.on_room(&mut self.common, now),
        }
    }

    /// The whole file is safe on the disk: its last block may be acknowledged.
    pub fn on_safe(&mut self, now: Moment) -> Step {
        match &mut self.half {
            Half::Sending(_) => Step::Wait,
            Half::Receiving(receiving) => receiving.on_safe(&mut self.common, now),
        }
    }

    /// The client had to wait for us until now: that was no silence of its own.
    pub fn was_kept_waiting(&mut self, now: Moment) {
        self.common.timing.was_kept_waiting(now);
    }

    /// The client repeated its request in the handshake: its first packet may be lost. It goes out once more,
    /// when it is old enough.
    pub fn on_repeated_request(&mut self, now: Moment) -> Step {
        let answered = self.common.answered;
        let Some(sent_at) = self.common.timing.sent_at().filter(|_| !answered) else {
            return Step::Wait;
        };
        if now.since(sent_at) >= REPEAT_AFTER {
            return self.repeat();
        }
        let is_new = self.common.first_again_at.is_none() && self.datagrams(1).is_none();
        if is_new {
            self.common.first_again_at = Some(sent_at + REPEAT_AFTER);
        }
        match is_new {
            true => Step::Send,
            false => Step::Wait,
        }
    }

    fn repeat(&mut self) -> Step {
        match &mut self.half {
            Half::Sending(sending) => sending.repeat(&mut self.common),
            Half::Receiving(receiving) => receiving.answer_again(),
        }
    }

    /// [`Transfer::deadline`] passed.
    pub fn on_deadline(&mut self, now: Moment) -> Step {
        match &mut self.half {
            Half::Sending(sending) => sending.on_deadline(&mut self.common, now),
            Half::Receiving(receiving) => receiving.on_deadline(&mut self.common, now),
        }
    }

    /// When [`Transfer::on_deadline`] wants to be called.
    pub fn deadline(&self) -> Moment {
        let common = &self.common;
        let by_half = match &self.half {
            Half::Sending(_) => None,
            Half::Receiving(receiving) => receiving.silent_too_long_at(common),
        };
        let repeats = [
            common.timing.retransmit_at(),
            common.first_again_at,
            by_half,
        ];
        let silent = self.silent_deadline();
        Moment::first_of(repeats).map_or(silent, |at| at.min(silent))
    }

    /// Neither [`Transfer::deadline`] nor [`Timing::overdue_at`] without more progress comes before; `None` if that would
    /// have to be looked at. It is the cheaper question.
    pub fn quiet_until(&self) -> Option<Moment> {
        match &self.half {
            Half::Sending(sending) if sending.is_usual(&self.common) => {
                Some(self.common.timing.quiet_until())
            }
            Half::Sending(_) | Half::Receiving(_) => None,
        }
    }

    /// The same while nothing is repeated.
    pub fn silent_deadline(&self) -> Moment {
        let give_up_at = self.common.timing.give_up_at();
        match &self.half {
            Half::Sending(sending) => sending
                .resumes_at()
                .map_or(give_up_at, |at| at.min(give_up_at)),
            Half::Receiving(receiving) => receiving.over_at(&self.common),
        }
    }

    /// This ACK, or block, shows that the client still takes part. A repeated one that comes right behind the first
    /// may be a copy, too.
    pub fn is_carried_on_by(&self, now: Moment, block: u16) -> bool {
        match &self.half {
            Half::Sending(sending) => sending.is_carried_on_by(&self.common, now, block),
            Half::Receiving(receiving) => receiving.is_carried_on_by(&self.common, block),
        }
    }

    /// An ACK of `block` makes progress.
    pub fn awaits(&self, block: u16) -> bool {
        match &self.half {
            Half::Sending(sending) => sending.awaits(block),
            Half::Receiving(_) => false,
        }
    }

    /// The client acknowledged something, or sent a block: the handshake is over.
    pub fn is_answered(&self) -> bool {
        self.common.answered
    }

    /// Only the ACK of the last block is missing; some block or the OACK was acknowledged.
    pub fn is_unconfirmed(&self) -> bool {
        match &self.half {
            Half::Sending(sending) => sending.is_unconfirmed(&self.common),
            Half::Receiving(_) => false,
        }
    }

    /// The last block was received and stored.
    pub fn is_received(&self) -> bool {
        match &self.half {
            Half::Sending(_) => false,
            Half::Receiving(receiving) => receiving.has_ended(),
        }
    }

    /// When it acts, and what is known of the way.
    pub fn timing(&self) -> &Timing {
        &self.common.timing
    }

    /// What goes next does not wait for the turn of a held client: the timer repeats it, or it is the rest of a window
    /// that leaves in bursts.
    pub fn is_out_of_turn(&self) -> bool {
        match &self.half {
            Half::Sending(sending) => {
                self.common.timing.timeouts() > 0 || sending.is_within_window()
            }
            Half::Receiving(_) => false,
        }
    }

    /// All that was sent was answered: the next packet is ours to send.
    pub fn has_nothing_out(&self) -> bool {
        match &self.half {
            Half::Sending(sending) => sending.has_nothing_out(),
            Half::Receiving(receiving) => receiving.answer(&self.common).is_some(),
        }
    }

    /// The options agreed on.
    pub fn negotiated(&self) -> &Negotiated {
        &self.common.negotiated
    }

    /// Packets sent more than once.
    pub fn retransmissions(&self) -> u64 {
        self.common.retransmissions
    }

    /// Bytes that the client acknowledged, or sent.
    pub fn acknowledged_bytes(&self) -> u64 {
        match &self.half {
            Half::Sending(sending) => sending.acknowledged_bytes(&self.common),
            Half::Receiving(receiving) => receiving.bytes(),
        }
    }

    /// Bytes of the whole file as sent; `None` while a netascii file has not come to its end. Of an upload: as announced.
    pub fn length(&self) -> Option<u64> {
        self.common.length
    }

    /// Checks what must hold between any two calls.
    ///
    /// # Panics
    /// Where our own bookkeeping is wrong.
    pub fn audit(&self) {
        self.common.timing.audit();
        match &self.half {
            Half::Sending(sending) => sending.audit(&self.common),
            Half::Receiving(receiving) => receiving.audit(&self.common),
        }
    }
}
