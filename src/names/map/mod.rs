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
    rules: Vec<Rule>,
    /// Where jumps may lead: each label with the place among the rules of the one behind it.
    labels: Vec<(Box<[u8]>, usize)>,
    steps_max: u32,
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

/// A request, as far as its name goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Question<N = Box<[u8]>> {
    /// The name as it stands in the packet.
    pub name: N,
    /// Who asks.
    pub client: IpAddr,
    /// The hardware address of who asks, if it is known.
    pub hardware: Option<HardwareAddress>,
    /// It is a write request.
    pub is_write: bool,
}

/// A request, as the rules see it.
pub type Asked<'a> = Question<&'a [u8]>;

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

/// A rule that acted.
#[derive(Clone, Copy, Debug)]
pub struct Acted<'a> {
    /// The line of the rule, from 1 on.
    pub line: usize,
    /// The name as the rule left it.
    pub name: &'a [u8],
    /// What comes next depends on whether this name could be opened for the request (`E`).
    pub asks_if_it_opens: bool,
}

/// Is shown each rule that acts. Returns whether its name opens, if that is asked; `None` if it is not known.
pub type Witness<'w> = dyn FnMut(Acted<'_>) -> Option<bool> + 'w;

impl Map {
    /// How many rules there are.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// Whether a rule asks for the hardware address of the client.
    pub fn wants_hardware(&self) -> bool {
        self.rules.iter().any(|rule| rule.text.wants_hardware())
    }

    /// Each rule that does nothing but rewrite, as a map of its own, with its line.
    pub fn rewriting(&self) -> impl Iterator<Item = (usize, Map)> {
        let only_rewrites = |rule: &&Rule| rule.rewrites.is_some() && rule.then == Then::GoOn;
        self.rules.iter().filter(only_rewrites).map(|rule| {
            let alone = Map {
                rules: vec![rule.clone()],
                labels: Vec::new(),
                steps_max: self.steps_max,
            };
            (rule.line, alone)
        })
    }

    /// Applies the rules to a name.
    pub fn apply(&self, asked: Asked<'_>, witness: &mut Witness<'_>) -> Mapped {
        self.run(asked, Some(witness))
    }

    /// Whether the rules refuse a name that other rules, or the cleaning, have made: `name` as it will be looked up.
    /// Nothing is rewritten, but each rule ends or leads on as it would.
    pub fn refuses(&self, asked: Asked<'_>) -> Option<Vec<u8>> {
        self.rules.iter().find(|rule| rule.then == Then::Refuse)?;
        match self.run(asked, None) {
            Mapped::Refused(text) => Some(text),
            Mapped::Name(_) | Mapped::Unknown => None,
        }
    }

    /// Without a witness nothing is rewritten.
    fn run(&self, asked: Asked<'_>, witness: Option<&mut Witness<'_>>) -> Mapped {
        let mut run = Run {
            map: self,
            asked,
            steps: 0,
            search: Scratch::default(),
            name: asked.name.to_vec(),
            witness,
        };
        let mut place = 0;
        while let Some(rule) = self.rules.get(place) {
            place += 1;
            if rule.applies_to.holds(&asked) {
                match run.act(rule) {
                    Ok(jump) => place = jump.unwrap_or(place),
                    Err(end) => return end,
                }
            }
        }
        Mapped::Name(run.name)
    }
}

impl Question {
    /// The same, borrowed.
    pub fn asked(&self) -> Asked<'_> {
        Asked {
            name: &self.name,
            client: self.client,
            hardware: self.hardware,
            is_write: self.is_write,
        }
    }
}

impl AppliesTo {
    fn holds(self, asked: &Asked<'_>) -> bool {
        let is_direction = match asked.is_write {
            true => self.writes,
            false => self.reads,
        };
        let is_family = match asked.client.to_canonical() {
            IpAddr::V4(_) => self.ipv4,
            IpAddr::V6(_) => self.ipv6,
        };
        is_direction && is_family
    }
}

/// A name on its way through the rules. An error is the end of the way, whatever it leads to.
struct Run<'r, 'w> {
    map: &'r Map,
    asked: Asked<'r>,
    steps: u32,
    search: Scratch,
    name: Vec<u8>,
    witness: Option<&'r mut Witness<'w>>,
}

impl Run<'_, '_> {
    fn count(&mut self) -> Result<(), Mapped> {
        self.steps += 1;
        let goes_on = self.steps <= self.map.steps_max && self.search.work <= WORK_MAX;
        goes_on.then_some(()).ok_or_else(endless)
    }

    /// Where the rule matched, with nothing in it if that is what makes an inverse rule act; `None` if it does not act.
    fn matches(&mut self, rule: &Rule) -> Option<Groups> {
        let found = rule.regex.find(&self.name, true, &mut self.search);
        match rule.is_inverse {
            true => found.is_none().then(Groups::default),
            false => found,
        }
    }

    /// Applies one rule, and returns the place of the next if that is not the one behind it.
    fn act(&mut self, rule: &Rule) -> Result<Option<usize>, Mapped> {
        self.count()?;
        let Some(groups) = self.matches(rule) else {
            return Ok(None);
        };
        let before = match rule.then {
            Then::EndIfOpens => self.name.clone(),
            _ => Vec::new(),
        };
        if self.witness.is_some() {
            self.rewrite(rule, &groups)?;
        }
        let mut opens = false;
        if let Some(witness) = &mut self.witness {
            let acted = Acted {
                line: rule.line,
                name: &self.name,
                asks_if_it_opens: rule.then == Then::EndIfOpens,
            };
            opens = witness(acted).ok_or(Mapped::Unknown)?;
        }
        match rule.then {
            Then::GoOn => Ok(None),
            Then::EndIfOpens if !opens => {
                self.name = before;
                Ok(None)
            }
            Then::End | Then::EndIfOpens => Err(Mapped::Name(std::mem::take(&mut self.name))),
            // Without rewriting it would do so for ever.
            Then::StartAgain if self.witness.is_none() => Ok(None),
            Then::StartAgain => Ok(Some(0)),
            // These do not rewrite: the groups are still of this name.
            Then::Refuse => Err(Mapped::Refused(self.refusal(rule, &groups))),
            Then::Jump => self.jump(rule, &groups).map(Some).ok_or_else(endless),
        }
    }

    /// The text of a refusal.
    fn refusal(&self, rule: &Rule, groups: &Groups) -> Vec<u8> {
        let mut text = rule.text.expand(&self.name, groups, &self.asked);
        text.truncate(NAME_MAX);
        match text.is_empty() {
            true => NO_ACCESS.to_vec(),
            false => text,
        }
    }

    /// The place behind the label that a rule names.
    fn jump(&self, rule: &Rule, groups: &Groups) -> Option<usize> {
        let wanted = rule.text.expand(&self.name, groups, &self.asked);
        let mut labels = self.map.labels.iter();
        let label = labels.find(|(label, _)| !label.is_empty() && **label == *wanted);
        label.map(|&(_, place)| place)
    }

    fn rewrite(&mut self, rule: &Rule, groups: &Groups) -> Result<(), Mapped> {
        match rule.rewrites {
            None => return Ok(()),
            Some(Rewrite::Once) => drop(self.replace(rule, groups, 0, true)),
            Some(Rewrite::UntilNoMatch) => {
                self.replace(rule, groups, 0, true);
                while self.name.len() <= NAME_MAX
                    && let Some(groups) = self.matches(rule)
                {
                    self.count()?;
                    self.replace(rule, &groups, 0, true);
                }
            }
            Some(Rewrite::Each) => self.replace_each(rule, groups.clone())?,
        }
        match self.name.len() <= NAME_MAX {
            true => Ok(()),
            false => Err(endless()),
        }
    }

    /// Replaces each match from left to right; an empty one right behind another is none.
    fn replace_each(&mut self, rule: &Rule, first: Groups) -> Result<(), Mapped> {
        let mut found = Some(first);
        let (mut begin, mut last_end) = (0, None);
        while let Some(groups) = found {
            self.count()?;
            let matched = groups[0].clone().unwrap_or(0..0);
            let counts = !matched.is_empty() || last_end != Some(begin + matched.start);
            begin = self.replace(rule, &groups, begin, counts);
            last_end = Some(begin);
            begin += usize::from(matched.is_empty());
            if begin > self.name.len().min(NAME_MAX) {
                break;
            }
            let rest = &self.name[begin..];
            found = rule.regex.find(rest, false, &mut self.search);
        }
        Ok(())
    }

    /// Replaces the match that was found behind `begin`, by nothing unless it `counts`, and returns where what stands
    /// there now ends.
    fn replace(&mut self, rule: &Rule, groups: &Groups, begin: usize, counts: bool) -> usize {
        let Some(matched) = &groups[0] else {
            return begin;
        };
        let text = match counts {
            true => rule.text.expand(&self.name[begin..], groups, &self.asked),
            false => Vec::new(),
        };
        let (start, end) = (begin + matched.start, begin + text.len() + matched.start);
        self.name.splice(start..begin + matched.end, text);
        end
    }
}

/// Where rules find no end.
fn endless() -> Mapped {
    Mapped::Refused(ENDLESS.to_vec())
}

/// What tftpd-hpa says of rules without an end.
const ENDLESS: &[u8] = b"Remap table failure";

/// What a rule that refuses says where it has no text.
const NO_ACCESS: &[u8] = b"access violation";
