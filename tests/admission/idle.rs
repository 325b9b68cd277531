//! A slot that nobody uses: a client that makes no progress loses it to those who wait, and to nobody else.

use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::server::Limits;
use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::Peer;

use crate::held::{
    Answering, lab_with, slots, without_holding, without_reclaim, without_small_files,
};
use crate::world::{Arrival, Lab, Packet, Sent, TICK, client, error, millis, seconds};

/// Client 1 runs with this round trip and made its last progress now.
fn running_until_now(limits: Limits, round_trip: Duration) -> (Lab, Answering) {
    let mut lab = lab_with(limits);
    let mut answering = Answering::from_now(&lab);
    lab.ask(client(1), "kernel");
    let lives = |peer: Peer| (peer == client(1)).then_some(round_trip);
    answering.live(&mut lab, 20 * round_trip, lives);
    assert_eq!(lab.server.running(), 1);
    // The answer to its last packet never leaves.
    let answering = Answering::from_now(&lab);
    (lab, answering)
}

fn nobody(_: Peer) -> Option<Duration> {
    None
}

/// When `peer` was first sent something.
fn begun_at(lab: &Lab, peer: Peer) -> Option<Moment> {
    lab.world.sendings_to(peer).first().map(|sent| sent.at)
}

fn sent_since(lab: &Lab, peer: Peer, since: Moment) -> Vec<Packet> {
    let recent = |sent: &&Sent| since <= sent.at;
    let sendings = lab.world.sendings_to(peer);
    sendings
        .iter()
        .filter(recent)
        .map(|sent| sent.packet)
        .collect()
}

#[test]
fn a_slot_lies_idle_after_a_few_round_trips_and_goes_to_who_waits() {
    for (round_trip, least, most) in [
        (Duration::from_micros(200), millis(5), millis(10)),
        (millis(1), millis(5), millis(50)),
        (millis(4), millis(8), millis(60)),
        // Those far away have nothing to do with their slots but to wait.
        (millis(30), millis(0), millis(2)),
        (millis(600), millis(0), millis(2)),
    ] {
        let limits = without_holding(slots(1));
        let (mut lab, mut answering) = running_until_now(limits, round_trip);
        let progress_at = lab.world.now;
        lab.ask(client(2), "kernel");
        answering.live(&mut lab, seconds(3), nobody);
        let begun_at = begun_at(&lab, client(2)).expect("the slot");
        let after = begun_at.since(progress_at);
        assert!(
            least <= after && after <= most + 2 * TICK,
            "after {after:?} with a round trip of {round_trip:?}"
        );
        assert_eq!(lab.world.outcomes_of(client(1)), [], "it is not given up");
        assert_eq!(lab.world.open_now(), 2);
    }
}

#[test]
fn a_client_that_does_not_answer_the_first_packet_has_a_slot_for_a_second() {
    let limits = without_holding(slots(1));
    let mut lab = lab_with(limits);
    let asked = [1, 2, 3].map(client);
    lab.ask_each(asked, "kernel");
    lab.pass(seconds(3));
    for (number, peer) in asked.into_iter().enumerate() {
        let expected = Moment::START + seconds(number as u64);
        let at = begun_at(&lab, peer).expect("its turn");
        assert!(
            expected <= at && at <= expected + 4 * TICK,
            "{peer} at {at:?}"
        );
    }
    assert_eq!(lab.server.running(), 1);
    // Each is sent its first packet three times all the same, slot or not.
    lab.pass(seconds(15));
    for peer in asked {
        assert_eq!(lab.world.packets_to(peer), [Packet::Data(1); 3]);
        assert_eq!(lab.world.outcomes_of(peer), [Outcome::NoAnswer]);
    }
    assert_eq!((lab.server.running(), lab.world.open_now()), (0, 0));
}

#[test]
fn an_idle_slot_is_kept_while_nobody_waits_and_goes_at_once_to_who_comes() {
    for silent_for in [millis(1100), seconds(5), seconds(30)] {
        let (mut lab, mut answering) = running_until_now(slots(1), millis(10));
        answering.live(&mut lab, silent_for, nobody);
        assert_eq!((lab.server.running(), lab.server.held()), (1, 0));
        lab.ask(client(2), "kernel");
        assert_eq!(lab.world.packets_to(client(2)), [Packet::Data(1)]);
        assert_eq!(begun_at(&lab, client(2)), Some(lab.world.now));
        assert_eq!((lab.server.running(), lab.server.held()), (1, 1));
        assert_eq!(lab.server.pending(), 0);
    }
}

#[test]
fn a_client_that_was_silent_while_nobody_waited_and_goes_on_keeps_its_slot() {
    let (mut lab, mut answering) = running_until_now(slots(1), millis(10));
    answering.live(&mut lab, seconds(5), nobody);
    lab.ack_last(client(1));
    let at = lab.world.now;
    lab.ask(client(2), "kernel");
    assert_eq!(lab.world.packets_to(client(2)), []);
    assert_eq!((lab.server.running(), lab.server.pending()), (1, 1));
    assert_eq!(sent_since(&lab, client(1), at).len(), 1);
}

#[test]
fn who_lost_its_slot_is_sent_its_block_again_and_is_given_up_only_for_its_silence() {
    let (mut lab, mut answering) = running_until_now(slots(1), millis(10));
    let progress_at = lab.world.now;
    lab.ask(client(2), "kernel");
    let second = |peer| (peer == client(2)).then_some(millis(10));
    answering.live(&mut lab, seconds(1), second);
    assert_eq!((lab.server.running(), lab.server.held()), (1, 1));
    let from = lab.world.now;
    answering.live(&mut lab, seconds(33), second);
    let again = sent_since(&lab, client(1), from);
    assert!(again.len() >= 5, "sent {} times more", again.len());
    assert!(again.iter().all(|packet| *packet == again[0]));
    assert_eq!(lab.world.outcomes_of(client(1)), []);
    answering.live(&mut lab, seconds(2), second);
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::TimedOut]);
    let ended_at = lab.world.ended[0].at;
    assert!(progress_at + seconds(35) <= ended_at);
    assert!(ended_at <= progress_at + seconds(35) + 2 * TICK);
    assert_eq!((lab.server.running(), lab.world.open_now()), (1, 1));
}

#[test]
fn who_lost_its_slot_is_first_in_line_with_its_next_ack_and_goes_on_where_it_was() {
    let (mut lab, mut answering) = running_until_now(slots(1), millis(10));
    for number in 2..=3 {
        lab.ask(client(number), "kernel");
        answering.live(&mut lab, millis(5), nobody);
    }
    let second = |peer| (peer == client(2)).then_some(millis(10));
    answering.live(&mut lab, millis(500), second);
    assert!(lab.world.client_of(client(2)).is_some());
    let Some(Packet::Data(block)) = lab.world.last_packet_to(client(1)) else {
        panic!("it was sent data");
    };
    lab.ack(client(1), block);
    // The slot is in use.
    let from = lab.world.now;
    answering.live(&mut lab, millis(100), second);
    assert!(sent_since(&lab, client(2), from).len() >= 8);
    assert_eq!(lab.server.running(), 1);
    // It comes free: client 1 came before client 3.
    lab.settle(&[error(client(2), 0)]);
    assert!(
        lab.world
            .packets_to(client(1))
            .contains(&Packet::Data(block + 1))
    );
    assert_eq!(lab.world.client_of(client(3)), None);
    let first = |peer| (peer == client(1)).then_some(millis(10));
    let last = lab.world.last_packet_to(client(1));
    let Some(Packet::Data(block)) = last else {
        panic!("it was sent data");
    };
    lab.ack(client(1), block);
    let from = lab.world.now;
    answering.live(&mut lab, millis(100), first);
    assert!(sent_since(&lab, client(1), from).len() >= 9, "full speed");
}

#[test]
fn who_lost_its_slot_and_answers_is_kept_alive_while_it_waits() {
    let (mut lab, mut answering) = running_until_now(slots(1), millis(10));
    lab.ask(client(2), "kernel");
    let second = |peer| (peer == client(2)).then_some(millis(10));
    answering.live(&mut lab, millis(500), second);
    lab.ack_last(client(1));
    let from = lab.world.now;
    answering.live(&mut lab, seconds(20), |_| Some(millis(10)));
    let blocks = sent_since(&lab, client(1), from).len();
    assert!((5..=21).contains(&blocks), "{blocks} blocks in 20 s");
    assert_eq!((lab.server.running(), lab.server.held()), (1, 1));
}

/// Its window is larger than what is sent to keep a client alive, and it acknowledges whole windows only.
#[test]
fn who_lost_its_slot_and_has_a_large_window_is_kept_alive_and_stays_in_line() {
    let mut lab = lab_with(slots(1));
    let mut answering = Answering::from_now(&lab);
    answering.windowsize = 64;
    let options = [("windowsize", "64")];
    lab.ask_with(client(1), "kernel", &options);
    answering.live(&mut lab, seconds(1), |_| Some(millis(10)));
    lab.ask_with(client(2), "kernel", &options);
    // Client 2 has the slot when client 1 was silent for a moment, and keeps it.
    let second = |peer| (peer == client(2)).then_some(millis(10));
    answering.live(&mut lab, millis(500), second);
    assert!(lab.world.client_of(client(2)).is_some());
    assert_eq!((lab.server.running(), lab.server.held()), (1, 1));
    lab.ack_last(client(1));
    let from = lab.world.now;
    answering.live(&mut lab, seconds(30), |_| Some(millis(10)));
    let sendings = lab.world.sendings_to(client(1));
    let held: Vec<&Sent> = sendings.iter().filter(|sent| from <= sent.at).collect();
    let Some(Packet::Data(newest)) = held.iter().map(|sent| sent.packet).max_by_key(number) else {
        panic!("it was sent nothing");
    };
    let first = held.iter().map(|sent| sent.packet).min_by_key(number);
    let Some(Packet::Data(first)) = first else {
        panic!("it was sent nothing");
    };
    assert!(
        newest - first >= 64,
        "{first} to {newest}: no window in 30 s"
    );
    let repeated = held.len() as u64 - (newest - first + 1);
    assert!(repeated <= 64, "{repeated} of {} were repeats", held.len());
    assert!(newest - first <= 64 * 31, "more than a window a second");
    // The slot comes free, and it is in line.
    lab.ask(client(3), "kernel");
    lab.settle(&[error(client(2), 0)]);
    assert_eq!(lab.world.client_of(client(3)), None);
    assert_eq!((lab.server.running(), lab.server.pending()), (1, 1));
}

fn number(packet: &Packet) -> u64 {
    match packet {
        Packet::Data(block) => *block,
        Packet::Oack | Packet::Error(_) => 0,
    }
}

#[test]
fn steady_clients_that_are_near_keep_their_slots() {
    for round_trip in [Duration::from_micros(200), millis(1), millis(4)] {
        let mut lab = lab_with(slots(1));
        let mut answering = Answering::from_now(&lab);
        lab.ask(client(1), "kernel");
        lab.ask(client(2), "kernel");
        let lives = |peer| {
            Some(if peer == client(1) {
                round_trip
            } else {
                millis(5)
            })
        };
        answering.live(&mut lab, seconds(20), lives);
        // Client 2 was kept alive and never had the slot.
        assert_eq!((lab.server.running(), lab.server.held()), (1, 1));
        let trickled = lab.world.packets_to(client(2)).len();
        assert!((4..=20).contains(&trickled), "{trickled} blocks");
        let expected = seconds(20).as_micros() / round_trip.as_micros();
        let served = lab.world.packets_to(client(1)).len() as u128;
        assert!(served + 2 >= expected.min(served + 2) && served * 10 >= expected * 9);
    }
}

/// A lost packet costs its client some time, the server none.
#[test]
fn a_slot_does_not_lie_idle_for_a_lost_packet() {
    let (mut lab, mut answering) = running_until_now(slots(1), millis(1));
    lab.ask_each((2..=3).map(client), "kernel");
    let begin = lab.world.now;
    // Client 1 misses one block; the others are well.
    let others = |peer| (peer != client(1)).then_some(millis(1));
    answering.live(&mut lab, millis(400), others);
    let to_others = [2, 3]
        .map(|number| sent_since(&lab, client(number), begin).len())
        .iter()
        .sum::<usize>();
    assert!(to_others >= 330, "{to_others} packets in 400 ms");
}

#[test]
fn only_as_many_idle_slots_are_taken_back_as_are_wanted() {
    let limits = without_small_files(slots(4));
    let mut lab = lab_with(limits);
    let mut answering = Answering::from_now(&lab);
    for number in 1..=4 {
        lab.ask(client(number), "kernel");
        lab.pass(millis(1));
    }
    answering.live(&mut lab, millis(500), |_| Some(millis(10)));
    answering.live(&mut lab, seconds(3), nobody);
    assert_eq!((lab.server.running(), lab.server.held()), (4, 0));
    lab.ask(client(5), "kernel");
    assert_eq!((lab.server.running(), lab.server.held()), (4, 1));
    assert!(lab.world.client_of(client(5)).is_some());
    lab.ask(client(6), "kernel");
    assert_eq!((lab.server.running(), lab.server.held()), (4, 2));
}

/// A kernel cannot have a slot that is kept for small files, so the client that loses one to it has it back at once.
#[test]
fn a_small_file_has_its_slot_again_with_its_next_ack_though_kernels_wait() {
    let mut lab = lab_with(slots(2));
    let mut answering = Answering::from_now(&lab);
    lab.ask(client(1), "kernel");
    lab.ask(client(2), "medium");
    lab.ask(client(3), "kernel");
    let but_second = |peer| (peer != client(2)).then_some(millis(10));
    answering.live(&mut lab, seconds(2), but_second);
    assert_eq!(lab.world.outcomes_of(client(2)), []);
    let begin = lab.world.now;
    lab.fetch_rest(client(2));
    assert_eq!(lab.world.now, begin);
    assert_eq!(lab.world.outcomes_of(client(2)), [Outcome::Complete]);
}

/// While descriptors are lacking, no one can be admitted in its place.
#[test]
fn an_idle_slot_is_not_taken_back_for_a_client_that_cannot_be_admitted() {
    let (mut lab, mut answering) = running_until_now(slots(1), millis(10));
    answering.live(&mut lab, seconds(3), nobody);
    lab.world.exhausted = true;
    lab.ask(client(2), "kernel");
    answering.live(&mut lab, seconds(1), nobody);
    assert_eq!((lab.server.pending(), lab.world.ended.len()), (1, 0));
    // With its ACK it goes on at full speed, for nobody else can.
    lab.ack_last(client(1));
    let from = lab.world.now;
    let first = |peer| (peer == client(1)).then_some(millis(10));
    answering.live(&mut lab, millis(200), first);
    assert!(sent_since(&lab, client(1), from).len() >= 15);
    lab.world.exhausted = false;
    answering.live(&mut lab, seconds(1), nobody);
    assert!(lab.world.client_of(client(2)).is_some());
}

#[test]
fn a_client_whose_socket_stays_full_loses_its_slot_and_goes_on_when_it_is_writable() {
    let (mut lab, mut answering) = running_until_now(slots(1), millis(10));
    lab.world.room.insert(client(1), 0);
    let Some(Packet::Data(block)) = lab.world.last_packet_to(client(1)) else {
        panic!("it was sent data");
    };
    lab.ack(client(1), block);
    lab.ask(client(2), "kernel");
    let second = |peer| (peer == client(2)).then_some(millis(10));
    answering.live(&mut lab, seconds(2), second);
    assert!(lab.world.client_of(client(2)).is_some());
    lab.settle(&[error(client(2), 0)]);
    lab.world.room.remove(&client(1));
    lab.settle(&[Arrival::Writable(client(1))]);
    answering.live(&mut lab, seconds(8), |_| Some(millis(10)));
    assert!(
        lab.world
            .packets_to(client(1))
            .contains(&Packet::Data(block + 20)),
        "it goes on"
    );
}

#[test]
fn where_slots_are_not_taken_back_silence_keeps_them() {
    let limits = without_reclaim(slots(1));
    let (mut lab, mut answering) = running_until_now(limits, millis(10));
    lab.ask(client(2), "kernel");
    let second = |peer| (peer == client(2)).then_some(millis(10));
    answering.live(&mut lab, seconds(30), second);
    assert_eq!((lab.server.running(), lab.server.held()), (1, 1));
    assert!(lab.world.packets_to(client(2)).len() <= 31);
    answering.live(&mut lab, seconds(6), second);
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::TimedOut]);
    assert_eq!((lab.server.running(), lab.server.held()), (1, 0));
}

#[test]
fn two_clients_that_stall_in_turn_share_one_slot_and_both_complete() {
    let mut lab = lab_with(slots(1));
    lab.world.add_file("initrd", 400 * 512 + 7);
    let mut answering = Answering::from_now(&lab);
    let options = [("windowsize", "4")];
    for number in 1..=2 {
        lab.ask_with(client(number), "initrd", &options);
    }
    for round in 0..400 {
        // Each lives for 50 ms and is silent for the next 50.
        let awake = client(1 + u8::from(round % 2 == 1));
        let lives = |peer| (peer == awake).then_some(millis(5));
        answering.live(&mut lab, millis(50), lives);
        for number in 1..=2 {
            let peer = client(number);
            if peer != awake && lab.world.client_of(peer).is_some() {
                // What it slept through it answers when it wakes up.
                lab.ack_last(peer);
            }
        }
        if lab.world.ended.len() == 2 {
            break;
        }
    }
    for number in 1..=2 {
        assert_eq!(lab.world.outcomes_of(client(number)), [Outcome::Complete]);
    }
    assert!(lab.world.now < Moment::START + seconds(20));
}

/// Also where nobody is kept alive before its turn: the lab looks whether more sockets are open than the operator was told.
#[test]
fn sockets_of_those_who_lost_their_slots_were_counted() {
    let limits = without_holding(slots(1));
    let mut lab = lab_with(limits);
    for number in 1..=200 {
        // It is served for one block and falls silent; the next one gets its slot.
        lab.ask(client(number), "kernel");
        while lab.world.client_of(client(number)).is_none() {
            lab.pass(millis(5));
        }
        lab.ack_last(client(number));
    }
    assert!(lab.server.held() > limits.max_transfers + limits.max_finishing());
    assert!(lab.world.open_now() <= limits.max_sockets());
}
