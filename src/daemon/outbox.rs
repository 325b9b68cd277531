//! What clients are sent by the socket that they share: it is gathered for a turn of the loop, and leaves in the order in
//! which it was given, with few system calls.
//!
//! What was taken counts as sent. Only bytes that are mapped are gathered: they stay where they are until the connection
//! is closed, and before that they leave, or are lost.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};

use nix::errno::Errno;

use super::connection::{Connection, Way};
use crate::os::departures::{Departures, MESSAGES_MAX, Message, PACKETS_MAX};
use crate::os::listener::Listener;
use crate::os::socket::is_unsegmentable;
use crate::transfer::{Blocks, Departed};
use crate::wire::DataHeader;

/// What waits to leave by one socket.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Runs of blocks, each with its client.
    runs: VecDeque<(usize, Blocks)>,
    /// The socket takes no more; an event follows when it does again.
    pub is_full: bool,
    /// The clients that wait for that.
    pub waiting: Vec<usize>,
    /// What the next call sends: of each message its client and its blocks, and the headers of these.
    messages: Vec<(usize, Blocks)>,
    headers: Vec<DataHeader>,
    departures: Departures,
}

impl Outbox {
    /// Takes what there is of a run of blocks in a file of `length` bytes.
    pub(super) fn add(&mut self, client: usize, run: Blocks, length: u64) -> Departed {
        let last = length / u64::from(run.blksize) + 1;
        let left = (last + 1).saturating_sub(run.first);
        let count = u16::try_from(left).map_or(run.count, |left| left.min(run.count));
        self.runs.push_back((client, Blocks { count, ..run }));
        Departed {
            packets: count,
            end: (run.first + u64::from(count) > last).then_some(length),
        }
    }

    /// As much is here as one call sends.
    pub(super) fn is_due(&self) -> bool {
        self.runs.len() >= MESSAGES_MAX
    }

    /// Whether something of `client` has not left yet.
    pub(super) fn holds(&self, client: usize) -> bool {
        self.runs.iter().any(|(of, _)| *of == client)
    }

    /// What `client` was sent is lost.
    pub(super) fn forget(&mut self, client: usize) {
        self.runs.retain(|(of, _)| *of != client);
        self.waiting.retain(|of| *of != client);
    }

    /// Lets everything leave that the socket takes. Returns whether some of it has to wait.
    pub(super) fn flush(
        &mut self,
        listener: &Listener,
        connections: &mut [Option<Connection>],
    ) -> bool {
        let mut tries = 0;
        while !self.runs.is_empty() {
            let error = match self.send(listener, connections) {
                Ok(messages) => {
                    self.retire(messages);
                    tries = 0;
                    continue;
                }
                Err(error) => error,
            };
            let (client, run) = self.messages[0];
            let connection = connections[client].as_mut().expect(IS_OPEN);
            match error.raw_os_error().map(Errno::from_raw) {
                _ if error.kind() == ErrorKind::WouldBlock => return true,
                _ if run.count > 1 && is_unsegmentable(&error) => connection.segments.set(false),
                // What it is sent next ends it.
                Some(Errno::EFAULT) => {
                    connection.content = None;
                    self.runs.retain(|(of, _)| *of != client);
                }
                // It may be about an earlier packet, to somebody else.
                _ if tries < TRIES => tries += 1,
                // The network loses packets, and so may a route that is gone.
                _ => {
                    self.retire(1);
                    tries = 0;
                }
            }
        }
        false
    }

    /// Sends as much as one call does, and returns how many messages left.
    fn send(
        &mut self,
        listener: &Listener,
        connections: &[Option<Connection>],
    ) -> io::Result<usize> {
        self.plan(connections);
        let mut headers = &self.headers[..];
        let messages = self.messages.iter().map(|&(client, blocks)| {
            let connection = connections[client].as_ref().expect(IS_OPEN);
            let Way::Shared(local) = &connection.way else {
                unreachable!("others send by themselves");
            };
            let packet = usize::from(blocks.blksize) + DataHeader::LENGTH;
            let (own, rest) = headers.split_at(blocks.count.into());
            headers = rest;
            let numbers = blocks.first..blocks.first + u64::from(blocks.count);
            let content = connection.content();
            Message {
                to: listener.reachable(connection.peer.into()),
                from: (local.address, local.interface),
                size: u16::try_from(packet).ok().filter(|_| blocks.count > 1),
                datagrams: numbers.zip(own).map(move |(number, header)| {
                    let [front, back] = content.bytes(blocks.offset(number), blocks.blksize);
                    [&header.0[..], front, back].map(IoSlice::new)
                }),
            }
        });
        self.departures.send(listener, messages)
    }

    /// A run is one message if the kernel cuts it into packets.
    fn plan(&mut self, connections: &[Option<Connection>]) {
        self.headers.clear();
        self.messages.clear();
        for &(client, run) in &self.runs {
            let connection = connections[client].as_ref().expect(IS_OPEN);
            let each = if connection.segments.get() {
                run.count
            } else {
                1
            };
            for begin in (0..run.count).step_by(each.into()) {
                let first = run.first + u64::from(begin);
                let count = each.min(run.count - begin);
                let is_full = self.headers.len() + usize::from(count) > PACKETS_MAX;
                if self.messages.len() == MESSAGES_MAX || is_full {
                    return;
                }
                let numbers = first..first + u64::from(count);
                self.headers.extend(numbers.map(DataHeader::new));
                let blocks = Blocks {
                    first,
                    count,
                    ..run
                };
                self.messages.push((client, blocks));
            }
        }
    }

    /// The first messages are dealt with.
    fn retire(&mut self, messages: usize) {
        for (_, blocks) in &self.messages[..messages] {
            let Some((_, run)) = self.runs.front_mut() else {
                return;
            };
            run.first += u64::from(blocks.count);
            run.count -= blocks.count;
            if run.count == 0 {
                self.runs.pop_front();
            }
        }
    }
}

/// What clients are sent is forgotten when they are closed.
const IS_OPEN: &str = "a client that is sent something is open";

/// A socket that many share may hold errors of packets to several of them.
const TRIES: usize = 16;
