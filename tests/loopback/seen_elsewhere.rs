//! Faults seen in other servers, each with its test. Others of that kind are where their subject is: `names` (a directory served
//! as an empty file, a FIFO that hangs the server), `transfers` (a 32-bit tsize), `changing_files` (a stale length), `admission`
//! (five transfers for five equal requests), `netascii` (a whole file in memory).

use std::net::UdpSocket;

use crate::client::{Client, fetch_bytes};
use crate::download::{Download, Wish};
use crate::packet::{self, Packet};
use crate::root::assert_same;
use crate::server::serving;

/// The retransmission came from the buffer in which a stray packet had been received since. It also was sent once only,
/// with the client left to itself.
#[test]
fn an_oack_retransmitted_with_bytes_of_a_stray_packet() {
    let (_root, bytes, server) = serving(2_000, &[]);
    let wish = Wish::octet("file")
        .option("blksize", 1000)
        .option("tsize", 0)
        .option("windowsize", 2);
    let mut client = Client::new(server.address()).asking(&wish);
    let oack = client.receive_datagram();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    for stray in [
        &[0xee; 100][..],
        b"\0\x04",
        b"\0\x03\0\x01stray bytes of another",
        b"\0\x09\0\0",
    ] {
        client.send(stray);
        other.send_to(stray, client.tid()).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(client.receive_datagram(), oack, "the same again");
    }
    let mut download = Download::new(&wish);
    let answer = download.on_packet(packet::parse(&oack)).unwrap();
    client.send(&answer);
    assert_same(&client.complete(download).unwrap().bytes, &bytes);
}

/// Sent five times in all, since the client may be gone; the slot is free then.
#[test]
fn an_oack_never_sent_again_and_a_slot_never_freed() {
    let (_root, bytes, server) = serving(100, &["-n", "1"]);
    let wish = Wish::octet("file").option("tsize", 0);
    let mut silent = Client::new(server.address()).asking(&wish);
    let mut next = Client::new(server.address()).asking(&Wish::octet("file"));
    for _ in 0..5 {
        silent.expect_oack(&[("tsize", "100")]);
    }
    assert_same(&next.expect_data(1), &bytes);
    next.ack(1);
    server.wait_for_log(&["no answer to the first packet"]);
    silent.expect_nothing_yet();
}

/// Without options the first block was sent again as its header alone.
#[test]
fn data_1_retransmitted_as_a_runt() {
    let (_root, bytes, server) = serving(700, &[]);
    let mut client = Client::new(server.address()).asking(&Wish::octet("file"));
    let first = client.receive_datagram();
    assert_eq!(client.receive_datagram(), first);
    assert_same(&first[4..], &bytes[..512]);
    client.ack(1);
    assert_same(&client.expect_data(2), &bytes[512..]);
    client.ack(2);
}

#[test]
fn an_ack_from_the_future_that_skips_blocks() {
    let (_root, bytes, server) = serving(3_000, &[]);
    for windowsize in [1, 4] {
        let wish = Wish::octet("file").option("windowsize", windowsize);
        let mut client = Client::new(server.address()).asking(&wish);
        let mut download = Download::new(&wish);
        while !download.is_over() {
            let packet = client.receive();
            let ahead = match packet {
                // The whole first window is on its way; beyond it nothing may be acknowledged.
                Packet::Data { .. } => download.blocks + 6,
                _ => 3,
            };
            for future in [ahead, ahead + 1, 30_000, 40_000, 65_535] {
                client.ack(crate::download::wire_number(future));
            }
            if let Some(answer) = download.on_packet(packet) {
                client.send(&answer);
            }
        }
        assert_same(&download.bytes, &bytes);
    }
}

/// Each ACK twice doubled each DATA from there on: the sorcerer's apprentice.
#[test]
fn every_block_twice_because_of_one_ack_twice() {
    let (_root, bytes, server) = serving(20_000, &[]);
    let mut client = Client::new(server.address());
    let wish = Wish::octet("file");
    client.request(&wish);
    let mut download = Download::new(&wish);
    while !download.is_over() {
        let packet = client.receive();
        if let Some(answer) = download.on_packet(packet) {
            client.send(&answer);
            client.send(&answer);
        }
    }
    assert_same(&download.bytes, &bytes);
    assert_eq!(download.duplicates, 0);
}

/// One lost packet too many in a long transfer, and it ended, however well it went between.
#[test]
fn a_retry_budget_per_transfer_instead_of_per_step() {
    let (_root, bytes, server) = serving(40 * 512, &[]);
    let mut client = Client::new(server.address());
    let wish = Wish::octet("file");
    client.request(&wish);
    let mut download = Download::new(&wish);
    let mut lost = 0;
    while !download.is_over() {
        let packet = client.receive();
        // Every third block gets lost on its first way.
        if download.blocks % 3 == 2 && lost < download.blocks / 3 + 1 {
            lost += 1;
            continue;
        }
        if let Some(answer) = download.on_packet(packet) {
            client.send(&answer);
        }
    }
    assert_same(&download.bytes, &bytes);
    assert!(lost > 10, "{lost} lost");
    let line = server.wait_for_log(&["\"file\": complete"]);
    assert!(line.contains(&format!("{lost} retransmissions")), "{line}");
}

/// Other ports of other hosts: what they send to the port of a transfer is not for it.
#[test]
fn another_port_cannot_end_a_transfer() {
    let (_root, bytes, server) = serving(5_000, &[]);
    let mut client = Client::new(server.address()).asking(&Wish::octet("file"));
    let mut got = client.expect_data(1);
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    for packet in [packet::error(0, "stop"), packet::ack(1), packet::ack(2)] {
        other.send_to(&packet, client.tid()).unwrap();
    }
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    client.expect_nothing_yet();
    for block in 1..=9 {
        client.ack(block);
        got.extend(client.expect_data(block + 1));
    }
    client.ack(10);
    assert_same(&got, &bytes);
}

/// Several clients never send their last ACK; that is no failure, and it costs no slot.
#[test]
fn a_missing_last_ack_that_fails_the_transfer() {
    let (_root, bytes, server) = serving(300, &["-n", "1", "-t", "4"]);
    let wish = Wish::octet("file").option("blksize", 200);
    let mut client = Client::new(server.address()).asking(&wish);
    client.expect_oack(&[("blksize", "200")]);
    client.ack(0);
    client.expect_data(1);
    client.ack(1);
    assert_same(&client.expect_data(2), &bytes[200..]);
    // The block that was not acknowledged is sent again later; meanwhile the next client is served.
    assert_same(&fetch_bytes(server.address(), "file"), &bytes);
    for _ in 0..2 {
        client.expect_data(2);
    }
    let last = server.wait_for_log(&["\"file\": complete (last ACK missing)"]);
    let log = server.log_lines();
    let next = log
        .iter()
        .position(|line| line.contains("\"file\": complete;"));
    assert!(next.unwrap() < log.iter().position(|line| *line == last).unwrap());
}

/// A size probe of firmware ends with an ERROR of the client: a normal end, and nothing to log for everybody.
#[test]
fn a_size_probe_logged_as_a_failure() {
    let (_root, _, server) = serving(300, &[]);
    for code in [0, 8] {
        let mut client =
            Client::new(server.address()).asking(&Wish::octet("file").option("tsize", 0));
        client.expect_oack(&[("tsize", "300")]);
        client.send(&packet::error(code, "that is all"));
    }
    fetch_bytes(server.address(), "file");
    server.wait_for_log(&["\"file\": complete"]);
    assert_eq!(server.lines_with("\"file\"").len(), 1);
}
