//! Wires: a rate and a finite buffer in front of it, and the ways in which a path can be bad.
//!
//! A wire needs no event of its own: when a packet will have left follows from when the one before it
//! will have.

use std::time::Duration;

use ripple_tftpd::firmware::random::Random;

use crate::random::Chance;

/// What a wire can carry.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Capacity {
    /// Bits in a second.
    pub(crate) rate: u64,
    /// Bytes that wait before it; what comes on top is dropped.
    pub(crate) buffer: u64,
}

/// A wire in use.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    picos_per_byte: u64,
    /// How long a full buffer takes to empty.
    buffer_picos: u64,
    /// When the last packet in the buffer will have left, in picoseconds.
    free_at: u64,
}

impl Link {
    pub(crate) fn new(capacity: Capacity) -> Link {
        let picos_per_byte = 8_000_000_000_000 / capacity.rate;
        Link {
            picos_per_byte,
            buffer_picos: capacity.buffer * picos_per_byte,
            free_at: 0,
        }
    }

    /// Takes a packet of `bytes` at `now` and returns when it will have left, both in nanoseconds; `None`
    /// where the buffer is full.
    pub(crate) fn take(&mut self, now: u64, bytes: u64) -> Option<u64> {
        let now = now * 1000;
        let begins = self.free_at.max(now);
        let takes = bytes * self.picos_per_byte;
        // What is being sent has left the buffer, so an idle wire takes any packet.
        if begins > now && begins - now + takes > self.buffer_picos {
            return None;
        }
        self.free_at = begins + takes;
        Some(self.free_at.div_ceil(1000))
    }
}

/// Bytes on an Ethernet wire of a UDP datagram with `payload` bytes: preamble, both headers, checksum
/// and the gap between frames; cut into fragments where it is too long for one.
pub(crate) fn wire_bytes(payload: u64) -> u64 {
    let datagram = payload + 8;
    let fragments = datagram.div_ceil(1480);
    (datagram + fragments * (20 + 38)).max(84)
}

/// What happens to packets between a machine and the server, in either direction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Path {
    pub(crate) latency: Duration,
    /// Up to so much is added to the latency of each packet; their order stays.
    pub(crate) jitter: Duration,
    pub(crate) loss: Chance,
    pub(crate) duplicate: Chance,
    /// A packet is delayed so that those behind it overtake it.
    pub(crate) reorder: Chance,
    /// By how much at most.
    pub(crate) reorder_by: Duration,
}

impl Path {
    /// A switch between them and nothing else.
    pub(crate) const CLEAN: Path = Path {
        latency: Duration::from_micros(50),
        jitter: Duration::ZERO,
        loss: Chance::NEVER,
        duplicate: Chance::NEVER,
        reorder: Chance::NEVER,
        reorder_by: Duration::ZERO,
    };
}

/// One direction of one path in use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lane {
    /// When the last packet that kept its place arrives.
    last: u64,
}

impl Lane {
    /// When copies of a packet arrive that left at `left`: none, one or two, in nanoseconds.
    pub(crate) fn travel(
        &mut self,
        path: &Path,
        random: &mut Random,
        left: u64,
    ) -> [Option<u64>; 2] {
        if path.loss.happens(random) {
            return [None, None];
        }
        let first = self.arrival(path, random, left);
        let second = path
            .duplicate
            .happens(random)
            .then(|| self.arrival(path, random, left));
        [Some(first), second]
    }

    fn arrival(&mut self, path: &Path, random: &mut Random, left: u64) -> u64 {
        let jitter = match path.jitter {
            Duration::ZERO => 0,
            jitter => random.below(nanos(jitter)),
        };
        let arrives = (left + nanos(path.latency) + jitter).max(self.last);
        if path.reorder.happens(random) {
            return arrives + random.below(nanos(path.reorder_by));
        }
        self.last = arrives;
        arrives
    }
}

/// A span of virtual time in nanoseconds.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_takes_what_its_rate_and_buffer_allow() {
        let mut link = Link::new(Capacity {
            rate: 100_000_000,
            buffer: 3_000,
        });
        // 1,250 bytes take 100 microseconds.
        assert_eq!(link.take(0, 1_250), Some(100_000));
        assert_eq!(link.take(0, 1_250), Some(200_000));
        assert_eq!(link.take(0, 1_250), None, "the buffer is full");
        assert_eq!(link.take(100_000, 1_250), Some(300_000));
        assert_eq!(link.take(900_000, 1_250), Some(1_000_000));
    }

    #[test]
    fn ethernet_has_a_least_frame_and_long_datagrams_are_cut_up() {
        assert_eq!(wire_bytes(4), 84);
        assert_eq!(wire_bytes(4 + 512), 582);
        assert_eq!(wire_bytes(1472), 1538);
        assert_eq!(wire_bytes(1473), 1473 + 8 + 2 * 58);
    }

    #[test]
    fn packets_keep_their_order_unless_they_are_told_not_to() {
        let path = Path {
            jitter: Duration::from_millis(3),
            ..Path::CLEAN
        };
        let mut random = Random::stream(1, 1);
        let mut lane = Lane::default();
        let mut arrivals = Vec::new();
        for left in (0..1000).map(|packet| packet * 1000) {
            arrivals.extend(lane.travel(&path, &mut random, left).into_iter().flatten());
        }
        assert_eq!(arrivals.len(), 1000);
        assert!(arrivals.is_sorted());
        let mut lossy = Path {
            loss: Chance::per_mille(500),
            ..path
        };
        let lost = (0..1000).filter(|_| lane.travel(&lossy, &mut random, 0) == [None, None]);
        assert!((400..600).contains(&lost.count()));
        lossy.loss = Chance::NEVER;
        lossy.duplicate = Chance::per_mille(1000);
        assert!(
            lane.travel(&lossy, &mut random, 0)
                .iter()
                .all(Option::is_some)
        );
    }
}
