//! Regular expressions of map rules: POSIX extended ones as the C library of GNU reads them (regcomp(3) in the
//! locale C), on bytes: leftmost, then longest. Back-references are refused.
//!
//! Names come from the network, rules from the operator. So a search takes time in proportion to the name, for every
//! rule: a simulation of all ways at once finds where the match begins and ends, and only then, if groups are wanted, one
//! way through it is taken that never visits the same place twice.

mod byte_set;
mod parse;
mod program;
mod search;

pub use parse::BadRegex;
pub use search::{Groups, Scratch};

use program::Program;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Regex {
    program: Program,
}

impl Regex {
    /// Compiles an expression; `ignores_case`: ASCII letters match in either case.
    ///
    /// # Errors
    /// Where it is none, refers back to a group, or becomes too large.
    pub fn new(pattern: &[u8], ignores_case: bool) -> Result<Regex, BadRegex> {
        let tree = parse::parse(pattern, ignores_case)?;
        let program = Program::new(&tree, ignores_case)?;
        Ok(Regex { program })
    }

    /// Finds the leftmost and longest match in `text`; without `at_start`, `^` does not match before its first byte
    /// (REG_NOTBOL).
    pub fn find(&self, text: &[u8], at_start: bool, scratch: &mut Scratch) -> Option<Groups> {
        search::find(&self.program, text, at_start, scratch)
    }
}
