//! Which ports the sockets of clients get: any that is free, or those of a range that a firewall lets through.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::ops::RangeInclusive;

use nix::errno::Errno;
use socket2::Socket;

/// The ports there are.
#[derive(Debug)]
pub struct Ports {
    /// `None`: those that the system picks from.
    range: Option<RangeInclusive<u16>>,
}

impl Ports {
    /// Ports of this range; `None`: whichever the system picks.
    pub fn new(range: Option<RangeInclusive<u16>>) -> Ports {
        Ports { range }
    }

    /// Whether ports are shared once all are in use: another client's packets may come in before a socket is connected.
    pub(super) fn are_shared(&self) -> bool {
        self.range.is_some()
    }

    /// Binds a socket of a client to `ip` and a port, and returns that: one that nobody uses, or else one that others
    /// of ours are connected at, if that is not `is_unfit`.
    ///
    /// # Errors
    /// `AddrInUse` if others use all ports, or as bind(2).
    pub(super) fn bind(
        &self,
        socket: &Socket,
        (ip, interface): (IpAddr, u32),
        is_unfit: impl Fn(u16) -> bool,
    ) -> io::Result<u16> {
        let at = |port| match ip {
            IpAddr::V4(v4) => SocketAddr::from((v4, port)),
            IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, interface).into(),
        };
        let Some(range) = &self.range else {
            return socket.bind(&at(0).into()).map(|()| 0);
        };
        for is_shared in [false, true] {
            if is_shared {
                socket.set_reuse_address(true)?;
            }
            for port in some_of(range) {
                if is_shared && is_unfit(port) {
                    continue;
                }
                match socket.bind(&at(port).into()) {
                    Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                    bound => {
                        bound?;
                        // Others may be bound here from now on.
                        socket.set_reuse_address(true)?;
                        return Ok(port);
                    }
                }
            }
        }
        Err(Errno::EADDRINUSE.into())
    }
}

/// Ports of the range from a random one on, as many as are tried.
fn some_of(range: &RangeInclusive<u16>) -> impl Iterator<Item = u16> + use<> {
    let (first, last) = (u64::from(*range.start()), u64::from(*range.end()));
    let count = last - first + 1;
    // No two of these are alike.
    let begin = RandomState::new().hash_one(()) % count;
    let places = (0..count.min(TRIED_MAX)).map(move |more| first + (begin + more) % count);
    places.filter_map(|port| u16::try_from(port).ok())
}

/// Ports that are tried for one that nobody uses. Each costs a system call.
const TRIED_MAX: u64 = 64;
