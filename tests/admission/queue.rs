//! Those who wait: strict first come, first served; one entry however often a client asks; silence
//! towards all of them; and nobody who is gone gets a slot.

use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::server::Limits;
use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::{Mode, Peer, Refusal};

use crate::world::{
    Arrival, Lab, Packet, TICK, assert_on_time, behind, client, error, millis, request,
    request_datagram, request_with, seconds, silent_fifo,
};

#[test]
fn first_come_first_served() {
    for slots in [1, 3] {
        let mut lab = Lab::with_slots(slots);
        let arrived: Vec<Peer> = (1..=20).map(client).collect();
        for &peer in &arrived {
            lab.ask(peer, "large");
            lab.pass(millis(10));
        }
        assert_eq!(lab.world.served(), arrived[..slots]);
        assert_eq!(lab.server.pending(), 20 - slots);
        for served in slots..20 {
            // The youngest of the running ones ends first, so the order of ends decides nothing.
            let youngest = lab.world.opens[served - 1].peer;
            lab.settle(&[error(youngest, 0)]);
            assert_eq!(lab.server.running(), slots);
            assert_eq!(lab.world.served(), arrived[..=served], "{slots} slots");
        }
        assert_eq!(lab.server.pending(), 0);
    }
}

#[test]
fn requests_of_one_turn_are_served_in_the_order_of_their_arrival() {
    for slots in [1, 3] {
        let mut lab = Lab::with_slots(slots);
        let arrived: Vec<Peer> = [9, 2, 7, 1, 8, 3].map(client).into();
        let burst: Vec<Arrival> = arrived.iter().map(|&peer| request(peer, "small")).collect();
        lab.settle(&burst);
        assert_eq!(lab.world.served(), arrived[..slots]);
        for &peer in &arrived {
            lab.ack(peer, 1);
        }
        assert_eq!(lab.world.served(), arrived);
        assert_eq!(lab.world.open_now(), 0);
    }
}

/// The loader of the Raspberry Pi gives up a file 30 s after it asked: a block now and then does not help.
#[test]
fn a_raspberry_pi_goes_before_those_who_can_be_kept_alive() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "large");
    lab.ask(client(2), "large");
    for (number, options) in [
        (3, [("tsize", "0"), ("blksize", "1024")]),
        (4, [("blksize", "1024"), ("tsize", "0")]),
        (5, [("tsize", "0"), ("blksize", "1468")]),
        (6, [("tsize", "0"), ("blksize", "1024")]),
    ] {
        lab.ask_with(client(number), "large", &options);
    }
    let mut served = vec![client(1)];
    for next in [3, 6, 2, 4, 5] {
        lab.settle(&[error(served[served.len() - 1], 0)]);
        served.push(client(next));
        assert_eq!(lab.world.served(), served);
    }
}

#[test]
fn a_request_never_overtakes_those_who_wait_when_a_slot_comes_free_in_the_same_turn() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "large");
    lab.ask(client(2), "large");
    lab.settle(&[error(client(1), 0), request(client(3), "large")]);
    assert_eq!(lab.world.served(), [1, 2].map(client));
    lab.settle(&[error(client(2), 0)]);
    assert_eq!(lab.world.served(), [1, 2, 3].map(client));
}

#[test]
fn five_equal_requests_start_one_transfer() {
    for slots in [1, 3] {
        let mut lab = Lab::with_slots(slots);
        lab.settle(&vec![request(client(1), "medium"); 5]);
        assert_eq!(lab.world.served(), [client(1)]);
        assert_eq!(lab.world.packets_to(client(1)), [Packet::Data(1)]);
        assert_eq!(lab.server.running(), 1);
        let stats = lab.server.stats();
        assert_eq!((stats.requests, stats.repeats), (1, 4));

        // The same for one that has to wait.
        lab.ask_each((2..=3).map(client), "large");
        lab.settle(&vec![request(client(9), "medium"); 5]);
        for other in 1..=3 {
            lab.settle(&[error(client(other), 0)]);
        }
        lab.fetch_rest(client(9));
        assert_eq!(lab.world.served(), [1, 2, 3, 9].map(client));
        assert_eq!(lab.world.outcomes_of(client(9)), [Outcome::Complete]);
    }
}

#[test]
fn repeats_keep_their_place() {
    for slots in [1, 3] {
        let mut lab = Lab::with_slots(slots);
        let running: Vec<Peer> = (1..).take(slots).map(client).collect();
        for &peer in &running {
            lab.ask(peer, "large");
            lab.ack(peer, 1);
        }
        let waiting = [11, 12, 13, 14].map(client);
        lab.ask_each(waiting, "large");
        // Those behind ask often, the first of them not at all.
        for _ in 0..3 {
            lab.pass(seconds(2));
            lab.ask_each(
                [waiting[3], waiting[2], waiting[3], waiting[1], waiting[3]],
                "large",
            );
        }
        assert_eq!(lab.server.pending(), 4);
        assert_eq!(lab.server.stats().repeats, 15);
        for &peer in running.iter().chain(&waiting) {
            lab.settle(&[error(peer, 0)]);
        }
        assert_eq!(lab.world.served()[slots..], waiting);
    }
}

#[test]
fn nothing_is_sent_to_those_who_wait() {
    for slots in [1, 3] {
        let mut lab = Lab::with_slots(slots);
        let running: Vec<Peer> = (1..).take(slots).map(client).collect();
        for &peer in &running {
            lab.ask(peer, "large");
        }
        let waiting: Vec<Peer> = (100..140).map(client).collect();
        for _ in 0..30 {
            for &peer in &waiting {
                lab.ask(peer, "medium");
            }
            for &peer in &running {
                lab.ack_last(peer);
            }
            lab.pass(seconds(2));
        }
        assert_eq!(lab.server.pending(), waiting.len());
        let to_others = |peer: &Peer| !running.contains(peer);
        let sent = lab.world.sent.iter().map(|sent| sent.peer);
        assert_eq!(sent.filter(to_others).count(), 0);
        assert_eq!(lab.world.refusals, []);
        assert_eq!(lab.world.served(), running);
        assert!(
            lab.world.sent.len() >= 30 * slots,
            "those who run are served"
        );
    }
}

#[test]
fn misses_and_faults_are_answered_at_once_while_the_server_is_full() {
    for slots in [1, 3] {
        let mut lab = Lab::new(Limits {
            max_transfers: slots,
            max_pending: 2,
            ..silent_fifo()
        });
        lab.world.add_fault("directory", Refusal::NotAFile);
        lab.world.add_fault("secret", Refusal::NoAccess);
        lab.ask_each(
            (1..=slots + 2).map(|number| client(u8::try_from(number).unwrap())),
            "large",
        );
        assert_eq!((lab.server.running(), lab.server.pending()), (slots, 2));
        let sent_before = lab.world.sent.len();
        let long = "x".repeat(1025);
        let faults = [
            (1, "nothing", "octet", Refusal::NotFound),
            (1, "", "octet", Refusal::EmptyName),
            (1, &long, "octet", Refusal::NameTooLong),
            (1, "../small", "octet", Refusal::OutsideRoot),
            (1, "directory", "octet", Refusal::NotAFile),
            (1, "secret", "octet", Refusal::NoAccess),
            (2, "small", "octet", Refusal::ReadOnly),
            (1, "small", "mail", Refusal::MailMode),
            (1, "small", "image", Refusal::UnknownMode),
        ];
        for (number, (opcode, name, mode, refusal)) in (50..).zip(faults) {
            let peer = client(number);
            let datagram = request_datagram(opcode, name, mode, &[]);
            lab.settle(&[Arrival::Request(peer, datagram)]);
            assert_eq!(
                lab.world.refusals.last(),
                Some(&(lab.world.now, peer, refusal)),
                "{name} {mode}"
            );
        }
        assert_eq!(lab.world.refusals.len(), faults.len());
        assert_eq!(lab.world.refusals_reported, faults.len());
        assert_eq!(lab.server.stats().refused, faults.len() as u64);
        assert_eq!(lab.world.sent.len(), sent_before);
        assert_eq!((lab.server.running(), lab.server.pending()), (slots, 2));
    }
}

/// RFC 1123 section 4.2.3.5: another server on the cable may have the file, and the first ERROR ends a switch's boot.
#[test]
fn a_request_to_everybody_is_served_or_gets_no_answer() {
    let mut lab = Lab::with_slots(1);
    let faults = [
        (1, "nothing", "octet", Refusal::NotFound),
        (1, "../small", "octet", Refusal::OutsideRoot),
        (1, "small", "mail", Refusal::MailMode),
        (1, "small", "binary", Refusal::UnknownMode),
        (2, "small", "octet", Refusal::ReadOnly),
    ];
    // Also when all slots are taken.
    for round in 0..2 {
        for (opcode, name, mode, refusal) in faults {
            lab.ask_everybody(client(9), &request_datagram(opcode, name, mode, &[]));
            assert_eq!(lab.world.unanswered.pop(), Some((client(9), refusal)));
        }
        assert_eq!(lab.world.refusals, []);
        assert_eq!(lab.server.stats().unanswered, 5 * (round + 1));
        assert_eq!(lab.server.stats().refused, 0);
        lab.ask_everybody(client(1), &request_datagram(1, "small", "octet", &[]));
        assert_eq!(lab.world.packets_to(client(1)), [Packet::Data(1)]);
    }
    // A file that vanishes while the request waits.
    lab.ask_everybody(client(2), &request_datagram(1, "medium", "octet", &[]));
    assert_eq!(lab.server.pending(), 1);
    lab.world.remove_file("medium");
    lab.ack(client(1), 1);
    lab.fetch_rest(client(1));
    assert_eq!(lab.world.packets_to(client(2)), []);
    assert_eq!(lab.world.refusals, []);
}

#[test]
fn nonsense_is_dropped_and_counted_and_never_answered() {
    let mut lab = Lab::with_slots(1);
    let datagrams: [&[u8]; 9] = [
        b"",
        b"\0",
        b"\0\x01",
        b"\0\x01small",
        b"\0\x01small\0octet",
        b"\0\x03\0\x01data",
        b"\0\x04\0\x01",
        b"\0\x05\0\0gone\0",
        b"\0\x06blksize\x00512\0",
    ];
    for datagram in datagrams {
        lab.settle(&[Arrival::Request(client(1), datagram.to_vec())]);
    }
    let stats = *lab.server.stats();
    assert_eq!(stats.short + stats.misplaced + stats.unterminated, 9);
    assert_eq!((stats.requests, stats.refused), (0, 0));
    assert_eq!((lab.world.sent.len(), lab.world.refusals.len()), (0, 0));
    assert_eq!(lab.server.next_wakeup(), None);
}

/// One that waits is asked about at these seconds, and is then silent.
fn expiry_after(asked_at: &[u64]) -> (Moment, Lab) {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "large");
    lab.ack(client(1), 1);
    for &second in asked_at {
        while lab.world.now + seconds(1) <= Moment::START + seconds(second) {
            lab.pass(seconds(1));
            lab.ack_last(client(1));
        }
        lab.ask(client(2), "large");
    }
    let last = lab.world.now;
    assert_eq!(lab.server.pending(), 1);
    while lab.world.outcomes_of(client(2)).is_empty() {
        lab.pass(seconds(1));
        lab.ack_last(client(1));
        assert!(lab.world.now < last + seconds(120), "never forgotten");
    }
    (last, lab)
}

#[test]
fn the_silent_are_dropped_at_the_stated_time() {
    // max(10 s, 2.2 x last gap + 1 s) after the last request.
    let cases: [(&[u64], u64); 8] = [
        (&[0], 10_000),
        (&[0, 2], 10_000),
        (&[0, 4], 10_000),
        (&[0, 5], 12_000),
        (&[0, 8], 18_600),
        (&[0, 8, 9], 10_000),
        (&[0, 1, 3, 7], 10_000),
        (&[0, 4, 12, 28], 36_200),
    ];
    for (asked_at, patience) in cases {
        let (last, lab) = expiry_after(asked_at);
        let ended = lab.world.ended.last().unwrap();
        assert_eq!((ended.peer, ended.outcome), (client(2), Outcome::Expired));
        assert_on_time(ended.at, last + millis(patience));
        let waited = ended.at.since(Moment::START);
        assert_eq!(ended.pending, waited, "the log tells the whole time");
        assert_eq!(lab.server.pending(), 0);
        assert_eq!(lab.world.packets_to(client(2)), []);
        assert_eq!(lab.world.served(), [client(1)]);
    }
}

#[test]
fn a_repeat_in_time_keeps_a_client_alive() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "large");
    lab.ack(client(1), 1);
    lab.ask(client(2), "large");
    lab.pass(seconds(10) - millis(1));
    lab.ask(client(2), "large");
    lab.pass(seconds(20));
    assert_eq!(lab.server.pending(), 1);
    assert_eq!(lab.world.ended, []);
}

#[test]
fn the_silent_are_never_admitted() {
    for slots in [1, 3] {
        let mut lab = Lab::with_slots(slots);
        let running: Vec<Peer> = (1..).take(slots).map(client).collect();
        for &peer in &running {
            lab.ask(peer, "large");
            lab.ack(peer, 1);
        }
        lab.ask_each((10..20).map(client), "large");
        for _ in 0..11 {
            lab.pass(seconds(1));
            lab.ask(client(17), "large");
            for &peer in &running {
                lab.ack_last(peer);
            }
        }
        for &peer in &running {
            lab.settle(&[error(peer, 0)]);
        }
        assert_eq!(lab.world.served()[slots..], [client(17)]);
        assert_eq!(lab.server.pending(), 0);
    }
}

#[test]
fn one_who_is_due_to_be_dropped_in_the_turn_in_which_a_slot_comes_free_is_dropped() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "large");
    lab.ask(client(2), "large");
    lab.pass(seconds(4));
    lab.ask(client(3), "large");
    lab.ack(client(1), 1);
    lab.oversleep(seconds(6) + TICK);
    lab.turn(&[error(client(1), 0)]);
    assert_eq!(lab.world.outcomes_of(client(2)), [Outcome::Expired]);
    assert_eq!(lab.world.served(), [1, 3].map(client));
}

#[test]
fn past_its_bound_the_queue_drops_in_silence_and_lets_in_a_later_repeat() {
    let mut lab = Lab::new(Limits {
        max_transfers: 1,
        max_pending: 3,
        ..silent_fifo()
    });
    lab.ask_each((1..=6).map(client), "large");
    assert_eq!(lab.server.pending(), 3);
    assert_eq!(lab.server.stats().queue_full, 2);
    assert_eq!(lab.world.queue_full, [5, 6].map(client));
    assert_eq!(lab.world.refusals, []);
    assert_eq!(lab.world.packets_to(client(5)), []);

    // Repeats of those inside are heard; the room that comes free goes to the client that asks next.
    lab.ask(client(3), "large");
    assert_eq!(lab.server.stats().queue_full, 2);
    lab.settle(&[error(client(1), 0)]);
    lab.ask(client(6), "large");
    lab.ask(client(5), "large");
    assert_eq!(lab.server.pending(), 3);
    assert_eq!(lab.server.stats().queue_full, 3);
    for number in [2, 3, 4, 6] {
        lab.settle(&[error(client(number), 0)]);
    }
    assert_eq!(lab.world.served(), [1, 2, 3, 4, 6].map(client));
}

#[test]
fn a_full_queue_of_no_places_still_serves() {
    let mut lab = Lab::new(Limits {
        max_transfers: 1,
        max_pending: 0,
        ..silent_fifo()
    });
    lab.ask(client(1), "small");
    lab.ask(client(2), "small");
    assert_eq!(lab.world.queue_full, [client(2)]);
    lab.ack(client(1), 1);
    lab.ask(client(2), "small");
    lab.ack(client(2), 1);
    assert_eq!(lab.world.outcomes_of(client(2)), [Outcome::Complete]);
}

#[test]
fn the_time_spent_waiting_is_reported() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "small");
    lab.ask(client(2), "small");
    lab.pass(millis(700));
    lab.ack(client(1), 1);
    lab.ack(client(2), 1);
    let pending: Vec<Duration> = lab.world.ended.iter().map(|ended| ended.pending).collect();
    assert_eq!(pending, [Duration::ZERO, millis(700)]);
    let bytes: Vec<u64> = lab.world.ended.iter().map(|ended| ended.bytes).collect();
    assert_eq!(bytes, [100, 100]);
}

#[test]
fn a_waiting_client_that_changes_its_wishes_keeps_its_place_and_gets_the_new_ones() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "large");
    lab.ask_with(client(2), "small", &[("blksize", "1024")]);
    lab.ask(client(3), "small");
    lab.pass(seconds(1));
    lab.settle(&[request_with(
        client(2),
        "small",
        "netascii",
        &[("blksize", "1428")],
    )]);
    assert_eq!(lab.server.pending(), 2);
    lab.settle(&[error(client(1), 0)]);
    let open = lab.world.opens.last().unwrap();
    assert_eq!(
        (open.peer, open.mode, open.blksize),
        (client(2), Mode::Netascii, 1428)
    );
    assert_eq!(lab.world.packets_to(client(2)), [Packet::Oack]);
}

#[test]
fn a_rom_that_changes_its_port_with_every_repeat_keeps_its_place() {
    for slots in [1, 3] {
        let mut lab = Lab::with_slots(slots);
        let running: Vec<Peer> = (1..).take(slots).map(client).collect();
        for &peer in &running {
            lab.ask(peer, "large");
            lab.ack(peer, 1);
        }
        lab.ask(client(100), "large");
        lab.ask(behind(50, 3000), "large");
        lab.ask(client(101), "large");
        for port in 3001..=3010 {
            lab.pass(seconds(3));
            lab.ask(behind(50, port), "large");
            lab.ask_each([100, 101].map(client), "large");
            assert_eq!(lab.server.pending(), 3, "port {port}");
            for &peer in &running {
                lab.ack_last(peer);
            }
        }
        let superseded: Vec<Peer> = lab.world.ended.iter().map(|ended| ended.peer).collect();
        let old_ports: Vec<Peer> = (3000..3010).map(|port| behind(50, port)).collect();
        assert_eq!(superseded, old_ports);
        let is_superseded = |ended: &crate::world::Ended| ended.outcome == Outcome::Superseded;
        assert!(lab.world.ended.iter().all(is_superseded));
        let order = [client(100), behind(50, 3010), client(101)];
        for &peer in running.iter().chain(&order) {
            lab.settle(&[error(peer, 0)]);
        }
        assert_eq!(lab.world.served()[slots..], order);
        let waited = lab
            .world
            .ended
            .iter()
            .find(|ended| ended.peer == behind(50, 3010));
        assert_eq!(waited.unwrap().pending, seconds(30), "since its first port");
    }
}

/// Two ports of one host ask for the same file, the second after `gap`. How many wait then?
fn waiting_after(gap: Duration) -> usize {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "large");
    lab.ask(behind(50, 3000), "large");
    lab.pass(gap);
    lab.ask(behind(50, 3001), "large");
    lab.server.pending()
}

#[test]
fn a_port_heard_once_gives_its_place_away_after_900_milliseconds() {
    assert_eq!(waiting_after(Duration::ZERO), 2);
    assert_eq!(waiting_after(millis(899)), 2);
    assert_eq!(waiting_after(millis(901)), 1);
    assert_eq!(waiting_after(millis(5000)), 1);
}

#[test]
fn a_port_that_repeats_keeps_its_place_within_its_last_gap() {
    for (silence, waiting) in [(2999, 3), (3001, 2)] {
        let mut lab = Lab::with_slots(1);
        lab.ask(client(1), "large");
        lab.ask(behind(50, 3000), "large");
        lab.ask(client(2), "large");
        lab.pass(millis(3000));
        lab.ask(behind(50, 3000), "large");
        lab.pass(millis(silence));
        lab.ask(behind(50, 3001), "large");
        assert_eq!(lab.server.pending(), waiting, "silent for {silence} ms");
    }
}

#[test]
fn clients_behind_one_address_that_repeat_all_stand() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "large");
    lab.ack(client(1), 1);
    let hosts: Vec<Peer> = (3000..3008).map(|port| behind(50, port)).collect();
    // They switch on within less than a second, and then repeat every 2 s.
    for &peer in &hosts {
        lab.ask(peer, "large");
        lab.pass(millis(100));
    }
    lab.pass(millis(1200));
    for _ in 0..5 {
        for &peer in &hosts {
            lab.ask(peer, "large");
            lab.pass(millis(100));
        }
        lab.ack_last(client(1));
        lab.pass(millis(1200));
    }
    assert_eq!(lab.server.pending(), hosts.len());
    assert_eq!(lab.world.ended, []);
    lab.settle(&[error(client(1), 0)]);
    for &peer in &hosts {
        lab.settle(&[error(peer, 0)]);
    }
    assert_eq!(lab.world.served()[1..], hosts);
}

#[test]
fn another_file_or_another_address_supersedes_nobody() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "large");
    lab.ask(behind(50, 3000), "large");
    lab.pass(seconds(3));
    lab.ask(behind(50, 3001), "medium");
    lab.ask(behind(51, 3002), "large");
    assert_eq!(lab.server.pending(), 3);
    assert_eq!(lab.world.ended, []);
}

#[test]
fn the_same_link_local_address_on_two_interfaces_is_two_hosts() {
    let on = |scope| Peer {
        address: "fe80::1".parse().unwrap(),
        port: 2070,
        scope,
    };
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "large");
    lab.ack(client(1), 1);
    lab.ask(on(2), "large");
    lab.pass(seconds(3));
    lab.ask(on(3), "large");
    assert_eq!(lab.server.pending(), 2);
    assert_eq!(lab.world.ended, []);
    lab.settle(&[error(client(1), 0)]);
    lab.settle(&[error(on(2), 0)]);
    assert_eq!(lab.world.served(), [client(1), on(2), on(3)]);
}

#[test]
fn a_port_change_is_heard_even_where_the_queue_is_full() {
    let mut lab = Lab::new(Limits {
        max_transfers: 1,
        max_pending: 1,
        ..silent_fifo()
    });
    lab.ask(client(1), "large");
    lab.ask(behind(50, 3000), "large");
    lab.pass(seconds(2));
    lab.ask(behind(50, 3001), "large");
    assert_eq!(lab.world.queue_full, []);
    lab.settle(&[error(client(1), 0)]);
    assert_eq!(lab.world.served(), [client(1), behind(50, 3001)]);
}

#[test]
fn a_running_transfer_is_never_superseded() {
    let mut lab = Lab::with_slots(2);
    lab.ask(behind(50, 3000), "large");
    lab.pass(seconds(2));
    lab.ask(behind(50, 3001), "large");
    assert_eq!(lab.server.running(), 2);
    assert_eq!(lab.world.ended, []);
}
