//! What becomes of the path of the served directory: looked at when requests come, at most once a second.

use std::path::PathBuf;
use std::time::Duration;

use super::events::LogEvent;
use super::log::Log;
use crate::config::Settings;
use crate::moment::Moment;
use crate::name::RootPrefixes;
use crate::os::files::{Files, Found};

/// Watches over the path that the operator gave.
#[derive(Debug)]
pub(super) struct RootWatch {
    path: PathBuf,
    /// When it may be looked at again; `None` if it cannot be seen.
    look_at: Option<Moment>,
    /// When the next warning may be written.
    warn_at: Moment,
}

impl RootWatch {
    /// In a root of its own the process does not see the path.
    pub(super) fn new(now: Moment, settings: &Settings) -> RootWatch {
        RootWatch {
            path: settings.root.clone(),
            look_at: (!settings.chroot).then_some(now),
            warn_at: now,
        }
    }

    /// Looks at the path if it is time, and logs what changed. Returns the names of the root if it is another one now.
    pub(super) fn look(
        &mut self,
        now: Moment,
        files: &mut Files,
        log: &mut Log,
    ) -> Option<RootPrefixes> {
        if self.look_at.is_none_or(|at| now < at) {
            return None;
        }
        self.look_at = Some(now + LOOK_EVERY);
        match files.look_at_root() {
            Found::Same => self.warn_at = now,
            Found::Swapped => {
                self.warn_at = now;
                log.write(now, &LogEvent::RootSwapped(&self.path, files.root_path()));
                return Some(files.root_prefixes());
            }
            Found::Astray(astray) => {
                if now >= self.warn_at {
                    self.warn_at = now + WARN_EVERY;
                    log.write(now, &LogEvent::RootAstray(&self.path, astray));
                }
            }
        }
        None
    }
}

/// How soon a swap is followed. A look costs a few system calls, and a storm is thousands of requests a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// It concerns the operator, not each request.
const WARN_EVERY: Duration = Duration::from_secs(60);
