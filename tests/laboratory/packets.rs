//! What clients send.

/// A request with options.
pub(crate) fn request(opcode: u8, name: &str, mode: &str, options: &[(&str, &str)]) -> Vec<u8> {
    let mut datagram = vec![0, opcode];
    let texts = options.iter().flat_map(|&(name, value)| [name, value]);
    for text in [name, mode].into_iter().chain(texts) {
        datagram.extend(text.bytes());
        datagram.push(0);
    }
    datagram
}

/// An ACK with the low bits of this number.
pub(crate) fn ack(block: u64) -> [u8; 4] {
    let [.., high, low] = block.to_be_bytes();
    [0, 4, high, low]
}

/// An ERROR with a short text.
pub(crate) fn error(code: impl Into<u16>) -> [u8; 6] {
    let [high, low] = code.into().to_be_bytes();
    [0, 5, high, low, b'x', 0]
}
