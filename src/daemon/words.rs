//! Words of the log and of statistics: each for programs, which is what it is for ever, and for people.

use super::field::Word;
use crate::os::files::Astray;
use crate::server::Standing;
use crate::transfer::Outcome;
use crate::wire::{Direction, Malformed, Refusal};

/// How a request ended.
pub(super) fn outcome_word(outcome: Outcome) -> Word {
    match outcome {
        Outcome::Complete => Word("complete", "complete"),
        Outcome::CompleteUnconfirmed => Word("complete_unconfirmed", "complete (last ACK missing)"),
        Outcome::Cancelled => Word("cancelled", "cancelled by client"),
        Outcome::ClientError(_) => Word("client_error", "client error {code}"),
        Outcome::PortClosed => Word("port_closed", "client closed its port"),
        Outcome::NoAnswer => Word("no_answer", "no answer to the first packet"),
        Outcome::TimedOut => Word("timed_out", "timed out"),
        Outcome::Restarted => Word("restarted", "client restarted"),
        Outcome::Duplicate => Word("duplicate", "duplicate request"),
        Outcome::MovedOn => Word("moved_on", "client moved on"),
        Outcome::Superseded => Word("superseded", "replaced by a request from another port"),
        Outcome::Evicted => Word("evicted", "evicted from full queue"),
        Outcome::Expired => Word("expired", "client fell silent while queued"),
        Outcome::Refused(Refusal::NoAccess) => Word("refused", "refused: access denied to {user}"),
        Outcome::Refused(Refusal::ReadFailed | Refusal::FileChanged) => {
            Word("refused", "{refusal}")
        }
        Outcome::Refused(_) => Word("refused", "refused: {refusal}"),
        Outcome::Unreachable => Word("unreachable", "network unreachable"),
        Outcome::ShutDown => Word("shut_down", "shut down"),
    }
}

/// Why a client was refused; people are told what the client is told.
pub(super) fn refusal_word(refusal: Refusal) -> Word {
    let word = match refusal {
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
    };
    Word(word, refusal.message())
}

/// What is wrong with a datagram that is no request.
pub(super) fn malformed_word(malformed: Malformed) -> Word {
    match malformed {
        Malformed::Short => Word("short", "too short"),
        Malformed::Opcode => Word("not_a_request", "not a request"),
        Malformed::Name => Word("name_unterminated", "file name does not end"),
        Malformed::Mode => Word("mode_unterminated", "mode missing or does not end"),
        Malformed::Oversized => Word("oversized", "longer than any request"),
        Malformed::Unanswerable => Word("port_of_no_client", "source port of no client"),
    }
}

/// What happened to the root, and what to do.
pub(super) fn astray_word(astray: Astray) -> (Word, &'static str) {
    match astray {
        Astray::Gone => (Word("removed", "removed"), "put it back, then restart"),
        Astray::Replaced => (Word("replaced", "replaced or mounted over"), "restart"),
        Astray::Outside => (Word("outside", "leads elsewhere now"), "restart"),
        Astray::Closed => {
            let closed = "leads to a directory this user may not read";
            (Word("unreadable", closed), "change its mode")
        }
    }
}

/// Where a client is on its way.
pub(super) fn stage_word(stage: Standing) -> Word {
    let word = match stage {
        Standing::Pending => "pending",
        Standing::Held => "held",
        Standing::Running => "running",
        Standing::Lent => "lent",
        Standing::Finishing => "finishing",
        Standing::Overtaken => "overtaken",
    };
    Word(word, word)
}

/// What a request asked for; people are told, behind a number of bytes, if these came in.
pub(super) fn direction_word(direction: Direction) -> Word {
    match direction {
        Direction::Read => Word("read", ""),
        Direction::Write => Word("write", " received"),
    }
}
