//! What the server sends besides file bytes: the header of DATA, and whole ACK and ERROR packets.
//!
//! The OACK is built where its options are known, in `transfer::options`.

use super::{Refusal, opcode};

/// The four bytes before the data of a block (RFC 1350 section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataHeader(pub [u8; DataHeader::LENGTH]);

impl DataHeader {
    /// Bytes of a header.
    pub const LENGTH: usize = 4;

    /// The header of the block with this number, counted from 1 without a wrap; on the wire 65,535 is
    /// followed by 0.
    pub fn new(block: u64) -> DataHeader {
        let [.., high, low] = block.to_be_bytes();
        let [first, second] = opcode::DATA.to_be_bytes();
        DataHeader([first, second, high, low])
    }
}

/// An ACK of this block, modulo 65,536.
pub fn ack_packet(block: u16) -> [u8; 4] {
    let [first, second] = opcode::ACK.to_be_bytes();
    let [high, low] = block.to_be_bytes();
    [first, second, high, low]
}

/// The whole OACK that answers a probe.
pub const PROBE_OACK: &[u8] = b"\0\x06x-probe\x001\0";

/// A buffer of this size holds any ERROR packet that [`write_error`] makes.
pub const ERROR_PACKET_MAX: usize = 64;

/// Writes the ERROR packet for a refusal into `buffer` and returns its length.
pub fn write_error(refusal: Refusal, buffer: &mut [u8; ERROR_PACKET_MAX]) -> usize {
    write_error_with(refusal, refusal.message().as_bytes(), buffer)
}

/// The same with a text of the operator's, which is cut where it is too long.
pub fn write_error_with(
    refusal: Refusal,
    text: &[u8],
    buffer: &mut [u8; ERROR_PACKET_MAX],
) -> usize {
    let length = text.len().min(ERROR_PACKET_MAX - 5);
    buffer[..2].copy_from_slice(&opcode::ERROR.to_be_bytes());
    buffer[2..4].copy_from_slice(&refusal.code().to_be_bytes());
    buffer[4..4 + length].copy_from_slice(&text[..length]);
    buffer[4 + length] = 0;
    length + 5
}
