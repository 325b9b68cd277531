//! Words for programs that read what the server says: in JSON, and in statistics. They stay what they are.

use crate::os::files::Astray;
use crate::server::Standing;
use crate::transfer::Outcome;
use crate::wire::{Direction, Malformed, Refusal};

/// What a request asked for.
pub(super) fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Read => "read",
        Direction::Write => "write",
    }
}

/// How a request ended, for programs.
pub(super) fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "complete",
        Outcome::CompleteUnconfirmed => "complete_unconfirmed",
        Outcome::Cancelled => "cancelled",
        Outcome::ClientError(_) => "client_error",
        Outcome::PortClosed => "port_closed",
        Outcome::NoAnswer => "no_answer",
        Outcome::TimedOut => "timed_out",
        Outcome::Restarted => "restarted",
        Outcome::Duplicate => "duplicate",
        Outcome::MovedOn => "moved_on",
        Outcome::Superseded => "superseded",
        Outcome::CrowdedOut => "evicted",
        Outcome::Expired => "expired",
        Outcome::Refused(_) => "refused",
        Outcome::Unreachable => "unreachable",
        Outcome::ShutDown => "shut_down",
    }
}

/// Why a client was refused, for programs.
pub(super) fn refusal_word(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotFound => "not_found",
        Refusal::EmptyName => "empty_name",
        Refusal::NameTooLong => "name_too_long",
        Refusal::OutsideRoot => "outside_root",
        Refusal::NotAFile => "not_a_file",
        Refusal::NoAccess => "no_access",
        Refusal::NotPublic => "not_public",
        Refusal::ReadOnly => "read_only",
        Refusal::Forbidden => "forbidden",
        Refusal::MailMode => "mail_mode",
        Refusal::UnknownMode => "unknown_mode",
        Refusal::ReadFailed => "read_failed",
        Refusal::FileChanged => "file_changed",
        Refusal::NoDirectory => "no_directory",
        Refusal::NoUploadsHere => "no_uploads_here",
        Refusal::FileExists => "file_exists",
        Refusal::NotPublicForWriting => "not_public_for_writing",
        Refusal::BeingWritten => "being_written",
        Refusal::NoSpace => "no_space",
        Refusal::WriteFailed => "write_failed",
        Refusal::LongBlock => "long_block",
    }
}

/// The same of what is no request.
pub(super) fn malformed_word(malformed: Malformed) -> &'static str {
    match malformed {
        Malformed::Short => "short",
        Malformed::Opcode => "not_a_request",
        Malformed::Name => "name_unterminated",
        Malformed::Mode => "mode_unterminated",
        Malformed::Oversized => "oversized",
        Malformed::Unanswerable => "port_of_no_client",
    }
}

/// What happened to the root, for programs.
pub(super) fn astray_word(astray: Astray) -> &'static str {
    match astray {
        Astray::Gone => "removed",
        Astray::Replaced => "replaced",
        Astray::Outside => "outside",
        Astray::Closed => "unreadable",
    }
}

/// Where a client is on its way, for programs and people.
pub(super) fn phase_word(phase: Standing) -> &'static str {
    match phase {
        Standing::Pending => "pending",
        Standing::Held => "held",
        Standing::Running => "running",
        Standing::Lent => "lent",
        Standing::Finishing => "finishing",
        Standing::Overtaken => "overtaken",
    }
}
