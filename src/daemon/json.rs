//! JSON, written: objects in plain ASCII, so that no terminal, pipe or syslogd on the way makes anything else of them.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use crate::wire::Peer;

/// An object under way.
pub(super) struct Object<'a> {
    to: &'a mut String,
}

impl<'a> Object<'a> {
    /// Begins it.
    pub(super) fn new(to: &'a mut String) -> Object<'a> {
        to.push('{');
        Object { to }
    }

    fn key(&mut self, key: &str) -> &mut String {
        if !self.to.ends_with('{') {
            self.to.push(',');
        }
        *self.to += "\"";
        *self.to += key;
        *self.to += "\":";
        self.to
    }

    pub(super) fn number<T: TryInto<u64>>(&mut self, key: &str, number: T) -> &mut Self {
        let number = number.try_into().unwrap_or(u64::MAX);
        // Nothing stops a string from growing, here and below.
        let _ = write!(self.key(key), "{number}");
        self
    }

    pub(super) fn truth(&mut self, key: &str, truth: bool) -> &mut Self {
        *self.key(key) += if truth { "true" } else { "false" };
        self
    }

    pub(super) fn seconds(&mut self, key: &str, span: Duration) -> &mut Self {
        let _ = write!(self.key(key), "{}", Seconds(span));
        self
    }

    /// What is not UTF-8 in it is replaced: see [`Object::name`] for what has to be reversible.
    pub(super) fn text(&mut self, key: &str, text: impl Display) -> &mut Self {
        let mut whole = String::new();
        let _ = write!(whole, "{text}");
        escape(&whole, TEXT_MAX, self.key(key));
        self
    }

    /// Whose packets these are.
    pub(super) fn client(&mut self, peer: Peer) -> &mut Self {
        match peer.scope {
            0 => self.text("client", peer.address),
            scope => self.text("client", format_args!("{}%{scope}", peer.address)),
        };
        self.number("port", peer.port)
    }

    /// The name of a file.
    pub(super) fn name(&mut self, name: &[u8]) -> &mut Self {
        self.bytes("name", name, NAME_SHOWN)
    }

    /// The name that was asked for, and another one that was looked up for it.
    pub(super) fn names(&mut self, asked: &[u8], name: &[u8]) -> &mut Self {
        self.bytes("asked", asked, NAME_SHOWN / 2);
        self.bytes("name", name, NAME_SHOWN / 2)
    }

    /// What came from the network, which is bytes: as text, and where it is not UTF-8 in hexadecimal as well. If it is
    /// longer than `most`, it is cut, and its length says so.
    fn bytes(&mut self, key: &str, bytes: &[u8], most: usize) -> &mut Self {
        let shown = match std::str::from_utf8(bytes) {
            Ok(text) => {
                let shown = text.floor(most);
                escape(&text[..shown], usize::MAX, self.key(key));
                shown
            }
            Err(_) => {
                let shown = &bytes[..bytes.len().min(most)];
                escape(&String::from_utf8_lossy(shown), usize::MAX, self.key(key));
                let hex = self.key(&format!("{key}_hex"));
                hex.push('"');
                for byte in shown {
                    let _ = write!(hex, "{byte:02x}");
                }
                hex.push('"');
                shown.len()
            }
        };
        if shown < bytes.len() {
            self.number(&format!("{key}_length"), bytes.len());
        }
        self
    }

    /// A list of objects.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Object<'_>, T),
    ) -> &mut Self {
        let to = self.key(key);
        to.push('[');
        for item in items {
            if !to.ends_with('[') {
                to.push(',');
            }
            let mut object = Object::new(to);
            write(&mut object, item);
            object.end();
        }
        to.push(']');
        self
    }

    /// Ends it.
    pub(super) fn end(self) {
        self.to.push('}');
    }
}

/// Writes a span as a number of seconds. Floating-point numbers are not written anywhere: what writes them is 16 kB of
/// the binary.
pub(super) struct Seconds(pub Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}

/// Writes text as a JSON string of ASCII (RFC 8259 section 7), cut where that has about `most` characters.
fn escape(text: &str, most: usize, to: &mut String) {
    to.push('"');
    let end = to.len().saturating_add(most);
    for character in text.chars() {
        if to.len() >= end {
            break;
        }
        match character {
            '"' | '\\' => {
                to.push('\\');
                to.push(character);
            }
            ' '..='~' => to.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(to, "\\u{unit:04x}");
                }
            }
        }
    }
    to.push('"');
}

/// Where a text may be cut.
trait Floor {
    /// The last boundary of a character that is not past `at`.
    fn floor(&self, at: usize) -> usize;
}

impl Floor for str {
    fn floor(&self, at: usize) -> usize {
        let mut at = at.min(self.len());
        while !self.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

/// Bytes of a name that are shown: at six characters each, and two in hexadecimal, a line is still one that a pipe takes
/// whole.
const NAME_SHOWN: usize = 384;

/// Characters of another text, as it is written: a line may have two such.
const TEXT_MAX: usize = 1_700;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(bytes: &[u8]) -> String {
        let mut text = String::new();
        let mut object = Object::new(&mut text);
        object.name(bytes);
        object.end();
        text
    }

    #[test]
    fn names_are_ascii_and_reversible() {
        assert_eq!(name(b"a/b"), r#"{"name":"a/b"}"#);
        assert_eq!(
            name("\"\\\n\u{1b}\u{7f}\u{e9}\u{1f600}".as_bytes()),
            r#"{"name":"\"\\\u000a\u001b\u007f\u00e9\ud83d\ude00"}"#
        );
        assert_eq!(
            name(b"a\xE9\xFF"),
            r#"{"name":"a\ufffd\ufffd","name_hex":"61e9ff"}"#
        );
    }

    #[test]
    fn a_long_name_is_cut_between_two_characters() {
        let long = format!("a{}", "\u{e9}".repeat(300));
        let cut = name(long.as_bytes());
        assert_eq!(cut.matches("\\u00e9").count(), 191);
        assert!(cut.ends_with(r#","name_length":601}"#), "{cut}");
        assert!(name(&[0xFF; 1024]).len() < 3_200);
    }

    #[test]
    fn numbers_are_numbers_and_lists_have_commas_between() {
        let mut text = String::new();
        let mut object = Object::new(&mut text);
        object
            .number("n", 7_u16)
            .seconds("s", Duration::from_millis(1_050))
            .truth("t", true)
            .list("l", [1_u8, 2], |item, number| {
                item.number("x", number);
            });
        object.end();
        assert_eq!(
            text,
            r#"{"n":7,"s":1.050000,"t":true,"l":[{"x":1},{"x":2}]}"#
        );
    }
}
