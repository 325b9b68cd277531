//! Machines that write: a thousand at night, and some beside a storm of machines that boot. Every one that was told so
//! has its file on the disk, byte for byte: the run looks.

use std::time::Duration;

use ripple_tftpd::firmware::{Chain, Kind, WriterKind};

use crate::link::Path;
use crate::measure::Results;
use crate::random::Chance;
use crate::world::{Arrival, FAST_ETHERNET, World};
use crate::{few_seeds, judge_all, run_ours, seeds};

/// At 02:00, through 32 slots.
#[test]
fn a_thousand_switches_save_their_configuration() {
    for seed in few_seeds() {
        let world = World {
            arrival: Arrival::Within(Duration::from_secs(1)),
            path: Path {
                loss: Chance::per_mille(20),
                ..Path::CLEAN
            },
            ..World::new("1,000 switches", seed).with_writers(WriterKind::Switch, 1000, 20_000)
        };
        let results = run_ours(&world);
        println!("{} packets of the server", results.counts.sent);
    }
}

#[test]
fn every_kind_that_writes_comes_through_loss_and_few_slots() {
    for seed in seeds() {
        let world = WriterKind::ALL.into_iter().fold(
            World {
                slots: 3,
                path: Path {
                    loss: Chance::per_mille(10),
                    ..Path::CLEAN
                },
                ..World::new("all kinds write", seed)
            },
            |world, kind| world.with_writers(kind, 6, 100_000),
        );
        run_ours(&world);
    }
}

/// The uploads take no more than their share.
#[test]
fn three_hundred_old_roms_boot_beside_twenty_uploads() {
    let chain = Chain::one_file("boot.img", 4 << 20);
    let world = |seed| World {
        uplink: FAST_ETHERNET,
        ..World::new("300 old ROMs and 20 uploads", seed)
            .with(Kind::OldRom, 300, &chain)
            .with_writers(WriterKind::Uboot, 20, 4 << 20)
    };
    judge_all(few_seeds(), world, Results::all_booted);
}
