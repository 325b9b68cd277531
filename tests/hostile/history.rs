//! One history: anybody sends anything, clients lie and vanish, time jumps, and the world fails.
//! The books of the server are checked after every call. At the end the world is good again; then
//! everything must come to its end, and an honest client must get its file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::name::RootPrefixes;
use ripple_tftpd::server::{Limits, Local, Server};
use ripple_tftpd::transfer::{Outcome, Terms};
use ripple_tftpd::wire::{Malformed, Peer, Refusal};

use super::laboratory::choices::Choices;
use super::laboratory::{LOCAL, Lab, World, host, packets};
use super::world::{FILES, Faulty};

pub(crate) struct History<C> {
    lab: Lab<Faulty<C>>,
    /// The request that came last.
    last: (Peer, Local, Vec<u8>),
}

impl<C: Choices> History<C> {
    pub(crate) fn new(mut choices: C) -> History<C> {
        let limits = any_limits(&mut choices);
        let faults = choices.pick(&[0, 50, 10, 3]);
        // A server that has been up for a while is no other.
        let up = choices.pick(&[0, 1, 86_400, 10_000_000]);
        let site = Faulty {
            choices,
            faults,
            ended: Vec::new(),
            uploads: 0,
        };
        let now = Moment::START + Duration::from_secs(up);
        let root = RootPrefixes::new([&b"/srv/tftp"[..]]);
        let mut lab = Lab::start(now, limits, root, site);
        for (name, size) in FILES {
            lab.world.add_file(name, size);
        }
        lab.world.takes_uploads = !lab.world.choices.one_in(4);
        lab.world.disk_takes = lab.world.choices.pick(&DISK_TAKES);
        History {
            lab,
            last: (host(1, 2070), local(0), Vec::new()),
        }
    }

    /// Plays it to its end. Returns the server with what it counted, and the world.
    pub(crate) fn play(mut self) -> (Server, World<Faulty<C>>) {
        while !self.lab.world.choices.is_over() {
            self.step();
            self.check();
        }
        self.lab.world.faults = 0;
        if !self.lab.server.is_stopping() {
            self.come_to_rest();
            self.serve_an_honest_client();
        }
        self.lab.stop();
        self.come_to_rest();
        assert!(self.lab.server.is_stopped());
        (self.lab.server, self.lab.world)
    }

    fn step(&mut self) {
        match self.lab.world.choices.below(24) {
            0..6 => self.request_arrives(),
            6 | 7 => self.request_comes_again(),
            8..13 => self.reply_arrives(),
            13 => match self.lab.world.choices.one_in(2) {
                true => self.client_fetches_on(),
                false => self.client_sends_on(),
            },
            14 => {
                let client = self.any_client();
                self.lab.becomes_writable(client);
            }
            15..18 => self.turn(),
            18..22 => self.let_time_pass(),
            22 if self.lab.world.choices.one_in(4) => self.port_closes(),
            _ => self.something_rare(),
        }
    }

    fn check(&self) {
        self.lab.server.audit_books();
        self.lab.check();
    }

    // Turns and time.

    fn turn(&mut self) {
        self.lab.wake();
        self.lab.send();
    }

    fn let_time_pass(&mut self) {
        let choices = &mut self.lab.world.choices;
        let span = match choices.below(12) {
            0 => Duration::ZERO,
            1 | 2 => Duration::from_micros(choices.below(5000)),
            3..6 => Duration::from_millis(choices.below(5000)),
            6 => Duration::from_secs(choices.below(120)),
            // The machine slept, or its clock is broken.
            7 if choices.one_in(4) => Duration::from_secs(choices.within(1, 10 * 3600)),
            _ => {
                let wakeup = self.lab.server.next_wakeup();
                wakeup.map_or(Duration::ZERO, |wakeup| wakeup.since(self.lab.world.now))
            }
        };
        self.lab.world.now = self.lab.world.now + span;
        if !self.lab.world.choices.one_in(4) {
            self.turn();
        }
    }

    /// Lets time pass until nothing is ever due again.
    fn come_to_rest(&mut self) {
        let clients: Vec<usize> = self.lab.world.sockets().map(|(client, _)| client).collect();
        for client in clients {
            self.lab.becomes_writable(client);
        }
        self.lab.world.wanting.clear();
        self.lab.world.full.clear();
        for _ in 0..TURNS_MAX {
            self.turn();
            self.check();
            if self.lab.server.has_ready() {
                continue;
            }
            match self.lab.next_wakeup() {
                Some(wakeup) => self.lab.world.now = self.lab.world.now.max(wakeup),
                None => {
                    assert_eq!(
                        self.lab.world.open_now(),
                        0,
                        "something stays open for ever"
                    );
                    assert_eq!(self.lab.server.pending(), 0, "a client waits for ever");
                    return;
                }
            }
        }
        panic!("the server does not come to rest");
    }

    fn serve_an_honest_client(&mut self) {
        let peer = host(200, 2070);
        // By then no admission pauses any more for want of descriptors.
        self.lab.world.now = self.lab.world.now + Duration::from_secs(1);
        let datagram = b"\0\x01small\0octet\0";
        let before = self.lab.world.ended.len();
        self.lab.request(peer, local(0), datagram);
        self.turn();
        let client = self.lab.world.client_of(peer);
        let client = client.expect("an honest client is served at once");
        let sent = self.lab.world.socket(client).map(|socket| socket.block);
        assert_eq!(sent, Some(1));
        self.lab.reply(client, &packets::ack(1));
        assert_eq!(self.lab.world.ended[before..], [Outcome::Complete]);
        self.take_an_honest_file();
    }

    fn take_an_honest_file(&mut self) {
        let peer = host(201, 2070);
        (self.lab.world.takes_uploads, self.lab.world.disk_takes) = (true, Duration::ZERO);
        self.lab.world.unwritable.clear();
        let before = self.lab.world.ended.len();
        self.lab.request(peer, local(0), b"\0\x02honest\0octet\0");
        self.turn();
        let client = self.lab.world.client_of(peer);
        let client = client.expect("an honest client may write at once");
        self.lab.reply(client, &block_of(1, 512));
        self.turn();
        self.lab.reply(client, &block_of(2, 5));
        self.turn();
        assert_eq!(self.lab.world.ended[before..], [Outcome::Complete]);
        self.lab.world.site.uploads -= 1;
        let whole = [[1; 512].as_slice(), &[2; 5]].concat();
        let found = self.lab.world.uploaded.get(&b"honest"[..]);
        assert_eq!(found, Some(&whole));
    }

    // What arrives.

    fn request_arrives(&mut self) {
        let choices = &mut self.lab.world.choices;
        let peer = any_peer(choices);
        let at = local(choices.length(2));
        let datagram = any_request(choices);
        for _ in 0..choices.pick(&[1, 1, 1, 2, 5]) {
            self.lab.request(peer, at, &datagram);
            self.check();
        }
        self.last = (peer, at, datagram);
    }

    /// From the same port or from another one of the same machine.
    fn request_comes_again(&mut self) {
        let (mut peer, at, datagram) = self.last.clone();
        if self.lab.world.choices.one_in(3) {
            peer.port = 2070 + u16::try_from(self.lab.world.choices.below(4)).expect("small");
        }
        self.lab.request(peer, at, &datagram);
    }

    fn reply_arrives(&mut self) {
        let client = self.any_client();
        let sent = self
            .lab
            .world
            .socket(client)
            .map_or(0, |socket| socket.block);
        let choices = &mut self.lab.world.choices;
        let block = match choices.below(10) {
            0..6 => sent,
            6 => sent.wrapping_sub(1),
            7 => sent.wrapping_add(1),
            8 => sent.wrapping_sub(choices.below(70)),
            _ => choices.port().into(),
        };
        let mut datagram = match choices.below(12) {
            0 => vec![0, 5, 0, choices.pick(&[0, 8, 1, 4, 9]), b'%', b'n', 0],
            1 => any_bytes(choices, 12),
            2..6 => a_block(choices, block),
            _ => packets::ack(block).to_vec(),
        };
        if choices.one_in(10) {
            spoil(choices, &mut datagram);
        }
        self.lab.reply(client, &datagram);
    }

    /// A client does as it should for a while.
    fn client_fetches_on(&mut self) {
        let client = self.any_client();
        for _ in 0..self.lab.world.choices.within(1, 8) {
            let Some(socket) = self.lab.world.socket(client) else {
                return;
            };
            let ack = packets::ack(socket.block);
            self.lab.reply(client, &ack);
            self.turn();
            self.check();
        }
    }

    /// A client sends its file on, as it should, for a while.
    fn client_sends_on(&mut self) {
        let Some(client) = self.any_upload() else {
            return;
        };
        for _ in 0..self.lab.world.choices.within(1, 12) {
            let Some(socket) = self.lab.world.socket(client) else {
                return;
            };
            let next = socket.block + 1;
            let choices = &mut self.lab.world.choices;
            let length = choices.pick(&[512, 512, 512, 8, 1428, 100]);
            let block = block_of(next, length);
            self.lab.reply(client, &block);
            self.turn();
            self.check();
        }
    }

    fn any_upload(&self) -> Option<usize> {
        let mut sockets = self.lab.world.sockets();
        let upload = sockets.find(|(_, socket)| socket.upload.is_some())?;
        Some(upload.0)
    }

    /// The disk fails, or has no room, or has room again.
    fn disk_changes(&mut self) {
        let client = self.any_client();
        let socket = self.lab.world.socket(client);
        let Some(socket) = socket.filter(|socket| socket.upload.is_some()) else {
            return;
        };
        let (peer, name) = (socket.peer, socket.name.clone());
        match self.lab.world.choices.below(6) {
            0 => {
                self.lab.world.wanting.insert(peer);
            }
            1 => {
                self.lab.world.full.insert(peer);
            }
            2 => {
                let refusal = self
                    .lab
                    .world
                    .choices
                    .pick(&[Refusal::NoSpace, Refusal::WriteFailed]);
                self.lab.world.unwritable.insert(name, refusal);
            }
            3 => {
                let now = self.lab.world.now;
                let failed = Err(Refusal::WriteFailed);
                self.lab
                    .server
                    .on_stored(now, &mut self.lab.world, client, failed);
            }
            _ => {
                self.lab.world.unwritable.clear();
                self.lab.has_room(peer);
            }
        }
    }

    fn port_closes(&mut self) {
        let client = self.any_client();
        self.lab.port_closes(client);
    }

    /// Mostly one that is open.
    fn any_client(&mut self) -> usize {
        let open = self.lab.world.open_now();
        if open == 0 || self.lab.world.choices.one_in(10) {
            return self.lab.world.choices.length(100);
        }
        let place = self.lab.world.choices.length(open);
        let socket = self.lab.world.sockets().nth(place);
        socket.expect("there are as many").0
    }

    fn something_rare(&mut self) {
        let now = self.lab.world.now;
        match self.lab.world.choices.below(30) {
            0 => self.lab.stop(),
            1 => self.lab.server.abort(now, &mut self.lab.world),
            2..10 => self.lab.world.faults = self.lab.world.choices.pick(&[0, 50, 10, 3, 1]),
            10..20 => {
                let peer = Peer {
                    address: Ipv4Addr::LOCALHOST.into(),
                    port: 0,
                    scope: 0,
                };
                for malformed in [Malformed::Oversized, Malformed::Unanswerable] {
                    self.lab
                        .server
                        .drop_malformed(&mut self.lab.world, peer, malformed);
                }
            }
            24..28 => self.disk_changes(),
            20..24 => {
                let client = self.any_client();
                self.lab.server.on_found(now, client);
            }
            _ => {}
        }
    }
}

fn any_limits(choices: &mut impl Choices) -> Limits {
    let seconds = Duration::from_secs;
    Limits {
        max_transfers: choices.pick(&[1, 2, 3, 8, 32]),
        max_pending: choices.pick(&[0, 1, 5, 40]),
        per_client: choices.pick(&[1, 2, 8]),
        per_client_pending: choices.pick(&[0, 1, 3, 32]),
        spares_loopback: !choices.one_in(4),
        hold: choices.pick(&[None, Some(seconds(0)), Some(seconds(2)), Some(seconds(2))]),
        reclaim: !choices.one_in(4),
        small_file: choices.pick(&[0, 100, 128 * 1024, u64::MAX]),
        keepalive_share: choices.pick(&[1, 10, 100]),
        patience: seconds(choices.pick(&[1, 8, 35, 120])),
        terms: Terms {
            max_blksize: choices.pick(&[8, 512, 1428, 65464]),
            max_windowsize: choices.pick(&[1, 4, 64, 64, 1000]),
            ..Terms::default()
        },
        max_held: choices.pick(&[0, 1, 20, usize::MAX]),
    }
}

// Who sends.

/// A few machines whose ports come again and again, the server itself, or anybody.
fn any_peer(choices: &mut impl Choices) -> Peer {
    match choices.below(16) {
        0..10 => host(choices.within(1, 5).try_into().expect("small"), {
            2070 + u16::try_from(choices.below(4)).expect("small")
        }),
        10..12 => Peer {
            address: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7).into(),
            port: 2070,
            scope: choices.within(1, 3).try_into().expect("small"),
        },
        // From the server's own address and port.
        12 => Peer {
            address: local(0).address,
            port: 69,
            scope: 0,
        },
        _ => Peer {
            address: IpAddr::V4(Ipv4Addr::from_bits(
                choices.below(1 << 32).try_into().expect("32 bits"),
            )),
            port: choices.port(),
            scope: 0,
        },
    }
}

fn local(listener: usize) -> Local {
    Local { listener, ..LOCAL }
}

// What is sent.

/// Requests good and bad, and what is none.
fn any_request(choices: &mut impl Choices) -> Vec<u8> {
    if choices.one_in(16) {
        return any_bytes(choices, 40);
    }
    let opcode = match choices.below(16) {
        0 => choices.pick(&[3, 4, 5, 6]),
        1..5 => 2,
        _ => 1,
    };
    let mut datagram = vec![0, opcode];
    datagram.extend(match choices.one_in(4) {
        true => choices.pick(&BAD_NAMES),
        false => choices.pick(&NAMES),
    });
    datagram.push(0);
    datagram.extend(match choices.one_in(12) {
        true => choices.pick(&[&b"mail"[..], b"x", b""]),
        false => choices.pick(&[&b"octet"[..], b"octet", b"OCTET", b"netascii"]),
    });
    datagram.push(0);
    for _ in 0..choices.pick(&[0, 0, 1, 2, 4, 6]) {
        for text in [choices.pick(&OPTIONS), choices.pick(&VALUES)] {
            datagram.extend(text);
            datagram.push(0);
        }
    }
    if choices.one_in(6) {
        spoil(choices, &mut datagram);
    }
    datagram
}

/// Cuts it short, changes a byte, or puts something in.
fn spoil(choices: &mut impl Choices, datagram: &mut Vec<u8>) {
    let at = choices.length(datagram.len() + 1);
    match choices.below(4) {
        0 => datagram.truncate(at),
        1 => {
            let byte = choices.byte();
            datagram
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|old| *old = byte);
        }
        2 => {
            let bytes = any_bytes(choices, 8);
            datagram.splice(at..at, bytes);
        }
        _ => {
            let (byte, count) = (choices.byte(), choices.length(2048));
            datagram.splice(at..at, std::iter::repeat_n(byte, count));
        }
    }
}

/// A block of an upload: good ones, the last one, and ones that are longer than agreed.
fn a_block(choices: &mut impl Choices, block: u64) -> Vec<u8> {
    let length = choices.pick(&[512, 512, 512, 1428, 8, 0, 100, 513, 3000]);
    block_of(block, length)
}

fn block_of(block: u64, length: usize) -> Vec<u8> {
    let [.., high, low] = block.to_be_bytes();
    let mut datagram = vec![0, 3, high, low];
    datagram.resize(4 + length, low);
    datagram
}

fn any_bytes(choices: &mut impl Choices, end: usize) -> Vec<u8> {
    let length = choices.length(end);
    (0..length).map(|_| choices.byte()).collect()
}

/// How long it takes to bring a file to the disk.
const DISK_TAKES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_secs(3),
    Duration::from_secs(100),
];

const NAMES: [&[u8]; 8] = [
    b"empty",
    b"small",
    b"even",
    b"medium",
    b"large",
    b"large",
    b"a/huge",
    b"/srv/tftp/small\xFF",
];

const BAD_NAMES: [&[u8]; 6] = [
    b"missing",
    b"../small",
    b"a\\..\\..\\small",
    b"%s%n",
    b"\xFF",
    b"",
];

const OPTIONS: [&[u8]; 7] = [
    b"blksize",
    b"windowsize",
    b"tsize",
    b"timeout",
    b"BLKSIZE",
    b"multicast",
    b"",
];

const VALUES: [&[u8]; 12] = [
    b"0",
    b"1",
    b"8",
    b"64",
    b"512",
    b"1428",
    b"65464",
    b"65535",
    b"65536",
    b"-1",
    b"99999999999999999999",
    b"x",
];

/// Turns until the last client is given up, with its window sent again and again.
const TURNS_MAX: u32 = 200_000;
