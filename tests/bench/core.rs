//! What the pure core costs: the parser, one transfer, and a whole server with its timers, without a network.
//!
//! `cargo bench --features bench --bench core`

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use divan::{Bencher, black_box};
use ripple_tftpd::moment::Moment;
use ripple_tftpd::name::RootPrefixes;
use ripple_tftpd::names::map::{Asked, Dialect, Map, STEPS_MAX};
use ripple_tftpd::server::{Limits, SendError};
use ripple_tftpd::transfer::{Datagrams, Departed, Terms, Transfer, Wanted};
use ripple_tftpd::wire::{Peer, Reply, Request};

use laboratory::{Datagram, LOCAL, Lab, Site, Socket, packets};

#[path = "../laboratory/mod.rs"]
mod laboratory;

fn main() {
    divan::main();
}

const REQUEST: &[u8] = b"\0\x01pxelinux.cfg/01-52-54-00-12-34-56\0octet\0tsize\x000\0blksize\x001432\0windowsize\x0016\0";

#[divan::bench]
fn parse_a_request() {
    let request = Request::parse(black_box(REQUEST)).expect("a request");
    black_box(Wanted::new(request.options()));
}

#[divan::bench]
fn parse_an_ack() -> bool {
    Reply::parse(black_box(&[0, 4, 1, 2])).is_ok()
}

/// A map file of 130 rules, as phones have it: a name that the last rule takes, one that none takes, and the longest.
#[divan::bench(args = ["Phone129-wb.xml.sgn", "pxelinux.cfg/01-52-54-00-12-34-56", ""])]
fn map_a_name_by_130_rules(bencher: Bencher, name: &str) {
    let rule =
        |number| format!("ri ^(phone{number})(\\.xml|-wb\\.xml)(\\.sgn)?$ fw/{number}/\\1\\2\\3\n");
    let rules: String = (0..130).map(rule).collect();
    let map = Map::read(rules.as_bytes(), STEPS_MAX, Dialect::Tftpd).expect("good rules");
    let longest = "phone1/".repeat(70);
    let asked = Asked {
        name: if name.is_empty() { &longest } else { name }.as_bytes(),
        client: Ipv4Addr::LOCALHOST.into(),
        hardware: None,
        is_write: false,
    };
    bencher.bench_local(move || map.apply(black_box(asked), &mut |_| Some(false)));
}

/// A window acknowledged and the next one sent.
#[divan::bench(args = [1, 16])]
fn transfer_a_window(bencher: Bencher, windowsize: u16) {
    let request = format!("\0\x01file\0octet\0windowsize\0{windowsize}\0");
    let request = Request::parse(request.as_bytes()).expect("a request");
    let wanted = Wanted::new(request.options());
    let negotiated = wanted.negotiate(Terms::default(), Some(u64::MAX / 2), None);
    let patience = Duration::from_secs(35);
    let mut now = Moment::START;
    let mut transfer = Transfer::new(now, negotiated, Some(u64::MAX / 2), patience);
    bencher.bench_local(move || {
        now = now + Duration::from_micros(100);
        match transfer.datagrams(windowsize) {
            Some(Datagrams::Data(blocks)) => {
                transfer.sent(now, departed(blocks.count));
                let last = blocks.first + u64::from(blocks.count) - 1;
                let _ = black_box(transfer.on_ack(now, low_bits(last)));
            }
            _ => {
                transfer.sent(now, departed(1));
                let _ = black_box(transfer.on_ack(now, 0));
            }
        }
        black_box(transfer.deadline())
    });
}

/// One ACK, and a turn of the loop for it, while this many run.
#[divan::bench(args = [1, 32, 1000])]
fn serve_a_block(bencher: Bencher, running: usize) {
    let limits = Limits {
        max_transfers: running.max(2) * 2,
        ..Limits::default()
    };
    let mut lab = Lab::start(Moment::START, limits, RootPrefixes::default(), Void);
    lab.world.add_file("file", ENDLESS);
    let request = packets::request(1, "file", "octet", &[]);
    for number in 0..running {
        lab.request(peer(number), LOCAL, &request);
    }
    turn(&mut lab);
    let mut blocks = vec![0_u64; running];
    let mut client = 0;
    bencher.bench_local(move || {
        lab.world.now = lab.world.now + Duration::from_micros(5);
        client = (client + 1) % running;
        blocks[client] += 1;
        lab.reply(client, &packets::ack(blocks[client]));
        turn(&mut lab);
        black_box(lab.server.next_wakeup())
    });
}

/// As the daemon does it: nothing is audited.
fn turn(lab: &mut Lab<Void>) {
    let now = lab.world.now;
    lab.server.on_wakeup(now, &mut lab.world);
    while lab.server.has_ready() {
        lab.server.send_ready(now, &mut lab.world);
    }
}

/// Takes everything that leaves.
struct Void;

impl Site for Void {
    fn send(&mut self, _: Moment, _: usize, _: &Socket, _: Datagram<'_>) -> Result<(), SendError> {
        Ok(())
    }
}

fn departed(packets: u16) -> Departed {
    Departed { packets, end: None }
}

fn peer(number: usize) -> Peer {
    let number = u32::try_from(number).expect("a small number");
    Peer {
        address: IpAddr::V4(Ipv4Addr::from(0x0A00_0001 + number)),
        port: 2000,
        scope: 0,
    }
}

fn low_bits(block: u64) -> u16 {
    let [.., high, low] = block.to_be_bytes();
    u16::from_be_bytes([high, low])
}

const ENDLESS: u64 = u64::MAX / 4;
