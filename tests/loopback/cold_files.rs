//! Files that are not in memory: what a send needs is there before, so the server itself never waits for a page (a major fault).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::client::fetch;
use crate::download::Wish;
use crate::machine::{major_faults, skipped};
use crate::root::assert_same;
use crate::server::serving;

#[test]
fn a_cold_file_costs_the_server_no_major_fault() {
    let length = 6_000_123;
    let (root, bytes, server) = serving(length, &[]);
    // What the program itself needs is in memory from now on.
    let wish = Wish::octet("file").option("blksize", 1468);
    fetch(server.address(), &wish).unwrap();
    let file = File::open(root.file("file")).unwrap();
    for (blksize, windowsize) in [
        (512, 1),
        (1400, 1),
        (1468, 1),
        (8192, 1),
        (1468, 16),
        (8192, 64),
        (65464, 4),
    ] {
        for warm in [&[][..], &[0, 31, 32, 63, 64], &[1464], &[700, 720]] {
            forget(&file);
            if is_in_memory(&file, 5_000_000) {
                return skipped("this file system keeps in memory what it has");
            }
            // Pages that were read: they prove nothing about those between.
            warm.iter().for_each(|page| read_page(&file, *page));
            let before = major_faults(server.process());
            let wish = Wish::octet("file")
                .option("blksize", blksize)
                .option("windowsize", windowsize);
            let fetched = fetch(server.address(), &wish).unwrap();
            let faults = major_faults(server.process()) - before;
            assert_same(&fetched.bytes, &bytes);
            assert_eq!(faults, 0, "{blksize} x {windowsize}, {warm:?} in memory");
        }
    }
}

/// Takes a file out of memory.
fn forget(file: &File) {
    file.sync_all().unwrap();
    posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
    // A read gets what it asks for now, and nothing ahead.
    posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM).unwrap();
}

fn read_page(file: &File, page: u64) {
    file.read_exact_at(&mut [0], page * 4096).unwrap();
}

fn is_in_memory(file: &File, offset: libc::off_t) -> bool {
    use std::os::fd::AsRawFd;
    let mut byte = 0_u8;
    let vector = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    // SAFETY: one vector, of one byte that may be written to.
    let read = unsafe {
        libc::preadv2(
            file.as_raw_fd(),
            &raw const vector,
            1,
            offset,
            libc::RWF_NOWAIT,
        )
    };
    let would_wait = io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock;
    read >= 0 || !would_wait
}
