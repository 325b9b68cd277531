//! The two old ROMs: no options, 23 s for the first packet, 5 s for each later one.

use ripple_tftpd::firmware::{Chain, Kind, Reaction, Reason, Status, Step};

use crate::dialogue::{Dialogue, assert_times};

#[test]
fn asks_five_times_within_23_seconds() {
    let mut it = Dialogue::with(Kind::OldRom);
    assert_eq!(it.first_bytes, b"\x00\x01image\0octet\0");
    let port = it.port;
    assert_eq!(port, 2070);
    let (times, end, reason) = it.wait_for_failure();
    assert_times(&times, &[1.0, 3.0, 7.0, 15.0]);
    assert_times(&[end], &[23.0]);
    assert_eq!((it.port, reason), (port, Reason::NoReply));
    let again = it.machine.deadline().unwrap().since(it.now).as_secs();
    assert!(5 <= again && again <= 60);
}

#[test]
fn one_of_them_changes_its_port_with_every_request() {
    let mut it = Dialogue::with(Kind::OldRomNewPorts);
    let first = it.port;
    assert_eq!(it.wait(3.5), ["1.00 RRQ image", "3.00 RRQ image"]);
    assert_eq!(it.port, first + 2);
    // What comes for an earlier port comes too late.
    let latest = it.port;
    it.port = first;
    assert_eq!(it.data(1, 512), [""; 0]);
    assert_eq!(it.reaction, Reaction::Ignored);
    it.port = latest;
    assert_eq!(it.data(1, 512), ["ACK 1"]);
    it.machine.power_on(it.now);
    assert_eq!(it.machine.next_datagram().unwrap().from_port, first);
}

#[test]
fn the_next_file_comes_from_a_port_that_was_not_used_yet() {
    let chain = Chain::new(vec![Step::file("one", 10), Step::file("two", 10)]);
    let mut it = Dialogue::about(Kind::OldRomNewPorts, chain);
    it.wait(1.5);
    let port = it.port;
    assert_eq!(it.data(1, 10), ["ACK 1", "RRQ two"]);
    assert_eq!(it.port, port + 1);
}

#[test]
fn repeats_each_packet_four_times_a_second_apart() {
    for kind in [Kind::OldRom, Kind::OldRomNewPorts] {
        let mut it = Dialogue::with(kind);
        it.lockstep(1, 2, 512);
        let port = it.port;
        let (times, end, reason) = it.wait_for_failure();
        assert_times(&times, &[1.0, 2.0, 3.0, 4.0]);
        assert_times(&[end], &[5.0]);
        assert_eq!((it.port, reason), (port, Reason::Silence));
    }
}

#[test]
fn only_new_blocks_restart_its_clock() {
    let mut it = Dialogue::with(Kind::OldRom);
    it.lockstep(1, 2, 512);
    it.wait(3.0);
    assert_eq!(it.data(2, 512), ["ACK 2"]);
    assert_eq!(it.data(4, 512), [""; 0]);
    assert_times(&[it.wait_for_failure().1], &[2.0]);
}

#[test]
fn a_short_block_ends_the_file() {
    let mut it = Dialogue::about(Kind::OldRom, Chain::one_file("image", 512));
    it.lockstep(1, 1, 512);
    assert_eq!(it.data(2, 0), ["ACK 2"]);
    assert_eq!(it.machine.status(), Status::Booted);
    assert_eq!(it.machine.files_done(), 1);

    let mut it = Dialogue::about(Kind::OldRom, Chain::one_file("image", 513));
    it.lockstep(1, 1, 512);
    it.data(2, 0);
    assert_eq!(it.machine.status(), Status::Failed(Reason::WrongSize));
}

#[test]
fn blocks_of_more_than_512_bytes_are_a_fault() {
    let mut it = Dialogue::with(Kind::OldRom);
    it.data(1, 513);
    assert_eq!(it.machine.status(), Status::Asking, "a leftover");
    it.lockstep(1, 1, 512);
    it.data(2, 513);
    assert_eq!(it.machine.status(), Status::Failed(Reason::BadBlock));
}

#[test]
fn the_nortel_1110_gives_up_after_two_seconds() {
    let mut it = Dialogue::with(Kind::Nortel1110);
    assert_eq!(it.request(), "RRQ image");
    it.wait(1.9);
    it.lockstep(1, 3, 512);

    let (times, end, reason) = Dialogue::with(Kind::Nortel1110).wait_for_failure();
    assert_times(&times, &[]);
    assert_times(&[end], &[2.0]);
    assert_eq!(reason, Reason::NoReply);
}

#[test]
fn the_am335x_asks_five_times_and_never_repeats_an_ack() {
    let mut it = Dialogue::with(Kind::Am335x);
    assert_eq!(it.request(), "RRQ image");
    let port = it.port;
    let (times, end, reason) = it.wait_for_failure();
    assert_times(&times, &[1.0, 2.0, 3.0, 4.0]);
    assert_times(&[end], &[5.0]);
    assert_eq!((it.port, reason), (port, Reason::NoReply));
}

#[test]
fn the_am335x_allows_60_seconds_for_a_whole_file() {
    let mut it = Dialogue::with(Kind::Am335x);
    it.wait(4.0);
    it.lockstep(1, 3, 512);
    assert_eq!(it.wait(20.0), [""; 0]);
    assert_eq!(it.data(3, 512), [""; 0]);
    it.lockstep(4, 1, 512);
    let (times, end, reason) = it.wait_for_failure();
    assert_times(&times, &[]);
    assert_times(&[end], &[36.0]);
    assert_eq!(reason, Reason::FileClock);
}
