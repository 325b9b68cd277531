//! Datagrams to many peers with one system call (sendmmsg(2)), from memory that others keep, by headers that are made once.

use std::io;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use socket2::SockAddr;

use super::control::Outgoing;
use super::socket::Pieces;

/// Room for what one call sends.
pub struct Departures {
    names: Box<[Option<SockAddr>]>,
    controls: Box<[Outgoing]>,
    headers: Box<[libc::mmsghdr]>,
    /// Never grows past what it was made with.
    pieces: Vec<libc::iovec>,
    /// Where in `pieces` each message begins.
    begins: Vec<usize>,
}

impl Default for Departures {
    /// Room for [`MESSAGES_MAX`] messages.
    fn default() -> Departures {
        // SAFETY: it is plain data of the C library, for which zeroes are a valid value.
        let header = || unsafe { std::mem::zeroed::<libc::mmsghdr>() };
        Departures {
            names: (0..MESSAGES_MAX).map(|_| None).collect(),
            controls: (0..MESSAGES_MAX).map(|_| Outgoing::EMPTY).collect(),
            headers: (0..MESSAGES_MAX).map(|_| header()).collect(),
            pieces: Vec::with_capacity(PACKETS_MAX * PIECES),
            begins: Vec::with_capacity(MESSAGES_MAX),
        }
    }
}

impl Departures {
    /// Begins to put messages together, out of what lives as long as `'d`.
    pub fn begin<'d>(&mut self) -> Departing<'_, 'd> {
        self.pieces.clear();
        self.begins.clear();
        Departing {
            room: self,
            _borrowed: PhantomData,
        }
    }
}

impl std::fmt::Debug for Departures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Departures of {} messages", self.begins.len())
    }
}

/// Messages that are about to leave.
#[derive(Debug)]
pub struct Departing<'r, 'd> {
    room: &'r mut Departures,
    _borrowed: PhantomData<&'d [u8]>,
}

impl<'d> Departing<'_, 'd> {
    /// Adds a message to `to` from an address of ours and, if that is a link-local one, its interface: one datagram, or
    /// several of `size` bytes, the last of which may be shorter. There has to be room, of [`MESSAGES_MAX`] and
    /// [`PACKETS_MAX`].
    pub fn add(
        &mut self,
        to: SocketAddr,
        from: (IpAddr, u32),
        size: Option<u16>,
        datagrams: impl Iterator<Item = Pieces<'d>>,
    ) {
        let room = &mut *self.room;
        let number = room.begins.len();
        room.begins.push(room.pieces.len());
        room.names[number] = Some(to.into());
        room.controls[number] = Outgoing::from(from.0, from.1);
        if let Some(size) = size {
            room.controls[number].add_segments(size);
        }
        for piece in datagrams.flatten() {
            assert!(room.pieces.len() < PACKETS_MAX * PIECES);
            room.pieces.push(libc::iovec {
                iov_base: piece.as_ptr().cast_mut().cast(),
                iov_len: piece.len(),
            });
        }
    }

    /// Sends them in order, and returns how many left.
    ///
    /// # Errors
    /// Those of sendmsg(2), where the first did not leave.
    pub fn send(self, socket: &impl AsFd) -> io::Result<usize> {
        let room = self.room;
        let count = room.begins.len();
        for (number, &begin) in room.begins.iter().enumerate() {
            let end = room.begins.get(number + 1).copied();
            let pieces = &mut room.pieces[begin..];
            let length = end.map_or(pieces.len(), |end| end - begin);
            let control = room.controls[number].as_bytes();
            let message = &mut room.headers[number].msg_hdr;
            if let Some(name) = &room.names[number] {
                message.msg_name = name.as_ptr().cast_mut().cast();
                message.msg_namelen = name.len();
            }
            message.msg_control = control.as_ptr().cast_mut().cast();
            message.msg_controllen = control.len() as _;
            message.msg_iov = pieces.as_mut_ptr();
            message.msg_iovlen = length as _;
        }
        let most = u32::try_from(count).unwrap_or(u32::MAX);
        // SAFETY: each of the first `most` headers points at a name, control messages and pieces that lie on the heap and
        // are not moved; the pieces are parts of slices that live as long as `self`. The call only reads them.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_fd().as_raw_fd(),
                ptr::from_mut(&mut *room.headers).cast(),
                most,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// A datagram has a header, and a block in two pieces at most.
const PIECES: usize = 3;
/// Messages that one call sends.
pub const MESSAGES_MAX: usize = 64;
/// Datagrams in all of them.
pub const PACKETS_MAX: usize = 1024;
