//! One epoll for everything that can wake the server.
//!
//! mio is edge-triggered: an event is only a reason to *try*, and nothing reminds us of what we left
//! unread. A reader that stops before `WouldBlock` has to remember that.
//!
//! Time is an event like others, of a timer that is set only when it would come too late or not at all: to
//! start and stop one in each wait, as a timeout does, costs more than a packet on a virtual machine.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Token, Waker};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};

use crate::moment::Moment;

/// What an event is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A client's socket, by the client's number.
    Client(usize),
    /// A listening socket, by its number.
    Listener(usize),
    /// A signal came.
    Signals,
    /// It is time.
    Timer,
    /// The helper has done something.
    Helper,
    /// The control socket.
    Control,
    /// A client of the control socket, by its number.
    ControlClient(usize),
}

impl From<Source> for Token {
    fn from(source: Source) -> Token {
        let (kind, number) = match source {
            Source::Client(number) => (0, number),
            Source::Listener(number) => (1, number),
            Source::Signals => (2, 0),
            Source::Timer => (3, 0),
            Source::Helper => (4, 0),
            Source::Control => (5, 0),
            Source::ControlClient(number) => (6, number),
        };
        Token(number * KINDS + kind)
    }
}

impl From<Token> for Source {
    fn from(Token(token): Token) -> Source {
        let number = token / KINDS;
        match token % KINDS {
            0 => Source::Client(number),
            1 => Source::Listener(number),
            2 => Source::Signals,
            3 => Source::Timer,
            4 => Source::Helper,
            5 => Source::Control,
            _ => Source::ControlClient(number),
        }
    }
}

/// Sources of each kind have every seventh number.
const KINDS: usize = 7;

/// Most addresses that are listened on.
pub const LISTENERS_MAX: usize = 64;

/// Most clients of the control socket.
pub const CONTROL_CLIENTS_MAX: usize = 8;

/// What a source was found to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Readiness {
    /// What it is about.
    pub source: Source,
    /// Something may be read, or an error is to be picked up.
    pub is_readable: bool,
    /// Something may be written.
    pub is_writable: bool,
    /// An error is to be picked up.
    pub is_error: bool,
}

/// The poll.
#[derive(Debug)]
pub struct Poll {
    poll: mio::Poll,
    timer: TimerFd,
    /// When the timer fires, or fired last.
    timer_at: Option<Moment>,
}

impl Poll {
    /// An empty poll.
    ///
    /// # Errors
    /// Where the system has no descriptor left.
    pub fn new() -> io::Result<Poll> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let poll = Poll {
            poll: mio::Poll::new()?,
            timer: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?,
            timer_at: None,
        };
        poll.add(&poll.timer, Source::Timer)?;
        Ok(poll)
    }

    /// Something by which other threads wake the loop, as [`Source::Helper`]. To be called once.
    ///
    /// # Errors
    /// Where the system has no descriptor left.
    pub fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), Source::Helper.into())
    }

    /// Watches `descriptor` for input from now until it is closed.
    ///
    /// # Errors
    /// Where the system has no memory left.
    pub fn add(&self, descriptor: &impl AsFd, source: Source) -> io::Result<()> {
        let raw = descriptor.as_fd().as_raw_fd();
        self.poll
            .registry()
            .register(&mut SourceFd(&raw), source.into(), Interest::READABLE)
    }

    /// Watches for room to write as well, or no longer.
    ///
    /// # Errors
    /// Where `descriptor` is not watched.
    pub fn want_writable(
        &self,
        descriptor: &impl AsFd,
        source: Source,
        wanted: bool,
    ) -> io::Result<()> {
        let interest = if wanted {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        let raw = descriptor.as_fd().as_raw_fd();
        self.poll
            .registry()
            .reregister(&mut SourceFd(&raw), source.into(), interest)
    }

    /// Sleeps until something happens, and no longer than from `now` to `until` (`None`: for as long as it
    /// takes); it may wake up early for nothing.
    ///
    /// # Errors
    /// None that can be expected; an interruption by a signal counts as no event.
    pub fn wait(
        &mut self,
        events: &mut Events,
        now: Moment,
        until: Option<Moment>,
    ) -> io::Result<()> {
        let timeout = until.filter(|&until| until <= now).map(|_| Duration::ZERO);
        if timeout.is_none() {
            self.set_timer(now, until)?;
        }
        match self.poll.poll(&mut events.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// Sets the timer unless it is set to that time or an earlier one. When it fires, there is one event
    /// (edge-triggered), so what it counts need not be read.
    fn set_timer(&mut self, now: Moment, until: Option<Moment>) -> io::Result<()> {
        let is_set = self.timer_at.filter(|&at| now < at);
        match (is_set, until) {
            (None, None) => return Ok(()),
            (Some(at), Some(until)) if at <= until => return Ok(()),
            (_, None) => self.timer.unset()?,
            (_, Some(until)) => {
                let expiration = Expiration::OneShot(TimeSpec::from(until.since(now)));
                self.timer.set(expiration, TimerSetTimeFlags::empty())?;
            }
        }
        self.timer_at = until;
        Ok(())
    }
}

/// What [`Poll::wait`] has seen.
#[derive(Debug)]
pub struct Events {
    events: mio::Events,
}

impl Events {
    /// Forgets it, once it was taken note of.
    pub fn clear(&mut self) {
        self.events.clear();
    }

    /// Each source that became ready.
    pub fn iter(&self) -> impl Iterator<Item = Readiness> + '_ {
        self.events.iter().map(|event| Readiness {
            source: event.token().into(),
            is_readable: event.is_readable() || event.is_error(),
            is_writable: event.is_writable(),
            is_error: event.is_error(),
        })
    }
}

impl Default for Events {
    /// Room for the events of one wait; more come with the next.
    fn default() -> Events {
        Events {
            events: mio::Events::with_capacity(EVENTS_MAX),
        }
    }
}

/// Events taken in one turn of the loop.
const EVENTS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_and_its_source_are_one() {
        let sources = [
            Source::Client(0),
            Source::Client(70_000),
            Source::Listener(0),
            Source::Listener(LISTENERS_MAX - 1),
            Source::Signals,
            Source::Timer,
            Source::Helper,
            Source::Control,
            Source::ControlClient(0),
            Source::ControlClient(CONTROL_CLIENTS_MAX - 1),
        ];
        for source in sources {
            assert_eq!(Source::from(Token::from(source)), source);
        }
    }
}
