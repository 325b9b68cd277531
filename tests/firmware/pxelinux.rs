//! PXELINUX and LPXELINUX: the most patient, and the ones that search for their configuration.

use ripple_tftpd::firmware::{Chain, Kind, Reaction, Reason, Status, Step};

use crate::dialogue::{Dialogue, OTHER_PORT, assert_times};

const OPTIONS: &str = "tsize 99 blksize 1408";

/// When the first seventeen packets of its table go out, and the last.
const TIMES: [f64; 16] = [
    0.11, 0.22, 0.38, 0.55, 0.77, 1.04, 1.37, 1.76, 2.25, 2.8, 3.46, 4.29, 5.27, 6.43, 7.86, 9.56,
];

#[test]
fn asks_31_times_in_131_seconds() {
    for (kind, port) in [(Kind::Pxelinux, 49_152), (Kind::Lpxelinux, 49_153)] {
        let mut it = Dialogue::with(kind);
        assert_eq!(it.request(), "RRQ image tsize 0 blksize 1408");
        assert_eq!(it.port, port);
        let (times, end, reason) = it.wait_for_failure();
        assert_eq!(times.len(), 30);
        assert_times(&times[..16], &TIMES);
        assert_times(&[times[29], end], &[116.87, 130.88]);
        assert_eq!((it.port, reason), (port, Reason::NoReply));
    }
}

/// When the whole boot begins again, from now on; a prompt waits for a key.
fn reboots_after(it: &Dialogue) -> Option<u64> {
    assert!(matches!(it.machine.status(), Status::Failed(_)));
    let at = it.machine.deadline();
    at.map(|at| at.since(it.now).as_secs())
}

#[test]
fn a_kernel_that_cannot_be_had_leads_to_the_prompt() {
    for kind in [Kind::Pxelinux, Kind::Lpxelinux] {
        let mut refused = Dialogue::with(kind);
        refused.error(1);
        assert_eq!(reboots_after(&refused), None);

        let mut ignored = Dialogue::with(kind);
        assert_eq!(ignored.wait_for_failure().2, Reason::NoReply);
        assert_eq!(reboots_after(&ignored), None);

        let mut configured = Dialogue::about(kind, search());
        configured.oack(OPTIONS);
        configured.data(1, 10);
        configured.error(1);
        assert_eq!(reboots_after(&configured), None);
    }
}

#[test]
fn silence_in_a_transfer_reboots_it_after_five_minutes_even_at_a_kernel() {
    for kind in [Kind::Pxelinux, Kind::Lpxelinux] {
        let mut it = Dialogue::granted(kind, OPTIONS);
        it.lockstep(1, 3, 1408);
        assert_eq!(it.wait_for_failure().2, Reason::Silence);
        assert_eq!(reboots_after(&it), Some(300));
    }
}

/// Its own second part is asked for before the configuration.
#[test]
fn whatever_fails_before_the_configuration_reboots_it_after_five_minutes() {
    let mut steps = vec![Step::file("ldlinux.c32", 10)];
    steps.extend_from_slice(search().steps());
    let mut it = Dialogue::about(Kind::Lpxelinux, Chain::new(steps));
    it.error(1);
    assert_eq!(reboots_after(&it), Some(300));
}

fn search() -> Chain {
    Chain::new(vec![
        Step::file("cfg/01-mac", 10).searched(),
        Step::file("cfg/C0A8", 10).searched(),
        Step::file("cfg/default", 10).searched(),
        Step::file("linux", 10),
    ])
}

#[test]
fn any_error_for_a_configuration_means_the_next_name() {
    for code in [0, 1, 2] {
        let mut it = Dialogue::about(Kind::Pxelinux, search());
        assert_eq!(it.error(code), ["RRQ cfg/C0A8 tsize 0 blksize 1408"]);
        assert_eq!(it.port, 49_153, "one port more per file");
        it.oack(OPTIONS);
        // The first that is found ends the search.
        let said = it.data(1, 10);
        assert_eq!(said, ["ACK 1", "RRQ linux tsize 0 blksize 1408"]);
    }
}

#[test]
fn lpxelinux_takes_a_repeated_error_for_the_answer_to_the_next_name() {
    let mut it = Dialogue::about(Kind::Lpxelinux, search());
    assert_eq!(it.error(1), ["RRQ cfg/C0A8 tsize 0 blksize 1408"]);
    assert_eq!(it.error(1), ["RRQ cfg/default tsize 0 blksize 1408"]);
}

#[test]
fn silence_for_a_configuration_means_the_next_name_too() {
    let mut it = Dialogue::about(Kind::Pxelinux, search());
    let said = it.wait(130.9);
    assert_eq!(said.len(), 31);
    assert_eq!(said[30], "130.88 RRQ cfg/C0A8 tsize 0 blksize 1408");
}

#[test]
fn without_any_configuration_it_stops() {
    let mut it = Dialogue::about(Kind::Lpxelinux, search());
    for _ in 0..2 {
        assert_eq!(it.error(1).len(), 1);
    }
    it.error(1);
    assert_eq!(it.machine.status(), Status::Failed(Reason::NoConfiguration));
    assert_eq!(reboots_after(&it), Some(300));
}

#[test]
fn an_error_for_a_kernel_ends_the_boot() {
    let mut it = Dialogue::with(Kind::Pxelinux);
    it.error(0);
    assert_eq!(it.machine.status(), Status::Failed(Reason::ServerError(0)));
}

#[test]
fn lpxelinux_has_one_port_for_everything() {
    let chain = Chain::new(vec![Step::file("one", 10), Step::file("two", 10)]);
    let mut it = Dialogue::about(Kind::Lpxelinux, chain);
    it.oack(OPTIONS);
    assert_eq!(it.data(1, 10).len(), 2);
    assert_eq!(it.port, 49_153);
}

#[test]
fn acks_follow_the_same_table_and_a_fresh_one_after_the_oack() {
    let mut it = Dialogue::with(Kind::Pxelinux);
    it.wait(100.0);
    it.oack(OPTIONS);
    let (times, end, reason) = it.wait_for_failure();
    assert_times(&times[..16], &TIMES);
    assert_times(&[end], &[130.88]);
    assert_eq!(reason, Reason::Silence);
}

#[test]
fn only_new_blocks_count() {
    let mut it = Dialogue::granted(Kind::Pxelinux, OPTIONS);
    it.lockstep(1, 3, 1408);
    it.wait(1.0);
    assert_eq!(it.oack(OPTIONS), [""; 0]);
    assert_eq!(it.data(3, 1408), ["ACK 3"]);
    assert_eq!(it.data(1, 1408), ["ACK 3"]);
    assert_eq!(it.data(5, 1408), ["ACK 3"]);
    assert_eq!(it.error(0), [""; 0]);
    assert_eq!(it.machine.status(), Status::Receiving);
    assert_times(&[it.wait_for_failure().1], &[129.88]);
}

#[test]
fn the_wrap_goes_to_zero() {
    let mut it = Dialogue::granted(Kind::Pxelinux, OPTIONS);
    it.lockstep(1, 65_540, 1408);
    assert_eq!(it.data(65_535, 1408), ["ACK 4"]);
}

#[test]
fn other_ports_and_closed_ports() {
    let mut it = Dialogue::granted(Kind::Pxelinux, OPTIONS);
    assert_eq!(it.data_from(OTHER_PORT, 1, 1408), ["ACK 1"]);
    let mut it = Dialogue::granted(Kind::Lpxelinux, OPTIONS);
    assert_eq!(it.data_from(OTHER_PORT, 1, 1408), [""; 0]);

    for (kind, reaction) in [
        (Kind::Pxelinux, Reaction::Ignored),
        (Kind::Lpxelinux, Reaction::PortUnreachable),
    ] {
        let mut it = Dialogue::about(kind, Chain::one_file("image", 10));
        it.oack(OPTIONS);
        assert_eq!(it.data(1, 10), ["ACK 1"]);
        assert_eq!(it.machine.status(), Status::Booted);
        assert_eq!(it.data(1, 10), [""; 0]);
        assert_eq!(it.reaction, reaction);
    }
}

#[test]
fn refuses_options_it_does_not_know_and_odd_block_sizes() {
    for options in ["tsize 9 windowsize 1", "blksize 63", "blksize 2049"] {
        let mut it = Dialogue::with(Kind::Pxelinux);
        assert_eq!(it.oack(options), ["ERROR 8"]);
    }
    for options in ["blksize 2048", "blksize 64"] {
        let mut it = Dialogue::with(Kind::Pxelinux);
        assert_eq!(it.oack(options), ["ACK 0"]);
    }
}

#[test]
fn an_empty_file_is_not_there() {
    let mut it = Dialogue::about(Kind::Pxelinux, search());
    assert_eq!(
        it.oack("tsize 0 blksize 1408"),
        ["RRQ cfg/C0A8 tsize 0 blksize 1408"]
    );
}
