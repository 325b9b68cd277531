//! What a client asks for, what it is granted, and the OACK that says so. The first 18 bytes are the
//! operator's terms, the file and the path; the rest is what follows the mode in a request.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ripple_tftpd::transfer::options::{BLKSIZE_MAX, BLKSIZE_MIN, NAMES, OACK_MAX, Refused};
use ripple_tftpd::transfer::{Negotiated, Terms, Wanted};
use ripple_tftpd::wire::Request;

fuzz_target!(|input: &[u8]| {
    let Some((&numbers, options)) = input.split_first_chunk::<18>() else {
        return;
    };
    let number = |at: usize| u16::from_be_bytes([numbers[at], numbers[at + 1]]);
    let mut refused = Refused::default();
    for (bit, name) in NAMES.iter().enumerate() {
        let _ = numbers[4] >> (bit + 2) & 1 == 1 && refused.add(name);
    }
    let terms = Terms {
        max_blksize: number(0).clamp(BLKSIZE_MIN, BLKSIZE_MAX),
        max_windowsize: number(2).max(1),
        refused,
    };
    let payload_max = (numbers[4] & 1 == 1).then_some(number(5));
    let size: [u8; 8] = numbers[8..16].try_into().expect("8 bytes");
    let size = (numbers[4] & 2 == 2).then_some(u64::from_be_bytes(size));
    let datagram = [b"\0\x01file\0octet\0", options].concat();
    let request = Request::parse(&datagram).expect("a request");
    let negotiated = Wanted::new(request.options()).negotiate(terms, size, payload_max);
    bounded(&negotiated, terms, payload_max);
    asked_for(&negotiated, &request, size);
});

fn bounded(negotiated: &Negotiated, terms: Terms, payload_max: Option<u16>) {
    let Negotiated {
        blksize,
        windowsize,
        ..
    } = *negotiated;
    assert!(BLKSIZE_MIN <= blksize && blksize <= terms.max_blksize.max(512));
    assert!(1 <= windowsize && windowsize <= terms.max_windowsize);
    assert!(
        negotiated
            .timeout()
            .is_none_or(|timeout| (1..=255).contains(&timeout.as_secs()))
    );
    let fits = |most: u16| blksize <= most.saturating_sub(4).max(BLKSIZE_MIN);
    assert!(blksize == 512 || payload_max.is_none_or(fits));
}

/// Each option of the OACK was asked for, in this order and spelling, and none comes twice.
fn asked_for(negotiated: &Negotiated, request: &Request<'_>, size: Option<u64>) {
    let mut buffer = [0; OACK_MAX];
    let length = negotiated.write_oack(&mut buffer);
    let oack = &buffer[..length];
    assert!(oack.starts_with(&[0, 6]) && (length == 2 || oack.ends_with(&[0])));
    assert_eq!(negotiated.has_oack(), 2 < length);
    let strings: Vec<&[u8]> = oack[2..].split(|&byte| byte == 0).collect();
    let mut asked = request.options();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for pair in strings.chunks_exact(2) {
        assert!(asked.any(|(name, _)| name == pair[0]));
        let kind = pair[0].to_ascii_lowercase();
        assert!(!seen.contains(&kind));
        let value = std::str::from_utf8(pair[1]).expect("digits");
        let value: u64 = value.parse().expect("a number");
        match &kind[..] {
            b"blksize" => assert_eq!(value, negotiated.blksize.into()),
            b"windowsize" => assert_eq!(value, negotiated.windowsize.into()),
            b"timeout" => {
                assert_eq!(
                    negotiated.timeout().map(|agreed| agreed.as_secs()),
                    Some(value)
                );
            }
            b"tsize" => assert_eq!(size, Some(value)),
            _ => panic!("an option that nobody knows"),
        }
        seen.push(kind);
    }
}
