//! What is granted for what was asked: the OACK byte for byte, and the values agreed on.

use std::time::Duration;

use ripple_tftpd::transfer::options::{BLKSIZE_MAX, OACK_MAX};
use ripple_tftpd::transfer::{Negotiated, Terms, Wanted};
use ripple_tftpd::wire::Request;

/// The size of the file in most rows.
const SIZE: u64 = 42_430;

/// What is agreed on where this is asked for; options are written as in `crate::read_request`.
fn negotiate(asked: &str, terms: Terms, size: Option<u64>, payload_max: Option<u16>) -> Negotiated {
    wanted(asked).negotiate(terms, size, payload_max)
}

fn wanted(asked: &str) -> Wanted {
    let datagram = crate::read_request(asked);
    Wanted::new(Request::parse(&datagram).unwrap().options())
}

/// The OACK, or nothing where the transfer would begin with DATA 1.
fn oack(negotiated: &Negotiated) -> String {
    if !negotiated.has_oack() {
        return String::new();
    }
    let mut buffer = [0xAA; OACK_MAX];
    let length = negotiated.write_oack(&mut buffer);
    buffer[..length].escape_ascii().to_string()
}

/// The OACK that grants these.
fn granting(options: &str) -> String {
    match options {
        "" => String::new(),
        _ => [b"\0\x06", &*crate::option_bytes(options)]
            .concat()
            .escape_ascii()
            .to_string(),
    }
}

fn check(why: &str, asked: &str, granted: &str) {
    let negotiated = negotiate(asked, Terms::default(), Some(SIZE), None);
    assert_eq!(oack(&negotiated), granting(granted), "{why}");
}

/// An OACK holds exactly what was asked for and accepted: PXELINUX answers anything more with ERROR 8,
/// edk2 with ERROR 4.
#[test]
fn oacks() {
    let rows: &[(&str, &str, &str)] = &[
        ("RFC 1350: no options, no OACK", "", ""),
        ("RFC 2348", "blksize=1408", "blksize=1408"),
        (
            "RFC 2349: tsize 0 asks for the size",
            "tsize=0",
            "tsize=42430",
        ),
        (
            "RFC 2349: timeout is echoed as it came",
            "timeout=6",
            "timeout=6",
        ),
        ("RFC 7440", "windowsize=4", "windowsize=4"),
        (
            "RFC 2347: unknown options are left out",
            "multicast=,rollover=0,msftwindow=31416",
            "",
        ),
        (
            "RFC 2347: unknown ones between known ones leave no trace",
            "x=1,blksize=1024,y=2,tsize=0,z=3",
            "blksize=1024,tsize=42430",
        ),
        (
            "RFC 2347: in the client's spelling; atftp compares it byte by byte",
            "BLKSIZE=1024,TSize=0,tImEoUt=3,WindowSize=2",
            "BLKSIZE=1024,TSize=42430,tImEoUt=3,WindowSize=2",
        ),
        (
            "in the client's order",
            "windowsize=2,timeout=3,tsize=0,blksize=1024",
            "windowsize=2,timeout=3,tsize=42430,blksize=1024",
        ),
        (
            "an option twice: the first counts, and it is granted once",
            "blksize=1024,blksize=2048",
            "blksize=1024",
        ),
        (
            "an option twice in two spellings is still one option",
            "Blksize=1024,blkSize=1024",
            "Blksize=1024",
        ),
        (
            "an option twice: the first usable one counts, in its place and spelling",
            "blksize=7,tsize=0,BLKSIZE=1024",
            "tsize=42430,BLKSIZE=1024",
        ),
        (
            "an option without a value, after a good one",
            "tsize=0,blksize=",
            "tsize=42430",
        ),
        ("a name that begins like one we know", "blksize2=1024", ""),
        ("a name that is the beginning of one", "blk=1024", ""),
        ("a name with a space", "blksize =1024", ""),
        ("an empty name", "=1024", ""),
        (
            "RFC 2348 knows only blksize: blksize2 is an extension of tftp-hpa",
            "blksize2=1024,blksize=512",
            "blksize=512",
        ),
    ];
    for (why, asked, granted) in rows {
        check(why, asked, granted);
    }
}

/// What real clients ask for, in their order.
#[test]
fn requests_of_boot_firmware() {
    let rows: &[(&str, &str, &str)] = &[
        ("iPXE", "blksize=1432,tsize=0", "blksize=1432,tsize=42430"),
        (
            "edk2, size probe",
            "tsize=0,blksize=1468,windowsize=4",
            "tsize=42430,blksize=1468,windowsize=4",
        ),
        (
            "U-Boot: timeout must come back as it was, else ERROR 8",
            "timeout=5,tsize=0,blksize=1468",
            "timeout=5,tsize=42430,blksize=1468",
        ),
        ("GRUB", "blksize=1024,tsize=0", "blksize=1024,tsize=42430"),
        (
            "PXELINUX",
            "tsize=0,blksize=1408",
            "tsize=42430,blksize=1408",
        ),
        (
            "curl",
            "tsize=0,blksize=512,timeout=6",
            "tsize=42430,blksize=512,timeout=6",
        ),
        (
            "barebox sends the size that it knows already",
            "timeout=5,blksize=1432,tsize=42430",
            "timeout=5,blksize=1432,tsize=42430",
        ),
        (
            "Windows bootmgr: granting msftwindow would change what its ACKs mean",
            "tsize=0,blksize=1456,windowsize=4,msftwindow=31416",
            "tsize=42430,blksize=1456,windowsize=4",
        ),
        ("Raspberry Pi, start.elf", "tsize=0", "tsize=42430"),
    ];
    for (why, asked, granted) in rows {
        check(why, asked, granted);
    }
}

/// Unusable values are left out, never an ERROR and never something else instead (RFC 2347).
#[test]
fn values_at_and_past_their_bounds() {
    const HUGE: &str = "1000000000000000000000000000000";
    let rows: &[(&str, &str, Option<&str>)] = &[
        // RFC 2348: 8 to 65464.
        ("blksize", "0", None),
        ("blksize", "1", None),
        ("blksize", "7", None),
        ("blksize", "8", Some("8")),
        ("blksize", "9", Some("9")),
        ("blksize", "512", Some("512")),
        ("blksize", "65464", Some("65464")),
        ("blksize", "65465", None),
        ("blksize", "65535", None),
        // 65536 and 65536 + 512: 16-bit servers see 0 and 512.
        ("blksize", "65536", None),
        ("blksize", "66048", None),
        ("blksize", "-1", None),
        ("blksize", "+512", None),
        ("blksize", "512x", None),
        ("blksize", " 512", None),
        ("blksize", "512 ", None),
        ("blksize", "0x200", None),
        ("blksize", "5.12e2", None),
        ("blksize", "\u{665}", None),
        ("blksize", "", None),
        ("blksize", HUGE, None),
        // 2^64 + 512: 64-bit servers without a check see 512.
        ("blksize", "18446744073709552128", None),
        ("blksize", "0000000000000000000000000000000512", Some("512")),
        // RFC 2349: 1 to 255 seconds.
        ("timeout", "0", None),
        ("timeout", "1", Some("1")),
        ("timeout", "255", Some("255")),
        ("timeout", "256", None),
        ("timeout", "257", None),
        ("timeout", "-1", None),
        ("timeout", "", None),
        ("timeout", "5s", None),
        ("timeout", HUGE, None),
        // RFC 7440: 1 to 65535 blocks, lowered to -W.
        ("windowsize", "0", None),
        ("windowsize", "1", Some("1")),
        ("windowsize", "64", Some("64")),
        ("windowsize", "65", Some("64")),
        ("windowsize", "65535", Some("64")),
        ("windowsize", "65536", None),
        ("windowsize", "65537", None),
        ("windowsize", "-1", None),
        ("windowsize", "", None),
        ("windowsize", HUGE, None),
        // RFC 2349: 0 in a read request; any number is taken for the question.
        ("tsize", "0", Some("42430")),
        ("tsize", "1", Some("42430")),
        ("tsize", "18446744073709551615", Some("42430")),
        ("tsize", "18446744073709551616", None),
        ("tsize", "", None),
        ("tsize", "-1", None),
        ("tsize", "big", None),
        ("tsize", "0x0", None),
        ("tsize", HUGE, None),
    ];
    for &(name, value, granted) in rows {
        let asked = format!("{name}={value}");
        let granted = granted.map(|value| format!("{name}={value}"));
        check(&asked, &asked, granted.as_deref().unwrap_or_default());
        // An unusable option takes nothing away from its neighbours.
        let neighbour = match name {
            "timeout" => "blksize=9",
            _ => "timeout=9",
        };
        let both = [neighbour].into_iter().chain(granted.as_deref());
        let both: Vec<&str> = both.collect();
        check(&asked, &format!("{neighbour},{asked}"), &both.join(","));
    }
}

#[test]
fn what_is_agreed_is_what_the_oack_says() {
    let all = "blksize=1024,timeout=7,windowsize=16,tsize=0";
    let negotiated = negotiate(all, Terms::default(), Some(SIZE), None);
    assert_eq!(negotiated.blksize, 1024);
    assert_eq!(negotiated.windowsize, 16);
    assert_eq!(negotiated.timeout(), Some(Duration::from_secs(7)));

    let unusable = "blksize=7,timeout=0,windowsize=0";
    for asked in ["", unusable] {
        let negotiated = negotiate(asked, Terms::default(), Some(SIZE), None);
        assert_eq!(negotiated.blksize, 512, "RFC 1350");
        assert_eq!(negotiated.windowsize, 1, "RFC 1350: lockstep");
        assert_eq!(negotiated.timeout(), None);
        assert!(!negotiated.has_oack());
    }
}

/// The operator's bounds, `-B` and `-W`.
#[test]
fn the_operator_lowers_what_is_granted() {
    let rows: &[(u16, u16, &str, &str)] = &[
        (1024, 64, "blksize=1432", "blksize=1024"),
        (1024, 64, "blksize=1024", "blksize=1024"),
        (1024, 64, "blksize=1023", "blksize=1023"),
        (8, 64, "blksize=65464", "blksize=8"),
        (8, 64, "blksize=8", "blksize=8"),
        // Where no blksize was asked for, RFC 1350 decides, not -B.
        (8, 64, "tsize=0", "tsize=42430"),
        (BLKSIZE_MAX, 1, "windowsize=64", "windowsize=1"),
        (BLKSIZE_MAX, 65_535, "windowsize=65535", "windowsize=65535"),
        (BLKSIZE_MAX, 65_535, "windowsize=65536", ""),
        (
            600,
            3,
            "windowsize=4,blksize=601",
            "windowsize=3,blksize=600",
        ),
    ];
    for &(max_blksize, max_windowsize, asked, granted) in rows {
        let terms = Terms {
            max_blksize,
            max_windowsize,
            ..Terms::default()
        };
        let found = oack(&negotiate(asked, terms, Some(SIZE), None));
        let why = format!("-B {max_blksize} -W {max_windowsize}");
        assert_eq!(found, granting(granted), "{why}");
    }
    let terms = Terms {
        max_blksize: 8,
        ..Terms::default()
    };
    let negotiated = negotiate("", terms, Some(SIZE), None);
    assert_eq!(
        negotiated.blksize, 512,
        "without the option it is 512 whatever -B says"
    );
}

/// `--refuse`: as if nobody had asked for it.
#[test]
fn refused_options_are_left_out() {
    let asked = "tsize=0,BlkSize=1024,timeout=3,windowsize=8";
    let cases: [(&[&[u8]], &str); 4] = [
        (&[], "tsize=42430,BlkSize=1024,timeout=3,windowsize=8"),
        (&[b"blksize"], "tsize=42430,timeout=3,windowsize=8"),
        (&[b"TSIZE", b"windowsize"], "BlkSize=1024,timeout=3"),
        (&[b"blksize", b"tsize", b"timeout", b"windowsize"], ""),
    ];
    for (refused, granted) in cases {
        let mut terms = Terms::default();
        for name in refused {
            assert!(terms.refused.add(name));
        }
        let negotiated = negotiate(asked, terms, Some(SIZE), None);
        assert_eq!(oack(&negotiated), granting(granted), "{refused:?}");
        let [blksize, timeout, windowsize] =
            ["BlkSize", "timeout", "windowsize"].map(|name| granted.contains(name));
        assert_eq!(negotiated.blksize, if blksize { 1024 } else { 512 });
        assert_eq!(negotiated.windowsize, if windowsize { 8 } else { 1 });
        assert_eq!(negotiated.timeout().is_some(), timeout);
    }
    for unknown in [&b""[..], b"blksize2", b"block size"] {
        assert!(!Terms::default().refused.add(unknown));
    }
}

/// Boot ROMs cannot put fragments together. `payload_max` is the MTU less 28 (IPv4) or 48 (IPv6), and
/// four bytes of it are the header of DATA.
#[test]
fn blksize_fits_the_path() {
    let rows: &[(&str, u16, u16, u16)] = &[
        ("IPv4: RFC 2348's own figure", 1500 - 28, 65464, 1468),
        ("Ethernet, IPv4, just what fits", 1500 - 28, 1468, 1468),
        ("Ethernet, IPv4, one more", 1500 - 28, 1469, 1468),
        ("Ethernet, IPv4, less than fits", 1500 - 28, 1432, 1432),
        ("Ethernet, IPv6", 1500 - 48, 65464, 1448),
        (
            "the least MTU of IPv6: edk2's choice",
            1280 - 48,
            1468,
            1228,
        ),
        ("the least MTU of IPv4 (RFC 791: 68)", 68 - 28, 512, 36),
        ("loopback", 65_507, 65464, 65464),
        ("jumbo frames", 9000 - 28, 65464, 8968),
        ("too small for anything: RFC 2348's least", 4, 512, 8),
        ("no path at all", 0, 512, 8),
    ];
    for &(why, payload_max, asked, granted) in rows {
        let asked = format!("blksize={asked}");
        let negotiated = negotiate(&asked, Terms::default(), Some(SIZE), Some(payload_max));
        let granted = format!("blksize={granted}");
        assert_eq!(oack(&negotiated), granting(&granted), "{why}");
    }
    // The lower of the two bounds holds.
    let terms = Terms {
        max_blksize: 1200,
        ..Terms::default()
    };
    let asked = wanted("blksize=8192");
    assert_eq!(asked.negotiate(terms, Some(SIZE), Some(1472)).blksize, 1200);
    assert_eq!(asked.negotiate(terms, Some(SIZE), Some(1004)).blksize, 1000);
    // Nobody asked: the 512 of RFC 1350 stand whatever the path is.
    let nothing = negotiate("", Terms::default(), Some(SIZE), Some(100));
    assert_eq!(nothing.blksize, 512);
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
        let negotiated = negotiate("tsize=0", Terms::default(), Some(size), None);
        let granted = format!("tsize={size}");
        assert_eq!(oack(&negotiated), granting(&granted));
    }
}

#[test]
fn tsize_is_left_out_where_it_would_do_harm() {
    let both = "tsize=0,blksize=1024";
    let only = "tsize=0";
    // curl fails on `tsize 0`, and PXELINUX takes it for a file that is not there.
    let empty = Some(0);
    // Netascii: the length after translation is not known, and that of the file would be wrong.
    let netascii = None;
    for size in [empty, netascii] {
        let negotiated = negotiate(both, Terms::default(), size, None);
        assert_eq!(oack(&negotiated), granting("blksize=1024"));
        let negotiated = negotiate(only, Terms::default(), size, None);
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
    let asked = "tsize=0,blksize=65464,windowsize=65535,timeout=255";
    let terms = Terms {
        max_windowsize: u16::MAX,
        ..Terms::default()
    };
    let negotiated = negotiate(asked, terms, Some(u64::MAX), None);
    let expected = "tsize=18446744073709551615,blksize=65464,windowsize=65535,timeout=255";
    assert_eq!(oack(&negotiated), granting(expected));
    let length = negotiated.write_oack(&mut [0; OACK_MAX]);
    assert_eq!(length, OACK_MAX);
}

#[test]
fn a_hundred_options_grant_what_is_known_among_them() {
    let mut asked = vec!["unheard=of"; 100];
    asked[10] = "windowsize=8";
    asked[50] = "BLKSIZE=1432";
    asked[99] = "tsize=0";
    check(
        "RFC 2347 sets no bound on how many there are",
        &asked.join(","),
        "windowsize=8,BLKSIZE=1432,tsize=42430",
    );
    check(
        "the same option a hundred times is granted once",
        &["blksize=1432"; 100].join(","),
        "blksize=1432",
    );
}

/// A repeat of a request must be known as such, so equal wishes compare as equal.
#[test]
fn equal_wishes_are_equal_whatever_else_is_in_the_request() {
    let plain = wanted("blksize=1024");
    assert_eq!(plain, wanted("blksize=1024,unknown=1"));
    assert_eq!(plain, wanted("blksize=01024"));
    assert_ne!(plain, wanted("blksize=1025"));
    assert_ne!(plain, wanted(""));
    assert_eq!(plain.blksize(), 1024);
    assert_eq!(wanted("").blksize(), 512);
}
