//! The bounds of a server, as the operator sets them, and what follows from them.

use std::time::Duration;

use super::hosts::Host;
use crate::transfer::Terms;

/// The bounds of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Slots: transfers that run at once, at least 1 (`-n`).
    pub max_transfers: usize,
    /// Clients that wait, pending or held (`-q`).
    pub max_pending: usize,
    /// Those of them that are held at most: each has a socket, and a file. The others wait in silence.
    pub max_held: usize,
    /// Transfers that one client address runs at once, at least 1 (`--per-client`).
    pub per_client: usize,
    /// Requests of one client address that wait (`--per-client-pending`).
    pub per_client_pending: usize,
    /// These two do not hold for loopback addresses, from which the network sends nothing.
    pub spares_loopback: bool,
    /// After how long a waiting client is answered and kept alive; `None`: never (`--hold`).
    pub hold: Option<Duration>,
    /// A client that makes no progress loses its slot to those who wait, until it does. Only tests and
    /// comparisons turn it off.
    pub reclaim: bool,
    /// Files of up to this size, in bytes, have slots of their own; 0: there are none such (`--small-file`).
    pub small_file: u64,
    /// What those who are held get of the output at most, in percent (`--keepalive-share`).
    pub keepalive_share: u8,
    /// Time without progress after which a transfer is given up (`-t`).
    pub patience: Duration,
    /// What is granted at most (`-B`, `-W`).
    pub terms: Terms,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_transfers: 32,
            max_pending: 20_000,
            max_held: usize::MAX,
            per_client: 8,
            per_client_pending: 32,
            spares_loopback: true,
            hold: Some(Duration::from_secs(1)),
            reclaim: true,
            small_file: 128 * 1024,
            keepalive_share: 10,
            patience: Duration::from_secs(35),
            terms: Terms::default(),
        }
    }
}

impl Limits {
    /// Slots that only small files get, so that a configuration file never waits behind kernels.
    pub fn small_slots(&self) -> usize {
        if self.max_transfers > 1 && self.small_file > 0 {
            (self.max_transfers / 8).max(1)
        } else {
            0
        }
    }

    /// A file of this many bytes gets none of the slots of small ones.
    pub(super) fn is_large(&self, bytes: u64) -> bool {
        self.small_slots() == 0 || bytes > self.small_file
    }

    /// Slots for large files.
    pub(super) fn large_slots(&self) -> usize {
        self.max_transfers - self.small_slots()
    }

    /// Slots that unvalidated clients get: their hosts have not answered yet. The others are kept for hosts
    /// that have, since all unvalidated clients may be forged: a third of them can be had by small files only.
    pub(super) fn slots_for_unvalidated(&self) -> usize {
        self.max_transfers - 3 * (self.max_transfers / 8)
    }

    /// Clients that wait in one network, none of whose hosts has answered: if there are more, they give
    /// way to others when the queue is full.
    pub(super) fn network_part(&self) -> usize {
        (self.max_pending / 8).max(NETWORK_PART_MIN)
    }

    /// The bounds of one client hold for `host`.
    pub(super) fn bounds(&self, host: Host) -> bool {
        !(self.spares_loopback && host.address.is_loopback())
    }

    /// Transfers without a slot and without a place in the queue: those that were sent to their end and wait
    /// for the last ACK, and those whose client asked again. Past this bound a transfer keeps its slot until
    /// that ACK comes, or ends at once.
    pub fn max_finishing(&self) -> usize {
        self.max_transfers.max(FINISHING_MIN)
    }

    /// Clients far away that go on without a slot at once, since others wait.
    pub(super) fn max_lent(&self) -> usize {
        if self.reclaim { self.max_transfers } else { 0 }
    }

    /// Sockets that are open for clients at once.
    pub fn max_sockets(&self) -> usize {
        // A client that loses its slot is held as well.
        let held = if self.hold.is_some() || self.reclaim {
            self.max_pending.min(self.max_held_with_lenders())
        } else {
            0
        };
        self.max_transfers + self.max_lent() + self.max_finishing() + held
    }

    /// Clients that have a socket while they wait, or after all that they sent is on the disk.
    pub(super) fn max_kept(&self) -> usize {
        match self.hold.is_some() || self.reclaim {
            true => self.max_held.min(self.max_pending),
            false => 0,
        }
    }

    /// Clients that are held at most if those who have lent their slots are counted in.
    pub(super) fn max_held_with_lenders(&self) -> usize {
        self.max_held.saturating_add(self.max_transfers)
    }

    /// Bounds who is held by the descriptors that there are for clients, two for each: slots, misses and
    /// small files keep theirs.
    pub fn bound_held_by(&mut self, descriptors: usize) {
        let others = 2 * self.max_transfers + self.max_lent() + self.max_finishing();
        self.max_held = (descriptors / 2).saturating_sub(others);
    }
}

/// How long is waited for what is lacking: descriptors, unless a transfer ends before, or first packets of a network,
/// into whose bucket two or three come meanwhile.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// A network with fewer clients that wait never has too much of the queue.
const NETWORK_PART_MIN: usize = 64;

/// Few slots do not mean few machines that are about to end.
const FINISHING_MIN: usize = 64;
