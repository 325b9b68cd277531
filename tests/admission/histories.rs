//! Ten thousand random histories, each compared turn by turn with the `model`.
//!
//! A history is made from its seed alone. One that fails prints it; with `TFTPD_SEED` set to it, only
//! that history is played again, and printed step by step. `TFTPD_SEEDS` says how many are played.

use std::collections::HashMap;
use std::time::Duration;

use ripple_tftpd::server::Limits;
use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::{Peer, Refusal};

use crate::laboratory::choices::{Choices, Seeded};
use crate::laboratory::outcomes::OUTCOMES;
use crate::laboratory::parallel::in_parallel;
use crate::model::{Model, Wish};
use crate::world::{
    Arrival, Ended, Lab, ack, behind, client, error, millis, request, request_with, seconds,
    silent_fifo,
};

#[test]
fn random_histories_agree_with_the_model() {
    if let Ok(seed) = std::env::var("TFTPD_SEED") {
        let seed = seed.parse().expect("TFTPD_SEED is a number");
        History::new(seed, true).play();
        return;
    }
    let mut totals = Totals::default();
    let seeds = std::env::var("TFTPD_SEEDS").ok();
    let histories = seeds.map_or(HISTORIES, |it| it.parse().expect("TFTPD_SEEDS is a number"));
    let seeds: Vec<u64> = (0..histories).collect();
    let play = |&seed: &u64| Totals::of(&History::new(seed, false).play());
    for one in in_parallel(&seeds, play) {
        totals.served += one.served;
        totals.waited += one.waited;
        totals.outcomes.extend(one.outcomes);
    }
    // Histories in which nothing happens would prove nothing.
    let Totals {
        served,
        waited,
        outcomes,
    } = totals;
    assert!(served > 10 * histories, "only {served} were served");
    assert!(waited > 5 * histories, "only {waited} had to wait");
    // Nobody here is evicted from a full queue: there are too few unvalidated clients.
    let here = OUTCOMES.into_iter().filter(|&it| it != Outcome::Evicted);
    for outcome in here {
        let times = outcomes.iter().filter(|&&other| other == outcome).count();
        assert!(times >= 500, "{outcome:?} came {times} times only");
    }
}

/// What one history saw, or all together.
#[derive(Default)]
struct Totals {
    served: u64,
    waited: u64,
    outcomes: Vec<Outcome>,
}

impl Totals {
    fn of(lab: &Lab) -> Totals {
        let ended = &lab.world.ended;
        let has_waited = |ended: &&Ended| !ended.pending.is_zero();
        Totals {
            served: lab.world.opens.len() as u64,
            waited: ended.iter().filter(has_waited).count() as u64,
            outcomes: ended.iter().map(|ended| ended.outcome).collect(),
        }
    }
}

/// One history on its way.
struct History {
    seed: u64,
    random: Seeded,
    lab: Lab,
    model: Model,
    peers: Vec<Peer>,
    is_printed: bool,
}

impl Drop for History {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see it again: TFTPD_SEED={}", self.seed);
        }
    }
}

impl History {
    fn new(seed: u64, is_printed: bool) -> History {
        let mut random = Seeded::endless(seed);
        let limits = Limits {
            max_transfers: random.pick(&[1, 1, 2, 3, 5]),
            max_pending: random.pick(&[1, 3, 8, 100]),
            patience: random.pick(&[3, 8, 35, 35].map(seconds)),
            ..silent_fifo()
        };
        let mut lab = Lab::new(limits);
        let mut lengths = HashMap::new();
        for file in FILES.into_iter().filter(|&file| file != NOTHING) {
            let any = random.within(0, LENGTH_MAX);
            let length = random.pick(&[0, 1, 511, 512, 513, 1023, 1024, 1025, any, any, any]);
            lengths.insert(file, length);
            lab.world.add_file(file, length);
        }
        let mut peers: Vec<Peer> = (1..=5).map(client).collect();
        peers.extend((4001..=4004).map(|port| behind(9, port)));
        History {
            seed,
            random,
            lab,
            model: Model::new(limits, lengths),
            peers,
            is_printed,
        }
    }

    /// Plays it to its end and checks that nothing is left behind.
    fn play(mut self) -> Lab {
        let steps = self.random.within(40, 120);
        let stops_after = self.random.within(40, 240);
        for step in 0..steps {
            if step == stops_after {
                self.stop();
            }
            self.change_the_world();
            self.let_time_pass();
            let arrivals = self.random.within(0, 4);
            for _ in 0..arrivals {
                self.arrive();
            }
            self.rest();
        }
        self.repair_the_world();
        self.pass(seconds(120));
        assert_eq!(self.lab.server.next_wakeup(), None, "it cannot sleep");
        assert_eq!(self.lab.world.open_now(), 0, "a file was not closed");
        assert_eq!((self.model.waiting.len(), self.model.served.len()), (0, 0));
        let lab = Lab::with_slots(1);
        std::mem::replace(&mut self.lab, lab)
    }

    // Turns.

    /// Turns until the server sleeps, each judged.
    fn rest(&mut self) {
        for _ in 0..TURNS_AT_ONCE {
            self.lab.wake();
            self.judge();
            self.lab.send();
            self.judge();
            if !self.lab.wants_a_turn() {
                self.compare();
                return;
            }
        }
        panic!("the server does not come to rest");
    }

    fn judge(&mut self) {
        let deeds = self.lab.world.take_deeds();
        self.print(&deeds);
        self.model.judge(self.lab.world.now, &self.lab.world, deeds);
    }

    fn compare(&self) {
        self.model.check_at_rest(self.lab.world.now);
        assert_eq!(self.lab.server.running(), self.model.running());
        assert_eq!(self.lab.server.pending(), self.model.waiting.len());
        assert_eq!(self.lab.world.open_now(), self.model.served.len());
        for served in &self.model.served {
            assert!(self.lab.world.client_of(served.peer).is_some());
        }
    }

    // Time.

    fn let_time_pass(&mut self) {
        let span = match self.random.within(0, 20) {
            0..6 => Duration::ZERO,
            6..10 => millis(self.random.within(1, 20)),
            10..13 => millis(self.random.within(80, 130)),
            13..17 => millis(self.random.within(300, 1500)),
            17..19 => millis(self.random.within(1500, 4500)),
            _ => millis(self.random.within(4500, 15_000)),
        };
        // To the microsecond, so that nothing relies on round numbers.
        let span = span + Duration::from_micros(self.random.within(0, 1000));
        if self.random.one_in(20) {
            self.print(&("the machine is busy for", span));
            self.lab.oversleep(span);
            self.model.overslept += span;
        } else {
            self.pass(span);
        }
    }

    fn pass(&mut self, span: Duration) {
        self.print(&("time passes", span));
        let until = self.lab.world.now + span;
        while let Some(wakeup) = self.lab.server.next_wakeup()
            && wakeup <= until
        {
            self.lab.world.now = self.lab.world.now.max(wakeup);
            self.rest();
        }
        self.lab.world.now = until;
        self.rest();
    }

    // What arrives.

    fn arrive(&mut self) {
        match self.random.within(0, 20) {
            0..8 => self.a_client_asks(),
            8..16 => self.a_client_acknowledges(),
            16 => self.a_client_ends(),
            17 => self.a_client_is_refused(),
            _ => self.a_client_fetches_on(),
        }
    }

    fn a_client_asks(&mut self) {
        let peer = self.random.pick(&self.peers);
        let known_wish = self.wish_of(peer).filter(|_| !self.random.one_in(4));
        let wish = known_wish.unwrap_or(Wish {
            file: self.random.pick(&FILES),
            blksize: self
                .random
                .pick(&[None, None, None, None, Some("512"), Some("1024")]),
        });
        let arrival = match wish.blksize {
            Some(blksize) => request_with(peer, wish.file, "octet", &[("blksize", blksize)]),
            None => request(peer, wish.file),
        };
        for _ in 0..self.random.pick(&[1, 1, 1, 2, 5]) {
            self.print(&(peer, wish));
            self.lab.deliver(&arrival);
            let deeds = self.take_deeds();
            let (now, world) = (self.lab.world.now, &self.lab.world);
            self.model.on_request(now, world, peer, wish, deeds);
        }
    }

    fn wish_of(&self, peer: Peer) -> Option<Wish> {
        let waiting = self.model.waiting.iter();
        let served = self.model.served.iter();
        let mut wishes = waiting
            .map(|one| (one.peer, one.wish))
            .chain(served.map(|one| (one.peer, one.wish)));
        wishes
            .find(|&(other, _)| other == peer)
            .map(|(_, wish)| wish)
    }

    /// An ACK, right or wrong, of one who is served.
    fn a_client_acknowledges(&mut self) {
        let Some((peer, block)) = self.one_who_is_served() else {
            return;
        };
        let block = match self.random.within(0, 10) {
            0..7 => block,
            7 => block.wrapping_sub(1) & 0xFFFF,
            8 => block + 1,
            _ => self.random.within(0, 65_536),
        };
        self.acknowledge(peer, block);
    }

    fn acknowledge(&mut self, peer: Peer, block: u64) {
        self.print(&(peer, "ACK", block));
        self.lab.deliver(&ack(peer, block));
        let deeds = self.take_deeds();
        self.model.on_ack(self.lab.world.now, peer, block, deeds);
    }

    /// Some blocks without a hitch.
    fn a_client_fetches_on(&mut self) {
        let Some((peer, _)) = self.one_who_is_served() else {
            return;
        };
        let all_but_last_ack = self.random.one_in(3);
        for _ in 0..FILE_BLOCKS_MAX {
            let is_meant = |one: &&crate::model::Served| one.peer == peer;
            let Some(served) = self.model.served.iter().find(is_meant) else {
                return;
            };
            if all_but_last_ack && served.block == served.last() {
                return;
            }
            let block = served.block;
            self.acknowledge(peer, block);
            self.rest();
        }
    }

    fn a_client_ends(&mut self) {
        let Some((peer, _)) = self.one_who_is_served() else {
            return;
        };
        let (arrival, outcome) = match self.random.within(0, 4) {
            0 => (error(peer, 0), Outcome::Cancelled),
            1 => (error(peer, 8), Outcome::Cancelled),
            2 => (error(peer, 4), Outcome::ClientError(4)),
            _ => (Arrival::PortClosed(peer), Outcome::PortClosed),
        };
        self.print(&arrival);
        self.lab.deliver(&arrival);
        let deeds = self.take_deeds();
        let (now, world) = (self.lab.world.now, &self.lab.world);
        self.model.on_end(now, world, peer, outcome, deeds);
    }

    fn a_client_is_refused(&mut self) {
        // From a peer that never asks for anything else.
        let peer = client(77);
        self.print(&"a request out of the root");
        self.lab.deliver(&request(peer, "../small"));
        let deeds = self.take_deeds();
        self.model.on_fault(peer, Refusal::OutsideRoot, deeds);
    }

    fn one_who_is_served(&mut self) -> Option<(Peer, u64)> {
        if self.model.served.is_empty() {
            return None;
        }
        let served = self.random.pick(&self.model.served);
        Some((served.peer, served.block))
    }

    fn take_deeds(&mut self) -> Vec<crate::world::Deed> {
        let deeds = self.lab.world.take_deeds();
        self.print(&deeds);
        deeds
    }

    fn stop(&mut self) {
        self.print(&"stop");
        self.lab.stop();
        let deeds = self.take_deeds();
        self.model.on_stop(self.lab.world.now, deeds);
    }

    // What goes wrong.

    fn change_the_world(&mut self) {
        let peer = self.random.pick(&self.peers);
        let world = &mut self.lab.world;
        match self.random.within(0, 40) {
            0 => world.exhausted = true,
            1 | 2 => world.exhausted = false,
            3 => drop(world.closed_ports.insert(peer)),
            4 => drop(world.unreachable.insert(peer)),
            5 => drop(world.unreadable.insert(self.random.pick(&FILES).into())),
            6 => {
                world.room.insert(peer, 0);
            }
            7..11 => self.repair_the_world(),
            _ => {}
        }
        self.rest();
    }

    fn repair_the_world(&mut self) {
        self.print(&"everything works again");
        let world = &mut self.lab.world;
        world.exhausted = false;
        world.closed_ports.clear();
        world.unreachable.clear();
        world.unreadable.clear();
        world.room.clear();
        for &peer in &self.peers {
            self.lab.deliver(&Arrival::Writable(peer));
        }
    }

    fn print(&self, what: &dyn std::fmt::Debug) {
        if self.is_printed {
            eprintln!("{:?}  {what:?}", self.lab.world.now);
        }
    }
}

const HISTORIES: u64 = 10_000;

/// What clients ask for, each of a length of its own in each history.
const FILES: [&str; 5] = ["kernel", "initrd", "menu", "script", NOTHING];

/// It is not there.
const NOTHING: &str = "nothing";

/// Bytes of a file at most.
const LENGTH_MAX: u64 = 5000;

/// Blocks of the longest of them, and some to spare.
const FILE_BLOCKS_MAX: u32 = 12;

/// Turns before the server sleeps.
const TURNS_AT_ONCE: u32 = 50;
