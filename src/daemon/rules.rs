//! The rules that stand in files: the map of names and the access list. Read at the start, and again on SIGHUP by the
//! helper. What is under way when they change goes on, and what waits keeps the name that it was given.

use std::io::{Error, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use super::events::LogEvent;
use super::world::World;
use super::{Failure, trying};
use crate::access::Access;
use crate::config::{Door, Settings};
use crate::moment::Moment;
use crate::names::Names;
use crate::names::map::{Dialect, Map};
use crate::os::files::Files;
use crate::os::helper::{Helper, Job};
use crate::os::rule_file::{RuleFile, RuleFiles, Texts};

/// The files, and what they held when they were read last.
#[derive(Debug)]
pub(super) struct Rereading {
    pub files: Arc<RuleFiles>,
    /// The networks that the command line names itself.
    listed: Access,
    texts: Texts,
    /// The operator wants them to be read.
    pub is_wanted: bool,
    is_under_way: bool,
}

impl Rereading {
    /// Opens the files and reads them for the first time. Returns also who may ask.
    ///
    /// # Errors
    /// Where one cannot be read, or is not understood.
    pub(super) fn begin(settings: &Settings) -> Result<(Rereading, Access), Failure> {
        let open = |path: &Option<PathBuf>| {
            let open = |path: &PathBuf| trying(path.display(), RuleFile::open(path));
            path.as_ref().map(open).transpose()
        };
        let dialect = match settings.door {
            Door::Tftpd => Dialect::Tftpd,
            Door::InTftpd { .. } => Dialect::InTftpd,
        };
        let map = open(&settings.names.map)?;
        let files = RuleFiles {
            map: map.map(|file| (file, settings.names.map_steps, dialect)),
            access: open(&settings.access_file)?,
        };
        let listed = settings.rules.access.clone();
        let (texts, access) = understood(&files, &listed, files.read())?;
        let rereading = Rereading {
            files: Arc::new(files),
            listed,
            texts,
            is_wanted: false,
            is_under_way: false,
        };
        Ok((rereading, access))
    }

    /// How names are made, by the map as it was read last.
    pub(super) fn names(&self, settings: &Settings, files: &Files) -> Names {
        Names {
            map: map_of(&self.texts),
            ignores_case: settings.names.ignores_case,
            unique: settings.names.unique,
            prefixes: files.root_prefixes(),
        }
    }

    /// Lets the helper read them, unless it does already.
    pub(super) fn ask(&mut self, helper: &Helper) {
        if !self.is_under_way {
            let job = Job::Reread(Arc::clone(&self.files));
            self.is_under_way = helper.ask(job).is_ok();
            self.is_wanted = !self.is_under_way;
        }
    }

    /// They were read. All of them count, or none.
    pub(super) fn done(
        &mut self,
        now: Moment,
        texts: Result<Texts, (PathBuf, Error)>,
        world: &mut World,
        access: &mut Access,
    ) {
        self.is_under_way = false;
        let (texts, new) = match understood(&self.files, &self.listed, texts) {
            Ok(understood) => understood,
            Err(why) => return world.log.write(now, &LogEvent::NotReloaded(&why)),
        };
        let (mut rules, mut networks) = (None, None);
        let text_of = |texts: &Texts| texts.map.as_ref().map(|(text, _)| text.clone());
        if text_of(&texts) != text_of(&self.texts) {
            let map = map_of(&texts);
            rules = map.as_ref().map(Map::rules);
            Arc::make_mut(&mut world.naming.names).map = map;
        }
        if texts.access != self.texts.access {
            networks = Some(new.networks());
            *access = new;
        }
        self.texts = texts;
        let reloaded = LogEvent::Reloaded { rules, networks };
        world.log.write(now, &reloaded);
    }
}

fn map_of(texts: &Texts) -> Option<Map> {
    texts.map.as_ref().map(|(_, map)| map.clone())
}

fn understood(
    files: &RuleFiles,
    listed: &Access,
    texts: Result<Texts, (PathBuf, Error)>,
) -> Result<(Texts, Access), Failure> {
    let texts = texts.map_err(Failure::of)?;
    let mut access = listed.clone();
    if let (Some(file), Some(text)) = (&files.access, &texts.access) {
        let read = access.read(text);
        let read = read.map_err(|why| Error::new(ErrorKind::InvalidData, why));
        trying(file.path.display(), read)?;
    }
    Ok((texts, access))
}
