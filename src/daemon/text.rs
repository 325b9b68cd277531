//! The events of the log as text, a line each.
//!
//! Names in it are escaped and cut, so whatever a client sends, a line stays one line.

use std::fmt;
use std::time::Duration;

use super::events::{Drops, LogEvent};
use crate::os::files::Astray;
use crate::server::{Event, Limits, Report, Stats};
use crate::transfer::Outcome;
use crate::wire::{Malformed, Refusal};

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
                    "options of tftpd-hpa that mean nothing here: {options}; see in.tftpd(8)"
                )
            }
            LogEvent::PortTaken(address, left) => {
                write!(f, "{address} is in use: trying again for {}", Seconds(left))
            }
            LogEvent::Listening(address) => write!(f, "listening on {address}"),
            LogEvent::ReceiveBuffer {
                address,
                bytes,
                wanted,
            } => {
                write!(f, "{address}: receive buffer of {bytes} bytes")?;
                // The kernel tells twice what it granted.
                match bytes < 2 * wanted {
                    true => write!(f, ", {wanted} were asked for: a storm may lose requests"),
                    false => Ok(()),
                }
            }
            LogEvent::SmallMachine {
                megabytes,
                max_pending,
            } => write!(
                f,
                "{megabytes} MB of memory: at most {max_pending} requests wait, unless -q says otherwise"
            ),
            LogEvent::FewDescriptors {
                limit,
                needed,
                limits,
            } => few_descriptors(f, limit, needed, limits),
            LogEvent::RootUnreadable(why) => write!(f, "{why}: requests will be refused"),
            LogEvent::RootLinkFollowed(path, within) => write!(
                f,
                "{}: a link, which is followed when it is swapped; all of {} may be read",
                path.display(),
                within.display()
            ),
            LogEvent::RootLinkIgnored(path) => {
                write!(f, "{}: a link; restart when it is swapped", path.display())
            }
            LogEvent::RootSwapped(path, real) => {
                write!(f, "{}: now {}", path.display(), real.display())
            }
            LogEvent::RootAstray(path, astray) => {
                let (what, then) = words_for_astray(astray);
                let path = path.display();
                write!(f, "{path}: {what}; the old directory is served: {then}")
            }
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
            LogEvent::Rejected { peer, by, error } => {
                write!(f, "{peer}: packets to it are rejected by {by}: {error}")
            }
            LogEvent::AnswerFailed(peer, error) => {
                write!(f, "{peer}: cannot be answered: {error}")
            }
            LogEvent::ReceiveFailed(peer, error) => write!(f, "{peer}: {error}"),
            LogEvent::ListenFailed(error) => write!(f, "listening socket: {error}"),
            LogEvent::PollFailed(error) => write!(f, "epoll: {error}"),
            LogEvent::DiskFailed(peer, error) => {
                write!(f, "{peer}: disk: a block cannot be read: {error}")
            }
            LogEvent::Unmapped(name) => {
                let name = escaped(name);
                write!(
                    f,
                    "\"{name}\": cannot be mapped into memory, is read instead"
                )
            }
            LogEvent::Dropped(drops) => dropped(f, drops),
            LogEvent::Suppressed(lines) => write!(f, "{lines} lines like the next were left out"),
            LogEvent::Stopping { serving, drain } => {
                let drain = drain.as_secs();
                write!(
                    f,
                    "stopping; transfers that may finish within {drain} s: {serving}"
                )
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
                refusal,
            } => {
                write!(f, "{peer} \"{}\": ", escaped(name))?;
                match refusal {
                    Refusal::NoAccess => write!(f, "refused: access denied to {}", self.user),
                    _ => fmt::Display::fmt(&Ending(Outcome::Refused(refusal)), f),
                }
            }
            Event::Taken {
                peer,
                name,
                waiting,
            } => {
                let name = escaped(name.as_bytes());
                match waiting {
                    0 => write!(f, "{peer} \"{name}\": admitted"),
                    _ => write!(f, "{peer} \"{name}\": queued; {waiting} wait"),
                }
            }
            Event::Nonsense { peer, malformed } => {
                write!(
                    f,
                    "{peer}: dropped a datagram: {}",
                    words_for_malformed(malformed)
                )
            }
            Event::Unanswered {
                peer,
                name,
                refusal,
            } => {
                let (name, why) = (escaped(name), refusal.message());
                write!(
                    f,
                    "{peer} \"{name}\": not answered, since it asked everybody: {why}"
                )
            }
            Event::QueueFull { peer } => {
                write!(f, "{peer}: dropped: the queue is full (see -q)")
            }
            Event::Unreachable { peer } => write!(f, "{peer}: no way there"),
            Event::Exhausted => f.write_str("out of descriptors or memory: requests wait"),
            Event::LargeBlocksLost { peer } => write!(
                f,
                "{peer}: acknowledged its options and then no block, twice in a row: a hop loses large \
                 packets? It is granted blocks of 512 bytes for 10 minutes (see -B)"
            ),
            Event::FarAway { peer, round_trip } => {
                let millis = round_trip.as_millis();
                write!(
                    f,
                    "{peer}: round trip {millis} ms: distance, not the network, bounds what clients so far \
                     away get together; raise -n to serve more of them at once"
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
        name,
        bytes,
        pending,
        held,
        running,
        retransmissions,
        ..
    } = report;
    let name = escaped(name.as_bytes());
    let pending = Seconds(*pending);
    write!(f, "{peer} \"{name}\": {outcome}; ")?;
    let Some(negotiated) = report.negotiated else {
        return write!(f, "pending {pending}");
    };
    write!(
        f,
        "{bytes} bytes, pending {pending}, held {}, running {}, {}, blksize {}, windowsize {}, \
         {retransmissions} retransmissions",
        Seconds(*held),
        Seconds(*running),
        MegabytesPerSecond(*bytes, *running),
        negotiated.blksize,
        negotiated.windowsize,
    )
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
        "{limit} descriptors may be open, -n {slots} and -q {queue} may need {needed}: at most {held} of those \
         who wait are kept alive"
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
        withheld,
    } = drops;
    write!(
        f,
        "dropped since the last such line: {denied} from denied addresses, {client_full} past \
         --per-client-pending, {malformed} malformed; answers to strangers withheld: {withheld}"
    )
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
            Outcome::Duplicate => "copy of a request",
            Outcome::MovedOn => "client moved on",
            Outcome::Superseded => "client asked again from another port",
            Outcome::CrowdedOut => "gave way in a full queue",
            Outcome::Expired => "client fell silent while it waited",
            Outcome::Refused(refusal @ (Refusal::ReadFailed | Refusal::FileChanged)) => {
                refusal.message()
            }
            Outcome::Refused(refusal) => return write!(f, "refused: {}", refusal.message()),
            Outcome::Unreachable => "no way to the client",
            Outcome::ShutDown => "shut down",
        };
        f.write_str(words)
    }
}

fn words_for_malformed(malformed: Malformed) -> &'static str {
    match malformed {
        Malformed::Short => "too short",
        Malformed::Opcode => "no request, which alone has a place here",
        Malformed::Name => "its name does not end",
        Malformed::Mode => "its mode is missing or does not end",
        Malformed::Oversized => "longer than any request",
        Malformed::Unanswerable => "from port 0, which no answer reaches",
    }
}

/// What happened to the root, and what to do.
fn words_for_astray(astray: Astray) -> (&'static str, &'static str) {
    match astray {
        Astray::Gone => ("is gone", "put it back, then restart"),
        Astray::Replaced => ("is another directory now, or was mounted over", "restart"),
        Astray::Outside => ("leads elsewhere now", "restart"),
        Astray::Closed => ("leads to what this user may not read", "change its rights"),
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

/// A name from the network as printable text of bounded length.
pub(super) fn escaped(name: &[u8]) -> String {
    let shown = name.get(..NAME_SHOWN).unwrap_or(name);
    let ellipsis = if shown.len() < name.len() { "..." } else { "" };
    format!("{}{ellipsis}", shown.escape_ascii())
}

/// Bytes of a name that are shown.
const NAME_SHOWN: usize = 256;
