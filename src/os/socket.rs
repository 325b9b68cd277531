//! The socket of one transfer: bound to the address that was asked and connected to the client, so that
//! nobody else's packets get in.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned as Control, MsgFlags, SockaddrStorage, getsockopt, recvmsg, setsockopt,
    sockopt,
};
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};
use socket2::{Domain, MsgHdr, Protocol, SockRef, Socket, Type};

use super::control::Outgoing;
use super::ports::Ports;

/// A datagram in pieces, any of which may be empty.
pub type Pieces<'a> = [IoSlice<'a>; 3];

/// A connected socket.
#[derive(Debug)]
pub struct ClientSocket {
    socket: UdpSocket,
    /// Its port, if that is of a range; else 0.
    pub port: u16,
}

/// A packet that was rejected on its way (IP_RECVERR in ip(7)).
#[derive(Clone, Copy, Debug)]
pub struct Rejected {
    /// To whom it went.
    pub to: SocketAddr,
    /// Who says so.
    pub by: Option<IpAddr>,
    /// The number of the error.
    pub error: i32,
}

impl ClientSocket {
    /// A socket from `local`, an address and, if that is a link-local one, its interface, to `peer`; at one of
    /// `ports` that is not `is_unfit`: no two sockets may have both ports in common.
    ///
    /// # Errors
    /// Where descriptors or ports ran out (see [`super::is_exhaustion`]), the address is gone, or there
    /// is no route.
    pub fn connect(
        local: (IpAddr, u32),
        peer: SocketAddr,
        ports: &Ports,
        is_unfit: impl Fn(u16) -> bool,
    ) -> io::Result<ClientSocket> {
        let socket = udp_socket(peer)?;
        let port = ports.bind(&socket, local, is_unfit)?;
        if peer.is_ipv4() {
            // Some boot ROMs choke on the flag "don't fragment".
            never_discover_mtu(&socket)?;
        }
        // Keeps who sent an ICMP error, and lets those through that are not final.
        keep_errors(&socket, peer.is_ipv6())?;
        socket.connect(&peer.into())?;
        let socket = ClientSocket {
            socket: socket.into(),
            port,
        };
        if ports.are_shared() {
            socket.throw_away();
        }
        Ok(socket)
    }

    /// Until a socket is connected it takes what others send to its port; who receives later looks where it came from,
    /// for what is left.
    fn throw_away(&self) {
        for _ in 0..THROWN_AWAY_MAX {
            if self.receive(&mut [0], false).is_err() {
                return;
            }
        }
    }

    /// Takes the oldest ICMP error that the kernel keeps, and returns who sent it (IP_RECVERR in ip(7)). To be called
    /// after every error: what is kept takes the room of replies.
    pub fn rejected_by(&self) -> Option<IpAddr> {
        take_rejected(&self.socket)?.by
    }

    /// Bytes that one datagram carries to the client, whose address this is, without being cut into
    /// fragments.
    ///
    /// # Errors
    /// Where the route is gone.
    pub fn payload_max(&self, peer: IpAddr) -> io::Result<u16> {
        let payload = match peer {
            IpAddr::V4(_) => getsockopt(&self.socket, sockopt::IpMtu)? - IPV4_HEADERS,
            IpAddr::V6(_) => getsockopt(&self.socket, Ipv6Mtu)? - IPV6_HEADERS,
        };
        Ok(u16::try_from(payload.max(0)).unwrap_or(u16::MAX))
    }

    /// Takes one datagram out of the socket without waiting, as much of it as `buffer` holds. Returns its length and, if
    /// `asks_who`, who sent it, which costs each datagram something.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there, or an error that the network reported since the last call.
    pub fn receive(
        &self,
        buffer: &mut [u8],
        asks_who: bool,
    ) -> io::Result<(usize, Option<SocketAddr>)> {
        if asks_who {
            let (length, from) = self.socket.recv_from(buffer)?;
            return Ok((length, Some(from)));
        }
        Ok((self.socket.recv(buffer)?, None))
    }

    /// Sends one datagram that is gathered from `pieces`.
    ///
    /// # Errors
    /// Those of sendmsg(2), among them what the network reported since the last call.
    pub fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        SockRef::from(&self.socket).send_vectored(pieces).map(drop)
    }

    /// Sends several datagrams that are all of `size` bytes but the last, which may be shorter, as one
    /// buffer that the kernel or the network card cuts up (UDP_SEGMENT). All leave, or none.
    ///
    /// # Errors
    /// As [`ClientSocket::send`]; [`is_unsegmentable`] is true for those that mean that it cannot be done here.
    pub fn send_segments(&self, datagrams: &[Pieces<'_>], size: u16) -> io::Result<()> {
        let mut control = Outgoing::EMPTY;
        control.add_segments(size);
        let message = MsgHdr::new()
            .with_buffers(datagrams.as_flattened())
            .with_control(control.as_bytes());
        SockRef::from(&self.socket).sendmsg(&message, 0).map(drop)
    }
}

impl AsFd for ClientSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket of the family of `address` that never blocks.
pub(super) fn udp_socket(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))
}

/// Lets the kernel keep the ICMP errors of one family; without this they reach connected sockets only.
pub(super) fn keep_errors(socket: &Socket, is_ipv6: bool) -> io::Result<()> {
    match is_ipv6 {
        true => setsockopt(socket, sockopt::Ipv6RecvErr, &true)?,
        false => setsockopt(socket, sockopt::Ipv4RecvErr, &true)?,
    }
    Ok(())
}

/// Takes the oldest error that the kernel keeps of a socket; `None` if it keeps none.
pub(super) fn take_rejected(socket: &impl AsRawFd) -> Option<Rejected> {
    // The control messages may also hold where the packet went to, as for a request.
    let mut room = nix::cmsg_space!(
        libc::sock_extended_err,
        libc::sockaddr_in6,
        libc::in6_pktinfo,
        libc::in_pktinfo
    );
    loop {
        let (socket, kept) = (socket.as_raw_fd(), MsgFlags::MSG_ERRQUEUE);
        let message = recvmsg::<SockaddrStorage>(socket, &mut [], Some(&mut room), kept).ok()?;
        let Some(to) = message.address else { continue };
        let (Some(to), Ok(mut messages)) = (socket_address(&to), message.cmsgs()) else {
            continue;
        };
        if let Some((error, by)) = messages.find_map(|message| rejection(&message)) {
            let error = i32::try_from(error.ee_errno).unwrap_or(0);
            return Some(Rejected { to, by, error });
        }
    }
}

/// The internet address in an address of any kind.
pub(super) fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in();
    let v6 = address.as_sockaddr_in6();
    v4.map(|v4| SocketAddrV4::from(*v4).into())
        .or_else(|| v6.map(|v6| SocketAddrV6::from(*v6).into()))
}

/// What a control message says of a packet that was rejected, and who rejected it.
fn rejection(message: &Control) -> Option<(libc::sock_extended_err, Option<IpAddr>)> {
    match message {
        Control::Ipv4RecvErr(error, from) => {
            let from = from.map(|it| IpAddr::from(it.sin_addr.s_addr.to_ne_bytes()));
            Some((*error, from))
        }
        Control::Ipv6RecvErr(error, from) => {
            let from = from.map(|it| IpAddr::from(it.sin6_addr.s6_addr).to_canonical());
            Some((*error, from))
        }
        _ => None,
    }
}

/// Leaves the flag "don't fragment" out of IPv4 packets.
pub(super) fn never_discover_mtu(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, MtuDiscovery, &libc::IP_PMTUDISC_DONT)?)
}

/// The kernel, the route or its device will not cut datagrams for us: they are larger than a packet, or
/// nobody there can add their checksums.
pub fn is_unsegmentable(error: &io::Error) -> bool {
    let refusals = [
        Errno::EINVAL,
        Errno::EIO,
        Errno::EMSGSIZE,
        Errno::EOPNOTSUPP,
    ];
    super::is_one_of(error, &refusals)
}

/// Datagrams that a kernel cuts out of one buffer.
pub const DATAGRAMS_MAX: usize = 64;

/// More than arrive between two system calls.
const THROWN_AWAY_MAX: usize = 64;

/// IPv4 without options, and UDP.
const IPV4_HEADERS: i32 = 20 + 8;
/// IPv6 without extensions, and UDP.
const IPV6_HEADERS: i32 = 40 + 8;

sockopt_impl!(
    /// The MTU of the path of a connected socket.
    Ipv6Mtu,
    GetOnly,
    libc::IPPROTO_IPV6,
    libc::IPV6_MTU,
    i32
);
sockopt_impl!(
    /// When packets carry the flag "don't fragment".
    MtuDiscovery,
    SetOnly,
    libc::IPPROTO_IP,
    libc::IP_MTU_DISCOVER,
    i32
);
