//! What is open for one client: its socket and its file, and how blocks leave by one call or several.

use std::array;
use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice};
use std::net::IpAddr;

use nix::errno::Errno;

use super::events::LogEvent;
use super::log::Log;
use crate::moment::Moment;
use crate::os::content::Content;
use crate::os::listener::Listener;
use crate::os::socket::{ClientSocket, DATAGRAMS_MAX, Pieces, is_unsegmentable};
use crate::server::{Local, SendError};
use crate::transfer::{Blocks, Departed};
use crate::wire::{DataHeader, Peer, Refusal};

/// What is open for a client.
#[derive(Debug)]
pub(super) struct Connection {
    /// Who it is.
    pub peer: Peer,
    /// Distinguishes it from others that had its number.
    pub serial: u32,
    pub way: Way,
    /// What it is sent; `None` for one that sends itself, and if it cannot be read any more.
    pub content: Option<Content>,
    pub wants_writable: bool,
    /// It has sent nothing yet, and who rejects our packets is worth a line.
    pub is_unheard: bool,
    /// The kernel cuts a window into packets for us.
    pub segments: Cell<bool>,
}

/// How packets reach a client, and its packets us. The server does not know which.
#[derive(Debug)]
pub(super) enum Way {
    /// A socket of its own, which is connected to it.
    Own(ClientSocket),
    /// The socket that took its request, from the address that it was sent to.
    Shared(Local),
}

impl Connection {
    /// Takes an error from the socket, and returns who rejected a packet, if the system knows.
    pub(super) fn rejected_by(&self) -> Option<IpAddr> {
        match &self.way {
            Way::Own(socket) => socket.rejected_by(),
            Way::Shared(_) => None,
        }
    }

    /// The number of the listening socket that it shares with others, if it does.
    pub(super) fn shared(&self) -> Option<usize> {
        match &self.way {
            Way::Own(_) => None,
            Way::Shared(local) => Some(local.listener),
        }
    }

    /// Sends one packet that is gathered from `pieces`.
    pub(super) fn send(
        &self,
        listeners: &[Listener],
        pieces: &[IoSlice<'_>],
    ) -> Result<(), SendError> {
        match &self.way {
            Way::Own(socket) => sent(socket.send(pieces)),
            Way::Shared(local) => {
                let listener = &listeners[local.listener];
                let peer = self.peer.into();
                match sent(listener.send_from(local.address, local.interface, peer, pieces)) {
                    // Not by this packet.
                    Err(SendError::PortClosed) => Ok(()),
                    result => result,
                }
            }
        }
    }

    /// Sends blocks in runs of as many as one call can take; what is mapped and leaves by a shared socket goes to
    /// `gather`, with the number of that and the length of the file.
    pub(super) fn send_blocks(
        &mut self,
        now: Moment,
        blocks: Blocks,
        listeners: &[Listener],
        log: &mut Log,
        mut gather: impl FnMut(usize, Blocks, u64) -> Departed,
    ) -> Result<Departed, SendError> {
        // A buffer that is cut into packets holds an IPv6 packet at most, which has 65,575 bytes with its headers.
        let packet = usize::from(blocks.blksize) + DataHeader::LENGTH;
        let run_max = u16::try_from((65_000 / packet).clamp(1, DATAGRAMS_MAX)).unwrap_or(1);
        let mut departed = Departed {
            packets: 0,
            end: None,
        };
        while departed.packets < blocks.count && departed.end.is_none() {
            let run = Blocks {
                first: blocks.first + u64::from(departed.packets),
                count: run_max.min(blocks.count - departed.packets),
                ..blocks
            };
            let prepared = self.prepare(now, run, log);
            let sent = prepared.and_then(|()| match (&self.way, &self.content) {
                (Way::Shared(local), Some(content @ Content::Mapped(_))) => {
                    let length = content.length().unwrap_or(0);
                    Ok(gather(local.listener, run, length))
                }
                _ => self.send_run(run, listeners),
            });
            match sent {
                Ok(part) => {
                    departed.packets += part.packets;
                    departed.end = part.end;
                    if part.packets < run.count {
                        break;
                    }
                }
                Err(SendError::Full | SendError::Absent) if departed.packets > 0 => break,
                Err(unsent) => return Err(unsent),
            }
        }
        Ok(departed)
    }

    /// Sends blocks, of which one call can take as many; returns how many left.
    fn send_run(&self, run: Blocks, listeners: &[Listener]) -> Result<Departed, SendError> {
        match run.count {
            1 => self.send_at_most::<1>(run, listeners),
            _ => self.send_at_most::<DATAGRAMS_MAX>(run, listeners),
        }
    }

    /// The bytes that a client is sent.
    pub(super) fn content(&self) -> &Content {
        let content = self.content.as_ref();
        content.expect("blocks are sent to those who read a file")
    }

    /// Makes the bytes of a run available.
    fn prepare(&mut self, now: Moment, run: Blocks, log: &mut Log) -> Result<(), SendError> {
        let Some(content) = &mut self.content else {
            return Err(SendError::Unreadable(Refusal::ReadFailed));
        };
        let wanted = u64::from(run.count) * u64::from(run.blksize);
        let oldest = run.offset(run.oldest.max(1));
        let prepared = content.prepare(now, run.offset(run.first), wanted, oldest);
        prepared.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => SendError::Absent,
            ErrorKind::UnexpectedEof => SendError::Unreadable(Refusal::FileChanged),
            _ => {
                log.write(now, &LogEvent::DiskFailed(self.peer, &error));
                SendError::Unreadable(Refusal::ReadFailed)
            }
        })
    }

    fn send_at_most<const MOST: usize>(
        &self,
        run: Blocks,
        listeners: &[Listener],
    ) -> Result<Departed, SendError> {
        let headers: [DataHeader; MOST] = array::from_fn(|place| {
            let place = u64::try_from(place).unwrap_or(0);
            DataHeader::new(run.first + place)
        });
        let mut packets = [[IoSlice::new(&[]); 3]; MOST];
        let mut count = 0;
        let mut end = None;
        let content = self.content();
        for (packet, header) in packets.iter_mut().zip(&headers).take(run.count.into()) {
            let offset = run.offset(run.first + u64::from(count));
            let [front, back] = content.bytes(offset, run.blksize);
            *packet = [&header.0[..], front, back].map(IoSlice::new);
            count += 1;
            let length = front.len() + back.len();
            if length < usize::from(run.blksize) {
                end = Some(offset + length as u64);
                break;
            }
        }
        let packet = usize::from(run.blksize) + DataHeader::LENGTH;
        let size = u16::try_from(packet).unwrap_or(u16::MAX);
        let left = self.send_packets(listeners, &packets[..usize::from(count)], size)?;
        Ok(Departed {
            packets: left,
            end: end.filter(|_| left == count),
        })
    }

    /// Sends packets that are all of `size` bytes but the last, and returns how many left.
    fn send_packets(
        &self,
        listeners: &[Listener],
        packets: &[Pieces<'_>],
        size: u16,
    ) -> Result<u16, SendError> {
        let all = u16::try_from(packets.len()).unwrap_or(u16::MAX);
        if let (Way::Own(socket), [_, _, ..]) = (&self.way, packets)
            && self.segments.get()
        {
            match socket.send_segments(packets, size) {
                // None of them left, and none of this client's will so.
                Err(error) if is_unsegmentable(&error) => self.segments.set(false),
                result => return sent(result).map(|()| all),
            }
        }
        let mut left = 0;
        for packet in packets {
            match self.send(listeners, packet) {
                Err(SendError::Full) if left > 0 => break,
                result => result?,
            }
            left += 1;
        }
        Ok(left)
    }
}

/// What the result of a send means: the network may lose packets, and so may a full device queue, a
/// firewall or a route that is gone; the timer repeats what was lost.
fn sent(result: io::Result<()>) -> Result<(), SendError> {
    let Err(error) = result else { return Ok(()) };
    if error.kind() == ErrorKind::WouldBlock {
        return Err(SendError::Full);
    }
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ECONNREFUSED) => Err(SendError::PortClosed),
        // The file shrank, or the disk fails: a page is not to be had.
        Some(Errno::EFAULT) => Err(SendError::Unreadable(Refusal::ReadFailed)),
        _ => Ok(()),
    }
}
