//! Files of the operator's that are read at the start and again while the server runs.
//!
//! The directory of each is opened before the process gives anything up: then a file that was rewritten is found, and one
//! that was replaced by another. Landlock lets the process read what lies below that directory; where it is one that
//! holds other things, too, such as /etc, only the file that was there at the start.

use std::fs::File;
use std::io::{self, Error, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::publish::Target;
use super::root::is_general;
use super::state::State;
use crate::names::map::{Dialect, Map};

/// All of them.
#[derive(Debug, Default)]
pub struct RuleFiles {
    /// The map of names, with the steps that one request may take and its language.
    pub map: Option<(RuleFile, u32, Dialect)>,
    /// The access list.
    pub access: Option<RuleFile>,
}

/// What they hold, each with its bytes.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// The rules of the map.
    pub map: Option<(Vec<u8>, Map)>,
    /// The access list.
    pub access: Option<Vec<u8>>,
}

impl RuleFiles {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &RuleFile> {
        self.map.iter().map(|(file, ..)| file).chain(&self.access)
    }

    /// Reads them, however long that takes.
    ///
    /// # Errors
    /// The path of one that cannot be read, or is no map, and why.
    pub fn read(&self) -> Result<Texts, (PathBuf, Error)> {
        let text = |file: &RuleFile| file.read().map_err(|error| (file.path.clone(), error));
        let map = match &self.map {
            None => None,
            Some((file, steps, dialect)) => {
                let bytes = text(file)?;
                let map = Map::read(&bytes, *steps, *dialect).map_err(|bad| {
                    let error = Error::new(ErrorKind::InvalidData, bad.to_string());
                    (file.path.clone(), error)
                })?;
                Some((bytes, map))
            }
        };
        let access = self.access.as_ref().map(text).transpose()?;
        Ok(Texts { map, access })
    }
}

/// Such a file.
#[derive(Debug)]
pub struct RuleFile {
    /// As the operator gave it.
    pub path: PathBuf,
    place: Target,
    /// Where its directory is not open to the sandbox: the file that was there at the start.
    alone: Option<OwnedFd>,
}

impl RuleFile {
    /// # Errors
    /// Where there is no such directory, or no such file in a general one.
    pub fn open(path: &Path) -> io::Result<RuleFile> {
        let place = Target::open(path)?;
        let whole = std::path::absolute(path)?;
        let is_alone = is_general(&whole.parent().unwrap_or(&whole).canonicalize()?);
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let alone = is_alone.then(|| place.open_file(flags)).transpose()?;
        Ok(RuleFile {
            path: path.to_owned(),
            place,
            alone,
        })
    }

    /// Only a file that is rewritten, not one that is replaced, can be read again in the sandbox.
    pub fn is_alone(&self) -> bool {
        self.alone.is_some()
    }

    /// What the sandbox has to leave open.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.alone.as_ref().unwrap_or(&self.place.directory).as_fd()
    }

    /// Reads the whole of it, however long that takes.
    ///
    /// # Errors
    /// As open(2) and read(2), or it is no regular file or larger than any that makes sense.
    fn read(&self) -> io::Result<Vec<u8>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = self.place.open_file(flags)?;
        if !State::of(&file)?.is_regular() {
            return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut bytes = Vec::new();
        File::from(file)
            .take(BYTES_MAX + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(Error::new(ErrorKind::InvalidInput, "larger than 1 MiB"));
        }
        Ok(bytes)
    }
}

/// Thousands of rules.
const BYTES_MAX: u64 = 1 << 20;
