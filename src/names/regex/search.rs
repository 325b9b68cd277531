//! The search for a match.

use std::ops::Range;

use super::parse::{Anchor, Group};
use super::program::{GROUPS, Program, Step};

/// Where the whole match, and each group, was found.
pub type Groups = [Option<Range<usize>>; GROUPS];

/// Memory that one search leaves to the next.
#[derive(Debug, Default)]
pub struct Scratch {
    text: Vec<u8>,
    now: Ways,
    next: Ways,
    stack: Vec<u16>,
    tried: Vec<u64>,
    /// Ways through a match that were not taken yet: a step, the place in the text, and the marks before.
    turns: Vec<(u16, usize, usize)>,
    marks: Vec<(Mark, usize)>,
    /// Steps that were taken so far.
    pub work: u64,
}

/// Ways through the program that are open: each step once, those that began first in front.
#[derive(Debug, Default)]
struct Ways {
    list: Vec<(u16, usize)>,
    /// By step: the place in the list at which it may stand.
    place: Vec<u16>,
}

impl Ways {
    fn begin(&mut self, steps: usize) {
        self.list.clear();
        if self.place.len() < steps {
            self.place.resize(steps, 0);
        }
    }

    /// Adds a step; returns false if it is known.
    fn add(&mut self, step: u16, start: usize) -> bool {
        let place = &mut self.place[usize::from(step)];
        if self
            .list
            .get(usize::from(*place))
            .is_some_and(|known| known.0 == step)
        {
            return false;
        }
        *place = u16::try_from(self.list.len()).unwrap_or(u16::MAX);
        self.list.push((step, start));
        true
    }
}

pub(super) fn find(
    program: &Program,
    text: &[u8],
    at_start: bool,
    scratch: &mut Scratch,
) -> Option<Groups> {
    if !may_match(program, text) {
        return None;
    }
    let mut folded = std::mem::take(&mut scratch.text);
    let subject = match program.ignores_case {
        true => {
            folded.clear();
            folded.extend(text.iter().map(u8::to_ascii_uppercase));
            &folded[..]
        }
        false => text,
    };
    let search = Search {
        program,
        text: subject,
        at_start,
    };
    let found = search
        .bounds(scratch)
        .map(|bounds| match program.has_groups {
            true => search.groups(bounds, scratch),
            false => {
                let mut groups = Groups::default();
                groups[0] = Some(bounds);
                groups
            }
        });
    scratch.text = folded;
    found
}

/// A quick look whether the bytes with which every match begins are there.
fn may_match(program: &Program, text: &[u8]) -> bool {
    let prefix = &program.prefix[..];
    let equal = |piece: &[u8]| match program.ignores_case {
        true => piece.eq_ignore_ascii_case(prefix),
        false => piece == prefix,
    };
    match program.is_anchored {
        _ if prefix.is_empty() => true,
        true => text.get(..prefix.len()).is_some_and(equal),
        false => text.windows(prefix.len()).any(equal),
    }
}

struct Search<'s> {
    program: &'s Program,
    /// In capitals where case is ignored.
    text: &'s [u8],
    at_start: bool,
}

impl Search<'_> {
    /// The leftmost match, as long as it can be.
    fn bounds(&self, scratch: &mut Scratch) -> Option<Range<usize>> {
        let Program {
            steps,
            first,
            is_anchored,
            ..
        } = self.program;
        let may_begin = |at: usize| match first {
            Some(first) => self.text.get(at).is_some_and(|&byte| first.contains(byte)),
            None => true,
        };
        let last_start = if *is_anchored { 0 } else { self.text.len() };
        let mut best: Option<Range<usize>> = None;
        let mut at = 0;
        scratch.now.begin(steps.len());
        loop {
            if best.is_none() && at <= last_start && may_begin(at) {
                self.follow(0, at, at, &mut scratch.now, &mut scratch.stack);
            }
            if scratch.now.list.is_empty() {
                // Nothing is open: on to where a match may begin.
                if best.is_some() || at >= last_start {
                    return best;
                }
                at += 1;
                continue;
            }
            scratch.work += scratch.now.list.len() as u64;
            scratch.next.begin(steps.len());
            let byte = self.text.get(at).copied();
            for index in 0..scratch.now.list.len() {
                let (step, start) = scratch.now.list[index];
                if best.as_ref().is_some_and(|best| start > best.start) {
                    continue;
                }
                let goes_on = match steps[usize::from(step)] {
                    Step::Byte(wanted) => byte == Some(wanted),
                    Step::Set(set) => {
                        byte.is_some_and(|byte| self.program.sets[usize::from(set)].contains(byte))
                    }
                    Step::Match => {
                        best = Some(start..at);
                        false
                    }
                    _ => false,
                };
                if goes_on {
                    self.follow(
                        step + 1,
                        start,
                        at + 1,
                        &mut scratch.next,
                        &mut scratch.stack,
                    );
                }
            }
            std::mem::swap(&mut scratch.now, &mut scratch.next);
            at += 1;
            if at > self.text.len() {
                return best;
            }
        }
    }

    /// Adds all steps that are reached from one without a byte.
    fn follow(&self, step: u16, start: usize, at: usize, ways: &mut Ways, stack: &mut Vec<u16>) {
        stack.push(step);
        while let Some(step) = stack.pop() {
            if !ways.add(step, start) {
                continue;
            }
            match self.program.steps[usize::from(step)] {
                Step::Jump(to) => stack.push(to),
                Step::Split(one, other) | Step::Loop(one, other) => stack.extend([other, one]),
                Step::Open(_) | Step::Close(_) => stack.push(step + 1),
                Step::Anchor(anchor) if self.holds(anchor, at) => stack.push(step + 1),
                Step::Anchor(_) | Step::Byte(_) | Step::Set(_) | Step::Match => {}
            }
        }
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

    /// What the groups are on the preferred way through a match.
    fn groups(&self, bounds: Range<usize>, scratch: &mut Scratch) -> Groups {
        let width = bounds.len() + 1;
        let Scratch {
            tried,
            turns,
            marks,
            work,
            ..
        } = scratch;
        tried.clear();
        tried.resize((self.program.steps.len() * width).div_ceil(64), 0);
        *work += tried.len() as u64;
        turns.clear();
        turns.push((0, bounds.start, 0));
        while let Some((mut step, mut at, marked)) = turns.pop() {
            marks.truncate(marked);
            loop {
                *work += 1;
                let now = self.program.steps[usize::from(step)];
                let bit = usize::from(step) * width + at - bounds.start;
                let was_tried = tried[bit / 64] & 1 << (bit % 64) != 0;
                tried[bit / 64] |= 1 << (bit % 64);
                let byte = self.text.get(at).filter(|_| at < bounds.end);
                let takes = match now {
                    Step::Byte(wanted) => byte == Some(&wanted),
                    Step::Set(set) => {
                        byte.is_some_and(|&byte| self.program.sets[usize::from(set)].contains(byte))
                    }
                    _ => false,
                };
                step = match now {
                    // A round that took nothing is the last.
                    Step::Loop(_, end) if was_tried => end,
                    _ if was_tried => break,
                    Step::Byte(_) | Step::Set(_) if takes => {
                        at += 1;
                        step + 1
                    }
                    Step::Anchor(anchor) if self.holds(anchor, at) => step + 1,
                    Step::Byte(_) | Step::Set(_) | Step::Anchor(_) => break,
                    Step::Jump(to) => to,
                    Step::Split(one, other) | Step::Loop(one, other) => {
                        turns.push((other, at, marks.len()));
                        one
                    }
                    Step::Open(group) => {
                        marks.push((Mark::Open(group), at));
                        step + 1
                    }
                    Step::Close(group) => {
                        marks.push((Mark::Close(group), at));
                        step + 1
                    }
                    Step::Match if at == bounds.end => return replay(bounds, marks),
                    Step::Match => break,
                };
            }
        }
        // There is a way: the bounds were found by one.
        replay(bounds, &[])
    }
}

/// A parenthesis on the way through a match.
#[derive(Clone, Copy, Debug)]
enum Mark {
    Open(Group),
    Close(Group),
}

/// What the groups are at the end of a way, as glibc has it: a round of a repeated group that took nothing changes
/// nothing, unless it is the first.
fn replay(bounds: Range<usize>, marks: &[(Mark, usize)]) -> Groups {
    let mut groups = Groups::default();
    let mut before = Groups::default();
    for &(mark, at) in marks {
        match mark {
            Mark::Open(group) => groups[usize::from(group.number)] = Some(at..at),
            Mark::Close(group) => {
                let place = usize::from(group.number);
                let is_empty = groups[place].as_ref().is_none_or(|open| open.start == at);
                if is_empty && group.is_optional && before[place].is_some() {
                    groups = before.clone();
                    continue;
                }
                if let Some(open) = &mut groups[place] {
                    open.end = at;
                }
                if !is_empty {
                    before = groups.clone();
                }
            }
        }
    }
    groups[0] = Some(bounds);
    groups
}
