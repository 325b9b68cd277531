//! What leaves besides file bytes: headers of DATA, and ERROR packets.

use std::collections::VecDeque;

use ripple_tftpd::wire::{
    DataHeader, ERROR_PACKET_MAX, Malformed, Refusal, Reply, Request, netascii, write_error,
};

#[test]
fn headers_of_data() {
    let rows: &[(&str, u64, [u8; 4])] = &[
        ("RFC 1350 section 5: blocks begin with 1", 1, [0, 3, 0, 1]),
        ("network byte order", 258, [0, 3, 1, 2]),
        (
            "the last before the sign bit of 16-bit servers",
            32_767,
            [0, 3, 0x7F, 0xFF],
        ),
        ("the first after it", 32_768, [0, 3, 0x80, 0]),
        ("the highest", 65_535, [0, 3, 0xFF, 0xFF]),
        (
            "65535 is followed by 0, not by 1 as in some servers",
            65_536,
            [0, 3, 0, 0],
        ),
        ("and 0 by 1", 65_537, [0, 3, 0, 1]),
        ("the second wrap", 2 * 65_536, [0, 3, 0, 0]),
        (
            "4 GiB in blocks of 8 bytes and beyond",
            1 << 40,
            [0, 3, 0, 0],
        ),
        ("the end of 64 bits", u64::MAX, [0, 3, 0xFF, 0xFF]),
    ];
    for (why, block, expected) in rows {
        assert_eq!(DataHeader::new(*block), DataHeader(*expected), "{why}");
    }
}

#[test]
fn every_number_wraps_to_its_low_16_bits() {
    for block in 1..3 * 65_536_u64 {
        let DataHeader([_, opcode, high, low]) = DataHeader::new(block);
        assert_eq!(opcode, 3);
        assert_eq!(u64::from(u16::from_be_bytes([high, low])), block % 65_536);
    }
}

/// RFC 1350, appendix. Permanent faults are 1 or 2: U-Boot starts again after any other code.
#[test]
fn error_packets_byte_for_byte() {
    let rows: &[(Refusal, &[u8])] = &[
        (Refusal::NotFound, b"\0\x05\0\x01no such file\0"),
        (Refusal::EmptyName, b"\0\x05\0\x01empty file name\0"),
        (Refusal::NameTooLong, b"\0\x05\0\x02file name too long\0"),
        (
            Refusal::OutsideRoot,
            b"\0\x05\0\x02outside the served directory\0",
        ),
        (Refusal::NotAFile, b"\0\x05\0\x02not a regular file\0"),
        (Refusal::NoAccess, b"\0\x05\0\x02access denied\0"),
        (
            Refusal::NotPublic,
            b"\0\x05\0\x02not readable by others (o+r)\0",
        ),
        (Refusal::ReadOnly, b"\0\x05\0\x02uploads are off\0"),
        (
            Refusal::MailMode,
            b"\0\x05\0\x04mail mode is not supported\0",
        ),
        (Refusal::UnknownMode, b"\0\x05\0\x04unknown transfer mode\0"),
        (
            Refusal::ReadFailed,
            b"\0\x05\0\0file changed or could not be read\0",
        ),
        (
            Refusal::FileChanged,
            b"\0\x05\0\0file changed while it was sent\0",
        ),
    ];
    for (refusal, expected) in rows {
        // A buffer that was used before: nothing of it may leak into the packet.
        let mut buffer = [0xAA; ERROR_PACKET_MAX];
        let length = write_error(*refusal, &mut buffer);
        let packet = &buffer[..length];
        assert_eq!(
            packet.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
        let text = &expected[4..expected.len() - 1];
        assert_eq!(
            Reply::parse(packet),
            Ok(Reply::Error {
                code: refusal.code(),
                message: text
            })
        );
        // Were it sent to a listening socket, it would get no answer there.
        assert_eq!(Request::parse(packet), Err(Malformed::Opcode));
    }
}

/// RFC 1350 section 1 and RFC 764: LF becomes CR LF, CR becomes CR NUL, everything else stays.
#[test]
fn netascii_of_every_byte() {
    for byte in 0..=u8::MAX {
        let mut out = VecDeque::new();
        netascii::translate(&[byte], &mut out);
        let expected = match byte {
            b'\n' => vec![b'\r', b'\n'],
            b'\r' => vec![b'\r', 0],
            other => vec![other],
        };
        assert_eq!(Vec::from(out), expected, "{byte:#04x}");
    }
}

/// Servers that look one byte ahead get a CR LF wrong when it lies on the edge of a block.
#[test]
fn netascii_may_be_cut_anywhere() {
    let text = b"\r\n\n\r\r\0\n\0end\r";
    let mut whole = VecDeque::new();
    netascii::translate(text, &mut whole);
    assert_eq!(
        Vec::from(whole.clone()).escape_ascii().to_string(),
        b"\r\0\r\n\r\n\r\0\r\0\0\r\n\0end\r\0"
            .escape_ascii()
            .to_string()
    );
    for cut in 0..=text.len() {
        let mut parts = VecDeque::new();
        netascii::translate(&text[..cut], &mut parts);
        netascii::translate(&text[cut..], &mut parts);
        assert_eq!(parts, whole, "cut at {cut}");
    }
}
