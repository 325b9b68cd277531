//! What is counted for statistics beside what the server counts itself: by what its events say, and by what leaves and
//! arrives. Numbers only; `exposition` writes them.

use std::collections::VecDeque;
use std::time::Duration;

use super::field::Value::{Client, Number, Seconds, Word};
use super::field::name;
use super::json::object;
use super::words::{direction_word, outcome_word};
use crate::moment::Moment;
use crate::server::{Event, Report};
use crate::transfer::{Datagrams, Departed, Outcome};
use crate::wire::{Direction, Refusal};

/// Numbers since the start.
#[derive(Debug)]
pub(super) struct Metrics {
    pub traffic: Traffic,
    /// Requests that came to their end, by outcome.
    pub outcomes: Vec<((Direction, &'static str), u64)>,
    /// ERROR packets, by their reason and code.
    pub refusals: Vec<(Refusal, u64)>,
    pub first_answer: Histogram,
    pub wait: Histogram,
    pub service: Histogram,
    pub size: Histogram,
    pub rate: Histogram,
    pub round_trip: Histogram,
    /// Requests that waited, and the longest wait, since the last storm began.
    pub waited: u64,
    pub longest_wait: Duration,
    /// Complete uploads since the start.
    pub uploads: u64,
    /// When the last came to their end, and JSON objects of these, newest first; `None` if nobody may ask for them.
    pub recent: Option<VecDeque<(Moment, String)>>,
}

/// What left and arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Traffic {
    /// Bytes of files, repeats included.
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub sent_datagrams: u64,
    /// Requests included.
    pub received_datagrams: u64,
    /// Sends that had to wait because the bytes were not in memory.
    pub disk_waits: u64,
    /// Sends that had to wait because the socket was full.
    pub full_sockets: u64,
}

impl Traffic {
    /// Counts what left. The end of a file shortens its last block.
    pub(super) fn sent(&mut self, datagrams: Datagrams<'_>, departed: Departed) {
        self.sent_datagrams += u64::from(departed.packets);
        if let Datagrams::Data(blocks) = datagrams {
            let whole = u64::from(departed.packets) * u64::from(blocks.blksize);
            let begin = blocks.offset(blocks.first);
            let left = departed.end.map(|end| end.saturating_sub(begin));
            self.sent_bytes += left.unwrap_or(whole);
        }
    }
}

impl Metrics {
    /// Requests that came to their end are remembered if somebody may ask for them.
    pub(super) fn new(remembers: bool) -> Metrics {
        Metrics {
            traffic: Traffic::default(),
            outcomes: Vec::new(),
            refusals: Vec::new(),
            first_answer: Histogram::new(SPANS, 1_000),
            wait: Histogram::new(SPANS, 1_000),
            service: Histogram::new(SPANS, 1_000),
            size: Histogram::new(SIZES, 1),
            rate: Histogram::new(RATES, 1_000),
            round_trip: Histogram::new(ROUND_TRIPS, 1),
            waited: 0,
            longest_wait: Duration::ZERO,
            uploads: 0,
            recent: remembers.then(VecDeque::new),
        }
    }

    /// Counts what the server reports.
    pub(super) fn note(&mut self, now: Moment, event: &Event<'_>) {
        match event {
            Event::Ended(report) => self.note_end(now, report),
            Event::Refused {
                refusal,
                is_answered: true,
                ..
            } => add(&mut self.refusals, *refusal),
            Event::Refused { .. }
            | Event::Taken { .. }
            | Event::Malformed { .. }
            | Event::QueueFull { .. }
            | Event::Exhausted
            | Event::LargeBlocksLost { .. }
            | Event::AddressFull { .. }
            | Event::FarAway { .. } => {}
        }
    }

    fn note_end(&mut self, now: Moment, report: &Report<'_>) {
        let wait = report.pending + report.held;
        self.waited += u64::from(wait > Duration::ZERO);
        self.longest_wait = self.longest_wait.max(wait);
        let outcome = outcome_word(report.outcome);
        add(&mut self.outcomes, (report.direction, outcome.0));
        if let Some(recent) = &mut self.recent {
            recent.truncate(RECENT_MAX - 1);
            let ended = object(&[
                ("client", Client(report.peer)),
                ("name", name(report.name.as_bytes())),
                ("kind", Word(direction_word(report.direction))),
                ("outcome", Word(outcome)),
                ("bytes", Number(report.bytes)),
                ("waited", Seconds(wait)),
                ("running", Seconds(report.running)),
            ]);
            recent.push_front((now, ended));
        }
        if let Outcome::Refused(refusal) = report.outcome {
            add(&mut self.refusals, refusal);
        }
        self.wait.add(micros(wait));
        if report.negotiated.is_none() {
            return;
        }
        self.first_answer.add(micros(report.pending));
        if let Some(round_trip) = report.round_trip {
            self.round_trip.add(micros(round_trip));
        }
        if matches!(
            report.outcome,
            Outcome::Complete | Outcome::CompleteUnconfirmed
        ) {
            self.uploads += u64::from(report.direction == Direction::Write);
            let running = micros(report.running);
            self.service.add(running);
            self.size.add(report.bytes);
            let rate = u128::from(report.bytes) * 1_000_000 / u128::from(running.max(1));
            self.rate.add(u64::try_from(rate).unwrap_or(u64::MAX));
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn add<T: PartialEq>(counters: &mut Vec<(T, u64)>, what: T) {
    match counters.iter_mut().find(|(of, _)| *of == what) {
        Some((_, count)) => *count += 1,
        None => counters.push((what, 1)),
    }
}

/// How many values were at most as large as each of some bounds.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [u64],
    /// Of the bounds, in that of the values.
    unit: u64,
    /// One for each bound, and the others.
    pub counts: [u64; BUCKETS_MAX + 1],
    pub sum: u64,
}

impl Histogram {
    fn new(bounds: &'static [u64], unit: u64) -> Histogram {
        Histogram {
            bounds,
            unit,
            counts: [0; BUCKETS_MAX + 1],
            sum: 0,
        }
    }

    pub(super) fn bounds(&self) -> impl Iterator<Item = u64> {
        self.bounds.iter().map(|bound| bound * self.unit)
    }

    fn add(&mut self, value: u64) {
        let place = self.bounds().take_while(|&bound| bound < value).count();
        self.counts[place] += 1;
        self.sum = self.sum.saturating_add(value);
    }
}

/// Requests that came to their end and are remembered.
const RECENT_MAX: usize = 32;

const BUCKETS_MAX: usize = 12;

/// Milliseconds: from what nobody notices to what no firmware waits for.
const SPANS: &[u64; BUCKETS_MAX] = &[
    1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000,
];
/// Microseconds: from one switch to a satellite.
const ROUND_TRIPS: &[u64] = &[
    100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000,
];
/// Bytes: from a configuration file to an image.
const SIZES: &[u64] = &[
    512,
    4 << 10,
    32 << 10,
    128 << 10,
    1 << 20,
    4 << 20,
    16 << 20,
    64 << 20,
    256 << 20,
    1 << 30,
];
/// Kilobytes a second: from a satellite to 10 Gbit/s.
const RATES: &[u64] = &[
    10, 100, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_for_the_first_bound_that_is_not_below_it() {
        let mut histogram = Histogram::new(SIZES, 1);
        for value in [0, 512, 513, 1 << 30, (1 << 30) + 1, u64::MAX] {
            histogram.add(value);
        }
        assert_eq!(histogram.counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0]);
        assert_eq!(histogram.sum, u64::MAX);
    }
}
