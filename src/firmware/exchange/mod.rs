//! One request and the transfer that follows: the engine that all kinds share.
//!
//! It knows nothing of boots or files, only of blocks. What differs between kinds stands in the
//! [`Profile`]; the engine never asks which kind it works for.

mod blocks;
mod oack;

use std::time::Duration;

use super::Reason;
use super::adaptive::Adaptive;
use super::datagram::{Destination, Packet};
use super::outbox::{Content, Outbox, Outgoing};
use super::profile::{Before, Patience, Probe, Profile, Resend, Value, WrongPort};
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
    pub(super) aim: Aim,
    /// For options that repeat what a probe has learned.
    pub(super) known_size: u64,
    pub(super) file_began: Moment,
    /// Where the machine's free-running timer stands, and which of several values it sends.
    pub(super) phase: u64,
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Aim {
    /// What the profile has before the reading of a file.
    Before,
    /// The file.
    File,
    /// So many bytes of the file, or all if it is shorter; then it is to be read again from its start.
    Part(u64),
}

/// How an exchange ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Complete {
        size: u64,
    },
    /// What comes before the reading of a file is done.
    Probed {
        size: u64,
        pause: (Duration, Duration),
    },
    /// The file is to be read again from its start.
    SoughtBack,
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
            match self.profile.wrong_port {
                WrongPort::Drop => return NOTHING,
                WrongPort::Accept => {}
                WrongPort::Adopt => self.server = Some(from),
                WrongPort::AcceptAdoptFirst if self.awaited == 1 => self.server = Some(from),
                WrongPort::AcceptAdoptFirst => {}
                WrongPort::Abort => return ends(End::GaveUp(Reason::WrongPort)),
                WrongPort::CountAsTimeout => {
                    self.sendings += 1;
                    let end =
                        (self.gap_to_next().is_none()).then_some(End::GaveUp(Reason::WrongPort));
                    return (Effect::Nothing, end);
                }
                WrongPort::Unreachable => return (Effect::Unreachable, None),
            }
        }
        match packet {
            Packet::Error { .. } if self.profile.deaf_to_errors => NOTHING,
            Packet::Error { code } => ends(End::Refused(code)),
            Packet::Oack(_) => self.answer(now, self.profile.oack_again, 0, outbox),
            Packet::Ack(_) => NOTHING,
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
            Packet::Data { block: 1, .. } if self.probe().is_some() => {
                self.server = Some(from);
                self.end_probe(outbox)
            }
            Packet::Data { block: 1, length } if self.takes_unasked(length) => {
                self.server = Some(from);
                self.on_data(now, 1, length, outbox)
            }
            // A leftover of an earlier transfer, or something that it does not understand.
            Packet::Data { .. } | Packet::Ack(_) => NOTHING,
        }
    }

    /// Takes DATA 1 of this length in answer to a request.
    fn takes_unasked(&self, length: u16) -> bool {
        let fits = u32::from(length) <= BLKSIZE_DEFAULT || self.profile.takes_long_blocks;
        fits && !self.profile.oack.required
    }

    /// The size probe that this is.
    fn probe(&self) -> Option<&'static Probe> {
        match &self.profile.before {
            Before::Probe(probe) if self.setting.aim == Aim::Before => Some(probe),
            _ => None,
        }
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

    /// The options of the request, in the order sent.
    pub(super) fn asked(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let options = self
            .probe()
            .map_or(self.profile.options, |probe| probe.options);
        options
            .iter()
            .map(|&(name, value)| (name, self.value(value)))
    }

    fn value(&self, value: Value) -> u64 {
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

/// RFC 1350: without an option, blocks have 512 bytes.
const BLKSIZE_DEFAULT: u32 = 512;
