//! One socket for all transfers: what every machine sends comes into one buffer, and where that is full, any of it is lost.
//! `TFTPD_TEST_PORTS=single` runs every world so; these are always.

use std::time::Duration;

use ripple_tftpd::firmware::{Chain, Kind};

use crate::random::Chance;
use crate::storms::{COUNTED_APART, ideal, ten_thousand, three_hundred_old_roms};
use crate::world::World;
use crate::{few_seeds, judge, judge_all, small_storm};

fn at_one_port(world: World) -> World {
    World {
        single_port: true,
        ..world
    }
}

#[test]
fn three_hundred_old_roms_through_100_megabit() {
    let world = |seed| at_one_port(three_hundred_old_roms(seed));
    judge_all(few_seeds(), world, |results| {
        ideal(results);
        assert_eq!(results.counts.unheard, 0, "{results}");
    });
}

#[test]
fn ten_thousand_machines_boot() {
    let world = |seed| at_one_port(ten_thousand(seed));
    judge_all(few_seeds(), world, |results| {
        results.all_booted_but(&COUNTED_APART);
        assert_eq!(results.counts.unheard, 0, "{results}");
    });
}

#[test]
fn every_kind_boots_in_peace() {
    let world = |seed| at_one_port(World::new("peace", seed).with_each(&Kind::ALL, 2, 20));
    judge(world, |results| {
        results.all_booted();
        assert!(results.overhead() <= 1.02, "{results}");
    });
}

/// Power cuts leave closed ports behind, which the shared socket hears of.
#[test]
fn machines_that_are_switched_off_and_on_behind_one_address_boot() {
    let world = |seed| World {
        reboots: Chance::per_mille(300),
        behind_one_address: 8,
        slots: 32,
        ..at_one_port(small_storm("power cuts, one address", seed))
    };
    judge(world, |results| {
        results.all_booted();
        assert!(results.power_cuts > 0, "{results}");
    });
}

/// What is lost is an ACK, a request or an ERROR of anybody.
#[test]
fn a_receive_buffer_that_overflows_ends_no_boot() {
    let chain = Chain::one_file("image", 256 << 10);
    let world = |seed| World {
        receive_buffer: Some(20),
        turn_takes: Duration::from_millis(1),
        ..at_one_port(World::new("a small receive buffer", seed))
            .with(Kind::Ipxe, 100, &chain)
            .with(Kind::OldRom, 100, &chain)
    };
    judge(world, |results| {
        results.all_booted();
        println!("{} packets found the buffer full", results.counts.unheard);
        assert!(results.counts.unheard > 300, "{results}");
    });
}
