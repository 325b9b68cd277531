//! Clients that begin anew from the same port: right behind the last ACK, after they ended a transfer
//! themselves, or in its midst.

use crate::client::Client;
use crate::download::Wish;
use crate::packet;
use crate::root::{Root, assert_same};
use crate::server::Server;

/// As the interactive clients of BSD and tftp-hpa, which have one socket for a whole session.
#[test]
fn a_request_right_behind_the_last_ack_is_answered() {
    let root = Root::new();
    let bytes = root.write("small", 100);
    let server = Server::start(root.path());
    let mut client = Client::new(server.address());
    client.request(&Wish::octet("small"));
    for _ in 0..20 {
        assert_same(&client.expect_data(1), &bytes);
        client.ack(1);
        client.request(&Wish::octet("small"));
        client.forget_tid();
    }
    assert_same(&client.expect_data(1), &bytes);
    client.ack(1);
    let complete = |line: &str| line.contains("complete;");
    server.wait_for_lines("complete", 21, complete);
    let unconfirmed = |line: &String| line.contains("last ACK missing");
    assert!(!server.log_lines().iter().any(unconfirmed));
}

/// The loader of FreeBSD and illumos seeks backwards: it ends the transfer and asks again at once.
#[test]
fn a_request_right_behind_an_error_is_answered() {
    let root = Root::new();
    let bytes = root.write("kernel", 300_000);
    let server = Server::start(root.path());
    let wish = Wish::octet("kernel")
        .option("blksize", 1428)
        .option("tsize", 0);
    let mut client = Client::new(server.address());
    client.request(&wish);
    for blocks in 0..33 {
        client.expect_oack(&[("blksize", "1428"), ("tsize", "300000")]);
        for block in 0..=blocks {
            client.ack(block);
            let at = usize::from(block) * 1428;
            assert_same(&client.expect_data(block + 1), &bytes[at..at + 1428]);
        }
        client.send(&packet::error(0, "RRQ read aborted"));
        client.request(&wish);
        client.forget_tid();
    }
    client.expect_oack(&[("blksize", "1428"), ("tsize", "300000")]);
}
