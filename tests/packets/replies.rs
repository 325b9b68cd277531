//! What a client sends on the socket of its transfer: ACK, ERROR, and what has no place there.

use ripple_tftpd::wire::{Malformed, Reply};

#[test]
fn replies() {
    let error = |code, message| Ok(Reply::Error { code, message });
    let rows: &[(&str, &[u8], Result<Reply<'_>, Malformed>)] = &[
        (
            "RFC 1350 section 5: ACK",
            b"\0\x04\0\x01",
            Ok(Reply::Ack(1)),
        ),
        (
            "RFC 2347: ACK 0 answers an OACK",
            b"\0\x04\0\0",
            Ok(Reply::Ack(0)),
        ),
        (
            "the highest block on the wire",
            b"\0\x04\xFF\xFF",
            Ok(Reply::Ack(65_535)),
        ),
        ("network byte order", b"\0\x04\x01\x02", Ok(Reply::Ack(258))),
        (
            "Windows bootmgr adds a fifth byte, the window it would like next",
            b"\0\x04\0\x09\x10",
            Ok(Reply::Ack(9)),
        ),
        (
            "clients that send their whole 516-byte buffer",
            &{
                let mut ack = [0xAA; 516];
                (ack[0], ack[1], ack[2], ack[3]) = (0, 4, 0, 7);
                ack
            },
            Ok(Reply::Ack(7)),
        ),
        (
            "an ACK without its number",
            b"\0\x04",
            Err(Malformed::Short),
        ),
        (
            "an ACK with half a number",
            b"\0\x04\0",
            Err(Malformed::Short),
        ),
        (
            "edk2 ends its size probe so",
            b"\0\x05\0\x08User aborted the transfer\0",
            error(8, b"User aborted the transfer"),
        ),
        (
            "legacy PXE ROMs end theirs so",
            b"\0\x05\0\0TFTP Aborted\0",
            error(0, b"TFTP Aborted"),
        ),
        ("an empty text", b"\0\x05\0\x03\0", error(3, b"")),
        (
            "a text that does not end",
            b"\0\x05\0\x03disk full",
            error(3, b"disk full"),
        ),
        (
            "no text at all, where atftpd 0.7.1 broke (CVE-2019-11365)",
            b"\0\x05\0\x05",
            error(5, b""),
        ),
        (
            "bytes after the text",
            b"\0\x05\0\x01no\0more",
            error(1, b"no"),
        ),
        (
            "a code that no RFC defines",
            b"\0\x05\xFF\xFFwhat\0",
            error(65_535, b"what"),
        ),
        ("an ERROR without a code", b"\0\x05", Err(Malformed::Short)),
        (
            "an ERROR with half a code",
            b"\0\x05\0",
            Err(Malformed::Short),
        ),
        ("nothing", b"", Err(Malformed::Short)),
        ("one byte", b"\0", Err(Malformed::Short)),
        (
            "a request on the socket of a transfer",
            b"\0\x01a\0octet\0",
            Err(Malformed::Opcode),
        ),
        (
            "an upload on it",
            b"\0\x02a\0octet\0",
            Err(Malformed::Opcode),
        ),
        (
            "RFC 1350 section 5: DATA, of an upload",
            b"\0\x03\x01\x02data",
            Ok(Reply::Data {
                block: 258,
                payload: b"data",
            }),
        ),
        (
            "a last block without bytes",
            b"\0\x03\0\x09",
            Ok(Reply::Data {
                block: 9,
                payload: b"",
            }),
        ),
        (
            "DATA with half a number",
            b"\0\x03\0",
            Err(Malformed::Short),
        ),
        (
            "an OACK towards the server",
            b"\0\x06blksize\x008\0",
            Err(Malformed::Opcode),
        ),
        ("opcode 0", b"\0\0\0\x01", Err(Malformed::Opcode)),
        (
            "opcode 1028: its low byte alone would be an ACK",
            b"\x04\x04\0\x01",
            Err(Malformed::Opcode),
        ),
    ];
    for (why, datagram, expected) in rows {
        assert_eq!(
            Reply::parse(datagram),
            *expected,
            "{why}: {}",
            datagram.escape_ascii()
        );
    }
}

#[test]
fn every_block_number_is_read_as_it_was_sent() {
    for block in 0..=u16::MAX {
        let [high, low] = block.to_be_bytes();
        assert_eq!(Reply::parse(&[0, 4, high, low]), Ok(Reply::Ack(block)));
    }
}
