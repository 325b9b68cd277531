//! Whole boots against a server that makes no mistakes and loses nothing.

use std::collections::HashMap;
use std::time::Duration;

use ripple_tftpd::firmware::random::Random;
use ripple_tftpd::firmware::{
    Chain, Destination, Kind, Machine, Packet, Reaction, Reason, Role, Status, Step,
};
use ripple_tftpd::moment::Moment;

/// One transfer of the faultless server.
struct Transfer {
    size: u64,
    blksize: u64,
    windowsize: u64,
    acknowledged: u64,
}

/// What a boot took.
#[derive(Debug, Default, PartialEq, Eq)]
struct Log {
    requests: usize,
    misses: usize,
    aborts: usize,
    acks: u64,
    bytes: u64,
    took: Duration,
    ports: Vec<u16>,
}

/// Plays a boot to its end. Everything takes 100 µs; no packet is lost.
fn boot(kind: Kind, chain: &Chain, seed: u64) -> (Machine, Log) {
    let mut machine = Machine::new(kind, chain.clone(), seed);
    let mut now = Moment::START;
    let mut log = Log::default();
    let mut transfers: HashMap<u16, Transfer> = HashMap::new();
    let mut next_port = 30_000;
    machine.power_on(now);
    loop {
        while let Some(datagram) = machine.next_datagram() {
            now = now + Duration::from_micros(100);
            let bytes = datagram.bytes();
            let number = u16::from_be_bytes([bytes[2], bytes[3]]);
            match (bytes[1], datagram.to) {
                (1, Destination::Listener) => {
                    log.requests += 1;
                    log.ports.push(datagram.from_port);
                    let port = next_port;
                    next_port += 1;
                    match grant(&bytes[2..], chain) {
                        None => {
                            log.misses += 1;
                            let missing = Packet::Error { code: 1 };
                            machine.on_packet(now, datagram.from_port, 69, missing);
                        }
                        Some((transfer, options)) => {
                            transfers.insert(port, transfer);
                            if options.is_empty() {
                                send_window(
                                    &mut machine,
                                    now,
                                    datagram.from_port,
                                    port,
                                    &transfers[&port],
                                    &mut log,
                                );
                            } else {
                                machine.on_packet(
                                    now,
                                    datagram.from_port,
                                    port,
                                    Packet::Oack(&options),
                                );
                            }
                        }
                    }
                }
                (4, Destination::Transfer(port)) => {
                    log.acks += 1;
                    let transfer = transfers.get_mut(&port).unwrap();
                    let low = u16::try_from(transfer.acknowledged & 0xffff).unwrap();
                    transfer.acknowledged += u64::from(number.wrapping_sub(low));
                    send_window(
                        &mut machine,
                        now,
                        datagram.from_port,
                        port,
                        &transfers[&port],
                        &mut log,
                    );
                }
                (5, Destination::Transfer(port)) => {
                    log.aborts += 1;
                    transfers.remove(&port);
                }
                other => panic!("{other:?} makes no sense"),
            }
        }
        match machine.status() {
            Status::Booted | Status::Failed(_) => {
                log.took = now.since(Moment::START);
                return (machine, log);
            }
            Status::Off | Status::Asking | Status::Receiving | Status::Thinking => {}
        }
        now = machine.deadline().unwrap();
        machine.on_deadline(now);
    }
}

/// Sends what follows the last ACK, and checks where each block is filed.
fn send_window(
    machine: &mut Machine,
    now: Moment,
    to: u16,
    from: u16,
    transfer: &Transfer,
    log: &mut Log,
) {
    let first = transfer.acknowledged + 1;
    let last = transfer.size / transfer.blksize + 1;
    for block in first..(first + transfer.windowsize).min(last + 1) {
        let position = (block - 1) * transfer.blksize;
        let length = u16::try_from((transfer.size - position).min(transfer.blksize)).unwrap();
        let packet = Packet::Data {
            block: u16::try_from(block & 0xffff).unwrap(),
            length,
        };
        let step = machine.step();
        let filed = Reaction::Filed {
            step,
            position,
            length,
        };
        assert_eq!(machine.on_packet(now, to, from, packet), filed);
        log.bytes += u64::from(length);
    }
}

/// Grants everything that was asked for but what only Windows knows.
fn grant(request: &[u8], chain: &Chain) -> Option<(Transfer, Vec<u8>)> {
    let text = std::str::from_utf8(request).unwrap();
    let words: Vec<&str> = text.trim_end_matches('\0').split('\0').collect();
    let step = chain
        .steps()
        .iter()
        .find(|step| *step.name == *words[0])
        .unwrap();
    let mut transfer = Transfer {
        size: step.size?,
        blksize: 512,
        windowsize: 1,
        acknowledged: 0,
    };
    let mut options = Vec::new();
    for pair in words[2..].chunks(2) {
        let value = match pair[0] {
            "tsize" => transfer.size,
            "msftwindow" => continue,
            _ => pair[1].parse().unwrap(),
        };
        match pair[0] {
            "blksize" => transfer.blksize = value,
            "windowsize" => transfer.windowsize = value,
            _ => {}
        }
        options.extend(format!("{}\0{value}\0", pair[0]).bytes());
    }
    Some((transfer, options))
}

#[test]
fn every_kind_boots_its_usual_chain() {
    for kind in Kind::ALL {
        let chain = Chain::usual(kind).scaled(10);
        let (machine, log) = boot(kind, &chain, 3);
        assert_eq!(machine.status(), Status::Booted, "{}", kind.name());
        assert_eq!(machine.restarts(), 0);
        // The loaders read the first block of each file twice, and where they seek back more.
        let reads_twice = [Kind::FreeBsdLoader, Kind::NetBsdLoader].contains(&kind);
        assert_eq!(log.bytes > chain.bytes(), reads_twice, "{}", kind.name());
        assert!(log.bytes >= chain.bytes(), "{}", kind.name());
        assert_eq!(machine.deadline(), None);
    }
}

#[test]
fn every_kind_fetches_one_file_whatever_its_size() {
    for kind in Kind::ALL {
        for size in [1, 511, 512, 1024, 1432, 1468 * 4, 100_000] {
            let chain = Chain::one_file("image", size);
            let (machine, log) = boot(kind, &chain, size);
            assert_eq!(machine.status(), Status::Booted, "{} {size}", kind.name());
            let first_look = match kind {
                Kind::FreeBsdLoader => size.min(1428),
                Kind::NetBsdLoader => size.min(512),
                _ => 0,
            };
            assert_eq!((log.bytes, machine.files_done()), (size + first_look, 1));
        }
    }
}

/// Requests, misses, aborted probes; files of up to 64 KiB, up to 1 MiB, larger; millions of bytes.
#[track_caller]
fn assert_profile(kind: Kind, chain: &Chain, expected: [usize; 6], millions: u64) -> Log {
    let (machine, log) = boot(kind, chain, 1);
    assert_eq!(machine.status(), Status::Booted);
    let sizes: Vec<u64> = chain.steps().iter().filter_map(|step| step.size).collect();
    let small = sizes.iter().filter(|size| **size <= 1 << 16).count();
    let large = sizes.iter().filter(|size| 1 << 20 < **size).count();
    let medium = sizes.len() - small - large;
    assert_eq!(
        [log.requests, log.misses, log.aborts, small, medium, large],
        expected
    );
    assert_eq!((log.bytes + 500_000) / 1_000_000, millions);
    log
}

#[test]
fn chains_look_like_the_measured_ones() {
    let log = assert_profile(Kind::Pxelinux, &Chain::pxelinux(), [14, 9, 0, 2, 1, 2], 49);
    assert!(34_000 < log.acks && log.acks < 36_000);
    let log = assert_profile(
        Kind::Lpxelinux,
        &Chain::lpxelinux(),
        [14, 9, 0, 1, 2, 2],
        49,
    );
    assert!(log.ports[1..].iter().all(|port| *port == 49_153));
    let log = assert_profile(Kind::Grub, &Chain::grub_bios(), [31, 9, 0, 19, 1, 2], 49);
    assert!(47_000 < log.acks && log.acks < 49_000);
    let log = assert_profile(Kind::Edk2, &Chain::uefi(), [13, 3, 1, 5, 1, 3], 54);
    assert!(49_000 < log.acks && log.acks < 51_000);
    let log = assert_profile(
        Kind::RaspberryPi4,
        &Chain::raspberry_pi_4().scaled(4),
        [24, 8, 8, 5, 1, 2],
        5,
    );
    assert!(log.took < Duration::from_secs(30));
}

#[test]
fn u_boot_tries_thirteen_names_before_its_default() {
    let (machine, log) = boot(Kind::UBoot, &Chain::uboot().scaled(50), 1);
    assert_eq!(machine.status(), Status::Booted);
    assert_eq!((log.requests, log.misses), (17, 14));
}

#[test]
fn windows_fetches_more_than_258_megabytes_past_two_wraps() {
    let (machine, log) = boot(Kind::WindowsBootmgr, &Chain::windows(), 2);
    assert_eq!(machine.status(), Status::Booted);
    assert!(258_000_000 < log.bytes);
    assert_eq!((log.requests, log.aborts), (10, 2));
}

#[test]
fn equal_seeds_give_equal_boots_and_other_seeds_others() {
    let chain = Chain::uefi().scaled(100);
    let (_, first) = boot(Kind::Edk2, &chain, 5);
    let (_, second) = boot(Kind::Edk2, &chain, 5);
    let (_, other) = boot(Kind::Edk2, &chain, 6);
    assert_eq!(first, second);
    assert_ne!(first, other);
}

#[test]
fn scaling_keeps_the_requests_and_shrinks_the_files() {
    let whole = Chain::uefi();
    let scaled = whole.scaled(1000);
    assert_eq!(whole.steps().len(), scaled.steps().len());
    assert!(scaled.bytes() <= whole.bytes() / 1000 + 20);
    let smallest = scaled.steps().iter().filter_map(|step| step.size).min();
    assert_eq!(smallest, Some(1), "a file never becomes empty");
}

#[test]
fn a_missing_file_that_is_needed_fails_the_boot_for_every_kind() {
    for kind in Kind::ALL {
        let missing = Step {
            role: Role::Required,
            ..Step::miss("image")
        };
        let (machine, _) = boot(kind, &Chain::new(vec![missing]), 1);
        assert_eq!(machine.status(), Status::Failed(Reason::ServerError(1)));
    }
}

/// A machine that has the first of many blocks, and the port it receives at.
fn receiving(kind: Kind) -> (Machine, u16) {
    let now = Moment::START;
    let mut machine = Machine::new(kind, Chain::one_file("image", 1 << 20), 1);
    machine.power_on(now);
    let sends_no_options = [
        Kind::TftpHpa,
        Kind::TftpHpaSession,
        Kind::OldRom,
        Kind::OldRomNewPorts,
        Kind::NetBsdLoader,
        Kind::Nortel1110,
        Kind::Am335x,
    ]
    .contains(&kind);
    let data = Packet::Data {
        block: 1,
        length: 512,
    };
    let oack = Packet::Oack(b"");
    let packets = if sends_no_options {
        &[data][..]
    } else {
        &[oack, data]
    };
    // Some look at the file first, and are done with that at the first or second packet.
    for _ in 0..2 {
        let port = machine.next_datagram().unwrap().from_port;
        let mut reaction = Reaction::Ignored;
        for packet in packets {
            reaction = machine.on_packet(now, port, 30_000, *packet);
            while machine.next_datagram().is_some() {}
            if machine.status() == Status::Thinking {
                break;
            }
        }
        if machine.status() == Status::Receiving {
            assert!(matches!(reaction, Reaction::Filed { .. }), "{kind:?}");
            return (machine, port);
        }
        machine.on_deadline(machine.deadline().unwrap());
    }
    panic!("{kind:?} does not begin to receive");
}

#[test]
fn an_error_ends_every_transfer_but_those_of_grub_and_pxelinux() {
    for kind in Kind::ALL {
        let (mut machine, port) = receiving(kind);
        machine.on_packet(Moment::START, port, 30_000, Packet::Error { code: 0 });
        let deaf = [Kind::Grub, Kind::Pxelinux, Kind::Lpxelinux].contains(&kind);
        let expected = if deaf {
            Status::Receiving
        } else {
            Status::Failed(Reason::ServerError(0))
        };
        assert_eq!(machine.status(), expected, "{kind:?}");
    }
}

#[test]
fn only_uefi_firmware_heeds_a_port_reported_closed() {
    for kind in Kind::ALL {
        let (mut machine, port) = receiving(kind);
        machine.on_unreachable(Moment::START, port.wrapping_add(1));
        assert_eq!(machine.status(), Status::Receiving);
        machine.on_unreachable(Moment::START, port);
        let expected = if [Kind::Edk2, Kind::Shim].contains(&kind) {
            Status::Failed(Reason::Unreachable)
        } else {
            Status::Receiving
        };
        assert_eq!(machine.status(), expected, "{kind:?}");
    }
}

#[test]
fn most_firmware_starts_again_within_a_minute_and_programs_do_not() {
    for kind in Kind::ALL {
        let mut machine = Machine::new(kind, Chain::one_file("image", 9), 1);
        let mut again = Vec::new();
        for _ in 0..20 {
            machine.power_on(Moment::START);
            let port = machine.next_datagram().unwrap().from_port;
            machine.on_packet(Moment::START, port, 69, Packet::Error { code: 2 });
            assert_eq!(machine.status(), Status::Failed(Reason::ServerError(2)));
            again.extend(
                machine
                    .deadline()
                    .map(|at| at.since(Moment::START).as_secs()),
            );
        }
        let bounds = match kind {
            Kind::TftpHpa | Kind::TftpHpaSession | Kind::Curl | Kind::Atftp | Kind::Tftpy => None,
            Kind::FreeBsdLoader | Kind::NetBsdLoader => None,
            // What is refused here is a kernel, and they have a prompt.
            Kind::Grub | Kind::Pxelinux | Kind::Lpxelinux => None,
            Kind::RaspberryPi4 => Some(45..=75),
            _ => Some(5..=60),
        };
        assert_eq!(again.is_empty(), bounds.is_none(), "{kind:?}");
        assert!(
            again.iter().all(|at| bounds.as_ref().unwrap().contains(at)),
            "{kind:?}"
        );
    }
}

#[test]
fn a_leftover_block_is_no_answer_to_a_request() {
    for kind in Kind::ALL {
        let mut machine = Machine::new(kind, Chain::one_file("image", 9), 1);
        machine.power_on(Moment::START);
        let port = machine.next_datagram().unwrap().from_port;
        let late = Packet::Data {
            block: 7,
            length: 9,
        };
        let reaction = machine.on_packet(Moment::START, port, 30_000, late);
        assert_eq!(reaction, Reaction::Ignored);
        assert_eq!(machine.status(), Status::Asking);
    }
}

#[test]
fn no_server_however_odd_makes_a_machine_panic_or_stand_still() {
    let options: [&[u8]; 8] = [
        b"blksize\x001024\0windowsize\x004\0",
        b"blksize\x000\0",
        b"timeout\x000\0",
        b"timeout\x00200\0",
        b"tsize\x0099999999999999999999\0",
        b"windowsize\x0070000\0msftwindow\x001\0",
        b"\0\0\0",
        b"blksize",
    ];
    for kind in Kind::ALL {
        let mut random = Random::new(1);
        let mut machine = Machine::new(kind, Chain::usual(kind).scaled(5000), 4);
        let mut now = Moment::START;
        machine.power_on(now);
        let mut port = 0;
        let mut filed = 0;
        for round in 0..20_000 {
            while let Some(datagram) = machine.next_datagram() {
                port = datagram.from_port;
                assert!(4 <= datagram.bytes().len());
            }
            now = now + Duration::from_micros(random.next() % 20_000);
            let block = u16::try_from(random.next() % 6).unwrap();
            let from = 30_000 + u16::from(random.next().is_multiple_of(50));
            let packet = match random.next() % 40 {
                0 => Packet::Error { code: block },
                1..4 => Packet::Oack(options[usize::from(block)]),
                4..=8 => Packet::Data {
                    block: u16::MAX - block,
                    length: 512,
                },
                9..20 => Packet::Data { block, length: 512 },
                _ => Packet::Data { block, length: 100 },
            };
            let reaction = machine.on_packet(now, port, from, packet);
            filed += u32::from(matches!(reaction, Reaction::Filed { .. }));
            if machine.status() == Status::Booted || round % 100 == 99 {
                machine.power_on(now);
            }
            if let Some(due) = machine.deadline().filter(|due| *due <= now) {
                while machine.next_datagram().is_some() {}
                machine.on_deadline(now);
                assert!(machine.deadline().is_none_or(|next| due < next), "{kind:?}");
            }
        }
        assert!(0 < filed, "some of it made sense to {kind:?}");
    }
}

#[test]
fn a_machine_that_is_off_does_nothing() {
    for kind in Kind::ALL {
        let mut machine = Machine::new(kind, Chain::one_file("image", 9), 1);
        assert_eq!((machine.status(), machine.deadline()), (Status::Off, None));
        machine.on_deadline(Moment::START);
        machine.on_unreachable(Moment::START, 1024);
        let error = Packet::Error { code: 1 };
        let reaction = machine.on_packet(Moment::START, 1024, 69, error);
        assert_eq!(reaction, Reaction::Ignored);
        assert!(machine.next_datagram().is_none());
    }
}

#[test]
fn ten_thousand_machines_fit_in_a_few_megabytes() {
    assert!(size_of::<Machine>() <= 1024);
}
