//! From the text of an expression to its steps. What is an error, and what a literal, is as in glibc.

use std::fmt;
use std::sync::Arc;

use super::{Anchor, Group, Regex, Step};

/// What an expression may hold at most, once counts are written out.
const STEPS_MAX: usize = 3072;

/// Largest count (RE_DUP_MAX).
const COUNT_MAX: usize = 0x7FFF;

/// Groups within groups.
const DEPTH_MAX: u32 = 100;

/// Why an expression cannot be used, and where in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadRegex {
    /// Bytes before the fault.
    pub at: usize,
    /// What is wrong.
    pub why: &'static str,
}

impl fmt::Display for BadRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why)
    }
}

impl Regex {
    /// Compiles an expression; `ignores_case`: ASCII letters match in either case.
    ///
    /// # Errors
    /// Where it is none, refers back to a group, or becomes too large.
    pub fn new(pattern: &[u8], ignores_case: bool) -> Result<Regex, BadRegex> {
        let mut parser = Parser {
            pattern,
            at: 0,
            ignores_case,
            groups: 0,
            depth: 0,
        };
        let steps = parser.alternatives()?;
        Ok(Regex { steps })
    }
}

struct Parser<'p> {
    pattern: &'p [u8],
    at: usize,
    ignores_case: bool,
    groups: u8,
    depth: u32,
}

impl<'p> Parser<'p> {
    fn rest(&self) -> &'p [u8] {
        &self.pattern[self.at..]
    }

    fn take(&mut self) -> Option<u8> {
        let byte = *self.rest().first()?;
        self.at += 1;
        Some(byte)
    }

    /// Takes this byte, if it is the next.
    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.rest().first() == Some(&byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn bad<T>(&self, why: &'static str) -> Result<T, BadRegex> {
        Err(BadRegex { at: self.at, why })
    }

    /// Branches with `|` between them.
    fn alternatives(&mut self) -> Result<Vec<Step>, BadRegex> {
        let mut steps = self.branch()?;
        while self.takes(b'|') {
            let branch = self.branch()?;
            // The empty way is the last to be taken, wherever it stands.
            steps = match steps.is_empty() {
                true => either(branch, steps),
                false => either(steps, branch),
            };
        }
        Ok(steps)
    }

    fn branch(&mut self) -> Result<Vec<Step>, BadRegex> {
        let mut steps = Vec::new();
        loop {
            match self.rest() {
                [] | [b'|', ..] => return Ok(steps),
                [b')', ..] if self.depth > 0 => return Ok(steps),
                _ => steps.extend(self.piece()?),
            }
            if steps.len() > STEPS_MAX {
                return self.bad("too large");
            }
        }
    }

    /// One atom with what repeats it.
    fn piece(&mut self) -> Result<Vec<Step>, BadRegex> {
        let begin = self.at;
        let mut steps = match self.take() {
            Some(b'(') => self.group()?,
            Some(b'[') => vec![self.bracket()?],
            Some(b'.') => vec![set(|byte| byte != 0)],
            Some(b'^') => return Ok(vec![Step::Anchor(Anchor::LineStart)]),
            Some(b'$') => return Ok(vec![Step::Anchor(Anchor::End)]),
            Some(b'*' | b'+' | b'?' | b'{') => {
                self.at = begin;
                return self.bad("nothing to repeat");
            }
            Some(b'\\') => match self.escape()? {
                anchor @ Step::Anchor(_) => return Ok(vec![anchor]),
                step => vec![step],
            },
            Some(byte) => vec![self.byte(byte)],
            None => Vec::new(),
        };
        while let Some((least, most)) = self.count()? {
            let copies = most.unwrap_or(least + 1);
            if steps.len() * copies > STEPS_MAX || most.unwrap_or(least) > COUNT_MAX {
                return self.bad("too large");
            }
            steps = repeated(steps, least, most);
        }
        Ok(steps)
    }

    fn byte(&self, byte: u8) -> Step {
        match self.ignores_case && byte.is_ascii_alphabetic() {
            true => set(|other| other.eq_ignore_ascii_case(&byte)),
            false => Step::Byte(byte),
        }
    }

    fn group(&mut self) -> Result<Vec<Step>, BadRegex> {
        self.groups = self.groups.saturating_add(1);
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.bad("too many groups within groups");
        }
        let end = Group {
            number: self.groups,
            is_optional: false,
        };
        let mut steps = vec![Step::Open(end.number)];
        steps.extend(self.alternatives()?);
        steps.push(Step::Close(end));
        if !self.takes(b')') {
            return self.bad("a ( without its )");
        }
        self.depth -= 1;
        Ok(steps)
    }

    fn escape(&mut self) -> Result<Step, BadRegex> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        Ok(match self.take() {
            None => return self.bad("nothing behind the last \\"),
            Some(b'1'..=b'9') => {
                self.at -= 2;
                return self.bad("back-references are not supported");
            }
            Some(b'w') => set(is_word),
            Some(b'W') => set(|byte| !is_word(byte)),
            Some(b's') => set(is_space),
            Some(b'S') => set(|byte| !is_space(byte)),
            Some(b'<') => Step::Anchor(Anchor::WordStart),
            Some(b'>') => Step::Anchor(Anchor::WordEnd),
            Some(b'b') => Step::Anchor(Anchor::WordBoundary),
            Some(b'B') => Step::Anchor(Anchor::NotWordBoundary),
            Some(b'`') => Step::Anchor(Anchor::TextStart),
            Some(b'\'') => Step::Anchor(Anchor::End),
            Some(byte) => self.byte(byte),
        })
    }

    /// Reads `*`, `+`, `?` or a count in braces: the least and the most.
    fn count(&mut self) -> Result<Option<(usize, Option<usize>)>, BadRegex> {
        Ok(Some(match () {
            () if self.takes(b'*') => (0, None),
            () if self.takes(b'+') => (1, None),
            () if self.takes(b'?') => (0, Some(1)),
            () if self.takes(b'{') => self.braces()?,
            () => return Ok(None),
        }))
    }

    fn braces(&mut self) -> Result<(usize, Option<usize>), BadRegex> {
        let least = self.number();
        let most = match self.take() {
            Some(b'}') if least.is_some() => return Ok((least.unwrap_or(0), least)),
            Some(b',') => self.number(),
            None => return self.bad("a { without its }"),
            Some(_) => return self.bad("no count in { }"),
        };
        if !self.takes(b'}') {
            return self.bad("a { without its }");
        }
        let least = least.unwrap_or(0);
        match most.is_some_and(|most| most < least) {
            true => self.bad("a count { } that ends before it begins"),
            false => Ok((least, most)),
        }
    }

    fn number(&mut self) -> Option<usize> {
        let mut number = None;
        while let Some(digit @ b'0'..=b'9') = self.rest().first() {
            self.at += 1;
            let so_far = number.unwrap_or(0);
            number = Some((so_far * 10 + usize::from(digit - b'0')).min(COUNT_MAX + 1));
        }
        number
    }

    /// A list in brackets, of which `[` is read.
    fn bracket(&mut self) -> Result<Step, BadRegex> {
        let is_inverted = self.takes(b'^');
        let mut holds = [false; 256];
        let mut is_first = true;
        while is_first || !self.takes(b']') {
            let element = self.element(is_first, &mut holds)?;
            is_first = false;
            let Some(low) = element else { continue };
            let high = match self.rest() {
                [b'-', b'-', b'-', ..] | [b'-', b']', ..] => low,
                [b'-', ..] => {
                    self.at += 1;
                    match self.element(true, &mut holds)? {
                        Some(high) => high,
                        None => return self.bad("a range to a class"),
                    }
                }
                _ => low,
            };
            if high < low {
                return self.bad("a range that ends before it begins");
            }
            holds[usize::from(low)..=usize::from(high)].fill(true);
        }
        Ok(set(|byte| {
            holds[usize::from(self.folded(byte))] != is_inverted
        }))
    }

    /// Reads a byte of a list. A class of them, for which it returns `None`, it adds to what the list `holds`.
    fn element(
        &mut self,
        may_be_hyphen: bool,
        holds: &mut [bool; 256],
    ) -> Result<Option<u8>, BadRegex> {
        match *self.rest() {
            [] => self.bad("a [ without its ]"),
            [b'[', kind @ (b':' | b'=' | b'.'), ..] => {
                self.at += 2;
                self.named(kind, holds)
            }
            [b'-', b'-', b'-', ..] => {
                self.at += 3;
                Ok(Some(b'-'))
            }
            [b'-', next, ..] if !may_be_hyphen && next != b']' => {
                self.bad("a - that begins no range: put it first or last")
            }
            [byte, ..] => {
                self.at += 1;
                Ok(Some(self.folded(byte)))
            }
        }
    }

    /// `[:class:]`, `[=c=]` or `[.c.]`, of which the beginning is read.
    fn named(&mut self, kind: u8, holds: &mut [bool; 256]) -> Result<Option<u8>, BadRegex> {
        let rest = self.rest();
        let Some(length) = rest.windows(2).position(|two| two == [kind, b']']) else {
            return self.bad("a [ without its ]");
        };
        let element = match (kind, &rest[..length]) {
            (b':', name) => {
                let Some(test) = class(name, self.ignores_case) else {
                    return self.bad("no such class of characters");
                };
                (0..=u8::MAX)
                    .zip(holds)
                    .for_each(|(byte, holds)| *holds |= test(&byte));
                None
            }
            (b'=', &[byte]) => {
                holds[usize::from(self.folded(byte))] = true;
                None
            }
            (_, &[byte]) => Some(self.folded(byte)),
            _ => return self.bad("no such character"),
        };
        self.at += length + 2;
        Ok(element)
    }

    /// In lists all letters are capitals where case is ignored.
    fn folded(&self, byte: u8) -> u8 {
        match self.ignores_case {
            true => byte.to_ascii_uppercase(),
            false => byte,
        }
    }
}

/// The first is preferred.
fn either(first: Vec<Step>, second: Vec<Step>) -> Vec<Step> {
    let mut steps = vec![Step::Split(first.len() + 2)];
    steps.extend(first);
    steps.push(Step::Jump((second.len() + 1).cast_signed()));
    steps.extend(second);
    steps
}

/// A piece that stands there so often; without `most`, any number of times.
fn repeated(piece: Vec<Step>, least: usize, most: Option<usize>) -> Vec<Step> {
    if piece.is_empty() || most == Some(0) {
        return Vec::new();
    }
    let mut copy = piece.clone();
    for step in &mut copy {
        // glibc does not know a further round to be optional.
        if let Step::Close(group) = step {
            group.is_optional = false;
        }
    }
    let (mut steps, mut optional) = match least {
        0 => (Vec::new(), piece),
        _ => (piece, copy.clone()),
    };
    (1..least).for_each(|_| steps.extend(copy.clone()));
    mark_optional(&mut optional);
    match most {
        None => {
            let length = optional.len();
            steps.push(Step::Loop(length + 2));
            steps.extend(optional);
            steps.push(Step::Jump(-(length + 1).cast_signed()));
        }
        Some(most) if most > least => {
            let mut rounds = either(optional, Vec::new());
            for _ in least + 1..most {
                rounds.extend(copy.clone());
                rounds = either(rounds, Vec::new());
            }
            steps.extend(rounds);
        }
        Some(_) => {}
    }
    steps
}

/// Marks the group that a piece consists of, if it does.
fn mark_optional(piece: &mut [Step]) {
    if let [Step::Open(number), inner @ .., Step::Close(group)] = piece {
        let ends = |step: &Step| matches!(step, Step::Close(inner) if inner.number == *number);
        group.is_optional = group.number == *number && !inner.iter().any(ends);
    }
}

fn set(test: impl Fn(u8) -> bool) -> Step {
    let holds = std::array::from_fn(|byte| u8::try_from(byte).is_ok_and(&test));
    Step::Set(Arc::new(holds))
}

/// The test of a class such as `alpha`; `None` if there is none of this name.
fn class(name: &[u8], ignores_case: bool) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"lower" | b"upper" if ignores_case => u8::is_ascii_alphabetic,
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"lower" => u8::is_ascii_lowercase,
        b"upper" => u8::is_ascii_uppercase,
        b"digit" => u8::is_ascii_digit,
        b"xdigit" => u8::is_ascii_hexdigit,
        b"space" => |&byte| is_space(byte),
        b"blank" => |&byte| byte == b' ' || byte == b'\t',
        b"punct" => u8::is_ascii_punctuation,
        b"cntrl" => u8::is_ascii_control,
        b"print" => |&byte| byte == b' ' || byte.is_ascii_graphic(),
        b"graph" => u8::is_ascii_graphic,
        _ => return None,
    })
}

pub(in crate::names) fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0B
}
