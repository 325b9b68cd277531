//! The table: every policy in the same worlds, ours last.
//!
//! It is kept in `table.txt`, so that a change of behaviour shows in review. `TFTPD_WRITE_TABLE=1` writes
//! it anew, and into Cargo's directory for tests when how many machines were up: `curves.txt`, a line for
//! each point (policy, machines, seconds), from which `scripts/storm-picture` draws `storm.svg`.

use std::fmt::Write;
use std::path::Path as FilePath;
use std::sync::OnceLock;
use std::time::Duration;

use ripple_tftpd::firmware::random::Random;
use ripple_tftpd::firmware::{Chain, Kind};

use crate::laboratory::parallel::in_parallel;
use crate::link::{Capacity, Path};
use crate::measure::Results;
use crate::policies::{Other, POLICIES, Policy};
use crate::random::Chance;
use crate::run::run;
use crate::world::{Arrival, FAST_ETHERNET, World};
use crate::{each_seed, is_full, run_ours, seeds};

/// Each world with each of these policies in it, ours last.
fn compare(policies: &[Policy], worlds: &[World]) -> Vec<Vec<Results>> {
    let servers = || policies.iter().copied().map(Some).chain([None]);
    let runs: Vec<_> = worlds
        .iter()
        .flat_map(|world| servers().map(move |policy| (world, policy)))
        .collect();
    let results = in_parallel(&runs, |&(world, policy)| match policy {
        Some(policy) => run(world, Other::new(policy)),
        None => run_ours(world),
    });
    let rows = results.chunks(policies.len() + 1);
    rows.map(<[Results]>::to_vec).collect()
}

/// None of the others boots more machines. Those whose power is cut for good are left out: that happens
/// after a number of blocks, and a machine that was sent fewer copies may have booted before.
fn ours_boots_most(rows: &[Results]) {
    let (ours, others) = rows.split_last().expect("ours is there");
    for other in others {
        assert!(
            ours.lost() <= other.lost(),
            "{}: \"{}\" boots more\n{}\n{other}\n{ours}",
            ours.label,
            other.server,
            Results::HEAD
        );
    }
}

/// The worlds of the table.
pub(crate) fn worlds() -> Vec<World> {
    let rom = Chain::one_file("boot.img", 4 << 20);
    // As much as a switch of the time keeps for one port.
    let uplink = Capacity {
        buffer: 64 << 10,
        ..FAST_ETHERNET
    };
    // So short a way that hardly a packet is on it: a packet that finds the buffer full finds it full again.
    let short = Path {
        latency: Duration::from_micros(10),
        jitter: Duration::from_micros(10),
        ..Path::CLEAN
    };
    let roms = |name, kind| World {
        uplink,
        path: short,
        ..World::new(name, 1).with(kind, 300, &rom)
    };
    let lossy = |name, per_mille| World {
        path: Path {
            loss: Chance::per_mille(per_mille),
            ..Path::CLEAN
        },
        arrival: Arrival::AtOnce,
        ..World::new(name, 1).with(Kind::Ipxe, 100, &Chain::one_file("image", 256 << 10))
    };
    vec![
        roms("300 old ROMs x 4 MiB, 100 Mbit/s", Kind::OldRom),
        World {
            path: Path {
                latency: Duration::from_micros(50),
                ..short
            },
            ..roms("the same, five times as far away", Kind::OldRom)
        },
        roms(
            "300 old ROMs, a new port for every repeat",
            Kind::OldRomNewPorts,
        ),
        World {
            tries_again: true,
            budget: Duration::from_secs(3600),
            ..roms("300 old ROMs, trying again", Kind::OldRom)
        },
        World {
            arrival: Arrival::AtOnce,
            ..World::new("1,000 iPXE x 1 MB at once, 1 Gbit/s", 1).with(
                Kind::Ipxe,
                1000,
                &Chain::one_file("image", 1_000_000),
            )
        },
        World {
            uplink: FAST_ETHERNET,
            budget: Duration::from_secs(3600),
            ..World::new("1,000 mixed boots x 5 MB, 100 Mbit/s", 1).with_mix(1000, 10)
        },
        lossy("100 iPXE x 256 KiB, 1 % lost each way", 10),
        lossy("100 iPXE x 256 KiB, 5 % lost each way", 50),
    ]
}

/// What came out of them: every test looks at the same runs.
fn results() -> &'static [Vec<Results>] {
    static RESULTS: OnceLock<Vec<Vec<Results>>> = OnceLock::new();
    RESULTS.get_or_init(|| compare(&POLICIES, &worlds()))
}

/// What came out of the world of this name with our server in it.
pub(crate) fn ours(name: &str) -> &'static Results {
    let place = worlds().iter().position(|world| world.name == name);
    let rows = &results()[place.expect("the table has it")];
    rows.last().expect("ours is there")
}

#[test]
fn the_table_is_as_it_was() {
    let mut table = String::new();
    let mut curves = String::new();
    for (world, rows) in worlds().iter().zip(results()) {
        writeln!(table, "{}\n{}", world.name, Results::HEAD).expect("memory takes it");
        writeln!(curves, "# {}", world.name).expect("memory takes it");
        for row in rows {
            writeln!(table, "{row}").expect("memory takes it");
            curves.push_str(&row.curve());
        }
        table.push('\n');
    }
    let directory = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim");
    let file = directory.join("table.txt");
    if std::env::var_os("TFTPD_WRITE_TABLE").is_some() {
        std::fs::write(&file, &table).expect("the table is written");
        let file = FilePath::new(env!("CARGO_TARGET_TMPDIR")).join("curves.txt");
        std::fs::write(&file, &curves).expect("the curves are written");
        println!("curves: {}", file.display());
    }
    let kept = std::fs::read_to_string(&file).expect("the table is kept");
    assert!(
        kept == table,
        "the table has changed; TFTPD_WRITE_TABLE=1 writes it anew:\n{table}"
    );
}

#[test]
fn none_boots_more_in_the_worlds_of_the_table() {
    for rows in results() {
        ours_boots_most(rows);
    }
}

#[test]
fn ours_is_hardly_slower_than_any_that_boots_as_many() {
    for (world, rows) in worlds().iter().zip(results()) {
        if world.path.loss == Chance::NEVER {
            ours_is_hardly_slower(world, std::slice::from_ref(rows));
        }
    }
}

#[test]
fn all_boot_soon_where_1_percent_is_lost() {
    all_boot_soon_under_loss(Chance::per_mille(10), Duration::from_millis(1500));
}

#[test]
fn all_boot_soon_where_5_percent_are_lost() {
    all_boot_soon_under_loss(Chance::per_mille(50), Duration::from_millis(7500));
}

/// Which packet is lost decides when the last machine is up, and a change of no consequence draws others: few
/// runs can be held to a bound on their mean only. Of many, the medians can be compared.
fn all_boot_soon_under_loss(loss: Chance, most: Duration) {
    let mut worlds = worlds().into_iter();
    let world = worlds.find(|world| world.path.loss == loss);
    let world = world.expect("the table has it");
    // Only those without a cap can be as fast there: a cap of 100 is none for 100 machines, and with a
    // smaller one it takes 1.4 times as long as here, or longer.
    let has_no_cap = |policy: &Policy| is_full() && policy.name.starts_with("no cap");
    let policies: Vec<Policy> = POLICIES.into_iter().filter(has_no_cap).collect();
    let seeds = if is_full() { COMPARED } else { BOUNDED };
    let with_seed = |seed| World {
        seed,
        ..world.clone()
    };
    let worlds: Vec<World> = (1..=seeds).map(with_seed).collect();
    let runs = compare(&policies, &worlds);
    let ours: Vec<&Results> = runs.iter().filter_map(|rows| rows.last()).collect();
    ours.iter().for_each(|results| results.all_booted());
    let count = u32::try_from(ours.len()).expect("seeds are few");
    let mean = ours.iter().map(|it| it.makespan).sum::<Duration>() / count;
    println!("{}: {mean:.3?} by the mean of {seeds} seeds", world.name);
    assert!(mean <= most, "{}: {mean:.3?}", world.name);
    if is_full() {
        ours_is_hardly_slower(&world, &runs);
    }
}

/// By the medians of these runs of a world.
fn ours_is_hardly_slower(world: &World, runs: &[Vec<Results>]) {
    let median = |place: usize| {
        let mut makespans: Vec<Duration> = runs.iter().map(|it| it[place].makespan).collect();
        makespans.sort_unstable();
        makespans[makespans.len() / 2]
    };
    let booted = |place: usize| runs.iter().map(|it| it[place].booted).sum::<usize>();
    let last = runs[0].len() - 1;
    let best = (0..last)
        .filter(|&other| booted(other) >= booted(last))
        .min_by_key(|&other| median(other));
    let ours = median(last);
    let Some(best) = best else {
        println!(
            "{}: {ours:.2?}, and none of the others boots as many",
            world.name
        );
        return;
    };
    let (name, best) = (runs[0][best].server, median(best));
    println!("{}: {ours:.3?}, \"{name}\" {best:.3?}", world.name);
    assert!(
        ours <= best.mul_f64(1.05),
        "{}: {ours:.3?}, but \"{name}\" takes {best:.3?}",
        world.name
    );
}

#[test]
fn none_boots_more_in_any_world() {
    each_seed(seeds().step_by(3), |seed| {
        ours_boots_most(&compare(&POLICIES, &[any_world(seed)])[0]);
    });
}

/// A world as the seed wants it.
pub(crate) fn any_world(seed: u64) -> World {
    let mut random = Random::stream(seed, 3);
    let mut one_of = |choices: &[u64]| {
        let place = random.below(choices.len() as u64);
        choices[usize::try_from(place).unwrap_or(0)]
    };
    let rate = one_of(&[20_000_000, 100_000_000, 1_000_000_000]);
    let world = World {
        uplink: Capacity {
            rate,
            buffer: one_of(&[32, 64, 256, 1024, 4096]) << 10,
        },
        path: Path {
            latency: Duration::from_micros(one_of(&[20, 100, 1000, 5000])),
            jitter: Duration::from_micros(one_of(&[0, 0, 50, 1000])),
            loss: Chance::per_mille(one_of(&[0, 0, 0, 1, 10, 30])),
            duplicate: Chance::per_mille(one_of(&[0, 0, 5])),
            reorder: Chance::per_mille(one_of(&[0, 0, 5])),
            reorder_by: Duration::from_millis(2),
        },
        arrival: match one_of(&[0, 1, 2]) {
            0 => Arrival::AtOnce,
            1 => Arrival::Within(Duration::from_secs(one_of(&[1, 5, 30]))),
            _ => Arrival::Staggered(Duration::from_millis(one_of(&[10, 100]))),
        },
        behind_one_address: usize::try_from(one_of(&[1, 1, 1, 5])).unwrap_or(1),
        reboots: Chance::per_mille(one_of(&[0, 0, 50])),
        vanishes: Chance::per_mille(one_of(&[0, 0, 50])),
        tries_again: one_of(&[0, 1]) == 1,
        budget: Duration::from_secs(1800),
        ..World::new("any", seed)
    };
    // Enough for a minute or two of storm.
    let kinds = [
        Kind::Ipxe,
        Kind::Edk2,
        Kind::Pxelinux,
        Kind::Grub,
        Kind::Busybox,
        Kind::OldRom,
        Kind::OldRomNewPorts,
    ];
    let machines = 7 * one_of(&[3, 10, 30]);
    let bytes_each = rate / 8 * one_of(&[2, 20, 60]) / machines;
    let divisor = (49_000_000 / bytes_each).clamp(20, 2000);
    world.with_each(&kinds, usize::try_from(machines / 7).unwrap_or(1), divisor)
}

/// Of this many runs the mean is within the bound 999 times of 1,000, drawn with repetition from the 1,000 runs
/// that were there when it was set.
const BOUNDED: u64 = 25;

/// This many medians compare right 998 times of 1,000 at 1 % loss, and 995 at 5 %, drawn likewise; with 201 runs
/// it was 88 and 85 of 100. Odd, so that there is one in the middle.
const COMPARED: u64 = 1001;
