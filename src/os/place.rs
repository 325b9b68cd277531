//! Where an upload may go: a name, the rules of the operator and what lies there → a [`Place`], or a refusal.
//!
//! Nothing is written here. It may wait for a disk, so the helper does it.

use std::os::fd::OwnedFd;
use std::slice;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{AccessFlags, geteuid};

use super::beneath;
use super::directory::{MAKING, may};
use super::state::{Identity, State};
use super::traversal::{Foreign, Traversal, Tree};
use crate::name::FileName;
use crate::wire::Refusal;

/// What may be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteRules {
    /// Files that are not there yet.
    pub creates: bool,
    /// Files that are there.
    pub replaces: bool,
    /// Of these only such as others may write to (o+w). It always holds for a process that is root.
    pub public_only: bool,
    /// The bits that a new file does not have.
    pub umask: u32,
}

/// What it takes to look where uploads may go: the rules, and where they hold.
#[derive(Clone, Debug)]
pub struct Writable {
    pub(super) root: Tree,
    pub(super) rules: WriteRules,
    /// Directories beneath which files may be written; none: beneath the root.
    pub(super) directories: Arc<[(OwnedFd, Identity)]>,
}

/// Where an upload may go.
#[derive(Debug)]
pub struct Place {
    pub(super) directory: Arc<OwnedFd>,
    pub(super) name: Vec<u8>,
    pub(super) how: How,
    /// Bytes that fit.
    pub room: u64,
    rules: WriteRules,
}

/// How a file comes to its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    /// It is written beside its place with this mode, then renamed, over another one if it `replaces` that.
    Renamed { mode: Mode, replaces: bool },
    /// The file that is there is emptied and written to: in its directory nothing may be made or renamed.
    InPlace,
}

impl Place {
    /// The file that is there is written to as the bytes come.
    pub fn is_in_place(&self) -> bool {
        self.how == How::InPlace
    }

    /// Looks whether a file that was made here since may be replaced.
    pub(super) fn may_replace_now(&self) -> bool {
        let how = how(&self.directory, &self.name, &self.rules);
        matches!(how, Ok(How::Renamed { .. }))
    }
}

impl Writable {
    /// Where an upload of this name may go, however long it takes to look.
    pub(super) fn place(&self, name: FileName<'_>) -> Result<Place, Refusal> {
        let Writable {
            root,
            rules,
            directories,
        } = self;
        let is_meant = |state: &State| {
            let identity = state.identity();
            directories.is_empty() || directories.iter().any(|(_, it)| *it == identity)
        };
        // A link leads to its target, which need not be there.
        let mut walk = Traversal::new(slice::from_ref(root), 0);
        let last = walk.go(name.as_bytes(), Foreign::FromRoot);
        let name = last.map_err(unfindable)?.ok_or(Refusal::NotAFile)?;
        let entered = walk.directories.iter().map(|(_, directory)| directory);
        let mut is_within = false;
        for directory in entered.chain([&*root.directory]) {
            is_within |= is_meant(&State::of(directory).map_err(unfindable)?);
        }
        if !is_within {
            return Err(Refusal::NoUploadsHere);
        }
        let directory = match walk.directories.pop() {
            Some((_, directory)) => Arc::new(directory),
            None => Arc::clone(&root.directory),
        };
        let how = how(&directory, &name, rules)?;
        let room = room(&directory, how)?;
        Ok(Place {
            directory,
            name,
            how,
            room,
            rules: *rules,
        })
    }
}

/// Opens a directory for uploads by its path, absolute or from the root.
///
/// # Errors
/// `EXDEV` where it does not lie beneath the root, else as open(2).
pub(super) fn directory_beneath(root: &Tree, path: &[u8]) -> nix::Result<(OwnedFd, Identity)> {
    let inside = match path.starts_with(b"/") {
        true => root.strip(path).ok_or(Errno::EXDEV)?,
        false => path,
    };
    let begin = inside.iter().take_while(|&&byte| byte == b'/').count();
    let directory = beneath::open_directory(slice::from_ref(root), 0, &inside[begin..])?;
    let identity = State::of(&directory)?.identity();
    Ok((directory, identity))
}

/// How the file may be written by who we are.
fn how(directory: &OwnedFd, name: &[u8], rules: &WriteRules) -> Result<How, Refusal> {
    let state = match State::at(directory, name) {
        Err(Errno::ENOENT) if !rules.creates => return Err(Refusal::NotFound),
        Err(Errno::ENOENT) => {
            may(directory, b".", MAKING).map_err(refusal)?;
            let mode = Mode::from_bits_truncate(FILE_MODE & !rules.umask);
            let replaces = false;
            return Ok(How::Renamed { mode, replaces });
        }
        state => state.map_err(refusal)?,
    };
    if !state.is_regular() {
        return Err(Refusal::NotAFile);
    }
    if !rules.replaces {
        return Err(Refusal::FileExists);
    }
    let is_public = state.mode() & Mode::S_IWOTH.bits() != 0;
    if (rules.public_only || geteuid().is_root()) && !is_public {
        return Err(Refusal::NotPublicForWriting);
    }
    may(directory, name, AccessFlags::W_OK).map_err(refusal)?;
    let may_rename = may(directory, b".", MAKING).is_ok();
    Ok(match may_rename && !is_protected(directory, &state) {
        true => How::Renamed {
            mode: Mode::from_bits_truncate(state.mode() & FILE_MODE),
            replaces: true,
        },
        false => How::InPlace,
    })
}

/// Nothing can be renamed over the file though its directory is writable: it is another user's in a directory with the
/// sticky bit, or something is mounted on it.
fn is_protected(directory: &OwnedFd, state: &State) -> bool {
    let is_sticky = State::of(directory).is_ok_and(|above| {
        above.mode() & Mode::S_ISVTX.bits() != 0
            && ![state.owner(), above.owner()].contains(&geteuid().as_raw())
    });
    is_sticky || state.is_mounted()
}

/// Bytes that fit into the file system.
fn room(directory: &OwnedFd, how: How) -> Result<u64, Refusal> {
    let Ok(system) = fstatvfs(directory) else {
        return Ok(u64::MAX);
    };
    #[allow(clippy::unnecessary_cast, reason = "the width differs between systems")]
    let [blocks, size, files, files_left] = [
        system.blocks_available() as u64,
        system.fragment_size() as u64,
        system.files() as u64,
        system.files_available() as u64,
    ];
    match how {
        How::Renamed { .. } if files > 0 && files_left == 0 => Err(Refusal::NoSpace),
        How::Renamed { .. } => Ok(blocks.saturating_mul(size)),
        // What the file gives back when it is emptied is not known.
        How::InPlace => Ok(u64::MAX),
    }
}

/// Why there is no such place.
fn unfindable(error: Errno) -> Refusal {
    match error {
        Errno::ENOENT | Errno::ENOTDIR => Refusal::NoDirectory,
        Errno::EISDIR => Refusal::NotAFile,
        Errno::EXDEV => Refusal::OutsideRoot,
        Errno::ENAMETOOLONG => Refusal::NameTooLong,
        Errno::ELOOP => Refusal::NoAccess,
        error => refusal(error),
    }
}

/// The refusal that a client is sent for an error while its file is written.
pub fn refusal(error: Errno) -> Refusal {
    match error {
        Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG => Refusal::NoSpace,
        Errno::EACCES | Errno::EPERM => Refusal::NoAccess,
        Errno::ENAMETOOLONG => Refusal::NameTooLong,
        Errno::EEXIST => Refusal::FileExists,
        _ => Refusal::WriteFailed,
    }
}

/// Of a file that is uploaded: nobody executes it.
const FILE_MODE: u32 = 0o666;
