//! What a machine sends and what it is sent, straight from RFC 1350 and RFC 2347.
//!
//! Deliberately not built on `wire`: the machines are a second reading of the standard, so a
//! mistake in the server's own reading shows.

/// A datagram from the server, reduced to what a machine acts on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// Options granted: the bytes after the opcode.
    Oack(&'a [u8]),
    /// A block of the file: its number on the wire and how many bytes it carries.
    Data {
        /// The block number, modulo 65536.
        block: u16,
        /// Bytes of payload.
        length: u16,
    },
    /// The server has everything up to this block, modulo 65536.
    Ack(u16),
    /// The server refuses or gives up.
    Error {
        /// The error code.
        code: u16,
    },
}

impl Packet<'_> {
    /// Reads a datagram as it comes from a socket; anything that no server sends is `None`.
    pub fn parse(datagram: &[u8]) -> Option<Packet<'_>> {
        let (opcode, rest) = datagram.split_first_chunk::<2>()?;
        let number = rest.first_chunk::<2>().map(|two| u16::from_be_bytes(*two));
        match u16::from_be_bytes(*opcode) {
            DATA => Some(Packet::Data {
                block: number?,
                length: u16::try_from(rest.len() - 2).ok()?,
            }),
            ACK => Some(Packet::Ack(number?)),
            ERROR => Some(Packet::Error { code: number? }),
            OACK => Some(Packet::Oack(rest)),
            _ => None,
        }
    }
}

/// Where a machine sends a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    /// The server's well-known port.
    Listener,
    /// The port of the server that a transfer came from.
    Transfer(u16),
}

/// A datagram that a machine sends.
#[derive(Clone)]
pub struct Datagram {
    /// The machine's own UDP port.
    pub from_port: u16,
    /// Where it goes.
    pub to: Destination,
    length: usize,
    buffer: [u8; DATAGRAM_MAX],
}

impl Datagram {
    /// What goes over the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    pub(super) fn new(from_port: u16, to: Destination) -> Datagram {
        Datagram {
            from_port,
            to,
            length: 0,
            buffer: [0; DATAGRAM_MAX],
        }
    }

    /// RRQ up to and with the mode; options follow.
    pub(super) fn request(mut self, name: &str) -> Datagram {
        self.number(RRQ);
        self.text(name);
        self.text("octet");
        self
    }

    pub(super) fn option(mut self, name: &str, value: u64) -> Datagram {
        self.text(name);
        let mut digits = [0; 20];
        let mut first = digits.len();
        let mut left = value;
        loop {
            first -= 1;
            digits[first] = b'0' + (left % 10).to_le_bytes()[0];
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.put(&digits[first..]);
        self.put(&[0]);
        self
    }

    pub(super) fn ack(mut self, block: u16) -> Datagram {
        self.number(ACK);
        self.number(block);
        self
    }

    pub(super) fn error(mut self, code: u16, text: &str) -> Datagram {
        self.number(ERROR);
        self.number(code);
        self.text(text);
        self
    }

    /// One more byte, as Windows puts its window behind an ACK.
    pub(super) fn byte(mut self, byte: u8) -> Datagram {
        self.put(&[byte]);
        self
    }

    fn number(&mut self, number: u16) {
        self.put(&number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.put(text.as_bytes());
        self.put(&[0]);
    }

    fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.buffer[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }
}

const RRQ: u16 = 1;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// A request of [`super::chain::NAME_MAX`] bytes with four options fits.
const DATAGRAM_MAX: usize = 256;
