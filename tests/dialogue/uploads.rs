//! Clients that write, each rule of it: what is acknowledged when, and what is left behind.

use std::net::Ipv4Addr;
use std::time::Duration;

use ripple_tftpd::server::{FIRST_PACKETS_BURST, FIRST_PACKETS_PER_SECOND, Limits};
use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::{Peer, Refusal};

use crate::desk::{CONFIG, Desk, client};
use crate::laboratory::{LOCAL, host, packets};

/// A client in the middle of an upload in blocks of 512 bytes: its first block was acknowledged at 0.002.
fn under_way(options: &str) -> Desk {
    let mut desk = Desk::new(1);
    desk.at(0.0).writes(2000, "dump", options);
    match options {
        "" => desk.ack(2000, 0),
        _ => desk.oack(2000, options),
    };
    desk
}

#[test]
fn a_file_comes_in_lockstep_and_its_last_ack_follows_the_disk() {
    let mut desk = under_way("");
    desk.lab.world.disk_takes = Duration::from_millis(30);
    desk.at(0.001).block(2000, 1, 512).ack(2000, 1);
    desk.at(0.002).block(2000, 2, 512).ack(2000, 2);
    desk.at(0.003).block(2000, 3, 100);
    desk.at(0.02).nothing().has_no_file("dump");
    desk.at(0.04).ack(2000, 3).received("dump", 1124, 512);
}

#[test]
fn a_length_that_is_a_multiple_of_the_block_ends_with_an_empty_block() {
    let mut desk = under_way("");
    desk.at(0.001).block(2000, 1, 512).ack(2000, 1);
    desk.at(0.002).block(2000, 2, 0).ack(2000, 2);
    desk.received("dump", 512, 512);
}

#[test]
fn an_empty_file_is_one_empty_block() {
    let mut desk = under_way("");
    desk.at(0.001).block(2000, 1, 0).ack(2000, 1);
    desk.received("dump", 0, 512);
}

#[test]
fn an_oack_repeats_what_was_asked_for_and_granted() {
    let mut desk = Desk::new(1);
    desk.at(0.0)
        .writes(
            2000,
            "a",
            "TSize 1124, blksize 1024, timeout 5, windowsize 4, password x",
        )
        .oack(2000, "TSize 1124, blksize 1024, timeout 5, windowsize 4");
    // U-Boot says 0: it does not know either.
    let mut desk = Desk::new(1);
    desk.at(0.0)
        .writes(2000, "a", "timeout 5, tsize 0, blksize 1468")
        .oack(2000, "timeout 5, tsize 0, blksize 1468");
    // So much is kept in memory for a client until it is written.
    let mut desk = Desk::new(1);
    desk.at(0.0)
        .writes(2000, "a", "blksize 8192, windowsize 64")
        .oack(2000, "blksize 8192, windowsize 7");
}

#[test]
fn a_window_is_acknowledged_when_it_is_complete() {
    let mut desk = under_way("windowsize 4");
    for block in 1..=3 {
        desk.at(0.001).block(2000, block, 512).nothing();
    }
    desk.at(0.002).block(2000, 4, 512).ack(2000, 4);
    desk.at(0.003).block(2000, 5, 512).nothing();
    desk.at(0.003).block(2000, 6, 10).ack(2000, 6);
    desk.received("dump", 2570, 512);
}

#[test]
fn a_gap_draws_one_ack_for_each_sending_of_the_window() {
    let mut desk = under_way("windowsize 4");
    desk.at(0.001).block(2000, 1, 512).nothing();
    desk.at(0.001).block(2000, 3, 512).ack(2000, 1);
    desk.at(0.001).block(2000, 4, 512).nothing();
    // The window begins again, and block 2 is lost again.
    desk.at(0.002).block(2000, 3, 512).ack(2000, 1);
    desk.at(0.002).block(2000, 4, 512).nothing();
    desk.at(0.002).block(2000, 5, 512).nothing();
    desk.at(0.003).block(2000, 2, 512).nothing();
    desk.at(0.003).block(2000, 3, 512).nothing();
    desk.at(0.003).block(2000, 4, 512).nothing();
    desk.at(0.003).block(2000, 5, 512).ack(2000, 5);
    desk.at(0.004).block(2000, 6, 10).ack(2000, 6);
    desk.received("dump", 2570, 512);
}

/// Two blocks that overtook each other must not make the client send everything twice from then on.
#[test]
fn blocks_in_another_order_draw_one_ack() {
    let mut desk = under_way("windowsize 4");
    desk.at(0.001).block(2000, 1, 512).nothing();
    desk.at(0.001).block(2000, 3, 512).ack(2000, 1);
    desk.at(0.001).block(2000, 2, 512).nothing();
    desk.at(0.001).block(2000, 4, 512).nothing();
    // The client begins again after block 1.
    for block in 2..=4 {
        desk.at(0.002).block(2000, block, 512).nothing();
    }
    desk.at(0.002).block(2000, 5, 512).ack(2000, 5);
    desk.at(0.003).block(2000, 6, 512).nothing();
}

#[test]
fn a_window_sent_again_since_its_ack_was_lost_draws_it_again_once() {
    let mut desk = under_way("windowsize 4");
    for block in 1..=3 {
        desk.at(0.001).block(2000, block, 512).nothing();
    }
    desk.at(0.001).block(2000, 4, 512).ack(2000, 4);
    desk.at(1.0).block(2000, 1, 512).ack(2000, 4);
    for block in 2..=4 {
        desk.at(1.0).block(2000, block, 512).nothing();
    }
    desk.at(1.001).block(2000, 5, 512).nothing();
}

#[test]
fn in_lockstep_a_repeated_block_draws_its_ack_each_time_and_an_older_one_nothing() {
    let mut desk = under_way("");
    desk.at(0.001).block(2000, 1, 512).ack(2000, 1);
    desk.at(0.002).block(2000, 1, 512).ack(2000, 1);
    desk.at(0.003).block(2000, 2, 512).ack(2000, 2);
    desk.at(0.003).block(2000, 1, 512).nothing();
    desk.at(0.004).block(2000, 2, 512).ack(2000, 2);
    // From the future, and block 0, which no upload has.
    desk.at(0.005).block(2000, 4, 512).nothing();
    desk.at(0.005).block(2000, 0, 512).nothing();
    desk.at(0.006).block(2000, 3, 7).ack(2000, 3);
    desk.received("dump", 1031, 512);
}

#[test]
fn block_0_is_no_block_and_no_answer() {
    let mut desk = under_way("blksize 1024");
    desk.at(0.001).block(2000, 0, 1024).nothing();
    desk.at(0.001).acks(2000, 0).nothing();
    desk.at(25.0)
        .ended(2000, Outcome::NoAnswer, 0)
        .serves(0, 0)
        .has_no_file("dump");
}

#[test]
fn numbers_go_on_with_0_after_65535() {
    let mut desk = under_way("blksize 8, windowsize 64");
    for block in 1..=66_048 {
        desk.block(2000, block, 8);
        if block % 64 == 0 {
            desk.ack(2000, packets_low(block));
        }
    }
    desk.block(2000, 66_049, 3)
        .ack(2000, packets_low(66_049))
        .ended(2000, Outcome::Complete, 528_387)
        .has_file("dump", 528_387, 8);
}

fn packets_low(block: u64) -> u16 {
    let [_, _, high, low] = packets::ack(block);
    u16::from_be_bytes([high, low])
}

#[test]
fn a_block_longer_than_agreed_ends_it() {
    for (options, length) in [("", 513), ("blksize 1024", 1025), ("blksize 1024", 65_464)] {
        let mut desk = under_way(options);
        desk.at(0.001).block(2000, 1, 100).ack(2000, 1);
        desk.ended(2000, Outcome::Complete, 100);
        let mut desk = under_way(options);
        desk.at(0.001)
            .block(2000, 1, length)
            .error(2000, Refusal::LongBlock)
            .ended(2000, Outcome::Refused(Refusal::LongBlock), 0)
            .serves(0, 0)
            .has_no_file("dump");
    }
}

#[test]
fn an_error_of_the_client_ends_it_and_leaves_nothing() {
    for (code, outcome) in [
        (0, Outcome::Cancelled),
        (3, Outcome::ClientError(3)),
        (8, Outcome::Cancelled),
    ] {
        let mut desk = under_way("");
        desk.at(0.001).block(2000, 1, 512).ack(2000, 1);
        desk.at(0.002)
            .sends_error(2000, code)
            .ended(2000, outcome, 512)
            .serves(0, 0)
            .has_no_file("dump");
    }
}

/// U-Boot goes on with every OACK, and takes every ACK after its last block for the end.
#[test]
fn nothing_is_repeated_by_a_timer_before_a_long_silence() {
    let mut desk = under_way("timeout 3");
    desk.at(9.0).nothing();
    let mut desk = under_way("timeout 3");
    desk.at(0.001).block(2000, 1, 512).ack(2000, 1);
    desk.at(9.9).nothing();
    desk.at(10.1).ack(2000, 1);
    desk.at(20.0).nothing();
    desk.at(20.2).ack(2000, 1);
    desk.at(30.3).ack(2000, 1);
    desk.at(35.2)
        .ended(2000, Outcome::TimedOut, 512)
        .serves(0, 0)
        .has_no_file("dump");
    let mut desk = under_way("timeout 8");
    desk.at(0.001).block(2000, 1, 512).ack(2000, 1);
    desk.at(15.9).nothing();
    desk.at(16.1).ack(2000, 1);
}

#[test]
fn a_block_after_a_long_silence_begins_the_next() {
    let mut desk = under_way("");
    desk.at(0.001).block(2000, 1, 512).ack(2000, 1);
    for round in 0..4 {
        let begin = f64::from(round) * 31.0;
        for repeat in 1..=3 {
            desk.at(begin + 10.2 * f64::from(repeat))
                .ack(2000, 1 + round);
        }
        desk.at(begin + 30.9)
            .block(2000, u64::from(round) + 2, 512)
            .ack(2000, 2 + round);
    }
}

#[test]
fn the_oack_is_repeated_for_a_repeated_request_only() {
    let mut desk = under_way("blksize 1024");
    // A copy that the network made, then the client itself.
    desk.at(0.01).writes(2000, "dump", "blksize 1024").nothing();
    desk.at(0.12).oack(2000, "blksize 1024");
    desk.at(5.0)
        .writes(2000, "dump", "blksize 1024")
        .oack(2000, "blksize 1024");
    desk.at(5.001).block(2000, 1, 1024).ack(2000, 1);
    desk.at(5.1).nothing();
}

#[test]
fn a_block_that_comes_before_a_repeated_oack_makes_it_needless() {
    let mut desk = under_way("blksize 1024");
    desk.at(0.01).writes(2000, "dump", "blksize 1024").nothing();
    desk.at(0.02).block(2000, 1, 1024).ack(2000, 1);
    desk.at(1.0).nothing();
}

#[test]
fn the_last_ack_is_repeated_for_as_long_as_the_client_asks_and_takes_no_slot() {
    let mut desk = under_way("");
    desk.at(0.001).block(2000, 1, 5).ack(2000, 1);
    desk.ended(2000, Outcome::Complete, 5).serves(0, 1);
    desk.at(1.0).writes(2001, "other", "").ack(2001, 0);
    desk.at(5.0).block(2000, 1, 5).ack(2000, 1);
    desk.at(10.0).block(2000, 1, 5).ack(2000, 1);
    desk.at(19.9).serves(1, 2);
    // It is over in silence: it was reported when the file was on the disk.
    desk.at(20.1).serves(1, 1);
    desk.at(21.1).ended(2001, Outcome::NoAnswer, 0);
}

#[test]
fn while_the_disk_works_a_repeated_last_block_draws_nothing_and_keeps_the_client_alive() {
    let mut desk = under_way("");
    desk.lab.world.disk_takes = Duration::from_secs(60);
    desk.at(0.001).block(2000, 1, 5).serves(0, 1);
    for second in (5..60).step_by(5) {
        desk.at(f64::from(second)).block(2000, 1, 5).nothing();
    }
    desk.at(60.1).ack(2000, 1).received("dump", 5, 512);
}

#[test]
fn a_disk_that_fails_at_the_end_is_an_error_and_no_ack() {
    let mut desk = under_way("");
    let failure = Refusal::NoSpace;
    desk.lab.world.unwritable.insert(b"dump".to_vec(), failure);
    desk.at(0.001)
        .block(2000, 1, 5)
        .error(2000, failure)
        .ended(2000, Outcome::Refused(failure), 5)
        .serves(0, 0)
        .has_no_file("dump");
}

#[test]
fn a_disk_that_fails_in_the_middle_is_an_error_at_once() {
    let mut desk = under_way("");
    desk.at(0.001).block(2000, 1, 512).ack(2000, 1);
    let id = desk.lab.world.client_of(client(2000)).unwrap();
    let (now, failure) = (desk.lab.world.now, Err(Refusal::WriteFailed));
    desk.lab
        .server
        .on_stored(now, &mut desk.lab.world, id, failure);
    desk.error(2000, Refusal::WriteFailed)
        .ended(2000, Outcome::Refused(Refusal::WriteFailed), 512)
        .serves(0, 0);
}

#[test]
fn an_ack_waits_for_room_and_what_is_repeated_meanwhile_draws_nothing() {
    let mut desk = under_way("");
    desk.lab.world.wanting.insert(client(2000));
    desk.at(0.001).block(2000, 1, 512).nothing();
    desk.at(5.0).block(2000, 1, 512).nothing();
    desk.at(30.0).block(2000, 1, 512).nothing();
    desk.at(40.0).has_room(2000).ack(2000, 1);
    desk.at(40.1).block(2000, 2, 1).ack(2000, 2);
    desk.received("dump", 513, 512);
}

#[test]
fn a_block_without_room_is_as_good_as_lost() {
    let mut desk = under_way("");
    desk.at(0.001).block(2000, 1, 512).ack(2000, 1);
    desk.lab.world.full.insert(client(2000));
    desk.at(0.002).block(2000, 2, 512).nothing();
    // In lockstep one more ACK 1 would say nothing: the client repeats its block.
    desk.at(0.5).has_room(2000).nothing();
    desk.at(5.0).block(2000, 2, 512).ack(2000, 2);
    // In a window an ACK means: begin again after this block.
    let mut desk = under_way("windowsize 4");
    desk.lab.world.full.insert(client(2000));
    for block in 1..=4 {
        desk.at(0.001).block(2000, block, 512).nothing();
    }
    desk.lab.world.full.clear();
    desk.at(0.002).block(2000, 1, 512).nothing();
    desk.lab.world.full.insert(client(2000));
    for block in 2..=4 {
        desk.at(0.003).block(2000, block, 512).nothing();
    }
    desk.at(0.5).has_room(2000).ack(2000, 1);
}

#[test]
fn a_client_that_vanishes_leaves_nothing() {
    let mut desk = under_way("");
    desk.at(0.001).block(2000, 1, 512).ack(2000, 1);
    desk.at(0.002)
        .closes_its_port(2000)
        .ended(2000, Outcome::PortClosed, 512)
        .serves(0, 0)
        .has_no_file("dump");
}

#[test]
fn an_equal_request_of_a_client_that_sends_begins_anew() {
    let mut desk = under_way("");
    desk.at(0.001).block(2000, 1, 512).ack(2000, 1);
    desk.at(3.0).writes(2000, "dump", "").nothing();
    desk.at(3.1)
        .ended(2000, Outcome::Restarted, 512)
        .ack(2000, 0);
    desk.at(3.2).block(2000, 1, 7).ack(2000, 1);
    desk.received("dump", 7, 512);
}

/// An OACK in the middle makes U-Boot leave a block out.
#[test]
fn a_copy_of_the_request_does_not_disturb_a_client_that_goes_on() {
    let mut desk = under_way("blksize 1024");
    desk.at(0.001).block(2000, 1, 1024).ack(2000, 1);
    desk.at(0.002)
        .writes(2000, "dump", "blksize 1024")
        .nothing();
    desk.at(0.003).block(2000, 2, 1024).ack(2000, 2);
    desk.at(1.0).block(2000, 3, 9).ack(2000, 3);
    desk.received("dump", 2057, 1024);
}

#[test]
fn the_same_file_can_be_sent_again_at_once_from_the_same_port() {
    let mut desk = under_way("");
    desk.at(0.001).block(2000, 1, 5).ack(2000, 1);
    desk.ended(2000, Outcome::Complete, 5);
    desk.at(0.002).writes(2000, "dump", "").ack(2000, 0);
    desk.serves(1, 1).at(0.003).block(2000, 1, 6).ack(2000, 1);
    desk.received("dump", 6, 512);
    // And another one, and read back.
    desk.at(0.004).writes(2000, "other", "").ack(2000, 0);
    desk.at(0.005).block(2000, 1, 6).ack(2000, 1);
    desk.ended(2000, Outcome::Complete, 6);
    desk.at(0.006).asks(2000, CONFIG, "").data(2000, 1, 100);
    desk.at(0.007)
        .acks(2000, 1)
        .ended(2000, Outcome::Complete, 100);
}

#[test]
fn a_read_of_the_same_name_from_the_same_port_is_no_repeat() {
    let mut desk = Desk::new(1);
    desk.at(0.0).writes(2000, "config", "").ack(2000, 0);
    desk.at(0.1)
        .asks(2000, CONFIG, "")
        .ended(2000, Outcome::MovedOn, 0)
        .data(2000, 1, 100);
    desk.at(0.2)
        .writes(2000, "config", "")
        .ended(2000, Outcome::MovedOn, 0)
        .ack(2000, 0);
}

#[test]
fn a_name_is_written_by_one_at_a_time() {
    let mut desk = Desk::new(3);
    desk.at(0.0).writes(2000, "dump", "").ack(2000, 0);
    desk.at(0.001).block(2000, 1, 512).ack(2000, 1);
    desk.at(0.002)
        .writes(2001, "dump", "")
        .error(2001, Refusal::BeingWritten);
    // A read gets the old file until then.
    desk.at(0.003).writes(2002, "config", "").ack(2002, 0);
    desk.at(0.004).block(2002, 1, 512).ack(2002, 1);
    desk.at(0.005).asks(2003, CONFIG, "").data(2003, 1, 100);
    desk.at(0.006)
        .acks(2003, 1)
        .ended(2003, Outcome::Complete, 100);
    // When the first is done, the next may.
    desk.at(0.007).block(2000, 2, 1).ack(2000, 2);
    desk.ended(2000, Outcome::Complete, 513);
    desk.at(0.008).writes(2001, "dump", "").ack(2001, 0);
}

/// Anybody can forge a request: the name is that of the first who sends.
#[test]
fn a_request_alone_keeps_nobody_from_a_name() {
    let mut desk = Desk::new(3);
    let other = host(7, 4000);
    let request = packets::request(2, "dump", "octet", &[]);
    desk.lab.request(other, LOCAL, &request);
    desk.lab.come_to_rest();
    desk.lab.world.site.forget();
    desk.at(0.001).writes(2000, "dump", "").ack(2000, 0);
    desk.at(0.002).block(2000, 1, 512).ack(2000, 1);
    let late = desk.lab.world.client_of(other).unwrap();
    desk.lab.reply(late, b"\0\x03\0\x01x");
    desk.lab.come_to_rest();
    let refused = Outcome::Refused(Refusal::BeingWritten);
    desk.error_of(other, Refusal::BeingWritten)
        .ended(4000, refused, 0);
    desk.at(0.003).block(2000, 2, 1).ack(2000, 2);
    desk.received("dump", 513, 512);
}

/// A Cisco router repeats its request from another port.
#[test]
fn a_request_from_another_port_replaces_one_that_has_sent_nothing() {
    let mut desk = Desk::new(2);
    desk.at(0.0).writes(2000, "sw1-confg", "").ack(2000, 0);
    desk.at(4.0)
        .writes(2001, "sw1-confg", "")
        .ended(2000, Outcome::Superseded, 0)
        .ack(2001, 0)
        .serves(1, 1);
    desk.at(4.1).block(2001, 1, 512).ack(2001, 1);
    desk.at(8.0)
        .writes(2002, "sw1-confg", "")
        .error(2002, Refusal::BeingWritten);
    // Also one that waits.
    let mut desk = Desk::new(1);
    desk.at(0.0).writes(2000, "other", "").ack(2000, 0);
    desk.at(0.1).writes(2001, "sw1-confg", "").nothing();
    desk.at(4.1)
        .writes(2002, "sw1-confg", "")
        .ended(2001, Outcome::Superseded, 0);
    assert_eq!(desk.lab.server.pending(), 1);
}

#[test]
fn nothing_is_created_for_a_client_that_never_sends() {
    let mut desk = under_way("");
    desk.at(21.0)
        .ended(2000, Outcome::NoAnswer, 0)
        .serves(0, 0)
        .has_no_file("dump");
    // LiteX answers the OACK with ACK 0.
    let mut desk = under_way("tsize 7");
    desk.at(0.1).acks(2000, 0).nothing();
    desk.at(0.2)
        .sends_error(2000, 0)
        .ended(2000, Outcome::Cancelled, 0)
        .has_no_file("dump");
}

#[test]
fn a_stopping_server_lets_an_upload_end() {
    let mut desk = under_way("");
    desk.at(0.001).block(2000, 1, 512).ack(2000, 1);
    desk.at(0.002).is_told_to_stop().nothing();
    desk.at(0.003).block(2000, 2, 5).ack(2000, 2);
    desk.ended(2000, Outcome::Complete, 517);
    let mut desk = under_way("");
    desk.at(0.001).block(2000, 1, 5).ack(2000, 1);
    desk.ended(2000, Outcome::Complete, 5);
    desk.at(0.002).is_told_to_stop().serves(0, 0);
}

// Slots.

#[test]
fn a_held_client_is_acknowledged_at_the_pace_of_the_trickle() {
    let mut desk = Desk::with(Limits {
        max_transfers: 1,
        reclaim: false,
        small_file: 0,
        ..Limits::default()
    });
    desk.at(0.0).writes(2000, "first", "").ack(2000, 0);
    desk.at(0.001).block(2000, 1, 512).ack(2000, 1);
    desk.at(0.01).writes(2001, "second", "").nothing();
    desk.at(0.9).nothing();
    desk.at(1.1).ack(2001, 0);
    // Its first interval begins anywhere within one of 1 to 4 s.
    desk.at(1.1).block(2001, 1, 512).nothing();
    desk.at(1.11).block(2001, 1, 512).nothing();
    let asked_at = desk.lab.world.now;
    while desk.lab.world.site.last_sent_at <= asked_at {
        desk.lab.pass(Duration::from_millis(5));
    }
    let answered_at = desk.lab.world.site.last_sent_at;
    assert!(answered_at <= asked_at + Duration::from_secs(4));
    desk.ack(2001, 1).block(2001, 2, 512).nothing();
    desk.lab
        .pass_until(answered_at + Duration::from_millis(900));
    desk.block(2001, 2, 512).nothing();
    while desk.lab.world.site.last_sent_at == answered_at {
        desk.lab.pass(Duration::from_millis(5));
    }
    let interval = desk.lab.world.site.last_sent_at.since(answered_at);
    assert!(Duration::from_secs(1) <= interval && interval <= Duration::from_millis(4100));
    desk.ack(2001, 2);
    // With a slot it goes on at full speed.
    desk.block(2000, 2, 1)
        .ack(2000, 2)
        .ended(2000, Outcome::Complete, 513);
    desk.block(2001, 3, 512).ack(2001, 3);
    desk.block(2001, 4, 512).ack(2001, 4);
}

#[test]
fn a_client_that_is_held_and_owes_nothing_goes_on_at_once_when_a_slot_is_free() {
    let mut desk = Desk::with(Limits {
        max_transfers: 1,
        reclaim: false,
        small_file: 0,
        ..Limits::default()
    });
    desk.at(0.0).writes(2000, "first", "").ack(2000, 0);
    desk.at(0.001).block(2000, 1, 512).ack(2000, 1);
    desk.at(0.01).writes(2001, "second", "").nothing();
    desk.at(1.1).ack(2001, 0);
    desk.at(1.1).block(2001, 1, 512).nothing();
    desk.block(2000, 2, 1).ack(2000, 2);
    desk.ack(2001, 1).ended(2000, Outcome::Complete, 513);
}

/// `tsize` says how large a file will be, unless it is 0.
#[test]
fn a_small_file_has_the_slots_of_small_files() {
    let mut desk = Desk::with(Limits {
        max_transfers: 2,
        hold: None,
        reclaim: false,
        ..Limits::default()
    });
    desk.at(0.0).writes(2000, "a", "").ack(2000, 0);
    desk.at(0.1).writes(2001, "b", "").nothing();
    desk.at(0.1).writes(2002, "c", "tsize 0").nothing();
    desk.at(0.1).writes(2003, "d", "tsize 200000").nothing();
    desk.at(0.1)
        .writes(2004, "e", "tsize 100")
        .oack(2004, "tsize 100");
}

#[test]
fn forged_write_requests_draw_as_little_as_others_and_create_nothing() {
    let mut desk = Desk::with(Limits::default());
    for number in 0..2000_u16 {
        let [high, low] = number.to_be_bytes();
        let forged = Peer {
            address: Ipv4Addr::new(10, 9, high, low).into(),
            port: 2000,
            scope: 0,
        };
        let name = format!("forged-{}", number % 10);
        let request = packets::request(2, &name, "octet", &[("blksize", "1468")]);
        desk.lab.audited_every = 1000;
        desk.lab.request(forged, LOCAL, &request);
        desk.lab.wake();
        desk.lab.send();
    }
    desk.lab.pass(Duration::from_secs(30));
    let most = FIRST_PACKETS_BURST + 31 * FIRST_PACKETS_PER_SECOND;
    assert!(desk.lab.world.packets <= u64::from(most));
    assert!(desk.lab.world.packets > 0, "some were answered");
    assert!(desk.lab.world.uploaded.is_empty());
    desk.lab.world.site.forget();
}
