//! Listening sockets: requests come in here, and refusals go out, from the very address that was asked.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use socket2::{MsgHdr, Protocol, SockAddr, Socket, Type};

use super::control::{self, Destination, Outgoing};
use super::receive::Received;
pub use super::socket::Rejected;
use super::socket::{keep_errors, never_discover_mtu, take_rejected, udp_socket};

/// A socket that takes requests.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: SocketAddr,
    /// The machine did not have the address yet.
    pub is_early: bool,
    /// All transfers take place here, and errors of packets to anybody come up in any call.
    is_shared: bool,
}

impl Listener {
    /// Listens on `address`, even if the machine is yet to get it; port 0 picks one. `[::]` takes IPv4 as well, unless
    /// `v6_only`.
    ///
    /// # Errors
    /// Where the address is taken or needs a privilege.
    pub fn bind(address: SocketAddr, v6_only: bool) -> io::Result<Listener> {
        let socket = udp_socket(address)?;
        if address.is_ipv6() {
            socket.set_only_v6(v6_only || !address.ip().is_unspecified())?;
        }
        ask_for_destinations(&socket, address)?;
        let bound = socket.bind(&address.into());
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::AddrNotAvailable;
        let is_early = bound.as_ref().is_err_and(is_missing) && !address.ip().is_unspecified();
        if is_early {
            match address {
                SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
                SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
            }
            socket.bind(&address.into())?;
        } else {
            bound?;
        }
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Listener {
            socket,
            address,
            is_early,
            is_shared: false,
        })
    }

    /// Listens on a socket that was handed over, with what it has received already.
    ///
    /// # Errors
    /// It is not a UDP socket, or not one that takes requests.
    pub fn adopt(socket: OwnedFd) -> io::Result<Listener> {
        let socket = Socket::from(socket);
        let is_udp = (socket.r#type()?, socket.protocol()?) == (Type::DGRAM, Some(Protocol::UDP));
        let address = socket.local_addr()?.as_socket();
        let bound = address.filter(|address| is_udp && address.port() != 0);
        let Some(address) = bound.filter(|_| socket.peer_addr().is_err()) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a UDP socket that is bound to a port and connected to nobody",
            ));
        };
        socket.set_nonblocking(true)?;
        ask_for_destinations(&socket, address)?;
        Ok(Listener {
            socket,
            address,
            is_early: false,
            is_shared: false,
        })
    }

    /// The address listened on, with the port that was picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks for a receive buffer of `bytes`, past the system's limit where we are allowed to, and returns
    /// how many there are. The kernel counts its own bookkeeping in.
    pub fn enlarge_buffer(&self, bytes: usize) -> io::Result<usize> {
        if setsockopt(&self.socket, sockopt::RcvBufForce, &bytes).is_err() {
            self.socket.set_recv_buffer_size(bytes)?;
        }
        self.socket.recv_buffer_size()
    }

    /// Lets all transfers take place here: room for what is sent to many, errors of packets with whom they went to,
    /// and no flag "don't fragment", on which some boot ROMs choke.
    pub fn share(&mut self, send_buffer: usize) -> io::Result<()> {
        self.is_shared = true;
        if setsockopt(&self.socket, sockopt::SndBufForce, &send_buffer).is_err() {
            self.socket.set_send_buffer_size(send_buffer)?;
        }
        if self.address.is_ipv6() {
            keep_errors(&self.socket, true)?;
        }
        if self.address.is_ipv4() || !self.socket.only_v6()? {
            keep_errors(&self.socket, false)?;
            never_discover_mtu(&self.socket)?;
        }
        Ok(())
    }

    /// Takes the oldest error that the kernel keeps of a shared socket; `None` if it keeps none.
    pub fn rejected(&self) -> Option<Rejected> {
        take_rejected(&self.socket)
    }

    /// Whether this kernel cuts a buffer into datagrams (UDP_SEGMENT, Linux 4.18). One that does not know it
    /// would send the whole as one.
    pub fn has_segments(&self) -> bool {
        getsockopt(&self.socket, sockopt::UdpGsoSegment).is_ok()
    }

    /// Where a datagram was sent to. The address is unspecified where the system is to choose, as after an IPv6
    /// multicast; the interface is 0 where it is not needed to answer.
    pub fn destination(&self, received: Received<'_>) -> Destination {
        let named = control::destination(received.control);
        let destination = named.unwrap_or(Destination {
            address: self.address.ip().to_canonical(),
            interface: 0,
            is_broadcast: false,
        });
        match destination.address {
            IpAddr::V6(v6) if v6.is_multicast() => Destination {
                address: std::net::Ipv6Addr::UNSPECIFIED.into(),
                ..destination
            },
            IpAddr::V4(v4) if destination.interface == 0 && is_broadcast(v4) => Destination {
                address: Ipv4Addr::UNSPECIFIED.into(),
                interface: 0,
                is_broadcast: true,
            },
            IpAddr::V6(v6) if v6.is_unicast_link_local() => destination,
            IpAddr::V4(_) | IpAddr::V6(_) => Destination {
                interface: 0,
                ..destination
            },
        }
    }

    /// Sends a datagram that is gathered from `pieces` to `peer` from the address `from` of `interface`.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub fn send_from(
        &self,
        from: IpAddr,
        interface: u32,
        peer: SocketAddr,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<()> {
        let message = Outgoing::from(from, interface);
        let peer = SockAddr::from(self.reachable(peer));
        let header = MsgHdr::new()
            .with_addr(&peer)
            .with_buffers(pieces)
            .with_control(message.as_bytes());
        let mut tries = if self.is_shared { TRIES } else { 1 };
        loop {
            tries -= 1;
            match self.socket.sendmsg(&header, 0) {
                Err(error) if tries > 0 && error.kind() != io::ErrorKind::WouldBlock => {}
                result => return result.map(drop),
            }
        }
    }

    /// `peer` as this socket spells it.
    pub fn reachable(&self, peer: SocketAddr) -> SocketAddr {
        match (self.address, peer) {
            (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
                SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()))
            }
            _ => peer,
        }
    }
}

/// A shared socket may hold errors of packets to several clients; each costs a try.
const TRIES: u32 = 16;

/// Whether an address is a broadcast or multicast address: nothing is sent to the former without asking for the right
/// (connect(2)).
fn is_broadcast(address: Ipv4Addr) -> bool {
    let peer = SocketAddr::from((address, 9));
    let connected = udp_socket(peer).and_then(|probe| probe.connect(&peer.into()));
    let is_broadcast =
        connected.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    is_broadcast || address.is_multicast()
}

/// Asks the kernel for the destination of each datagram.
fn ask_for_destinations(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    if address.is_ipv4() || !socket.only_v6()? {
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    Ok(())
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
