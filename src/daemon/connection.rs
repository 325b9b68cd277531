//! What is open for one client: its socket and its file, and how blocks leave by one call or several.

use std::array;
use std::io::{self, ErrorKind, IoSlice};
use std::net::IpAddr;

use nix::errno::Errno;

use super::outbox::Outbox;
use crate::moment::Moment;
use crate::os::content::Content;
use crate::os::listener::Listener;
use crate::os::socket::{ClientSocket, DATAGRAMS_MAX, Pieces, is_unsegmentable};
use crate::server::{Local, SendError};
use crate::transfer::{Blocks, Departed};
use crate::wire::{DataHeader, Peer, Refusal};

/// How packets reach a client, and its packets us. The server does not know which.
#[derive(Debug)]
pub(super) enum Way {
    /// A socket of its own, which is connected to it.
    Own(ClientSocket),
    /// The socket that took its request, from the address that it was sent to.
    Shared(Local),
}

/// What is open for a client.
#[derive(Debug)]
pub(super) struct Connection {
    /// Who it is.
    pub peer: Peer,
    /// Distinguishes it from others that had its number.
    pub serial: u32,
    pub way: Way,
    /// What it is sent; `None` for one that sends itself.
    pub content: Option<Content>,
    /// The error with which its file could not be read, or 0.
    pub read_error: u16,
    pub wants_writable: bool,
    /// It has sent nothing yet, and who rejects our packets is worth a line.
    pub is_unheard: bool,
    /// It stands in the list of those who are to be read.
    pub is_unread: bool,
    /// The kernel cuts a window into packets for us.
    pub segments: bool,
}

impl Connection {
    /// Takes an error from the socket, and returns who rejected a packet; `None` if the client has sent something, or
    /// the system does not know.
    pub(super) fn rejection(&self) -> Option<(Peer, IpAddr)> {
        let by = match &self.way {
            Way::Own(socket) => socket.rejected_by()?,
            Way::Shared(_) => return None,
        };
        self.is_unheard.then_some((self.peer, by))
    }

    pub(super) fn send_whole(
        &self,
        listeners: &[Listener],
        datagram: &[u8],
    ) -> Result<Departed, SendError> {
        self.send_pieces(listeners, &[IoSlice::new(datagram)])?;
        Ok(Departed {
            packets: 1,
            end: None,
        })
    }

    /// The number of the listening socket that it shares with others, if it does.
    pub(super) fn shared(&self) -> Option<usize> {
        match &self.way {
            Way::Own(_) => None,
            Way::Shared(local) => Some(local.listener),
        }
    }

    fn send_pieces(&self, listeners: &[Listener], pieces: &[IoSlice<'_>]) -> Result<(), SendError> {
        let local = match &self.way {
            Way::Own(socket) => return sent(socket.send(pieces)),
            Way::Shared(local) => local,
        };
        let listener = &listeners[local.listener];
        let peer = self.peer.into();
        match sent(listener.send_from(local.address, local.interface, peer, pieces)) {
            // Not by this packet.
            Err(SendError::PortClosed) => Ok(()),
            result => result,
        }
    }

    /// Sends blocks in runs that one call can take, or leaves them to the outbox of a shared socket.
    pub(super) fn send_blocks(
        &mut self,
        now: Moment,
        client: usize,
        blocks: Blocks,
        listeners: &[Listener],
        outboxes: &mut [Outbox],
    ) -> Result<Departed, SendError> {
        let packet = usize::from(blocks.blksize) + DataHeader::LENGTH;
        let run_max = (RUN_BYTES_MAX / packet).clamp(1, DATAGRAMS_MAX);
        let run_max = u16::try_from(run_max).unwrap_or(1);
        let mut departed = Departed {
            packets: 0,
            end: None,
        };
        while departed.packets < blocks.count && departed.end.is_none() {
            let count = run_max.min(blocks.count - departed.packets);
            let first = blocks.first + u64::from(departed.packets);
            let run = Blocks {
                first,
                count,
                ..blocks
            };
            let result = match (&self.way, count) {
                (Way::Own(_), 1) => self.send_run::<1>(now, run),
                (Way::Own(_), _) => self.send_run::<DATAGRAMS_MAX>(now, run),
                (Way::Shared(local), _) => {
                    let outbox = &mut outboxes[local.listener];
                    self.share_run(now, client, run, listeners, outbox)
                }
            };
            match result {
                Ok(part) => {
                    departed.packets += part.packets;
                    departed.end = part.end;
                    if part.packets < count {
                        break;
                    }
                }
                Err(SendError::Full | SendError::Absent) if departed.packets > 0 => break,
                Err(unsent) => return Err(unsent),
            }
        }
        Ok(departed)
    }

    fn unprepared(&mut self, error: io::Error) -> SendError {
        match error.kind() {
            ErrorKind::WouldBlock => SendError::Absent,
            ErrorKind::UnexpectedEof => SendError::Unreadable(Refusal::FileChanged),
            _ => {
                let code = error.raw_os_error().unwrap_or(0);
                self.read_error = u16::try_from(code).unwrap_or(0);
                SendError::Unreadable(Refusal::ReadFailed)
            }
        }
    }

    /// The bytes that a client is sent.
    pub(super) fn content(&self) -> &Content {
        let content = self.content.as_ref();
        content.expect("blocks are sent to those who read a file")
    }

    /// Makes the bytes of a run available, and returns where they begin.
    fn prepare(&mut self, now: Moment, run: Blocks) -> Result<u64, SendError> {
        let begin = run.offset(run.first);
        let wanted = u64::from(run.count) * u64::from(run.blksize);
        let oldest = run.offset(run.oldest.max(1));
        let content = self.content.as_mut();
        let content = content.expect("blocks are sent to those who read a file");
        match content.prepare(now, begin, wanted, oldest) {
            Ok(()) => Ok(begin),
            Err(error) => Err(self.unprepared(error)),
        }
    }

    /// Leaves blocks to the outbox of a shared socket, if their bytes stay where they are, else sends them.
    fn share_run(
        &mut self,
        now: Moment,
        client: usize,
        run: Blocks,
        listeners: &[Listener],
        outbox: &mut Outbox,
    ) -> Result<Departed, SendError> {
        let begin = self.prepare(now, run)?;
        if let Content::Mapped(_) = self.content() {
            let length = self.content().length().unwrap_or(0);
            let last = length / u64::from(run.blksize) + 1;
            let count = u64::from(run.count).min((last + 1).saturating_sub(run.first));
            let count = u16::try_from(count).unwrap_or(run.count);
            outbox.add(client, Blocks { count, ..run });
            return Ok(Departed {
                packets: count,
                end: (run.first + u64::from(count) > last).then_some(length),
            });
        }
        let mut departed = Departed {
            packets: 0,
            end: None,
        };
        while departed.packets < run.count && departed.end.is_none() {
            let number = run.first + u64::from(departed.packets);
            let offset = begin + u64::from(departed.packets) * u64::from(run.blksize);
            let [front, back] = self.content().bytes(offset, run.blksize);
            let length = front.len() + back.len();
            let header = DataHeader::new(number);
            let pieces = [&header.0[..], front, back].map(IoSlice::new);
            match self.send_pieces(listeners, &pieces) {
                Err(SendError::Full) if departed.packets > 0 => break,
                result => result?,
            }
            departed.packets += 1;
            if length < usize::from(run.blksize) {
                departed.end = Some(offset + length as u64);
            }
        }
        Ok(departed)
    }

    /// Sends at most `MOST` blocks with one call.
    fn send_run<const MOST: usize>(
        &mut self,
        now: Moment,
        run: Blocks,
    ) -> Result<Departed, SendError> {
        let begin = self.prepare(now, run)?;
        let content = self.content.as_ref();
        let content = content.expect("blocks are sent to those who read a file");
        let headers: [DataHeader; MOST] = array::from_fn(|place| {
            let place = u64::try_from(place).unwrap_or(0);
            DataHeader::new(run.first + place)
        });
        let mut packets = [[IoSlice::new(&[]); 3]; MOST];
        let mut count = 0;
        let mut end = None;
        for (packet, header) in packets.iter_mut().zip(&headers).take(run.count.into()) {
            let offset = begin + u64::from(count) * u64::from(run.blksize);
            let [front, back] = content.bytes(offset, run.blksize);
            *packet = [&header.0[..], front, back].map(IoSlice::new);
            count += 1;
            let length = front.len() + back.len();
            if length < usize::from(run.blksize) {
                end = Some(offset + length as u64);
                break;
            }
        }
        let size = usize::from(run.blksize) + DataHeader::LENGTH;
        let packets = &packets[..usize::from(count)];
        let Way::Own(socket) = &self.way else {
            unreachable!("an outbox has taken it");
        };
        let left = send_packets(socket, &mut self.segments, packets, size)?;
        Ok(Departed {
            packets: left,
            end: end.filter(|_| left == count),
        })
    }
}

/// Sends packets that are all of `size` bytes but the last, and returns how many left.
fn send_packets(
    socket: &ClientSocket,
    segments: &mut bool,
    packets: &[Pieces<'_>],
    size: usize,
) -> Result<u16, SendError> {
    let all = u16::try_from(packets.len()).unwrap_or(u16::MAX);
    if let [packet] = packets {
        sent(socket.send(packet))?;
        return Ok(1);
    }
    if *segments {
        let size = u16::try_from(size).unwrap_or(u16::MAX);
        match socket.send_segments(packets, size) {
            // None of them left, and none of this client's will so.
            Err(error) if is_unsegmentable(&error) => *segments = false,
            result => {
                sent(result)?;
                return Ok(all);
            }
        }
    }
    match socket.send_each(packets) {
        Ok(count) => Ok(u16::try_from(count).unwrap_or(all)),
        // The first one was lost, and the others have not been tried.
        Err(error) => sent(Err(error)).map(|()| 1),
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

/// What one buffer that is cut into packets may hold: an IPv6 packet with its headers has 65,575 bytes.
const RUN_BYTES_MAX: usize = 65_000;
