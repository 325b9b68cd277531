//! What an exchange does with blocks: the one that it waits for, and all others.

use std::cmp::Ordering;
use std::time::Duration;

use super::{Aim, Effect, End, Exchange, NOTHING, Verdict, ends, low_bits};
use crate::firmware::Reason;
use crate::firmware::outbox::{Content, Outbox};
use crate::firmware::profile::{Answer, Before, Numbering, Patience};
use crate::moment::Moment;

impl Exchange {
    pub(super) fn on_data(
        &mut self,
        now: Moment,
        wire: u16,
        length: u16,
        outbox: &mut Outbox,
    ) -> Verdict {
        if self.blksize < u32::from(length) && !self.profile.takes_long_blocks {
            return ends(End::GaveUp(Reason::BadBlock));
        }
        let block = self.locate(wire);
        if self.hangs() {
            return self.answer(now, Answer::AckNext, block, outbox);
        }
        match block.cmp(&self.awaited) {
            Ordering::Equal => self.on_awaited(now, length, outbox),
            Ordering::Less => {
                self.copies = self.copies.saturating_add(1);
                self.off_sequence(now, self.profile.old_block, block, length, outbox)
            }
            Ordering::Greater => self.off_sequence(now, self.profile.gap, block, length, outbox),
        }
    }

    /// It has acknowledged a block that it does not have.
    fn hangs(&self) -> bool {
        self.awaited <= self.acknowledged
    }

    /// Which block this firmware takes a number for.
    fn locate(&self, wire: u16) -> u64 {
        let awaited = low_bits(self.awaited);
        let upper = self.awaited & !u64::from(u16::MAX);
        match self.profile.numbering {
            Numbering::Nearest => {
                let ahead = wire.wrapping_sub(awaited);
                if ahead < 0x8000 {
                    self.awaited + u64::from(ahead)
                } else {
                    self.awaited
                        .saturating_sub(u64::from(awaited.wrapping_sub(wire)))
                }
            }
            Numbering::UpperBitsOfAwaited => upper + u64::from(wire),
            // Nothing is the block after the last number there is.
            Numbering::NoWrap if 0 < upper => self.awaited + 1,
            Numbering::NoWrap => u64::from(wire),
        }
    }

    fn on_awaited(&mut self, now: Moment, length: u16, outbox: &mut Outbox) -> Verdict {
        let effect = self.take(length);
        let mut ended = u32::from(length) < self.blksize;
        self.awaited += 1;
        self.copies = 0;
        self.gap_reported = false;
        while self.ahead & 1 == 1 {
            let early = self.last.filter(|(block, _)| *block == self.awaited);
            self.received += early.map_or(self.blksize.into(), |(_, length)| length);
            ended = early.is_some();
            self.awaited += 1;
            self.ahead >>= 1;
        }
        self.ahead >>= 1;
        if let Patience::SinceRequestOrBlock(millis) | Patience::SinceAnswerOrBlock(millis) =
            self.profile.patience
        {
            self.give_up_at = Some(now + Duration::from_millis(millis));
        }
        let end = self.end_after_block(ended);
        match end {
            // Further blocks are not wanted, and an ACK would ask for them.
            Some(End::Probed { .. } | End::SoughtBack) if !ended => {}
            _ if ended && !self.profile.acks_last_block => {}
            _ if ended || u64::from(self.windowsize) <= self.awaited - 1 - self.acknowledged => {
                self.push_ack(outbox);
                self.wait_afresh(now);
            }
            _ => {}
        }
        if let (Some(End::SoughtBack), Some(word)) = (end, self.profile.seek_word) {
            self.push(outbox, Content::Error(NOT_DEFINED, word));
        }
        (effect, end)
    }

    /// Takes the bytes of the awaited block, of which none may be wanted. Where blocks are longer than agreed,
    /// it goes on reading at the number and the place within it that the agreed size gives.
    fn take(&mut self, length: u16) -> Effect {
        let position = self.received;
        let blksize = u64::from(self.blksize);
        if self.awaited < position / blksize + 1 {
            return Effect::Nothing;
        }
        let read = u16::try_from(position % blksize).unwrap_or(u16::MAX);
        let length = length.saturating_sub(read);
        self.received += u64::from(length);
        Effect::Filed { position, length }
    }

    /// The end that a block in order brings; `ended` says that it is the last one.
    fn end_after_block(&self, ended: bool) -> Option<End> {
        let size = self.received;
        match (self.setting.aim, &self.profile.before) {
            (Aim::Before, Before::Glance { pause }) => Some(End::Probed {
                size: self.size,
                pause: *pause,
            }),
            (Aim::Part(most), _) if ended || most <= size => Some(End::SoughtBack),
            // An empty place in the bitmap is never filled: the file looks incomplete for ever.
            _ => (ended && !self.spoiled).then_some(End::Complete { size }),
        }
    }

    /// A block that is not the awaited one.
    fn off_sequence(
        &mut self,
        now: Moment,
        answer: Answer,
        block: u64,
        length: u16,
        outbox: &mut Outbox,
    ) -> Verdict {
        let Answer::Store = answer else {
            return self.answer(now, answer, block, outbox);
        };
        let Some(index) = block.checked_sub(1) else {
            return NOTHING;
        };
        if let Some(places) = block.checked_sub(self.awaited + 1) {
            if places < u64::from(u64::BITS) {
                self.ahead |= 1 << places;
                if u32::from(length) < self.blksize {
                    self.last = Some((block, length.into()));
                }
            } else {
                self.spoiled = true;
            }
        }
        let position = index * u64::from(self.blksize);
        let (_, end) = self.answer(now, Answer::AckAnew, block, outbox);
        (Effect::Filed { position, length }, end)
    }

    pub(super) fn answer(
        &mut self,
        now: Moment,
        answer: Answer,
        block: u64,
        outbox: &mut Outbox,
    ) -> Verdict {
        match answer {
            Answer::Ignore => {}
            Answer::WaitAnew => self.arm(now),
            Answer::Ack => self.push_ack(outbox),
            Answer::AckAnew | Answer::Store => {
                self.push_ack(outbox);
                self.wait_afresh(now);
            }
            Answer::AckAnewBeforeData => {
                if self.awaited == 1 {
                    return self.answer(now, Answer::AckAnew, block, outbox);
                }
            }
            Answer::AckAnewIfLast => {
                if block + 1 == self.awaited {
                    return self.answer(now, Answer::AckAnew, block, outbox);
                }
            }
            Answer::AckIfLastElseComplain => {
                let answer = match block + 1 == self.awaited {
                    true => Answer::Ack,
                    false => Answer::Complain,
                };
                return self.answer(now, answer, block, outbox);
            }
            Answer::AckOnce => {
                if !self.gap_reported {
                    self.gap_reported = true;
                    self.push_ack(outbox);
                }
                self.wait_afresh(now);
            }
            Answer::AckOnceBelow(bound) => {
                if !self.gap_reported && low_bits(block) < bound {
                    self.gap_reported = true;
                    self.push_ack(outbox);
                }
            }
            Answer::AckUpTo(most) => {
                if most <= self.copies {
                    return ends(End::GaveUp(Reason::BadBlock));
                }
                self.push_ack(outbox);
                self.wait_afresh(now);
            }
            Answer::AckOld => self.push(outbox, Content::Ack(low_bits(block))),
            Answer::AckOldAndLast => {
                self.push(outbox, Content::Ack(low_bits(block)));
                self.push_ack(outbox);
            }
            Answer::EndBeforeData => {
                if self.awaited == 1 {
                    self.awaited += 1;
                    self.push_ack(outbox);
                    return (Effect::Nothing, self.end_after_block(true));
                }
            }
            Answer::AckNext => {
                self.acknowledged = self.awaited;
                self.push(outbox, Content::Ack(low_bits(self.acknowledged)));
            }
            Answer::Forget => {
                self.awaited = 1;
                self.push_ack(outbox);
            }
            Answer::ForgetAnew => {
                self.awaited = 1;
                self.push_ack(outbox);
                self.wait_afresh(now);
            }
            Answer::Complain => self.push(outbox, Content::Error(UNKNOWN_TID, WRONG_BLOCK)),
            Answer::Die(code) => {
                self.push(outbox, Content::Error(code, ""));
                return ends(End::GaveUp(Reason::SecondOack));
            }
            Answer::Abort => return ends(End::GaveUp(Reason::BadBlock)),
        }
        NOTHING
    }
}

const NOT_DEFINED: u16 = 0;
const UNKNOWN_TID: u16 = 5;

/// As it stands in lwIP.
const WRONG_BLOCK: &str = "Wrong block number";
