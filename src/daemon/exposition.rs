//! Statistics in the text format of Prometheus (exposition formats, version 0.0.4): a table of families, most of which
//! show fields.

use std::fmt::{Display, Write};
use std::time::Duration;

use super::field::Value::{Absent, Number, Seconds};
use super::field::{Field, number};
use super::json;
use super::metrics::Histogram;
use super::overview::Overview;
use super::words::{direction_word, refusal_word};
use crate::os::usage::{Usage, processor_time};

/// All statistics. The process was started at `started`, since 1970.
pub(super) fn exposition(of: &Overview<'_>, started: Duration, usage: &Usage) -> String {
    let (stats, metrics) = (of.stats, of.metrics);
    let mut fields = of.fields();
    fields.extend([
        ("denied", Number(stats.denied)),
        ("client_full", Number(stats.client_full)),
        ("queue_full", Number(stats.queue_full)),
        ("unanswered", Number(stats.unanswered)),
        ("stopping", Number(stats.stopping)),
        ("short", Number(stats.short)),
        ("misplaced", Number(stats.misplaced)),
        ("unterminated", Number(stats.unterminated)),
        ("oversized", Number(stats.oversized)),
        ("unanswerable", Number(stats.unanswerable)),
        ("disk_waits", Number(metrics.traffic.disk_waits)),
        ("full_sockets", Number(metrics.traffic.full_sockets)),
        ("started", Seconds(started)),
        ("processor", processor_time().map_or(Absent, Seconds)),
        ("memory", usage.resident().map_or(Absent, number)),
        ("open_fds", usage.descriptors().map_or(Absent, number)),
        ("max_fds", usage.descriptors_max.map_or(Absent, number)),
    ]);
    let mut to = Exposition(String::with_capacity(16 << 10));
    for family in FAMILIES {
        let name = to.family(family, &fields);
        match name {
            "transfers_total" => {
                for ((direction, outcome), count) in &metrics.outcomes {
                    let kind = direction_word(*direction).0;
                    let labels = format_args!("kind=\"{kind}\",outcome=\"{outcome}\"");
                    to.sample(&format_args!("{name}{{{labels}}}"), count);
                }
            }
            "refusals_total" => {
                for (refusal, count) in &metrics.refusals {
                    let (code, reason) = (refusal.code(), refusal_word(*refusal).0);
                    let labels = format_args!("code=\"{code}\",reason=\"{reason}\"");
                    to.sample(&format_args!("{name}{{{labels}}}"), count);
                }
            }
            "first_answer_seconds" => to.histogram(name, &metrics.first_answer),
            "wait_seconds" => to.histogram(name, &metrics.wait),
            "service_seconds" => to.histogram(name, &metrics.service),
            "round_trip_seconds" => to.histogram(name, &metrics.round_trip),
            "transfer_size_bytes" => to.histogram(name, &metrics.size),
            "transfer_rate_bytes_per_second" => to.histogram(name, &metrics.rate),
            "build_info" => {
                let version = env!("CARGO_PKG_VERSION");
                to.sample(&format_args!("{name}{{version=\"{version}\"}}"), &1);
            }
            _ => {}
        }
    }
    to.0
}

/// The text under way. Nothing stops it from growing.
struct Exposition(String);

impl Exposition {
    /// Begins a family of the table, with the fields that it shows, and returns its name. What the system does not say is
    /// left out.
    fn family(&mut self, family: &'static str, fields: &[Field<'_>]) -> &'static str {
        let (words, help) = family.split_once(": ").unwrap_or_default();
        let mut words = words.split(' ');
        let (name, kind) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let (name, label) = name.split_once('/').unwrap_or((name, ""));
        let begin = self.0.len();
        self.0 += &format!("# HELP tftpd_{name} {help}\n# TYPE tftpd_{name} {kind}\n");
        for field in words {
            match (value(fields, field), label) {
                (Some(value), "") => self.sample(&name, &value),
                (Some(value), _) => {
                    self.sample(&format_args!("{name}{{{label}=\"{field}\"}}"), &value);
                }
                (None, _) => self.0.truncate(begin),
            }
        }
        name
    }

    fn histogram(&mut self, name: &str, of: &Histogram) {
        // The unit is in the name; spans are counted in microseconds.
        let text = |value| match name.ends_with("_seconds") {
            true => json::Seconds(Duration::from_micros(value)).to_string(),
            false => value.to_string(),
        };
        let bounds = of.bounds().map(|bound| {
            let bound = text(bound);
            match bound.contains('.') {
                true => bound.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => bound,
            }
        });
        let mut count = 0;
        for (bound, new) in bounds.chain(["+Inf".to_owned()]).zip(of.counts) {
            count += new;
            self.sample(&format_args!("{name}_bucket{{le=\"{bound}\"}}"), &count);
        }
        self.sample(&format_args!("{name}_sum"), &text(of.sum));
        self.sample(&format_args!("{name}_count"), &count);
    }

    fn sample(&mut self, name: &dyn Display, value: &dyn Display) {
        let _ = writeln!(self.0, "tftpd_{name} {value}");
    }
}

fn value(fields: &[Field<'_>], name: &str) -> Option<String> {
    match fields.iter().find(|(key, _)| *key == name)? {
        (_, Number(number)) => Some(number.to_string()),
        (_, Seconds(span)) => Some(json::Seconds(*span).to_string()),
        _ => None,
    }
}

/// Families: each with its label, if it has one, its type, the fields that it shows, and its help. What is no field is
/// added to it by [`exposition`].
const FAMILIES: &[&str] = &[
    "slots gauge slots: Transfers that may run at full speed at a time (-n).",
    "clients/stage gauge pending held running lent finishing: Clients by stage.",
    "queue_limit gauge max_pending: Requests that may wait (-q).",
    "oldest_wait_seconds gauge oldest_wait: How long the client that has waited longest has waited.",
    "requests_total counter requests: Requests that were neither malformed nor repeats.",
    "repeated_requests_total counter repeats: Repeats of a request that waits or is served.",
    "transfers_total counter: Requests that came to their end, by outcome.",
    "refusals_total counter: Requests answered with an ERROR, by its code and the reason.",
    "dropped_datagrams_total/reason counter denied client_full queue_full unanswered stopping short misplaced \
     unterminated oversized unanswerable: Datagrams dropped in silence, by reason.",
    "withheld_answers_total counter withheld: Answers not sent to unvalidated addresses.",
    "sent_bytes_total counter sent_bytes: Bytes of files sent, repeats included.",
    "received_bytes_total counter received_bytes: Bytes of files received.",
    "sent_datagrams_total counter sent_datagrams: Datagrams sent.",
    "received_datagrams_total counter received_datagrams: Datagrams received.",
    "retransmitted_datagrams_total counter retransmissions: Datagrams sent more than once.",
    "disk_waits_total counter disk_waits: Sends that waited for a disk.",
    "full_sockets_total counter full_sockets: Sends that waited for room in a socket.",
    "first_answer_seconds histogram: Time from a request to the first packet of its answer.",
    "wait_seconds histogram: Time that a request waited for a slot, kept alive or not.",
    "service_seconds histogram: Time that a complete transfer ran.",
    "round_trip_seconds histogram: Usual round trip of a client at the end of its transfer.",
    "transfer_size_bytes histogram: Size of a complete transfer.",
    "transfer_rate_bytes_per_second histogram: Rate of a complete transfer.",
    "start_time_seconds gauge started: When the server was started, since 1970.",
    "cpu_seconds_total counter processor: Processor time used.",
    "resident_memory_bytes gauge memory: Resident memory.",
    "open_fds gauge open_fds: Open descriptors.",
    "max_fds gauge max_fds: Descriptors that may be open.",
    "build_info gauge: The version, as a label.",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::metrics::Metrics;
    use crate::moment::Moment;
    use crate::server::{Limits, Server};

    /// A field that is misspelt in the table would be left out in silence.
    #[test]
    fn every_family_shows_all_its_fields() {
        let (limits, metrics) = (Limits::default(), Metrics::new(false));
        let server = Server::new(Moment::START, limits);
        let overview = Overview::new(Moment::START, &limits, &server, &metrics, 1);
        let text = exposition(&overview, Duration::from_secs(1), &Usage::open());
        for family in FAMILIES {
            let (words, help) = family.split_once(": ").expect("words and help");
            let mut words = words.split(' ');
            let name = words.next().expect("a name");
            let (name, label) = name.split_once('/').unwrap_or((name, ""));
            // Linux says it since 6.2.
            if name == "open_fds" {
                continue;
            }
            let kind = words.next().expect("a type");
            let head = format!("# HELP tftpd_{name} {help}\n# TYPE tftpd_{name} {kind}\n");
            assert!(text.contains(&head), "{head}");
            for field in words {
                let sample = match label {
                    "" => format!("\ntftpd_{name} "),
                    _ => format!("\ntftpd_{name}{{{label}=\"{field}\"}} "),
                };
                assert!(text.contains(&sample), "{sample}");
            }
        }
    }
}
