//! A UDP port of a client: open to anybody, with an error when nobody listens at the other end.

use std::io;
use std::net::SocketAddr;

pub use socket2::Socket as Port;

use super::socket::{keep_errors, udp_socket};

/// Opens `local`; with port 0 the system picks one. That nobody listens is the error of a later call.
///
/// # Errors
/// Where the port is taken, the address is not ours, or descriptors ran out.
pub fn open(local: SocketAddr) -> io::Result<Port> {
    let socket = udp_socket(local)?;
    keep_errors(&socket, local.is_ipv6())?;
    socket.bind(&local.into())?;
    Ok(socket)
}
