//! The whole server against an attacker: random histories of broken datagrams, forged replies,
//! ports used again, jumps in time and failures of everything that the server asks for. Nothing may
//! panic, no book may be wrong, and nothing may stay behind. No socket, no clock, no file.
//!
//! `history` is what happens, `world` what fails, `choices` where the decisions come from; the fuzzer in
//! `tests/fuzz` plays the same histories. A history that fails prints its seed; with `TFTPD_SEED` set to
//! it, only that one is played again.

mod history;
#[path = "../laboratory/mod.rs"]
mod laboratory;
mod world;

use history::History;
use laboratory::choices::{Choices, Seeded};
use laboratory::outcomes::OUTCOMES;
use laboratory::parallel::in_parallel;
use ripple_tftpd::server::Stats;
use ripple_tftpd::transfer::Outcome;

#[test]
fn hostile_histories_leave_no_trace() {
    if let Ok(seed) = std::env::var("TFTPD_SEED") {
        play(seed.parse().expect("TFTPD_SEED is a number"));
        return;
    }
    let mut totals = Totals::default();
    let seeds: Vec<u64> = (0..HISTORIES).collect();
    for (stats, outcomes, sent, uploads) in in_parallel(&seeds, |&seed| play(seed)) {
        totals.add(&stats, &outcomes, sent);
        totals.uploads += uploads;
    }
    println!("{totals:?}");
    totals.check();
}

fn play(seed: u64) -> (Stats, Vec<Outcome>, u64, u64) {
    let _told = TellSeed(seed);
    let mut length = Seeded::new(!seed, 1);
    let choices = Seeded::new(seed, length.within(200, 6000));
    let (server, world) = History::new(choices).play();
    let (packets, uploads) = (world.packets, world.site.uploads);
    (*server.stats(), world.site.ended, packets, uploads)
}

struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to see it again: TFTPD_SEED={}", self.0);
        }
    }
}

/// What all histories together saw: those in which nothing happens would prove nothing.
#[derive(Debug, Default)]
struct Totals {
    sent: u64,
    uploads: u64,
    requests: u64,
    repeats: u64,
    refused: u64,
    client_full: u64,
    queue_full: u64,
    short: u64,
    misplaced: u64,
    unterminated: u64,
    outcomes: Vec<(Outcome, u64)>,
}

impl Totals {
    fn add(&mut self, stats: &Stats, outcomes: &[Outcome], sent: u64) {
        self.sent += sent;
        self.requests += stats.requests;
        self.repeats += stats.repeats;
        self.refused += stats.refused;
        self.client_full += stats.client_full;
        self.queue_full += stats.queue_full;
        self.short += stats.short;
        self.misplaced += stats.misplaced;
        self.unterminated += stats.unterminated;
        for &outcome in outcomes {
            match self
                .outcomes
                .iter_mut()
                .find(|(other, _)| *other == outcome)
            {
                Some((_, times)) => *times += 1,
                None => self.outcomes.push((outcome, 1)),
            }
        }
    }

    fn check(&self) {
        let counts = [
            self.sent,
            self.requests,
            self.repeats,
            self.refused,
            self.client_full,
            self.queue_full,
            self.short,
            self.misplaced,
            self.unterminated,
        ];
        for count in counts {
            assert!(count > HISTORIES, "{self:?}");
        }
        // Beside the honest ones at the end.
        assert!(self.uploads >= 10, "{self:?}");
        for wanted in OUTCOMES {
            let seen = self.outcomes.iter().find(|(outcome, _)| *outcome == wanted);
            assert!(seen.is_some_and(|&(_, times)| times >= 10), "{wanted:?}");
        }
    }
}

const HISTORIES: u64 = 2000;
