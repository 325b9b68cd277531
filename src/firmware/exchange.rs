//! One request and the transfer that follows: the engine that all kinds share.
//!
//! It knows nothing of boots or files, only of blocks. What differs between kinds stands in the
//! [`Profile`]; the engine never asks which kind it works for.

use std::cmp::Ordering;
use std::time::Duration;

use super::Reason;
use super::adaptive::Adaptive;
use super::datagram::{Destination, Packet};
use super::outbox::{Content, Outbox, Outgoing};
use super::profile::{
    Answer, Blksize, Empty, Numbering, Patience, Profile, Resend, Stranger, Value,
};
use crate::moment::Moment;

/// One request, from its first sending to the last ACK.
#[derive(Debug)]
pub(super) struct Exchange {
    profile: &'static Profile,
    setting: Setting,
    /// The server's port, once it answered.
    server: Option<u16>,

    resend_at: Option<Moment>,
    give_up_at: Option<Moment>,
    /// Sendings under the current schedule.
    sendings: usize,
    adaptive: Adaptive,
    /// A `timeout` taken over from the server, in seconds.
    adopted_timeout: Option<u32>,

    blksize: u32,
    windowsize: u32,
    /// ACKs carry a fifth byte.
    long_acks: bool,
    size: u64,
    /// The block that comes next; the first one is 1.
    awaited: u64,
    acknowledged: u64,
    /// Bytes received in order.
    received: u64,
    /// Blocks behind the awaited one that are here already: bit n stands for `awaited + 1 + n`.
    ahead: u64,
    /// The last block of the file, if it came early.
    last: Option<(u64, u64)>,
    /// A block was filed where none belongs: the file can never be complete.
    spoiled: bool,
    /// Copies of old blocks since the last new one.
    copies: u8,
    /// A gap was reported since the last new block.
    gap_reported: bool,
}

/// What a machine decides about one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) port: u16,
    pub(super) probing: bool,
    /// For options that tell what a probe has learned.
    pub(super) known_size: u64,
    pub(super) file_began: Moment,
    /// Where the machine's free-running timer stands, and which of several values it sends.
    pub(super) phase: u64,
}

/// How an exchange ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Complete {
        size: u64,
    },
    Probed {
        size: u64,
        pause: (Duration, Duration),
    },
    Refused(u16),
    GaveUp(Reason),
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    Nothing,
    Filed { position: u64, length: u16 },
    Unreachable,
}

type Verdict = (Effect, Option<End>);

const NOTHING: Verdict = (Effect::Nothing, None);

fn ends(end: End) -> Verdict {
    (Effect::Nothing, Some(end))
}

impl Exchange {
    /// Sends the request.
    pub(super) fn ask(
        now: Moment,
        profile: &'static Profile,
        setting: Setting,
        outbox: &mut Outbox,
    ) -> Exchange {
        let mut exchange = Exchange {
            profile,
            setting,
            server: None,
            resend_at: None,
            give_up_at: None,
            sendings: 0,
            adaptive: Adaptive::default(),
            adopted_timeout: None,
            blksize: BLKSIZE_DEFAULT,
            windowsize: 1,
            long_acks: false,
            size: 0,
            awaited: 1,
            acknowledged: 0,
            received: 0,
            ahead: 0,
            last: None,
            spoiled: false,
            copies: 0,
            gap_reported: false,
        };
        exchange.give_up_at = match profile.patience {
            Patience::Unbounded | Patience::SinceAnswerOrBlock(_) => None,
            Patience::SinceRequestOrBlock(millis) => Some(now + Duration::from_millis(millis)),
            Patience::WholeFile(millis) => Some(setting.file_began + Duration::from_millis(millis)),
        };
        exchange.push(outbox, Content::Request);
        exchange.wait_afresh(now);
        exchange
    }

    pub(super) fn port(&self) -> u16 {
        self.setting.port
    }

    /// The server has answered, and a transfer is under way.
    pub(super) fn answered(&self) -> bool {
        self.server.is_some()
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        [self.resend_at, self.give_up_at]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn on_packet(
        &mut self,
        now: Moment,
        from: u16,
        packet: Packet<'_>,
        outbox: &mut Outbox,
    ) -> Verdict {
        let Some(server) = self.server else {
            return self.on_first_answer(now, from, packet, outbox);
        };
        if from != server {
            match self.profile.stranger {
                Stranger::Drop => return NOTHING,
                Stranger::Accept => {}
                Stranger::Adopt => self.server = Some(from),
                Stranger::Abort => return ends(End::GaveUp(Reason::Stranger)),
                Stranger::CountAsTimeout => {
                    self.sendings += 1;
                    let end =
                        (self.gap_to_next().is_none()).then_some(End::GaveUp(Reason::Stranger));
                    return (Effect::Nothing, end);
                }
                Stranger::Unreachable => return (Effect::Unreachable, None),
            }
        }
        match packet {
            Packet::Error { .. } if self.profile.deaf_to_errors => NOTHING,
            Packet::Error { code } => ends(End::Refused(code)),
            Packet::Oack(_) => self.answer(now, self.profile.oack_again, 0, outbox),
            Packet::Data { block, length } => self.on_data(now, block, length, outbox),
        }
    }

    /// Time has passed: sends again, or gives up.
    pub(super) fn on_deadline(&mut self, now: Moment, outbox: &mut Outbox) -> Option<End> {
        if self.give_up_at.is_some_and(|at| at <= now) {
            return Some(End::GaveUp(match self.profile.patience {
                Patience::WholeFile(_) => Reason::FileClock,
                Patience::Unbounded
                | Patience::SinceRequestOrBlock(_)
                | Patience::SinceAnswerOrBlock(_) => self.silence(),
            }));
        }
        if self.resend_at.is_none_or(|at| now < at) {
            return None;
        }
        self.resend_at = None;
        let gave_up = match self.schedule() {
            Resend::Adaptive => !self.adaptive.expired(),
            Resend::Table(_) | Resend::Never => {
                self.sendings += 1;
                self.gap_to_next().is_none()
            }
        };
        if gave_up {
            return Some(End::GaveUp(self.silence()));
        }
        if self.answered() {
            // What was sent, not what has come since: a window may be half full.
            self.push(outbox, Content::Ack(low_bits(self.acknowledged)));
        } else {
            if self.profile.repeats_from_new_port {
                self.setting.port = self.setting.port.wrapping_add(1);
            }
            self.push(outbox, Content::Request);
        }
        self.arm(now);
        None
    }

    fn silence(&self) -> Reason {
        if self.answered() {
            Reason::Silence
        } else {
            Reason::NoReply
        }
    }

    fn on_first_answer(
        &mut self,
        now: Moment,
        from: u16,
        packet: Packet<'_>,
        outbox: &mut Outbox,
    ) -> Verdict {
        match packet {
            Packet::Error { code } => ends(End::Refused(code)),
            Packet::Oack(options) => {
                self.server = Some(from);
                self.on_oack(now, options, outbox)
            }
            Packet::Data { block: 1, .. } if self.setting.probing => {
                self.server = Some(from);
                self.end_probe(outbox)
            }
            Packet::Data { block: 1, length }
                if !self.profile.oack.required && u32::from(length) <= BLKSIZE_DEFAULT =>
            {
                self.server = Some(from);
                self.on_data(now, 1, length, outbox)
            }
            // A leftover of an earlier transfer, or something that it does not understand.
            Packet::Data { .. } => NOTHING,
        }
    }

    fn on_oack(&mut self, now: Moment, options: &[u8], outbox: &mut Outbox) -> Verdict {
        let rules = self.profile.oack;
        let mut fields = options.split(|&byte| byte == 0);
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            let Some(value) = decimal(value) else {
                continue;
            };
            if let Err(code) = self.on_option(name, value) {
                self.push(outbox, Content::Error(code, ""));
                return ends(End::GaveUp(Reason::BadOption));
            }
            if value == 0 && name.eq_ignore_ascii_case(b"tsize") {
                match rules.empty {
                    Empty::File => {}
                    Empty::NoFile => return ends(End::Refused(NOT_FOUND)),
                    Empty::Broken => return ends(End::GaveUp(Reason::BadOption)),
                }
            }
        }
        if self.setting.probing {
            return self.end_probe(outbox);
        }
        self.push_ack(outbox);
        if self.profile.oack_is_fresh {
            self.wait_afresh(now);
        }
        if let Patience::SinceAnswerOrBlock(millis) = self.profile.patience {
            self.give_up_at = Some(now + Duration::from_millis(millis));
        }
        NOTHING
    }

    /// Takes one granted option, or tells the error code that it deserves.
    fn on_option(&mut self, name: &[u8], value: u64) -> Result<(), u16> {
        let rules = self.profile.oack;
        let value32 = u32::try_from(value).unwrap_or(u32::MAX);
        let asked = self
            .options()
            .iter()
            .find(|(asked, _)| name.eq_ignore_ascii_case(asked.as_bytes()))
            .map(|(_, value)| self.value(*value));
        let named = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
        let Some(asked) = asked else {
            if named(b"timeout") && rules.adopts_timeout && 0 < value {
                self.adopted_timeout = Some(value32);
                return Ok(());
            }
            return rules.unasked.map_or(Ok(()), Err);
        };
        if named(b"blksize") {
            match rules.blksize {
                Blksize::UpToAsked(code) if asked < value => return Err(code),
                Blksize::Within(least, most, code) if value32 < least || most < value32 => {
                    return Err(code);
                }
                Blksize::Any | Blksize::UpToAsked(_) | Blksize::Within(..) => {}
            }
            self.blksize = value32;
        } else if named(b"windowsize") {
            self.windowsize = value32.max(1);
        } else if named(b"tsize") {
            self.size = value;
        } else if named(b"msftwindow") {
            self.long_acks = true;
        } else if named(b"timeout")
            && asked != value
            && let Some(code) = rules.other_timeout
        {
            return Err(code);
        }
        Ok(())
    }

    fn end_probe(&mut self, outbox: &mut Outbox) -> Verdict {
        let Some(probe) = &self.profile.probe else {
            return NOTHING;
        };
        self.push(outbox, Content::Error(probe.code, ""));
        ends(End::Probed {
            size: self.size,
            pause: probe.pause,
        })
    }

    fn on_data(&mut self, now: Moment, wire: u16, length: u16, outbox: &mut Outbox) -> Verdict {
        if self.blksize < u32::from(length) {
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
        let position = self.received;
        let effect = Effect::Filed { position, length };
        let mut ended = u32::from(length) < self.blksize;
        self.received += u64::from(length);
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
        if ended || u64::from(self.windowsize) <= self.awaited - 1 - self.acknowledged {
            self.push_ack(outbox);
            self.wait_afresh(now);
        }
        // An empty place in the bitmap is never filled: the file looks incomplete for ever.
        let end = (ended && !self.spoiled).then_some(End::Complete {
            size: self.received,
        });
        (effect, end)
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

    fn answer(&mut self, now: Moment, answer: Answer, block: u64, outbox: &mut Outbox) -> Verdict {
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
            Answer::AckOldAndLast => {
                self.push(outbox, Content::Ack(low_bits(block)));
                self.push_ack(outbox);
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

    /// Begins the schedule of repeats from its start, after a packet has been sent.
    fn wait_afresh(&mut self, now: Moment) {
        if !self.profile.counts_whole_file {
            self.sendings = 0;
        }
        if let Resend::Adaptive = self.schedule() {
            self.adaptive.restart(now);
        }
        self.arm(now);
    }

    /// Sets the timer for the sending that just took place.
    fn arm(&mut self, now: Moment) {
        self.resend_at = match self.schedule() {
            Resend::Adaptive => Some(self.adaptive.start(now)),
            Resend::Table(_) | Resend::Never => {
                self.gap_to_next().map(|gap| self.at_tick(now, gap))
            }
        };
    }

    fn schedule(&self) -> Resend {
        if self.answered() {
            self.profile.acks
        } else {
            self.profile.asks
        }
    }

    fn gap_to_next(&self) -> Option<Duration> {
        let Resend::Table(gaps) = self.schedule() else {
            return None;
        };
        let gap = Duration::from_millis((*gaps.get(self.sendings)?).into());
        Some(
            self.adopted_timeout
                .map_or(gap, |seconds| Duration::from_secs(seconds.into())),
        )
    }

    /// When a span that began now ends on a timer that ticks all the time: the tick under way
    /// counts as a whole one.
    fn at_tick(&self, now: Moment, gap: Duration) -> Moment {
        let tick = self.profile.tick * 1000;
        if tick == 0 {
            return now + gap;
        }
        let into_tick = (now.micros() + tick - self.setting.phase % tick) % tick;
        now + gap - Duration::from_micros(into_tick)
    }

    fn push_ack(&mut self, outbox: &mut Outbox) {
        self.acknowledged = self.awaited - 1;
        let block = low_bits(self.acknowledged);
        self.push(outbox, Content::Ack(block));
    }

    fn push(&self, outbox: &mut Outbox, content: Content) {
        outbox.push(Outgoing {
            from_port: self.setting.port,
            to: self
                .server
                .map_or(Destination::Listener, Destination::Transfer),
            content,
            window: self.long_acks.then_some(self.windowsize),
        });
    }

    pub(super) fn options(&self) -> &'static [(&'static str, Value)] {
        match &self.profile.probe {
            Some(probe) if self.setting.probing => probe.options,
            Some(_) | None => self.profile.options,
        }
    }

    pub(super) fn value(&self, value: Value) -> u64 {
        match value {
            Value::Is(number) => number.into(),
            Value::KnownSize => self.setting.known_size,
            Value::OneOf(numbers) => {
                let count = u64::try_from(numbers.len()).unwrap_or(1);
                let chosen = usize::try_from(self.setting.phase % count).unwrap_or(0);
                numbers[chosen].into()
            }
        }
    }
}

/// What goes on the wire for a block.
fn low_bits(block: u64) -> u16 {
    let [.., high, low] = block.to_be_bytes();
    u16::from_be_bytes([high, low])
}

fn decimal(text: &[u8]) -> Option<u64> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// RFC 1350: without an option, blocks have 512 bytes.
const BLKSIZE_DEFAULT: u32 = 512;

const NOT_FOUND: u16 = 1;
const UNKNOWN_TID: u16 = 5;

/// As it stands in lwIP.
const WRONG_BLOCK: &str = "Wrong block number";
