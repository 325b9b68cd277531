//! The table: every policy in the same worlds.

use std::time::Duration;

use ripple_tftpd::firmware::{Chain, Kind};

use crate::link::Path;
use crate::measure::Results;
use crate::ours;
use crate::policies::{Other, POLICIES};
use crate::random::Chance;
use crate::run::run;
use crate::world::{Arrival, FAST_ETHERNET, World};

/// One world with everybody in it, ours last.
fn compare(world: &World) -> Vec<Results> {
    let mut rows: Vec<Results> = POLICIES
        .into_iter()
        .map(|policy| run(world, Other::new(policy)))
        .collect();
    rows.push(run(world, ours()));
    println!("{world}\n{}", Results::HEAD);
    for row in &rows {
        println!("{row}");
    }
    rows
}

fn ours_boots_most(rows: &[Results]) {
    let (ours, others) = rows.split_last().expect("ours is there");
    for other in others {
        assert!(
            ours.booted >= other.booted,
            "{} boots more:\n{}\n{other}\n{ours}",
            other.server,
            Results::HEAD
        );
    }
}

#[test]
fn none_boots_more_in_a_short_storm() {
    let chain = Chain::one_file("image", 256 << 10);
    let world = World {
        arrival: Arrival::AtOnce,
        ..World::new("short storm", 1).with(Kind::Ipxe, 1000, &chain)
    };
    ours_boots_most(&compare(&world));
}

#[test]
fn none_boots_more_under_loss() {
    for per_mille in [10, 50] {
        let chain = Chain::one_file("image", 256 << 10);
        let world = World {
            path: Path {
                loss: Chance::per_mille(per_mille),
                ..Path::CLEAN
            },
            arrival: Arrival::AtOnce,
            ..World::new("loss", 1).with(Kind::Ipxe, 100, &chain)
        };
        ours_boots_most(&compare(&world));
    }
}

/// Silence loses this one.
mod long {
    use super::*;

    #[test]
    fn none_boots_more_of_300_old_roms() {
        let chain = Chain::one_file("boot.img", 4 << 20);
        for tries_again in [false, true] {
            let world = World {
                uplink: FAST_ETHERNET,
                tries_again,
                budget: Duration::from_secs(3600),
                ..World::new("300 old ROMs", 1).with(Kind::OldRom, 300, &chain)
            };
            ours_boots_most(&compare(&world));
        }
    }
}
