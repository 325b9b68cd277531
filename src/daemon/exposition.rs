//! Statistics in the text format of Prometheus (exposition formats, version 0.0.4).

use std::fmt::{Display, Write};
use std::time::Duration;

use super::json::Seconds;
use super::metrics::Histogram;
use super::overview::Overview;
use super::words::{direction_word, refusal_word};
use crate::os::usage::{Usage, processor_time};

/// All statistics.
pub(super) fn exposition(of: &Overview<'_>, usage: &Usage) -> String {
    let mut to = String::with_capacity(16 << 10);
    clients(&mut to, of);
    requests(&mut to, of);
    packets(&mut to, of);
    histograms(&mut to, of);
    process(&mut to, of, usage);
    to
}

fn clients(to: &mut String, of: &Overview<'_>) {
    let count = of.count;
    gauge(
        to,
        "slots",
        "Transfers that may run at full speed at a time (-n).",
        of.limits.max_transfers,
    );
    family(to, "clients", "gauge", "Clients by stage.");
    for (stage, clients) in [
        ("pending", count.pending),
        ("held", count.held),
        ("running", count.running),
        ("lent", count.lent),
        ("finishing", count.shown_as_finishing()),
    ] {
        sample(to, "clients", &format!("stage=\"{stage}\""), clients);
    }
    gauge(
        to,
        "queue_limit",
        "Requests that may wait (-q).",
        of.limits.max_pending,
    );
    gauge(
        to,
        "oldest_wait_seconds",
        "How long the client that has waited longest has waited.",
        Seconds(of.oldest_wait),
    );
}

fn requests(to: &mut String, of: &Overview<'_>) {
    let stats = of.stats;
    counter(
        to,
        "requests",
        "Requests that were neither malformed nor repeats.",
        stats.requests,
    );
    counter(
        to,
        "repeated_requests",
        "Repeats of a request that waits or is served.",
        stats.repeats,
    );
    family(
        to,
        "transfers_total",
        "counter",
        "Requests that came to their end, by outcome.",
    );
    for ((direction, outcome), count) in &of.metrics.outcomes {
        let kind = direction_word(*direction);
        let labels = format!("kind=\"{kind}\",outcome=\"{outcome}\"");
        sample(to, "transfers_total", &labels, count);
    }
    family(
        to,
        "refusals_total",
        "counter",
        "Requests answered with an ERROR, by its code and the reason.",
    );
    for (refusal, count) in &of.metrics.refusals {
        let labels = format!(
            "code=\"{}\",reason=\"{}\"",
            refusal.code(),
            refusal_word(*refusal)
        );
        sample(to, "refusals_total", &labels, count);
    }
    family(
        to,
        "dropped_datagrams_total",
        "counter",
        "Datagrams dropped in silence, by reason.",
    );
    for (reason, count) in [
        ("denied", stats.denied),
        ("client_full", stats.client_full),
        ("queue_full", stats.queue_full),
        ("unanswered", stats.unanswered),
        ("stopping", stats.stopping),
        ("short", stats.short),
        ("misplaced", stats.misplaced),
        ("unterminated", stats.unterminated),
        ("oversized", stats.oversized),
        ("unanswerable", stats.unanswerable),
    ] {
        sample(
            to,
            "dropped_datagrams_total",
            &format!("reason=\"{reason}\""),
            count,
        );
    }
    counter(
        to,
        "withheld_answers",
        "Answers not sent to unvalidated addresses.",
        stats.withheld,
    );
}

fn packets(to: &mut String, of: &Overview<'_>) {
    let traffic = of.metrics.traffic;
    let again = of.stats.retransmissions;
    #[rustfmt::skip]
    let counters = [
        ("sent_bytes", "Bytes of files sent, repeats included.", traffic.sent_bytes),
        ("received_bytes", "Bytes of files received.", traffic.received_bytes),
        ("sent_datagrams", "Datagrams sent.", traffic.sent_datagrams),
        ("received_datagrams", "Datagrams received.", traffic.received_datagrams),
        ("retransmitted_datagrams", "Datagrams sent more than once.", again),
        ("disk_waits", "Sends that waited for a disk.", traffic.disk_waits),
        ("full_sockets", "Sends that waited for room in a socket.", traffic.full_sockets),
    ];
    for (name, help, count) in counters {
        counter(to, name, help, count);
    }
}

fn histograms(to: &mut String, of: &Overview<'_>) {
    let metrics = of.metrics;
    #[rustfmt::skip]
    let spans = [
        ("first_answer_seconds", "Time from a request to the first packet of its answer.", &metrics.first_answer),
        ("wait_seconds", "Time that a request waited for a slot, kept alive or not.", &metrics.wait),
        ("service_seconds", "Time that a complete transfer ran.", &metrics.service),
        ("round_trip_seconds", "Usual round trip of a client at the end of its transfer.", &metrics.round_trip),
    ];
    for (name, help, of) in spans {
        histogram(to, name, help, of, |micros| {
            Seconds(Duration::from_micros(micros)).to_string()
        });
    }
    #[rustfmt::skip]
    let bytes = [
        ("transfer_size_bytes", "Size of a complete transfer.", &metrics.size),
        ("transfer_rate_bytes_per_second", "Rate of a complete transfer.", &metrics.rate),
    ];
    for (name, help, of) in bytes {
        histogram(to, name, help, of, |bytes| bytes.to_string());
    }
}

fn process(to: &mut String, of: &Overview<'_>, usage: &Usage) {
    gauge(
        to,
        "start_time_seconds",
        "When the server was started, since 1970.",
        Seconds(of.started),
    );
    if let Ok(time) = processor_time() {
        counter(to, "cpu_seconds", "Processor time used.", Seconds(time));
    }
    let used = [
        (
            "resident_memory_bytes",
            "Resident memory.",
            usage.resident(),
        ),
        ("open_fds", "Open descriptors.", usage.descriptors()),
        (
            "max_fds",
            "Descriptors that may be open.",
            usage.descriptors_max,
        ),
    ];
    for (name, help, number) in used {
        if let Some(number) = number {
            gauge(to, name, help, number);
        }
    }
    family(to, "build_info", "gauge", "The version, as a label.");
    let version = concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"");
    sample(to, "build_info", version, 1);
}

fn gauge(to: &mut String, name: &str, help: &str, value: impl Display) {
    family(to, name, "gauge", help);
    sample(to, name, "", value);
}

/// The name ends in `_total`, as those of counters do.
fn counter(to: &mut String, name: &str, help: &str, value: impl Display) {
    let name = format!("{name}_total");
    family(to, &name, "counter", help);
    sample(to, &name, "", value);
}

fn histogram(
    to: &mut String,
    name: &str,
    help: &str,
    of: &Histogram,
    text: impl Fn(u64) -> String,
) {
    family(to, name, "histogram", help);
    let mut count = 0;
    let bucket = format!("{name}_bucket");
    for (place, new) in of.counts[..=of.bounds.len()].iter().enumerate() {
        count += new;
        let mut labels = String::from("le=\"");
        match of.bounds.get(place) {
            Some(&bound) => {
                let bound = text(bound);
                labels += match bound.contains('.') {
                    true => bound.trim_end_matches('0').trim_end_matches('.'),
                    false => &bound,
                };
            }
            None => labels += "+Inf",
        }
        labels.push('"');
        sample(to, &bucket, &labels, count);
    }
    sample(to, &format!("{name}_sum"), "", text(of.sum));
    sample(to, &format!("{name}_count"), "", count);
}

// Nothing stops a string from growing.

fn family(to: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(
        to,
        "# HELP tftpd_{name} {help}\n# TYPE tftpd_{name} {kind}\n"
    );
}

fn sample(to: &mut String, name: &str, labels: &str, value: impl Display) {
    let _ = match labels {
        "" => writeln!(to, "tftpd_{name} {value}"),
        _ => writeln!(to, "tftpd_{name}{{{labels}}} {value}"),
    };
}
