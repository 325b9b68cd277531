//! edk2, and shim on top of it.

use ripple_tftpd::firmware::{Chain, Kind, Packet, Reaction, Reason, Status, Step};

use crate::dialogue::{Dialogue, OTHER_PORT, SERVER, assert_times};

/// Through the probe, until the real request is out.
fn past_the_probe() -> Dialogue {
    let mut it = Dialogue::with(Kind::Edk2);
    assert_eq!(it.oack("tsize 99 blksize 1468 windowsize 4"), ["ERROR 8"]);
    assert_eq!(it.wait(0.03).len(), 1);
    it
}

fn receiving() -> Dialogue {
    let mut it = past_the_probe();
    assert_eq!(it.oack("blksize 1468 windowsize 4"), ["ACK 0"]);
    it
}

/// The first gap is 3 to 4 s on a free-running tick, the others 4 s.
fn assert_six_sendings(times: &[f64], end: f64) {
    assert_eq!(times.len(), 5);
    let first = times[0];
    assert!(3.0 <= first && first <= 4.0);
    let later: Vec<f64> = (1..5).map(|n| first + 4.0 * f64::from(n)).collect();
    assert_times(&times[1..], &later);
    assert_times(&[end], &[first + 20.0]);
}

#[test]
fn probes_with_one_request_and_reads_from_the_next_port() {
    let mut it = Dialogue::with(Kind::Edk2);
    assert_eq!(it.request(), "RRQ image tsize 0 blksize 1468 windowsize 4");
    let probe = it.port;
    assert_eq!(it.oack("tsize 99 blksize 1468 windowsize 4"), ["ERROR 8"]);
    assert_eq!(it.machine.status(), Status::Thinking);
    assert_eq!(it.wait(0.019), [""; 0]);
    let read = it.wait(0.011);
    assert_eq!(read.len(), 1);
    assert!(read[0].ends_with("RRQ image blksize 1468 windowsize 4"));
    assert_eq!(it.port, probe + 1);
}

#[test]
fn probe_and_read_wait_23_to_24_seconds_each() {
    let mut it = Dialogue::with(Kind::Edk2);
    let port = it.port;
    let (times, end, reason) = it.wait_for_failure();
    assert_six_sendings(&times, end);
    assert_eq!((it.port, reason), (port, Reason::NoReply));

    let (times, end, _) = past_the_probe().wait_for_failure();
    assert_six_sendings(&times, end);
}

#[test]
fn its_ports_are_the_same_after_a_reboot() {
    let mut it = past_the_probe();
    let read = it.port;
    it.machine.power_on(it.now);
    assert_eq!(it.machine.next_datagram().unwrap().from_port, read - 1);
}

#[test]
fn repeats_an_ack_every_four_seconds_and_dies_after_six() {
    let (times, end, reason) = receiving().wait_for_failure();
    assert_six_sendings(&times, end);
    assert_eq!(reason, Reason::Silence);
}

#[test]
fn a_second_oack_begins_a_fresh_wait_but_only_before_data() {
    let mut it = receiving();
    for _ in 0..30 {
        it.wait(2.0);
        assert_eq!(it.oack("blksize 1468 windowsize 4"), ["ACK 0"]);
    }
    it.data(1, 1468);
    assert_eq!(it.oack("blksize 1468 windowsize 4"), [""; 0]);
    assert_eq!(it.machine.status(), Status::Receiving);
}

#[test]
fn acknowledges_each_window_and_each_stray_block() {
    let mut it = receiving();
    for block in [1, 2, 3] {
        assert_eq!(it.data(block, 1468), [""; 0]);
    }
    assert_eq!(it.data(4, 1468), ["ACK 4"]);
    // Block 5 is lost: three equal ACKs.
    for block in [6, 7, 8] {
        assert_eq!(it.data(block, 1468), ["ACK 4"]);
        assert_eq!(it.reaction, Reaction::Ignored);
    }
    assert_eq!(it.data(3, 1468), ["ACK 4"]);
    assert_eq!(it.data(5, 1468), [""; 0]);
    assert_eq!(it.data(6, 100), ["ACK 6"], "the last block");
}

#[test]
fn the_timer_runs_on_inside_a_window() {
    let mut it = receiving();
    it.wait(2.5);
    assert_eq!(it.data(1, 1468), [""; 0]);
    let repeat = it.wait(1.6);
    assert_eq!(repeat.len(), 1, "the wait did not begin anew with block 1");
    assert!(repeat[0].ends_with("ACK 0"), "the last packet it sent");
}

#[test]
fn strays_reset_the_count() {
    let mut it = receiving();
    for _ in 0..10 {
        it.wait(20.0);
        assert_eq!(it.data(9, 1468), ["ACK 0"]);
    }
    assert_eq!(it.machine.status(), Status::Receiving);
}

#[test]
fn refuses_what_it_did_not_ask_for() {
    let mut it = past_the_probe();
    assert_eq!(it.oack("tsize 99 blksize 1468"), ["ERROR 4"]);
    assert_eq!(it.machine.status(), Status::Failed(Reason::BadOption));
    let mut it = past_the_probe();
    assert_eq!(it.oack("blksize 1469"), ["ERROR 4"]);
    let mut it = past_the_probe();
    assert_eq!(it.oack("blksize 1200"), ["ACK 0"]);
    assert_eq!(it.data(1, 1200), ["ACK 1"], "no window without the option");
}

#[test]
fn adopts_a_timeout_that_it_never_asked_for() {
    let mut it = past_the_probe();
    assert_eq!(it.oack("blksize 1468 timeout 20"), ["ACK 0"]);
    let (times, end, _) = it.wait_for_failure();
    assert_eq!(times.len(), 5);
    assert!(115.0 < end && end <= 120.0);
}

#[test]
fn errors_closed_ports_and_wrong_ports() {
    let mut it = receiving();
    assert_eq!(it.data_from(OTHER_PORT, 1, 1468), [""; 0]);
    assert_eq!(it.reaction, Reaction::Ignored);
    it.machine.on_unreachable(it.now, it.port);
    assert_eq!(it.machine.status(), Status::Failed(Reason::Unreachable));
    it.data(1, 1468);
    assert_eq!(it.reaction, Reaction::PortUnreachable);
    let mut it = Dialogue::with(Kind::Edk2);
    it.error(0);
    assert_eq!(it.machine.status(), Status::Failed(Reason::ServerError(0)));
}

#[test]
fn the_wrap_goes_to_zero() {
    let mut it = receiving();
    for block in 1..=65_540_u64 {
        let wire = u16::try_from(block & 0xffff).unwrap();
        let said = it.data(wire, 1468);
        assert_eq!(said.len(), usize::from(block % 4 == 0), "block {block}");
    }
    // A copy from before the wrap is one stray more.
    assert_eq!(it.data(65_535, 1468), ["ACK 4"]);
}

#[test]
fn shim_asks_at_once_and_in_512_byte_blocks() {
    let mut it = Dialogue::with(Kind::Shim);
    assert_eq!(it.request(), "RRQ image blksize 512 windowsize 4");
    let (times, end, _) = it.wait_for_failure();
    assert_six_sendings(&times, end);
}

#[test]
fn shim_goes_on_counting_the_ports_of_edk2() {
    let second = Step::file("grubx64.efi", 9000).by(Kind::Shim);
    let chain = Chain::new(vec![Step::file("shimx64.efi", 10).by(Kind::Edk2), second]);
    let mut it = Dialogue::about(Kind::Edk2, chain);
    let first = it.port;
    it.oack("tsize 10 blksize 1468");
    it.wait(0.03);
    it.oack("blksize 1468");
    let said = it.data(1, 10);
    assert_eq!(said, ["ACK 1", "RRQ grubx64.efi blksize 512 windowsize 4"]);
    assert_eq!(it.port, first + 2);
}

#[test]
fn shim_fetches_a_file_of_more_than_4_mib_twice() {
    let size = (4 << 20) + 10;
    let mut it = Dialogue::about(Kind::Shim, Chain::one_file("image", size));
    for round in 0..2 {
        assert_eq!(it.oack("blksize 512"), ["ACK 0"]);
        it.lockstep(1, size / 512, 512);
        let port = it.port;
        let wire = u16::try_from(size / 512 + 1).unwrap();
        let said = it.data(wire, 10);
        assert_eq!(said.len(), 2 - round);
        assert_eq!(usize::from(it.port - port), 1 - round);
    }
    assert_eq!(it.machine.status(), Status::Booted);
    assert_eq!(it.machine.files_done(), 1);
}

#[test]
fn a_probe_answered_with_data_is_a_probe_too() {
    let mut it = Dialogue::with(Kind::Edk2);
    let first = Packet::Data {
        block: 1,
        length: 512,
    };
    it.machine.on_packet(it.now, it.port, SERVER, first);
    let abort = it.machine.next_datagram().unwrap();
    assert_eq!(abort.bytes(), [0, 5, 0, 8, 0]);
}
