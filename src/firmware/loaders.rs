//! What a ROM loads, and what then loads the rest.
//!
//! The figures come from reading the sources of these programs and from watching them run. Where a closed
//! firmware's behaviour is not known, its table says so.

use std::time::Duration;

use super::profile::{
    Answer, Before, Blksize, Empty, Numbering, OackRules, PLAIN, Patience, Ports, Profile, Resend,
    Restart, Value, WrongPort,
};

/// Never repeats an ACK, and polls 41 times for a new block. That it withholds ACKs while 50 blocks
/// are unread is left out: here it reads at once. After a failure it shows a prompt.
pub(super) const GRUB: Profile = Profile {
    options: &[("blksize", Value::Is(1024)), ("tsize", Value::Is(0))],
    ports: Ports::Counted(25300),
    asks: Resend::Table(&GRUB_GAPS),
    acks: Resend::Never,
    patience: Patience::SinceAnswerOrBlock(33_600),
    oack: OackRules {
        required: true,
        ..PLAIN.oack
    },
    oack_again: Answer::Forget,
    old_block: Answer::AckOldAndLast,
    numbering: Numbering::UpperBitsOfAwaited,
    deaf_to_errors: true,
    restart: Restart::Never,
    ..PLAIN
};

/// 131 s of patience for everything. Without a configuration, or when a transfer falls silent, five
/// minutes of a message before it reboots; a kernel that cannot be had leads to its prompt. That it sends
/// ACK 0 only when it first reads the file is left out: that is a matter of milliseconds.
pub(super) const PXELINUX: Profile = Profile {
    options: &[("tsize", Value::Is(0)), ("blksize", Value::Is(1408))],
    ports: Ports::Counted(49152),
    asks: Resend::Table(&PXELINUX_GAPS),
    acks: Resend::Table(&PXELINUX_GAPS),
    oack: OackRules {
        blksize: Blksize::Within(64, 2048, 8),
        unasked: Some(8),
        empty: Empty::NoFile,
        ..PLAIN.oack
    },
    gap: Answer::Ack,
    wrong_port: WrongPort::Accept,
    deaf_to_errors: true,
    restart: Restart::AfterOrPrompt { seconds: 300 },
    ..PLAIN
};

pub(super) const LPXELINUX: Profile = Profile {
    ports: Ports::Fixed(49153),
    wrong_port: WrongPort::Drop,
    closed_port_answers: true,
    ..PXELINUX
};

/// Its timers are not known: 10 s of patience is an assumption. Windows of 4 to 16 are common.
pub(super) const WINDOWS_BOOTMGR: Profile = Profile {
    options: &[
        ("tsize", Value::Is(0)),
        ("blksize", Value::Is(1456)),
        ("windowsize", Value::OneOf(&[4, 8, 16])),
        ("msftwindow", Value::Is(31416)),
    ],
    ports: Ports::CountedFromOwn {
        least: 1024,
        most: 2047,
    },
    asks: Resend::Table(&[2000; 5]),
    acks: Resend::Table(&[2000; 5]),
    old_block: Answer::AckAnew,
    gap: Answer::AckOnce,
    ..PLAIN
};

/// Of FreeBSD and illumos. A file that it only looks at it leaves after the first block without a word, and
/// opens it again within milliseconds, most often from the same port; so a block that an older transfer
/// repeats is an answer to it. Blocks longer than agreed it takes, and reads on from where shorter ones
/// would have ended. A second OACK before the first block is the end of an empty file to it. That it begins
/// a file anew, up to three times, where a transfer breaks off is left out (illumos' does not), and so
/// is what lies in its network card while it does not read.
pub(super) const FREEBSD_LOADER: Profile = Profile {
    options: &[("blksize", Value::Is(1428)), ("tsize", Value::Is(0))],
    before: Before::Glance {
        pause: (Duration::from_millis(1), Duration::from_millis(5)),
    },
    seek_word: Some("No error: read aborted"),
    takes_long_blocks: true,
    ports: Ports::BySecond {
        first: 2000,
        span: 1024,
    },
    asks: Resend::Table(&FREEBSD_GAPS),
    acks: Resend::Table(&FREEBSD_GAPS),
    oack: OackRules {
        blksize: Blksize::UpToAsked(8),
        ..PLAIN.oack
    },
    oack_again: Answer::EndBeforeData,
    old_block: Answer::AckOld,
    wrong_port: WrongPort::AcceptAdoptFirst,
    restart: Restart::Never,
    ..PLAIN
};

/// Of NetBSD and OpenBSD, as their `pxeboot` is built: the same habit without options and without a word
/// where it seeks, and it never acknowledges a last block. There is no block after 65535.
pub(super) const NETBSD_LOADER: Profile = Profile {
    options: &[],
    seek_word: None,
    takes_long_blocks: false,
    acks_last_block: false,
    asks: Resend::Table(&[2000, 4000, 8000, 16_000, 32_000]),
    acks: Resend::Table(&[2000, 4000, 8000, 16_000, 32_000]),
    oack_again: Answer::Ignore,
    old_block: Answer::Ignore,
    numbering: Numbering::NoWrap,
    ..FREEBSD_LOADER
};

/// 40 requests, each gap 20 ms longer: 31.6 s in all.
const GRUB_GAPS: [u32; 40] = {
    let mut gaps = [400; 40];
    let mut place = 1;
    while place < gaps.len() {
        gaps[place] = gaps[place - 1] + 20;
        place += 1;
    }
    gaps
};

/// Its table counts ticks of the PC's clock, 18.2 a second: 130.9 s in all.
const PXELINUX_GAPS: [u32; 31] = {
    let ticks = [
        2, 2, 3, 3, 4, 5, 6, 7, 9, 10, 12, 15, 18, 21, 26, 31, 37, 44, 53, 64, 77, 92, 110, 132,
        159, 191, 229, 255, 255, 255, 255,
    ];
    let mut gaps = [0; 31];
    let mut total = 0;
    let mut place = 0;
    while place < gaps.len() {
        let before = total * 10_000 / 182;
        total += ticks[place];
        gaps[place] = total * 10_000 / 182 - before;
        place += 1;
    }
    gaps
};

/// Each gap is 2 s longer than the one before, below two minutes: 59 minutes in all.
const FREEBSD_GAPS: [u32; 59] = {
    let mut gaps = [2000; 59];
    let mut place = 1;
    while place < gaps.len() {
        gaps[place] = gaps[place - 1] + 2000;
        place += 1;
    }
    gaps
};
