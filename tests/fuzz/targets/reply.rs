//! A datagram on the socket of a transfer.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ripple_tftpd::wire::{Malformed, Reply};

fuzz_target!(|datagram: &[u8]| match Reply::parse(datagram) {
    Ok(Reply::Ack(block)) => {
        let [high, low] = block.to_be_bytes();
        assert!(datagram.starts_with(&[0, 4, high, low]));
    }
    Ok(Reply::Data { block, payload }) => {
        let [high, low] = block.to_be_bytes();
        assert!(datagram.starts_with(&[0, 3, high, low]));
        assert_eq!(&datagram[4..], payload);
    }
    Ok(Reply::Error { code, message }) => {
        let [high, low] = code.to_be_bytes();
        assert!(datagram.starts_with(&[0, 5, high, low]));
        assert!(datagram[4..].starts_with(message) && !message.contains(&0));
    }
    Err(Malformed::Short) => assert!(datagram.len() < 4),
    Err(Malformed::Opcode) => assert!(datagram[0] != 0 || !matches!(datagram[1], 3..=5)),
    Err(other) => panic!("a parser knows no {other:?}"),
});
