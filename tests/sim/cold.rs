//! Nothing of the files is in the server's memory: it was switched on with its clients.

use std::time::Duration;

use ripple_tftpd::firmware::{Chain, Kind};

use crate::disk::Drive;
use crate::link::Capacity;
use crate::measure::Results;
use crate::policies::{Other, POLICIES};
use crate::run::run;
use crate::world::{GIGABIT, TEN_GIGABIT, World};
use crate::{few_seeds, judge_all, run_ours};

/// Machines of different patience, window and block size, which ask for three files.
fn five_hundred(seed: u64, drive: Drive, uplink: Capacity, size: u64) -> World {
    let kinds = [
        Kind::Ipxe,
        Kind::Edk2,
        Kind::Pxelinux,
        Kind::WindowsBootmgr,
        Kind::OldRom,
    ];
    let chain = |number: usize| Chain::one_file(&format!("image-{}", number % 3), size);
    let world = World {
        uplink,
        disk: Some(drive),
        ..World::new("500 machines, three cold files", seed)
    };
    let groups = kinds.into_iter().cycle().take(15).enumerate();
    groups.fold(world, |world, (number, kind)| {
        let count = if number < 5 { 34 } else { 33 };
        world.with(kind, count, &chain(number))
    })
}

fn as_fast_as_can_be(results: &Results, drive: Drive, size: u64) {
    results.all_booted();
    let most = drive.time_for(3, size);
    assert!(results.counts.disk_busy <= most, "read twice: {results}");
    assert!(results.stretch() <= 1.05, "{results}");
    assert!(results.overhead() <= 1.02, "{results}");
}

/// A card, or a disk at the other end of a slow network.
#[test]
fn a_cold_disk_that_is_slower_than_the_link_is_read_at_its_rate() {
    let drive = Drive {
        rate: 5_000_000,
        seek: Duration::from_millis(10),
    };
    let size = 4_000_000;
    let world = |seed| World {
        slots: 128,
        ..five_hundred(seed, drive, TEN_GIGABIT, size)
    };
    judge_all(few_seeds(), world, |results| {
        as_fast_as_can_be(results, drive, size);
    });
}

#[test]
fn a_cold_disk_that_is_faster_than_the_link_costs_nothing() {
    let drive = Drive {
        rate: 100_000_000,
        seek: Duration::from_millis(8),
    };
    let size = 1_000_000;
    let world = |seed| five_hundred(seed, drive, GIGABIT, size);
    judge_all(few_seeds(), world, |results| {
        as_fast_as_can_be(results, drive, size);
    });
}

/// The other servers stand still while a page is read, and all their clients with them.
#[test]
fn a_server_that_stands_still_for_each_page_is_slower() {
    let drive = Drive {
        rate: 5_000_000,
        seek: Duration::from_millis(10),
    };
    let world = World {
        slots: 128,
        ..five_hundred(1, drive, TEN_GIGABIT, 2_000_000)
    };
    let ours = run_ours(&world);
    println!("{}\n{ours}", Results::HEAD);
    let compared = ["no cap", "cap 32, silent FIFO"];
    for policy in POLICIES
        .into_iter()
        .filter(|it| compared.contains(&it.name))
    {
        let other = run(&world, Other::new(policy));
        println!("{other}");
        assert!(ours.lost() <= other.lost(), "{ours}\n{other}");
        let as_many = ours.booted <= other.booted;
        assert!(
            !as_many || ours.makespan < other.makespan,
            "{ours}\n{other}"
        );
    }
}
