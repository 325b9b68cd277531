//! Clients whose receive ring is smaller than the window that they asked for: what comes at once beyond it
//! is lost, in each window at the same place, and an ACK comes only at the end of a window or for a gap.

use std::collections::VecDeque;
use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::transfer::{Datagrams, Departed, Terms, Transfer, Wanted};
use ripple_tftpd::wire::Request;

/// What a client does about a block that comes too early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gap {
    /// Each draws an ACK of the last block in order (edk2, shim).
    AckEach,
    /// The first one does (the boot manager of Windows, U-Boot).
    AckOnce,
    /// It is kept, and the missing one asked for after a second (barebox).
    Keep,
    /// It is dropped, and the missing one asked for after a second (u-root and other tools).
    Drop,
}

/// How many packets a client has room for, or the network until it is less busy.
#[derive(Clone, Copy, Debug)]
struct Ring {
    packets: usize,
    until: Moment,
}

impl Ring {
    fn of(packets: usize) -> Ring {
        let until = Moment::START + Duration::from_secs(3600);
        Ring { packets, until }
    }
}

/// A client that looks at its ring now and then and finds at most `ring` packets in it.
struct Client {
    gap: Gap,
    window: u64,
    ring: Ring,
    inside: Vec<u64>,
    /// Packets under way, in order, and when each arrives.
    coming: VecDeque<(Moment, u64)>,
    /// All blocks before this one have arrived.
    awaited: u64,
    acknowledged: u64,
    kept: Vec<u64>,
    has_complained: bool,
    heard_at: Moment,
}

impl Client {
    fn is_sent(&mut self, now: Moment, block: u64, cable: Cable) {
        let after = self.coming.back().map_or(now, |&(at, _)| at.max(now));
        self.coming.push_back((after + cable.per_packet, block));
    }

    /// What has arrived by now is in the ring, as far as there was room.
    fn receive(&mut self, now: Moment) {
        while let Some(&(at, block)) = self.coming.front()
            && at <= now
        {
            self.coming.pop_front();
            if self.inside.len() < self.ring.packets || self.ring.until <= at {
                self.inside.push(block);
            }
        }
    }

    /// Empties the ring; returns the ACKs that it sends.
    fn look(&mut self, now: Moment, last: u64) -> Vec<u64> {
        let mut acks = Vec::new();
        for block in std::mem::take(&mut self.inside) {
            if block == self.awaited {
                self.awaited += 1;
                self.has_complained = false;
                self.heard_at = now;
                while self.kept.contains(&self.awaited) {
                    self.awaited += 1;
                }
                let whole = self.awaited - 1 - self.acknowledged >= self.window;
                if whole || self.awaited > last {
                    self.acknowledge(&mut acks);
                }
            } else if block > self.awaited {
                match self.gap {
                    Gap::AckEach => self.acknowledge(&mut acks),
                    Gap::AckOnce if !self.has_complained => {
                        self.has_complained = true;
                        self.acknowledge(&mut acks);
                    }
                    Gap::Keep => self.kept.push(block),
                    Gap::AckOnce | Gap::Drop => {}
                }
            }
        }
        if now.since(self.heard_at) >= Duration::from_secs(1) {
            self.heard_at = now;
            self.acknowledge(&mut acks);
        }
        acks
    }

    fn acknowledge(&mut self, acks: &mut Vec<u64>) {
        self.acknowledged = self.awaited - 1;
        acks.push(self.acknowledged);
    }
}

/// How packets come to a client, and how it takes them.
#[derive(Clone, Copy, Debug)]
struct Cable {
    per_packet: Duration,
    /// It looks at its ring so often.
    looks_every: Duration,
}

/// All packets of a burst at the same time.
const AT_ONCE: Cable = Cable {
    per_packet: Duration::ZERO,
    looks_every: Duration::from_micros(500),
};

/// 100 Mbit/s, so that the ring is emptied in the middle of a burst.
const ONE_BY_ONE: Cable = Cable {
    per_packet: Duration::from_micros(100),
    looks_every: Duration::from_micros(1500),
};

/// Sends a file to a client with such a ring; returns how many packets were sent for each that was needed, and
/// how long it took.
fn send(gap: Gap, cable: Cable, window: u16, ring: Ring, blocks: u64) -> (f64, Duration) {
    let windowsize = window.to_string();
    let request = format!("\0\u{1}kernel\0octet\0windowsize\0{windowsize}\0");
    let request = Request::parse(request.as_bytes()).expect("it is a request");
    let wanted = Wanted::new(request.options());
    let length = (blocks - 1) * 512 + 1;
    let negotiated = wanted.negotiate(Terms::default(), Some(length), None);
    let mut now = Moment::START;
    let patience = Duration::from_secs(35);
    let mut transfer = Transfer::new(now, negotiated, Some(length), patience);
    let mut client = Client {
        gap,
        window: window.into(),
        ring,
        inside: Vec::new(),
        coming: VecDeque::new(),
        awaited: 1,
        acknowledged: 0,
        kept: Vec::new(),
        has_complained: false,
        heard_at: now,
    };
    let mut sent = 0;
    let mut look_at = now;
    loop {
        let mut answers = Vec::new();
        while let Some(datagrams) = transfer.datagrams(64) {
            let packets = match datagrams {
                Datagrams::Oack(_) => {
                    answers.push(0);
                    1
                }
                Datagrams::Data(of) => {
                    for block in of.first..of.first + u64::from(of.count) {
                        client.is_sent(now, block, cable);
                    }
                    sent += u64::from(of.count);
                    of.count
                }
                Datagrams::Ack(_) | Datagrams::Error(_) => panic!("{datagrams:?}"),
            };
            transfer.sent(now, Departed { packets, end: None });
        }
        now = now + Duration::from_micros(100);
        client.receive(now);
        if look_at <= now {
            look_at = now + cable.looks_every;
            answers.extend(client.look(now, blocks));
        }
        for ack in answers {
            let low = u16::try_from(ack % 65_536).expect("the remainder is small");
            let progress = transfer.on_ack(now, low);
            if progress.is_some_and(|it| it.is_complete) {
                #[allow(clippy::cast_precision_loss)] // A ratio for people.
                let ratio = sent as f64 / blocks as f64;
                return (ratio, now.since(Moment::START));
            }
        }
        if transfer.deadline() <= now {
            assert_eq!(transfer.on_deadline(now), None, "given up");
        }
    }
}

#[test]
fn a_ring_smaller_than_the_window_costs_few_repeats() {
    let sizes = [(64, 8), (64, 4), (16, 4), (16, 8), (8, 4), (4, 2), (4, 3)];
    for gap in GAPS {
        for ((window, ring), cable) in sizes
            .into_iter()
            .flat_map(|it| [(it, AT_ONCE), (it, ONE_BY_ONE)])
        {
            let (ratio, time) = send(gap, cable, window, Ring::of(ring), 4000);
            let what =
                format!("{gap:?}, {cable:?}, window {window}, ring {ring}: {ratio:.2}, {time:.2?}");
            println!("{what}");
            assert!(ratio <= 1.3, "{what}");
            assert!(time < Duration::from_secs(20), "{what}");
        }
    }
}

#[test]
fn a_ring_that_holds_the_window_changes_nothing() {
    for gap in GAPS {
        for window in [4, 16, 64] {
            let (ratio, _) = send(gap, AT_ONCE, window, Ring::of(window.into()), 4000);
            assert_eq!(
                ratio.to_bits(),
                1.0_f64.to_bits(),
                "{gap:?}, window {window}"
            );
        }
    }
}

/// What gets through looks like a ring of one packet; 40,000 blocks with a pause between any two take more than a
/// minute.
#[test]
fn a_network_that_was_busy_for_a_while_is_no_ring() {
    for gap in GAPS {
        for window in [4, 16, 64] {
            let busy = Ring {
                packets: 1,
                until: Moment::START + Duration::from_secs(5),
            };
            let (_, time) = send(gap, AT_ONCE, window, busy, 40_000);
            println!("{gap:?}, window {window}: {time:.2?}");
            assert!(
                time < Duration::from_secs(30),
                "{gap:?}, {window}: {time:?}"
            );
        }
    }
}

const GAPS: [Gap; 4] = [Gap::AckEach, Gap::AckOnce, Gap::Keep, Gap::Drop];
