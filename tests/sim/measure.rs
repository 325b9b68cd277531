//! What came out of a run, in the figures of the table.

use std::fmt;
use std::time::Duration;

use ripple_tftpd::firmware::{Kind, Reason, Step};
use ripple_tftpd::moment::Moment;

use crate::link::{Capacity, wire_bytes};
use crate::network::Counts;
use crate::random::Digest;
use crate::server::ServerUnderTest;
use crate::world::{Group, World};

/// What became of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    UnderWay,
    Booted,
    GaveUp,
    /// Its power was cut for good.
    Vanished,
}

/// What is counted while a run is under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// When each machine was up, and how long that took from its first power-on.
    booted_at: Vec<Moment>,
    boot_times: Vec<Duration>,
    /// The same by group of machines.
    by_group: Vec<Vec<Duration>>,
    /// Datagrams that brought something new to a boot that succeeded.
    needed: u64,
    /// Bytes on the wire of all files of those that booted, once.
    bytes: u64,
    pub(crate) first_packets: Vec<Duration>,
    /// Machines that gave up, by kind.
    gave_up: Vec<(Kind, usize)>,
    /// Boots that failed, by kind and reason.
    failed: Vec<((Kind, Reason), usize)>,
    pub(crate) vanished: usize,
    /// Blocks that a machine filed where others belong: a fault of its own, which no boot survives.
    pub(crate) misfiled: u64,
    /// Machines that were switched on again after their power had been cut.
    pub(crate) power_cuts: usize,
    /// Boots that failed and were begun again.
    pub(crate) restarts: u64,
}

impl Tally {
    pub(crate) fn booted(
        &mut self,
        now: Moment,
        first_on: Moment,
        needed: u64,
        (number, group): (usize, &Group),
    ) {
        if self.by_group.len() <= number {
            self.by_group.resize(number + 1, Vec::new());
        }
        self.by_group[number].push(now.since(first_on));
        self.booted_at.push(now);
        self.boot_times.push(now.since(first_on));
        self.needed += needed;
        self.bytes += wire_bytes_of(group);
    }

    pub(crate) fn gave_up(&mut self, kind: Kind) {
        count(&mut self.gave_up, kind);
    }

    pub(crate) fn failed(&mut self, kind: Kind, reason: Reason) {
        count(&mut self.failed, (kind, reason));
    }
}

fn count<T: PartialEq>(counts: &mut Vec<(T, usize)>, what: T) {
    match counts.iter_mut().find(|(counted, _)| *counted == what) {
        Some((_, times)) => *times += 1,
        None => counts.push((what, 1)),
    }
}

/// The results of a run.
#[derive(Clone, Debug)]
pub(crate) struct Results {
    /// The world and its seed.
    pub(crate) label: String,
    pub(crate) seed: u64,
    pub(crate) server: &'static str,
    pub(crate) digest: Digest,
    pub(crate) machines: usize,
    pub(crate) booted: usize,
    pub(crate) gave_up: Vec<(Kind, usize)>,
    /// Why boots failed.
    pub(crate) failed: Vec<((Kind, Reason), usize)>,
    pub(crate) vanished: usize,
    pub(crate) power_cuts: usize,
    pub(crate) restarts: u64,
    /// When each machine was up, for the picture.
    pub(crate) booted_at: Vec<Moment>,
    pub(crate) boot_time: Spread,
    /// The same by group of machines.
    pub(crate) boot_time_of: Vec<Spread>,
    pub(crate) first_packet: Spread,
    /// When the last machine was up.
    pub(crate) makespan: Duration,
    /// How long the uplink takes for all files of those that booted, once: what the others got was sent
    /// in vain. Or how long the disk was busy, if that is longer.
    pub(crate) ideal: Duration,
    pub(crate) counts: Counts,
    pub(crate) needed: u64,
    /// Jain's index of the times to boot: 1 where all are equal.
    pub(crate) fairness: f64,
    pub(crate) events: u64,
}

/// How a time is spread over many.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Spread {
    pub(crate) half: Duration,
    pub(crate) ninety: Duration,
    pub(crate) ninety_nine: Duration,
    pub(crate) most: Duration,
}

impl Spread {
    fn new(mut times: Vec<Duration>) -> Spread {
        times.sort_unstable();
        let at = |percent: usize| {
            let place = (times.len() * percent).div_ceil(100).max(1) - 1;
            times.get(place).copied().unwrap_or_default()
        };
        Spread {
            half: at(50),
            ninety: at(90),
            ninety_nine: at(99),
            most: at(100),
        }
    }
}

impl Results {
    pub(crate) fn new(
        world: &World,
        server: &impl ServerUnderTest,
        digest: Digest,
        tally: Tally,
        counts: Counts,
        events: u64,
    ) -> Results {
        let last = tally.booted_at.iter().max().copied();
        Results {
            label: world.to_string(),
            seed: world.seed,
            server: server.name(),
            digest,
            machines: world.population() - world.writing(),
            booted: tally.booted_at.len(),
            gave_up: tally.gave_up,
            failed: tally.failed,
            vanished: tally.vanished,
            power_cuts: tally.power_cuts,
            restarts: tally.restarts,
            fairness: jain(&tally.boot_times),
            boot_time: Spread::new(tally.boot_times),
            boot_time_of: tally.by_group.into_iter().map(Spread::new).collect(),
            first_packet: Spread::new(tally.first_packets),
            booted_at: tally.booted_at,
            makespan: last.unwrap_or(Moment::START).since(Moment::START),
            ideal: time_on(world.uplink, tally.bytes).max(counts.disk_busy),
            counts,
            needed: tally.needed,
            events,
        }
    }

    /// Datagrams sent for each datagram needed.
    #[allow(clippy::cast_precision_loss)] // A ratio for people.
    pub(crate) fn overhead(&self) -> f64 {
        self.counts.sent as f64 / self.needed.max(1) as f64
    }

    /// How much longer than the ideal it took.
    pub(crate) fn stretch(&self) -> f64 {
        self.makespan.as_secs_f64() / self.ideal.as_secs_f64().max(1e-9)
    }

    /// Everybody whose power was not cut for good has booted.
    ///
    /// # Panics
    /// Where a machine has not.
    pub(crate) fn all_booted(&self) {
        self.all_booted_but(&[]);
    }

    /// Everybody has booted, or is of one of these kinds.
    ///
    /// # Panics
    /// Where a machine of another kind has not.
    pub(crate) fn all_booted_but(&self, excepted: &[Kind]) {
        let excused: usize = excepted.iter().map(|&kind| self.lost_of(kind)).sum();
        assert!(
            self.lost() == excused && self.booted + self.lost() + self.vanished == self.machines,
            "{}: {:?} gave up, because of {:?}\n{}\n{self}",
            self.label,
            self.gave_up,
            self.failed,
            Results::HEAD
        );
    }

    /// Machines of this kind that gave up.
    pub(crate) fn lost_of(&self, kind: Kind) -> usize {
        let of_kind = |&&(lost, _): &&(Kind, usize)| lost == kind;
        self.gave_up
            .iter()
            .find(of_kind)
            .map_or(0, |&(_, times)| times)
    }

    /// Machines that gave up.
    pub(crate) fn lost(&self) -> usize {
        self.gave_up.iter().map(|&(_, times)| times).sum()
    }

    /// The head of the table that [`Results`] are the lines of. In brackets, how many of those that gave up
    /// are Raspberry Pis: they give a whole file 30 s.
    pub(crate) const HEAD: &'static str = "policy               booted gave up  (Pi)  cuts again  \
        boot p50     p90     p99     max  makespan  ideal  ratio  sent/needed  first p50    p99  fair   drops unheard";

    /// When each percent of the machines was up, in seconds: the picture is drawn from it.
    pub(crate) fn curve(&self) -> String {
        let mut times = self.booted_at.clone();
        times.sort_unstable();
        let every = (self.machines / 100).max(1);
        let point = |place: usize| {
            let at = times[place].since(Moment::START).as_secs_f64();
            format!("{} {} {at:.2}\n", self.server.replace(' ', "-"), place + 1)
        };
        let last = times.len().checked_sub(1);
        (0..times.len())
            .filter(|place| place.is_multiple_of(every) || Some(*place) == last)
            .map(point)
            .collect()
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Duration| time.as_secs_f64();
        write!(
            f,
            "{:20} {:6} {:7} {:5} {:5} {:5}  {:8.2} {:7.2} {:7.2} {:7.2}  {:8.2} {:6.2} {:6.2}  {:11.3}  {:9.3} {:6.2}  {:4.2} {:7} {:7}",
            self.server,
            self.booted,
            self.lost(),
            self.lost_of(Kind::RaspberryPi4),
            self.power_cuts,
            self.restarts,
            seconds(self.boot_time.half),
            seconds(self.boot_time.ninety),
            seconds(self.boot_time.ninety_nine),
            seconds(self.boot_time.most),
            seconds(self.makespan),
            seconds(self.ideal),
            self.stretch(),
            self.overhead(),
            seconds(self.first_packet.half),
            seconds(self.first_packet.ninety_nine),
            self.fairness,
            self.counts.overflowed,
            self.counts.unheard,
        )
    }
}

/// Bytes on the wire of all files of one machine, in the blocks of its kind, with all that it reads twice.
fn wire_bytes_of(group: &Group) -> u64 {
    let of_step = |step: &Step| {
        let size = step.size?;
        let kind = step.by.unwrap_or(group.kind);
        let blksize = blksize(kind);
        let of = |bytes: u64| {
            bytes / blksize * wire_bytes(4 + blksize) + wire_bytes(4 + bytes % blksize)
        };
        let first_look = match kind {
            Kind::FreeBsdLoader | Kind::NetBsdLoader => of(size.min(blksize)),
            _ => 0,
        };
        let first_part = step.seeks_back_after.map_or(0, |bytes| of(bytes.min(size)));
        Some(of(size) + first_look + first_part)
    };
    group.chain.steps().iter().filter_map(of_step).sum()
}

fn time_on(wire: Capacity, bytes: u64) -> Duration {
    let nanos = u128::from(bytes) * 8_000_000_000 / u128::from(wire.rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The block size that each kind asks for where the path carries it.
fn blksize(kind: Kind) -> u64 {
    match kind {
        Kind::Ipxe | Kind::Barebox => 1432,
        Kind::FreeBsdLoader | Kind::Atftp | Kind::Tftpy => 1428,
        Kind::Edk2 | Kind::UBoot | Kind::UBootLwip => 1468,
        Kind::Pxelinux | Kind::Lpxelinux => 1408,
        Kind::WindowsBootmgr => 1456,
        Kind::Grub | Kind::RaspberryPi4 => 1024,
        Kind::Shim
        | Kind::Busybox
        | Kind::TftpHpa
        | Kind::Curl
        | Kind::OldRom
        | Kind::OldRomNewPorts
        | Kind::NetBsdLoader
        | Kind::TftpHpaSession
        | Kind::Nortel1110
        | Kind::Am335x => 512,
    }
}

/// Jain's index of fairness.
#[allow(clippy::cast_precision_loss)]
fn jain(times: &[Duration]) -> f64 {
    let sum: f64 = times.iter().map(Duration::as_secs_f64).sum();
    let squares: f64 = times.iter().map(|time| time.as_secs_f64().powi(2)).sum();
    if squares == 0.0 {
        return 1.0;
    }
    sum * sum / (times.len() as f64 * squares)
}
