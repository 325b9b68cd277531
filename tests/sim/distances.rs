//! Machines at different distances: those far away keep their slots and the link from nobody, and lose
//! nothing by it.

use std::time::Duration;

use ripple_tftpd::firmware::{Chain, Kind};

use crate::link::Path;
use crate::measure::{Results, Spread};
use crate::world::{Arrival, FAST_ETHERNET, World, is_single_port};
use crate::{few_seeds, run_ours};

/// As far as from one end of a building to the other: 0.3 ms there and back.
const NEAR: Path = Path {
    latency: Duration::from_micros(150),
    ..Path::CLEAN
};

fn site(name: &'static str, seed: u64) -> World {
    World {
        uplink: FAST_ETHERNET,
        path: NEAR,
        arrival: Arrival::Within(Duration::from_millis(300)),
        budget: Duration::from_secs(3600),
        ..World::new(name, seed)
    }
}

/// This many machines with this round trip, who come first.
fn with_far(world: World, count: usize, round_trip: Duration) -> World {
    let files = Chain::one_file("far", 128 << 10 | 1);
    world
        .with(Kind::Ipxe, count, &files)
        .at_distance(round_trip / 2)
}

/// 200 machines next door, who come when those far away have all slots.
fn with_near(world: World) -> World {
    let files = Chain::one_file("near", 1 << 20);
    let later = Duration::from_secs(3);
    world.with(Kind::Ipxe, 200, &files).later(later)
}

/// Both together, and each alone.
fn compare(seed: u64, far: usize, round_trip: Duration, single_port: bool) -> [Results; 3] {
    let world = |name| World {
        single_port,
        ..site(name, seed)
    };
    [
        with_near(with_far(world("two distances"), far, round_trip)),
        with_near(world("the near alone")),
        with_far(world("the far alone"), far, round_trip),
    ]
    .map(|world| run_ours(&world))
}

fn is_hardly_more(together: Spread, alone: Spread, percent: u32) -> bool {
    let bound = |time: Duration| time + time * percent / 100;
    together.half <= bound(alone.half) && together.most <= bound(alone.most)
}

/// Prints how long the near ones and those far away took, and each alone.
fn tell(label: &str, [together, near, far]: &[Results; 3]) {
    let half_and_all = |it: &Results, group: usize| {
        let spread = it.boot_time_of[group];
        format!("{:.2?} {:.2?}", spread.half, spread.most)
    };
    println!(
        "{label}: near {}, alone {}; far {}, alone {}; sent/needed {:.3}",
        half_and_all(together, 1),
        half_and_all(near, 0),
        half_and_all(together, 0),
        half_and_all(far, 0),
        together.overhead()
    );
}

fn far_ones_keep_nothing_from_near_ones(round_trip: Duration, single_port: bool) {
    for seed in few_seeds() {
        let results = compare(seed, 32, round_trip, single_port);
        tell(&format!("{round_trip:?}"), &results);
        let [together, near, far] = results;
        together.all_booted();
        let (near_beside, far_beside) = (together.boot_time_of[1], together.boot_time_of[0]);
        assert!(is_hardly_more(near_beside, near.boot_time_of[0], 5));
        assert!(is_hardly_more(far_beside, far.boot_time_of[0], 5));
    }
}

#[test]
fn machines_200_ms_away_keep_nothing_from_those_next_door() {
    far_ones_keep_nothing_from_near_ones(Duration::from_millis(200), is_single_port());
}

#[test]
fn machines_900_ms_away_keep_nothing_from_those_next_door() {
    far_ones_keep_nothing_from_near_ones(Duration::from_millis(900), is_single_port());
}

#[test]
fn machines_200_ms_away_keep_nothing_from_those_next_door_at_one_port() {
    far_ones_keep_nothing_from_near_ones(Duration::from_millis(200), true);
}

/// Four times as many as there are slots: they may be an attacker's, with a round trip as it likes.
#[test]
fn many_machines_far_away_do_not_halve_what_those_next_door_get() {
    for millis in [12, 20, 50, 200, 900, 3000] {
        let round_trip = Duration::from_millis(millis);
        for seed in few_seeds() {
            let results = compare(seed, 128, round_trip, is_single_port());
            tell(&format!("128 at {round_trip:?}"), &results);
            let [together, near, _] = results;
            together.all_booted();
            let near_beside = together.boot_time_of[1];
            assert!(is_hardly_more(near_beside, near.boot_time_of[0], 50));
        }
    }
}

/// Just quick enough not to be far away, with files that take minutes: 32 of them, which have all slots and a quarter
/// to a half of the link, which is theirs all the time.
#[test]
fn machines_that_are_slow_but_not_far_away_keep_a_slot_for_seconds_only() {
    for (micros, left) in [(14_000, 0.73), (7_000, 0.46)] {
        let round_trip = Duration::from_micros(micros);
        for seed in few_seeds() {
            let files = Chain::one_file("slow", 16 << 20);
            let with_slow = |world: World| {
                world
                    .with(Kind::Ipxe, 32, &files)
                    .at_distance(round_trip / 2)
            };
            let world = |name| site(name, seed);
            let results = [
                with_near(with_slow(world("slow ones"))),
                with_near(world("the near alone")),
                with_slow(world("the slow alone")),
            ]
            .map(|world| run_ours(&world));
            tell(&format!("32 at {round_trip:?}"), &results);
            let [together, near, slow] = results;
            together.all_booted();
            let (near_beside, near_alone) = (together.boot_time_of[1], near.boot_time_of[0]);
            let bound = near_alone.most.div_f64(left) + KEPT_FOR;
            assert!(near_beside.most <= bound, "{bound:?}");
            let (slow_beside, slow_alone) = (together.boot_time_of[0], slow.boot_time_of[0]);
            assert!(is_hardly_more(slow_beside, slow_alone, 15));
        }
    }
}

/// For about so long a slow machine keeps its slot.
const KEPT_FOR: Duration = Duration::from_secs(4);

/// A window of one block and 50 ms there and back: 32 slots are 7 % of the link.
#[test]
fn where_all_are_far_away_more_than_the_slots_are_used() {
    for seed in few_seeds() {
        let files = Chain::one_file("far", 128 << 10 | 1);
        let world = site("all 50 ms away", seed).with(Kind::Ipxe, 300, &files);
        let results = run_ours(&world.at_distance(Duration::from_millis(25)));
        results.all_booted();
        println!("{}\n{results}", Results::HEAD);
        let rate = 300 * (128 << 13) / results.makespan.as_millis();
        assert!(rate >= 9_000, "{rate} kbit/s of 100,000");
    }
}
