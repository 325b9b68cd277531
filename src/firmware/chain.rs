//! What a boot consists of: requests, one after the other.
//!
//! The built-in chains hold the requests, misses and sizes that were measured with real firmware.
//! Size probes and first looks are not steps: whether a file is opened once or twice is the firmware's
//! way (`profile::Before`). The boots of the BSD loaders, of the AM335x and of tftp-hpa's session were not
//! measured: their files and sizes are typical ones.

use std::sync::Arc;
use std::time::Duration;

use super::Kind;

/// The requests of one boot, in order. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Chain {
    steps: Arc<[Step]>,
}

/// One file that a machine asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The name in the request.
    pub name: Box<str>,
    /// The file's length in bytes; `None` where the server has no such file.
    pub size: Option<u64>,
    /// What the machine does without it.
    pub role: Role,
    /// How long the machine is busy before it asks, at least; at most half as long again.
    pub think: Duration,
    /// The program that fetches it, where that is not the machine's own kind.
    pub by: Option<Kind>,
    /// With this many bytes, or with all if there are fewer, the program goes back and reads the file again
    /// from its start.
    pub seeks_back_after: Option<u64>,
}

/// What a machine does when it cannot get a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// The boot fails.
    Required,
    /// It goes on with the next step.
    Optional,
    /// One of several names that follow each other, tried until one is there; the others are skipped.
    /// Without any of them the boot fails.
    Search,
}

impl Chain {
    /// A boot of these steps.
    ///
    /// # Panics
    /// If a name is longer than [`NAME_MAX`].
    pub fn new(steps: Vec<Step>) -> Chain {
        assert!(steps.iter().all(|step| step.name.len() <= NAME_MAX));
        Chain {
            steps: steps.into(),
        }
    }

    /// One file, and nothing else.
    pub fn one_file(name: &str, size: u64) -> Chain {
        Chain::new(vec![Step::file(name, size)])
    }

    /// The boot that is usual for a kind.
    pub fn usual(kind: Kind) -> Chain {
        match kind {
            Kind::Ipxe => Chain::ipxe(),
            Kind::Edk2 | Kind::Shim | Kind::Grub => Chain::uefi(),
            Kind::Pxelinux => Chain::pxelinux(),
            Kind::Lpxelinux => Chain::lpxelinux(),
            Kind::UBoot | Kind::UBootLwip => Chain::uboot(),
            Kind::RaspberryPi4 => Chain::raspberry_pi_4(),
            Kind::WindowsBootmgr => Chain::windows(),
            Kind::Busybox | Kind::Barebox => {
                Chain::new(vec![amd64_kernel(), amd64_initrd().after(NEXT)])
            }
            Kind::TftpHpa
            | Kind::Curl
            | Kind::Atftp
            | Kind::Tftpy
            | Kind::OldRom
            | Kind::OldRomNewPorts => Chain::one_file("image", 4 << 20),
            Kind::FreeBsdLoader => Chain::freebsd(),
            Kind::NetBsdLoader => Chain::netbsd(),
            Kind::TftpHpaSession => Chain::session(),
            Kind::Nortel1110 => Chain::one_file("1110/firmware.bin", 1 << 20),
            Kind::Am335x => Chain::am335x(),
        }
    }

    /// BIOS: a PXE ROM fetches iPXE, which fetches a script, a kernel and an initrd.
    pub fn ipxe() -> Chain {
        Chain::new(vec![
            Step::file("undionly.kpxe", 74_213).by(Kind::OldRom),
            Step::file("boot.ipxe", 420).after(START).by(Kind::Ipxe),
            amd64_kernel().after(NEXT).by(Kind::Ipxe),
            amd64_initrd().after(NEXT).by(Kind::Ipxe),
        ])
    }

    /// BIOS: a ROM (iPXE, where this was measured) fetches PXELINUX, which finds its configuration
    /// under the tenth name.
    pub fn pxelinux() -> Chain {
        Chain::with_pxelinux("pxelinux.0", 42_430, Kind::Pxelinux)
    }

    /// The same with the variant that has one port for everything.
    pub fn lpxelinux() -> Chain {
        Chain::with_pxelinux("lpxelinux.0", 75_072, Kind::Lpxelinux)
    }

    fn with_pxelinux(program: &str, size: u64, kind: Kind) -> Chain {
        let mut steps = vec![
            Step::file(program, size).by(Kind::Ipxe),
            Step::file("ldlinux.c32", 119_524).after(START),
        ];
        steps.extend(searched_configuration("pxelinux.cfg/", &["default"], 350));
        steps.push(amd64_kernel().after(READ_MENU));
        steps.push(amd64_initrd().after(NEXT));
        Chain::by(kind, steps)
    }

    /// BIOS: a ROM fetches GRUB, which fetches its modules one by one.
    pub fn grub_bios() -> Chain {
        let mut steps = vec![
            Step::file("grub/i386-pc/core.0", 49_900).by(Kind::Ipxe),
            Step::file("grub/i386-pc/normal.mod", 115_096).after(START),
        ];
        let lists = ["command.lst", "fs.lst", "crypto.lst", "terminal.lst"];
        let modules = [
            "extcmd.mod",
            "gettext.mod",
            "boot.mod",
            "bufio.mod",
            "gzio.mod",
            "linux.mod",
            "linux16.mod",
            "mmap.mod",
            "relocator.mod",
            "video.mod",
            "vbe.mod",
            "video_fb.mod",
            "test.mod",
        ];
        let small = lists.map(|name| (name, 1_900)).into_iter();
        for (name, size) in small.chain(modules.map(|name| (name, 9_800))) {
            steps.push(Step::file(&format!("grub/i386-pc/{name}"), size).after(NEXT));
        }
        steps.extend(searched_configuration("grub/grub.cfg-", &[], 0));
        steps.push(
            Step::file("grub/grub.cfg", 900)
                .searched()
                .after(BACK_TO_BACK),
        );
        steps.push(amd64_kernel().after(READ_MENU));
        steps.push(amd64_initrd().after(NEXT));
        Chain::by(Kind::Grub, steps)
    }

    /// UEFI Secure Boot: the firmware fetches shim, shim fetches GRUB, GRUB the rest.
    pub fn uefi() -> Chain {
        let grub = |name: &str, size| Step::file(name, size).after(NEXT).by(Kind::Grub);
        let miss = |name: &str| Step::miss(name).after(NEXT).by(Kind::Shim);
        Chain::new(vec![
            Step::file("shimx64.efi", 1_048_504).by(Kind::Edk2),
            miss("revocations_sku.efi").after(START),
            miss("revocations_sbat.efi"),
            miss("shim_certificate_0.efi"),
            Step::file("grubx64.efi", 3_843_520)
                .after(NEXT)
                .by(Kind::Shim),
            grub("grub/x86_64-efi/command.lst", 3_900).after(START),
            grub("grub/x86_64-efi/fs.lst", 220),
            grub("grub/x86_64-efi/crypto.lst", 930),
            grub("grub/x86_64-efi/terminal.lst", 160),
            grub("grub/x86_64-efi/grub.cfg", 900),
            amd64_kernel().after(READ_MENU).by(Kind::Grub),
            amd64_initrd().after(NEXT).by(Kind::Grub),
        ])
    }

    /// Arm: a boot script that is not there, then `pxe get` with its thirteen misses, and what `default`
    /// names.
    pub fn uboot() -> Chain {
        let defaults = [
            "default-arm-qemu-arm",
            "default-arm-qemu",
            "default-arm",
            "default",
        ];
        let mut steps = vec![Step::miss("boot.scr.uimg")];
        steps.push(
            Step::miss("pxelinux.cfg/0d0aa0a1-7a2d-4c0c-9c7e-1f5e8c2b6a10")
                .searched()
                .after(NEXT),
        );
        steps.extend(searched_configuration("pxelinux.cfg/", &defaults, 480));
        steps.push(Step::file("debian/arm64/linux", 32_956_352).after(NEXT));
        steps.push(Step::file("debian/arm64/initrd.gz", 40_147_331).after(NEXT));
        Chain::new(steps)
    }

    /// The EEPROM's loader, then start4.elf.
    pub fn raspberry_pi_4() -> Chain {
        let file = |name: &str, size| Step::file(name, size).after(NEXT);
        let miss = |name: &str| Step::miss(name).after(NEXT);
        Chain::new(vec![
            Step::miss("9ffefdef/start4.elf"),
            miss("9ffefdef/start.elf"),
            file("config.txt", 1_850),
            miss("pieeprom.sig"),
            miss("recover4.elf"),
            miss("recovery.elf"),
            file("start4.elf", 2_249_280),
            file("fixup4.dat", 5_399),
            file("config.txt", 1_850).after(START),
            miss("dt-blob.bin"),
            miss("bootcfg.txt"),
            file("cmdline.txt", 160),
            file("bcm2711-rpi-4-b.dtb", 52_000),
            miss("overlays/overlay_map.dtb"),
            file("kernel8.img", 8_000_000),
            file("initramfs8", 10_000_000),
        ])
    }

    /// UEFI: the firmware fetches the boot manager, which fetches a Windows PE image.
    pub fn windows() -> Chain {
        let file = |name: &str, size| Step::file(name, size).after(NEXT);
        Chain::new(vec![
            Step::file("boot/x64/wdsmgfw.efi", 1_380_000).by(Kind::Edk2),
            Step::file("boot/x64/bootmgfw.efi", 1_610_000)
                .after(START)
                .by(Kind::Edk2),
            file("boot/x64/default.bcd", 24_576).after(START),
            Step::miss("hiberfil.sys").after(NEXT),
            file("boot/fonts/wgl4_boot.ttf", 49_092),
            Step::miss("boot/fonts/segoe_slboot.ttf").after(NEXT),
            file("boot/boot.sdi", 3_170_304).after(READ_MENU),
            file("boot/images/boot.wim", 258_000_000),
        ])
    }

    /// BIOS: a ROM fetches `pxeboot`, which looks for many small files, and for a kernel and modules whose
    /// tables stand at their ends.
    pub fn freebsd() -> Chain {
        let file = |name: &str, size| Step::file(name, size).after(NEXT);
        let miss = |name: &str| Step::miss(name).after(NEXT);
        let module = |name: &str, size: u64| file(name, size).seeking_back_after(size / 2);
        let mut steps = vec![
            Step::file("boot/pxeboot", 400_000).by(Kind::OldRom),
            Step::file("boot/lua/loader.lua", 4_000).after(START),
        ];
        let scripts = [
            "cli", "core", "color", "config", "drawer", "hook", "menu", "screen",
        ];
        steps.extend(scripts.map(|name| file(&format!("boot/lua/{name}.lua"), 9_000)));
        steps.extend([
            file("boot/defaults/loader.conf", 15_000),
            file("boot/device.hints", 1_000),
            file("boot/loader.conf", 300),
            miss("boot/loader.conf.local"),
            miss("boot/kernel/kernel.gz"),
            file("boot/kernel/kernel", 30_000_000)
                .after(READ_MENU)
                .seeking_back_after(TO_THE_END),
            miss("boot/kernel/if_bridge.ko.gz"),
            module("boot/kernel/if_bridge.ko", 90_000),
            module("boot/kernel/nullfs.ko", 40_000),
            file("mfsroot.gz", 30_000_000),
        ]);
        Chain::by(Kind::FreeBsdLoader, steps)
    }

    /// The same with NetBSD's loader, whose kernel is packed and so read in one go.
    pub fn netbsd() -> Chain {
        let steps = vec![
            Step::file("pxeboot_ia32.bin", 60_000).by(Kind::OldRom),
            Step::file("boot.cfg", 700).after(START),
            Step::miss("netbsd.old").after(NEXT),
            Step::file("netbsd", 20_000_000)
                .after(READ_MENU)
                .seeking_back_after(TO_THE_END),
            Step::file("miniroot.kmod", 8_000_000)
                .after(NEXT)
                .seeking_back_after(4_000_000),
        ];
        Chain::by(Kind::NetBsdLoader, steps)
    }

    /// One file ten times, then that and another in turn.
    pub fn session() -> Chain {
        let mut steps = vec![Step::file("small", 700); 10];
        for _ in 0..5 {
            steps.push(Step::file("other", 3_000));
            steps.push(Step::file("small", 700));
        }
        Chain::new(steps)
    }

    /// A BeagleBone: its ROM fetches U-Boot's first part, which fetches the rest.
    pub fn am335x() -> Chain {
        let file = |name: &str, size| Step::file(name, size).after(NEXT).by(Kind::UBoot);
        Chain::new(vec![
            Step::file("u-boot-spl.bin", 105_000).by(Kind::Am335x),
            file("u-boot.img", 1_000_000).after(START),
            Step::miss("uEnv.txt").after(START).by(Kind::UBoot),
            file("zImage", 9_000_000),
            file("am335x-boneblack.dtb", 65_000),
        ])
    }

    /// Files that this program fetches, where no other is named.
    fn by(kind: Kind, steps: Vec<Step>) -> Chain {
        let steps = steps.into_iter().map(|step| step.by_default(kind));
        Chain::new(steps.collect())
    }

    /// The steps in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The same requests for files that are `divisor` times smaller, rounded up.
    pub fn scaled(&self, divisor: u64) -> Chain {
        let smaller = |step: &Step| Step {
            size: step.size.map(|size| size.div_ceil(divisor)),
            seeks_back_after: step.seeks_back_after.map(|bytes| bytes.div_ceil(divisor)),
            ..step.clone()
        };
        Chain::new(self.steps.iter().map(smaller).collect())
    }

    /// Bytes of all files that are there.
    pub fn bytes(&self) -> u64 {
        self.steps.iter().filter_map(|step| step.size).sum()
    }
}

impl Step {
    /// A file that is there and needed, asked for at once.
    pub fn file(name: &str, size: u64) -> Step {
        Step {
            name: name.into(),
            size: Some(size),
            role: Role::Required,
            think: Duration::ZERO,
            by: None,
            seeks_back_after: None,
        }
    }

    /// A name that the server does not have, and that the machine does without.
    pub fn miss(name: &str) -> Step {
        Step {
            size: None,
            role: Role::Optional,
            ..Step::file(name, 0)
        }
    }

    /// The same, as one of several names to try.
    #[must_use]
    pub fn searched(self) -> Step {
        Step {
            role: Role::Search,
            ..self
        }
    }

    /// The same, after a pause.
    #[must_use]
    pub fn after(self, think: Duration) -> Step {
        Step { think, ..self }
    }

    /// The same, begun anew after this many bytes.
    #[must_use]
    pub fn seeking_back_after(self, bytes: u64) -> Step {
        Step {
            seeks_back_after: Some(bytes),
            ..self
        }
    }

    /// The same, fetched by this program.
    #[must_use]
    pub fn by(self, kind: Kind) -> Step {
        Step {
            by: Some(kind),
            ..self
        }
    }

    /// The same, fetched by this program unless another was named.
    fn by_default(self, kind: Kind) -> Step {
        Step {
            by: self.by.or(Some(kind)),
            ..self
        }
    }
}

/// The names that come from the machine's addresses, none of which is there, then further ones, the last
/// of which is.
fn searched_configuration(prefix: &str, others: &[&str], size: u64) -> Vec<Step> {
    const ADDRESS: &str = "C0A80A2B";
    let own = ["01-52-54-00-12-34-56".to_owned()];
    let shorter = (1..=ADDRESS.len())
        .rev()
        .map(|length| ADDRESS[..length].to_owned());
    let names = own
        .into_iter()
        .chain(shorter)
        .chain(others.iter().map(|&name| name.to_owned()));
    let mut steps: Vec<Step> = names
        .map(|name| {
            Step::miss(&format!("{prefix}{name}"))
                .searched()
                .after(BACK_TO_BACK)
        })
        .collect();
    if let (Some(last), false) = (steps.last_mut(), others.is_empty()) {
        last.size = Some(size);
    }
    steps
}

/// The kernel of the Debian 12 installer.
fn amd64_kernel() -> Step {
    Step::file("debian/amd64/linux", 8_222_656)
}

/// Its text-mode initrd.
fn amd64_initrd() -> Step {
    Step::file("debian/amd64/initrd.gz", 40_810_276)
}

/// Between two names of a search; firmware sends them less than 20 ms apart.
const BACK_TO_BACK: Duration = Duration::from_micros(500);

/// Between two files of one program.
const NEXT: Duration = Duration::from_millis(2);

/// From the end of a menu's configuration to the kernel.
const READ_MENU: Duration = Duration::from_millis(50);

/// A program that was just loaded sets up the network for itself.
const START: Duration = Duration::from_millis(300);

/// More bytes than any file has, scaled or not.
const TO_THE_END: u64 = u64::MAX;

/// The longest name that fits a machine's request.
pub const NAME_MAX: usize = 128;
