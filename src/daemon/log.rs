//! Writes events to the log: every line of the server goes through [`Log::write`].
//!
//! Lines are bounded in number, and a log that takes no more lines never stops the loop. What lines there are
//! stands in `events`, their words in `text`.

use env_logger::{Builder, Target};
use log::{LevelFilter, log, log_enabled};

use super::budget::Budget;
use super::events::{Drops, LogEvent, Rate};
use super::record::record;
use super::text::Text;
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
    builder.target(lines).format(move |line, record| {
        use std::io::Write;
        match format {
            LogFormat::Json if !record.target().starts_with(module_path!()) => {
                let library = LogEvent::Library(record);
                writeln!(
                    line,
                    "{} {}",
                    record.level(),
                    super::record::record(unix_time(), &library, "")
                )
            }
            LogFormat::Json | LogFormat::Text => {
                writeln!(line, "{} {}", record.level(), record.args())
            }
        }
    });
    builder.init();
}

/// The log of a running server: it knows how much was written lately.
#[derive(Debug)]
pub(super) struct Log {
    format: LogFormat,
    warnings: Budget,
    transfers: Budget,
    unvalidated: Budget,
    details: Budget,
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
            warnings: Budget::new(now, WARNINGS_PER_SECOND),
            transfers: Budget::new(now, TRANSFERS_PER_SECOND),
            unvalidated: Budget::new(now, UNVALIDATED_PER_SECOND),
            details: Budget::new(now, DETAILS_PER_SECOND),
            user: String::new(),
            reported: Stats::default(),
            names_dropped: 0,
            report_at: now,
        }
    }

    /// Writes an event, unless its level is off or there were too many of its kind lately.
    pub(super) fn write(&mut self, now: Moment, event: &LogEvent<'_>) {
        let (level, rate) = event.class();
        if !log_enabled!(level) {
            return;
        }
        let budget = match rate {
            Rate::Unlimited => return self.line(event),
            Rate::Warning => &mut self.warnings,
            Rate::Transfer => &mut self.transfers,
            Rate::Unvalidated => &mut self.unvalidated,
            Rate::Detail => &mut self.details,
        };
        if let Some(suppressed) = budget.take(now) {
            self.suppressed(suppressed);
            self.line(event);
        }
    }

    fn line(&self, event: &LogEvent<'_>) {
        let (event, user) = (*event, &*self.user);
        match self.format {
            LogFormat::Text => log!(event.class().0, "{}", Text { event, user }),
            LogFormat::Json => log!(event.class().0, "{}", record(unix_time(), &event, user)),
        }
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
        for budget in [
            &self.warnings,
            &self.transfers,
            &self.unvalidated,
            &self.details,
        ] {
            self.suppressed(budget.suppressed);
        }
        self.line(&LogEvent::Stopped(stats));
    }
}

/// Enough to see what goes wrong; a flood of bad requests must not fill a disk.
const WARNINGS_PER_SECOND: u32 = 20;
/// Clients that never acknowledged anything: anybody can forge a request.
const UNVALIDATED_PER_SECOND: u32 = 20;
/// Faster than any real boot storm ends transfers.
const TRANSFERS_PER_SECOND: u32 = 2000;
/// Of each kind that `-v` adds: enough for a boot storm, and to find one machine in a flood.
const DETAILS_PER_SECOND: u32 = 1000;
/// How often drops are reported: anybody can cause them.
const DROPS_EVERY: std::time::Duration = std::time::Duration::from_secs(60);
