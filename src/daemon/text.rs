//! The events of the log as text, a line each.
//!
//! Names in it are escaped and cut, so whatever a client sends, a line stays one line.

use std::fmt;
use std::time::Duration;

use super::events::{Drops, LogEvent, Reloaded};
use super::overview::{Overview, Row};
use super::summary::StormReport;
use super::words::phase_word;
use crate::name::{FileName, NAME_MAX, RootPrefixes};
use crate::os::files::Astray;
use crate::server::{Event, Limits, Report, Stats};
use crate::transfer::Outcome;
use crate::wire::{Direction, Malformed, Refusal};

/// The words for an event; `user` is who the server is, for those who wonder why a file is refused.
pub(super) struct Text<'a> {
    pub event: LogEvent<'a>,
    pub user: &'a str,
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event {
            LogEvent::Settings(settings) => write!(f, "{settings:?}"),
            LogEvent::IgnoredOptions(options) => {
                let options = options.join(", ");
                write!(
                    f,
                    "ignored options of tftpd-hpa: {options}; see in.tftpd(8)"
                )
            }
            LogEvent::PortTaken(address, left) => {
                write!(f, "{address}: in use, trying again for {}", Seconds(left))
            }
            LogEvent::Listening(address, handed) => {
                write!(f, "listening on {address}")?;
                match handed {
                    Some(name) => write!(f, " (handed over: {})", name.escape_debug()),
                    None => Ok(()),
                }
            }
            LogEvent::AddressMissing(address) => write!(
                f,
                "{address}: not an address of this machine yet: served when it is"
            ),
            LogEvent::ReceiveBuffer {
                address,
                bytes,
                wanted,
            } => {
                write!(f, "{address}: receive buffer of {bytes} bytes")?;
                // Linux returns twice what it granted.
                match bytes < 2 * wanted {
                    true => write!(
                        f,
                        ", wanted {}: a storm may lose requests; raise net.core.rmem_max to {wanted}",
                        2 * wanted
                    ),
                    false => Ok(()),
                }
            }
            LogEvent::SmallMachine {
                megabytes,
                max_pending,
            } => write!(
                f,
                "{megabytes} MB of memory: the queue holds at most {max_pending} requests (see -q)"
            ),
            LogEvent::FewDescriptors {
                limit,
                needed,
                limits,
            } => few_descriptors(f, limit, needed, limits),
            LogEvent::RootUnreadable(why) => write!(f, "{why}: every request will be refused"),
            LogEvent::RootLinkFollowed(path, within) => write!(
                f,
                "{}: a symbolic link, followed when it is swapped; everything in {} may be read",
                path.display(),
                within.display()
            ),
            LogEvent::RootLinkIgnored(path) => {
                let path = path.display();
                write!(f, "{path}: a symbolic link; restart after swapping it")
            }
            LogEvent::RootSwapped(path, real) => {
                write!(f, "{}: now leads to {}", path.display(), real.display())
            }
            LogEvent::RootAstray(path, astray) => {
                let (what, then) = words_for_astray(astray);
                let path = path.display();
                write!(f, "{path}: {what}; the old directory is served: {then}")
            }
            LogEvent::RulesUnreadable(why) => {
                write!(f, "{why}: SIGHUP will keep the old rules")
            }
            LogEvent::RulesAlone(path) => {
                let path = path.display();
                write!(
                    f,
                    "{path}: in a general directory: SIGHUP finds it if it is rewritten, not if it is \
                     replaced; a directory of its own allows both"
                )
            }
            LogEvent::Reloaded(Reloaded { rules, networks }) => {
                f.write_str("reloaded: ")?;
                match (rules, networks) {
                    (None, None) => f.write_str("no rule has changed"),
                    (None, Some(networks)) => write!(f, "{networks} networks"),
                    (Some(rules), None) => write!(f, "{rules} rules in the map"),
                    (Some(rules), Some(networks)) => {
                        write!(f, "{rules} rules in the map, {networks} networks")
                    }
                }
            }
            LogEvent::NotReloaded(why) => write!(f, "not reloaded, the old rules stay: {why}"),
            LogEvent::Confined { user, sandbox } => {
                if let Some(user) = user {
                    write!(f, "user {user}, ")?;
                }
                write!(f, "no capabilities, sandbox: {sandbox}")
            }
            LogEvent::Server { event, rejected_by } => match (event, rejected_by) {
                (Event::Ended(report), Some(by)) if is_first_rejected(&report) => {
                    ended(f, &report, format_args!("first packet rejected by {by}"))
                }
                _ => self.reported(f, event),
            },
            LogEvent::Forbidden(peer, name, text) => {
                let (name, text) = (escaped(name), escaped(text));
                write!(f, "{peer} \"{name}\": refused by the map: {text}")
            }
            LogEvent::OtherCase(peer, asked, there) => {
                let (asked, there) = (escaped(asked.as_bytes()), escaped(there.as_bytes()));
                write!(
                    f,
                    "{peer} \"{asked}\": there is \"{there}\": names differ in letter case (see -i)"
                )
            }
            LogEvent::NotOnTheLink(peer) => write!(
                f,
                "{peer}: no hardware address: a relay or router is between; such clients get the \
                 common directory, and no \\m"
            ),
            LogEvent::Rejected { peer, by, error } => {
                write!(f, "{peer}: packets rejected by {by}: {error}")
            }
            LogEvent::Rewritten(address) => write!(
                f,
                "{address}: no first packet to this address was ever answered: if a NAT or a proxy rewrites addresses \
                 there, use --single-port"
            ),
            LogEvent::AnswerFailed(peer, error) => {
                write!(f, "{peer}: cannot send an answer: {error}")
            }
            LogEvent::ReceiveFailed(peer, error) => write!(f, "{peer}: cannot receive: {error}"),
            LogEvent::ListenFailed(error) => write!(f, "listening socket: cannot receive: {error}"),
            LogEvent::PollFailed(error) => write!(f, "epoll: {error}"),
            LogEvent::DiskFailed(peer, error) => {
                write!(f, "{peer}: disk: cannot read a block: {error}")
            }
            LogEvent::DiskSilent { span, waiting } => write!(
                f,
                "no answer from the disk or file server for {}: {waiting} names or pieces of files are waited for",
                Seconds(span)
            ),
            LogEvent::DiskAnswers(after) => write!(
                f,
                "the disk or file server answers again, after {}",
                Seconds(after)
            ),
            LogEvent::WriteFailed(peer, error) => {
                write!(f, "{peer}: disk: cannot write an upload: {error}")
            }
            LogEvent::Swept(files) => {
                write!(f, "removed {files} unfinished uploads of an earlier run")
            }
            LogEvent::Unmapped(name) => {
                let name = escaped(name);
                write!(f, "\"{name}\": cannot be mapped into memory: read instead")
            }
            LogEvent::Dropped(drops) => dropped(f, drops),
            LogEvent::Library(record) => record.args().fmt(f),
            LogEvent::Suppressed(lines) => write!(f, "{lines} similar lines suppressed"),
            LogEvent::WatchFailed(path, error) => {
                write!(f, "{}: {error}: goes on without it", path.display())
            }
            LogEvent::StatsWritten(path) => write!(f, "{}: written again", path.display()),
            LogEvent::Overview(overview) => overview_line(f, overview),
            LogEvent::Client(row) => client_line(f, row),
            LogEvent::StormOver(storm) => storm_line(f, storm),
            LogEvent::LameDuck(time) => write!(
                f,
                "lame duck: for {} s requests are served, and probes are not",
                time.as_secs()
            ),
            LogEvent::Stopping { serving, drain } => {
                let drain = drain.as_secs();
                write!(f, "stopping; {serving} transfers have {drain} s to finish")
            }
            LogEvent::Stopped(stats) => stopped(f, stats),
        }
    }
}

impl Text<'_> {
    fn reported(&self, f: &mut fmt::Formatter<'_>, event: Event<'_>) -> fmt::Result {
        match event {
            Event::Ended(report) => match report.outcome {
                Outcome::Refused(Refusal::NoAccess) => {
                    let outcome = format_args!("refused: access denied to {}", self.user);
                    ended(f, &report, outcome)
                }
                _ if is_first_rejected(&report) => {
                    ended(f, &report, format_args!("first packet rejected"))
                }
                outcome => ended(f, &report, format_args!("{}", Ending(outcome))),
            },
            Event::Refused {
                peer,
                name,
                served,
                refusal,
            } => {
                write!(f, "{peer} {}: ", Names(name, served))?;
                match refusal {
                    Refusal::NoAccess => write!(f, "refused: access denied to {}", self.user),
                    _ => fmt::Display::fmt(&Ending(Outcome::Refused(refusal)), f),
                }
            }
            Event::Taken {
                peer,
                asked,
                name,
                waiting,
            } => {
                let names = Served(asked, name);
                match waiting {
                    0 => write!(f, "{peer} {names}: admitted"),
                    _ => write!(f, "{peer} {names}: queued, {waiting} waiting"),
                }
            }
            Event::Malformed { peer, malformed } => {
                write!(
                    f,
                    "{peer}: datagram dropped: {}",
                    words_for_malformed(malformed)
                )
            }
            Event::Unanswered {
                peer,
                name,
                served,
                refusal,
            } => {
                let (names, why) = (Names(name, served), refusal.message());
                write!(f, "{peer} {names}: broadcast request not answered: {why}")
            }
            Event::QueueFull { peer } => {
                write!(f, "{peer}: request dropped: the queue is full (see -q)")
            }
            Event::Exhausted => f.write_str("out of descriptors or memory: requests wait"),
            Event::LargeBlocksLost { peer } => write!(
                f,
                "{peer}: acknowledged the OACK but no block, twice in a row: large packets are lost on \
                 the way? Blocks limited to 512 bytes for 10 minutes (see -B)"
            ),
            Event::AddressFull { peer } => write!(
                f,
                "{}: requests wait although slots are free, since --per-client are running: raise it where many \
                 machines share an address",
                peer.address
            ),
            Event::FarAway { peer, round_trip } => {
                let millis = round_trip.as_millis();
                write!(
                    f,
                    "{peer}: round trip {millis} ms: distance limits the throughput of such clients; \
                     raise -n to serve more of them at once"
                )
            }
        }
    }
}

/// The client, or something before it, rejected the first packet.
fn is_first_rejected(report: &Report<'_>) -> bool {
    report.outcome == Outcome::PortClosed && !report.was_answered
}

fn ended(
    f: &mut fmt::Formatter<'_>,
    report: &Report<'_>,
    outcome: fmt::Arguments<'_>,
) -> fmt::Result {
    let Report {
        peer,
        asked,
        name,
        direction,
        bytes,
        pending,
        held,
        running,
        retransmissions,
        ..
    } = report;
    let received = received_word(*direction);
    let names = Served(asked, *name);
    let pending = Seconds(*pending);
    write!(f, "{peer} {names}: {outcome}; ")?;
    let Some(negotiated) = report.negotiated else {
        return write!(f, "pending {pending}");
    };
    write!(
        f,
        "{bytes} bytes{received}, pending {pending}, held {}, running {}, {}, blksize {}, windowsize {}, \
         {retransmissions} retransmissions",
        Seconds(*held),
        Seconds(*running),
        MegabytesPerSecond(*bytes, *running),
        negotiated.blksize,
        negotiated.windowsize,
    )
}

fn received_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Read => "",
        Direction::Write => " received",
    }
}

fn few_descriptors(
    f: &mut fmt::Formatter<'_>,
    limit: u64,
    needed: u64,
    limits: &Limits,
) -> fmt::Result {
    let (slots, queue, held) = (limits.max_transfers, limits.max_pending, limits.max_held);
    write!(
        f,
        "{limit} descriptors may be open, -n {slots} and -q {queue} may need {needed}: at most {held} waiting \
         clients are kept alive"
    )?;
    match held {
        0 => f.write_str(", and requests may wait for descriptors"),
        _ => Ok(()),
    }
}

fn dropped(f: &mut fmt::Formatter<'_>, drops: Drops) -> fmt::Result {
    let Drops {
        denied,
        client_full,
        malformed,
        names,
        withheld,
    } = drops;
    write!(
        f,
        "dropped since the last such line: {denied} from denied addresses, {client_full} over \
         --per-client-pending, {malformed} malformed, {names} while the disk did not answer; answers withheld from unvalidated addresses: {withheld}"
    )
}

fn overview_line(f: &mut fmt::Formatter<'_>, of: &Overview<'_>) -> fmt::Result {
    let (count, stats) = (of.count, of.stats);
    write!(
        f,
        "now: {} of {} slots taken, {} lent, {} finishing, {} pending, {} held, oldest wait {}; {} requests, \
         {} complete, {} refused, {} dropped, {} bytes sent, {} retransmissions",
        count.running,
        of.limits.max_transfers,
        count.lent,
        count.shown_as_finishing(),
        count.pending,
        count.held,
        Seconds(of.oldest_wait),
        stats.requests,
        stats.completed,
        stats.refused,
        stats.dropped(),
        of.metrics.traffic.sent_bytes,
        stats.retransmissions,
    )
}

fn client_line(f: &mut fmt::Formatter<'_>, row: &Row<'_>) -> fmt::Result {
    let report = &row.report;
    let (peer, name) = (report.peer, escaped(report.name.as_bytes()));
    write!(
        f,
        "now: {peer} \"{name}\": {}, {}",
        phase_word(row.phase),
        report.bytes
    )?;
    if let Some(length) = report.length {
        write!(f, " of {length}")?;
    }
    let received = received_word(report.direction);
    let waited = Seconds(report.pending + report.held);
    write!(
        f,
        " bytes{received}, waited {waited}, running {}",
        Seconds(report.running)
    )?;
    if let Some(round_trip) = report.round_trip {
        let micros = round_trip.as_micros();
        write!(f, ", round trip {}.{:03} ms", micros / 1000, micros % 1000)?;
    }
    write!(f, ", {} retransmissions", report.retransmissions)
}

fn storm_line(f: &mut fmt::Formatter<'_>, of: &StormReport) -> fmt::Result {
    write!(
        f,
        "storm over after {}: {} complete ({} uploads), {} waited, at most {} at a time, for at most {}; {} of {} datagrams \
         retransmitted; meanwhile {} % of the slots in use",
        Seconds(of.lasted),
        of.complete,
        of.uploads,
        of.waited,
        of.peak,
        Seconds(of.longest_wait),
        of.retransmissions,
        of.sent_datagrams,
        of.slots_used,
    )?;
    if let Some(processor) = of.processor {
        write!(f, ", processor {processor} % busy")?;
    }
    let (disk, link) = (of.disk_waits, of.full_sockets);
    write!(f, ", {disk} sends waited for the disk, {link} for the link")
}

fn stopped(f: &mut fmt::Formatter<'_>, stats: &Stats) -> fmt::Result {
    write!(
        f,
        "stopped: {} requests, {} repeats, {} complete, {} cancelled, {} replaced, {} failed, {} refused, \
         {} dropped, {} withheld",
        stats.requests,
        stats.repeats,
        stats.completed,
        stats.cancelled,
        stats.replaced,
        stats.failed,
        stats.refused,
        stats.dropped(),
        stats.withheld
    )
}

/// How a request ended, in words.
struct Ending(Outcome);

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.0 {
            Outcome::Complete => "complete",
            Outcome::CompleteUnconfirmed => "complete (last ACK missing)",
            Outcome::Cancelled => "cancelled by client",
            Outcome::ClientError(code) => return write!(f, "client error {code}"),
            Outcome::PortClosed => "client closed its port",
            Outcome::NoAnswer => "no answer to the first packet",
            Outcome::TimedOut => "timed out",
            Outcome::Restarted => "client restarted",
            Outcome::Duplicate => "duplicate request",
            Outcome::MovedOn => "client moved on",
            Outcome::Superseded => "replaced by a request from another port",
            Outcome::CrowdedOut => "evicted from full queue",
            Outcome::Expired => "client fell silent while queued",
            Outcome::Refused(refusal @ (Refusal::ReadFailed | Refusal::FileChanged)) => {
                refusal.message()
            }
            Outcome::Refused(refusal) => return write!(f, "refused: {}", refusal.message()),
            Outcome::Unreachable => "network unreachable",
            Outcome::ShutDown => "shut down",
        };
        f.write_str(words)
    }
}

fn words_for_malformed(malformed: Malformed) -> &'static str {
    match malformed {
        Malformed::Short => "too short",
        Malformed::Opcode => "not a request",
        Malformed::Name => "file name does not end",
        Malformed::Mode => "mode missing or does not end",
        Malformed::Oversized => "longer than any request",
        Malformed::Unanswerable => "source port of no client",
    }
}

/// What happened to the root, and what to do.
fn words_for_astray(astray: Astray) -> (&'static str, &'static str) {
    match astray {
        Astray::Gone => ("removed", "put it back, then restart"),
        Astray::Replaced => ("replaced or mounted over", "restart"),
        Astray::Outside => ("leads elsewhere now", "restart"),
        Astray::Closed => (
            "leads to a directory this user may not read",
            "change its mode",
        ),
    }
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

/// Bytes within a span, with one digit; 0 within none.
struct MegabytesPerSecond(u64, Duration);

impl fmt::Display for MegabytesPerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = u64::try_from(self.1.as_micros()).unwrap_or(u64::MAX);
        let tenths = self.0.saturating_mul(10).saturating_add(micros / 2);
        let tenths = tenths.checked_div(micros).unwrap_or(0);
        write!(f, "{}.{} MB/s", tenths / 10, tenths % 10)
    }
}

/// A name as it was asked for, and as it was looked up if that is another.
struct Names<'a>(&'a [u8], Option<FileName<'a>>);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", escaped(self.0))?;
        match self.1.filter(|&served| !is_plain(self.0, served)) {
            Some(served) => write!(f, " -> \"{}\"", escaped(served.as_bytes())),
            None => Ok(()),
        }
    }
}

/// The name of a file that was found, and before it the one that was asked for if that is another.
struct Served<'a>(&'a [u8], FileName<'a>);

impl fmt::Display for Served<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match is_plain(self.0, self.1) {
            true => write!(f, "\"{}\"", escaped(self.1.as_bytes())),
            false => Names(self.0, Some(self.1)).fmt(f),
        }
    }
}

/// One name is the other but for slashes and the like.
pub(super) fn is_plain(asked: &[u8], served: FileName<'_>) -> bool {
    let mut buffer = [0; NAME_MAX];
    let cleaned = FileName::new(asked, &RootPrefixes::default(), &mut buffer);
    cleaned.is_ok_and(|cleaned| cleaned == served)
}

/// A name from the network as printable text of bounded length.
pub(super) fn escaped(name: &[u8]) -> String {
    let shown = name.get(..NAME_SHOWN).unwrap_or(name);
    let ellipsis = if shown.len() < name.len() { "..." } else { "" };
    format!("{}{ellipsis}", shown.escape_ascii())
}

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
        let rate =
            |bytes, micros| MegabytesPerSecond(bytes, Duration::from_micros(micros)).to_string();
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
