//! Large blocks that never arrive: a hop with a small MTU loses their fragments and nothing else.

use std::net::Ipv6Addr;
use std::time::Duration;

use ripple_tftpd::server::Limits;
use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::Peer;

use crate::held::machine;
use crate::world::{Lab, behind, client, error, millis, seconds, silent_fifo};

/// The default of `-t`.
const PATIENCE: Duration = Duration::from_secs(35);

const LARGE: &[(&str, &str)] = &[("blksize", "1468")];

fn lab() -> Lab {
    Lab::new(Limits {
        max_transfers: 64,
        per_client: 64,
        ..silent_fifo()
    })
}

/// Asks and acknowledges the OACK. Returns the block size granted.
#[track_caller]
fn begin_with(lab: &mut Lab, peer: Peer, options: &[(&str, &str)]) -> u16 {
    let oacks = lab.world.granted.len();
    lab.ask_with(peer, "large", options);
    let new = lab.world.granted[oacks..].to_vec();
    let &[(to, blksize)] = &*new else {
        panic!("one OACK, not {new:?}")
    };
    assert_eq!(to, peer);
    lab.pass(millis(1));
    lab.ack(peer, 0);
    blksize
}

#[track_caller]
fn begin(lab: &mut Lab, peer: Peer) -> u16 {
    begin_with(lab, peer, LARGE)
}

/// What a machine is granted that then does not acknowledge any block until it is given up.
#[track_caller]
fn lose_with(lab: &mut Lab, peer: Peer, options: &[(&str, &str)]) -> u16 {
    let blksize = begin_with(lab, peer, options);
    lab.pass(PATIENCE + millis(1));
    assert_eq!(
        lab.world.outcomes_of(peer).last(),
        Some(&Outcome::TimedOut),
        "silent until it was given up"
    );
    blksize
}

#[track_caller]
fn lose(lab: &mut Lab, peer: Peer) -> u16 {
    lose_with(lab, peer, LARGE)
}

fn v6(port: u16) -> Peer {
    Peer {
        address: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7).into(),
        port,
        scope: 0,
    }
}

fn v4(port: u16) -> Peer {
    behind(1, port)
}

#[test]
fn a_host_that_loses_all_large_blocks_of_two_transfers_gets_small_ones() {
    let wide = &[("blksize", "1468"), ("windowsize", "8")][..];
    for (port, options) in [(v4 as fn(u16) -> Peer, LARGE), (v6, LARGE), (v4, wide)] {
        let mut lab = lab();
        assert_eq!(lose_with(&mut lab, port(1), options), 1468);
        assert_eq!(lab.world.lost_reported, []);
        assert_eq!(lose_with(&mut lab, port(2), options), 1468);
        assert_eq!(lab.world.lost_reported, [port(2)]);
        assert_eq!(begin_with(&mut lab, port(3), options), 512);
        assert_eq!(begin(&mut lab, client(2)), 1468, "another host");
        // A client that asks for less gets that.
        let small = &[("blksize", "400")];
        assert_eq!(begin_with(&mut lab, port(4), small), 400);
        lab.pass(seconds(1));
        lab.fetch_rest(port(3));
        assert_eq!(lab.world.outcomes_of(port(3)), [Outcome::Complete]);
        assert_eq!(begin(&mut lab, port(5)), 512, "small ones tell nothing");
        assert_eq!(lab.world.lost_reported, [port(2)]);
    }
}

/// The same for who is served while it waits, and for who had to wait.
#[test]
fn those_who_wait_get_small_blocks_too() {
    let mut lab = Lab::new(Limits {
        max_transfers: 1,
        hold: Some(seconds(1)),
        reclaim: false,
        ..Limits::default()
    });
    lose(&mut lab, v4(1));
    lose(&mut lab, v4(2));
    begin(&mut lab, client(2));
    for (port, within) in [(3, seconds(2)), (4, seconds(1))] {
        lab.ask_with(v4(port), "large", LARGE);
        if port == 4 {
            lab.settle(&[error(client(2), 0), error(v4(3), 0)]);
        }
        lab.pass(within);
        assert_eq!(lab.world.granted.last(), Some(&(v4(port), 512)));
        lab.ack(v4(port), 0);
    }
}

#[test]
fn one_transfer_is_not_enough_nor_are_two_with_another_between_that_went_well() {
    let mut lab = lab();
    lose(&mut lab, v4(1));
    assert_eq!(begin(&mut lab, v4(2)), 1468);
    lab.ack(v4(2), 1);
    lab.settle(&[error(v4(2), 0)]);
    lose(&mut lab, v4(3));
    assert_eq!(begin(&mut lab, v4(4)), 1468);
    assert_eq!(lab.world.lost_reported, []);
}

/// A client that asked again, sent an ERROR, closed its port or moved on was not silent.
#[test]
fn who_is_not_silent_to_the_end_does_not_count() {
    type End = (&'static str, fn(&mut Lab));
    let end: [End; 4] = [
        ("ERROR 0", |lab| lab.settle(&[error(v4(1), 0)])),
        ("ERROR 4", |lab| lab.settle(&[error(v4(1), 4)])),
        ("a closed port", |lab| {
            lab.settle(&[crate::world::Arrival::PortClosed(v4(1))]);
        }),
        ("another file", |lab| lab.ask(v4(1), "small")),
    ];
    for (what, end) in end {
        let mut lab = lab();
        for _ in 0..4 {
            assert_eq!(begin(&mut lab, v4(1)), 1468, "{what}");
            lab.pass(seconds(30));
            end(&mut lab);
            // Whatever it asked for instead is over, too.
            lab.settle(&[error(v4(1), 0)]);
            assert!(lab.world.client_of(v4(1)).is_none(), "{what}");
        }
        assert_eq!(lab.world.lost_reported, [], "{what}");
    }
}

/// It asks again after a while, from the same port, and answers.
#[test]
fn who_asks_again_does_not_count() {
    let mut lab = lab();
    for _ in 0..4 {
        assert_eq!(begin(&mut lab, v4(1)), 1468);
        lab.pass(seconds(30));
        lab.ask_with(v4(1), "large", LARGE);
        lab.pass(seconds(1));
        assert_eq!(lab.world.granted.last(), Some(&(v4(1), 1468)));
        lab.ack(v4(1), 0);
        lab.settle(&[error(v4(1), 0)]);
        assert!(lab.world.client_of(v4(1)).is_none());
    }
    assert_eq!(lab.world.lost_reported, []);
}

/// FreeBSD's loader leaves a transfer in silence each time it only looks whether a file is there, and takes another port each
/// second. The last thing it does may be to look.
#[test]
fn the_loader_of_freebsd_does_not_count() {
    let options = &[("blksize", "1428"), ("tsize", "0")];
    let mut lab = lab();
    let mut port = 2000;
    for boot in 0..3 {
        for _ in 0..5 {
            for _looks in 0..2 {
                assert_eq!(begin_with(&mut lab, v4(port), options), 1428, "{boot}");
                lab.pass(seconds(1));
                port += 1;
            }
            assert_eq!(begin_with(&mut lab, v4(port), options), 1428, "{boot}");
            lab.pass(seconds(3));
            lab.ack(v4(port), 1);
            lab.settle(&[error(v4(port), 0)]);
            port += 1;
        }
        for _looks in 0..3 {
            assert_eq!(begin_with(&mut lab, v4(port), options), 1428, "{boot}");
            lab.pass(millis(900));
            port += 1;
        }
        lab.pass(seconds(90));
        assert_eq!(lab.server.serving(), 0);
    }
    assert_eq!(lab.world.lost_reported, []);
}

/// All transfers of an address end together where the machines behind it are switched off.
#[test]
fn transfers_that_begin_together_count_as_one() {
    let mut lab = lab();
    for port in 1..=6 {
        begin(&mut lab, v4(port));
        lab.pass(millis(400));
    }
    lab.pass(PATIENCE);
    assert_eq!(lab.server.serving(), 0);
    assert_eq!(begin(&mut lab, v4(7)), 1468);
    assert_eq!(lab.world.lost_reported, []);
}

/// A machine that repeats the ACK of its OACK says that nothing else arrives.
#[test]
fn who_repeats_its_first_ack_counts() {
    let mut lab = lab();
    for port in 1..=2 {
        assert_eq!(begin(&mut lab, v4(port)), 1468);
        for _ in 0..6 {
            lab.pass(seconds(4));
            lab.ack(v4(port), 0);
        }
        // It begins again, from another port, before it was given up.
        lab.pass(seconds(4));
    }
    lab.pass(PATIENCE);
    assert_eq!(begin(&mut lab, v4(3)), 512);
}

/// Nothing left of a file on a slow disk.
#[test]
fn blocks_that_never_left_are_not_lost() {
    let mut lab = lab();
    lab.world.absent.insert(b"large".to_vec());
    for port in 1..=3 {
        assert_eq!(lose(&mut lab, v4(port)), 1468);
    }
}

/// For ten minutes, whether the host is heard of or not, and however many others are.
#[test]
fn small_blocks_are_remembered_for_ten_minutes() {
    let pass_minutes = |lab: &mut Lab, minutes: u32| {
        for minute in 0..minutes {
            lab.ask_each((0..5).map(|other| machine(10 * minute + other)), "missing");
            lab.pass(seconds(60));
        }
    };
    for (after, blksize) in [(seconds(59), 512), (seconds(61), 1468)] {
        let mut lab = lab();
        lose(&mut lab, v4(1));
        pass_minutes(&mut lab, 5);
        lose(&mut lab, v4(2));
        pass_minutes(&mut lab, 9);
        lab.pass(after);
        assert_eq!(begin(&mut lab, v4(3)), blksize, "after 9 min and {after:?}");
    }
    // Then as at the beginning.
    let mut lab = lab();
    for round in 0..3 {
        let ports = [1, 2, 3].map(|port| v4(10 * round + port));
        assert_eq!(
            ports.map(|port| lose(&mut lab, port)),
            [1468, 1468, 512],
            "round {round}"
        );
        lab.pass(seconds(600));
    }
    assert_eq!(lab.world.lost_reported.len(), 3);
}

/// Machines behind one address: one to which large blocks go shows that they arrive.
#[test]
fn a_large_block_that_arrives_ends_it() {
    // It was granted them before; and acknowledges its first one, or goes on, and comes to its end.
    for has_begun in [false, true] {
        let mut lab = lab();
        begin(&mut lab, v4(1));
        lab.pass(seconds(4));
        begin(&mut lab, v4(2));
        lab.pass(seconds(26));
        begin(&mut lab, v4(9));
        if has_begun {
            lab.ack(v4(9), 1);
            // That was after the first had begun; later it would not count at all.
            lab.pass(seconds(12));
            assert_eq!(lab.world.lost_reported, []);
        } else {
            lab.pass(seconds(12));
            assert_eq!(lab.world.lost_reported, [v4(2)]);
            assert_eq!(begin(&mut lab, v4(3)), 512);
            lab.ack(v4(9), 1);
        }
        assert_eq!(begin(&mut lab, v4(4)), 1468);
    }
    let mut lab = lab();
    begin(&mut lab, v4(9));
    lab.ack(v4(9), 1);
    for port in 1..=2 {
        assert_eq!(begin(&mut lab, v4(port)), 1468);
        lab.pass(seconds(20));
        lab.ack_last(v4(9));
        lab.pass(seconds(20));
        lab.ack_last(v4(9));
    }
    assert_eq!(begin(&mut lab, v4(3)), 512);
    lab.fetch_rest(v4(9));
    assert_eq!(begin(&mut lab, v4(4)), 1468);
}
