//! Where the server listens.
//!
//! A port that is taken may be that of the instance before, which lets its last transfers finish: its successor
//! tries again for longer than that takes by default.

use std::io::{Error, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::errno::Errno;

use super::log::Log;
use super::{Failure, trying};
use crate::config::PORT;
use crate::moment::Moment;
use crate::os::clock::Clock;
use crate::os::listener::Listener;
use crate::os::process::Signals;

/// Binds what the operator named, or the usual port of every address.
///
/// # Errors
/// The first that cannot be bound.
pub(super) fn all(
    addresses: &[SocketAddr],
    signals: &Signals,
    clock: &Clock,
    log: &Log,
) -> Result<Vec<Listener>, Failure> {
    let until = clock.now() + TAKEN_FOR;
    let bind = |address: SocketAddr| {
        let bound = bind_until(address, until, signals, clock, log);
        (address, bound)
    };
    let mut bound: Vec<_> = match addresses {
        [] => vec![bind((Ipv6Addr::UNSPECIFIED, PORT).into())],
        _ => addresses.iter().copied().map(bind).collect(),
    };
    if let ([], [(_, Err(error))]) = (addresses, &bound[..])
        && lacks_ipv6(error)
    {
        bound = vec![bind((Ipv4Addr::UNSPECIFIED, PORT).into())];
    }
    let named = |(address, bound)| trying(format!("listen on {address}"), bound);
    bound.into_iter().map(named).collect()
}

/// Binds `address`; where it is taken, tries again until then, unless a signal says that it is enough.
fn bind_until(
    address: SocketAddr,
    until: Moment,
    signals: &Signals,
    clock: &Clock,
    log: &Log,
) -> Result<Listener, Error> {
    let mut was_told = false;
    loop {
        let error = match Listener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => error,
            result => return result,
        };
        if until <= clock.now() || signals.stop_within(TRY_EVERY) {
            return Err(error);
        }
        if !was_told {
            was_told = true;
            log.port_is_taken(address, until.since(clock.now()));
        }
    }
}

fn lacks_ipv6(error: &Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

/// Twice the default of `--drain`.
const TAKEN_FOR: Duration = Duration::from_secs(6);
/// In between, requests find a closed port, and the ICMP error ends the boot of UEFI firmware.
const TRY_EVERY: Duration = Duration::from_millis(10);
