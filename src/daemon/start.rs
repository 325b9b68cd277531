//! How the server was started, and who waits for it to serve: a terminal, an init script, a super-server, a service
//! manager.

use std::io::{self, Error, ErrorKind, Write};
use std::mem;
use std::ops::ControlFlow;
use std::path::absolute;

use super::{Failure, log, trying};
use crate::config::{DRAIN_USUAL, Door, Families, Settings};
use crate::os::background::{Fork, Waiting, leave_terminal};
use crate::os::handed::{self, Socket};
use crate::os::lines::LogLines;
use crate::os::notify::Notify;

/// What the process was born with.
#[derive(Debug)]
pub struct Start {
    /// The name by which the program was called.
    name: &'static str,
    handed: io::Result<Vec<Socket>>,
    /// The service manager that wants to know how the start went.
    pub(super) manager: Option<Notify>,
    /// The process that was started, where another one serves.
    waiting: Option<Waiting>,
    /// The log goes to syslog.
    is_in_syslog: bool,
}

impl Start {
    /// Takes what was handed over. To be called once, before anything is written: standard error may be a socket.
    pub fn new(name: &'static str) -> Start {
        let (handed, is_mute) = match handed::take() {
            Ok((sockets, is_mute)) => (Ok(sockets), is_mute),
            Err(error) => (Err(error), false),
        };
        Start {
            name,
            handed,
            manager: Notify::connect(),
            waiting: None,
            is_in_syslog: is_mute,
        }
    }

    /// Says why the program ends, wherever the operator may read it.
    pub fn complain(&self, message: &str) {
        self.say(message);
        if self.is_in_syslog
            && let Ok((mut lines, _)) = LogLines::to_syslog(self.name)
        {
            let _ = lines.write_all(format!("ERROR {message}\n").as_bytes());
        }
    }

    /// Writes to the terminal.
    fn say(&self, message: &str) {
        let text = format!("{}: {message}\n", self.name);
        match &self.waiting {
            Some(waiting) => waiting.report(&text),
            None => drop(io::stderr().write_all(text.as_bytes())),
        }
    }

    /// Goes into the background if that is wanted, and starts the log. Returns the sockets to listen on, if any were
    /// handed over; or the status with which the process is to end, if another one serves.
    ///
    /// # Errors
    /// Where that is not possible.
    pub(super) fn begin(
        &mut self,
        settings: &mut Settings,
    ) -> Result<ControlFlow<u8, Vec<Socket>>, Failure> {
        let handed = mem::replace(&mut self.handed, Ok(Vec::new()));
        let handed = trying("sockets that were handed over", handed)?;
        self.reconcile(settings, !handed.is_empty())?;
        if settings.background {
            // The working directory becomes another one.
            for path in settings
                .roots
                .iter_mut()
                .chain(&mut settings.pidfile)
                .chain(&mut settings.names.map)
                .chain(&mut settings.access_file)
                .chain(&mut settings.stats)
                .chain(&mut settings.control)
            {
                *path = trying(path.display(), absolute(&path))?;
            }
            match trying("--background", leave_terminal())? {
                Fork::Started(status) => return Ok(ControlFlow::Break(status)),
                Fork::Server(waiting) => self.waiting = Some(waiting),
            }
        }
        self.is_in_syslog |= settings.syslog || settings.background;
        let lines = match self.is_in_syslog {
            false => LogLines::to_stderr(),
            true => {
                let (lines, connected) = trying("syslog", LogLines::to_syslog(self.name))?;
                if let Err(why) = connected {
                    self.say(&format!(
                        "/dev/log: {why}: the log is lost until syslogd runs"
                    ));
                }
                lines
            }
        };
        log::start(settings.verbosity, settings.log_format, lines);
        Ok(ControlFlow::Continue(handed))
    }

    /// What the operator asked for and what the server was handed may not go together: one of the doors takes that for
    /// a mistake, the other one is used to it.
    fn reconcile(&self, settings: &mut Settings, is_handed: bool) -> Result<(), Failure> {
        let mut idle = Vec::new();
        if is_handed {
            let listen = mem::take(&mut settings.listen);
            idle.extend(listen.iter().map(|listen| format!("-a {listen}")));
            match mem::replace(&mut settings.families, Families::Both) {
                Families::Both => {}
                Families::V4 => idle.push("-4".into()),
                Families::V6 => idle.push("-6".into()),
            }
        }
        let door = &mut settings.door;
        if (is_handed || self.manager.is_some()) && mem::take(&mut settings.background) {
            settings.rules.drain = DRAIN_USUAL;
            idle.push(match door {
                Door::Tftpd => "-b".into(),
                Door::InTftpd { .. } => "-l".into(),
            });
        }
        match door {
            Door::InTftpd { ignored } => ignored.extend(idle),
            Door::Tftpd => {
                if let Some(what) = idle.into_iter().next() {
                    let why = "not where sockets are handed over or NOTIFY_SOCKET is set";
                    let why = Error::new(ErrorKind::InvalidInput, why);
                    return Err(Failure { what, why });
                }
            }
        }
        Ok(())
    }

    /// The server serves: the command that started it may return.
    pub(super) fn serves(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.release();
        }
    }
}
