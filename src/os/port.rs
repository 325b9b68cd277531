//! A UDP port of a client: open to anybody, with an error when nobody listens at the other end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// An open port.
#[derive(Debug)]
pub struct Port {
    socket: Socket,
}

impl Port {
    /// Opens `local`; with port 0 the system picks one.
    ///
    /// # Errors
    /// Where the port is taken, the address is not ours, or descriptors ran out.
    pub fn open(local: SocketAddr) -> io::Result<Port> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(local), kind, Some(Protocol::UDP))?;
        // Without this, ICMP reaches connected sockets only.
        if local.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
        }
        socket.bind(&local.into())?;
        Ok(Port { socket })
    }

    /// Sends a datagram.
    ///
    /// # Errors
    /// Those of sendto(2). `ConnectionRefused` is about an earlier datagram; this one was not sent.
    pub fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        self.socket.send_to(datagram, &to.into()).map(drop)
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Port {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
