//! The directory that is served, and what becomes of its path while it is.
//!
//! Where the path leads over a symbolic link, the link may be swapped: the directory that holds it is kept open, and
//! all that the link may name beneath that one can be served from then on. Everything else that happens to the path,
//! such as a file system that is mounted over it, can only be reported.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};

use super::beneath::{self, Place};

/// The directory that is served.
#[derive(Debug)]
pub(super) struct Root {
    directory: Arc<OwnedFd>,
    identity: Identity,
    /// Its path as given, made absolute.
    path: Arc<Path>,
    /// The absolute paths by which it is known: as given, and without links.
    names: Arc<[Vec<u8>]>,
    swaps: Swaps,
}

/// Device and inode.
type Identity = (u64, u64);

/// What of its path may be exchanged while it is served.
#[derive(Debug)]
enum Swaps {
    /// It leads over no link.
    None,
    /// A link that is followed.
    Followed(Arc<Link>),
    /// A link that is not.
    Ignored,
}

/// A link in the path of the root.
#[derive(Debug)]
struct Link {
    /// The directory that holds it: what the link names beneath is served.
    holder: OwnedFd,
    /// Its path without links, then others by which an absolute link may name it.
    holder_names: Vec<Vec<u8>>,
    /// From there to the root.
    rest: Vec<u8>,
}

/// All that it takes to look where the path of the root leads now, which may wait for a disk or a server of files.
#[derive(Debug)]
pub struct Look {
    directory: Arc<OwnedFd>,
    identity: Identity,
    path: Arc<Path>,
    followed: Option<Arc<Link>>,
}

/// What was seen.
#[derive(Debug)]
pub(super) enum Seen {
    Same,
    /// Another directory, and its path without links.
    Another(OwnedFd, Identity, Vec<u8>),
    Astray(Astray),
}

/// How the path of the root was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// It still leads to the directory that is served.
    Same,
    /// A link in it was swapped: another directory is served from now on.
    Swapped,
    /// What is served is no longer what the operator named.
    Astray(Astray),
}

/// Why the directory that was served until now still is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Astray {
    /// There is no directory at the path.
    Gone,
    /// Another directory is there, or a file system was mounted over it.
    Replaced,
    /// The link leads to what may not be served without a restart.
    Outside,
    /// The link leads to what is not open to this user.
    Closed,
}

impl Root {
    /// # Errors
    /// Where `path` cannot be read, or is no directory.
    pub(super) fn open(path: &Path) -> io::Result<Root> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(path, flags, Mode::empty())?;
        let identity = identity_of(&fstat(&directory)?);
        let given = std::path::absolute(path)?;
        let real = path.canonicalize().unwrap_or_else(|_| given.clone());
        let mut names = vec![name_of(&given), name_of(&real)];
        names.dedup();
        Ok(Root {
            directory: Arc::new(directory),
            identity,
            names: names.into(),
            swaps: swaps_of(&given),
            path: given.into(),
        })
    }

    /// Follows no link from now on.
    pub(super) fn pin(&mut self) {
        if let Swaps::Followed(_) = self.swaps {
            self.swaps = Swaps::Ignored;
        }
    }

    pub(super) fn directory(&self) -> &Arc<OwnedFd> {
        &self.directory
    }

    pub(super) fn names(&self) -> &Arc<[Vec<u8>]> {
        &self.names
    }

    /// Where links may lead.
    pub(super) fn place(&self) -> Place<'_> {
        Place {
            directory: self.directory.as_fd(),
            names: &self.names,
        }
    }

    /// Its path as given, made absolute.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its path without links.
    pub(super) fn real_path(&self) -> &Path {
        let last = self.names.last().map_or(&b"/"[..], Vec::as_slice);
        Path::new(OsStr::from_bytes(last))
    }

    /// The directory that holds the link that is followed, and its path.
    pub(super) fn holder(&self) -> Option<(BorrowedFd<'_>, &Path)> {
        match &self.swaps {
            Swaps::Followed(link) => Some((link.holder.as_fd(), link.holder_path())),
            Swaps::None | Swaps::Ignored => None,
        }
    }

    /// The path leads over a link that is not followed.
    pub(super) fn ignores_a_link(&self) -> bool {
        matches!(self.swaps, Swaps::Ignored)
    }

    /// What it takes to look where the path leads now.
    pub(super) fn look(&self) -> Look {
        Look {
            directory: Arc::clone(&self.directory),
            identity: self.identity,
            path: Arc::clone(&self.path),
            followed: match &self.swaps {
                Swaps::Followed(link) => Some(Arc::clone(link)),
                Swaps::None | Swaps::Ignored => None,
            },
        }
    }

    /// Takes note of what was seen: a link that was swapped is followed.
    pub(super) fn follow(&mut self, seen: Seen) -> Found {
        match seen {
            Seen::Same => Found::Same,
            Seen::Astray(astray) => Found::Astray(astray),
            Seen::Another(directory, identity, real) => {
                self.directory = Arc::new(directory);
                self.identity = identity;
                self.names = [name_of(&self.path), real].into();
                Found::Swapped
            }
        }
    }
}

impl Look {
    /// Looks, however long that takes.
    pub(super) fn see(&self) -> Seen {
        let Some(link) = &self.followed else {
            return self.see_path();
        };
        match link.follow() {
            Ok((directory, identity, real)) if identity != self.identity => {
                match beneath::may_search(directory.as_fd()) {
                    Ok(()) => Seen::Another(directory, identity, real),
                    Err(_) => Seen::Astray(Astray::Closed),
                }
            }
            Ok(_) => self.see_path(),
            Err(Errno::EXDEV) => Seen::Astray(Astray::Outside),
            Err(Errno::EACCES) => Seen::Astray(Astray::Closed),
            Err(_) => Seen::Astray(Astray::Gone),
        }
    }

    fn see_path(&self) -> Seen {
        match fstatat(AT_FDCWD, &*self.path, AtFlags::empty()) {
            Ok(state) if identity_of(&state) == self.identity => Seen::Same,
            Ok(_) => Seen::Astray(Astray::Replaced),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Seen::Astray(Astray::Gone),
            // The directories above need not be open to this user.
            Err(_) => match fstat(&*self.directory) {
                Ok(state) if state.st_nlink == 0 => Seen::Astray(Astray::Gone),
                _ => Seen::Same,
            },
        }
    }
}

impl Link {
    /// The directory that the link leads to, and its path without links.
    fn follow(&self) -> nix::Result<(OwnedFd, Identity, Vec<u8>)> {
        let place = Place {
            directory: self.holder.as_fd(),
            names: &self.holder_names,
        };
        let (directory, path) = beneath::find_directory(place, &self.rest)?;
        let identity = identity_of(&fstat(&directory)?);
        let real = [&self.holder_names[0][..], &path].join(&b'/');
        Ok((directory, identity, real))
    }

    fn holder_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.holder_names[0]))
    }
}

/// Looks for a link in an absolute path that can be followed: one in a directory that is there for nothing else, from which the
/// path does not leave that directory. A link at the end of the path, which the operator named, goes before those on
/// the way there.
fn swaps_of(path: &Path) -> Swaps {
    let links = links_in(path);
    if links.is_empty() {
        return Swaps::None;
    }
    let (at_end, on_the_way): (Vec<_>, Vec<_>) = links
        .into_iter()
        .filter(|(holder, _)| !is_general(holder))
        .partition(|(_, rest)| !rest.contains(&b'/'));
    let mut links = at_end.into_iter().chain(on_the_way);
    let followed = links.find_map(|(holder, rest)| {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let also = path.ancestors().filter(|above| {
            let real = above.canonicalize();
            real.is_ok_and(|real| real == holder)
        });
        let link = Link {
            holder: open(&holder, flags, Mode::empty()).ok()?,
            holder_names: [name_of(&holder)]
                .into_iter()
                .chain(also.map(name_of))
                .collect(),
            rest,
        };
        link.follow().is_ok().then_some(link)
    });
    followed.map_or(Swaps::Ignored, |link| Swaps::Followed(Arc::new(link)))
}

/// Every link that an absolute path leads over: the directory that holds it, without links, and what is left from there.
fn links_in(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut links = Vec::new();
    let mut here = PathBuf::from("/");
    let split = |path: &Path| -> VecDeque<Vec<u8>> {
        let components = path.as_os_str().as_bytes().split(|&byte| byte == b'/');
        components.map(<[u8]>::to_vec).collect()
    };
    let mut rest = split(path);
    while let Some(component) = rest.pop_front() {
        match component.as_slice() {
            b"" | b"." => continue,
            b".." => {
                here.pop();
                continue;
            }
            _ => {}
        }
        let there = here.join(OsStr::from_bytes(&component));
        let Ok(target) = fs::read_link(&there) else {
            here = there;
            continue;
        };
        if links.len() >= LINKS_MAX {
            break;
        }
        let left: Vec<&[u8]> = std::iter::once(&component)
            .chain(&rest)
            .map(Vec::as_slice)
            .filter(|component| !component.is_empty())
            .collect();
        links.push((here.clone(), left.join(&b'/')));
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        let mut target = split(&target);
        target.append(&mut rest);
        rest = target;
    }
    links
}

/// A directory that holds more than what is to be served.
pub(super) fn is_general(directory: &Path) -> bool {
    let is_in =
        |list: &[&str], directory: &Path| list.iter().any(|&path| Path::new(path) == directory);
    let parent = directory.parent();
    is_in(GENERAL, directory) || parent.is_none_or(|parent| is_in(PARENTS_OF_GENERAL, parent))
}

fn identity_of(state: &FileStat) -> Identity {
    #[allow(clippy::unnecessary_cast, reason = "the width differs between systems")]
    (state.st_dev as u64, state.st_ino as u64)
}

fn name_of(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes();
    bytes.strip_suffix(b"/").unwrap_or(bytes).to_vec()
}

/// As the kernel's own bound on links.
const LINKS_MAX: usize = 40;

/// Directories of the Filesystem Hierarchy Standard, in which a link to a served directory lies beside other things.
const GENERAL: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/var",
    "/var/backups",
    "/var/cache",
    "/var/crash",
    "/var/lib",
    "/var/local",
    "/var/lock",
    "/var/log",
    "/var/mail",
    "/var/opt",
    "/var/run",
    "/var/spool",
    "/var/tmp",
    "/var/www",
];

/// All that lies directly in these, such as a user's home, is general, too.
const PARENTS_OF_GENERAL: &[&str] = &[
    "/dev",
    "/etc",
    "/home",
    "/proc",
    "/run/user",
    "/sys",
    "/usr",
    "/usr/local",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_hold_more_than_what_is_served() {
        for general in [
            "/",
            "/etc",
            "/var",
            "/var/lib",
            "/home",
            "/home/somebody",
            "/usr/share",
            "/root",
            "/srv",
        ] {
            assert!(is_general(Path::new(general)), "{general}");
        }
        for own in [
            "/srv/tftp",
            "/tftpboot",
            "/var/lib/tftpboot",
            "/var/tftp",
            "/home/somebody/tftp",
            "/opt/boot",
        ] {
            assert!(!is_general(Path::new(own)), "{own}");
        }
    }
}
