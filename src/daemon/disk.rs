//! Notices a disk, or a file server, that does not answer: else nothing would show why machines wait for their files.

use std::mem;
use std::time::Duration;

use super::events::LogEvent;
use super::log::Log;
use crate::moment::Moment;
use crate::os::helper::Helper;

/// For how long the helper has been waiting for a disk.
#[derive(Debug)]
pub(super) struct DiskWatch {
    /// How many jobs it had done when that was last looked at.
    done: usize,
    /// When it had last done one, or was given one while it had none; `None` if it has none.
    waits_from: Option<Moment>,
    /// The log says that it waits.
    is_told: bool,
    /// When the log may say so again.
    tell_at: Moment,
}

impl DiskWatch {
    pub(super) fn new(now: Moment) -> DiskWatch {
        DiskWatch {
            done: 0,
            waits_from: None,
            is_told: false,
            tell_at: now,
        }
    }

    /// Writes to the log if the helper has waited for long, or no longer does. Returns when to look again, if it does
    /// nothing until then.
    pub(super) fn look(&mut self, now: Moment, helper: &Helper, log: &mut Log) -> Option<Moment> {
        let (waiting, done) = (helper.under_way(), helper.done());
        if self.done != done {
            self.done = done;
            if let Some(from) = self.waits_from.take()
                && mem::take(&mut self.is_told)
            {
                log.write(now, &LogEvent::DiskAnswers(now.since(from)));
            }
        }
        if waiting == 0 || self.is_told {
            return None;
        }
        let from = *self.waits_from.get_or_insert(now);
        let tell_at = self.tell_at.max(from + SILENT_AFTER);
        if now < tell_at {
            return Some(tell_at);
        }
        let span = now.since(from);
        log.write(now, &LogEvent::DiskSilent { span, waiting });
        self.is_told = true;
        self.tell_at = now + TOLD_EVERY;
        None
    }
}

/// A disk that has to start turning takes longer now and then; firmware waits little more than this for a first answer.
const SILENT_AFTER: Duration = Duration::from_secs(2);

const TOLD_EVERY: Duration = Duration::from_secs(60);
