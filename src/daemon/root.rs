//! What becomes of the path of the served directory: looked at when requests come, at most once a second, by the helper,
//! since it may lie where a look has to wait.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Failure;
use super::events::LogEvent;
use super::world::World;
use crate::config::Settings;
use crate::moment::Moment;
use crate::os::files::{Files, Seen};
use crate::os::helper::{Helper, Job};
use crate::os::place::WriteRules;

/// Watches over the path that the operator gave.
#[derive(Debug)]
pub(super) struct RootWatch {
    /// Which of the roots.
    number: usize,
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
    pub(super) fn all(now: Moment, settings: &Settings) -> Vec<RootWatch> {
        let watch = |(number, path): (usize, &PathBuf)| RootWatch {
            number,
            path: path.clone(),
            look_at: (!settings.chroot).then_some(now),
            looking_since: None,
            warn_at: now,
        };
        settings.roots.iter().enumerate().map(watch).collect()
    }

    /// Lets the helper look at the path if it is time, and does not already.
    pub(super) fn look(&mut self, now: Moment, files: &Files, helper: &Helper) {
        if self.looking_since.is_none() && self.look_at.is_some_and(|at| at <= now) {
            self.look_at = Some(now + LOOK_EVERY);
            // If too much waits for it, it looks later.
            let job = Job::Look(self.number, files.roots()[self.number].clone());
            self.looking_since = helper.ask(job).is_ok().then_some(now);
        }
    }

    /// Until when requests wait for a look that has begun, so the first one after a swap has the new directory; `None`
    /// if they need not.
    pub(super) fn waits_until(&self, now: Moment) -> Option<Moment> {
        let until = self.looking_since? + LOOK_AWAITED;
        (now < until).then_some(until)
    }

    /// The helper has looked: what it saw is served from now on.
    pub(super) fn saw(&mut self, now: Moment, seen: Seen, world: &mut World) {
        self.looking_since = None;
        match seen {
            Seen::Astray(astray) => {
                if now >= self.warn_at {
                    self.warn_at = now + WARN_EVERY;
                    let event = LogEvent::RootAstray(&self.path, astray);
                    world.log.write(now, &event);
                }
                return;
            }
            Seen::Same => {}
            Seen::Another(root) => {
                let event = LogEvent::RootSwapped(&self.path, root.real_path());
                world.log.write(now, &event);
                world.files.change_root(self.number, root);
                let names = Arc::make_mut(&mut world.naming.names);
                names.prefixes = world.files.root_prefixes();
            }
        }
        self.warn_at = now;
    }
}

/// Opens what is served, and what of it clients may write.
///
/// # Errors
/// Where a directory cannot be opened.
pub(super) fn open_roots(settings: &Settings) -> Result<Files, Failure> {
    let files = Files::new(&settings.roots, settings.public_only);
    let mut files = files.map_err(Failure::of)?;
    let uploads = &settings.uploads;
    if let (true, Some(root)) = (uploads.are_on(), settings.roots.first()) {
        let rules = WriteRules {
            creates: uploads.create,
            replaces: !uploads.write_once,
            public_only: settings.public_only,
            umask: uploads.umask,
        };
        let allowed = files.allow_uploads(rules, &uploads.directories);
        allowed.map_err(|(path, why)| {
            let (path, root) = (path.display(), root.display());
            let what = format!("--upload-dir: {path} below {root}");
            Failure { what, why }
        })?;
    }
    if settings.chroot {
        files.pin_roots();
    }
    Ok(files)
}

/// How soon a swap is followed. A look costs a few system calls, and a storm is thousands of requests a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long requests wait for a look. Where it takes longer, those that come until its end wait no more.
const LOOK_AWAITED: Duration = Duration::from_millis(50);
/// It concerns the operator, not each request.
const WARN_EVERY: Duration = Duration::from_secs(60);
