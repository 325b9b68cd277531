//! When something is sent again by itself, and when a client is given up.

use ripple_tftpd::transfer::Outcome;

use crate::desk::{Desk, KERNEL};
use crate::laboratory::packets;
use crate::talk::Talk;

#[test]
fn the_rto_is_1_s_before_anything_was_measured() {
    let mut talk = Talk::new("blksize 1024", 5000);
    talk.at(0.0).begins().sends_oack().waits_until(1.0);
}

#[test]
fn the_rto_is_never_below_200_ms() {
    let mut talk = Talk::begun("blksize 1024", 1 << 20);
    talk.at(0.000_1).ack(0).sends(1..=1).waits_until(0.200_1);
    talk.at(0.000_2).ack(1).sends(2..=2).waits_until(0.200_2);
}

/// In lockstep every lost packet costs the RTO: a quarter of a second each made a boot at 5 % loss twice as
/// long.
#[test]
fn once_a_packet_was_lost_the_rto_may_fall_to_100_ms() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.sends(1..=1);
    talk.due(0.201).sends(1..=1);
    // One round trip after the repeat: the first sending never arrived.
    talk.at(0.202).ack(1).sends(2..=2).waits_until(0.302);
    talk.due(0.302).sends(2..=2).waits_until(0.502);
}

/// PXELINUX asks again before the RTO would.
#[test]
fn a_loss_that_the_client_noticed_counts_too() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.sends(1..=1);
    talk.at(0.111).ack(0).sends(1..=1);
    talk.at(0.112).ack(1).sends(2..=2).waits_until(0.212);
}

/// iPXE sends its ACK again after 250 ms. Where the ACK was lost, that would pass for a slow answer to a block
/// that was sent once, and the loss would never be proved. So our repeat comes first, though the server's wheel
/// is late by up to a tick.
#[test]
fn a_loss_is_proved_before_ipxe_asks_again() {
    const IPXE: u16 = 2070;
    let mut desk = Desk::new(1);
    let options = "blksize 1024";
    desk.at(0.0).asks(IPXE, KERNEL, options).oack(IPXE, options);
    // A way of 0.1 ms. If DATA 1 is lost, ACK 0 comes again at 0.250_2; if ACK 1 is, that one at 0.250_4.
    desk.at(0.000_2).acks(IPXE, 0).data(IPXE, 1, 1024);
    desk.at(0.201).data(IPXE, 1, 1024);
    desk.at(0.201_2).acks(IPXE, 1).data(IPXE, 2, 1024);
    // What is lost now costs 100 ms, and a tick.
    desk.at(0.301_199).nothing();
    desk.at(0.302).data(IPXE, 2, 1024);
}

/// One premature copy can hang a Raspberry Pi, so a pause of the client is not taken for a loss.
#[test]
fn a_client_that_was_busy_keeps_its_200_ms() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.sends(1..=1);
    talk.due(0.201).sends(1..=1);
    talk.at(0.3).ack(1).sends(2..=2).waits_until(0.5);
}

/// RFC 6298 section 2.2 and 2.3.
#[test]
fn the_rto_follows_the_round_trips() {
    let mut talk = Talk::begun("blksize 1024", 1 << 20);
    // First 0.4 s: SRTT 0.4, RTTVAR 0.2.
    talk.at(0.4).ack(0).sends(1..=1).waits_until(0.4 + 1.2);
    // Then 0.2 s: RTTVAR 3/4 x 0.2 + 1/4 x 0.2 = 0.2, SRTT 7/8 x 0.4 + 1/8 x 0.2 = 0.375.
    talk.at(0.6).ack(1).sends(2..=2).waits_until(0.6 + 1.175);
    // Then 0.375 s: RTTVAR 0.15, SRTT 0.375.
    talk.at(0.975)
        .ack(2)
        .sends(3..=3)
        .waits_until(0.975 + 0.975);
}

#[test]
fn a_round_trip_of_nothing_is_one_too() {
    let mut talk = Talk::begun("blksize 1024", 1 << 20);
    talk.at(0.0).ack(0).sends(1..=1).waits_until(0.2);
    talk.at(0.0).ack(1).sends(2..=2).waits_until(0.2);
}

#[test]
fn silence_doubles_the_rto_up_to_5_s_and_ends_after_35() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.sends(1..=1);
    talk.repeats(
        1..=1,
        &[
            0.201, 0.601, 1.401, 3.001, 6.201, 11.201, 16.201, 21.201, 26.201, 31.201,
        ],
    );
    talk.due(35.001).ends(Outcome::TimedOut);
    assert_eq!(talk.transfer.retransmissions(), 10);
    assert_eq!(talk.transfer.acknowledged_bytes(), 0);
}

#[test]
fn a_short_agreed_timeout_bounds_the_rto() {
    let mut talk = Talk::under_way("timeout 2", 1 << 20);
    talk.sends(1..=1);
    talk.repeats(1..=1, &[0.201, 0.601, 1.401, 3.001, 5.001, 7.001]);
}

#[test]
fn a_long_agreed_timeout_lets_the_rto_grow_past_5_s() {
    let mut talk = Talk::under_way("timeout 20", 1 << 20);
    talk.sends(1..=1);
    talk.repeats(1..=1, &[0.201, 0.601, 1.401, 3.001, 6.201, 12.601, 25.401]);
    talk.due(35.001).ends(Outcome::TimedOut);
}

#[test]
fn a_slow_path_does_not_lift_the_rto_past_its_bound() {
    let mut talk = Talk::begun("blksize 1024", 1 << 20);
    talk.due(1.0).sends_oack();
    talk.at(2.9).ack(0).sends(1..=1);
    // The first block takes 0.9 s, the second 2.6 s: 1.1125 + 4 x 0.7625 = 4.1625 s.
    talk.at(3.8).ack(1).sends(2..=2).waits_until(3.8 + 2.7);
    talk.at(6.4).ack(2).sends(3..=3).waits_until(6.4 + 4.1625);
    // And the third 4.1 s: beyond 5 s.
    talk.at(10.5).ack(3).sends(4..=4).waits_until(10.5 + 5.0);
}

#[test]
fn progress_undoes_the_doubling() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.sends(1..=1);
    talk.repeats(1..=1, &[0.201, 0.601]);
    talk.at(1.0).ack(1).sends(2..=2);
    talk.repeats(2..=2, &[1.2, 1.6]);
}

/// Karn's rule: an ACK of something sent twice tells nothing about the round trip.
#[test]
fn a_repeated_block_measures_nothing() {
    let mut talk = Talk::begun("blksize 1024", 1 << 20);
    talk.at(0.4).ack(0).sends(1..=1);
    talk.due(1.6).sends(1..=1);
    talk.at(1.600_001).ack(1).sends(2..=2);
    // Had the microsecond been taken for a round trip, it would be 350 + 4 x 250 ms = 1.35 s.
    talk.waits_until(1.600_001 + 1.2);
    // The next one was sent once and counts: RTTVAR 0.2, SRTT 0.375.
    talk.at(1.800_001).ack(2).sends(3..=3);
    talk.waits_until(1.800_001 + 1.175);
}

/// Servers that allow a number of retries for a whole transfer fail on long files over bad links.
#[test]
fn patience_begins_anew_with_each_block() {
    let mut talk = Talk::under_way("blksize 8", 8 * 100);
    let mut now = 0.001;
    for block in 1..=101_u16 {
        let sent = u64::from(block);
        talk.sends(sent..=sent);
        let unconfirmed = block == 101;
        talk.due(now + 0.2).sends(sent..=sent);
        if unconfirmed {
            talk.due(now + 2.2).sends(sent..=sent);
        } else {
            talk.due(now + 0.6).sends(sent..=sent);
            talk.due(now + 1.4).sends(sent..=sent);
        }
        now += 2.9;
        talk.at(now).ack(block);
    }
    talk.ends(Outcome::Complete);
    assert_eq!(talk.transfer.retransmissions(), 302);
}

/// GRUB and U-Boot with lwIP never send anything again by themselves and wait for up to 34 s.
#[test]
fn a_client_that_comes_back_after_34_s_is_still_served() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.sends(1..=1);
    talk.repeats(
        1..=1,
        &[
            0.201, 0.601, 1.401, 3.001, 6.201, 11.201, 16.201, 21.201, 26.201, 31.201,
        ],
    );
    talk.at(34.0).ack(1).sends(2..=2);
    talk.at(34.001).ack(2).sends(3..=3);
}

#[test]
fn the_operators_patience_decides() {
    let mut talk = Talk::with_patience("blksize 1024", 1 << 20, 1.0);
    talk.at(0.0).begins().sends_oack();
    talk.at(0.001).ack(0).sends(1..=1);
    talk.repeats(1..=1, &[0.201, 0.601]);
    talk.due(1.001).ends(Outcome::TimedOut);
}

/// Only progress restarts the clock: nothing that a client can repeat for ever does.
#[test]
fn repeated_old_acks_do_not_keep_a_transfer_alive() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.sends(1..=1);
    talk.at(0.002).ack(1).sends(2..=2);
    // Each repeat is overdue and draws the block again, a little before the RTO would.
    for repeat in 1..=183 {
        let now = 0.001 + f64::from(repeat) * 0.19;
        talk.at(now).ack(1).sends(2..=2);
        talk.at(now + 0.01).ack(0).nothing();
        talk.at(now + 0.02).ack(1).nothing();
    }
    talk.at(34.95).ack(1).sends(2..=2);
    talk.due(35.002).ends(Outcome::TimedOut);
}

#[test]
fn repeated_old_acks_do_not_keep_a_window_alive() {
    let mut talk = Talk::under_way("windowsize 4", 1 << 20);
    talk.sends(1..=4);
    for repeat in 1..=183 {
        let now = 0.001 + f64::from(repeat) * 0.19;
        talk.at(now).ack(0).sends(1..=4);
    }
    talk.at(34.95).ack(0).sends(1..=4);
    talk.due(35.001).ends(Outcome::TimedOut);
}

/// A socket that takes nothing more must not stop the clock.
#[test]
fn a_blocked_socket_does_not_keep_a_transfer_alive() {
    let mut talk = Talk::under_way("blksize 1024", 1 << 20);
    talk.sends(1..=1);
    talk.at(0.002).socket_takes(0).ack(1).nothing();
    talk.due(35.002).ends(Outcome::TimedOut);
}

/// In lockstep a socket is not read to its end: what was left there is read before anything is held against its client.
#[test]
fn an_answer_that_was_not_read_yet_is_no_silence() {
    const PORT: u16 = 2070;
    let mut desk = Desk::new(1);
    desk.at(0.0).asks(PORT, KERNEL, "").data(PORT, 1, 512);
    desk.holds_unread(&[Some(packets::ack(1))]);
    desk.at(0.999).nothing();
    desk.at(1.001).data(PORT, 2, 512).nothing();
    desk.holds_unread(&[Some(packets::ack(1)), None]);
    desk.at(5.0).ended(PORT, Outcome::PortClosed, 512);
}
