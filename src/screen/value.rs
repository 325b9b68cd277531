//! What the control socket answers, read: the JSON that the server writes, and no more of JSON than that.

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Text(String),
    /// Not negative, in millionths.
    Number(u128),
    Truth(bool),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Reads a whole text; `None` if it is none of ours.
    pub(super) fn read(text: &str) -> Option<Value> {
        let mut rest = text.trim_end();
        let value = value(&mut rest, 0)?;
        rest.is_empty().then_some(value)
    }

    /// The field of this name, if there is one.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(fields) => fields
                .iter()
                .find_map(|(key, it)| (key == name).then_some(it)),
            _ => None,
        }
    }

    /// A field that is a number, in millionths; 0 if there is none.
    pub(super) fn micros(&self, name: &str) -> u64 {
        match self.field(name) {
            Some(Value::Number(micros)) => u64::try_from(*micros).unwrap_or(u64::MAX),
            _ => 0,
        }
    }

    /// A field that is a whole number; 0 if there is none.
    pub(super) fn number(&self, name: &str) -> u64 {
        match self.field(name) {
            Some(Value::Number(micros)) => u64::try_from(micros / MICROS).unwrap_or(u64::MAX),
            _ => 0,
        }
    }

    /// A field that is text; empty if there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        match self.field(name) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    /// A field that is a list; empty if there is none.
    pub(super) fn list(&self, name: &str) -> &[Value] {
        match self.field(name) {
            Some(Value::List(values)) => values,
            _ => &[],
        }
    }
}

fn value(rest: &mut &str, depth: u8) -> Option<Value> {
    let first = rest.chars().next().filter(|_| depth < DEPTH_MAX)?;
    Some(match first {
        '"' => Value::Text(string(rest)?),
        '{' => Value::Object(items(rest, '}', |rest| {
            let key = string(rest)?;
            *rest = rest.strip_prefix(':')?;
            Some((key, value(rest, depth + 1)?))
        })?),
        '[' => Value::List(items(rest, ']', |rest| value(rest, depth + 1))?),
        't' | 'f' => {
            let word = if first == 't' { "true" } else { "false" };
            *rest = rest.strip_prefix(word)?;
            Value::Truth(first == 't')
        }
        _ => number(rest)?,
    })
}

/// What stands between two brackets, by commas apart.
fn items<T>(rest: &mut &str, end: char, item: impl Fn(&mut &str) -> Option<T>) -> Option<Vec<T>> {
    *rest = &rest[1..];
    let mut items = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(end) {
            *rest = after;
            return Some(items);
        }
        if !items.is_empty() {
            *rest = rest.strip_prefix(',')?;
        }
        items.push(item(rest)?);
    }
}

fn number(rest: &mut &str) -> Option<Value> {
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    let (text, after) = rest.split_at(end);
    *rest = after;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part: u128 = format!("{part:0<6}").get(..6)?.parse().ok()?;
    let whole: u64 = whole.parse().ok()?;
    Some(Value::Number(u128::from(whole) * MICROS + part))
}

/// A string of ASCII, with its escapes undone.
fn string(rest: &mut &str) -> Option<String> {
    *rest = rest.strip_prefix('"')?;
    let mut units = Vec::new();
    loop {
        units.push(match ascii(rest)? {
            '"' => return Some(String::from_utf16_lossy(&units)),
            '\\' => match ascii(rest)? {
                'u' => {
                    let unit = u16::from_str_radix(rest.get(..4)?, 16).ok()?;
                    *rest = &rest[4..];
                    unit
                }
                escaped => escaped as u16,
            },
            plain => plain as u16,
        });
    }
}

fn ascii(rest: &mut &str) -> Option<char> {
    let next = rest.chars().next().filter(char::is_ascii)?;
    *rest = &rest[1..];
    Some(next)
}

const MICROS: u128 = 1_000_000;

/// An object has lists of objects.
const DEPTH_MAX: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_writes_is_read() {
        let text = r#"{"a":"x\"\\\u00e9\ud83d\ude00","n":18446744073709551615,"s":1.050000,"t":true,"l":[{"x":1},{}]}"#;
        let value = Value::read(text).expect("it is right");
        assert_eq!(value.text("a"), "x\"\\\u{e9}\u{1f600}");
        assert_eq!(
            (value.number("n"), value.micros("s")),
            (u64::MAX, 1_050_000)
        );
        assert_eq!(value.list("l").len(), 2);
        assert_eq!(value.list("l")[0].number("x"), 1);
        assert_eq!((value.number("missing"), value.text("n")), (0, ""));
    }

    #[test]
    fn whatever_is_wrong_is_none() {
        for text in [
            "",
            "{",
            "{]",
            "[[[[[1]]]]]",
            "\"\\u12",
            "\"\u{e9}\"",
            "{\"a\" :1}",
            "1x",
            "tru",
            "-1",
            "[1 2]",
            "\"\\",
        ] {
            assert_eq!(Value::read(text), None, "{text}");
        }
    }
}
