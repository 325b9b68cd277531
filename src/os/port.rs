//! A UDP port of a client: open to anybody, with an error when nobody listens at the other end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::Socket;

use super::socket::{keep_errors, udp_socket};

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
        let socket = udp_socket(local)?;
        keep_errors(&socket, local.is_ipv6())?;
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
