//! What a client sends during a transfer: ACK, DATA and ERROR (RFC 1350 section 5).

use super::{Malformed, number_at, opcode};

/// A packet from a client in a transfer, borrowed from its datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply<'a> {
    /// Everything up to this block (modulo 65,536) has arrived.
    ///
    /// Bytes after the block number are ignored: Windows adds one.
    Ack(u16),
    /// A block of the file that the client sends.
    Data {
        /// Its number, modulo 65,536.
        block: u16,
        /// Its bytes: fewer than agreed in the last one.
        payload: &'a [u8],
    },
    /// The client ends the transfer.
    Error {
        /// RFC 1350 and RFC 2347 define 0 to 8.
        code: u16,
        /// Untrusted text, without its NUL; it may be missing.
        message: &'a [u8],
    },
}

impl<'a> Reply<'a> {
    /// Reads a datagram that arrived on the socket of a transfer.
    ///
    /// # Errors
    /// [`Malformed`] for anything but an ACK, a DATA or an ERROR with its number.
    pub fn parse(datagram: &'a [u8]) -> Result<Reply<'a>, Malformed> {
        let opcode = number_at(datagram, 0).ok_or(Malformed::Short)?;
        let number = number_at(datagram, 2);
        match opcode {
            opcode::ACK => number.map(Reply::Ack).ok_or(Malformed::Short),
            opcode::DATA => {
                let block = number.ok_or(Malformed::Short)?;
                let payload = &datagram[4..];
                Ok(Reply::Data { block, payload })
            }
            opcode::ERROR => {
                let code = number.ok_or(Malformed::Short)?;
                let text = &datagram[4..];
                let message = text.split(|&byte| byte == 0).next().unwrap_or_default();
                Ok(Reply::Error { code, message })
            }
            _ => Err(Malformed::Opcode),
        }
    }
}
