//! What is known of the machines behind the addresses: when their boots began, and whether they ever
//! answered.
//!
//! A boot is all requests of one address with no pause of more than [`BOOT_PAUSE`]. The table is bounded,
//! and a machine is forgotten when its pause is over: each stands in one line, is looked at when it comes
//! to the front, and goes to the end again if it was heard meanwhile. Nobody is woken for that.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::moment::Moment;
use crate::wire::Peer;

/// What tells one machine from another: its address, and the interface where that is link-local.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Host {
    address: IpAddr,
    scope: u32,
}

impl Host {
    pub(super) fn address(self) -> IpAddr {
        self.address
    }

    pub(super) fn scope(self) -> u32 {
        self.scope
    }
}

/// The machine of a peer.
pub(super) fn host_of(peer: Peer) -> Host {
    Host {
        address: peer.address,
        scope: peer.scope,
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Hosts {
    known: HashMap<Host, Known>,
    /// Every known host once, with the time when it is to be looked at.
    line: VecDeque<(Moment, Host)>,
}

#[derive(Debug)]
struct Known {
    boot_began: Moment,
    heard_at: Moment,
    /// It has answered a packet of ours since then: nobody else wrote its address into a request.
    is_proven: bool,
    /// Its clients that wait or are served.
    clients: u32,
}

impl Hosts {
    /// An empty table with room for so many hosts before it has to ask for more.
    pub(super) fn new(room: usize) -> Hosts {
        Hosts {
            known: HashMap::with_capacity(room),
            line: VecDeque::with_capacity(room),
        }
    }

    /// A request came from `host`: tells when its boot began.
    pub(super) fn heard(&mut self, now: Moment, host: Host) -> Moment {
        self.forget(now);
        self.touch(now, host, now)
    }

    /// A client of `host`, which was last heard at `heard_at`, is gone; its boot may go on.
    pub(super) fn is_gone(&mut self, heard_at: Moment, host: Host, boot_began: Moment) {
        if let Some(known) = self.known.get_mut(&host) {
            known.clients -= 1;
        }
        self.touch(heard_at, host, boot_began);
    }

    fn touch(&mut self, now: Moment, host: Host, boot_began: Moment) -> Moment {
        let known = self.known.entry(host).or_insert_with(|| {
            self.line.push_back((now + BOOT_PAUSE, host));
            Known {
                boot_began,
                heard_at: now,
                is_proven: false,
                clients: 0,
            }
        });
        if now.since(known.heard_at) > BOOT_PAUSE && known.clients == 0 {
            known.boot_began = boot_began;
            known.is_proven = false;
        }
        known.heard_at = known.heard_at.max(now);
        known.boot_began
    }

    /// A client of `host` has answered a packet of ours.
    pub(super) fn prove(&mut self, host: Host) {
        if let Some(known) = self.known.get_mut(&host) {
            known.is_proven = true;
        }
    }

    /// `host` has answered in this boot.
    pub(super) fn is_proven(&self, host: Host) -> bool {
        self.known.get(&host).is_some_and(|known| known.is_proven)
    }

    /// One more client of `host` waits or is served.
    pub(super) fn add_client(&mut self, host: Host) {
        if let Some(known) = self.known.get_mut(&host) {
            known.clients += 1;
        }
    }

    /// Forgets those whose time is over, and the oldest where there are too many.
    fn forget(&mut self, now: Moment) {
        for _ in 0..LOOKS_MAX {
            let is_full = self.line.len() >= HOSTS_MAX;
            let Some(&(look_at, host)) = self.line.front() else {
                return;
            };
            if now < look_at && !is_full {
                return;
            }
            self.line.pop_front();
            let Some(known) = self.known.get(&host) else {
                continue;
            };
            let forget_at = known.heard_at + BOOT_PAUSE;
            if known.clients == 0 && (forget_at < now || is_full) {
                self.known.remove(&host);
            } else {
                self.line.push_back((forget_at.max(now + LOOK_AGAIN), host));
            }
        }
    }
}

/// A longer pause between the packets of a machine means that it begins anew.
pub(super) const BOOT_PAUSE: Duration = Duration::from_secs(60);

/// Machines remembered; clients that wait keep theirs beyond that.
const HOSTS_MAX: usize = 65_536;

/// Machines looked at for one request.
const LOOKS_MAX: usize = 4;

/// When a machine whose requests still wait is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    fn host(number: u32) -> Host {
        Host {
            address: Ipv4Addr::from(number).into(),
            scope: 0,
        }
    }

    #[test]
    fn a_boot_lasts_until_a_pause_of_a_minute() {
        let mut hosts = Hosts::new(0);
        assert_eq!(hosts.heard(at(5), host(1)), at(5));
        assert_eq!(hosts.heard(at(64), host(1)), at(5));
        hosts.add_client(host(1));
        hosts.is_gone(at(120), host(1), at(5));
        assert_eq!(hosts.heard(at(180), host(1)), at(5));
        assert!(!hosts.is_proven(host(1)));
        hosts.prove(host(1));
        assert_eq!(hosts.heard(at(240), host(1)), at(5));
        assert!(hosts.is_proven(host(1)) && !hosts.is_proven(host(2)));
        assert_eq!(hosts.heard(at(301), host(1)), at(301));
        assert!(!hosts.is_proven(host(1)), "another boot");
        hosts.add_client(host(1));
        assert_eq!(hosts.heard(at(999), host(1)), at(301));
    }

    #[test]
    fn machines_are_forgotten_and_their_number_is_bounded() {
        let mut hosts = Hosts::new(0);
        for number in 0..70_000 {
            hosts.heard(at(1), host(number));
        }
        assert!(hosts.known.len() <= HOSTS_MAX);
        assert_eq!(hosts.known.len(), hosts.line.len());
        for second in 0..40_000 {
            hosts.heard(at(100 + second / 200), host(80_000));
        }
        assert!(hosts.known.len() < 10, "{} are left", hosts.known.len());
    }
}
