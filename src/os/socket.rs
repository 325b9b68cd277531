//! The socket of one transfer: bound to the address that was asked and connected to the client, so that
//! nobody else's packets get in.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use socket2::{Domain, Protocol, Socket, Type};

/// A connected socket.
#[derive(Debug)]
pub struct ClientSocket {
    socket: Socket,
    peer: SocketAddr,
}

impl ClientSocket {
    /// A socket from `local` (of `interface`, where it is a link-local address), at a port that the
    /// system picks, to `peer`.
    ///
    /// # Errors
    /// Where descriptors or ports ran out (see [`super::is_exhaustion`]), the address is gone, or there
    /// is no route.
    pub fn connect(local: IpAddr, interface: u32, peer: SocketAddr) -> io::Result<ClientSocket> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(peer), kind, Some(Protocol::UDP))?;
        let local = match local {
            IpAddr::V4(v4) => SocketAddr::from((v4, 0)),
            IpAddr::V6(v6) => SocketAddrV6::new(v6, 0, 0, interface).into(),
        };
        socket.bind(&local.into())?;
        if peer.is_ipv4() {
            // Some boot ROMs choke on the flag "don't fragment".
            set_option(
                &socket,
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                libc::IP_PMTUDISC_DONT,
            )?;
        }
        socket.connect(&peer.into())?;
        Ok(ClientSocket { socket, peer })
    }

    /// Bytes that one datagram carries to the client without being cut into fragments.
    ///
    /// # Errors
    /// Where the route is gone.
    pub fn payload_max(&self) -> io::Result<u16> {
        let (level, name, headers) = match self.peer {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU, IPV4_HEADERS),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU, IPV6_HEADERS),
        };
        let payload = option(&self.socket, level, name)? - headers;
        Ok(u16::try_from(payload.max(0)).unwrap_or(u16::MAX))
    }

    /// Who is at the other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Sends one datagram that is gathered from `pieces`.
    ///
    /// # Errors
    /// Those of sendmsg(2), among them what the network has told since the last call.
    pub fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        self.socket.send_vectored(pieces).map(drop)
    }
}

impl AsFd for ClientSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for ClientSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// IPv4 without options, and UDP.
const IPV4_HEADERS: i32 = 20 + 8;
/// IPv6 without extensions, and UDP.
const IPV6_HEADERS: i32 = 40 + 8;

/// Reads a socket option that is one number and that no wrapper offers.
fn option(socket: &impl AsFd, level: i32, name: i32) -> io::Result<i32> {
    let mut value: i32 = 0;
    let mut length = OPTION_LENGTH;
    // SAFETY: the kernel writes at most `length` bytes to `value`, which has as many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            ptr::from_mut(&mut value).cast(),
            &mut length,
        )
    };
    if result == 0 {
        Ok(value)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets a socket option that is one number and that no wrapper offers.
fn set_option(socket: &impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the kernel reads `OPTION_LENGTH` bytes from `value`, which has as many.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast(),
            OPTION_LENGTH,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[allow(clippy::cast_possible_truncation, reason = "it is 4")]
const OPTION_LENGTH: libc::socklen_t = size_of::<i32>() as libc::socklen_t;
