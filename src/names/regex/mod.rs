//! Regular expressions of map rules: POSIX extended ones as the C library of GNU reads them (regcomp(3) in the
//! locale C), on bytes: leftmost, then longest. Back-references are refused.
//!
//! Names come from the network, rules from the operator. So a search takes time in proportion to the name, for every
//! rule: it tries all ways through the steps of an expression, but is at no step twice with the same rest of the name.

mod parse;
mod search;

pub use parse::BadRegex;
pub use search::{Groups, Scratch};

use std::sync::Arc;

pub(super) use parse::is_space;

/// A compiled expression: [`Regex::new`] is in `parse`, [`Regex::find`] in `search`.
#[derive(Clone, Debug)]
pub struct Regex {
    /// A search that is past the last has found a match.
    steps: Vec<Step>,
}

/// One step of a search. Distances are counted in steps, so that a piece may be copied to any place.
#[derive(Clone, Debug)]
enum Step {
    /// This byte, then the next step.
    Byte(u8),
    /// A byte for which this holds, then the next step.
    Set(Arc<[bool; 256]>),
    Anchor(Anchor),
    /// On, so far ahead or back.
    Jump(isize),
    /// On to the next step, or else so far ahead.
    Split(usize),
    /// As [`Step::Split`], before each round of a repetition.
    Loop(usize),
    /// The group with this number, from 1 on, begins.
    Open(u8),
    Close(Group),
}

/// The end of a group in parentheses.
#[derive(Clone, Copy, Debug)]
struct Group {
    number: u8,
    /// It is repeated, and this is not one of the rounds that must be.
    is_optional: bool,
}

/// A place that has to be of some kind.
#[derive(Clone, Copy, Debug)]
enum Anchor {
    LineStart,
    TextStart,
    End,
    WordStart,
    WordEnd,
    WordBoundary,
    NotWordBoundary,
}
