//! What the machine has not enough memory or descriptors for.

use std::io::Error;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::events::LogEvent;
use super::log::Log;
use super::{Failure, trying};
use crate::config::{Ports, Settings};
use crate::moment::Moment;
use crate::os::process::{memory, raise_descriptor_limit};
use crate::server::Limits;

/// Lowers what the machine has not enough memory or descriptors for: each client needs a socket, and a file
/// of its own if nobody else is sent the same.
pub(super) fn bound_by_machine(
    now: Moment,
    settings: &Settings,
    listeners: usize,
    log: &mut Log,
) -> Result<Limits, Failure> {
    let mut limits = settings.limits;
    let memory = trying("sysinfo", memory())?;
    if memory < MEMORY_USUAL && !settings.queue_is_chosen {
        limits.max_pending = queue_within(memory, limits.max_pending);
        let small = LogEvent::SmallMachine {
            megabytes: memory >> 20,
            max_pending: limits.max_pending,
        };
        log.write(now, &small);
    }
    let beside = listeners + DESCRIPTORS_BESIDE;
    // A socket and a file, and the directory of an upload.
    let each = if settings.uploads.are_on() { 3 } else { 2 };
    let needed = match settings.ports {
        // Files only, most of which several clients share.
        Ports::Single => (each - 1) * limits.max_transfers + beside,
        Ports::Any | Ports::Range(_) => each * limits.max_sockets() + beside,
    };
    let needed = u64::try_from(needed).unwrap_or(u64::MAX);
    let limit = trying("RLIMIT_NOFILE", raise_descriptor_limit(needed))?;
    if limit < needed && settings.ports != Ports::Single {
        let limit_here = usize::try_from(limit).unwrap_or(usize::MAX);
        limits.bound_held_by(limit_here.saturating_sub(beside) * 2 / each);
        let few = LogEvent::FewDescriptors {
            limit,
            needed,
            limits: &limits,
        };
        log.write(now, &few);
    }
    Ok(limits)
}

/// The length of the queue on a machine with this much memory, in bytes.
fn queue_within(memory: u64, usual: usize) -> usize {
    let share = u128::from(memory.min(MEMORY_USUAL));
    let queue = usual as u128 * share / u128::from(MEMORY_USUAL);
    usize::try_from(queue).unwrap_or(usual)
}

/// A socket, a file and a directory on the way to it can be opened: else nobody is ever served.
pub(super) fn can_open(root: BorrowedFd<'_>) -> Result<(), Failure> {
    let opened: Result<Vec<OwnedFd>, Error> = (0..3).map(|_| root.try_clone_to_owned()).collect();
    trying("RLIMIT_NOFILE is too low to serve anybody", opened).map(drop)
}

/// Bytes of memory that the usual queue takes for granted.
const MEMORY_USUAL: u64 = 256 << 20;

/// Standard streams, epoll, its timer, signals, the root, a lookup.
const DESCRIPTORS_BESIDE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_little_memory_has_a_shorter_queue() {
        let megabytes = |memory: u64| queue_within(memory << 20, 20_000);
        assert_eq!(megabytes(1 << 20), 20_000, "it is never longer");
        assert_eq!(megabytes(256), 20_000);
        assert_eq!(megabytes(128), 10_000);
        assert_eq!(megabytes(64), 5_000);
        assert_eq!(megabytes(16), 1_250);
        assert_eq!(queue_within(u64::MAX, usize::MAX), usize::MAX);
    }
}
