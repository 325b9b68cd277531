//! What a repeated ACK of the block before the outstanding one does.

use ripple_tftpd::transfer::Outcome;

use crate::talk::{Talk, on_wire};

/// RFC 1123 section 4.2.3.1: were each duplicate ACK answered with DATA, one duplicate would double
/// every packet from then on.
#[test]
fn the_sorcerers_apprentice_gets_nothing() {
    let blocks = 1000;
    let mut talk = Talk::under_way("blksize 8", 8 * blocks - 1);
    for block in 1..=blocks {
        talk.sends(block..=block);
        // The ACK before it comes twice more.
        talk.soon().ack(on_wire(block - 1)).nothing();
        talk.soon().ack(on_wire(block - 1)).nothing();
        talk.soon().ack(on_wire(block));
    }
    talk.ends(Outcome::Complete);
    assert_eq!(talk.packets, 1 + blocks);
    assert_eq!(talk.transfer.retransmissions(), 0);
}

#[test]
fn in_lockstep_a_repeated_ack_draws_what_is_100_ms_old() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.sends(1..=1);
    talk.at(0.002).ack(1).sends(2..=2);
    talk.at(0.101_999).ack(1).nothing();
    talk.at(0.102).ack(1).sends(2..=2);
    // From then on it is the new sending that counts.
    talk.at(0.201_999).ack(1).nothing();
    talk.at(0.202).ack(1).sends(2..=2);
    talk.at(0.203).ack(2).sends(3..=3);
    assert_eq!(talk.transfer.retransmissions(), 2);
}

#[test]
fn in_lockstep_a_repeated_ack_draws_what_is_two_round_trips_old() {
    let mut talk = Talk::begun("blksize 1024", 1 << 20);
    talk.at(0.4).ack(0).sends(1..=1);
    talk.at(0.8).ack(1).sends(2..=2);
    talk.at(1.599_999).ack(1).nothing();
    talk.at(1.6).ack(1).sends(2..=2);
    talk.at(1.7).ack(1).nothing();
    talk.at(1.8).ack(2).sends(3..=3);
}

/// An old ROM whose first ACK was lost asks again after 1 s, which looks like a round trip of 1 s. Its next
/// three ACKs come 1 s apart, and then it gives up.
#[test]
fn in_lockstep_a_repeated_ack_draws_what_is_a_second_old_whatever_was_measured() {
    let mut talk = Talk::new("", 1 << 20);
    talk.at(0.0).begins().sends(1..=1);
    talk.at(0.99).ack(1).sends(2..=2);
    talk.at(1.989_999).ack(1).nothing();
    talk.at(1.99).ack(1).sends(2..=2);
    talk.at(2.99).ack(1).sends(2..=2);
}

#[test]
fn a_repeated_ack_0_is_like_any_other() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.sends(1..=1);
    talk.at(0.1).ack(0).nothing();
    talk.at(0.101).ack(0).sends(1..=1);
    talk.at(0.102).ack(1).sends(2..=2);
}

/// PXELINUX repeats its ACK within 110 ms; the block it asks for takes the place of the one that the
/// timer would send.
#[test]
fn a_sending_at_the_clients_wish_restarts_the_timer_but_doubles_nothing() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.sends(1..=1);
    talk.at(0.111).ack(0).sends(1..=1);
    talk.repeats(1..=1, &[0.311, 0.711]);
}

/// Karn's rule holds for these too.
#[test]
fn a_sending_at_the_clients_wish_measures_nothing() {
    let mut talk = Talk::begun("blksize 1024", 1 << 20);
    talk.at(0.4).ack(0).sends(1..=1);
    talk.at(1.2).ack(0).sends(1..=1);
    talk.at(1.200_001).ack(1).sends(2..=2);
    talk.waits_until(1.200_001 + 1.2);
}

#[test]
fn an_ack_repeated_while_nothing_is_out_draws_nothing() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.sends(1..=1);
    talk.at(0.002).socket_takes(0).ack(1).nothing();
    talk.at(0.2).ack(1).nothing();
    talk.at(0.3).socket_is_writable().sends(2..=2);
    talk.at(0.301).ack(2).sends(3..=3);
    assert_eq!(talk.transfer.retransmissions(), 0);
}

/// RFC 7440 section 4: it means "start again after this block".
#[test]
fn in_a_window_a_repeated_ack_begins_the_window_again_once_per_round_trip() {
    let mut talk = Talk::begun("windowsize 4", 1 << 20);
    talk.at(0.01).ack(0).sends(1..=4);
    talk.at(0.02).ack(4).sends(5..=8);
    // 5 is lost. edk2 sends one ACK for each of 6, 7 and 8.
    talk.at(0.03).ack(4).sends(5..=8);
    talk.at(0.030_1).ack(4).nothing();
    talk.at(0.030_2).ack(4).nothing();
    // 5 is lost again.
    talk.at(0.039_999).ack(4).nothing();
    talk.at(0.04).ack(4).sends(5..=8);
    talk.at(0.05).ack(8).sends(9..=12);
    assert_eq!(talk.transfer.retransmissions(), 8);
}

/// After a gap was told by an ACK within the window, the other ACKs of the same gap mean nothing new.
#[test]
fn the_acks_that_follow_a_gap_are_one_wish() {
    let mut talk = Talk::begun("windowsize 8", 1 << 20);
    talk.at(0.01).ack(0).sends(1..=8);
    talk.at(0.02).ack(3).sends(4..=11);
    talk.at(0.020_1).ack(3).nothing();
    talk.at(0.020_2).ack(3).nothing();
    talk.at(0.020_3).ack(3).nothing();
    talk.at(0.03).ack(11).sends(12..=19);
    assert_eq!(talk.transfer.retransmissions(), 5);
}
