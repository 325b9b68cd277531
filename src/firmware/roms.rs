//! What is burnt into machines: boot ROMs and firmware.
//!
//! The figures come from reading the sources of these programs and from watching them run. Where a closed
//! firmware's behaviour is not known, its table says so.

use std::time::Duration;

use super::profile::{
    Answer, Before, Blksize, Numbering, OackRules, PLAIN, Patience, Ports, Probe, Profile, Resend,
    Restart, Value, WrongPort,
};

/// Requests at 0, .25, .75, 1.75, 3.75, 7.75 s; gives up at 15.75 s. A machine that was answered only after
/// 7.75 s has a timer of 8 s, and the first time it runs out is the end.
pub(super) const IPXE: Profile = Profile {
    options: &[("blksize", Value::Is(1432)), ("tsize", Value::Is(0))],
    ports: Ports::Random {
        least: 1025,
        most: 65535,
    },
    asks: Resend::Adaptive,
    acks: Resend::Adaptive,
    oack_again: Answer::AckAnew,
    old_block: Answer::Store,
    gap: Answer::Store,
    numbering: Numbering::UpperBitsOfAwaited,
    ..PLAIN
};

/// Six sendings of everything, 4 s apart on a timer that ticks each second; within a window the timer
/// runs on, so a whole window must come in time.
pub(super) const EDK2: Profile = Profile {
    options: &[("blksize", Value::Is(1468)), ("windowsize", Value::Is(4))],
    before: Before::Probe(Probe {
        options: &[
            ("tsize", Value::Is(0)),
            ("blksize", Value::Is(1468)),
            ("windowsize", Value::Is(4)),
        ],
        code: 8,
        pause: (Duration::from_millis(20), Duration::from_millis(30)),
    }),
    ports: Ports::CountedFromOwn {
        least: 1024,
        most: 2047,
    },
    asks: Resend::Table(&[4000; 6]),
    acks: Resend::Table(&[4000; 6]),
    tick: 1000,
    oack: OackRules {
        blksize: Blksize::UpToAsked(4),
        unasked: Some(4),
        adopts_timeout: true,
        ..PLAIN.oack
    },
    oack_again: Answer::AckAnewBeforeData,
    old_block: Answer::AckAnew,
    gap: Answer::AckAnew,
    heeds_unreachable: true,
    closed_port_answers: true,
    ..PLAIN
};

/// Asks edk2's stack for the file at once, into 4 MiB, and again into twice as much if it is larger.
pub(super) const SHIM: Profile = Profile {
    options: &[("blksize", Value::Is(512)), ("windowsize", Value::Is(4))],
    before: Before::Nothing,
    buffer: Some(4 << 20),
    ..EDK2
};

/// One count of 10 timeouts from the first request to the last block, 5 s each. Whether the prompt
/// it ends at restarts is up to its environment; here it does.
pub(super) const UBOOT: Profile = Profile {
    options: &[
        ("timeout", Value::Is(5)),
        ("tsize", Value::Is(0)),
        ("blksize", Value::Is(1468)),
    ],
    ports: Ports::ByClock {
        first: 1024,
        span: 3072,
    },
    asks: Resend::Table(&[5000; 11]),
    acks: Resend::Table(&[5000; 11]),
    counts_whole_file: true,
    oack: OackRules {
        blksize: Blksize::UpToAsked(8),
        other_timeout: Some(8),
        ..PLAIN.oack
    },
    oack_is_fresh: false,
    oack_again: Answer::Ack,
    old_block: Answer::Ignore,
    // The numbers are compared as signed ones.
    gap: Answer::AckOnceBelow(0x8000),
    ..PLAIN
};

/// Never repeats an ACK; everything is the server's business. Any block but the awaited one and the one
/// before it, whether it is old or early, draws an ERROR that ends nothing.
pub(super) const UBOOT_LWIP: Profile = Profile {
    options: &[("tsize", Value::Is(0)), ("blksize", Value::Is(1468))],
    ports: Ports::Counted(49152),
    asks: Resend::Table(&[1000; 6]),
    acks: Resend::Never,
    patience: Patience::SinceRequestOrBlock(10_000),
    oack: OackRules {
        blksize: Blksize::UpToAsked(8),
        ..PLAIN.oack
    },
    oack_again: Answer::Ack,
    old_block: Answer::AckIfLastElseComplain,
    gap: Answer::Complain,
    wrong_port: WrongPort::Accept,
    ..PLAIN
};

/// Looks at each file before it opens it. No window unless configured, so nothing to cache.
pub(super) const BAREBOX: Profile = Profile {
    options: &[
        ("timeout", Value::Is(5)),
        ("blksize", Value::Is(1432)),
        ("tsize", Value::KnownSize),
    ],
    before: Before::Probe(Probe {
        options: &[
            ("timeout", Value::Is(5)),
            ("blksize", Value::Is(512)),
            ("tsize", Value::Is(0)),
        ],
        code: 0,
        pause: (Duration::from_millis(1), Duration::from_millis(2)),
    }),
    ports: Ports::Counted(1024),
    asks: Resend::Table(&[1000; 15]),
    acks: Resend::Table(&[1000; 15]),
    patience: Patience::SinceRequestOrBlock(15_000),
    oack: OackRules {
        blksize: Blksize::UpToAsked(8),
        ..PLAIN.oack
    },
    oack_is_fresh: false,
    old_block: Answer::Ignore,
    wrong_port: WrongPort::Accept,
    ..PLAIN
};

/// 30 s for a whole file, waiting and size probe included, and no block after 65535. That a copy hangs it
/// was seen with start4.elf; of the EEPROM's loader it is assumed. Reactions to gaps, other ports and a
/// second OACK are not known.
pub(super) const RASPBERRY_PI_4: Profile = Profile {
    options: &[("tsize", Value::Is(0)), ("blksize", Value::Is(1024))],
    before: Before::Probe(Probe {
        options: &[("tsize", Value::Is(0)), ("blksize", Value::Is(1024))],
        code: 0,
        pause: (Duration::from_millis(1), Duration::from_millis(5)),
    }),
    ports: Ports::Random {
        least: 49152,
        most: 65535,
    },
    asks: Resend::Table(&[2000; 16]),
    acks: Resend::Table(&[2000; 16]),
    patience: Patience::WholeFile(30_000),
    old_block: Answer::AckNext,
    numbering: Numbering::NoWrap,
    restart: Restart::After {
        least: 45,
        most: 75,
    },
    ..PLAIN
};

/// How its kind treats copies is not known: here the last ACK is repeated and the timer runs on.
pub(super) const OLD_ROM: Profile = PLAIN;

pub(super) const OLD_ROM_NEW_PORTS: Profile = Profile {
    repeats_from_new_port: true,
    ..OLD_ROM
};

/// Only that it expects the first answer within 2 s is known of the phone (Nortel, later Avaya). That it does
/// not repeat its request is an assumption, and the worst one.
pub(super) const NORTEL_1110: Profile = Profile {
    asks: Resend::Table(&[2000]),
    ..PLAIN
};

/// Texas Instruments' ROM, as in the BeagleBone: 60 s for a whole file, and everything in a transfer is the
/// server's business.
pub(super) const AM335X: Profile = Profile {
    asks: Resend::Table(&[1000; 5]),
    acks: Resend::Never,
    patience: Patience::WholeFile(60_000),
    old_block: Answer::Ignore,
    ..PLAIN
};
