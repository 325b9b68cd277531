//! Faults seen in other servers, each with the conversation that brought it to light.

use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::Refusal;

use crate::desk::{CONFIG, Desk, IMAGE, KERNEL};
use crate::talk::{Talk, on_wire};

const PORT: u16 = 2070;
const OTHER: u16 = 2071;

/// One server keeps the OACK in the buffer that it receives into.
#[test]
fn an_oack_is_repeated_without_a_byte_of_a_stray_packet() {
    let options = "tsize 0, blksize 1408";
    let granted = "tsize 10000, blksize 1408";
    let mut desk = Desk::new(3);
    desk.at(0.0).asks(PORT, KERNEL, options).oack(PORT, granted);
    desk.at(0.1).socket_gets(PORT, &[0xEE; 516]).nothing();
    desk.at(0.2)
        .socket_gets(PORT, b"\0\x03\0\x01stray data")
        .nothing();
    desk.at(0.3)
        .socket_gets(PORT, b"\0\x06blksize\x008\0")
        .nothing();
    desk.at(0.4).acks(PORT, 7).nothing();
    desk.at(0.5)
        .listener_gets(OTHER, b"\0\x05\0\0stray error\0")
        .nothing();
    desk.at(0.6).socket_gets(PORT, b"").nothing();
    desk.at(1.1).oack(PORT, granted);
    desk.at(1.2).acks(PORT, 0).data(PORT, 1, 1408);
}

/// One server sends a DATA 1 of four bytes when there are no options and the first was lost.
#[test]
fn data_1_is_repeated_whole() {
    let mut desk = Desk::new(3);
    desk.at(0.0).asks(PORT, KERNEL, "").data(PORT, 1, 512);
    desk.at(1.1).data(PORT, 1, 512);
    desk.at(2.0).acks(PORT, 1).data(PORT, 2, 512);

    let mut desk = Desk::new(3);
    desk.at(0.0).asks(PORT, CONFIG, "").data(PORT, 1, 100);
    desk.at(1.1).data(PORT, 1, 100);
    desk.at(2.0)
        .acks(PORT, 1)
        .ended(PORT, Outcome::Complete, 100);
}

/// One server takes any ACK for the newest and goes on behind it: the client's file has a hole.
#[test]
fn an_ack_from_the_future_skips_nothing() {
    let mut desk = Desk::new(3);
    desk.at(0.0).asks(PORT, KERNEL, "").data(PORT, 1, 512);
    desk.at(0.01).acks(PORT, 1).data(PORT, 2, 512);
    desk.at(0.02).acks(PORT, 5).nothing();
    desk.at(0.03).acks(PORT, 65_535).nothing();
    desk.at(0.04).acks(PORT, 2).data(PORT, 3, 512);
}

#[test]
fn a_directory_is_no_empty_file() {
    let mut desk = Desk::new(3);
    desk.at(0.0)
        .asks(PORT, ("directory", 0), "tsize 0")
        .error(PORT, Refusal::NotAFile)
        .serves(0, 0);
}

/// Sizes of 32 bits tell 705,032,704 here.
#[test]
fn a_size_above_4_gib_is_told_whole() {
    let mut desk = Desk::new(3);
    desk.at(0.0)
        .asks(PORT, IMAGE, "tsize 0")
        .oack(PORT, "tsize 5000000000");
    desk.at(0.01)
        .sends_error(PORT, 8)
        .ended(PORT, Outcome::Cancelled, 0);
}

/// And a file of that size goes on to be sent where 32 bits would end it.
#[test]
fn a_file_above_4_gib_has_all_its_blocks() {
    let mut talk = Talk::under_way("blksize 65464, windowsize 64", 5_000_000_000);
    let last = 5_000_000_000 / 65_464 + 1;
    talk.runs_until_sent(last).sends(76_353..=last);
    talk.soon().ack(on_wire(last)).ends(Outcome::Complete);
    assert_eq!(talk.transfer.acknowledged_bytes(), 5_000_000_000);
}

/// Firmware that repeats its request within milliseconds gets five transfers from some servers, which
/// then disturb one another.
#[test]
fn five_equal_requests_are_one_transfer() {
    let mut desk = Desk::new(8);
    desk.at(0.0)
        .asks(PORT, KERNEL, "blksize 1024")
        .oack(PORT, "blksize 1024");
    for now in [0.002, 0.004, 0.006, 0.008] {
        desk.at(now).asks(PORT, KERNEL, "blksize 1024").nothing();
    }
    desk.serves(1, 1);
    assert_eq!(desk.opened(), 1);
    desk.at(0.01).acks(PORT, 0).data(PORT, 1, 1024);
    desk.at(0.02).asks(PORT, KERNEL, "blksize 1024").nothing();
    desk.at(0.03).acks(PORT, 1).data(PORT, 2, 1024);
}

/// The same while they wait for a slot.
#[test]
fn five_equal_requests_that_wait_are_one_transfer() {
    let mut desk = Desk::new(1);
    desk.at(0.0).asks(OTHER, CONFIG, "").data(OTHER, 1, 100);
    for now in [0.1, 0.102, 0.104, 0.106, 0.108] {
        desk.at(now).asks(PORT, KERNEL, "blksize 1024").nothing();
    }
    assert_eq!(desk.lab.server.pending(), 1);
    desk.at(0.2)
        .acks(OTHER, 1)
        .ended(OTHER, Outcome::Complete, 100)
        .oack(PORT, "blksize 1024");
    assert_eq!(desk.opened(), 2);
    assert_eq!(desk.lab.server.pending(), 0);
}

/// Some servers count retries for a whole transfer: a long file over a bad link never arrives.
#[test]
fn each_block_has_a_retry_budget_of_its_own() {
    let blocks = 200;
    let mut talk = Talk::under_way("blksize 8", 8 * blocks - 1);
    let mut sent_at = 0.001;
    for block in 1..blocks {
        talk.sends(block..=block);
        talk.due(sent_at + 0.2).sends(block..=block);
        talk.due(sent_at + 0.6).sends(block..=block);
        talk.due(sent_at + 1.4).sends(block..=block);
        sent_at += 2.0;
        talk.at(sent_at).ack(on_wire(block));
    }
    talk.sends(blocks..=blocks);
    talk.soon().ack(on_wire(blocks)).ends(Outcome::Complete);
    assert_eq!(talk.transfer.retransmissions(), 3 * (blocks - 1));
}

/// One server never sends its OACK again: a lost one ends the boot.
#[test]
fn a_lost_oack_comes_again() {
    let mut desk = Desk::new(3);
    desk.at(0.0)
        .asks(PORT, KERNEL, "blksize 1024")
        .oack(PORT, "blksize 1024");
    desk.at(1.1).oack(PORT, "blksize 1024");
    desk.at(3.1).oack(PORT, "blksize 1024");
    desk.at(6.9).nothing();
    desk.at(7.1).oack(PORT, "blksize 1024");
    desk.at(12.1).oack(PORT, "blksize 1024");
    desk.at(16.9).nothing();
    desk.at(17.1).ended(PORT, Outcome::NoAnswer, 0).serves(0, 0);
}

/// A server that answers ERROR to ERROR talks to another of its kind for ever.
#[test]
fn an_error_on_the_listening_socket_gets_no_answer() {
    let mut desk = Desk::new(3);
    desk.at(0.0)
        .listener_gets(69, b"\0\x05\0\x04illegal\0")
        .nothing();
    desk.at(0.1).listener_gets(69, b"\0\x04\0\x01").nothing();
    desk.at(0.2)
        .listener_gets(69, b"\0\x03\0\x01data")
        .nothing();
    desk.at(0.3)
        .listener_gets(69, b"\0\x06tsize\x001\0")
        .nothing();
    desk.serves(0, 0);
}
