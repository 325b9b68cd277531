//! From the bytes of a map file to its rules.

use std::fmt;

use super::text::Template;
use super::{AppliesTo, Dialect, Line, Rewrite, Rule, Then};
use crate::names::regex::Regex;

/// Rules and labels that a file may hold.
const LINES_MAX: usize = 65_536;

/// Bytes of one line that are read.
const LINE_BYTES_MAX: usize = 16_384;

/// A line that is no rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadMap {
    /// The line, and the byte in it, each from 1 on.
    pub line: usize,
    /// See `line`.
    pub column: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for BadMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}, column {}: {}",
            self.line, self.column, self.why
        )
    }
}

/// A field of a line: its bytes, and where they begin.
#[derive(Clone, Copy)]
struct Field<'l> {
    bytes: &'l [u8],
    column: usize,
}

pub(super) fn lines(file: &[u8], dialect: Dialect) -> Result<Vec<Line>, BadMap> {
    let mut lines = Vec::new();
    for (number, bytes) in file.split(|&byte| byte == b'\n').enumerate() {
        let number = number + 1;
        let bytes: Vec<u8> = bytes
            .iter()
            .copied()
            .filter(|&byte| byte != b'\r' && byte != 0)
            .collect();
        let bad = |column: usize, why: String| BadMap {
            line: number,
            column: column + 1,
            why,
        };
        if bytes.len() > LINE_BYTES_MAX {
            return Err(bad(
                LINE_BYTES_MAX,
                format!("a line of more than {LINE_BYTES_MAX} bytes"),
            ));
        }
        let line = line(&bytes, number, dialect).map_err(|(column, why)| bad(column, why))?;
        if let Some(line) = line {
            if lines.len() == LINES_MAX {
                return Err(bad(0, format!("more than {LINES_MAX} rules")));
            }
            lines.push(line);
        }
    }
    Ok(lines)
}

fn line(bytes: &[u8], number: usize, dialect: Dialect) -> Result<Option<Line>, (usize, String)> {
    let mut fields = fields(bytes);
    let Some(operation) = fields.next() else {
        return Ok(None);
    };
    if let Some(label) = operation.bytes.strip_prefix(b":") {
        return Ok(Some(Line::Label(label.into())));
    }
    let Some(pattern) = fields.next() else {
        return Err((
            operation.column,
            "a rule without a regular expression".into(),
        ));
    };
    let operations = operations(operation)?;
    let regex = Regex::new(pattern.bytes, operations.ignores_case).map_err(|bad| {
        (
            pattern.column + bad.at,
            format!("regular expression: {bad}"),
        )
    })?;
    let text = Template::new(fields.next().map_or(&[], |field| field.bytes), dialect);
    Ok(Some(Line::Rule(Rule {
        line: number,
        applies_to: operations.applies_to,
        regex,
        is_inverse: operations.is_inverse,
        rewrites: operations.rewrites,
        then: operations.then,
        text,
    })))
}

/// Splits a line at white space, up to a comment; a backslash keeps what follows it.
fn fields(line: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while line.get(at).is_some_and(|&byte| is_space(byte)) {
            at += 1;
        }
        let column = at;
        while let Some(&byte) = line.get(at) {
            match byte {
                b'#' => break,
                b'\\' => at += 2,
                _ if is_space(byte) => break,
                _ => at += 1,
            }
        }
        let end = at.min(line.len());
        if line.get(at) == Some(&b'#') {
            at = line.len();
        }
        (column < end).then(|| Field {
            bytes: &line[column..end],
            column,
        })
    })
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0B
}

/// What the letters of the first field say.
struct Operations {
    applies_to: AppliesTo,
    ignores_case: bool,
    is_inverse: bool,
    rewrites: Option<Rewrite>,
    then: Then,
}

fn operations(field: Field<'_>) -> Result<Operations, (usize, String)> {
    if let Some(place) = field.bytes.iter().position(|byte| !LETTERS.contains(byte)) {
        let letter = field.bytes[place].escape_ascii();
        return Err((
            field.column + place,
            format!("'{letter}' is no operation, only r g i e E s a j ~ G P 4 6"),
        ));
    }
    for (letter, forbidden) in TOGETHER {
        let Some(place) = field.bytes.iter().position(|byte| forbidden.contains(byte)) else {
            continue;
        };
        if field.bytes.contains(letter) {
            let (letter, other) = (char::from(*letter), char::from(field.bytes[place]));
            return Err((
                field.column + place,
                format!("'{letter}' and '{other}' cannot be in one rule"),
            ));
        }
    }
    let has = |letter: u8| field.bytes.contains(&letter);
    let passes = field.bytes.iter().filter(|&&byte| byte == b'g').count();
    let then = match () {
        () if has(b'a') => Then::Refuse,
        () if has(b'E') => Then::EndIfOpens,
        () if has(b'e') => Then::End,
        () if has(b's') => Then::StartAgain,
        () if has(b'j') => Then::Jump,
        () => Then::GoOn,
    };
    Ok(Operations {
        // One of two letters leaves the other kind out; both leave nothing.
        applies_to: AppliesTo {
            reads: !has(b'P'),
            writes: !has(b'G'),
            ipv4: !has(b'6'),
            ipv6: !has(b'4'),
        },
        ignores_case: has(b'i'),
        is_inverse: has(b'~'),
        rewrites: has(b'r').then_some(match passes {
            0 => Rewrite::Once,
            1 => Rewrite::UntilNoMatch,
            _ => Rewrite::Each,
        }),
        then,
    })
}

/// The letters of operations.
const LETTERS: &[u8] = b"rgieEsaj~GP46";

/// Letters, and those that cannot stand beside them.
const TOGETHER: &[(u8, &[u8])] = &[
    (b'r', b"~aj"),
    (b'a', b"js"),
    (b'e', b"jasE"),
    (b'E', b"jas"),
];
