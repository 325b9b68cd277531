//! A disk that does not answer stalls those who wait for it and nobody else. The disk is a file system of the test's own, which
//! answers no read until it is asked to (see `fuse`).

use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};

use crate::client::{Client, fetch};
use crate::download::{Download, Wish};
use crate::fuse::{Disk, Treatment};
use crate::machine::in_own_mounts;
use crate::root::{Root, assert_same};
use crate::server::Server;

#[test]
fn a_disk_that_stalls_stops_only_those_who_wait_for_it() {
    in_own_mounts(|| {
        let root = Root::new();
        std::fs::create_dir(root.file("memory")).unwrap();
        let no_flags = MsFlags::empty();
        let options = Some("size=32m,mode=755");
        mount(
            Some("test"),
            &root.file("memory"),
            Some("tmpfs"),
            no_flags,
            options,
        )
        .unwrap();
        std::fs::create_dir(root.file("disk")).unwrap();
        stall(&root);
    });
}

/// One client waits for the file `disk/file`; another one has its file from `memory` meanwhile.
fn stall(root: &Root) {
    let large = root.write("memory/file", 16 << 20);
    let stalled_bytes = Root::new().write("stalled", 3 << 20);
    let Some(disk) = Disk::mount(&root.file("disk"), stalled_bytes.clone()) else {
        return;
    };
    disk.treat_reads(|_| Treatment::Held);
    let server = Server::start(root.path());
    let fetch_large = |server: &Server| {
        let began_at = Instant::now();
        let wish = Wish::octet("memory/file").option("blksize", 1468);
        let fetched = fetch(server.address(), &wish).unwrap();
        assert_same(&fetched.bytes, &large);
        began_at.elapsed()
    };
    let usual = fetch_large(&server);

    let mut waiting = Client::new(server.address());
    let wish = Wish::octet("disk/file")
        .option("blksize", 1468)
        .option("windowsize", 16);
    waiting.request(&wish);
    let mut download = Download::new(&wish);
    let oack = waiting.receive();
    let answer = download.on_packet(oack).expect("an OACK is acknowledged");
    waiting.send(&answer);
    disk.wait_for_a_held_read();

    let meanwhile = fetch_large(&server);
    assert!(disk.holds_reads(), "the read was answered too early");
    println!("16 MiB from memory: {usual:?}, {meanwhile:?} beside a stalled disk");
    assert_eq!(waiting.receive_within(Duration::from_millis(1)), None);

    disk.answer();
    let download = waiting.complete(download).unwrap();
    assert_same(&download.bytes, &stalled_bytes);
}
