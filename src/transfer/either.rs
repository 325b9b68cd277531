//! One transfer, whichever way its file goes: what is asked of both, and who answers.

use std::num::NonZero;
use std::time::Duration;

use super::common::Common;
use super::options::Negotiated;
use super::receiving::Receiving;
use super::sending::Sending;
use super::timing::{REPEAT_AFTER, Timing};
use super::{Datagrams, Departed, Outcome, Progress};
use crate::moment::Moment;

/// One file on its way to or from one client.
#[derive(Clone, Debug)]
pub enum Transfer {
    /// To a client.
    Sending(Sending),
    /// From a client.
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
        let common = Common::new(now, negotiated, length, patience);
        Transfer::Sending(Sending::new(common))
    }

    /// A transfer from a client.
    pub fn receiving(now: Moment, negotiated: Negotiated, patience: Duration) -> Transfer {
        let length = negotiated.wanted().announced().map(NonZero::get);
        let common = Common::new(now, negotiated, length, patience);
        Transfer::Receiving(Receiving::new(common))
    }

    fn common(&self) -> &Common {
        match self {
            Transfer::Sending(sending) => &sending.common,
            Transfer::Receiving(receiving) => &receiving.common,
        }
    }

    fn common_mut(&mut self) -> &mut Common {
        match self {
            Transfer::Sending(sending) => &mut sending.common,
            Transfer::Receiving(receiving) => &mut receiving.common,
        }
    }

    fn sending(&self) -> Option<&Sending> {
        match self {
            Transfer::Sending(sending) => Some(sending),
            Transfer::Receiving(_) => None,
        }
    }

    /// The file comes from the client.
    pub fn upload(&mut self) -> Option<&mut Receiving> {
        match self {
            Transfer::Sending(_) => None,
            Transfer::Receiving(receiving) => Some(receiving),
        }
    }

    /// What goes next, at most `most` packets of it; `None` while the client must speak first.
    pub fn datagrams(&self, most: u16) -> Option<Datagrams<'_>> {
        match self {
            Transfer::Sending(sending) => sending.datagrams(most),
            Transfer::Receiving(receiving) => receiving.answer(),
        }
    }

    /// Some of what [`Transfer::datagrams`] told has left. Returns how many packets of it had left before.
    pub fn sent(&mut self, now: Moment, departed: Departed) -> u64 {
        match self {
            Transfer::Sending(sending) => sending.sent(now, departed),
            Transfer::Receiving(receiving) => receiving.sent(now),
        }
    }

    /// The client acknowledged `block`, modulo 65,536. Returns what that moved on; `None` if it was
    /// stale, or a duplicate. Who sends the file has nothing to acknowledge.
    pub fn on_ack(&mut self, now: Moment, block: u16) -> Option<Progress> {
        match self {
            Transfer::Sending(sending) => sending.on_ack(now, block),
            Transfer::Receiving(_) => None,
        }
    }

    /// The client had to wait for us until now: that was no silence of its own.
    pub fn was_kept_waiting(&mut self, now: Moment) {
        self.common_mut().timing.was_kept_waiting(now);
    }

    /// The client repeated its request in the handshake: its first packet may be lost. Returns whether it goes out once
    /// more, now or when it is old enough.
    pub fn on_repeated_request(&mut self, now: Moment) -> bool {
        let is_on_its_way = self.datagrams(1).is_some();
        let common = self.common_mut();
        let Some(sent_at) = common.timing.sent_at().filter(|_| !common.answered) else {
            return false;
        };
        if now.since(sent_at) >= REPEAT_AFTER {
            match self {
                Transfer::Sending(sending) => sending.send_again(),
                Transfer::Receiving(receiving) => receiving.answer_again(),
            }
            return true;
        }
        if is_on_its_way || common.first_again_at.is_some() {
            return false;
        }
        common.first_again_at = Some(sent_at + REPEAT_AFTER);
        true
    }

    /// [`Transfer::deadline`] passed. Returns how it ended, if it is over.
    pub fn on_deadline(&mut self, now: Moment) -> Option<Outcome> {
        match self {
            Transfer::Sending(sending) => sending.on_deadline(now),
            Transfer::Receiving(receiving) => receiving.on_deadline(now),
        }
    }

    /// When [`Transfer::on_deadline`] wants to be called.
    pub fn deadline(&self) -> Moment {
        let common = self.common();
        let repeats = [common.timing.retransmit_at, common.first_again_at];
        let silent = self.silent_deadline();
        Moment::first_of(repeats).map_or(silent, |at| at.min(silent))
    }

    /// The same while nothing is repeated.
    pub fn silent_deadline(&self) -> Moment {
        let over_at = self.timing().give_up_at();
        match self {
            Transfer::Sending(Sending { pacing, .. }) => {
                pacing.resumes_at().map_or(over_at, |at| at.min(over_at))
            }
            Transfer::Receiving(receiving) => receiving.over_at(),
        }
    }

    /// This ACK, or block, shows that the client still takes part. A repeated one that comes right behind the first
    /// may be a copy, too.
    pub fn is_carried_on_by(&self, now: Moment, block: u16) -> bool {
        let timing = self.timing();
        match self {
            Transfer::Sending(sending) => match sending.window.acknowledged_by(block) {
                None => false,
                Some(0) => now.since(timing.progress_at()) >= timing.ack_due_within(),
                Some(_) => true,
            },
            Transfer::Receiving(receiving) => receiving.ahead(block).is_some(),
        }
    }

    /// An ACK of `block` makes progress.
    pub fn awaits(&self, block: u16) -> bool {
        let acknowledged = self
            .sending()
            .and_then(|it| it.window.acknowledged_by(block));
        acknowledged.is_some_and(|blocks| blocks > 0)
    }

    /// The client acknowledged something, or sent a block: the handshake is over.
    pub fn is_answered(&self) -> bool {
        self.common().answered
    }

    /// Only the ACK of the last block is missing; some block or the OACK was acknowledged.
    pub fn is_unconfirmed(&self) -> bool {
        self.sending().is_some_and(Sending::is_unconfirmed)
    }

    /// When it acts, and what is known of the way.
    pub fn timing(&self) -> &Timing {
        &self.common().timing
    }

    /// What goes next does not wait for the turn of a held client: the timer repeats it, or it is the rest of a window
    /// that leaves in bursts.
    pub fn is_out_of_turn(&self) -> bool {
        self.sending().is_some_and(Sending::is_out_of_turn)
    }

    /// All that was sent was answered: the next packet is ours to send.
    pub fn has_nothing_out(&self) -> bool {
        match self {
            Transfer::Sending(sending) => sending.window.out() == 0,
            Transfer::Receiving(receiving) => receiving.answer().is_some(),
        }
    }

    /// The options agreed on.
    pub fn negotiated(&self) -> &Negotiated {
        &self.common().negotiated
    }

    /// Packets sent more than once.
    pub fn retransmissions(&self) -> u64 {
        self.common().retransmissions
    }

    /// Bytes that the client acknowledged, or sent.
    pub fn acknowledged_bytes(&self) -> u64 {
        match self {
            Transfer::Sending(sending) => sending.acknowledged_bytes(),
            Transfer::Receiving(receiving) => receiving.bytes(),
        }
    }

    /// Bytes of the whole file as sent; `None` while a netascii file has not come to its end. Of an upload: as announced.
    pub fn length(&self) -> Option<u64> {
        self.common().length
    }

    /// Checks what must hold between any two calls.
    ///
    /// # Panics
    /// Where our own bookkeeping is wrong.
    pub fn audit(&self) {
        self.timing().audit();
        match self {
            Transfer::Sending(sending) => sending.audit(),
            Transfer::Receiving(receiving) => receiving.audit(),
        }
    }
}
