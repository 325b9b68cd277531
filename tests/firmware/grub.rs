//! GRUB: silent about ACKs, deaf to errors, and forgetful.

use ripple_tftpd::firmware::{Chain, Kind, Reaction, Reason, Status, Step};

use crate::dialogue::{Dialogue, OTHER_PORT, assert_times};

const OPTIONS: &str = "blksize 1024 tsize 99";

#[test]
fn asks_forty_times_in_31_6_seconds() {
    let mut it = Dialogue::with(Kind::Grub);
    assert_eq!(it.request(), "RRQ image blksize 1024 tsize 0");
    assert_eq!(it.port, 25_300);
    let (times, end, reason) = it.wait_for_failure();
    assert_eq!(times.len(), 39);
    assert_times(&times[..4], &[0.40, 0.82, 1.26, 1.72]);
    assert_times(&[end], &[31.6]);
    assert_eq!((it.port, reason), (25_300, Reason::NoReply));
    assert_eq!(it.machine.deadline(), None, "it shows a prompt for ever");
}

#[test]
fn counts_its_ports_from_25300_after_every_reboot() {
    let chain = Chain::new(vec![Step::miss("first"), Step::file("second", 10)]);
    let mut it = Dialogue::about(Kind::Grub, chain);
    assert_eq!(it.error(1), ["RRQ second blksize 1024 tsize 0"]);
    assert_eq!(it.port, 25_301);
    it.machine.power_on(it.now);
    assert_eq!(it.machine.next_datagram().unwrap().from_port, 25_300);
}

#[test]
fn acknowledges_once_and_waits_33_6_seconds() {
    let mut it = Dialogue::with(Kind::Grub);
    it.wait(20.0);
    it.oack(OPTIONS);
    let (times, end, reason) = it.wait_for_failure();
    assert_times(&times, &[]);
    assert_times(&[end], &[33.6]);
    assert_eq!(reason, Reason::Silence);

    let mut it = Dialogue::granted(Kind::Grub, OPTIONS);
    it.wait(30.0);
    it.lockstep(1, 1, 1024);
    assert_times(&[it.wait_for_failure().1], &[33.6]);
}

#[test]
fn a_second_oack_before_data_does_no_harm_but_does_not_move_the_clock() {
    let mut it = Dialogue::granted(Kind::Grub, OPTIONS);
    for _ in 0..15 {
        it.wait(2.0);
        assert_eq!(it.oack(OPTIONS), ["ACK 0"]);
    }
    let mut late = Dialogue::granted(Kind::Grub, OPTIONS);
    late.wait(30.0);
    late.oack(OPTIONS);
    assert_times(&[late.wait_for_failure().1], &[3.6]);
    it.lockstep(1, 3, 1024);
}

#[test]
fn a_second_oack_after_data_is_fatal() {
    let mut it = Dialogue::granted(Kind::Grub, OPTIONS);
    it.lockstep(1, 3, 1024);
    assert_eq!(it.oack(OPTIONS), ["ACK 0"]);
    for block in 4..8 {
        assert_eq!(it.data(block, 1024), [""; 0]);
        assert_eq!(it.reaction, Reaction::Ignored);
    }
    assert_eq!(it.wait_for_failure().2, Reason::Silence);
}

#[test]
fn answers_a_copy_with_two_acks_and_ignores_gaps() {
    let mut it = Dialogue::granted(Kind::Grub, OPTIONS);
    it.lockstep(1, 3, 1024);
    assert_eq!(it.data(2, 1024), ["ACK 2", "ACK 3"]);
    assert_eq!(it.data(5, 1024), [""; 0]);
    assert_eq!(it.data_from(OTHER_PORT, 4, 1024), [""; 0]);
    it.lockstep(4, 1, 1024);
}

#[test]
fn copies_do_not_move_the_clock() {
    let mut it = Dialogue::granted(Kind::Grub, OPTIONS);
    it.lockstep(1, 1, 1024);
    it.wait(30.0);
    it.data(1, 1024);
    assert_times(&[it.wait_for_failure().1], &[3.6]);
}

#[test]
fn an_old_65535_is_not_acknowledged_once_it_expects_0() {
    let mut it = Dialogue::granted(Kind::Grub, OPTIONS);
    it.lockstep(1, 65_535, 1024);
    assert_eq!(it.data(65_535, 1024), [""; 0]);
    it.lockstep(65_536, 5, 1024);
}

#[test]
fn hears_errors_only_as_the_answer_to_a_request() {
    let mut it = Dialogue::granted(Kind::Grub, OPTIONS);
    it.lockstep(1, 1, 1024);
    it.error(0);
    assert_eq!(it.machine.status(), Status::Receiving);
    assert_times(&[it.wait_for_failure().1], &[33.6]);

    let mut it = Dialogue::with(Kind::Grub);
    it.error(0);
    assert_eq!(it.machine.status(), Status::Failed(Reason::ServerError(0)));
}

#[test]
fn needs_an_oack() {
    let mut it = Dialogue::with(Kind::Grub);
    assert_eq!(it.data(1, 512), [""; 0]);
    assert_eq!(it.machine.status(), Status::Asking);
    assert_eq!(it.wait_for_failure().2, Reason::NoReply);
}
