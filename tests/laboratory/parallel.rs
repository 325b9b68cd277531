//! Independent pieces of work, as many at once as there are processors.

use std::num::NonZero;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Returns what came of each piece of work, in their order.
///
/// # Panics
/// If one of them does; the others are finished first.
pub(crate) fn in_parallel<W: Sync, T: Send + Sync>(
    work: &[W],
    act: impl Fn(&W) -> T + Sync,
) -> Vec<T> {
    let done: Vec<OnceLock<T>> = work.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let take_part = || {
        while let number = next.fetch_add(1, Ordering::Relaxed)
            && let Some(piece) = work.get(number)
        {
            done[number].get_or_init(|| act(piece));
        }
    };
    thread::scope(|scope| {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        for _ in 0..processors.min(work.len()) {
            scope.spawn(take_part);
        }
    });
    done.into_iter().filter_map(OnceLock::into_inner).collect()
}
