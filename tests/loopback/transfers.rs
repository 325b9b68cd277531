//! Whole files of the sizes where mistakes live, byte for byte.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::client::{Client, fetch, fetch_bytes, refusal_of};
use crate::download::{Download, Wish};
use crate::packet;
use crate::root::{Root, assert_same};
use crate::server::Server;

#[test]
fn files_around_a_block_without_options() {
    let root = Root::new();
    let server = Server::start(root.path());
    for length in [0, 1, 511, 512, 513, 1024, 40_000] {
        let bytes = root.write("file", length);
        let download = fetch(server.address(), &Wish::octet("file")).unwrap();
        assert_same(&download.bytes, &bytes);
        let blocks = u64::try_from(length / 512 + 1).unwrap();
        assert_eq!(
            (download.blocks, download.duplicates, download.agreed.len()),
            (blocks, 0, 0),
            "{length} bytes"
        );
    }
}

#[test]
fn files_around_a_block_of_an_agreed_size() {
    let root = Root::new();
    let server = Server::start(root.path());
    for blksize in [8, 513, 1408, 9000, 65464] {
        for length in [0, 1, blksize - 1, blksize, blksize + 1, 3 * blksize] {
            let bytes = root.write("file", length);
            let wish = Wish::octet("file").option("blksize", blksize);
            let download = fetch(server.address(), &wish).unwrap();
            assert_same(&download.bytes, &bytes);
            assert_eq!(
                download.option("blksize"),
                Some(blksize.to_string().as_str())
            );
            let blocks = u64::try_from(length / blksize + 1).unwrap();
            assert_eq!(
                (download.blocks, download.duplicates),
                (blocks, 0),
                "{length} bytes in blocks of {blksize}"
            );
        }
    }
}

#[test]
fn files_around_a_window() {
    let root = Root::new();
    let server = Server::start(root.path());
    for windowsize in [2, 4, 7, 64] {
        for blocks in [windowsize - 1, windowsize, windowsize + 1, 3 * windowsize] {
            for odd in [0, 1] {
                let bytes = root.write("file", blocks * 512 + odd);
                let wish = Wish::octet("file").option("windowsize", windowsize);
                let download = fetch(server.address(), &wish).unwrap();
                assert_same(&download.bytes, &bytes);
                let agreed = download.option("windowsize").unwrap();
                assert_eq!(
                    (agreed, download.duplicates),
                    (windowsize.to_string().as_str(), 0)
                );
            }
        }
    }
}

/// 65535 is followed by 0. The file ends just before, just after and well beyond that.
#[test]
fn block_numbers_wrap() {
    let root = Root::new();
    let server = Server::start(root.path());
    for (windowsize, lengths) in [
        (1, &[65536 * 8 + 3][..]),
        (8, &[65535 * 8 - 1, 65535 * 8, 65535 * 8 + 1]),
        (64, &[65536 * 8, 200_000 * 8]),
    ] {
        for &length in lengths {
            let bytes = root.write("file", length);
            let wish = Wish::octet("file")
                .option("blksize", 8)
                .option("windowsize", windowsize);
            let download = fetch(server.address(), &wish).unwrap();
            assert_same(&download.bytes, &bytes);
            assert_eq!(download.blocks, u64::try_from(length / 8 + 1).unwrap());
        }
    }
}

const FIVE_GIB: u64 = 5 << 30;

/// Seen in other servers: 5 GiB announced as 1 GiB, or as a negative number.
#[test]
fn a_size_above_4_gib_fits_in_tsize() {
    let root = Root::new();
    let head = root.write("huge", 100_000);
    File::options()
        .write(true)
        .open(root.file("huge"))
        .unwrap()
        .set_len(FIVE_GIB)
        .unwrap();
    let server = Server::start(root.path());
    let wish = Wish::octet("huge")
        .option("tsize", 0)
        .option("blksize", 16384);

    let mut client = Client::new(server.address()).asking(&wish);
    client.expect_oack(&[("tsize", "5368709120"), ("blksize", "16384")]);
    client.ack(0);
    let mut got = Vec::new();
    for block in 1..=7 {
        got.extend(client.expect_data(block));
        client.ack(block);
    }
    got.truncate(head.len());
    assert_same(&got, &head);
    client.send(&packet::error(0, "that is enough"));
}

/// Run it by `cargo test --test loopback -- --ignored`.
#[test]
#[ignore = "moves more than 4 GiB"]
fn a_file_above_4_gib_arrives() {
    let root = Root::new();
    let length = (4 << 30) + 12_345;
    let mark = b"just above four GiB";
    let file = File::create(root.file("huge")).unwrap();
    file.write_all_at(mark, 4 << 30).unwrap();
    file.set_len(length).unwrap();
    let server = Server::start(root.path());
    let wish = Wish::octet("huge")
        .option("blksize", 65464)
        .option("tsize", 0);

    let mut client = Client::new(server.address()).asking(&wish);
    let mut download = Download::new(&wish);
    let mut before = 0;
    while !download.complete {
        let answer = download.on_packet(client.receive());
        let start = before;
        before += u64::try_from(download.bytes.len()).unwrap();
        let mut expected = vec![0; download.bytes.len()];
        if start <= (4 << 30) && (4 << 30) < before {
            let at = usize::try_from((4 << 30) - start).unwrap();
            expected[at..at + mark.len()].copy_from_slice(mark);
        }
        assert_same(&download.bytes, &expected);
        download.bytes.clear();
        client.send(&answer.unwrap());
    }
    assert_eq!((before, download.duplicates), (length, 0));
}

#[test]
fn one_client_after_the_other_from_one_port() {
    let (root, bytes) = Root::with_file(2_000);
    let other = root.write("other", 700);
    let server = Server::start(root.path());
    let mut client = Client::new(server.address());
    for (name, expected) in [("file", &bytes), ("other", &other), ("file", &bytes)] {
        client.forget_tid();
        client.request(&Wish::octet(name));
        assert_same(
            &client
                .complete(Download::new(&Wish::octet(name)))
                .unwrap()
                .bytes,
            expected,
        );
    }
}

#[test]
fn a_file_that_nobody_ever_read_before() {
    let root = Root::new();
    let server = Server::start(root.path());
    let bytes = root.write("deep/er/file", 5_000);
    assert_same(&fetch_bytes(server.address(), "deep/er/file"), &bytes);
    fs::remove_dir_all(root.file("deep")).unwrap();
    assert_eq!(refusal_of(server.address(), "deep/er/file"), 1);
}
