//! One epoll for everything that can wake the server.
//!
//! mio is edge-triggered: an event is only a reason to *try*, and nobody reminds us of what we left
//! unread. Who stops before `WouldBlock` keeps that in mind himself.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Token};

/// What an event is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A client's socket, by the client's number.
    Client(usize),
    /// A listening socket, by its number.
    Listener(usize),
    /// A signal came.
    Signals,
}

impl From<Source> for Token {
    fn from(source: Source) -> Token {
        match source {
            Source::Client(number) => Token(number),
            Source::Listener(number) => Token(LISTENERS - number),
            Source::Signals => Token(SIGNALS),
        }
    }
}

impl From<Token> for Source {
    fn from(Token(number): Token) -> Source {
        match number {
            SIGNALS => Source::Signals,
            _ if number > LISTENERS - LISTENERS_MAX => Source::Listener(LISTENERS - number),
            _ => Source::Client(number),
        }
    }
}

/// Most addresses that are listened on.
pub const LISTENERS_MAX: usize = 64;
const LISTENERS: usize = usize::MAX - 2;
const SIGNALS: usize = usize::MAX - 1;

/// What a source was found to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Readiness {
    /// What it is about.
    pub source: Source,
    /// Something may be read, or an error is to be picked up.
    pub is_readable: bool,
    /// Something may be written.
    pub is_writable: bool,
}

/// The poll.
#[derive(Debug)]
pub struct Poll {
    poll: mio::Poll,
}

impl Poll {
    /// An empty poll.
    ///
    /// # Errors
    /// Where the system has no descriptor left.
    pub fn new() -> io::Result<Poll> {
        Ok(Poll {
            poll: mio::Poll::new()?,
        })
    }

    /// Watches `descriptor` for input from now until it is closed.
    ///
    /// # Errors
    /// Where the system has no memory left.
    pub fn add(&self, descriptor: &impl AsRawFd, source: Source) -> io::Result<()> {
        let raw = descriptor.as_raw_fd();
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
        descriptor: &impl AsRawFd,
        source: Source,
        wanted: bool,
    ) -> io::Result<()> {
        let interest = if wanted {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        let raw = descriptor.as_raw_fd();
        self.poll
            .registry()
            .reregister(&mut SourceFd(&raw), source.into(), interest)
    }

    /// Sleeps until something happens or `timeout` is over (none: for as long as it takes).
    ///
    /// # Errors
    /// None that can be expected; an interruption by a signal counts as nothing happened.
    pub fn wait(&mut self, happened: &mut Happened, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut happened.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                happened.events.clear();
                Ok(())
            }
            result => result,
        }
    }
}

/// What happened during [`Poll::wait`].
#[derive(Debug)]
pub struct Happened {
    events: Events,
}

impl Happened {
    /// Room for what one wait can tell; more is told by the next.
    pub fn new() -> Happened {
        Happened {
            events: Events::with_capacity(EVENTS_MAX),
        }
    }

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
        })
    }
}

impl Default for Happened {
    fn default() -> Happened {
        Happened::new()
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
        ];
        for source in sources {
            assert_eq!(Source::from(Token::from(source)), source);
        }
    }
}
