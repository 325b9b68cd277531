//! What the rehearsal costs: our own processor time, and that of a server on this machine with its
//! memory and its children, from /proc (proc(5)).

use std::collections::HashMap;
use std::time::Duration;
use std::{fs, io};

use ripple_tftpd::moment::Moment;
use ripple_tftpd::os::clock::Clock;
use ripple_tftpd::os::usage::processor_time;

/// Our own processor time, while there was something to do.
#[derive(Debug)]
pub(crate) struct OwnTime {
    at: Moment,
    used: Duration,
    received: u64,
    /// Of the spans in which datagrams came.
    busy: Duration,
    busy_used: Duration,
    busy_waited: Duration,
    total_used: Duration,
    /// Ready to run, but another process had the processor.
    waited: Duration,
}

impl OwnTime {
    pub(crate) fn start(now: Moment) -> io::Result<OwnTime> {
        Ok(OwnTime {
            at: now,
            used: processor_time()?,
            received: 0,
            busy: Duration::ZERO,
            busy_used: Duration::ZERO,
            busy_waited: Duration::ZERO,
            waited: waited_for_processor(),
            total_used: Duration::ZERO,
        })
    }

    pub(crate) fn sample(&mut self, now: Moment, received: u64) -> io::Result<()> {
        let (used, waited) = (processor_time()?, waited_for_processor());
        let span_used = used.saturating_sub(self.used);
        self.total_used += span_used;
        if self.received < received {
            self.busy += now.since(self.at);
            self.busy_used += span_used;
            self.busy_waited += waited.saturating_sub(self.waited);
        }
        (self.at, self.used, self.waited, self.received) = (now, used, waited, received);
        Ok(())
    }

    /// Processor time from the first to the last moment.
    pub(crate) fn total(&self) -> Duration {
        self.total_used
    }

    /// The share of one processor while datagrams came.
    pub(crate) fn share(&self) -> f64 {
        self.of_busy(self.busy_used)
    }

    /// The share of that time in which there was none to be had.
    pub(crate) fn share_waited(&self) -> f64 {
        self.of_busy(self.busy_waited)
    }

    fn of_busy(&self, part: Duration) -> f64 {
        if self.busy.is_zero() {
            return 0.0;
        }
        part.as_secs_f64() / self.busy.as_secs_f64()
    }
}

/// For how long this thread was ready to run and did not; nothing where the kernel does not count that.
fn waited_for_processor() -> Duration {
    schedstat("/proc/thread-self/schedstat", WAITED)
}

/// A field of a thread's statistics, or nothing.
fn schedstat(path: &str, field: usize) -> Duration {
    let text = fs::read_to_string(path).unwrap_or_default();
    let nanos = text.split_whitespace().nth(field);
    let nanos = nanos.and_then(|number| number.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// In nanoseconds, as the next one.
const RUN: usize = 0;
const WAITED: usize = 1;

/// A server's process and its children, now and then.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    root: u32,
    look_at: Moment,
    /// Processor time that each process has used, as last seen.
    seen: HashMap<u32, Duration>,
    /// What was used before we began.
    before: Duration,
    with_reaped: Duration,
    pub(crate) peak_memory: u64,
    pub(crate) peak_processes: usize,
}

/// What /proc/PID/stat says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Process {
    id: u32,
    parent: u32,
    used: Duration,
    /// By children that have ended and were waited for.
    reaped: Duration,
}

impl ServerProcess {
    /// Begins with what it has used so far.
    pub(crate) fn look_at(root: u32) -> io::Result<ServerProcess> {
        let mut process = ServerProcess {
            root,
            look_at: Moment::START,
            seen: HashMap::new(),
            before: Duration::ZERO,
            with_reaped: Duration::ZERO,
            peak_memory: 0,
            peak_processes: 0,
        };
        process.look();
        if process.peak_processes == 0 {
            let why = format!("there is no process {root}");
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        process.before = process.used();
        Ok(process)
    }

    /// Looks again, if the last look is long enough ago. A look at thousands of processes takes long, and must
    /// not become what we do most of the time.
    pub(crate) fn sample(&mut self, clock: &Clock) {
        let now = clock.now();
        if self.look_at <= now {
            self.look();
            let cost = clock.now().since(now);
            self.look_at = now + (cost * LOOK_SHARE).max(LOOK);
        }
    }

    /// Looks once more, and returns the processor time that was used since the beginning.
    pub(crate) fn processor_time(&mut self) -> Duration {
        self.look();
        self.used().saturating_sub(self.before)
    }

    /// Children that are gone are counted as last seen, or as their parent counts them, whichever is
    /// more: some servers never ask what became of them.
    fn used(&self) -> Duration {
        self.seen.values().sum::<Duration>().max(self.with_reaped)
    }

    fn look(&mut self) {
        let mut family = family(self.root, &all());
        for process in &mut family {
            // Finer than ticks, but of the first thread only. Children that live shortly use less than a tick.
            let path = format!("/proc/{}/schedstat", process.id);
            process.used = process.used.max(schedstat(&path, RUN));
        }
        let Some(root) = family.first() else { return };
        if root.id != self.root {
            return;
        }
        self.with_reaped = family.iter().map(|it| it.used + it.reaped).sum();
        self.seen.extend(family.iter().map(|it| (it.id, it.used)));
        let sizes: Vec<(u64, u64)> = family.iter().filter_map(|it| memory(it.id)).collect();
        // What is shared is there once.
        let own: u64 = sizes
            .iter()
            .map(|(resident, shared)| resident.saturating_sub(*shared))
            .sum();
        let shared = sizes.iter().map(|&(_, shared)| shared).max().unwrap_or(0);
        self.peak_memory = self.peak_memory.max((own + shared) * PAGE);
        self.peak_processes = self.peak_processes.max(family.len());
    }
}

/// A process, the first, and all that descend from it.
fn family(root: u32, all: &[Process]) -> Vec<Process> {
    let mut family: Vec<Process> = all.iter().filter(|it| it.id == root).copied().collect();
    let mut place = 0;
    while let Some(parent) = family.get(place).map(|it| it.id) {
        family.extend(
            all.iter()
                .filter(|it| it.parent == parent && it.id != parent),
        );
        place += 1;
    }
    family
}

fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let processes = entries.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        let id: u32 = name.to_str()?.parse().ok()?;
        process(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
    });
    processes.collect()
}

/// `PID (name) state parent ...`, where the name may hold anything.
fn process(stat: &str) -> Option<Process> {
    let id = stat.split(' ').next()?.parse().ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // The fields are numbered from 1, and the third one, the state, is our first.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = |number| {
        Some(Duration::from_millis(
            field(number)? * 1000 / TICKS_PER_SECOND,
        ))
    };
    Some(Process {
        id,
        parent: u32::try_from(field(4)?).ok()?,
        used: ticks(14)? + ticks(15)?,
        reaped: ticks(16)? + ticks(17)?,
    })
}

/// Pages resident, and of these pages shared.
fn memory(id: u32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{id}/statm")).ok()?;
    let mut fields = text.split_whitespace().skip(1);
    let resident = fields.next()?.parse().ok()?;
    Some((resident, fields.next()?.parse().ok()?))
}

const LOOK: Duration = Duration::from_millis(400);
/// At most one part in this many of our time is spent on it.
const LOOK_SHARE: u32 = 20;
/// As every Linux counts for user space.
const TICKS_PER_SECOND: u64 = 100;
const PAGE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) b) (c) S 3 7 7 0 -1 0 0 0 0 0 11 12 13 14 20 0 1 0 0 0";
        let expected = Process {
            id: 7,
            parent: 3,
            used: Duration::from_millis(230),
            reaped: Duration::from_millis(270),
        };
        assert_eq!(process(stat), Some(expected));
        assert_eq!(process("7 (short) S 3"), None);
    }

    #[test]
    fn a_family_is_everybody_who_descends() {
        let of = |id, parent| Process {
            id,
            parent,
            used: Duration::ZERO,
            reaped: Duration::ZERO,
        };
        let all = [of(1, 0), of(2, 1), of(3, 2), of(4, 1), of(5, 9)];
        let ids: Vec<u32> = family(2, &all).iter().map(|it| it.id).collect();
        assert_eq!(ids, [2, 3]);
        assert_eq!(family(1, &all).len(), 4);
        assert!(family(8, &all).is_empty());
    }
}
