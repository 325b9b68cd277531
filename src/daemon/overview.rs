//! The server as it is at one moment, for everybody who shows it: statistics, the control socket, the log.

use std::cmp::Reverse;
use std::time::Duration;

use super::field::Value::{Absent, Client, Json, Number, Seconds, Word};
use super::field::{Field, name, number, text};
use super::json::{list, object, with};
use super::metrics::Metrics;
use super::words::{direction_word, stage_word};
use crate::moment::Moment;
use crate::server::{Count, Limits, Report, Server, Standing, Stats};

/// Numbers of the whole, and a bounded number of clients.
#[derive(Debug)]
pub(super) struct Overview<'a> {
    pub uptime: Duration,
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
        limits: &'a Limits,
        server: &'a Server,
        metrics: &'a Metrics,
        rows: usize,
    ) -> Overview<'a> {
        let (mut served, mut waiting) = (Vec::new(), Vec::new());
        let mut oldest_wait = Duration::ZERO;
        for (phase, report) in server.clients(now).take(SCANNED_MAX) {
            let row = Row { phase, report };
            let list = match phase {
                Standing::Pending | Standing::Held => {
                    oldest_wait = oldest_wait.max(row.span());
                    &mut waiting
                }
                Standing::Running | Standing::Lent | Standing::Finishing => &mut served,
                Standing::Overtaken => continue,
            };
            if list.len() >= 2 * rows {
                leave_longest(list, rows);
            }
            list.push(row);
        }
        leave_longest(&mut served, rows);
        leave_longest(&mut waiting, rows);
        Overview {
            uptime: now.since(Moment::START),
            limits,
            count: server.count(),
            stats: server.stats(),
            metrics,
            oldest_wait,
            served,
            waiting,
            now,
        }
    }

    /// As JSON: what `GET /status` answers.
    pub(super) fn json(&self) -> String {
        let rows = |rows: &[Row<'_>]| list(rows.iter().map(|row| object(&row.fields())));
        let (served, waiting) = (rows(&self.served), rows(&self.waiting));
        let ended = self.metrics.recent.iter().flatten();
        let ended = list(ended.map(|(at, ended)| {
            let ago = self.now.since(*at);
            with(ended.clone(), &[("ago", Seconds(ago))])
        }));
        let lists = [
            ("served", Json(served)),
            ("waiting", Json(waiting)),
            ("ended", Json(ended)),
        ];
        with(object(&self.fields()), &lists)
    }

    /// The numbers of the whole.
    pub(super) fn fields(&self) -> Vec<Field<'_>> {
        let Overview { count, stats, .. } = self;
        let traffic = self.metrics.traffic;
        let mut fields = vec![
            ("version", text(env!("CARGO_PKG_VERSION"))),
            ("uptime", Seconds(self.uptime)),
            ("slots", number(self.limits.max_transfers)),
            ("running", number(count.running)),
            ("lent", number(count.lent)),
            ("finishing", number(count.shown_as_finishing())),
            ("pending", number(count.pending)),
            ("held", number(count.held)),
            ("max_pending", number(self.limits.max_pending)),
            ("oldest_wait", Seconds(self.oldest_wait)),
            ("sent_bytes", Number(traffic.sent_bytes)),
            ("received_bytes", Number(traffic.received_bytes)),
            ("sent_datagrams", Number(traffic.sent_datagrams)),
            ("received_datagrams", Number(traffic.received_datagrams)),
            ("retransmissions", Number(stats.retransmissions)),
        ];
        fields.extend(totals(stats));
        fields
    }
}

/// What became of all requests since the start.
pub(super) fn totals(stats: &Stats) -> Vec<Field<'static>> {
    vec![
        ("requests", Number(stats.requests)),
        ("repeats", Number(stats.repeats)),
        ("complete", Number(stats.completed)),
        ("cancelled", Number(stats.cancelled)),
        ("replaced", Number(stats.replaced)),
        ("failed", Number(stats.failed)),
        ("refused", Number(stats.refused)),
        ("dropped", Number(stats.dropped())),
        ("withheld", Number(stats.withheld)),
    ]
}

impl Row<'_> {
    /// What lists are sorted by: how long it has waited, or been served.
    fn span(&self) -> Duration {
        match self.phase {
            Standing::Pending | Standing::Held => self.report.pending + self.report.held,
            _ => self.report.running,
        }
    }

    pub(super) fn fields(&self) -> Vec<Field<'_>> {
        let report = &self.report;
        let round_trip = report.round_trip.map(|it| it.as_micros());
        let millis = round_trip.map(|it| format!("{}.{:03}", it / 1000, it % 1000));
        let mut fields = vec![
            ("client", Client(report.peer)),
            ("name", name(report.name.as_bytes())),
            ("kind", Word(direction_word(report.direction))),
            ("stage", Word(stage_word(self.phase))),
            ("waited", Seconds(report.pending + report.held)),
            ("running", Seconds(report.running)),
            ("bytes", Number(report.bytes)),
            ("retransmissions", Number(report.retransmissions)),
            ("size", report.length.map_or(Absent, Number)),
            ("_millis", millis.map_or(Absent, text)),
        ];
        fields.extend(terms(report));
        fields
    }
}

/// What is known of the way to a client, and was agreed with it.
pub(super) fn terms(report: &Report<'_>) -> [Field<'static>; 3] {
    let agreed = report.negotiated;
    let windowsize = agreed.map_or(Absent, |agreed| number(agreed.windowsize));
    [
        ("round_trip", report.round_trip.map_or(Absent, Seconds)),
        (
            "blksize",
            agreed.map_or(Absent, |agreed| number(agreed.blksize)),
        ),
        ("windowsize", windowsize),
    ]
}

/// Leaves the `most` rows with the longest spans. Of equal spans the lower address is first, so that rows keep their places
/// on a screen.
fn leave_longest(rows: &mut Vec<Row<'_>>, most: usize) {
    rows.sort_unstable_by_key(|row| {
        (
            Reverse(row.span()),
            row.report.peer.address,
            row.report.peer.port,
        )
    });
    rows.truncate(most);
}

/// Clients that one look may take: two milliseconds. With more than this the oldest wait and the lists are of these.
const SCANNED_MAX: usize = 32_768;

/// Rows of each list for the control socket.
pub(super) const ROWS_MAX: usize = 128;
