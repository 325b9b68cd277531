//! What is worth a line of the log, as values: each line is one [`LogEvent`], which `lines` describes for all who write it.
//!
//! To add a line: a variant here, with an example in the test; what it says in `lines`; its fields in the manual. The
//! compiler and the test ask for each. Then `log.write(now, &LogEvent::New { .. })`.

use std::io::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use log::Record;

use super::Failure;
use super::overview::{Overview, Row};
use super::summary::StormReport;
use crate::config::Settings;
use crate::name::FileName;
use crate::os::files::Astray;
use crate::server::{Event, Limits, Stats};
use crate::wire::Peer;

/// One line of the log.
#[derive(Clone, Copy, Debug)]
pub(super) enum LogEvent<'a> {
    /// What the operator wants, in full.
    Settings(&'a Settings),
    /// Options of tftpd-hpa that have no meaning here, as they were typed.
    IgnoredOptions(&'a [String]),
    /// An address is in use, and is tried again for this long.
    PortTaken(SocketAddr, Duration),
    /// Requests to this address are read now; the socket has a name if it was handed over.
    Listening(SocketAddr, Option<&'a str>),
    /// The machine does not have this address, which is listened on.
    AddressMissing(SocketAddr),
    /// The receive buffer of a listening socket.
    ReceiveBuffer {
        address: SocketAddr,
        /// Bytes, as Linux returns them: twice what it granted.
        bytes: usize,
        wanted: usize,
    },
    /// The machine has too little memory for the usual queue.
    SmallMachine {
        megabytes: u64,
        /// How many may wait here.
        max_pending: usize,
    },
    /// Fewer descriptors may be open than could be needed.
    FewDescriptors {
        limit: u64,
        /// How many could be needed.
        needed: u64,
        /// What they suffice for.
        limits: &'a Limits,
    },
    /// No file can be served for now.
    RootUnreadable(&'a Failure),
    /// The root's path ends in a link, which is followed when it is swapped; all of the second directory may be read.
    RootLinkFollowed(&'a Path, &'a Path),
    /// The root's path ends in a link, which is followed at the start only.
    RootLinkIgnored(&'a Path),
    /// The link was swapped, and leads to the second path now.
    RootSwapped(&'a Path, &'a Path),
    /// What is served is no longer what the operator named.
    RootAstray(&'a Path, Astray),
    /// A file of rules cannot be read by who the process is now.
    RulesUnreadable(&'a Failure),
    /// A file of rules lies among other things: the sandbox leaves only the file itself open.
    RulesAlone(&'a Path),
    /// Files of rules were read again.
    Reloaded {
        /// Rules of the map, if it is another one.
        rules: Option<usize>,
        /// Networks in all, if there are others.
        networks: Option<usize>,
    },
    /// Files of rules were read again in vain.
    NotReloaded(&'a Failure),
    /// All privileges are given up.
    Confined {
        /// Who the process became; `None` if it stayed who it was.
        user: Option<&'a str>,
        sandbox: &'a str,
    },
    /// The server reports something.
    Server {
        event: Event<'a>,
        /// Who sent the ICMP error that ended a client that had answered nothing, if the system knows.
        rejected_by: Option<IpAddr>,
    },
    /// A rule of the map refused what this client asked for, with this text.
    Forbidden(Peer, &'a [u8], &'a [u8]),
    /// What this client asked for is not there, but the second name is.
    OtherCase(Peer, FileName<'a>, FileName<'a>),
    /// The hardware address of this client cannot be known.
    NotOnTheLink(Peer),
    /// Packets to a client that has sent nothing are rejected, which does not end the transfer.
    Rejected {
        peer: Peer,
        /// Who rejects them.
        by: IpAddr,
        error: &'a Error,
    },
    /// First packets to this address are lost, as if a NAT rewrote addresses.
    Rewritten(IpAddr),
    /// An ERROR could not be sent.
    AnswerFailed(Peer, &'a Error),
    /// The socket of a client cannot be read.
    ReceiveFailed(Peer, &'a Error),
    /// A listening socket cannot be read.
    ListenFailed(&'a Error),
    /// A socket cannot be watched.
    PollFailed(&'a Error),
    /// A disk failed; the line of the end names the file.
    DiskFailed(Peer, &'a Error),
    /// The helper waits for a disk.
    DiskSilent {
        /// For how long it has done nothing.
        span: Duration,
        /// How many jobs it has.
        waiting: usize,
    },
    /// It does no longer, after so long.
    DiskAnswers(Duration),
    /// A disk failed while an upload was written to it.
    WriteFailed(Peer, &'a Error),
    /// The number of unfinished uploads of an earlier process that were removed.
    Swept(u64),
    /// A file, by its name, has no mapping.
    Unmapped(&'a [u8]),
    /// What was dropped in silence since the last such line.
    Dropped(Drops),
    /// A library says something.
    Library(&'a Record<'a>),
    /// This many lines of the next one's kind were not written.
    Suppressed(u64),
    /// What the operator named for watching the server cannot be used, and the server goes on without it.
    WatchFailed(&'a Path, &'a Error),
    /// Statistics are written again.
    StatsWritten(&'a Path),
    /// The server as it is: what SIGUSR1 asks for.
    Overview(&'a Overview<'a>),
    /// A client, below such a line.
    Client(&'a Row<'a>),
    /// Nobody waits any more.
    StormOver(&'a StormReport),
    /// The operator wants the server to stop after this time, in which it answers no probes.
    LameDuck(Duration),
    /// The operator wants the server to stop.
    Stopping {
        serving: usize,
        /// For how long they may.
        drain: Duration,
    },
    /// What the server did in its life.
    Stopped(&'a Stats),
}

/// Numbers of what got no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Drops {
    /// Datagrams from addresses that may not ask.
    pub denied: u64,
    /// Requests of addresses of which enough waited.
    pub client_full: u64,
    /// Datagrams that were no requests.
    pub malformed: u64,
    /// Requests for names that were not in memory, while too many of these waited for a disk.
    pub names: u64,
    /// Answers that were not sent to unvalidated addresses.
    pub withheld: u64,
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use log::Level;

    use super::*;
    use crate::daemon::metrics::Metrics;
    use crate::moment::Moment;
    use crate::name::{FileName, FileNameBuf, NAME_MAX, RootPrefixes};
    use crate::server::{Report, Server, Standing};
    use crate::transfer::{Negotiated, Outcome, Terms, Wanted};
    use crate::wire::{Direction, Malformed, Refusal, Request};

    const MANUAL: &str = include_str!("../../man/tftpd.8");

    /// Values of an enum with what is expected of each. A variant without a value does not compile.
    macro_rules! every {
        ($enum:ident { $($variant:ident $fields:tt => $expected:expr,)* }) => {{
            #[allow(unreachable_patterns)]
            fn _is_complete(value: &$enum) {
                match value { $($enum::$variant { .. } => {})* }
            }
            [$(($enum::$variant $fields, $expected)),*]
        }};
    }

    /// The line of an event as the log has it.
    fn line(event: LogEvent<'_>) -> String {
        let (user, (level, ..)) = ("user tftp (1:2)", event.says());
        let json = event.json(Duration::from_millis(1_500), user);
        check_record(level, &json);
        format!("{level} {}", event.text(user))
    }

    /// Its fields are what the manual says, and it is one line that a pipe takes whole.
    fn check_record(level: Level, record: &str) {
        let fields: serde_json::Value = serde_json::from_str(record).expect(record);
        let fields = fields.as_object().expect("an object");
        assert!(record.is_ascii() && record.len() < 4_000, "{record}");
        assert!(
            record.starts_with("{\"time\":1.500000,\"level\":"),
            "{record}"
        );
        assert_eq!(fields["level"], level.as_str().to_lowercase());
        let kind = fields["event"].as_str().expect("text");
        let item = format!("\n.It Li {kind}\n");
        let (_, table) = MANUAL.split_once("\n.Sh MONITORING\n").expect("a table");
        let (_, item) = table
            .split_once(&item)
            .unwrap_or_else(|| panic!("the manual lacks {kind}"));
        let names = item
            .lines()
            .find_map(|line| line.strip_prefix(".Li "))
            .unwrap_or("");
        let names: Vec<&str> = names.split(' ').collect();
        for (field, value) in fields {
            let is_common = ["time", "level", "event"].contains(&&**field);
            assert!(
                is_common || names.contains(&&**field),
                "the manual lacks {field} of {kind}: {names:?}"
            );
            if ["outcome", "refusal"].contains(&&**field) {
                let word = value.as_str().expect("a word");
                assert!(MANUAL.contains(word), "the manual lacks {word}");
            }
        }
    }

    fn server(event: Event<'_>) -> LogEvent<'_> {
        let rejected_by = None;
        LogEvent::Server { event, rejected_by }
    }

    fn a_server() -> Server {
        Server::new(Moment::START, Limits::default())
    }

    fn peer() -> Peer {
        SocketAddr::from(([192, 0, 2, 7], 2070)).into()
    }

    fn name() -> FileNameBuf {
        let name = FileName::new(b"/a\nb", &RootPrefixes::new([]), &mut [0; NAME_MAX])
            .map(FileName::to_owned);
        name.expect("a name")
    }

    fn negotiated() -> Negotiated {
        let datagram = b"\0\x01f\0octet\0blksize\x001408\0windowsize\x004\0";
        let request = Request::parse(datagram).expect("a request");
        Wanted::new(request.options()).negotiate(Terms::default(), Some(1), None)
    }

    fn report<'a>(
        name: &'a FileNameBuf,
        outcome: Outcome,
        negotiated: Option<&'a Negotiated>,
    ) -> Report<'a> {
        Report {
            peer: peer(),
            asked: b"/a\nb",
            name: name.as_name(),
            direction: Direction::Read,
            outcome,
            was_answered: false,
            bytes: 42_430,
            pending: Duration::from_millis(4),
            held: Duration::ZERO,
            running: Duration::from_millis(12),
            negotiated,
            retransmissions: 1,
            length: Some(42_430),
            round_trip: Some(Duration::from_micros(300)),
        }
    }

    #[test]
    fn every_event_has_its_line() {
        let settings = Settings::from(PathBuf::from("/srv/tftp"));
        let debug = format!("DEBUG {settings:?}");
        let error = &Error::from_raw_os_error(5);
        let ignored = ["-t 120", "-U 027"].map(str::to_owned);
        let address = SocketAddr::from(([192, 0, 2, 10], 69));
        let (root, v2) = (Path::new("/srv/tftp/now"), Path::new("/srv/tftp/v2"));
        let failure = Failure {
            what: "/srv/tftp: not open to user 1, group 2".into(),
            why: Error::from_raw_os_error(13),
        };
        let [few, some] = [0, 7].map(|max_held| Limits {
            max_held,
            ..Limits::default()
        });
        let drops = Drops {
            denied: 1,
            client_full: 2,
            malformed: 3,
            names: 5,
            withheld: 4,
        };
        let there = name();
        let (server, metrics) = (a_server(), Metrics::new(false));
        let limits = &Limits::default();
        let overview = Overview::new(Moment::START, limits, &server, &metrics, 1);
        let name = &name();
        let row = Row {
            phase: Standing::Running,
            report: report(name, Outcome::ShutDown, None),
        };
        let storm = StormReport {
            lasted: Duration::from_secs(104),
            complete: 300,
            uploads: 2,
            waited: 268,
            longest_wait: Duration::from_millis(92_100),
            peak: 268,
            retransmissions: 12,
            sent_datagrams: 900,
            slots_used: 99,
            processor: Some(42),
            disk_waits: 3,
            full_sockets: 4,
        };
        let events = every!(LogEvent {
            Settings(&settings) => &*debug,
            IgnoredOptions(&ignored) => "WARN ignored options of tftpd-hpa: -t 120, -U 027; see in.tftpd(8)",
            PortTaken(address, Duration::from_secs(6)) => "WARN 192.0.2.10:69: in use, trying again for 6.000 s",
            Listening(address, None) => "INFO listening on 192.0.2.10:69",
            Listening(address, Some("tftp.socket")) => "INFO listening on 192.0.2.10:69 (handed over: tftp.socket)",
            AddressMissing(address) => "WARN 192.0.2.10:69: not an address of this machine yet: served when it is",
            ReceiveBuffer { address, bytes: 200, wanted: 100 } => "INFO 192.0.2.10:69: receive buffer of 200 bytes",
            ReceiveBuffer { address, bytes: 199, wanted: 100 } =>
                "WARN 192.0.2.10:69: receive buffer of 199 bytes, wanted 200: a storm may lose requests; raise \
                 net.core.rmem_max to 100",
            SmallMachine { megabytes: 64, max_pending: 5000 } =>
                "INFO 64 MB of memory: the queue holds at most 5000 requests (see -q)",
            FewDescriptors { limit: 99, needed: 100, limits: &some } =>
                "INFO 99 descriptors may be open, -n 32 and -q 20000 may need 100: at most 7 waiting clients are \
                 kept alive",
            FewDescriptors { limit: 99, needed: 100, limits: &few } =>
                "WARN 99 descriptors may be open, -n 32 and -q 20000 may need 100: at most 0 waiting clients are kept \
                 alive, and requests may wait for descriptors",
            RootUnreadable(&failure) =>
                "WARN /srv/tftp: not open to user 1, group 2: Permission denied (os error 13): every request will be \
                 refused",
            RootLinkFollowed(root, Path::new("/srv/tftp")) =>
                "INFO /srv/tftp/now: a symbolic link, followed when it is swapped; everything in /srv/tftp may be read",
            RootLinkIgnored(root) => "INFO /srv/tftp/now: a symbolic link; restart after swapping it",
            RootSwapped(root, v2) => "INFO /srv/tftp/now: now leads to /srv/tftp/v2",
            RootAstray(root, Astray::Gone) =>
                "WARN /srv/tftp/now: removed; the old directory is served: put it back, then restart",
            RulesUnreadable(&failure) =>
                "WARN /srv/tftp: not open to user 1, group 2: Permission denied (os error 13): SIGHUP will keep the \
                 old rules",
            RulesAlone(root) =>
                "INFO /srv/tftp/now: in a general directory: SIGHUP finds it if it is rewritten, not if it is \
                 replaced; a directory of its own allows both",
            Reloaded { rules: Some(3), networks: None } => "INFO reloaded: 3 rules in the map",
            Reloaded { rules: Some(3), networks: Some(2) } =>
                "INFO reloaded: 3 rules in the map, 2 networks",
            Reloaded { rules: None, networks: Some(0) } => "INFO reloaded: 0 networks",
            Reloaded { rules: None, networks: None } => "INFO reloaded: no rule has changed",
            NotReloaded(&failure) =>
                "WARN not reloaded, the old rules stay: /srv/tftp: not open to user 1, group 2: Permission denied \
                 (os error 13)",
            Confined { user: Some("tftp (1:2)"), sandbox: "off" } => "INFO user tftp (1:2), no capabilities, sandbox: off",
            Confined { user: None, sandbox: "off" } => "INFO no capabilities, sandbox: off",
            Server { event: Event::Exhausted, rejected_by: None } =>
                "WARN out of descriptors or memory: requests wait",
            Forbidden(peer(), b"x.pvt\xFF", b"not\nthis") =>
                "WARN 192.0.2.7:2070 \"x.pvt\\xff\": refused by the map: not\\nthis",
            OtherCase(peer(), there.as_name(), there.as_name()) =>
                "WARN 192.0.2.7:2070 \"a\\nb\": there is \"a\\nb\": names differ in letter case (see -i)",
            NotOnTheLink(peer()) =>
                "WARN 192.0.2.7:2070: no hardware address: a relay or router is between; such clients get the \
                 common directory, and no \\m",
            Rejected { peer: peer(), by: address.ip(), error } =>
                "WARN 192.0.2.7:2070: packets rejected by 192.0.2.10: Input/output error (os error 5)",
            Rewritten(address.ip()) =>
                "WARN 192.0.2.10: no first packet to this address was ever answered: if a NAT or a proxy rewrites \
                 addresses there, use --single-port",
            AnswerFailed(peer(), error) =>
                "WARN 192.0.2.7:2070: cannot send an answer: Input/output error (os error 5)",
            ReceiveFailed(peer(), error) => "WARN 192.0.2.7:2070: cannot receive: Input/output error (os error 5)",
            ListenFailed(error) => "WARN listening socket: cannot receive: Input/output error (os error 5)",
            PollFailed(error) => "WARN epoll: Input/output error (os error 5)",
            DiskFailed(peer(), error) =>
                "WARN 192.0.2.7:2070: disk: cannot read a block: Input/output error (os error 5)",
            DiskSilent { span: Duration::from_secs(2), waiting: 3 } =>
                "WARN no answer from the disk or file server for 2.000 s: 3 names or pieces of files are waited for",
            DiskAnswers(Duration::from_secs(7)) => "INFO the disk or file server answers again, after 7.000 s",
            WriteFailed(peer(), error) =>
                "WARN 192.0.2.7:2070: disk: cannot write an upload: Input/output error (os error 5)",
            Swept(3) => "INFO removed 3 unfinished uploads of an earlier run",
            Unmapped(b"\xE9") => "WARN \"\\xe9\": cannot be mapped into memory: read instead",
            Dropped(drops) =>
                "WARN dropped since the last such line: 1 from denied addresses, 2 over --per-client-pending, 3 \
                 malformed, 5 while the disk did not answer; answers withheld from unvalidated addresses: 4",
            Library(&Record::builder().args(format_args!("hm")).level(Level::Trace).target("mio").build()) => "TRACE hm",
            Suppressed(5) => "WARN 5 similar lines suppressed",
            WatchFailed(Path::new("/run/tftpd.stats"), error) =>
                "WARN /run/tftpd.stats: Input/output error (os error 5): goes on without it",
            StatsWritten(Path::new("/run/tftpd.stats")) => "INFO /run/tftpd.stats: written again",
            Overview(&overview) =>
                "INFO now: 0 of 32 slots taken, 0 lent, 0 finishing, 0 pending, 0 held, oldest wait 0.000 s; 0 requests, \
                 0 complete, 0 refused, 0 dropped, 0 bytes sent, 0 retransmissions",
            Client(&row) =>
                "INFO now: 192.0.2.7:2070 \"a\\nb\": running, 42430 of 42430 bytes, waited 0.004 s, running 0.012 s, round \
                 trip 0.300 ms, 1 retransmissions",
            StormOver(&storm) =>
                "INFO storm over after 104.000 s: 300 complete (2 uploads), 268 waited, at most 268 at a time, for at most 92.100 s; \
                 12 of 900 datagrams retransmitted; meanwhile 99 % of the slots in use, processor 42 % busy, 3 sends waited for \
                 the disk, 4 for the link",
            LameDuck(Duration::from_secs(5)) => "INFO lame duck: for 5 s requests are served, and probes are not",
            Stopping { serving: 2, drain: Duration::from_secs(3) } => "INFO stopping; 2 transfers have 3 s to finish",
            Stopped(&Stats::default()) =>
                "INFO stopped: 0 requests, 0 repeats, 0 complete, 0 cancelled, 0 replaced, 0 failed, 0 refused, 0 \
                 dropped, 0 withheld",
        });
        for (event, expected) in events {
            assert_eq!(line(event), expected);
        }
    }

    #[test]
    fn everything_that_the_server_reports_has_its_line() {
        let (name, peer) = (name(), peer());
        let refused = Refusal::NoAccess;
        let events = every!(Event {
            Ended(report(&name, Outcome::Complete, None)) => "INFO 192.0.2.7:2070 \"a\\nb\": complete; pending 0.004 s",
            Ended(report(&name, Outcome::Refused(refused), None)) =>
                "WARN 192.0.2.7:2070 \"a\\nb\": refused: access denied to user tftp (1:2); pending 0.004 s",
            Refused { peer, name: b"../a\n", looked_up: None, refusal: Refusal::OutsideRoot, is_answered: true } =>
                "WARN 192.0.2.7:2070 \"../a\\n\": refused: outside the served directory",
            Refused { peer, name: b"a", looked_up: Some(name.as_name()), refusal: Refusal::Forbidden, is_answered: true } =>
                "WARN 192.0.2.7:2070 \"a\" -> \"a\\nb\": refused: access violation",
            Refused { peer, name: b"a", looked_up: None, refusal: refused, is_answered: true } =>
                "WARN 192.0.2.7:2070 \"a\": refused: access denied to user tftp (1:2)",
            Taken { peer, asked: b"/x", name: name.as_name(), waiting: 0 } =>
                "DEBUG 192.0.2.7:2070 \"/x\" -> \"a\\nb\": admitted",
            Taken { peer, asked: b"\\a\nb", name: name.as_name(), waiting: 9 } => "DEBUG 192.0.2.7:2070 \"a\\nb\": queued, 9 waiting",
            Malformed { peer, malformed: Malformed::Short } => "DEBUG 192.0.2.7:2070: datagram dropped: too short",
            Refused { peer, name: b"a", looked_up: None, refusal: Refusal::NotFound, is_answered: false } =>
                "DEBUG 192.0.2.7:2070 \"a\": broadcast request not answered: no such file",
            QueueFull { peer } => "WARN 192.0.2.7:2070: request dropped: the queue is full (see -q)",
            Exhausted {} => "WARN out of descriptors or memory: requests wait",
            LargeBlocksLost { peer } =>
                "WARN 192.0.2.7:2070: acknowledged the OACK but no block, twice in a row: large packets are lost on \
                 the way? Blocks limited to 512 bytes for 10 minutes (see -B)",
            AddressFull { peer } =>
                "WARN 192.0.2.7: requests wait although slots are free, since --per-client are running: raise it where many \
                 machines share an address",
            FarAway { peer, round_trip: Duration::from_millis(80) } =>
                "WARN 192.0.2.7:2070: round trip 80 ms: distance limits the throughput of such clients; raise -n to \
                 serve more of them at once",
        });
        for (event, expected) in events {
            assert_eq!(line(server(event)), expected);
        }
    }

    /// Of a client that never acknowledged anything.
    #[test]
    fn every_outcome_has_its_words() {
        let (name, negotiated) = (name(), negotiated());
        let rest = "42430 bytes, pending 0.004 s, held 0.000 s, running 0.012 s, 3.5 MB/s, blksize 1408, \
                    windowsize 4, 1 retransmissions";
        let outcomes = every!(Outcome {
            Complete {} => "INFO complete",
            CompleteUnconfirmed {} => "INFO complete (last ACK missing)",
            Cancelled {} => "DEBUG cancelled by client",
            ClientError(5) => "INFO client error 5",
            PortClosed {} => "WARN first packet rejected",
            NoAnswer {} => "INFO no answer to the first packet",
            TimedOut {} => "INFO timed out",
            Restarted {} => "INFO client restarted",
            Duplicate {} => "DEBUG duplicate request",
            MovedOn {} => "INFO client moved on",
            Superseded {} => "DEBUG replaced by a request from another port",
            Evicted {} => "INFO evicted from full queue",
            Expired {} => "INFO client fell silent while queued",
            Refused(Refusal::ReadFailed) => "WARN file changed or could not be read",
            Refused(Refusal::NotFound) => "WARN refused: no such file",
            Unreachable {} => "WARN network unreachable",
            ShutDown {} => "INFO shut down",
        });
        for (outcome, expected) in outcomes {
            let (level, words) = expected.split_once(' ').expect("a level");
            let report = report(&name, outcome, Some(&negotiated));
            let expected = format!("{level} 192.0.2.7:2070 \"a\\nb\": {words}; {rest}");
            assert_eq!(line(server(Event::Ended(report))), expected);
        }
        let received = Report {
            direction: Direction::Write,
            ..report(&name, Outcome::Complete, Some(&negotiated))
        };
        let received = line(server(Event::Ended(received)));
        assert!(received.contains("complete; 42430 bytes received, pending"));
        let rejected = LogEvent::Server {
            event: Event::Ended(report(&name, Outcome::PortClosed, None)),
            rejected_by: Some(peer().address),
        };
        assert!(line(rejected).contains("first packet rejected by 192.0.2.7; "));
    }

    #[test]
    fn every_kind_of_nonsense_and_every_fault_of_the_root_has_its_words() {
        let peer = peer();
        let faults = every!(Malformed {
            Short {} => "too short",
            Opcode {} => "not a request",
            Name {} => "file name does not end",
            Mode {} => "mode missing or does not end",
            Oversized {} => "longer than any request",
            Unanswerable {} => "source port of no client",
        });
        for (malformed, expected) in faults {
            let line = line(server(Event::Malformed { peer, malformed }));
            assert!(line.ends_with(&format!("dropped: {expected}")), "{line}");
        }
        let astray = every!(Astray {
            Gone {} => "removed; the old directory is served: put it back, then restart",
            Replaced {} => "replaced or mounted over; the old directory is served: restart",
            Outside {} => "leads elsewhere now; the old directory is served: restart",
            Closed {} =>
                "leads to a directory this user may not read; the old directory is served: change its mode",
        });
        for (astray, expected) in astray {
            let line = line(LogEvent::RootAstray(Path::new("/srv/tftp"), astray));
            assert_eq!(line, format!("WARN /srv/tftp: {expected}"));
        }
    }
}
