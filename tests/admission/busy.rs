//! Files of which nothing can be told yet, since a disk is slow or another program has them for a moment: no ERROR ever, and
//! nobody else waits for them.

use ripple_tftpd::server::Limits;

use crate::world::{Lab, Packet, client, error, millis, seconds};

fn lab(slots: usize) -> Lab {
    let mut lab = Lab::new(Limits {
        max_transfers: slots,
        small_file: 0,
        reclaim: false,
        hold: Some(seconds(2)),
        ..Limits::default()
    });
    lab.world.add_file("cold", 5_000_000);
    lab.world.add_file("warm", 5_000_000);
    lab.world.busy.insert(b"cold".to_vec());
    lab
}

#[test]
fn a_request_for_a_busy_file_draws_nothing_until_it_comes_again() {
    for slots in [1, 2] {
        let mut lab = lab(slots);
        // With a slot free and with none.
        lab.ask(client(1), "warm");
        lab.ask(client(2), "cold");
        lab.pass(seconds(1));
        assert_eq!(lab.world.packets_to(client(2)), []);
        assert_eq!(lab.world.refusals, []);
        assert_eq!((lab.server.pending(), lab.server.serving()), (0, 1));
        assert_eq!(lab.server.stats().requests, 1);
        lab.world.busy.clear();
        lab.ask(client(2), "cold");
        lab.pass(seconds(3));
        assert_eq!(lab.world.packets_to(client(2))[0], Packet::Data(1));
        assert_eq!(lab.server.stats().requests, 2);
    }
}

#[test]
fn whose_file_is_busy_stands_aside_for_those_behind_and_is_next_when_it_was_found() {
    let mut lab = lab(1);
    lab.world.busy.clear();
    lab.ask(client(1), "warm");
    lab.ask(client(2), "cold");
    lab.ask_each((3..=6).map(client), "warm");
    lab.world.busy.insert(b"cold".to_vec());
    lab.settle(&[error(client(1), 0)]);
    assert_eq!(lab.world.served(), [1, 3].map(client));
    assert_eq!(lab.world.ended.len(), 1);
    let waiting = lab.world.asked_busy.clone();
    assert_eq!(waiting.len(), 1, "it is asked for once: {waiting:?}");
    // Found, but the slot is another client's by now: it has its old place.
    lab.world.busy.clear();
    lab.server.on_found(lab.world.now, waiting[0]);
    lab.settle(&[]);
    assert_eq!(lab.world.served(), [1, 3].map(client));
    lab.settle(&[error(client(3), 0)]);
    assert_eq!(lab.world.served(), [1, 3, 2].map(client));
    assert_eq!(lab.world.refusals, []);
}

#[test]
fn a_busy_file_of_which_nothing_is_heard_is_asked_for_every_second() {
    let mut lab = lab(1);
    lab.world.busy.clear();
    lab.ask(client(1), "warm");
    lab.ask(client(2), "cold");
    lab.world.busy.insert(b"cold".to_vec());
    lab.settle(&[error(client(1), 0)]);
    lab.pass(millis(1500));
    assert_eq!(lab.world.asked_busy.len(), 2);
    lab.world.busy.clear();
    lab.pass(seconds(1));
    assert_eq!(lab.world.served(), [1, 2].map(client));
}

/// It was to be held: with what was found it is answered at once, not a second later.
#[test]
fn a_client_that_is_to_be_held_is_answered_as_soon_as_its_file_was_found() {
    let mut lab = lab(1);
    lab.world.busy.clear();
    lab.ask(client(1), "warm");
    lab.ask(client(2), "cold");
    lab.world.busy.insert(b"cold".to_vec());
    lab.pass(millis(2100));
    assert_eq!(lab.server.held(), 0);
    let asked = *lab.world.asked_busy.last().unwrap();
    lab.world.busy.clear();
    lab.server.on_found(lab.world.now, asked);
    lab.pass(millis(10));
    assert_eq!(lab.server.held(), 1);
    assert_eq!(lab.world.packets_to(client(2)), [Packet::Data(1)]);
}
