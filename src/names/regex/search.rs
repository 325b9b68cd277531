//! The search for a match.

use std::ops::Range;

use super::{Anchor, Regex, Step};

/// Where the whole match was found, and each group that a replacement can name.
pub type Groups = [Option<Range<usize>>; 10];

/// Memory that one search leaves to the next, for another rule of the same request.
#[derive(Debug, Default)]
pub struct Scratch {
    /// A bit for each step at each place of the text.
    tried: Vec<u64>,
    /// Ways that were not taken yet: a step, the place in the text, and the marks before.
    turns: Vec<(usize, usize, usize)>,
    /// The parentheses on the way: their steps, and their places in the text.
    marks: Vec<(usize, usize)>,
    /// Steps that were taken so far.
    pub work: u64,
}

impl Regex {
    /// Finds the leftmost and longest match in `text`; without `at_start`, `^` does not match before its first byte
    /// (REG_NOTBOL).
    pub fn find(&self, text: &[u8], at_start: bool, scratch: &mut Scratch) -> Option<Groups> {
        let search = Search {
            steps: &self.steps,
            text,
            at_start,
        };
        let mut starts = search.starts().peekable();
        starts.peek()?;
        search.forget(scratch);
        // What was tried from one place and led to no match leads to none from another.
        let mut ends = starts.map(|start| (start, search.follow(start, text.len(), scratch)));
        let found = ends.find_map(|(start, end)| Some(start..end?))?;
        if found.end < text.len() {
            // A longer match than that of the preferred way was looked for: now the preferred way to its end.
            search.forget(scratch);
            search.follow(found.start, found.end, scratch);
        }
        Some(search.groups(found, &scratch.marks))
    }
}

struct Search<'s> {
    steps: &'s [Step],
    text: &'s [u8],
    at_start: bool,
}

impl Search<'_> {
    /// Where a match may begin: most rules are told from most names by their first letter.
    fn starts(&self) -> impl Iterator<Item = usize> {
        let last = match self.steps.first() {
            Some(Step::Anchor(Anchor::LineStart)) => 0,
            _ => self.text.len(),
        };
        let takes_nothing = |step: &&Step| matches!(step, Step::Open(_) | Step::Anchor(_));
        let first = self.steps.iter().find(|step| !takes_nothing(step));
        let may_begin = move |&start: &usize| match (first, self.text.get(start)) {
            (Some(Step::Byte(wanted)), byte) => byte == Some(wanted),
            (Some(Step::Set(set)), byte) => byte.is_some_and(|&byte| set[usize::from(byte)]),
            _ => true,
        };
        (0..=last).filter(may_begin)
    }

    fn forget(&self, scratch: &mut Scratch) {
        let bits = self.steps.len() * (self.text.len() + 1);
        scratch.tried.clear();
        scratch.tried.resize(bits.div_ceil(64), 0);
        scratch.work += scratch.tried.len() as u64;
    }

    /// Follows the ways from `start` up to `limit`, preferred ones first, and returns the end of the longest match. One
    /// that ends at `limit` ends the search, and the marks are those of its way.
    fn follow(&self, start: usize, limit: usize, scratch: &mut Scratch) -> Option<usize> {
        let Scratch {
            tried,
            turns,
            marks,
            work,
        } = scratch;
        let mut longest = None;
        turns.clear();
        turns.push((0, start, 0));
        while let Some((mut step, mut at, marked)) = turns.pop() {
            marks.truncate(marked);
            loop {
                *work += 1;
                let Some(now) = self.steps.get(step) else {
                    longest = longest.max(Some(at));
                    break;
                };
                let bit = step * (self.text.len() + 1) + at;
                let was_tried = tried[bit / 64] & 1 << (bit % 64) != 0;
                tried[bit / 64] |= 1 << (bit % 64);
                let byte = self.text[..limit].get(at);
                step = match now {
                    // A round that took nothing is the last.
                    Step::Loop(ahead) if was_tried => step + ahead,
                    _ if was_tried => break,
                    Step::Byte(wanted) if byte == Some(wanted) => {
                        at += 1;
                        step + 1
                    }
                    Step::Set(set) if byte.is_some_and(|&byte| set[usize::from(byte)]) => {
                        at += 1;
                        step + 1
                    }
                    Step::Anchor(anchor) if self.holds(*anchor, at) => step + 1,
                    Step::Byte(_) | Step::Set(_) | Step::Anchor(_) => break,
                    Step::Jump(distance) => step.wrapping_add_signed(*distance),
                    Step::Split(ahead) | Step::Loop(ahead) => {
                        turns.push((step + ahead, at, marks.len()));
                        step + 1
                    }
                    Step::Open(_) | Step::Close(_) => {
                        marks.push((step, at));
                        step + 1
                    }
                };
            }
            if longest == Some(limit) {
                break;
            }
        }
        longest
    }

    fn holds(&self, anchor: Anchor, at: usize) -> bool {
        let is_word = |at: Option<usize>| {
            let byte = at.and_then(|at| self.text.get(at));
            byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        };
        let (before, behind) = (is_word(at.checked_sub(1)), is_word(Some(at)));
        match anchor {
            Anchor::LineStart => at == 0 && self.at_start,
            Anchor::TextStart => at == 0,
            Anchor::End => at == self.text.len(),
            Anchor::WordStart => !before && behind,
            Anchor::WordEnd => before && !behind,
            Anchor::WordBoundary => before != behind,
            Anchor::NotWordBoundary => before == behind,
        }
    }

    /// What the groups are at the end of a way, as glibc has it: a round of a repeated group that took nothing changes
    /// nothing, unless it is the first.
    fn groups(&self, found: Range<usize>, marks: &[(usize, usize)]) -> Groups {
        let mut groups = Groups::default();
        let mut before = Groups::default();
        for &(step, at) in marks {
            let step = &self.steps[step];
            if let Step::Open(number) = step
                && let Some(group) = groups.get_mut(usize::from(*number))
            {
                *group = Some(at..at);
            } else if let Step::Close(group) = step
                && let Some(Some(open)) = groups.get_mut(usize::from(group.number))
            {
                open.end = at;
                if open.start < at {
                    before = groups.clone();
                } else if group.is_optional && before[usize::from(group.number)].is_some() {
                    groups = before.clone();
                }
            }
        }
        groups[0] = Some(found);
        groups
    }
}
