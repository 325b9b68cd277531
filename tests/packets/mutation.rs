//! A million broken datagrams, made from good ones by a seeded generator. Nothing may panic, and what
//! was understood must be true of the bytes that arrived.
//!
//! The seed is fixed, so a run is the same everywhere; `PACKETS_SEED` runs another.

use ripple_tftpd::name::{FileName, NAME_MAX, RootPrefixes};
use ripple_tftpd::transfer::options::{BLKSIZE_MAX, BLKSIZE_MIN, OACK_MAX, Refused};
use ripple_tftpd::transfer::{Terms, Wanted};
use ripple_tftpd::wire::{Direction, Malformed, Mode, Reply, Request};

use crate::choices::{Choices, Seeded};

const ROUNDS: usize = 1_000_000;
const SEED: u64 = 0x5249_5050_4C45;

const SEEDLINGS: &[&[u8]] = &[
    b"\0\x01pxelinux.0\0octet\0tsize\x000\0blksize\x001408\0",
    b"\0\x01/boot/vmlinuz\0octet\0blksize\x001432\0tsize\x000\0",
    b"\0\x01bootmgfw.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0",
    b"\0\x01\\boot\\x64\\bcd\0OCTET\0tsize\x000\0BLKSIZE\x001456\0windowsize\x004\0msftwindow\x0031416\0",
    b"\0\x01u-boot.img\0octet\0timeout\x005\0tsize\x000\0blksize\x001468\0",
    b"\0\x01motd\0netascii\0",
    b"\0\x01/srv/tftp/../a/./b\0NetASCII\0timeout\x00255\0windowsize\x0065535\0",
    b"\0\x01undionly.kpxe\xFF\xFF\0octet\0",
    b"\0\x02upload\0octet\0tsize\x0010\0",
    b"\0\x01joe\0mail\0",
    b"\0\x04\0\x01",
    b"\0\x04\xFF\xFF\x10",
    b"\0\x05\0\x08User aborted the transfer\0",
    b"\0\x06blksize\x001432\0",
];

/// Pieces that are likely to reach the odd branches.
const PIECES: &[&[u8]] = &[
    b"\0",
    b"\0\0",
    b"..",
    b"../",
    b"/",
    b"\\",
    b"\xFF",
    b".",
    b"octet\0",
    b"mail\0",
    b"blksize\0",
    b"BlkSize\0",
    b"timeout\0",
    b"tsize\0",
    b"windowsize\0",
    b"0\0",
    b"7\0",
    b"8\0",
    b"255\0",
    b"256\0",
    b"65464\0",
    b"65465\0",
    b"65535\0",
    b"65536\0",
    b"-1\0",
    b"18446744073709551616\0",
    b"\0\x01",
    b"/srv/tftp/",
];

fn mutate(choices: &mut Seeded) -> Vec<u8> {
    let mut datagram = choices.pick(SEEDLINGS).to_vec();
    for _ in 0..=choices.below(4) {
        let at = choices.length(datagram.len() + 1);
        match choices.below(8) {
            0 => datagram.truncate(at),
            1 => {
                if let Some(byte) = datagram.get_mut(at) {
                    *byte = choices.byte();
                }
            }
            2 => {
                if let Some(byte) = datagram.get_mut(at) {
                    *byte ^= 1 << choices.below(8);
                }
            }
            3 | 4 => drop(datagram.splice(at..at, choices.pick(PIECES).iter().copied())),
            5 => {
                let end = (at + choices.length(12)).min(datagram.len());
                datagram.drain(at..end);
            }
            6 => {
                let other = choices.pick(SEEDLINGS);
                let from = choices.length(other.len());
                datagram.truncate(at);
                datagram.extend_from_slice(&other[from..]);
            }
            _ => {
                let run = choices.length(1500);
                let byte = choices.byte();
                datagram.splice(at..at, std::iter::repeat_n(byte, run));
            }
        }
    }
    datagram
}

/// How often each kind came up: a mutation that never gets past the opcode would prove nothing.
#[derive(Debug, Default)]
struct Seen {
    requests: usize,
    names: usize,
    refusals: usize,
    oacks: usize,
    two_options_or_more: usize,
    malformed: usize,
    acks: usize,
    errors: usize,
}

#[test]
fn a_million_broken_datagrams() {
    let seed = std::env::var("PACKETS_SEED")
        .map_or(SEED, |seed| seed.parse().expect("PACKETS_SEED is a number"));
    let mut choices = Seeded::endless(seed);
    let root = RootPrefixes::new([&b"/srv/tftp"[..]]);
    let mut seen = Seen::default();
    for round in 0..ROUNDS {
        let datagram = mutate(&mut choices);
        // The datagram of a failure goes to the message of the panic that it causes.
        let shown = Shown {
            seed,
            round,
            datagram: &datagram,
        };
        check_request(&shown, &root, &mut choices, &mut seen);
        check_reply(&shown, &mut seen);
    }
    println!("{seen:?}");
    let Seen {
        requests,
        names,
        refusals,
        oacks,
        two_options_or_more,
        malformed,
        acks,
        errors,
    } = seen;
    for count in [requests, names, oacks, two_options_or_more, malformed] {
        assert!(count > ROUNDS / 20, "the mutation is too blunt: {count}");
    }
    for count in [refusals, acks, errors] {
        assert!(count > ROUNDS / 100, "the mutation is too blunt: {count}");
    }
}

struct Shown<'d> {
    seed: u64,
    round: usize,
    datagram: &'d [u8],
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shown {
            seed,
            round,
            datagram,
        } = self;
        write!(f, "seed {seed}, round {round}: {}", datagram.escape_ascii())
    }
}

fn check_request(shown: &Shown<'_>, root: &RootPrefixes, choices: &mut Seeded, seen: &mut Seen) {
    let datagram = shown.datagram;
    let request = match Request::parse(datagram) {
        Ok(request) => request,
        Err(malformed) => {
            seen.malformed += 1;
            let strings = datagram.iter().skip(2).filter(|&&byte| byte == 0).count();
            let is_request = datagram.starts_with(b"\0\x01") || datagram.starts_with(b"\0\x02");
            match malformed {
                Malformed::Short => assert!(datagram.len() < 2, "{shown}"),
                Malformed::Opcode => assert!(!is_request, "{shown}"),
                Malformed::Name => assert!(is_request && strings == 0, "{shown}"),
                Malformed::Mode => assert!(is_request && strings >= 1, "{shown}"),
                Malformed::Oversized | Malformed::Unanswerable => {
                    panic!("a parser knows no {malformed:?}: {shown}")
                }
            }
            return;
        }
    };
    seen.requests += 1;
    let opcode = match request.direction {
        Direction::Read => 1,
        Direction::Write => 2,
    };
    assert_eq!(datagram[..2], [0, opcode], "{shown}");
    assert!(!request.filename.contains(&0), "{shown}");
    let mode_at = 2 + request.filename.len() + 1;
    assert_eq!(&datagram[2..mode_at - 1], request.filename, "{shown}");
    assert_eq!(datagram[mode_at - 1], 0, "{shown}");
    let mode = datagram[mode_at..].split(|&byte| byte == 0).next().unwrap();
    let named: &[u8] = match request.mode {
        Mode::Octet => b"octet",
        Mode::Netascii => b"netascii",
        Mode::Mail => b"mail",
        Mode::Unknown => mode,
    };
    assert!(
        !mode.is_empty() && mode.eq_ignore_ascii_case(named),
        "{shown}"
    );
    check_name(shown, request.filename, root, seen);
    check_options(shown, &request, choices, seen);
}

fn check_name(shown: &Shown<'_>, requested: &[u8], root: &RootPrefixes, seen: &mut Seen) {
    let mut buffer = [0; NAME_MAX];
    let Ok(name) = FileName::new(requested, root, &mut buffer) else {
        seen.refusals += 1;
        return;
    };
    seen.names += 1;
    let bytes = name.as_bytes();
    assert!(!bytes.is_empty() && bytes.len() <= NAME_MAX, "{shown}");
    assert!(bytes.len() <= requested.len(), "{shown}");
    assert!(!bytes.contains(&0) && !bytes.contains(&b'\\'), "{shown}");
    for component in bytes.split(|&byte| byte == b'/') {
        assert!(!matches!(component, b"" | b"." | b".."), "{shown}");
    }
    // Made safe once more, it is the same name: there is nothing left to drop.
    let mut again = [0; NAME_MAX];
    let is_padded = bytes.ends_with(b"\xFF");
    assert!(
        is_padded || FileName::new(bytes, root, &mut again) == Ok(name),
        "{shown}"
    );
}

fn check_options(shown: &Shown<'_>, request: &Request<'_>, choices: &mut Seeded, seen: &mut Seen) {
    let options: Vec<(&[u8], &[u8])> = request.options().collect();
    let length: usize = options
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2)
        .sum();
    assert!(length <= shown.datagram.len(), "{shown}");

    let refused = choices.pick(&[
        &b""[..],
        b"",
        b"blksize",
        b"tsize",
        b"timeout",
        b"windowsize",
    ]);
    let mut refused_names = Refused::default();
    assert_eq!(refused_names.add(refused), !refused.is_empty());
    let terms = Terms {
        max_blksize: choices.pick(&[8, 512, 1024, BLKSIZE_MAX]),
        max_windowsize: choices.pick(&[1, 4, 64, u16::MAX]),
        refused: refused_names,
    };
    let size = choices.pick(&[None, Some(0), Some(1), Some(5_000_000_000), Some(u64::MAX)]);
    let payload_max = choices.pick(&[None, Some(0), Some(40), Some(1472), Some(u16::MAX)]);
    let negotiated = Wanted::new(request.options()).negotiate(terms, size, payload_max);
    assert!(
        BLKSIZE_MIN <= negotiated.blksize && negotiated.blksize <= BLKSIZE_MAX,
        "{shown}"
    );
    assert!(
        1 <= negotiated.windowsize && negotiated.windowsize <= terms.max_windowsize,
        "{shown}"
    );

    let mut buffer = [0xAA; OACK_MAX];
    let length = negotiated.write_oack(&mut buffer);
    let packet = &buffer[..length];
    assert_eq!(packet[..2], [0, 6], "{shown}");
    let texts: Vec<&[u8]> = packet[2..].split(|&byte| byte == 0).collect();
    // Behind the last NUL there is one empty piece.
    let (last, texts) = texts.split_last().unwrap();
    assert!(last.is_empty() && texts.len() % 2 == 0, "{shown}");
    assert_eq!(negotiated.has_oack(), !texts.is_empty(), "{shown}");
    seen.oacks += usize::from(negotiated.has_oack());
    seen.two_options_or_more += usize::from(texts.len() > 2);

    let granted: Vec<(&[u8], u128)> = texts
        .chunks(2)
        .map(|pair| (pair[0], number(pair[1])))
        .collect();
    let expected = grants(&options, terms, refused, size, payload_max);
    assert_eq!(granted, expected, "{shown}");

    let agreed = |name: &[u8]| {
        granted
            .iter()
            .find(|(granted, _)| granted.eq_ignore_ascii_case(name))
            .map(|&(_, value)| value)
    };
    assert_eq!(
        u128::from(negotiated.blksize),
        agreed(b"blksize").unwrap_or(512),
        "{shown}"
    );
    assert_eq!(
        u128::from(negotiated.windowsize),
        agreed(b"windowsize").unwrap_or(1),
        "{shown}"
    );
    assert_eq!(
        negotiated.timeout().map(|timeout| timeout.as_micros()),
        agreed(b"timeout").map(|seconds| seconds * 1_000_000),
        "{shown}"
    );
}

/// What the RFCs grant, in the plainest words: the model that the negotiation is held against.
fn grants<'a>(
    options: &[(&'a [u8], &[u8])],
    terms: Terms,
    refused: &[u8],
    size: Option<u64>,
    payload_max: Option<u16>,
) -> Vec<(&'a [u8], u128)> {
    let mut done: Vec<Vec<u8>> = Vec::new();
    let mut granted = Vec::new();
    for &(name, value) in options {
        let lower = name.to_ascii_lowercase();
        let range = match &lower[..] {
            b"blksize" => 8..=65_464,
            b"timeout" => 1..=255,
            b"tsize" => 0..=u128::from(u64::MAX),
            b"windowsize" => 1..=65_535,
            _ => continue,
        };
        if done.contains(&lower) || !is_number(value) || !range.contains(&number(value)) {
            continue;
        }
        let asked = number(value);
        let value = match &lower[..] {
            b"blksize" => {
                let fits = payload_max.map_or(65_464, |most| u128::from(most).saturating_sub(4));
                Some(asked.min(terms.max_blksize.into()).min(fits).max(8))
            }
            b"windowsize" => Some(asked.min(terms.max_windowsize.into())),
            b"tsize" => size.filter(|&size| size != 0).map(u128::from),
            _ => Some(asked),
        }
        .filter(|_| lower != refused);
        done.push(lower);
        granted.extend(value.map(|value| (name, value)));
    }
    if size.is_none() {
        lower_windowsize_of_text(&mut granted);
    }
    granted
}

/// What a window of netascii holds is kept in memory: one block, or 65,535 bytes at most.
fn lower_windowsize_of_text(granted: &mut [(&[u8], u128)]) {
    let is = |wanted: &[u8], name: &[u8]| name.eq_ignore_ascii_case(wanted);
    let blksize = granted.iter().find(|(name, _)| is(b"blksize", name));
    let most = 65_535 / blksize.map_or(512, |&(_, blksize)| blksize);
    for (name, value) in granted {
        if is(b"windowsize", name) {
            *value = (*value).min(most.max(1));
        }
    }
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// The number in plain decimal digits, or the greatest there is.
fn number(text: &[u8]) -> u128 {
    assert!(is_number(text), "{}", text.escape_ascii());
    text.iter().fold(0_u128, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u128::from(digit - b'0'))
    })
}

fn check_reply(shown: &Shown<'_>, seen: &mut Seen) {
    let datagram = shown.datagram;
    match Reply::parse(datagram) {
        Ok(Reply::Ack(block)) => {
            seen.acks += 1;
            let [high, low] = block.to_be_bytes();
            assert!(datagram.starts_with(&[0, 4, high, low]), "{shown}");
        }
        Ok(Reply::Data { block, payload }) => {
            let [high, low] = block.to_be_bytes();
            assert!(datagram.starts_with(&[0, 3, high, low]), "{shown}");
            assert_eq!(&datagram[4..], payload, "{shown}");
        }
        Ok(Reply::Error { code, message }) => {
            seen.errors += 1;
            let [high, low] = code.to_be_bytes();
            assert!(datagram.starts_with(&[0, 5, high, low]), "{shown}");
            assert!(datagram[4..].starts_with(message), "{shown}");
            assert!(!message.contains(&0), "{shown}");
        }
        Err(Malformed::Short) => assert!(datagram.len() < 4, "{shown}"),
        Err(Malformed::Opcode) => {
            let is_reply = matches!(datagram, [0, 3..=5, ..]);
            assert!(!is_reply, "{shown}");
        }
        Err(other) => panic!("{other:?}: {shown}"),
    }
}
