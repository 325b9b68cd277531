//! A datagram on the listening socket: what was understood must be what arrived.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ripple_tftpd::wire::{Direction, Malformed, Mode, Request};

fuzz_target!(|datagram: &[u8]| {
    match Request::parse(datagram) {
        Ok(request) => agrees(&request, datagram),
        Err(Malformed::Short) => assert!(datagram.len() < 2),
        Err(Malformed::Opcode) => assert!(datagram[0] != 0 || !matches!(datagram[1], 1 | 2)),
        Err(Malformed::Name) => assert!(!datagram[2..].contains(&0)),
        // No second string, or an empty one.
        Err(Malformed::Mode) => {
            let mut strings = datagram[2..].split(|&byte| byte == 0).skip(1);
            let mode = strings.next().unwrap_or_default();
            assert!(mode.is_empty() || strings.next().is_none());
        }
        Err(other) => panic!("a parser knows no {other:?}"),
    }
});

fn agrees(request: &Request<'_>, datagram: &[u8]) {
    let opcode = match request.direction {
        Direction::Read => 1,
        Direction::Write => 2,
    };
    let mut strings = datagram[2..].split(|&byte| byte == 0);
    assert_eq!(datagram[..2], [0, opcode]);
    assert_eq!(strings.next(), Some(request.filename));
    let mode = strings.next().unwrap_or_default().to_ascii_lowercase();
    assert!(!mode.is_empty());
    let named = match &mode[..] {
        b"octet" => Mode::Octet,
        b"netascii" => Mode::Netascii,
        b"mail" => Mode::Mail,
        _ => Mode::Unknown,
    };
    assert_eq!(request.mode, named);
    for (name, value) in request.options() {
        assert_eq!(strings.next(), Some(name));
        assert_eq!(strings.next(), Some(value));
    }
    // What is left is no pair: a name without a value, or what does not end.
    assert!(strings.count() <= 2);
}
