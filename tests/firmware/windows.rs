//! Windows bootmgr: windows of several blocks. Its timers are an assumption and say so.

use ripple_tftpd::firmware::{Chain, Kind, Machine, Reason, Status};
use ripple_tftpd::moment::Moment;

use crate::dialogue::{Dialogue, assert_times};

#[test]
fn asks_for_windows_of_4_to_16() {
    let mut seen = Vec::new();
    for seed in 0..50 {
        let mut machine = Machine::new(Kind::WindowsBootmgr, Chain::one_file("wim", 9), seed);
        machine.power_on(Moment::START);
        let request = machine.next_datagram().unwrap().bytes().to_vec();
        let text = String::from_utf8(request[2..].to_vec()).unwrap();
        let words: Vec<&str> = text.split('\0').collect();
        assert_eq!(
            words[..7],
            [
                "wim",
                "octet",
                "tsize",
                "0",
                "blksize",
                "1456",
                "windowsize"
            ]
        );
        assert_eq!(words[8..], ["msftwindow", "31416", ""]);
        seen.push(words[7].parse::<u16>().unwrap());
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [4, 8, 16]);
}

#[test]
fn is_taken_to_wait_ten_seconds() {
    let (times, end, reason) = Dialogue::with(Kind::WindowsBootmgr).wait_for_failure();
    assert_times(&times, &[2.0, 4.0, 6.0, 8.0]);
    assert_times(&[end], &[10.0]);
    assert_eq!(reason, Reason::NoReply);

    let mut it = Dialogue::granted(Kind::WindowsBootmgr, "blksize 1456");
    it.lockstep(1, 2, 1456);
    let (times, end, reason) = it.wait_for_failure();
    assert_times(&times, &[2.0, 4.0, 6.0, 8.0]);
    assert_times(&[end], &[10.0]);
    assert_eq!(reason, Reason::Silence);
}

#[test]
fn acknowledges_windows_and_reports_a_gap_once() {
    let mut it = Dialogue::granted(Kind::WindowsBootmgr, "tsize 99 blksize 1456 windowsize 4");
    for block in 1..=3 {
        assert_eq!(it.data(block, 1456), [""; 0]);
    }
    assert_eq!(it.data(4, 1456), ["ACK 4"]);
    assert_eq!(it.data(6, 1456), ["ACK 4"]);
    assert_eq!(it.data(7, 1456), [""; 0]);
    assert_eq!(it.data(5, 1456), [""; 0]);
    assert_eq!(it.data(3, 1456), ["ACK 5"]);
    assert_eq!(it.data(6, 12), ["ACK 6"]);
    assert_ne!(it.machine.status(), Status::Receiving);
}

#[test]
fn tells_its_window_in_a_fifth_byte_once_that_was_granted() {
    let mut it = Dialogue::with(Kind::WindowsBootmgr);
    let granted = "blksize 1456 windowsize 4 msftwindow 27182";
    assert_eq!(it.oack(granted), ["ACK 0 window 4"]);
}

#[test]
fn the_wrap_goes_to_zero() {
    Dialogue::granted(Kind::WindowsBootmgr, "blksize 1456").lockstep(1, 131_080, 1456);
}
