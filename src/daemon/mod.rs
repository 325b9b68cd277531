//! The loop. One turn is always the same: receive, wake, send, sleep.
//!
//! It knows no protocol: it carries datagrams from sockets to the [`Server`] and sleeps until the server
//! wants to be woken. The clock is read once a turn. What one turn receives is bounded, so a flood of
//! requests starves neither timers nor transfers; what is left unread is remembered, since the poll is
//! edge-triggered and does not repeat an event.
//!
//! Read `bind` (where it listens), `confine` (what is given up before the loop begins), `io` (the server's
//! hands) and `events` (every line of the log).

mod bind;
mod budget;
mod check;
mod confine;
mod connection;
mod control;
mod disk;
mod done;
mod events;
mod exposition;
mod field;
mod flush;
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

use std::fmt;
use std::io::{Error, Result as IoResult};
use std::mem;

use crate::config::{Door, LISTEN_MAX, Ports, Rules, Settings};
use crate::moment::Moment;
use crate::os::background::PidFile;
use crate::os::clock::Clock;
use crate::os::handed::Socket;
use crate::os::neighbours::Neighbours;
use crate::os::notify::Notify;
use crate::os::poll::{Events, LISTENERS_MAX, Poll, Source};
use crate::os::process::{Signal, Signals};
use crate::os::receive::Batch;
use crate::server::Server;
use crate::transfer::options::BLKSIZE_MAX;
use crate::wire::{DataHeader, Peer};
use confine::Kept;
use disk::DiskWatch;
use events::LogEvent;
use io::World;
use log::Log;
use lookups::Request;
use machine::{bound_by_machine, can_open};
use manager::Manager;
use naming::Naming;
pub use probe::probe;
use root::{RootWatch, open_roots};
use rules::Rereading;
use start::Begun;
pub use start::Start;
use statistics::{Prepared, Statistics};

/// Why the server could not begin: what was tried, and what came of it.
#[derive(Debug)]
pub struct Failure {
    what: String,
    why: Error,
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

/// Checks whether the directory could be served by the user who would serve it, and what in it could not. Gives up what
/// the server would. Returns lines for the operator.
///
/// # Errors
/// Why it could not be served.
pub fn check(settings: &Settings) -> Result<String, Failure> {
    let files = open_roots(settings)?;
    let names = rules::names(settings, &files, rules::map(settings)?);
    let account = confine::account(settings)?;
    confine::give_up_privileges(settings, &files, account.as_ref())?;
    confine::find_readable(settings, &files)?;
    confine::confine_files(settings, &files)?;
    let user = confine::name_of(account.as_ref());
    let report = check::report(&files, &user);
    let roots = settings.roots.iter().map(|root| root.display().to_string());
    let report = trying(roots.collect::<Vec<_>>().join(", "), report)?;
    let closed = confine::closed_to_uploads(settings, &files, &user);
    let rules = check::rules(settings, &names);
    Ok(check::few_ports(&settings.ports) + &rules + &closed + &report)
}

/// Shows what the map makes of the names that `settings` hold, in lines for the operator.
///
/// # Errors
/// Where the map or a directory cannot be read.
pub fn map_test(settings: &Settings) -> Result<String, Failure> {
    map_test::report(settings)
}

/// Serves until a signal ends it, or lets another process do so. Returns the status to end with.
///
/// # Errors
/// Why it could not begin. Once it serves, nothing ends it but a signal.
pub fn run(mut settings: Settings, start: &mut Start) -> Result<u8, Failure> {
    let handed = match start.begin(&mut settings)? {
        Begun::Here(handed) => handed,
        Begun::Elsewhere(status) => return Ok(status),
    };
    let mut daemon = Daemon::new(&settings, handed, start.manager.take())?;
    daemon.manager.ready();
    start.serves();
    loop {
        match daemon.turn()? {
            Turn::GoOn => {}
            Turn::Stop => return Ok(0),
        }
    }
}

/// Whether the loop goes on.
enum Turn {
    GoOn,
    Stop,
}

/// Everything the loop holds.
struct Daemon {
    clock: Clock,
    signals: Signals,
    rules: Rules,
    /// The files that hold some of them.
    rereading: Rereading,
    server: Server,
    /// One for each root.
    roots: Vec<RootWatch>,
    disk: DiskWatch,
    world: World,
    events: Events,
    /// Buffers for requests.
    requests: Batch,
    /// Listening sockets that may hold more than was read.
    unread_listeners: Vec<usize>,
    /// Shared sockets that may keep more errors than were read.
    rejecting: Vec<usize>,
    /// Requests that came to them while the directory was looked at.
    deferred: Vec<(Peer, Request)>,
    manager: Manager,
    watch: Statistics,
    /// When the drain begins, once the signal to stop came.
    drain_at: Option<Moment>,
    /// Emptied when the value goes.
    _pid_file: Option<PidFile>,
}

impl Daemon {
    fn new(
        settings: &Settings,
        handed: Vec<Socket>,
        notify: Option<Notify>,
    ) -> Result<Daemon, Failure> {
        let clock = Clock::start();
        let now = clock.now();
        let files = open_roots(settings)?;
        let (rereading, access) = Rereading::begin(settings)?;
        let names = rules::names(settings, &files, rereading.map());
        let neighbours = match names.want_hardware() || settings.names.map.is_some() {
            true => Some(trying("netlink", Neighbours::open())?),
            false => None,
        };
        let naming = Naming::new(now, names, neighbours);
        let account = confine::account(settings)?;
        let signals = trying("signals", Signals::new())?;
        let poll = trying("epoll", Poll::new())?;
        trying("epoll", poll.add(&signals, Source::Signals))?;
        let log = Log::new(now, settings.log_format);
        let mut world = World::new(poll, files, naming, log, now, settings);
        world.log.write(now, &LogEvent::Settings(settings));
        if let Door::InTftpd { ignored } = &settings.door
            && !ignored.is_empty()
        {
            world.log.write(now, &LogEvent::IgnoredOptions(ignored));
        }
        let mut opened = Vec::new();
        let listeners = match handed.is_empty() {
            true => bind::all(settings, &signals, &clock, &mut world.log)?,
            false => bind::adopt(handed)?,
        };
        for (mut listener, name) in listeners {
            let source = Source::Listener(world.listeners.len());
            trying("epoll", world.poll.add(&listener, source))?;
            let buffer = listener.enlarge_buffer(RECEIVE_BUFFER);
            opened.push((name, trying("receive buffer", buffer)?));
            if world.is_shared {
                trying("shared socket", listener.share(SEND_BUFFER))?;
            }
            world.add_listener(listener);
        }
        let pid_file = write_pid_file(settings)?;
        let limits = bound_by_machine(now, settings, world.listeners.len(), &mut world.log)?;
        can_open(world.files.roots()[0].directory())?;
        let server = Server::new(now, limits);
        let mut prepared = Prepared::open(now, settings, &mut world);
        let stats = prepared.target.take();
        // All that needs a privilege is done, and nothing that came from the network was looked at yet.
        let (account, poll) = (account.as_ref(), &world.poll);
        let kept = Kept {
            files: &world.files,
            rules: rereading.files(),
            stats,
        };
        let threads = confine::confine(now, settings, kept, account, &mut world.log, poll)?;
        let (helper, writer, publisher) = threads;
        world.helper = Some(helper);
        world.uploads.writer = writer;
        world.uploads.max = settings.uploads.max;
        let watch = Statistics::new(now, settings, limits, prepared, publisher, &mut world);
        let watch = trying("control socket", watch)?;
        for (listener, (name, bytes)) in world.listeners.iter().zip(opened) {
            let address = listener.address();
            let listening = LogEvent::Listening(address, name.as_deref());
            let buffer = LogEvent::ReceiveBuffer {
                address,
                bytes,
                wanted: RECEIVE_BUFFER,
            };
            world.log.write(now, &listening);
            if listener.is_early {
                world.log.write(now, &LogEvent::AddressMissing(address));
            }
            world.log.write(now, &buffer);
        }
        Ok(Daemon {
            clock,
            signals,
            rules: Rules {
                access,
                ..settings.rules.clone()
            },
            rereading,
            roots: RootWatch::all(now, settings),
            disk: DiskWatch::new(now),
            server,
            world,
            events: Events::default(),
            requests: Batch::new(REQUESTS_AT_ONCE, datagram_max(settings)),
            unread_listeners: Vec::new(),
            rejecting: Vec::new(),
            deferred: Vec::new(),
            manager: Manager::new(now, notify, settings.limits.max_transfers),
            watch,
            drain_at: None,
            _pid_file: pid_file,
        })
    }

    /// Receive, wake, send, sleep.
    fn turn(&mut self) -> Result<Turn, Failure> {
        let now = self.clock.now();
        self.world.now = now;
        self.take_events(now);
        self.drain(now);
        self.reload(now);
        self.receive_requests(now);
        self.receive_replies(now);
        self.receive_rejections(now);
        self.receive_done(now);
        self.server.on_wakeup(now, &mut self.world);
        self.server.send_ready(now, &mut self.world);
        self.flush(now);
        self.world.log.drops(now, self.server.stats());
        if self.server.is_stopped() {
            self.world.log.stopped(self.server.stats());
            return Ok(Turn::Stop);
        }
        self.sleep(now)
    }

    /// Sorts the events of the poll into what is to be read.
    fn take_events(&mut self, now: Moment) {
        let mut stops = 0;
        for readiness in self.events.iter() {
            match readiness.source {
                Source::Listener(number) => {
                    remember(&mut self.unread_listeners, number);
                    if readiness.is_writable {
                        for client in self.world.on_listener_writable(number) {
                            self.server.on_writable(client);
                        }
                    }
                    if readiness.is_error && self.world.is_shared {
                        remember(&mut self.rejecting, number);
                    }
                }
                Source::Client(client) => {
                    if readiness.is_writable {
                        self.world.on_writable(client);
                        self.server.on_writable(client);
                    }
                    if readiness.is_readable {
                        self.world.read_again(client);
                    }
                }
                Source::Timer => {}
                Source::Helper => self.world.has_done = true,
                Source::Control | Source::ControlClient(_) => self.watch.wake(),
                Source::Signals => {
                    while let Some(signal) = self.signals.next() {
                        match signal {
                            Signal::Ignored => {}
                            Signal::HangUp => {
                                self.manager.reloading();
                                self.rereading.want();
                            }
                            Signal::Show => self.watch.show(now, &self.server, &mut self.world),
                            Signal::Stop => stops += 1,
                        }
                    }
                }
            }
        }
        self.events.clear();
        for _ in 0..stops {
            self.stop(now);
        }
    }

    /// Begins to read files of rules again, and to look at the roots, if the operator wants that.
    fn reload(&mut self, now: Moment) {
        if !self.rereading.is_awaited() {
            return;
        }
        for root in &mut self.roots {
            root.look(now, &self.world.files, self.world.helper.as_ref());
        }
        self.rereading.ask(&self.world);
    }

    /// Hands what clients sent to the server, a bounded number from each socket.
    fn receive_replies(&mut self, now: Moment) {
        let mut unread = mem::take(&mut self.world.unread);
        unread.retain(|&client| {
            let may_hold_more = self.server.on_readable(now, &mut self.world, client);
            self.world.note_unread(client, may_hold_more);
            may_hold_more
        });
        unread.append(&mut self.world.unread);
        self.world.unread = unread;
    }

    /// Until when requests wait for a look at the roots.
    fn roots_awaited_until(&self, now: Moment) -> Option<Moment> {
        let until = self.roots.iter().map(|root| root.waits_until(now));
        until.flatten().max()
    }

    fn sleep(&mut self, now: Moment) -> Result<Turn, Failure> {
        self.world.forget_found();
        let unread = !self.unread_listeners.is_empty();
        let waits = self.roots_awaited_until(now);
        let requests_at = waits.filter(|_| unread || !self.deferred.is_empty());
        let may_go_on = !self.world.unread.is_empty()
            || self.world.has_done
            || self.server.has_ready()
            || !self.rejecting.is_empty()
            || (unread && (waits.is_none() || self.world.is_shared))
            || (!self.deferred.is_empty() && waits.is_none());
        let tell_at = self.manager.look(now, &self.server);
        let watch_at = self.watch.look(now, &self.server, &mut self.world);
        let drain_at = self.drain_at.filter(|_| !self.server.is_stopping());
        let World { helper, log, .. } = &mut self.world;
        let disk_at = self.disk.look(now, helper.as_ref(), log);
        let server_at = self.server.next_wakeup();
        let until = match may_go_on {
            true => Some(now),
            false => {
                let ours = [tell_at, watch_at, disk_at, server_at, requests_at, drain_at];
                Moment::first_of(ours)
            }
        };
        let wait = self.world.poll.wait(&mut self.events, now, until);
        trying("epoll", wait)?;
        Ok(Turn::GoOn)
    }
}

/// Adds a number to a short list once.
fn remember(list: &mut Vec<usize>, number: usize) {
    if !list.contains(&number) {
        list.push(number);
    }
}

/// Before the right to write files is given up, and once the addresses are ours.
fn write_pid_file(settings: &Settings) -> Result<Option<PidFile>, Failure> {
    let Some(path) = &settings.pidfile else {
        return Ok(None);
    };
    let file = PidFile::open(path, !settings.sandbox);
    let written = file.and_then(|file| file.write().map(|()| file));
    trying(path.display(), written).map(Some)
}

/// Bytes of the longest datagram that is of use at a listening socket.
fn datagram_max(settings: &Settings) -> usize {
    match settings.ports {
        Ports::Single if settings.uploads.are_on() => usize::from(BLKSIZE_MAX) + DataHeader::LENGTH,
        Ports::Single | Ports::Any | Ports::Range(_) => REQUEST_MAX,
    }
}

// Each address that may be given has a place in the poll.
const _: () = assert!(LISTEN_MAX <= LISTENERS_MAX);

/// A storm of 20,000 requests: the kernel doubles this, and counts each with 1 to 2.3 kB, as the driver has
/// it.
const RECEIVE_BUFFER: usize = 24 << 20;
/// Windows of many clients, of which each is counted with 1 to 2 kB more a packet.
const SEND_BUFFER: usize = 8 << 20;
/// RFC 2347 bounds a request to 512 bytes; some firmware pads.
const REQUEST_MAX: usize = 2048;
/// Requests taken with one system call, and how often in one turn before transfers have theirs.
const REQUESTS_AT_ONCE: usize = 64;
const REQUEST_BATCHES: usize = 4;
