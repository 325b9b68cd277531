//! Opening files beneath a directory; no symbolic link leads out of it (openat2(2)).
//!
//! The kernel does it in one call. Where it cannot (before Linux 5.6) or will not (an absolute link), the path
//! is walked component by component. An absolute link that begins with a name of the directory means what lies
//! there; any other begins at the directory, as it would in a chroot. Of several directories each may hold links into
//! any other.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, fstat};

use super::devices::{LocalDevice, device_of};
pub(super) use super::traversal::Place;
use super::traversal::{Foreign, Traversal};

/// Opens `path`, which has no empty component, no `.` and no `..`, for reading beneath the place with number `at`. Links
/// may lead to the others.
///
/// # Errors
/// `EXDEV` where a link leads out of all of them, else as open(2).
pub(super) fn open(places: &[Place<'_>], at: usize, path: &[u8]) -> nix::Result<OwnedFd> {
    match open_by_kernel(places[at].directory, path, reading()) {
        Some(result) => result,
        None => open_by_walk(places, at, path),
    }
}

/// Opens the directory `path`, which may be empty, to look names up in it.
///
/// # Errors
/// As [`open`].
pub(super) fn open_directory(places: &[Place<'_>], at: usize, path: &[u8]) -> nix::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    if let Some(result) = open_by_kernel(places[at].directory, path, to_directory()) {
        return result;
    }
    let mut walk = Traversal::new(places, at);
    let last = walk.go(path, Foreign::FromRoot)?;
    openat(
        walk.here(),
        last.as_deref().unwrap_or(b"."),
        to_directory() | OFlag::O_NOFOLLOW,
        Mode::empty(),
    )
}

/// Opens the directory `path`, which may be empty, to look at it, if nothing but memory has to be looked at; `None` if there
/// is no such directory.
///
/// # Errors
/// Where memory does not say.
pub(super) fn open_directory_cached(
    root: BorrowedFd<'_>,
    path: &[u8],
) -> nix::Result<Option<OwnedFd>> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve =
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS | resolve_cached();
    let how = OpenHow::new().flags(to_directory()).resolve(resolve);
    match openat2(root, path, how) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `None` where the kernel cannot say.
fn open_by_kernel(
    directory: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlag,
) -> Option<nix::Result<OwnedFd>> {
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    for _ in 0..RACES_MAX {
        match openat2(directory, path, how) {
            // Something was renamed while the kernel looked.
            Err(Errno::EAGAIN) => {}
            Err(Errno::ENOSYS | Errno::EXDEV | Errno::EPERM) => return None,
            result => return Some(result),
        }
    }
    None
}

fn open_by_walk(places: &[Place<'_>], at: usize, path: &[u8]) -> nix::Result<OwnedFd> {
    let mut walk = Traversal::new(places, at);
    match walk.go(path, Foreign::FromRoot)? {
        Some(last) => {
            let flags = reading() | OFlag::O_NOFOLLOW;
            openat(walk.here(), &last[..], flags, Mode::empty())
        }
        // A link to the root itself, or to a parent.
        None => Err(Errno::EISDIR),
    }
}

/// Finds the directory `path` beneath a place, and its path without links. It can be searched, not listed.
///
/// # Errors
/// `EXDEV` where a link leads out of the root, else as open(2).
pub(super) fn find_directory(place: Place<'_>, path: &[u8]) -> nix::Result<(OwnedFd, Vec<u8>)> {
    let places = [place];
    let mut walk = Traversal::new(&places, 0);
    if let Some(last) = walk.go(path, Foreign::Refused)? {
        walk.enter(last)?;
    }
    let path = walk.directories.iter().map(|(name, _)| &name[..]);
    let path = path.collect::<Vec<_>>().join(&b'/');
    let (_, directory) = walk.directories.pop().ok_or(Errno::EXDEV)?;
    Ok((directory, path))
}

/// Where a file is or would be.
#[derive(Debug)]
pub(super) struct Entry {
    /// The directory that holds it, which can be searched, not listed.
    pub directory: Arc<OwnedFd>,
    /// Its name there.
    pub name: Vec<u8>,
    /// It lies in one of the directories that were meant, or below.
    pub is_within: bool,
}

/// Finds what `path` names beneath `root`, which need not be there; a link leads to its target. `is_meant` is asked of
/// each directory on the way.
///
/// # Errors
/// `EXDEV` where a link leads out of the root, else as open(2).
pub(super) fn find_entry(
    root: &Arc<OwnedFd>,
    root_names: &[Vec<u8>],
    path: &[u8],
    is_meant: impl Fn(&FileStat) -> bool,
) -> nix::Result<Entry> {
    let places = [Place {
        directory: root.as_fd(),
        names: root_names,
    }];
    let mut walk = Traversal::new(&places, 0);
    walk.last_may_be_missing = true;
    let name = walk.go(path, Foreign::FromRoot)?.ok_or(Errno::EISDIR)?;
    let mut is_within = is_meant(&fstat(root)?);
    for (_, directory) in walk.directories.iter().filter(|_| !is_within) {
        if is_meant(&fstat(directory)?) {
            is_within = true;
            break;
        }
    }
    let directory = match walk.directories.pop() {
        Some((_, directory)) => Arc::new(directory),
        None => Arc::clone(root),
    };
    Ok(Entry {
        directory,
        name,
        is_within,
    })
}

/// Whether names can be looked up in `directory` by who we are.
///
/// # Errors
/// Why not.
pub(super) fn may_search(directory: BorrowedFd<'_>) -> nix::Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(directory, ".", flags, Mode::empty()).map(drop)
}

/// Opens `path` as [`open`] does if nothing but memory has to be looked at, `None` if that may not be enough: on file
/// systems other than those of `local_devices` opening asks a server or a daemon.
///
/// # Errors
/// As open(2): what was looked at says so.
pub(super) fn open_cached(
    root: BorrowedFd<'_>,
    is_root_local: bool,
    local_devices: &[LocalDevice],
    path: &[u8],
) -> nix::Result<Option<OwnedFd>> {
    let beneath =
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS | resolve_cached();
    let how = |flags, resolve| OpenHow::new().flags(flags).resolve(resolve);
    let found = |result| match result {
        Ok(file) => Ok(Some(file)),
        // Unknown, or beyond this call: an absolute link, an old kernel, a lease.
        Err(
            Errno::EAGAIN
            | Errno::EXDEV
            | Errno::ENOSYS
            | Errno::EINVAL
            | Errno::EPERM
            | Errno::EINTR
            | Errno::ESTALE
            | Errno::ETIMEDOUT,
        ) => Ok(None),
        Err(error) => Err(error),
    };
    if is_root_local {
        let within = beneath | ResolveFlag::RESOLVE_NO_XDEV;
        let opened = openat2(root, path, how(reading(), within));
        // Where another file system begins on the way, it is either of these.
        if !matches!(opened, Err(Errno::EXDEV | Errno::EAGAIN)) {
            return found(opened);
        }
    }
    let path_only = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let Some(entry) = found(openat2(root, path, how(path_only, beneath)))? else {
        return Ok(None);
    };
    match device_of(&entry) {
        Some(number) if local_devices.iter().any(|device| device.number == number) => {
            found(openat2(root, path, how(reading(), beneath)))
        }
        _ => Ok(None),
    }
}

/// Names are looked up in memory only (since Linux 5.12).
fn resolve_cached() -> ResolveFlag {
    ResolveFlag::from_bits_retain(0x20)
}

fn to_directory() -> OFlag {
    OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

/// A FIFO must not hang us, and a terminal not become ours.
fn reading() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC
}

/// How often a lookup is tried again when names change underneath it.
const RACES_MAX: usize = 4;
#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Directory {
            let path = std::env::temp_dir().join(format!("tftpd-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("root/a/b")).expect("a directory");
            fs::write(path.join("root/a/b/file"), "inside").expect("a file");
            fs::write(path.join("secret"), "outside").expect("a file");
            Directory(path)
        }

        fn link(&self, target: impl AsRef<Path>, name: &str) {
            symlink(target, self.0.join("root").join(name)).expect("a link");
        }

        fn walk(&self, path: &str) -> nix::Result<String> {
            let root = fs::File::open(self.0.join("root")).expect("the root");
            let names = [self.0.join("root").as_os_str().as_bytes().to_vec()];
            let places = [Place {
                directory: root.as_fd(),
                names: &names,
            }];
            let by_walk = open_by_walk(&places, 0, path.as_bytes());
            let by_kernel = open(&places, 0, path.as_bytes());
            assert_eq!(
                by_walk.is_ok(),
                by_kernel.is_ok(),
                "both ways agree on {path}"
            );
            let mut text = String::new();
            fs::File::from(by_walk?)
                .read_to_string(&mut text)
                .expect("readable text");
            Ok(text)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn links_inside_the_root_work_and_links_out_of_it_do_not() {
        let directory = Directory::new("beneath");
        directory.link("b/file", "a/relative");
        directory.link("../a/./b", "a/around");
        directory.link(directory.0.join("root/a/b/file"), "absolute");
        directory.link("../secret", "out");
        directory.link("/etc/passwd", "far-out");
        directory.link(directory.0.join("root-secret"), "sibling");
        directory.link("loop", "loop");
        for inside in ["a/b/file", "a/relative", "a/around/file", "absolute"] {
            assert_eq!(directory.walk(inside).as_deref(), Ok("inside"), "{inside}");
        }
        assert_eq!(directory.walk("out"), Err(Errno::EXDEV));
        for elsewhere in ["far-out", "sibling", "a/none"] {
            assert_eq!(directory.walk(elsewhere), Err(Errno::ENOENT), "{elsewhere}");
        }
        assert_eq!(directory.walk("loop"), Err(Errno::ELOOP));
        assert_eq!(directory.walk("a/b/file/more"), Err(Errno::ENOTDIR));
    }

    /// As links are written for a server in a chroot.
    #[test]
    fn absolute_links_begin_at_the_root_and_never_lead_out_of_it() {
        let directory = Directory::new("chroot");
        directory.link("/a/b/file", "file");
        directory.link("/a", "directory");
        directory.link("/file", "a/b/chain");
        directory.link("/", "a/b/root");
        directory.link("/a/../a/./b//file", "around");
        directory.link("//a/b/file", "doubled");
        let inside = [
            "file",
            "directory/b/file",
            "a/b/chain",
            "a/b/root/file",
            "a/b/root/a/b/root/directory/b/chain",
            "around",
            "doubled",
        ];
        for inside in inside {
            assert_eq!(directory.walk(inside).as_deref(), Ok("inside"), "{inside}");
        }
        let secret = directory.0.join("secret");
        directory.link("/../secret", "above");
        directory.link("/a/../../secret", "above-by-the-way");
        directory.link("/a/b/root/../secret", "above-by-a-link");
        directory.link("a/b/root/../secret", "above-by-a-relative-link");
        for out in [
            "above",
            "above-by-the-way",
            "above-by-a-link",
            "above-by-a-relative-link",
        ] {
            assert_eq!(directory.walk(out), Err(Errno::EXDEV), "{out}");
        }
        directory.link(&secret, "secret");
        directory.link(directory.0.join("root/../secret"), "by-its-name");
        assert_eq!(directory.walk("secret"), Err(Errno::ENOENT));
        assert_eq!(directory.walk("by-its-name"), Err(Errno::EXDEV));
        // The root itself is no file, a link that follows itself ends.
        assert_eq!(directory.walk("a/b/root"), Err(Errno::EISDIR));
        directory.link("/growing/more", "endless");
        directory.link("/endless/more", "growing");
        for endless in ["endless", "growing"] {
            assert_eq!(directory.walk(endless), Err(Errno::ELOOP), "{endless}");
        }
    }

    #[test]
    fn a_directory_is_found_with_its_path_without_links() {
        let directory = Directory::new("find");
        directory.link("a/b", "current");
        directory.link(directory.0.join("root/current"), "stable");
        directory.link("..", "up");
        directory.link("/a", "foreign");
        let root = fs::File::open(directory.0.join("root")).expect("the root");
        let names = [directory.0.join("root").as_os_str().as_bytes().to_vec()];
        let find = |path: &str| {
            let place = Place {
                directory: root.as_fd(),
                names: &names,
            };
            let found = find_directory(place, path.as_bytes());
            found.map(|(_, path)| String::from_utf8(path).expect("a path"))
        };
        for (path, found) in [
            ("a", "a"),
            ("current", "a/b"),
            ("stable", "a/b"),
            ("stable/..", "a"),
        ] {
            assert_eq!(find(path).as_deref(), Ok(found), "{path}");
        }
        let cases = [
            ("up", Errno::EXDEV),
            ("foreign", Errno::EXDEV),
            ("a/..", Errno::EXDEV),
            ("a/b/file", Errno::ENOTDIR),
            ("none", Errno::ENOENT),
        ];
        for (path, error) in cases {
            assert_eq!(find(path), Err(error), "{path}");
        }
    }
}
