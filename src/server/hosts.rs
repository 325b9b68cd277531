//! What is known of the machines behind the addresses: when their boots began, whether they ever answered,
//! and which of their clients wait.
//!
//! A boot is all requests of one address with no pause of more than a minute. It is one machine's: while
//! another client of the address waits or runs, there are several machines behind it, and a request gets
//! nothing of the age of what the others began. A machine in a boot loop begins anew from time to time.

use std::net::IpAddr;
use std::time::Duration;

use super::pending::Place;
use super::table::{MEMORY, Record};
use crate::moment::Moment;
use crate::transfer::options::{BLKSIZE_DEFAULT, BLKSIZE_MAX};
use crate::wire::Peer;

/// What identifies a machine: its address, and the interface where that is link-local.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Host {
    pub(super) address: IpAddr,
    pub(super) scope: u32,
}

/// The machine of a peer.
pub(super) fn host_of(peer: Peer) -> Host {
    Host {
        address: peer.address,
        scope: peer.scope,
    }
}

/// A machine.
#[derive(Debug)]
pub(super) struct HostRecord {
    boot_began: Moment,
    heard_at: Moment,
    /// It has answered a packet of ours since then: nobody else wrote its address into a request.
    pub(super) is_validated: bool,
    /// Its clients, whatever they do.
    pub(super) clients: u32,
    /// Those of them that have a slot.
    pub(super) running: u32,
    /// Those that wait, by their places.
    pub(super) waiters: Vec<Waiter>,
    /// Transfers in a row that lost every block of more than 512 bytes, as a hop with a small MTU does that loses
    /// fragments and nothing else: after two none are sent.
    large_blocks_lost: u8,
    /// Since when; at first, when the OACK of the one that did was acknowledged.
    large_blocks_at: Moment,
}

/// A client that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) place: Place,
    pub(super) client: usize,
    pub(super) wait: Wait,
}

/// Where a client that waits stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wait {
    /// In line for a slot.
    Queued,
    /// In none while its file is being looked up.
    Aside,
    /// In none: it was answered and says nothing.
    Silent,
}

impl Record for HostRecord {
    fn new(now: Moment) -> HostRecord {
        HostRecord {
            boot_began: now,
            heard_at: now,
            is_validated: false,
            clients: 0,
            running: 0,
            waiters: Vec::new(),
            large_blocks_lost: 0,
            large_blocks_at: now,
        }
    }

    fn kept_until(&self) -> Moment {
        let lost_until = self.large_blocks_at + LARGE_LOST_FOR;
        let kept_until = self.heard_at + MEMORY;
        match self.large_blocks_lost {
            0 => kept_until,
            _ => kept_until.max(lost_until),
        }
    }

    fn is_in_use(&self) -> bool {
        self.clients > 0
    }
}

impl HostRecord {
    /// A request came that replaces `replaced` of those who wait. Returns when its boot began.
    pub(super) fn heard(&mut self, now: Moment, replaced: usize) -> Moment {
        let has_paused = now.since(self.heard_at) > MEMORY && self.clients == 0;
        let others = self.running as usize + self.waiters.len();
        if has_paused || others > replaced || now.since(self.boot_began) > BOOT_MAX {
            self.boot_began = now;
        }
        if has_paused {
            self.is_validated = false;
        }
        self.heard_at = now;
        self.boot_began
    }

    /// A client that was last heard at `heard_at` is gone; the boot may go on.
    pub(super) fn remove_client(&mut self, heard_at: Moment) {
        self.clients -= 1;
        self.heard_at = self.heard_at.max(heard_at);
    }

    /// The largest block that it is sent.
    pub(super) fn max_blksize(&self, now: Moment) -> u16 {
        let lost_until = self.large_blocks_at + LARGE_LOST_FOR;
        match self.large_blocks_lost == LOST_IN_A_ROW && now < lost_until {
            true => BLKSIZE_DEFAULT,
            false => BLKSIZE_MAX,
        }
    }

    /// A transfer with blocks of more than 512 bytes last made progress at `at`. They arrive, or only its OACK was
    /// acknowledged before it was given up. Returns whether none are sent from now on.
    pub(super) fn note_large_blocks(&mut self, now: Moment, arrive: bool, at: Moment) -> bool {
        if arrive {
            self.large_blocks_lost = 0;
            self.large_blocks_at = self.large_blocks_at.max(at);
            return false;
        }
        let is_second = self.large_blocks_lost == 1;
        if at < self.large_blocks_at + LOST_APART * u32::from(is_second) {
            return false;
        }
        (self.large_blocks_lost, self.large_blocks_at) = match is_second {
            true => (LOST_IN_A_ROW, now),
            false => (1, at),
        };
        is_second
    }

    /// The first in line of those who wait.
    pub(super) fn first_queued(&self) -> Option<&Waiter> {
        let mut waiters = self.waiters.iter();
        waiters.find(|waiter| waiter.wait == Wait::Queued)
    }

    pub(super) fn add_waiter(&mut self, waiter: Waiter) {
        let spot = self.waiters.partition_point(|it| it.place < waiter.place);
        if self.waiters.is_empty() {
            // Most machines have one.
            self.waiters.reserve_exact(1);
        }
        self.waiters.insert(spot, waiter);
    }

    /// Returns where it stood.
    pub(super) fn remove_waiter(&mut self, place: Place) -> Wait {
        let found = self.waiters.binary_search_by_key(&place, |it| it.place);
        let spot = found.expect("a client that waits is among those that wait");
        let waiter = self.waiters.remove(spot);
        if self.waiters.is_empty() {
            self.waiters = Vec::new();
        }
        waiter.wait
    }
}

/// Machines remembered; clients that wait keep theirs beyond that. They just fit a table of 65,536 places.
pub(super) const HOSTS_MAX: usize = 57_000;

/// No boot takes longer: a machine that goes on begins another one.
const BOOT_MAX: Duration = Duration::from_secs(15 * 60);

/// Transfers in a row that lose large blocks until none are sent.
const LOST_IN_A_ROW: u8 = 2;

/// How long a machine that lost large blocks is sent none.
const LARGE_LOST_FOR: Duration = Duration::from_secs(10 * 60);

/// Transfers that begin closer together are not two in a row: FreeBSD's loader leaves each of some in silence
/// before it reads a file, and a machine that is switched off leaves all it has.
const LOST_APART: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_boot_lasts_until_a_pause_of_a_minute() {
        let mut host = HostRecord::new(at(5));
        assert_eq!(host.heard(at(5), 0), at(5));
        assert_eq!(host.heard(at(64), 0), at(5));
        host.clients += 1;
        host.remove_client(at(120));
        assert_eq!(host.heard(at(180), 0), at(5));
        host.is_validated = true;
        assert_eq!(host.heard(at(240), 0), at(5));
        assert!(host.is_validated);
        assert_eq!(host.heard(at(301), 0), at(301));
        assert!(!host.is_validated, "another boot");
        host.clients += 1;
        assert_eq!(host.heard(at(999), 0), at(301));
    }

    #[test]
    fn a_boot_is_one_machines_and_ends() {
        let mut host = HostRecord::new(at(0));
        host.running = 1;
        assert_eq!(host.heard(at(20), 0), at(20), "another one runs");
        host.running = 0;
        host.add_waiter(Waiter {
            place: place(20),
            client: 1,
            wait: Wait::Queued,
        });
        assert_eq!(host.heard(at(40), 1), at(20), "that one is replaced");
        host.remove_waiter(place(20));
        for second in (50..=920).step_by(30) {
            assert_eq!(host.heard(at(second), 0), at(20));
        }
        assert_eq!(host.heard(at(921), 0), at(921));
    }

    fn place(seconds: u64) -> Place {
        Place {
            is_far: false,
            is_large: true,
            can_wait: true,
            boot_began: at(seconds),
            arrival: 1,
        }
    }
}
