//! Block numbers past 65,535: 65,535 is followed by 0.

use ripple_tftpd::transfer::Outcome;

use crate::talk::{Talk, on_wire};

/// A window that is aligned to the wrap, one that straddles it, and lockstep: the whole file arrives and
/// nothing is sent twice.
#[test]
fn files_go_past_the_wrap() {
    for windowsize in [1, 3, 8, 64, 100] {
        let blocks = 2 * 65_536 + 1000;
        let options = format!("blksize 8, windowsize {windowsize}");
        let mut talk = Talk::under_way(&options, 8 * blocks - 1);
        talk.runs_until_sent(blocks);
        let last_window = (blocks - 1) / windowsize * windowsize + 1;
        talk.sends(last_window..=blocks);
        talk.soon().ack(on_wire(blocks)).ends(Outcome::Complete);
        assert_eq!(talk.packets, 1 + blocks, "windowsize {windowsize}");
        assert_eq!(talk.transfer.retransmissions(), 0);
        assert_eq!(talk.transfer.acknowledged_bytes(), 8 * blocks - 1);
    }
}

#[test]
fn in_lockstep_acks_are_matched_across_the_wrap() {
    let mut talk = Talk::under_way("blksize 8", 8 * 70_000);
    talk.runs_until_sent(65_535).sends(65_535..=65_535);
    talk.soon().ack(0).nothing();
    talk.soon().ack(1).nothing();
    talk.soon().ack(65_534).nothing();
    talk.soon().ack(65_535).sends(65_536..=65_536);
    talk.soon().ack(65_535).nothing();
    talk.soon().ack(65_534).nothing();
    talk.soon().ack(1).nothing();
    talk.soon().ack(0).sends(65_537..=65_537);
    talk.soon().ack(0).nothing();
    talk.soon().ack(65_535).nothing();
    talk.soon().ack(1).sends(65_538..=65_538);
}

#[test]
fn in_a_window_of_8_acks_are_matched_across_the_wrap() {
    let mut talk = Talk::under_way("blksize 8, windowsize 8", 8 * 70_000);
    talk.runs_until_sent(65_528).sends(65_521..=65_528);
    // A gap moves the windows so that one straddles the wrap.
    talk.soon().ack(on_wire(65_524)).sends(65_525..=65_532);
    talk.soon().ack(on_wire(65_532)).sends(65_533..=65_540);
    talk.soon().ack(5).nothing();
    // A gap right at the wrap, on its far side, and behind it.
    talk.soon().ack(65_535).sends(65_536..=65_543);
    talk.soon().ack(0).sends(65_537..=65_544);
    talk.soon().ack(2).sends(65_539..=65_546);
    talk.soon().ack(10).sends(65_547..=65_554);
    talk.soon().ack(65_535).nothing();
}

#[test]
fn in_a_window_of_64_acks_are_matched_across_the_wrap() {
    let mut talk = Talk::under_way("blksize 8, windowsize 64", 8 * 70_000);
    talk.runs_until_sent(65_472).sends(65_409..=65_472);
    talk.soon().ack(on_wire(65_440)).sends(65_441..=65_504);
    talk.soon().ack(on_wire(65_504)).sends(65_505..=65_568);
    talk.soon().ack(on_wire(65_569)).nothing();
    talk.soon().ack(on_wire(65_503)).nothing();
    talk.soon().ack(on_wire(65_535)).sends(65_536..=65_599);
    talk.soon().ack(on_wire(65_599)).sends(65_600..=65_663);
}

/// iPXE files a stale block 65,535 too high by a whole wrap, and its download never ends.
#[test]
fn around_the_wrap_nothing_is_repeated_within_2_s() {
    let mut talk = Talk::under_way("blksize 8", 8 * 70_000);
    talk.runs_until_sent(65_534).sends(65_534..=65_534);
    // 1 ms for each ACK, that of the OACK included.
    talk.waits_until(65.534 + 0.2);
    talk.at(65.535).ack(65_534).sends(65_535..=65_535);
    talk.due(67.535).sends(65_535..=65_535);
    talk.at(67.6).ack(65_535).sends(65_536..=65_536);
    talk.due(69.6).sends(65_536..=65_536);
    talk.at(69.7).ack(0).sends(65_537..=65_537);
    talk.due(69.9).sends(65_537..=65_537);
}

#[test]
fn around_the_wrap_a_window_is_not_repeated_within_2_s() {
    // Windows of 3 end with 65,535, so that the next one begins with the 0.
    let mut talk = Talk::under_way("blksize 8, windowsize 3", 8 * 70_000);
    talk.runs_until_sent(65_532).sends(65_530..=65_532);
    talk.waits_until(21.844 + 0.2);
    talk.at(21.845)
        .ack(65_532)
        .sends(65_533..=65_535)
        .waits_until(23.845);
    talk.at(21.846)
        .ack(65_535)
        .sends(65_536..=65_538)
        .waits_until(23.846);
    talk.at(21.847)
        .ack(2)
        .sends(65_539..=65_541)
        .waits_until(22.047);

    // Windows of 64 hold both in one.
    let mut talk = Talk::under_way("blksize 8, windowsize 64", 8 * 70_000);
    talk.runs_until_sent(65_472).sends(65_409..=65_472);
    talk.waits_until(1.023 + 0.2);
    talk.at(1.024).ack(on_wire(65_472)).sends(65_473..=65_536);
    talk.due(3.024).sends(65_473..=65_536);
    talk.at(3.1).ack(0).sends(65_537..=65_600).waits_until(3.3);
}

#[test]
fn around_the_wrap_2_s_hold_against_a_shorter_agreed_timeout() {
    let mut talk = Talk::under_way("timeout 1, blksize 8", 8 * 70_000);
    talk.runs_until_sent(65_535).sends(65_535..=65_535);
    talk.due(67.535).sends(65_535..=65_535);
}

#[test]
fn every_wrap_is_one() {
    let mut talk = Talk::under_way("blksize 8, windowsize 64", 8 * 140_000);
    talk.runs_until_sent(2 * 65_536)
        .sends(2 * 65_536 - 63..=2 * 65_536);
    talk.due(2.048 + 2.0).sends(2 * 65_536 - 63..=2 * 65_536);
}
