//! Who boots what: chains of requests with the sizes of a Debian installer, and a mix of kinds as a
//! machine room might have it.

use std::time::Duration;

use ripple_tftpd::firmware::{Chain, Kind, Step};

use crate::world::World;

/// The boot that machines of this kind go through, about 50 MB of it.
pub(crate) fn chain(kind: Kind) -> Chain {
    match kind {
        Kind::Edk2 | Kind::Shim => secure_boot(),
        Kind::Pxelinux | Kind::Lpxelinux => pxelinux(),
        Kind::Grub => Chain::new(grub()),
        Kind::RaspberryPi4 => raspberry_pi(),
        Kind::WindowsBootmgr => windows(),
        Kind::UBoot | Kind::UBootLwip => u_boot(),
        Kind::Ipxe
        | Kind::Busybox
        | Kind::Barebox
        | Kind::TftpHpa
        | Kind::Curl
        | Kind::Atftp
        | Kind::Tftpy
        | Kind::OldRom
        | Kind::OldRomNewPorts => Chain::new(vec![
            Step::miss("autoexec.ipxe"),
            Step::file("boot.ipxe", 812).after(THINKS),
            Step::file("linux", LINUX).after(THINKS),
            Step::file("initrd.gz", INITRD).after(THINKS),
        ]),
    }
}

/// A configuration under nine wrong names and a right one, then kernel and initrd.
fn pxelinux() -> Chain {
    let mut steps = vec![Step::file("ldlinux.c32", 119_524)];
    let wrong = |digits: usize| Step::miss(&format!("pxelinux.cfg/{}", &"0A000001"[..digits]));
    steps.push(Step::miss("pxelinux.cfg/01-52-54-00-00-00-01").searched());
    steps.extend((1..=8).rev().map(|digits| wrong(digits).searched()));
    steps.push(Step::file("pxelinux.cfg/default", 1_204).searched());
    steps.push(Step::file("menu.c32", 26_228).after(THINKS));
    steps.push(Step::file("linux", LINUX).after(THINKS));
    steps.push(Step::file("initrd.gz", INITRD));
    Chain::new(steps)
}

/// UEFI loads shim, shim loads GRUB, GRUB loads the rest.
fn secure_boot() -> Chain {
    let mut steps = vec![
        Step::file("shimx64.efi", 1_048_504),
        Step::miss("revocations_sku.efi").by(Kind::Shim),
        Step::miss("revocations_sbat.efi").by(Kind::Shim),
        Step::file("grubx64.efi", 3_843_520).by(Kind::Shim),
    ];
    steps.extend(grub().into_iter().map(|step| step.by(Kind::Grub)));
    Chain::new(steps)
}

fn grub() -> Vec<Step> {
    let mut steps = vec![
        Step::miss("grub/x86_64-efi/command.lst"),
        Step::file("grub/grub.cfg", 2_310).after(THINKS),
    ];
    let module = |number: u64| Step::file(&format!("grub/module{number}.mod"), 700 * number);
    steps.extend((1..=12).map(module));
    steps.push(Step::file("linux", LINUX).after(THINKS));
    steps.push(Step::file("initrd.gz", INITRD));
    steps
}

fn raspberry_pi() -> Chain {
    Chain::new(vec![
        Step::miss("1a2b3c4d/start4.elf"),
        Step::file("config.txt", 1_710),
        Step::miss("recovery.elf"),
        Step::file("start4.elf", 2_249_280),
        Step::file("fixup4.dat", 5_399),
        Step::file("cmdline.txt", 112),
        Step::file("bcm2711-rpi-4-b.dtb", 52_600),
        Step::file("kernel8.img", 8_900_000).after(THINKS),
    ])
}

fn windows() -> Chain {
    Chain::new(vec![
        Step::file("boot/bootmgfw.efi", 1_560_000),
        Step::miss("boot/fonts/wgl4_boot.ttf"),
        Step::file("boot/BCD", 32_768).after(THINKS),
        Step::file("boot/boot.sdi", 3_170_304),
        Step::file("boot/boot.wim", 45_000_000).after(THINKS),
    ])
}

fn u_boot() -> Chain {
    Chain::new(vec![
        Step::miss("boot.scr.uimg"),
        Step::miss("pxelinux.cfg/default-arm-board").searched(),
        Step::file("pxelinux.cfg/default", 1_204).searched(),
        Step::file("linux", LINUX).after(THINKS),
        Step::file("initrd.gz", INITRD),
        Step::file("board.dtb", 61_000),
    ])
}

impl World {
    /// With `count` machines more, in the mix of a machine room; their files are `divisor` times
    /// smaller than in life.
    pub(crate) fn with_mix(self, count: usize, divisor: u64) -> World {
        let total: usize = MIX.iter().map(|&(_, parts)| parts).sum();
        let mut left = count;
        let mut world = self;
        for (place, &(kind, parts)) in MIX.iter().enumerate() {
            let share = match place + 1 == MIX.len() {
                true => left,
                false => left.min((count * parts).div_ceil(total)),
            };
            left -= share;
            if share > 0 {
                world = world.with(kind, share, &scaled(&chain(kind), divisor));
            }
        }
        world
    }

    /// With `count` machines more of each kind.
    pub(crate) fn with_each(self, kinds: &[Kind], count: usize, divisor: u64) -> World {
        let add = |world: World, &kind| world.with(kind, count, &scaled(&chain(kind), divisor));
        kinds.iter().fold(self, add)
    }
}

/// Machines whose boot is `divisor` times smaller, in files of their own.
pub(crate) fn scaled(chain: &Chain, divisor: u64) -> Chain {
    chain.scaled(divisor)
}

/// Parts of a machine room.
const MIX: [(Kind, usize); 10] = [
    (Kind::Edk2, 38),
    (Kind::Ipxe, 23),
    (Kind::Pxelinux, 10),
    (Kind::WindowsBootmgr, 8),
    (Kind::Lpxelinux, 5),
    (Kind::RaspberryPi4, 4),
    (Kind::UBoot, 4),
    (Kind::Grub, 3),
    (Kind::Barebox, 2),
    (Kind::OldRomNewPorts, 3),
];

const LINUX: u64 = 8_222_656;
const INITRD: u64 = 40_810_276;

/// Firmware does something with what it got.
const THINKS: Duration = Duration::from_millis(20);
