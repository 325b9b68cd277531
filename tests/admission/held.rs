//! Those who wait are kept alive: answered after a while, sent a block now and then within a share of the
//! output, and passed on to a slot without noticing.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::server::Limits;
use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::Peer;

use crate::world::{
    Arrival, Lab, Packet, Sent, TICK, ack, assert_on_time, behind, client, error, millis, request,
    request_with, seconds,
};

/// The limits of a server as it comes, but for the slots, and with 2 s of silence before it holds.
pub(crate) fn slots(max_transfers: usize) -> Limits {
    Limits {
        max_transfers,
        hold: Some(seconds(2)),
        ..Limits::default()
    }
}

pub(crate) fn without_holding(limits: Limits) -> Limits {
    Limits {
        hold: None,
        ..limits
    }
}

pub(crate) fn without_reclaim(limits: Limits) -> Limits {
    Limits {
        reclaim: false,
        ..limits
    }
}

pub(crate) fn without_small_files(limits: Limits) -> Limits {
    Limits {
        small_file: 0,
        ..limits
    }
}

/// A server with this number of slots and a kernel of a gigabyte.
pub(crate) fn lab_with(limits: Limits) -> Lab {
    let mut lab = Lab::new(limits);
    lab.world.add_file("kernel", 1 << 30);
    lab
}

/// Machine number `number`, of which there are more than there are numbers for a `client`.
pub(crate) fn machine(number: u32) -> Peer {
    let network = u32::from(Ipv4Addr::new(10, 0, 0, 0));
    Peer {
        address: IpAddr::V4(Ipv4Addr::from(network + number)),
        port: 2070,
        scope: 0,
    }
}

/// Clients that acknowledge what they are sent, each after a round trip of its own.
#[derive(Debug, Default)]
pub(crate) struct Answering {
    /// How much of what was sent they have seen.
    seen: usize,
    due: BTreeMap<(Moment, u64), (Peer, u64)>,
    serial: u64,
    /// They acknowledge each time after this number of blocks; below 2, all that left together.
    pub(crate) windowsize: u64,
    /// Turns that a timer of the server asked for.
    pub(crate) wakeups: u64,
}

impl Answering {
    /// Begins with what is sent from now on.
    pub(crate) fn from_now(lab: &Lab) -> Answering {
        Answering {
            seen: lab.world.sent.len(),
            ..Answering::default()
        }
    }

    /// Lets time pass. A client without a round trip is silent.
    pub(crate) fn live(
        &mut self,
        lab: &mut Lab,
        span: Duration,
        round_trip: impl Fn(Peer) -> Option<Duration>,
    ) {
        let until = lab.world.now + span;
        loop {
            self.notice(lab, &round_trip);
            if lab.server.has_ready() {
                lab.turn(&[]);
                continue;
            }
            let answer_at = self.due.keys().next().map(|&(at, _)| at);
            let wakeup = lab.server.next_wakeup();
            let next = [answer_at, wakeup].into_iter().flatten().min();
            let Some(next) = next.filter(|&next| next <= until) else {
                break;
            };
            self.wakeups += u64::from(wakeup == Some(next));
            lab.world.now = lab.world.now.max(next);
            let arrivals = self.take_due(lab.world.now);
            lab.turn(&arrivals);
        }
        lab.world.now = until;
        lab.settle(&[]);
        self.notice(lab, &round_trip);
    }

    fn take_due(&mut self, now: Moment) -> Vec<Arrival> {
        let later = self.due.split_off(&(now + Duration::from_micros(1), 0));
        let due = std::mem::replace(&mut self.due, later);
        due.into_values()
            .map(|(peer, block)| ack(peer, block))
            .collect()
    }

    /// Of packets that left together the last one is acknowledged.
    fn notice(&mut self, lab: &Lab, round_trip: &impl Fn(Peer) -> Option<Duration>) {
        let sent = &lab.world.sent[self.seen..];
        for (index, one) in sent.iter().enumerate() {
            let goes_on = |next: &Sent| (next.peer, next.at) == (one.peer, one.at);
            let block = match one.packet {
                Packet::Oack => 0,
                Packet::Data(block) => block,
                Packet::Error(_) => continue,
            };
            let is_last = match self.windowsize {
                0 | 1 => !sent.get(index + 1).is_some_and(goes_on),
                windowsize => block % windowsize == 0,
            };
            if let Some(after) = round_trip(one.peer).filter(|_| is_last) {
                self.serial += 1;
                self.due
                    .insert((one.at + after, self.serial), (one.peer, block));
            }
        }
        self.seen = lab.world.sent.len();
    }
}

/// One slot, which client 1 has and keeps: it acknowledges a block every 3 ms: slower than all
/// others, but not four times, so that it is not far away.
fn lab_with_one_slow(limits: Limits) -> (Lab, Answering) {
    let mut lab = lab_with(Limits {
        max_transfers: 1,
        ..limits
    });
    let answering = Answering::from_now(&lab);
    lab.ask(client(1), "kernel");
    (lab, answering)
}

const SLOW: Duration = Duration::from_millis(3);
const QUICK: Duration = Duration::from_millis(1);

fn only_first_lives(peer: Peer) -> Option<Duration> {
    (peer == client(1)).then_some(SLOW)
}

fn all_live(peer: Peer) -> Option<Duration> {
    Some(if peer == client(1) { SLOW } else { QUICK })
}

/// When blocks went out that had not gone out before.
fn first_sendings(lab: &Lab, peer: Peer) -> Vec<(u64, Moment)> {
    let mut seen: Vec<(u64, Moment)> = Vec::new();
    for sent in lab.world.sendings_to(peer) {
        match sent.packet {
            Packet::Data(block) if seen.iter().all(|&(old, _)| old != block) => {
                seen.push((block, sent.at));
            }
            Packet::Data(_) | Packet::Oack | Packet::Error(_) => {}
        }
    }
    seen
}

fn gaps(sendings: &[(u64, Moment)]) -> Vec<Duration> {
    sendings
        .windows(2)
        .map(|pair| pair[1].1.since(pair[0].1))
        .collect()
}

#[test]
fn a_client_that_waits_is_answered_after_the_time_set_and_not_before() {
    for hold in [millis(0), millis(500), seconds(2), seconds(4)] {
        let limits = Limits {
            hold: Some(hold),
            ..Limits::default()
        };
        let (mut lab, mut answering) = lab_with_one_slow(limits);
        answering.live(&mut lab, millis(300), only_first_lives);
        let asked_at = lab.world.now;
        lab.turn(&[
            request(client(2), "kernel"),
            request_with(client(3), "kernel", "octet", &[("blksize", "1024")]),
        ]);
        answering.live(&mut lab, hold.saturating_sub(millis(1)), only_first_lives);
        if hold > Duration::ZERO {
            assert_eq!((lab.server.pending(), lab.server.held()), (2, 0));
            assert_eq!(lab.world.packets_to(client(2)), []);
            assert_eq!(lab.world.packets_to(client(3)), []);
        }
        answering.live(&mut lab, TICK + millis(1), only_first_lives);
        assert_eq!(lab.world.packets_to(client(2)), [Packet::Data(1)]);
        assert_eq!(lab.world.packets_to(client(3)), [Packet::Oack]);
        assert_on_time(lab.world.sendings_to(client(2))[0].at, asked_at + hold);
        assert_eq!((lab.server.pending(), lab.server.held()), (0, 2));
        assert_eq!(lab.server.running(), 1);
    }
    assert_eq!(Limits::default().hold, Some(seconds(1)), "the default");
}

#[test]
fn without_holding_those_who_wait_get_nothing_however_long() {
    let limits = Limits {
        hold: None,
        ..Limits::default()
    };
    let (mut lab, mut answering) = lab_with_one_slow(limits);
    for _ in 0..20 {
        lab.ask(client(2), "kernel");
        answering.live(&mut lab, seconds(5), only_first_lives);
    }
    assert_eq!(lab.world.packets_to(client(2)), []);
    assert_eq!((lab.server.pending(), lab.server.held()), (1, 0));
    assert_eq!(lab.world.open_now(), 1);
}

#[test]
fn one_block_an_interval_and_only_after_the_ack_of_the_one_before() {
    let (mut lab, mut answering) = lab_with_one_slow(slots(1));
    lab.ask(client(2), "kernel");
    answering.live(&mut lab, seconds(60), all_live);
    let sendings = first_sendings(&lab, client(2));
    let blocks: Vec<u64> = sendings.iter().map(|&(block, _)| block).collect();
    assert!(blocks.len() >= 14, "{} blocks in a minute", blocks.len());
    assert!(blocks.iter().copied().eq(1..=blocks.len() as u64));
    assert_eq!(
        blocks.len(),
        lab.world.packets_to(client(2)).len(),
        "nothing was sent twice"
    );
    // The first gap is a part of an interval, so that intervals are spread.
    let gaps = gaps(&sendings);
    assert!(gaps[0] <= seconds(4) + TICK + QUICK);
    for gap in &gaps[1..] {
        assert!(seconds(1) <= *gap && *gap <= seconds(4) + TICK, "{gaps:?}");
    }

    // From here on it is silent: its block comes again, but none that is new.
    let newest = first_sendings(&lab, client(2)).len();
    let silent_from = lab.world.now;
    answering.live(&mut lab, seconds(20), only_first_lives);
    assert!(first_sendings(&lab, client(2)).len() <= newest + 1);
    let repeated = lab.world.sendings_to(client(2));
    let repeated = repeated.iter().filter(|sent| silent_from < sent.at).count();
    assert!(repeated >= 3, "its block is sent again");
}

#[test]
fn one_window_of_at_most_four_blocks_an_interval() {
    for (asked, granted) in [("2", 2), ("4", 4), ("64", 4)] {
        let (mut lab, mut answering) = lab_with_one_slow(slots(1));
        let options = [("windowsize", asked)];
        lab.ask_with(client(2), "kernel", &options);
        answering.live(&mut lab, seconds(40), all_live);
        let packets = lab.world.packets_to(client(2));
        assert_eq!(packets[0], Packet::Oack);
        let sendings = first_sendings(&lab, client(2));
        assert!(sendings.len() >= 9 * granted, "{} blocks", sendings.len());
        assert_eq!(sendings.len() + 1, packets.len(), "nothing was sent twice");
        for window in sendings.chunks_exact(granted) {
            assert!(window.iter().all(|&(_, at)| at == window[0].1));
        }
        let begins: Vec<(u64, Moment)> = sendings.iter().copied().step_by(granted).collect();
        for gap in &gaps(&begins)[1..] {
            assert!(seconds(1) <= *gap && *gap <= seconds(4) + TICK);
        }
    }
}

/// A client that waits gets no more by telling that part of a window was lost.
#[test]
fn a_held_client_that_acknowledges_parts_of_windows_is_not_fed_faster() {
    let (mut lab, mut answering) = lab_with_one_slow(without_reclaim(slots(1)));
    let options = [("windowsize", "4")];
    lab.ask_with(client(2), "kernel", &options);
    answering.live(&mut lab, seconds(2) + TICK, only_first_lives);
    assert_eq!(lab.world.packets_to(client(2)), [Packet::Oack]);
    lab.ack(client(2), 0);
    let begin = lab.world.now;
    // Every 50 ms it acknowledges the first block that it has not acknowledged yet.
    let mut acknowledged = 0;
    while lab.world.now < begin + seconds(12) {
        answering.live(&mut lab, millis(50), only_first_lives);
        if first_sendings(&lab, client(2)).len() > acknowledged {
            acknowledged += 1;
            lab.ack(client(2), acknowledged as u64);
        }
    }
    let blocks = first_sendings(&lab, client(2)).len();
    assert!(
        blocks <= 4 * 13,
        "{blocks} blocks in 12 s: more than one window a second"
    );
}

#[test]
fn with_much_output_the_interval_is_a_second_and_with_little_it_is_stretched_to_four() {
    for (round_trip, expected) in [(millis(2), seconds(1)), (millis(900), seconds(4))] {
        let mut lab = lab_with(without_reclaim(slots(1)));
        let mut answering = Answering::from_now(&lab);
        let options = [("blksize", "8192")];
        lab.ask_with(client(1), "kernel", &options);
        lab.ask_each((0..20).map(machine), "kernel");
        let lives = |peer| Some(if peer == client(1) { round_trip } else { QUICK });
        answering.live(&mut lab, seconds(30), lives);
        assert_eq!(lab.server.held(), 20);
        for number in 0..20 {
            let gaps = gaps(&first_sendings(&lab, machine(number)));
            assert!(gaps.len() >= 5);
            let settled = &gaps[gaps.len() - 4..];
            assert!(
                settled
                    .iter()
                    .all(|&gap| expected <= gap && gap <= expected + TICK + QUICK),
                "{settled:?}"
            );
        }
    }
}

#[test]
fn all_held_together_take_no_more_than_their_share_of_the_output() {
    for (share, percent) in [(10, 10.0), (20, 20.0)] {
        let limits = Limits {
            keepalive_share: share,
            ..slots(1)
        };
        let mut lab = lab_with(limits);
        let mut answering = Answering::from_now(&lab);
        let options = [("blksize", "8192")];
        lab.ask_with(client(1), "kernel", &options);
        let held = 20 * u32::from(share);
        lab.ask_each((0..held).map(machine), "kernel");
        // 580 kB a second go to the one who runs; one round of the held is 11 kB for each percent.
        let lives = |peer| Some(if peer == client(1) { millis(14) } else { QUICK });
        answering.live(&mut lab, seconds(8), lives);
        let from = lab.world.sent.len();
        answering.live(&mut lab, seconds(16), lives);
        let sent = &lab.world.sent[from..];
        let to_first = sent.iter().filter(|sent| sent.peer == client(1)).count();
        // With the headers of Ethernet, IP, UDP and TFTP.
        let running = to_first as f64 * (8192.0 + 50.0);
        let kept_alive = (sent.len() - to_first) as f64 * (512.0 + 50.0);
        let taken = 100.0 * kept_alive / (running + kept_alive);
        assert!(taken <= 1.1 * percent, "{taken} % of the output");
        assert!(taken >= 0.7 * percent, "{taken} % only: a trickle too thin");
        assert_eq!(lab.server.held(), usize::try_from(held).unwrap());
    }
}

#[test]
fn those_held_at_the_same_moment_are_not_fed_at_the_same_moment() {
    const MACHINES: u32 = 200;
    for options in [&[][..], &[("blksize", "1024")]] {
        let (mut lab, mut answering) = lab_with_one_slow(without_reclaim(slots(1)));
        let requests: Vec<Arrival> = (0..MACHINES)
            .map(|number| request_with(machine(number), "kernel", "octet", options))
            .collect();
        lab.turn(&requests);
        answering.live(&mut lab, seconds(2) + 2 * TICK, all_live);
        let held_at = lab.world.now;
        answering.live(&mut lab, seconds(16), all_live);
        let mut trickle: HashMap<u64, u32> = HashMap::new();
        let mut in_all = 0;
        for sent in &lab.world.sent {
            if sent.peer != client(1) && held_at < sent.at {
                *trickle.entry(sent.at.micros() / 100_000).or_default() += 1;
                in_all += 1;
            }
        }
        assert!(in_all >= 3 * MACHINES, "{in_all} blocks in 16 s");
        // 200 in 4 s are 5 in each tenth of a second.
        let most = trickle.values().max().copied().unwrap_or(0);
        assert!(most <= 15, "{most} of {MACHINES} in a tenth of a second");
    }
}

#[test]
fn held_clients_are_promoted_in_order_and_go_on_at_full_speed() {
    let (mut lab, mut answering) = lab_with_one_slow(slots(1));
    lab.world.add_file("initrd", 40 * 512 + 1);
    for number in 2..=4 {
        lab.ask(client(number), "initrd");
        answering.live(&mut lab, millis(50), all_live);
    }
    answering.live(&mut lab, seconds(10), all_live);
    assert_eq!((lab.server.held(), lab.server.running()), (3, 1));
    let sent_before = [2, 3, 4].map(|number| first_sendings(&lab, client(number)).len());
    assert!(sent_before.iter().all(|&blocks| 1 < blocks && blocks < 12));

    let free_at = lab.world.now;
    lab.settle(&[error(client(1), 0)]);
    // The first goes on in the same turn, with the block after the last one acknowledged.
    let expected = Packet::Data(sent_before[0] as u64 + 1);
    let last = *lab.world.sendings_to(client(2)).last().unwrap();
    assert_eq!((last.packet, last.at), (expected, free_at));
    assert_eq!((lab.server.held(), lab.server.running()), (2, 1));
    answering.live(&mut lab, seconds(1), all_live);
    let complete: Vec<(Peer, Outcome, u64)> = lab.world.ended[1..]
        .iter()
        .map(|ended| (ended.peer, ended.outcome, ended.bytes))
        .collect();
    let all = [2, 3, 4].map(|number| (client(number), Outcome::Complete, 40 * 512 + 1));
    assert_eq!(complete, all);
    // Each of them took some 40 round trips, and nobody was sent anything twice.
    assert!(lab.world.ended[3].at <= free_at + 130 * QUICK);
    for number in 2..=4 {
        assert_eq!(lab.world.packets_to(client(number)).len(), 41);
    }
    assert_eq!(lab.world.open_now(), 0);
}

#[test]
fn a_promoted_client_keeps_its_small_window_and_sends_it_at_every_ack() {
    let (mut lab, mut answering) = lab_with_one_slow(slots(1));
    let options = [("windowsize", "16")];
    lab.ask_with(client(2), "kernel", &options);
    answering.live(&mut lab, seconds(5), all_live);
    lab.settle(&[error(client(1), 0)]);
    let from = lab.world.sent.len();
    answering.live(&mut lab, millis(100), all_live);
    let sent = lab.world.sent.len() - from;
    assert!(4 * 95 <= sent && sent <= 4 * 101, "{sent} blocks in 100 ms");
}

#[test]
fn a_small_file_that_was_trickled_whole_ends_complete_without_a_slot() {
    for (name, options, bytes) in [
        ("small", &[][..], 100),
        ("small", &[("blksize", "1024")], 100),
        ("medium", &[], 3 * 512 + 100),
        ("medium", &[("windowsize", "4")], 3 * 512 + 100),
    ] {
        let (mut lab, mut answering) = lab_with_one_slow(without_reclaim(slots(1)));
        lab.ask_with(client(2), name, options);
        lab.ask(client(3), "kernel");
        answering.live(&mut lab, seconds(30), all_live);
        assert_eq!(lab.world.outcomes_of(client(2)), [Outcome::Complete]);
        assert_eq!(lab.world.ended[0].bytes, bytes);
        // The slot was never anybody else's.
        assert_eq!((lab.server.running(), lab.server.held()), (1, 1));
        let first_has_run = first_sendings(&lab, client(1));
        assert!(
            gaps(&first_has_run).iter().all(|&gap| gap <= SLOW + TICK),
            "client 1 ran all the time"
        );
        assert_eq!(lab.world.open_now(), 2);
    }
}

#[test]
fn a_held_client_that_stops_answering_gives_way_and_comes_back_in_its_old_place() {
    let (mut lab, mut answering) = lab_with_one_slow(slots(1));
    for number in 2..=4 {
        lab.ask(client(number), "kernel");
        answering.live(&mut lab, millis(50), all_live);
    }
    answering.live(&mut lab, seconds(5), all_live);
    assert_eq!(lab.server.held(), 3);
    let but_second = |peer| all_live(peer).filter(|_| peer != client(2));
    answering.live(&mut lab, seconds(8), but_second);
    // The slot goes to the third, though the second came first.
    lab.settle(&[error(client(1), 0)]);
    let runs = |lab: &mut Lab, answering: &mut Answering, number| {
        let from = lab.world.sent.len();
        answering.live(lab, millis(100), but_second);
        let to_it = |sent: &&Sent| sent.peer == client(number);
        lab.world.sent[from..].iter().filter(to_it).count() > 20
    };
    assert!(runs(&mut lab, &mut answering, 3));
    // It answers again, and is first in line.
    let last = lab.world.last_packet_to(client(2));
    let Some(Packet::Data(block)) = last else {
        panic!("{last:?}");
    };
    lab.ack(client(2), block);
    assert!(
        runs(&mut lab, &mut answering, 3),
        "nobody loses a slot in use"
    );
    lab.settle(&[error(client(3), 0)]);
    assert_eq!((lab.server.running(), lab.server.held()), (1, 1));
    // The block that it got with its ACK, long after the one before, and now as fast as it can.
    for block in block + 1..block + 10 {
        assert_eq!(
            lab.world.last_packet_to(client(2)),
            Some(Packet::Data(block))
        );
        lab.ack(client(2), block);
    }
    lab.settle(&[error(client(2), 0)]);
    assert!(runs(&mut lab, &mut answering, 4));
}

#[test]
fn a_held_client_that_never_answered_is_given_up_as_any_other() {
    for (options, sendings) in [(&[][..], 3), (&[("blksize", "1024")], 5)] {
        let (mut lab, mut answering) = lab_with_one_slow(slots(1));
        lab.ask_with(client(2), "kernel", options);
        answering.live(&mut lab, seconds(20), only_first_lives);
        assert_eq!(lab.world.packets_to(client(2)).len(), sendings);
        assert_eq!(lab.world.outcomes_of(client(2)), [Outcome::NoAnswer]);
        let times: Vec<Moment> = lab
            .world
            .sendings_to(client(2))
            .iter()
            .map(|sent| sent.at)
            .collect();
        assert_on_time(times[0], Moment::START + seconds(2));
        assert_on_time(times[1], times[0] + seconds(1));
        assert_on_time(times[2], times[1] + seconds(2));
        assert_eq!((lab.server.held(), lab.world.open_now()), (0, 1));
    }
}

#[test]
fn a_held_client_that_fell_silent_later_is_given_up_after_the_time_set() {
    let (mut lab, mut answering) = lab_with_one_slow(slots(1));
    lab.ask(client(2), "kernel");
    answering.live(&mut lab, seconds(9), all_live);
    let blocks = first_sendings(&lab, client(2)).len();
    assert!(blocks >= 2);
    answering.live(&mut lab, seconds(40), only_first_lives);
    assert_eq!(lab.world.outcomes_of(client(2)), [Outcome::TimedOut]);
    let sendings = first_sendings(&lab, client(2));
    // One more block was sent after the last that it acknowledged.
    assert!(sendings.len() <= blocks + 1);
    let ended_at = lab.world.ended[0].at;
    assert!(sendings[blocks - 1].1 + seconds(35) <= ended_at + QUICK);
    // Its time began anew with what it had been kept waiting for.
    assert!(ended_at <= Moment::START + seconds(9 + 1 + 35) + TICK);
    assert_eq!((lab.server.held(), lab.world.open_now()), (0, 1));
}

#[test]
fn a_repeated_request_draws_the_first_packet_again_if_that_is_a_tenth_of_a_second_old() {
    for options in [&[][..], &[("blksize", "1024")]] {
        let (mut lab, mut answering) = lab_with_one_slow(slots(1));
        let again = request_with(client(2), "kernel", "octet", options);
        lab.settle(std::slice::from_ref(&again));
        answering.live(&mut lab, seconds(2) + TICK, only_first_lives);
        let sent = |lab: &Lab| lab.world.packets_to(client(2)).len();
        assert_eq!(sent(&lab), 1);
        // Pauses before each repeat, how many packets left meanwhile for those before, and at once for it.
        let repeats = [(5, 0, 0), (9, 0, 0), (80, 0, 0), (9, 1, 0), (80, 0, 0)];
        for (pause, left, drawn) in repeats.into_iter().chain([(230, 1, 1)]) {
            let before = sent(&lab);
            answering.live(&mut lab, millis(pause), only_first_lives);
            assert_eq!(sent(&lab), before + left, "after {pause} ms");
            lab.settle(std::slice::from_ref(&again));
            assert_eq!(sent(&lab), before + left + drawn, "after {pause} ms");
        }
        let packets = lab.world.packets_to(client(2));
        assert!(packets.iter().all(|packet| *packet == packets[0]));
        // Once it has answered, a second transfer has its place.
        answering.live(&mut lab, millis(150), only_first_lives);
        lab.ack(client(2), u64::from(options.is_empty()));
        let before = sent(&lab);
        lab.settle(&[again]);
        lab.pass(millis(51));
        let sent_since = lab.world.packets_to(client(2)).split_off(before);
        assert!(sent_since.contains(&packets[0]), "{sent_since:?}");
        assert_eq!(lab.world.outcomes_of(client(2)), []);
        assert_eq!((lab.world.opens.len(), lab.world.open_now()), (3, 3));
        lab.ack(client(2), u64::from(options.is_empty()));
        assert_eq!(lab.world.outcomes_of(client(2)), [Outcome::Restarted]);
        assert_eq!(lab.world.open_now(), 2);
    }
}

/// Some ROMs ask from a new port whenever they ask again, and hear nothing on the old one.
#[test]
fn a_new_port_of_a_machine_that_was_answered_in_vain_takes_its_place() {
    let (mut lab, mut answering) = lab_with_one_slow(slots(1));
    let rom = |port| behind(2, port);
    lab.ask(rom(1001), "medium");
    answering.live(&mut lab, seconds(1), only_first_lives);
    lab.ask(client(3), "kernel");
    let others = |peer: Peer| all_live(peer).filter(|_| peer.address != rom(0).address);
    answering.live(&mut lab, seconds(3), others);
    assert_eq!(
        lab.world.packets_to(rom(1001)),
        [Packet::Data(1), Packet::Data(1)]
    );
    // Its time to be held is long over: it is answered at once.
    lab.ask(rom(1002), "medium");
    answering.live(&mut lab, TICK, others);
    assert_eq!(lab.world.packets_to(rom(1002)), [Packet::Data(1)]);
    assert_eq!(lab.world.outcomes_of(rom(1001)), [Outcome::Superseded]);
    assert_eq!(lab.server.held(), 2);
    answering.live(&mut lab, seconds(4), others);
    lab.ask(rom(1003), "medium");
    answering.live(&mut lab, TICK, others);
    assert_eq!(lab.world.outcomes_of(rom(1002)), [Outcome::Superseded]);
    // The slot comes free: the machine stands before client 3, who asked after its first request.
    lab.settle(&[error(client(1), 0)]);
    assert_eq!((lab.server.running(), lab.server.held()), (1, 1));
    let from = lab.world.sent.len();
    lab.ack(rom(1003), 1);
    assert_eq!(lab.world.sent[from..].len(), 1, "block 2 at once");
    lab.settle(&[ack(rom(1003), 2), ack(rom(1003), 3), ack(rom(1003), 4)]);
    lab.fetch_rest(rom(1003));
    assert_eq!(lab.world.outcomes_of(rom(1003)), [Outcome::Complete]);
    let bytes: Vec<u64> = lab.world.ended.iter().map(|ended| ended.bytes).collect();
    assert_eq!(
        bytes
            .iter()
            .filter(|&&bytes| bytes == 3 * 512 + 100)
            .count(),
        1,
        "one transfer in the end"
    );
}

#[test]
fn ports_of_one_address_that_answer_all_stand() {
    let (mut lab, mut answering) = lab_with_one_slow(slots(1));
    for port in 1001..=1004 {
        lab.ask(behind(2, port), "kernel");
        answering.live(&mut lab, millis(200), all_live);
    }
    answering.live(&mut lab, seconds(5), all_live);
    assert_eq!(lab.server.held(), 4);
    // One more, long after the others were answered.
    lab.ask(behind(2, 1005), "kernel");
    answering.live(&mut lab, seconds(3), all_live);
    assert_eq!(lab.server.held(), 5);
    assert_eq!(lab.world.ended, []);
}

#[test]
fn the_bound_of_the_queue_counts_the_held_and_the_pending() {
    let limits = Limits {
        max_pending: 4,
        ..Limits::default()
    };
    let (mut lab, mut answering) = lab_with_one_slow(limits);
    lab.ask(client(2), "kernel");
    lab.ask(client(3), "kernel");
    answering.live(&mut lab, seconds(4), all_live);
    lab.ask(client(4), "kernel");
    lab.ask(client(5), "kernel");
    assert_eq!((lab.server.held(), lab.server.pending()), (2, 2));
    lab.ask(client(6), "kernel");
    assert_eq!(lab.world.queue_full, [client(6)]);
    answering.live(&mut lab, seconds(4), all_live);
    assert_eq!((lab.server.held(), lab.server.pending()), (4, 0));
    lab.ask(client(6), "kernel");
    assert_eq!(lab.world.queue_full, [client(6), client(6)]);
    assert_eq!(lab.server.stats().queue_full, 2);
    assert_eq!(lab.world.packets_to(client(6)), []);
    // A slot comes free, and with it a place.
    lab.settle(&[error(client(1), 0)]);
    lab.ask(client(6), "kernel");
    assert_eq!((lab.server.held(), lab.server.pending()), (3, 1));
    assert_eq!(lab.world.queue_full.len(), 2);
}

#[test]
fn want_of_descriptors_puts_holding_off_and_loses_nobody() {
    const MACHINES: u32 = 50;
    let (mut lab, mut answering) = lab_with_one_slow(slots(1));
    let ask = |number| request(machine(number), "kernel");
    let requests: Vec<Arrival> = (0..MACHINES).map(ask).collect();
    lab.turn(&requests);
    answering.live(&mut lab, seconds(1), all_live);
    lab.world.exhausted = true;
    answering.live(&mut lab, seconds(5), all_live);
    assert_eq!(lab.server.pending(), MACHINES as usize);
    assert_eq!(lab.world.open_now(), 1);
    assert_eq!(lab.world.ended, []);
    // Each is tried again, but not in every turn.
    let reported = lab.world.exhausted_reported.len();
    assert!(1 <= reported && reported <= 5 * MACHINES as usize);

    lab.world.exhausted = false;
    answering.live(&mut lab, seconds(1) + 2 * TICK, all_live);
    assert_eq!(lab.server.held(), MACHINES as usize);
    for number in 0..MACHINES {
        assert_eq!(lab.world.packets_to(machine(number))[0], Packet::Data(1));
    }
    assert_eq!(lab.world.ended, []);
}

/// One who waits for descriptors to be held must not keep a slot from one that has its own.
#[test]
fn while_descriptors_are_lacking_those_who_are_held_still_get_slots() {
    let (mut lab, mut answering) = lab_with_one_slow(slots(1));
    lab.ask(client(2), "kernel");
    answering.live(&mut lab, seconds(3), all_live);
    assert_eq!(lab.server.held(), 1);
    lab.world.exhausted = true;
    lab.ask(client(3), "kernel");
    answering.live(&mut lab, millis(2100), all_live);
    assert_eq!((lab.server.held(), lab.server.pending()), (1, 1));
    lab.settle(&[error(client(1), 0)]);
    assert_eq!((lab.server.running(), lab.server.held()), (1, 0));
    assert_eq!(lab.server.pending(), 1);
}

#[test]
fn stopping_ends_the_held_and_lets_the_running_finish() {
    let (mut lab, mut answering) = lab_with_one_slow(slots(1));
    lab.ask(client(2), "kernel");
    answering.live(&mut lab, seconds(4), all_live);
    lab.ask(client(3), "kernel");
    assert_eq!((lab.server.held(), lab.server.pending()), (1, 1));
    lab.stop();
    assert_eq!(lab.world.outcomes_of(client(2)), [Outcome::ShutDown]);
    assert_eq!(lab.world.outcomes_of(client(3)), [Outcome::ShutDown]);
    assert_eq!(lab.world.outcomes_of(client(1)), []);
    assert_eq!((lab.server.running(), lab.world.open_now()), (1, 1));
    assert!(!lab.server.is_stopped());
    let from = lab.world.sent.len();
    answering.live(&mut lab, seconds(5), all_live);
    let sent = &lab.world.sent[from..];
    assert!(sent.len() >= 20 && sent.iter().all(|sent| sent.peer == client(1)));
    lab.settle(&[error(client(1), 0)]);
    assert!(lab.server.is_stopped());
}

#[test]
fn a_held_client_that_closes_its_port_or_gives_up_is_gone_at_once() {
    let (mut lab, mut answering) = lab_with_one_slow(slots(1));
    lab.ask_each((2..=4).map(client), "kernel");
    answering.live(&mut lab, seconds(4), all_live);
    lab.settle(&[Arrival::PortClosed(client(2)), error(client(3), 0)]);
    assert_eq!(lab.world.outcomes_of(client(2)), [Outcome::PortClosed]);
    assert_eq!(lab.world.outcomes_of(client(3)), [Outcome::Cancelled]);
    assert_eq!((lab.server.held(), lab.world.open_now()), (1, 2));
    lab.settle(&[error(client(1), 0)]);
    assert_eq!((lab.server.running(), lab.server.held()), (1, 0));
    assert_eq!(
        lab.world.sendings_to(client(4)).last().unwrap().at,
        lab.world.now
    );
}

/// A held client costs a wake-up for each of its packets, and nothing beside.
#[test]
fn held_clients_wake_the_server_for_their_packets_only() {
    for machines in [1, 10, 60] {
        let mut lab = lab_with(slots(1));
        let mut answering = Answering::from_now(&lab);
        // The one with the slot is as slow as may be, and gives nobody a reason to wake up.
        lab.ask(client(1), "kernel");
        let requests: Vec<Arrival> = (0..machines)
            .map(|number| request(machine(number), "kernel"))
            .collect();
        lab.turn(&requests);
        answering.live(&mut lab, seconds(10), all_live);
        let (from, wakeups) = (lab.world.sent.len(), answering.wakeups);
        answering.live(&mut lab, seconds(40), all_live);
        let packets = (lab.world.sent.len() - from) as u64;
        let wakeups = answering.wakeups - wakeups;
        assert!(packets >= u64::from(machines) * 9);
        assert!(
            wakeups <= 3 * packets + 40,
            "{wakeups} wake-ups for {packets} packets"
        );
    }
}

#[test]
fn four_thousand_held_clients_wake_the_server_for_their_packets_only() {
    const MACHINES: u32 = 4096;
    let mut lab = lab_with(slots(1));
    let mut answering = Answering::from_now(&lab);
    lab.ask(client(1), "kernel");
    let ask = |number| request(machine(number), "kernel");
    let requests: Vec<Arrival> = (0..MACHINES).map(ask).collect();
    lab.turn(&requests);
    // All of them acknowledge after 10 ms.
    let lives = |peer| Some(if peer == client(1) { SLOW } else { millis(10) });
    answering.live(&mut lab, seconds(4), lives);
    assert_eq!(lab.server.held(), MACHINES as usize);
    let (from, wakeups) = (lab.world.sent.len(), answering.wakeups);
    answering.live(&mut lab, seconds(5), lives);
    let packets = lab.world.sent.len() - from;
    assert!(packets >= MACHINES as usize, "{packets} packets in 5 s");
    assert!(packets <= 6 * MACHINES as usize, "{packets} packets in 5 s");
    let wakeups = answering.wakeups - wakeups;
    assert!(
        wakeups <= packets as u64,
        "{wakeups} wake-ups for {packets} packets"
    );
}
