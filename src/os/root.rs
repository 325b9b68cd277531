//! The directory that is served, and what becomes of its path while it is.
//!
//! Where the path leads over a symbolic link, the link may be swapped: the directory that holds it is kept open, and
//! all that the link may name beneath that one can be served from then on. Everything else that happens to the path,
//! such as a file system that is mounted over it, can only be reported.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::open;
use nix::sys::stat::Mode;

use super::devices::LocalDevice;
use super::directory::{TO_LIST, TO_SEARCH, may_search};
use super::state::{Identity, State};
use super::traversal::{Foreign, Traversal, Tree};

/// The directory that is served.
#[derive(Clone, Debug)]
pub struct Root {
    /// Known by its path as given, and by the one without links.
    pub(super) tree: Tree,
    /// Its device, if that is one of this machine.
    pub(super) local_device: Option<LocalDevice>,
    identity: Identity,
    /// Its path as given, made absolute.
    path: Arc<Path>,
    swaps: Swaps,
}

/// What of its path may be exchanged while it is served.
#[derive(Clone, Debug)]
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
    /// The directory that holds it: what the link names beneath is served. Others of its names are those by which an
    /// absolute link may name it.
    holder: Tree,
    /// From there to the root.
    rest: Vec<u8>,
}

/// Where the path of the root was seen to lead.
#[derive(Debug)]
pub enum Seen {
    /// To the directory that is served.
    Same,
    /// To this one, since a link in it was swapped.
    Another(Root),
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
        let directory = open(path, TO_LIST, Mode::empty())?;
        let given = std::path::absolute(path)?;
        let real = path.canonicalize().unwrap_or_else(|_| given.clone());
        let mut names = vec![name_of(&given), name_of(&real)];
        names.dedup();
        Ok(Root {
            local_device: LocalDevice::of(&directory),
            identity: State::of(&directory)?.identity(),
            tree: Tree {
                directory: Arc::new(directory),
                names: names.into(),
            },
            swaps: swaps_of(&given),
            path: given.into(),
        })
    }

    /// Follows no link from now on: paths are about to mean something else.
    pub(super) fn pin(&mut self) {
        if let Swaps::Followed(_) = self.swaps {
            self.swaps = Swaps::Ignored;
        }
    }

    /// The directory itself.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.tree.directory.as_fd()
    }

    /// Its path as given, made absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its path without links.
    pub fn real_path(&self) -> &Path {
        self.tree.real_path()
    }

    /// The directory beneath which a link in the path is followed when it is swapped, and its path.
    pub fn holder(&self) -> Option<(BorrowedFd<'_>, &Path)> {
        match &self.swaps {
            Swaps::Followed(link) => Some((link.holder.directory.as_fd(), link.holder.real_path())),
            Swaps::None | Swaps::Ignored => None,
        }
    }

    /// The path leads over a link that is not followed when it is swapped.
    pub fn ignores_a_link(&self) -> bool {
        matches!(self.swaps, Swaps::Ignored)
    }

    /// Looks where the path leads now, however long that takes: it may wait for a disk or a server of files.
    pub(super) fn look(&self) -> Seen {
        let Swaps::Followed(link) = &self.swaps else {
            return self.look_at_path();
        };
        match link.follow() {
            Ok((_, identity, _)) if identity == self.identity => self.look_at_path(),
            Ok((directory, ..)) if may_search(&directory).is_err() => Seen::Astray(Astray::Closed),
            Ok((directory, identity, real)) => Seen::Another(Root {
                local_device: LocalDevice::of(&directory),
                identity,
                tree: Tree {
                    directory: Arc::new(directory),
                    names: [name_of(&self.path), real].into(),
                },
                ..self.clone()
            }),
            Err(Errno::EXDEV) => Seen::Astray(Astray::Outside),
            Err(Errno::EACCES) => Seen::Astray(Astray::Closed),
            Err(_) => Seen::Astray(Astray::Gone),
        }
    }

    fn look_at_path(&self) -> Seen {
        match State::behind(&self.path) {
            Ok(state) if state.identity() == self.identity => Seen::Same,
            Ok(_) => Seen::Astray(Astray::Replaced),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Seen::Astray(Astray::Gone),
            // The directories above need not be open to this user.
            Err(_) => match State::of(&self.tree.directory) {
                Ok(state) if state.is_removed() => Seen::Astray(Astray::Gone),
                _ => Seen::Same,
            },
        }
    }
}

impl Link {
    /// The directory that the link leads to, and its path without links.
    fn follow(&self) -> nix::Result<(OwnedFd, Identity, Vec<u8>)> {
        let mut walk = Traversal::new(slice::from_ref(&self.holder), 0);
        if let Some(last) = walk.go(&self.rest, Foreign::Refused)? {
            walk.enter(last)?;
        }
        let path = walk.path();
        let (_, directory) = walk.directories.pop().ok_or(Errno::EXDEV)?;
        let identity = State::of(&directory)?.identity();
        let real = [&name_of(self.holder.real_path())[..], &path].join(&b'/');
        Ok((directory, identity, real))
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
        let also = path.ancestors().filter(|above| {
            let real = above.canonicalize();
            real.is_ok_and(|real| real == holder)
        });
        let names = also.chain([&*holder]).map(name_of).collect();
        let holder = open(&holder, TO_SEARCH, Mode::empty()).ok()?;
        let holder = Tree {
            directory: Arc::new(holder),
            names,
        };
        let link = Link { holder, rest };
        link.follow().is_ok().then_some(link)
    });
    followed.map_or(Swaps::Ignored, |link| Swaps::Followed(Arc::new(link)))
}

/// Every link that an absolute path leads over: the directory that holds it, without links, and what is left from there.
fn links_in(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(root) = open("/", TO_SEARCH, Mode::empty()) else {
        return Vec::new();
    };
    let root = Tree {
        directory: Arc::new(root),
        names: [Vec::new()].into(),
    };
    let mut walk = Traversal::new(slice::from_ref(&root), 0);
    // Where it cannot be gone to its end, what was seen so far counts.
    let _ = walk.go(path.as_os_str().as_bytes(), Foreign::Refused);
    let links = walk.links.into_iter();
    links
        .map(|(holder, rest)| (Path::new("/").join(OsStr::from_bytes(&holder)), rest))
        .collect()
}

/// A directory that holds more than what is to be served.
pub(super) fn is_general(directory: &Path) -> bool {
    let (Some(above), Some(name)) = (directory.parent(), directory.file_name()) else {
        return true;
    };
    let mut general = GENERAL.iter().filter(|(path, _)| Path::new(path) == above);
    general.any(|(_, names)| names.is_empty() || names.iter().any(|&it| it == name))
}

fn name_of(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes();
    bytes.strip_suffix(b"/").unwrap_or(bytes).to_vec()
}

/// Directories of the Filesystem Hierarchy Standard, and those directly in them in which a link to a served directory
/// lies beside other things; in some, such as that of users' homes, in all.
const GENERAL: &[(&str, &[&str])] = &[
    (
        "/",
        &[
            "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt",
            "opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var",
        ],
    ),
    (
        "/var",
        &[
            "backups", "cache", "crash", "lib", "local", "lock", "log", "mail", "opt", "run",
            "spool", "tmp", "www",
        ],
    ),
    ("/dev", &[]),
    ("/etc", &[]),
    ("/home", &[]),
    ("/proc", &[]),
    ("/run/user", &[]),
    ("/sys", &[]),
    ("/usr", &[]),
    ("/usr/local", &[]),
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

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

    #[test]
    fn a_link_is_followed_to_a_directory_and_its_path_without_links() {
        let name = format!("tftpd-root-{}", std::process::id());
        let above = std::env::temp_dir().join(name);
        let here = above.join("root");
        fs::create_dir_all(here.join("a/b")).expect("directories");
        fs::write(here.join("a/b/file"), "").expect("a file");
        for (target, name) in [
            ("a/b", "current"),
            (here.join("current").to_str().expect("text"), "stable"),
            ("..", "up"),
            ("/a", "foreign"),
        ] {
            symlink(target, here.join(name)).expect("a link");
        }
        let holder = Root::open(&here).expect("a root").tree;
        let real = name_of(holder.real_path());
        let follow = |rest: &str| {
            let (holder, rest) = (holder.clone(), rest.as_bytes().to_vec());
            let (_, _, path) = Link { holder, rest }.follow()?;
            let inner = path.strip_prefix(&[&real[..], b"/"].concat()[..]);
            Ok(String::from_utf8(inner.expect("below").to_vec()).expect("a path"))
        };
        for (rest, found) in [
            ("a", Ok("a")),
            ("current", Ok("a/b")),
            ("stable", Ok("a/b")),
            ("stable/..", Ok("a")),
            ("up", Err(Errno::EXDEV)),
            ("foreign", Err(Errno::EXDEV)),
            ("a/..", Err(Errno::EXDEV)),
            ("a/b/file", Err(Errno::ENOTDIR)),
            ("none", Err(Errno::ENOENT)),
        ] {
            assert_eq!(
                follow(rest).as_deref(),
                found.as_ref().map(|it| *it),
                "{rest}"
            );
        }
        fs::remove_dir_all(&above).expect("clean up");
    }
}
