//! Machines that send a file to a server: switches, routers, phones, boot loaders, and machines that crashed.
//!
//! A [`Writer`] is driven as a [`Machine`](super::Machine): it is handed time and packets, and is asked after every
//! call what it sends. It makes up its own bytes, so what must lie on the server's disk follows from its seed.
//! Read the table first: what sets the kinds apart, each with its source.

use std::time::Duration;

use super::datagram::{Destination, Packet};
use super::random::Random;
use crate::moment::Moment;

/// A kind of machine that writes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WriterKind {
    /// A switch that saves its configuration: no options, BSD's `tftp` (5 s, 5 times).
    Switch,
    /// An IP phone that saves its log: `tsize` and `blksize`, curl's timers (6 s).
    Phone,
    /// A router: `blksize 8192`, repeats its request every 4 s from another port.
    Router,
    /// U-Boot's `tftpput`: every OACK moves it to the next block, and any ACK after its last block is the end.
    Uboot,
    /// A machine that writes its memory: large blocks in windows (RFC 7440).
    Dump,
}

impl WriterKind {
    /// All of them.
    pub const ALL: [WriterKind; 5] = [
        WriterKind::Switch,
        WriterKind::Phone,
        WriterKind::Router,
        WriterKind::Uboot,
        WriterKind::Dump,
    ];

    fn habits(self) -> Habits {
        let plain = Habits {
            blksize: None,
            windowsize: 1,
            timeout: None,
            says_size: None,
            repeats_after: Duration::from_secs(5),
            sendings: 5,
            changes_port: false,
            counts_every_answer: false,
        };
        match self {
            // tftp-hpa and BSD `tftp`: 5 s, 25 s in all.
            WriterKind::Switch => plain,
            // curl 8: three repeats after about 6 s each.
            WriterKind::Phone => Habits {
                blksize: Some(1428),
                timeout: Some(6),
                says_size: Some(true),
                repeats_after: Duration::from_secs(6),
                sendings: 4,
                ..plain
            },
            // Cisco IOS: request repeated after 4 s.
            WriterKind::Router => Habits {
                blksize: Some(8192),
                repeats_after: Duration::from_secs(4),
                sendings: 6,
                changes_port: true,
                ..plain
            },
            // U-Boot net/tftp.c: TIMEOUT 5 s, `tsize` of 0, 11 sendings.
            WriterKind::Uboot => Habits {
                blksize: Some(1468),
                timeout: Some(5),
                says_size: Some(false),
                sendings: 11,
                counts_every_answer: true,
                ..plain
            },
            // The windows of RFC 7440, as new clients of tftp-hpa and atftp have them.
            WriterKind::Dump => Habits {
                blksize: Some(1428),
                windowsize: 16,
                says_size: Some(true),
                repeats_after: Duration::from_secs(1),
                sendings: 20,
                ..plain
            },
        }
    }
}

/// What sets the kinds apart.
#[derive(Clone, Copy, Debug)]
struct Habits {
    /// What it asks for, and what it takes where it is granted less; 512 without an OACK.
    blksize: Option<u16>,
    windowsize: u16,
    timeout: Option<u8>,
    /// It asks for `tsize`, with the size or with 0.
    says_size: Option<bool>,
    repeats_after: Duration,
    /// How often it sends anything before it gives up.
    sendings: u8,
    changes_port: bool,
    counts_every_answer: bool,
}

/// A machine that writes one file.
#[derive(Debug)]
pub struct Writer {
    habits: Habits,
    name: String,
    size: u64,
    seed: u64,
    port: u16,
    /// The port of the transfer, once something came from there.
    server: Option<u16>,
    blksize: u16,
    windowsize: u16,
    /// Blocks that were acknowledged, those before them too.
    acknowledged: u64,
    /// The block to send next, and how many of the window may still leave.
    next: u64,
    window_ends: u64,
    /// The request is to be sent.
    asks: bool,
    sendings: u8,
    repeat_at: Option<Moment>,
    state: WriterStatus,
}

/// What a machine that writes is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriterStatus {
    /// Not begun.
    Idle,
    /// Asks, or sends.
    Busy,
    /// The server says that it has everything.
    Done,
    /// It gave up: nothing was answered in time.
    GaveUp,
    /// The server refused, with this code.
    Refused(u16),
}

impl Writer {
    /// A machine that has a file of `size` bytes for the server, under this name. Equal arguments give equal machines.
    pub fn new(kind: WriterKind, name: String, size: u64, seed: u64) -> Writer {
        Writer {
            habits: kind.habits(),
            name,
            size,
            seed,
            port: Random::new(seed).port(1024, 60_000),
            server: None,
            blksize: BLKSIZE_DEFAULT,
            windowsize: 1,
            acknowledged: 0,
            next: 1,
            window_ends: 0,
            asks: false,
            sendings: 0,
            repeat_at: None,
            state: WriterStatus::Idle,
        }
    }

    /// It has something to save.
    pub fn begin(&mut self, now: Moment) {
        self.state = WriterStatus::Busy;
        self.asks = true;
        self.sendings = 1;
        self.wait(now);
    }

    /// A datagram from the server's port `from` came to its port `port`.
    pub fn on_packet(&mut self, now: Moment, port: u16, from: u16, packet: Packet<'_>) {
        let is_wrong_port = self.server.is_some_and(|server| server != from);
        if self.state != WriterStatus::Busy || port != self.port || is_wrong_port {
            return;
        }
        match packet {
            Packet::Error { code } => self.state = WriterStatus::Refused(code),
            Packet::Oack(options) if self.server.is_none() => {
                self.server = Some(from);
                self.take_options(options);
                self.advance(now, 0);
            }
            // The answer to a request that was repeated.
            Packet::Oack(_) if self.habits.counts_every_answer => self.advance(now, self.next - 1),
            Packet::Ack(0) if self.server.is_none() => {
                self.server = Some(from);
                self.advance(now, 0);
            }
            Packet::Ack(block) if self.server.is_some() => self.on_ack(now, block),
            Packet::Oack(_) | Packet::Ack(_) | Packet::Data { .. } => {}
        }
    }

    fn on_ack(&mut self, now: Moment, block: u16) {
        let sent = self.next - 1;
        if self.habits.counts_every_answer && sent == self.last() {
            self.state = WriterStatus::Done;
            return;
        }
        let ahead = u64::from(block.wrapping_sub(low_bits(self.acknowledged)));
        let is_ahead = 1 <= ahead && ahead <= sent - self.acknowledged;
        // In a window a repeated ACK says: begin again after this block.
        if is_ahead || ahead == 0 && self.windowsize > 1 && self.acknowledged < sent {
            self.advance(now, self.acknowledged + ahead);
        }
    }

    /// Everything up to this block is there: the next window may leave.
    fn advance(&mut self, now: Moment, block: u64) {
        self.acknowledged = block;
        if block == self.last() {
            self.state = WriterStatus::Done;
            return;
        }
        self.asks = false;
        self.sendings = 1;
        self.send_window();
        self.wait(now);
    }

    fn send_window(&mut self) {
        self.next = self.acknowledged + 1;
        self.window_ends = (self.acknowledged + u64::from(self.windowsize)).min(self.last());
    }

    fn take_options(&mut self, options: &[u8]) {
        let mut words = options.split(|&byte| byte == 0);
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            let number = std::str::from_utf8(value).unwrap_or_default().parse();
            match (name, number) {
                (b"blksize", Ok(number)) => self.blksize = number,
                (b"windowsize", Ok(number)) => self.windowsize = number,
                _ => {}
            }
        }
    }

    /// The moment of [`Writer::deadline`] has come; too early does no harm.
    pub fn on_deadline(&mut self, now: Moment) {
        if self.state != WriterStatus::Busy || self.repeat_at.is_none_or(|at| now < at) {
            return;
        }
        if self.sendings >= self.habits.sendings {
            self.state = WriterStatus::GaveUp;
            return;
        }
        self.sendings += 1;
        if self.server.is_some() {
            self.send_window();
        } else {
            self.asks = true;
            self.port = match self.habits.changes_port {
                true => self.port.wrapping_add(1).max(1024),
                false => self.port,
            };
        }
        self.wait(now);
    }

    fn wait(&mut self, now: Moment) {
        self.repeat_at = Some(now + self.habits.repeats_after);
    }

    /// When [`Writer::on_deadline`] is due.
    pub fn deadline(&self) -> Option<Moment> {
        self.repeat_at.filter(|_| self.state == WriterStatus::Busy)
    }

    /// Writes the next datagram to `out` and returns where it goes; to be called until `None` after every call that may
    /// cause one.
    pub fn next_datagram(&mut self, out: &mut Vec<u8>) -> Option<Destination> {
        out.clear();
        if std::mem::take(&mut self.asks) {
            self.write_request(out);
            return Some(Destination::Listener);
        }
        let server = self.server?;
        if self.state != WriterStatus::Busy || self.next > self.window_ends {
            return None;
        }
        let begin = (self.next - 1) * u64::from(self.blksize);
        let end = (begin + u64::from(self.blksize)).min(self.size);
        out.extend([0, 3]);
        out.extend(low_bits(self.next).to_be_bytes());
        out.extend((begin..end).map(|at| byte_at(self.seed, at)));
        self.next += 1;
        Some(Destination::Transfer(server))
    }

    fn write_request(&self, out: &mut Vec<u8>) {
        let Habits {
            blksize,
            windowsize,
            timeout,
            says_size,
            ..
        } = self.habits;
        out.extend([0, 2]);
        for text in [self.name.as_bytes(), b"octet"] {
            out.extend(text);
            out.push(0);
        }
        let size = says_size.map(|is_known| if is_known { self.size } else { 0 });
        let options = [
            ("timeout", timeout.map(u64::from)),
            ("tsize", size),
            ("blksize", blksize.map(u64::from)),
            ("windowsize", (windowsize > 1).then_some(windowsize.into())),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                out.extend(format!("{name}\0{value}\0").bytes());
            }
        }
    }

    /// The block that ends the file: shorter than the others, perhaps empty.
    fn last(&self) -> u64 {
        self.size / u64::from(self.blksize) + 1
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it is doing.
    pub fn status(&self) -> WriterStatus {
        self.state
    }

    /// The name of its file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether these are the bytes of its file.
    pub fn is_file(&self, bytes: &[u8]) -> bool {
        let mut expected = (0..self.size).map(|at| byte_at(self.seed, at));
        bytes.len() as u64 == self.size && bytes.iter().all(|&byte| expected.next() == Some(byte))
    }
}

/// A byte of a file, which differs from file to file and from block to block.
fn byte_at(seed: u64, at: u64) -> u8 {
    let mixed = (at ^ seed.rotate_left(17)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed.to_be_bytes()[0]
}

fn low_bits(block: u64) -> u16 {
    let [.., high, low] = block.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// Where none was agreed (RFC 1350).
const BLKSIZE_DEFAULT: u16 = 512;
