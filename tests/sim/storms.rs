//! Storms: many machines at once, up to the sizes that a release has to bear.
//!
//! Most of them last longer than the patience of firmware that hears nothing.

use std::time::Duration;

use ripple_tftpd::firmware::{Chain, Kind};

use crate::link::{Capacity, Path};
use crate::measure::Results;
use crate::random::Chance;
use crate::table;
use crate::world::{Arrival, FAST_ETHERNET, GIGABIT, TEN_GIGABIT, World};
use crate::{
    few_seeds, is_full, judge, judge_all, kinds_that_bear_loss, run_ours, seeds, small_storm,
};

/// It allows 30 s for a whole file, waiting included.
pub(crate) const COUNTED_APART: [Kind; 1] = [Kind::RaspberryPi4];

/// Everybody boots at the first try, in the time that the files take and with hardly a packet more.
///
/// The time is that which the uplink needs for the files, or the last machine to be switched on.
pub(crate) fn ideal(results: &Results) {
    results.all_booted_but(&COUNTED_APART);
    assert!(results.stretch() <= 1.05, "too slow: {results}");
    assert!(results.overhead() <= 1.02, "too many packets: {results}");
}

#[test]
fn ten_thousand_machines_boot() {
    judge_all(few_seeds(), ten_thousand, |results| {
        results.all_booted_but(&COUNTED_APART)
    });
}

pub(crate) fn ten_thousand(seed: u64) -> World {
    World {
        uplink: TEN_GIGABIT,
        arrival: Arrival::Within(Duration::from_secs(2)),
        ..World::new("10,000 machines", seed).with_mix(10_000, 200)
    }
}

/// Loss ends no boot in a storm that it would not have ended on an idle server.
#[test]
fn loss_costs_no_boot_that_an_idle_server_would_have_had() {
    for per_mille in [10, 50] {
        let world = |seed, arrival| World {
            path: Path {
                loss: Chance::per_mille(per_mille),
                ..Path::CLEAN
            },
            arrival,
            budget: Duration::from_secs(36_000),
            ..World::new("loss", seed).with_each(&kinds_that_bear_loss(), 6, 200)
        };
        let mut lost = [(0, 0); Kind::ALL.len()];
        for seed in seeds() {
            let alone = Arrival::Staggered(Duration::from_secs(60));
            let idle = run_ours(&world(seed, alone));
            let storm = run_ours(&world(seed, Arrival::AtOnce));
            for (kind, lost) in Kind::ALL.into_iter().zip(&mut lost) {
                lost.0 += idle.lost_of(kind);
                lost.1 += storm.lost_of(kind);
            }
        }
        println!("loss {per_mille} per mille, lost on an idle server and in a storm:");
        for (kind, (idle, storm)) in Kind::ALL.into_iter().zip(lost) {
            println!("  {:20} {idle:4} {storm:4}", kind.name());
        }
        for (kind, (idle, storm)) in Kind::ALL.into_iter().zip(lost) {
            // Chance falls differently in the two worlds: three standard deviations are allowed.
            let more = storm.saturating_sub(idle);
            assert!(
                more.pow(2) <= 9 * (idle + storm),
                "{per_mille} per mille: {} loses {storm}, idle {idle}",
                kind.name()
            );
        }
    }
}

#[test]
fn a_thousand_at_the_same_moment_are_heard() {
    let chain = Chain::one_file("small", 100_000);
    let world = |seed| World {
        arrival: Arrival::AtOnce,
        ..World::new("1,000 at once", seed).with(Kind::Ipxe, 1000, &chain)
    };
    judge(world, |results| {
        results.all_booted();
        assert_eq!(results.counts.unheard, 0, "{results}");
    });
}

#[test]
fn machines_that_are_switched_off_and_on_do_not_keep_their_slots() {
    let world = |seed| World {
        reboots: Chance::per_mille(300),
        slots: 3,
        ..small_storm("power cuts, few slots", seed)
    };
    judge(world, Results::all_booted);
}

#[test]
fn machines_that_vanish_do_not_keep_their_slots() {
    let world = |seed| World {
        vanishes: Chance::per_mille(300),
        slots: 3,
        ..small_storm("vanishing, few slots", seed)
    };
    judge(world, Results::all_booted);
}

#[test]
fn three_hundred_old_roms_through_100_megabit() {
    judge_all(few_seeds(), three_hundred_old_roms, ideal);
}

pub(crate) fn three_hundred_old_roms(seed: u64) -> World {
    let chain = Chain::one_file("boot.img", 4 << 20);
    World {
        uplink: FAST_ETHERNET,
        ..World::new("300 old ROMs", seed).with(Kind::OldRom, 300, &chain)
    }
}

#[test]
fn three_hundred_old_roms_that_change_ports_through_100_megabit() {
    let chain = Chain::one_file("boot.img", 4 << 20);
    let world = |seed| World {
        uplink: FAST_ETHERNET,
        ..World::new("300 old ROMs, new ports", seed).with(Kind::OldRomNewPorts, 300, &chain)
    };
    judge_all(few_seeds(), world, ideal);
}

/// They expect a first answer within 2 s: `--hold` is shorter than that.
#[test]
fn three_hundred_phones_without_patience_through_100_megabit() {
    let chain = Chain::one_file("1110/firmware.bin", 1 << 20);
    let world = |seed| World {
        uplink: FAST_ETHERNET,
        arrival: Arrival::AtOnce,
        ..World::new("300 Nortel 1110", seed).with(Kind::Nortel1110, 300, &chain)
    };
    judge_all(few_seeds(), world, ideal);
}

/// It asks five times, a second apart, and allows 60 s for a whole file.
#[test]
fn three_hundred_beaglebones_through_100_megabit() {
    let world = |seed| World {
        uplink: FAST_ETHERNET,
        ..World::new("300 AM335x", seed).with_each(&[Kind::Am335x], 300, 10)
    };
    judge_all(few_seeds(), world, ideal);
}

#[test]
fn a_thousand_mixed_boots_of_50_megabytes() {
    if !is_full() {
        // The same shape at a tenth of the size: a tenth of the bytes through a tenth of the rate.
        return ideal(table::ours("1,000 mixed boots x 5 MB, 100 Mbit/s"));
    }
    let world = |seed| World {
        uplink: GIGABIT,
        budget: Duration::from_secs(3600),
        ..World::new("1,000 mixed boots", seed).with_mix(1000, 1)
    };
    judge_all(few_seeds(), world, ideal);
}

/// It takes longer than most firmware waits in silence, so everybody must be in the queue.
fn storm_of_a_minute(seed: u64, machines: usize, uplink: Capacity) -> World {
    World {
        uplink,
        arrival: Arrival::Within(Duration::from_secs(5)),
        ..World::new("a storm of a minute", seed).with_mix(machines, 100)
    }
}

#[test]
fn ten_thousand_machines_through_a_gigabit() {
    let world = |seed| storm_of_a_minute(seed, 10_000, GIGABIT);
    judge_all(few_seeds(), world, |results| {
        results.all_booted_but(&COUNTED_APART)
    });
}

/// With a queue of 4,096, 6,191 of them booted.
#[test]
fn ten_thousand_ipxe_at_once_boot_with_the_default_queue() {
    // Else a tenth of the bytes through a tenth of the rate.
    let (uplink, size) = match is_full() {
        true => (GIGABIT, 1_000_000),
        false => (FAST_ETHERNET, 100_000),
    };
    let chain = Chain::one_file("boot.img", size);
    let world = |seed| World {
        uplink,
        arrival: Arrival::AtOnce,
        ..World::new("10,000 iPXE at once", seed).with(Kind::Ipxe, 10_000, &chain)
    };
    judge_all(1..=1, world, |results| {
        ideal(results);
        assert_eq!(results.counts.unheard, 0, "{results}");
    });
}

/// None is lost for want of a place.
#[test]
fn twenty_thousand_at_the_same_moment_are_heard() {
    let chain = Chain::one_file("small", 100_000);
    let world = |seed| World {
        arrival: Arrival::AtOnce,
        ..World::new("20,000 at once", seed).with(Kind::Ipxe, 20_000, &chain)
    };
    judge_all(1..=1, world, |results| {
        results.all_booted();
        assert_eq!(results.counts.unheard, 0, "{results}");
    });
}

/// A machine that finds no place in the queue is not heard and may give up. Those who did find one boot all the same.
#[test]
fn a_queue_that_is_too_short_boots_those_it_holds() {
    // Else a tenth of the machines through a tenth of the rate.
    let (machines, uplink, queue) = match is_full() {
        true => (10_000, GIGABIT, 4096),
        false => (1_000, FAST_ETHERNET, 410),
    };
    let world = |seed| World {
        name: "a queue that is too short",
        queue,
        ..storm_of_a_minute(seed, machines, uplink)
    };
    judge_all(few_seeds(), world, |results| {
        let holds = world(results.seed);
        assert!(results.booted >= holds.slots + holds.queue, "{results}");
        assert!(results.lost() > 0, "that is enough: {results}");
    });
}
