//! Fields in words: what people read.
//!
//! Names from the network are escaped and cut, so whatever a client sends, a line stays one line.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::field::{Field, Value, Word, differ};

/// Words with the fields that they name in braces. A part in brackets is left out if its field is absent.
pub(super) fn fill(words: &str, fields: &[Field<'_>]) -> String {
    let find = |name: &str| fields.iter().find(|(key, _)| *key == name);
    let value = |name| find(name).map_or(&Value::Absent, |(_, value)| value);
    let mut text = String::with_capacity(256);
    let mut rest = words;
    while let Some(at) = rest.find(['{', '[']) {
        text += &rest[..at];
        let is_field = rest[at..].starts_with('{');
        let end = if is_field { '}' } else { ']' };
        let (part, after) = rest[at + 1..].split_once(end).unwrap_or_default();
        if is_field {
            text += &shown(value(part), fields);
        } else if let Some(name) = part.split(['{', '}']).nth(1)
            && !matches!(value(name), Value::Absent)
        {
            text += &fill(part, fields);
        }
        rest = after;
    }
    text + rest
}

fn shown(value: &Value<'_>, fields: &[Field<'_>]) -> String {
    match value {
        Value::Absent | Value::Json(_) => String::new(),
        Value::Number(number) => number.to_string(),
        Value::Truth(truth) => truth.to_string(),
        Value::Seconds(span) => Seconds(*span).to_string(),
        Value::Text(text) => text.to_string(),
        Value::Word(Word(_, words)) => fill(words, fields),
        Value::Client(peer) => peer.to_string(),
        Value::File { asked, name, .. } if differ(asked, name) => {
            format!("\"{}\" -> \"{}\"", escaped(asked), escaped(name))
        }
        Value::File { shown, .. } => format!("\"{}\"", escaped(shown)),
    }
}

/// A span with three digits of a second. Floating-point numbers are not written anywhere, because what
/// writes them is 16 kB of the binary.
pub(super) struct Seconds(pub Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let rounded = self.0.saturating_add(Duration::from_micros(500));
        write!(f, "{}.{:03} s", rounded.as_secs(), rounded.subsec_millis())
    }
}

/// Bytes within a span, with one digit; 0 within none.
pub(super) struct MegabytesPerSecond(pub u64, pub Duration);

impl Display for MegabytesPerSecond {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let micros = u64::try_from(self.1.as_micros()).unwrap_or(u64::MAX);
        let tenths = self.0.saturating_mul(10).saturating_add(micros / 2);
        let tenths = tenths.checked_div(micros).unwrap_or(0);
        write!(f, "{}.{} MB/s", tenths / 10, tenths % 10)
    }
}

/// A name from the network as printable text of bounded length.
pub(super) fn escaped(name: &[u8]) -> String {
    let shown = name.get(..NAME_SHOWN).unwrap_or(name);
    let ellipsis = if shown.len() < name.len() { "..." } else { "" };
    format!("{}{ellipsis}", shown.escape_ascii())
}

/// Bytes of a name that are shown.
const NAME_SHOWN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_rates_are_rounded() {
        let span = |micros| Seconds(Duration::from_micros(micros)).to_string();
        assert_eq!(span(0), "0.000 s");
        assert_eq!((&*span(12_499), &*span(12_500)), ("0.012 s", "0.013 s"));
        assert_eq!(span(61_999_500), "62.000 s");
        let rate =
            |bytes, micros| MegabytesPerSecond(bytes, Duration::from_micros(micros)).to_string();
        assert_eq!(rate(42_430, 12_000), "3.5 MB/s");
        assert_eq!(rate(1_000_000_000, 8_000_000), "125.0 MB/s");
        assert_eq!((&*rate(0, 5), &*rate(7, 0)), ("0.0 MB/s", "0.0 MB/s"));
    }

    #[test]
    fn names_are_escaped_and_cut() {
        assert_eq!(escaped(b"a\n\x1b[31m\xE9\"%s"), "a\\n\\x1b[31m\\xe9\\\"%s");
        assert_eq!(escaped(&[b'a'; 300]).len(), NAME_SHOWN + 3);
    }
}
