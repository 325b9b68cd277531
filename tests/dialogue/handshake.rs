//! From the first packet to the client's first ACK.

use ripple_tftpd::transfer::Outcome;

use crate::talk::Talk;

#[test]
fn an_oack_is_answered_by_ack_0_and_data_follows() {
    let mut talk = Talk::begun("blksize 1024, tsize 0", 2000);
    assert!(!talk.transfer.is_answered());
    talk.at(0.002).ack(0).sends(1..=1);
    assert!(talk.transfer.is_answered());
    talk.at(0.004).ack(1).sends(2..=2);
    talk.at(0.006).ack(2).ends(Outcome::Complete);
    assert_eq!(talk.transfer.retransmissions(), 0);
}

#[test]
fn without_an_option_it_begins_with_data_1() {
    let mut talk = Talk::new("", 600);
    talk.at(0.0).begins().sends(1..=1);
    talk.at(0.002).ack(1).sends(2..=2);
    talk.at(0.004).ack(2).ends(Outcome::Complete);
}

#[test]
fn unusable_options_alone_make_no_oack() {
    let mut talk = Talk::new("blksize 7, rollover 1", 600);
    talk.at(0.0).begins().sends(1..=1);
    talk.at(0.002).ack(1).sends(2..=2);
    talk.at(0.004).ack(2).ends(Outcome::Complete);
}

#[test]
fn a_lost_oack_is_sent_again_after_1_s_then_2_s() {
    let mut talk = Talk::begun("blksize 1024", 600);
    talk.due(1.0).sends_oack();
    talk.due(3.0).sends_oack();
    talk.at(6.9).ack(0).sends(1..=1);
    talk.at(6.91).ack(1).ends(Outcome::Complete);
    assert_eq!(talk.transfer.retransmissions(), 2);
}

#[test]
fn an_oack_that_nobody_answers_is_given_up_after_5_sendings() {
    let mut talk = Talk::begun("blksize 1024", 600);
    for second in [1.0, 3.0, 7.0, 12.0] {
        talk.due(second).sends_oack();
    }
    talk.due(17.0).ends(Outcome::NoAnswer);
    assert_eq!(talk.packets, 5);
}

#[test]
fn a_lost_first_data_is_sent_again_after_1_s_then_2_s() {
    let mut talk = Talk::new("", 600);
    talk.at(0.0).begins().sends(1..=1);
    talk.repeats(1..=1, &[1.0, 3.0]);
    talk.at(5.0).ack(1).sends(2..=2);
    talk.at(5.01).ack(2).ends(Outcome::Complete);
}

#[test]
fn a_first_data_that_nobody_answers_is_given_up_after_3_sendings() {
    let mut talk = Talk::new("", 600);
    talk.at(0.0).begins().sends(1..=1);
    talk.repeats(1..=1, &[1.0, 3.0]);
    talk.due(7.0).ends(Outcome::NoAnswer);
}

/// A file of one block is sent whole by its first packet. Without an ACK nobody knows that the client
/// exists: this is no success with a footnote.
#[test]
fn a_file_of_one_block_that_nobody_answers_is_no_success() {
    let mut talk = Talk::new("", 10);
    talk.at(0.0).begins().sends(1..=1);
    assert!(!talk.transfer.is_unconfirmed());
    talk.repeats(1..=1, &[1.0, 3.0]);
    talk.due(7.0).ends(Outcome::NoAnswer);
}

/// A forged request draws little: one packet a sending, whatever window it asks for.
#[test]
fn one_packet_is_all_before_the_first_ack() {
    let mut talk = Talk::begun("windowsize 64", 1 << 20);
    for second in [1.0, 3.0, 7.0, 12.0] {
        talk.due(second).sends_oack();
    }
    talk.due(17.0).ends(Outcome::NoAnswer);

    let mut talk = Talk::new("", 1 << 20);
    talk.at(0.0).begins().sends(1..=1);
    talk.repeats(1..=1, &[1.0, 3.0]);
    talk.due(7.0).ends(Outcome::NoAnswer);
}

#[test]
fn only_ack_0_answers_an_oack() {
    let mut talk = Talk::begun("windowsize 4", 1 << 20);
    for block in 1..=u16::MAX {
        talk.at(0.5).ack(block).nothing();
    }
    assert!(!talk.transfer.is_answered());
    talk.at(0.6).ack(0).sends(1..=4);
}

#[test]
fn only_ack_1_answers_data_1() {
    let mut talk = Talk::new("", 1 << 20);
    talk.at(0.0).begins().sends(1..=1);
    for block in 2..=u16::MAX {
        talk.at(0.05).ack(block).nothing();
    }
    talk.at(0.05).ack(0).nothing();
    assert!(!talk.transfer.is_answered());
    talk.at(0.06).ack(1).sends(2..=2);
}

#[test]
fn an_ack_before_anything_was_sent_means_nothing() {
    let mut talk = Talk::new("blksize 1024", 600);
    talk.at(0.0).socket_takes(0).begins().nothing();
    talk.at(0.1).ack(0).nothing();
    assert!(!talk.transfer.is_answered());
    talk.at(0.2).socket_is_writable().sends_oack();
    talk.at(0.3).ack(0).sends(1..=1);
    talk.at(0.4).ack(1).ends(Outcome::Complete);
}

/// Firmware repeats a request within 5-9 ms.
#[test]
fn a_request_repeated_within_100_ms_draws_the_first_packet_once_that_is_as_old() {
    let mut talk = Talk::begun("blksize 1024", 600);
    talk.at(0.005).asks_again().nothing();
    talk.at(0.009).asks_again().nothing();
    talk.at(0.099_999).asks_again().nothing();
    talk.due(0.1).sends_oack().waits_until(1.0);
    talk.at(0.105).asks_again().nothing();
    talk.due(0.2).sends_oack();
    talk.at(0.201).ack(0).sends(1..=1);
    talk.at(0.21).ack(1).ends(Outcome::Complete);
    assert_eq!(talk.transfer.retransmissions(), 2);
}

#[test]
fn a_request_repeated_within_100_ms_draws_nothing_once_it_is_answered() {
    let mut talk = Talk::begun("blksize 1024", 600);
    talk.at(0.005).asks_again().nothing();
    talk.at(0.01).ack(0).sends(1..=1).waits_until(0.21);
    talk.at(0.02).ack(1).ends(Outcome::Complete);
    assert_eq!(talk.transfer.retransmissions(), 0);
}

/// What the client asked for leaves by itself, and what the timer repeats leaves at its own time.
#[test]
fn a_wish_and_the_timer_are_one_sending() {
    let mut talk = Talk::begun("blksize 1024", 600);
    talk.due(1.0).sends_oack();
    talk.at(1.05).asks_again().nothing();
    talk.due(1.1).sends_oack().waits_until(3.0);
    talk.at(2.95).asks_again().sends_oack();
    talk.at(2.96).asks_again().nothing();
    talk.due(3.0).sends_oack().waits_until(7.0);
}

#[test]
fn a_request_repeated_after_100_ms_draws_the_first_packet_again() {
    let mut talk = Talk::begun("blksize 1024", 600);
    talk.at(0.1).asks_again().sends_oack();
    talk.at(0.199_999).asks_again().nothing();
    talk.due(0.2).sends_oack();
    talk.at(0.3).ack(0).sends(1..=1);
    talk.at(0.4).ack(1).ends(Outcome::Complete);

    let mut talk = Talk::new("", 600);
    talk.at(0.0).begins().sends(1..=1);
    talk.at(0.1).asks_again().sends(1..=1);
    talk.at(0.3).ack(1).sends(2..=2);
    talk.at(0.4).ack(2).ends(Outcome::Complete);
}

/// A client that cannot hear us must not keep its slot by asking.
#[test]
fn repeated_requests_do_not_prolong_the_handshake() {
    let mut talk = Talk::begun("blksize 1024", 600);
    talk.at(0.9).asks_again().sends_oack();
    talk.due(1.0).sends_oack();
    talk.at(2.9).asks_again().sends_oack();
    talk.due(3.0).sends_oack();
    for second in [3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 6.999_999] {
        talk.at(second).asks_again().sends_oack();
    }
    talk.due(7.0).sends_oack();
    talk.at(11.9).asks_again().sends_oack();
    talk.due(12.0).sends_oack();
    talk.at(16.9).asks_again().sends_oack();
    talk.due(17.0).ends(Outcome::NoAnswer);
}

#[test]
fn a_request_repeated_after_the_first_ack_draws_nothing() {
    let mut talk = Talk::under_way("blksize 1024", 5000);
    talk.sends(1..=1);
    talk.at(0.2).asks_again().nothing();
    talk.due(0.201).sends(1..=1);
}

/// The handshake has its own schedule: 1 s, then 2 s, and so on. An agreed `timeout` is its upper bound.
#[test]
fn a_long_agreed_timeout_does_not_slow_the_handshake() {
    let mut talk = Talk::begun("timeout 255", 600);
    for second in [1.0, 3.0, 7.0, 15.0] {
        talk.due(second).sends_oack();
    }
    talk.due(31.0).ends(Outcome::NoAnswer);
}

#[test]
fn the_operators_patience_ends_a_handshake_too() {
    let mut talk = Talk::with_patience("blksize 1024", 600, 2.0);
    talk.at(0.0).begins().sends_oack();
    talk.due(1.0).sends_oack();
    talk.due(2.0).ends(Outcome::NoAnswer);
}

#[test]
fn the_handshake_measures_the_round_trip() {
    let mut talk = Talk::begun("blksize 1024", 5000);
    // SRTT 0.4 s, RTTVAR 0.2 s: RTO 1.2 s.
    talk.at(0.4).ack(0).sends(1..=1);
    talk.due(1.6).sends(1..=1);
}

/// Karn's rule: the ACK may belong to either OACK.
#[test]
fn a_repeated_oack_measures_nothing() {
    let mut talk = Talk::begun("blksize 1024", 5000);
    talk.due(1.0).sends_oack();
    talk.at(1.01).ack(0).sends(1..=1);
    // Nothing was measured and the doubling is undone: the initial RTO of 1 s.
    talk.due(2.01).sends(1..=1);

    let mut talk = Talk::begun("blksize 1024", 5000);
    talk.at(0.5).asks_again().sends_oack();
    talk.at(0.51).ack(0).sends(1..=1);
    talk.due(1.51).sends(1..=1);
}
