//! The kinds of firmware, and one table for each.
//!
//! The figures come from reading the sources of these programs and from watching them run. Where
//! a closed firmware's behaviour is not known, its table says so.

use std::time::Duration;

use super::profile::{
    Answer, Blksize, Empty, Numbering, OackRules, Patience, Ports, Probe, Profile, Resend, Restart,
    Stranger, Value,
};

/// A kind of firmware or boot program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// iPXE, as option ROM or chain-loaded.
    Ipxe,
    /// The PXE client of edk2 over IPv4, as in most UEFI firmware.
    Edk2,
    /// The shim of UEFI Secure Boot, on edk2's TFTP.
    Shim,
    /// U-Boot with its classic network stack.
    UBoot,
    /// U-Boot with the lwIP stack.
    UBootLwip,
    /// GRUB 2.06.
    Grub,
    /// PXELINUX with its own UDP.
    Pxelinux,
    /// PXELINUX with lwIP.
    Lpxelinux,
    /// The tftp of busybox, as petitboot uses it.
    Busybox,
    /// barebox.
    Barebox,
    /// The EEPROM boot loader of the Raspberry Pi 4, and the start4.elf it loads.
    RaspberryPi4,
    /// The boot manager of Windows.
    WindowsBootmgr,
    /// tftp-hpa 5.2.
    TftpHpa,
    /// curl 8.17 and newer.
    Curl,
    /// atftp 0.8.
    Atftp,
    /// tftpy.
    Tftpy,
    /// A PXE ROM without options: 5 requests within 23 s, then 4 repeats, one a second, per packet.
    OldRom,
    /// The same with a new port for every repeated request.
    OldRomNewPorts,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 18] = [
        Kind::Ipxe,
        Kind::Edk2,
        Kind::Shim,
        Kind::UBoot,
        Kind::UBootLwip,
        Kind::Grub,
        Kind::Pxelinux,
        Kind::Lpxelinux,
        Kind::Busybox,
        Kind::Barebox,
        Kind::RaspberryPi4,
        Kind::WindowsBootmgr,
        Kind::TftpHpa,
        Kind::Curl,
        Kind::Atftp,
        Kind::Tftpy,
        Kind::OldRom,
        Kind::OldRomNewPorts,
    ];

    /// A short name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ipxe => "iPXE",
            Kind::Edk2 => "edk2",
            Kind::Shim => "shim",
            Kind::UBoot => "U-Boot",
            Kind::UBootLwip => "U-Boot/lwIP",
            Kind::Grub => "GRUB",
            Kind::Pxelinux => "PXELINUX",
            Kind::Lpxelinux => "LPXELINUX",
            Kind::Busybox => "busybox",
            Kind::Barebox => "barebox",
            Kind::RaspberryPi4 => "Raspberry Pi 4",
            Kind::WindowsBootmgr => "Windows bootmgr",
            Kind::TftpHpa => "tftp-hpa",
            Kind::Curl => "curl",
            Kind::Atftp => "atftp",
            Kind::Tftpy => "tftpy",
            Kind::OldRom => "old ROM",
            Kind::OldRomNewPorts => "old ROM, new ports",
        }
    }

    /// Whose UDP it uses: shim calls edk2's, which goes on counting its ports.
    pub(super) fn network_stack(self) -> Kind {
        if self == Kind::Shim { Kind::Edk2 } else { self }
    }

    pub(super) fn profile(self) -> &'static Profile {
        match self {
            Kind::Ipxe => &IPXE,
            Kind::Edk2 => &EDK2,
            Kind::Shim => &SHIM,
            Kind::UBoot => &UBOOT,
            Kind::UBootLwip => &UBOOT_LWIP,
            Kind::Grub => &GRUB,
            Kind::Pxelinux => &PXELINUX,
            Kind::Lpxelinux => &LPXELINUX,
            Kind::Busybox => &BUSYBOX,
            Kind::Barebox => &BAREBOX,
            Kind::RaspberryPi4 => &RASPBERRY_PI_4,
            Kind::WindowsBootmgr => &WINDOWS_BOOTMGR,
            Kind::TftpHpa => &TFTP_HPA,
            Kind::Curl => &CURL,
            Kind::Atftp => &ATFTP,
            Kind::Tftpy => &TFTPY,
            Kind::OldRom => &OLD_ROM,
            Kind::OldRomNewPorts => &OLD_ROM_NEW_PORTS,
        }
    }
}

/// The plainest client there is; the others are told by how they differ from it.
const PLAIN: Profile = Profile {
    options: &[],
    probe: None,
    ports: Ports::Counted(2070),
    repeats_from_new_port: false,
    asks: Resend::Table(&[1000, 2000, 4000, 8000, 8000]),
    acks: Resend::Table(&[1000; 5]),
    counts_whole_file: false,
    patience: Patience::Unbounded,
    tick: 0,
    oack: OackRules {
        blksize: Blksize::Any,
        unasked: None,
        other_timeout: None,
        adopts_timeout: false,
        empty: Empty::File,
        required: false,
    },
    oack_is_fresh: true,
    oack_again: Answer::Ignore,
    old_block: Answer::Ack,
    gap: Answer::Ignore,
    numbering: Numbering::Nearest,
    stranger: Stranger::Drop,
    deaf_to_errors: false,
    heeds_unreachable: false,
    closed_port_answers: false,
    buffer: None,
    restart: Restart::After { least: 5, most: 60 },
};

/// The ports that Linux gives to sockets that did not ask for one.
const LINUX_PORTS: Ports = Ports::Random {
    least: 32768,
    most: 60999,
};

/// Requests at 0, .25, .75, 1.75, 3.75, 7.75 s; gives up at 15.75 s. Whoever was answered only after
/// 7.75 s has a timer of 8 s, and the first time it runs out is the end.
const IPXE: Profile = Profile {
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
const EDK2: Profile = Profile {
    options: &[("blksize", Value::Is(1468)), ("windowsize", Value::Is(4))],
    probe: Some(Probe {
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
const SHIM: Profile = Profile {
    options: &[("blksize", Value::Is(512)), ("windowsize", Value::Is(4))],
    probe: None,
    buffer: Some(4 << 20),
    ..EDK2
};

/// One count of 10 timeouts from the first request to the last block, 5 s each. Whether the prompt
/// it ends at restarts is up to its environment; here it does.
const UBOOT: Profile = Profile {
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
const UBOOT_LWIP: Profile = Profile {
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
    stranger: Stranger::Accept,
    ..PLAIN
};

/// Never repeats an ACK, and polls 41 times for a new block. That it withholds ACKs while 50 blocks
/// are unread is left out: here it reads at once. After a failure it shows a prompt.
const GRUB: Profile = Profile {
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
const PXELINUX: Profile = Profile {
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
    stranger: Stranger::Accept,
    deaf_to_errors: true,
    restart: Restart::AfterOrPrompt { seconds: 300 },
    ..PLAIN
};

const LPXELINUX: Profile = Profile {
    ports: Ports::Fixed(49153),
    stranger: Stranger::Drop,
    closed_port_answers: true,
    ..PXELINUX
};

/// As petitboot calls it: without a block size.
const BUSYBOX: Profile = Profile {
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
    stranger: Stranger::Unreachable,
    closed_port_answers: true,
    ..PLAIN
};

/// Looks at each file before it opens it. No window unless configured, so nothing to cache.
const BAREBOX: Profile = Profile {
    options: &[
        ("timeout", Value::Is(5)),
        ("blksize", Value::Is(1432)),
        ("tsize", Value::KnownSize),
    ],
    probe: Some(Probe {
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
    stranger: Stranger::Accept,
    ..PLAIN
};

/// 30 s for a whole file, waiting and size probe included, and no block after 65535. That a copy hangs it
/// was seen with start4.elf; of the EEPROM's loader it is assumed. Reactions to gaps, strangers and a
/// second OACK are not known.
const RASPBERRY_PI_4: Profile = Profile {
    options: &[("tsize", Value::Is(0)), ("blksize", Value::Is(1024))],
    probe: Some(Probe {
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

/// Its timers are not known: 10 s of patience is an assumption. Windows of 4 to 16 are common.
const WINDOWS_BOOTMGR: Profile = Profile {
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

/// Follows whoever sent last.
const TFTP_HPA: Profile = Profile {
    ports: LINUX_PORTS,
    asks: Resend::Table(&[5000; 5]),
    acks: Resend::Table(&[5000; 5]),
    old_block: Answer::AckAnewIfLast,
    stranger: Stranger::Adopt,
    closed_port_answers: true,
    restart: Restart::Never,
    ..PLAIN
};

const CURL: Profile = Profile {
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
    stranger: Stranger::Abort,
    closed_port_answers: true,
    restart: Restart::Never,
    ..PLAIN
};

/// Its options are the user's.
const ATFTP: Profile = Profile {
    options: &[("tsize", Value::Is(0)), ("blksize", Value::Is(1428))],
    ports: LINUX_PORTS,
    asks: Resend::Table(&[5000; 6]),
    acks: Resend::Table(&[5000; 6]),
    oack_again: Answer::Die(0),
    old_block: Answer::AckOnce,
    gap: Answer::AckOnce,
    stranger: Stranger::CountAsTimeout,
    closed_port_answers: true,
    restart: Restart::Never,
    ..PLAIN
};

/// Its options are the user's. It says that it discards what a stranger sends, and takes it.
const TFTPY: Profile = Profile {
    options: &[("blksize", Value::Is(1428)), ("tsize", Value::Is(0))],
    ports: LINUX_PORTS,
    asks: Resend::Table(&[5000; 3]),
    acks: Resend::Table(&[5000; 3]),
    oack_again: Answer::Die(4),
    old_block: Answer::AckUpTo(20),
    gap: Answer::Abort,
    stranger: Stranger::Accept,
    closed_port_answers: true,
    restart: Restart::Never,
    ..PLAIN
};

/// How its kind treats copies is not known: here the last ACK is repeated and the timer runs on.
const OLD_ROM: Profile = PLAIN;

const OLD_ROM_NEW_PORTS: Profile = Profile {
    repeats_from_new_port: true,
    ..OLD_ROM
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
