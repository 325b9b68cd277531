//! Raspberry Pi 4: a clock for the whole file, and a fault with copies.

use ripple_tftpd::firmware::{Kind, Reaction, Reason, Status};

use crate::dialogue::{Dialogue, assert_times};

const OPTIONS: &str = "tsize 99 blksize 1024";

fn receiving() -> Dialogue {
    let mut it = Dialogue::with(Kind::RaspberryPi4);
    assert_eq!(it.oack(OPTIONS), ["ERROR 0"]);
    let read = it.wait(0.01);
    assert!(read[0].ends_with("RRQ image tsize 0 blksize 1024"));
    assert_eq!(it.oack(OPTIONS), ["ACK 0"]);
    it
}

#[test]
fn asks_every_two_seconds_for_thirty() {
    let mut it = Dialogue::with(Kind::RaspberryPi4);
    assert_eq!(it.request(), "RRQ image tsize 0 blksize 1024");
    let port = it.port;
    let (times, end, reason) = it.wait_for_failure();
    let expected: Vec<f64> = (1..15).map(|n| 2.0 * f64::from(n)).collect();
    assert_times(&times, &expected);
    assert_times(&[end], &[30.0]);
    assert_eq!((it.port, reason), (port, Reason::FileClock));
    let again = it.machine.deadline().unwrap().since(it.now).as_secs();
    assert!(45 <= again && again <= 75);
}

#[test]
fn thirty_seconds_are_for_the_whole_file_however_well_it_goes() {
    let mut it = receiving();
    for block in 1..=29 {
        it.wait(1.0);
        assert_eq!(it.data(block, 1024), [format!("ACK {block}")]);
    }
    let (_, end, reason) = it.wait_for_failure();
    assert_times(&[end], &[0.99]);
    assert_eq!(reason, Reason::FileClock);
}

#[test]
fn waiting_after_the_probe_counts_too() {
    let mut it = Dialogue::with(Kind::RaspberryPi4);
    it.wait(11.0);
    it.oack(OPTIONS);
    it.wait(0.01);
    assert_times(&[it.wait_for_failure().1], &[18.99]);
}

#[test]
fn repeats_an_ack_after_two_seconds() {
    let mut it = receiving();
    it.lockstep(1, 3, 1024);
    assert_eq!(it.wait(4.5), ["2.00 ACK 3", "4.00 ACK 3"]);
}

#[test]
fn a_copy_makes_it_acknowledge_a_block_that_never_came() {
    let mut it = receiving();
    it.lockstep(1, 3, 1024);
    assert_eq!(it.data(3, 1024), ["ACK 4"]);
    // The server believes that, and the file can never be complete.
    assert_eq!(it.data(5, 1024), ["ACK 4"]);
    assert_eq!(it.reaction, Reaction::Ignored);
    assert_eq!(it.wait_for_failure().2, Reason::FileClock);
}

/// Where its ACK was lost the server goes on with the same block, and never learns that it came.
#[test]
fn after_a_copy_it_acknowledges_that_block_and_nothing_else_until_its_clock_runs_out() {
    let mut it = receiving();
    it.lockstep(1, 3, 1024);
    it.wait(1.0);
    for _ in 0..3 {
        assert_eq!(it.data(3, 1024), ["ACK 4"]);
    }
    assert_eq!(it.wait(4.0), ["1.00 ACK 4", "3.00 ACK 4"]);
    assert_eq!(it.data(4, 1024), ["ACK 4"]);
    assert_eq!(it.reaction, Reaction::Ignored);
    let (times, end, reason) = it.wait_for_failure();
    assert_eq!(times.len(), 12);
    assert_times(&[end], &[24.99]);
    assert_eq!(reason, Reason::FileClock);
    let again = it.machine.deadline().unwrap().since(it.now).as_secs();
    assert!(45 <= again && again <= 75);
}

#[test]
fn there_is_no_block_after_65535() {
    let mut it = receiving();
    it.lockstep(1, 65_535, 1024);
    assert_eq!(it.data(0, 1024), [""; 0]);
    assert_eq!(it.reaction, Reaction::Ignored);
    assert_eq!(it.machine.status(), Status::Receiving);
    assert_eq!(it.wait_for_failure().2, Reason::FileClock);
}
