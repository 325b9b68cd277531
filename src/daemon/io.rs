//! The server's hands: [`Io`] for real, with sockets, files and the log.

use std::io::{self, ErrorKind, IoSlice};
use std::num::NonZero;
use std::time::Duration;

use nix::errno::Errno;

use super::connection::{Connection, Way};
use super::events::LogEvent;
use super::lookups::Sought;
use super::world::World;
use crate::name::{FileName, NAME_MAX};
use crate::names::Resolved;
use crate::os::content::Content;
use crate::os::helper::Job;
use crate::server::{
    Event, Incoming, Io, Local, OpenError, Opened, Opening, Room, SendError, StoreError,
};
use crate::transfer::options::OACK_MAX;
use crate::transfer::{Blocks, Datagrams, Departed};
use crate::wire::{
    self, Direction, ERROR_PACKET_MAX, Mode, PROBE_OACK, Peer, Refusal, ack_packet, write_error,
    write_error_with,
};

impl Io for World {
    fn resolve<'b>(
        &mut self,
        peer: Peer,
        request: &wire::Request<'_>,
        buffer: &'b mut [u8; NAME_MAX],
    ) -> Result<FileName<'b>, OpenError> {
        let names = &self.naming.names;
        if names.are_plain() {
            let name = FileName::new(request.filename, &names.prefixes, buffer);
            return name.map_err(OpenError::Refused);
        }
        let (files, log) = (&mut self.files, &mut self.log);
        let (question, resolved) = self.naming.resolve(self.now, peer, request, files, log);
        match resolved {
            Resolved::Name(name) => Ok(name.as_name().copied(buffer)),
            Resolved::Refused(refusal) => Err(OpenError::Refused(refusal)),
            Resolved::Forbidden(text) => {
                self.naming.forbidden = text;
                Err(OpenError::Refused(Refusal::Forbidden))
            }
            Resolved::Unknown => Err(self.look_up(Sought::Name(question), None)),
        }
    }

    fn find(&mut self, opening: Opening<'_>) -> Result<Option<u64>, OpenError> {
        let name = opening.name;
        match opening.direction {
            Direction::Read => {
                let found = self.files.find(name).map(Some);
                found.map_err(|it| self.unopened(it, name, None))
            }
            Direction::Write => {
                self.find_place(&opening, None)?;
                Ok(opening.wanted.announced().map(NonZero::get))
            }
        }
    }

    fn open(&mut self, client: usize, opening: Opening<'_>) -> Result<Opened, OpenError> {
        let (name, as_text) = (opening.name, opening.mode == Mode::Netascii);
        if opening.direction == Direction::Write {
            self.find_place(&opening, Some(client))?;
            let opened = self.connect(client, &opening, None)?;
            let key = (client, self.last_serial);
            self.uploads.begin(self.now, key, as_text);
            return Ok(opened);
        }
        let opened = self.files.open(name, as_text);
        let (content, size) = opened.map_err(|it| self.unopened(it, name, Some(client)))?;
        if size > 0 && !as_text && matches!(content, Content::Read(_)) {
            let unmapped = LogEvent::Unmapped(name.as_bytes());
            self.log.write(self.now, &unmapped);
        }
        self.connect(client, &opening, Some(content))
    }

    fn send(&mut self, client: usize, datagrams: Datagrams<'_>) -> Result<Departed, SendError> {
        let shared = self.connections[client]
            .as_ref()
            .and_then(Connection::shared);
        let result = match datagrams {
            _ if shared.is_some_and(|number| self.outboxes[number].is_full) => Err(SendError::Full),
            Datagrams::Data(blocks) => self.send_blocks(client, blocks, shared),
            Datagrams::Oack(negotiated) => {
                let mut buffer = [0; OACK_MAX];
                let length = negotiated.write_oack(&mut buffer);
                self.send_whole(client, &buffer[..length])
            }
            Datagrams::Ack(block) => self.send_whole(client, &ack_packet(block)),
            Datagrams::Error(refusal) => {
                let mut buffer = [0; ERROR_PACKET_MAX];
                let length = write_error(refusal, &mut buffer);
                self.send_whole(client, &buffer[..length])
            }
        };
        match &result {
            Ok(departed) => self.metrics.traffic.sent(datagrams, *departed),
            Err(unsent) => self.not_sent(client, *unsent),
        }
        result
    }

    fn refuse(&mut self, peer: Peer, local: Local, refusal: Refusal) {
        let mut buffer = [0; ERROR_PACKET_MAX];
        let length = match refusal {
            Refusal::Forbidden => write_error_with(refusal, &self.naming.forbidden, &mut buffer),
            _ => write_error(refusal, &mut buffer),
        };
        self.answer(peer, local, &buffer[..length]);
    }

    fn confirm(&mut self, peer: Peer, local: Local) {
        self.answer(peer, local, PROBE_OACK);
    }

    fn receive(&mut self, client: usize, buffer: &mut [u8]) -> Incoming {
        let connection = self.connections.get_mut(client).and_then(Option::as_mut);
        let Some(Connection {
            way: Way::Own(socket),
            peer,
            is_unheard,
            ..
        }) = connection
        else {
            return Incoming::Nothing;
        };
        match socket.receive(buffer, *is_unheard) {
            // Between bind and connect anybody's packet may have come in, before all that comes from the peer.
            Ok((_, Some(from))) if Peer::from(from) != *peer => Incoming::Noise,
            Ok((length, _)) => {
                *is_unheard = false;
                self.metrics.traffic.received_datagrams += 1;
                Incoming::Datagram(length)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Incoming::Nothing,
            Err(error) if is_about_earlier(&error) => {
                let by = socket.rejected_by();
                match self.rejected(client, &error, by) {
                    true => Incoming::PortClosed,
                    false => Incoming::Noise,
                }
            }
            Err(error) => {
                let failed = LogEvent::ReceiveFailed(*peer, &error);
                self.log.write(self.now, &failed);
                Incoming::Nothing
            }
        }
    }

    fn store(&mut self, client: usize, bytes: &[u8]) -> Result<Room, StoreError> {
        let stored = self.uploads.store(self.now, client, bytes)?;
        self.metrics.traffic.received_bytes += bytes.len() as u64;
        Ok(stored)
    }

    fn finish(&mut self, client: usize) {
        self.uploads.finish(self.now, client);
    }

    fn close(&mut self, client: usize) {
        self.uploads.close(client);
        if let Some(number) = self.flush_for(client) {
            self.outboxes[number].forget(client);
        }
        self.connections[client] = None;
    }

    fn report(&mut self, event: Event<'_>) {
        let now = self.now;
        let rejection = match event {
            Event::Ended(report) => self.rejection.take_if(|(peer, _)| *peer == report.peer),
            Event::AddressFull { .. } if now < self.address_full_at => return,
            Event::AddressFull { .. } => {
                self.address_full_at = now + ADDRESS_FULL_EVERY;
                None
            }
            _ => None,
        };
        let rejected_by = rejection.map(|(_, by)| by);
        self.metrics.note(now, &event);
        let line = match event {
            Event::Refused {
                peer,
                name,
                refusal: Refusal::Forbidden,
                is_answered: true,
                ..
            } => LogEvent::Forbidden(peer, name, &self.naming.forbidden),
            _ => LogEvent::Server { event, rejected_by },
        };
        self.log.write(now, &line);
        match event {
            Event::Refused {
                peer,
                looked_up: Some(name),
                refusal: Refusal::NotFound,
                is_answered: true,
                ..
            } if self.naming.wants_hint(now) => {
                // It may be there in another case: for the log.
                let job = Job::OtherCase(peer, self.files.places(), name.to_owned());
                let _ = self.helper.ask(job);
            }
            Event::Ended(report) if !self.is_shared() => {
                if let Some(address) = self.suspects.note(&report) {
                    self.log.write(now, &LogEvent::Rewritten(address));
                }
            }
            _ => {}
        }
    }
}

impl World {
    /// Sends one datagram, behind what the client was sent before.
    fn send_whole(&mut self, client: usize, datagram: &[u8]) -> Result<Departed, SendError> {
        self.flush_for(client);
        let connection = self.connections[client].as_ref().expect(IS_OPEN);
        connection.send(&self.listeners, &[IoSlice::new(datagram)])?;
        Ok(Departed {
            packets: 1,
            end: None,
        })
    }

    /// Lets leave what a client was sent by a shared socket. Returns the number of that.
    fn flush_for(&mut self, client: usize) -> Option<usize> {
        let number = self.connection(client)?.shared()?;
        if self.outboxes[number].holds(client) {
            self.flush(number);
        }
        Some(number)
    }

    /// Sends blocks, or leaves them to the outbox of a shared socket.
    fn send_blocks(
        &mut self,
        client: usize,
        blocks: Blocks,
        shared: Option<usize>,
    ) -> Result<Departed, SendError> {
        let World {
            connections,
            listeners,
            outboxes,
            log,
            now,
            ..
        } = self;
        let connection = connections[client].as_mut().expect(IS_OPEN);
        let gather = |number: usize, run, length| outboxes[number].add(client, run, length);
        let departed = connection.send_blocks(*now, blocks, listeners, log, gather)?;
        if let Some(number) = shared
            && self.outboxes[number].is_due()
        {
            self.flush(number);
        }
        Ok(departed)
    }

    /// Answers a request from where it arrived, and that is all.
    fn answer(&mut self, peer: Peer, local: Local, datagram: &[u8]) {
        let listener = &self.listeners[local.listener];
        let pieces = [IoSlice::new(datagram)];
        match listener.send_from(local.address, local.interface, peer.into(), &pieces) {
            Ok(()) => self.metrics.traffic.sent_datagrams += 1,
            Err(error) => {
                let failed = LogEvent::AnswerFailed(peer, &error);
                self.log.write(self.now, &failed);
            }
        }
    }
}

/// Whether an error of a receive is about a packet that was sent before: there may be more behind it.
pub(super) fn is_about_earlier(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(
            Errno::EINTR
                | Errno::ECONNREFUSED
                | Errno::EHOSTUNREACH
                | Errno::ENETUNREACH
                | Errno::EHOSTDOWN
                | Errno::ENETDOWN
                | Errno::ENONET
                | Errno::ENOPROTOOPT
                | Errno::EOPNOTSUPP
                | Errno::EPROTO
                | Errno::EMSGSIZE
                | Errno::EPERM
                | Errno::EACCES
        )
    )
}

const IS_OPEN: &str = "the server sends to open clients only";

/// It concerns the operator, not each request.
const ADDRESS_FULL_EVERY: Duration = Duration::from_secs(60);
