//! The lines of the log: what each event says, once for all who write it. `text` writes its words, `json` its fields.
//! Kinds and names of fields stay what they are, since programs read them. The manual has the table.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use log::Level;

use super::budget::Rate;
use super::events::LogEvent;
use super::field::Value::{Absent, Client, Number, Seconds, Truth, Word};
use super::field::{Field, asked, found, name, number, text};
use super::json::object;
use super::overview::{terms, totals};
use super::text::{MegabytesPerSecond, escaped, fill};
use super::words::{astray_word, direction_word, malformed_word, outcome_word, refusal_word};
use crate::server::{Event, Report};
use crate::transfer::Outcome;
use crate::wire::{Peer, Refusal};

/// What a line is: how important, how many of its kind are written, and its kind, a colon, and its words with fields.
pub(super) type Says = (Level, Rate, &'static str);

impl LogEvent<'_> {
    /// The line in words. `user` is who the server is, for those who wonder why a file is refused.
    pub(super) fn text(&self, user: &str) -> String {
        let (.., words) = self.says();
        let (_, words) = words.split_once(": ").unwrap_or_default();
        fill(words, &self.fields(user))
    }

    /// The line as one object, without the end of the line; `time` is since 1970.
    pub(super) fn json(&self, time: Duration, user: &str) -> String {
        let (level, _, words) = self.says();
        let (kind, _) = words.split_once(':').unwrap_or_default();
        let mut fields = vec![
            ("time", Seconds(time)),
            ("level", text(level.as_str().to_lowercase())),
            ("event", text(kind)),
        ];
        fields.extend(self.fields(user));
        object(&fields)
    }

    pub(super) fn says(&self) -> Says {
        match self {
            Self::Settings(_) => (Level::Debug, Rate::Unlimited, "settings: {settings}"),
            Self::IgnoredOptions(_) => {
                warn("ignored_options: ignored options of tftpd-hpa: {options}; see in.tftpd(8)")
            }
            Self::PortTaken(..) => {
                warn("port_taken: {address}: in use, trying again for {trying_for}")
            }
            Self::Listening(..) => {
                info("listening: listening on {address}[ (handed over: {_shown})]")
            }
            Self::AddressMissing(_) => warn(
                "address_missing: {address}: not an address of this machine yet: served when it is",
            ),
            // Linux returns twice what it granted.
            Self::ReceiveBuffer { bytes, wanted, .. } if *bytes < 2 * wanted => warn(
                "receive_buffer: {address}: receive buffer of {bytes} bytes, wanted {wanted}: a storm may lose \
                 requests; raise net.core.rmem_max to {_max}",
            ),
            Self::ReceiveBuffer { .. } => {
                info("receive_buffer: {address}: receive buffer of {bytes} bytes")
            }
            Self::SmallMachine { .. } => info(
                "small_machine: {megabytes} MB of memory: the queue holds at most {max_pending} requests (see -q)",
            ),
            Self::FewDescriptors { limits, .. } if limits.max_held == 0 => warn(
                "few_descriptors: {limit} descriptors may be open, -n {_slots} and -q {_queue} may need {needed}: at \
                 most {max_held} waiting clients are kept alive, and requests may wait for descriptors",
            ),
            Self::FewDescriptors { .. } => info(
                "few_descriptors: {limit} descriptors may be open, -n {_slots} and -q {_queue} may need {needed}: at \
                 most {max_held} waiting clients are kept alive",
            ),
            Self::RootUnreadable(_) => {
                warn("root_unreadable: {error}: every request will be refused")
            }
            Self::RootLinkFollowed(..) => info(
                "root_link_followed: {path}: a symbolic link, followed when it is swapped; everything in {within} may \
                 be read",
            ),
            Self::RootLinkIgnored(_) => {
                info("root_link_ignored: {path}: a symbolic link; restart after swapping it")
            }
            Self::RootSwapped(..) => info("root_swapped: {path}: now leads to {leads_to}"),
            Self::RootAstray(..) => {
                fault("root_astray: {path}: {fault}; the old directory is served: {_then}")
            }
            Self::RulesUnreadable(_) => {
                warn("rules_unreadable: {error}: SIGHUP will keep the old rules")
            }
            Self::RulesAlone(_) => info(
                "rules_alone: {path}: in a general directory: SIGHUP finds it if it is rewritten, not if it is \
                 replaced; a directory of its own allows both",
            ),
            Self::Reloaded { rules, networks } => info(match (rules, networks) {
                (None, None) => "reloaded: reloaded: no rule has changed",
                (None, Some(_)) => "reloaded: reloaded: {networks} networks",
                (Some(_), _) => {
                    "reloaded: reloaded: {rules} rules in the map[, {networks} networks]"
                }
            }),
            Self::NotReloaded(_) => warn("not_reloaded: not reloaded, the old rules stay: {error}"),
            Self::Confined { .. } => {
                info("confined: [user {user}, ]no capabilities, sandbox: {sandbox}")
            }
            Self::Server { event, .. } => says(event),
            Self::Forbidden(..) => fault("forbidden: {client} {name}: refused by the map: {_text}"),
            Self::OtherCase(..) => fault(
                "other_case: {client} {_asked}: there is {_there}: names differ in letter case (see -i)",
            ),
            Self::NotOnTheLink(_) => warn(
                "not_on_the_link: {client}: no hardware address: a relay or router is between; such clients get the \
                 common directory, and no \\m",
            ),
            Self::Rejected { .. } => {
                let words = "rejected: {client}: packets rejected by {rejected_by}: {error}";
                (Level::Warn, Rate::Unvalidated, words)
            }
            Self::Rewritten(_) => warn(
                "rewritten: {address}: no first packet to this address was ever answered: if a NAT or a proxy \
                 rewrites addresses there, use --single-port",
            ),
            Self::AnswerFailed(..) => {
                fault("answer_failed: {client}: cannot send an answer: {error}")
            }
            Self::ReceiveFailed(..) => fault("receive_failed: {client}: cannot receive: {error}"),
            Self::ListenFailed(_) => {
                fault("listen_failed: listening socket: cannot receive: {error}")
            }
            Self::PollFailed(_) => fault("poll_failed: epoll: {error}"),
            Self::DiskFailed(..) => {
                fault("disk_failed: {client}: disk: cannot read a block: {error}")
            }
            Self::DiskSilent { .. } => warn(
                "disk_silent: no answer from the disk or file server for {silent}: {waiting} names or pieces of files \
                 are waited for",
            ),
            Self::DiskAnswers(_) => {
                info("disk_answers: the disk or file server answers again, after {after}")
            }
            Self::WriteFailed(..) => {
                fault("write_failed: {client}: disk: cannot write an upload: {error}")
            }
            Self::Swept(_) => info("swept: removed {files} unfinished uploads of an earlier run"),
            Self::Unmapped(_) => {
                fault("unmapped: {name}: cannot be mapped into memory: read instead")
            }
            Self::Dropped(_) => warn(
                "dropped: dropped since the last such line: {denied} from denied addresses, {client_full} over \
                 --per-client-pending, {malformed} malformed, {disk_busy} while the disk did not answer; answers \
                 withheld from unvalidated addresses: {withheld}",
            ),
            Self::Library(record) => (record.level(), Rate::Unlimited, "library: {message}"),
            Self::Suppressed(_) => warn("suppressed: {lines} similar lines suppressed"),
            Self::WatchFailed(..) => warn("watch_failed: {path}: {error}: goes on without it"),
            Self::StatsWritten(_) => info("stats_written: {path}: written again"),
            Self::Overview(_) => info(
                "overview: now: {running} of {slots} slots taken, {lent} lent, {finishing} finishing, {pending} \
                 pending, {held} held, oldest wait {oldest_wait}; {requests} requests, {complete} complete, {refused} \
                 refused, {dropped} dropped, {sent_bytes} bytes sent, {retransmissions} retransmissions",
            ),
            Self::Client(_) => info(
                "client: now: {client} {name}: {stage}, {bytes}[ of {size}] bytes{kind}, waited {waited}, running \
                 {running}[, round trip {_millis} ms], {retransmissions} retransmissions",
            ),
            Self::StormOver(_) => info(
                "storm_over: storm over after {lasted}: {complete} complete ({uploads} uploads), {waited} waited, at \
                 most {peak} at a time, for at most {longest_wait}; {retransmissions} of {sent_datagrams} datagrams \
                 retransmitted; meanwhile {slots_used_percent} % of the slots in use[, processor \
                 {processor_percent} % busy], {disk_waits} sends waited for the disk, {full_sockets} for the link",
            ),
            Self::LameDuck(_) => info(
                "lame_duck: lame duck: for {_seconds} s requests are served, and probes are not",
            ),
            Self::Stopping { .. } => {
                info("stopping: stopping; {serving} transfers have {_seconds} s to finish")
            }
            Self::Stopped(_) => info(
                "stopped: stopped: {requests} requests, {repeats} repeats, {complete} complete, {cancelled} \
                 cancelled, {replaced} replaced, {failed} failed, {refused} refused, {dropped} dropped, {withheld} \
                 withheld",
            ),
        }
    }

    fn fields<'a>(&'a self, user: &'a str) -> Vec<Field<'a>> {
        match *self {
            Self::Settings(settings) => vec![("settings", text(format!("{settings:?}")))],
            Self::IgnoredOptions(options) => vec![("options", text(options.join(", ")))],
            Self::PortTaken(address, left) => {
                vec![("address", text(address)), ("trying_for", Seconds(left))]
            }
            Self::Listening(address, socket) => vec![
                ("address", text(address)),
                ("socket", socket.map_or(Absent, text)),
                (
                    "_shown",
                    socket.map_or(Absent, |it| text(it.escape_debug())),
                ),
            ],
            Self::AddressMissing(address) => vec![("address", text(address))],
            Self::Rewritten(address) => vec![("address", text(address))],
            Self::ReceiveBuffer {
                address,
                bytes,
                wanted,
            } => vec![
                ("address", text(address)),
                ("bytes", number(bytes)),
                ("wanted", number(2 * wanted)),
                ("_max", number(wanted)),
            ],
            Self::SmallMachine {
                megabytes,
                max_pending,
            } => vec![
                ("megabytes", Number(megabytes)),
                ("max_pending", number(max_pending)),
            ],
            Self::FewDescriptors {
                limit,
                needed,
                limits,
            } => vec![
                ("limit", Number(limit)),
                ("needed", Number(needed)),
                ("max_held", number(limits.max_held)),
                ("_slots", number(limits.max_transfers)),
                ("_queue", number(limits.max_pending)),
            ],
            Self::RootUnreadable(error)
            | Self::RulesUnreadable(error)
            | Self::NotReloaded(error) => vec![failed(error)],
            Self::RootLinkFollowed(path, within) => {
                vec![at(path), ("within", text(within.display()))]
            }
            Self::RootSwapped(path, real) => vec![at(path), ("leads_to", text(real.display()))],
            Self::RootLinkIgnored(path) | Self::RulesAlone(path) | Self::StatsWritten(path) => {
                vec![at(path)]
            }
            Self::RootAstray(path, astray) => {
                let (fault, then) = astray_word(astray);
                vec![at(path), ("fault", Word(fault)), ("_then", text(then))]
            }
            Self::Reloaded { rules, networks } => vec![
                ("rules", rules.map_or(Absent, number)),
                ("networks", networks.map_or(Absent, number)),
            ],
            Self::Confined { user, sandbox } => vec![
                ("sandbox", text(sandbox)),
                ("user", user.map_or(Absent, text)),
            ],
            Self::Server { event, rejected_by } => fields(event, rejected_by, user),
            Self::Forbidden(peer, file, words) => vec![
                client(peer),
                ("name", name(file)),
                ("message", text(String::from_utf8_lossy(words))),
                ("_text", text(escaped(words))),
            ],
            Self::OtherCase(peer, asked_for, there) => vec![
                client(peer),
                ("name", asked(asked_for.as_bytes(), Some(there))),
                ("_asked", name(asked_for.as_bytes())),
                ("_there", name(there.as_bytes())),
            ],
            Self::NotOnTheLink(peer) => vec![client(peer)],
            Self::Rejected { peer, by, error } => {
                vec![client(peer), ("rejected_by", text(by)), failed(error)]
            }
            Self::AnswerFailed(peer, error)
            | Self::ReceiveFailed(peer, error)
            | Self::DiskFailed(peer, error)
            | Self::WriteFailed(peer, error) => {
                vec![client(peer), failed(error)]
            }
            Self::ListenFailed(error) | Self::PollFailed(error) => {
                vec![failed(error)]
            }
            Self::DiskSilent { span, waiting } => {
                vec![("silent", Seconds(span)), ("waiting", number(waiting))]
            }
            Self::DiskAnswers(after) => vec![("after", Seconds(after))],
            Self::Swept(files) => vec![("files", Number(files))],
            Self::Unmapped(file) => vec![("name", name(file))],
            Self::Dropped(drops) => vec![
                ("denied", Number(drops.denied)),
                ("client_full", Number(drops.client_full)),
                ("malformed", Number(drops.malformed)),
                ("disk_busy", Number(drops.names)),
                ("withheld", Number(drops.withheld)),
            ],
            Self::Library(record) => vec![
                ("target", text(record.target())),
                ("message", text(record.args())),
            ],
            Self::Suppressed(lines) => vec![("lines", Number(lines))],
            Self::WatchFailed(path, error) => {
                vec![at(path), failed(error)]
            }
            Self::Overview(overview) => overview.fields(),
            Self::Client(row) => row.fields(),
            Self::StormOver(storm) => storm.fields(),
            Self::LameDuck(time) => vec![
                ("lasts", Seconds(time)),
                ("_seconds", Number(time.as_secs())),
            ],
            Self::Stopping { serving, drain } => vec![
                ("serving", number(serving)),
                ("drain", Seconds(drain)),
                ("_seconds", Number(drain.as_secs())),
            ],
            Self::Stopped(stats) => totals(stats),
        }
    }
}

/// That something is as it is: nobody can bring it about from the network.
fn info(words: &'static str) -> Says {
    (Level::Info, Rate::Unlimited, words)
}

/// The same of something that the operator should look at.
fn warn(words: &'static str) -> Says {
    (Level::Warn, Rate::Unlimited, words)
}

/// That something is wrong, perhaps again and again.
fn fault(words: &'static str) -> Says {
    (Level::Warn, Rate::Warning, words)
}

fn says(event: &Event<'_>) -> Says {
    match event {
        Event::Ended(report) => {
            let (level, rate) = class_of_end(report);
            let words = match report.negotiated {
                None => "ended: {client} {name}: {outcome}; pending {pending}",
                Some(_) => {
                    "ended: {client} {name}: {outcome}; {bytes} bytes{kind}, pending {pending}, held {held}, running \
                     {running}, {_rate}, blksize {blksize}, windowsize {windowsize}, {retransmissions} retransmissions"
                }
            };
            (level, rate, words)
        }
        Event::Refused {
            is_answered: true, ..
        } => fault("refused: {client} {name}: {_outcome}"),
        Event::Refused { .. } => {
            detail("unanswered: {client} {name}: broadcast request not answered: {refusal}")
        }
        Event::Taken { waiting: 0, .. } => detail("taken: {client} {name}: admitted"),
        Event::Taken { .. } => detail("taken: {client} {name}: queued, {waiting} waiting"),
        Event::Malformed { .. } => {
            let words = "nonsense: {client}: datagram dropped: {fault}";
            (Level::Debug, Rate::Unvalidated, words)
        }
        Event::QueueFull { .. } => {
            fault("queue_full: {client}: request dropped: the queue is full (see -q)")
        }
        Event::Exhausted => fault("exhausted: out of descriptors or memory: requests wait"),
        Event::LargeBlocksLost { .. } => fault(
            "large_blocks_lost: {client}: acknowledged the OACK but no block, twice in a row: large packets are lost \
             on the way? Blocks limited to 512 bytes for 10 minutes (see -B)",
        ),
        Event::AddressFull { .. } => fault(
            "address_full: {_address}: requests wait although slots are free, since --per-client are running: raise it \
             where many machines share an address",
        ),
        Event::FarAway { .. } => fault(
            "far_away: {client}: round trip {_millis} ms: distance limits the throughput of such clients; raise -n to \
             serve more of them at once",
        ),
    }
}

/// What `-v` asks for.
fn detail(words: &'static str) -> Says {
    (Level::Debug, Rate::Detail, words)
}

fn fields<'a>(event: Event<'a>, rejected_by: Option<IpAddr>, user: &'a str) -> Vec<Field<'a>> {
    match event {
        Event::Ended(report) => ended(&report, rejected_by, user),
        Event::Refused {
            peer,
            name,
            looked_up,
            refusal,
            ..
        } => {
            let outcome = Outcome::Refused(refusal);
            let mut fields = vec![
                client(peer),
                ("name", asked(name, looked_up)),
                ("_outcome", Word(outcome_word(outcome))),
            ];
            fields.extend(reason(outcome, user));
            fields
        }
        Event::Taken {
            peer,
            asked,
            name,
            waiting,
        } => vec![
            client(peer),
            ("name", found(asked, name)),
            ("waiting", number(waiting)),
        ],
        Event::Malformed { peer, malformed } => {
            vec![client(peer), ("fault", Word(malformed_word(malformed)))]
        }
        Event::QueueFull { peer } | Event::LargeBlocksLost { peer } => {
            vec![client(peer)]
        }
        Event::Exhausted => Vec::new(),
        Event::AddressFull { peer } => {
            vec![client(peer), ("_address", text(peer.address))]
        }
        Event::FarAway { peer, round_trip } => vec![
            client(peer),
            ("round_trip", Seconds(round_trip)),
            ("_millis", text(round_trip.as_millis())),
        ],
    }
}

fn ended<'a>(report: &Report<'a>, rejected_by: Option<IpAddr>, user: &'a str) -> Vec<Field<'a>> {
    let mut outcome = outcome_word(report.outcome);
    // The client, or something before it, rejected the first packet.
    if report.outcome == Outcome::PortClosed && !report.was_answered {
        outcome.1 = match rejected_by {
            Some(_) => "first packet rejected by {rejected_by}",
            None => "first packet rejected",
        };
    }
    let rate = MegabytesPerSecond(report.bytes, report.running);
    let mut fields = vec![
        ("client", Client(report.peer)),
        ("name", found(report.asked, report.name)),
        ("kind", Word(direction_word(report.direction))),
        ("outcome", Word(outcome)),
    ];
    fields.extend(reason(report.outcome, user));
    fields.extend([
        ("answered", Truth(report.was_answered)),
        ("bytes", Number(report.bytes)),
        ("pending", Seconds(report.pending)),
        ("held", Seconds(report.held)),
        ("running", Seconds(report.running)),
        ("_rate", text(rate)),
        ("retransmissions", Number(report.retransmissions)),
    ]);
    fields.extend(terms(report));
    fields.push(("rejected_by", rejected_by.map_or(Absent, text)));
    fields
}

/// Why a request was refused, with the code of the ERROR packet and the user that may not read the file; or the code
/// that the client sent.
fn reason(outcome: Outcome, user: &str) -> Vec<Field<'_>> {
    match outcome {
        Outcome::Refused(refusal) => {
            let is_named = refusal == Refusal::NoAccess;
            vec![
                ("refusal", Word(refusal_word(refusal))),
                ("code", number(refusal.code())),
                ("user", Some(user).filter(|_| is_named).map_or(Absent, text)),
            ]
        }
        Outcome::ClientError(code) => vec![("code", number(code))],
        _ => Vec::new(),
    }
}

fn client<'a>(peer: Peer) -> Field<'a> {
    ("client", Client(peer))
}

fn at(path: &Path) -> Field<'_> {
    ("path", text(path.display()))
}

fn failed<'a>(why: impl Display + 'a) -> Field<'a> {
    ("error", text(why))
}

fn class_of_end(report: &Report<'_>) -> (Level, Rate) {
    let level = match report.outcome {
        Outcome::Cancelled | Outcome::Superseded | Outcome::Duplicate => Level::Debug,
        Outcome::ShutDown if report.negotiated.is_none() => Level::Debug,
        Outcome::Refused(_) | Outcome::Unreachable => return (Level::Warn, Rate::Warning),
        Outcome::PortClosed if !report.was_answered => Level::Warn,
        Outcome::Complete
        | Outcome::CompleteUnconfirmed
        | Outcome::ClientError(_)
        | Outcome::PortClosed
        | Outcome::NoAnswer
        | Outcome::TimedOut
        | Outcome::Restarted
        | Outcome::MovedOn
        | Outcome::Evicted
        | Outcome::Expired
        | Outcome::ShutDown => Level::Info,
    };
    // An address that never answered anything may be forged.
    let rate = match report.was_answered || report.outcome == Outcome::Cancelled {
        true => Rate::Transfer,
        false => Rate::Unvalidated,
    };
    (level, rate)
}
