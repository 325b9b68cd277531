//! Map files: rules that rewrite, or refuse, the names that clients ask for, in tftpd-hpa's language (in.tftpd(8),
//! "Filename remapping", as version 5.5 has it).
//!
//! The rules see a name as it stands in the packet, and return another, or the text of a refusal. They never look at a
//! file system: whether a name can be opened is asked (`E`). Every search ends: steps, bytes of a
//! name and work are bounded.

mod read;
mod text;

pub use read::BadMap;

use std::net::IpAddr;

use crate::name::NAME_MAX;
use crate::names::hardware::HardwareAddress;
use crate::names::regex::{Groups, Regex, Scratch};
use text::Template;

/// Steps that one request may take by default: rules that were tried, and passes of `g`.
pub const STEPS_MAX: u32 = 4096;

/// Work that one request may cause, in steps of a search: about 20 ms.
const WORK_MAX: u64 = 5_000_000;

/// The rules of a map file.
#[derive(Clone, Debug)]
pub struct Map {
    lines: Vec<Line>,
    steps_max: u32,
}

/// A line of the file that has a meaning.
#[derive(Clone, Debug)]
enum Line {
    /// Where jumps may lead.
    Label(Box<[u8]>),
    Rule(Rule),
}

/// One rule.
#[derive(Clone, Debug)]
struct Rule {
    /// Where it stands in the file, from 1 on.
    line: usize,
    applies_to: AppliesTo,
    regex: Regex,
    /// It acts where the expression does not match.
    is_inverse: bool,
    rewrites: Option<Rewrite>,
    then: Then,
    text: Template,
}

/// Requests that a rule is for.
#[derive(Clone, Copy, Debug)]
struct AppliesTo {
    reads: bool,
    writes: bool,
    ipv4: bool,
    ipv6: bool,
}

/// How often a rule rewrites.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rewrite {
    Once,
    /// Again and again, from the start of what came of it.
    UntilNoMatch,
    /// Each match, from left to right.
    Each,
}

/// What a rule does after it matched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    GoOn,
    End,
    /// If the name can be opened; else nothing was rewritten.
    EndIfOpens,
    StartAgain,
    Refuse,
    Jump,
}

/// A request, as the rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The name as it stands in the packet.
    pub name: &'a [u8],
    /// Who asks.
    pub client: IpAddr,
    /// The hardware address of who asks, if it is known.
    pub hardware: Option<HardwareAddress>,
    /// It is a write request.
    pub is_write: bool,
}

/// What the rules made of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mapped {
    /// This name is to be looked up.
    Name(Vec<u8>),
    /// The request is refused with ERROR 2 and this text.
    Refused(Vec<u8>),
    /// It rests on a name of which the witness does not know whether it opens.
    Unknown,
}

/// Whose language a file is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// tftpd-hpa's, and `\\m` for the hardware address of the client.
    Tftpd,
    /// tftpd-hpa's, where `\\m` is the letter m.
    InTftpd,
}

/// What is told about each rule that acted.
#[derive(Clone, Copy, Debug)]
pub struct Traced<'a> {
    /// The line of the rule, from 1 on.
    pub line: usize,
    /// The name as the rule left it.
    pub name: &'a [u8],
}

/// Memory that one request leaves to the next.
#[derive(Debug, Default)]
pub struct MapScratch {
    search: Scratch,
    /// The name that is made.
    next: Vec<u8>,
}

/// What the world knows and is asked for.
pub trait Witness {
    /// Whether `name` could be opened for this request; `None` if that is not known.
    fn opens(&mut self, name: &[u8]) -> Option<bool>;
    /// A rule acted.
    fn acted(&mut self, _traced: Traced<'_>) {}
}

impl Map {
    /// Reads the rules of a file; `steps_max`: see [`STEPS_MAX`].
    ///
    /// # Errors
    /// The first line that is none.
    pub fn read(file: &[u8], steps_max: u32, dialect: Dialect) -> Result<Map, BadMap> {
        let lines = read::lines(file, dialect)?;
        Ok(Map { lines, steps_max })
    }

    /// How many rules there are.
    pub fn rules(&self) -> usize {
        let is_rule = |line: &&Line| matches!(line, Line::Rule(_));
        self.lines.iter().filter(is_rule).count()
    }

    /// Whether a rule asks for the hardware address of the client.
    pub fn wants_hardware(&self) -> bool {
        self.has(|rule| rule.text.wants_hardware())
    }

    /// Whether a rule refuses names.
    pub fn refuses_names(&self) -> bool {
        self.has(|rule| rule.then == Then::Refuse)
    }

    /// Each rule that does nothing but rewrite, as a map of its own, with its line.
    pub fn rewriting(&self) -> impl Iterator<Item = (usize, Map)> {
        let rules = self.lines.iter().filter_map(|line| match line {
            Line::Rule(rule) if rule.rewrites.is_some() && rule.then == Then::GoOn => Some(rule),
            Line::Rule(_) | Line::Label(_) => None,
        });
        rules.map(|rule| {
            let lines = vec![Line::Rule(rule.clone())];
            let steps_max = self.steps_max;
            (rule.line, Map { lines, steps_max })
        })
    }

    fn has(&self, is_meant: impl Fn(&Rule) -> bool) -> bool {
        let mut lines = self.lines.iter();
        lines.any(|line| matches!(line, Line::Rule(rule) if is_meant(rule)))
    }

    /// Applies the rules to a name.
    pub fn apply(
        &self,
        asked: Asked<'_>,
        scratch: &mut MapScratch,
        witness: &mut impl Witness,
    ) -> Mapped {
        let run = Run {
            map: self,
            asked,
            steps: 0,
            scratch,
            name: asked.name.to_vec(),
        };
        run.rewrite(witness)
    }

    /// Whether the rules refuse a name that other rules, or the cleaning, have made: `name` as it will be looked up.
    /// Nothing is rewritten, but each rule ends or leads on as it would.
    pub fn refuses(&self, asked: Asked<'_>, scratch: &mut MapScratch) -> Option<Vec<u8>> {
        let run = Run {
            map: self,
            asked,
            steps: 0,
            scratch,
            name: asked.name.to_vec(),
        };
        run.refuse()
    }
}

/// A name on its way through the rules.
struct Run<'r> {
    map: &'r Map,
    asked: Asked<'r>,
    steps: u32,
    scratch: &'r mut MapScratch,
    name: Vec<u8>,
}

/// Rules that find no end.
struct Endless;

/// The rest of the rules that come next, as a place in the file.
type Place = usize;

/// What a rule led to.
enum Act {
    End,
    Go(Place),
    Refuse(Vec<u8>),
    Unknown,
}

impl<'r> Run<'r> {
    fn rewrite(mut self, witness: &mut impl Witness) -> Mapped {
        self.scratch.search.work = 0;
        let mut place = 0;
        while let Some((next, rule)) = self.next_rule(place) {
            place = next;
            match self.act(rule, witness) {
                Ok(None) => {}
                Ok(Some(Act::End)) => break,
                Ok(Some(Act::Go(to))) => place = to,
                Ok(Some(Act::Refuse(text))) => return Mapped::Refused(text),
                Ok(Some(Act::Unknown)) => return Mapped::Unknown,
                Err(Endless) => return Mapped::Refused(ENDLESS.to_vec()),
            }
        }
        Mapped::Name(self.name)
    }

    fn refuse(mut self) -> Option<Vec<u8>> {
        self.scratch.search.work = 0;
        let mut place = 0;
        while let Some((next, rule)) = self.next_rule(place) {
            place = next;
            if self.count().is_err() {
                return Some(ENDLESS.to_vec());
            }
            let Some(groups) = self.matches(rule) else {
                continue;
            };
            match rule.then {
                // Without rewriting, a rule that starts again would do so for ever.
                Then::GoOn | Then::EndIfOpens | Then::StartAgain => {}
                Then::End => return None,
                Then::Refuse => return Some(self.refusal(rule, &groups)),
                Then::Jump => match self.jump(rule, &groups) {
                    Some(to) => place = to,
                    None => return Some(ENDLESS.to_vec()),
                },
            }
        }
        None
    }

    /// The next rule for this request from `place` on, and the place behind it.
    fn next_rule(&self, place: Place) -> Option<(Place, &'r Rule)> {
        let is_ipv4 = match self.asked.client {
            IpAddr::V4(_) => true,
            IpAddr::V6(address) => address.to_ipv4_mapped().is_some(),
        };
        let is_write = self.asked.is_write;
        let mut rest = self.map.lines.iter().enumerate().skip(place);
        rest.find_map(|(at, line)| match line {
            Line::Rule(rule) => {
                let to = rule.applies_to;
                let is_direction = if is_write { to.writes } else { to.reads };
                let is_family = if is_ipv4 { to.ipv4 } else { to.ipv6 };
                (is_direction && is_family).then_some((at + 1, rule))
            }
            Line::Label(_) => None,
        })
    }

    fn count(&mut self) -> Result<(), Endless> {
        self.steps += 1;
        let goes_on = self.steps <= self.map.steps_max && self.scratch.search.work <= WORK_MAX;
        goes_on.then_some(()).ok_or(Endless)
    }

    /// Where the rule matched, with nothing in it if that is what makes an inverse rule act; `None` if it does not act.
    fn matches(&mut self, rule: &Rule) -> Option<Groups> {
        let found = rule.regex.find(&self.name, true, &mut self.scratch.search);
        match rule.is_inverse {
            true => found.is_none().then(Groups::default),
            false => found,
        }
    }

    /// Applies one rule.
    fn act(&mut self, rule: &Rule, witness: &mut impl Witness) -> Result<Option<Act>, Endless> {
        self.count()?;
        let Some(groups) = self.matches(rule) else {
            return Ok(None);
        };
        let before = match rule.then {
            Then::EndIfOpens => Some(self.name.clone()),
            _ => None,
        };
        match rule.rewrites {
            None => {}
            Some(Rewrite::Once) => self.replace(rule, &groups)?,
            Some(Rewrite::UntilNoMatch) => {
                self.replace(rule, &groups)?;
                while let Some(groups) = self.matches(rule) {
                    self.count()?;
                    self.replace(rule, &groups)?;
                }
            }
            Some(Rewrite::Each) => self.replace_each(rule, groups.clone())?,
        }
        witness.acted(Traced {
            line: rule.line,
            name: &self.name,
        });
        Ok(match rule.then {
            Then::GoOn => None,
            Then::End => Some(Act::End),
            Then::EndIfOpens => match (witness.opens(&self.name), before) {
                (Some(true), _) => Some(Act::End),
                (None, _) => Some(Act::Unknown),
                (Some(false), before) => {
                    self.name = before.unwrap_or_default();
                    None
                }
            },
            Then::StartAgain => Some(Act::Go(0)),
            // These do not rewrite: the groups are still of this name.
            Then::Refuse => Some(Act::Refuse(self.refusal(rule, &groups))),
            Then::Jump => Some(Act::Go(self.jump(rule, &groups).ok_or(Endless)?)),
        })
    }

    /// The text of a refusal.
    fn refusal(&self, rule: &Rule, groups: &Groups) -> Vec<u8> {
        let mut text = Vec::new();
        rule.text.expand(&self.name, groups, &self.asked, &mut text);
        text.truncate(NAME_MAX);
        match text.is_empty() {
            true => NO_ACCESS.to_vec(),
            false => text,
        }
    }

    /// The place behind the label that a rule names.
    fn jump(&self, rule: &Rule, groups: &Groups) -> Option<Place> {
        let mut wanted = Vec::new();
        rule.text
            .expand(&self.name, groups, &self.asked, &mut wanted);
        let is_wanted = |line: &Line| match line {
            Line::Label(label) => !label.is_empty() && **label == *wanted,
            Line::Rule(_) => false,
        };
        self.map.lines.iter().position(is_wanted)
    }

    /// Replaces a match.
    fn replace(&mut self, rule: &Rule, groups: &Groups) -> Result<(), Endless> {
        let Some(matched) = &groups[0] else {
            return Ok(());
        };
        let next = &mut self.scratch.next;
        next.clear();
        next.extend_from_slice(&self.name[..matched.start]);
        rule.text.expand(&self.name, groups, &self.asked, next);
        next.extend_from_slice(&self.name[matched.end..]);
        self.take_next()
    }

    /// Replaces each match from left to right; an empty one right behind another is none.
    fn replace_each(&mut self, rule: &Rule, first: Groups) -> Result<(), Endless> {
        let mut begin = 0;
        let mut last_end = None;
        let mut found = Some(first);
        self.scratch.next.clear();
        while let Some(groups) = found {
            self.count()?;
            let rest = &self.name[begin..];
            let matched = groups[0].clone().unwrap_or(0..0);
            let next = &mut self.scratch.next;
            next.extend_from_slice(&rest[..matched.start]);
            if !matched.is_empty() || last_end != Some(begin + matched.start) {
                rule.text.expand(rest, &groups, &self.asked, next);
            }
            let mut end = matched.end;
            if matched.is_empty() {
                next.extend(rest.get(end));
                end += 1;
            }
            last_end = Some(begin + matched.end);
            begin += end;
            if begin > self.name.len() || next.len() > NAME_MAX {
                break;
            }
            let rest = &self.name[begin..];
            found = rule.regex.find(rest, false, &mut self.scratch.search);
        }
        self.scratch.next.extend(self.name.iter().skip(begin));
        self.take_next()
    }

    /// What was made is the name from now on.
    fn take_next(&mut self) -> Result<(), Endless> {
        if self.scratch.next.len() > NAME_MAX {
            return Err(Endless);
        }
        std::mem::swap(&mut self.name, &mut self.scratch.next);
        Ok(())
    }
}

/// What tftpd-hpa says of rules without an end.
const ENDLESS: &[u8] = b"Remap table failure";

/// What a rule that refuses says where it has no text.
const NO_ACCESS: &[u8] = b"access violation";
