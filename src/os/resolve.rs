//! What names come to, as the file system has them: at once, as far as memory knows, or by the helper.

use std::sync::Arc;

use nix::errno::Errno;

use super::beneath;
use super::files::{Files, Places, Unavailable};
use super::opened::{Closer, Opened};
use super::place::{Place, Writable};
use super::spelling::{Listings, NotKnown, Reach};
use crate::name::{FileName, FileNameBuf};
use crate::names::map::{Acted, Question};
use crate::names::{Look, Names, Resolved};
use crate::wire::Refusal;

/// A question that the helper is to answer.
#[derive(Debug)]
pub struct Resolve {
    /// What is asked.
    pub question: Question,
    /// How it is to be answered.
    pub names: Arc<Names>,
    /// Where files are.
    pub places: Places,
    /// Where uploads may go, if any are taken.
    pub writable: Option<Writable>,
}

/// What came of it: the name, and what is there.
pub type Answer = (Resolved, Option<(FileNameBuf, Found)>);

/// What a name stands for: both are known at once, since the next question about the name would be the first again.
#[derive(Debug)]
pub enum Found {
    /// A file that is to be read.
    File(Result<Arc<Opened>, Unavailable>),
    /// A place for one that is to be written.
    Place(Result<Place, Refusal>),
}

impl Resolve {
    /// Answers for an operator, and shows each rule of the map that acts to `trace`.
    pub fn answer_now(&self, trace: &mut dyn FnMut(Acted<'_>)) -> Answer {
        self.answer(&Listings::default(), &Closer(Arc::new(drop)), trace)
    }

    /// Answers, however long that takes. Each rule of the map that acts is shown to `trace`.
    pub(super) fn answer(
        &self,
        listings: &Listings,
        closer: &Closer,
        trace: &mut dyn FnMut(Acted<'_>),
    ) -> Answer {
        let mut disk = Disk {
            asked: self,
            listings,
            closer,
            opened: None,
        };
        let asked = self.question.asked();
        let resolved = self.names.resolve(asked, &mut disk, trace);
        let found = match &resolved {
            Resolved::Name(name) if asked.is_write => self.writable.as_ref().map(|writable| {
                let place = writable.place(name.as_name());
                (name.clone(), Found::Place(place))
            }),
            Resolved::Name(name) => {
                let known = disk.opened.filter(|(known, _)| known == name);
                let open = || self.places.open(name.as_name(), closer);
                let opened = known.map_or_else(open, |(_, opened)| opened);
                Some((name.clone(), Found::File(opened)))
            }
            Resolved::Refused(_) | Resolved::Forbidden(_) | Resolved::Unknown => None,
        };
        (resolved, found)
    }
}

/// The file system as a thread sees it that may wait.
struct Disk<'d> {
    asked: &'d Resolve,
    listings: &'d Listings,
    closer: &'d Closer,
    /// The file that was opened last.
    opened: Option<(FileNameBuf, Result<Arc<Opened>, Unavailable>)>,
}

impl Disk<'_> {
    /// Opens a file, and keeps it for who asks next. Returns whether the name is one of a file that is there.
    fn open(&mut self, name: FileName<'_>) -> bool {
        let opened = self.asked.places.open(name, self.closer);
        let is_there = is_there(&opened).unwrap_or(true);
        self.opened = Some((name.to_owned(), opened));
        is_there
    }
}

impl Look for Disk<'_> {
    fn opens(&mut self, name: FileName<'_>) -> Option<bool> {
        if self.asked.question.is_write {
            let writable = self.asked.writable.as_ref();
            return Some(writable.is_some_and(|writable| writable.place(name).is_ok()));
        }
        self.open(name);
        let opened = self.opened.as_ref();
        Some(opened.is_some_and(|(_, opened)| opened.is_ok()))
    }

    fn has_directory(&mut self, name: FileName<'_>) -> Option<bool> {
        let trees = &self.asked.places.trees;
        let exists = |at| beneath::open_directory(trees, at, name.as_bytes()).is_ok();
        Some((0..trees.len()).any(exists))
    }

    fn spell(&mut self, name: FileName<'_>) -> Option<FileNameBuf> {
        if self.open(name) {
            return Some(name.to_owned());
        }
        let (listings, asked) = (self.listings, self.asked);
        let is_it = |path: FileName<'_>| Ok(self.open(path));
        let spelled = listings.spell(&Reach::Disk, &asked.places.trees, name, is_it);
        let spelled = spelled.ok()?;
        let new = spelled.new.filter(|_| asked.question.is_write);
        let found = spelled.there.or(new);
        Some(found.unwrap_or_else(|| name.to_owned()))
    }
}

/// Whether a file is there, be it one that may be read or not; `None` if that is not known now.
fn is_there(opened: &Result<Arc<Opened>, Unavailable>) -> Option<bool> {
    match opened {
        Ok(_) => Some(true),
        Err(Unavailable::Refused(Refusal::NotFound | Refusal::NotAFile | Refusal::NameTooLong)) => {
            Some(false)
        }
        Err(Unavailable::Refused(_)) => Some(true),
        Err(Unavailable::Busy | Unavailable::Unknown | Unavailable::Exhausted) => None,
    }
}

/// The file system as far as it is known at once.
pub struct Glance<'g> {
    /// What is served.
    pub files: &'g mut Files,
    /// What is asked is asked for an upload.
    pub is_write: bool,
}

impl Look for Glance<'_> {
    fn opens(&mut self, name: FileName<'_>) -> Option<bool> {
        if self.is_write {
            return self.files.writable().is_none().then_some(false);
        }
        match self.files.open_now(name) {
            Ok(_) => Some(true),
            Err(Unavailable::Refused(_)) => Some(false),
            Err(Unavailable::Busy | Unavailable::Unknown | Unavailable::Exhausted) => None,
        }
    }

    fn has_directory(&mut self, name: FileName<'_>) -> Option<bool> {
        for root in self.files.roots() {
            match beneath::open_directory_cached(&root.directory(), name.as_bytes()) {
                Ok(_) => return Some(true),
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(_) => return None,
            }
        }
        Some(false)
    }

    fn spell(&mut self, name: FileName<'_>) -> Option<FileNameBuf> {
        let known = is_there(&self.files.open_now(name));
        if known == Some(true) {
            return Some(name.to_owned());
        }
        // Where a new file goes only the helper says.
        if self.is_write {
            return None;
        }
        let is_it = |path: FileName<'_>| is_there(&self.files.open_now(path)).ok_or(NotKnown);
        let is_local = |number| self.files.local_device(number).is_some();
        let (reach, places) = (Reach::Memory(&is_local), self.files.places());
        let spelled = self
            .files
            .listings
            .spell(&reach, &places.trees, name, is_it);
        let spelled = spelled.ok()?.there;
        if spelled.is_none() && known.is_none() {
            let missing = Err(Unavailable::Refused(Refusal::NotFound));
            self.files.keep_found(name.to_owned(), missing);
        }
        Some(spelled.unwrap_or_else(|| name.to_owned()))
    }
}
