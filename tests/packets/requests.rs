//! Requests as they arrive on a listening socket.

use ripple_tftpd::name::{FileName, NAME_MAX, RootPrefixes};
use ripple_tftpd::wire::{Direction, Malformed, Mode, Peer, Refusal, Request};

/// What a good request says: direction, name, mode, options as in `crate::read_request`.
type Meaning<'a> = (Direction, &'a [u8], Mode, &'a str);

fn check(why: &str, datagram: &[u8], expected: Result<Meaning<'_>, Malformed>) {
    match (Request::parse(datagram), expected) {
        (Ok(request), Ok((direction, filename, mode, options))) => {
            let shown = datagram.escape_ascii();
            assert_eq!(request.direction, direction, "{why}: {shown}");
            assert_eq!(request.filename, filename, "{why}: {shown}");
            assert_eq!(request.mode, mode, "{why}: {shown}");
            let options = crate::option_bytes(options);
            let found = request.options();
            let found = found.flat_map(|(name, value)| [name, b"\0", value, b"\0"].concat());
            assert_eq!(found.collect::<Vec<_>>(), options, "{why}: {shown}");
        }
        (Err(malformed), Err(expected)) => {
            assert_eq!(malformed, expected, "{why}: {}", datagram.escape_ascii());
        }
        (found, expected) => panic!(
            "{why}: {} gave {found:?}, not {expected:?}",
            datagram.escape_ascii()
        ),
    }
}

#[test]
fn good_requests() {
    use Direction::{Read, Write};
    use Mode::{Mail, Netascii, Octet, Unknown};
    let rows: &[(&str, &[u8], Meaning<'_>)] = &[
        (
            "RFC 1350 section 5: opcode 1 is a read request",
            b"\0\x01vmlinuz\0octet\0",
            (Read, b"vmlinuz", Octet, ""),
        ),
        (
            "RFC 1350 section 5: opcode 2 is a write request",
            b"\0\x02core\0octet\0",
            (Write, b"core", Octet, ""),
        ),
        (
            "RFC 1350 section 5: the mode in any mix of cases",
            b"\0\x01a\0OcTeT\0",
            (Read, b"a", Octet, ""),
        ),
        (
            "RFC 1350 section 5: netascii, upper case",
            b"\0\x01a\0NETASCII\0",
            (Read, b"a", Netascii, ""),
        ),
        (
            "RFC 1350 section 1: mail is obsolete, but it is a mode",
            b"\0\x02joe\0mail\0",
            (Write, b"joe", Mail, ""),
        ),
        (
            "RFC 1350 section 1: 'binary' is what users call octet; it was never a mode on the wire",
            b"\0\x01a\0binary\0",
            (Read, b"a", Unknown, ""),
        ),
        (
            "a prefix of a mode is not the mode",
            b"\0\x01a\0octe\0",
            (Read, b"a", Unknown, ""),
        ),
        (
            "a mode with a tail is not the mode",
            b"\0\x01a\0octets\0",
            (Read, b"a", Unknown, ""),
        ),
        (
            "an empty name is well-formed; what is wrong with it is for ERROR 1 to say",
            b"\0\x01\0octet\0",
            (Read, b"", Octet, ""),
        ),
        (
            "a name of one byte",
            b"\0\x01a\0octet\0",
            (Read, b"a", Octet, ""),
        ),
        (
            "names are bytes, not UTF-8",
            b"\0\x01\xE9\xFF\x01\0octet\0",
            (Read, b"\xE9\xFF\x01", Octet, ""),
        ),
        (
            "a name that was a format string to Tftpd32 2.81 (CVE-2006-0328)",
            b"\0\x01%.1000x%n\0octet\0",
            (Read, b"%.1000x%n", Octet, ""),
        ),
        (
            "RFC 2347: options follow the mode as pairs of strings",
            b"\0\x01a\0octet\0blksize\x001432\0tsize\x000\0",
            (Read, b"a", Octet, "blksize=1432,tsize=0"),
        ),
        (
            "RFC 2347: options in any case; the spelling is kept for the OACK",
            b"\0\x01a\0octet\0BlkSize\x001432\0TSIZE\x000\0",
            (Read, b"a", Octet, "BlkSize=1432,TSIZE=0"),
        ),
        (
            "RFC 2347: the order is the client's",
            b"\0\x01a\0octet\0tsize\x000\0blksize\x001432\0",
            (Read, b"a", Octet, "tsize=0,blksize=1432"),
        ),
        (
            "an option twice is two options here; which one counts is decided later",
            b"\0\x01a\0octet\0blksize\x008\0blksize\x009\0",
            (Read, b"a", Octet, "blksize=8,blksize=9"),
        ),
        (
            "an option without a value, where atftpd 0.7 read past the end (CVE-2021-46671)",
            b"\0\x01a\0octet\0blksize\0",
            (Read, b"a", Octet, ""),
        ),
        (
            "an option whose value does not end",
            b"\0\x01a\0octet\0blksize\x001432",
            (Read, b"a", Octet, ""),
        ),
        (
            "an option whose name does not end",
            b"\0\x01a\0octet\0blksize",
            (Read, b"a", Octet, ""),
        ),
        (
            "an unfinished option does not spoil the finished one before it",
            b"\0\x01a\0octet\0tsize\x000\0blksize\x0014",
            (Read, b"a", Octet, "tsize=0"),
        ),
        (
            "an option with an empty value",
            b"\0\x01a\0octet\0blksize\0\0tsize\x000\0",
            (Read, b"a", Octet, "blksize=,tsize=0"),
        ),
        (
            "an option with an empty name",
            b"\0\x01a\0octet\0\x001\0tsize\x000\0",
            (Read, b"a", Octet, "=1,tsize=0"),
        ),
        (
            "trailing bytes after the last option must not fail the request: firmware sends its buffer",
            b"\0\x01a\0octet\0tsize\x000\0garbage",
            (Read, b"a", Octet, "tsize=0"),
        ),
        (
            "trailing bytes straight after the mode",
            b"\0\x01a\0octet\0\xFF\xFE",
            (Read, b"a", Octet, ""),
        ),
        (
            "one NUL of padding",
            b"\0\x01a\0octet\0tsize\x000\0\0",
            (Read, b"a", Octet, "tsize=0"),
        ),
        (
            "Windows bootmgr: options that nobody knows are passed on, to be left out of the OACK",
            b"\0\x01a\0octet\0tsize\x000\0blksize\x001456\0windowsize\x004\0msftwindow\x0031416\0",
            (
                Read,
                b"a",
                Octet,
                "tsize=0,blksize=1456,windowsize=4,msftwindow=31416",
            ),
        ),
    ];
    for (why, datagram, expected) in rows {
        check(why, datagram, Ok(*expected));
    }
}

#[test]
fn datagrams_that_are_dropped() {
    use Malformed::{Mode, Name, Opcode, Short};
    let rows: &[(&str, &[u8], Malformed)] = &[
        ("an empty datagram", b"", Short),
        ("one byte of an opcode", b"\0", Short),
        ("an opcode and nothing else", b"\0\x01", Name),
        ("a write request that is an opcode", b"\0\x02", Name),
        ("three bytes: a name that does not end", b"\0\x01a", Name),
        ("three bytes: an empty name, no mode", b"\0\x01\0", Mode),
        ("a name without NUL", b"\0\x01vmlinuz", Name),
        ("no mode", b"\0\x01vmlinuz\0", Mode),
        ("a mode without NUL", b"\0\x01vmlinuz\0octet", Mode),
        ("an empty mode", b"\0\x01vmlinuz\0\0", Mode),
        (
            "an empty mode before options",
            b"\0\x01vmlinuz\0\0blksize\x008\0",
            Mode,
        ),
        (
            "RFC 1350 section 5: opcode 0 is none",
            b"\0\0a\0octet\0",
            Opcode,
        ),
        ("DATA has no place here", b"\0\x03\0\x01data", Opcode),
        ("ACK has no place here", b"\0\x04\0\0", Opcode),
        (
            "an ERROR never gets an answer: two servers would answer each other for ever",
            b"\0\x05\0\0stop\0",
            Opcode,
        ),
        ("OACK has no place here", b"\0\x06blksize\x008\0", Opcode),
        ("opcode 7", b"\0\x07a\0octet\0", Opcode),
        (
            "the opcode is two bytes: a server that reads only the second takes this for a request",
            b"\x01\x01a\0octet\0",
            Opcode,
        ),
        (
            "the opcode in little-endian order",
            b"\x01\0a\0octet\0",
            Opcode,
        ),
    ];
    for (why, datagram, expected) in rows {
        check(why, datagram, Err(*expected));
    }
}

/// A client on the same host could send anything that fits into a datagram.
#[test]
fn names_of_1_to_65500_bytes() {
    for length in [1, 2, 511, 512, NAME_MAX, NAME_MAX + 1, 2048, 16_384, 65_500] {
        let name = vec![b'n'; length];
        let datagram = [b"\0\x01", &name[..], b"\0octet\0"].concat();
        check(
            "Cisco IOS fell over names of 700 bytes (CVE-2002-0813)",
            &datagram,
            Ok((Direction::Read, &name, Mode::Octet, "")),
        );
        let mut buffer = [0; NAME_MAX];
        let safe = FileName::new(&name, &RootPrefixes::default(), &mut buffer);
        if length <= NAME_MAX {
            assert_eq!(safe.map(FileName::as_bytes), Ok(&name[..]));
        } else {
            assert_eq!(safe, Err(Refusal::NameTooLong));
        }
        check(
            "a long name that does not end",
            &datagram[..2 + length],
            Err(Malformed::Name),
        );
    }
}

#[test]
fn a_mode_of_500_bytes() {
    let mode = [b'o'; 500];
    check(
        "3Com's 3CTftpSvc overflowed on a mode of 470 bytes (CVE-2006-6183)",
        &[b"\0\x01a\0", &mode[..], b"\0"].concat(),
        Ok((Direction::Read, b"a", Mode::Unknown, "")),
    );
    check(
        "FutureSoft TFTP Server 2000 overflowed on it as well (CVE-2005-1812)",
        &[b"\0\x01a\0", &mode[..]].concat(),
        Err(Malformed::Mode),
    );
    check(
        "a long mode that begins well is still unknown",
        &[b"\0\x01a\0octet", &mode[..], b"\0"].concat(),
        Ok((Direction::Read, b"a", Mode::Unknown, "")),
    );
}

#[test]
fn a_hundred_options() {
    let options: Vec<String> = (0..100).map(|it| format!("option{it}=1")).collect();
    let options = options.join(",");
    check(
        "RFC 2347 sets no bound on how many there are",
        &crate::read_request(&options),
        Ok((Direction::Read, b"boot", Mode::Octet, &options)),
    );
}

#[test]
fn padding_with_nuls_gives_no_usable_option() {
    let mut datagram = crate::read_request("tsize=0");
    datagram.resize(512, 0);
    let request = Request::parse(&datagram).unwrap();
    let mut options = request.options();
    assert_eq!(options.next(), Some((&b"tsize"[..], &b"0"[..])));
    assert!(options.all(|option| option == (b"", b"")));
}

#[test]
fn every_shorter_datagram_is_read_without_what_is_cut_off() {
    let whole = crate::read_request("blksize=1432,tsize=0");
    // Where each part is complete: name, mode, first option, second option.
    let ends = [
        b"\0\x01boot\0".len(),
        b"\0\x01boot\0octet\0".len(),
        b"\0\x01boot\0octet\0blksize\x001432\0".len(),
        whole.len(),
    ];
    for length in 0..=whole.len() {
        let parsed = Request::parse(&whole[..length]);
        let complete = ends.iter().filter(|&&end| end <= length).count();
        match (length, complete) {
            (0 | 1, _) => assert_eq!(parsed, Err(Malformed::Short)),
            (_, 0) => assert_eq!(parsed, Err(Malformed::Name)),
            (_, 1) => assert_eq!(parsed, Err(Malformed::Mode)),
            _ => assert_eq!(parsed.unwrap().options().count(), complete - 2),
        }
    }
}

/// RFC 1350 section 4: address and port are the identifier of a transfer, so one client must never
/// look like two.
#[test]
fn peers() {
    let rows = [
        ("an IPv4 client", "192.0.2.7:2070", "192.0.2.7:2070"),
        (
            "an IPv4 client that came through an IPv6 socket is the same client",
            "[::ffff:192.0.2.7]:2070",
            "192.0.2.7:2070",
        ),
        ("an IPv6 client", "[2001:db8::7]:1069", "[2001:db8::7]:1069"),
        (
            "a link-local client is known by its interface too",
            "[fe80::1%3]:1069",
            "[fe80::1%3]:1069",
        ),
        (
            "an IPv4-compatible address is not an IPv4 address",
            "[::192.0.2.7]:2070",
            "[::c000:207]:2070",
        ),
    ];
    for (why, from, expected) in rows {
        let from: std::net::SocketAddr = from.parse().unwrap();
        let peer = Peer::from(from);
        assert_eq!(peer.to_string(), expected, "{why}");
        assert_eq!(Peer::from(std::net::SocketAddr::from(peer)), peer, "{why}");
    }
    let at = |text: &str| Peer::from(text.parse::<std::net::SocketAddr>().unwrap());
    assert_ne!(at("[fe80::1%3]:1069"), at("[fe80::1%4]:1069"));
    assert_eq!(at("[::ffff:192.0.2.7]:2070"), at("192.0.2.7:2070"));
}
