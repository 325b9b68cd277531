//! Who boots in a world: kinds of machines in the mix that a machine room might have, with the files of
//! their usual boots.

use ripple_tftpd::firmware::{Chain, Kind, Step};

use crate::world::World;

impl World {
    /// With `count` machines more, in the mix of a machine room; their files are `divisor` times
    /// smaller than in life.
    pub(crate) fn with_mix(self, count: usize, divisor: u64) -> World {
        let total: usize = MIX.iter().map(|&(_, parts)| parts).sum();
        let mut left = count;
        let mut world = self;
        for &(kind, parts) in &MIX {
            let share = left.min((count * parts).div_ceil(total));
            left -= share;
            if share > 0 {
                world = world.with(kind, share, &chain(kind, divisor));
            }
        }
        world
    }

    /// With `count` machines more of each kind.
    pub(crate) fn with_each(self, kinds: &[Kind], count: usize, divisor: u64) -> World {
        let add = |world: World, &kind| world.with(kind, count, &chain(kind, divisor));
        kinds.iter().fold(self, add)
    }
}

/// A kind's usual boot with files that are `divisor` times smaller, in a directory of its own: some
/// boots have files of the same name.
fn chain(kind: Kind, divisor: u64) -> Chain {
    let usual = Chain::usual(kind);
    let smaller = match kind {
        // The image of Windows would be most of the traffic, and boots are to be of one size.
        Kind::WindowsBootmgr => usual.scaled(5 * divisor),
        _ => usual.scaled(divisor),
    };
    let directory = kind.name().replace(' ', "-");
    let step = |step: &Step| Step {
        name: format!("{directory}/{}", step.name).into(),
        ..step.clone()
    };
    Chain::new(smaller.steps().iter().map(step).collect())
}

/// Parts of a machine room; rounding is at the expense of the last ones.
const MIX: [(Kind, usize); 10] = [
    (Kind::Edk2, 36),
    (Kind::Ipxe, 22),
    (Kind::Pxelinux, 10),
    (Kind::WindowsBootmgr, 8),
    (Kind::Lpxelinux, 5),
    (Kind::RaspberryPi4, 5),
    (Kind::UBoot, 4),
    (Kind::Barebox, 4),
    (Kind::OldRomNewPorts, 3),
    (Kind::OldRom, 3),
];
