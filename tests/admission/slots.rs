//! How a slot is given back, and that the next in the queue has it at once.

use ripple_tftpd::moment::Moment;
use ripple_tftpd::server::Limits;
use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::{Peer, Refusal};

use crate::world::{
    Arrival, Lab, Packet, ack, client, error, millis, request, seconds, silent_fifo,
};

/// One slot, which client 1 holds, and client 2 waits.
fn lab_with_one_waiting(name: &str) -> Lab {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), name);
    lab.ask(client(2), "small");
    assert_eq!((lab.server.running(), lab.server.pending()), (1, 1));
    lab
}

#[test]
fn a_closed_port_frees_its_slot_and_the_next_is_admitted_in_the_same_turn() {
    for slots in [1, 3] {
        for is_answered in [false, true] {
            let mut lab = Lab::with_slots(slots);
            let running: Vec<Peer> = (1..).take(slots).map(client).collect();
            for &peer in &running {
                lab.ask(peer, "large");
                if is_answered {
                    lab.ack(peer, 1);
                }
            }
            lab.ask(client(8), "small");
            lab.ask(client(9), "small");
            lab.turn(&[Arrival::PortClosed(running[0])]);
            assert_eq!(lab.world.outcomes_of(running[0]), [Outcome::PortClosed]);
            assert_eq!(lab.world.served().last(), Some(&client(8)));
            assert_eq!(lab.world.packets_to(client(8)), [Packet::Data(1)]);
            assert_eq!((lab.server.running(), lab.server.pending()), (slots, 1));
        }
    }
}

#[test]
fn a_send_to_a_closed_port_frees_its_slot_and_the_next_is_admitted_before_time_passes() {
    let mut lab = lab_with_one_waiting("large");
    lab.world.closed_ports.insert(client(1));
    lab.ack(client(1), 1);
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::PortClosed]);
    assert_eq!(lab.world.served(), [1, 2].map(client));
}

#[test]
fn a_port_that_closes_once_everything_was_sent_is_a_success() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "medium");
    lab.fetch_all_but_last_ack(client(1), 4);
    lab.settle(&[Arrival::PortClosed(client(1))]);
    assert_eq!(
        lab.world.outcomes_of(client(1)),
        [Outcome::CompleteUnconfirmed]
    );
    assert_eq!(lab.world.ended[0].bytes, 3 * 512 + 100);
    assert_eq!(lab.server.stats().completed, 1);
    assert_eq!(lab.world.open_now(), 0);
}

#[test]
fn an_icmp_for_one_that_is_gone_changes_nothing() {
    let mut lab = lab_with_one_waiting("small");
    lab.ack(client(1), 1);
    lab.settle(&[Arrival::PortClosed(client(1)), ack(client(1), 1)]);
    assert_eq!(lab.world.served(), [1, 2].map(client));
    assert_eq!(lab.server.running(), 1);
}

#[test]
fn every_way_to_end_gives_the_slot_to_the_next_in_the_same_turn() {
    let ends = [
        (error(client(1), 0), Outcome::Cancelled),
        (error(client(1), 8), Outcome::Cancelled),
        (error(client(1), 3), Outcome::ClientError(3)),
        (Arrival::PortClosed(client(1)), Outcome::PortClosed),
        (request(client(1), "nothing"), Outcome::MovedOn),
    ];
    for (end, outcome) in ends {
        let mut lab = lab_with_one_waiting("large");
        lab.ack(client(1), 1);
        lab.turn(std::slice::from_ref(&end));
        assert_eq!(lab.world.outcomes_of(client(1)), [outcome]);
        assert_eq!(lab.world.served(), [1, 2].map(client), "{end:?}");
    }
    let mut lab = lab_with_one_waiting("small");
    lab.turn(&[ack(client(1), 1)]);
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::Complete]);
    assert_eq!(lab.world.served(), [1, 2].map(client));
}

#[test]
fn a_slot_is_given_on_when_only_the_last_ack_is_missing() {
    for slots in [1, 3] {
        let mut lab = Lab::with_slots(slots);
        let running: Vec<Peer> = (1..).take(slots).map(client).collect();
        for &peer in &running {
            lab.ask(peer, "medium");
        }
        lab.ask(client(9), "small");
        for block in 1..=2 {
            lab.ack(client(1), block);
            assert_eq!(lab.server.pending(), 1);
        }
        lab.ack(client(1), 3);
        assert_eq!(
            lab.world.last_packet_to(client(1)),
            Some(Packet::Data(4)),
            "the last one"
        );
        // No time has passed.
        assert_eq!(lab.world.served().last(), Some(&client(9)), "{slots} slots");
        assert_eq!(lab.server.pending(), 0);
        assert_eq!(lab.server.running(), slots);
        assert_eq!(lab.world.open_now(), slots + 1);
        // The late ACK is welcome all the same.
        lab.ack(client(1), 4);
        assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::Complete]);
        assert_eq!(lab.server.running(), slots);
    }
}

/// A file that is no longer than a window is sent at once, but nobody knows whether any of it arrived:
/// were its slot given on, a storm of such clients would be served all at once.
#[test]
fn a_slot_is_kept_until_only_the_last_block_is_missing() {
    let mut lab = Lab::with_slots(1);
    let options = [("windowsize", "4")];
    lab.ask_with(client(1), "medium", &options);
    lab.ask(client(2), "small");
    lab.ack(client(1), 0);
    assert_eq!(
        lab.world.last_packet_to(client(1)),
        Some(Packet::Data(4)),
        "the whole file is one window"
    );
    assert_eq!(lab.world.served(), [client(1)]);
    assert_eq!((lab.server.running(), lab.server.pending()), (1, 1));
    lab.ack(client(1), 3);
    assert_eq!(lab.world.served(), [1, 2].map(client));
    lab.ack(client(1), 4);
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::Complete]);
}

#[test]
fn a_file_of_one_packet_keeps_its_slot_until_it_is_acknowledged() {
    // Before any ACK the request may be forged: it must not get more than a slot's worth of sockets.
    let mut lab = lab_with_one_waiting("small");
    lab.pass(seconds(2));
    assert_eq!((lab.server.running(), lab.server.pending()), (1, 1));
    assert_eq!(lab.world.open_now(), 1);
}

#[test]
fn a_missing_last_ack_is_a_success_after_six_sendings() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "medium");
    lab.fetch_all_but_last_ack(client(1), 4);
    lab.pass(seconds(32));
    let is_last = |packet: &&Packet| **packet == Packet::Data(4);
    let packets = lab.world.packets_to(client(1));
    assert_eq!(packets.iter().filter(is_last).count(), 6);
    assert_eq!(
        lab.world.outcomes_of(client(1)),
        [Outcome::CompleteUnconfirmed]
    );
    let stats = lab.server.stats();
    assert_eq!((stats.completed, stats.failed), (1, 0));
}

#[test]
fn those_who_owe_only_their_last_ack_are_bounded() {
    for slots in [1, 3] {
        let limits = Limits {
            max_transfers: slots,
            ..silent_fifo()
        };
        let mut lab = Lab::new(limits);
        let bound = limits.max_finishing();
        let peers: Vec<Peer> = (1..=250).take(bound + slots + 2).map(client).collect();
        for &peer in &peers {
            lab.ask(peer, "medium");
            if lab.world.client_of(peer).is_some() {
                lab.fetch_all_but_last_ack(peer, 4);
            }
        }
        // So many without a slot, and the slots are held by more of them. The rest waits.
        assert_eq!(lab.world.open_now(), bound + slots);
        assert_eq!(lab.world.open_now(), limits.max_sockets());
        assert_eq!(lab.server.running(), slots);
        assert_eq!(lab.server.pending(), 2);
        // One that holds a slot brings its ACK.
        lab.turn(&[ack(peers[bound], 4)]);
        assert_eq!(lab.server.pending(), 1);
        assert_eq!(lab.world.served().last(), Some(&peers[bound + slots]));
        // The others end as if they had had no slot.
        lab.pass(seconds(32));
        let stats = lab.server.stats();
        let sent_all = (bound + slots) as u64;
        assert_eq!(stats.completed, sent_all);
    }
}

#[test]
fn running_out_of_descriptors_makes_requests_wait_and_loses_none() {
    for slots in [1, 3] {
        let mut lab = Lab::with_slots(slots);
        lab.world.exhausted = true;
        let arrived: Vec<Peer> = (1..=6).map(client).collect();
        for &peer in &arrived {
            lab.ask(peer, "small");
            lab.pass(millis(30));
        }
        lab.pass(seconds(2));
        assert_eq!((lab.server.running(), lab.server.pending()), (0, 6));
        assert_eq!((lab.world.sent.len(), lab.world.refusals.len()), (0, 0));
        assert!(!lab.world.exhausted_reported.is_empty());
        assert!(
            lab.world.exhausted_reported.len() <= 50,
            "tried too often: {}",
            lab.world.exhausted_reported.len()
        );
        lab.world.exhausted = false;
        let better_since = lab.world.now;
        // Nobody is heard of, and still the server tries again soon.
        lab.pass(seconds(5));
        assert_eq!(lab.server.running(), slots);
        assert!(lab.world.opens[0].opened_at <= better_since + millis(104));
        for &peer in &arrived {
            lab.ack(peer, 1);
        }
        assert_eq!(lab.world.served(), arrived);
        let complete = |peer: &&Peer| lab.world.outcomes_of(**peer) == [Outcome::Complete];
        assert_eq!(arrived.iter().filter(complete).count(), 6);
    }
}

#[test]
fn a_pause_for_want_of_descriptors_that_is_over_does_not_keep_the_server_awake() {
    let mut lab = Lab::with_slots(1);
    lab.world.exhausted = true;
    lab.ask(client(1), "large");
    lab.ask(client(2), "large");
    lab.world.exhausted = false;
    // Client 1 gets the slot, client 2 waits: there is nothing to do before the first RTO.
    lab.pass(millis(200));
    assert_eq!(lab.world.served(), [client(1)]);
    let wakeup = lab.server.next_wakeup().expect("timers are running");
    assert!(
        lab.world.now < wakeup,
        "now {:?}, woken at {wakeup:?}",
        lab.world.now
    );
}

#[test]
fn the_end_of_a_transfer_ends_the_pause_for_want_of_descriptors() {
    let mut lab = Lab::with_slots(3);
    lab.ask(client(1), "large");
    lab.world.exhausted = true;
    lab.ask(client(2), "large");
    lab.ask(client(3), "large");
    assert_eq!((lab.server.running(), lab.server.pending()), (1, 2));
    lab.world.exhausted = false;
    lab.turn(&[error(client(1), 0)]);
    assert_eq!(lab.world.served(), [1, 2, 3].map(client));
}

#[test]
fn requests_wait_where_not_even_a_file_can_be_looked_up() {
    let mut lab = lab_with_one_waiting("large");
    lab.world.exhausted = true;
    lab.ask(client(3), "small");
    lab.ask(client(4), "nothing");
    assert_eq!(lab.world.refusals, []);
    assert_eq!(lab.server.pending(), 3);
    lab.world.exhausted = false;
    lab.pass(millis(200));
    for (number, block) in [(1, None), (2, Some(1)), (3, Some(1))] {
        match block {
            Some(block) => lab.ack(client(number), block),
            None => lab.settle(&[error(client(number), 0)]),
        }
    }
    assert_eq!(lab.world.served(), [1, 2, 3].map(client));
    let refused: Vec<(Peer, Refusal)> = lab
        .world
        .refusals
        .iter()
        .map(|&(_, peer, refusal)| (peer, refusal))
        .collect();
    assert_eq!(refused, [(client(4), Refusal::NotFound)]);
    assert_eq!(lab.server.pending(), 0);
}

#[test]
fn a_peer_that_cannot_be_reached_takes_no_slot() {
    let mut lab = Lab::with_slots(1);
    lab.world.unreachable.insert(client(1));
    lab.ask(client(1), "small");
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::Unreachable]);
    assert_eq!((lab.server.running(), lab.server.pending()), (0, 0));

    // The same for one that waited.
    lab.ask(client(2), "large");
    lab.ask(client(1), "small");
    lab.ask(client(3), "small");
    lab.turn(&[error(client(2), 0)]);
    let outcomes = lab.world.outcomes_of(client(1));
    assert_eq!(outcomes, [Outcome::Unreachable; 2]);
    assert_eq!(lab.world.served(), [2, 3].map(client));
    assert_eq!(lab.world.refusals, []);
}

#[test]
fn a_file_that_vanished_while_its_client_waited_is_refused_and_the_next_admitted() {
    let mut lab = lab_with_one_waiting("large");
    lab.ask(client(3), "medium");
    lab.world.remove_file("small");
    lab.turn(&[error(client(1), 0)]);
    assert_eq!(
        lab.world.refusals,
        [(lab.world.now, client(2), Refusal::NotFound)]
    );
    assert_eq!(
        lab.world.outcomes_of(client(2)),
        [Outcome::Refused(Refusal::NotFound)]
    );
    assert_eq!(lab.world.served(), [1, 3].map(client));
    assert_eq!(
        lab.server.stats().refused,
        1,
        "it was answered with an ERROR"
    );
}

#[test]
fn a_full_socket_waits_until_it_is_writable_and_loses_nothing() {
    let mut lab = Lab::with_slots(2);
    let options = [("windowsize", "8")];
    lab.world.room.insert(client(1), 4);
    lab.ask_with(client(1), "large", &options);
    lab.ask(client(2), "medium");
    lab.ack(client(1), 0);
    let first_part = [
        Packet::Oack,
        Packet::Data(1),
        Packet::Data(2),
        Packet::Data(3),
    ];
    assert_eq!(lab.world.packets_to(client(1)), first_part);
    assert!(!lab.server.has_ready(), "it would spin");
    // The other one is not disturbed.
    lab.fetch_rest(client(2));
    assert_eq!(lab.world.packets_to(client(1)), first_part);

    lab.world.room.remove(&client(1));
    lab.settle(&[Arrival::Writable(client(1))]);
    let all: Vec<Packet> = std::iter::once(Packet::Oack)
        .chain((1..=8).map(Packet::Data))
        .collect();
    assert_eq!(lab.world.packets_to(client(1)), all);
    // A second notice means nothing.
    lab.settle(&[Arrival::Writable(client(1))]);
    assert_eq!(lab.world.packets_to(client(1)), all);
}

#[test]
fn large_windows_leave_in_bursts_in_turn() {
    let mut limits = silent_fifo();
    limits.max_transfers = 3;
    limits.terms.max_windowsize = 100;
    let mut lab = Lab::new(limits);
    let options = [("windowsize", "100")];
    let peers = [1, 2, 3].map(client);
    for peer in peers {
        lab.ask_with(peer, "large", &options);
    }
    let sent_before = lab.world.sent.len();
    lab.turn(&peers.map(|peer| ack(peer, 0)));
    // After one turn each has had its share, and none its whole window.
    let shares = peers.map(|peer| lab.world.packets_to(peer).len() - 1);
    assert!(
        shares
            .iter()
            .all(|&share| share == shares[0] && 1 <= share && share <= 64),
        "{shares:?}"
    );
    lab.settle(&[]);
    assert_eq!(lab.world.sent.len(), sent_before + 3 * 100);
}

#[test]
fn a_file_whose_bytes_are_not_there_yet_is_asked_again_and_stops_nobody() {
    let mut lab = Lab::with_slots(2);
    lab.world.absent.insert(b"large".to_vec());
    lab.ask(client(1), "large");
    lab.ask(client(2), "medium");
    assert!(!lab.server.has_ready(), "it would spin");
    lab.fetch_rest(client(2));
    let before = lab.world.asked_in_vain;
    lab.pass(seconds(1));
    let asked = lab.world.asked_in_vain - before;
    assert!((100..=250).contains(&asked), "{asked} times in a second");
    assert_eq!(lab.world.packets_to(client(1)), []);

    lab.world.absent.clear();
    lab.pass(millis(10));
    assert_eq!(lab.world.packets_to(client(1)), [Packet::Data(1)]);
    lab.fetch_rest(client(1));
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::Complete]);
}

#[test]
fn a_file_whose_bytes_never_come_ends_with_the_patience_for_its_transfer() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "large");
    lab.world.absent.insert(b"large".to_vec());
    lab.ack(client(1), 1);
    lab.pass(seconds(34));
    assert_eq!(lab.world.outcomes_of(client(1)), []);
    lab.pass(seconds(2));
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::TimedOut]);
}

#[test]
fn a_socket_that_stays_full_does_not_hold_its_slot_for_ever() {
    let mut lab = Lab::with_slots(1);
    lab.world.room.insert(client(1), 1);
    lab.ask(client(1), "large");
    lab.ack(client(1), 1);
    lab.ask(client(2), "small");
    let begin = lab.world.now;
    for _ in 0..18 {
        lab.pass(seconds(2));
        lab.ask(client(2), "small");
    }
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::TimedOut]);
    assert_eq!(lab.world.packets_to(client(1)), [Packet::Data(1)]);
    assert!(begin + seconds(35) <= lab.world.ended[0].at);
    assert_eq!(lab.world.served(), [1, 2].map(client));
}

#[test]
fn an_unreadable_file_ends_one_transfer_with_error_0() {
    let mut lab = Lab::with_slots(2);
    lab.ask(client(1), "large");
    lab.ask(client(2), "medium");
    lab.ask(client(3), "small");
    lab.ack(client(1), 1);
    lab.world.unreadable.insert(b"large".to_vec());
    lab.ack(client(1), 2);
    assert_eq!(Refusal::ReadFailed.code(), 0);
    assert_eq!(
        lab.world.packets_to(client(1)),
        [
            Packet::Data(1),
            Packet::Data(2),
            Packet::Error(Refusal::ReadFailed)
        ]
    );
    assert_eq!(
        lab.world.outcomes_of(client(1)),
        [Outcome::Refused(Refusal::ReadFailed)]
    );
    // The next has its slot before time passes, and the other one goes on.
    assert_eq!(lab.world.served(), [1, 2, 3].map(client));
    lab.fetch_rest(client(2));
    lab.fetch_rest(client(3));
    assert_eq!(lab.server.stats().completed, 2);
    assert_eq!(lab.world.open_now(), 0);
}

#[test]
fn the_error_for_an_unreadable_file_may_not_leave() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "large");
    lab.world.unreadable.insert(b"large".to_vec());
    lab.world.room.insert(client(1), 0);
    lab.ack(client(1), 1);
    assert_eq!(
        lab.world.outcomes_of(client(1)),
        [Outcome::Refused(Refusal::ReadFailed)]
    );
    assert_eq!(lab.world.open_now(), 0);
}

#[test]
fn an_ack_counts_though_the_same_turn_brought_a_reason_to_send_its_block_again() {
    // A repeated old ACK and then the right one were read in one turn.
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "medium");
    lab.ack(client(1), 1);
    lab.pass(millis(150));
    lab.settle(&[ack(client(1), 1), ack(client(1), 2)]);
    assert_eq!(
        lab.world.last_packet_to(client(1)),
        Some(Packet::Data(3)),
        "block 2 was acknowledged"
    );

    // Requests are read before replies: a repeated request, and the ACK of the first packet.
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "small");
    lab.pass(millis(150));
    lab.settle(&[request(client(1), "small"), ack(client(1), 1)]);
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::Complete]);
    assert_eq!(lab.world.packets_to(client(1)), [Packet::Data(1)]);

    // A whole window was sent and acknowledged, and the ACK before it was repeated.
    let mut lab = Lab::with_slots(1);
    let options = [("windowsize", "8")];
    lab.ask_with(client(1), "large", &options);
    lab.ack(client(1), 0);
    lab.ack(client(1), 8);
    lab.pass(millis(150));
    lab.settle(&[ack(client(1), 8), ack(client(1), 16)]);
    assert_eq!(lab.world.last_packet_to(client(1)), Some(Packet::Data(24)));
    let packets = lab.world.packets_to(client(1));
    assert_eq!(packets.len(), 1 + 24, "nothing was sent twice");
}

#[test]
fn nothing_but_one_packet_leaves_before_the_first_ack() {
    let mut lab = Lab::with_slots(1);
    let options = [("windowsize", "64")];
    lab.ask_with(client(1), "large", &options);
    assert_eq!(lab.world.packets_to(client(1)), [Packet::Oack]);
    // An ACK guessed from elsewhere draws nothing.
    for block in [1, 2, 63, 64, 65_535] {
        lab.ack(client(1), block);
    }
    assert_eq!(lab.world.packets_to(client(1)), [Packet::Oack]);
    assert_eq!(lab.world.now, Moment::START);
}
