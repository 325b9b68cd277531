//! Many datagrams with one system call (recvmmsg(2)), into buffers that are made once.
//!
//! `nix` wraps the call, but keeps the shrunken lengths of the last one in its headers, so that a batch
//! could be used once only; hence our own.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use nix::sys::socket::{SockaddrLike, SockaddrStorage};

use super::control;
use super::socket::socket_address;

/// Buffers for some datagrams at once; none by default.
#[derive(Debug, Default)]
pub struct Batch {
    slots: Box<[Slot]>,
    headers: Box<[libc::mmsghdr]>,
    buffers: Box<[u8]>,
    /// Bytes of one buffer.
    each: usize,
    /// How many datagrams were received last: their headers have their lengths, not those of the buffers.
    used: usize,
}

#[derive(Debug)]
struct Slot {
    vector: libc::iovec,
    from: libc::sockaddr_storage,
    control: ControlBuffer,
}

/// Aligned as cmsghdr wants it.
#[derive(Debug)]
#[repr(C, align(8))]
struct ControlBuffer([u8; control::ROOM]);

/// A datagram that was received.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// What it holds.
    pub bytes: &'a [u8],
    /// It was longer than the buffer, and its end is lost.
    pub is_truncated: bool,
    /// Who sent it; `None` if the system does not say.
    pub from: Option<SocketAddr>,
    pub(super) control: &'a [u8],
}

impl Batch {
    /// Buffers for `count` datagrams of up to `each` bytes.
    pub fn new(count: usize, each: usize) -> Batch {
        // SAFETY: all of these are plain data of the C library, for which zeroes are a valid value.
        let (slot, header) =
            unsafe { (|| mem::zeroed::<Slot>(), || mem::zeroed::<libc::mmsghdr>()) };
        let mut batch = Batch {
            slots: (0..count).map(|_| slot()).collect(),
            headers: (0..count).map(|_| header()).collect(),
            buffers: vec![0; count * each].into(),
            each,
            used: count,
        };
        let buffers = batch.buffers.chunks_exact_mut(each);
        let slots = batch.slots.iter_mut().zip(&mut batch.headers).zip(buffers);
        for ((slot, header), buffer) in slots {
            slot.vector.iov_base = buffer.as_mut_ptr().cast();
            slot.vector.iov_len = buffer.len();
            let message = &mut header.msg_hdr;
            message.msg_name = ptr::from_mut(&mut slot.from).cast();
            message.msg_iov = &mut slot.vector;
            message.msg_iovlen = 1;
            message.msg_control = slot.control.0.as_mut_ptr().cast();
        }
        batch
    }

    /// Receives what is there without waiting. Fewer than it has room for means that the socket was
    /// found empty.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there, or an error that the socket had pending.
    pub fn receive(&mut self, socket: &impl AsFd) -> io::Result<&Batch> {
        for header in &mut self.headers[..self.used] {
            header.msg_hdr.msg_namelen = length_of::<libc::sockaddr_storage>();
            header.msg_hdr.msg_controllen = control::ROOM as _;
        }
        self.used = 0;
        let count = u32::try_from(self.headers.len()).unwrap_or(u32::MAX);
        // SAFETY: each of the `count` headers points at a name, a vector, a buffer and a control buffer
        // that lie on the heap, live and are not moved as long as `self`, and are as long as the header says.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        self.used = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(self)
    }

    /// The last call has received as many as there is room for: there may be more.
    pub fn is_full(&self) -> bool {
        self.used == self.slots.len()
    }

    /// Each that the last call received, in the order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = Received<'_>> + '_ {
        (0..self.used).map(|index| self.datagram(index))
    }

    fn datagram(&self, index: usize) -> Received<'_> {
        let header = &self.headers[index];
        let slot = &self.slots[index];
        let begin = index * self.each;
        let length = (header.msg_len as usize).min(self.each);
        #[allow(
            clippy::unnecessary_cast,
            reason = "its width differs between C libraries"
        )]
        let control_length = header.msg_hdr.msg_controllen as usize;
        Received {
            bytes: &self.buffers[begin..begin + length],
            is_truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            from: address_in(&slot.from, header.msg_hdr.msg_namelen),
            control: &slot.control.0[..control_length.min(control::ROOM)],
        }
    }
}

/// What the kernel wrote into `storage`, where it is an internet address.
fn address_in(storage: &libc::sockaddr_storage, length: libc::socklen_t) -> Option<SocketAddr> {
    // SAFETY: the storage is aligned for and as large as every type of address.
    let address = unsafe { SockaddrStorage::from_raw(ptr::from_ref(storage).cast(), Some(length)) };
    socket_address(&address?)
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("the size of an address")
}
