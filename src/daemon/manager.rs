//! Messages to a service manager while the server runs.

use std::time::Duration;

use crate::moment::Moment;
use crate::os::notify::Notify;
use crate::server::Server;

/// A service manager, and what was sent to it last.
#[derive(Debug)]
pub(super) struct Manager {
    notify: Option<Notify>,
    slots: usize,
    /// Slots taken, and clients that wait.
    sent: Option<(usize, usize)>,
    /// When the next message may be sent.
    send_at: Moment,
    /// When it is to see the next sign of life.
    alive_at: Moment,
}

impl Manager {
    /// `slots` are all there are.
    pub(super) fn new(now: Moment, notify: Option<Notify>, slots: usize) -> Manager {
        Manager {
            notify,
            slots,
            sent: None,
            send_at: now,
            alive_at: now,
        }
    }

    /// The server serves.
    pub(super) fn ready(&self) {
        self.send("READY=1");
    }

    /// Rules are being read again; [`Manager::ready`] ends that.
    pub(super) fn reloading(&self) {
        if let Some(notify) = &self.notify {
            notify.reloading();
        }
    }

    /// The server stops.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, text: &str) {
        if let Some(notify) = &self.notify {
            notify.send(text);
        }
    }

    /// Sends what is due, and returns when the next message is.
    pub(super) fn look(&mut self, now: Moment, server: &Server) -> Option<Moment> {
        let notify = self.notify.as_ref()?;
        let status = (server.running(), server.pending() + server.held());
        if self.sent != Some(status) && self.send_at <= now {
            let ((running, waiting), slots) = (status, self.slots);
            notify.send(&format!(
                "STATUS={running} of {slots} slots taken, {waiting} waiting"
            ));
            self.sent = Some(status);
            self.send_at = now + SEND_EVERY;
        }
        let send_at = (self.sent != Some(status)).then_some(self.send_at);
        let Some(watchdog) = notify.watchdog else {
            return send_at;
        };
        if self.alive_at <= now {
            notify.send("WATCHDOG=1");
            self.alive_at = now + watchdog / 2;
        }
        Some(send_at.map_or(self.alive_at, |at| at.min(self.alive_at)))
    }
}

/// A person reads it.
const SEND_EVERY: Duration = Duration::from_secs(1);
