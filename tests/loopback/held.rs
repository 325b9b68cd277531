//! Those who wait are kept alive, over real sockets: answered after a while, trickled, passed on to the slot, which nobody keeps
//! who does not use it.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::{Client, PATIENCE, fetch};
use crate::clients::Clients;
use crate::download::{Download, Wish};
use crate::machine::{
    alone, eventually, open_files, processor_ticks, raise_own_file_limit, skipped, status,
};
use crate::packet;
use crate::root::{Root, assert_same};
use crate::server::{Mode, Server, serving};

/// More than counts as small, and for a slow client more than a minute.
const LENGTH: usize = 600 * 512 + 100;

/// How long a slow client takes over a block, from the first one on: its slot is not idle because of that.
const PACE: Duration = Duration::from_millis(25);

/// What it is sent in a block: less in that time would be a client far away, which lends its slot.
const SLOW_BLKSIZE: usize = 32 << 10;

/// A client that has the slot and uses it slowly, until it is to be quick.
struct Slow {
    may_be_quick: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Slow {
    fn start(root: &Root, server: SocketAddr) -> Self {
        let may_be_quick = Arc::new(AtomicBool::new(false));
        let is_quick = Arc::clone(&may_be_quick);
        let all = root.write("slow", 1200 * SLOW_BLKSIZE + 100);
        let mut client =
            Client::new(server).asking(&Wish::octet("slow").option("blksize", SLOW_BLKSIZE));
        client.expect_oack(&[("blksize", &SLOW_BLKSIZE.to_string())]);
        thread::sleep(PACE);
        client.ack(0);
        let mut bytes = client.expect_data(1);
        let fetch_rest = move || {
            let mut block = 1;
            loop {
                if !is_quick.load(Ordering::Relaxed) {
                    thread::sleep(PACE);
                }
                client.ack(block);
                if !bytes.len().is_multiple_of(SLOW_BLKSIZE) {
                    return assert_same(&bytes, &all);
                }
                block += 1;
                bytes.extend(client.expect_data(block));
            }
        };
        Self {
            may_be_quick,
            thread: thread::spawn(fetch_rest),
        }
    }

    /// It fetches the rest at full speed, each byte of it right, and its slot is free.
    fn finish(self) {
        self.be_quick();
        self.thread.join().unwrap();
    }

    fn be_quick(&self) {
        assert!(!self.thread.is_finished(), "it was slow until now");
        self.may_be_quick.store(true, Ordering::Relaxed);
    }
}

/// A client with an address of its own that answers all it gets.
struct Member {
    client: Client,
    download: Download,
    unanswered: VecDeque<(Instant, Vec<u8>)>,
    begun_at: Option<Instant>,
    complete_at: Option<Instant>,
    /// When blocks came.
    blocks_at: Vec<Instant>,
}

impl Member {
    fn ask(host: u8, server: SocketAddr, wish: &Wish) -> Self {
        let client = Client::at(Ipv4Addr::new(127, 3, 0, host), server).asking(wish);
        Self {
            client,
            download: Download::new(wish),
            unanswered: VecDeque::new(),
            begun_at: None,
            complete_at: None,
            blocks_at: Vec::new(),
        }
    }

    /// Takes what is there, and answers what has been there for long enough.
    fn take_part(&mut self) {
        while let Some(datagram) = self.client.receive_if_there() {
            self.unanswered.push_back((Instant::now(), datagram));
        }
        let is_due = |(at, _): &&(Instant, Vec<u8>)| at.elapsed() >= ANSWER_AFTER;
        while self.unanswered.front().filter(is_due).is_some()
            && let Some((_, datagram)) = self.unanswered.pop_front()
        {
            let now = Instant::now();
            self.begun_at.get_or_insert(now);
            let before = self.download.blocks;
            if let Some(answer) = self.download.on_packet(packet::parse(&datagram)) {
                self.client.send(&answer);
            }
            if self.download.blocks > before {
                self.blocks_at.push(now);
            }
            if self.download.is_over() {
                self.complete_at.get_or_insert(now);
            }
        }
    }
}

/// Members who all take their time to answer: the server learns that, and finds no slot idle because of a short
/// pause of this process.
struct Members {
    all: Vec<Member>,
    looked_at: Instant,
    /// The longest time in which nobody looked.
    longest: Duration,
}

impl Members {
    fn new(all: Vec<Member>) -> Self {
        Self {
            all,
            looked_at: Instant::now(),
            longest: Duration::ZERO,
        }
    }

    fn take_part_until(&mut self, what: &str, is_reached: impl Fn(&Member) -> bool) {
        eventually(what, PATIENCE, || {
            let now = Instant::now();
            self.longest = self.longest.max(now.duration_since(self.looked_at));
            self.looked_at = now;
            self.all.iter_mut().for_each(Member::take_part);
            self.all.iter().all(&is_reached).then_some(())
        });
    }
}

const ANSWER_AFTER: Duration = Duration::from_millis(40);

/// A slot is idle after four times the usual time to an answer; a packet is repeated after 200 ms at least.
const DISTURBED_FROM: Duration = Duration::from_millis(100);

#[test]
fn those_who_wait_are_answered_trickled_and_promoted() {
    let _turn = alone();
    let attempts = 5;
    let are_promoted_in_turn = |_| are_trickled_and_promoted_in_turn();
    if !(0..attempts).any(are_promoted_in_turn) {
        skipped("order of promotion: the test was not given a processor for long enough");
    }
}

/// False where a pause of the test may have cost a client its slot.
fn are_trickled_and_promoted_in_turn() -> bool {
    let (root, _) = Root::with_file(LENGTH);
    // In blocks so large that who takes 40 ms over one is not far away.
    let wanted = root.write("wanted", 40 * 8192 + 100);
    // A generous share, so that the slow one's small output keeps nobody waiting longer than a second.
    let options = ["-n", "1", "--hold", "1", "--keepalive-share", "100"];
    let server = Server::with(root.path(), &options);
    let slow = Slow::start(&root, server.address());
    let wishes = [
        Wish::octet("wanted").option("blksize", 8192),
        Wish::octet("wanted")
            .option("blksize", 8192)
            .option("windowsize", 16),
        Wish::octet("wanted").option("blksize", 16384),
    ];
    let asked_at = Instant::now();
    let ask = |(host, wish)| Member::ask(host, server.address(), wish);
    let mut members = Members::new((1..).zip(&wishes).map(ask).collect());
    members.take_part_until("a trickle", |member| {
        member.download.blocks >= 2 * member.window()
    });
    let trickled_for = asked_at.elapsed();
    for member in &members.all {
        let begun_at = member.begun_at.unwrap();
        assert!(
            begun_at.duration_since(asked_at) >= Duration::from_millis(990),
            "answered too early"
        );
        // The first window comes within the first interval, then one a second.
        let windows = member.download.blocks / member.window();
        assert!(
            windows <= 1 + trickled_for.as_secs(),
            "{windows} windows in {trickled_for:?}"
        );
    }
    assert_eq!(members.all[1].download.option("windowsize"), Some("4"));

    slow.be_quick();
    let quick_from = Instant::now();
    members.take_part_until("all complete", |member| member.complete_at.is_some());
    // At a window a second it would have taken a minute.
    assert!(quick_from.elapsed() < Duration::from_secs(10));
    slow.thread.join().unwrap();
    for member in &members.all {
        assert_same(&member.download.bytes, &wanted);
    }
    server.wait_for_lines("complete", 4, |line| line.contains(": complete"));
    if members.longest > DISTURBED_FROM {
        eprintln!("disturbed: a pause of {:?}", members.longest);
        return false;
    }
    for member in &members.all {
        assert_eq!(member.download.duplicates, 0);
    }
    // One after the other: until one was complete, the next got what it would have got anyway.
    for pair in members.all.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        let complete_at = before.complete_at.unwrap();
        let until_then = after.blocks_at.iter().filter(|&&at| at <= complete_at);
        let intervals = 1 + complete_at.duration_since(asked_at).as_secs();
        assert!(
            until_then.count() as u64 <= intervals * after.window(),
            "two at full speed"
        );
    }
    true
}

impl Member {
    /// Blocks that it gets in an interval.
    fn window(&self) -> u64 {
        let granted = self.download.option("windowsize");
        granted.map_or(1, |granted| granted.parse().unwrap())
    }
}

#[test]
fn who_does_not_use_the_slot_loses_it_and_completes_later() {
    let (_root, bytes, server) = serving(LENGTH, &["-n", "1", "--hold", "never"]);
    let mut stalled = Client::new(server.address()).asking(&Wish::octet("file"));
    let mut got = Vec::new();
    for block in 1..=20 {
        got.extend(stalled.expect_data(block));
        stalled.ack(block);
    }
    // Nobody else wants the slot: block 21 came, and comes again.
    for _ in 0..3 {
        assert_same(&stalled.expect_data(21), &bytes[20 * 512..21 * 512]);
    }
    let mut other = Client::at(Ipv4Addr::new(127, 3, 1, 1), server.address());
    let wish = Wish::octet("file");
    other.request(&wish);
    let download = other.complete(Download::new(&wish)).unwrap();
    assert_same(&download.bytes, &bytes);
    server.wait_for_log(&["127.3.1.1:", "complete"]);

    // It wakes up and has its slot again.
    let mut block = 21;
    got.extend_from_slice(&bytes[20 * 512..21 * 512]);
    stalled.ack(block);
    while got.len().is_multiple_of(512) {
        match stalled.receive() {
            packet::Packet::Data { block: 21, .. } => {}
            packet::Packet::Data { block: new, bytes } => {
                block += 1;
                assert_eq!(new, block);
                got.extend(bytes);
                stalled.ack(block);
            }
            other => panic!("DATA expected, not {other:?}"),
        }
    }
    assert_same(&got, &bytes);
    server.wait_for_log(&["127.0.0.1:", "complete"]);
}

#[test]
fn a_slot_that_the_client_stops_using_while_others_wait_is_taken_within_a_second_or_so() {
    let _turn = alone();
    let (_root, bytes, server) = serving(LENGTH, &["-n", "1", "--hold", "never"]);
    let mut stalled = Client::new(server.address()).asking(&Wish::octet("file"));
    stalled.expect_data(1);
    let wish = Wish::octet("file");
    let mut other = Client::at(Ipv4Addr::new(127, 3, 2, 1), server.address()).asking(&wish);
    // Looked at now and not later: once the first one's answers are known to be quick, a few milliseconds
    // without one cost it the slot.
    other.expect_nothing_yet();
    for block in 1..=20 {
        stalled.ack(block);
        stalled.expect_data(block + 1);
    }
    // From here on the first one is silent.
    let datagram = other
        .receive_within(Duration::from_secs(5))
        .expect("the slot, long before the first one is given up");
    let mut download = Download::new(&wish);
    let answer = download.on_packet(packet::parse(&datagram)).unwrap();
    other.send(&answer);
    let download = other.complete(download).unwrap();
    assert_same(&download.bytes, &bytes);
}

#[test]
fn with_hold_never_those_who_wait_hear_nothing() {
    let (root, bytes, server) = serving(LENGTH, &["-n", "1", "--hold", "never"]);
    let slow = Slow::start(&root, server.address());
    let wish = Wish::octet("file");
    let mut waiting: Vec<Client> = (1..=3)
        .map(|host| Client::at(Ipv4Addr::new(127, 3, 3, host), server.address()))
        .collect();
    for client in &waiting {
        client.request(&wish);
    }
    for client in &mut waiting {
        assert_eq!(client.receive_within(Duration::from_secs(1)), None);
        client.request(&wish);
    }
    waiting.iter_mut().for_each(Client::expect_nothing_yet);
    slow.finish();
    for client in &mut waiting {
        let download = client.complete(Download::new(&wish)).unwrap();
        assert_same(&download.bytes, &bytes);
    }
}

/// A ROM that asks from a new port whenever it asks again, and hears only that one.
#[test]
fn a_machine_that_changes_its_port_while_it_is_held_has_one_transfer_in_the_end() {
    // A thousand others would keep it from answering in time.
    let _turn = alone();
    let (root, bytes, server) = serving(LENGTH, &["-n", "1", "--hold", "1", "-vv"]);
    let slow = Slow::start(&root, server.address());
    let wish = Wish::octet("file");
    let port = || Client::at(Ipv4Addr::new(127, 3, 4, 1), server.address());
    let mut old = port();
    old.request(&wish);
    // Its first packet, and the same again after a second without an answer.
    old.expect_data(1);
    old.expect_data(1);
    let mut new = port();
    new.request(&wish);
    assert_same(&new.expect_data(1), &bytes[..512]);
    old.expect_nothing_yet();
    new.ack(1);
    slow.finish();
    let mut got = bytes[..512].to_vec();
    let mut block = 1;
    while got.len().is_multiple_of(512) {
        block += 1;
        got.extend(new.expect_data_after(block));
        new.ack(block);
    }
    assert_same(&got, &bytes);
    let is_end = |line: &str| line.contains("127.3.4.1:") && line.contains(" pending ");
    let lines = server.wait_for_lines("ends", 2, is_end);
    let complete = lines.iter().filter(|line| line.contains(": complete"));
    assert_eq!(complete.count(), 1);
    old.expect_nothing_yet();
}

#[test]
fn a_small_file_does_not_wait_behind_large_ones() {
    let (root, _) = Root::with_file(LENGTH);
    let small = root.write("small", 10_000);
    let server = Server::with(root.path(), &["-n", "2", "--hold", "never"]);
    let slow = Slow::start(&root, server.address());
    let mut waiting =
        Client::at(Ipv4Addr::new(127, 3, 5, 1), server.address()).asking(&Wish::octet("file"));
    for _ in 0..5 {
        let download = fetch(server.address(), &Wish::octet("small")).unwrap();
        assert_same(&download.bytes, &small);
    }
    waiting.expect_nothing_yet();
    slow.finish();
    waiting.expect_data(1);
}

const HELD: usize = 1000;

/// A server with one slow client and a thousand others that wait and were answered.
fn a_thousand_held(root: &Root, server: &Server) -> (Slow, Clients) {
    raise_own_file_limit();
    let slow = Slow::start(root, server.address());
    let mut clients = Clients::new(server.address());
    (0..HELD).for_each(|_| clients.add(Wish::octet("file")));
    eventually("a thousand held", PATIENCE, || {
        clients.listen(Duration::from_millis(20));
        (clients.begun() == HELD).then_some(())
    });
    (slow, clients)
}

#[test]
fn memory_and_descriptors_of_a_thousand_held() {
    let _turn = alone();
    let (root, _, server) = serving(LENGTH, &["-n", "1", "--hold", "1"]);
    fetch(server.address(), &Wish::octet("file")).unwrap();
    server.wait_for_log(&["complete"]);
    let files = open_files(server.process());
    let before = status(server.process(), "RssAnon");
    let (slow, clients) = a_thousand_held(&root, &server);
    let more = open_files(server.process()) - files;
    match Mode::wanted() {
        Mode::OwnPorts | Mode::PortRange => assert!(more >= HELD, "{more} descriptors"),
        // The two files, which all share.
        Mode::SinglePort => assert!(more <= 2, "{more} descriptors"),
    }
    let each = (status(server.process(), "RssAnon") - before) * 1024 / HELD as u64;
    eprintln!("{each} bytes for each held client");
    assert!(each < 4 << 10, "{each} bytes for each held client");

    // They are switched off all at once.
    drop(clients);
    slow.finish();
    eventually("all files closed", PATIENCE, || {
        (open_files(server.process()) == files).then_some(())
    });
}

#[test]
fn a_thousand_held_take_next_to_no_processor_time() {
    let _turn = alone();
    let (root, _, server) = serving(LENGTH, &["-n", "1", "--hold", "1"]);
    let (_slow, mut clients) = a_thousand_held(&root, &server);
    let blocks = |clients: &Clients| {
        let blocks = clients
            .members()
            .iter()
            .map(|member| member.download.blocks);
        blocks.sum::<u64>()
    };
    let (before, ticks) = (blocks(&clients), processor_ticks(server.process()));
    clients.listen(Duration::from_secs(4));
    let (sent, ticks) = (
        blocks(&clients) - before,
        processor_ticks(server.process()) - ticks,
    );
    eprintln!("{ticks} hundredths of a second for {sent} blocks in 4 s");
    assert!(sent >= 400, "{sent} blocks: nobody was kept alive");
    assert!(
        sent <= 2 * HELD as u64 + 100,
        "{sent} blocks are no trickle"
    );
    assert!(ticks < 100, "{ticks} hundredths of a second out of 400");
}
