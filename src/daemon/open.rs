//! What is opened before the loop begins. The order matters: what needs a privilege, then what gives them up; only then
//! is anything looked at that came from the network.

use super::confine;
use super::disk::DiskWatch;
use super::events::LogEvent;
use super::log::Log;
use super::lookups::Lookups;
use super::machine::{bound_by_machine, can_open};
use super::manager::Manager;
use super::metrics::Metrics;
use super::naming::Naming;
use super::nat::Suspects;
use super::outbox::Outbox;
use super::requests::REQUESTS_AT_ONCE;
use super::root::{RootWatch, open_roots};
use super::rules::Rereading;
use super::statistics::Statistics;
use super::uploads::Uploads;
use super::world::World;
use super::{Daemon, Failure, bind, trying};
use crate::config::{self, Door, LISTEN_MAX, Rules, Settings};
use crate::moment::Moment;
use crate::os::background::PidFile;
use crate::os::clock::Clock;
use crate::os::files::Files;
use crate::os::handed::Socket;
use crate::os::listener::Listener;
use crate::os::neighbours::Neighbours;
use crate::os::notify::Notify;
use crate::os::poll::{Events, LISTENERS_MAX, Poll, Source};
use crate::os::ports::Ports;
use crate::os::privileges::acts_as;
use crate::os::process::Signals;
use crate::os::receive::Batch;
use crate::server::Server;
use crate::transfer::options::BLKSIZE_MAX;
use crate::wire::DataHeader;

impl Daemon {
    pub(super) fn open(
        settings: &Settings,
        handed: Vec<Socket>,
        notify: Option<Notify>,
    ) -> Result<Daemon, Failure> {
        let clock = Clock::start();
        let now = clock.now();
        let files = open_roots(settings)?;
        let (rereading, access) = Rereading::begin(settings)?;
        let names = rereading.names(settings, &files);
        let neighbours = match names.want_hardware() || settings.names.map.is_some() {
            true => Some(trying("netlink", Neighbours::open())?),
            false => None,
        };
        let account = confine::account(settings)?;
        let signals = trying("signals", Signals::new())?;
        let poll = trying("epoll", Poll::new())?;
        trying("epoll", poll.add(&signals, Source::Signals))?;
        let mut log = Log::new(now, settings.log_format);
        log.write(now, &LogEvent::Settings(settings));
        if let Door::InTftpd { ignored } = &settings.door
            && !ignored.is_empty()
        {
            log.write(now, &LogEvent::IgnoredOptions(ignored));
        }
        let named = bind::listeners(settings, handed, &signals, &clock, &mut log)?;
        let (mut listeners, names_handed): (Vec<_>, Vec<_>) = named.into_iter().unzip();
        let is_shared = settings.ports == config::Ports::Single;
        let mut buffers = Vec::new();
        for (number, listener) in listeners.iter_mut().enumerate() {
            trying("epoll", poll.add(listener, Source::Listener(number)))?;
            let buffer = listener.enlarge_buffer(RECEIVE_BUFFER);
            buffers.push(trying("receive buffer", buffer)?);
            if is_shared {
                trying("shared socket", listener.share(SEND_BUFFER))?;
            }
        }
        let pid_file = write_pid_file(settings)?;
        let limits = bound_by_machine(now, settings, listeners.len(), &mut log)?;
        can_open(files.roots()[0].directory())?;
        let (mut watch, target) = Statistics::open(now, settings, limits, &poll, &mut log);
        confine::give_up_privileges(settings, &files, account.as_ref())?;
        log_roots_and_rules(now, settings, &files, &rereading, &mut log);
        let acts_as = acts_as();
        let threads = confine::enter_sandbox(settings, &files, &rereading.files, target, &poll);
        let (helper, writer, publisher, sandbox) = threads?;
        let user = account.map(|of| format!("{} ({}:{})", of.name, of.user, of.group));
        log.confined(user.as_deref(), acts_as, &sandbox);
        let mut world = World {
            now,
            poll,
            log,
            metrics: Metrics::new(settings.control.is_some()),
            segments: listeners.last().is_some_and(Listener::has_segments),
            outboxes: match is_shared {
                true => listeners.iter().map(|_| Outbox::default()).collect(),
                false => Vec::new(),
            },
            listeners,
            ports: Ports::new(match &settings.ports {
                config::Ports::Any | config::Ports::Single => None,
                config::Ports::Range(range) => Some(range.clone()),
            }),
            connections: Vec::new(),
            last_serial: 0,
            unread: Vec::new(),
            mtu_clamp: settings.mtu_clamp,
            files,
            naming: Naming::new(now, names, neighbours),
            helper,
            lookups: Lookups::default(),
            uploads: Uploads::new(writer, settings.uploads.max),
            suspects: Suspects::default(),
            address_full_at: now,
            rejection: None,
        };
        if let Some(publisher) = publisher {
            watch.write_by(now, settings, publisher);
        }
        for ((listener, name), bytes) in world.listeners.iter().zip(names_handed).zip(buffers) {
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
        // Bytes of the longest datagram that is of use at a listening socket.
        let datagram_max = match is_shared && settings.uploads.are_on() {
            true => usize::from(BLKSIZE_MAX) + DataHeader::LENGTH,
            false => REQUEST_MAX,
        };
        Ok(Daemon {
            clock,
            signals,
            rules: Rules {
                access,
                ..settings.rules.clone()
            },
            rereading,
            server: Server::new(now, limits),
            world,
            roots: RootWatch::all(now, settings),
            disk: DiskWatch::new(now),
            events: Events::default(),
            requests: Batch::new(REQUESTS_AT_ONCE, datagram_max),
            unread_listeners: Vec::new(),
            requests_wait: false,
            rejecting: Vec::new(),
            has_done: false,
            manager: Manager::new(now, notify, settings.limits.max_transfers),
            watch,
            drain_at: None,
            _pid_file: pid_file,
        })
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

/// What an operator should know of files that are served, or were read, by who we are now.
fn log_roots_and_rules(
    now: Moment,
    settings: &Settings,
    files: &Files,
    rereading: &Rereading,
    log: &mut Log,
) {
    if let Err(failure) = confine::find_readable(settings, files) {
        log.write(now, &LogEvent::RootUnreadable(&failure));
    }
    for (path, root) in settings.roots.iter().zip(files.roots()) {
        if let Some((_, within)) = root.holder() {
            log.write(now, &LogEvent::RootLinkFollowed(path, within));
        } else if root.ignores_a_link() {
            log.write(now, &LogEvent::RootLinkIgnored(path));
        }
    }
    if let Err(unreadable) = rereading.files.read() {
        let failure = Failure::of(unreadable);
        log.write(now, &LogEvent::RulesUnreadable(&failure));
    }
    let alone = rereading.files.iter().filter(|file| file.is_alone());
    for file in alone.filter(|_| settings.sandbox) {
        log.write(now, &LogEvent::RulesAlone(&file.path));
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
