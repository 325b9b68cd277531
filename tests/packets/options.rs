//! What is granted for what was asked: the OACK byte for byte, and the values agreed on.

use std::time::Duration;

use ripple_tftpd::transfer::options::{BLKSIZE_MAX, OACK_MAX};
use ripple_tftpd::transfer::{Negotiated, Terms, Wanted};
use ripple_tftpd::wire::Request;

/// The size of the file in most rows.
const SIZE: u64 = 42_430;

/// Names and values, in order.
type Pairs<'a> = &'a [(&'a [u8], &'a [u8])];

/// An option, the value asked for, and the value granted if any is.
type Bound<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>);

fn wanted(datagram: &[u8]) -> Wanted {
    Wanted::new(Request::parse(datagram).unwrap().options())
}

/// The OACK, or nothing where the transfer would begin with DATA 1.
fn oack(negotiated: &Negotiated) -> Vec<u8> {
    if !negotiated.has_oack() {
        return Vec::new();
    }
    let mut buffer = [0xAA; OACK_MAX];
    let length = negotiated.write_oack(&mut buffer);
    buffer[..length].to_vec()
}

/// The OACK that grants these.
fn granting(options: Pairs<'_>) -> Vec<u8> {
    if options.is_empty() {
        return Vec::new();
    }
    let mut packet = vec![0, 6];
    for text in options.iter().flat_map(|(name, value)| [name, value]) {
        packet.extend_from_slice(text);
        packet.push(0);
    }
    packet
}

fn check(why: &str, asked: Pairs<'_>, granted: Pairs<'_>) {
    let negotiated =
        wanted(&crate::read_request(asked)).negotiate(Terms::default(), Some(SIZE), None);
    assert_eq!(
        oack(&negotiated).escape_ascii().to_string(),
        granting(granted).escape_ascii().to_string(),
        "{why}"
    );
}

/// An OACK holds exactly what was asked for and accepted: PXELINUX answers anything more with ERROR 8,
/// edk2 with ERROR 4.
#[test]
fn oacks() {
    let rows: &[(&str, Pairs<'_>, Pairs<'_>)] = &[
        ("RFC 1350: no options, no OACK", &[], &[]),
        (
            "RFC 2348",
            &[(b"blksize", b"1408")],
            &[(b"blksize", b"1408")],
        ),
        (
            "RFC 2349: tsize 0 asks for the size",
            &[(b"tsize", b"0")],
            &[(b"tsize", b"42430")],
        ),
        (
            "RFC 2349: timeout is echoed as it came",
            &[(b"timeout", b"6")],
            &[(b"timeout", b"6")],
        ),
        (
            "RFC 7440",
            &[(b"windowsize", b"4")],
            &[(b"windowsize", b"4")],
        ),
        (
            "RFC 2347: unknown options are left out",
            &[
                (b"multicast", b""),
                (b"rollover", b"0"),
                (b"msftwindow", b"31416"),
            ],
            &[],
        ),
        (
            "RFC 2347: unknown ones between known ones leave no trace",
            &[
                (b"x", b"1"),
                (b"blksize", b"1024"),
                (b"y", b"2"),
                (b"tsize", b"0"),
                (b"z", b"3"),
            ],
            &[(b"blksize", b"1024"), (b"tsize", b"42430")],
        ),
        (
            "RFC 2347: in the client's spelling; atftp compares it byte by byte",
            &[
                (b"BLKSIZE", b"1024"),
                (b"TSize", b"0"),
                (b"tImEoUt", b"3"),
                (b"WindowSize", b"2"),
            ],
            &[
                (b"BLKSIZE", b"1024"),
                (b"TSize", b"42430"),
                (b"tImEoUt", b"3"),
                (b"WindowSize", b"2"),
            ],
        ),
        (
            "in the client's order",
            &[
                (b"windowsize", b"2"),
                (b"timeout", b"3"),
                (b"tsize", b"0"),
                (b"blksize", b"1024"),
            ],
            &[
                (b"windowsize", b"2"),
                (b"timeout", b"3"),
                (b"tsize", b"42430"),
                (b"blksize", b"1024"),
            ],
        ),
        (
            "an option twice: the first counts, and it is granted once",
            &[(b"blksize", b"1024"), (b"blksize", b"2048")],
            &[(b"blksize", b"1024")],
        ),
        (
            "an option twice in two spellings is still one option",
            &[(b"Blksize", b"1024"), (b"blkSize", b"1024")],
            &[(b"Blksize", b"1024")],
        ),
        (
            "an option twice: the first usable one counts, in its place and spelling",
            &[(b"blksize", b"7"), (b"tsize", b"0"), (b"BLKSIZE", b"1024")],
            &[(b"tsize", b"42430"), (b"BLKSIZE", b"1024")],
        ),
        (
            "an option without a value, after a good one",
            &[(b"tsize", b"0"), (b"blksize", b"")],
            &[(b"tsize", b"42430")],
        ),
        (
            "a name that begins like one we know",
            &[(b"blksize2", b"1024")],
            &[],
        ),
        (
            "a name that is the beginning of one",
            &[(b"blk", b"1024")],
            &[],
        ),
        ("a name with a space", &[(b"blksize ", b"1024")], &[]),
        ("an empty name", &[(b"", b"1024")], &[]),
        (
            "RFC 2348 knows only blksize: blksize2 is an extension of tftp-hpa",
            &[(b"blksize2", b"1024"), (b"blksize", b"512")],
            &[(b"blksize", b"512")],
        ),
    ];
    for (why, asked, granted) in rows {
        check(why, asked, granted);
    }
}

/// What real clients ask for, in their order.
#[test]
fn requests_of_boot_firmware() {
    let rows: &[(&str, Pairs<'_>, Pairs<'_>)] = &[
        (
            "iPXE",
            &[(b"blksize", b"1432"), (b"tsize", b"0")],
            &[(b"blksize", b"1432"), (b"tsize", b"42430")],
        ),
        (
            "edk2, size probe",
            &[
                (b"tsize", b"0"),
                (b"blksize", b"1468"),
                (b"windowsize", b"4"),
            ],
            &[
                (b"tsize", b"42430"),
                (b"blksize", b"1468"),
                (b"windowsize", b"4"),
            ],
        ),
        (
            "U-Boot: timeout must come back as it was, else ERROR 8",
            &[(b"timeout", b"5"), (b"tsize", b"0"), (b"blksize", b"1468")],
            &[
                (b"timeout", b"5"),
                (b"tsize", b"42430"),
                (b"blksize", b"1468"),
            ],
        ),
        (
            "GRUB",
            &[(b"blksize", b"1024"), (b"tsize", b"0")],
            &[(b"blksize", b"1024"), (b"tsize", b"42430")],
        ),
        (
            "PXELINUX",
            &[(b"tsize", b"0"), (b"blksize", b"1408")],
            &[(b"tsize", b"42430"), (b"blksize", b"1408")],
        ),
        (
            "curl",
            &[(b"tsize", b"0"), (b"blksize", b"512"), (b"timeout", b"6")],
            &[
                (b"tsize", b"42430"),
                (b"blksize", b"512"),
                (b"timeout", b"6"),
            ],
        ),
        (
            "barebox sends the size that it knows already",
            &[
                (b"timeout", b"5"),
                (b"blksize", b"1432"),
                (b"tsize", b"42430"),
            ],
            &[
                (b"timeout", b"5"),
                (b"blksize", b"1432"),
                (b"tsize", b"42430"),
            ],
        ),
        (
            "Windows bootmgr: granting msftwindow would change what its ACKs mean",
            &[
                (b"tsize", b"0"),
                (b"blksize", b"1456"),
                (b"windowsize", b"4"),
                (b"msftwindow", b"31416"),
            ],
            &[
                (b"tsize", b"42430"),
                (b"blksize", b"1456"),
                (b"windowsize", b"4"),
            ],
        ),
        (
            "Raspberry Pi, start.elf",
            &[(b"tsize", b"0")],
            &[(b"tsize", b"42430")],
        ),
    ];
    for (why, asked, granted) in rows {
        check(why, asked, granted);
    }
}

/// Unusable values are left out, never an ERROR and never something else instead (RFC 2347).
#[test]
fn values_at_and_past_their_bounds() {
    const HUGE: &[u8] = b"1000000000000000000000000000000";
    let rows: &[Bound<'_>] = &[
        // RFC 2348: 8 to 65464.
        (b"blksize", b"0", None),
        (b"blksize", b"1", None),
        (b"blksize", b"7", None),
        (b"blksize", b"8", Some(b"8")),
        (b"blksize", b"9", Some(b"9")),
        (b"blksize", b"512", Some(b"512")),
        (b"blksize", b"65464", Some(b"65464")),
        (b"blksize", b"65465", None),
        (b"blksize", b"65535", None),
        // 65536 and 65536 + 512: 16-bit servers see 0 and 512.
        (b"blksize", b"65536", None),
        (b"blksize", b"66048", None),
        (b"blksize", b"-1", None),
        (b"blksize", b"+512", None),
        (b"blksize", b"512x", None),
        (b"blksize", b" 512", None),
        (b"blksize", b"512 ", None),
        (b"blksize", b"0x200", None),
        (b"blksize", b"5.12e2", None),
        (b"blksize", b"\xD9\xA5", None),
        (b"blksize", b"", None),
        (b"blksize", HUGE, None),
        // 2^64 + 512: 64-bit servers without a check see 512.
        (b"blksize", b"18446744073709552128", None),
        (
            b"blksize",
            b"0000000000000000000000000000000512",
            Some(b"512"),
        ),
        // RFC 2349: 1 to 255 seconds.
        (b"timeout", b"0", None),
        (b"timeout", b"1", Some(b"1")),
        (b"timeout", b"255", Some(b"255")),
        (b"timeout", b"256", None),
        (b"timeout", b"257", None),
        (b"timeout", b"-1", None),
        (b"timeout", b"", None),
        (b"timeout", b"5s", None),
        (b"timeout", HUGE, None),
        // RFC 7440: 1 to 65535 blocks, lowered to -W.
        (b"windowsize", b"0", None),
        (b"windowsize", b"1", Some(b"1")),
        (b"windowsize", b"64", Some(b"64")),
        (b"windowsize", b"65", Some(b"64")),
        (b"windowsize", b"65535", Some(b"64")),
        (b"windowsize", b"65536", None),
        (b"windowsize", b"65537", None),
        (b"windowsize", b"-1", None),
        (b"windowsize", b"", None),
        (b"windowsize", HUGE, None),
        // RFC 2349: 0 in a read request; any number is taken for the question.
        (b"tsize", b"0", Some(b"42430")),
        (b"tsize", b"1", Some(b"42430")),
        (b"tsize", b"18446744073709551615", Some(b"42430")),
        (b"tsize", b"18446744073709551616", None),
        (b"tsize", b"", None),
        (b"tsize", b"-1", None),
        (b"tsize", b"big", None),
        (b"tsize", b"0x0", None),
        (b"tsize", HUGE, None),
    ];
    for &(name, value, granted) in rows {
        let why = format!("{} {}", name.escape_ascii(), value.escape_ascii());
        let granted: Vec<(&[u8], &[u8])> = granted.map(|value| (name, value)).into_iter().collect();
        check(&why, &[(name, value)], &granted);
        // An unusable option takes nothing away from its neighbours.
        let neighbour: &[u8] = if name == b"timeout" {
            b"blksize"
        } else {
            b"timeout"
        };
        let asked = [(neighbour, &b"9"[..]), (name, value)];
        let granted: Vec<(&[u8], &[u8])> = [(neighbour, &b"9"[..])]
            .into_iter()
            .chain(granted)
            .collect();
        check(&why, &asked, &granted);
    }
}

#[test]
fn what_is_agreed_is_what_the_oack_says() {
    let all: Pairs<'_> = &[
        (b"blksize", b"1024"),
        (b"timeout", b"7"),
        (b"windowsize", b"16"),
        (b"tsize", b"0"),
    ];
    let negotiated =
        wanted(&crate::read_request(all)).negotiate(Terms::default(), Some(SIZE), None);
    assert_eq!(negotiated.blksize, 1024);
    assert_eq!(negotiated.windowsize, 16);
    assert_eq!(negotiated.timeout(), Some(Duration::from_secs(7)));

    let unusable: Pairs<'_> = &[
        (b"blksize", b"7"),
        (b"timeout", b"0"),
        (b"windowsize", b"0"),
    ];
    for asked in [&[], unusable] {
        let negotiated =
            wanted(&crate::read_request(asked)).negotiate(Terms::default(), Some(SIZE), None);
        assert_eq!(negotiated.blksize, 512, "RFC 1350");
        assert_eq!(negotiated.windowsize, 1, "RFC 1350: lockstep");
        assert_eq!(negotiated.timeout(), None);
        assert!(!negotiated.has_oack());
    }
}

/// The operator's bounds, `-B` and `-W`.
#[test]
fn the_operator_lowers_what_is_granted() {
    let rows: &[(u16, u16, Pairs<'_>, Pairs<'_>)] = &[
        (1024, 64, &[(b"blksize", b"1432")], &[(b"blksize", b"1024")]),
        (1024, 64, &[(b"blksize", b"1024")], &[(b"blksize", b"1024")]),
        (1024, 64, &[(b"blksize", b"1023")], &[(b"blksize", b"1023")]),
        (8, 64, &[(b"blksize", b"65464")], &[(b"blksize", b"8")]),
        (8, 64, &[(b"blksize", b"8")], &[(b"blksize", b"8")]),
        // Where no blksize was asked for, RFC 1350 decides, not -B.
        (8, 64, &[(b"tsize", b"0")], &[(b"tsize", b"42430")]),
        (
            BLKSIZE_MAX,
            1,
            &[(b"windowsize", b"64")],
            &[(b"windowsize", b"1")],
        ),
        (
            BLKSIZE_MAX,
            65_535,
            &[(b"windowsize", b"65535")],
            &[(b"windowsize", b"65535")],
        ),
        (BLKSIZE_MAX, 65_535, &[(b"windowsize", b"65536")], &[]),
        (
            600,
            3,
            &[(b"windowsize", b"4"), (b"blksize", b"601")],
            &[(b"windowsize", b"3"), (b"blksize", b"600")],
        ),
    ];
    for &(max_blksize, max_windowsize, asked, granted) in rows {
        let terms = Terms {
            max_blksize,
            max_windowsize,
            ..Terms::default()
        };
        let negotiated = wanted(&crate::read_request(asked)).negotiate(terms, Some(SIZE), None);
        assert_eq!(
            oack(&negotiated).escape_ascii().to_string(),
            granting(granted).escape_ascii().to_string(),
            "-B {max_blksize} -W {max_windowsize}"
        );
    }
    let terms = Terms {
        max_blksize: 8,
        ..Terms::default()
    };
    let negotiated = wanted(&crate::read_request(&[])).negotiate(terms, Some(SIZE), None);
    assert_eq!(
        negotiated.blksize, 512,
        "without the option it is 512 whatever -B says"
    );
}

/// `--refuse`: as if nobody had asked for it.
#[test]
fn refused_options_are_left_out() {
    let asked: &[(&[u8], &[u8])] = &[
        (b"tsize", b"0"),
        (b"BlkSize", b"1024"),
        (b"timeout", b"3"),
        (b"windowsize", b"8"),
    ];
    let cases: [(&[&[u8]], &[usize]); 4] = [
        (&[], &[0, 1, 2, 3]),
        (&[b"blksize"], &[0, 2, 3]),
        (&[b"TSIZE", b"windowsize"], &[1, 2]),
        (&[b"blksize", b"tsize", b"timeout", b"windowsize"], &[]),
    ];
    for (refused, granted) in cases {
        let mut terms = Terms::default();
        for name in refused {
            assert!(terms.refused.add(name));
        }
        let negotiated = wanted(&crate::read_request(asked)).negotiate(terms, Some(SIZE), None);
        let size = SIZE.to_string();
        let mut expected = asked.to_vec();
        expected[0].1 = size.as_bytes();
        let expected: Vec<_> = granted.iter().map(|&place| expected[place]).collect();
        assert_eq!(negotiated.has_oack(), !granted.is_empty());
        assert_eq!(oack(&negotiated), granting(&expected), "{refused:?}");
        let [size, blksize, timeout, windowsize] = [0, 1, 2, 3].map(|of| granted.contains(&of));
        assert_eq!(negotiated.blksize, if blksize { 1024 } else { 512 });
        assert_eq!(negotiated.windowsize, if windowsize { 8 } else { 1 });
        assert_eq!(negotiated.timeout().is_some(), timeout);
        assert_eq!(
            size,
            oack(&negotiated).windows(5).any(|word| word == b"tsize")
        );
    }
    for unknown in [&b""[..], b"blksize2", b"block size"] {
        assert!(!Terms::default().refused.add(unknown));
    }
}

/// Boot ROMs cannot put fragments together. `payload_max` is the MTU less 28 (IPv4) or 48 (IPv6), and
/// four bytes of it are the header of DATA.
#[test]
fn blksize_fits_the_path() {
    let rows: &[(&str, u16, &[u8], &[u8])] = &[
        (
            "Ethernet, IPv4: RFC 2348's own figure",
            1500 - 28,
            b"65464",
            b"1468",
        ),
        (
            "Ethernet, IPv4, just what fits",
            1500 - 28,
            b"1468",
            b"1468",
        ),
        ("Ethernet, IPv4, one more", 1500 - 28, b"1469", b"1468"),
        (
            "Ethernet, IPv4, less than fits",
            1500 - 28,
            b"1432",
            b"1432",
        ),
        ("Ethernet, IPv6", 1500 - 48, b"65464", b"1448"),
        (
            "the least MTU of IPv6: edk2's 1228 is its choice",
            1280 - 48,
            b"1468",
            b"1228",
        ),
        (
            "the least MTU of IPv4 (RFC 791: 68)",
            68 - 28,
            b"512",
            b"36",
        ),
        ("loopback", 65_507, b"65464", b"65464"),
        ("jumbo frames", 9000 - 28, b"65464", b"8968"),
        (
            "a path too small for anything: RFC 2348's least",
            4,
            b"512",
            b"8",
        ),
        ("no path at all", 0, b"512", b"8"),
    ];
    for &(why, payload_max, asked, granted) in rows {
        let negotiated = wanted(&crate::read_request(&[(b"blksize", asked)])).negotiate(
            Terms::default(),
            Some(SIZE),
            Some(payload_max),
        );
        assert_eq!(
            oack(&negotiated).escape_ascii().to_string(),
            granting(&[(b"blksize", granted)])
                .escape_ascii()
                .to_string(),
            "{why}"
        );
    }
    // The lower of the two bounds holds.
    let terms = Terms {
        max_blksize: 1200,
        ..Terms::default()
    };
    let asked = wanted(&crate::read_request(&[(b"blksize", b"8192")]));
    assert_eq!(asked.negotiate(terms, Some(SIZE), Some(1472)).blksize, 1200);
    assert_eq!(asked.negotiate(terms, Some(SIZE), Some(1004)).blksize, 1000);
    // Nobody asked: the 512 of RFC 1350 stand whatever the path is.
    let nothing = wanted(&crate::read_request(&[]));
    assert_eq!(
        nothing
            .negotiate(Terms::default(), Some(SIZE), Some(100))
            .blksize,
        512
    );
}

/// Servers with a 32-bit size tell a client that a file above 4 GiB is small.
#[test]
fn tsize_has_64_bits() {
    for size in [
        1,
        9,
        10,
        65_535,
        u64::from(u32::MAX) - 1,
        u64::from(u32::MAX),
        u64::from(u32::MAX) + 1,
        u64::from(u32::MAX) + 2,
        5_000_000_000,
        1 << 40,
        u64::MAX,
    ] {
        let negotiated = wanted(&crate::read_request(&[(b"tsize", b"0")])).negotiate(
            Terms::default(),
            Some(size),
            None,
        );
        assert_eq!(
            oack(&negotiated),
            granting(&[(b"tsize", size.to_string().as_bytes())])
        );
    }
}

#[test]
fn tsize_is_left_out_where_it_would_do_harm() {
    let both: Pairs<'_> = &[(b"tsize", b"0"), (b"blksize", b"1024")];
    let only: Pairs<'_> = &[(b"tsize", b"0")];
    // curl fails on `tsize 0`, and PXELINUX takes it for a file that is not there.
    let empty = Some(0);
    // Netascii: the length after translation is not known, and that of the file would be wrong.
    let netascii = None;
    for size in [empty, netascii] {
        let negotiated = wanted(&crate::read_request(both)).negotiate(Terms::default(), size, None);
        assert_eq!(oack(&negotiated), granting(&[(b"blksize", b"1024")]));
        let negotiated = wanted(&crate::read_request(only)).negotiate(Terms::default(), size, None);
        assert!(
            !negotiated.has_oack(),
            "an OACK that grants nothing is none"
        );
        assert_eq!(negotiated.blksize, 512);
    }
}

/// atftpd 0.7 built its OACK in a buffer that a request could overflow (CVE-2021-41054).
#[test]
fn the_longest_oack_fits() {
    let asked: Pairs<'_> = &[
        (b"tsize", b"0"),
        (b"blksize", b"65464"),
        (b"windowsize", b"65535"),
        (b"timeout", b"255"),
    ];
    let terms = Terms {
        max_windowsize: u16::MAX,
        ..Terms::default()
    };
    let negotiated = wanted(&crate::read_request(asked)).negotiate(terms, Some(u64::MAX), None);
    let packet = oack(&negotiated);
    assert_eq!(packet.len(), OACK_MAX);
    assert_eq!(
        packet.escape_ascii().to_string(),
        b"\0\x06tsize\x0018446744073709551615\0blksize\x0065464\0windowsize\x0065535\0timeout\x00255\0"
            .escape_ascii()
            .to_string()
    );
}

#[test]
fn a_hundred_options_grant_what_is_known_among_them() {
    let mut asked: Vec<(&[u8], &[u8])> = vec![(b"unheard", b"of"); 100];
    asked[10] = (b"windowsize", b"8");
    asked[50] = (b"BLKSIZE", b"1432");
    asked[99] = (b"tsize", b"0");
    check(
        "RFC 2347 sets no bound on how many there are",
        &asked,
        &[
            (b"windowsize", b"8"),
            (b"BLKSIZE", b"1432"),
            (b"tsize", b"42430"),
        ],
    );
    check(
        "the same option a hundred times is granted once",
        &[(&b"blksize"[..], &b"1432"[..]); 100],
        &[(b"blksize", b"1432")],
    );
}

/// A repeat of a request must be known as such, so equal wishes compare as equal.
#[test]
fn equal_wishes_are_equal_whatever_else_is_in_the_request() {
    let asked = |options: Pairs<'_>| wanted(&crate::read_request(options));
    let plain = asked(&[(b"blksize", b"1024")]);
    assert_eq!(plain, asked(&[(b"blksize", b"1024"), (b"unknown", b"1")]));
    assert_eq!(plain, asked(&[(b"blksize", b"01024")]));
    assert_ne!(plain, asked(&[(b"blksize", b"1025")]));
    assert_ne!(plain, asked(&[]));
    assert_eq!(plain.blksize(), 1024);
    assert_eq!(asked(&[]).blksize(), 512);
}
