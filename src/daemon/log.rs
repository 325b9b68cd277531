//! Writes events to the log: every line of the server goes through [`Log::write`].
//!
//! Lines are bounded in number, and a log that takes no more lines never stops the loop. What lines there are
//! stands in `events`, what they say in `lines`.

use std::io::Write;
use std::time::Duration;

use env_logger::{Builder, Target};
use log::{LevelFilter, log, log_enabled};

use super::budget::{Budget, Rate};
use super::events::{Drops, LogEvent};
use crate::config::LogFormat;
use crate::moment::Moment;
use crate::os::clock::unix_time;
use crate::os::lines::LogLines;
use crate::server::Stats;

/// Starts the log. Without a wish of the operator, `RUST_LOG` decides; without that, there is one line for each
/// transfer.
pub(super) fn start(verbosity: usize, format: LogFormat, mut lines: LogLines) {
    if format == LogFormat::Json {
        lines.write_json();
    }
    let mut builder = Builder::new();
    match verbosity {
        0 => drop(builder.filter_level(LevelFilter::Info).parse_default_env()),
        1 => drop(builder.parse_filters("ripple_tftpd=debug")),
        _ => drop(builder.parse_filters("trace")),
    }
    let lines = Target::Pipe(Box::new(lines));
    builder.target(lines).format(move |to, record| {
        let is_ours = record.target().starts_with(module_path!());
        if format == LogFormat::Text || is_ours {
            return writeln!(to, "{} {}", record.level(), record.args());
        }
        let json = LogEvent::Library(record).json(unix_time(), "");
        writeln!(to, "{} {json}", record.level())
    });
    builder.init();
}

/// The log of a running server: it knows how much was written lately.
#[derive(Debug)]
pub(super) struct Log {
    format: LogFormat,
    /// One for each [`Rate`] that has one.
    budgets: [Budget; 4],
    /// Who the server is, for those who wonder why a file is refused.
    user: String,
    /// What was counted when the last line about drops was written, and when the next one may be.
    reported: Stats,
    /// Requests that were dropped since, as too many names were being looked up.
    pub(super) names_dropped: u64,
    report_at: Moment,
}

impl Log {
    /// A log with nothing written yet.
    pub(super) fn new(now: Moment, format: LogFormat) -> Log {
        Log {
            format,
            budgets: Rate::LINES_PER_SECOND.map(|lines| Budget::new(now, lines)),
            user: String::new(),
            reported: Stats::default(),
            names_dropped: 0,
            report_at: now,
        }
    }

    /// Writes an event, unless its level is off or there were too many of its kind lately.
    pub(super) fn write(&mut self, now: Moment, event: &LogEvent<'_>) {
        let (level, rate, _) = event.says();
        if !log_enabled!(level) {
            return;
        }
        if let Some(budget) = self.budgets.get_mut(rate as usize) {
            let Some(suppressed) = budget.take(now) else {
                return;
            };
            self.suppressed(suppressed);
        }
        self.line(event);
    }

    fn line(&self, event: &LogEvent<'_>) {
        let line = match self.format {
            LogFormat::Text => event.text(&self.user),
            LogFormat::Json => event.json(unix_time(), &self.user),
        };
        log!(event.says().0, "{line}");
    }

    fn suppressed(&self, lines: u64) {
        if lines > 0 {
            self.line(&LogEvent::Suppressed(lines));
        }
    }

    /// Writes what is left of the privileges of a process that is `user` now, which refusals name from now on; `None`
    /// if it stayed who it was.
    pub(super) fn confined(&mut self, user: Option<&str>, (uid, gid): (u32, u32), sandbox: &str) {
        self.user = match user {
            Some(user) => format!("user {user}"),
            None => format!("user {uid}:{gid}"),
        };
        self.line(&LogEvent::Confined { user, sandbox });
    }

    /// Writes what was dropped in silence since the last such line, if it is time for one.
    pub(super) fn drops(&mut self, now: Moment, stats: &Stats) {
        if now < self.report_at {
            return;
        }
        let last = &self.reported;
        let drops = Drops {
            denied: stats.denied - last.denied,
            client_full: stats.client_full - last.client_full,
            malformed: stats.malformed() - last.malformed(),
            names: self.names_dropped,
            withheld: stats.withheld - last.withheld,
        };
        if drops == Drops::default() {
            return;
        }
        self.line(&LogEvent::Dropped(drops));
        self.reported = *stats;
        self.names_dropped = 0;
        self.report_at = now + DROPS_EVERY;
    }

    /// Writes what the server did in its life, and how many lines are still unaccounted for.
    pub(super) fn stopped(&self, stats: &Stats) {
        for budget in &self.budgets {
            self.suppressed(budget.suppressed);
        }
        self.line(&LogEvent::Stopped(stats));
    }
}

/// How often drops are reported: anybody can cause them.
const DROPS_EVERY: Duration = Duration::from_secs(60);
