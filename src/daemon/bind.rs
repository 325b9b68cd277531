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
use crate::config::{Families, Listen, PORT, Settings};
use crate::moment::Moment;
use crate::os::clock::Clock;
use crate::os::listener::Listener;
use crate::os::process::Signals;

/// Binds what the operator named, or the usual port of every address.
///
/// # Errors
/// The first that cannot be bound.
pub(super) fn all(
    settings: &Settings,
    signals: &Signals,
    clock: &Clock,
    log: &Log,
) -> Result<Vec<Listener>, Failure> {
    let until = clock.now() + TAKEN_FOR;
    let v6_only = settings.families == Families::V6;
    let bind = |address: SocketAddr| {
        let bound = bind_until(address, v6_only, until, signals, clock, log);
        (address, bound)
    };
    let every = |port| {
        let v4 = (Ipv4Addr::UNSPECIFIED, port).into();
        let v6 = (Ipv6Addr::UNSPECIFIED, port).into();
        match settings.families {
            Families::V4 => bind(v4),
            Families::V6 => bind(v6),
            Families::Both => match bind(v6) {
                (_, Err(error)) if lacks_ipv6(&error) => bind(v4),
                bound => bound,
            },
        }
    };
    let listen = |listen: &Listen| match *listen {
        Listen::Every(port) => every(port),
        Listen::At(address) => bind(address),
    };
    let bound: Vec<_> = match settings.listen.as_slice() {
        [] => vec![every(PORT)],
        named => named.iter().map(listen).collect(),
    };
    let addresses: Vec<SocketAddr> = bound.iter().map(|(address, _)| *address).collect();
    let named = |(address, bound): (SocketAddr, Result<Listener, Error>)| {
        let is_taken = |error: &Error| error.kind() == ErrorKind::AddrInUse;
        let hint = match bound.as_ref().err().filter(|error| is_taken(error)) {
            Some(_) if is_twice(address, &addresses) => " ([::] takes IPv4 as well: name it alone)",
            _ => "",
        };
        trying(format!("listen on {address}{hint}"), bound)
    };
    bound.into_iter().map(named).collect()
}

/// Binds `address`; where it is taken, tries again until then, unless a signal says that it is enough.
fn bind_until(
    address: SocketAddr,
    v6_only: bool,
    until: Moment,
    signals: &Signals,
    clock: &Clock,
    log: &Log,
) -> Result<Listener, Error> {
    let mut was_told = false;
    loop {
        let error = match Listener::bind(address, v6_only) {
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

/// Of these addresses one is every address of both families, another one an IPv4 address of the same port.
fn is_twice(address: SocketAddr, all: &[SocketAddr]) -> bool {
    let takes_both = |one: &SocketAddr| one.is_ipv6() && one.ip().is_unspecified();
    let same_port = |one: &&SocketAddr| one.port() == address.port();
    let mut others = all.iter().filter(same_port);
    match takes_both(&address) {
        true => others.any(SocketAddr::is_ipv4),
        false => address.is_ipv4() && others.any(takes_both),
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
