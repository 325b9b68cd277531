//! A request for what is being sent, from the same port, after the client has acknowledged something: it has
//! begun anew, or the network made a copy of its request.

use std::ops::RangeInclusive;
use std::time::Duration;

use ripple_tftpd::server::Limits;
use ripple_tftpd::transfer::Outcome;

use crate::desk::{CONFIG, Desk, IMAGE, KERNEL};
use crate::laboratory::packets;

const PORT: u16 = 2070;
const LOADER: &str = "blksize 1428, tsize 0";
const GRANTED: &str = "blksize 1428, tsize 10000";

/// A client 1 ms away that has acknowledged its OACK at 0.001, and was sent DATA 1.
fn under_way() -> Desk {
    let mut desk = Desk::new(1);
    desk.at(0.0).asks(PORT, KERNEL, LOADER).oack(PORT, GRANTED);
    desk.at(0.001).acks(PORT, 0).data(PORT, 1, 1428);
    desk
}

/// The same, and it asked again at 0.002 and was answered by a second transfer at 0.012.
fn answered_anew() -> Desk {
    let mut desk = under_way();
    desk.at(0.002).asks(PORT, KERNEL, LOADER).nothing();
    desk.at(0.011).nothing();
    desk.at(0.012).oack(PORT, GRANTED).serves(1, 2);
    desk
}

fn sends(desk: &mut Desk, blocks: RangeInclusive<u64>) {
    for block in blocks {
        desk.data(PORT, block, 512);
    }
}

/// FreeBSD's and illumos' loader opens a file, closes it without a packet, and opens it again. It takes
/// whatever DATA 1 comes for the answer: so the older transfer must not repeat its own.
#[test]
fn a_loader_that_opens_twice_hears_the_new_transfer_only() {
    let mut desk = answered_anew();
    desk.at(0.9).nothing();
    desk.at(0.95)
        .acks(PORT, 0)
        .ended(PORT, Outcome::Restarted, 0)
        .data(PORT, 1, 1428)
        .serves(1, 1);
    for block in 1..7 {
        let length = 1428.min(10_000 - 1428 * u64::from(block));
        let next = u64::from(block) + 1;
        desk.acks(PORT, block).data(PORT, next, length);
    }
    desk.acks(PORT, 7).data(PORT, 8, 4);
    desk.acks(PORT, 8)
        .ended(PORT, Outcome::Complete, 10_000)
        .serves(0, 0);
}

/// Its port was closed for a moment, and it ends the transfer under way: the one that begins then has nothing to do with
/// that.
#[test]
fn a_port_that_was_closed_before_ends_no_transfer_that_begins_behind_it() {
    let mut desk = under_way();
    desk.at(0.002).asks(PORT, KERNEL, LOADER).nothing();
    desk.holds_unread(&[None, Some([0, 5, 0, 0])])
        .is_readable(PORT)
        .ended(PORT, Outcome::Cancelled, 0)
        .oack(PORT, GRANTED)
        .serves(1, 1);
    // Without a request behind it the port is closed for good, after what was said before.
    let mut desk = under_way();
    desk.holds_unread(&[None, Some(packets::ack(1))])
        .is_readable(PORT)
        .ended(PORT, Outcome::PortClosed, 1428)
        .serves(0, 0);
}

/// A copy comes 2 to 9 ms after the original: before the first ACK it is a repeat in the handshake.
#[test]
fn a_copy_before_the_first_ack_changes_nothing() {
    let mut desk = Desk::new(1);
    desk.at(0.0).asks(PORT, KERNEL, LOADER).oack(PORT, GRANTED);
    desk.at(0.002).asks(PORT, KERNEL, LOADER).nothing();
    desk.at(0.003).acks(PORT, 0).data(PORT, 1, 1428);
    desk.at(0.005).acks(PORT, 1).data(PORT, 2, 1428);
    desk.at(0.2).nothing().serves(1, 1);
}

#[test]
fn an_ack_of_what_is_on_its_way_shows_a_copy() {
    for copied_at in [0.001, 0.002, 0.009] {
        let mut desk = under_way();
        desk.at(copied_at).asks(PORT, KERNEL, LOADER).nothing();
        desk.at(0.0105).acks(PORT, 1).data(PORT, 2, 1428);
        desk.at(0.2).nothing().serves(1, 1);
        // The timer runs as ever.
        desk.at(0.211).data(PORT, 2, 1428);
        assert_eq!(desk.opened(), 1);
        assert_eq!(desk.lab.server.stats().repeats, 1);
    }
}

/// The copy is read in the same turn as the ACK before it: GRUB and lwIP never send that again.
#[test]
fn what_an_ack_called_for_is_sent_whatever_is_asked_behind_it() {
    let mut desk = Desk::new(1);
    desk.at(0.0).asks(PORT, KERNEL, LOADER).oack(PORT, GRANTED);
    desk.at(0.001)
        .acks_and_asks(PORT, 0, KERNEL, LOADER)
        .data(PORT, 1, 1428);
    desk.at(0.002)
        .acks_and_asks(PORT, 1, KERNEL, LOADER)
        .data(PORT, 2, 1428);
    desk.at(0.003).acks(PORT, 2).data(PORT, 3, 1428);
    desk.at(0.2).nothing().serves(1, 1);
}

#[test]
fn in_a_window_a_copy_changes_nothing_either() {
    let options = "windowsize 4";
    let mut desk = Desk::new(1);
    desk.at(0.0).asks(PORT, KERNEL, options).oack(PORT, options);
    desk.at(0.001).acks_and_asks(PORT, 0, KERNEL, options);
    sends(&mut desk, 1..=4);
    // Part of the window was acknowledged; the rest is on its way again.
    desk.at(0.002).asks(PORT, KERNEL, options).nothing();
    desk.at(0.003).acks(PORT, 2);
    sends(&mut desk, 3..=6);
    desk.at(0.004).asks(PORT, KERNEL, options).nothing();
    desk.at(0.005).acks(PORT, 6);
    sends(&mut desk, 7..=10);
    desk.at(0.1).nothing().serves(1, 1);
    assert_eq!(desk.opened(), 1);
}

#[test]
fn in_a_window_a_client_begins_anew() {
    let options = "windowsize 4";
    let mut desk = Desk::new(1);
    desk.at(0.0).asks(PORT, KERNEL, options).oack(PORT, options);
    desk.at(0.001).acks(PORT, 0);
    sends(&mut desk, 1..=4);
    desk.at(0.002).asks(PORT, KERNEL, options).nothing();
    desk.at(0.012).oack(PORT, options).serves(1, 2);
    desk.at(0.013)
        .acks(PORT, 0)
        .ended(PORT, Outcome::Restarted, 0);
    sends(&mut desk, 1..=4);
    desk.serves(1, 1);
}

/// A server whose patience ends before the answer to a client that asked again is due.
fn impatient() -> Desk {
    Desk::with(Limits {
        max_transfers: 1,
        hold: None,
        reclaim: false,
        small_file: 0,
        patience: Duration::from_millis(205),
        ..Limits::default()
    })
}

#[test]
fn a_request_is_answered_though_patience_with_the_older_transfer_ends() {
    let mut desk = impatient();
    desk.at(0.0).asks(PORT, KERNEL, LOADER).oack(PORT, GRANTED);
    desk.at(0.001).acks(PORT, 0).data(PORT, 1, 1428);
    desk.at(0.2).asks(PORT, KERNEL, LOADER).nothing();
    desk.at(0.206)
        .ended(PORT, Outcome::TimedOut, 0)
        .oack(PORT, GRANTED)
        .serves(1, 1);
}

#[test]
fn a_request_is_answered_though_patience_with_the_last_ack_ends() {
    let mut desk = impatient();
    desk.at(0.0)
        .asks(PORT, CONFIG, LOADER)
        .oack(PORT, "blksize 1428, tsize 100");
    desk.at(0.001).acks(PORT, 0).data(PORT, 1, 100);
    desk.at(0.201).data(PORT, 1, 100);
    desk.at(0.203).asks(PORT, CONFIG, LOADER).nothing();
    desk.at(0.206)
        .ended(PORT, Outcome::CompleteUnconfirmed, 100)
        .oack(PORT, "blksize 1428, tsize 100");
}

#[test]
fn a_request_to_write_is_answered_though_patience_with_the_older_one_ends() {
    let mut desk = impatient();
    desk.at(0.0).writes(PORT, "dump", "").ack(PORT, 0);
    desk.at(0.001).block(PORT, 1, 512).ack(PORT, 1);
    desk.at(0.2).writes(PORT, "dump", "").nothing();
    desk.at(0.206)
        .ended(PORT, Outcome::TimedOut, 512)
        .ack(PORT, 0)
        .serves(1, 1);
}

/// The answer waits for two round trips, at least 10 and at most 50 ms.
#[test]
fn the_answer_waits_for_two_round_trips() {
    for (round_trip, wait) in [(0.000_3, 0.01), (0.02, 0.04), (0.8, 0.05)] {
        let mut desk = Desk::new(1);
        desk.at(0.0).asks(PORT, KERNEL, LOADER).oack(PORT, GRANTED);
        desk.at(round_trip).acks(PORT, 0).data(PORT, 1, 1428);
        let asked_at = round_trip + 0.001;
        desk.at(asked_at).asks(PORT, KERNEL, LOADER).nothing();
        desk.at(asked_at + wait - 0.001).nothing();
        // The server's timers come up by the millisecond.
        desk.at(asked_at + wait + 0.001).oack(PORT, GRANTED);
    }
}

#[test]
fn the_first_ack_to_the_older_transfer_ends_the_newer() {
    let mut desk = answered_anew();
    desk.at(0.02)
        .older_gets_ack(PORT, 1)
        .ended(PORT, Outcome::Duplicate, 0)
        .data(PORT, 2, 1428)
        .serves(1, 1);
    // Its timer runs again.
    desk.at(0.22).data(PORT, 2, 1428);
}

/// A client that lost DATA 1 asks for it by its ACK, as PXELINUX and iPXE do.
#[test]
fn a_repeated_ack_to_the_older_transfer_decides_too() {
    let mut desk = answered_anew();
    desk.at(0.111)
        .older_gets_ack(PORT, 0)
        .ended(PORT, Outcome::Duplicate, 0)
        .data(PORT, 1, 1428)
        .serves(1, 1);
}

/// Where the network copies requests, it copies ACKs.
#[test]
fn a_copy_of_an_ack_decides_nothing() {
    let mut desk = under_way();
    desk.at(0.002).asks(PORT, KERNEL, LOADER).nothing();
    desk.at(0.009).acks(PORT, 0).nothing();
    desk.at(0.012).oack(PORT, GRANTED).serves(1, 2);
    desk.at(0.3).nothing();
    desk.acks(PORT, 0)
        .ended(PORT, Outcome::Restarted, 0)
        .data(PORT, 1, 1428);
}

/// GRUB takes nothing from another port, and never repeats an ACK: here DATA 1 was lost.
#[test]
fn where_the_new_transfer_is_given_up_the_older_ones_timer_runs_again() {
    let mut desk = answered_anew();
    for again in [1.012, 3.012, 7.012, 12.012] {
        desk.at(again).oack(PORT, GRANTED);
    }
    desk.at(17.011).nothing();
    desk.at(17.012)
        .ended(PORT, Outcome::NoAnswer, 0)
        .data(PORT, 1, 1428)
        .serves(1, 1);
    desk.at(17.013).acks(PORT, 1).data(PORT, 2, 1428);
}

/// RFC 1350 section 4: an ERROR is sent to a port that is not that of the transfer.
#[test]
fn a_complaint_of_a_foreign_port_ends_the_new_transfer_only() {
    for code in [5, 2] {
        let mut desk = answered_anew();
        desk.at(0.013)
            .sends_error(PORT, code)
            .ended(PORT, Outcome::Duplicate, 0)
            .serves(1, 1);
        desk.at(0.201).data(PORT, 1, 1428);
        desk.at(0.202).acks(PORT, 1).data(PORT, 2, 1428);
    }
}

/// It asked for the size, and has it.
#[test]
fn a_new_transfer_that_is_cancelled_was_the_clients() {
    let mut desk = answered_anew();
    desk.at(0.013)
        .sends_error(PORT, 8)
        .ended(PORT, Outcome::Restarted, 0)
        .ended(PORT, Outcome::Cancelled, 0)
        .serves(0, 0);
}

#[test]
fn an_error_to_the_older_transfer_leaves_the_new_one() {
    let mut desk = answered_anew();
    desk.at(0.013)
        .older_gets_error(PORT, 0)
        .ended(PORT, Outcome::Cancelled, 0)
        .serves(1, 1);
    desk.at(0.014).acks(PORT, 0).data(PORT, 1, 1428);
}

/// A loader seeks, and the network turned ERROR and request around.
#[test]
fn an_error_right_behind_the_request_has_it_answered_at_once() {
    let mut desk = under_way();
    desk.at(0.002).asks(PORT, KERNEL, LOADER).nothing();
    desk.sends_error(PORT, 0)
        .ended(PORT, Outcome::Cancelled, 0)
        .oack(PORT, GRANTED)
        .serves(1, 1);
}

#[test]
fn a_further_equal_request_belongs_to_the_newest() {
    let mut desk = answered_anew();
    desk.at(0.02).asks(PORT, KERNEL, LOADER).nothing();
    desk.at(0.112).oack(PORT, GRANTED).serves(1, 2);
    desk.at(0.113)
        .acks(PORT, 0)
        .ended(PORT, Outcome::Restarted, 0)
        .data(PORT, 1, 1428);
    // And once that one has an ACK, the same begins again.
    desk.at(0.114).asks(PORT, KERNEL, LOADER).nothing();
    desk.at(0.115).asks(PORT, KERNEL, LOADER).nothing();
    desk.at(0.163).nothing();
    desk.at(0.164).oack(PORT, GRANTED).serves(1, 2);
    assert_eq!(desk.opened(), 3);
}

#[test]
fn another_file_ends_both() {
    let mut desk = answered_anew();
    desk.at(0.02)
        .asks(PORT, CONFIG, "blksize 1024")
        .ended(PORT, Outcome::MovedOn, 0)
        .ended(PORT, Outcome::MovedOn, 0)
        .oack(PORT, "blksize 1024")
        .serves(1, 1);
}

#[test]
fn a_closed_port_ends_both() {
    let mut desk = answered_anew();
    desk.at(0.02)
        .closes_its_port(PORT)
        .ended(PORT, Outcome::PortClosed, 0)
        .serves(1, 1);
    desk.at(0.201).data(PORT, 1, 1428);
    desk.closes_its_port(PORT)
        .ended(PORT, Outcome::PortClosed, 0)
        .serves(0, 0);
}

/// A rebooted machine: its port is that of its last boot.
#[test]
fn a_client_that_fell_silent_long_ago_is_answered_within_50_ms() {
    let mut desk = Desk::new(1);
    desk.at(0.0).asks(PORT, IMAGE, "").data(PORT, 1, 512);
    desk.at(0.001).acks(PORT, 1).data(PORT, 2, 512);
    for again in [0.201, 0.601, 1.401, 3.001] {
        desk.at(again).data(PORT, 2, 512);
    }
    desk.at(5.0).asks(PORT, IMAGE, "").nothing();
    desk.at(5.01).data(PORT, 1, 512).serves(1, 2);
    desk.at(5.02)
        .acks(PORT, 1)
        .ended(PORT, Outcome::Restarted, 512)
        .data(PORT, 2, 512);
}

/// Everything was sent, and the last ACK was lost: the request is that ACK.
#[test]
fn a_request_for_what_was_all_sent_is_its_last_ack() {
    let options = "blksize 1024";
    let mut desk = Desk::new(1);
    desk.at(0.0).asks(PORT, CONFIG, options).oack(PORT, options);
    desk.at(0.001).acks(PORT, 0).data(PORT, 1, 100).serves(0, 1);
    desk.at(0.02)
        .asks(PORT, CONFIG, options)
        .ended(PORT, Outcome::CompleteUnconfirmed, 100)
        .oack(PORT, options)
        .serves(1, 1);
    desk.at(0.021).acks(PORT, 0).data(PORT, 1, 100);
    desk.at(0.022)
        .acks(PORT, 1)
        .ended(PORT, Outcome::Complete, 100);
}

/// Where the last block has left just now, its ACK would show a copy.
#[test]
fn the_last_ack_is_awaited_while_the_last_block_is_on_its_way() {
    let options = "blksize 1024";
    for is_copy in [true, false] {
        let mut desk = Desk::new(1);
        desk.at(0.0).asks(PORT, CONFIG, options).oack(PORT, options);
        desk.at(0.001).acks(PORT, 0).data(PORT, 1, 100);
        desk.at(0.003).asks(PORT, CONFIG, options).nothing();
        desk.at(0.01).nothing();
        if is_copy {
            desk.acks(PORT, 1)
                .ended(PORT, Outcome::Complete, 100)
                .serves(0, 0);
        } else {
            desk.at(0.011)
                .ended(PORT, Outcome::CompleteUnconfirmed, 100)
                .oack(PORT, options)
                .serves(1, 1);
        }
    }
}

#[test]
fn the_same_in_netascii() {
    let ask = b"\0\x01kernel\0netascii\0blksize\x001428\0";
    let granted = "blksize 1428";
    let mut desk = Desk::new(1);
    desk.at(0.0).listener_gets(PORT, ask).oack(PORT, granted);
    desk.at(0.001).acks(PORT, 0).data(PORT, 1, 1428);
    desk.at(0.002).listener_gets(PORT, ask).nothing();
    desk.at(0.012).oack(PORT, granted).serves(1, 2);
    desk.at(0.3).nothing();
    desk.acks(PORT, 0)
        .ended(PORT, Outcome::Restarted, 0)
        .data(PORT, 1, 1428)
        .serves(1, 1);
}
