//! Files that change while they are being sent.

use std::fs::{self, File};
use std::io::Write;

use crate::client::{Client, fetch, fetch_bytes};
use crate::download::{Download, Wish};
use crate::packet::Packet;
use crate::root::{Root, assert_same, pattern};
use crate::server::Server;

/// A client that has got the first block of `file`, and what it knows.
fn halfway(server: &Server, wish: &Wish) -> (Client, Download) {
    let mut client = Client::new(server.address());
    client.request(wish);
    let mut download = Download::new(wish);
    while download.blocks == 0 {
        let answer = download.on_packet(client.receive()).unwrap();
        client.send(&answer);
    }
    (client, download)
}

/// Seen in other servers: SIGBUS, and with it the end of all transfers.
#[test]
fn a_file_truncated_while_being_sent() {
    let (root, _) = Root::with_file(300_000);
    let other_bytes = root.write("other", 300_000);
    for length in [0, 4096, 5000] {
        root.write("file", 300_000);
        let mut server = Server::start(root.path());
        let (mut client, download) = halfway(&server, &Wish::octet("file"));
        let (mut other, other_download) = halfway(&server, &Wish::octet("other"));

        File::options()
            .write(true)
            .open(root.file("file"))
            .unwrap()
            .set_len(length)
            .unwrap();
        let (code, message) = client.complete(download).unwrap_err();
        assert_eq!(code, 0, "{message}");
        server.wait_for_log(&["\"file\"", "file changed"]);

        assert_same(&other.complete(other_download).unwrap().bytes, &other_bytes);
        let now = fetch_bytes(server.address(), "file");
        assert_same(&now, &fs::read(root.file("file")).unwrap());
        assert!(server.is_running());
    }
}

/// Netascii is read and not mapped, but a file cut short is no more complete for that.
#[test]
fn a_netascii_file_truncated_while_being_sent() {
    let (root, _) = Root::with_file(300_000);
    let server = Server::start(root.path());
    let (mut client, download) = halfway(&server, &Wish::netascii("file"));
    File::options()
        .write(true)
        .open(root.file("file"))
        .unwrap()
        .set_len(100)
        .unwrap();
    assert_eq!(client.complete(download).unwrap_err().0, 0);
    server.wait_for_log(&["\"file\"", "file changed"]);
}

/// Seen in other servers: a stale length when a file grew under another reader.
#[test]
fn a_stale_length_when_a_file_grew_under_another_reader() {
    let (root, bytes) = Root::with_file(100_000);
    let server = Server::start(root.path());
    let wish = Wish::octet("file").option("tsize", 0);
    let (mut first, first_download) = halfway(&server, &wish);

    let more = pattern(70_000, 99);
    File::options()
        .append(true)
        .open(root.file("file"))
        .unwrap()
        .write_all(&more)
        .unwrap();
    let second = fetch(server.address(), &wish).unwrap();
    assert_eq!(second.option("tsize"), Some("170000"));
    assert_same(&second.bytes, &[&bytes[..], &more].concat());

    // The first one gets what it was promised.
    let first_download = first.complete(first_download).unwrap();
    assert_eq!(first_download.option("tsize"), Some("100000"));
    assert_same(&first_download.bytes, &bytes);
}

#[test]
fn a_file_replaced_while_being_sent() {
    let (root, old) = Root::with_file(100_000);
    let server = Server::start(root.path());
    let (mut first, first_download) = halfway(&server, &Wish::octet("file"));

    let new = pattern(100_000, 5);
    root.replace("file", &new);
    assert_same(&fetch_bytes(server.address(), "file"), &new);
    assert_same(&first.complete(first_download).unwrap().bytes, &old);
}

#[test]
fn a_file_deleted_while_being_sent() {
    let (root, bytes) = Root::with_file(100_000);
    let server = Server::start(root.path());
    let (mut first, first_download) = halfway(&server, &Wish::octet("file"));

    fs::remove_file(root.file("file")).unwrap();
    assert_eq!(
        fetch(server.address(), &Wish::octet("file")).unwrap_err().0,
        1
    );
    assert_same(&first.complete(first_download).unwrap().bytes, &bytes);
}

/// A mapping kept for others must not hide that the file was written anew in its place.
#[test]
fn a_file_rewritten_between_two_requests() {
    let (root, old) = Root::with_file(10_000);
    let server = Server::start(root.path());
    assert_same(&fetch_bytes(server.address(), "file"), &old);
    let new = pattern(10_000, 77);
    root.write_bytes("file", &new);
    assert_same(&fetch_bytes(server.address(), "file"), &new);
}

#[test]
fn a_root_emptied_and_filled_again_under_the_server() {
    let (root, _) = Root::with_file(10);
    let server = Server::start(root.path());
    fs::remove_file(root.file("file")).unwrap();
    let mut client = Client::new(server.address());
    client.request(&Wish::octet("file"));
    assert!(matches!(client.receive(), Packet::Error { code: 1, .. }));
    let bytes = root.write("file", 600);
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
}
