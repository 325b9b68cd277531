//! A world: everything about a run that is decided before it begins, in one place.

use std::fmt;
use std::time::Duration;

use crate::disk::Drive;
use crate::link::{Capacity, Path};
use crate::random::Chance;
use ripple_tftpd::firmware::{Chain, Kind, WriterKind};
use ripple_tftpd::server::Limits;

/// The options of a world.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) name: &'static str,
    pub(crate) seed: u64,
    /// The machines.
    pub(crate) groups: Vec<Group>,
    /// Those that write, each a file of its own.
    pub(crate) writers: Vec<Writers>,
    pub(crate) arrival: Arrival,
    /// Of our server (`-n`).
    pub(crate) slots: usize,
    /// How many may wait at our server (`-q`).
    pub(crate) queue: usize,
    /// Our server has one socket for all transfers (`--single-port`).
    pub(crate) single_port: bool,
    /// Packets that the socket of requests holds; `None`: as many as the server asks for.
    pub(crate) receive_buffer: Option<usize>,
    /// How long the server is kept from its work after each turn.
    pub(crate) turn_takes: Duration,
    /// Between the server and the switch, in each direction.
    pub(crate) uplink: Capacity,
    /// Between the switch and each machine, in each direction.
    pub(crate) downlink: Capacity,
    pub(crate) path: Path,
    /// How likely the network makes a copy of a request that comes some milliseconds behind it.
    pub(crate) request_copies: Chance,
    /// What the server's files lie on, with nothing of them in memory; `None`: all are there.
    pub(crate) disk: Option<Drive>,
    /// How many machines share an address behind a translator of ports.
    pub(crate) behind_one_address: usize,
    /// How likely a machine is switched off in the middle of its boot, and on again.
    pub(crate) reboots: Chance,
    /// How likely a machine is switched off in the middle of its boot for good.
    pub(crate) vanishes: Chance,
    /// A machine whose boot failed begins again.
    pub(crate) tries_again: bool,
    /// Virtual time after which a run has failed.
    pub(crate) budget: Duration,
}

/// Machines of one kind that boot alike.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) kind: Kind,
    pub(crate) count: usize,
    pub(crate) chain: Chain,
    /// One way between these machines and the server, where it is not that of [`World::path`].
    pub(crate) latency: Option<Duration>,
    /// They are switched on so much later than the world says.
    pub(crate) later: Duration,
}

/// Machines of one kind that write a file of this many bytes each.
#[derive(Clone, Debug)]
pub(crate) struct Writers {
    pub(crate) kind: WriterKind,
    pub(crate) count: usize,
    pub(crate) size: u64,
}

/// When machines are switched on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrival {
    /// All at the same moment: power came back.
    AtOnce,
    /// At random within this time.
    Within(Duration),
    /// One after the other, so far apart.
    Staggered(Duration),
}

impl World {
    /// A quiet network of 1 Gbit/s with nobody in it.
    pub(crate) fn new(name: &'static str, seed: u64) -> World {
        World {
            name,
            seed,
            groups: Vec::new(),
            writers: Vec::new(),
            arrival: Arrival::Within(Duration::from_secs(1)),
            slots: Limits::default().max_transfers,
            queue: Limits::default().max_pending,
            single_port: is_single_port(),
            receive_buffer: None,
            turn_takes: Duration::ZERO,
            uplink: GIGABIT,
            downlink: GIGABIT,
            path: Path::CLEAN,
            request_copies: Chance::NEVER,
            disk: None,
            behind_one_address: 1,
            reboots: Chance::NEVER,
            vanishes: Chance::NEVER,
            tries_again: false,
            budget: Duration::from_secs(600),
        }
    }

    /// The same with `count` machines more.
    pub(crate) fn with(mut self, kind: Kind, count: usize, chain: &Chain) -> World {
        self.groups.push(Group {
            kind,
            count,
            chain: chain.clone(),
            latency: None,
            later: Duration::ZERO,
        });
        self
    }

    /// The same with `count` machines more that write.
    pub(crate) fn with_writers(mut self, kind: WriterKind, count: usize, size: u64) -> World {
        self.writers.push(Writers { kind, count, size });
        self
    }

    /// The machines added last are so far away, one way.
    pub(crate) fn at_distance(mut self, latency: Duration) -> World {
        self.last_group().latency = Some(latency);
        self
    }

    /// The machines added last are switched on so much later.
    pub(crate) fn later(mut self, later: Duration) -> World {
        self.last_group().later = later;
        self
    }

    fn last_group(&mut self) -> &mut Group {
        self.groups.last_mut().expect("there are machines")
    }

    /// How far each machine is away, where that is its own.
    pub(crate) fn latencies(&self) -> impl Iterator<Item = Option<Duration>> + '_ {
        let of = |group: &Group| std::iter::repeat_n(group.latency, group.count);
        let writers = std::iter::repeat_n(None, self.writing());
        self.groups.iter().flat_map(of).chain(writers)
    }

    /// Machines in all: first those that boot, then those that write.
    pub(crate) fn population(&self) -> usize {
        self.groups.iter().map(|group| group.count).sum::<usize>() + self.writing()
    }

    /// Machines that write.
    pub(crate) fn writing(&self) -> usize {
        self.writers.iter().map(|writers| writers.count).sum()
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "world \"{}\", seed {}", self.name, self.seed)
    }
}

/// Every world has one socket for all transfers: `TFTPD_TEST_PORTS` says `single`, as for the loopback tests.
pub(crate) fn is_single_port() -> bool {
    std::env::var_os("TFTPD_TEST_PORTS").is_some_and(|ports| ports == "single")
}

pub(crate) const FAST_ETHERNET: Capacity = Capacity {
    rate: 100_000_000,
    buffer: 256 << 10,
};

pub(crate) const GIGABIT: Capacity = Capacity {
    rate: 1_000_000_000,
    buffer: 1 << 20,
};

pub(crate) const TEN_GIGABIT: Capacity = Capacity {
    rate: 10_000_000_000,
    buffer: 4 << 20,
};
