//! Datagrams to many peers with one system call (sendmmsg(2)), from memory that others keep, by headers that are made once.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};

use socket2::SockAddr;

use super::control::Outgoing;
use super::socket::Pieces;

/// Room for what one call sends.
#[derive(Debug, Default)]
pub struct Departures {
    names: Vec<SockAddr>,
    controls: Vec<Outgoing>,
    pieces: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

/// A message: one datagram, or several of `size` bytes, the last of which may be shorter.
#[derive(Debug)]
pub struct Message<D> {
    /// Whom it goes to.
    pub to: SocketAddr,
    /// An address of ours and, if that is a link-local one, its interface.
    pub from: (IpAddr, u32),
    /// Bytes of one of several datagrams.
    pub size: Option<u16>,
    /// What they hold.
    pub datagrams: D,
}

impl Departures {
    /// Sends messages in order, of which there are no more than [`MESSAGES_MAX`] and [`PACKETS_MAX`] allow. Returns how
    /// many left.
    ///
    /// # Errors
    /// Those of sendmsg(2), where the first did not leave.
    pub fn send<'d, D: Iterator<Item = Pieces<'d>>>(
        &mut self,
        socket: &impl AsFd,
        messages: impl Iterator<Item = Message<D>>,
    ) -> io::Result<usize> {
        let Departures {
            names,
            controls,
            pieces,
            headers,
        } = self;
        names.clear();
        names.reserve(MESSAGES_MAX);
        controls.clear();
        controls.reserve(MESSAGES_MAX);
        pieces.clear();
        pieces.reserve(PACKETS_MAX * PIECES);
        headers.clear();
        for message in messages {
            assert!(names.len() < MESSAGES_MAX, "nothing is moved");
            names.push(message.to.into());
            controls.push(Outgoing::from(message.from.0, message.from.1));
            let name = &names[names.len() - 1];
            let control = &mut controls[names.len() - 1];
            if let Some(size) = message.size {
                control.add_segments(size);
            }
            let begin = pieces.len();
            for piece in message.datagrams.flatten() {
                assert!(pieces.len() < PACKETS_MAX * PIECES, "nothing is moved");
                pieces.push(libc::iovec {
                    iov_base: piece.as_ptr().cast_mut().cast(),
                    iov_len: piece.len(),
                });
            }
            // SAFETY: it is plain data of the C library, for which zeroes are a valid value.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = name.len();
            header.msg_hdr.msg_control = control.as_bytes().as_ptr().cast_mut().cast();
            header.msg_hdr.msg_controllen = control.as_bytes().len() as _;
            header.msg_hdr.msg_iov = pieces.as_mut_ptr().wrapping_add(begin);
            header.msg_hdr.msg_iovlen = (pieces.len() - begin) as _;
            headers.push(header);
        }
        let count = u32::try_from(headers.len()).unwrap_or(u32::MAX);
        // SAFETY: each of the `count` headers points at a name, control messages and pieces that lie on the heap and
        // were not moved since; the pieces are parts of slices that live as long as `'d`. The call only reads them.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                count,
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
