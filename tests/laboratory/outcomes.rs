//! Every way a request can end, for tests that must have seen them all.

use ripple_tftpd::transfer::Outcome;
use ripple_tftpd::wire::Refusal;

/// One of each.
pub(crate) const OUTCOMES: [Outcome; 15] = [
    Outcome::Complete,
    Outcome::CompleteUnconfirmed,
    Outcome::Cancelled,
    Outcome::ClientError(4),
    Outcome::PortClosed,
    Outcome::NoAnswer,
    Outcome::TimedOut,
    Outcome::Restarted,
    Outcome::MovedOn,
    Outcome::Superseded,
    Outcome::Evicted,
    Outcome::Expired,
    Outcome::Refused(Refusal::ReadFailed),
    Outcome::Unreachable,
    Outcome::ShutDown,
];
