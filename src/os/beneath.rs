//! Opening files beneath a directory; no symbolic link leads out of it (openat2(2)).
//!
//! The kernel does it in one call. Where it cannot (before Linux 5.6) or will not (an absolute link), the path
//! is walked component by component. An absolute link that begins with a name of the directory means what lies
//! there; any other begins at the directory, as it would in a chroot. Of several directories each may hold links into
//! any other.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

use super::devices::LocalDevice;
use super::directory::TO_SEARCH;
use super::state::State;
use super::traversal::{Foreign, Traversal, Tree};

/// Opens `path`, which has no empty component, no `.` and no `..`, for reading beneath the tree with number `at`. Links
/// may lead to the others.
///
/// # Errors
/// `EXDEV` where a link leads out of all of them, else as open(2).
pub(super) fn open(trees: &[Tree], at: usize, path: &[u8]) -> nix::Result<OwnedFd> {
    open_as(trees, at, path, READING)
}

/// Opens the directory `path`, which may be empty, to look names up in it.
///
/// # Errors
/// As [`open`].
pub(super) fn open_directory(trees: &[Tree], at: usize, path: &[u8]) -> nix::Result<OwnedFd> {
    open_as(trees, at, or_here(path), TO_SEARCH)
}

fn open_as(trees: &[Tree], at: usize, path: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags).resolve(BENEATH);
    for _ in 0..RACES_MAX {
        match openat2(&trees[at].directory, path, how) {
            // Something was renamed while the kernel looked.
            Err(Errno::EAGAIN) => {}
            Err(Errno::ENOSYS | Errno::EXDEV | Errno::EPERM) => break,
            result => return result,
        }
    }
    open_by_walk(trees, at, path, flags)
}

fn open_by_walk(trees: &[Tree], at: usize, path: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
    let mut walk = Traversal::new(trees, at);
    let last = match walk.go(path, Foreign::FromRoot)? {
        Some(last) => last,
        // A link to the root itself, or to a parent.
        None if flags.contains(OFlag::O_DIRECTORY) => b".".to_vec(),
        None => return Err(Errno::EISDIR),
    };
    let flags = flags | OFlag::O_NOFOLLOW;
    openat(walk.here(), &last[..], flags, Mode::empty())
}

/// Opens `path` as [`open`] does if nothing but memory has to be looked at: on file systems other than those of
/// `local_devices` opening asks a server or a daemon.
///
/// # Errors
/// `EAGAIN` where that may not be enough, else as open(2): what was looked at says so.
pub(super) fn open_cached(
    root: &impl AsFd,
    is_root_local: bool,
    local_devices: &[LocalDevice],
    path: &[u8],
) -> nix::Result<OwnedFd> {
    if is_root_local {
        match openat2_cached(root, path, READING, ResolveFlag::RESOLVE_NO_XDEV) {
            // Unknown, or another file system begins on the way.
            Err(Errno::EAGAIN) => {}
            opened => return opened,
        }
    }
    let path_only = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let entry = openat2_cached(root, path, path_only, ResolveFlag::empty())?;
    let number = State::known(&entry).map_err(|_| Errno::EAGAIN)?.device();
    match local_devices.iter().any(|device| device.number == number) {
        true => openat2_cached(root, path, READING, ResolveFlag::empty()),
        false => Err(Errno::EAGAIN),
    }
}

/// Opens the directory `path`, which may be empty, to look at it, if nothing but memory has to be looked at.
///
/// # Errors
/// As [`open_cached`].
pub(super) fn open_directory_cached(root: &impl AsFd, path: &[u8]) -> nix::Result<OwnedFd> {
    openat2_cached(root, or_here(path), TO_SEARCH, ResolveFlag::empty())
}

fn openat2_cached(
    root: &impl AsFd,
    path: &[u8],
    flags: OFlag,
    more: ResolveFlag,
) -> nix::Result<OwnedFd> {
    // Names are looked up in memory only (RESOLVE_CACHED, since Linux 5.12).
    let resolve = BENEATH | ResolveFlag::from_bits_retain(0x20) | more;
    let opened = openat2(root, path, OpenHow::new().flags(flags).resolve(resolve));
    opened.map_err(|error| match error {
        // Beyond this call: an absolute link, an old kernel, a lease.
        Errno::EXDEV
        | Errno::ENOSYS
        | Errno::EINVAL
        | Errno::EPERM
        | Errno::EINTR
        | Errno::ESTALE
        | Errno::ETIMEDOUT => Errno::EAGAIN,
        error => error,
    })
}

fn or_here(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

const BENEATH: ResolveFlag = ResolveFlag::RESOLVE_BENEATH.union(ResolveFlag::RESOLVE_NO_MAGICLINKS);

/// A FIFO must not hang us, and a terminal not become ours.
const READING: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_CLOEXEC);

/// How often a lookup is tried again when names change underneath it.
const RACES_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

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

        fn tree(&self) -> Tree {
            let root = fs::File::open(self.0.join("root")).expect("the root");
            Tree {
                directory: Arc::new(root.into()),
                names: [self.0.join("root").as_os_str().as_bytes().to_vec()].into(),
            }
        }

        fn walk(&self, path: &str) -> nix::Result<String> {
            let trees = [self.tree()];
            let by_walk = open_by_walk(&trees, 0, path.as_bytes(), READING);
            let by_kernel = open(&trees, 0, path.as_bytes());
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
}
