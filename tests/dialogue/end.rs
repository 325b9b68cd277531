//! How a transfer comes to its end once everything has been sent.

use ripple_tftpd::transfer::Outcome;

use crate::talk::Talk;

/// A client that fetched two blocks; the second is the last and was sent at 0.002.
fn last_block_sent() -> Talk {
    let mut talk = Talk::under_way("blksize 1024", 1500);
    talk.sends(1..=1);
    assert!(!talk.transfer.is_unconfirmed());
    talk.at(0.002).ack(1).sends(2..=2);
    assert!(talk.transfer.is_unconfirmed());
    talk
}

#[test]
fn the_last_ack_completes() {
    let mut talk = last_block_sent();
    talk.at(0.003).ack(2).ends(Outcome::Complete);
    assert_eq!(talk.transfer.acknowledged_bytes(), 1500);
}

/// Several clients never send it.
#[test]
fn a_missing_last_ack_is_a_success_with_a_footnote_after_6_sendings() {
    let mut talk = last_block_sent();
    talk.repeats(2..=2, &[0.202, 2.202, 6.202, 12.202, 20.202]);
    talk.due(30.202).ends(Outcome::CompleteUnconfirmed);
    assert_eq!(talk.transfer.acknowledged_bytes(), 1024);
    assert_eq!(talk.transfer.length(), Some(1500));
}

#[test]
fn a_last_ack_may_be_late() {
    let mut talk = last_block_sent();
    talk.repeats(2..=2, &[0.202, 2.202]);
    talk.at(6.201_999).ack(2).ends(Outcome::Complete);
}

/// U-Boot asks for a lost last block after 5 s only.
#[test]
fn a_client_may_ask_for_a_lost_last_block_after_5_s() {
    let mut talk = last_block_sent();
    talk.repeats(2..=2, &[0.202, 2.202]);
    talk.at(5.002).ack(1).sends(2..=2);
    talk.at(5.003).ack(2).ends(Outcome::Complete);
}

/// With more than the last block missing nobody knows that anything arrived.
#[test]
fn a_last_window_that_nobody_acknowledges_is_no_success() {
    let mut talk = Talk::under_way("windowsize 4", 512 * 6 + 1);
    talk.sends(1..=4);
    talk.at(0.002).ack(4).sends(5..=7);
    assert!(!talk.transfer.is_unconfirmed());
    talk.repeats(
        5..=7,
        &[
            0.202, 0.602, 1.402, 3.002, 6.202, 11.202, 16.202, 21.202, 26.202, 31.202,
        ],
    );
    talk.due(35.002).ends(Outcome::TimedOut);
}

#[test]
fn progress_within_the_last_window_begins_the_count_anew() {
    let mut talk = Talk::under_way("windowsize 4", 512 * 6 + 1);
    talk.sends(1..=4);
    talk.at(0.002).ack(4).sends(5..=7);
    talk.repeats(5..=7, &[0.202, 0.602]);
    talk.at(1.0).ack(5).sends(6..=7);
    talk.due(1.2).sends(6..=7);
    talk.at(1.5).ack(6).sends(7..=7);
    assert!(talk.transfer.is_unconfirmed());
    talk.repeats(7..=7, &[1.7, 3.7, 7.7, 13.7, 21.7]);
    talk.due(31.7).ends(Outcome::CompleteUnconfirmed);
}

/// What went before does not count: three timeouts on the block before the last leave the last one its
/// six sendings.
#[test]
fn timeouts_before_the_last_block_do_not_count() {
    let mut talk = Talk::under_way("blksize 1024", 1500);
    talk.sends(1..=1);
    talk.repeats(1..=1, &[0.201, 0.601, 1.401]);
    talk.at(2.0).ack(1).sends(2..=2);
    talk.repeats(2..=2, &[2.2, 4.2, 8.2, 14.2, 22.2]);
    talk.due(32.2).ends(Outcome::CompleteUnconfirmed);
}

#[test]
fn an_empty_file_has_a_last_block_too() {
    let mut talk = Talk::under_way("blksize 1024", 0);
    talk.sends(1..=1);
    assert!(talk.transfer.is_unconfirmed());
    talk.repeats(1..=1, &[0.201, 2.201, 6.201, 12.201, 20.201]);
    talk.due(30.201).ends(Outcome::CompleteUnconfirmed);
}

#[test]
fn the_end_of_netascii_is_known_when_it_was_sent() {
    let mut talk = Talk::netascii("blksize 1024", 1500);
    talk.at(0.0).begins().sends_oack();
    talk.at(0.001).ack(0).sends(1..=1);
    assert!(!talk.transfer.is_unconfirmed());
    talk.at(0.002).ack(1).sends(2..=2);
    assert!(talk.transfer.is_unconfirmed());
    talk.repeats(2..=2, &[0.202, 2.202, 6.202, 12.202, 20.202]);
    talk.due(30.202).ends(Outcome::CompleteUnconfirmed);
}

/// An operator who sets a short `-t` wants dead clients gone sooner. That everything was sent is as true
/// as before: the outcome is still a success with a footnote.
#[test]
fn a_short_patience_does_not_turn_a_missing_last_ack_into_a_failure() {
    let mut talk = Talk::with_patience("blksize 1024", 500, 2.0);
    talk.at(0.0).begins().sends_oack();
    talk.at(0.001).ack(0).sends(1..=1);
    talk.due(0.201).sends(1..=1);
    talk.due(2.001).ends(Outcome::CompleteUnconfirmed);
}

/// Repeated ACKs of the block before the last draw it again, but they do not put off the end for ever.
#[test]
fn a_client_cannot_linger_at_the_end() {
    let mut talk = last_block_sent();
    for repeat in 1..=184 {
        let now = 0.002 + f64::from(repeat) * 0.19;
        talk.at(now).ack(1).sends(2..=2);
    }
    talk.due(35.002);
    assert!(talk.is_over());
}
