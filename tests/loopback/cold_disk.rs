//! A disk that is slow, hangs or fails stops nobody but those who want its files: ext4, which knows reads that do not wait, on a
//! loop device whose bytes lie on a file system of the test's own (see `fuse`). Nothing of it is in memory at first.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;

use crate::client::{Client, PATIENCE, fetch};
use crate::descriptors;
use crate::download::{Download, Wish};
use crate::faults::limit_address_space;
use crate::fuse::{self, Treatment};
use crate::machine::{alone, has_ipv6, has_program, in_own_mounts, major_faults, skipped, status};
use crate::netascii::on_the_wire;
use crate::packet;
use crate::root::{Root, assert_same};
use crate::server::Server;
use crate::victim::go_halfway;

#[test]
fn a_cold_file_from_a_slow_disk_does_not_slow_others_down() {
    in_own_mounts(|| {
        let _alone = alone();
        // Who waits for the disk waits each time; what else disturbs a client does not.
        let longest_pauses: Option<Vec<_>> = (0..ROUNDS).map(|_| beside_a_slow_disk()).collect();
        let Some(longest_pauses) = longest_pauses else {
            return;
        };
        println!("longest pauses alone and beside a slow disk: {longest_pauses:?}");
        assert!(
            longest_pauses
                .iter()
                .any(|(usual, beside)| *beside <= *usual + READ_TIME),
            "{longest_pauses:?}"
        );
    });
}

/// The longest pauses of a client of a cached file: usually, and while another one fetches a cold file.
fn beside_a_slow_disk() -> Option<(Duration, Duration)> {
    let disk = Disk::new()?;
    let server = Server::start(disk.root.path());
    let _end = disk.fuse.answering_at_the_end();
    let (usual, _) = disk.fetch_cached(&server);
    disk.know(&["cold"]);
    disk.fuse
        .treat_reads(|_| Treatment::AnsweredAfter(READ_TIME));
    let faults = major_faults(server.process());
    let cold = disk.fetch_beside(&server, wish("disk/cold", 1400, 1));
    let mut beside = Duration::ZERO;
    let mut rounds = 0;
    while !cold.is_finished() {
        beside = beside.max(disk.fetch_cached(&server).0);
        rounds += 1;
    }
    assert_same(&cold.join().unwrap().unwrap().bytes, &disk.cold);
    assert!(rounds > 0, "the cold file came before the cached one");
    let faults = major_faults(server.process()) - faults;
    assert_eq!(faults, 0, "the server waited for a page itself");
    Some((usual, beside))
}

#[test]
fn block_sizes_and_windows_from_a_slow_disk() {
    in_own_mounts(|| {
        for (blksize, windowsize) in [(512, 1), (1468, 1), (8192, 1), (1468, 16), (8192, 64)] {
            let Some(disk) = Disk::new() else { return };
            let server = Server::start(disk.root.path());
            let _end = disk.fuse.answering_at_the_end();
            disk.fetch_cached(&server);
            disk.know(&["cold"]);
            disk.fuse
                .treat_reads(|_| Treatment::AnsweredAfter(READ_TIME));
            let faults = major_faults(server.process());
            let fetched = fetch(server.address(), &wish("disk/cold", blksize, windowsize)).unwrap();
            assert_same(&fetched.bytes, &disk.cold);
            let faults = major_faults(server.process()) - faults;
            assert_eq!(faults, 0, "{blksize} x {windowsize}");
        }
    });
}

#[test]
fn a_disk_that_hangs_stops_only_those_who_wait_for_it() {
    in_own_mounts(|| {
        // At the first block of the file, in the middle of a part that is asked for at once, in the next one, at the end.
        for (place, (blksize, windowsize)) in [
            (0, (1400, 1)),
            (15 * BLOCK, (512, 1)),
            (COLD / 2, (1400, 1)),
            (COLD / 2 + 5 * BLOCK, (1468, 16)),
            (COLD - 1, (8192, 1)),
        ] {
            let Some(disk) = Disk::new() else { return };
            let server = Server::start(disk.root.path());
            let _end = disk.fuse.answering_at_the_end();
            disk.fetch_cached(&server);
            disk.know(&["cold"]);
            disk.treat_block(place, Treatment::Held);
            let cold = disk.fetch_beside(&server, wish("disk/cold", blksize, windowsize));
            disk.fuse.wait_for_a_held_read();

            // The part of the design that a clock decides: so long it hangs.
            let hung_at = Instant::now();
            while hung_at.elapsed() < HANG {
                let (_, took) = disk.fetch_cached(&server);
                assert!(took < HANG, "{took:?} for the cached file");
            }
            assert!(disk.fuse.holds_reads(), "the read was answered too early");
            assert!(!cold.is_finished(), "more came than the disk has read");
            disk.fuse.answer();
            assert_same(&cold.join().unwrap().unwrap().bytes, &disk.cold);
        }
    });
}

#[test]
fn a_block_that_cannot_be_read_ends_its_transfer_in_an_error_that_blames_the_disk() {
    in_own_mounts(|| {
        for (place, mode) in [
            (0, "octet"),
            (COLD / 2, "octet"),
            (COLD - 1, "octet"),
            (COLD / 2, "netascii"),
        ] {
            let Some(disk) = Disk::new() else { return };
            let server = Server::start(disk.root.path());
            let _end = disk.fuse.answering_at_the_end();
            disk.fetch_cached(&server);
            disk.know(&["cold"]);
            disk.treat_block(place, Treatment::Failed(libc::EIO));
            let began_at = Instant::now();
            let wish = Wish {
                mode,
                ..wish("disk/cold", 1400, 1)
            };
            let cold = disk.fetch_beside(&server, wish);
            disk.fetch_cached(&server);
            let (code, message) = cold.join().unwrap().unwrap_err();
            let took = began_at.elapsed();
            println!("{mode}, EIO at {place}: ERROR {code} {message:?} after {took:?}");
            assert_eq!(code, 0, "{message}");
            assert!(took < FEW_SECONDS, "{took:?}");
            server.wait_for_log(&["disk: cannot read a block", "Input/output error"]);
            let line = server.wait_for_log(&["disk/cold", "; "]);
            assert!(line.contains("could not be read"), "{line}");
            disk.fetch_cached(&server);
        }
    });
}

/// However a file is served, a disk that hangs stops only those who wait for it.
#[test]
fn other_ways_to_serve_from_a_disk_that_hangs() {
    in_own_mounts(|| {
        for way in [
            Way::Ipv6,
            Way::NeverHeld,
            Way::Held,
            Way::Read,
            Way::ReadWhileHeld,
            Way::Netascii,
        ] {
            println!("{way:?}");
            if way == Way::Ipv6 && !has_ipv6() {
                continue;
            }
            let Some(disk) = Disk::new() else { return };
            let server = descriptors::start_with(disk.root.path(), way.options());
            let _end = disk.fuse.answering_at_the_end();
            disk.fetch_cached(&server);
            disk.know(&["cold"]);
            disk.treat_block(if way.is_held() { 0 } else { COLD / 2 }, Treatment::Held);
            let wish = Wish {
                mode: if way == Way::Netascii {
                    "netascii"
                } else {
                    "octet"
                },
                ..wish("disk/cold", 1400, 1)
            };
            let near = Wish::octet("disk/cached").option("blksize", 512);
            // They have all slots.
            let running: Vec<_> = (0..if way.is_held() { 2 } else { 1 })
                .map(|_| go_halfway(Client::new(server.address()), &near))
                .collect();
            if way.is_read() {
                // No room for one mapping more.
                let used = status(server.process(), "VmSize") << 10;
                limit_address_space(server.process(), used + (16 << 20));
            }
            let faults = major_faults(server.process());
            let cold = disk.fetch_beside(&server, wish);
            disk.fuse.wait_for_a_held_read();
            for (mut client, download) in running {
                assert_same(&client.complete(download).unwrap().bytes, &disk.cached);
            }
            assert!(disk.fuse.holds_reads(), "the read was answered too early");
            assert!(!cold.is_finished(), "more came than the disk has read");
            disk.fuse.answer();
            let bytes = cold.join().unwrap().unwrap().bytes;
            match way {
                Way::Netascii => assert_same(&bytes, &on_the_wire(&disk.cold)),
                _ => assert_same(&bytes, &disk.cold),
            }
            assert_eq!(major_faults(server.process()) - faults, 0, "{way:?}");
            let line = server.wait_for_log(&["disk/cold", "; "]);
            assert_eq!(way.is_held(), !line.contains("held 0.000 s"), "{line}");
            let lines = server.lines_with("read instead");
            assert_eq!(!lines.is_empty(), way.is_read(), "{way:?}");
        }
    });
}

/// A way to serve a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Ipv6,
    /// Those who wait wait in silence.
    NeverHeld,
    /// To a client that waits for a slot.
    Held,
    /// Not from a mapping.
    Read,
    ReadWhileHeld,
    Netascii,
}

impl Way {
    fn options(self) -> &'static [&'static str] {
        match self {
            Way::Ipv6 => &["-a", "[::1]:0"],
            Way::NeverHeld => &["--hold", "never"],
            Way::Held | Way::ReadWhileHeld => &["-n", "2", "--hold", "0"],
            Way::Read | Way::Netascii => &[],
        }
    }

    fn is_held(self) -> bool {
        matches!(self, Way::Held | Way::ReadWhileHeld)
    }

    fn is_read(self) -> bool {
        matches!(self, Way::Read | Way::ReadWhileHeld)
    }
}

#[test]
fn sigterm_ends_the_server_while_the_disk_hangs() {
    in_own_mounts(|| {
        let Some(disk) = Disk::new() else { return };
        let mut server = Server::start(disk.root.path());
        let _end = disk.fuse.answering_at_the_end();
        disk.fetch_cached(&server);
        disk.know(&["cold"]);
        disk.treat_block(COLD / 2, Treatment::Held);
        let wish = wish("disk/cold", 1400, 1);
        let mut client = Client::new(server.address()).asking(&wish);
        let mut download = Download::new(&wish);
        while !disk.fuse.holds_reads() {
            let packet = client.receive();
            if let Some(answer) = download.on_packet(packet) {
                client.send(&answer);
            }
        }
        server.signal(Signal::SIGTERM);
        let status = server.wait(PATIENCE);
        assert!(disk.fuse.holds_reads(), "the read was answered too early");
        assert!(status.success(), "{status}");
    });
}

#[test]
fn a_name_that_is_not_in_memory_stops_only_those_who_ask_for_it() {
    in_own_mounts(|| {
        let Some(disk) = Disk::new() else { return };
        let server = Server::start(disk.root.path());
        let _end = disk.fuse.answering_at_the_end();
        disk.fetch_cached(&server);
        disk.fuse.treat_reads(|_| Treatment::Held);
        let cold = disk.fetch_beside(&server, wish("disk/far/away/file", 1400, 1));
        disk.fuse.wait_for_a_held_read();
        let cached = disk.fetch_beside(&server, wish("disk/cached", 1468, 1));
        let cached = cached.join().unwrap().unwrap();
        assert_same(&cached.bytes, &disk.cached);
        assert!(disk.fuse.holds_reads(), "the read was answered too early");
        assert!(!cold.is_finished());
        disk.fuse.answer();
        assert_eq!(cold.join().unwrap().unwrap().bytes, b"far away");
    });
}

/// ext4 at `disk` of a root, with the files `cached`, `cold` and `far/away/file`, none of which is in memory.
struct Disk {
    // In the order in which they must go.
    _mounted: Mounted,
    _device: LoopDevice,
    fuse: fuse::Disk,
    root: Root,
    cached: Vec<u8>,
    cold: Vec<u8>,
    image: Vec<u8>,
}

impl Disk {
    /// None, and says so, where there is no such thing.
    fn new() -> Option<Disk> {
        if !has_program("mkfs.ext4", "-V") || !has_program("losetup", "--version") {
            skipped("there is no mkfs.ext4, or no losetup");
            return None;
        }
        let files = Root::new();
        let cached = files.write("cached", 3 << 20);
        let cold = files.write("cold", COLD);
        files.write_bytes("far/away/file", b"far away");
        let image = image_of(&files);
        let root = Root::new();
        std::fs::create_dir(root.beside("fuse")).unwrap();
        std::fs::create_dir(root.file("disk")).unwrap();
        let fuse = fuse::Disk::mount(&root.beside("fuse"), image.clone())?;
        let device = LoopDevice::of(&root.beside("fuse").join("file"))?;
        let mounted = Mounted::new(&device.0, &root.file("disk"))?;
        Some(Disk {
            _mounted: mounted,
            _device: device,
            fuse,
            root,
            cached,
            cold,
            image,
        })
    }

    /// The directory and the places of the blocks of these files are in memory from now on, the blocks are not.
    fn know(&self, names: &[&str]) {
        for name in names {
            std::fs::metadata(self.root.file("disk").join(name)).unwrap();
        }
    }

    /// Reads of the block at `place` of the file `cold` are treated so.
    fn treat_block(&self, place: usize, treatment: Treatment) {
        let begin = place / BLOCK * BLOCK;
        let block = &self.cold[begin..(begin + BLOCK).min(COLD)];
        let mut blocks = self.image.chunks(BLOCK);
        let number = blocks.position(|bytes| bytes.starts_with(block)).unwrap();
        let at = number * BLOCK;
        // What was read ahead below the loop device is none of the disk that the server has.
        let file = std::fs::File::open(self.root.beside("fuse").join("file")).unwrap();
        posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        self.fuse.treat_reads(
            move |range| match range.start < at + BLOCK && at < range.end {
                true => treatment,
                false => Treatment::Answered,
            },
        );
    }

    /// The longest time between two packets, and that of all.
    fn fetch_cached(&self, server: &Server) -> (Duration, Duration) {
        let wish = wish("disk/cached", 1468, 1);
        let mut client = Client::new(server.address());
        let began_at = Instant::now();
        client.request(&wish);
        let mut download = Download::new(&wish);
        let mut longest = Duration::ZERO;
        let mut last_at = began_at;
        while !download.is_over() {
            let packet = client.receive_datagram();
            longest = longest.max(last_at.elapsed());
            last_at = Instant::now();
            if let Some(answer) = download.on_packet(packet::parse(&packet)) {
                client.send(&answer);
            }
        }
        assert_same(&download.bytes, &self.cached);
        (longest, began_at.elapsed())
    }

    /// By a thread of its own.
    fn fetch_beside(
        &self,
        server: &Server,
        wish: Wish,
    ) -> thread::JoinHandle<Result<Download, (u16, String)>> {
        let address = server.address();
        thread::spawn(move || fetch(address, &wish))
    }
}

fn wish(name: &str, blksize: u16, windowsize: u16) -> Wish {
    Wish::octet(name)
        .option("blksize", blksize)
        .option("windowsize", windowsize)
}

/// A file system of the type ext4 that holds these files.
fn image_of(files: &Root) -> Vec<u8> {
    let image = files.beside("image");
    let output = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-b", "4096", "-O", "^has_journal", "-d"])
        .args([files.path(), &image])
        .arg("24M")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "mkfs.ext4: {told}");
    std::fs::read(image).unwrap()
}

/// Gone with the value.
struct LoopDevice(PathBuf);

impl LoopDevice {
    fn of(file: &Path) -> Option<LoopDevice> {
        let output = Command::new("losetup")
            .args(["--find", "--show", "--read-only"])
            .arg(file)
            .output()
            .unwrap();
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            skipped(&format!("no loop device: {}", told.trim()));
            return None;
        }
        let name = String::from_utf8(output.stdout).unwrap();
        Some(LoopDevice(name.trim().into()))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

/// No longer with the value.
struct Mounted(PathBuf);

impl Mounted {
    fn new(device: &Path, path: &Path) -> Option<Mounted> {
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        if let Err(error) = mount(Some(device), path, Some("ext4"), flags, None::<&str>) {
            skipped(&format!("mount of ext4: {error}"));
            return None;
        }
        Some(Mounted(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Of the file `cold`; its last block is not whole.
const COLD: usize = 1_000_123;

/// Of the file system.
const BLOCK: usize = 4096;

/// Of the slow disk.
const READ_TIME: Duration = Duration::from_millis(50);

/// Of the disk that hangs.
const HANG: Duration = Duration::from_secs(3);

const FEW_SECONDS: Duration = Duration::from_secs(10);

const ROUNDS: usize = 3;
