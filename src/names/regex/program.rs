//! From a tree to steps that a search follows.

use super::byte_set::ByteSet;
use super::parse::{Anchor, BadRegex, Group, NODES_MAX, Node};

/// Groups that a replacement can name, with the whole match.
pub(super) const GROUPS: usize = 10;

/// One step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// This byte, then the next step.
    Byte(u8),
    /// A byte of the set with this number.
    Set(u16),
    Anchor(Anchor),
    /// On there.
    Jump(u16),
    /// There, or else at the second.
    Split(u16, u16),
    /// As [`Step::Split`], before each round of a repetition.
    Loop(u16, u16),
    Open(Group),
    Close(Group),
    Match,
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) steps: Vec<Step>,
    pub(super) sets: Vec<ByteSet>,
    pub(super) ignores_case: bool,
    /// The bytes with which a match may begin; `None` if it may be empty or begin with a condition.
    pub(super) first: Option<ByteSet>,
    /// The bytes with which every match begins.
    pub(super) prefix: Vec<u8>,
    /// It begins with `^`.
    pub(super) is_anchored: bool,
    /// It has groups.
    pub(super) has_groups: bool,
}

impl Program {
    pub(super) fn new(tree: &Node, ignores_case: bool) -> Result<Program, BadRegex> {
        let mut program = Program {
            steps: Vec::new(),
            sets: Vec::new(),
            ignores_case,
            first: None,
            prefix: Vec::new(),
            is_anchored: false,
            has_groups: false,
        };
        program.add(tree);
        program.steps.push(Step::Match);
        // What a tree of the largest size comes to.
        if program.steps.len() > 3 * NODES_MAX {
            return Err(BadRegex {
                at: 0,
                why: "too large",
            });
        }
        let mut first = ByteSet::default();
        if program.first_bytes(&mut first) {
            program.first = Some(first);
        }
        program.is_anchored = matches!(program.steps[0], Step::Anchor(Anchor::LineStart));
        program.prefix = program.prefix_bytes();
        Ok(program)
    }

    fn prefix_bytes(&self) -> Vec<u8> {
        let mut prefix = Vec::new();
        for step in &self.steps {
            match step {
                Step::Byte(byte) => prefix.push(*byte),
                Step::Open(_) | Step::Close(_) | Step::Anchor(_) => {}
                Step::Set(_) | Step::Jump(_) | Step::Split(..) | Step::Loop(..) | Step::Match => {
                    break;
                }
            }
        }
        prefix
    }

    fn here(&self) -> u16 {
        u16::try_from(self.steps.len()).unwrap_or(u16::MAX)
    }

    fn add(&mut self, node: &Node) {
        match node {
            Node::Empty => {}
            Node::Byte(byte) => self.steps.push(Step::Byte(*byte)),
            Node::Set(set) => {
                let place = self.sets.iter().position(|known| known == &**set);
                let place = place.unwrap_or_else(|| {
                    self.sets.push(**set);
                    self.sets.len() - 1
                });
                self.steps
                    .push(Step::Set(u16::try_from(place).unwrap_or(u16::MAX)));
            }
            Node::Anchor(anchor) => self.steps.push(Step::Anchor(*anchor)),
            Node::Group(group, inner) if usize::from(group.number) < GROUPS => {
                self.has_groups = true;
                self.steps.push(Step::Open(*group));
                self.add(inner);
                self.steps.push(Step::Close(*group));
            }
            Node::Group(_, inner) => self.add(inner),
            Node::Concat(parts) => parts.iter().for_each(|part| self.add(part)),
            Node::Either(first, second) => {
                let split = self.steps.len();
                self.steps.push(Step::Match);
                let one = self.here();
                self.add(first);
                let jump = self.steps.len();
                self.steps.push(Step::Match);
                let other = self.here();
                self.add(second);
                self.steps[split] = Step::Split(one, other);
                self.steps[jump] = Step::Jump(self.here());
            }
            Node::Star(inner) => {
                let start = self.here();
                self.steps.push(Step::Match);
                self.add(inner);
                self.steps.push(Step::Jump(start));
                self.steps[usize::from(start)] = Step::Loop(start + 1, self.here());
            }
        }
    }

    /// Collects the bytes with which a match may begin; returns false if it need not begin with any.
    fn first_bytes(&self, first: &mut ByteSet) -> bool {
        let mut seen = vec![false; self.steps.len()];
        let mut stack = vec![0_u16];
        while let Some(at) = stack.pop() {
            if std::mem::replace(&mut seen[usize::from(at)], true) {
                continue;
            }
            match self.steps[usize::from(at)] {
                Step::Byte(byte) => first.insert(byte),
                Step::Set(set) => first.add(&self.sets[usize::from(set)]),
                // A match of `^` begins with what follows.
                Step::Anchor(Anchor::LineStart | Anchor::TextStart) => stack.push(at + 1),
                Step::Anchor(_) | Step::Match => return false,
                Step::Jump(to) => stack.push(to),
                Step::Split(one, other) | Step::Loop(one, other) => stack.extend([one, other]),
                Step::Open(_) | Step::Close(_) => stack.push(at + 1),
            }
        }
        true
    }
}
