//! From root to nobody: what the process gives up once it holds all that it needs, before it looks at
//! anything that came from the network.
//!
//! The order matters. Changing the root needs root; becoming a user that is not root needs capabilities;
//! Landlock and the filter of system calls need none, and forbid what comes before them.

use std::io::{Error, ErrorKind};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::errno::Errno;

use super::events::LogEvent;
use super::log::Log;
use super::{Failure, trying};
use crate::config::Settings;
use crate::moment::Moment;
use crate::os::files::Files;
use crate::os::helper::Helper;
use crate::os::poll::Poll;
use crate::os::process;
use crate::os::publish::{Publisher, Target};
use crate::os::rule_file::{RuleFile, RuleFiles};
use crate::os::users::{self, Account};
use crate::os::writer::Writer;
use crate::os::{directory, privileges, sandbox};

/// The account to switch to; `None` to stay.
///
/// # Errors
/// Where there is no such account, or it is another one and we are not root.
pub(super) fn account(settings: &Settings) -> Result<Option<Account>, Failure> {
    let (user, group) = privileges::acts_as();
    let Some(wanted) = &settings.user else {
        return Ok((user == ROOT).then(usual_account));
    };
    let named = match &wanted.group {
        Some(group) => format!("user {}:{group}", wanted.user),
        None => format!("user {}", wanted.user),
    };
    let account = users::find(&wanted.user, wanted.group.as_deref());
    let account = trying(&named, account)?;
    if user != ROOT && (account.user, account.group) != (user, group) {
        let why = Error::new(
            ErrorKind::PermissionDenied,
            "only root may become another user",
        );
        return trying(named, Err(why));
    }
    Ok(Some(account))
}

/// Of the names that systems have for it, the first that this one knows.
fn usual_account() -> Account {
    let known = USUAL_ACCOUNTS
        .iter()
        .find_map(|name| users::find(name, None).ok());
    known.unwrap_or_else(|| Account {
        name: "nobody".into(),
        user: NOBODY,
        group: NOBODY,
    })
}

/// The threads beside the loop: the one that looks names up and reads; if anything may be written, the one that writes;
/// and the one that writes statistics, if that is wanted.
pub(super) type Threads = (Helper, Option<Writer>, Option<Publisher>);

/// What stays within reach.
pub(super) struct Kept<'a> {
    pub(super) files: &'a Files,
    /// Rules that can be read again.
    pub(super) rules: &'a RuleFiles,
    /// Where statistics are written.
    pub(super) stats: Option<Target>,
}

/// Gives up everything else, logs what is left, and starts the other threads, which have given up as much.
///
/// # Errors
/// Where something that can be given up here is not.
pub(super) fn confine(
    now: Moment,
    settings: &Settings,
    kept: Kept<'_>,
    account: Option<&Account>,
    log: &mut Log,
    poll: &Poll,
) -> Result<Threads, Failure> {
    let Kept {
        files,
        rules: rule_files,
        stats,
    } = kept;
    give_up_privileges(settings, files, account)?;
    if let Err(failure) = find_readable(settings, files) {
        log.write(now, &LogEvent::RootUnreadable(&failure));
    }
    for (path, root) in settings.roots.iter().zip(files.roots()) {
        if let Some((_, within)) = root.holder() {
            log.write(now, &LogEvent::RootLinkFollowed(path, within));
        } else if root.ignores_a_link() {
            log.write(now, &LogEvent::RootLinkIgnored(path));
        }
    }
    if let Err((path, why)) = rule_files.read() {
        let what = path.display().to_string();
        log.write(now, &LogEvent::RulesUnreadable(&Failure { what, why }));
    }
    for file in rule_files
        .iter()
        .filter(|file| settings.sandbox && file.is_alone())
    {
        log.write(now, &LogEvent::RulesAlone(file.path()));
    }
    let user = account.map(|of| format!("{} ({}:{})", of.name, of.user, of.group));
    let acts_as = privileges::acts_as();
    if settings.uploads.are_on() {
        process::bar_execution_of_new_files();
    }
    let start_threads = |stats| trying("helper thread", start_threads(files, poll, stats));
    let (threads, sandbox) = match settings.sandbox {
        true => enter_sandbox(files, rule_files, stats, start_threads)?,
        false => (start_threads(stats)?, "off".into()),
    };
    log.confined(user.as_deref(), acts_as, &sandbox);
    Ok(threads)
}

fn start_threads(files: &Files, poll: &Poll, stats: Option<Target>) -> Result<Threads, Error> {
    let waker = Arc::new(poll.waker()?);
    let publisher = stats.map(|target| Publisher::start(target, Arc::clone(&waker)));
    let helper = Helper::start(Arc::clone(&waker), files.listings())?;
    let sweep = files.sweep()?;
    let writer = sweep.map(|sweep| Writer::start(waker, sweep)).transpose()?;
    Ok((helper, writer, publisher.transpose()?))
}

/// Changes the root, the user and the group, and drops all capabilities.
///
/// # Errors
/// Where that is not allowed.
pub(super) fn give_up_privileges(
    settings: &Settings,
    files: &Files,
    account: Option<&Account>,
) -> Result<(), Failure> {
    if settings.chroot {
        trying(
            "chroot",
            privileges::change_root(files.roots()[0].directory()),
        )?;
    }
    privileges::empty_bounding_set();
    if let Some(account) = account {
        let became = privileges::become_user(account.user, account.group);
        // A container without root often has no other user than its own root.
        let hint = match became
            .as_ref()
            .err()
            .and_then(Error::raw_os_error)
            .map(Errno::from_raw)
        {
            Some(Errno::EPERM | Errno::EINVAL) if privileges::acts_as().0 == ROOT => {
                " (-u root keeps the user, as it must be in a container that has no other)"
            }
            _ => "",
        };
        trying(format!("user {}{hint}", account.name), became)?;
    }
    trying("capabilities", privileges::drop_capabilities())
}

/// Looks whether files can be found in the directories by who we are now.
///
/// # Errors
/// Why not.
pub(super) fn find_readable(settings: &Settings, files: &Files) -> Result<(), Failure> {
    let (user, group) = privileges::acts_as();
    for (path, root) in settings.roots.iter().zip(files.roots()) {
        let path = path.display();
        let what = format!("{path}: not open to user {user}, group {group}");
        trying(what, directory::may_search(&root.directory()))?;
    }
    Ok(())
}

/// The directories in which clients are to make files and this user cannot, in lines.
pub(super) fn closed_to_uploads(settings: &Settings, files: &Files, user: &str) -> String {
    let uploads = &settings.uploads;
    let mut paths = match uploads.directories.as_slice() {
        [] => settings.roots[..1].iter(),
        directories => directories.iter(),
    };
    let mut lines = String::new();
    for writable in files.writable_directories() {
        let path = paths.next().map(|path| path.display());
        if let (true, Some(path), Err(error)) =
            (uploads.create, path, directory::may_make_files(&writable))
        {
            lines += &format!("\"{path}\": {user} cannot make files in it for uploads: {error}\n");
        }
    }
    lines
}

/// The user as who we are now, for the operator.
pub(super) fn name_of(account: Option<&Account>) -> String {
    match account {
        Some(account) => format!("user {}", account.name),
        None => format!("user {}", privileges::acts_as().0),
    }
}

/// Lets this process read what it may have to serve and nothing else, as far as this system can.
///
/// # Errors
/// Where the system could and does not.
pub(super) fn confine_files(settings: &Settings, files: &Files) -> Result<(), Failure> {
    if settings.sandbox {
        trying(
            "Landlock",
            sandbox::confine_files(&files.directories(), &[], &[]),
        )?;
    }
    Ok(())
}

/// Enters the sandbox, and returns how much of it this system has. Landlock binds the threads that are started later, the filter all there are.
fn enter_sandbox(
    files: &Files,
    rule_files: &RuleFiles,
    stats: Option<Target>,
    start_threads: impl FnOnce(Option<Target>) -> Result<Threads, Failure>,
) -> Result<(Threads, String), Failure> {
    let replaced = stats.as_ref().map(Target::directory);
    let mut writable = files.ever_writable();
    writable.extend(replaced);
    let rules: Vec<_> = rule_files.iter().map(RuleFile::descriptor).collect();
    let level = sandbox::confine_files(&files.directories(), &writable, &rules);
    let level = trying("Landlock", level)?;
    // Its number stays what it is while the thread has it.
    let replaced = replaced.map(|directory| directory.as_raw_fd());
    let threads = start_threads(stats)?;
    let writes = threads.1.is_some();
    let calls = sandbox::confine_calls(level > 0, writes, replaced);
    let calls = trying("seccomp", calls)?;
    let files = match level {
        0 => "no Landlock".into(),
        _ => format!("Landlock ABI {level}"),
    };
    let sandbox = match calls {
        0 => format!("{files}, no seccomp"),
        _ => format!("{files}, {calls} system calls"),
    };
    Ok((threads, sandbox))
}

const ROOT: u32 = 0;
/// The first is made by packages of TFTP servers.
const USUAL_ACCOUNTS: [&str; 2] = ["tftp", "nobody"];
/// Its number wherever it has one (the kernel's overflow user); a tree without /etc/passwd has no names.
const NOBODY: u32 = 65534;
