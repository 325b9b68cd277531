//! From the text of an expression to its tree. What is an error, and what a literal, is as in glibc.

use std::fmt;

use super::byte_set::{ByteSet, class, is_space};

/// What an expression may hold at most, once counts are written out.
pub(super) const NODES_MAX: usize = 1024;

/// Largest count (RE_DUP_MAX).
const COUNT_MAX: u32 = 0x7FFF;

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

/// A place that has to be of some kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Anchor {
    LineStart,
    TextStart,
    End,
    WordStart,
    WordEnd,
    WordBoundary,
    NotWordBoundary,
}

/// A group in parentheses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Group {
    /// From 1 on.
    pub(super) number: u8,
    /// It is repeated, and this is not one of the rounds that must be.
    pub(super) is_optional: bool,
}

/// A part of an expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Empty,
    Byte(u8),
    Set(Box<ByteSet>),
    Anchor(Anchor),
    Group(Group, Box<Node>),
    Concat(Vec<Node>),
    /// The first is preferred.
    Either(Box<Node>, Box<Node>),
    /// Any number of times, as often as possible.
    Star(Box<Node>),
}

pub(super) fn parse(pattern: &[u8], ignores_case: bool) -> Result<Node, BadRegex> {
    let mut parser = Parser {
        pattern,
        at: 0,
        ignores_case,
        groups: 0,
        depth: 0,
        nodes: 0,
    };
    parser.alternatives()
}

struct Parser<'p> {
    pattern: &'p [u8],
    at: usize,
    ignores_case: bool,
    groups: u32,
    depth: u32,
    nodes: usize,
}

/// How a repetition was read.
struct Count {
    least: u32,
    most: Option<u32>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.pattern.get(self.at).copied()
    }

    fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn bad<T>(&self, why: &'static str) -> Result<T, BadRegex> {
        Err(BadRegex {
            at: self.at.min(self.pattern.len()),
            why,
        })
    }

    fn is_end_of_branch(&self) -> bool {
        match self.peek() {
            None | Some(b'|') => true,
            Some(b')') => self.depth > 0,
            Some(_) => false,
        }
    }

    fn alternatives(&mut self) -> Result<Node, BadRegex> {
        let mut tree = self.branch()?;
        while self.peek() == Some(b'|') {
            self.at += 1;
            let branch = self.branch()?;
            // The empty way is the last to be taken, wherever it stands.
            let (first, second) = match tree {
                Node::Empty => (branch, tree),
                _ => (tree, branch),
            };
            tree = Node::Either(Box::new(first), Box::new(second));
        }
        Ok(tree)
    }

    fn branch(&mut self) -> Result<Node, BadRegex> {
        let mut parts = Vec::new();
        while !self.is_end_of_branch() {
            match self.piece()? {
                Node::Empty => {}
                part => parts.push(part),
            }
        }
        Ok(match parts.len() {
            0 => Node::Empty,
            1 => parts.remove(0),
            _ => Node::Concat(parts),
        })
    }

    /// One atom with what repeats it.
    fn piece(&mut self) -> Result<Node, BadRegex> {
        let begin = self.at;
        let mut node = match self.take() {
            Some(b'(') => self.group()?,
            Some(b'[') => self.bracket()?,
            Some(b'.') => Node::Set(Box::new(ByteSet::of(|byte| byte != 0))),
            Some(b'^') => return Ok(Node::Anchor(Anchor::LineStart)),
            Some(b'$') => return Ok(Node::Anchor(Anchor::End)),
            Some(b'*' | b'+' | b'?' | b'{') => {
                self.at = begin;
                return self.bad("nothing to repeat");
            }
            Some(b'\\') => match self.escape()? {
                anchor @ Node::Anchor(_) => return Ok(anchor),
                node => node,
            },
            Some(byte) => Node::Byte(self.folded(byte)),
            None => Node::Empty,
        };
        self.count_nodes(1)?;
        while let Some(count) = self.count()? {
            node = self.repeat(node, &count)?;
        }
        Ok(node)
    }

    fn folded(&self, byte: u8) -> u8 {
        match self.ignores_case {
            true => byte.to_ascii_uppercase(),
            false => byte,
        }
    }

    fn count_nodes(&mut self, count: usize) -> Result<(), BadRegex> {
        self.nodes += count;
        match self.nodes > NODES_MAX {
            true => self.bad("too large"),
            false => Ok(()),
        }
    }

    fn group(&mut self) -> Result<Node, BadRegex> {
        self.groups += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.bad("too many groups within groups");
        }
        let number = u8::try_from(self.groups).unwrap_or(u8::MAX);
        let inner = self.alternatives()?;
        if self.take() != Some(b')') {
            return self.bad("a ( without its )");
        }
        self.depth -= 1;
        let group = Group {
            number,
            is_optional: false,
        };
        Ok(Node::Group(group, Box::new(inner)))
    }

    fn escape(&mut self) -> Result<Node, BadRegex> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let set = |set| Ok(Node::Set(Box::new(set)));
        match self.take() {
            None => self.bad("nothing behind the last \\"),
            Some(b'1'..=b'9') => {
                self.at -= 2;
                self.bad("back-references are not supported")
            }
            Some(b'w') => set(ByteSet::of(is_word)),
            Some(b'W') => set(ByteSet::of(|byte| !is_word(byte))),
            Some(b's') => set(ByteSet::of(is_space)),
            Some(b'S') => set(ByteSet::of(|byte| !is_space(byte))),
            Some(b'<') => Ok(Node::Anchor(Anchor::WordStart)),
            Some(b'>') => Ok(Node::Anchor(Anchor::WordEnd)),
            Some(b'b') => Ok(Node::Anchor(Anchor::WordBoundary)),
            Some(b'B') => Ok(Node::Anchor(Anchor::NotWordBoundary)),
            Some(b'`') => Ok(Node::Anchor(Anchor::TextStart)),
            Some(b'\'') => Ok(Node::Anchor(Anchor::End)),
            Some(byte) => Ok(Node::Byte(self.folded(byte))),
        }
    }

    /// Reads `*`, `+`, `?` or a count in braces.
    fn count(&mut self) -> Result<Option<Count>, BadRegex> {
        let (least, most) = match self.peek() {
            Some(b'*') => (0, None),
            Some(b'+') => (1, None),
            Some(b'?') => (0, Some(1)),
            Some(b'{') => {
                self.at += 1;
                return self.braces().map(Some);
            }
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(Count { least, most }))
    }

    fn braces(&mut self) -> Result<Count, BadRegex> {
        let least = self.number()?;
        let most = match self.take() {
            Some(b'}') if least.is_some() => least,
            Some(b',') => {
                let most = self.number()?;
                if self.take() != Some(b'}') {
                    return self.bad("a { without its }");
                }
                most
            }
            None => return self.bad("a { without its }"),
            Some(_) => return self.bad("no count in { }"),
        };
        let least = least.unwrap_or(0);
        if most.is_some_and(|most| most < least) {
            return self.bad("a count { } that ends before it begins");
        }
        if most.unwrap_or(least) > COUNT_MAX {
            return self.bad("too large");
        }
        Ok(Count { least, most })
    }

    fn number(&mut self) -> Result<Option<u32>, BadRegex> {
        let mut number = None;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            self.at += 1;
            let so_far: u32 = number.unwrap_or(0);
            number = Some((so_far * 10 + u32::from(digit - b'0')).min(COUNT_MAX + 1));
        }
        Ok(number)
    }

    /// Writes a repetition out.
    fn repeat(&mut self, node: Node, count: &Count) -> Result<Node, BadRegex> {
        if matches!(node, Node::Empty) || count.most == Some(0) {
            return Ok(Node::Empty);
        }
        let copies = count.most.unwrap_or(count.least + 1).max(1);
        self.count_nodes(size(&node).saturating_mul(copies as usize - 1))?;
        let copy = copy(&node);
        let mut parts = Vec::new();
        let mut optional = copy.clone();
        if count.least == 0 {
            optional = node;
        } else {
            parts.push(node);
            parts.extend((1..count.least).map(|_| copy.clone()));
        }
        if let Node::Group(group, _) = &mut optional {
            group.is_optional = true;
        }
        match count.most {
            None => parts.push(Node::Star(Box::new(optional))),
            Some(most) if most == count.least => {}
            Some(most) => {
                let or_nothing = |inner| Node::Either(Box::new(inner), Box::new(Node::Empty));
                let mut tail = or_nothing(optional);
                for _ in count.least + 1..most {
                    tail = or_nothing(Node::Concat(vec![tail, copy.clone()]));
                }
                parts.push(tail);
            }
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Node::Concat(parts),
        })
    }

    /// A list in brackets, of which `[` is read.
    fn bracket(&mut self) -> Result<Node, BadRegex> {
        let is_inverted = self.peek() == Some(b'^');
        if is_inverted {
            self.at += 1;
        }
        let mut set = ByteSet::default();
        let mut is_first = true;
        loop {
            if self.peek() == Some(b']') && !is_first {
                self.at += 1;
                break;
            }
            let first = self.element(is_first)?;
            is_first = false;
            match (first, self.begins_range()) {
                (Element::Class(class), _) => set.add(&class),
                (Element::Byte(byte), false) => set.insert(byte),
                (Element::Byte(low), true) => {
                    self.at += 1;
                    let Element::Byte(high) = self.element(true)? else {
                        return self.bad("a range to a class");
                    };
                    if high < low {
                        return self.bad("a range that ends before it begins");
                    }
                    (low..=high).for_each(|byte| set.insert(byte));
                }
            }
        }
        let set = match is_inverted {
            true => set.inverted(),
            false => set,
        };
        Ok(Node::Set(Box::new(set)))
    }

    /// A `-` follows that is no literal.
    fn begins_range(&self) -> bool {
        let rest = &self.pattern[self.at..];
        rest.first() == Some(&b'-') && !rest.starts_with(b"---") && rest.get(1) != Some(&b']')
    }

    fn element(&mut self, may_be_hyphen: bool) -> Result<Element, BadRegex> {
        let rest = &self.pattern[self.at..];
        match rest {
            [] => self.bad("a [ without its ]"),
            [b'[', kind @ (b':' | b'=' | b'.'), ..] => {
                self.at += 2;
                self.named(*kind)
            }
            [b'-', b'-', b'-', ..] => {
                self.at += 3;
                Ok(Element::Byte(b'-'))
            }
            [b'-', next, ..] if !may_be_hyphen && *next != b']' => {
                self.bad("a - that begins no range: put it first or last")
            }
            [byte, ..] => {
                self.at += 1;
                Ok(Element::Byte(self.folded(*byte)))
            }
        }
    }

    /// `[:class:]`, `[=c=]` or `[.c.]`, of which the beginning is read.
    fn named(&mut self, kind: u8) -> Result<Element, BadRegex> {
        let rest = &self.pattern[self.at..];
        let Some(length) = rest.windows(2).position(|two| two == [kind, b']']) else {
            return self.bad("a [ without its ]");
        };
        let name = &rest[..length];
        match (kind, name) {
            (b':', _) => {
                let Some(class) = class(name, self.ignores_case) else {
                    return self.bad("no such class of characters");
                };
                self.at += length + 2;
                Ok(Element::Class(class))
            }
            (b'=', &[byte]) => {
                self.at += length + 2;
                let byte = self.folded(byte);
                Ok(Element::Class(ByteSet::of(|other| other == byte)))
            }
            (_, &[byte]) => {
                self.at += length + 2;
                Ok(Element::Byte(self.folded(byte)))
            }
            _ => self.bad("no such character"),
        }
    }
}

/// A copy for a further round, which glibc does not know to be optional.
fn copy(node: &Node) -> Node {
    let boxed = |inner: &Node| Box::new(copy(inner));
    match node {
        Node::Empty | Node::Byte(_) | Node::Set(_) | Node::Anchor(_) => node.clone(),
        Node::Group(group, inner) => {
            let is_optional = false;
            Node::Group(
                Group {
                    is_optional,
                    ..*group
                },
                boxed(inner),
            )
        }
        Node::Concat(parts) => Node::Concat(parts.iter().map(copy).collect()),
        Node::Either(first, second) => Node::Either(boxed(first), boxed(second)),
        Node::Star(inner) => Node::Star(boxed(inner)),
    }
}

/// What a list in brackets holds.
enum Element {
    Byte(u8),
    Class(ByteSet),
}

fn size(node: &Node) -> usize {
    match node {
        Node::Empty | Node::Byte(_) | Node::Set(_) | Node::Anchor(_) => 1,
        Node::Group(_, inner) | Node::Star(inner) => size(inner) + 1,
        Node::Concat(parts) => parts.iter().map(size).sum(),
        Node::Either(first, second) => size(first) + size(second) + 1,
    }
}
