//! Local text to netascii (RFC 764, as RFC 1350 uses it): LF becomes CR LF, CR becomes CR NUL.
//!
//! A pure translation of one byte at a time, so a file may be cut anywhere.

use std::collections::VecDeque;

/// Translates `text` and appends the result to `out`, which grows by at most twice `text`'s length.
pub fn translate(text: &[u8], out: &mut VecDeque<u8>) {
    for &byte in text {
        match byte {
            b'\n' => out.extend(b"\r\n"),
            b'\r' => out.extend(b"\r\0"),
            _ => out.push_back(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_and_carriage_returns_become_pairs() {
        let cases: [(&[u8], &[u8]); 4] = [
            (b"plain", b"plain"),
            (b"a\nb", b"a\r\nb"),
            (b"a\rb", b"a\r\0b"),
            (b"\r\n\0", b"\r\0\r\n\0"),
        ];
        for (text, expected) in cases {
            let mut out = VecDeque::new();
            translate(text, &mut out);
            assert_eq!(Vec::from(out), expected, "{text:?}");
        }
    }
}
