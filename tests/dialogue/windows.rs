//! Windows of several blocks (RFC 7440).

use ripple_tftpd::transfer::Outcome;

use crate::talk::Talk;

#[test]
fn a_window_follows_the_ack_of_the_one_before() {
    let mut talk = Talk::under_way("windowsize 4", 512 * 11 + 7);
    talk.sends(1..=4);
    talk.at(0.002).ack(4).sends(5..=8);
    // The last window is only partly filled.
    talk.at(0.003).ack(8).sends(9..=12);
    talk.at(0.004).ack(12).ends(Outcome::Complete);
    assert_eq!(talk.transfer.retransmissions(), 0);
}

#[test]
fn the_last_window_may_be_short() {
    let mut talk = Talk::under_way("windowsize 4", 512 * 5);
    talk.sends(1..=4);
    talk.at(0.002).ack(4).sends(5..=6);
    talk.at(0.003).ack(6).ends(Outcome::Complete);
}

#[test]
fn a_file_may_be_shorter_than_a_window() {
    let mut talk = Talk::under_way("windowsize 64", 512);
    talk.sends(1..=2);
    talk.at(0.002).ack(2).ends(Outcome::Complete);

    let mut talk = Talk::under_way("windowsize 64", 0);
    talk.sends(1..=1);
    talk.at(0.002).ack(1).ends(Outcome::Complete);
}

#[test]
fn an_ack_within_the_window_tells_a_gap_and_the_rest_is_sent_again() {
    let mut talk = Talk::under_way("windowsize 8", 1 << 20);
    talk.sends(1..=8);
    talk.at(0.002).ack(3).sends(4..=11);
    talk.at(0.003).ack(11).sends(12..=19);
    assert_eq!(talk.transfer.retransmissions(), 5);
    assert_eq!(talk.transfer.acknowledged_bytes(), 512 * 11);
}

#[test]
fn a_gap_in_the_last_window() {
    let mut talk = Talk::under_way("windowsize 8", 512 * 10 + 1);
    talk.sends(1..=8);
    talk.at(0.002).ack(8).sends(9..=11);
    talk.at(0.003).ack(9).sends(10..=11);
    talk.at(0.004).ack(11).ends(Outcome::Complete);
}

#[test]
fn a_lost_window_is_sent_again_after_the_rto() {
    let mut talk = Talk::under_way("windowsize 4", 1 << 20);
    talk.sends(1..=4);
    talk.at(0.002).ack(4).sends(5..=8);
    talk.repeats(5..=8, &[0.202, 0.602]);
    talk.at(0.8).ack(8).sends(9..=12).waits_until(1.0);
}

#[test]
fn old_and_future_acks_are_ignored_in_a_window() {
    let mut talk = Talk::under_way("windowsize 4", 1 << 20);
    talk.runs_until_sent(12).sends(9..=12);
    for outside in (0..=7).chain(13..=u16::MAX) {
        talk.at(0.1).ack(outside).nothing();
    }
    assert_eq!(talk.transfer.acknowledged_bytes(), 512 * 8);
    talk.at(0.2).ack(12).sends(13..=16);
}

/// A window leaves in bursts; what has not left yet cannot have arrived.
#[test]
fn an_ack_of_what_has_not_left_yet_is_ignored() {
    let mut talk = Talk::begun("windowsize 4", 1 << 20);
    talk.at(0.001).socket_takes(2).ack(0).sends(1..=2);
    talk.at(0.002).ack(3).nothing();
    talk.at(0.002).ack(4).nothing();
    talk.at(0.003).socket_is_writable().sends(3..=4);
    talk.at(0.004).ack(4).sends(5..=8);
}

#[test]
fn the_timer_runs_from_the_last_packet_of_a_window() {
    let mut talk = Talk::begun("windowsize 4", 1 << 20);
    talk.at(0.001).socket_takes(2).ack(0).sends(1..=2);
    talk.at(0.2).socket_is_writable().sends(3..=4);
    talk.due(0.4).sends(1..=4);
}

/// The round trip is that of a whole window: from its first packet to the ACK of its last.
#[test]
fn a_window_measures_its_round_trip_from_its_first_packet() {
    let mut talk = Talk::begun("windowsize 4", 1 << 20);
    talk.due(1.0).sends_oack();
    talk.at(1.1).socket_takes(2).ack(0).sends(1..=2);
    talk.at(1.2).socket_is_writable().sends(3..=4);
    // 0.4 s since the first packet: RTO 1.2 s.
    talk.at(1.5).ack(4).sends(5..=8).waits_until(2.7);
}

#[test]
fn a_gap_measures_nothing() {
    let mut talk = Talk::begun("windowsize 4", 1 << 20);
    talk.at(0.4).ack(0).sends(1..=4);
    talk.at(0.41).ack(2).sends(3..=6).waits_until(0.41 + 1.2);
    // The window holds blocks that were sent twice.
    talk.at(0.42).ack(6).sends(7..=10).waits_until(0.42 + 1.2);
    // This one does not: RTTVAR 3/4 x 0.2 + 1/4 x 0.2, SRTT 7/8 x 0.4 + 1/8 x 0.2.
    talk.at(0.62)
        .ack(10)
        .sends(11..=14)
        .waits_until(0.62 + 1.175);
}

/// "An ACK is matched to the one block it can mean within the window": the window was sent whole, and
/// that it is being sent once more takes nothing back. A client that ignores blocks it has seen
/// (busybox, for one) will not acknowledge them again.
#[test]
fn the_ack_of_a_whole_window_counts_while_it_is_being_repeated() {
    let mut talk = Talk::under_way("windowsize 4", 1 << 20);
    talk.sends(1..=4);
    talk.waits_until(0.201).socket_takes(2);
    talk.due(0.201).sends(1..=2);
    // The first sending had arrived; its ACK was late.
    talk.at(0.26).ack(4).nothing();
    talk.at(0.27).socket_is_writable().sends(5..=8);
}

/// The same in lockstep, where the socket takes nothing at the very moment.
#[test]
fn the_ack_of_a_block_counts_when_its_repeat_has_not_left_yet() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.sends(1..=1);
    talk.waits_until(0.201).socket_takes(0);
    talk.due(0.201).nothing();
    talk.at(0.26).ack(1).nothing();
    talk.at(0.27).socket_is_writable().sends(2..=2);
}

#[test]
fn the_greatest_window_has_room_for_every_number() {
    let mut talk = Talk::under_way("windowsize 65535, blksize 8", 8 * 200_000);
    talk.sends(1..=65_535);
    talk.at(0.002).ack(65_535).sends(65_536..=131_070);
    // Of the 65,536 numbers one means "start again", all others a block of this window.
    talk.at(0.003).ack(0).sends(65_537..=131_071);
    talk.at(0.004).ack(65_535).sends(131_072..=196_606);
    talk.at(0.025).ack(65_535).sends(131_072..=196_606);
    talk.at(0.026).ack(65_534).sends(196_607..=200_001);
    talk.at(0.027).ack(3393).ends(Outcome::Complete);
}
