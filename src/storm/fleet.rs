//! All machines, their sockets and their timers.
//!
//! A machine has a socket for the port it has open. Where its stack says nothing when a packet comes to
//! a closed port, the socket is kept for a while, and what comes is thrown away: a closed one would make
//! our kernel say something.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;

use ripple_tftpd::firmware::Destination;
use ripple_tftpd::firmware::random::Random;
use ripple_tftpd::moment::Moment;
use ripple_tftpd::os::clock::Clock;
use ripple_tftpd::os::is_exhaustion;
use ripple_tftpd::os::poll::{Poll, Source};
use ripple_tftpd::os::port::{self, Port};
use ripple_tftpd::os::receive::{Batch, Received};
use slab::Slab;

use crate::chance::Chance;
use crate::library::Library;
use crate::options::Order;
use crate::plan::Planned;
use crate::seat::{Fate, Seat, Use};

/// Everything that goes on.
pub(crate) struct Fleet {
    pub(crate) seats: Vec<Seat>,
    pub(crate) counts: Counts,
    /// Machines whose boot is not over.
    pub(crate) under_way: usize,
    server: SocketAddr,
    retry: bool,
    loss: Chance,
    random: Random,
    library: Option<Library>,
    timers: BinaryHeap<Reverse<(Moment, usize)>>,
    sockets: Slab<Opened>,
    /// Sockets that a machine may keep besides the one it uses.
    kept: usize,
}

struct Opened {
    seat: usize,
    /// As the machine knows it; our system may have given us another one.
    port: u16,
    socket: Port,
}

/// What went over the wire.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Datagrams from the server, those included that are counted as lost.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Dropped by us, as ordered.
    pub(crate) lost: u64,
    /// Datagrams with data.
    pub(crate) blocks: u64,
    /// Bytes of files that were new.
    pub(crate) bytes: u64,
    pub(crate) duplicates: u64,
    pub(crate) out_of_order: u64,
    pub(crate) late: u64,
    /// The system did not let us open a socket or send.
    pub(crate) troubles: u64,
    /// When the last data came.
    pub(crate) last_data: Option<Moment>,
}

impl Fleet {
    pub(crate) fn new(order: &Order, plan: &[Planned], kept: usize) -> Fleet {
        let seat = |planned: &Planned| Seat::new(*planned, order.wanted.chain_of(planned.kind));
        let mut fleet = Fleet {
            seats: plan.iter().map(seat).collect(),
            counts: Counts::default(),
            under_way: plan.len(),
            server: order.server,
            retry: order.retry,
            loss: order.loss,
            random: Random::stream(order.seed, 2),
            library: order
                .verify
                .clone()
                .map(|directory| Library::new(directory, &order.wanted.files)),
            timers: BinaryHeap::new(),
            sockets: Slab::new(),
            kept,
        };
        for number in 0..fleet.seats.len() {
            fleet.file_deadline(number);
        }
        fleet
    }

    /// When the next timer may be due.
    pub(crate) fn next_wakeup(&self) -> Option<Moment> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Lets timers run out, a bounded number, and returns whether more are due.
    pub(crate) fn on_wakeup(&mut self, now: Moment, poll: &Poll) -> io::Result<bool> {
        for _ in 0..TIMERS_AT_ONCE {
            let Some(&Reverse((at, number))) = self.timers.peek() else {
                return Ok(false);
            };
            if now < at {
                return Ok(false);
            }
            self.timers.pop();
            let seat = &mut self.seats[number];
            if seat.filed != Some(at) {
                continue;
            }
            seat.filed = None;
            if seat.deadline().is_some_and(|deadline| deadline <= now) {
                seat.on_deadline(now);
                self.attend(now, number, poll)?;
            }
            self.file_deadline(number);
        }
        Ok(true)
    }

    /// Takes what came to a socket.
    pub(crate) fn receive(
        &mut self,
        clock: &Clock,
        key: usize,
        batch: &mut Batch,
        poll: &Poll,
    ) -> io::Result<()> {
        // The socket may be gone since it became ready.
        while let Some(opened) = self.sockets.get(key) {
            let (number, port) = (opened.seat, opened.port);
            let now = clock.now();
            match batch.receive(&opened.socket) {
                Ok(arrived) => {
                    for datagram in arrived.iter() {
                        self.on_datagram(now, number, port, datagram, poll)?;
                    }
                    if !arrived.is_full() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    self.seats[number].machine.on_unreachable(now, port);
                    self.attend(now, number, poll)?;
                }
                Err(_) => {
                    self.counts.troubles += 1;
                    break;
                }
            }
        }
        Ok(())
    }

    fn on_datagram(
        &mut self,
        now: Moment,
        number: usize,
        port: u16,
        datagram: Received<'_>,
        poll: &Poll,
    ) -> io::Result<()> {
        let is_server = |from: &SocketAddr| from.ip() == self.server.ip();
        let Some(from) = datagram.from.filter(is_server) else {
            return Ok(());
        };
        self.counts.received += 1;
        if self.loss.happens(&mut self.random) {
            self.counts.lost += 1;
            return Ok(());
        }
        let verifies = self.library.is_some();
        let seat = &mut self.seats[number];
        let counts = &mut self.counts;
        let usage = seat.on_packet(now, port, from.port(), datagram.bytes, verifies);
        match usage {
            Use::New(bytes) => counts.bytes += bytes,
            Use::Duplicate => counts.duplicates += 1,
            Use::OutOfOrder => counts.out_of_order += 1,
            Use::Late => counts.late += 1,
            Use::NoData => {}
        }
        if usage != Use::NoData {
            counts.blocks += 1;
            counts.last_data = Some(now);
        }
        self.attend(now, number, poll)
    }

    /// Does what a machine wants after an event.
    fn attend(&mut self, now: Moment, number: usize, poll: &Poll) -> io::Result<()> {
        while let Some(datagram) = self.seats[number].machine.next_datagram() {
            let to = match datagram.to {
                Destination::Listener => {
                    self.seats[number].on_request(now, self.library.as_mut());
                    self.server
                }
                Destination::Transfer(port) => SocketAddr::new(self.server.ip(), port),
            };
            let Some(key) = self.socket(number, datagram.from_port, poll)? else {
                continue;
            };
            self.counts.sent += 1;
            if self.loss.happens(&mut self.random) {
                self.counts.lost += 1;
                continue;
            }
            let socket = &self.sockets[key].socket;
            match socket.send_to(datagram.bytes(), &to.into()) {
                Ok(_) => {}
                // The news of an earlier datagram stood in the way of this one.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    if socket.send_to(datagram.bytes(), &to.into()).is_err() {
                        self.counts.troubles += 1;
                    }
                    self.seats[number]
                        .machine
                        .on_unreachable(now, datagram.from_port);
                }
                Err(_) => self.counts.troubles += 1,
            }
        }
        self.close_ports(number);
        let seat = &mut self.seats[number];
        if seat.fate == Fate::UnderWay && seat.look(now, self.retry) != Fate::UnderWay {
            self.under_way -= 1;
        }
        self.file_deadline(number);
        Ok(())
    }

    /// The socket of a machine's port, opened if need be; `None` where the system ran out of something.
    fn socket(&mut self, number: usize, port: u16, poll: &Poll) -> io::Result<Option<usize>> {
        let seat = &mut self.seats[number];
        let mut sockets = seat.sockets.iter().copied();
        if let Some(key) = sockets.find(|&key| self.sockets[key].port == port) {
            return Ok(Some(key));
        }
        let address = seat.planned.address;
        let opened = match port::open(SocketAddr::new(address, port)) {
            // Machines that share an address cannot all have the same port.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                port::open(SocketAddr::new(address, 0))
            }
            result => result,
        };
        match opened {
            Ok(socket) => {
                let entry = self.sockets.vacant_entry();
                let key = entry.key();
                poll.add(&socket, Source::Client(key))?;
                entry.insert(Opened {
                    seat: number,
                    port,
                    socket,
                });
                seat.sockets.push(key);
                Ok(Some(key))
            }
            Err(error) if is_exhaustion(&error) => {
                self.counts.troubles += 1;
                Ok(None)
            }
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!("a socket at {address}: {error}"),
            )),
        }
    }

    /// Closes the sockets of ports that the machine has closed, the oldest first.
    fn close_ports(&mut self, number: usize) {
        let seat = &mut self.seats[number];
        let open = seat.machine.port();
        let kept = if seat.machine.answers_closed_ports() {
            0
        } else {
            self.kept
        };
        let is_open = |key: &usize| open == Some(self.sockets[*key].port);
        let closed = seat.sockets.iter().filter(|key| !is_open(key)).count();
        let mut surplus = closed.saturating_sub(kept);
        if surplus == 0 {
            return;
        }
        let sockets = &mut self.sockets;
        seat.sockets.retain(|&key| {
            if surplus == 0 || open == Some(sockets[key].port) {
                return true;
            }
            surplus -= 1;
            sockets.remove(key);
            false
        });
    }

    fn file_deadline(&mut self, number: usize) {
        let seat = &mut self.seats[number];
        if let Some(at) = seat.deadline()
            && seat.filed.is_none_or(|filed| at < filed)
        {
            seat.filed = Some(at);
            self.timers.push(Reverse((at, number)));
        }
    }
}

/// Between two looks at the sockets.
const TIMERS_AT_ONCE: usize = 256;
