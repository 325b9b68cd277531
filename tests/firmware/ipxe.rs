//! iPXE: a timer that adapts, and never forgets that it waited.

use ripple_tftpd::firmware::{Kind, Reaction, Reason, Status};

use crate::dialogue::{Dialogue, OTHER_PORT, SERVER, assert_times};

const OPTIONS: &str = "blksize 1432 tsize 99";

#[test]
fn waits_15_75_seconds_for_a_first_answer() {
    let mut it = Dialogue::with(Kind::Ipxe);
    assert_eq!(it.request(), "RRQ image blksize 1432 tsize 0");
    assert_eq!(
        it.first_bytes,
        b"\x00\x01image\0octet\0blksize\x001432\0tsize\x000\0"
    );
    let port = it.port;
    let (times, end, reason) = it.wait_for_failure();
    assert_times(&times, &[0.25, 0.75, 1.75, 3.75, 7.75]);
    assert_times(&[end], &[15.75]);
    assert_eq!(reason, Reason::NoReply);
    assert_eq!(it.port, port, "repeats come from the same port");
}

#[test]
fn an_early_oack_keeps_its_timer_small() {
    let mut it = Dialogue::granted(Kind::Ipxe, OPTIONS);
    let (times, end, reason) = it.wait_for_failure();
    assert_times(&times, &[0.25, 0.75, 1.75, 3.75, 7.75]);
    assert_times(&[end], &[15.75]);
    assert_eq!(reason, Reason::Silence);
}

#[test]
fn after_a_long_wait_the_first_timeout_of_the_transfer_is_fatal() {
    let mut it = Dialogue::with(Kind::Ipxe);
    it.wait(9.0);
    assert_eq!(it.oack(OPTIONS), ["ACK 0"]);
    let (times, end, reason) = it.wait_for_failure();
    assert_times(&times, &[]);
    assert_times(&[end], &[8.0]);
    assert_eq!(reason, Reason::Silence);
}

#[test]
fn after_a_long_wait_it_takes_dozens_of_packets_to_become_quick_again() {
    let mut it = Dialogue::with(Kind::Ipxe);
    it.wait(9.0);
    it.oack(OPTIONS);
    it.lockstep(1, 4, 1432);
    assert_times(&[it.wait_to_first_repeat()], &[8.0]);

    let mut it = Dialogue::with(Kind::Ipxe);
    it.wait(9.0);
    it.oack(OPTIONS);
    it.lockstep(1, 35, 1432);
    assert_times(&[it.wait_to_first_repeat()], &[0.25]);
}

#[test]
fn repeated_oacks_keep_it_alive() {
    let mut it = Dialogue::granted(Kind::Ipxe, OPTIONS);
    for _ in 0..30 {
        it.wait(2.0);
        assert_eq!(it.oack(OPTIONS), ["ACK 0"]);
    }
    assert_eq!(it.machine.status(), Status::Receiving);
    it.lockstep(1, 3, 1432);
}

#[test]
fn copies_and_gaps_are_stored_and_answered_with_the_first_gap() {
    let mut it = Dialogue::granted(Kind::Ipxe, OPTIONS);
    it.lockstep(1, 3, 1432);
    assert_eq!(it.data(2, 1432), ["ACK 3"]);
    let copy = Reaction::Filed {
        step: 0,
        position: 1432,
        length: 1432,
    };
    assert_eq!(it.reaction, copy);
    assert_eq!(it.data(5, 1432), ["ACK 3"]);
    assert_eq!(it.data(4, 1432), ["ACK 5"]);
    assert_eq!(it.data_from(OTHER_PORT, 6, 1432), [""; 0]);
    assert_eq!(it.reaction, Reaction::Ignored);
}

#[test]
fn the_wrap_goes_to_zero() {
    let mut it = Dialogue::granted(Kind::Ipxe, OPTIONS);
    it.lockstep(1, 65_540, 1432);
    let last = 65_540 * 1432;
    assert_eq!(it.data(5, 7), ["ACK 5"]);
    let end = Reaction::Filed {
        step: 0,
        position: last,
        length: 7,
    };
    assert_eq!(it.reaction, end);
    assert_ne!(it.machine.status(), Status::Receiving);
}

#[test]
fn a_copy_of_the_block_before_the_wrap_spoils_the_file() {
    let mut it = Dialogue::granted(Kind::Ipxe, OPTIONS);
    it.lockstep(1, 65_535, 1432);
    assert_eq!(it.data(65_535, 1432), ["ACK 65535"]);
    let misfiled = Reaction::Filed {
        step: 0,
        position: (65_536 + 65_534) * 1432,
        length: 1432,
    };
    assert_eq!(it.reaction, misfiled);
    it.lockstep(65_536, 4, 1432);
    assert_eq!(it.data(4, 7), ["ACK 4"]);
    let (times, _, reason) = it.wait_for_failure();
    assert!(!times.is_empty(), "it acknowledges the last block again");
    assert_eq!(reason, Reason::Silence);
}

#[test]
fn takes_any_block_size_and_unknown_options() {
    let mut it = Dialogue::with(Kind::Ipxe);
    assert_eq!(it.oack_from(SERVER, "blksize 2048 surprise 1"), ["ACK 0"]);
    assert_eq!(it.data(1, 2048), ["ACK 1"]);
}

#[test]
fn an_error_ends_the_boot_at_once_and_it_starts_again_later() {
    let mut it = Dialogue::with(Kind::Ipxe);
    assert_eq!(it.error(0), [""; 0]);
    assert_eq!(it.machine.status(), Status::Failed(Reason::ServerError(0)));
    let again = it.machine.deadline().unwrap().since(it.now).as_secs();
    assert!(5 <= again && again <= 60);
    it.now = it.machine.deadline().unwrap();
    it.machine.on_deadline(it.now);
    assert_eq!(it.machine.status(), Status::Asking);
    assert_eq!(it.machine.restarts(), 1);
}
