//! Lets what an outbox holds leave: many messages with one call, and what follows where not all of them do.

use std::io::{self, ErrorKind, IoSlice};

use nix::errno::Errno;

use super::connection::{Connection, Way};
use super::outbox::Outbox;
use crate::os::departures::{Departures, MESSAGES_MAX, PACKETS_MAX};
use crate::os::listener::Listener;
use crate::os::socket::is_unsegmentable;
use crate::transfer::Blocks;
use crate::wire::DataHeader;

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Flushed {
    /// Some has to wait until the socket takes more.
    pub is_full: bool,
    /// The clients whose files could not be read.
    pub unreadable: Vec<usize>,
}

/// What is used again for each call.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    departures: Departures,
    headers: Vec<DataHeader>,
    /// Of each message: its client and its blocks.
    plan: Vec<(usize, Blocks)>,
}

/// Lets everything leave that the socket takes.
pub(super) fn flush(
    outbox: &mut Outbox,
    listener: &Listener,
    connections: &mut [Option<Connection>],
    scratch: &mut Scratch,
) -> Flushed {
    let mut flushed = Flushed::default();
    let mut tries = 0;
    while !outbox.runs.is_empty() {
        plan(outbox, connections, scratch);
        match send(listener, connections, scratch) {
            Ok(messages) => {
                outbox.retire(&scratch.plan[..messages]);
                tries = 0;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                flushed.is_full = true;
                return flushed;
            }
            Err(error) => {
                let Some(&(client, run)) = scratch.plan.first() else {
                    return flushed;
                };
                let connection = connections.get_mut(client).and_then(Option::as_mut);
                let segments = connection.map(|it| &mut it.segments);
                match error.raw_os_error().map(Errno::from_raw) {
                    _ if run.count > 1 && is_unsegmentable(&error) => {
                        if let Some(segments) = segments {
                            *segments = false;
                        }
                        continue;
                    }
                    Some(Errno::EFAULT) => flushed.unreadable.push(client),
                    // It may be about an earlier packet, to somebody else.
                    _ if tries < TRIES => {
                        tries += 1;
                        continue;
                    }
                    // The network loses packets, and so may a route that is gone.
                    _ => {}
                }
                tries = 0;
                outbox.retire(&scratch.plan[..1]);
            }
        }
    }
    flushed
}

/// What the next call sends: a run is one message if the kernel cuts it into packets.
fn plan(outbox: &Outbox, connections: &[Option<Connection>], scratch: &mut Scratch) {
    let Scratch { headers, plan, .. } = scratch;
    headers.clear();
    plan.clear();
    for &(client, run) in &outbox.runs {
        let connection = connections.get(client).and_then(Option::as_ref);
        let segments = connection.is_some_and(|it| it.segments);
        let each = if segments { run.count } else { 1 };
        for first in (0..run.count).step_by(each.into()) {
            let count = each.min(run.count - first);
            let is_full = headers.len() + usize::from(count) > PACKETS_MAX;
            if plan.len() == MESSAGES_MAX || is_full {
                return;
            }
            let first = run.first + u64::from(first);
            let blocks = Blocks {
                first,
                count,
                ..run
            };
            let numbers = first..first + u64::from(count);
            headers.extend(numbers.map(DataHeader::new));
            plan.push((client, blocks));
        }
    }
}

/// Sends what was planned, and returns how many messages left.
fn send(
    listener: &Listener,
    connections: &[Option<Connection>],
    scratch: &mut Scratch,
) -> io::Result<usize> {
    let Scratch {
        departures,
        headers,
        plan,
    } = scratch;
    let mut departing = departures.begin();
    let mut headers = headers.iter();
    for &(client, blocks) in &*plan {
        let connection = connections[client].as_ref();
        let connection = connection.expect("what is closed was forgotten");
        let Way::Shared(local) = &connection.way else {
            unreachable!("others send by themselves");
        };
        let packet = usize::from(blocks.blksize) + DataHeader::LENGTH;
        let size = u16::try_from(packet).ok().filter(|_| blocks.count > 1);
        let to = listener.reachable(connection.peer.into());
        let from = (local.address, local.interface);
        let numbers = blocks.first..blocks.first + u64::from(blocks.count);
        let datagrams = numbers.zip(&mut headers).map(|(number, header)| {
            let [front, back] = connection
                .content()
                .bytes(blocks.offset(number), blocks.blksize);
            [&header.0[..], front, back].map(IoSlice::new)
        });
        departing.add(to, from, size, datagrams);
    }
    departing.send(listener)
}

/// A socket that many share may hold errors of packets to several of them.
const TRIES: usize = 16;
