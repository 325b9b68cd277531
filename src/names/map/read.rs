//! From the bytes of a map file to its rules.

use std::fmt;

use super::text::Template;
use super::{AppliesTo, Dialect, Map, Rewrite, Rule, Then};
use crate::names::regex::{Regex, is_space};

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

/// A fault: the bytes before it in its line, and what is wrong.
type Fault = (usize, String);

/// A field of a line: its bytes, and where they begin.
#[derive(Clone, Copy)]
struct Field<'l> {
    bytes: &'l [u8],
    column: usize,
}

impl Map {
    /// Reads the rules of a file; `steps_max`: see [`super::STEPS_MAX`].
    ///
    /// # Errors
    /// The first line that is none.
    pub fn read(file: &[u8], steps_max: u32, dialect: Dialect) -> Result<Map, BadMap> {
        let (mut rules, mut labels) = (Vec::new(), Vec::new());
        for (line, bytes) in (1..).zip(file.split(|&byte| byte == b'\n')) {
            let bad = |(column, why): Fault| BadMap {
                line,
                column: column + 1,
                why,
            };
            let is_kept = |byte: &u8| *byte != b'\r' && *byte != 0;
            let bytes: Vec<u8> = bytes.iter().copied().filter(is_kept).collect();
            if bytes.len() > LINE_BYTES_MAX {
                let why = format!("a line of more than {LINE_BYTES_MAX} bytes");
                return Err(bad((LINE_BYTES_MAX, why)));
            }
            let mut fields = fields(&bytes);
            let Some(operation) = fields.next() else {
                continue;
            };
            if rules.len() + labels.len() == LINES_MAX {
                return Err(bad((0, format!("more than {LINES_MAX} rules"))));
            }
            match operation.bytes.strip_prefix(b":") {
                Some(label) => labels.push((label.into(), rules.len())),
                None => rules.push(rule(line, operation, fields, dialect).map_err(bad)?),
            }
        }
        Ok(Map {
            rules,
            labels,
            steps_max,
        })
    }
}

fn rule<'l>(
    line: usize,
    operation: Field<'l>,
    mut fields: impl Iterator<Item = Field<'l>>,
    dialect: Dialect,
) -> Result<Rule, Fault> {
    let Some(pattern) = fields.next() else {
        let why = "a rule without a regular expression".into();
        return Err((operation.column, why));
    };
    check_letters(operation)?;
    let has = |letter: u8| operation.bytes.contains(&letter);
    let regex = Regex::new(pattern.bytes, has(b'i')).map_err(|bad| {
        let why = format!("regular expression: {bad}");
        (pattern.column + bad.at, why)
    })?;
    let passes = operation.bytes.iter().filter(|&&byte| byte == b'g').count();
    Ok(Rule {
        line,
        // One of two letters leaves the other kind out; both leave nothing.
        applies_to: AppliesTo {
            reads: !has(b'P'),
            writes: !has(b'G'),
            ipv4: !has(b'6'),
            ipv6: !has(b'4'),
        },
        regex,
        is_inverse: has(b'~'),
        rewrites: has(b'r').then_some(match passes {
            0 => Rewrite::Once,
            1 => Rewrite::UntilNoMatch,
            _ => Rewrite::Each,
        }),
        then: match () {
            () if has(b'a') => Then::Refuse,
            () if has(b'E') => Then::EndIfOpens,
            () if has(b'e') => Then::End,
            () if has(b's') => Then::StartAgain,
            () if has(b'j') => Then::Jump,
            () => Then::GoOn,
        },
        text: Template::new(fields.next().map_or(&[], |field| field.bytes), dialect),
    })
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

fn check_letters(field: Field<'_>) -> Result<(), Fault> {
    let position_of = |letters: &[u8]| field.bytes.iter().position(|byte| letters.contains(byte));
    if let Some(place) = field.bytes.iter().position(|byte| !LETTERS.contains(byte)) {
        let letter = field.bytes[place].escape_ascii();
        let why = format!("'{letter}' is no operation, only r g i e E s a j ~ G P 4 6");
        return Err((field.column + place, why));
    }
    for &(letter, forbidden) in TOGETHER {
        if field.bytes.contains(&letter)
            && let Some(place) = position_of(forbidden)
        {
            let (letter, other) = (char::from(letter), char::from(field.bytes[place]));
            let why = format!("'{letter}' and '{other}' cannot be in one rule");
            return Err((field.column + place, why));
        }
    }
    Ok(())
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
