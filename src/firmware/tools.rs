//! The clients of user space.
//!
//! The figures come from reading the sources of these programs and from watching them run. Where a closed
//! firmware's behaviour is not known, its table says so.

use super::profile::{
    Answer, Blksize, Empty, OackRules, PLAIN, Ports, Profile, Resend, Restart, Value, WrongPort,
};

/// As petitboot calls it: without a block size.
pub(super) const BUSYBOX: Profile = Profile {
    options: &[("tsize", Value::Is(0))],
    ports: LINUX_PORTS,
    asks: Resend::Table(&BUSYBOX_GAPS),
    acks: Resend::Table(&BUSYBOX_GAPS),
    oack: OackRules {
        blksize: Blksize::UpToAsked(8),
        ..PLAIN.oack
    },
    oack_again: Answer::WaitAnew,
    old_block: Answer::WaitAnew,
    gap: Answer::WaitAnew,
    wrong_port: WrongPort::Unreachable,
    closed_port_answers: true,
    ..PLAIN
};

/// Follows the port that sent last.
pub(super) const TFTP_HPA: Profile = Profile {
    ports: LINUX_PORTS,
    asks: Resend::Table(&[5000; 5]),
    acks: Resend::Table(&[5000; 5]),
    old_block: Answer::AckAnewIfLast,
    wrong_port: WrongPort::Adopt,
    closed_port_answers: true,
    restart: Restart::Never,
    ..PLAIN
};

/// Its interactive session has one socket for all files, and asks for the next one right behind the last
/// ACK.
pub(super) const TFTP_HPA_SESSION: Profile = Profile {
    ports: Ports::OneRandom {
        least: 32768,
        most: 60999,
    },
    ..TFTP_HPA
};

pub(super) const CURL: Profile = Profile {
    options: &[
        ("tsize", Value::Is(0)),
        ("blksize", Value::Is(512)),
        ("timeout", Value::Is(6)),
    ],
    ports: LINUX_PORTS,
    asks: Resend::Table(&CURL_GAPS),
    acks: Resend::Table(&[6000; 4]),
    oack: OackRules {
        blksize: Blksize::UpToAsked(8),
        empty: Empty::Broken,
        ..PLAIN.oack
    },
    oack_again: Answer::ForgetAnew,
    old_block: Answer::AckAnewIfLast,
    wrong_port: WrongPort::Abort,
    closed_port_answers: true,
    restart: Restart::Never,
    ..PLAIN
};

/// Its options are the user's.
pub(super) const ATFTP: Profile = Profile {
    options: &[("tsize", Value::Is(0)), ("blksize", Value::Is(1428))],
    ports: LINUX_PORTS,
    asks: Resend::Table(&[5000; 6]),
    acks: Resend::Table(&[5000; 6]),
    oack_again: Answer::Die(0),
    old_block: Answer::AckOnce,
    gap: Answer::AckOnce,
    wrong_port: WrongPort::CountAsTimeout,
    closed_port_answers: true,
    restart: Restart::Never,
    ..PLAIN
};

/// Its options are the user's. It says that it discards what another port sends, and takes it.
pub(super) const TFTPY: Profile = Profile {
    options: &[("blksize", Value::Is(1428)), ("tsize", Value::Is(0))],
    ports: LINUX_PORTS,
    asks: Resend::Table(&[5000; 3]),
    acks: Resend::Table(&[5000; 3]),
    oack_again: Answer::Die(4),
    old_block: Answer::AckUpTo(20),
    gap: Answer::Abort,
    wrong_port: WrongPort::Accept,
    closed_port_answers: true,
    restart: Restart::Never,
    ..PLAIN
};

/// Half as long again each time, up to 2 s: 12.9 s in all.
const BUSYBOX_GAPS: [u32; 12] = {
    let mut gaps = [100; 12];
    let mut place = 1;
    while place < gaps.len() {
        let longer = gaps[place - 1] * 3 / 2;
        gaps[place] = if longer < 2000 { longer } else { 2000 };
        place += 1;
    }
    gaps
};

/// 7 s each, until the 5 minutes that curl allows for connecting.
const CURL_GAPS: [u32; 43] = {
    let mut gaps = [7000; 43];
    gaps[42] = 6000;
    gaps
};

/// The ports that Linux gives to sockets that did not ask for one.
const LINUX_PORTS: Ports = Ports::Random {
    least: 32768,
    most: 60999,
};
