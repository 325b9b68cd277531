//! Statistics for the operator: the file of `--stats`, and what the pages of the control socket say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::control::{Control, Page};
use super::events::LogEvent;
use super::exposition::exposition;
use super::log::Log;
use super::metrics::Traffic;
use super::overview::{Overview, ROWS_MAX};
use super::summary::Summary;
use super::world::World;
use crate::config::Settings;
use crate::moment::Moment;
use crate::os::clock::unix_time;
use crate::os::local;
use crate::os::poll::Poll;
use crate::os::publish::{Publisher, Target};
use crate::os::usage::Usage;
use crate::server::{Count, Limits, Server, Stats};

/// What is shown, and to whom.
#[derive(Debug)]
pub(super) struct Statistics {
    limits: Limits,
    summary: Summary,
    /// When the log had all of it last.
    shown_at: Option<Moment>,
    /// When the process was started, since 1970, and what it uses; `None` if nobody may ask.
    usage: Option<(Duration, Usage)>,
    file: Option<StatsFile>,
    control: Option<Control>,
}

#[derive(Debug)]
struct StatsFile {
    path: PathBuf,
    publisher: Publisher,
    /// What was counted when it was written last; `None` before the first time.
    written: Option<Counted>,
    write_at: Moment,
    /// It could not be written, and the log says so.
    is_failing: bool,
}

/// If this is the same, nothing has changed.
type Counted = (Stats, Traffic, Count);

impl Statistics {
    /// Opens what the operator named, while the process may; what cannot be opened is a line of the log, and the server
    /// goes on without it. Returns also where the statistics are to be written.
    pub(super) fn open(
        now: Moment,
        settings: &Settings,
        limits: Limits,
        poll: &Poll,
        log: &mut Log,
    ) -> (Statistics, Option<Target>) {
        let mut failed = |path: &Path, error| {
            let failed = LogEvent::WatchFailed(path, &error);
            log.write(now, &failed);
        };
        let usage = settings.stats.as_ref().or(settings.control.as_ref());
        let target = settings.stats.as_deref().and_then(|path| {
            let target = Target::open(path);
            target.map_err(|error| failed(path, error)).ok()
        });
        let control = settings.control.as_deref().and_then(|path| {
            let control = local::bind(path).and_then(|listener| Control::new(listener, poll));
            control.map_err(|error| failed(path, error)).ok()
        });
        let statistics = Statistics {
            limits,
            summary: Summary::new(limits.max_transfers),
            shown_at: None,
            usage: usage.map(|_| (unix_time(), Usage::open())),
            file: None,
            control,
        };
        (statistics, target)
    }

    /// From now on they are written by this thread.
    pub(super) fn write_by(&mut self, now: Moment, settings: &Settings, publisher: Publisher) {
        self.file = Some(StatsFile {
            path: settings.stats.clone().unwrap_or_default(),
            publisher,
            written: None,
            write_at: now,
            is_failing: false,
        });
    }

    /// Something moved at the control socket.
    pub(super) fn wake(&mut self) {
        if let Some(control) = &mut self.control {
            control.wake();
        }
    }

    /// The next instance may take the path of the control socket.
    pub(super) fn stopping(&mut self) {
        self.control = None;
    }

    /// Writes the file if it is time, answers who asks, and returns when there is more to do.
    pub(super) fn look(
        &mut self,
        now: Moment,
        server: &Server,
        world: &mut World,
    ) -> Option<Moment> {
        let storm_at = match self.summary.look(now, server, &mut world.metrics) {
            Ok(until) => until,
            Err(report) => {
                world.log.write(now, &LogEvent::StormOver(&report));
                None
            }
        };
        let Some((started, usage)) = &self.usage else {
            return storm_at;
        };
        let limits = &self.limits;
        let overview = |metrics, rows| Overview::new(now, limits, server, metrics, rows);
        let write_at = self.file.as_mut().and_then(|file| {
            let metrics = &world.metrics;
            let text = || exposition(&overview(metrics, 0), *started, usage);
            let counted = || (*server.stats(), metrics.traffic, server.count());
            file.write(now, counted, text, &mut world.log)
        });
        let drop_at = self.control.as_mut().and_then(|control| {
            control.serve(now, &world.poll, |page| match page {
                Page::Status => overview(&world.metrics, ROWS_MAX).json(),
                Page::Metrics => exposition(&overview(&world.metrics, 0), *started, usage),
            })
        });
        [storm_at, write_at, drop_at].into_iter().flatten().min()
    }

    /// Writes all of it to the log, at most once a second.
    pub(super) fn show(&mut self, now: Moment, server: &Server, world: &mut World) {
        if self.shown_at.is_some_and(|at| now < at + SHOW_EVERY) {
            return;
        }
        self.shown_at = Some(now);
        let (limits, metrics) = (&self.limits, &world.metrics);
        let overview = Overview::new(now, limits, server, metrics, ROWS_LOGGED);
        world.log.write(now, &LogEvent::Overview(&overview));
        for row in overview.served.iter().chain(&overview.waiting) {
            world.log.write(now, &LogEvent::Client(row));
        }
    }
}

impl StatsFile {
    /// Hands a text to the thread if it is time and something was counted since. Returns when to look again: this is
    /// asked in every turn, so the clock is looked at first.
    fn write(
        &mut self,
        now: Moment,
        counted: impl FnOnce() -> Counted,
        text: impl FnOnce() -> String,
        log: &mut Log,
    ) -> Option<Moment> {
        if now < self.write_at {
            return Some(self.write_at);
        }
        if let Some(result) = self.publisher.next() {
            match (&result, self.is_failing) {
                (Err(error), false) => log.write(now, &LogEvent::WatchFailed(&self.path, error)),
                (Ok(()), true) => log.write(now, &LogEvent::StatsWritten(&self.path)),
                _ => {}
            }
            self.is_failing = result.is_err();
        }
        // Its result wakes the loop.
        if self.publisher.under_way() > 0 {
            return None;
        }
        let counted = counted();
        if self.written == Some(counted) {
            return None;
        }
        let _ = self.publisher.ask(text());
        self.written = Some(counted);
        self.write_at = now + WRITE_EVERY;
        None
    }
}

/// Rows of each list that the log has.
const ROWS_LOGGED: usize = 20;
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// Monitoring reads it every 15 seconds or so.
const WRITE_EVERY: Duration = Duration::from_secs(2);
