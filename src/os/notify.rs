//! Messages to a service manager (sd_notify(3)) over a socket that was connected before the process gave
//! anything up.

use std::env::{var, var_os};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use super::clock::system_micros;

/// A service manager that wants messages.
#[derive(Debug)]
pub struct Notify {
    socket: UnixDatagram,
    /// How often it wants a sign of life, at least.
    pub watchdog: Option<Duration>,
}

impl Notify {
    /// The one that the environment names; `None` if there is none or it cannot be reached.
    pub fn connect() -> Option<Notify> {
        let name = var_os("NOTIFY_SOCKET")?;
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
            None => SocketAddr::from_pathname(&name),
        };
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect_addr(&address.ok()?).ok()?;
        let is_ours = var("WATCHDOG_PID").map_or(true, |pid| pid == process::id().to_string());
        let micros = var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        let micros = micros.filter(|&micros| is_ours && micros > 0);
        Some(Notify {
            socket,
            watchdog: micros.map(Duration::from_micros),
        })
    }

    /// Says that what it asked to be read again is being read.
    pub fn reloading(&self) {
        let now = system_micros();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// Sends it a message, such as `READY=1`, if it takes that at once.
    pub fn send(&self, text: &str) {
        let _ = self.socket.send(text.as_bytes());
    }
}
