//! What a client does to its transfer besides acknowledging: it ends it, goes away, comes back, asks for
//! something else. That is decided by the server.

use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::Refusal;

use crate::desk::{CONFIG, Desk, KERNEL};

const PORT: u16 = 2070;
const OTHER: u16 = 2071;

/// The client at `PORT` has fetched block 1 of the kernel; `OTHER` waits for the only slot.
fn one_runs_and_one_waits() -> Desk {
    let mut desk = Desk::new(1);
    desk.at(0.0).asks(PORT, KERNEL, "").data(PORT, 1, 512);
    desk.at(0.01).acks(PORT, 1).data(PORT, 2, 512);
    desk.at(0.02).asks(OTHER, CONFIG, "").nothing();
    desk.serves(1, 1);
    desk
}

/// edk2 sends 8, legacy PXE ROMs send 0. The next request comes within 20 ms, so the slot must be free.
#[test]
fn a_size_probe_ends_by_error_0_or_8() {
    for code in [0, 8] {
        let mut desk = Desk::new(1);
        desk.at(0.0)
            .asks(PORT, KERNEL, "tsize 0, blksize 1468")
            .oack(PORT, "tsize 10000, blksize 1468");
        desk.at(0.001).asks(OTHER, CONFIG, "").nothing();
        desk.at(0.002)
            .sends_error(PORT, code)
            .ended(PORT, Outcome::Cancelled, 0)
            .data(OTHER, 1, 100)
            .serves(1, 1);
        desk.at(0.02)
            .acks(OTHER, 1)
            .ended(OTHER, Outcome::Complete, 100)
            .serves(0, 0);
    }
}

#[test]
fn a_client_may_cancel_halfway() {
    for code in [0, 8] {
        let mut desk = one_runs_and_one_waits();
        desk.at(0.03)
            .sends_error(PORT, code)
            .ended(PORT, Outcome::Cancelled, 512)
            .data(OTHER, 1, 100)
            .serves(1, 1);
    }
}

#[test]
fn any_other_error_of_a_client_ends_its_transfer_at_once() {
    for code in (1..=7).chain([9, 100, 65_535]) {
        let mut desk = one_runs_and_one_waits();
        desk.at(0.03)
            .sends_error(PORT, code)
            .ended(PORT, Outcome::ClientError(code), 512)
            .data(OTHER, 1, 100)
            .serves(1, 1);
    }
}

#[test]
fn an_error_without_a_code_ends_nothing() {
    let mut desk = one_runs_and_one_waits();
    desk.at(0.03).socket_gets(PORT, b"\0\x05\0").nothing();
    desk.at(0.04).acks(PORT, 2).data(PORT, 3, 512);
}

#[test]
fn nonsense_on_its_socket_does_not_disturb_a_transfer() {
    let mut desk = one_runs_and_one_waits();
    let nonsense: [&[u8]; 6] = [
        b"",
        b"\0",
        b"\0\x04\0",
        b"\0\x01kernel\0octet\0",
        b"\0\x03\0\x02data",
        b"\xFF\xFF\xFF\xFF",
    ];
    for datagram in nonsense {
        desk.at(0.03).socket_gets(PORT, datagram).nothing();
    }
    desk.at(0.04).acks(PORT, 2).data(PORT, 3, 512);
}

#[test]
fn a_closed_port_ends_a_handshake_at_once() {
    let mut desk = Desk::new(1);
    desk.at(0.0)
        .asks(PORT, KERNEL, "tsize 0")
        .oack(PORT, "tsize 10000");
    desk.at(0.001).asks(OTHER, CONFIG, "").nothing();
    desk.at(0.002)
        .closes_its_port(PORT)
        .ended(PORT, Outcome::PortClosed, 0)
        .data(OTHER, 1, 100)
        .serves(1, 1);
}

#[test]
fn a_closed_port_ends_a_transfer_at_once() {
    let mut desk = one_runs_and_one_waits();
    desk.at(0.03)
        .closes_its_port(PORT)
        .ended(PORT, Outcome::PortClosed, 512)
        .data(OTHER, 1, 100)
        .serves(1, 1);
}

/// busybox exits with its last ACK; where that was lost, what it sees next is a closed port.
#[test]
fn a_port_closed_after_everything_was_sent_is_a_success() {
    let mut desk = Desk::new(1);
    desk.at(0.0)
        .asks(PORT, CONFIG, "blksize 1024")
        .oack(PORT, "blksize 1024");
    desk.at(0.01).acks(PORT, 0).data(PORT, 1, 100);
    desk.at(0.21).data(PORT, 1, 100);
    desk.at(0.22)
        .closes_its_port(PORT)
        .ended(PORT, Outcome::CompleteUnconfirmed, 100)
        .serves(0, 0);
}

/// "The last ACK is waited for with short patience (3 sendings, no slot)."
#[test]
fn a_client_that_was_sent_everything_needs_no_slot() {
    let mut desk = Desk::new(1);
    desk.at(0.0)
        .asks(PORT, CONFIG, "blksize 1024")
        .oack(PORT, "blksize 1024");
    desk.at(0.001).asks(OTHER, KERNEL, "").nothing();
    desk.at(0.01)
        .acks(PORT, 0)
        .data(PORT, 1, 100)
        .data(OTHER, 1, 512)
        .serves(1, 2);
    desk.at(0.02).acks(OTHER, 1).data(OTHER, 2, 512);
    desk.at(0.03)
        .acks(PORT, 1)
        .ended(PORT, Outcome::Complete, 100)
        .serves(1, 1);
}

#[test]
fn a_missing_last_ack_is_a_success_with_a_footnote() {
    let mut desk = Desk::new(1);
    desk.at(0.0)
        .asks(PORT, CONFIG, "blksize 1024")
        .oack(PORT, "blksize 1024");
    desk.at(0.01).acks(PORT, 0).data(PORT, 1, 100).serves(0, 1);
    desk.at(0.3).data(PORT, 1, 100);
    desk.at(2.3).data(PORT, 1, 100);
    for again in [6.3, 12.3, 20.3] {
        desk.at(again).data(PORT, 1, 100);
    }
    desk.at(30.2).nothing();
    desk.at(30.3)
        .ended(PORT, Outcome::CompleteUnconfirmed, 100)
        .serves(0, 0);
    assert_eq!(desk.lab.server.stats().completed, 1);
    assert_eq!(desk.lab.server.stats().failed, 0);
}

#[test]
fn in_the_handshake_a_repeated_request_draws_the_first_packet_again() {
    let mut desk = Desk::new(1);
    let options = "blksize 1024";
    desk.at(0.0).asks(PORT, KERNEL, options).oack(PORT, options);
    desk.at(0.009).asks(PORT, KERNEL, options).nothing();
    desk.at(0.1).oack(PORT, options);
    desk.at(0.15).asks(PORT, KERNEL, options).nothing();
    desk.at(0.2).oack(PORT, options);
    desk.at(0.3).nothing();
    desk.serves(1, 1);
    assert_eq!(desk.lab.server.stats().repeats, 2);
    assert_eq!(desk.lab.server.stats().requests, 1);
}

/// LPXELINUX fetches every file of a boot from one port.
#[test]
fn the_same_port_with_another_file_has_moved_on() {
    let mut desk = Desk::new(1);
    desk.at(0.0).asks(PORT, KERNEL, "").data(PORT, 1, 512);
    desk.at(0.01).acks(PORT, 1).data(PORT, 2, 512);
    desk.at(0.02)
        .asks(PORT, CONFIG, "blksize 1024")
        .ended(PORT, Outcome::MovedOn, 512)
        .oack(PORT, "blksize 1024")
        .serves(1, 1);
}

/// "end the old one, even without its last ACK": everything was sent, so that is a success.
#[test]
fn a_client_that_moves_on_without_its_last_ack_has_its_file() {
    let mut desk = Desk::new(1);
    desk.at(0.0)
        .asks(PORT, CONFIG, "blksize 1024")
        .oack(PORT, "blksize 1024");
    desk.at(0.01).acks(PORT, 0).data(PORT, 1, 100);
    desk.at(0.02)
        .asks(PORT, KERNEL, "")
        .ended(PORT, Outcome::CompleteUnconfirmed, 100)
        .data(PORT, 1, 512)
        .serves(1, 1);
}

/// A file that cannot be read any more ends one transfer, with ERROR 0.
#[test]
fn a_file_that_fails_ends_its_transfer_with_an_error() {
    let mut desk = one_runs_and_one_waits();
    desk.files_break();
    desk.at(0.03)
        .acks(PORT, 2)
        .error(PORT, Refusal::ReadFailed)
        .ended(PORT, Outcome::Refused(Refusal::ReadFailed), 1024)
        .error(OTHER, Refusal::ReadFailed)
        .ended(OTHER, Outcome::Refused(Refusal::ReadFailed), 0)
        .serves(0, 0);
}

#[test]
fn a_stopping_server_finishes_what_runs() {
    let mut desk = Desk::new(2);
    desk.at(0.0)
        .asks(PORT, CONFIG, "blksize 1024")
        .oack(PORT, "blksize 1024");
    desk.at(0.01).is_told_to_stop().nothing();
    assert!(!desk.lab.server.is_stopped());
    desk.at(0.02).asks(OTHER, CONFIG, "").nothing();
    desk.at(0.03).acks(PORT, 0).data(PORT, 1, 100);
    desk.at(0.04)
        .acks(PORT, 1)
        .ended(PORT, Outcome::Complete, 100);
    assert!(desk.lab.server.is_stopped());
}

#[test]
fn a_stopping_server_answers_no_request_at_all() {
    let mut desk = Desk::new(1);
    desk.at(0.0).is_told_to_stop().nothing();
    desk.at(0.1).asks(PORT, KERNEL, "").nothing();
    desk.at(0.2).asks(PORT, ("missing", 0), "").nothing();
    desk.at(0.3)
        .listener_gets(PORT, b"\0\x02upload\0octet\0")
        .nothing();
    desk.at(0.4)
        .listener_gets(PORT, b"\0\x01kernel\0mail\0")
        .nothing();
    desk.at(0.5).asks(PORT, ("../kernel", 0), "").nothing();
}

#[test]
fn a_stopping_server_waits_no_longer_than_its_patience() {
    let mut desk = Desk::new(1);
    desk.at(0.0).asks(PORT, KERNEL, "").data(PORT, 1, 512);
    desk.at(0.01).acks(PORT, 1).data(PORT, 2, 512);
    desk.at(0.02).asks(OTHER, KERNEL, "").nothing();
    desk.at(0.1)
        .is_told_to_stop()
        .ended(OTHER, Outcome::ShutDown, 0);
    // The client goes on, but slowly: one block in two seconds, after three sendings that it misses.
    desk.at(0.2).acks(PORT, 2).data(PORT, 3, 512);
    for block in 3..=18 {
        let (now, sent) = (f64::from(block - 2) * 2.0, u64::from(block));
        desk.at(now - 0.01)
            .data(PORT, sent, 512)
            .data(PORT, sent, 512)
            .data(PORT, sent, 512);
        desk.at(now).acks(PORT, block).data(PORT, sent + 1, 512);
    }
    desk.at(35.05)
        .data(PORT, 19, 512)
        .data(PORT, 19, 512)
        .data(PORT, 19, 512)
        .data(PORT, 19, 512);
    assert!(!desk.lab.server.is_stopped());
    desk.at(35.1).ended(PORT, Outcome::ShutDown, 18 * 512);
    assert!(desk.lab.server.is_stopped());
}

#[test]
fn every_refusal_is_answered_at_once_even_when_the_server_is_full() {
    let mut desk = one_runs_and_one_waits();
    desk.lab.world.takes_uploads = false;
    desk.at(0.03)
        .asks(3000, ("missing", 0), "tsize 0")
        .error(3000, Refusal::NotFound);
    desk.at(0.03)
        .asks(3001, ("directory", 0), "")
        .error(3001, Refusal::NotAFile);
    desk.at(0.03)
        .asks(3002, ("", 0), "")
        .error(3002, Refusal::EmptyName);
    desk.at(0.03)
        .asks(3003, ("../kernel", 0), "")
        .error(3003, Refusal::OutsideRoot);
    desk.at(0.03)
        .asks(3004, (&"n".repeat(1025), 0), "")
        .error(3004, Refusal::NameTooLong);
    desk.at(0.03)
        .listener_gets(3005, b"\0\x02upload\0octet\0")
        .error(3005, Refusal::ReadOnly);
    desk.at(0.03)
        .listener_gets(3006, b"\0\x01kernel\0mail\0")
        .error(3006, Refusal::MailMode);
    desk.at(0.03)
        .listener_gets(3007, b"\0\x01kernel\0binary\0")
        .error(3007, Refusal::UnknownMode);
    desk.serves(1, 1);
    assert_eq!(desk.lab.server.pending(), 1);
    assert_eq!(desk.lab.server.stats().refused, 8);
}
