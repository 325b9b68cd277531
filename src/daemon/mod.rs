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
mod disk;
mod events;
mod flush;
mod io;
mod log;
mod lookups;
mod manager;
mod nat;
mod outbox;
mod probe;
mod requests;
mod root;
mod start;
mod text;
mod uploads;

use std::fmt;
use std::io::{Error, Result as IoResult};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::config::{Door, LISTEN_MAX, Ports, Rules, Settings};
use crate::moment::Moment;
use crate::os::background::PidFile;
use crate::os::clock::Clock;
use crate::os::files::Files;
use crate::os::handed::Socket;
use crate::os::helper::Done;
use crate::os::notify::Notify;
use crate::os::place::WriteRules;
use crate::os::poll::{Events, LISTENERS_MAX, Poll, Source};
use crate::os::process::{Signal, Signals, memory, raise_descriptor_limit};
use crate::os::receive::Batch;
use crate::server::{Io, Limits, Server};
use crate::transfer::options::BLKSIZE_MAX;
use crate::wire::{DataHeader, Peer};
use disk::DiskWatch;
use events::LogEvent;
use io::World;
use log::Log;
use lookups::{Found, Request};
use manager::Manager;
pub use probe::probe;
use root::RootWatch;
use start::Begun;
pub use start::Start;
use uploads::News;

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
    let files = open_root(settings)?;
    let account = confine::account(settings)?;
    confine::give_up_privileges(settings, &files, account.as_ref())?;
    confine::find_readable(settings, &files)?;
    confine::confine_files(settings, &files)?;
    let user = confine::name_of(account.as_ref());
    let report = check::report(&files, &user);
    let report = trying(settings.root.display(), report)?;
    let closed = confine::closed_to_uploads(settings, &files, &user);
    Ok(check::few_ports(&settings.ports) + &closed + &report)
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
    server: Server,
    root: RootWatch,
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
        let files = open_root(settings)?;
        let account = confine::account(settings)?;
        let signals = trying("signals", Signals::new())?;
        let poll = trying("epoll", Poll::new())?;
        trying("epoll", poll.add(&signals, Source::Signals))?;
        let mut world = World::new(poll, files, Log::new(now), now, settings);
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
        can_open(world.files.as_fd())?;
        let server = Server::new(now, limits);
        // Whatever needs a privilege is done, and nothing that came from the network was looked at yet.
        let (account, poll) = (account.as_ref(), &world.poll);
        let threads = confine::confine(now, settings, &world.files, account, &mut world.log, poll)?;
        let (helper, writer) = threads;
        world.helper = Some(helper);
        world.uploads.writer = writer;
        world.uploads.max = settings.uploads.max;
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
            rules: settings.rules.clone(),
            root: RootWatch::new(now, settings),
            disk: DiskWatch::new(now),
            server,
            world,
            events: Events::new(),
            requests: Batch::new(REQUESTS_AT_ONCE, datagram_max(settings)),
            unread_listeners: Vec::new(),
            rejecting: Vec::new(),
            deferred: Vec::new(),
            manager: Manager::new(now, notify, settings.limits.max_transfers),
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
                Source::Signals => {
                    while let Some(signal) = self.signals.next() {
                        match signal {
                            Signal::HangUp | Signal::Ignored => {}
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

    /// Hands what the helper has done to those who wait for it, a bounded number at once.
    fn receive_done(&mut self, now: Moment) {
        let Daemon {
            root,
            server,
            world,
            ..
        } = self;
        for _ in 0..DONE_AT_ONCE {
            match world.next_news() {
                None => break,
                Some(News::Room(client)) => server.on_room(now, world, client),
                Some(News::Stored(client, result)) => {
                    let result = result.map_err(|(refusal, error)| {
                        world.write_failed(client, error);
                        refusal
                    });
                    server.on_stored(now, world, client, result);
                }
                Some(News::Swept(files)) => world.log.write(now, &LogEvent::Swept(files)),
            }
        }
        for _ in 0..DONE_AT_ONCE {
            match world.next_done() {
                None => return,
                Some(Done::Read(client, serial, fetched)) => {
                    if world.fetched(client, serial, fetched) {
                        server.on_writable(client);
                    }
                }
                Some(Done::Looked(seen)) => {
                    let World { files, log, .. } = world;
                    root.saw(now, seen, files, log);
                    world.names_changed();
                }
                Some(Done::Opened(name, opened)) => {
                    let found = world.lookups.end(now, &name);
                    world.files.keep_found(name, opened);
                    hand_in_again(now, server, world, found);
                }
                Some(Done::Placed(name, place)) => {
                    let found = world.uploads.lookups.end(now, &name);
                    world.uploads.keep_found(name, place);
                    hand_in_again(now, server, world, found);
                }
            }
        }
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

    fn sleep(&mut self, now: Moment) -> Result<Turn, Failure> {
        self.world.forget_found();
        let unread = !self.unread_listeners.is_empty();
        let waits = self.root.waits_until(now);
        let requests_at = waits.filter(|_| unread || !self.deferred.is_empty());
        let may_go_on = !self.world.unread.is_empty()
            || self.world.has_done
            || self.server.has_ready()
            || !self.rejecting.is_empty()
            || (unread && (waits.is_none() || self.world.is_shared))
            || (!self.deferred.is_empty() && waits.is_none());
        let tell_at = self.manager.look(now, &self.server);
        let drain_at = self.drain_at.filter(|_| !self.server.is_stopping());
        let World { helper, log, .. } = &mut self.world;
        let disk_at = self.disk.look(now, helper.as_ref(), log);
        let server_at = self.server.next_wakeup();
        let until = match may_go_on {
            true => Some(now),
            false => Moment::first_of([tell_at, disk_at, server_at, requests_at, drain_at]),
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

/// What those waited for is known now.
fn hand_in_again(now: Moment, server: &mut Server, world: &mut World, found: Found) {
    for (peer, request) in found.requests {
        // Not a third time: its client repeats it.
        let _ = server.on_request(now, world, peer, request.local, &request.datagram);
    }
    for client in found.clients {
        server.on_found(now, client);
    }
    // The next client takes what was found.
    server.on_wakeup(now, world);
    world.forget_found();
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

fn open_root(settings: &Settings) -> Result<Files, Failure> {
    let root = &settings.root;
    let files = Files::new(root, settings.public_only);
    let mut files = trying(root.display(), files)?;
    let uploads = &settings.uploads;
    if uploads.are_on() {
        let rules = WriteRules {
            creates: uploads.create,
            replaces: !uploads.write_once,
            public_only: settings.public_only,
            umask: uploads.umask,
        };
        let allowed = files.allow_uploads(rules, &uploads.directories);
        allowed.map_err(|(path, why)| Failure {
            what: format!("--upload-dir: {} below {}", path.display(), root.display()),
            why,
        })?;
    }
    if settings.chroot {
        files.pin_root();
    }
    Ok(files)
}

/// Lowers what the machine has not enough memory or descriptors for: each client needs a socket, and a file
/// of its own if nobody else is sent the same.
fn bound_by_machine(
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

/// Bytes of the longest datagram that is of use at a listening socket.
fn datagram_max(settings: &Settings) -> usize {
    match settings.ports {
        Ports::Single if settings.uploads.are_on() => usize::from(BLKSIZE_MAX) + DataHeader::LENGTH,
        Ports::Single | Ports::Any | Ports::Range(_) => REQUEST_MAX,
    }
}

/// The length of the queue on a machine with this much memory, in bytes.
fn queue_within(memory: u64, usual: usize) -> usize {
    let share = u128::from(memory.min(MEMORY_USUAL));
    let queue = usual as u128 * share / u128::from(MEMORY_USUAL);
    usize::try_from(queue).unwrap_or(usual)
}

/// A socket, a file and a directory on the way to it can be opened: else nobody is ever served.
fn can_open(root: BorrowedFd<'_>) -> Result<(), Failure> {
    let opened: Result<Vec<OwnedFd>, Error> = (0..3).map(|_| root.try_clone_to_owned()).collect();
    trying("RLIMIT_NOFILE is too low to serve anybody", opened).map(drop)
}

/// Bytes of memory that the usual queue takes for granted.
const MEMORY_USUAL: u64 = 256 << 20;

// Each address that may be given has a place in the poll.
const _: () = assert!(LISTEN_MAX <= LISTENERS_MAX);

/// A storm of 20,000 requests: the kernel doubles this, and counts each with 1 to 2.3 kB, as the driver has
/// it.
const RECEIVE_BUFFER: usize = 24 << 20;
/// Windows of many clients, of which each is counted with 1 to 2 kB more a packet.
const SEND_BUFFER: usize = 8 << 20;
/// RFC 2347 bounds a request to 512 bytes; some firmware pads.
const REQUEST_MAX: usize = 2048;
/// What the helper did that is taken in one turn.
const DONE_AT_ONCE: usize = 256;
/// Requests taken with one system call, and how often in one turn before transfers have theirs.
const REQUESTS_AT_ONCE: usize = 64;
const REQUEST_BATCHES: usize = 4;
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
