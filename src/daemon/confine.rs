//! From root to nobody: what the process gives up once it holds all that it needs, before it looks at
//! anything that came from the network.
//!
//! The order matters. Changing the root needs root; becoming a user that is not root needs capabilities;
//! Landlock and the filter of system calls need none, and forbid what comes before them.

use std::io::{Error, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use nix::errno::Errno;

use super::{Failure, trying};
use crate::config::Settings;
use crate::os::files::Files;
use crate::os::helper::Helper;
use crate::os::poll::Poll;
use crate::os::process;
use crate::os::publish::{Publisher, Target};
use crate::os::rule_file::{RuleFile, RuleFiles};
use crate::os::users::{self, Account};
use crate::os::writer::Writer;
use crate::os::{self, directory, privileges};

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
        let code = became.as_ref().err().and_then(Error::raw_os_error);
        // A container without root often has no other user than its own root.
        let hint = match code.map(Errno::from_raw) {
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

/// Lets this process read what it may have to serve and `rules`, write what is `writable`, and nothing else, as far as
/// this system can. Returns how far that is; `None` if it is not wanted.
///
/// # Errors
/// Where the system could and does not.
pub(super) fn confine_files(
    settings: &Settings,
    files: &Files,
    writable: &[BorrowedFd<'_>],
    rules: &[BorrowedFd<'_>],
) -> Result<Option<u32>, Failure> {
    let confine = || os::landlock::confine(&files.directories(), writable, rules);
    trying("Landlock", settings.sandbox.then(confine).transpose())
}

/// The threads beside the loop: the one that looks names up and reads; if anything may be written, the one that writes;
/// and the one that writes statistics, if that is wanted. Last, how much of the sandbox this system has.
type Confined = (Helper, Option<Writer>, Option<Publisher>, String);

/// Gives up everything but what is served, files of rules and statistics, and starts the other threads, which have given
/// up as much: Landlock binds the threads that are started later, the filter all there are.
///
/// # Errors
/// Where something that can be given up here is not.
pub(super) fn enter_sandbox(
    settings: &Settings,
    files: &Files,
    rule_files: &RuleFiles,
    stats: Option<Target>,
    poll: &Poll,
) -> Result<Confined, Failure> {
    if settings.uploads.are_on() {
        process::bar_execution_of_new_files();
    }
    let replaced = stats.as_ref().map(|target| target.directory.as_fd());
    let mut writable = files.ever_writable();
    writable.extend(replaced);
    let rules: Vec<_> = rule_files.iter().map(RuleFile::descriptor).collect();
    let level = confine_files(settings, files, &writable, &rules)?;
    // Its number stays what it is while the thread has it.
    let replaced = replaced.map(|directory| directory.as_raw_fd());
    let threads = start_threads(files, poll, stats);
    let (helper, writer, publisher) = trying("helper thread", threads)?;
    let sandbox = match level {
        None => "off".into(),
        Some(level) => {
            let calls = os::seccomp::confine(level > 0, writer.is_some(), replaced);
            let files = match level {
                0 => "no Landlock".into(),
                _ => format!("Landlock ABI {level}"),
            };
            match trying("seccomp", calls)? {
                0 => format!("{files}, no seccomp"),
                calls => format!("{files}, {calls} system calls"),
            }
        }
    };
    Ok((helper, writer, publisher, sandbox))
}

fn start_threads(
    files: &Files,
    poll: &Poll,
    stats: Option<Target>,
) -> Result<(Helper, Option<Writer>, Option<Publisher>), Error> {
    let waker = Arc::new(poll.waker()?);
    let publisher = stats.map(|target| Publisher::start(target, Arc::clone(&waker)));
    let helper = Helper::start(Arc::clone(&waker), files.listings.clone())?;
    let sweep = files.sweep()?;
    let writer = sweep.map(|sweep| Writer::start(waker, sweep)).transpose()?;
    Ok((helper, writer, publisher.transpose()?))
}

const ROOT: u32 = 0;
/// The first is made by packages of TFTP servers.
const USUAL_ACCOUNTS: [&str; 2] = ["tftp", "nobody"];
/// Its number wherever it has one (the kernel's overflow user); a tree without /etc/passwd has no names.
const NOBODY: u32 = 65534;
