//! The server as it is at one moment, for everybody who shows it: statistics, the control socket, the log.

use std::cmp::Reverse;
use std::time::Duration;

use super::json::Object;
use super::metrics::{Metrics, Recent};
use super::words::{direction_word, outcome_word, phase_word};
use crate::moment::Moment;
use crate::server::{Count, Limits, Report, Server, Standing, Stats};

/// Numbers of the whole, and a bounded number of clients.
#[derive(Debug)]
pub(super) struct Overview<'a> {
    pub uptime: Duration,
    /// When it was started, since 1970.
    pub started: Duration,
    pub limits: &'a Limits,
    pub count: Count,
    pub stats: &'a Stats,
    pub metrics: &'a Metrics,
    pub oldest_wait: Duration,
    /// Those who are served, longest first, and those who wait, longest first.
    pub served: Vec<Row<'a>>,
    pub waiting: Vec<Row<'a>>,
    now: Moment,
}

/// A client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub phase: Standing,
    pub report: Report<'a>,
}

impl<'a> Overview<'a> {
    /// Looks at the server, at most at [`SCANNED_MAX`] clients, and keeps `rows` of each list.
    pub(super) fn new(
        now: Moment,
        started: Duration,
        limits: &'a Limits,
        server: &'a Server,
        metrics: &'a Metrics,
        rows: usize,
    ) -> Overview<'a> {
        let (mut served, mut waiting) = (Longest::new(rows), Longest::new(rows));
        let mut oldest_wait = Duration::ZERO;
        for (phase, report) in server.clients(now).take(SCANNED_MAX) {
            let row = Row { phase, report };
            match phase {
                Standing::Pending | Standing::Held => {
                    let wait = report.pending + report.held;
                    oldest_wait = oldest_wait.max(wait);
                    waiting.add(wait, row);
                }
                Standing::Running | Standing::Lent | Standing::Finishing => {
                    served.add(report.running, row);
                }
                Standing::Overtaken => {}
            }
        }
        Overview {
            uptime: now.since(Moment::START),
            started,
            limits,
            count: server.count(),
            stats: server.stats(),
            metrics,
            oldest_wait,
            served: served.rows(),
            waiting: waiting.rows(),
            now,
        }
    }

    /// As JSON: what `GET /status` answers.
    pub(super) fn json(&self) -> String {
        let mut text = String::with_capacity(16 << 10);
        let mut to = Object::new(&mut text);
        self.write_numbers(&mut to);
        to.list("served", &self.served, |to, row| row.write(to))
            .list("waiting", &self.waiting, |to, row| row.write(to))
            .list("ended", self.metrics.recent.iter().rev(), |to, ended| {
                self.write_ended(to, ended);
            });
        to.end();
        text
    }

    /// The numbers of the whole.
    pub(super) fn write_numbers(&self, to: &mut Object<'_>) {
        let Overview { count, stats, .. } = self;
        let traffic = self.metrics.traffic;
        to.text("version", env!("CARGO_PKG_VERSION"))
            .seconds("uptime", self.uptime)
            .number("slots", self.limits.max_transfers)
            .number("running", count.running)
            .number("lent", count.lent)
            .number("finishing", count.shown_as_finishing())
            .number("pending", count.pending)
            .number("held", count.held)
            .number("max_pending", self.limits.max_pending)
            .seconds("oldest_wait", self.oldest_wait)
            .number("sent_bytes", traffic.sent_bytes)
            .number("received_bytes", traffic.received_bytes)
            .number("sent_datagrams", traffic.sent_datagrams)
            .number("received_datagrams", traffic.received_datagrams)
            .number("retransmissions", stats.retransmissions);
        write_totals(to, stats);
    }

    fn write_ended(&self, to: &mut Object<'_>, ended: &Recent) {
        to.client(ended.peer)
            .name(&ended.name)
            .text("kind", direction_word(ended.direction))
            .text("outcome", outcome_word(ended.outcome))
            .number("bytes", ended.bytes)
            .seconds("waited", ended.waited)
            .seconds("running", ended.running)
            .seconds("ago", self.now.since(ended.at));
    }
}

/// What became of all requests since the start.
pub(super) fn write_totals<'o, 'a>(to: &'o mut Object<'a>, stats: &Stats) -> &'o mut Object<'a> {
    to.number("requests", stats.requests)
        .number("repeats", stats.repeats)
        .number("complete", stats.completed)
        .number("cancelled", stats.cancelled)
        .number("replaced", stats.replaced)
        .number("failed", stats.failed)
        .number("refused", stats.refused)
        .number("dropped", stats.dropped())
        .number("withheld", stats.withheld)
}

impl Row<'_> {
    /// Its fields, in JSON.
    pub(super) fn write(&self, to: &mut Object<'_>) {
        let report = &self.report;
        to.client(report.peer)
            .name(report.name.as_bytes())
            .text("kind", direction_word(report.direction))
            .text("stage", phase_word(self.phase))
            .seconds("waited", report.pending + report.held)
            .seconds("running", report.running)
            .number("bytes", report.bytes)
            .number("retransmissions", report.retransmissions);
        if let Some(length) = report.length {
            to.number("size", length);
        }
        write_terms(to, report);
    }
}

/// What is known of the way to a client, and was agreed with it.
pub(super) fn write_terms(to: &mut Object<'_>, report: &Report<'_>) {
    if let Some(round_trip) = report.round_trip {
        to.seconds("round_trip", round_trip);
    }
    if let Some(negotiated) = report.negotiated {
        to.number("blksize", negotiated.blksize)
            .number("windowsize", negotiated.windowsize);
    }
}

/// The rows with the longest spans, of any number of them.
struct Longest<'a> {
    most: usize,
    rows: Vec<(Duration, Row<'a>)>,
}

impl<'a> Longest<'a> {
    fn new(most: usize) -> Longest<'a> {
        let rows = Vec::with_capacity(2 * most);
        Longest { most, rows }
    }

    fn add(&mut self, span: Duration, row: Row<'a>) {
        if self.rows.len() == 2 * self.most {
            self.sort();
        }
        self.rows.push((span, row));
    }

    /// Of equal spans the lower address is first, so that rows keep their places on a screen.
    fn sort(&mut self) {
        self.rows.sort_by_key(|&(span, Row { report, .. })| {
            (Reverse(span), report.peer.address, report.peer.port)
        });
        self.rows.truncate(self.most);
    }

    fn rows(mut self) -> Vec<Row<'a>> {
        self.sort();
        self.rows.into_iter().map(|(_, row)| row).collect()
    }
}

/// Clients that one look may take: two milliseconds. With more than this the oldest wait and the lists are of these.
const SCANNED_MAX: usize = 32_768;

/// Rows of each list for the control socket.
pub(super) const ROWS_MAX: usize = 128;
