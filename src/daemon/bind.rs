//! Where the server listens.
//!
//! A port that is taken may be that of the instance before, which lets its last transfers finish: its successor
//! tries again for longer than that takes by default.

use std::io::{Error, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::errno::Errno;

use super::events::LogEvent;
use super::log::Log;
use super::{Failure, trying};
use crate::config::{Families, LISTEN_MAX, Listen, PORT, Settings};
use crate::moment::Moment;
use crate::os::clock::Clock;
use crate::os::handed::Socket;
use crate::os::listener::Listener;
use crate::os::process::Signals;

/// A socket that takes requests, and what it is called if it was handed over.
pub(super) type Named = (Listener, Option<String>);

/// Takes the sockets that were handed over.
///
/// # Errors
/// The first that takes no requests.
pub(super) fn adopt(handed: Vec<Socket>) -> Result<Vec<Named>, Failure> {
    if handed.len() > LISTEN_MAX {
        let what = format!("more than {LISTEN_MAX} sockets were handed over");
        return trying(what, Err(Error::from(ErrorKind::InvalidInput)));
    }
    let handed = handed.into_iter().map(|(socket, name)| {
        let listener = trying(&name, Listener::adopt(socket))?;
        Ok((listener, Some(name)))
    });
    handed.collect()
}

/// Binds what the operator named, or the usual port of every address.
///
/// # Errors
/// The first that cannot be bound.
pub(super) fn all(
    settings: &Settings,
    signals: &Signals,
    clock: &Clock,
    log: &mut Log,
) -> Result<Vec<Named>, Failure> {
    let mut attempt = Attempt {
        families: settings.families,
        until: clock.now() + TAKEN_FOR,
        signals,
        clock,
        log,
    };
    let bound: Vec<_> = match settings.listen.as_slice() {
        [] => vec![attempt.every(PORT)],
        named => named.iter().map(|listen| attempt.bind(*listen)).collect(),
    };
    let addresses: Vec<SocketAddr> = bound.iter().map(|(address, _)| *address).collect();
    let named = |(address, bound): Bound| {
        let is_taken = |error: &Error| error.kind() == ErrorKind::AddrInUse;
        let hint = match bound.as_ref().err().filter(|error| is_taken(error)) {
            Some(_) if is_twice(address, &addresses) => " ([::] takes IPv4 as well: name it alone)",
            _ => "",
        };
        let listener = trying(format!("listen on {address}{hint}"), bound)?;
        Ok((listener, None))
    };
    bound.into_iter().map(named).collect()
}

type Bound = (SocketAddr, Result<Listener, Error>);

/// What it takes to bind an address that may be in use for a while.
struct Attempt<'a> {
    families: Families,
    until: Moment,
    signals: &'a Signals,
    clock: &'a Clock,
    log: &'a mut Log,
}

impl Attempt<'_> {
    fn bind(&mut self, listen: Listen) -> Bound {
        match listen {
            Listen::Every(port) => self.every(port),
            Listen::At(address) => self.at(address),
        }
    }

    fn every(&mut self, port: u16) -> Bound {
        let v4 = (Ipv4Addr::UNSPECIFIED, port).into();
        let v6 = (Ipv6Addr::UNSPECIFIED, port).into();
        match self.families {
            Families::V4 => self.at(v4),
            Families::V6 => self.at(v6),
            Families::Both => match self.at(v6) {
                (_, Err(error)) if lacks_ipv6(&error) => self.at(v4),
                bound => bound,
            },
        }
    }

    fn at(&mut self, address: SocketAddr) -> Bound {
        (address, self.retry(address))
    }

    /// While `address` is in use, tries again until the time is up or a signal comes.
    fn retry(&mut self, address: SocketAddr) -> Result<Listener, Error> {
        let v6_only = self.families == Families::V6;
        let mut is_logged = false;
        loop {
            let error = match Listener::bind(address, v6_only) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => error,
                result => return result,
            };
            let now = self.clock.now();
            if self.until <= now || self.signals.stop_within(TRY_EVERY) {
                return Err(error);
            }
            if !is_logged {
                is_logged = true;
                let left = self.until.since(now);
                self.log.write(now, &LogEvent::PortTaken(address, left));
            }
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
