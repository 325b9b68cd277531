//! Machines that write, over real sockets: each sends a file of its own, and what the server says that it has is
//! compared with what lies on its disk.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::time::Duration;
use std::{fmt, fs, io};

use ripple_tftpd::firmware::random::Random;
use ripple_tftpd::firmware::{Destination, Packet, Writer, WriterKind, WriterStatus};
use ripple_tftpd::moment::Moment;
use ripple_tftpd::os::clock::Clock;
use ripple_tftpd::os::poll::{Events, Poll, Source};
use ripple_tftpd::os::port::{self, Port};
use ripple_tftpd::os::process::{Signals, raise_descriptor_limit};
use ripple_tftpd::os::receive::Batch;

use crate::options::UploadOrder;
use crate::plan;
use crate::run::{BATCH, DATAGRAM_MAX, is_stop};

/// What became of it.
pub(crate) struct Uploads {
    machines: usize,
    done: usize,
    bytes: u64,
    seconds: f64,
    verified: bool,
    /// How many failed in which way.
    failed: BTreeMap<String, usize>,
}

impl Uploads {
    /// Every machine got its last ACK, and the server has every file.
    pub(crate) fn are_all_done(&self) -> bool {
        self.done == self.machines
    }
}

impl fmt::Display for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = self.bytes as f64 / 1e6;
        let rate = megabytes / self.seconds.max(f64::MIN_POSITIVE);
        let checked = if self.verified { ", verified" } else { "" };
        writeln!(
            f,
            "uploads     {} of {}{checked}\nbytes       {megabytes:.1} MB in {:.2} s, {rate:.1} MB/s",
            self.done, self.machines, self.seconds
        )?;
        for (why, count) in &self.failed {
            writeln!(f, "failed      {count}: {why}")?;
        }
        Ok(())
    }
}

struct Seat {
    writer: Writer,
    socket: Option<Port>,
    /// The port that it has, as the machine knows it.
    port: u16,
    begin_at: Moment,
    failure: Option<String>,
    is_over: bool,
}

struct Fleet<'o> {
    order: &'o UploadOrder,
    seats: Vec<Seat>,
    timers: BinaryHeap<Reverse<(Moment, usize)>>,
    random: Random,
    under_way: usize,
    last_done: Moment,
}

/// Lets every machine write until all are done or have given up, or time is up.
pub(crate) fn run(order: &UploadOrder) -> io::Result<Uploads> {
    raise_descriptor_limit(order.clients as u64 + 64)?;
    let signals = Signals::new()?;
    let mut poll = Poll::new()?;
    poll.add(&signals, Source::Signals)?;
    let mut batch = Batch::new(BATCH, DATAGRAM_MAX);
    let mut events = Events::default();
    let clock = Clock::start();
    let mut fleet = Fleet::new(order);
    let end = Moment::START + order.limit;
    let mut is_interrupted = false;
    while fleet.under_way > 0 && !is_interrupted && clock.now() < end {
        let next = fleet.timers.peek().map(|Reverse((at, _))| *at);
        poll.wait(&mut events, clock.now(), Some(next.unwrap_or(end).min(end)))?;
        for ready in events.iter() {
            match ready.source {
                Source::Client(number) => fleet.receive(clock.now(), number, &mut batch, &poll)?,
                Source::Signals => is_interrupted |= is_stop(&signals),
                Source::Listener(_)
                | Source::Timer
                | Source::Helper
                | Source::Control
                | Source::ControlClient(_) => {}
            }
        }
        fleet.on_wakeup(clock.now(), &poll)?;
    }
    Ok(fleet.results())
}

impl Fleet<'_> {
    fn new(order: &UploadOrder) -> Fleet<'_> {
        let mut random = Random::stream(order.seed, 1);
        let span = u64::try_from(order.arrival.as_micros()).unwrap_or(u64::MAX);
        let mut seat = |(number, &kind): (usize, &WriterKind)| {
            let name = format!("{}-{number}", order.name);
            let writer = Writer::new(kind, name, order.size, random.next());
            Seat {
                port: writer.port(),
                writer,
                socket: None,
                begin_at: Moment::START + Duration::from_micros(random.below(span.max(1))),
                failure: None,
                is_over: false,
            }
        };
        let kinds = order.kinds.iter().cycle().take(order.clients);
        let seats: Vec<Seat> = kinds.enumerate().map(&mut seat).collect();
        let timers = seats.iter().enumerate();
        Fleet {
            order,
            timers: timers
                .map(|(number, seat)| Reverse((seat.begin_at, number)))
                .collect(),
            under_way: seats.len(),
            seats,
            random: Random::stream(order.seed, 2),
            last_done: Moment::START,
        }
    }

    fn on_wakeup(&mut self, now: Moment, poll: &Poll) -> io::Result<()> {
        for _ in 0..TIMERS_AT_ONCE {
            let Some(&Reverse((at, number))) = self.timers.peek() else {
                break;
            };
            if now < at {
                break;
            }
            self.timers.pop();
            let writer = &mut self.seats[number].writer;
            match writer.status() {
                WriterStatus::Idle => writer.begin(now),
                _ => writer.on_deadline(now),
            }
            self.attend(now, number, poll)?;
        }
        Ok(())
    }

    fn receive(
        &mut self,
        now: Moment,
        number: usize,
        batch: &mut Batch,
        poll: &Poll,
    ) -> io::Result<()> {
        while let Some(socket) = &self.seats[number].socket {
            match batch.receive(socket) {
                Ok(arrived) => {
                    for datagram in arrived.iter() {
                        let seat = &mut self.seats[number];
                        let from = datagram.from;
                        if let Some(from) = from.filter(|it| it.ip() == self.order.server.ip())
                            && !self.order.loss.happens(&mut self.random)
                            && let Some(packet) = Packet::parse(datagram.bytes)
                        {
                            let port = seat.writer.port();
                            seat.writer.on_packet(now, port, from.port(), packet);
                        }
                    }
                    let is_full = arrived.is_full();
                    self.attend(now, number, poll)?;
                    if !is_full {
                        break;
                    }
                }
                // Nothing more, or that a port is closed: these machines ask again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Does what a machine wants after an event.
    fn attend(&mut self, now: Moment, number: usize, poll: &Poll) -> io::Result<()> {
        let order = self.order;
        let seat = &mut self.seats[number];
        let mut bytes = Vec::new();
        while let Some(to) = seat.writer.next_datagram(&mut bytes) {
            if seat.socket.is_none() || seat.port != seat.writer.port() {
                seat.port = seat.writer.port();
                let address = plan::address(order.from, order.server, number);
                let socket = match port::open(SocketAddr::new(address, seat.port)) {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                        port::open(SocketAddr::new(address, 0))
                    }
                    result => result,
                }?;
                poll.add(&socket, Source::Client(number))?;
                seat.socket = Some(socket);
            }
            let to = match to {
                Destination::Listener => order.server,
                Destination::Transfer(port) => SocketAddr::new(order.server.ip(), port),
            };
            if !order.loss.happens(&mut self.random)
                && let Some(socket) = &seat.socket
                && socket.send_to(&bytes, &to.into()).is_err()
            {
                // The error is about an earlier datagram; if this one fails, too, it is lost.
                let _ = socket.send_to(&bytes, &to.into());
            }
        }
        if let Some(deadline) = seat.writer.deadline() {
            self.timers.push(Reverse((deadline, number)));
        }
        if !seat.is_over {
            self.look(now, number);
        }
        Ok(())
    }

    /// Looks whether a machine is done, and whether its file is there.
    fn look(&mut self, now: Moment, number: usize) {
        let seat = &mut self.seats[number];
        seat.failure = match seat.writer.status() {
            WriterStatus::Idle | WriterStatus::Busy => return,
            WriterStatus::GaveUp => Some("no answer in time".to_owned()),
            WriterStatus::Refused(code) => Some(format!("error {code} from the server")),
            WriterStatus::Done => self.order.verify.as_ref().and_then(|directory| {
                match fs::read(directory.join(seat.writer.name())) {
                    Ok(bytes) if seat.writer.is_file(&bytes) => None,
                    Ok(_) => Some("acknowledged, but wrong bytes on the disk".to_owned()),
                    Err(error) => Some(format!("acknowledged, but not on the disk: {error}")),
                }
            }),
        };
        seat.is_over = true;
        seat.socket = None;
        self.under_way -= 1;
        self.last_done = now;
    }

    fn results(&self) -> Uploads {
        let mut failed = BTreeMap::new();
        let mut done = 0;
        for seat in &self.seats {
            match (&seat.failure, seat.is_over) {
                (Some(why), _) => *failed.entry(why.clone()).or_insert(0) += 1,
                (None, true) => done += 1,
                (None, false) => *failed.entry("unfinished".to_owned()).or_insert(0) += 1,
            }
        }
        let first = self.seats.iter().map(|seat| seat.begin_at).min();
        Uploads {
            machines: self.seats.len(),
            done,
            bytes: done as u64 * self.order.size,
            seconds: self
                .last_done
                .since(first.unwrap_or(Moment::START))
                .as_secs_f64(),
            verified: self.order.verify.is_some(),
            failed,
        }
    }
}

/// Between two looks at the sockets.
const TIMERS_AT_ONCE: usize = 256;
