//! The rules that stand in files: the map of names and the access list. Read at the start, and again on SIGHUP by the
//! helper. What is under way when they change goes on, and what waits keeps the name that it was given.

use std::io::{Error, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use super::events::{LogEvent, Reloaded};
use super::io::World;
use super::{Failure, trying};
use crate::access::Access;
use crate::config::{Door, Settings};
use crate::moment::Moment;
use crate::names::Names;
use crate::names::map::{Dialect, Map};
use crate::os::files::Files;
use crate::os::helper::Job;
use crate::os::rule_file::{RuleFile, RuleFiles, Texts};

/// The files, and what they held when they were read last.
#[derive(Debug)]
pub(super) struct Rereading {
    files: Arc<RuleFiles>,
    /// The networks that the command line names itself.
    listed: Access,
    texts: Texts,
    /// The operator wants them to be read.
    is_wanted: bool,
    is_under_way: bool,
}

impl Rereading {
    /// Opens the files and reads them for the first time.
    ///
    /// # Errors
    /// Where one cannot be read, or is not understood.
    pub(super) fn begin(settings: &Settings) -> Result<(Rereading, Access), Failure> {
        let files = Arc::new(open(settings)?);
        let texts = read(&files)?;
        let listed = settings.rules.access.clone();
        let access = understood(&files, &listed, &texts)?;
        let rereading = Rereading {
            files,
            listed,
            texts,
            is_wanted: false,
            is_under_way: false,
        };
        Ok((rereading, access))
    }

    pub(super) fn files(&self) -> &RuleFiles {
        &self.files
    }

    /// The map as it was read last.
    pub(super) fn map(&self) -> Option<Map> {
        self.texts.map.as_ref().map(|(_, map)| map.clone())
    }

    /// They are to be read again.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Lets the helper read them if that is wanted, and it does not already.
    pub(super) fn ask(&mut self, world: &World) {
        if self.is_wanted
            && !self.is_under_way
            && let Some(helper) = &world.helper
        {
            let job = Job::Reread(Arc::clone(&self.files));
            self.is_under_way = helper.ask(job).is_ok();
            self.is_wanted = !self.is_under_way;
        }
    }

    /// Another reading is to begin, or under way.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_wanted || self.is_under_way
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
        let understood = texts.map_err(failure).and_then(|texts| {
            let access = understood(&self.files, &self.listed, &texts)?;
            Ok((texts, access))
        });
        let (texts, new) = match understood {
            Ok(understood) => understood,
            Err(why) => return world.log.write(now, &LogEvent::NotReloaded(&why)),
        };
        let text_of = |texts: &Texts| texts.map.as_ref().map(|(text, _)| text.clone());
        let mut reloaded = Reloaded {
            rules: None,
            networks: None,
        };
        if text_of(&texts) != text_of(&self.texts) {
            let map = texts.map.as_ref().map(|(_, map)| map.clone());
            reloaded.rules = map.as_ref().map(Map::rules);
            world.naming.change(|names| names.map = map);
        }
        if texts.access != self.texts.access {
            reloaded.networks = Some(new.networks());
            *access = new;
        }
        self.texts = texts;
        world.log.write(now, &LogEvent::Reloaded(reloaded));
    }
}

fn open(settings: &Settings) -> Result<RuleFiles, Failure> {
    let open = |path: &PathBuf| trying(path.display(), RuleFile::open(path));
    let dialect = match settings.door {
        Door::Tftpd => Dialect::Tftpd,
        Door::InTftpd { .. } => Dialect::InTftpd,
    };
    let map = settings.names.map.as_ref().map(open).transpose()?;
    Ok(RuleFiles {
        map: map.map(|file| (file, settings.names.map_steps, dialect)),
        access: settings.access_file.as_ref().map(open).transpose()?,
    })
}

fn read(files: &RuleFiles) -> Result<Texts, Failure> {
    files.read().map_err(failure)
}

fn failure((path, why): (PathBuf, Error)) -> Failure {
    Failure {
        what: path.display().to_string(),
        why,
    }
}

fn understood(files: &RuleFiles, listed: &Access, texts: &Texts) -> Result<Access, Failure> {
    let mut access = listed.clone();
    if let (Some(file), Some(text)) = (&files.access, &texts.access) {
        let read = access.read(text);
        let read = read.map_err(|why| Error::new(ErrorKind::InvalidData, why));
        trying(file.path().display(), read)?;
    }
    Ok(access)
}

/// The map of the operator, compiled.
///
/// # Errors
/// Where it cannot be read, or is none.
pub(super) fn map(settings: &Settings) -> Result<Option<Map>, Failure> {
    let (rereading, _) = Rereading::begin(settings)?;
    Ok(rereading.map())
}

/// How names are made as the operator wants it.
pub(super) fn names(settings: &Settings, files: &Files, map: Option<Map>) -> Names {
    Names {
        map,
        ignores_case: settings.names.ignores_case,
        unique: settings.names.unique,
        prefixes: files.root_prefixes(),
    }
}
