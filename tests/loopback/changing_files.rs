//! Files that change while they are being sent.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use crate::client::{Client, fetch, fetch_bytes, refusal_of};
use crate::descriptors;
use crate::download::{Download, Wish};
use crate::faults::limit_address_space;
use crate::machine::status;
use crate::packet::Packet;
use crate::root::{Root, assert_same, pattern};
use crate::server::{Server, serving};

/// A client that has got the first block of `file`, and what it knows.
fn halfway(server: &Server, wish: &Wish) -> (Client, Download) {
    let mut client = Client::new(server.address());
    let download = client.begin(wish, 1);
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

/// Within its last page a file that was cut short reads as zeros; that must not pass for the file.
#[test]
fn a_tail_of_zeros_where_a_file_was_cut_within_its_last_page() {
    let (root, _, server) = serving(8_000, &[]);
    let (mut client, download) = halfway(&server, &Wish::octet("file"));
    let file = File::options().write(true).open(root.file("file"));
    file.unwrap().set_len(5_000).unwrap();
    assert_eq!(client.complete(download).unwrap_err().0, 0);
    server.wait_for_log(&["\"file\"", "file changed"]);
}

/// Netascii is read and not mapped, but a file cut short is no more complete for that.
#[test]
fn a_netascii_file_truncated_while_being_sent() {
    let (root, _, server) = serving(300_000, &[]);
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

/// As `cp`, `scp` and `rsync --inplace` do it: the same file, as long as before, other bytes.
fn rewrite(root: &Root, name: &str, bytes: &[u8]) {
    let file = File::options().write(true).open(root.file(name));
    file.unwrap().write_all(bytes).unwrap();
}

/// Half of the old file and half of the new one must not pass for either: seen as 300,000 bytes that were logged as complete.
#[test]
fn a_mixture_of_a_file_rewritten_in_place_while_being_sent() {
    let windowed = |wish: Wish| wish.option("blksize", 1000).option("windowsize", 8);
    let (octet, netascii) = (Wish::octet("file"), Wish::netascii("file"));
    // With a last block that is empty, and with one that is not.
    for length in [30_000, 512 * 60] {
        for wish in [
            octet.clone(),
            windowed(octet.clone()),
            octet.clone().option("blksize", 512),
            netascii.clone(),
            windowed(netascii.clone()),
        ] {
            let (root, _, server) = serving(length, &[]);
            must_not_be_mixed(&root, &server, &wish);
        }
    }
}

/// As above, for a file that is read because it cannot be mapped.
#[test]
fn a_mixture_of_a_file_that_is_not_mapped() {
    let (root, _) = Root::with_file(30_000);
    let server = descriptors::start(root.path());
    let used = status(server.process(), "VmSize") << 10;
    limit_address_space(server.process(), used + (16 << 20));
    for windowsize in [1, 8] {
        let wish = Wish::octet("file").option("windowsize", windowsize);
        must_not_be_mixed(&root, &server, &wish);
        server.wait_for_log(&["\"file\"", "read instead"]);
    }
}

fn must_not_be_mixed(root: &Root, server: &Server, wish: &Wish) {
    let length = fs::metadata(root.file("file")).unwrap().len();
    let new = pattern(length.try_into().unwrap(), 7);
    let (mut client, download) = halfway(server, wish);
    rewrite(root, "file", &new);
    let refusal = client.complete(download).unwrap_err();
    assert_eq!(
        refusal,
        (0, "file changed while it was sent".into()),
        "{wish:?}"
    );
    let told = format!(
        ":{} \"file\": file changed while it was sent;",
        client.port()
    );
    server.wait_for_log(&["WARN", &told]);
    // Who asks now gets what is there now.
    let octet = Wish::octet("file");
    assert_same(&fetch(server.address(), &octet).unwrap().bytes, &new);
}

/// What waits is sent the first blocks of its file for minutes: time enough to write it anew.
#[test]
fn a_mixture_of_a_file_rewritten_under_a_client_that_is_held() {
    let (root, _) = Root::with_file(1_100);
    root.write("slow", 600_000);
    let server = Server::with(
        root.path(),
        &["-n", "1", "--hold", "0", "--small-file", "0"],
    );
    let (mut slow, slow_download) = halfway(&server, &Wish::octet("slow"));
    let mut held = Client::new(server.address()).asking(&Wish::octet("file"));
    let first = held.expect_data(1);
    assert_same(&first, &fs::read(root.file("file")).unwrap()[..512]);
    rewrite(&root, "file", &pattern(1_100, 7));
    held.ack(1);
    held.expect_data(2);
    held.ack(2);
    assert_eq!(held.expect_error(0), "file changed while it was sent");
    server.wait_for_log(&["WARN", "\"file\": file changed while it was sent;"]);
    assert_same(
        &slow.complete(slow_download).unwrap().bytes,
        &fs::read(root.file("slow")).unwrap(),
    );
}

/// A change of rights or names is none of the bytes.
#[test]
fn a_file_renamed_and_linked_while_being_sent() {
    let (root, bytes, server) = serving(30_000, &[]);
    let (mut client, download) = halfway(&server, &Wish::octet("file"));
    fs::rename(root.file("file"), root.file("old")).unwrap();
    fs::hard_link(root.file("old"), root.file("older")).unwrap();
    fs::set_permissions(root.file("old"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_same(&client.complete(download).unwrap().bytes, &bytes);
}

/// Seen in other servers: a stale length when a file grew under another reader.
#[test]
fn a_stale_length_when_a_file_grew_under_another_reader() {
    let (root, bytes, server) = serving(100_000, &[]);
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

    // Whether what it was promised is still there, nobody knows.
    assert_eq!(first_download.option("tsize"), Some("100000"));
    assert_eq!(first.complete(first_download).unwrap_err().0, 0);
}

#[test]
fn a_file_replaced_while_being_sent() {
    let (root, old, server) = serving(100_000, &[]);
    let (mut first, first_download) = halfway(&server, &Wish::octet("file"));

    let new = pattern(100_000, 5);
    root.replace("file", &new);
    assert_same(&fetch_bytes(server.address(), "file"), &new);
    assert_same(&first.complete(first_download).unwrap().bytes, &old);
}

#[test]
fn a_file_deleted_while_being_sent() {
    let (root, bytes, server) = serving(100_000, &[]);
    let (mut first, first_download) = halfway(&server, &Wish::octet("file"));

    fs::remove_file(root.file("file")).unwrap();
    assert_eq!(refusal_of(server.address(), "file"), 1);
    assert_same(&first.complete(first_download).unwrap().bytes, &bytes);
}

/// A mapping kept for others must not hide that the file was written anew in its place.
#[test]
fn a_file_rewritten_between_two_requests() {
    let (root, old, server) = serving(10_000, &[]);
    assert_same(&fetch_bytes(server.address(), "file"), &old);
    let new = pattern(10_000, 77);
    root.write_bytes("file", &new);
    assert_same(&fetch_bytes(server.address(), "file"), &new);
}

#[test]
fn a_root_emptied_and_filled_again_under_the_server() {
    let (root, _, server) = serving(10, &[]);
    fs::remove_file(root.file("file")).unwrap();
    let mut client = Client::new(server.address()).asking(&Wish::octet("file"));
    assert!(matches!(client.receive(), Packet::Error { code: 1, .. }));
    let bytes = root.write("file", 600);
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
}
