//! Requests from peers that are known: repeats in the handshake, reboots, another file from the same
//! port, other options.

use std::time::Duration;

use ripple_tftpd::server::Limits;
use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::{Mode, Peer, Refusal};

use crate::world::{
    Lab, Packet, assert_on_time, client, error, millis, older, request, request_with, seconds,
};

const ONE: u8 = 1;

/// How far a client had come when it turned to something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    Pending,
    Handshake,
    Running,
    /// Only the last ACK is missing.
    AllSent,
}

const PROGRESS: [Progress; 4] = [
    Progress::Pending,
    Progress::Handshake,
    Progress::Running,
    Progress::AllSent,
];

/// A lab in which client 1 asked for `medium` and came so far.
fn lab_with_client(slots: usize, progress: Progress) -> Lab {
    let mut lab = Lab::with_slots(slots);
    if progress == Progress::Pending {
        lab.ask_each((200..).take(slots).map(client), "large");
    }
    lab.ask(client(ONE), "medium");
    match progress {
        Progress::Pending | Progress::Handshake => {}
        Progress::Running => lab.ack(client(ONE), 1),
        Progress::AllSent => lab.fetch_all_but_last_ack(client(ONE), 4),
    }
    lab
}

fn names_opened_for(lab: &Lab, peer: Peer) -> Vec<String> {
    let opens = lab.world.opens.iter().filter(|open| open.peer == peer);
    opens
        .map(|open| String::from_utf8_lossy(&open.name).into_owned())
        .collect()
}

/// What becomes of the old request of a client that asks for another file.
fn outcome_of_moving_on(progress: Progress) -> Outcome {
    match progress {
        Progress::Pending | Progress::Handshake | Progress::Running => Outcome::MovedOn,
        Progress::AllSent => Outcome::CompleteUnconfirmed,
    }
}

#[test]
fn same_port_with_another_file_ends_the_old_request_and_begins_anew() {
    for slots in [1, 3] {
        for progress in PROGRESS {
            let mut lab = lab_with_client(slots, progress);
            lab.ask(client(ONE), "small");
            assert_eq!(
                lab.world.outcomes_of(client(ONE)),
                [outcome_of_moving_on(progress)],
                "{progress:?}"
            );
            if progress == Progress::Pending {
                assert_eq!(lab.server.pending(), 1);
                lab.settle(&[error(client(200), 0)]);
                assert_eq!(names_opened_for(&lab, client(ONE)), ["small"]);
            } else {
                assert_eq!(names_opened_for(&lab, client(ONE)), ["medium", "small"]);
                assert_eq!(lab.server.running(), 1);
            }
            assert_eq!(lab.world.last_packet_to(client(ONE)), Some(Packet::Data(1)));
            lab.ack(client(ONE), 1);
            assert_eq!(
                lab.world.outcomes_of(client(ONE)).last(),
                Some(&Outcome::Complete)
            );
        }
    }
}

#[test]
fn same_port_with_another_file_goes_behind_those_who_wait() {
    for progress in PROGRESS {
        let mut lab = lab_with_client(1, progress);
        // Where client 1 waits for its last ACK it has no slot, and client 2 runs.
        lab.ask(client(2), "large");
        lab.ask(client(3), "large");
        lab.ask(client(ONE), "small");
        assert_eq!(
            lab.world.outcomes_of(client(ONE)),
            [outcome_of_moving_on(progress)]
        );
        if progress == Progress::Pending {
            lab.settle(&[error(client(200), 0)]);
        }
        assert_eq!(lab.server.pending(), 2, "{progress:?}");
        for number in [2, 3] {
            lab.settle(&[error(client(number), 0)]);
        }
        let served = lab.world.served();
        assert_eq!(served[served.len() - 3..], [2, 3, ONE].map(client));
        assert_eq!(names_opened_for(&lab, client(ONE)).last().unwrap(), "small");
    }
}

#[test]
fn same_port_with_a_missing_file_ends_the_old_request_and_is_answered() {
    for progress in PROGRESS {
        let mut lab = lab_with_client(1, progress);
        lab.ask(client(ONE), "nothing");
        assert_eq!(
            lab.world.outcomes_of(client(ONE)),
            [outcome_of_moving_on(progress)]
        );
        assert_eq!(
            lab.world.refusals,
            [(lab.world.now, client(ONE), Refusal::NotFound)]
        );
        assert_eq!(lab.server.pending(), 0);
        lab.settle(&[error(client(200), 0)]);
        assert_eq!((lab.server.running(), lab.world.open_now()), (0, 0));
    }
}

#[test]
fn the_slot_of_one_that_moved_on_goes_to_the_next_in_the_same_turn() {
    for progress in [Progress::Handshake, Progress::Running] {
        let mut lab = lab_with_client(1, progress);
        lab.ask(client(2), "large");
        lab.turn(&[request(client(ONE), "small")]);
        assert_eq!(lab.world.served(), [ONE, 2].map(client));
        assert_eq!(lab.server.pending(), 1);
    }
}

#[test]
fn a_repeat_in_the_handshake_sends_the_first_packet_again_after_100_milliseconds() {
    let oack: &[(&str, &str)] = &[("blksize", "1024"), ("windowsize", "8")];
    for (options, first) in [(&[][..], Packet::Data(1)), (oack, Packet::Oack)] {
        let mut lab = Lab::with_slots(1);
        let ask = request_with(client(1), "medium", "octet", options);
        lab.settle(std::slice::from_ref(&ask));
        for (millis_later, sendings) in [(5, 1), (9, 1), (85, 1), (1, 2), (99, 2), (1, 3)] {
            lab.pass(millis(millis_later));
            lab.settle(std::slice::from_ref(&ask));
            assert_eq!(
                lab.world.packets_to(client(1)),
                vec![first; sendings],
                "at {:?}",
                lab.world.now
            );
        }
        assert_eq!(lab.world.served(), [client(1)]);
        assert_eq!(lab.server.stats().repeats, 6);
    }
}

#[test]
fn an_unanswered_first_packet_is_sent_again_and_then_given_up() {
    let data = (&[][..], &[0, 1, 3][..], 7);
    let oack = (&[("tsize", "0")][..], &[0, 1, 3, 7, 12][..], 17);
    for (options, seconds_sent, given_up) in [data, oack] {
        let mut lab = Lab::with_slots(1);
        lab.pass(millis(123));
        let begin = lab.world.now;
        lab.ask_with(client(1), "medium", options);
        lab.pass(seconds(given_up - 2));
        lab.ask(client(2), "small");
        lab.pass(seconds(1));
        assert_eq!(lab.server.running(), 1);
        lab.pass(seconds(2));
        let sendings = lab.world.sendings_to(client(1));
        assert_eq!(sendings.len(), seconds_sent.len());
        for (sent, &second) in sendings.iter().zip(seconds_sent) {
            assert_eq!(sent.packet, sendings[0].packet);
            assert!(
                begin + seconds(second) <= sent.at
                    && sent.at <= begin + seconds(second) + millis(20),
                "{sendings:?}"
            );
        }
        assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::NoAnswer]);
        let ended = lab.world.ended[0].at;
        let expected = begin + seconds(given_up);
        assert!(
            expected <= ended && ended <= expected + millis(20),
            "given up at {ended:?}"
        );
        // Its slot goes to the next in the same turn.
        assert_eq!(lab.world.opens[1].peer, client(2));
        assert_eq!(lab.world.opens[1].opened_at, ended);
    }
}

#[test]
fn a_client_that_repeats_its_request_for_ever_but_acknowledges_nothing_is_given_up() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "medium");
    for _ in 0..34 {
        lab.pass(millis(200));
        lab.ask(client(1), "medium");
    }
    assert_eq!(lab.world.outcomes_of(client(1)), []);
    lab.ask(client(2), "small");
    lab.pass(millis(300));
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::NoAnswer]);
    assert_eq!(lab.world.served(), [1, 2].map(client));
}

/// A client acknowledges a block, is silent for a while, and asks for the same file from the same port.
fn ask_again_after(progress: Progress, silence: Duration) -> Lab {
    let mut lab = lab_with_client(1, progress);
    lab.pass(silence);
    lab.ask(client(ONE), "medium");
    lab
}

/// How long an answer may wait for an ACK of what is on its way.
const ANSWER_MAX: Duration = millis(51);

#[test]
fn the_same_request_while_something_is_on_its_way_waits_for_its_ack() {
    for silence in [0, 5, 500, 1999, 9000] {
        let mut lab = ask_again_after(Progress::Running, millis(silence));
        let sent = lab.world.packets_to(client(ONE)).len();
        lab.pass(millis(9));
        assert_eq!(lab.world.packets_to(client(ONE)).len(), sent);
        assert_eq!((lab.world.ended.len(), lab.world.opens.len()), (0, 1));
        assert_eq!(lab.server.stats().repeats, 1);
        lab.ack(client(ONE), 2);
        lab.pass(ANSWER_MAX);
        assert_eq!(lab.world.opens.len(), 1);
        assert_eq!(lab.world.last_packet_to(client(ONE)), Some(Packet::Data(3)));
    }
}

#[test]
fn the_same_request_without_an_ack_is_answered_in_the_same_slot() {
    for silence in [0, 5, 500, 1999, 9000] {
        let mut lab = ask_again_after(Progress::Running, millis(silence));
        lab.ask(client(2), "small");
        lab.pass(ANSWER_MAX);
        assert_eq!(names_opened_for(&lab, client(ONE)), ["medium", "medium"]);
        assert_eq!(lab.world.last_packet_to(client(ONE)), Some(Packet::Data(1)));
        assert_eq!(lab.world.ended, []);
        assert_eq!((lab.server.running(), lab.server.pending()), (1, 1));
        assert_eq!(lab.world.open_now(), 2);
        lab.ack(client(ONE), 1);
        assert_eq!(lab.world.outcomes_of(client(ONE)), [Outcome::Restarted]);
        assert_eq!((lab.server.running(), lab.world.open_now()), (1, 1));
        lab.fetch_rest(client(ONE));
        assert_eq!(lab.world.served(), [ONE, ONE, 2].map(client));
    }
}

#[test]
fn the_same_request_for_what_was_all_sent_is_its_last_ack() {
    for silence in [51, 500, 1999, 9000] {
        let lab = ask_again_after(Progress::AllSent, millis(silence));
        let old = lab.world.outcomes_of(client(ONE));
        assert_eq!(old, [Outcome::CompleteUnconfirmed], "{silence} ms");
        assert_eq!(names_opened_for(&lab, client(ONE)), ["medium", "medium"]);
        assert_eq!(lab.world.last_packet_to(client(ONE)), Some(Packet::Data(1)));
        assert_eq!(lab.server.running(), 1);
    }
}

/// It has no slot any more, and the new request is one like others.
#[test]
fn a_client_that_was_all_sent_goes_behind_those_who_wait() {
    let mut lab = lab_with_client(1, Progress::AllSent);
    lab.ask(client(2), "large");
    lab.ask(client(3), "large");
    lab.ask(client(ONE), "medium");
    lab.pass(ANSWER_MAX);
    let old = lab.world.outcomes_of(client(ONE));
    assert_eq!(old, [Outcome::CompleteUnconfirmed]);
    assert_eq!((lab.server.running(), lab.server.pending()), (1, 2));
}

/// The client lost a block and asks for it by its ACK: it takes part, and no second transfer begins.
#[test]
fn a_repeated_ack_shows_a_copy() {
    let mut lab = lab_with_client(1, Progress::Running);
    lab.pass(millis(101));
    lab.ask(client(ONE), "medium");
    lab.ack(client(ONE), 1);
    lab.pass(ANSWER_MAX);
    assert_eq!(lab.world.served(), [client(ONE)]);
    assert_eq!(
        lab.world.packets_to(client(ONE)),
        [1, 2, 2].map(Packet::Data)
    );
}

/// Descriptors ran out: the older transfer stays silent until one is free.
#[test]
fn a_second_transfer_that_cannot_be_opened_is_tried_again() {
    let mut lab = ask_again_after(Progress::Running, millis(1));
    lab.world.exhausted = true;
    lab.pass(millis(950));
    assert_eq!(lab.world.packets_to(client(ONE)).len(), 2);
    lab.world.exhausted = false;
    lab.pass(millis(101));
    assert_eq!(lab.world.last_packet_to(client(ONE)), Some(Packet::Data(1)));
    assert_eq!((lab.server.running(), lab.world.open_now()), (1, 2));
}

/// Past the bound of transfers without a slot a second one waits until there is room. Nobody is ended for that: the
/// request may have been a copy, or a repeat that crossed the first packet.
#[test]
fn those_who_begin_anew_are_bounded() {
    let mut lab = Lab::with_slots(100);
    for number in 1..=70 {
        lab.ask(client(number), "medium");
        lab.ack(client(number), 1);
    }
    lab.ask_each((1..=70).map(client), "medium");
    lab.pass(ANSWER_MAX);
    assert_eq!((lab.server.running(), lab.world.opens.len()), (70, 140));
    assert!(lab.world.open_now() <= 70 + 100);
    let mut lab = Lab::with_slots(70);
    // All of 70 places of those without a slot are taken by others.
    for number in 1..=70 {
        lab.ask(client(number), "medium");
        lab.fetch_all_but_last_ack(client(number), 4);
    }
    for number in 101..=170 {
        lab.ask(client(number), "large");
        lab.ack(client(number), 1);
    }
    assert_eq!((lab.server.running(), lab.server.pending()), (70, 0));
    lab.ask_each([101, 102].map(client), "large");
    lab.pass(ANSWER_MAX);
    for number in [101, 102] {
        assert_eq!(lab.world.outcomes_of(client(number)), []);
    }
    assert_eq!((lab.server.running(), lab.world.open_now()), (70, 140));
    // One goes on: its request was a copy.
    lab.ack(client(101), 2);
    assert_eq!(
        lab.world.packets_to(client(101)).last(),
        Some(&Packet::Data(3))
    );
    // The other has begun anew, and is answered as soon as there is room.
    lab.ack(client(1), 4);
    lab.pass(millis(100));
    let expected = [1, 2, 1].map(Packet::Data);
    assert_eq!(lab.world.packets_to(client(102)), expected);
    lab.ack(client(102), 1);
    assert_eq!(lab.world.outcomes_of(client(102)), [Outcome::Restarted]);
}

/// Both sockets of a client, over IPv6 as over IPv4.
#[test]
fn the_same_over_ipv6() {
    let peer = Peer {
        address: "2001:db8::1".parse().unwrap(),
        port: 2070,
        scope: 0,
    };
    let mut lab = Lab::with_slots(1);
    lab.ask(peer, "medium");
    lab.ack(peer, 1);
    lab.ask(peer, "medium");
    lab.pass(ANSWER_MAX);
    assert_eq!((lab.server.running(), lab.world.open_now()), (1, 2));
    lab.ack(peer, 1);
    assert_eq!(lab.world.outcomes_of(peer), [Outcome::Restarted]);
}

/// A held client is answered in its place: the older transfer gets its trickle, and its ACK shows a copy.
#[test]
fn a_held_client_that_asks_anew_keeps_its_place() {
    for is_copy in [true, false] {
        let mut lab = Lab::new(Limits {
            max_transfers: 1,
            hold: Some(seconds(1)),
            reclaim: false,
            small_file: 0,
            ..Limits::default()
        });
        lab.ask(client(9), "large");
        lab.ack(client(9), 1);
        lab.ask(client(ONE), "medium");
        lab.pass(millis(1100));
        lab.ack(client(ONE), 1);
        lab.ask(client(2), "medium");
        assert_eq!((lab.server.held(), lab.server.pending()), (1, 1));
        // The next block is ours to send, and nothing is on its way.
        lab.ask(client(ONE), "medium");
        assert_eq!((lab.server.held(), lab.world.open_now()), (1, 3));
        assert_eq!(lab.world.packets_to(client(ONE)), [1, 1].map(Packet::Data));
        if is_copy {
            lab.pass(seconds(4));
            let packets = lab.world.packets_to(client(ONE));
            assert!(packets.contains(&Packet::Data(2)), "{packets:?}");
            lab.ack(older(client(ONE)), 2);
            assert_eq!(lab.world.outcomes_of(client(ONE)), [Outcome::Duplicate]);
        } else {
            lab.ack(client(ONE), 1);
            assert_eq!(lab.world.outcomes_of(client(ONE)), [Outcome::Restarted]);
        }
        assert_eq!(lab.world.client_of(older(client(ONE))), None);
        lab.settle(&[error(client(9), 0)]);
        lab.fetch_rest(client(ONE));
        let ended = lab.world.outcomes_of(client(ONE));
        assert_eq!(ended.last(), Some(&Outcome::Complete));
        assert_eq!(lab.world.outcomes_of(client(2)), []);
    }
}

#[test]
fn the_same_file_with_other_options_or_mode_begins_anew() {
    let others = [
        ("octet", &[("blksize", "1024")][..], Packet::Oack),
        ("netascii", &[][..], Packet::Data(1)),
    ];
    for progress in [Progress::Handshake, Progress::Running] {
        for (mode, options, first) in others {
            let mut lab = lab_with_client(1, progress);
            let sent_before = lab.world.sent.len();
            lab.settle(&[request_with(client(ONE), "medium", mode, options)]);
            assert_eq!(
                lab.world.outcomes_of(client(ONE)),
                [Outcome::MovedOn],
                "{progress:?} {mode} {options:?}"
            );
            assert_eq!(lab.world.served(), [client(ONE); 2]);
            assert_eq!(lab.world.packets_to(client(ONE))[sent_before..], [first]);
            let open = lab.world.opens.last().unwrap();
            let expected = if mode == "octet" {
                Mode::Octet
            } else {
                Mode::Netascii
            };
            assert_eq!(open.mode, expected);
        }
    }
}

#[test]
fn names_that_mean_the_same_file_are_the_same_request() {
    let mut lab = Lab::with_slots(1);
    lab.world.add_file("boot/kernel", 100);
    for name in [
        "boot/kernel",
        "/boot/kernel",
        "boot\\kernel",
        "//boot/./kernel",
    ] {
        lab.ask(client(1), name);
    }
    assert_eq!(lab.world.served(), [client(1)]);
    assert_eq!(lab.world.ended, []);
    assert_eq!(lab.server.stats().repeats, 3);
}

/// What a map file makes of names does not make two requests one, nor one request two.
#[test]
fn a_request_is_known_by_the_name_that_was_asked_for() {
    let mut lab = Lab::with_slots(1);
    for asked in ["kernel", "..\\image"] {
        lab.world.mapped.insert(asked.into(), b"medium".into());
    }
    lab.ask(client(9), "large");
    lab.ask(client(1), "kernel");
    // What waits keeps the name that it was given.
    lab.world.mapped.insert(b"kernel".into(), b"small".into());
    lab.ask(client(1), "/kernel");
    assert_eq!((lab.server.stats().repeats, lab.server.pending()), (1, 1));
    lab.settle(&[error(client(9), 0)]);
    assert_eq!(names_opened_for(&lab, client(1)), ["medium"]);
    lab.ask(client(1), "..\\image");
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::MovedOn]);
    lab.ask(client(1), "..\\image");
    assert_eq!(lab.server.stats().repeats, 2);
    lab.ack(client(1), 1);
    lab.pass(seconds(2));
    // It has begun anew: the answer is the same file.
    lab.ask(client(1), "..\\image");
    lab.pass(seconds(1));
    assert_eq!(
        names_opened_for(&lab, client(1)),
        ["medium", "medium", "medium"]
    );
    // The name that a map makes is another request.
    lab.ask(client(1), "medium");
    assert_eq!(names_opened_for(&lab, client(1)).len(), 4);
}

#[test]
fn a_chain_of_files_from_one_port_runs_through_one_slot() {
    let mut lab = Lab::with_slots(1);
    let chain = ["small", "medium", "small", "medium"];
    for (round, name) in chain.into_iter().enumerate() {
        lab.ask(client(1), name);
        lab.pass(millis(1));
        // Every second file lacks its last ACK.
        match name {
            "small" => lab.ack(client(1), 1),
            _ => lab.fetch_all_but_last_ack(client(1), 4),
        }
        lab.ask(client(1), "missing");
        assert_eq!(lab.world.ended.len(), round + 1);
        assert_eq!(lab.world.open_now(), 0);
    }
    let outcomes = lab.world.outcomes_of(client(1));
    assert_eq!(
        outcomes,
        [Outcome::Complete, Outcome::CompleteUnconfirmed].repeat(2)
    );
    assert_eq!(lab.world.refusals.len(), 4);
}

#[test]
fn timers_of_an_old_client_do_not_touch_its_successor() {
    let mut lab = lab_with_client(1, Progress::Handshake);
    lab.pass(millis(900));
    let begin = lab.world.now;
    lab.ask(client(ONE), "small");
    lab.pass(seconds(2));
    let sendings = lab.world.sendings_to(client(ONE));
    assert_eq!(sendings.len(), 3, "{sendings:?}");
    assert_eq!(sendings[1].at, begin);
    assert_on_time(sendings[2].at, begin + seconds(1));
}
