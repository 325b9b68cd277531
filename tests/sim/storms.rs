//! Storms: many machines at once, up to the sizes that a release has to bear.
//!
//! Those that last longer than the patience of some firmware stand in `long`: silence loses them.

use std::time::Duration;

use ripple_tftpd::firmware::{Chain, Kind};

use crate::measure::Results;
use crate::run::run;
use crate::world::{Arrival, FAST_ETHERNET, GIGABIT, TEN_GIGABIT, World};
use crate::{judge, ours};

/// Files are so much smaller than in life, unless the full sizes are asked for.
fn divisor(usual: u64) -> u64 {
    match std::env::var_os("TFTPD_FULL") {
        Some(_) => 1,
        None => usual,
    }
}

/// Everybody boots at the first try, in the time that the files take and with hardly a packet more.
fn ideal(results: &Results) {
    results.all_booted();
    assert!(results.stretch() <= 1.05, "too slow: {results}");
    assert!(results.overhead() <= 1.02, "too many packets: {results}");
}

#[test]
fn ten_thousand_machines_boot() {
    let world = World {
        uplink: TEN_GIGABIT,
        arrival: Arrival::Within(Duration::from_secs(2)),
        ..World::new("10,000 machines", 1).with_mix(10_000, 200)
    };
    let results = run(&world, ours());
    println!("{}\n{results}", Results::HEAD);
    results.all_booted();
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

/// Longer than the patience of those who hear nothing.
mod long {
    use super::*;

    #[test]
    fn three_hundred_old_roms_through_100_megabit() {
        let chain = Chain::one_file("boot.img", 4 << 20);
        let world = World {
            uplink: FAST_ETHERNET,
            ..World::new("300 old ROMs", 1).with(Kind::OldRom, 300, &chain)
        };
        let results = run(&world, ours());
        println!("{}\n{results}", Results::HEAD);
        ideal(&results);
    }

    #[test]
    fn three_hundred_old_roms_that_change_ports_through_100_megabit() {
        let chain = Chain::one_file("boot.img", 4 << 20);
        let world = World {
            uplink: FAST_ETHERNET,
            ..World::new("300 old ROMs, new ports", 1).with(Kind::OldRomNewPorts, 300, &chain)
        };
        let results = run(&world, ours());
        println!("{}\n{results}", Results::HEAD);
        ideal(&results);
    }

    #[test]
    fn a_thousand_mixed_boots_through_a_gigabit() {
        let world = World {
            uplink: GIGABIT,
            arrival: Arrival::Within(Duration::from_secs(1)),
            budget: Duration::from_secs(3600),
            ..World::new("1,000 mixed boots", 1).with_mix(1000, divisor(16))
        };
        let results = run(&world, ours());
        println!("{}\n{results}\n{:?}", Results::HEAD, results.failed);
        ideal(&results);
    }

    #[test]
    fn ten_thousand_machines_through_a_gigabit() {
        let world = World {
            uplink: GIGABIT,
            arrival: Arrival::Within(Duration::from_secs(30)),
            ..World::new("10,000 through 1 Gbit/s", 1).with_mix(10_000, 100)
        };
        let results = run(&world, ours());
        println!("{}\n{results}\n{:?}", Results::HEAD, results.failed);
        results.all_booted();
    }
}
