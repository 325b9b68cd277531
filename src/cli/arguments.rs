//! Arguments → options with their values, in the order in which they were typed. It knows how options are
//! spelled, and nothing of what they mean.
//!
//! Arguments are bytes, and `getopts` reads text: each byte is handed to it as the character of that
//! number, so that a directory may have any name.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use getopts::{Fail, HasArg, Occur, Options};

/// How an option is typed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spelling {
    /// Its letter, if it has one.
    pub short: Option<char>,
    /// Its long name.
    pub long: &'static str,
    /// Whether it takes a value.
    pub has_value: bool,
}

/// An option that was typed.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Given {
    /// Its place in the list of spellings.
    pub spelling: usize,
    /// Its value; empty if it takes none.
    pub value: OsString,
}

/// Returns the options, and what is none.
///
/// # Errors
/// An unknown option, a value that is missing or too much; [`narrowed`] makes its text readable.
pub(super) fn read(
    spellings: &[Spelling],
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<(Vec<Given>, Vec<OsString>), Fail> {
    let mut parser = Options::new();
    for spelling in spellings {
        let short = spelling.short.map(String::from).unwrap_or_default();
        let has_value = match spelling.has_value {
            true => HasArg::Yes,
            false => HasArg::No,
        };
        parser.opt(&short, spelling.long, "", "", has_value, Occur::Multi);
    }
    let arguments = arguments.into_iter().map(|argument| widened(&argument));
    let matches = parser.parse(arguments)?;
    let mut given = Vec::new();
    for (number, spelling) in spellings.iter().enumerate() {
        let values = matches.opt_strs_pos(spelling.long);
        let values = values
            .into_iter()
            .map(|(place, value)| (place, narrowed(&value)));
        let bare = matches.opt_positions(spelling.long).into_iter();
        let bare = bare
            .filter(|_| !spelling.has_value)
            .map(|place| (place, OsString::new()));
        given.extend(values.chain(bare).map(|(place, value)| {
            let spelling = number;
            (place, Given { spelling, value })
        }));
    }
    given.sort_by_key(|(place, _)| *place);
    let operands = matches.free.iter().map(|operand| narrowed(operand));
    let given = given.into_iter().map(|(_, given)| given);
    Ok((given.collect(), operands.collect()))
}

fn widened(bytes: &OsStr) -> String {
    bytes.as_bytes().iter().copied().map(char::from).collect()
}

/// The bytes that were widened to text.
pub(super) fn narrowed(text: &str) -> OsString {
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
        let spellings = [('v', "verbose", false), ('r', "root", true)];
        let spellings = spellings.map(|(short, long, has_value)| Spelling {
            short: Some(short),
            long,
            has_value,
        });
        let words: [&[u8]; 6] = [b"-r", b"\xFF\xC3\xA9", b"-vv", b"--root=a", b"b", b"-rc"];
        let words = words.map(|word| OsString::from_vec(word.to_vec()));
        let (given, operands) = read(&spellings, words).expect("a right line");
        let given: Vec<_> = given
            .iter()
            .map(|of| (of.spelling, of.value.as_bytes()))
            .collect();
        let root = b"\xFF\xC3\xA9".as_slice();
        assert_eq!(given, [(1, root), (0, b""), (0, b""), (1, b"a"), (1, b"c")]);
        assert_eq!(operands, ["b"]);
        let message = read(&spellings, ["--\u{e9}t\u{e9}".into()]).expect_err("unknown");
        let message = narrowed(&message.to_string());
        assert!(
            message
                .to_str()
                .is_some_and(|text| text.contains("'\u{e9}t\u{e9}'"))
        );
    }
}
