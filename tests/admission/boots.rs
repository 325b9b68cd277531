//! Who is next: boots are finished rather than begun, and small files have slots of their own.

use ripple_tftpd::moment::Moment;
use ripple_tftpd::server::Limits;
use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::Peer;

use crate::held::{Answering, lab_with, machine, slots, without_small_files};
use crate::world::{Lab, TICK, behind, client, error, millis, request, seconds};

/// The limits of a server that answers nobody before his turn and takes no slot back, so that the order is that in
/// which files are opened.
fn silent(max_transfers: usize) -> Limits {
    Limits {
        hold: None,
        reclaim: false,
        ..slots(max_transfers)
    }
}

/// Gives the only slot to host 9.
fn fill(lab: &mut Lab) {
    lab.ask(client(9), "kernel");
    assert_eq!(lab.server.running(), 1);
}

/// Host 9 has its slot no more. Returns in which order those who wait are served.
fn order_of_those_who_wait(lab: &mut Lab) -> Vec<Peer> {
    let before = lab.world.opens.len();
    lab.settle(&[error(client(9), 0)]);
    while lab.server.running() > 0 {
        let peer = lab.world.opens.last().unwrap().peer;
        lab.settle(&[error(peer, 0)]);
    }
    lab.world.served().split_off(before)
}

#[test]
fn a_machine_halfway_through_its_boot_goes_before_one_that_has_just_come() {
    let mut lab = lab_with(silent(1));
    lab.ask(behind(1, 1001), "small");
    lab.fetch_rest(behind(1, 1001));
    lab.pass(seconds(20));
    fill(&mut lab);
    lab.ask(client(2), "kernel");
    lab.pass(seconds(1));
    lab.ask(client(3), "kernel");
    lab.pass(seconds(1));
    lab.ask(behind(1, 1002), "kernel");
    let expected = [behind(1, 1002), client(2), client(3)];
    assert_eq!(order_of_those_who_wait(&mut lab), expected);
}

/// Seen at a site behind one NAT address with a raised `--per-client`: machines that were switched on later went before an
/// outsider, without end.
#[test]
fn machines_behind_one_address_do_not_share_the_age_of_a_boot() {
    for hold in [None, Some(seconds(2))] {
        let mut lab = lab_with(Limits {
            hold,
            reclaim: false,
            per_client: 64,
            per_client_pending: 64,
            ..slots(1)
        });
        // The first machine behind the address began long ago, and still runs.
        lab.ask(behind(1, 1), "small");
        lab.fetch_rest(behind(1, 1));
        lab.pass(seconds(50));
        lab.ask(behind(1, 2), "large");
        lab.ask(client(7), "kernel");
        lab.pass(seconds(1));
        lab.ask_each((3..54).map(|port| behind(1, port)), "kernel");
        lab.settle(&[error(behind(1, 2), 0)]);
        assert!(lab.world.client_of(client(7)).is_some());
        assert_eq!(lab.server.running(), 1);
        assert_eq!(lab.server.pending() + lab.server.held(), 51);
    }
}

/// A repeat from a new port is no second machine.
#[test]
fn a_machine_that_changes_its_port_with_every_repeat_keeps_the_age_of_its_boot() {
    let mut lab = lab_with(silent(1));
    lab.ask(behind(1, 1001), "small");
    lab.fetch_rest(behind(1, 1001));
    lab.pass(seconds(10));
    fill(&mut lab);
    lab.ask(client(2), "kernel");
    lab.ask(behind(1, 1002), "medium");
    lab.pass(seconds(2));
    lab.ask(behind(1, 1003), "medium");
    lab.settle(&[error(client(9), 0)]);
    assert!(lab.world.client_of(behind(1, 1003)).is_some());
    lab.fetch_rest(behind(1, 1003));
    // It goes on with its boot, which is older than that of host 3.
    fill(&mut lab);
    lab.ask(client(3), "kernel");
    lab.ask(behind(1, 1004), "kernel");
    assert_eq!(
        order_of_those_who_wait(&mut lab)[..1],
        [behind(1, 1004)],
        "before clients 2 and 3"
    );
}

#[test]
fn a_machine_in_a_boot_loop_is_not_always_first() {
    // It asks every 50 s, and its boot ends after 15 minutes.
    for (rounds, is_first) in [(1, true), (17, true), (19, false), (21, true), (38, false)] {
        let mut lab = lab_with(silent(1));
        for round in 0..rounds {
            lab.ask(behind(1, 1000 + round), "small");
            lab.fetch_rest(behind(1, 1000 + round));
            lab.pass(seconds(50));
        }
        fill(&mut lab);
        lab.ask(client(2), "kernel");
        lab.ask(behind(1, 2000), "kernel");
        let first = order_of_those_who_wait(&mut lab)[0];
        assert_eq!(first == behind(1, 2000), is_first, "after {rounds} rounds");
    }
}

#[test]
fn the_order_by_boot_holds_for_those_who_are_held() {
    let mut lab = lab_with(slots(1));
    lab.ask(behind(1, 1001), "small");
    lab.fetch_rest(behind(1, 1001));
    // How near that was is forgotten.
    lab.pass(seconds(11));
    let mut answering = Answering::from_now(&lab);
    fill(&mut lab);
    lab.ask(client(2), "kernel");
    let lives = |_| Some(millis(4));
    answering.live(&mut lab, seconds(5), lives);
    // It is not even answered yet, and goes first all the same.
    lab.ask(behind(1, 1002), "kernel");
    answering.live(&mut lab, seconds(1), lives);
    assert_eq!((lab.server.held(), lab.server.pending()), (1, 1));
    lab.settle(&[error(client(9), 0)]);
    assert_eq!(lab.world.served().last(), Some(&behind(1, 1002)));
    assert_eq!((lab.server.running(), lab.server.held()), (1, 1));
}

#[test]
fn a_pause_of_more_than_a_minute_begins_a_new_boot() {
    for (pause, goes_first) in [
        (seconds(59), true),
        (seconds(60), true),
        (seconds(60) + millis(1), false),
        (seconds(300), false),
    ] {
        let mut lab = lab_with(silent(1));
        lab.ask(behind(1, 1001), "small");
        lab.fetch_rest(behind(1, 1001));
        lab.pass(pause.saturating_sub(seconds(5)));
        fill(&mut lab);
        lab.ask(client(2), "kernel");
        lab.pass(seconds(5));
        lab.ask(behind(1, 1002), "kernel");
        let order = order_of_those_who_wait(&mut lab);
        assert_eq!(order.len(), 2);
        assert_eq!(order[0] == behind(1, 1002), goes_first, "after {pause:?}");
    }
}

#[test]
fn a_boot_lasts_as_long_as_its_pauses_are_short() {
    let mut lab = lab_with(silent(1));
    for port in 1001..1010 {
        lab.ask(behind(1, port), "small");
        lab.fetch_rest(behind(1, port));
        lab.pass(seconds(50));
        if port == 1002 {
            // Came in the middle of it.
            lab.ask(behind(2, 1001), "small");
            lab.fetch_rest(behind(2, 1001));
        }
        if port > 1002 {
            lab.ask(behind(2, port), "nothing");
        }
    }
    fill(&mut lab);
    lab.ask(behind(2, 2000), "kernel");
    lab.ask(behind(1, 2000), "kernel");
    let expected = [behind(1, 2000), behind(2, 2000)];
    assert_eq!(order_of_those_who_wait(&mut lab), expected);
}

#[test]
fn a_miss_belongs_to_the_boot() {
    let mut lab = lab_with(silent(1));
    lab.ask(behind(1, 1001), "nothing");
    assert_eq!(lab.world.refusals.len(), 1);
    lab.pass(seconds(40));
    lab.ask(behind(2, 1001), "small");
    lab.fetch_rest(behind(2, 1001));
    lab.ask(behind(1, 1002), "nothing");
    lab.pass(seconds(40));
    fill(&mut lab);
    lab.ask(behind(2, 1002), "kernel");
    lab.ask(behind(1, 1003), "kernel");
    let expected = [behind(1, 1003), behind(2, 1002)];
    assert_eq!(order_of_those_who_wait(&mut lab), expected);
}

#[test]
fn requests_of_one_address_that_wait_together_go_by_arrival() {
    let mut lab = lab_with(silent(1));
    fill(&mut lab);
    for (port, name) in [(1001, "kernel"), (1002, "large"), (1003, "medium")] {
        lab.ask(behind(1, port), name);
        lab.pass(millis(100));
        lab.ask(client(2), "kernel");
    }
    let expected = [behind(1, 1001), client(2), behind(1, 1002), behind(1, 1003)];
    assert_eq!(order_of_those_who_wait(&mut lab), expected);
}

#[test]
fn a_long_transfer_is_no_pause() {
    let mut lab = lab_with(silent(1));
    let mut answering = Answering::from_now(&lab);
    lab.ask(behind(1, 1001), "large");
    // 90 s of it.
    let lives = |peer: Peer| (peer == behind(1, 1001)).then_some(millis(10));
    answering.live(&mut lab, seconds(90), lives);
    lab.ask(client(2), "kernel");
    answering.live(&mut lab, seconds(20), lives);
    assert_eq!(lab.world.outcomes_of(behind(1, 1001)), [Outcome::Complete]);
    // Client 2 was served at once. It makes way for host 9.
    lab.settle(&[error(client(2), 0)]);
    lab.pass(seconds(30));
    fill(&mut lab);
    lab.ask(client(3), "kernel");
    lab.ask(behind(1, 1002), "kernel");
    let expected = [behind(1, 1002), client(3)];
    assert_eq!(order_of_those_who_wait(&mut lab), expected);
}

/// It may be another machine's behind the same address.
#[test]
fn a_second_request_during_a_transfer_gets_nothing_of_its_age() {
    let mut lab = lab_with(Limits {
        small_file: 0,
        ..silent(2)
    });
    let mut answering = Answering::from_now(&lab);
    lab.ask(behind(1, 1001), "kernel");
    lab.ask(client(9), "kernel");
    let lives = |_| Some(millis(4));
    answering.live(&mut lab, seconds(80), lives);
    lab.ask(client(2), "kernel");
    answering.live(&mut lab, seconds(1), lives);
    lab.ask(behind(1, 1002), "kernel");
    lab.settle(&[error(client(9), 0)]);
    assert_eq!(lab.world.served().last(), Some(&client(2)));
}

/// A repeated request is a packet, too.
#[test]
fn a_machine_that_asked_in_vain_until_a_moment_ago_has_made_no_pause() {
    let mut lab = lab_with(silent(1));
    let mut answering = Answering::from_now(&lab);
    fill(&mut lab);
    let lives = |_| Some(millis(4));
    for _ in 0..10 {
        lab.ask(behind(1, 1001), "kernel");
        answering.live(&mut lab, seconds(5), lives);
    }
    lab.ask(client(2), "kernel");
    // Its first request is forgotten, 70 s after it was sent first and 25 s after it was sent last.
    for _ in 0..4 {
        answering.live(&mut lab, seconds(5), lives);
        lab.ask(client(2), "kernel");
    }
    assert_eq!(lab.world.outcomes_of(behind(1, 1001)), [Outcome::Expired]);
    lab.ask(behind(1, 1002), "large");
    let expected = [behind(1, 1002), client(2)];
    assert_eq!(order_of_those_who_wait(&mut lab), expected);
}

#[test]
fn the_boots_of_those_who_wait_are_remembered_however_many_pass_by() {
    const CLIENTS: u32 = 70_000;
    let mut lab = lab_with(silent(1));
    fill(&mut lab);
    lab.ask(behind(1, 1001), "kernel");
    lab.pass(seconds(1));
    lab.ask(client(2), "kernel");
    for chunk in 0..CLIENTS / 1000 {
        let misses: Vec<_> = (0..1000)
            .map(|number| request(machine(chunk * 1000 + number), "nothing"))
            .collect();
        lab.turn(&misses);
    }
    assert_eq!(lab.world.refusals.len(), CLIENTS as usize);
    lab.settle(&[error(client(9), 0)]);
    assert!(lab.world.client_of(behind(1, 1001)).is_some());
    let next = request(behind(1, 1002), "large");
    lab.settle(&[error(behind(1, 1001), 0), next]);
    assert_eq!(lab.world.served().last(), Some(&behind(1, 1002)));
}

// Small files.

/// A machine asks for the kernel and acknowledges its first block, if it gets one. While nobody answers,
/// some slots are kept free: see `unvalidated`.
fn begin_kernel(lab: &mut Lab, number: u32) {
    lab.ask(machine(number), "kernel");
    if lab.world.client_of(machine(number)).is_some() {
        lab.ack(machine(number), 1);
    }
}

#[test]
fn an_eighth_of_the_slots_is_kept_for_small_files() {
    for (max_transfers, kept) in [(1, 0), (2, 1), (7, 1), (8, 1), (15, 1), (16, 2), (32, 4)] {
        let mut lab = lab_with(slots(max_transfers));
        let bulk = max_transfers - kept;
        for number in 0..40 {
            begin_kernel(&mut lab, number);
        }
        assert_eq!(lab.server.running(), bulk, "{max_transfers} slots");
        assert_eq!(lab.server.pending(), 40 - bulk);
        lab.ask_each((100..140).map(machine), "small");
        assert_eq!(lab.server.running(), max_transfers);
        assert_eq!(lab.server.pending(), 80 - max_transfers);
        for number in 100..100 + u32::try_from(kept).unwrap() {
            assert!(lab.world.client_of(machine(number)).is_some());
        }
        assert_eq!(slots(max_transfers).small_slots(), kept);
    }
}

#[test]
fn no_slots_are_kept_where_there_is_one_or_no_file_counts_as_small() {
    for limits in [
        slots(1),
        without_small_files(slots(1)),
        without_small_files(slots(4)),
        without_small_files(slots(32)),
    ] {
        let mut lab = lab_with(limits);
        lab.world.add_file("empty", 0);
        for number in 0..40 {
            begin_kernel(&mut lab, number);
        }
        assert_eq!(lab.server.running(), limits.max_transfers);
        lab.ask(machine(100), "small");
        lab.ask(machine(101), "empty");
        assert_eq!(lab.server.running(), limits.max_transfers);
        assert_eq!(lab.world.client_of(machine(100)), None);
        assert_eq!(lab.world.client_of(machine(101)), None);
    }
}

#[test]
fn small_is_what_the_operator_says() {
    for small_file in [1000, 128 * 1024] {
        let limits = Limits {
            small_file,
            ..slots(8)
        };
        let mut lab = lab_with(limits);
        lab.world.add_file("just", small_file);
        lab.world.add_file("more", small_file + 1);
        for number in 0..8 {
            begin_kernel(&mut lab, number);
        }
        assert_eq!((lab.server.running(), lab.server.pending()), (7, 1));
        lab.ask(machine(100), "more");
        assert_eq!((lab.server.running(), lab.server.pending()), (7, 2));
        lab.ask(machine(101), "just");
        assert_eq!((lab.server.running(), lab.server.pending()), (8, 2));
        assert!(lab.world.client_of(machine(101)).is_some());
    }
    assert_eq!(Limits::default().small_file, 128 * 1024, "the default");
}

#[test]
fn a_small_file_is_served_while_kernels_wait_and_its_slot_is_for_small_files_again() {
    let mut lab = lab_with(slots(4));
    lab.ask_each((0..10).map(machine), "kernel");
    assert_eq!((lab.server.running(), lab.server.pending()), (3, 7));
    for number in 100..110 {
        let asked_at = lab.world.now;
        lab.ask(machine(number), "medium");
        lab.fetch_rest(machine(number));
        assert_eq!(lab.world.outcomes_of(machine(number)), [Outcome::Complete]);
        assert_eq!(lab.world.now, asked_at, "it did not wait");
        assert_eq!((lab.server.running(), lab.server.pending()), (3, 7));
    }
    // Two small ones at once: the second waits for the first, or for any other slot.
    lab.ask(machine(110), "medium");
    lab.ask(machine(111), "medium");
    assert_eq!((lab.server.running(), lab.server.pending()), (4, 8));
    lab.fetch_rest(machine(110));
    assert!(lab.world.client_of(machine(111)).is_some());
}

#[test]
fn small_files_may_have_any_slot_and_go_before_large_ones() {
    let mut lab = lab_with(slots(2));
    let mut answering = Answering::from_now(&lab);
    let lives = |_| Some(millis(100));
    lab.ask(machine(0), "large");
    lab.ask(machine(1), "medium");
    assert_eq!(lab.server.running(), 2);
    lab.ask(machine(2), "kernel");
    lab.ask(machine(3), "medium");
    answering.live(&mut lab, millis(50), lives);
    // A slot for any file comes free: the kernel was there first, but it is large.
    lab.settle(&[error(machine(0), 0)]);
    assert!(lab.world.client_of(machine(3)).is_some());
    assert_eq!(lab.world.client_of(machine(2)), None);
    // Either slot may then have it.
    lab.settle(&[error(machine(1), 0)]);
    assert!(lab.world.client_of(machine(2)).is_some());
    // And where no kernel runs, small files have both.
    lab.settle(&[error(machine(2), 0)]);
    lab.ask(machine(4), "medium");
    assert_eq!((lab.server.running(), lab.server.pending()), (2, 0));
    // A kernel that comes then waits for one of them.
    lab.ask(machine(5), "kernel");
    assert_eq!((lab.server.running(), lab.server.pending()), (2, 1));
    lab.settle(&[error(machine(3), 0)]);
    assert!(lab.world.client_of(machine(5)).is_some());
}

#[test]
fn large_files_that_are_held_never_get_the_slots_of_small_ones() {
    let mut lab = lab_with(slots(2));
    let mut answering = Answering::from_now(&lab);
    lab.ask_each((0..6).map(machine), "kernel");
    let lives = |_| Some(millis(4));
    answering.live(&mut lab, seconds(8), lives);
    assert_eq!((lab.server.running(), lab.server.held()), (1, 5));
    for number in 0..5 {
        lab.settle(&[error(machine(number), 0)]);
        answering.live(&mut lab, seconds(1), lives);
        assert_eq!(lab.server.running(), 1);
        let asked_at = lab.world.now;
        lab.ask(machine(100 + number), "small");
        assert_eq!(lab.server.running(), 2);
        lab.fetch_rest(machine(100 + number));
        assert_eq!(lab.world.now, asked_at);
    }
    assert!(lab.world.now < Moment::START + seconds(14) + TICK);
}
