//! Text as RFC 764 has it on the wire: a line ends in CR LF, a CR of its own is CR NUL.

use crate::client::fetch;
use crate::download::Wish;
use crate::machine::{alone, status};
use crate::root::{Root, assert_same, text};
use crate::server::Server;

pub(crate) fn on_the_wire(file: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(file.len() * 2);
    for &byte in file {
        match byte {
            b'\r' => wire.extend(b"\r\0"),
            b'\n' => wire.extend(b"\r\n"),
            other => wire.push(other),
        }
    }
    wire
}

#[test]
fn carriage_returns_line_feeds_and_nuls_on_block_edges() {
    let root = Root::new();
    let server = Server::start(root.path());
    for special in *b"\r\n\0" {
        for before in [0, 509, 510, 511, 512, 513, 1022, 1023, 1024] {
            for after in [0, 1, 600] {
                let file = [vec![b'a'; before], vec![special; 2], vec![b'z'; after]].concat();
                root.write_bytes("text", &file);
                let download = fetch(server.address(), &Wish::netascii("text")).unwrap();
                assert_same(&download.bytes, &on_the_wire(&file));
            }
        }
    }
}

/// The last block is short because of what goes over the wire, not because of what is in the file.
#[test]
fn a_translation_that_fills_its_last_block_exactly() {
    let root = Root::new();
    let server = Server::start(root.path());
    root.write_bytes("text", &[b'\n'; 512]);
    let download = fetch(server.address(), &Wish::netascii("text")).unwrap();
    assert_same(&download.bytes, &on_the_wire(&[b'\n'; 512]));
    assert_eq!(download.blocks, 3);
}

#[test]
fn blocks_and_windows_of_other_sizes() {
    let root = Root::new();
    let file = text(50_000);
    root.write_bytes("text", &file);
    let server = Server::start(root.path());
    for blksize in [8, 9, 1408] {
        for windowsize in [1, 5, 64] {
            let wish = Wish::netascii("text")
                .option("blksize", blksize)
                .option("windowsize", windowsize);
            let download = fetch(server.address(), &wish).unwrap();
            assert_same(&download.bytes, &on_the_wire(&file));
        }
    }
}

/// The size on the wire is not known before the file has been read.
#[test]
fn tsize_is_left_out() {
    let root = Root::new();
    root.write_bytes("text", b"line\n");
    let server = Server::start(root.path());
    let wish = Wish::netascii("text")
        .option("tsize", 0)
        .option("blksize", 1000);
    let download = fetch(server.address(), &wish).unwrap();
    assert_eq!(download.agreed, [("blksize".to_owned(), "1000".to_owned())]);
    assert_eq!(download.bytes, b"line\r\n");
}

/// Seen in other servers: the whole file translated in memory before the first block goes out.
#[test]
fn a_netascii_file_of_64_mib_in_bounded_memory() {
    let _turn = alone();
    let root = Root::new();
    let file = text(64 << 20);
    root.write_bytes("text", &file);
    let server = Server::start(root.path());
    let wish = Wish::netascii("text")
        .option("blksize", 8192)
        .option("windowsize", 8);
    let download = fetch(server.address(), &wish).unwrap();
    assert_same(&download.bytes, &on_the_wire(&file));
    let peak = status(server.process(), "VmHWM");
    assert!(peak < 16 << 10, "{peak} KiB resident at the peak");
}
