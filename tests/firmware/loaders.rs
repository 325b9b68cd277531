//! The loaders of the BSDs and of illumos, and tftp-hpa's session: a file is asked for again from the port of
//! the last transfer.

use ripple_tftpd::firmware::{Chain, Kind, Packet, Reaction, Reason, Status, Step};

use crate::dialogue::{Dialogue, OTHER_PORT, SERVER, assert_times};

const RRQ: &str = "RRQ image blksize 1428 tsize 0";
const OPTIONS: &str = "blksize 1428 tsize 300000";

/// It has looked at the first block, and has asked for the file again.
fn freebsd_reading(step: Step) -> Dialogue {
    let mut it = Dialogue::about(Kind::FreeBsdLoader, Chain::new(vec![step]));
    assert_eq!(it.request(), RRQ);
    assert_eq!(it.oack(OPTIONS), ["ACK 0"]);
    assert_eq!(it.data(1, 1428), [""; 0], "not a word");
    let again = it.wait(0.01);
    assert_eq!(again.len(), 1);
    assert!(again[0].ends_with(RRQ), "{again:?}");
    it
}

fn image() -> Step {
    Step::file("image", 300_000)
}

fn is_filed(it: &Dialogue, expected: (u64, u16)) -> bool {
    matches!(it.reaction, Reaction::Filed { position, length, .. } if (position, length) == expected)
}

#[test]
fn freebsd_opens_each_file_twice_from_one_port() {
    let mut it = freebsd_reading(image());
    let port = it.port;
    assert!((2000..3024).contains(&port));
    assert_eq!(
        it.oack_from(OTHER_PORT, OPTIONS),
        [format!("ACK 0 to {OTHER_PORT}")]
    );
    let said = it.data_from(OTHER_PORT, 1, 1428);
    assert_eq!(said, [format!("ACK 1 to {OTHER_PORT}")]);
    for block in 2..=210 {
        it.data_from(OTHER_PORT, block, 1428);
    }
    assert_eq!(
        it.data_from(OTHER_PORT, 211, 120),
        [format!("ACK 211 to {OTHER_PORT}")]
    );
    assert_eq!((it.port, it.machine.status()), (port, Status::Booted));
}

#[test]
fn freebsd_asks_from_another_port_in_another_second() {
    let ports = |seconds: f64| {
        let mut it = Dialogue::about(Kind::FreeBsdLoader, Chain::new(vec![image(); 2]));
        let first = it.port;
        it.wait(seconds);
        it.error(1);
        it.machine.power_on(it.now);
        (first, it.machine.next_datagram().unwrap().from_port)
    };
    let (first, again) = ports(0.0);
    assert_eq!(first, again);
    let (first, later) = ports(1.0);
    let next = if first == 3023 { 2000 } else { first + 1 };
    assert_eq!(later, next);
}

#[test]
fn freebsd_acknowledges_the_end_of_a_file_that_is_one_block() {
    let mut it = Dialogue::about(Kind::FreeBsdLoader, Chain::one_file("image", 9));
    it.oack("blksize 1428 tsize 9");
    assert_eq!(it.data(1, 9), ["ACK 1"]);
    it.wait(0.01);
    it.oack("blksize 1428 tsize 9");
    assert_eq!(it.data(1, 9), ["ACK 1"]);
    assert_eq!(it.machine.status(), Status::Booted);
}

/// What a server does that repeats a block of the transfer that was left: the machine takes it for the
/// answer, without options, and reads on where blocks of 512 bytes would lie.
#[test]
fn freebsd_takes_an_older_block_for_the_answer_and_loads_garbage() {
    let mut it = freebsd_reading(image());
    assert_eq!(it.data(1, 1428), ["ACK 1"]);
    assert!(is_filed(&it, (0, 1428)));
    assert_eq!(it.data(2, 1428), ["ACK 2"]);
    assert_eq!(it.reaction, Reaction::Ignored);
    assert_eq!(it.data(3, 1428), ["ACK 3"]);
    assert!(is_filed(&it, (1428, 1024)));
    for block in 4..=210 {
        assert_eq!(it.data(block, 1428), [format!("ACK {block}")]);
        let turn = u64::from(block / 2 - 1);
        assert!(block % 2 == 0 || is_filed(&it, (1428 + 1024 * turn, 1024)));
    }
    assert_eq!(it.data(211, 120), ["ACK 211"]);
    assert_eq!(it.machine.status(), Status::Failed(Reason::WrongSize));
}

#[test]
fn freebsd_waits_two_seconds_more_each_time() {
    let mut it = Dialogue::with(Kind::FreeBsdLoader);
    let port = it.port;
    let (times, end, reason) = {
        let begin = it.now;
        let lines = it.wait(4000.0);
        let time = |line: &String| -> f64 { line.split(' ').next().unwrap().parse().unwrap() };
        let times: Vec<f64> = lines.iter().map(time).collect();
        let Status::Failed(reason) = it.machine.status() else {
            panic!("it waits for ever")
        };
        (times, it.now.since(begin).as_secs_f64(), reason)
    };
    assert_times(&times[..5], &[2.0, 6.0, 12.0, 20.0, 30.0]);
    assert_times(&[times[57], end], &[3422.0, 3540.0]);
    assert_eq!((it.port, reason), (port, Reason::NoReply));

    let mut it = freebsd_reading(image());
    it.oack(OPTIONS);
    it.lockstep(1, 2, 1428);
    assert_eq!(it.wait(7.0), ["2.00 ACK 2", "6.00 ACK 2"]);
    it.lockstep(3, 1, 1428);
    assert_eq!(it.wait(3.0), ["2.00 ACK 3"]);
}

#[test]
fn freebsd_answers_old_blocks_ignores_early_ones_and_trusts_any_port() {
    let mut it = freebsd_reading(Step::file("image", 1 << 40));
    it.oack(OPTIONS);
    it.lockstep(1, 3, 1428);
    assert_eq!(it.data(2, 1428), ["ACK 2"]);
    assert_eq!(it.data(5, 1428), [""; 0]);
    assert_eq!(it.oack(OPTIONS), [""; 0]);
    assert_eq!(it.data_from(OTHER_PORT, 4, 1428), ["ACK 4"]);
    it.lockstep(5, 65_540, 1428);
    it.error(0);
    assert_eq!(it.machine.status(), Status::Failed(Reason::ServerError(0)));
    assert_eq!(it.machine.deadline(), None, "a prompt");
}

/// To it a second OACK before the first block is the end of the file.
#[test]
fn freebsd_takes_a_second_oack_for_an_empty_file() {
    let mut it = freebsd_reading(image());
    it.oack(OPTIONS);
    assert_eq!(it.oack(OPTIONS), ["ACK 1"]);
    assert_eq!(it.machine.status(), Status::Failed(Reason::WrongSize));
}

#[test]
fn freebsd_says_that_it_goes_back_and_asks_again_at_once() {
    let mut it = freebsd_reading(image().seeking_back_after(4000));
    let port = it.port;
    it.oack(OPTIONS);
    it.lockstep(1, 2, 1428);
    let said = it.data(3, 1428);
    assert_eq!(said, ["ERROR 0 No error: read aborted", RRQ]);
    assert_eq!(it.port, port);
    it.oack(OPTIONS);
    it.lockstep(1, 210, 1428);
    it.data(211, 120);
    assert_eq!(it.machine.status(), Status::Booted);

    let mut it = freebsd_reading(image().seeking_back_after(u64::MAX));
    it.oack(OPTIONS);
    it.lockstep(1, 210, 1428);
    let said = it.data(211, 120);
    assert_eq!(said, ["ACK 211", "ERROR 0 No error: read aborted", RRQ]);
}

#[test]
fn netbsd_does_the_same_without_options_and_without_a_word() {
    let step = image().seeking_back_after(1500);
    let mut it = Dialogue::about(Kind::NetBsdLoader, Chain::new(vec![step]));
    let port = it.port;
    assert_eq!(it.request(), "RRQ image");
    assert_eq!(it.data(1, 512), [""; 0]);
    let again = it.wait(0.01);
    assert!(again[0].ends_with(" RRQ image"), "{again:?}");
    // Whose block it is does not matter.
    it.lockstep(1, 2, 512);
    assert_eq!(it.data(2, 512), [""; 0]);
    assert_eq!(it.data(3, 512), ["RRQ image"]);
    it.lockstep(1, 585, 512);
    assert_eq!(it.data(586, 480), [""; 0], "the last ACK is never sent");
    assert_eq!((it.port, it.machine.status()), (port, Status::Booted));
}

#[test]
fn netbsd_waits_a_minute_in_doubling_steps_and_cannot_wrap() {
    let mut it = Dialogue::with(Kind::NetBsdLoader);
    let (times, end, reason) = it.wait_for_failure();
    assert_times(&times, &[2.0, 6.0, 14.0, 30.0]);
    assert_times(&[end], &[62.0]);
    assert_eq!(reason, Reason::NoReply);

    let mut it = Dialogue::with(Kind::NetBsdLoader);
    it.data(1, 512);
    it.wait(0.01);
    it.lockstep(1, 65_535, 512);
    assert_eq!(it.data(0, 512), [""; 0]);
    assert_eq!(it.data(65_535, 512), [""; 0]);
}

#[test]
fn a_session_asks_for_the_next_file_behind_the_last_ack() {
    let mut it = Dialogue::about(Kind::TftpHpaSession, Chain::session());
    let port = it.port;
    assert_eq!(it.request(), "RRQ small");
    for _ in 1..10 {
        assert_eq!(it.data(1, 512), ["ACK 1"]);
        assert_eq!(it.data(2, 188), ["ACK 2", "RRQ small"]);
    }
    it.data(1, 512);
    assert_eq!(it.data(2, 188), ["ACK 2", "RRQ other"]);
    assert_eq!(it.wait(11.0), ["5.00 RRQ other", "10.00 RRQ other"]);
    assert_eq!(it.port, port);
    // Whatever is left of the last transfer is no answer unless it is a first block.
    assert_eq!(it.data(2, 188), [""; 0]);
    let wrong = Packet::Data {
        block: 1,
        length: 512,
    };
    it.machine.on_packet(it.now, port, SERVER, wrong);
    assert_eq!(it.machine.status(), Status::Receiving);
}
