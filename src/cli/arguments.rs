//! Arguments → options with their values, in the order in which they were typed. It knows how options are
//! spelled, and nothing of what they mean.
//!
//! Arguments are bytes, and `getopts` reads text: each byte is handed to it as the character of that
//! number, so that a directory may have any name.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use getopts::{Fail, HasArg, Occur, Options};

/// How an option is typed: `-n, --max-transfers N`, without the letter or the value if it has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Names(pub &'static str);

impl Names {
    /// The letter.
    pub fn short(self) -> Option<char> {
        let short = self.0.strip_prefix('-')?.chars().next();
        short.filter(|&letter| letter != '-')
    }

    /// The long name.
    pub fn long(self) -> &'static str {
        let (_, long) = self.0.split_once("--").unwrap_or_default();
        long.split_once(' ').map_or(long, |(long, _)| long)
    }

    /// What its value is called.
    pub fn value(self) -> Option<&'static str> {
        let (_, long) = self.0.split_once("--")?;
        long.split_once(' ').map(|(_, value)| value)
    }
}

/// The options, each as its place among the names and its value (empty if it takes none), and what is none.
pub(super) type Read = (Vec<(usize, OsString)>, Vec<OsString>);

/// Returns what was typed, in that order.
///
/// # Errors
/// An unknown option, a value that is missing or too much; [`message`] makes a text of it.
pub(super) fn read(
    names: &[Names],
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Read, Fail> {
    let mut parser = Options::new();
    for name in names {
        let short = name.short().map(String::from).unwrap_or_default();
        let has_value = match name.value() {
            Some(_) => HasArg::Yes,
            None => HasArg::No,
        };
        parser.opt(&short, name.long(), "", "", has_value, Occur::Multi);
    }
    let arguments = arguments.into_iter().map(|argument| widened(&argument));
    let matches = parser.parse(arguments)?;
    let mut given = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let values = matches.opt_strs_pos(name.long()).into_iter();
        given.extend(values.map(|(place, value)| (place, number, narrowed(&value))));
        if name.value().is_none() {
            let bare = matches.opt_positions(name.long()).into_iter();
            given.extend(bare.map(|place| (place, number, OsString::new())));
        }
    }
    given.sort_by_key(|&(place, ..)| place);
    let given = given.into_iter().map(|(_, number, value)| (number, value));
    let operands = matches.free.iter().map(|operand| narrowed(operand));
    Ok((given.collect(), operands.collect()))
}

/// What is wrong, in words.
pub(super) fn message(fail: &Fail) -> String {
    narrowed(&fail.to_string()).display().to_string()
}

fn widened(bytes: &OsStr) -> String {
    bytes.as_bytes().iter().copied().map(char::from).collect()
}

fn narrowed(text: &str) -> OsString {
    let bytes = text
        .chars()
        .map(|character| u8::try_from(character).unwrap_or(b'?'));
    OsString::from_vec(bytes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_order_are_kept() {
        let names = [Names("-v, --verbose"), Names("-r, --root DIR")];
        let words: [&[u8]; 6] = [b"-r", b"\xFF\xC3\xA9", b"-vv", b"--root=a", b"b", b"-rc"];
        let words = words.map(|word| OsString::from_vec(word.to_vec()));
        let (given, operands) = read(&names, words).expect("a right line");
        let given: Vec<_> = given
            .iter()
            .map(|(of, value)| (*of, value.as_bytes()))
            .collect();
        let root = b"\xFF\xC3\xA9".as_slice();
        assert_eq!(given, [(1, root), (0, b""), (0, b""), (1, b"a"), (1, b"c")]);
        assert_eq!(operands, ["b"]);
        let fail = read(&names, ["--\u{e9}t\u{e9}".into()]).expect_err("unknown");
        assert!(message(&fail).contains("'\u{e9}t\u{e9}'"), "{fail}");
    }

    #[test]
    fn names_have_three_parts() {
        let parts = |names: Names| (names.short(), names.long(), names.value());
        assert_eq!(parts(Names("-n, --max N")), (Some('n'), "max", Some("N")));
        assert_eq!(
            parts(Names("--hold S|never")),
            (None, "hold", Some("S|never"))
        );
        assert_eq!(parts(Names("-v, --verbose")), (Some('v'), "verbose", None));
    }
}
