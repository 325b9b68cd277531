//! U-Boot with its classic stack and with lwIP.

use ripple_tftpd::firmware::{Kind, Reaction, Reason, Status};

use crate::dialogue::{Dialogue, OTHER_PORT, assert_times};

const OPTIONS: &str = "timeout 5 tsize 99 blksize 1468";

#[test]
fn classic_asks_eleven_times_in_55_seconds() {
    let mut it = Dialogue::with(Kind::UBoot);
    assert_eq!(it.request(), "RRQ image timeout 5 tsize 0 blksize 1468");
    let port = it.port;
    assert!(1024 <= port && port < 4096);
    let (times, end, reason) = it.wait_for_failure();
    let expected: Vec<f64> = (1..=10).map(|n| 5.0 * f64::from(n)).collect();
    assert_times(&times, &expected);
    assert_times(&[end], &[55.0]);
    assert_eq!((it.port, reason), (port, Reason::NoReply));
}

#[test]
fn classic_takes_its_request_port_from_the_time() {
    let first = Dialogue::with(Kind::UBoot);
    let mut again = Dialogue::with(Kind::UBoot);
    assert_eq!(first.port, again.port);
    again.machine.power_on(again.now);
    assert_eq!(again.machine.next_datagram().unwrap().from_port, first.port);
}

#[test]
fn classic_dies_at_55_seconds_whatever_oacks_come() {
    let mut it = Dialogue::with(Kind::UBoot);
    it.wait(12.0);
    assert_eq!(it.oack(OPTIONS), ["ACK 0"]);
    for _ in 0..21 {
        it.wait(2.0);
        assert_eq!(it.oack(OPTIONS), ["ACK 0"]);
    }
    assert_eq!(it.machine.status(), Status::Receiving);
    let (_, end, reason) = it.wait_for_failure();
    assert_times(&[end], &[1.0]);
    assert_eq!(reason, Reason::Silence);
}

#[test]
fn classic_counts_its_timeouts_over_the_whole_transfer() {
    let mut it = Dialogue::with(Kind::UBoot);
    it.oack(OPTIONS);
    for block in 1..=10 {
        assert_eq!(it.data(block, 1468), [format!("ACK {block}")]);
        assert_eq!(it.wait(5.5), [format!("5.00 ACK {block}")]);
    }
    it.data(11, 1468);
    let (times, end, _) = it.wait_for_failure();
    assert_times(&times, &[]);
    assert_times(&[end], &[5.0]);
}

#[test]
fn classic_ignores_copies_and_reports_a_gap_once() {
    let mut it = Dialogue::granted(Kind::UBoot, OPTIONS);
    it.lockstep(1, 3, 1468);
    assert_eq!(it.data(3, 1468), [""; 0]);
    assert_eq!(it.data(5, 1468), ["ACK 3"]);
    assert_eq!(it.data(6, 1468), [""; 0]);
    it.lockstep(4, 1, 1468);
    assert_eq!(it.data(6, 1468), ["ACK 4"]);
    assert_eq!(it.data_from(OTHER_PORT, 5, 1468), [""; 0]);
    assert_eq!(it.machine.status(), Status::Receiving);
}

#[test]
fn classic_reports_no_gap_in_the_upper_half_of_the_numbers_but_wraps() {
    let mut it = Dialogue::granted(Kind::UBoot, OPTIONS);
    it.lockstep(1, 32_765, 1468);
    assert_eq!(it.data(32_767, 1468), ["ACK 32765"]);
    it.lockstep(32_766, 10, 1468);
    assert_eq!(it.data(32_777, 1468), [""; 0]);
    it.lockstep(32_776, 32_768, 1468);
}

#[test]
fn classic_refuses_another_timeout_and_larger_blocks() {
    for options in ["timeout 6 blksize 1468", "timeout 5 blksize 1469"] {
        let mut it = Dialogue::with(Kind::UBoot);
        assert_eq!(it.oack(options), ["ERROR 8"]);
        assert_eq!(it.machine.status(), Status::Failed(Reason::BadOption));
    }
}

#[test]
fn lwip_asks_six_times_in_six_seconds() {
    let mut it = Dialogue::with(Kind::UBootLwip);
    assert_eq!(it.request(), "RRQ image tsize 0 blksize 1468");
    let port = it.port;
    assert_eq!(port, 49_152);
    let (times, end, reason) = it.wait_for_failure();
    assert_times(&times, &[1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_times(&[end], &[6.0]);
    assert_eq!((it.port, reason), (port, Reason::NoReply));
}

#[test]
fn lwip_never_repeats_an_ack_and_waits_ten_seconds_for_data() {
    let mut it = Dialogue::with(Kind::UBootLwip);
    it.wait(4.5);
    assert_eq!(it.oack("tsize 99 blksize 1468"), ["ACK 0"]);
    let (times, end, reason) = it.wait_for_failure();
    assert_times(&times, &[]);
    assert_times(&[end], &[5.5]);
    assert_eq!(reason, Reason::Silence);

    let mut it = Dialogue::granted(Kind::UBootLwip, "blksize 1468");
    it.wait(9.0);
    it.lockstep(1, 1, 1468);
    let (times, end, _) = it.wait_for_failure();
    assert_times(&times, &[]);
    assert_times(&[end], &[10.0]);
}

#[test]
fn lwip_complains_of_strays_but_goes_on_and_trusts_any_port() {
    const COMPLAINT: [&str; 1] = ["ERROR 5 Wrong block number"];
    let mut it = Dialogue::granted(Kind::UBootLwip, "blksize 1468");
    it.lockstep(1, 3, 1468);
    assert_eq!(it.data(5, 1468), COMPLAINT, "early");
    assert_eq!(it.data(3, 1468), ["ACK 3"], "the one before");
    assert_eq!(it.data(2, 1468), COMPLAINT, "old");
    assert_eq!(it.machine.status(), Status::Receiving);
    assert_eq!(it.data_from(OTHER_PORT, 4, 1468), ["ACK 4"]);
    assert!(matches!(it.reaction, Reaction::Filed { .. }));
    it.lockstep(5, 65_531, 1468);
    // Across the wrap.
    it.lockstep(65_536, 1, 1468);
    assert_eq!(it.data(0, 1468), ["ACK 0"]);
    assert_eq!(it.data(65_535, 1468), COMPLAINT);
    it.lockstep(65_537, 3, 1468);
}

/// Its clock is for new blocks.
#[test]
fn lwip_gives_up_after_ten_seconds_whatever_it_complains_of() {
    let mut it = Dialogue::granted(Kind::UBootLwip, "blksize 1468");
    it.lockstep(1, 3, 1468);
    it.wait(6.0);
    it.data(1, 1468);
    let (_, end, reason) = it.wait_for_failure();
    assert_times(&[end], &[4.0]);
    assert_eq!(reason, Reason::Silence);
}

#[test]
fn lwip_answers_a_second_oack() {
    let mut it = Dialogue::granted(Kind::UBootLwip, "blksize 1468");
    it.wait(3.0);
    assert_eq!(it.oack("blksize 1468"), ["ACK 0"]);
    let (_, end, _) = it.wait_for_failure();
    assert_times(&[end], &[7.0]);
}
