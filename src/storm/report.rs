//! The table that a person reads.

use std::fmt::{self, Display, Formatter};

use crate::results::{Quantiles, Results};
use crate::seat::Seat;

/// A row: a title and its text.
fn row(f: &mut Formatter<'_>, name: &str, text: impl Display) -> fmt::Result {
    writeln!(f, "{name:<14}{text}")
}

impl Display for Results<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let order = self.order;
        writeln!(
            f,
            "{} machines fetch {} from {}, seed {}{}\n",
            self.seats.len(),
            order.wanted.title,
            order.server,
            order.seed,
            if self.was_interrupted {
                "; interrupted"
            } else {
                ""
            }
        )?;
        let kinds = self
            .kinds
            .iter()
            .map(|(kind, count)| format!("{} {count}", kind.name()));
        row(f, "machines", joined(kinds))?;
        row(f, "booted", self.booted)?;
        let failed: usize = self.failed.values().sum();
        let reasons = self
            .failed
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"));
        row(f, "failed", with_details(failed, reasons))?;
        if 0 < self.unfinished {
            row(f, "unfinished", self.unfinished)?;
        }
        if order.retry {
            row(f, "restarts", self.restarts)?;
        }
        writeln!(
            f,
            "\n{:14}{:>10} {:>10} {:>10} {:>10}",
            "seconds to", "p50", "p90", "p99", "max"
        )?;
        quantiles(f, "first data", self.first_data)?;
        quantiles(f, "boot", self.boot)?;
        writeln!(f)?;
        let time = format!(
            "{:.3} s from the first power-on to the last end",
            self.makespan.as_secs_f64()
        );
        row(f, "time", time)?;
        let goodput = format!(
            "{} of completed boots, {}/s",
            bytes(self.useful_bytes as f64),
            bytes(self.goodput())
        );
        row(f, "goodput", goodput)?;
        let counts = self.counts;
        let blocks = format!(
            "{} received: {} duplicates ({:.2} %), {} out of order, {} late",
            counts.blocks,
            counts.duplicates,
            100.0 * counts.duplicates as f64 / counts.blocks.max(1) as f64,
            counts.out_of_order,
            counts.late,
        );
        row(f, "blocks", blocks)?;
        if 0 < counts.lost {
            row(
                f,
                "lost",
                format!("{} datagrams on purpose, both ways", counts.lost),
            )?;
        }
        let own = format!(
            "{:.2} s of CPU; while datagrams came {:.0} % of a processor, and {:.0} % waiting for one",
            self.own.seconds,
            100.0 * self.own.share,
            100.0 * self.own.share_waited
        );
        row(f, "tftp-storm", own)?;
        if let Some(process) = &self.process {
            let per_gigabyte = process.seconds / (counts.bytes.max(1) as f64 / 1e9);
            let text = format!(
                "{:.2} s of CPU ({per_gigabyte:.1} s per GB), at most {} in {} process{}",
                process.seconds,
                bytes(process.peak_memory as f64),
                process.peak_processes,
                if process.peak_processes == 1 {
                    ""
                } else {
                    "es"
                }
            );
            row(f, "server", text)?;
        }
        if let Some(view) = &self.server {
            let text = format!(
                "at most {} of {} slots taken and {} waiting; {} complete, {} failed, {} refused, {} of {} \
                 datagrams retransmitted",
                view.most_running(),
                view.slots(),
                view.most_waiting(),
                view.grown("complete"),
                view.grown("failed"),
                view.grown("refused"),
                view.grown("retransmissions"),
                view.grown("sent_datagrams"),
            );
            row(f, "it says", text)?;
        }
        self.warnings(f)
    }
}

impl Results<'_> {
    fn warnings(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some((seat, wrong)) = self
            .seats
            .iter()
            .find_map(|seat| Some((seat, seat.wrong.as_ref()?)))
        {
            let Seat { planned, .. } = seat;
            writeln!(
                f,
                "\nWrong bytes: the first are of {} {}, at byte {} of '{}'.",
                planned.kind.name(),
                planned.address,
                wrong.position,
                wrong.file
            )?;
        }
        if self.own.was_bottleneck() {
            let who = if self.own.share < self.own.share_waited {
                "this computer was too busy"
            } else {
                "tftp-storm itself was the bottleneck"
            };
            writeln!(f, "\nWarning: {who}. The server may be faster than this.")?;
        }
        if 0 < self.counts.troubles {
            writeln!(
                f,
                "\nWarning: the system refused to open a socket, or to send, {} times.",
                self.counts.troubles
            )?;
        }
        Ok(())
    }
}

fn quantiles(f: &mut Formatter<'_>, name: &str, quantiles: Option<Quantiles>) -> fmt::Result {
    match quantiles {
        None => row(f, name, "         -"),
        Some(Quantiles { p50, p90, p99, max }) => {
            let text = format!("{p50:>10.3} {p90:>10.3} {p99:>10.3} {max:>10.3}");
            row(f, name, text)
        }
    }
}

fn with_details(count: usize, details: impl Iterator<Item = String>) -> String {
    let details = joined(details);
    if details.is_empty() {
        count.to_string()
    } else {
        format!("{count}: {details}")
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<String>>().join(", ")
}

/// With a unit that leaves few digits.
pub(crate) fn bytes(count: f64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    match units.iter().find(|(_, size)| *size <= count) {
        Some((unit, size)) => format!("{:.1} {unit}", count / size),
        None => format!("{count:.0} bytes"),
    }
}
