//! A run in numbers: what the table and the JSON show.

use std::collections::BTreeMap;
use std::time::Duration;

use ripple_tftpd::firmware::{Kind, Reason};
use ripple_tftpd::moment::Moment;
use serde_json::{Value, json};

use crate::fleet::Counts;
use crate::options::Order;
use crate::run::Run;
use crate::seat::{Failure, Fate, Seat};
use crate::server_view::ServerView;

/// All numbers of a rehearsal.
pub(crate) struct Results<'r> {
    pub(crate) order: &'r Order,
    pub(crate) seats: &'r [Seat],
    pub(crate) counts: Counts,
    pub(crate) kinds: Vec<(Kind, usize)>,
    pub(crate) booted: usize,
    /// How many machines failed for good, by reason.
    pub(crate) failed: BTreeMap<String, usize>,
    pub(crate) unfinished: usize,
    pub(crate) restarts: u64,
    pub(crate) first_data: Option<Quantiles>,
    pub(crate) boot: Option<Quantiles>,
    /// From the first power-on to the last end of a boot.
    pub(crate) makespan: Duration,
    /// Bytes of the boots that were completed.
    pub(crate) useful_bytes: u64,
    pub(crate) ended: Moment,
    pub(crate) was_interrupted: bool,
    pub(crate) own: Own,
    pub(crate) process: Option<Process>,
    pub(crate) server: Option<ServerView>,
}

/// What this program used up.
pub(crate) struct Own {
    pub(crate) seconds: f64,
    /// Of a processor, while datagrams came.
    pub(crate) share: f64,
    /// Of that time, waiting for a processor that others had.
    pub(crate) share_waited: f64,
}

impl Own {
    /// A faster computer, or an idle one, would have made the storm shorter.
    pub(crate) fn was_bottleneck(&self) -> bool {
        BUSY_MAX < self.share + self.share_waited
    }
}

/// What the server used up.
pub(crate) struct Process {
    pub(crate) seconds: f64,
    pub(crate) peak_memory: u64,
    pub(crate) peak_processes: usize,
}

/// How a quantity is distributed, in seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl<'r> Results<'r> {
    pub(crate) fn of(order: &'r Order, run: &'r mut Run) -> Results<'r> {
        let process = run.process.as_mut().map(|process| Process {
            seconds: process.processor_time().as_secs_f64(),
            peak_memory: process.peak_memory,
            peak_processes: process.peak_processes,
        });
        let seats = run.fleet.seats.as_slice();
        let since_on = |seat: &Seat, at: Moment| at.since(seat.planned.on_at).as_secs_f64();
        let booted = || seats.iter().filter(|seat| seat.fate == Fate::Booted);
        let mut failed = BTreeMap::new();
        for seat in seats {
            if let Fate::Failed(failure) = seat.fate {
                *failed.entry(failure.text()).or_insert(0) += 1;
            }
        }
        let first_on = seats.iter().map(|seat| seat.planned.on_at).min();
        let last = seats
            .iter()
            .map(|seat| seat.ended.unwrap_or(run.ended))
            .max();
        let of_kind = |kind| {
            let all = seats.iter().filter(|seat| seat.planned.kind == kind);
            (kind, all.count())
        };
        Results {
            order,
            seats,
            counts: run.fleet.counts,
            kinds: Kind::ALL
                .into_iter()
                .map(of_kind)
                .filter(|&(_, count)| 0 < count)
                .collect(),
            booted: booted().count(),
            unfinished: seats
                .iter()
                .filter(|seat| seat.fate == Fate::UnderWay)
                .count(),
            failed,
            restarts: seats
                .iter()
                .map(|seat| u64::from(seat.machine.restarts()))
                .sum(),
            first_data: Quantiles::of(
                seats
                    .iter()
                    .filter_map(|seat| Some(since_on(seat, seat.first_data?)))
                    .collect(),
            ),
            boot: Quantiles::of(
                booted()
                    .filter_map(|seat| Some(since_on(seat, seat.ended?)))
                    .collect(),
            ),
            makespan: match (first_on, last) {
                (Some(first), Some(last)) => last.since(first),
                _ => Duration::ZERO,
            },
            useful_bytes: booted().map(|seat| seat.bytes).sum(),
            ended: run.ended,
            was_interrupted: run.was_interrupted,
            own: Own {
                seconds: run.own.total().as_secs_f64(),
                share: run.own.share(),
                share_waited: run.own.share_waited(),
            },
            process,
            server: run.server.take(),
        }
    }

    pub(crate) fn all_booted(&self) -> bool {
        self.booted == self.seats.len()
    }

    /// Bytes of completed boots per second.
    pub(crate) fn goodput(&self) -> f64 {
        let seconds = self.makespan.as_secs_f64();
        if seconds == 0.0 {
            return 0.0;
        }
        self.useful_bytes as f64 / seconds
    }

    pub(crate) fn json(&self) -> Value {
        let kinds: serde_json::Map<String, Value> = self
            .kinds
            .iter()
            .map(|&(kind, count)| (crate::values::short_name(kind), count.into()))
            .collect();
        json!({
            "server": self.order.server.to_string(),
            "fetched": self.order.wanted.title,
            "seed": self.order.seed,
            "clients": self.seats.len(),
            "kinds": kinds,
            "arrival_seconds": self.order.arrival.as_secs_f64(),
            "loss_percent": self.order.loss.percent,
            "retry": self.order.retry,
            "verified": self.order.verify.is_some(),
            "interrupted": self.was_interrupted,
            "seconds": self.makespan.as_secs_f64(),
            "booted": self.booted,
            "failed": self.failed,
            "unfinished": self.unfinished,
            "restarts": self.restarts,
            "first_data_seconds": self.first_data.map(Quantiles::json),
            "boot_seconds": self.boot.map(Quantiles::json),
            "useful_bytes": self.useful_bytes,
            "goodput_bytes_per_second": self.goodput(),
            "datagrams": {
                "received": self.counts.received,
                "sent": self.counts.sent,
                "lost_on_purpose": self.counts.lost,
                "blocks": self.counts.blocks,
                "new_bytes": self.counts.bytes,
                "duplicates": self.counts.duplicates,
                "out_of_order": self.counts.out_of_order,
                "late": self.counts.late,
                "troubles": self.counts.troubles,
            },
            "own_cpu_seconds": self.own.seconds,
            "own_cpu_share": self.own.share,
            "own_cpu_share_waited": self.own.share_waited,
            "was_bottleneck": self.own.was_bottleneck(),
            "server_process": self.process.as_ref().map(|process| json!({
                "cpu_seconds": process.seconds,
                "peak_memory_bytes": process.peak_memory,
                "peak_processes": process.peak_processes,
            })),
            "server_view": self.server.as_ref().map(ServerView::json),
            "machines": self.seats.iter().map(machine).collect::<Vec<Value>>(),
        })
    }
}

fn machine(seat: &Seat) -> Value {
    let seconds = |at: Moment| at.since(Moment::START).as_secs_f64();
    let outcome = match seat.fate {
        Fate::UnderWay => "unfinished".to_owned(),
        Fate::Booted => "booted".to_owned(),
        Fate::Failed(failure) => failure.text(),
    };
    json!({
        "kind": crate::values::short_name(seat.planned.kind),
        "address": seat.planned.address.to_string(),
        "switched_on": seconds(seat.planned.on_at),
        "first_data": seat.first_data.map(seconds),
        "ended": seat.ended.map(seconds),
        "outcome": outcome,
        "restarts": seat.machine.restarts(),
        "bytes": seat.bytes,
    })
}

impl Quantiles {
    fn of(mut seconds: Vec<f64>) -> Option<Quantiles> {
        seconds.sort_by(f64::total_cmp);
        let last = seconds.len().checked_sub(1)?;
        let at = |hundredths: usize| seconds[(last * hundredths).div_ceil(100)];
        Some(Quantiles {
            p50: at(50),
            p90: at(90),
            p99: at(99),
            max: at(100),
        })
    }

    fn json(self) -> Value {
        json!({ "p50": self.p50, "p90": self.p90, "p99": self.p99, "max": self.max })
    }
}

impl Failure {
    /// In a few words.
    pub(crate) fn text(self) -> String {
        let reason = match self {
            Failure::WrongBytes => "wrong bytes",
            Failure::Firmware(reason) => match reason {
                Reason::NoReply => "no reply to a request",
                Reason::Silence => "silence during a transfer",
                Reason::FileClock => "a file took too long",
                Reason::ServerError(code) => return format!("error {code} from the server"),
                Reason::NoConfiguration => "no configuration found",
                Reason::BadOption => "an option it does not take",
                Reason::SecondOack => "a second OACK",
                Reason::BadBlock => "a block it does not take",
                Reason::WrongPort => "a packet from another port",
                Reason::Unreachable => "server port unreachable",
                Reason::WrongSize => "wrong size",
            },
        };
        reason.to_owned()
    }
}

/// Above this, the storm was as fast as we were.
const BUSY_MAX: f64 = 0.9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        assert_eq!(Quantiles::of(Vec::new()), None);
        let all = Quantiles::of((0..101).rev().map(f64::from).collect()).expect("values");
        let expected = Quantiles {
            p50: 50.0,
            p90: 90.0,
            p99: 99.0,
            max: 100.0,
        };
        assert_eq!(all, expected);
    }
}
