//! The same limit with one socket for all: datagrams are taken and sent in batches, clients told apart by their addresses.

use std::collections::HashMap;
use std::io;
use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{setsockopt, sockopt};

use crate::bare::{Files, Transfer};

/// Serves the files of `root` over `address` alone until the process is ended.
pub(crate) fn serve(address: SocketAddr, root: &Path) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20))?;
    setsockopt(&socket, sockopt::SndBufForce, &(8 << 20))?;
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    let mut files = Files::new(root);
    let mut transfers: HashMap<(u32, u16), Transfer> = HashMap::new();
    let mut batch = Batch::new();
    let mut events = [EpollEvent::empty(); 4];
    loop {
        match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            result => result?,
        };
        let count = batch.receive(&socket)?;
        for place in 0..count {
            let from = batch.names[place];
            let key = (from.sin_addr.s_addr, from.sin_port);
            let datagram = &batch.buffers[place][..batch.lengths[place]];
            if let [0, 1, ..] = datagram {
                let (transfer, oack) = files.begin(datagram)?;
                socket.send_to(&oack, address_of(&from))?;
                transfers.insert(key, transfer);
            } else if let [0, 4, high, low] = *datagram
                && let Some(transfer) = transfers.get_mut(&key)
            {
                match transfer.acknowledge([high, low]) {
                    Some(blocks) => batch.add(&socket, from, transfer, blocks)?,
                    None => drop(transfers.remove(&key)),
                }
            }
        }
        batch.send(&socket)?;
    }
}

fn address_of(name: &libc::sockaddr_in) -> SocketAddr {
    let address = std::net::Ipv4Addr::from_bits(u32::from_be(name.sin_addr.s_addr));
    SocketAddr::from((address, u16::from_be(name.sin_port)))
}

/// Room for what one turn receives and sends.
struct Batch {
    names: Vec<libc::sockaddr_in>,
    buffers: Vec<[u8; 2048]>,
    lengths: [usize; TAKEN],
    messages: Vec<Message>,
}

/// One message: the blocks of a window that the kernel cuts into datagrams.
struct Message {
    to: libc::sockaddr_in,
    headers: Vec<[u8; 4]>,
    pieces: Vec<libc::iovec>,
    control: [u64; 3],
    is_cut: bool,
}

impl Batch {
    fn new() -> Batch {
        // SAFETY: plain data, for which zeroes are a valid value.
        let name = || unsafe { mem::zeroed::<libc::sockaddr_in>() };
        Batch {
            names: (0..TAKEN).map(|_| name()).collect(),
            buffers: vec![[0; 2048]; TAKEN],
            lengths: [0; TAKEN],
            messages: Vec::new(),
        }
    }

    fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; TAKEN] = unsafe { mem::zeroed() };
        let mut pieces = self.buffers.each_piece();
        for (place, header) in headers.iter_mut().enumerate() {
            header.msg_hdr.msg_name = ptr::from_mut(&mut self.names[place]).cast();
            header.msg_hdr.msg_namelen = NAME;
            header.msg_hdr.msg_iov = &raw mut pieces[place];
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: each header points at a name and a buffer that live during the call.
        let count = unsafe {
            let most = u32::try_from(TAKEN).unwrap_or(1);
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                most,
                0,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error());
        let count = match count {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            count => count?,
        };
        for (length, header) in self.lengths.iter_mut().zip(&headers[..count]) {
            *length = header.msg_len as usize;
        }
        Ok(count)
    }

    fn add(
        &mut self,
        socket: &UdpSocket,
        to: libc::sockaddr_in,
        transfer: &Transfer,
        (first, count): (usize, usize),
    ) -> io::Result<()> {
        let most = transfer.cut_max();
        let mut next = first;
        while next < first + count {
            let blocks = next..(next + most).min(first + count);
            next = blocks.end;
            if self.messages.len() == TAKEN {
                self.send(socket)?;
            }
            let headers: Vec<[u8; 4]> = blocks.clone().map(Transfer::header).collect();
            let mut pieces = Vec::with_capacity(2 * headers.len());
            for (header, block) in headers.iter().zip(blocks) {
                pieces.push(piece(header));
                pieces.push(piece(transfer.block(block)));
            }
            self.messages.push(Message {
                to,
                is_cut: headers.len() > 1,
                headers,
                pieces,
                control: cut_into(transfer.packet()),
            });
        }
        Ok(())
    }

    fn send(&mut self, socket: &UdpSocket) -> io::Result<()> {
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; TAKEN] = unsafe { mem::zeroed() };
        for (message, header) in self.messages.iter_mut().zip(&mut headers) {
            header.msg_hdr.msg_name = ptr::from_mut(&mut message.to).cast();
            header.msg_hdr.msg_namelen = NAME;
            header.msg_hdr.msg_iov = message.pieces.as_mut_ptr();
            header.msg_hdr.msg_iovlen = message.pieces.len() as _;
            debug_assert_eq!(message.pieces.len(), 2 * message.headers.len());
            if message.is_cut {
                header.msg_hdr.msg_control = message.control.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = size_of_val(&message.control) as _;
            }
        }
        let mut sent = 0;
        while sent < self.messages.len() {
            let left = u32::try_from(self.messages.len() - sent).unwrap_or(1);
            // SAFETY: each header points at what its message holds, or at bytes of files that are never freed.
            let count = unsafe {
                libc::sendmmsg(socket.as_raw_fd(), headers[sent..].as_mut_ptr(), left, 0)
            };
            match usize::try_from(count) {
                Ok(count) => sent += count,
                Err(_) => return Err(io::Error::last_os_error()),
            }
        }
        self.messages.clear();
        Ok(())
    }
}

trait Pieces {
    fn each_piece(&mut self) -> Vec<libc::iovec>;
}

impl Pieces for Vec<[u8; 2048]> {
    fn each_piece(&mut self) -> Vec<libc::iovec> {
        self.iter().map(|buffer| piece(buffer)).collect()
    }
}

fn piece(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

/// The control message UDP_SEGMENT with that size, as 64-bit Linux lays it out (cmsg(3)).
fn cut_into(size: u16) -> [u64; 3] {
    let length = 16 + 2;
    let [level, kind] = [libc::SOL_UDP, libc::UDP_SEGMENT].map(i32::cast_unsigned);
    [
        length,
        u64::from(level) | u64::from(kind) << 32,
        u64::from(size),
    ]
}

#[allow(clippy::cast_possible_truncation, reason = "16 bytes")]
const NAME: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;
/// Datagrams that one call takes, and messages that one call sends.
const TAKEN: usize = 64;
