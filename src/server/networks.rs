//! What goes to addresses that have validated nothing: anybody can write another machine's address into
//! a request.
//!
//! A machine is validated once it has answered a packet of ours. Until then its network, a /24 of IPv4 or a
//! /64 of IPv6, has a bucket of first packets and one of ERROR packets. A first packet that is answered
//! goes back into its bucket, so a storm of real machines never empties it.

use std::net::IpAddr;
use std::time::Duration;

use super::hosts::Host;
use super::pending::{Line, Place};
use super::table::{MEMORY, Record};
use crate::moment::Moment;

/// The network of an address, in which a forger may choose addresses at will.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Network {
    /// The bits that its addresses share: 24 of IPv4, 64 of IPv6.
    shared: u64,
    is_ipv6: bool,
    scope: u32,
}

/// The network of a machine.
pub(super) fn network_of(host: Host) -> Network {
    let (shared, is_ipv6) = match host.address {
        IpAddr::V4(v4) => (u64::from(v4.to_bits() >> 8), false),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments().map(u64::from);
            (a << 48 | b << 32 | c << 16 | d, true)
        }
    };
    Network {
        shared,
        is_ipv6,
        scope: host.scope,
    }
}

/// A network.
#[derive(Debug)]
pub(super) struct NetworkRecord {
    heard_at: Moment,
    first_packets: Bucket,
    errors: Bucket,
    /// How many of its clients wait whose hosts are unvalidated, whether in line or not.
    pub(super) waiting: usize,
    /// The first in line of each of those hosts.
    pub(super) firsts: Line,
    /// No first packet is left for them: none of them is next.
    pub(super) is_throttled: bool,
}

impl NetworkRecord {
    /// Its bucket holds a first packet.
    pub(super) fn has_first_packet(&self, now: Moment) -> bool {
        self.first_packets.has_one(now, FIRST_PACKETS)
    }

    /// Takes a first packet out of its bucket. Returns whether there was one.
    pub(super) fn take_first_packet(&mut self, now: Moment) -> bool {
        self.heard_at = now;
        self.first_packets.take(now, FIRST_PACKETS)
    }

    /// This number of first packets was answered.
    pub(super) fn give_back(&mut self, packets: u8) {
        self.first_packets.give_back(packets, FIRST_PACKETS);
    }

    /// Takes an ERROR packet out of its bucket. Returns whether there was one.
    pub(super) fn take_error(&mut self, now: Moment) -> bool {
        self.heard_at = now;
        self.errors.take(now, ERRORS)
    }

    /// Which of its unvalidated clients is next.
    pub(super) fn first(&self) -> Option<(Place, usize)> {
        self.firsts.first().filter(|_| !self.is_throttled)
    }
}

impl Record for NetworkRecord {
    fn new(now: Moment) -> NetworkRecord {
        NetworkRecord {
            heard_at: now,
            first_packets: Bucket::default(),
            errors: Bucket::default(),
            waiting: 0,
            firsts: Line::default(),
            is_throttled: false,
        }
    }

    fn kept_until(&self) -> Moment {
        self.heard_at + MEMORY
    }

    fn is_in_use(&self) -> bool {
        self.waiting > 0 || self.is_throttled
    }
}

/// What a bucket holds, and how fast it fills.
#[derive(Clone, Copy, Debug)]
struct Rate {
    burst: u32,
    per_second: u32,
}

impl Rate {
    fn interval(self) -> Duration {
        Duration::from_secs(1) / self.per_second
    }
}

/// A token bucket, as the time at which it will be full again.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full_at: Moment,
}

impl Default for Bucket {
    fn default() -> Bucket {
        Bucket {
            full_at: Moment::START,
        }
    }
}

impl Bucket {
    fn has_one(&self, now: Moment, rate: Rate) -> bool {
        self.full_at.since(now) + rate.interval() <= rate.interval() * rate.burst
    }

    fn take(&mut self, now: Moment, rate: Rate) -> bool {
        let is_there = self.has_one(now, rate);
        if is_there {
            self.full_at = self.full_at.max(now) + rate.interval();
        }
        is_there
    }

    fn give_back(&mut self, tokens: u8, rate: Rate) {
        self.full_at = self.full_at - rate.interval() * u32::from(tokens);
    }
}

/// First packets that are not answered. A queue's worth of machines in one network is held at the same
/// moment and answers within a few round trips, so the burst is never felt; the rate is what those use
/// up who were switched off before they could answer.
const FIRST_PACKETS: Rate = Rate {
    burst: FIRST_PACKETS_BURST,
    per_second: FIRST_PACKETS_PER_SECOND,
};

/// First packets that a network draws at once.
pub const FIRST_PACKETS_BURST: u32 = 1024;
/// First packets that a network draws in a second from then on.
pub const FIRST_PACKETS_PER_SECOND: u32 = 32;

/// There is firmware that asks for nine files that are not there before the first one that is; a
/// thousand of such machines are answered at once. An ERROR is hardly longer than its request.
const ERRORS: Rate = Rate {
    burst: ERRORS_BURST,
    per_second: ERRORS_PER_SECOND,
};

/// ERROR packets that a network draws at once.
pub const ERRORS_BURST: u32 = 10_000;
/// ERROR packets that a network draws in a second from then on.
pub const ERRORS_PER_SECOND: u32 = 500;

/// Networks remembered; those in which unvalidated clients wait are kept beyond that. They just fit a table of 8,192
/// places.
pub(super) const NETWORKS_MAX: usize = 7000;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::super::hosts::host_of;
    use super::super::table::Table;
    use super::*;
    use crate::wire::Peer;

    fn network(address: impl Into<IpAddr>) -> Network {
        network_of(host_of(Peer {
            address: address.into(),
            port: 1,
            scope: 0,
        }))
    }

    fn v4(number: u32) -> Network {
        network(Ipv4Addr::from_bits(number << 8))
    }

    fn at(millis: u64) -> Moment {
        Moment::from_micros(millis * 1000)
    }

    type Networks = Table<Network, NetworkRecord>;

    fn taken(networks: &mut Networks, now: Moment, network: Network) -> u32 {
        let more = |_: &u32| networks.enter(now, network).take_first_packet(now);
        u32::try_from((0..100_000).take_while(more).count()).expect("few")
    }

    #[test]
    fn a_network_is_a_24_of_ipv4_or_a_64_of_ipv6() {
        let same = network(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(network(Ipv4Addr::new(192, 0, 2, 255)), same);
        assert_ne!(network(Ipv4Addr::new(192, 0, 3, 1)), same);
        let v6 = |text: &str| network(text.parse::<Ipv6Addr>().expect(text));
        assert_eq!(v6("2001:db8::1"), v6("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(v6("2001:db8::1"), v6("2001:db8:0:1::1"));
        assert_ne!(v6("::c0:2:1"), same);
    }

    #[test]
    fn a_bucket_holds_a_burst_and_fills_slowly() {
        let mut networks = Networks::new(NETWORKS_MAX, 0);
        assert_eq!(taken(&mut networks, at(0), v4(1)), FIRST_PACKETS_BURST);
        assert_eq!(taken(&mut networks, at(0), v4(2)), FIRST_PACKETS_BURST);
        let second = taken(&mut networks, at(1000), v4(1));
        assert_eq!(second, FIRST_PACKETS_PER_SECOND);
        let full = taken(&mut networks, at(3_600_000), v4(1));
        assert_eq!(full, FIRST_PACKETS_BURST);
    }

    #[test]
    fn what_was_answered_is_given_back_and_no_more() {
        let mut networks = Networks::new(NETWORKS_MAX, 0);
        assert_eq!(taken(&mut networks, at(0), v4(1)), FIRST_PACKETS_BURST);
        networks.enter(at(0), v4(1)).give_back(7);
        assert_eq!(taken(&mut networks, at(0), v4(1)), 7);
        for _ in 0..10 {
            networks.enter(at(0), v4(1)).give_back(u8::MAX);
        }
        assert_eq!(taken(&mut networks, at(0), v4(1)), FIRST_PACKETS_BURST);
    }

    #[test]
    fn the_table_is_bounded_and_keeps_those_who_go_on() {
        let mut networks = Networks::new(NETWORKS_MAX, 0);
        taken(&mut networks, at(0), v4(0));
        let mut given = 0;
        for number in 1..100_000 {
            let now = Moment::from_micros(number.into());
            assert!(networks.enter(now, v4(number)).take_error(now));
            if number % 1000 == 0 {
                given += u32::from(networks.enter(now, v4(0)).take_first_packet(now));
            }
        }
        assert_eq!(
            given,
            FIRST_PACKETS_PER_SECOND / 10,
            "in a tenth of a second"
        );
        assert!(networks.values().count() <= NETWORKS_MAX);
    }
}
