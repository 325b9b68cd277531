//! Local text to netascii and back (RFC 764, as RFC 1350 uses it): LF becomes CR LF, CR becomes CR NUL.
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

/// Translates netascii that comes in pieces to local text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Decoder {
    /// The last byte was a CR.
    follows_cr: bool,
}

impl Decoder {
    /// Translates the next piece and appends the result to `out`, which grows by at most one byte more than the piece
    /// has. A CR that is followed by neither LF nor NUL stays.
    pub fn decode(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for &byte in piece {
            let follows_cr = std::mem::replace(&mut self.follows_cr, byte == b'\r');
            match byte {
                b'\n' => out.push(b'\n'),
                0 if follows_cr => out.push(b'\r'),
                _ => {
                    if follows_cr {
                        out.push(b'\r');
                    }
                    if byte != b'\r' {
                        out.push(byte);
                    }
                }
            }
        }
    }

    /// The text is at its end.
    pub fn end(self, out: &mut Vec<u8>) {
        if self.follows_cr {
            out.push(b'\r');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_become_line_ends_and_carriage_returns_wherever_a_piece_ends() {
        let cases: [(&[u8], &[u8]); 9] = [
            (b"", b""),
            (b"plain\0", b"plain\0"),
            (b"a\r\nb", b"a\nb"),
            (b"a\r\0b", b"a\rb"),
            (b"\r\0\r\n\0", b"\r\n\0"),
            (b"bare\n", b"bare\n"),
            (b"a\rb", b"a\rb"),
            (b"\r\r\n\r\r\0", b"\r\n\r\r"),
            (b"end\r", b"end\r"),
        ];
        for (wire, expected) in cases {
            for at in 0..=wire.len() {
                let (mut decoder, mut out) = (Decoder::default(), Vec::new());
                decoder.decode(&wire[..at], &mut out);
                decoder.decode(&wire[at..], &mut out);
                decoder.end(&mut out);
                assert_eq!(out, expected, "{wire:?} cut at {at}");
            }
        }
    }

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
