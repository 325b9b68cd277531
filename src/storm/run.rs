//! The loop: receive, let timers run out, look after the progress, sleep.

use std::io;
use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::os::clock::Clock;
use ripple_tftpd::os::poll::{Events, Poll, Source};
use ripple_tftpd::os::process::{Signal, Signals, raise_descriptor_limit};
use ripple_tftpd::os::receive::Batch;

use crate::fleet::Fleet;
use crate::options::Order;
use crate::plan;
use crate::progress::Progress;
use crate::server_view::{ServerView, Watcher};
use crate::watch::{OwnTime, ServerProcess};

/// How a rehearsal went.
pub(crate) struct Run {
    pub(crate) fleet: Fleet,
    pub(crate) ended: Moment,
    pub(crate) was_interrupted: bool,
    pub(crate) own: OwnTime,
    pub(crate) process: Option<ServerProcess>,
    pub(crate) server: Option<ServerView>,
}

/// Rehearses until every machine has booted or failed, time is up, or it is interrupted.
pub(crate) fn run(order: &Order) -> io::Result<Run> {
    let plan = plan::machines(order);
    let limit = raise_descriptor_limit(needed(order.clients))?;
    let per_machine = usize::try_from(limit).unwrap_or(usize::MAX) / order.clients;
    let kept = per_machine.saturating_sub(2).min(KEPT_MAX);

    let signals = Signals::new()?;
    let mut poll = Poll::new()?;
    poll.add(&signals, Source::Signals)?;
    let mut batch = Batch::new(BATCH, DATAGRAM_MAX);
    let mut events = Events::default();
    let mut progress = Progress::new(order.clients);
    let process = order.pid.map(ServerProcess::look_at).transpose()?;

    let clock = Clock::start();
    let watcher = order.control.as_deref();
    let watcher = watcher.map(|path| Watcher::start(path, clock)).transpose();
    let watcher = watcher.map_err(io::Error::other)?;
    let mut run = Run {
        fleet: Fleet::new(order, &plan, kept),
        ended: Moment::START,
        was_interrupted: false,
        own: OwnTime::start(clock.now())?,
        process,
        server: None,
    };
    let end = Moment::START + order.limit;
    let mut glance_at = Moment::START;
    let mut full_turns = 0;
    while run.fleet.under_way > 0 && !run.was_interrupted {
        let now = clock.now();
        if end <= now {
            break;
        }
        if glance_at <= now {
            run.glance(&clock, &mut progress)?;
            glance_at = now + GLANCE;
        }
        let wake_at = run.fleet.next_wakeup().unwrap_or(end);
        let until = wake_at.min(glance_at).min(end);
        poll.wait(&mut events, now, Some(until))?;
        let mut count = 0;
        for ready in events.iter() {
            count += 1;
            match ready.source {
                Source::Client(key) => run.fleet.receive(&clock, key, &mut batch, &poll)?,
                Source::Signals => run.was_interrupted |= is_stop(&signals),
                Source::Listener(_)
                | Source::Timer
                | Source::Helper
                | Source::Control
                | Source::ControlClient(_) => {}
            }
        }
        // A timer must not run out while its answer lies unread, but nor may it starve.
        full_turns = if count < MANY { 0 } else { full_turns + 1 };
        if full_turns < FULL_TURNS_MAX {
            if count < MANY {
                run.fleet.on_wakeup(clock.now(), &poll)?;
            }
        } else {
            full_turns = 0;
            run.fleet.on_wakeup(clock.now(), &poll)?;
        }
    }
    run.ended = clock.now();
    run.server = watcher.map(Watcher::stop);
    run.glance(&clock, &mut progress)?;
    progress.finish();
    Ok(run)
}

impl Run {
    fn glance(&mut self, clock: &Clock, progress: &mut Progress) -> io::Result<()> {
        self.own.sample(clock.now(), self.fleet.counts.received)?;
        if let Some(process) = &mut self.process {
            process.sample(clock);
        }
        progress.show(&self.fleet);
        Ok(())
    }
}

pub(crate) fn is_stop(signals: &Signals) -> bool {
    let mut came = std::iter::from_fn(|| signals.next());
    came.any(|signal| match signal {
        Signal::Stop | Signal::HangUp => true,
        Signal::Show | Signal::Ignored => false,
    })
}

fn needed(clients: usize) -> u64 {
    clients as u64 * (2 + KEPT_MAX as u64) + 64
}

/// Between two looks at processor time, memory and progress.
const GLANCE: Duration = Duration::from_millis(200);
/// The largest window that firmware asks for.
pub(crate) const BATCH: usize = 16;
/// A block of 65464 bytes and its header, and one byte more to see that it is too long.
pub(crate) const DATAGRAM_MAX: usize = 65_469;
/// Sockets of closed ports that a machine keeps, if the system has that many.
const KEPT_MAX: usize = 4;
/// So many events at once mean that more may wait.
const MANY: usize = 1024;
const FULL_TURNS_MAX: u32 = 8;
