//! The clients of user space: busybox, barebox, tftp-hpa, curl, atftp, tftpy.

use ripple_tftpd::firmware::{Chain, Kind, Reaction, Reason, Status};

use crate::dialogue::{Dialogue, OTHER_PORT, assert_times};

fn every(gap: f64, times: u8) -> Vec<f64> {
    (1..=times).map(|n| gap * f64::from(n)).collect()
}

/// Who waits for a first answer, with which request, when it repeats it and when it gives up.
#[track_caller]
fn assert_waiting(kind: Kind, request: &str, expected: &[f64], gives_up: f64) {
    let mut it = Dialogue::with(kind);
    assert_eq!(it.request(), request);
    let port = it.port;
    let (times, end, reason) = it.wait_for_failure();
    assert_times(&times, expected);
    assert_times(&[end], &[gives_up]);
    assert_eq!((it.port, reason), (port, Reason::NoReply));
}

/// When it repeats an ACK in a transfer, and how long it bears silence.
#[track_caller]
fn assert_patience(kind: Kind, options: &str, expected: &[f64], gives_up: f64) {
    let mut it = Dialogue::granted(kind, options);
    let blksize = if options.contains("1428") { 1428 } else { 512 };
    it.lockstep(1, 2, blksize);
    let (times, end, reason) = it.wait_for_failure();
    assert_times(&times, expected);
    assert_times(&[end], &[gives_up]);
    assert_eq!(reason, Reason::Silence);
}

#[test]
fn busybox_waits_12_9_seconds_at_any_time() {
    let times = [
        0.10, 0.25, 0.475, 0.81, 1.32, 2.07, 3.21, 4.91, 6.91, 8.91, 10.91,
    ];
    assert_waiting(Kind::Busybox, "RRQ image tsize 0", &times, 12.91);
    assert_patience(Kind::Busybox, "tsize 99", &times, 12.91);
}

#[test]
fn busybox_is_kept_alive_by_anything_and_answers_nothing_old() {
    let mut it = Dialogue::granted(Kind::Busybox, "tsize 99");
    for _ in 0..800 {
        it.wait(0.05);
        assert_eq!(it.oack("tsize 99"), [""; 0]);
    }
    it.lockstep(1, 2, 512);
    for stray in [1, 4] {
        for _ in 0..800 {
            it.wait(0.05);
            assert_eq!(it.data(stray, 512), [""; 0]);
        }
    }
    assert_eq!(it.machine.status(), Status::Receiving);
    assert_eq!(it.wait(0.12), ["0.10 ACK 2"]);
}

#[test]
fn busybox_is_connected_to_its_server() {
    let mut it = Dialogue::granted(Kind::Busybox, "tsize 99");
    it.data_from(OTHER_PORT, 1, 512);
    assert_eq!(it.reaction, Reaction::PortUnreachable);
    it.lockstep(1, 65_540, 512);
}

#[test]
fn tools_leave_a_closed_port_behind() {
    let tools = [
        Kind::Busybox,
        Kind::TftpHpa,
        Kind::Curl,
        Kind::Atftp,
        Kind::Tftpy,
    ];
    for kind in tools {
        let mut it = Dialogue::about(kind, Chain::one_file("image", 10));
        assert_eq!(it.data(1, 10), ["ACK 1"]);
        assert_eq!(it.machine.status(), Status::Booted);
        it.data(1, 10);
        assert_eq!(it.reaction, Reaction::PortUnreachable, "{kind:?}");
    }
}

#[test]
fn barebox_looks_first_and_then_reads() {
    let mut it = Dialogue::with(Kind::Barebox);
    assert_eq!(it.request(), "RRQ image timeout 5 blksize 512 tsize 0");
    let port = it.port;
    assert_eq!(it.oack("timeout 5 blksize 512 tsize 99"), ["ERROR 0"]);
    let read = it.wait(0.01);
    assert!(read[0].ends_with("RRQ image timeout 5 blksize 1432 tsize 99"));
    assert_eq!(it.port, port + 1);
}

fn barebox_receiving() -> Dialogue {
    let mut it = Dialogue::with(Kind::Barebox);
    it.oack("timeout 5 blksize 512 tsize 99");
    it.wait(0.01);
    assert_eq!(it.oack("timeout 5 blksize 1432"), ["ACK 0"]);
    it
}

#[test]
fn barebox_waits_15_seconds_for_data_whatever_else_comes() {
    let stat = "RRQ image timeout 5 blksize 512 tsize 0";
    assert_waiting(Kind::Barebox, stat, &every(1.0, 14), 15.0);

    let mut it = Dialogue::with(Kind::Barebox);
    it.oack("timeout 5 blksize 512 tsize 99");
    it.wait(0.002);
    it.wait(7.0);
    it.oack("timeout 5 blksize 1432");
    it.oack("timeout 5 blksize 1432");
    assert_times(&[it.wait_for_failure().1], &[8.0]);

    let mut it = barebox_receiving();
    it.wait(14.0);
    it.lockstep(1, 1, 1432);
    let (times, end, _) = it.wait_for_failure();
    assert_times(&times, &every(1.0, 14));
    assert_times(&[end], &[15.0]);
}

#[test]
fn barebox_ignores_copies_gaps_and_a_second_oack_and_trusts_any_port() {
    let mut it = barebox_receiving();
    it.lockstep(1, 2, 1432);
    assert_eq!(it.oack("timeout 5 blksize 1432"), [""; 0]);
    assert_eq!(it.data(1, 1432), [""; 0]);
    assert_eq!(it.data(4, 1432), [""; 0]);
    assert_eq!(it.data_from(OTHER_PORT, 3, 1432), ["ACK 3"]);
    it.lockstep(4, 65_540, 1432);
}

#[test]
fn hpa_waits_25_seconds_at_any_time() {
    assert_waiting(Kind::TftpHpa, "RRQ image", &every(5.0, 4), 25.0);
    let mut it = Dialogue::with(Kind::TftpHpa);
    it.lockstep(1, 2, 512);
    let (times, end, _) = it.wait_for_failure();
    assert_times(&times, &every(5.0, 4));
    assert_times(&[end], &[25.0]);
}

#[test]
fn hpa_is_kept_alive_by_copies_of_the_last_block() {
    let mut it = Dialogue::with(Kind::TftpHpa);
    it.lockstep(1, 3, 512);
    for _ in 0..35 {
        it.wait(1.0);
        assert_eq!(it.data(3, 512), ["ACK 3"]);
    }
    assert_eq!(it.data(2, 512), [""; 0]);
    assert_eq!(it.data(5, 512), [""; 0]);
    it.lockstep(4, 65_540, 512);
}

#[test]
fn hpa_follows_the_port_that_sent_last() {
    let mut it = Dialogue::with(Kind::TftpHpa);
    it.lockstep(1, 1, 512);
    let said = it.data_from(OTHER_PORT, 2, 512);
    assert_eq!(said, [format!("ACK 2 to {OTHER_PORT}")]);
    assert_eq!(it.data(3, 512), ["ACK 3"]);
}

#[test]
fn curl_waits_300_seconds_but_only_24_in_a_transfer() {
    let request = "RRQ image tsize 0 blksize 512 timeout 6";
    assert_waiting(Kind::Curl, request, &every(7.0, 42), 300.0);
    let options = "tsize 99 blksize 512 timeout 6";
    assert_patience(Kind::Curl, options, &every(6.0, 3), 24.0);
}

#[test]
fn curl_forgets_where_it_was_at_a_second_oack() {
    let options = "tsize 99 blksize 512 timeout 6";
    let mut it = Dialogue::granted(Kind::Curl, options);
    for _ in 0..40 {
        it.wait(1.0);
        assert_eq!(it.oack(options), ["ACK 0"]);
    }
    it.lockstep(1, 2, 512);
    assert_eq!(it.oack(options), ["ACK 0"]);
    assert_eq!(it.data(3, 512), [""; 0]);
    assert_eq!(it.wait_for_failure().2, Reason::Silence);
}

#[test]
fn curl_answers_the_last_block_again_and_ends_at_a_wrong_port() {
    let mut it = Dialogue::granted(Kind::Curl, "tsize 99 blksize 512 timeout 6");
    it.lockstep(1, 65_540, 512);
    for _ in 0..30 {
        it.wait(1.0);
        assert_eq!(it.data(4, 512), ["ACK 4"]);
    }
    assert_eq!(it.data(3, 512), [""; 0]);
    assert_eq!(it.data(6, 512), [""; 0]);
    it.data_from(OTHER_PORT, 5, 512);
    assert_eq!(it.machine.status(), Status::Failed(Reason::WrongPort));
    assert_eq!(it.machine.deadline(), None);
}

#[test]
fn curl_cannot_take_an_empty_file() {
    let mut it = Dialogue::with(Kind::Curl);
    it.oack("tsize 0 blksize 512");
    assert_eq!(it.machine.status(), Status::Failed(Reason::BadOption));
}

#[test]
fn larger_blocks_than_asked_for_are_refused() {
    let cases = [(Kind::Curl, "blksize 513"), (Kind::Barebox, "blksize 513")];
    for (kind, options) in cases {
        let mut it = Dialogue::with(kind);
        assert_eq!(it.oack(options), ["ERROR 8"]);
        assert_eq!(it.machine.status(), Status::Failed(Reason::BadOption));
    }
}

#[test]
fn what_was_not_asked_for_does_not_matter_to_tools() {
    for kind in [Kind::Busybox, Kind::Curl, Kind::Atftp, Kind::Tftpy] {
        let mut it = Dialogue::with(kind);
        assert_eq!(it.oack("windowsize 4 surprise 1"), ["ACK 0"]);
        it.lockstep(1, 3, 512);
    }
}

#[test]
fn atftp_waits_30_seconds_at_any_time() {
    let request = "RRQ image tsize 0 blksize 1428";
    assert_waiting(Kind::Atftp, request, &every(5.0, 5), 30.0);
    assert_patience(Kind::Atftp, "tsize 99 blksize 1428", &every(5.0, 5), 30.0);
}

#[test]
fn a_second_oack_kills_atftp_and_tftpy() {
    for (kind, last_word) in [(Kind::Atftp, "ERROR 0"), (Kind::Tftpy, "ERROR 4")] {
        let mut it = Dialogue::granted(kind, "blksize 1428 tsize 99");
        assert_eq!(it.oack("blksize 1428 tsize 99"), [last_word]);
        assert_eq!(it.machine.status(), Status::Failed(Reason::SecondOack));
        assert_eq!(it.machine.deadline(), None, "the program has ended");
    }
}

#[test]
fn atftp_answers_one_copy_and_lives_on_the_others() {
    let mut it = Dialogue::granted(Kind::Atftp, "blksize 1428");
    it.lockstep(1, 3, 1428);
    assert_eq!(it.data(3, 1428), ["ACK 3"]);
    for _ in 0..60 {
        it.wait(1.0);
        assert_eq!(it.data(3, 1428), [""; 0]);
    }
    it.lockstep(4, 1, 1428);
    assert_eq!(it.data(6, 1428), ["ACK 4"]);
    it.lockstep(5, 65_540, 1428);
}

#[test]
fn atftp_bears_five_wrong_ports() {
    let mut it = Dialogue::granted(Kind::Atftp, "blksize 1428");
    for _ in 0..5 {
        assert_eq!(it.data_from(OTHER_PORT, 1, 1428), [""; 0]);
        assert_eq!(it.machine.status(), Status::Receiving);
    }
    it.data_from(OTHER_PORT, 1, 1428);
    assert_eq!(it.machine.status(), Status::Failed(Reason::WrongPort));
}

#[test]
fn tftpy_waits_15_seconds_at_any_time() {
    let request = "RRQ image blksize 1428 tsize 0";
    assert_waiting(Kind::Tftpy, request, &every(5.0, 2), 15.0);
    assert_patience(Kind::Tftpy, "blksize 1428", &every(5.0, 2), 15.0);
}

#[test]
fn tftpy_dies_of_a_gap_and_of_the_twentieth_copy() {
    let mut it = Dialogue::granted(Kind::Tftpy, "blksize 1428");
    it.lockstep(1, 2, 1428);
    for _ in 1..20 {
        it.wait(1.0);
        assert_eq!(it.data(2, 1428), ["ACK 2"]);
    }
    assert_eq!(it.data(2, 1428), [""; 0]);
    assert_eq!(it.machine.status(), Status::Failed(Reason::BadBlock));

    let mut it = Dialogue::granted(Kind::Tftpy, "blksize 1428");
    it.lockstep(1, 65_540, 1428);
    assert_eq!(it.data_from(OTHER_PORT, 5, 1428), ["ACK 5"]);
    it.data(7, 1428);
    assert_eq!(it.machine.status(), Status::Failed(Reason::BadBlock));
}
