//! What is worth a line of the log, as values: each line is one [`LogEvent`], and whoever writes lines (`text`) or
//! counts them reads the same value.
//!
//! To add a line: a variant here, its arm in [`LogEvent::class`], its words in `text`, its example in the test there;
//! the compiler asks for each. Then `log.write(now, &LogEvent::New { .. })`.

use std::io::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use log::Level;

use super::Failure;
use crate::config::Settings;
use crate::os::files::Astray;
use crate::server::{Event, Limits, Stats};
use crate::transfer::Outcome;
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
    /// Requests to this address are read now.
    Listening(SocketAddr),
    /// The receive buffer of a listening socket.
    ReceiveBuffer {
        /// Where it listens.
        address: SocketAddr,
        /// Bytes, as the kernel tells them: twice what it granted.
        bytes: usize,
        /// Bytes that were asked for.
        wanted: usize,
    },
    /// The machine has too little memory for the usual queue.
    SmallMachine {
        /// Of memory.
        megabytes: u64,
        /// How many may wait here.
        max_pending: usize,
    },
    /// Fewer descriptors may be open than could be needed.
    FewDescriptors {
        /// How many may be open.
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
    /// All privileges are given up.
    Confined {
        /// Who the process became; `None` if it stayed who it was.
        user: Option<&'a str>,
        /// What confines it.
        sandbox: &'a str,
    },
    /// The server reports something.
    Server {
        /// What.
        event: Event<'a>,
        /// Who sent the ICMP error that ended a client that had answered nothing, if the system tells.
        rejected_by: Option<IpAddr>,
    },
    /// Packets to a client that has sent nothing are rejected, which does not end the transfer.
    Rejected {
        /// Whose packets.
        peer: Peer,
        /// Who rejects them.
        by: IpAddr,
        /// How.
        error: &'a Error,
    },
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
    /// A file, by its name, has no mapping.
    Unmapped(&'a [u8]),
    /// What was dropped in silence since the last such line.
    Dropped(Drops),
    /// This many lines of the next one's kind were not written.
    Suppressed(u64),
    /// The operator wants the server to stop.
    Stopping {
        /// Transfers that go on.
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
    /// Answers that were not sent to unvalidated addresses.
    pub withheld: u64,
}

/// How many lines of a kind are written, so that a flood of them fills no disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rate {
    /// It cannot be brought about from the network.
    Unlimited,
    /// Something is wrong.
    Warning,
    /// A transfer came to its end.
    Transfer,
    /// Brought about by an address that never acknowledged anything: anybody can forge a request.
    Unvalidated,
    /// What only somebody who asked for more wants to know.
    Detail,
}

impl LogEvent<'_> {
    /// How important it is, and how many of its kind are written.
    pub(super) fn class(&self) -> (Level, Rate) {
        match self {
            LogEvent::Settings(_) => (Level::Debug, Rate::Unlimited),
            LogEvent::IgnoredOptions(_)
            | LogEvent::PortTaken(..)
            | LogEvent::RootUnreadable(_)
            | LogEvent::Dropped(_)
            | LogEvent::Suppressed(_) => (Level::Warn, Rate::Unlimited),
            LogEvent::ReceiveBuffer { bytes, wanted, .. } if *bytes < 2 * wanted => {
                (Level::Warn, Rate::Unlimited)
            }
            LogEvent::FewDescriptors { limits, .. } if limits.max_held == 0 => {
                (Level::Warn, Rate::Unlimited)
            }
            LogEvent::Listening(_)
            | LogEvent::ReceiveBuffer { .. }
            | LogEvent::SmallMachine { .. }
            | LogEvent::FewDescriptors { .. }
            | LogEvent::RootLinkFollowed(..)
            | LogEvent::RootLinkIgnored(_)
            | LogEvent::RootSwapped(..)
            | LogEvent::Confined { .. }
            | LogEvent::Stopping { .. }
            | LogEvent::Stopped(_) => (Level::Info, Rate::Unlimited),
            LogEvent::RootAstray(..)
            | LogEvent::AnswerFailed(..)
            | LogEvent::ReceiveFailed(..)
            | LogEvent::ListenFailed(_)
            | LogEvent::PollFailed(_)
            | LogEvent::DiskFailed(..)
            | LogEvent::Unmapped(_) => (Level::Warn, Rate::Warning),
            LogEvent::Rejected { .. } => (Level::Warn, Rate::Unvalidated),
            LogEvent::Server { event, .. } => class_of(event),
        }
    }
}

fn class_of(event: &Event<'_>) -> (Level, Rate) {
    match event {
        Event::Ended(report) => {
            // Of an address that never answered anything nobody knows whether it exists.
            let has_answered = report.was_answered || report.outcome == Outcome::Cancelled;
            let rate = match report.outcome {
                Outcome::Refused(_) => Rate::Warning,
                _ if has_answered => Rate::Transfer,
                _ => Rate::Unvalidated,
            };
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
            (level, rate)
        }
        Event::Taken { .. } | Event::Unanswered { .. } => (Level::Debug, Rate::Detail),
        Event::Nonsense { .. } => (Level::Debug, Rate::Unvalidated),
        Event::Refused { .. }
        | Event::QueueFull { .. }
        | Event::Unreachable { .. }
        | Event::Exhausted
        | Event::LargeBlocksLost { .. }
        | Event::FarAway { .. } => (Level::Warn, Rate::Warning),
    }
}
