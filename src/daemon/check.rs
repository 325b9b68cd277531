//! What `--check` says of the served tree: each path that would draw a refusal, and why.
//!
//! Nothing of it prevents serving. The walk itself is in `os::walk`; here is what is worth a line, and its words.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use super::text::escaped;
use crate::config::{Ports, Settings};
use crate::moment::Moment;
use crate::names::Names;
use crate::os::clock::Clock;
use crate::os::files::Files;
use crate::os::walk::{Answer, Bounds, Seen, Unserved};

/// Walks past all that `files` could serve, as `user`, who we are, and returns what an operator should know of it, in lines.
///
/// # Errors
/// Where descriptors ran out.
pub(super) fn report(files: &Files, user: &str) -> io::Result<String> {
    let mut progress = Progress::new();
    let mut text = String::new();
    for (number, root) in files.roots().iter().enumerate() {
        let found = below(files, number, user, &mut progress)?;
        if files.roots().len() > 1 && !found.is_empty() {
            text += &format!("{}:\n", root.path().display());
        }
        text += &found;
    }
    progress.end();
    Ok(text)
}

/// Returns what an operator should know of the rules of the map, in lines.
pub(super) fn rules(settings: &Settings, names: &Names) -> String {
    let path = settings.names.map.as_deref().unwrap_or(Path::new(""));
    let line = |line| {
        let path = path.display();
        format!("{path}: line {line}: needless here: this server does so by itself\n")
    };
    names.needless_rules().into_iter().map(line).collect()
}

/// What there is to know below one root.
fn below(files: &Files, number: usize, user: &str, progress: &mut Progress) -> io::Result<String> {
    let mut findings = Findings::default();
    let mut walk = files.walk(number, BOUNDS)?;
    while let Some(seen) = walk.step() {
        progress.count();
        if let Some((kind, what)) = judge(&seen, user) {
            findings.add(kind, || format!("\"{}\"{what}", escaped(walk.path())));
        }
        if let Seen::Directory = seen {
            for group in differing_in_case(walk.names()) {
                findings.add(Kind::CaseOnly, || in_case_only(walk.path(), group));
            }
        }
    }
    let mut text = findings.text();
    if walk.is_cut_short() {
        let names = BOUNDS.names;
        text += &format!("the walk ended after {names} names: the others were not looked at\n");
    }
    Ok(text)
}

/// A line about a range of ports that is small.
pub(super) fn few_ports(ports: &Ports) -> String {
    match ports {
        Ports::Range(range) if range.len() < PORTS_FEW => format!(
            "--port-range: {} ports: {PORTS_FEW} or more are better, since a packet that comes late may meet another \
             transfer\n",
            range.len()
        ),
        Ports::Range(_) | Ports::Any | Ports::Single => String::new(),
    }
}

/// What is worth a line, in the order in which it is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Denied,
    NotPublic,
    Closed,
    Unlisted,
    Failed,
    LeadsOut,
    LeadsNowhere,
    NotAFile,
    Unnameable,
    TooDeep,
    CaseOnly,
}

/// Returns what follows the path; `None` where all is well.
fn judge(seen: &Seen, user: &str) -> Option<(Kind, String)> {
    let finding = match seen {
        Seen::Directory => return None,
        Seen::File(answer) => return judge_answer(answer, "", user),
        Seen::Link { target, leads } => {
            let begins = match target.first() {
                Some(b'/') => " (an absolute link begins at the directory served)",
                _ => "",
            };
            let target = format!(" -> \"{}\"", escaped(target));
            return judge_answer(leads, &target, user).map(|(kind, what)| match kind {
                Kind::LeadsNowhere => (kind, what + begins),
                _ => (kind, what),
            });
        }
        Seen::Closed(error) => (
            Kind::Closed,
            format!(": {user} cannot open anything in this directory: {error}"),
        ),
        Seen::Unlisted(error) => (
            Kind::Unlisted,
            format!(
                ": {user} cannot list this directory, what is in it was not looked at: {error}"
            ),
        ),
        Seen::TooDeep => (
            Kind::TooDeep,
            format!(": below {} other directories: not looked at", BOUNDS.depth),
        ),
        Seen::Fifo => (Kind::NotAFile, ": a FIFO, which is not served".into()),
        Seen::Socket => (Kind::NotAFile, ": a socket, which is not served".into()),
        Seen::Device => (Kind::NotAFile, ": a device, which is not served".into()),
        Seen::Failed(error) => (Kind::Failed, format!(": {error}")),
    };
    Some(finding)
}

/// `target` is written behind the path.
fn judge_answer(answer: &Answer, target: &str, user: &str) -> Option<(Kind, String)> {
    let Err(unserved) = answer else { return None };
    let (kind, why) = match unserved {
        Unserved::NotPublic => (Kind::NotPublic, "not readable by others (o+r)".into()),
        Unserved::Unnameable => (
            Kind::Unnameable,
            "no request can name it (\\, 0xff at the end, or too long)".into(),
        ),
        Unserved::Failed(error) => match error {
            // What a link leads to has its line where it lies itself; or it is busy.
            Errno::EISDIR | Errno::ENXIO | Errno::ENODEV => return None,
            Errno::EAGAIN | Errno::EINTR | Errno::ETIMEDOUT | Errno::ESTALE => return None,
            Errno::EACCES | Errno::EPERM => (Kind::Denied, format!("{user} cannot read it")),
            Errno::EXDEV => (Kind::LeadsOut, "leads out of the directory served".into()),
            Errno::ENOENT | Errno::ENOTDIR => (Kind::LeadsNowhere, "leads nowhere".into()),
            Errno::ELOOP => (Kind::LeadsNowhere, "leads round in a circle".into()),
            error => (Kind::Failed, io::Error::from(*error).to_string()),
        },
    };
    Some((kind, format!("{target}: {why}")))
}

/// The groups of names that differ in ASCII letter case only. Such names stand together in `names`.
fn differing_in_case(names: &[Vec<u8>]) -> impl Iterator<Item = &[Vec<u8>]> {
    let groups = names.chunk_by(|one, other| one.eq_ignore_ascii_case(other));
    groups.filter(|group| group.len() > 1)
}

fn in_case_only(directory: &[u8], names: &[Vec<u8>]) -> String {
    let shown = names.iter().take(NAMES_SHOWN);
    let shown: Vec<_> = shown.map(|name| format!("\"{}\"", escaped(name))).collect();
    let more = match names.len().saturating_sub(NAMES_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let (directory, shown) = (escaped(directory), shown.join(", "));
    format!("\"{directory}\": names that differ in case only: {shown}{more}")
}

/// The first lines of each kind, and how many there would be.
#[derive(Default)]
struct Findings([(Vec<String>, usize); KINDS]);

impl Findings {
    fn add(&mut self, kind: Kind, line: impl FnOnce() -> String) {
        let (lines, count) = &mut self.0[kind as usize];
        *count += 1;
        if lines.len() < LINES_SHOWN {
            lines.push(line());
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (lines, count) in &self.0 {
            for line in lines {
                text += line;
                text.push('\n');
            }
            if *count > lines.len() {
                text += &format!("{} more of this kind\n", count - lines.len());
            }
        }
        text
    }
}

/// One line on a terminal that counts what was looked at.
struct Progress {
    clock: Clock,
    seen: usize,
    /// `None` where standard error is no terminal.
    show_at: Option<Moment>,
}

impl Progress {
    fn new() -> Progress {
        let clock = Clock::start();
        let show_at = io::stderr().is_terminal().then(|| clock.now());
        Progress {
            clock,
            seen: 0,
            show_at,
        }
    }

    fn count(&mut self) {
        self.seen += 1;
        let Some(show_at) = self.show_at else { return };
        let now = self.clock.now();
        if now >= show_at {
            self.show_at = Some(now + SHOW_EVERY);
            let _ = write!(
                io::stderr(),
                "\r{} files and directories looked at",
                self.seen
            );
        }
    }

    /// Leaves no trace.
    fn end(&self) {
        if self.show_at.is_some() {
            let _ = write!(io::stderr(), "\r{:WIDTH$}\r", "");
        }
    }
}

/// A tree for network booting holds hundreds of files, a mirror tens of thousands. A directory in the walk costs a descriptor.
const BOUNDS: Bounds = Bounds {
    names: 100_000,
    depth: 64,
};
const KINDS: usize = Kind::CaseOnly as usize + 1;
/// Twice the usual number of slots.
const PORTS_FEW: usize = 64;
/// Of each kind: enough to see what is wrong.
const LINES_SHOWN: usize = 20;
/// Of names that differ in case only.
const NAMES_SHOWN: usize = 4;
/// The line on a terminal is written at most so often.
const SHOW_EVERY: Duration = Duration::from_millis(100);
/// Columns of that line.
const WIDTH: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_case_only() {
        let sorted =
            |names: &[&[u8]]| -> Vec<Vec<u8>> { names.iter().map(|name| name.to_vec()).collect() };
        let names = sorted(&[
            b"A", b"B", b"b", b"b.c", b"K\xE9", b"k\xC9", b"k\xE9", b"x", b"XX", b"xX", b"xx",
        ]);
        let groups: Vec<_> = differing_in_case(&names).collect();
        // Letters beyond ASCII have no case.
        assert_eq!(groups, [&names[1..3], &names[8..]]);
        assert_eq!(differing_in_case(&names[..2]).count(), 0);
        assert_eq!(differing_in_case(&[]).count(), 0);
    }

    #[test]
    fn a_group_of_names_is_bounded_and_escaped() {
        let names: Vec<Vec<u8>> = (0..7).map(|_| b"a\xE9".to_vec()).collect();
        assert_eq!(
            in_case_only(b"d\n", &names),
            "\"d\\n\": names that differ in case only: \"a\\xe9\", \"a\\xe9\", \"a\\xe9\", \"a\\xe9\" and 3 more"
        );
    }

    #[test]
    fn of_each_kind_the_first_lines_are_shown_and_the_others_counted() {
        let mut findings = Findings::default();
        findings.add(Kind::CaseOnly, || "last".into());
        for number in 0..LINES_SHOWN + 3 {
            findings.add(Kind::Denied, || format!("line {number}"));
        }
        let text = findings.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), LINES_SHOWN + 2);
        assert_eq!((lines[0], lines[19]), ("line 0", "line 19"));
        assert_eq!(lines[20..], ["3 more of this kind", "last"]);
    }
}
