//! Opening files beneath a directory, whatever symbolic links say (openat2(2)).
//!
//! The kernel does it in one call. Where it cannot (before Linux 5.6) or will not (an absolute link
//! that comes back into the directory), the path is walked component by component.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

/// Opens `path`, which has no empty component, no `.` and no `..`, for reading beneath `root`.
/// `root_names` are the absolute paths by which links may name the root.
///
/// # Errors
/// `EXDEV` where a link leads out of the root, else as open(2).
pub(super) fn open(
    root: BorrowedFd<'_>,
    root_names: &[Vec<u8>],
    path: &[u8],
) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(reading())
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    for _ in 0..RACES_MAX {
        match openat2(root, path, how) {
            // Something was renamed while the kernel looked.
            Err(Errno::EAGAIN) => {}
            Err(Errno::ENOSYS | Errno::EXDEV | Errno::EPERM) => break,
            result => return result,
        }
    }
    Walk {
        root,
        root_names,
        directories: Vec::new(),
        links: 0,
    }
    .open(path)
}

/// A FIFO must not hang us, and a terminal not become ours.
fn reading() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC
}

/// A walk from the root, without following any link blindly.
struct Walk<'r> {
    root: BorrowedFd<'r>,
    root_names: &'r [Vec<u8>],
    /// Where the walk is: each directory entered from the one before.
    directories: Vec<OwnedFd>,
    links: usize,
}

impl Walk<'_> {
    fn open(mut self, path: &[u8]) -> nix::Result<OwnedFd> {
        let mut rest = VecDeque::new();
        push_front(&mut rest, path);
        while let Some(component) = rest.pop_front() {
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    self.directories.pop().ok_or(Errno::EXDEV)?;
                    continue;
                }
                _ => {}
            }
            let kind = kind_of(&fstatat(
                self.here(),
                &component[..],
                AtFlags::AT_SYMLINK_NOFOLLOW,
            )?);
            if kind == SFlag::S_IFLNK {
                let target = readlinkat(self.here(), &component[..])?;
                self.follow(target.as_bytes(), &mut rest)?;
            } else if rest.is_empty() {
                let flags = reading() | OFlag::O_NOFOLLOW;
                return openat(self.here(), &component[..], flags, Mode::empty());
            } else {
                self.enter(&component)?;
            }
        }
        // Only a link to the root itself, or to a parent, ends here.
        Err(Errno::EISDIR)
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.directories.last().map_or(self.root, AsFd::as_fd)
    }

    fn enter(&mut self, component: &[u8]) -> nix::Result<()> {
        if self.directories.len() >= DEPTH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let entered = openat(self.here(), component, flags, Mode::empty())?;
        self.directories.push(entered);
        Ok(())
    }

    fn follow(&mut self, target: &[u8], rest: &mut VecDeque<Vec<u8>>) -> nix::Result<()> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::ELOOP);
        }
        if !target.starts_with(b"/") {
            push_front(rest, target);
            return Ok(());
        }
        let beneath = self.root_names.iter().find_map(|name| {
            let inner = target.strip_prefix(&name[..])?;
            (inner.is_empty() || inner.starts_with(b"/")).then_some(inner)
        });
        push_front(rest, beneath.ok_or(Errno::EXDEV)?);
        self.directories.clear();
        Ok(())
    }
}

fn push_front(rest: &mut VecDeque<Vec<u8>>, path: &[u8]) {
    for component in path.split(|&byte| byte == b'/').rev() {
        rest.push_front(component.to_vec());
    }
}

/// What sort of file it is.
pub(super) fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// The state of an open file.
pub(super) fn state_of(file: &OwnedFd) -> nix::Result<FileStat> {
    fstat(file)
}

/// How often a lookup is tried again when names change underneath it.
const RACES_MAX: usize = 4;
/// As the kernel's own bound on links.
const LINKS_MAX: usize = 40;
/// Directories held open by a walk.
const DEPTH_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
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
            let by_walk = Walk {
                root: root.as_fd(),
                root_names: &names,
                directories: Vec::new(),
                links: 0,
            }
            .open(path.as_bytes());
            let by_kernel = open(root.as_fd(), &names, path.as_bytes());
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
        for outside in ["out", "far-out", "sibling"] {
            assert_eq!(directory.walk(outside), Err(Errno::EXDEV), "{outside}");
        }
        assert_eq!(directory.walk("loop"), Err(Errno::ELOOP));
        assert_eq!(directory.walk("a/none"), Err(Errno::ENOENT));
        assert_eq!(directory.walk("a/b/file/more"), Err(Errno::ENOTDIR));
    }
}
