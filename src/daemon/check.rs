//! What `--check` says of the served tree: each path that would draw a refusal, and why.
//!
//! Nothing of it prevents serving. The walk itself is in `os::walk`; here is what is worth a line, and its words.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

use super::root::open_roots;
use super::rules::Rereading;
use super::text::escaped;
use super::{Failure, confine, trying};
use crate::config::{Ports, Settings};
use crate::moment::Moment;
use crate::os::clock::Clock;
use crate::os::directory::may_make_files;
use crate::os::files::{Answer, Files, Unserved};
use crate::os::privileges::acts_as;
use crate::os::walk::{Bounds, Seen, Walk};

/// Checks whether the directory could be served by the user who would serve it, and what in it could not. Gives up what
/// the server would. Returns lines for the operator.
///
/// # Errors
/// Why it could not be served.
pub fn check(settings: &Settings) -> Result<String, Failure> {
    let files = open_roots(settings)?;
    let (rereading, _) = Rereading::begin(settings)?;
    let account = confine::account(settings)?;
    confine::give_up_privileges(settings, &files, account.as_ref())?;
    confine::find_readable(settings, &files)?;
    confine::confine_files(settings, &files, &[], &[])?;
    let user = match account {
        Some(account) => format!("user {}", account.name),
        None => format!("user {}", acts_as().0),
    };
    let mut text = few_ports(&settings.ports);
    let path = settings.names.map.as_deref().unwrap_or(Path::new(""));
    for line in rereading.names(settings, &files).needless_rules() {
        let path = path.display();
        text += &format!("{path}: line {line}: needless here: this server does so by itself\n");
    }
    text += &closed_to_uploads(settings, &files, &user);
    let roots = settings.roots.iter().map(|root| root.display().to_string());
    let roots = roots.collect::<Vec<_>>().join(", ");
    text += &trying(roots, report(&files, &user))?;
    Ok(text)
}

/// Walks past all that `files` could serve, as `user`, who we are.
fn report(files: &Files, user: &str) -> io::Result<String> {
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

/// What there is to know below one root.
fn below(files: &Files, number: usize, user: &str, progress: &mut Progress) -> io::Result<String> {
    let mut findings = Findings::default();
    let directory = files.roots()[number].directory();
    let mut walk = Walk::new(directory.try_clone_to_owned()?, BOUNDS);
    let places = files.places();
    while let Some(seen) = walk.step() {
        progress.count();
        let answer = || places.answer(number, walk.path());
        if let Some((kind, what)) = judge(&seen, answer, user) {
            findings[kind as usize].push(format!("\"{}\"{what}", escaped(walk.path())));
        }
        if let Seen::Directory = seen {
            for group in differing_in_case(walk.names()) {
                findings[Kind::CaseOnly as usize].push(in_case_only(walk.path(), group));
            }
        }
    }
    let mut text = lines_of(&findings);
    if walk.is_cut_short() {
        let names = BOUNDS.names;
        text += &format!("the walk ended after {names} names: the others were not looked at\n");
    }
    Ok(text)
}

/// The directories in which clients are to make files and this user cannot, in lines.
fn closed_to_uploads(settings: &Settings, files: &Files, user: &str) -> String {
    let uploads = &settings.uploads;
    let mut paths = match uploads.directories.as_slice() {
        [] => settings.roots[..1].iter(),
        directories => directories.iter(),
    };
    let mut lines = String::new();
    for writable in files.writable_directories() {
        let path = paths.next().map(|path| path.display());
        if let (true, Some(path), Err(error)) = (uploads.create, path, may_make_files(&writable)) {
            lines += &format!("\"{path}\": {user} cannot make files in it for uploads: {error}\n");
        }
    }
    lines
}

/// A line about a range of ports that is small.
fn few_ports(ports: &Ports) -> String {
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
#[derive(Clone, Copy)]
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

/// Lines of each kind.
type Findings = [Vec<String>; Kind::CaseOnly as usize + 1];

/// Returns what follows the path; `None` where all is well. `answer`: what a request for it draws.
fn judge(seen: &Seen, answer: impl Fn() -> Answer, user: &str) -> Option<(Kind, String)> {
    Some(match seen {
        Seen::Directory => return None,
        Seen::File => return judge_answer(answer(), "", user),
        Seen::Link(target) => {
            let begins = match target.first() {
                Some(b'/') => " (an absolute link begins at the directory served)",
                _ => "",
            };
            let target = format!(" -> \"{}\"", escaped(target));
            let (kind, what) = judge_answer(answer(), &target, user)?;
            match kind {
                Kind::LeadsNowhere => (kind, what + begins),
                _ => (kind, what),
            }
        }
        Seen::Closed(error) => {
            let what = format!(": {user} cannot open anything in this directory: {error}");
            (Kind::Closed, what)
        }
        Seen::Unlisted(error) => {
            let what = "cannot list this directory, what is in it was not looked at";
            (Kind::Unlisted, format!(": {user} {what}: {error}"))
        }
        Seen::TooDeep => {
            let what = format!(": below {} other directories: not looked at", BOUNDS.depth);
            (Kind::TooDeep, what)
        }
        Seen::Special(what) => (Kind::NotAFile, format!(": a {what}, which is not served")),
        Seen::Failed(error) => (Kind::Failed, format!(": {error}")),
    })
}

/// `target` is written behind the path.
fn judge_answer(answer: Answer, target: &str, user: &str) -> Option<(Kind, String)> {
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
            error => (Kind::Failed, io::Error::from(error).to_string()),
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

/// The first lines of each kind, and how many more there are.
fn lines_of(findings: &Findings) -> String {
    let mut text = String::new();
    for of_kind in findings {
        for line in of_kind.iter().take(LINES_SHOWN) {
            text += line;
            text.push('\n');
        }
        if of_kind.len() > LINES_SHOWN {
            text += &format!("{} more of this kind\n", of_kind.len() - LINES_SHOWN);
        }
    }
    text
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
            let seen = self.seen;
            let _ = write!(io::stderr(), "\r{seen} files and directories looked at");
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
        findings[Kind::CaseOnly as usize].push("last".into());
        let denied = &mut findings[Kind::Denied as usize];
        denied.extend((0..LINES_SHOWN + 3).map(|number| format!("line {number}")));
        let text = lines_of(&findings);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), LINES_SHOWN + 2);
        assert_eq!((lines[0], lines[19]), ("line 0", "line 19"));
        assert_eq!(lines[20..], ["3 more of this kind", "last"]);
    }
}
