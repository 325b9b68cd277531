//! What one address may have, and what unvalidated ones may: requests whose sender anybody can have forged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::server::{
    ERRORS_BURST, ERRORS_PER_SECOND, FIRST_PACKETS_BURST, FIRST_PACKETS_PER_SECOND, Limits,
};
use ripple_tftpd::transfer::{DATA_SENDINGS, OACK_SENDINGS, Outcome};
use ripple_tftpd::wire::Peer;

use crate::held::{Answering, lab_with, machine, slots};
use crate::world::{
    Arrival, Ended, Lab, Packet, behind, client, error, millis, request, seconds, silent_fifo,
};

// One address.

fn per_client(max_transfers: usize, per_client: usize) -> Limits {
    Limits {
        max_transfers,
        per_client,
        ..silent_fifo()
    }
}

#[test]
fn one_address_runs_so_many_and_the_others_of_it_hold_nobody_up() {
    for most in [1, 2, 8] {
        let mut lab = Lab::new(per_client(12, most));
        let port = |number: usize| behind(1, 1000 + u16::try_from(number).unwrap());
        lab.ask_each((0..most + 3).map(port), "medium");
        assert_eq!((lab.server.running(), lab.server.pending()), (most, 3));
        lab.ask(client(2), "medium");
        assert_eq!(lab.world.served().last(), Some(&client(2)), "passed over");
        // Each that ends makes room for the next, in the order of their arrival.
        for number in 0..3 {
            assert_eq!(lab.world.client_of(port(most + number)), None);
            lab.fetch_rest(port(number));
            assert!(lab.world.client_of(port(most + number)).is_some());
        }
        assert_eq!((lab.server.running(), lab.server.pending()), (most + 1, 0));
    }
}

#[test]
fn a_client_that_is_passed_over_goes_on_where_it_stood() {
    let mut lab = Lab::new(per_client(2, 1));
    lab.ask(behind(1, 1), "large");
    lab.ask(client(9), "large");
    lab.ask(behind(1, 2), "small");
    lab.ask(client(2), "small");
    lab.ask(client(3), "small");
    // The slot of client 9 is none for a second one of host 1, but the one of host 1 is.
    lab.settle(&[error(client(9), 0)]);
    assert_eq!(lab.world.served().last(), Some(&client(2)));
    lab.settle(&[error(behind(1, 1), 0)]);
    assert_eq!(lab.world.served().last(), Some(&behind(1, 2)));
    lab.fetch_rest(behind(1, 2));
    assert_eq!(lab.world.served().last(), Some(&client(3)));
}

#[test]
fn so_many_requests_of_one_address_wait_and_more_are_dropped_in_silence() {
    let mut lab = Lab::new(Limits {
        per_client_pending: 3,
        ..per_client(1, 1)
    });
    lab.ask(client(9), "large");
    lab.ask_each((1..=5).map(|port| behind(1, port)), "small");
    assert_eq!(lab.server.pending(), 3);
    assert_eq!(lab.server.stats().client_full, 2);
    assert_eq!(lab.server.stats().dropped(), 2);
    // A repeat is none more, nor is one that takes the place of another.
    lab.ask(behind(1, 2), "small");
    lab.pass(seconds(1));
    lab.ask(behind(1, 6), "small");
    assert_eq!(
        lab.world.outcomes_of(behind(1, 1)),
        [Outcome::Superseded],
        "the one that fell silent first"
    );
    assert_eq!(
        (lab.server.pending(), lab.server.stats().client_full),
        (3, 2)
    );
    // Others are not concerned.
    lab.ask(client(2), "small");
    assert_eq!(lab.server.pending(), 4);
    assert_eq!(lab.world.refusals, []);
}

/// A machine that was switched off and on with all its transfers under way does not wait for their end.
#[test]
fn the_dead_transfers_of_an_address_give_way_to_its_living() {
    let mut lab = Lab::new(Limits {
        per_client: 2,
        ..slots(8)
    });
    for port in 1..=2 {
        lab.ask(behind(1, port), "large");
        lab.ack(behind(1, port), 1);
    }
    lab.pass(seconds(5));
    lab.ask(behind(1, 3), "small");
    lab.pass(millis(1500));
    assert_eq!(
        lab.world.last_packet_to(behind(1, 3)),
        Some(Packet::Data(1))
    );
    lab.fetch_rest(behind(1, 3));
    assert_eq!(
        lab.world.outcomes_of(behind(1, 3)),
        [Outcome::Complete],
        "six slots were free all the time"
    );
}

#[test]
fn loopback_addresses_are_bounded_only_where_that_is_wanted() {
    let local = |port| Peer {
        address: Ipv4Addr::LOCALHOST.into(),
        port,
        scope: 0,
    };
    for (spares_loopback, running, waiting) in [(true, 12, 88), (false, 8, 32)] {
        let mut lab = Lab::new(Limits {
            spares_loopback,
            ..per_client(12, 8)
        });
        for port in 1..=100 {
            lab.ask(local(port), "large");
            lab.ack(local(port), 1);
        }
        assert_eq!(lab.server.running(), running);
        assert_eq!(lab.server.pending(), waiting);
    }
}

// Unvalidated addresses.

/// An address of the network 203.0.x.0/24.
fn forged(network: u8, number: u64) -> Peer {
    let port = u16::try_from(1024 + number / 256 % 60_000).unwrap();
    let [.., low] = number.to_be_bytes();
    Peer {
        address: IpAddr::V4(Ipv4Addr::new(203, 0, network, low)),
        port,
        scope: 0,
    }
}

/// A client that never answers counts what it is sent.
#[test]
fn a_forged_request_draws_a_few_small_packets_and_no_more() {
    let with_option = [("tsize", "0")];
    let cases = [
        (&with_option[..0], Packet::Data(1), DATA_SENDINGS),
        (&with_option[..], Packet::Oack, OACK_SENDINGS),
    ];
    for (options, packet, sendings) in cases {
        let mut lab = Lab::new(Limits::default());
        lab.ask_with(client(1), "large", options);
        lab.pass(seconds(120));
        let packets = lab.world.packets_to(client(1));
        assert_eq!(packets, vec![packet; sendings.into()]);
        assert_eq!(lab.world.outcomes_of(client(1)), [Outcome::NoAnswer]);
    }
}

/// Requests at full speed from all addresses of one network, most of them for files that are there.
#[test]
fn an_unvalidated_network_draws_a_bounded_number_of_packets() {
    let mut lab = Lab::new(Limits::default());
    lab.world.add_file("kernel", 1 << 30);
    let span = 20;
    for tick in 0..span * 100 {
        for number in 0..20 {
            let number = tick * 20 + number;
            let name = if number % 4 == 0 { "nothing" } else { "kernel" };
            lab.deliver(&request(forged(1, number), name));
        }
        lab.settle(&[]);
        lab.pass(millis(10));
    }
    let first_packets = lab.world.opens.len();
    let bound = u64::from(FIRST_PACKETS_BURST) + span * u64::from(FIRST_PACKETS_PER_SECOND);
    println!(
        "{} requests: {first_packets} answered (at most {bound}), {} packets, {} errors",
        span * 2000,
        lab.world.sent.len(),
        lab.world.refusals.len(),
    );
    assert!(first_packets as u64 <= bound);
    assert!(first_packets as u64 >= bound - 100, "the bound is used");
    assert!(lab.world.sent.len() <= first_packets * usize::from(DATA_SENDINGS));
    let errors = lab.world.refusals.len() as u64;
    assert_eq!(errors, span * 500, "fewer than the bound of ERROR packets");
    // Nobody else is concerned.
    lab.ask(client(1), "small");
    assert_eq!(lab.world.packets_to(client(1)), [Packet::Data(1)]);
}

#[test]
fn repeats_of_a_forged_request_draw_from_the_same_bucket() {
    let mut lab = Lab::new(Limits {
        per_client: 100,
        ..slots(100)
    });
    let span = 60;
    for _ in 0..span * 10 {
        for port in 1..=20 {
            lab.deliver(&request(behind(1, port), "large"));
        }
        lab.settle(&[]);
        lab.pass(millis(100));
    }
    let bound = u64::from(FIRST_PACKETS_BURST) + span * u64::from(FIRST_PACKETS_PER_SECOND);
    let sent = lab.world.sent.len() as u64;
    // Each that was asked for may be sent twice more by the timer.
    println!("{} requests drew {sent} packets", span * 200);
    assert!(sent <= 3 * bound);
    assert!(sent < span * 200 / 2 && lab.server.stats().withheld > 1000);
}

/// Only one packet leaves for all of them, so that one forged request does not drain the bucket of a network.
#[test]
fn repeats_that_come_together_draw_one_packet_from_the_bucket() {
    let mut lab = Lab::new(Limits {
        per_client: 100,
        ..slots(4000)
    });
    lab.ask(behind(1, 1), "large");
    lab.pass(millis(150));
    let sent_before = lab.world.sent.len();
    for _ in 0..500 {
        lab.deliver(&request(behind(1, 1), "large"));
    }
    lab.settle(&[]);
    assert_eq!(lab.world.sent.len(), sent_before + 1);
    for number in 0..1200 {
        let host = u8::try_from(2 + number / 50).unwrap();
        lab.deliver(&request(behind(host, 2 + number % 50), "large"));
    }
    lab.settle(&[]);
    let drawn = lab.world.sent.len() - sent_before;
    let burst = usize::try_from(FIRST_PACKETS_BURST).unwrap();
    assert!(burst - 2 <= drawn && drawn <= burst, "{drawn}");
}

#[test]
fn errors_to_unvalidated_addresses_are_bounded_and_those_to_validated_machines_are_not() {
    let mut lab = Lab::new(Limits::default());
    lab.ask(client(1), "small");
    lab.ack(client(1), 1);
    for second in 0..10 {
        for number in 0..2 * u64::from(ERRORS_BURST) / 10 {
            let number = u8::try_from(number % 200).unwrap();
            lab.deliver(&request(client(number.max(2)), "nothing"));
            lab.deliver(&request(client(1), "nothing"));
        }
        lab.settle(&[]);
        lab.pass_until(Moment::from_micros((second + 1) * 1_000_000));
    }
    let to_validated = |&&(_, peer, _): &&(Moment, Peer, _)| peer == client(1);
    let validated = lab.world.refusals.iter().filter(to_validated).count();
    let unvalidated = lab.world.refusals.len() - validated;
    assert_eq!(validated, 20_000);
    let bound = (ERRORS_BURST + 9 * ERRORS_PER_SECOND) as usize;
    assert!(
        bound - 10 <= unvalidated && unvalidated <= bound,
        "{unvalidated}, not {bound}"
    );
    let withheld = 20_000 - u64::try_from(unvalidated).unwrap();
    assert_eq!(lab.server.stats().withheld, withheld);
    assert_eq!(lab.world.refusals_reported, lab.world.refusals.len());
}

/// A thousand machines of one network, each of which first asks for nine files that are not there.
#[test]
fn a_thousand_machines_with_nine_misses_each_are_all_answered() {
    let mut lab = Lab::new(Limits::default());
    for _ in 0..9 {
        for number in 0..1000 {
            let peer = behind(u8::try_from(number % 250).unwrap(), 1000 + number);
            lab.deliver(&request(peer, "nothing"));
        }
        lab.settle(&[]);
        lab.pass(millis(2));
    }
    assert_eq!(lab.world.refusals.len(), 9000);
    assert_eq!(lab.server.stats().withheld, 0);
}

fn in_one_64(number: u32) -> Peer {
    let bits = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0).to_bits();
    Peer {
        address: Ipv6Addr::from_bits(bits + u128::from(number)).into(),
        port: 2070,
        scope: 0,
    }
}

/// All machines of an IPv6 network at once, a queue full of them: they are held as the others are.
#[test]
fn a_storm_in_one_network_is_no_flood_of_forged_requests() {
    let mut lab = lab_with(Limits::default());
    let mut answering = Answering::from_now(&lab);
    let count = 4096;
    let asked: Vec<Arrival> = (0..count)
        .map(|number| request(in_one_64(number), "kernel"))
        .collect();
    lab.settle(&asked);
    answering.live(&mut lab, seconds(3) + millis(500), |_| Some(millis(1)));
    assert_eq!(lab.server.pending(), 0, "all were answered");
    assert_eq!(lab.server.running(), 28, "an eighth is for small files");
    assert_eq!(lab.server.stats().withheld, 0);
    let late = lab
        .world
        .opens
        .iter()
        .map(|open| open.opened_at)
        .max()
        .unwrap();
    println!("the last of {count} was held after {late:?}");
    assert!(late <= Moment::from_micros(3_000_000));
}

#[test]
fn unvalidated_clients_never_have_all_slots_for_any_file() {
    for file in ["kernel", "medium"] {
        let mut lab = lab_with(slots(32));
        for number in 0..12 {
            lab.ask(machine(number), "small");
            lab.fetch_rest(machine(number));
        }
        lab.ask_each((0..100).map(|number| forged(1, number)), file);
        assert_eq!(lab.server.running(), 20, "twelve are for validated ones");
        // A third of the rest is for their small files.
        for number in 0..12 {
            let peer = Peer {
                port: 2,
                ..machine(number)
            };
            let file = ["kernel", "small"][usize::from(number >= 8)];
            lab.ask(peer, file);
            assert_eq!(lab.world.packets_to(peer), [Packet::Data(1)]);
        }
        assert_eq!((lab.server.running(), lab.server.pending()), (32, 80));
        // A client that answers is validated, and makes room for one.
        lab.settle(&[error(
            Peer {
                port: 2,
                ..machine(0)
            },
            0,
        )]);
        assert_eq!((lab.server.running(), lab.server.pending()), (31, 80));
        lab.ack(forged(1, 0), 1);
        assert_eq!((lab.server.running(), lab.server.pending()), (32, 79));
    }
}

/// A client that was sent its first packet in vain is the first that makes room in a full queue.
#[test]
fn in_a_full_queue_the_silent_give_way_to_new_requests() {
    let mut lab = Lab::new(Limits {
        max_pending: 4,
        ..slots(1)
    });
    let mut answering = Answering::from_now(&lab);
    lab.ask(client(1), "large");
    lab.ask_each((2..=5).map(client), "large");
    let answers = [1, 3].map(client);
    answering.live(&mut lab, millis(2900), |peer| {
        answers.contains(&peer).then_some(millis(4))
    });
    assert_eq!(lab.server.held(), 4);
    lab.ask(client(6), "small");
    assert_eq!(lab.world.queue_full, [client(6)], "nobody is silent yet");
    answering.live(&mut lab, millis(600), |peer| {
        answers.contains(&peer).then_some(millis(4))
    });
    lab.ask_each((6..=8).map(client), "small");
    for number in [2, 4, 5] {
        let outcomes = lab.world.outcomes_of(client(number));
        assert_eq!(outcomes, [Outcome::Evicted]);
    }
    lab.ask(client(9), "small");
    assert_eq!(lab.world.queue_full, [6, 9].map(client));
    assert_eq!(lab.world.outcomes_of(client(3)), [], "it had answered");
}

#[test]
fn a_full_queue_has_room_for_a_network_that_does_not_fill_it() {
    let mut lab = Lab::new(Limits {
        max_pending: 100,
        ..per_client(1, 1)
    });
    lab.ask(client(1), "large");
    lab.ack(client(1), 1);
    lab.ask_each((0..150).map(|number| forged(1, number)), "small");
    assert_eq!(
        (lab.server.pending(), lab.world.queue_full.len()),
        (100, 50)
    );
    // Each takes the place of the newest; the network that fills the queue gets none of them back.
    for number in 0..30 {
        lab.ask(machine(number), "small");
        let outcomes = lab.world.outcomes_of(forged(1, 99 - u64::from(number)));
        assert_eq!(outcomes, [Outcome::Evicted]);
        lab.ask(forged(1, 200), "small");
    }
    assert_eq!(
        (lab.server.pending(), lab.world.queue_full.len()),
        (100, 80)
    );
    assert_eq!(lab.server.stats().queue_full, 80 + 30);
    // A client that has answered before goes before unvalidated ones, whatever its network.
    lab.ask(behind(1, 9), "small");
    assert_eq!(lab.server.pending(), 100);
    assert_eq!(lab.server.stats().queue_full, 80 + 31);
}

/// Fifty machines that fetch 100 kB each with a round trip of 1 ms, beside unvalidated clients who ask so often in
/// a second for `file`: when the last of them is done. A client that hears nothing asks again every two seconds.
fn done_after(
    limits: Limits,
    forged_per_second: u64,
    forged: impl Fn(u64) -> Peer,
    file: &str,
) -> Duration {
    let mut lab = lab_with(limits);
    lab.audited_every = 100;
    lab.world.add_file("image", 100_000);
    let mut answering = Answering::from_now(&lab);
    let mut count = 0;
    let begin = Moment::from_micros(8_000_000);
    let honest: Vec<Peer> = (0..50).map(|number| machine(number * 3)).collect();
    let mut done = 0;
    let mut seen = 0;
    for tick in 0..6000_u64 {
        for _ in 0..forged_per_second / 100 {
            lab.deliver(&request(forged(count), file));
            count += 1;
        }
        if lab.world.now >= begin && tick % 200 == 0 {
            for &peer in &honest {
                let is_done = lab.world.outcomes_of(peer).contains(&Outcome::Complete);
                if !is_done && lab.world.client_of(peer).is_none() {
                    lab.deliver(&request(peer, "image"));
                }
            }
        }
        lab.settle(&[]);
        answering.live(&mut lab, millis(10), |peer| {
            honest.contains(&peer).then_some(millis(1))
        });
        let complete = |ended: &&Ended| ended.outcome == Outcome::Complete;
        done += lab.world.ended[seen..].iter().filter(complete).count();
        seen = lab.world.ended.len();
        if done == honest.len() {
            let dropped = lab.server.stats().queue_full;
            println!("{dropped} were dropped or evicted from the full queue");
            return lab.world.now.since(begin);
        }
    }
    Duration::MAX
}

/// All that a /24 has, each from one port after the other.
fn of_a_24(number: u64) -> Peer {
    forged(1, number)
}

/// An address of 203.0.0.0/16, each another one.
fn of_a_16(number: u64) -> Peer {
    let low = u32::try_from(number % 65_536).unwrap() * 40_503 % 65_536;
    Peer {
        address: Ipv4Addr::from_bits((203 << 24) + low).into(),
        port: 1024,
        scope: 0,
    }
}

/// An address of an IPv6 network, each another one.
fn of_a_64(number: u64) -> Peer {
    let bits = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 0).to_bits();
    let low = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Peer {
        address: Ipv6Addr::from_bits(bits + u128::from(low)).into(),
        port: 1024,
        scope: 0,
    }
}

#[test]
fn a_thousand_forged_requests_a_second_do_not_starve_machines_elsewhere() {
    let alone = done_after(slots(32), 0, of_a_24, "kernel");
    println!("50 machines alone: {alone:?}");
    assert!(alone < seconds(1), "{alone:?}");
    type Forged = fn(u64) -> Peer;
    let attacks: [(&str, Forged, u64); 3] = [
        ("a /24", of_a_24, 1),
        ("a /64", of_a_64, 1),
        ("a /16", of_a_16, 5),
    ];
    // The second file is as small as that of the machines.
    for file in ["kernel", "image"] {
        for (network, forged, bound) in attacks {
            let beside = done_after(slots(32), 1000, forged, file);
            println!("beside 1,000 requests for {file} a second from {network}: {beside:?}");
            assert!(beside <= seconds(bound), "{network}: {beside:?}");
        }
    }
}

#[test]
fn what_an_unvalidated_client_is_sent_is_forgiven_when_it_answers() {
    let mut lab = Lab::new(slots(32));
    // Far more than the bucket holds, each answered.
    for number in 0..10_000 {
        let peer = machine(number % 256);
        let peer = Peer {
            port: u16::try_from(3000 + number / 256).unwrap(),
            ..peer
        };
        lab.deliver(&request(peer, "small"));
        lab.settle(&[]);
        lab.ack(peer, 1);
    }
    assert_eq!(lab.server.stats().completed, 10_000);
    for number in 0..5_000 {
        let peer = in_one_64(number);
        lab.ask_with(peer, "small", &[("tsize", "0")]);
        lab.settle(&[error(peer, 8)]);
    }
    assert_eq!(lab.server.stats().cancelled, 5000, "size probes, too");
}
