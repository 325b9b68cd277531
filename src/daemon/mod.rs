//! The loop. One turn is always the same: receive, wake, send, sleep.
//!
//! It decides nothing of the protocol: it carries datagrams from sockets to the [`Server`], sends what that says, and
//! sleeps until the server wants to be woken. The clock is read once a turn. What one turn receives is bounded, so a flood of
//! requests starves neither timers nor transfers; what is left unread is remembered, since the poll is
//! edge-triggered and does not repeat an event.
//!
//! Read `open` (what is opened and what is given up before the loop begins), `world` and `io` (the server's hands),
//! `requests`, `connection` (how packets leave), `lookups` (who waits for a disk),
//! `events` (every line of the log) and `lines` (its words).

mod bind;
mod budget;
mod check;
mod confine;
mod connection;
mod control;
mod disk;
mod events;
mod exposition;
mod field;
mod io;
mod json;
mod lines;
mod log;
mod lookups;
mod machine;
mod manager;
mod map_test;
mod metrics;
mod naming;
mod nat;
mod open;
mod outbox;
mod overview;
mod probe;
mod requests;
mod root;
mod rules;
mod start;
mod statistics;
mod summary;
mod text;
mod uploads;
mod words;
mod world;

use std::io::{Error, Result as IoResult};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;
use std::{fmt, mem};

use crate::config::{Rules, Settings};
use crate::moment::Moment;
use crate::os::background::PidFile;
use crate::os::clock::Clock;
use crate::os::helper::Done;
use crate::os::poll::{Events, Source};
use crate::os::process::{Signal, Signals};
use crate::os::receive::Batch;
use crate::os::resolve::Found;
use crate::server::Server;
pub use check::check;
use disk::DiskWatch;
use events::LogEvent;
use lookups::Sought;
use manager::Manager;
pub use map_test::map_test;
pub use probe::probe;
use root::RootWatch;
use rules::Rereading;
pub use start::Start;
use statistics::Statistics;
use uploads::News;
use world::World;

/// Why the server could not begin: what was tried, and what came of it.
#[derive(Debug)]
pub struct Failure {
    what: String,
    why: Error,
}

impl Failure {
    /// Of what was done with a path.
    fn of((path, why): (impl AsRef<Path>, Error)) -> Failure {
        let what = path.as_ref().display().to_string();
        Failure { what, why }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// Adds what was tried to an error.
fn trying<T>(what: impl fmt::Display, result: IoResult<T>) -> Result<T, Failure> {
    result.map_err(|why| Failure {
        what: what.to_string(),
        why,
    })
}

/// Serves until a signal ends it, or hands over to a process in the background. Returns the status to end with.
///
/// # Errors
/// Why it could not begin. Once it serves, nothing ends it but a signal, or a poll that fails.
pub fn run(mut settings: Settings, start: &mut Start) -> Result<u8, Failure> {
    let handed = match start.begin(&mut settings)? {
        ControlFlow::Continue(handed) => handed,
        ControlFlow::Break(status) => return Ok(status),
    };
    let mut daemon = Daemon::open(&settings, handed, start.manager.take())?;
    daemon.manager.ready();
    start.serves();
    loop {
        let now = daemon.clock.now();
        daemon.receive(now);
        daemon.wake_and_send(now);
        if daemon.server.is_stopped() {
            daemon.world.log.stopped(daemon.server.stats());
            return Ok(0);
        }
        daemon.sleep(now)?;
    }
}

/// Everything the loop holds.
struct Daemon {
    clock: Clock,
    signals: Signals,
    rules: Rules,
    /// The files that hold some of them.
    rereading: Rereading,
    server: Server,
    world: World,
    /// One for each root.
    roots: Vec<RootWatch>,
    disk: DiskWatch,
    events: Events,
    /// Buffers for requests.
    requests: Batch,
    /// Listening sockets that may hold more than was read.
    unread_listeners: Vec<usize>,
    /// Some wait until the roots were looked at.
    requests_wait: bool,
    /// Shared sockets that may keep more errors than were read.
    rejecting: Vec<usize>,
    /// Other threads may have done more than was taken note of.
    has_done: bool,
    manager: Manager,
    watch: Statistics,
    /// When the drain begins, once the signal to stop came.
    drain_at: Option<Moment>,
    /// Emptied when the value goes.
    _pid_file: Option<PidFile>,
}

impl Daemon {
    /// What other threads have done, requests, and what clients answer.
    fn receive(&mut self, now: Moment) {
        self.world.now = now;
        self.take_events(now);
        if self.drain_at.is_some() {
            self.drain(now);
        }
        if self.rereading.is_wanted {
            self.look_at_roots(now);
            self.rereading.ask(&self.world.helper);
        }
        if mem::take(&mut self.has_done) {
            self.receive_done(now);
        }
        if self.requests_wait || !self.unread_listeners.is_empty() {
            self.receive_requests(now);
        }
        self.receive_replies(now);
        if !self.rejecting.is_empty() {
            self.receive_rejections(now);
        }
    }

    fn wake_and_send(&mut self, now: Moment) {
        self.server.on_wakeup(now, &mut self.world);
        self.server.send_ready(now, &mut self.world);
        for number in 0..self.world.outboxes.len() {
            if !self.world.outboxes[number].is_full {
                self.world.flush(number);
            }
        }
        self.world.log.drops(now, self.server.stats());
    }

    /// Sorts the events of the poll into what is to be read.
    fn take_events(&mut self, now: Moment) {
        let mut has_signals = false;
        for readiness in self.events.iter() {
            match readiness.source {
                Source::Listener(number) => {
                    remember(&mut self.unread_listeners, number);
                    if readiness.is_writable && self.world.is_shared() {
                        for client in self.world.on_listener_writable(number) {
                            self.server.on_writable(client);
                        }
                    }
                    if readiness.is_error && self.world.is_shared() {
                        remember(&mut self.rejecting, number);
                    }
                }
                Source::Client(client) => {
                    if readiness.is_writable {
                        // One event is enough.
                        self.world.watch_writable(client, false);
                        self.server.on_writable(client);
                    }
                    if readiness.is_readable {
                        self.world.unread.push(client);
                    }
                }
                Source::Timer => {}
                Source::Helper => self.has_done = true,
                Source::Control | Source::ControlClient(_) => self.watch.wake(),
                Source::Signals => has_signals = true,
            }
        }
        self.events.clear();
        while has_signals && let Some(signal) = self.signals.next() {
            match signal {
                Signal::Ignored => {}
                Signal::HangUp => {
                    self.manager.reloading();
                    self.rereading.is_wanted = true;
                }
                Signal::Show => self.watch.show(now, &self.server, &mut self.world),
                Signal::Stop => self.stop(now),
            }
        }
    }

    /// Begins to stop; the second time, ends at once.
    fn stop(&mut self, now: Moment) {
        if self.drain_at.is_some() {
            return self.server.abort(now, &mut self.world);
        }
        self.manager.stopping();
        self.watch.stopping();
        let lame_duck = self.rules.lame_duck;
        self.drain_at = Some(now + lame_duck);
        if lame_duck > Duration::ZERO {
            self.server.become_lame_duck();
            self.world.log.write(now, &LogEvent::LameDuck(lame_duck));
        }
    }

    /// Begins the drain if it is time.
    fn drain(&mut self, now: Moment) {
        if self.server.is_stopping() || self.drain_at.is_none_or(|at| now < at) {
            return;
        }
        let drain = self.rules.drain;
        self.server.stop(now, &mut self.world, drain);
        let serving = self.server.serving();
        let stopping = LogEvent::Stopping { serving, drain };
        self.world.log.write(now, &stopping);
    }

    /// Takes what other threads have done, a bounded number at once.
    fn receive_done(&mut self, now: Moment) {
        for _ in 0..DONE_AT_ONCE {
            let (news, done) = (self.world.uploads.next(now), self.world.helper.next());
            if news.is_none() && done.is_none() {
                return;
            }
            news.into_iter().for_each(|news| self.on_news(now, news));
            done.into_iter().for_each(|done| self.on_done(now, done));
        }
        self.has_done = true;
    }

    fn on_news(&mut self, now: Moment, news: News) {
        let Daemon { server, world, .. } = self;
        match news {
            News::Room(client) => server.on_room(now, client),
            News::Stored(client, result) => {
                if let (Err((_, error)), Some(open)) = (result, world.connection(client)) {
                    let failed = LogEvent::WriteFailed(open.peer, &error.into());
                    world.log.write(now, &failed);
                }
                server.on_stored(now, world, client, result.map_err(|(refusal, _)| refusal));
            }
            News::Swept(files) => world.log.write(now, &LogEvent::Swept(files)),
        }
    }

    fn on_done(&mut self, now: Moment, done: Done) {
        let world = &mut self.world;
        match done {
            Done::Read(client, serial, fetched) => {
                let connection = world.connection(client);
                if let Some(open) = connection.filter(|open| open.serial == serial) {
                    if let Some(content) = &mut open.content {
                        content.errand().end(now, Some(fetched));
                    }
                    self.server.on_writable(client);
                }
            }
            Done::Looked(number, seen) => self.roots[number].saw(now, seen, world),
            Done::OtherCase(peer, asked, there) => {
                if let Some(there) = there {
                    let event = LogEvent::OtherCase(peer, asked.as_name(), there.as_name());
                    world.log.write(now, &event);
                }
            }
            Done::Reread(texts) => {
                let access = &mut self.rules.access;
                self.rereading.done(now, texts, world, access);
                match self.rereading.is_wanted {
                    // Once more: a signal came meanwhile, and nothing else may wake the loop.
                    true => self.rereading.ask(&self.world.helper),
                    false => self.manager.ready(),
                }
            }
            Done::Resolved(answer) => {
                let (question, (resolved, there)) = *answer;
                match there {
                    Some((name, Found::File(opened))) => world.files.keep_found(name, opened),
                    Some((name, Found::Place(place))) => world.uploads.found = Some((name, place)),
                    None => {}
                }
                let sought = Sought::Name(question.clone());
                world.naming.answered = Some((question, resolved));
                self.hand_in(now, &sought);
            }
            Done::Opened(name, opened) => {
                world.files.keep_found(name.clone(), opened);
                self.hand_in(now, &Sought::File(name));
            }
            Done::Placed(name, place) => {
                world.uploads.found = Some((name.clone(), place));
                self.hand_in(now, &Sought::Place(name));
            }
        }
    }

    /// Hands what clients sent to the server, a bounded number from each socket.
    fn receive_replies(&mut self, now: Moment) {
        let mut unread = mem::take(&mut self.world.unread);
        // One that sends on and on is in it once.
        unread.sort_unstable();
        unread.dedup();
        unread.retain(|&client| self.server.on_readable(now, &mut self.world, client));
        unread.append(&mut self.world.unread);
        self.world.unread = unread;
    }

    fn sleep(&mut self, now: Moment) -> Result<(), Failure> {
        let may_go_on = !self.world.unread.is_empty()
            || !self.rejecting.is_empty()
            || self.has_done
            || self.server.has_ready();
        let requests_at = match (self.requests_wait, self.unread_listeners.is_empty()) {
            (false, true) => None,
            (_, false) if self.world.is_shared() => Some(now),
            (_, _) => self.roots_awaited_until(now).or(Some(now)),
        };
        let tell_at = self.manager.look(now, &self.server);
        let watch_at = self.watch.look(now, &self.server, &mut self.world);
        let drain_at = self.drain_at.filter(|_| !self.server.is_stopping());
        let World { helper, log, .. } = &mut self.world;
        let disk_at = self.disk.look(now, helper, log);
        let server_at = self.server.next_wakeup();
        let until = match may_go_on {
            true => Some(now),
            false => {
                let ours = [tell_at, watch_at, disk_at, server_at, requests_at, drain_at];
                Moment::first_of(ours)
            }
        };
        let wait = self.world.poll.wait(&mut self.events, now, until);
        trying("epoll", wait)
    }
}

/// Adds a number to a short list once.
fn remember(list: &mut Vec<usize>, number: usize) {
    if !list.contains(&number) {
        list.push(number);
    }
}

/// What is taken of other threads in one turn.
const DONE_AT_ONCE: usize = 256;
