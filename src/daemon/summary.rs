//! What a storm was like, in one line once it is over: only what was measured.

use std::time::Duration;

use super::field::Value::{Absent, Number, Seconds};
use super::field::{Field, number};
use super::metrics::{Metrics, Traffic};
use crate::moment::Moment;
use crate::os::usage::processor_time;
use crate::server::{Server, Standing, Stats};

/// Watches for storms: times in which somebody waits.
#[derive(Debug)]
pub(super) struct Summary {
    slots: usize,
    storm: Option<Storm>,
}

/// One under way, or just over.
#[derive(Debug)]
struct Storm {
    began: Moment,
    /// When it was looked at last, and how many waited and ran then.
    seen: (Moment, usize, usize),
    /// Somebody waited until then.
    waited_until: Moment,
    /// For how long somebody waited, and how long slots were idle meanwhile, all added up.
    waiting: Duration,
    idle_slots: Duration,
    peak: usize,
    /// What had been counted before, and complete uploads.
    before: (Stats, Traffic, u64),
    /// The processor time used while somebody waited, if the system says.
    processor: Option<(Duration, Duration)>,
}

/// What the line says.
#[derive(Clone, Copy, Debug)]
pub(super) struct StormReport {
    /// From the first who waited until nobody did.
    pub lasted: Duration,
    /// Transfers that were complete meanwhile, how many of them were uploads, and all that had waited.
    pub complete: u64,
    pub uploads: u64,
    pub waited: u64,
    pub longest_wait: Duration,
    /// How many waited at a time.
    pub peak: usize,
    pub retransmissions: u64,
    pub sent_datagrams: u64,
    /// While somebody waited, in percent: slots in use, and processor time; `None` if that is not known.
    pub slots_used: u64,
    pub processor: Option<u64>,
    pub disk_waits: u64,
    pub full_sockets: u64,
}

impl StormReport {
    pub(super) fn fields(&self) -> Vec<Field<'static>> {
        vec![
            ("lasted", Seconds(self.lasted)),
            ("complete", Number(self.complete)),
            ("uploads", Number(self.uploads)),
            ("waited", Number(self.waited)),
            ("peak", number(self.peak)),
            ("longest_wait", Seconds(self.longest_wait)),
            ("retransmissions", Number(self.retransmissions)),
            ("sent_datagrams", Number(self.sent_datagrams)),
            ("slots_used_percent", Number(self.slots_used)),
            ("processor_percent", self.processor.map_or(Absent, Number)),
            ("disk_waits", Number(self.disk_waits)),
            ("full_sockets", Number(self.full_sockets)),
        ]
    }
}

impl Summary {
    pub(super) fn new(slots: usize) -> Summary {
        Summary { slots, storm: None }
    }

    /// Looks at the server. Returns a report when a storm is over, else when to look again at the latest.
    pub(super) fn look(
        &mut self,
        now: Moment,
        server: &Server,
        metrics: &mut Metrics,
    ) -> Result<Option<Moment>, StormReport> {
        let waiting = server.pending() + server.held();
        let running = server.running();
        if waiting == 0 && self.storm.is_none() {
            return Ok(None);
        }
        let new = || Storm::new(now, server, metrics);
        let storm = self.storm.get_or_insert_with(new);
        let (seen_at, waited, ran) = storm.seen;
        if waited > 0 {
            let span = now.since(seen_at);
            let idle = u32::try_from(self.slots.saturating_sub(ran)).unwrap_or(u32::MAX);
            storm.waiting += span;
            storm.idle_slots = storm.idle_slots.saturating_add(span.saturating_mul(idle));
            storm.waited_until = now;
            if waiting == 0
                && let (Some((_, until)), Ok(time)) = (&mut storm.processor, processor_time())
            {
                *until = time;
            }
        }
        storm.seen = (now, waiting, running);
        storm.peak = storm.peak.max(waiting);
        let over_at = storm.waited_until + CALM;
        if waiting > 0 || now < over_at {
            return Ok((waiting == 0).then_some(over_at));
        }
        let report = storm.report(self.slots, now, server, metrics);
        self.storm = None;
        Err(report)
    }
}

impl Storm {
    fn new(now: Moment, server: &Server, metrics: &mut Metrics) -> Storm {
        metrics.waited = 0;
        metrics.longest_wait = Duration::ZERO;
        Storm {
            began: now,
            seen: (now, 0, 0),
            waited_until: now,
            waiting: Duration::ZERO,
            idle_slots: Duration::ZERO,
            peak: 0,
            before: (*server.stats(), metrics.traffic, metrics.uploads),
            processor: processor_time().ok().map(|time| (time, time)),
        }
    }

    fn report(&self, slots: usize, now: Moment, server: &Server, metrics: &Metrics) -> StormReport {
        let (before, traffic, uploads) = self.before;
        let (after, traffic_after) = (server.stats(), metrics.traffic);
        let lasted = self.waited_until.since(self.began);
        // Some of those who waited may still run.
        let mut longest_wait = metrics.longest_wait;
        let mut waited = metrics.waited;
        for (phase, report) in server.clients(now).take(slots * 4) {
            let wait = report.pending + report.held;
            if phase != Standing::Pending && wait > Duration::ZERO {
                waited += 1;
                longest_wait = longest_wait.max(wait);
            }
        }
        let all_slots = self.waiting.as_micros() * slots as u128;
        let idle = percent(self.idle_slots.as_micros(), all_slots).unwrap_or(0);
        let processor = self
            .processor
            .map(|(from, until)| until.saturating_sub(from));
        StormReport {
            lasted,
            complete: after.completed - before.completed,
            uploads: metrics.uploads - uploads,
            waited,
            longest_wait,
            peak: self.peak,
            retransmissions: after.retransmissions - before.retransmissions,
            sent_datagrams: traffic_after.sent_datagrams - traffic.sent_datagrams,
            slots_used: 100 - idle.min(100),
            processor: processor.and_then(|time| percent(time.as_micros(), lasted.as_micros())),
            disk_waits: traffic_after.disk_waits - traffic.disk_waits,
            full_sockets: traffic_after.full_sockets - traffic.full_sockets,
        }
    }
}

fn percent(part: u128, whole: u128) -> Option<u64> {
    let percent = (100 * part + whole / 2).checked_div(whole)?;
    u64::try_from(percent).ok()
}

/// So long nobody waits before a storm counts as over.
const CALM: Duration = Duration::from_secs(10);
