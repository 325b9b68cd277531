//! The reading side of one transfer as a pure value: packets in, answers out. RFC 1350 with the options of RFC 2347, 2348 and 7440.
//! It waits for nothing and knows no socket; `client` and `storm` give it those.

use std::fmt;

use crate::packet::{self, Packet};

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) name: Vec<u8>,
    pub(crate) mode: &'static str,
    pub(crate) options: Vec<(&'static str, String)>,
}

impl Wish {
    pub(crate) fn octet(name: impl AsRef<[u8]>) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            mode: "octet",
            options: Vec::new(),
        }
    }

    pub(crate) fn netascii(name: impl AsRef<[u8]>) -> Self {
        Self {
            mode: "netascii",
            ..Self::octet(name)
        }
    }

    pub(crate) fn option(mut self, name: &'static str, value: impl ToString) -> Self {
        self.options.push((name, value.to_string()));
        self
    }

    pub(crate) fn packet(&self) -> Vec<u8> {
        let options: Vec<_> = self
            .options
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        packet::read_request(&self.name, self.mode, &options)
    }
}

/// What came of it so far.
pub(crate) struct Download {
    pub(crate) bytes: Vec<u8>,
    /// Empty if there was no OACK.
    pub(crate) agreed: Vec<(String, String)>,
    pub(crate) refusal: Option<(u16, String)>,
    /// DATA packets that had come before, or came out of order.
    pub(crate) duplicates: u64,
    pub(crate) blocks: u64,
    pub(crate) complete: bool,
    wished: Vec<(&'static str, String)>,
    blksize: usize,
    windowsize: u64,
    since_ack: u64,
}

impl Download {
    pub(crate) fn new(wish: &Wish) -> Self {
        Self {
            bytes: Vec::new(),
            agreed: Vec::new(),
            refusal: None,
            duplicates: 0,
            blocks: 0,
            complete: false,
            wished: wish.options.clone(),
            blksize: 512,
            windowsize: 1,
            since_ack: 0,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.complete || self.refusal.is_some()
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.blocks > 0 || !self.agreed.is_empty() || self.is_over()
    }

    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.agreed
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The answer to a packet, if it calls for one.
    ///
    /// Panics at whatever a server must never send: this is a test.
    pub(crate) fn on_packet(&mut self, packet: Packet) -> Option<Vec<u8>> {
        match packet {
            Packet::Data { block, bytes } => self.on_data(block, &bytes),
            Packet::Oack(options) => self.on_oack(options),
            Packet::Error { code, message } => {
                self.refusal = Some((code, message));
                None
            }
            Packet::Ack(block) => panic!("the server sent an ACK of {block} to a reader"),
            Packet::Strange(bytes) => panic!("the server sent nonsense: {bytes:?}"),
        }
    }

    fn on_oack(&mut self, options: Vec<(String, String)>) -> Option<Vec<u8>> {
        assert_eq!(self.blocks, 0, "an OACK after DATA");
        assert!(!options.is_empty(), "an OACK without options");
        for (name, value) in &options {
            let (_, wished) = self
                .wished
                .iter()
                .find(|(wish, _)| wish == name)
                .expect("an option nobody asked for");
            match name.to_ascii_lowercase().as_str() {
                "blksize" => self.blksize = at_most(value, wished).try_into().unwrap(),
                "windowsize" => self.windowsize = at_most(value, wished),
                "timeout" => {
                    assert_eq!(value, wished, "RFC 2349: the timeout is echoed or left out")
                }
                _ => {}
            }
        }
        self.agreed = options;
        Some(packet::ack(0))
    }

    fn on_data(&mut self, block: u16, bytes: &[u8]) -> Option<Vec<u8>> {
        assert!(
            bytes.len() <= self.blksize,
            "{} bytes in a block of {}",
            bytes.len(),
            self.blksize
        );
        if block != wire_number(self.blocks + 1) {
            self.duplicates += 1;
            // RFC 7440, section 4: a gap is answered by the last block in order. In lockstep silence keeps the
            // sorcerer's apprentice asleep, but for a last ACK that got lost.
            return (self.windowsize > 1 || self.complete).then(|| self.ack());
        }
        self.blocks += 1;
        self.since_ack += 1;
        self.bytes.extend_from_slice(bytes);
        self.complete = bytes.len() < self.blksize;
        (self.complete || self.since_ack == self.windowsize).then(|| self.ack())
    }

    fn ack(&mut self) -> Vec<u8> {
        self.since_ack = 0;
        packet::ack(wire_number(self.blocks))
    }
}

/// Without the file.
impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, blocks) = (self.bytes.len(), self.blocks);
        write!(
            f,
            "{bytes} bytes in {blocks} blocks, agreed {:?}",
            self.agreed
        )
    }
}

/// RFC 1350 has 16 bits; everybody goes on with 0 after 65535.
pub(crate) fn wire_number(block: u64) -> u16 {
    (block & 0xffff).try_into().unwrap()
}

fn at_most(granted: &str, wished: &str) -> u64 {
    let (granted, wished) = (granted.parse().unwrap(), wished.parse().unwrap());
    assert!(
        0 < granted && granted <= wished,
        "{granted} granted where {wished} was asked for"
    );
    granted
}
