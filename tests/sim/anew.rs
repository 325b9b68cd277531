//! Clients that begin a file anew from the port of the last transfer, and requests that the network copies.

use std::time::Duration;

use ripple_tftpd::firmware::{Chain, Kind, Step};

use crate::judge;
use crate::link::Path;
use crate::measure::Results;
use crate::random::Chance;
use crate::world::{Arrival, FAST_ETHERNET, World};

/// They open each file twice, or ask for the next one right behind the last ACK.
const OPENS_AGAIN: [Kind; 3] = [
    Kind::FreeBsdLoader,
    Kind::NetBsdLoader,
    Kind::TftpHpaSession,
];

/// A machine alone: nobody waits for a timer of a transfer. Where nothing was acknowledged, the first packet
/// comes again a tenth of a second after its last sending.
#[test]
fn who_opens_a_file_again_is_answered_at_once() {
    for kind in OPENS_AGAIN {
        let world = |seed| World {
            arrival: Arrival::AtOnce,
            ..World::new("opened again", seed).with_each(&[kind], 1, 1000)
        };
        judge(world, |results| {
            results.all_booted();
            let most = Duration::from_millis(102);
            assert!(results.first_packet.most <= most, "{results}");
            assert!(results.overhead() <= 1.05, "{results}");
        });
    }
}

#[test]
fn who_opens_a_file_again_boots_among_many() {
    let world = |seed| World {
        slots: 4,
        uplink: FAST_ETHERNET,
        ..World::new("opened again by many", seed).with_each(&OPENS_AGAIN, 20, 100)
    };
    judge(world, |results| {
        results.all_booted();
        assert!(results.overhead() <= 1.05, "{results}");
    });
}

/// FreeBSD's loader is not among them: where its second request is lost, no server knows that it wants none of
/// the older transfer's block, and a second OACK is the end of an empty file to it.
#[test]
fn who_opens_a_file_again_boots_where_packets_are_lost() {
    let kinds = [Kind::NetBsdLoader, Kind::TftpHpaSession];
    let world = |seed| World {
        path: Path {
            loss: Chance::per_mille(10),
            ..Path::CLEAN
        },
        slots: 8,
        ..one_file_each("opened again, lossy", seed, &kinds, 8)
    };
    judge(world, Results::all_booted);
}

/// Before and after the first ACK, in lockstep and with windows; some abort at any packet that is none of
/// their transfer's. Each machine fetches one file: a copy of a request for another file, from a port that
/// is used again at once, is no copy to anybody.
#[test]
fn a_request_that_the_network_copies_ends_no_boot() {
    for latency in [50, 2_000, 6_000] {
        let world = |seed| World {
            path: Path {
                latency: Duration::from_micros(latency),
                ..Path::CLEAN
            },
            request_copies: Chance::per_mille(300),
            ..one_file_each("copied requests", seed, &Kind::ALL, 3)
        };
        judge(world, |results: &Results| {
            results.all_booted();
            assert!(results.overhead() <= 1.1, "{results}");
        });
    }
}

/// This many machines of each kind, which fetch one file.
fn one_file_each(name: &'static str, seed: u64, kinds: &[Kind], count: usize) -> World {
    let with = |world: World, &kind: &Kind| {
        let step = Step::file(kind.name(), 100_000).seeking_back_after(60_000);
        let step = match OPENS_AGAIN[..2].contains(&kind) {
            true => step,
            false => Step::file(kind.name(), 100_000),
        };
        world.with(kind, count, &Chain::new(vec![step]))
    };
    kinds.iter().fold(World::new(name, seed), with)
}
