//! Every log line the server writes, in one place.
//!
//! Lines are bounded in number and in length, names in them are escaped, and a log that takes no more
//! lines never stops the loop.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use std::{fmt, io};

use env_logger::{Builder, Target};
use log::{Level, LevelFilter, debug, info, log, log_enabled, warn};

use super::budget::Budget;
use crate::config::{Door, Settings};
use crate::moment::Moment;
use crate::os::files::{Astray, Files};
use crate::os::process::{LogLines, unblock_stderr};
use crate::server::{Event, Limits, Report, Stats};
use crate::transfer::Outcome;
use crate::wire::{Malformed, Peer, Refusal};

/// Starts the log on standard error. Without a wish of the operator, `RUST_LOG` decides; without that,
/// there is one line for each transfer.
pub fn start(verbosity: usize) {
    unblock_stderr();
    let mut builder = Builder::new();
    match verbosity {
        0 => drop(builder.filter_level(LevelFilter::Info).parse_default_env()),
        1 => drop(builder.parse_filters("ripple_tftpd=debug")),
        _ => drop(builder.parse_filters("trace")),
    }
    let lines = Target::Pipe(Box::new(LogLines::default()));
    builder.target(lines).format(|line, record| {
        use std::io::Write;
        writeln!(line, "{} {}", record.level(), record.args())
    });
    builder.init();
}

/// The log of a running server: it knows how much was said lately.
#[derive(Debug)]
pub struct Log {
    warnings: Budget,
    transfers: Budget,
    strangers: Budget,
    details: Budget,
    /// Who the server is, for those who wonder why a file is refused.
    user: String,
    /// What was counted when the last line told of what was dropped, and when the next one may.
    told: Stats,
    tell_at: Moment,
}

impl Log {
    /// A log with nothing said yet.
    pub fn new(now: Moment) -> Log {
        Log {
            warnings: Budget::new(now, WARNINGS_PER_SECOND),
            transfers: Budget::new(now, TRANSFERS_PER_SECOND),
            strangers: Budget::new(now, STRANGERS_PER_SECOND),
            details: Budget::new(now, DETAILS_PER_SECOND),
            user: String::new(),
            told: Stats::default(),
            tell_at: now,
        }
    }

    /// Writes down what the server reports. `rejected_by` sent the ICMP error that ended a client that had
    /// answered nothing, if the system tells.
    pub fn event(&mut self, now: Moment, event: Event<'_>, rejected_by: Option<IpAddr>) {
        match event {
            Event::Ended(report) => self.ended(now, &report, rejected_by),
            Event::Refused {
                peer,
                name,
                refusal,
            } => {
                if let Some(untold) = self.warnings.take(now) {
                    tell_untold(untold);
                    let (name, why) = (escaped(name), self.words_for_refusal(refusal));
                    warn!("{peer} \"{name}\": {why}");
                }
            }
            Event::Taken {
                peer,
                name,
                waiting,
            } => self.detail(now, || {
                let name = escaped(name.as_bytes());
                match waiting {
                    0 => format!("{peer} \"{name}\": admitted"),
                    _ => format!("{peer} \"{name}\": queued; {waiting} wait"),
                }
            }),
            Event::Nonsense { peer, malformed } => self.nonsense(now, peer, malformed),
            Event::Unanswered {
                peer,
                name,
                refusal,
            } => self.detail(now, || {
                let (name, why) = (escaped(name), refusal.message());
                format!("{peer} \"{name}\": not answered, since it asked everybody: {why}")
            }),
            Event::QueueFull { peer } => {
                self.warning(now, || {
                    format!("{peer}: dropped: the queue is full (see -q)")
                });
            }
            Event::Unreachable { peer } => self.warning(now, || format!("{peer}: no way there")),
            Event::Exhausted => {
                self.warning(now, || "out of descriptors or memory: requests wait".into());
            }
            Event::LargeBlocksLost { peer } => self.warning(now, || {
                format!(
                    "{peer}: acknowledged its options and then no block, twice in a row: a hop loses large \
                     packets? It is granted blocks of 512 bytes for 10 minutes (see -B)"
                )
            }),
            Event::FarAway { peer, round_trip } => {
                let millis = round_trip.as_millis();
                self.warning(now, || {
                    format!(
                        "{peer}: round trip {millis} ms: distance, not the network, bounds what \
                         clients so far away get together; raise -n to serve more of them at once"
                    )
                });
            }
        }
    }

    fn ended(&mut self, now: Moment, report: &Report<'_>, rejected_by: Option<IpAddr>) {
        let level = match report.outcome {
            Outcome::Cancelled | Outcome::Superseded | Outcome::Duplicate => Level::Debug,
            Outcome::ShutDown if report.negotiated.is_none() => Level::Debug,
            Outcome::Refused(_) => Level::Warn,
            Outcome::PortClosed if !report.was_answered => Level::Warn,
            Outcome::Complete
            | Outcome::CompleteUnconfirmed
            | Outcome::ClientError(_)
            | Outcome::PortClosed
            | Outcome::NoAnswer
            | Outcome::TimedOut
            | Outcome::Restarted
            | Outcome::MovedOn
            | Outcome::CrowdedOut
            | Outcome::Expired
            | Outcome::Unreachable
            | Outcome::ShutDown => Level::Info,
        };
        if !log_enabled!(level) {
            return;
        }
        // Whoever never answered anything may be nobody at all, and gets few lines.
        let has_answered = report.was_answered || report.outcome == Outcome::Cancelled;
        let budget = match report.outcome {
            Outcome::Refused(_) => &mut self.warnings,
            _ if has_answered => &mut self.transfers,
            _ => &mut self.strangers,
        };
        if let Some(untold) = budget.take(now) {
            tell_untold(untold);
            let outcome = match (report.outcome, rejected_by) {
                (Outcome::Refused(refusal), _) => self.words_for_refusal(refusal),
                (Outcome::PortClosed, Some(by)) if !report.was_answered => {
                    format!("first packet rejected by {by}")
                }
                (Outcome::PortClosed, None) if !report.was_answered => {
                    "first packet rejected".into()
                }
                (outcome, _) => words_for(outcome),
            };
            log!(level, "{}", line_of(report, &outcome));
        }
    }

    /// Writes down that packets to a client that has sent nothing are rejected, which does not end the transfer.
    pub fn rejected(&mut self, now: Moment, peer: Peer, by: IpAddr, error: &io::Error) {
        if let Some(untold) = self.strangers.take(now) {
            tell_untold(untold);
            warn!("{peer}: packets to it are rejected by {by}: {error}");
        }
    }

    /// Writes down who sent something that is no request.
    fn nonsense(&mut self, now: Moment, peer: Peer, malformed: Malformed) {
        if log_enabled!(Level::Debug)
            && let Some(untold) = self.strangers.take(now)
        {
            tell_untold(untold);
            let what = match malformed {
                Malformed::Short => "too short",
                Malformed::Opcode => "no request, which alone has a place here",
                Malformed::Name => "its name does not end",
                Malformed::Mode => "its mode is missing or does not end",
                Malformed::Oversized => "longer than any request",
                Malformed::Unanswerable => "from port 0, which no answer reaches",
            };
            debug!("{peer}: dropped a datagram: {what}");
        }
    }

    fn words_for_refusal(&self, refusal: Refusal) -> String {
        match refusal {
            Refusal::NoAccess => format!("refused: access denied to {}", self.user),
            _ => words_for(Outcome::Refused(refusal)),
        }
    }

    /// Tells what was dropped in silence since the last such line, if it is time for one.
    pub fn drops(&mut self, now: Moment, stats: &Stats) {
        let silent = |it: &Stats| it.denied + it.client_full + it.withheld + it.malformed();
        if now < self.tell_at || silent(stats) == silent(&self.told) {
            return;
        }
        warn!(
            "dropped since the last such line: {} from denied addresses, {} past --per-client-pending, \
             {} malformed; answers to strangers withheld: {}",
            stats.denied - self.told.denied,
            stats.client_full - self.told.client_full,
            stats.malformed() - self.told.malformed(),
            stats.withheld - self.told.withheld,
        );
        self.told = *stats;
        self.tell_at = now + DROPS_EVERY;
    }

    /// Writes a warning unless there were too many lately.
    pub fn warning(&mut self, now: Moment, text: impl FnOnce() -> String) {
        if let Some(untold) = self.warnings.take(now) {
            tell_untold(untold);
            warn!("{}", text());
        }
    }

    /// Writes what only somebody who asked for more wants to know, unless there were too many such lines lately.
    fn detail(&mut self, now: Moment, text: impl FnOnce() -> String) {
        if log_enabled!(Level::Debug)
            && let Some(untold) = self.details.take(now)
        {
            tell_untold(untold);
            debug!("{}", text());
        }
    }

    /// Writes down that a disk failed, unless there were too many such lines lately. The next line names the file.
    pub fn disk_error(&mut self, now: Moment, peer: Peer, error: &io::Error) {
        self.warning(now, || {
            format!("{peer}: disk: a block cannot be read: {error}")
        });
    }

    /// Writes down that a file has no mapping, unless there were too many such lines lately.
    pub fn unmapped(&mut self, now: Moment, name: &[u8]) {
        self.warning(now, || {
            let name = escaped(name);
            format!("\"{name}\": cannot be mapped into memory, is read instead")
        });
    }

    /// Writes down what the operator wants.
    pub fn starting(&self, settings: &Settings) {
        debug!("{settings:?}");
        match &settings.door {
            Door::InTftpd { ignored } if !ignored.is_empty() => {
                let ignored = ignored.join(", ");
                warn!("options of tftpd-hpa that mean nothing here: {ignored}; see in.tftpd(8)");
            }
            Door::InTftpd { .. } | Door::Tftpd => {}
        }
    }

    /// Writes down that an address is listened on, and with what buffer; `wanted` bytes were asked for.
    pub fn listening(&self, address: SocketAddr, buffer: usize, wanted: usize) {
        info!("listening on {address}");
        let bytes = format!("{address}: receive buffer of {buffer} bytes");
        // The kernel tells twice what it granted.
        match buffer < 2 * wanted {
            true => warn!("{bytes}, {wanted} were asked for: a storm may lose requests"),
            false => info!("{bytes}"),
        }
    }

    /// Writes down that the machine has too little memory for the usual queue.
    pub fn small_machine(&self, bytes: u64, max_pending: usize) {
        let megabytes = bytes >> 20;
        info!(
            "{megabytes} MB of memory: at most {max_pending} requests wait, unless -q says otherwise"
        );
    }

    /// Writes down what is left of the privileges; `user` is none where the process stayed who it was.
    pub fn confined(&mut self, user: Option<&str>, (uid, gid): (u32, u32), sandbox: &str) {
        self.user = match user {
            Some(user) => format!("user {user}"),
            None => format!("user {uid}:{gid}"),
        };
        let user = user
            .map(|user| format!("user {user}, "))
            .unwrap_or_default();
        info!("{user}no capabilities, sandbox: {sandbox}");
    }

    /// Writes down what becomes of a link in the path of the root when it is swapped.
    pub fn root(&self, path: &Path, files: &Files) {
        let path = path.display();
        if let Some(within) = files.followed_within() {
            let within = within.display();
            info!(
                "{path}: a link, which is followed when it is swapped; all of {within} may be read"
            );
        } else if files.ignores_a_link() {
            info!("{path}: a link; restart when it is swapped");
        }
    }

    /// Writes down that a link was swapped, and what is served now.
    pub fn root_swapped(&self, path: &Path, real: &Path) {
        info!("{}: now {}", path.display(), real.display());
    }

    /// Writes down that what is served is no longer what the operator named.
    pub fn root_astray(&mut self, now: Moment, path: &Path, astray: Astray) {
        let (what, then) = match astray {
            Astray::Gone => ("is gone", "put it back, then restart"),
            Astray::Replaced => ("is another directory now, or was mounted over", "restart"),
            Astray::Outside => ("leads elsewhere now", "restart"),
            Astray::Closed => ("leads to what this user may not read", "change its rights"),
        };
        let path = path.display();
        self.warning(now, || {
            format!("{path}: {what}; the old directory is served: {then}")
        });
    }

    /// Writes down that no file can be served for now.
    pub fn unreadable(&self, why: &impl fmt::Display) {
        warn!("{why}: requests will be refused");
    }

    /// Writes down that fewer descriptors may be open than could be needed.
    pub fn few_descriptors(&self, limit: u64, needed: u64, limits: &Limits) {
        let (slots, queue, held) = (limits.max_transfers, limits.max_pending, limits.max_held);
        let text = format!(
            "{limit} descriptors may be open, -n {slots} and -q {queue} may need {needed}: at most {held} of those \
             who wait are kept alive"
        );
        match held {
            0 => warn!("{text}, and requests may wait for descriptors"),
            _ => info!("{text}"),
        }
    }

    /// Writes down that an address is taken, and for how long it will be tried again.
    pub fn port_is_taken(&self, address: SocketAddr, left: Duration) {
        let left = Seconds(left);
        warn!("{address} is in use: trying again for {left}");
    }

    /// Writes down that the operator wants the server to stop.
    pub fn stopping(&self, serving: usize, drain: Duration) {
        let drain = drain.as_secs();
        info!("stopping; transfers that may finish within {drain} s: {serving}");
    }

    /// Writes down what the server did in its life.
    pub fn stopped(&self, stats: &Stats) {
        for untold in [
            self.warnings.untold,
            self.transfers.untold,
            self.strangers.untold,
            self.details.untold,
        ] {
            tell_untold(untold);
        }
        info!(
            "stopped: {} requests, {} repeats, {} complete, {} cancelled, {} replaced, {} failed, \
             {} refused, {} dropped, {} withheld",
            stats.requests,
            stats.repeats,
            stats.completed,
            stats.cancelled,
            stats.replaced,
            stats.failed,
            stats.refused,
            stats.dropped(),
            stats.withheld
        );
    }
}

fn tell_untold(untold: u64) {
    if untold > 0 {
        warn!("{untold} lines like the next were left out");
    }
}

fn line_of(report: &Report<'_>, outcome: &str) -> String {
    let name = escaped(report.name.as_bytes());
    let Report {
        peer,
        bytes,
        pending,
        held,
        running,
        retransmissions,
        ..
    } = report;
    let Some(negotiated) = report.negotiated else {
        let pending = Seconds(*pending);
        return format!("{peer} \"{name}\": {outcome}; pending {pending}");
    };
    format!(
        "{peer} \"{name}\": {outcome}; {bytes} bytes, pending {}, held {}, running {}, {}, \
         blksize {}, windowsize {}, {retransmissions} retransmissions",
        Seconds(*pending),
        Seconds(*held),
        Seconds(*running),
        Rate(*bytes, *running),
        negotiated.blksize,
        negotiated.windowsize,
    )
}

/// A span with three digits of a second. Floating-point numbers are not written anywhere, because what
/// writes them is 16 kB of the binary.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = self.0.saturating_add(Duration::from_micros(500));
        write!(f, "{}.{:03} s", rounded.as_secs(), rounded.subsec_millis())
    }
}

/// Bytes within a span, as megabytes a second with one digit; 0 within none.
struct Rate(u64, Duration);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = u64::try_from(self.1.as_micros()).unwrap_or(u64::MAX);
        let tenths = self.0.saturating_mul(10).saturating_add(micros / 2);
        let tenths = tenths.checked_div(micros).unwrap_or(0);
        write!(f, "{}.{} MB/s", tenths / 10, tenths % 10)
    }
}

fn words_for(outcome: Outcome) -> String {
    match outcome {
        Outcome::Complete => "complete".into(),
        Outcome::CompleteUnconfirmed => "complete (last ACK missing)".into(),
        Outcome::Cancelled => "cancelled by client".into(),
        Outcome::ClientError(code) => format!("client error {code}"),
        Outcome::PortClosed => "client closed its port".into(),
        Outcome::NoAnswer => "no answer to the first packet".into(),
        Outcome::TimedOut => "timed out".into(),
        Outcome::Restarted => "client restarted".into(),
        Outcome::Duplicate => "copy of a request".into(),
        Outcome::MovedOn => "client moved on".into(),
        Outcome::Superseded => "client asked again from another port".into(),
        Outcome::CrowdedOut => "gave way in a full queue".into(),
        Outcome::Expired => "client fell silent while it waited".into(),
        Outcome::Refused(refusal @ (Refusal::ReadFailed | Refusal::FileChanged)) => {
            refusal.message().into()
        }
        Outcome::Refused(refusal) => format!("refused: {}", refusal.message()),
        Outcome::Unreachable => "no way to the client".into(),
        Outcome::ShutDown => "shut down".into(),
    }
}

/// A name from the network as printable text of bounded length.
pub(super) fn escaped(name: &[u8]) -> String {
    let shown = name.get(..NAME_SHOWN).unwrap_or(name);
    let ellipsis = if shown.len() < name.len() { "..." } else { "" };
    format!("{}{ellipsis}", shown.escape_ascii())
}

/// Enough to see what goes wrong; a flood of bad requests must not fill a disk.
const WARNINGS_PER_SECOND: u32 = 20;
/// Clients that never acknowledged anything: anybody can forge a request.
const STRANGERS_PER_SECOND: u32 = 20;
/// Faster than any real boot storm ends transfers.
const TRANSFERS_PER_SECOND: u32 = 2000;
/// Of each kind that `-v` adds: enough for a boot storm, and for whoever looks for one machine in a flood.
const DETAILS_PER_SECOND: u32 = 1000;
/// What strangers bring about in silence is told once in this time.
const DROPS_EVERY: Duration = Duration::from_secs(60);
/// Bytes of a name that are shown.
const NAME_SHOWN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_rates_are_rounded() {
        let span = |micros| Seconds(Duration::from_micros(micros)).to_string();
        assert_eq!(span(0), "0.000 s");
        assert_eq!((&*span(12_499), &*span(12_500)), ("0.012 s", "0.013 s"));
        assert_eq!(span(61_999_500), "62.000 s");
        let rate = |bytes, micros| Rate(bytes, Duration::from_micros(micros)).to_string();
        assert_eq!(rate(42_430, 12_000), "3.5 MB/s");
        assert_eq!(rate(1_000_000_000, 8_000_000), "125.0 MB/s");
        assert_eq!((&*rate(0, 5), &*rate(7, 0)), ("0.0 MB/s", "0.0 MB/s"));
    }

    #[test]
    fn names_are_escaped_and_cut() {
        assert_eq!(escaped(b"a\n\x1b[31m\xE9\"%s"), "a\\n\\x1b[31m\\xe9\\\"%s");
        assert_eq!(escaped(&[b'a'; 300]).len(), NAME_SHOWN + 3);
    }
}
