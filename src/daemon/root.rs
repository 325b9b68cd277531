//! What becomes of the path of the served directory: looked at when requests come, at most once a second, by the helper,
//! since it may lie where a look has to wait.

use std::path::PathBuf;
use std::time::Duration;

use super::events::LogEvent;
use super::log::Log;
use crate::config::Settings;
use crate::moment::Moment;
use crate::os::files::{Files, Found, Seen};
use crate::os::helper::{Helper, Job};

/// Watches over the path that the operator gave.
#[derive(Debug)]
pub(super) struct RootWatch {
    path: PathBuf,
    /// When it may be looked at again; `None` if it cannot be seen.
    look_at: Option<Moment>,
    /// Since when the helper has been looking.
    looking_since: Option<Moment>,
    /// When the next warning may be written.
    warn_at: Moment,
}

impl RootWatch {
    /// In a root of its own the process does not see the path.
    pub(super) fn new(now: Moment, settings: &Settings) -> RootWatch {
        RootWatch {
            path: settings.root.clone(),
            look_at: (!settings.chroot).then_some(now),
            looking_since: None,
            warn_at: now,
        }
    }

    /// Lets the helper look at the path if it is time, and does not already.
    pub(super) fn look(&mut self, now: Moment, files: &Files, helper: Option<&Helper>) {
        let is_time = self.look_at.is_some_and(|at| at <= now);
        if let Some(helper) = helper.filter(|_| is_time && self.looking_since.is_none()) {
            self.look_at = Some(now + LOOK_EVERY);
            // If too much waits for it, it looks later.
            let is_asked = helper.ask(Job::Look(files.look_at_root())).is_ok();
            self.looking_since = is_asked.then_some(now);
        }
    }

    /// Until when requests wait for a look that has begun, so the first one after a swap has the new directory; `None`
    /// if they need not.
    pub(super) fn waits_until(&self, now: Moment) -> Option<Moment> {
        let until = self.looking_since? + LOOK_AWAITED;
        (now < until).then_some(until)
    }

    /// Logs what the helper saw.
    pub(super) fn saw(&mut self, now: Moment, seen: Seen, files: &mut Files, log: &mut Log) {
        self.looking_since = None;
        match files.follow_root(seen) {
            Found::Same => self.warn_at = now,
            Found::Swapped => {
                self.warn_at = now;
                log.write(now, &LogEvent::RootSwapped(&self.path, files.root_path()));
            }
            Found::Astray(astray) => {
                if now >= self.warn_at {
                    self.warn_at = now + WARN_EVERY;
                    log.write(now, &LogEvent::RootAstray(&self.path, astray));
                }
            }
        }
    }
}

/// How soon a swap is followed. A look costs a few system calls, and a storm is thousands of requests a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long requests wait for a look. Where it takes longer, those that come until its end wait no more.
const LOOK_AWAITED: Duration = Duration::from_millis(50);
/// It concerns the operator, not each request.
const WARN_EVERY: Duration = Duration::from_secs(60);
