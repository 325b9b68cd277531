//! Clients far away, or slow on purpose: while others wait they go on without a slot, and lose nothing.

use std::time::Duration;

use ripple_tftpd::server::Limits;
use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::Peer;

use crate::held::{Answering, lab_with, machine, slots};
use crate::world::{Lab, Packet, client, error, millis, seconds};

/// One slot, which client 1 has with this round trip; client 2, next door, waits for it.
fn far_and_near(round_trip: Duration) -> (Lab, Answering) {
    let mut lab = lab_with(slots(1));
    let mut answering = Answering::from_now(&lab);
    lab.ask(client(1), "kernel");
    let alone = |peer| (peer == client(1)).then_some(round_trip);
    answering.live(&mut lab, 4 * round_trip, alone);
    lab.ask(client(2), "kernel");
    (lab, answering)
}

fn blocks_of(lab: &Lab, peer: Peer) -> u128 {
    let blocks = lab.world.packets_to(peer).into_iter();
    blocks.filter(|it| matches!(it, Packet::Data(_))).count() as u128
}

#[test]
fn a_client_far_away_lends_its_slot_and_goes_on_as_fast_as_before() {
    for round_trip in [millis(20), millis(50), millis(200), millis(900), seconds(3)] {
        let (mut lab, mut answering) = far_and_near(round_trip);
        let (span, before) = (seconds(30), blocks_of(&lab, client(1)));
        let lives = |peer| {
            Some(if peer == client(1) {
                round_trip
            } else {
                millis(1)
            })
        };
        answering.live(&mut lab, span, lives);
        assert_eq!((lab.server.running(), lab.server.held()), (1, 0));
        let near = blocks_of(&lab, client(2));
        assert!(
            near >= 28_000,
            "{near} blocks in 30 s beside {round_trip:?}"
        );
        let far = blocks_of(&lab, client(1)) - before;
        let alone = span.as_micros() / round_trip.as_micros();
        assert!(
            far + 1 >= alone,
            "{far} of {alone} blocks at {round_trip:?}"
        );
    }
}

/// A second transfer at full speed is what a slot is for.
#[test]
fn a_client_that_lent_its_slot_and_is_quick_afterwards_stands_in_line() {
    let (mut lab, mut answering) = far_and_near(millis(200));
    let far = |peer| Some(millis(if peer == client(1) { 200 } else { 1 }));
    answering.live(&mut lab, seconds(3), far);
    assert_eq!((lab.server.running(), lab.server.held()), (1, 0));
    answering.live(&mut lab, seconds(3), |_| Some(millis(1)));
    assert_eq!((lab.server.running(), lab.server.held()), (1, 1));
    let before = blocks_of(&lab, client(1));
    answering.live(&mut lab, seconds(4), |_| Some(millis(1)));
    assert!(blocks_of(&lab, client(1)) - before <= 4, "it is kept alive");
    lab.settle(&[error(client(2), 0)]);
    assert_eq!((lab.server.running(), lab.server.held()), (1, 0));
}

#[test]
fn a_client_that_lent_its_slot_and_falls_silent_is_held_and_given_up_as_any_other() {
    let (mut lab, mut answering) = far_and_near(millis(200));
    let far = |peer| Some(millis(if peer == client(1) { 200 } else { 1 }));
    answering.live(&mut lab, seconds(3), far);
    let near = |peer| (peer == client(2)).then_some(millis(1));
    answering.live(&mut lab, seconds(5), near);
    assert_eq!((lab.server.running(), lab.server.held()), (1, 1));
    answering.live(&mut lab, seconds(31), near);
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::TimedOut]);
}

/// A bound on what those far away may draw together: as many as there are slots go on without one.
#[test]
fn of_those_far_away_no_more_go_on_without_a_slot_than_there_are_slots() {
    let mut lab = lab_with(slots(4));
    let mut answering = Answering::from_now(&lab);
    let lives = |peer| {
        let is_near = [client(1), client(2), client(3)].contains(&peer);
        Some(millis(if is_near { 1 } else { 200 }))
    };
    lab.ask_each((0..40).map(|number| machine(1000 + number)), "kernel");
    answering.live(&mut lab, seconds(10), lives);
    assert_eq!((lab.server.running(), lab.server.held()), (3, 33));
    // Those next door stand before all of them.
    lab.ask_each((1..=3).map(client), "kernel");
    answering.live(&mut lab, seconds(10), lives);
    for number in 1..=3 {
        let near = blocks_of(&lab, client(number));
        assert!(near >= 9_000, "{near} blocks in 10 s");
    }
    assert_eq!((lab.server.running(), lab.server.held()), (3, 36));
    // Nor do small files get them a slot sooner.
    lab.ask_each((0..8).map(|number| machine(2000 + number)), "medium");
    answering.live(&mut lab, seconds(10), lives);
    lab.ask(client(4), "medium");
    assert_eq!(lab.server.pending(), 0);
    // The near ones are done, and the far ones have their slots again.
    for number in 1..=3 {
        lab.settle(&[error(client(number), 0)]);
    }
    answering.live(&mut lab, seconds(5), lives);
    assert!(lab.server.running() >= 3);
}

/// Neither small blocks nor a large window nor ACKs of parts of it make a slow client look near.
#[test]
fn what_counts_is_the_bytes_that_a_slot_brings() {
    for options in [
        &[("blksize", "8")][..],
        &[("blksize", "8"), ("windowsize", "64")],
        &[("blksize", "1024"), ("windowsize", "64")],
    ] {
        let mut lab = lab_with(Limits {
            per_client: 1,
            ..slots(1)
        });
        lab.ask_with(client(1), "kernel", options);
        lab.ack(client(1), 0);
        // It acknowledges one block, the first of its window, every 40 ms.
        for block in 1..50 {
            lab.pass(millis(40));
            lab.ack(client(1), block);
        }
        lab.ask(client(2), "kernel");
        let mut answering = Answering::from_now(&lab);
        lab.pass(millis(2));
        let near = |peer| (peer == client(2)).then_some(millis(1));
        assert!(lab.world.client_of(client(2)).is_some(), "{options:?}");
        answering.live(&mut lab, millis(100), near);
        assert_eq!(lab.server.running(), 1);
    }
}

/// The file is a gigabyte, so it would have the slot for two hours.
#[test]
fn a_client_that_is_just_quick_enough_keeps_its_slot_for_seconds_only() {
    let mut lab = lab_with(slots(1));
    let mut answering = Answering::from_now(&lab);
    lab.ask(client(1), "kernel");
    let slow = millis(4);
    let near = Duration::from_micros(300);
    let lives = |peer| Some(if peer == client(1) { slow } else { near });
    answering.live(&mut lab, seconds(1), lives);
    lab.ask(client(2), "kernel");
    answering.live(&mut lab, seconds(9), lives);
    assert_eq!((lab.server.running(), lab.server.held()), (1, 0));
    let before = [1, 2].map(|number| blocks_of(&lab, client(number)));
    answering.live(&mut lab, seconds(10), lives);
    let after = [1, 2].map(|number| blocks_of(&lab, client(number)));
    assert!(after[0] - before[0] >= 2_490, "it goes on as fast");
    assert!(after[1] - before[1] >= 30_000, "the other one has a slot");
}

/// What is known of the nearest is forgotten when they are gone.
#[test]
fn a_client_in_the_middle_distance_is_far_only_beside_one_that_is_near() {
    for (others, held) in [(millis(8), 1), (Duration::from_micros(200), 0)] {
        let mut lab = lab_with(slots(1));
        let mut answering = Answering::from_now(&lab);
        lab.ask(client(1), "kernel");
        let lives = |peer| Some(if peer == client(1) { millis(8) } else { others });
        answering.live(&mut lab, seconds(1), lives);
        lab.ask(client(2), "kernel");
        answering.live(&mut lab, seconds(6), lives);
        assert_eq!((lab.server.running(), lab.server.held()), (1, held));
    }
}

/// What a client loses is its own affair, and what many lose is forgotten.
#[test]
fn odd_clients_lower_nobody_elses_window_for_long() {
    let options = [("windowsize", "64")];
    for (odd, silence) in [(1, Duration::ZERO), (1, seconds(30)), (6, seconds(30))] {
        let mut lab = lab_with(slots(32));
        for number in 1..=odd {
            lab.ask_with(client(number), "kernel", &options);
            lab.ack(client(number), 0);
        }
        // They lose all of each window but for a few blocks, for two seconds.
        let mut block = 0;
        for round in 1..80 {
            lab.pass(millis(25));
            block += 1 + round % 7 * 5;
            for number in 1..=odd {
                lab.ack(client(number), block);
            }
        }
        for number in 1..=odd {
            lab.settle(&[error(client(number), 0)]);
        }
        lab.pass(silence);
        for number in 101..=108 {
            let peer = machine(number);
            lab.ask_with(peer, "kernel", &options);
            lab.ack(peer, 0);
            let blocks = blocks_of(&lab, peer);
            assert_eq!(blocks, 64, "after {odd} and {silence:?}");
        }
    }
}
