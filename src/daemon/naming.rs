//! From what a client asks for to the name of a file: at once where memory knows all that this takes, else by the helper.

use std::sync::Arc;
use std::time::Duration;

use super::events::LogEvent;
use super::log::Log;
use crate::moment::Moment;
use crate::names::map::Question;
use crate::names::{Names, Resolved};
use crate::os::files::Files;
use crate::os::neighbours::{Neighbour, Neighbours};
use crate::os::resolve::{Glance, Resolve};
use crate::wire::{Direction, Peer, Request};

/// How names are made, and what is known of those under way.
#[derive(Debug)]
pub(super) struct Naming {
    /// How they are made from now on.
    pub names: Arc<Names>,
    /// Who is on the same link, where that is of use.
    neighbours: Option<Neighbours>,
    /// A client that is not was mentioned in the log.
    off_link_was_logged: bool,
    /// What the helper has answered, for those who asked.
    pub answered: Option<(Question, Resolved)>,
    /// The text of the last refusal by a rule.
    pub forbidden: Vec<u8>,
    /// When another spelling of a missing name may be looked for again.
    hint_at: Moment,
}

impl Naming {
    pub(super) fn new(now: Moment, names: Names, neighbours: Option<Neighbours>) -> Naming {
        Naming {
            names: Arc::new(names),
            neighbours,
            off_link_was_logged: false,
            answered: None,
            forbidden: Vec::new(),
            hint_at: now,
        }
    }

    /// Returns what is asked, and what it comes to.
    pub(super) fn resolve(
        &mut self,
        now: Moment,
        peer: Peer,
        request: &Request<'_>,
        files: &mut Files,
        log: &mut Log,
    ) -> (Question, Resolved) {
        let neighbour = match &mut self.neighbours {
            Some(neighbours) if self.names.want_hardware() => {
                neighbours.find(now, peer.address, peer.scope)
            }
            _ => Neighbour::Unknown,
        };
        if neighbour == Neighbour::OffLink && !self.off_link_was_logged {
            self.off_link_was_logged = true;
            log.write(now, &LogEvent::NotOnTheLink(peer));
        }
        let question = Question {
            name: request.filename.into(),
            client: peer.address,
            hardware: match neighbour {
                Neighbour::Known(address) => Some(address),
                Neighbour::Unknown | Neighbour::OffLink => None,
            },
            is_write: request.direction == Direction::Write,
        };
        let resolved = match &self.answered {
            Some((answered, resolved)) if *answered == question => resolved.clone(),
            _ => {
                let is_write = question.is_write;
                let (asked, glance) = (question.asked(), &mut Glance { files, is_write });
                self.names.resolve(asked, glance, &mut |_| {})
            }
        };
        (question, resolved)
    }

    /// What the helper needs to answer.
    pub(super) fn job(&self, question: Question, files: &Files) -> Box<Resolve> {
        Box::new(Resolve {
            question,
            names: Arc::clone(&self.names),
            places: files.places(),
            writable: files.writable(),
        })
    }

    /// Whether another spelling of a name that is missing is to be looked for: now and then, since that is for the
    /// operator.
    pub(super) fn wants_hint(&mut self, now: Moment) -> bool {
        let is_time = !self.names.ignores_case && self.hint_at <= now;
        if is_time {
            self.hint_at = now + HINT_EVERY;
        }
        is_time
    }
}

/// How often a directory is read for the log alone.
const HINT_EVERY: Duration = Duration::from_secs(1);
