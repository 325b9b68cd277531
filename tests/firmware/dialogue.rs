//! A conversation with one machine: what it receives, what it sends and when.
//!
//! What it says is written down as text, `RRQ image blksize 1432 tsize 0`, `ACK 7`, `ERROR 8`, with the
//! destination where that is not the port of the transfer. [`Dialogue::wait`] puts the time in front.

use std::time::Duration;

use ripple_tftpd::firmware::{
    Chain, Datagram, Destination, Kind, Machine, Packet, Reaction, Reason, Status,
};
use ripple_tftpd::moment::Moment;

/// The server's port in all conversations, and another.
pub(crate) const SERVER: u16 = 40_000;
pub(crate) const OTHER_PORT: u16 = 40_001;

pub(crate) struct Dialogue {
    pub(crate) machine: Machine,
    pub(crate) now: Moment,
    /// The port that the machine spoke from last.
    pub(crate) port: u16,
    /// What became of the packet that it received last.
    pub(crate) reaction: Reaction,
    pub(crate) first_bytes: Vec<u8>,
}

impl Dialogue {
    /// A machine that has just sent its first request for `image`.
    pub(crate) fn with(kind: Kind) -> Dialogue {
        Dialogue::about(kind, Chain::one_file("image", 1 << 40))
    }

    pub(crate) fn about(kind: Kind, chain: Chain) -> Dialogue {
        let mut dialogue = Dialogue {
            machine: Machine::new(kind, chain, 7),
            now: Moment::START + Duration::from_secs(1000),
            port: 0,
            reaction: Reaction::Ignored,
            first_bytes: Vec::new(),
        };
        dialogue.machine.power_on(dialogue.now);
        let first = dialogue.machine.next_datagram().unwrap();
        dialogue.port = first.from_port;
        dialogue.first_bytes = first.bytes().to_vec();
        assert_eq!(first.to, Destination::Listener);
        assert!(dialogue.machine.next_datagram().is_none());
        dialogue
    }

    /// The first request as text.
    pub(crate) fn request(&self) -> String {
        text_of(&self.first_bytes)
    }

    /// Goes through the handshake of a kind that sends options, with these granted.
    pub(crate) fn granted(kind: Kind, options: &str) -> Dialogue {
        let mut dialogue = Dialogue::with(kind);
        assert_eq!(dialogue.oack(options), ["ACK 0"]);
        dialogue
    }

    pub(crate) fn oack(&mut self, options: &str) -> Vec<String> {
        self.oack_from(SERVER, options)
    }

    pub(crate) fn oack_from(&mut self, from: u16, options: &str) -> Vec<String> {
        let mut bytes = options.replace(' ', "\0").into_bytes();
        if !bytes.is_empty() {
            bytes.push(0);
        }
        self.hear(from, Packet::Oack(&bytes))
    }

    pub(crate) fn data(&mut self, block: u16, length: u16) -> Vec<String> {
        self.hear(SERVER, Packet::Data { block, length })
    }

    pub(crate) fn data_from(&mut self, from: u16, block: u16, length: u16) -> Vec<String> {
        self.hear(from, Packet::Data { block, length })
    }

    pub(crate) fn error(&mut self, code: u16) -> Vec<String> {
        self.hear(SERVER, Packet::Error { code })
    }

    fn hear(&mut self, from: u16, packet: Packet<'_>) -> Vec<String> {
        self.reaction = self.machine.on_packet(self.now, self.port, from, packet);
        self.said()
    }

    /// Goes on for this long; every line begins with the seconds since the wait began.
    pub(crate) fn wait(&mut self, seconds: f64) -> Vec<String> {
        let begin = self.now;
        let end = begin + Duration::from_secs_f64(seconds);
        let mut lines = Vec::new();
        while let Some(at) = self.machine.deadline().filter(|at| *at <= end) {
            assert!(self.now <= at, "a deadline in the past");
            self.now = at;
            self.machine.on_deadline(at);
            let seconds = at.since(begin).as_secs_f64();
            lines.extend(
                self.said()
                    .iter()
                    .map(|said| format!("{seconds:.2} {said}")),
            );
            if let Status::Failed(_) = self.machine.status() {
                return lines;
            }
        }
        self.now = end;
        lines
    }

    /// Is silent until the machine gives up: when it spoke, when it gave up, and why.
    pub(crate) fn wait_for_failure(&mut self) -> (Vec<f64>, f64, Reason) {
        let begin = self.now;
        let lines = self.wait(1000.0);
        let Status::Failed(reason) = self.machine.status() else {
            panic!("it waits for ever");
        };
        let time = |line: &String| line.split(' ').next().unwrap().parse().unwrap();
        let times = lines.iter().map(time).collect();
        (times, self.now.since(begin).as_secs_f64(), reason)
    }

    /// Is silent until the machine speaks again or gives up; how many seconds that takes.
    pub(crate) fn wait_to_first_repeat(&mut self) -> f64 {
        let begin = self.now;
        self.now = self.machine.deadline().unwrap();
        self.machine.on_deadline(self.now);
        self.said();
        self.now.since(begin).as_secs_f64()
    }

    /// `count` full blocks from `first` on, each of which is acknowledged at once.
    pub(crate) fn lockstep(&mut self, first: u64, count: u64, blksize: u16) {
        for block in first..first + count {
            let wire = u16::try_from(block & 0xffff).unwrap();
            assert_eq!(self.data(wire, blksize), [format!("ACK {wire}")]);
        }
    }

    fn said(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(datagram) = self.machine.next_datagram() {
            self.port = datagram.from_port;
            said.push(line(&datagram));
        }
        said
    }
}

/// Whether the times are these, give or take what a table rounds away.
#[track_caller]
pub(crate) fn assert_times(actual: &[f64], expected: &[f64]) {
    let near = |(a, b): (&f64, &f64)| (a - b).abs() < 0.06;
    assert!(
        actual.len() == expected.len() && actual.iter().zip(expected).all(near),
        "{actual:?} is not {expected:?}"
    );
}

fn line(datagram: &Datagram) -> String {
    let text = text_of(datagram.bytes());
    match datagram.to {
        Destination::Listener if text.starts_with("RRQ") => text,
        Destination::Listener => format!("{text} to the listener"),
        Destination::Transfer(SERVER) => text,
        Destination::Transfer(port) => format!("{text} to {port}"),
    }
}

fn text_of(bytes: &[u8]) -> String {
    let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    match (number(0), bytes.len()) {
        (1, _) => {
            let text = String::from_utf8(bytes[2..].to_vec()).unwrap();
            let mut words: Vec<&str> = text.split('\0').collect();
            assert_eq!(words.pop(), Some(""), "a request ends with a NUL");
            assert_eq!(words.remove(1), "octet");
            format!("RRQ {}", words.join(" "))
        }
        (4, 4) => format!("ACK {}", number(2)),
        (4, 5) => format!("ACK {} window {}", number(2), bytes[4]),
        (5, 5) => format!("ERROR {}", number(2)),
        (5, _) => {
            let text = std::str::from_utf8(&bytes[4..]).unwrap();
            format!("ERROR {} {}", number(2), text.trim_end_matches('\0'))
        }
        _ => panic!("no client sends {bytes:?}"),
    }
}
