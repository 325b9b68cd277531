//! Silence during a transfer, stopping, and a server that sleeps when there is nothing to do.

use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::server::Limits;
use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::Refusal;

use crate::world::{
    Arrival, Lab, Packet, ack, assert_on_time, client, error, millis, request, request_datagram,
    seconds, silent_fifo,
};

fn lab_with_patience(patience: Duration) -> Lab {
    Lab::new(Limits {
        max_transfers: 1,
        patience,
        ..silent_fifo()
    })
}

#[test]
fn a_silent_transfer_is_given_up_after_the_operators_time() {
    for patience in [1, 5, 35, 255].map(seconds) {
        let mut lab = lab_with_patience(patience);
        lab.ask(client(1), "large");
        lab.pass(millis(40));
        lab.ack(client(1), 1);
        lab.pass(millis(500));
        lab.ack(client(1), 2);
        let progress_at = lab.world.now;
        lab.pass(patience + seconds(1));
        assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::TimedOut]);
        assert_on_time(lab.world.ended[0].at, progress_at + patience);
        assert_eq!(lab.world.open_now(), 0);
    }
}

#[test]
fn a_client_that_repeats_an_old_ack_for_ever_does_not_hold_its_slot() {
    for (options, first) in [(&[][..], 1), (&[("windowsize", "8")][..], 0)] {
        for every in [10, 150, 1000, 4000].map(millis) {
            let mut lab = lab_with_patience(seconds(20));
            lab.ask_with(client(1), "large", options);
            lab.ack(client(1), first);
            lab.ack_last(client(1));
            let progress_at = lab.world.now;
            let old = lab.world.packets_to(client(1)).len() as u64 - 1;
            let old = if first == 0 { 8 } else { old };
            while lab.world.ended.is_empty() && lab.world.now < progress_at + seconds(60) {
                lab.settle(&[ack(client(1), old), request(client(2), "small")]);
                lab.pass(every);
            }
            assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::TimedOut]);
            assert_on_time(lab.world.ended[0].at, progress_at + seconds(20));
            assert_eq!(lab.world.served(), [1, 2].map(client));
        }
    }
}

#[test]
fn one_that_owes_only_its_last_ack_and_repeats_an_old_one_is_given_up_as_well() {
    let mut lab = lab_with_patience(seconds(20));
    lab.ask(client(1), "medium");
    lab.fetch_all_but_last_ack(client(1), 4);
    let progress_at = lab.world.now;
    while lab.world.ended.is_empty() && lab.world.now < progress_at + seconds(60) {
        lab.ack(client(1), 3);
        lab.pass(millis(150));
        assert_eq!(lab.server.running(), 0);
    }
    assert_eq!(lab.world.outcomes_of(client(1)).len(), 1);
    assert!(lab.world.ended[0].at <= progress_at + seconds(20) + millis(154));
}

#[test]
fn retries_are_counted_for_each_step_and_not_for_the_whole_transfer() {
    // Every packet is lost twice.
    for options in [&[][..], &[("blksize", "600")]] {
        let mut lab = Lab::with_slots(1);
        lab.ask_with(client(1), "medium", options);
        while lab.world.ended.is_empty() && lab.world.now < Moment::START + seconds(200) {
            let sendings = lab.world.sendings_to(client(1));
            let last = sendings.last().expect("the first packet left").packet;
            let times = sendings.iter().filter(|sent| sent.packet == last).count();
            if times == 3 {
                lab.ack_last(client(1));
            } else {
                lab.pass(millis(50));
            }
        }
        assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::Complete]);
    }
}

/// lwIP, as U-Boot has it, says ERROR 5 to a stray block and goes on.
#[test]
fn a_complaint_of_a_stray_block_ends_no_transfer_that_is_under_way() {
    let complaint = |text: &str| {
        let bytes = [&[0, 5, 0, 5], text.as_bytes(), &[0]].concat();
        Arrival::Reply(client(1), bytes)
    };
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "medium");
    lab.ack(client(1), 1);
    let sent = lab.world.sendings_to(client(1)).len();
    for _ in 0..3 {
        lab.settle(&[complaint("Wrong block number")]);
        lab.pass(millis(1));
    }
    assert_eq!(lab.world.sendings_to(client(1)).len(), sent, "no answer");
    lab.ack(client(1), 2);
    lab.ack_last(client(1));
    lab.ack_last(client(1));
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::Complete]);

    // The same from one that has never answered, or in other words, is what RFC 1350 means by it.
    for (answers, text) in [(false, "Wrong block number"), (true, "Unknown transfer ID")] {
        let mut lab = Lab::with_slots(1);
        lab.ask(client(1), "medium");
        if answers {
            lab.ack(client(1), 1);
        }
        lab.settle(&[complaint(text)]);
        let outcomes = lab.world.outcomes_of(client(1));
        assert_eq!(outcomes, [Outcome::ClientError(5)], "{text}");
    }
}

/// It does not hold the slot of a client that complains and does nothing else.
#[test]
fn who_only_complains_is_given_up() {
    let mut lab = lab_with_patience(seconds(5));
    lab.ask(client(1), "medium");
    lab.ack(client(1), 1);
    let progress_at = lab.world.now;
    while lab.world.ended.is_empty() && lab.world.now < progress_at + seconds(60) {
        let bytes = b"\0\x05\0\x05Wrong block number\0".to_vec();
        lab.settle(&[Arrival::Reply(client(1), bytes)]);
        lab.pass(millis(100));
    }
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::TimedOut]);
    assert_on_time(lab.world.ended[0].at, progress_at + seconds(5));
}

#[test]
fn a_slow_client_that_makes_progress_is_never_given_up() {
    let mut lab = lab_with_patience(seconds(35));
    lab.ask(client(1), "large");
    for _ in 0..60 {
        lab.ack_last(client(1));
        lab.pass(seconds(34));
    }
    assert_eq!(lab.world.ended, []);
    assert_eq!(lab.server.running(), 1);
}

#[test]
fn stopping_forgets_those_who_wait_and_lets_the_others_finish() {
    let mut lab = Lab::with_slots(2);
    lab.ask_each((1..=4).map(client), "medium");
    lab.stop();
    lab.settle(&[]);
    assert!(!lab.server.is_stopped());
    assert_eq!(lab.server.pending(), 0);
    for number in [3, 4] {
        let peer = client(number);
        assert_eq!(lab.world.outcomes_of(peer), [Outcome::ShutDown]);
        assert_eq!(lab.world.packets_to(peer), []);
    }
    lab.fetch_rest(client(1));
    assert!(!lab.server.is_stopped());
    lab.fetch_rest(client(2));
    assert!(lab.server.is_stopped());
    assert_eq!(lab.world.served(), [1, 2].map(client));
    assert_eq!(lab.server.stats().completed, 2);
    assert_eq!(lab.world.open_now(), 0);
}

#[test]
fn a_server_without_clients_stops_at_once() {
    let mut lab = Lab::with_slots(1);
    lab.stop();
    assert!(lab.server.is_stopped());
    assert_eq!(lab.server.next_wakeup(), None);
}

#[test]
fn a_request_to_a_server_that_stops_gets_no_answer() {
    let mut lab = Lab::with_slots(2);
    lab.ask(client(1), "large");
    lab.ack(client(1), 1);
    lab.stop();
    let sent_before = lab.world.sent.len();
    let requests = [
        (1, "small", "octet"),
        (1, "nothing", "octet"),
        (2, "small", "octet"),
        (1, "small", "mail"),
        (1, "../small", "octet"),
    ];
    for (opcode, name, mode) in requests {
        let datagram = request_datagram(opcode, name, mode, &[]);
        lab.settle(&[Arrival::Request(client(2), datagram)]);
    }
    assert_eq!(lab.world.served(), [client(1)]);
    assert_eq!(lab.world.sent.len(), sent_before);
    assert_eq!(lab.world.refusals, []);
    assert_eq!(lab.server.stats().stopping, 5);
}

#[test]
fn a_faulty_request_of_one_who_is_served_gets_no_answer_while_stopping() {
    let faults = [
        (2, "small", "octet"),
        (1, "small", "mail"),
        (1, "../small", "octet"),
    ];
    for (opcode, name, mode) in faults {
        let mut lab = Lab::with_slots(1);
        lab.ask(client(1), "large");
        lab.ack(client(1), 1);
        lab.stop();
        let datagram = request_datagram(opcode, name, mode, &[]);
        lab.settle(&[Arrival::Request(client(1), datagram)]);
        assert_eq!(lab.world.refusals, [], "{name} {mode}");
        assert_eq!(lab.world.served(), [client(1)]);
    }
}

#[test]
fn a_first_packet_that_was_lost_is_repeated_while_stopping() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "small");
    lab.stop();
    lab.pass(millis(200));
    lab.ask(client(1), "small");
    assert_eq!(lab.world.packets_to(client(1)), [Packet::Data(1); 2]);
    lab.ack(client(1), 1);
    assert!(lab.server.is_stopped());
}

#[test]
fn a_machine_that_reboots_or_moves_on_is_not_served_again_while_stopping() {
    for name in ["large", "small"] {
        let mut lab = Lab::with_slots(1);
        lab.ask(client(1), "large");
        lab.ack(client(1), 1);
        lab.stop();
        lab.pass(millis(2500));
        lab.ask(client(1), name);
        lab.pass(millis(51));
        assert_eq!(lab.world.served(), [client(1)]);
        assert!(lab.server.is_stopped());
    }
}

#[test]
fn stopping_ends_after_the_operators_time_whatever_runs() {
    let mut lab = lab_with_patience(seconds(10));
    lab.ask(client(1), "large");
    lab.pass(seconds(3));
    let stopped_at = lab.world.now;
    lab.stop();
    // It makes progress all the time, and its own timers come up later than the end.
    while lab.world.now < stopped_at + seconds(10) - millis(100) {
        lab.ack_last(client(1));
        lab.pass(millis(100));
    }
    lab.ack_last(client(1));
    lab.pass(seconds(10));
    assert!(lab.server.is_stopped());
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::ShutDown]);
    assert_on_time(lab.world.ended[0].at, stopped_at + seconds(10));
    assert_eq!(lab.world.open_now(), 0);
}

#[test]
fn one_who_is_silent_while_the_server_stops_is_given_up_at_the_usual_time() {
    let mut lab = lab_with_patience(seconds(10));
    lab.ask(client(1), "small");
    lab.stop();
    lab.pass(seconds(8));
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::NoAnswer]);
    assert!(lab.server.is_stopped());
}

#[test]
fn a_server_with_nothing_to_do_sleeps_for_ever() {
    let mut lab = Lab::with_slots(3);
    assert_eq!(lab.server.next_wakeup(), None);
    for number in 1..=10 {
        lab.ask(client(number), "medium");
        lab.pass(millis(3));
    }
    lab.ask(client(11), "nothing");
    for number in 1..=9 {
        lab.fetch_rest(client(number));
    }
    assert_eq!(lab.world.open_now(), 1);
    lab.settle(&[error(client(10), 0)]);
    assert_eq!((lab.server.running(), lab.server.pending()), (0, 0));
    // What is left in the wheel counts for nobody and is gone within one turn of it: two entries for each.
    let turns = lab.wakeups_until_asleep();
    assert!(turns <= 2 * 10, "woken {turns} times for nothing");
    assert!(lab.world.now <= Moment::START + seconds(5));
    lab.pass(seconds(3600));
    assert_eq!(lab.server.next_wakeup(), None);
    assert_eq!(lab.server.stats().completed, 9);
}

#[test]
fn a_server_that_waits_for_one_client_is_woken_a_few_times_only() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "large");
    lab.ack(client(1), 1);
    lab.pass(millis(20));
    lab.ack(client(1), 2);
    // Repeats at 0.25, 0.75, 1.75, 3.75, 7.75, 12.75 ... s, and a look at each turn of the wheel.
    let woken = lab.wakeups_until_asleep();
    assert!(woken <= 30, "woken {woken} times in 35 s");
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::TimedOut]);
}

#[test]
fn timers_that_were_brought_forward_leave_nothing_behind() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "large");
    lab.ack(client(1), 1);
    lab.pass(millis(20));
    // Each silence makes the RTO grow, and each ACK after it makes it short again.
    for _ in 0..50 {
        lab.ack_last(client(1));
        lab.pass(millis(20));
        lab.ack_last(client(1));
        lab.pass(seconds(2));
    }
    lab.ack_last(client(1));
    let woken = lab.wakeups_until_asleep();
    assert!(woken <= 30, "woken {woken} times in 35 s");
}

#[test]
fn a_long_sleep_leaves_the_timers_right() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "small");
    lab.ack(client(1), 1);
    lab.wakeups_until_asleep();
    lab.pass(seconds(3 * 24 * 3600) + millis(1));
    let begin = lab.world.now;
    lab.ask(client(2), "small");
    lab.pass(seconds(10));
    let sent_at: Vec<Moment> = lab
        .world
        .sendings_to(client(2))
        .iter()
        .map(|sent| sent.at)
        .collect();
    assert_eq!(sent_at.len(), 3);
    assert_eq!(sent_at[0], begin);
    assert_on_time(sent_at[1], begin + seconds(1));
    assert_on_time(sent_at[2], sent_at[1] + seconds(2));
    assert_eq!(lab.world.outcomes_of(client(2)), [Outcome::NoAnswer]);
}

#[test]
fn a_long_sleep_is_not_made_up_for_turn_by_turn_of_the_wheel() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "small");
    lab.ack(client(1), 1);
    lab.wakeups_until_asleep();
    // A month without a request: the loop sleeps all the while.
    lab.oversleep(seconds(30 * 24 * 3600));
    lab.deliver(&request(client(2), "small"));
    let wakeup = lab.server.next_wakeup().expect("a transfer has begun");
    assert!(
        lab.world.now < wakeup,
        "a timer filed at {:?} comes up at {wakeup:?}",
        lab.world.now
    );
}

#[test]
fn a_turn_that_comes_late_does_everything_that_was_due() {
    let mut lab = Lab::with_slots(1);
    lab.ask(client(1), "large");
    lab.ask(client(2), "large");
    lab.ask(client(3), "large");
    lab.oversleep(seconds(60));
    lab.ask(client(4), "small");
    assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::NoAnswer]);
    assert_eq!(lab.world.outcomes_of(client(2)), [Outcome::Expired]);
    assert_eq!(lab.world.outcomes_of(client(3)), [Outcome::Expired]);
    assert_eq!(lab.world.served(), [1, 4].map(client));
}

#[test]
fn a_directory_or_a_device_is_refused_and_opens_nothing() {
    let mut lab = Lab::with_slots(1);
    for name in ["directory", "fifo", "device"] {
        lab.world.add_fault(name, Refusal::NotAFile);
        lab.ask(client(1), name);
    }
    assert_eq!(lab.world.refusals.len(), 3);
    assert_eq!(Refusal::NotAFile.code(), 2);
    assert_eq!(lab.world.opens, []);
    assert_eq!(lab.server.next_wakeup(), None);
}

#[test]
fn a_large_file_is_served_whole_and_an_empty_one_as_one_empty_block() {
    let mut lab = Lab::with_slots(2);
    lab.world.add_file("empty", 0);
    lab.world.add_file("beyond the wrap", 66_000 * 8);
    lab.ask(client(1), "empty");
    let options = [("blksize", "8"), ("windowsize", "64")];
    lab.ask_with(client(2), "beyond the wrap", &options);
    lab.fetch_rest(client(1));
    lab.fetch_rest(client(2));
    assert_eq!(lab.world.packets_to(client(1)), [Packet::Data(1)]);
    let mut expected = vec![Packet::Oack];
    expected.extend((1..=66_001).map(Packet::Data));
    assert!(lab.world.packets_to(client(2)) == expected);
    let bytes: Vec<u64> = lab.world.ended.iter().map(|ended| ended.bytes).collect();
    assert_eq!(bytes, [0, 66_000 * 8]);
}
