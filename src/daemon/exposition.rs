//! Statistics in the text format of Prometheus (exposition formats, version 0.0.4).

use std::fmt::{Display, Write};
use std::time::Duration;

use super::json::Seconds;
use super::metrics::{Histogram, Metrics};
use super::overview::Overview;
use super::words::{direction_word, refusal_word};
use crate::os::usage::{Usage, processor_time};
use crate::server::Stats;

/// All statistics.
pub(super) fn exposition(of: &Overview<'_>, usage: &Usage) -> String {
    let mut to = Exposition {
        text: String::with_capacity(16 << 10),
        help: "",
    };
    to.clients(of);
    to.requests(of.stats, of.metrics);
    to.packets(of.stats, of.metrics);
    to.histograms(of.metrics);
    to.process(of.started, usage);
    to.text
}

/// The text under way. Nothing stops it from growing.
struct Exposition {
    text: String,
    /// What the next family is.
    help: &'static str,
}

impl Exposition {
    fn clients(&mut self, of: &Overview<'_>) {
        let count = of.count;
        self.help = "Transfers that may run at full speed at a time (-n).";
        self.gauge("slots", of.limits.max_transfers);
        self.help = "Clients by stage.";
        self.family("clients", "gauge");
        for (stage, clients) in [
            ("pending", count.pending),
            ("held", count.held),
            ("running", count.running),
            ("lent", count.lent),
            ("finishing", count.shown_as_finishing()),
        ] {
            self.sample(format_args!("clients{{stage=\"{stage}\"}}"), clients);
        }
        self.help = "Requests that may wait (-q).";
        self.gauge("queue_limit", of.limits.max_pending);
        self.help = "How long the client that has waited longest has waited.";
        self.gauge("oldest_wait_seconds", Seconds(of.oldest_wait));
    }

    fn requests(&mut self, stats: &Stats, metrics: &Metrics) {
        self.help = "Requests that were neither malformed nor repeats.";
        self.counter("requests", stats.requests);
        self.help = "Repeats of a request that waits or is served.";
        self.counter("repeated_requests", stats.repeats);
        self.help = "Requests that came to their end, by outcome.";
        self.family("transfers_total", "counter");
        for ((direction, outcome), count) in &metrics.outcomes {
            let kind = direction_word(*direction).0;
            let labels = format!("kind=\"{kind}\",outcome=\"{outcome}\"");
            self.sample(format_args!("transfers_total{{{labels}}}"), count);
        }
        self.help = "Requests answered with an ERROR, by its code and the reason.";
        self.family("refusals_total", "counter");
        for (refusal, count) in &metrics.refusals {
            let (code, reason) = (refusal.code(), refusal_word(*refusal).0);
            let labels = format!("code=\"{code}\",reason=\"{reason}\"");
            self.sample(format_args!("refusals_total{{{labels}}}"), count);
        }
        self.help = "Datagrams dropped in silence, by reason.";
        self.family("dropped_datagrams_total", "counter");
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
            let sample = format_args!("dropped_datagrams_total{{reason=\"{reason}\"}}");
            self.sample(sample, count);
        }
        self.help = "Answers not sent to unvalidated addresses.";
        self.counter("withheld_answers", stats.withheld);
    }

    fn packets(&mut self, stats: &Stats, metrics: &Metrics) {
        let traffic = metrics.traffic;
        self.help = "Bytes of files sent, repeats included.";
        self.counter("sent_bytes", traffic.sent_bytes);
        self.help = "Bytes of files received.";
        self.counter("received_bytes", traffic.received_bytes);
        self.help = "Datagrams sent.";
        self.counter("sent_datagrams", traffic.sent_datagrams);
        self.help = "Datagrams received.";
        self.counter("received_datagrams", traffic.received_datagrams);
        self.help = "Datagrams sent more than once.";
        self.counter("retransmitted_datagrams", stats.retransmissions);
        self.help = "Sends that waited for a disk.";
        self.counter("disk_waits", traffic.disk_waits);
        self.help = "Sends that waited for room in a socket.";
        self.counter("full_sockets", traffic.full_sockets);
    }

    fn histograms(&mut self, metrics: &Metrics) {
        self.help = "Time from a request to the first packet of its answer.";
        self.histogram("first_answer_seconds", &metrics.first_answer);
        self.help = "Time that a request waited for a slot, kept alive or not.";
        self.histogram("wait_seconds", &metrics.wait);
        self.help = "Time that a complete transfer ran.";
        self.histogram("service_seconds", &metrics.service);
        self.help = "Usual round trip of a client at the end of its transfer.";
        self.histogram("round_trip_seconds", &metrics.round_trip);
        self.help = "Size of a complete transfer.";
        self.histogram("transfer_size_bytes", &metrics.size);
        self.help = "Rate of a complete transfer.";
        self.histogram("transfer_rate_bytes_per_second", &metrics.rate);
    }

    /// What the system does not say is left out.
    fn process(&mut self, started: Duration, usage: &Usage) {
        self.help = "When the server was started, since 1970.";
        self.gauge("start_time_seconds", Seconds(started));
        if let Ok(time) = processor_time() {
            self.help = "Processor time used.";
            self.counter("cpu_seconds", Seconds(time));
        }
        if let Some(bytes) = usage.resident() {
            self.help = "Resident memory.";
            self.gauge("resident_memory_bytes", bytes);
        }
        if let Some(descriptors) = usage.descriptors() {
            self.help = "Open descriptors.";
            self.gauge("open_fds", descriptors);
        }
        if let Some(most) = usage.descriptors_max {
            self.help = "Descriptors that may be open.";
            self.gauge("max_fds", most);
        }
        self.help = "The version, as a label.";
        self.family("build_info", "gauge");
        let version = env!("CARGO_PKG_VERSION");
        self.sample(format_args!("build_info{{version=\"{version}\"}}"), 1);
    }

    fn gauge(&mut self, name: &str, value: impl Display) {
        self.family(name, "gauge");
        self.sample(name, value);
    }

    /// The name ends in `_total`, as those of counters do.
    fn counter(&mut self, name: &str, value: impl Display) {
        let name = format!("{name}_total");
        self.family(&name, "counter");
        self.sample(name, value);
    }

    fn histogram(&mut self, name: &str, of: &Histogram) {
        self.family(name, "histogram");
        // The unit is in the name; spans are counted in microseconds.
        let text = |value| match name.ends_with("_seconds") {
            true => Seconds(Duration::from_micros(value)).to_string(),
            false => value.to_string(),
        };
        let bounds = of.bounds.iter().map(|&bound| {
            let bound = text(bound);
            match bound.contains('.') {
                true => bound.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => bound,
            }
        });
        let mut count = 0;
        for (bound, new) in bounds.chain(["+Inf".to_owned()]).zip(of.counts) {
            count += new;
            self.sample(format_args!("{name}_bucket{{le=\"{bound}\"}}"), count);
        }
        self.sample(format_args!("{name}_sum"), text(of.sum));
        self.sample(format_args!("{name}_count"), count);
    }

    fn family(&mut self, name: &str, kind: &str) {
        let help = self.help;
        let _ = write!(
            self.text,
            "# HELP tftpd_{name} {help}\n# TYPE tftpd_{name} {kind}\n"
        );
    }

    fn sample(&mut self, name: impl Display, value: impl Display) {
        let _ = writeln!(self.text, "tftpd_{name} {value}");
    }
}
