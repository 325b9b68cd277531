//! A server that may use little memory, on a disk that reads far ahead, as RAID and images in the cloud do: many cold files
//! at once push each other out of memory. What was asked for is sent before that, and nothing is read twice.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{major, minor};

use crate::client::fetch;
use crate::download::Wish;
use crate::machine::{alone, in_own_mounts, major_faults, mount_ext4, skipped};
use crate::root::{Root, assert_same};
use crate::server::Server;

const FILES: usize = 24;
const LENGTH: usize = 4 << 20;

#[test]
fn many_cold_files_in_32_mb_of_memory_are_each_read_once() {
    in_own_mounts(|| {
        let _alone = alone();
        let Some(disk) = LargeDisk::new() else { return };
        let server = Server::with(disk.root.path(), &["--per-client", "32"]);
        // What the program itself needs is in memory from now on.
        disk.fetch_all(&server);
        let Some(_group) = Group::around(server.process()) else {
            return;
        };
        disk.forget();
        let before = (disk.bytes_read(), major_faults(server.process()));
        disk.fetch_all(&server);
        let read = disk.bytes_read() - before.0;
        let faults = major_faults(server.process()) - before.1;
        let needed = (FILES * LENGTH) as u64;
        assert!(needed <= read, "only {read} bytes were not in memory");
        assert!(read < needed / 4 * 5, "{read} bytes read for {needed}");
        assert_eq!(faults, 0, "the server waited for a page itself");
    });
}

/// ext4 of its own at `disk`, with many files, and a device that reads 8 MB ahead.
struct LargeDisk {
    root: Root,
    files: Vec<(String, Vec<u8>)>,
    /// The device in sysfs.
    device: PathBuf,
}

impl LargeDisk {
    fn new() -> Option<LargeDisk> {
        let root = Root::new();
        if !mount_ext4(&root, "-b 4096", "128M") {
            return None;
        }
        let number = fs::metadata(root.file("disk")).unwrap().dev();
        let device = format!("/sys/dev/block/{}:{}", major(number), minor(number));
        let names = (0..FILES).map(|number| format!("disk/{number}"));
        let files = names.map(|name| {
            let bytes = root.write(&name, LENGTH);
            (name, bytes)
        });
        let files = files.collect();
        let device = PathBuf::from(device);
        fs::write(device.join("queue/read_ahead_kb"), "8192").unwrap();
        Some(LargeDisk {
            root,
            files,
            device,
        })
    }

    /// All files at once.
    fn fetch_all(&self, server: &Server) {
        thread::scope(|scope| {
            for (name, bytes) in &self.files {
                let wish = Wish::octet(name).option("blksize", 1468);
                let wish = wish.option("windowsize", 16);
                scope.spawn(move || {
                    let fetched = fetch(server.address(), &wish).unwrap();
                    assert_same(&fetched.bytes, bytes);
                });
            }
        });
    }

    /// Takes all files out of memory.
    fn forget(&self) {
        for (name, _) in &self.files {
            let file = File::open(self.root.file(name)).unwrap();
            file.sync_all().unwrap();
            posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        }
    }

    /// Bytes that the device has read so far: its third figure, in sectors of 512.
    fn bytes_read(&self) -> u64 {
        let figures = fs::read_to_string(self.device.join("stat")).unwrap();
        let sectors = figures.split_whitespace().nth(2).unwrap();
        512 * sectors.parse::<u64>().unwrap()
    }
}

impl Drop for LargeDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.root.file("disk"), MntFlags::MNT_DETACH);
    }
}

/// A control group whose processes may use 32 MB, files in memory included.
struct Group(PathBuf);

impl Group {
    /// With this process in it, in either version of control groups; says so where there are none.
    fn around(process: u32) -> Option<Group> {
        let versions = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
            ("/sys/fs/cgroup/unified", "memory.max"),
        ];
        for (above, limit) in versions {
            let group = Group(Path::new(above).join(format!("tftpd-test-{}", process::id())));
            let made = fs::create_dir(&group.0)
                .and_then(|()| fs::write(group.0.join(limit), (32 << 20).to_string()))
                .and_then(|()| fs::write(group.0.join("cgroup.procs"), process.to_string()));
            if made.is_ok() {
                return Some(group);
            }
        }
        skipped("there are no control groups for memory");
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Once the server has ended: it goes with the machine otherwise.
        let above = self.0.parent().map(|above| above.join("cgroup.procs"));
        for process in fs::read_to_string(self.0.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
        {
            let _ = above.as_ref().map(|above| fs::write(above, process));
        }
        let _ = fs::remove_dir(&self.0);
    }
}
