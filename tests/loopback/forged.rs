//! Requests forged by the thousand, between networks of their own: what they draw is bounded, and honest machines get
//! their files meanwhile.
//!
//! Three networks, joined by cables: that of the server, that of the forger, who sends with any address of 10.77.0.0/16 and to whom
//! all answers go, and one of honest machines. What the forger draws is read from its end of the cable.

use std::collections::{HashMap, HashSet};
use std::fs::hard_link;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use ripple_tftpd::server::{FIRST_PACKETS_BURST, FIRST_PACKETS_PER_SECOND};
use socket2::{Domain, Protocol, Socket, Type};

use crate::clients::Clients;
use crate::download::Wish;
use crate::machine::{
    alone, at_the_other_end, eventually, in_own_network, lay_cable, run, skipped,
};
use crate::packet::{self, Packet};
use crate::root::{Root, assert_same, mixed};
use crate::server::Server;
use crate::victim::{Forger, forger};

#[test]
fn a_thousand_forged_requests_a_second_from_one_network() {
    let one_network = |random: u64| [10, 77, 5, random.to_le_bytes()[0]].into();
    let drawn = forged_beside_honest(Forging::AsLongAsIsRemembered, one_network);
    let Some(Drawn {
        requests,
        allowed,
        packets,
    }) = drawn
    else {
        return;
    };
    assert!(
        requests > 2 * allowed,
        "{requests} requests are no trial of a bound of {allowed}"
    );
    let answered = packets.len();
    // Nothing is left of the burst, so it was the bound that held.
    assert!(
        answered > usize::try_from(FIRST_PACKETS_BURST).unwrap(),
        "{answered}"
    );
}

#[test]
fn a_thousand_forged_requests_a_second_from_256_networks() {
    from_256_networks(Forging::AsLongAsIsRemembered);
}

#[test]
fn a_queue_full_of_forged_requests_from_256_networks() {
    from_256_networks(Forging::UntilFull);
}

fn from_256_networks(forging: Forging) {
    let drawn = forged_beside_honest(forging, |random| {
        let [third, fourth, ..] = random.to_le_bytes();
        [10, 77, third, fourth].into()
    });
    let Some(Drawn { packets, .. }) = drawn else {
        return;
    };
    let networks: HashSet<_> = packets.keys().map(|to| network_of(*to)).collect();
    assert!(
        networks.len() > 200,
        "{} networks were answered",
        networks.len()
    );
}

/// How much is forged before the honest machines come.
#[derive(Clone, Copy)]
enum Forging {
    /// Until the first of them are forgotten, so that more would not wait at the same time. The queue is the default.
    AsLongAsIsRemembered,
    /// Until a queue is full that is short enough for that.
    UntilFull,
}

/// What came of forged requests.
struct Drawn {
    requests: u64,
    /// First packets that one network may have drawn in that time.
    allowed: u64,
    /// What was sent to each forged address and port.
    packets: HashMap<SocketAddrV4, Vec<Packet>>,
}

/// Forges requests with these addresses, lets honest machines fetch a file, and holds what was drawn to the bounds.
fn forged_beside_honest(forging: Forging, address: fn(u64) -> Ipv4Addr) -> Option<Drawn> {
    let _turn = alone();
    let (told, drawn) = std::sync::mpsc::channel();
    in_own_network(move || {
        let Some((forger, ear)) = lay_forgers_cable() else {
            return;
        };
        let (root, bytes) = Root::with_file(100_000);
        // A request from another port takes the place of one for the same file.
        for number in 0..FILES {
            hard_link(root.file("file"), root.file(name_of(number))).unwrap();
        }
        let queue: &[&str] = match forging {
            Forging::AsLongAsIsRemembered => &[],
            Forging::UntilFull => &["-q", "4096"],
        };
        let options = [&["-n", "32", "-a", "0.0.0.0:69"], queue].concat();
        let server = Server::with(root.path(), &options);
        let idle = fetch_all(1, &bytes);

        let over = AtomicBool::new(false);
        let began_at = Instant::now();
        let (requests, beside, packets) = thread::scope(|scope| {
            // Whatever fails, the others come to their end.
            let _ends = Ends(&over);
            let forger_at_work = scope.spawn(|| forge(&forger, address, &over));
            let listening = scope.spawn(|| listen(&ear, &over));
            // Some of the queue may give way by now, but it is full.
            let is_full = |line: &String| {
                line.contains("the queue is full") || line.contains("from full queue")
            };
            eventually("forged requests enough", ENDURED, || {
                let is_enough = match forging {
                    Forging::AsLongAsIsRemembered => REMEMBERED < began_at.elapsed(),
                    Forging::UntilFull => server.log_lines().iter().any(is_full),
                };
                is_enough.then_some(())
            });
            let beside = fetch_all(2, &bytes);
            over.store(true, Ordering::Relaxed);
            (
                forger_at_work.join().unwrap(),
                beside,
                listening.join().unwrap(),
            )
        });
        assert_eq!(unheard(&ear), 0, "packets that were not counted");
        let seconds = began_at.elapsed().as_secs() + 1;
        let allowed =
            u64::from(FIRST_PACKETS_BURST) + u64::from(FIRST_PACKETS_PER_SECOND) * seconds;
        let drawn = Drawn {
            requests,
            allowed,
            packets,
        };
        println!(
            "50 honest machines: {idle:?} alone, {beside:?} beside {requests} forged requests in {:?}, which drew {} first packets \
             and {} in all",
            began_at.elapsed(),
            drawn.packets.len(),
            drawn.packets.values().map(Vec::len).sum::<usize>(),
        );
        drawn.check();
        told.send(drawn).unwrap();
    });
    drawn.recv().ok()
}

impl Drawn {
    fn check(&self) {
        let mut answered: HashMap<[u8; 3], u64> = HashMap::new();
        for (to, packets) in &self.packets {
            *answered.entry(network_of(*to)).or_default() += 1;
            // Nobody answers, so it is the first packet that is sent again.
            assert!(
                packets.iter().all(|packet| packet == &packets[0]),
                "{packets:?}"
            );
            let most = match &packets[0] {
                Packet::Data { block: 1, bytes } if bytes.len() == 512 => 3,
                Packet::Oack(_) => 5,
                other => panic!("drawn by a request: {other:?}"),
            };
            assert!(
                packets.len() <= most,
                "{} times {:?}",
                packets.len(),
                packets[0]
            );
        }
        for (network, first_packets) in answered {
            let allowed = self.allowed;
            assert!(
                first_packets <= allowed,
                "{first_packets} of {allowed} for {network:?}"
            );
        }
    }
}

/// The forger, and what hears the answers.
fn lay_forgers_cable() -> Option<(Forger, Socket)> {
    if !lay_cable("forger", "f") {
        return None;
    }
    for command in [
        "address add 10.66.0.1/30 dev forger",
        "link set forger up",
        "route add 10.77.0.0/16 via 10.66.0.2",
    ] {
        run("ip", command);
    }
    at_the_other_end("f", &["address add 10.66.0.2/30 dev f"], || {
        Some((forger()?, ear()?))
    })
}

/// Hears every packet of IPv4 that comes in, for any address.
fn ear() -> Option<Socket> {
    let all = Protocol::from(i32::from(u16::try_from(libc::ETH_P_IP).unwrap().to_be()));
    match Socket::new(Domain::from(libc::AF_PACKET), Type::DGRAM, Some(all)) {
        Ok(socket) => {
            setsockopt(&socket, RcvBufForce, &(8 << 20)).unwrap();
            let often = Duration::from_millis(50);
            socket.set_read_timeout(Some(often)).unwrap();
            Some(socket)
        }
        Err(error) => {
            skipped(&format!("no packet socket: {error}"));
            None
        }
    }
}

/// This many requests a second, each from a port of its own, every other one with options, until it is over.
fn forge(forger: &Forger, address: fn(u64) -> Ipv4Addr, over: &AtomicBool) -> u64 {
    let began_at = Instant::now();
    let wishes = (0..FILES).map(|number| match Wish::octet(name_of(number)) {
        plain if number % 2 == 0 => plain.packet(),
        plain => plain.option("blksize", 1408).option("tsize", 0).packet(),
    });
    let wishes: Vec<_> = wishes.collect();
    for (number, port) in (0..).zip(1024_u16..=u16::MAX) {
        if over.load(Ordering::Relaxed) {
            return number;
        }
        let from = SocketAddrV4::new(address(mixed(number)), port);
        forger.send(from, SERVER.into(), &wishes[usize::from(port) % FILES]);
        let due = Duration::from_secs(1) * u32::from(port - 1023) / FORGED_PER_SECOND;
        thread::sleep(due.saturating_sub(began_at.elapsed()));
    }
    panic!("{:?} and no end of it", began_at.elapsed());
}

/// What is sent to whom, until it is over.
fn listen(ear: &Socket, over: &AtomicBool) -> HashMap<SocketAddrV4, Vec<Packet>> {
    let mut heard: HashMap<_, Vec<_>> = HashMap::new();
    let mut buffer = vec![0; 65536];
    let mut ear = ear;
    while !over.load(Ordering::Relaxed) {
        // Nothing may come for a moment.
        let Ok(length) = ear.read(&mut buffer) else {
            continue;
        };
        let (header, udp) = buffer[..length].split_at(20);
        assert_eq!((header[0], header[9]), (0x45, 17), "not UDP: {header:?}");
        let address = Ipv4Addr::from(<[u8; 4]>::try_from(&header[16..]).unwrap());
        let to = SocketAddrV4::new(address, u16::from_be_bytes([udp[2], udp[3]]));
        let end = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
        heard
            .entry(to)
            .or_default()
            .push(packet::parse(&udp[8..end]));
    }
    heard
}

/// How long 50 machines take for the file, in a network of their own with that number.
fn fetch_all(network: u8, wanted: &[u8]) -> Duration {
    let (here, there) = (format!("honest{network}"), format!("h{network}"));
    assert!(lay_cable(&here, &there));
    for command in [
        format!("address add 10.66.{network}.1/30 dev {here}"),
        format!("link set {here} up"),
        format!("route add 10.67.{network}.0/24 via 10.66.{network}.2"),
    ] {
        run("ip", &command);
    }
    let set_up = [
        "link set lo up".into(),
        format!("address add 10.66.{network}.2/30 dev {there}"),
        // All of these addresses are its own.
        format!("route add local 10.67.{network}.0/24 dev lo"),
    ];
    let wanted = wanted.to_vec();
    at_the_other_end(&there, &set_up.each_ref().map(String::as_str), move || {
        let server = SocketAddrV4::new(Ipv4Addr::new(10, 66, network, 1), 69);
        let first = Ipv4Addr::new(10, 67, network, 1);
        let began_at = Instant::now();
        let mut clients = Clients::at(first, server.into());
        (0..50).for_each(|_| clients.add(Wish::octet("file")));
        clients.complete(ENDURED);
        let took = began_at.elapsed();
        for member in clients.members() {
            assert_same(&member.download.bytes, &wanted);
        }
        took
    })
}

fn network_of(to: SocketAddrV4) -> [u8; 3] {
    let [first, second, third, _] = to.ip().octets();
    [first, second, third]
}

/// Packets that came and were not heard, because nobody read them in time (packet(7)).
fn unheard(ear: &Socket) -> u32 {
    let mut statistics = [0_u32; 2];
    let mut length = size_of_val(&statistics).try_into().unwrap();
    // SAFETY: both live during the call, and the length is that of the two numbers of `struct tpacket_stats`.
    let result = unsafe {
        libc::getsockopt(
            ear.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            statistics.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    statistics[1]
}

/// Ends what goes on beside a test, also when the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Where the forger sends to.
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 66, 0, 1), 69);

/// Files that are asked for, so that each address of a small network can have many requests.
const FILES: usize = 64;

fn name_of(number: usize) -> String {
    format!("file{number}")
}

const FORGED_PER_SECOND: u32 = 1000;

/// A client that asked once is forgotten after 10 s.
const REMEMBERED: Duration = Duration::from_secs(12);

/// How long the honest machines may take at most; all it says is that they come to their end.
const ENDURED: Duration = Duration::from_secs(60);
