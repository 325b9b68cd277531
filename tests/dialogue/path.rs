//! A transfer and a client over a path with a delay and a single fault: what one lost or repeated packet
//! costs in all, and that it costs it only once.
//!
//! The client acknowledges as edk2 does, which is hardest on a server: a window when it is whole, and
//! every packet that it did not expect with the block before the expected one. It never repeats anything
//! by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::transfer::{Datagrams, Departed, Outcome, Transfer};

use crate::talk::{PATIENCE, negotiate, on_wire};

const MILLISECOND: Duration = Duration::from_millis(1);

/// What the path does once.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// The server's packet with this number, counted from 0, is lost.
    LosePacket(u64),
    /// The client's ACK with this number is lost.
    LoseAck(u64),
    /// The client's ACK with this number arrives once more, so much later.
    RepeatAck(u64, Duration),
    /// The server's packet with this number is delivered twice, so much apart.
    RepeatPacket(u64, Duration),
    /// The client repeats its request after this time.
    AskAgain(Duration),
}

#[derive(Clone, Copy, Debug)]
enum Arrival {
    /// A block at the client; 0 is the OACK.
    Block(u64),
    Ack(u16),
    Request,
}

/// How it went.
#[derive(Debug)]
struct Story {
    outcome: Outcome,
    retransmissions: u64,
    took: Duration,
}

struct Path {
    transfer: Transfer,
    now: Moment,
    one_way: Duration,
    fault: Fault,
    /// What is on its way, by the time when it arrives and the order in which it left.
    under_way: BTreeMap<(Moment, u64), Arrival>,
    departures: u64,
    packets: u64,
    acks: u64,
    client: Client,
}

/// What the client has.
struct Client {
    expected: u64,
    in_window: u64,
    windowsize: u64,
    last: u64,
}

impl Client {
    /// What it answers to a block.
    fn receive(&mut self, block: u64) -> Option<u16> {
        if block == self.expected && block > 0 {
            self.expected += 1;
            self.in_window += 1;
            if self.in_window < self.windowsize && block < self.last {
                return None;
            }
        }
        self.in_window = 0;
        Some(on_wire(self.expected - 1))
    }
}

/// Fetches a file of this number of blocks of 8 bytes.
fn fetch(windowsize: u64, blocks: u64, round_trip: Duration, fault: Fault) -> Story {
    let options = format!("blksize 8, windowsize {windowsize}");
    let length = 8 * blocks - 1;
    let negotiated = negotiate(&options, Some(length));
    let mut path = Path {
        transfer: Transfer::new(Moment::START, negotiated, Some(length), PATIENCE),
        now: Moment::START,
        one_way: round_trip / 2,
        fault,
        under_way: BTreeMap::new(),
        departures: 0,
        packets: 0,
        acks: 0,
        client: Client {
            expected: 1,
            in_window: 0,
            windowsize,
            last: blocks,
        },
    };
    if let Fault::AskAgain(after) = fault {
        path.depart(Arrival::Request, after);
    }
    let outcome = path.run();
    if outcome == Outcome::Complete {
        assert_eq!(path.client.expected, blocks + 1, "the client has it all");
    }
    Story {
        outcome,
        retransmissions: path.transfer.retransmissions(),
        took: path.now.since(Moment::START),
    }
}

impl Path {
    fn run(&mut self) -> Outcome {
        for _ in 0..EVENTS_MAX {
            self.send();
            self.transfer.audit();
            if let Some(outcome) = self.next() {
                return outcome;
            }
        }
        panic!("it never ends");
    }

    /// Whatever comes next: an arrival, or the transfer's deadline. Returns how it ended, if it is over.
    fn next(&mut self) -> Option<Outcome> {
        let deadline = self.transfer.deadline();
        let arrival = self.under_way.first_key_value();
        if arrival.is_none_or(|(&(at, _), _)| deadline < at) {
            self.now = self.now.max(deadline);
            return self.transfer.on_deadline(self.now);
        }
        let ((at, _), arrival) = self.under_way.pop_first().unwrap();
        self.now = at;
        match arrival {
            Arrival::Ack(block) => {
                let progress = self.transfer.on_ack(at, block)?;
                progress.is_complete.then_some(Outcome::Complete)
            }
            Arrival::Request => {
                self.transfer.on_repeated_request(at);
                None
            }
            Arrival::Block(block) => {
                if let Some(ack) = self.client.receive(block) {
                    self.acknowledge(ack);
                }
                None
            }
        }
    }

    fn acknowledge(&mut self, block: u16) {
        let number = self.acks;
        self.acks += 1;
        match self.fault {
            Fault::LoseAck(lost) if lost == number => return,
            Fault::RepeatAck(repeated, lag) if repeated == number => {
                self.depart(Arrival::Ack(block), self.one_way + lag);
            }
            _ => {}
        }
        self.depart(Arrival::Ack(block), self.one_way);
    }

    fn send(&mut self) {
        while let Some(datagrams) = self.transfer.datagrams(u16::MAX) {
            let blocks = match datagrams {
                Datagrams::Oack(_) => 0..1,
                Datagrams::Data(blocks) => blocks.first..blocks.first + u64::from(blocks.count),
                Datagrams::Ack(_) | Datagrams::Error(_) => panic!("{datagrams:?} leaves"),
            };
            let packets = u16::try_from(blocks.end - blocks.start).unwrap();
            for block in blocks {
                self.send_block(block);
            }
            let departed = Departed { packets, end: None };
            self.transfer.sent(self.now, departed);
        }
    }

    fn send_block(&mut self, block: u64) {
        let number = self.packets;
        self.packets += 1;
        match self.fault {
            Fault::LosePacket(lost) if lost == number => return,
            Fault::RepeatPacket(repeated, lag) if repeated == number => {
                self.depart(Arrival::Block(block), self.one_way + lag);
            }
            _ => {}
        }
        self.depart(Arrival::Block(block), self.one_way);
    }

    fn depart(&mut self, what: Arrival, takes: Duration) {
        self.departures += 1;
        self.under_way
            .insert((self.now + takes, self.departures), what);
    }
}

#[test]
fn a_faultless_path_carries_every_packet_once() {
    for windowsize in [1, 4, 64] {
        for round_trip in [MILLISECOND, 200 * MILLISECOND] {
            let story = fetch(windowsize, 640, round_trip, Fault::None);
            assert_eq!(story.outcome, Outcome::Complete);
            assert_eq!(story.retransmissions, 0);
            let windows = u32::try_from(640 / windowsize).unwrap();
            assert_eq!(story.took, round_trip * (1 + windows));
        }
    }
}

/// Whichever packet is lost: the window goes out once more by the timer, and the rest of it perhaps once
/// more at the client's wish; never again after that.
#[test]
fn any_one_lost_packet_costs_two_windows_and_an_rto_at_most() {
    for windowsize in [1, 4, 8, 64] {
        for lost in 0..=BLOCKS {
            let most = if lost == 0 { 1 } else { 2 * windowsize };
            check_loss(windowsize, Fault::LosePacket(lost), lost == 0, most);
        }
    }
}

#[test]
fn any_one_lost_ack_costs_a_window_and_an_rto_at_most() {
    for windowsize in [1, 4, 8, 64] {
        for lost in 0..=BLOCKS.div_ceil(windowsize) {
            let most = if lost == 0 { 1 } else { windowsize };
            check_loss(windowsize, Fault::LoseAck(lost), lost == 0, most);
        }
    }
}

/// The OACK has the initial RTO, since nothing was measured before it.
fn check_loss(windowsize: u64, fault: Fault, in_handshake: bool, most: u64) {
    let rto = if in_handshake { 1000 } else { 200 } * MILLISECOND;
    let clean = fetch(windowsize, BLOCKS, MILLISECOND, Fault::None);
    let story = fetch(windowsize, BLOCKS, MILLISECOND, fault);
    let what = format!("windowsize {windowsize}, {fault:?}: {story:?}");
    assert_eq!(story.outcome, Outcome::Complete, "{what}");
    assert!(
        1 <= story.retransmissions && story.retransmissions <= most,
        "{what}"
    );
    // A gap may shift the windows, which can make one more.
    assert!(story.took <= clean.took + rto + 3 * MILLISECOND, "{what}");
}

/// Not a multiple of any window.
const BLOCKS: u64 = 203;

/// The Sorcerer's Apprentice: one ACK that the network delivers twice must not double what follows.
#[test]
fn in_lockstep_one_ack_delivered_twice_costs_nothing() {
    for lag in [1, 100, 500, 900] {
        let fault = Fault::RepeatAck(5, Duration::from_micros(lag));
        let story = fetch(1, 400, MILLISECOND, fault);
        assert_eq!(story.outcome, Outcome::Complete);
        assert_eq!(story.retransmissions, 0, "{lag} us apart: {story:?}");
    }
}

/// The same a window at a time. The second ACK may be taken for a wish and cost one window; but the
/// client acknowledges each of those stray blocks, and if these ACKs were believed as well, every window
/// would go out twice to the end of the file.
#[test]
fn in_a_window_one_ack_delivered_twice_costs_one_window_at_most() {
    for lag in [1, 100, 500, 900] {
        let fault = Fault::RepeatAck(5, Duration::from_micros(lag));
        let story = fetch(4, 400, MILLISECOND, fault);
        assert_eq!(story.outcome, Outcome::Complete);
        assert!(story.retransmissions <= 4, "{lag} us apart: {story:?}");
    }
}

#[test]
fn in_a_window_one_packet_delivered_twice_costs_one_window_at_most() {
    for lag in [1, 100, 500, 900] {
        let fault = Fault::RepeatPacket(10, Duration::from_micros(lag));
        let story = fetch(4, 400, MILLISECOND, fault);
        assert_eq!(story.outcome, Outcome::Complete);
        assert!(story.retransmissions <= 4, "{lag} us apart: {story:?}");
    }
}

/// On a long path a client repeats its request before the OACK can have reached it, and gets two. Its
/// second ACK 0 is a duplicate like any other, although no round trip could be measured yet.
#[test]
fn a_request_repeated_on_a_long_path_does_not_double_the_transfer() {
    for (windowsize, most) in [(1, 2), (4, 1 + 4)] {
        let fault = Fault::AskAgain(250 * MILLISECOND);
        let story = fetch(windowsize, 100, 300 * MILLISECOND, fault);
        assert_eq!(story.outcome, Outcome::Complete);
        assert!(
            story.retransmissions <= most,
            "windowsize {windowsize}: {story:?}"
        );
    }
}

/// More than any of these stories has.
const EVENTS_MAX: usize = 100_000;
