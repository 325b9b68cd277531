//! The kinds of firmware by name; `roms`, `loaders` and `tools` hold one table for each.

use super::profile::Profile;
use super::{loaders, roms, tools};

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
    /// The loader of FreeBSD, and of illumos.
    FreeBsdLoader,
    /// The loader of NetBSD, and of OpenBSD.
    NetBsdLoader,
    /// tftp-hpa 5.2, several files in one session.
    TftpHpaSession,
    /// The Nortel 1110 telephone.
    Nortel1110,
    /// The ROM of TI's AM335x, as in the BeagleBone.
    Am335x,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 23] = [
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
        Kind::FreeBsdLoader,
        Kind::NetBsdLoader,
        Kind::TftpHpaSession,
        Kind::Nortel1110,
        Kind::Am335x,
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
            Kind::FreeBsdLoader => "FreeBSD loader",
            Kind::NetBsdLoader => "NetBSD loader",
            Kind::TftpHpaSession => "tftp-hpa session",
            Kind::Nortel1110 => "Nortel 1110",
            Kind::Am335x => "AM335x",
        }
    }

    /// Whose UDP it uses: shim calls edk2's, which goes on counting its ports.
    pub(super) fn network_stack(self) -> Kind {
        if self == Kind::Shim { Kind::Edk2 } else { self }
    }

    pub(super) fn profile(self) -> &'static Profile {
        match self {
            Kind::Ipxe => &roms::IPXE,
            Kind::Edk2 => &roms::EDK2,
            Kind::Shim => &roms::SHIM,
            Kind::UBoot => &roms::UBOOT,
            Kind::UBootLwip => &roms::UBOOT_LWIP,
            Kind::Grub => &loaders::GRUB,
            Kind::Pxelinux => &loaders::PXELINUX,
            Kind::Lpxelinux => &loaders::LPXELINUX,
            Kind::Busybox => &tools::BUSYBOX,
            Kind::Barebox => &roms::BAREBOX,
            Kind::RaspberryPi4 => &roms::RASPBERRY_PI_4,
            Kind::WindowsBootmgr => &loaders::WINDOWS_BOOTMGR,
            Kind::TftpHpa => &tools::TFTP_HPA,
            Kind::Curl => &tools::CURL,
            Kind::Atftp => &tools::ATFTP,
            Kind::Tftpy => &tools::TFTPY,
            Kind::OldRom => &roms::OLD_ROM,
            Kind::OldRomNewPorts => &roms::OLD_ROM_NEW_PORTS,
            Kind::FreeBsdLoader => &loaders::FREEBSD_LOADER,
            Kind::NetBsdLoader => &loaders::NETBSD_LOADER,
            Kind::TftpHpaSession => &tools::TFTP_HPA_SESSION,
            Kind::Nortel1110 => &roms::NORTEL_1110,
            Kind::Am335x => &roms::AM335X,
        }
    }
}
