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

/// Takes the sockets that were handed over; else binds what the operator named, or the usual port of every address.
///
/// # Errors
/// The first that takes no requests, or cannot be bound.
pub(super) fn listeners(
    settings: &Settings,
    handed: Vec<Socket>,
    signals: &Signals,
    clock: &Clock,
    log: &mut Log,
) -> Result<Vec<Named>, Failure> {
    if handed.len() > LISTEN_MAX {
        let what = format!("more than {LISTEN_MAX} sockets were handed over");
        return trying(what, Err(Error::from(ErrorKind::InvalidInput)));
    }
    if !handed.is_empty() {
        let handed = handed.into_iter().map(|(socket, name)| {
            let listener = trying(&name, Listener::adopt(socket))?;
            Ok((listener, Some(name)))
        });
        return handed.collect();
    }
    let mut attempt = Attempt {
        families: settings.families,
        until: clock.now() + TAKEN_FOR,
        signals,
        clock,
        log,
        bound: Vec::new(),
    };
    match settings.listen.as_slice() {
        [] => attempt.bind(Listen::Every(PORT))?,
        named => named.iter().try_for_each(|listen| attempt.bind(*listen))?,
    }
    Ok(attempt.bound)
}

/// What it takes to bind an address that may be in use for a while.
struct Attempt<'a> {
    families: Families,
    until: Moment,
    signals: &'a Signals,
    clock: &'a Clock,
    log: &'a mut Log,
    bound: Vec<Named>,
}

impl Attempt<'_> {
    fn bind(&mut self, listen: Listen) -> Result<(), Failure> {
        let v4 = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let v6 = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let (mut address, otherwise) = match (listen, self.families) {
            (Listen::At(address), _) => (address, None),
            (Listen::Every(port), Families::V4) => (v4(port), None),
            (Listen::Every(port), Families::V6) => (v6(port), None),
            (Listen::Every(port), Families::Both) => (v6(port), Some(v4(port))),
        };
        let mut bound = self.retry(address);
        if let (Err(error), Some(otherwise)) = (&bound, otherwise)
            && lacks_ipv6(error)
        {
            address = otherwise;
            bound = self.retry(address);
        }
        let is_taken = |error: &Error| error.kind() == ErrorKind::AddrInUse;
        let wider = match bound.as_ref().is_err_and(is_taken) {
            true => self.overlapping(address),
            false => None,
        };
        let what = match wider.map(|wider| wider.ip()) {
            Some(wider) => {
                format!("listen on {address} ({wider} takes it as well: name it alone)")
            }
            None => format!("listen on {address}"),
        };
        self.bound.push((trying(what, bound)?, None));
        Ok(())
    }

    /// Returns what takes the packets of both, of `address` and one that is bound already; `None` if they do not overlap.
    fn overlapping(&self, address: SocketAddr) -> Option<SocketAddr> {
        let takes = |one: SocketAddr, other: SocketAddr| {
            let has_family = one.is_ipv4() == other.is_ipv4()
                || (one.is_ipv6() && self.families != Families::V6);
            one == other || one.port() == other.port() && one.ip().is_unspecified() && has_family
        };
        let mut bound = self.bound.iter().map(|(listener, _)| listener.address());
        bound.find_map(
            |bound| match (takes(address, bound), takes(bound, address)) {
                (true, _) => Some(address),
                (_, true) => Some(bound),
                _ => None,
            },
        )
    }

    /// While another process has `address`, tries again until the time is up or a signal comes.
    fn retry(&mut self, address: SocketAddr) -> Result<Listener, Error> {
        let v6_only = self.families == Families::V6;
        let mut is_logged = false;
        loop {
            let error = match Listener::bind(address, v6_only) {
                Err(error)
                    if error.kind() == ErrorKind::AddrInUse
                        && self.overlapping(address).is_none() =>
                {
                    error
                }
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

fn lacks_ipv6(error: &Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

/// Twice the default of `--drain`.
const TAKEN_FOR: Duration = Duration::from_secs(6);
/// In between, requests find a closed port, and the ICMP error ends the boot of UEFI firmware.
const TRY_EVERY: Duration = Duration::from_millis(10);
