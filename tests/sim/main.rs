//! Boot storms in virtual time: the server of production, as it is, in a simulated network with
//! simulated machines.
//!
//! `world` says what a world may be like, `link` what its wires do, `network` joins them, `run` is the
//! loop, `measure` what comes out of it, `policies` are other servers to compare with.
//!
//! `TFTPD_SEED=7 cargo test --test sim NAME` replays one seed; `scripts/sim` runs the full sizes.

#![allow(clippy::cast_lossless)]

mod events;
mod link;
mod measure;
mod network;
mod random;
mod run;
mod server;
mod world;

use ripple_tftpd::firmware::{Chain, Kind, Step};
use ripple_tftpd::server::Limits;
use run::run;
use server::Production;
use world::World;

fn ours() -> Production {
    Production::new(Limits::default())
}

#[test]
fn smoke() {
    let chain = Chain::new(vec![
        Step::file("a", 100_000),
        Step::miss("b"),
        Step::file("c", 1_000_000),
    ]);
    let world = World::new("smoke", 1).with(Kind::Ipxe, 1000, &chain);
    let begun = std::time::Instant::now();
    let results = run(&world, ours());
    eprintln!(
        "{}\n{results}\n{:?} {} events {:?}",
        measure::Results::HEAD,
        begun.elapsed(),
        results.events,
        results.failed
    );
    results.all_booted();
}
