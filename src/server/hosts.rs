//! What is known of the machines behind the addresses: when their boots began, and who of them has not
//! answered yet.
//!
//! A boot is all requests of one address with no pause of more than [`BOOT_PAUSE`]. The table is bounded,
//! and a machine is forgotten when its pause is over: each stands in one line, is looked at when it comes
//! to the front, and goes to the end again if it was heard meanwhile. Nobody is woken for that.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::moment::Moment;

/// The table.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    hosts: HashMap<IpAddr, Host>,
    /// Every host once, with the time when it is to be looked at.
    line: VecDeque<(Moment, IpAddr)>,
}

#[derive(Debug)]
struct Host {
    boot_began: Moment,
    heard_at: Moment,
    /// Clients of this address that have not answered yet, oldest first.
    unanswered: Vec<usize>,
}

impl Hosts {
    /// A request came from `address`: tells when its boot began.
    pub(super) fn heard(&mut self, now: Moment, address: IpAddr) -> Moment {
        self.forget(now);
        self.touch(now, address, now)
    }

    /// A transfer that belongs to a boot ended: the boot goes on.
    pub(super) fn went_on(&mut self, now: Moment, address: IpAddr, boot_began: Moment) {
        self.touch(now, address, boot_began);
    }

    fn touch(&mut self, now: Moment, address: IpAddr, boot_began: Moment) -> Moment {
        let host = self.hosts.entry(address).or_insert_with(|| {
            self.line.push_back((now + BOOT_PAUSE, address));
            Host {
                boot_began,
                heard_at: now,
                unanswered: Vec::new(),
            }
        });
        if now.since(host.heard_at) > BOOT_PAUSE && host.unanswered.is_empty() {
            host.boot_began = boot_began;
        }
        host.heard_at = now;
        host.boot_began
    }

    /// A client of `address` waits for its first packet, or has been sent it.
    pub(super) fn add_unanswered(&mut self, address: IpAddr, client: usize) {
        if let Some(host) = self.hosts.get_mut(&address) {
            host.unanswered.push(client);
        }
    }

    /// It answered, or is gone.
    pub(super) fn remove_unanswered(&mut self, address: IpAddr, client: usize) {
        if let Some(host) = self.hosts.get_mut(&address) {
            host.unanswered.retain(|&other| other != client);
        }
    }

    /// Clients of `address` that have not answered yet, oldest first.
    pub(super) fn unanswered(&self, address: IpAddr) -> &[usize] {
        self.hosts
            .get(&address)
            .map_or(&[], |host| &host.unanswered)
    }

    /// How many clients have not answered yet.
    pub(super) fn unanswered_in_all(&self) -> usize {
        self.hosts.values().map(|host| host.unanswered.len()).sum()
    }

    /// Forgets those whose time is over, and the oldest where there are too many.
    fn forget(&mut self, now: Moment) {
        let mut looks = 0;
        while let Some(&(look_at, address)) = self.line.front() {
            let is_full = self.line.len() >= HOSTS_MAX;
            if (now < look_at && !is_full) || looks == LOOKS_MAX {
                return;
            }
            looks += 1;
            self.line.pop_front();
            let Some(host) = self.hosts.get(&address) else {
                continue;
            };
            let forget_at = host.heard_at + BOOT_PAUSE;
            if host.unanswered.is_empty() && (forget_at < now || is_full) {
                self.hosts.remove(&address);
            } else {
                self.line
                    .push_back((forget_at.max(now + BOOT_PAUSE / 8), address));
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    fn host(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    #[test]
    fn a_boot_lasts_until_a_pause_of_a_minute() {
        let mut hosts = Hosts::default();
        assert_eq!(hosts.heard(at(5), host(1)), at(5));
        assert_eq!(hosts.heard(at(64), host(1)), at(5));
        hosts.went_on(at(120), host(1), at(5));
        assert_eq!(hosts.heard(at(180), host(1)), at(5));
        assert_eq!(hosts.heard(at(241), host(1)), at(241));
    }

    #[test]
    fn machines_are_forgotten_and_their_number_is_bounded() {
        let mut hosts = Hosts::default();
        for number in 0..70_000 {
            hosts.heard(at(1), host(number));
        }
        assert!(hosts.hosts.len() <= HOSTS_MAX);
        assert_eq!(hosts.hosts.len(), hosts.line.len());
        for second in 0..40_000 {
            hosts.heard(at(100 + second / 200), host(80_000));
        }
        assert!(hosts.hosts.len() < 10, "{} are left", hosts.hosts.len());
    }
}
