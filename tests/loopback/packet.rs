//! Packets as a client writes and reads them, straight from RFC 1350, section 5, and RFC 2347. It shares no code with the server:
//! a fault that both sides had in common would be seen by nobody.

/// A packet of a server; what no server may send is `Strange`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Data { block: u16, bytes: Vec<u8> },
    Ack(u16),
    Error { code: u16, message: String },
    Oack(Vec<(String, String)>),
    Strange(Vec<u8>),
}

pub(crate) fn read_request(name: &[u8], mode: &str, options: &[(&str, &str)]) -> Vec<u8> {
    request(1, name, mode, options)
}

pub(crate) fn write_request(name: &[u8], mode: &str) -> Vec<u8> {
    request(2, name, mode, &[])
}

pub(crate) fn write_request_with(name: &[u8], mode: &str, options: &[(&str, &str)]) -> Vec<u8> {
    request(2, name, mode, options)
}

pub(crate) fn data(block: u16, bytes: &[u8]) -> Vec<u8> {
    let header = [3_u16.to_be_bytes(), block.to_be_bytes()].concat();
    [&header[..], bytes].concat()
}

pub(crate) fn ack(block: u16) -> Vec<u8> {
    [4_u16.to_be_bytes(), block.to_be_bytes()].concat()
}

pub(crate) fn error(code: u16, message: &str) -> Vec<u8> {
    let mut packet = [5_u16.to_be_bytes(), code.to_be_bytes()].concat();
    push_string(&mut packet, message.as_bytes());
    packet
}

pub(crate) fn parse(datagram: &[u8]) -> Packet {
    well_formed(datagram).unwrap_or_else(|| Packet::Strange(datagram.to_vec()))
}

fn well_formed(datagram: &[u8]) -> Option<Packet> {
    let (opcode, rest) = word(datagram)?;
    match opcode {
        3 => word(rest).map(|(block, bytes)| Packet::Data {
            block,
            bytes: bytes.to_vec(),
        }),
        4 => match word(rest)? {
            (block, []) => Some(Packet::Ack(block)),
            _ => None,
        },
        5 => {
            let (code, text) = word(rest)?;
            let [message] = <[String; 1]>::try_from(strings(text)?).ok()?;
            Some(Packet::Error { code, message })
        }
        6 => {
            let strings = strings(rest)?;
            let (pairs, odd) = strings.as_chunks::<2>();
            odd.is_empty().then(|| {
                Packet::Oack(
                    pairs
                        .iter()
                        .cloned()
                        .map(|[name, value]| (name, value))
                        .collect(),
                )
            })
        }
        _ => None,
    }
}

fn request(opcode: u16, name: &[u8], mode: &str, options: &[(&str, &str)]) -> Vec<u8> {
    let mut packet = opcode.to_be_bytes().to_vec();
    push_string(&mut packet, name);
    push_string(&mut packet, mode.as_bytes());
    for (name, value) in options {
        push_string(&mut packet, name.as_bytes());
        push_string(&mut packet, value.as_bytes());
    }
    packet
}

fn push_string(packet: &mut Vec<u8>, bytes: &[u8]) {
    packet.extend_from_slice(bytes);
    packet.push(0);
}

fn word(bytes: &[u8]) -> Option<(u16, &[u8])> {
    bytes
        .split_first_chunk::<2>()
        .map(|(head, rest)| (u16::from_be_bytes(*head), rest))
}

/// Strings that each end in a NUL, and nothing after the last one.
fn strings(bytes: &[u8]) -> Option<Vec<String>> {
    let body = match bytes {
        [] => return Some(Vec::new()),
        [body @ .., 0] => body,
        _ => return None,
    };
    body.split(|&byte| byte == 0)
        .map(|text| String::from_utf8(text.to_vec()).ok())
        .collect()
}

#[test]
fn packets_are_those_of_the_rfcs() {
    assert_eq!(
        read_request(b"f", "octet", &[("blksize", "8")]),
        b"\0\x01f\0octet\0blksize\08\0"
    );
    assert_eq!(write_request(b"f", "netascii"), b"\0\x02f\0netascii\0");
    assert_eq!(ack(258), [0, 4, 1, 2]);
    assert_eq!(error(8, "no"), b"\0\x05\0\x08no\0");
    assert_eq!(data(258, b"x"), [0, 3, 1, 2, b'x']);
    assert_eq!(parse(b"\0\x04\x01\x02"), Packet::Ack(258));

    assert_eq!(
        parse(b"\0\x03\x01\x02"),
        Packet::Data {
            block: 258,
            bytes: Vec::new()
        }
    );
    assert_eq!(
        parse(b"\0\x05\0\x01gone\0"),
        Packet::Error {
            code: 1,
            message: "gone".into()
        }
    );
    let options = vec![
        ("tsize".to_owned(), "9".to_owned()),
        ("x".to_owned(), String::new()),
    ];
    assert_eq!(parse(b"\0\x06tsize\09\0x\0\0"), Packet::Oack(options));
}

#[test]
fn malformed_packets_of_a_server_are_noticed() {
    for datagram in [
        &b""[..],
        b"\0",
        b"\0\x03",
        b"\0\x03\0",
        b"\0\x04\0",
        b"\0\x04\0\x01\0",
        b"\0\x05\0\x01gone",
        b"\0\x05\0\x01a\0b\0",
        b"\0\x06tsize\09",
        b"\0\x06tsize\0",
        b"\0\x07",
    ] {
        assert_eq!(parse(datagram), Packet::Strange(datagram.to_vec()));
    }
}
