//! The control socket: `GET /status` and `GET /metrics` by HTTP/1.0, for the owner of the server. Nothing that comes in
//! changes anything.
//!
//! Clients are bounded, and so is what is kept for each. One that does not read, or does not ask, is dropped.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use crate::moment::Moment;
use crate::os::local::{LocalListener, LocalStream};
use crate::os::poll::{CONTROL_CLIENTS_MAX, Poll, Source};

/// The socket and its clients.
#[derive(Debug)]
pub(super) struct Control {
    listener: LocalListener,
    clients: [Option<Client>; CLIENTS_MAX],
    /// Somebody may have asked something since.
    is_woken: bool,
    /// When the next client is to be dropped.
    drop_at: Option<Moment>,
}

#[derive(Debug)]
struct Client {
    stream: LocalStream,
    /// What it asked so far, and what it is still to be sent; there is none before it has asked.
    request: Vec<u8>,
    answer: Vec<u8>,
    /// When it is dropped unless something moves.
    until: Moment,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Page {
    Status,
    Metrics,
}

impl Control {
    pub(super) fn new(listener: LocalListener, poll: &Poll) -> io::Result<Control> {
        poll.add(&listener, Source::Control)?;
        Ok(Control {
            listener,
            clients: Default::default(),
            is_woken: false,
            drop_at: None,
        })
    }

    /// Something moved at the socket or a client.
    pub(super) fn wake(&mut self) {
        self.is_woken = true;
    }

    /// Takes connections and requests, and sends answers; `page` makes one. Returns when the next client is to be
    /// dropped, if there is one.
    pub(super) fn serve(
        &mut self,
        now: Moment,
        poll: &Poll,
        mut page: impl FnMut(Page) -> String,
    ) -> Option<Moment> {
        if !self.is_woken && self.drop_at.is_none_or(|at| now < at) {
            return self.drop_at;
        }
        if std::mem::take(&mut self.is_woken) {
            while let Ok((stream, _)) = self.listener.accept() {
                self.add(now, poll, stream);
            }
            for place in &mut self.clients {
                place.take_if(|client| !client.go_on(now, &mut page));
            }
        }
        for place in &mut self.clients {
            place.take_if(|client| client.until <= now);
        }
        let clients = self.clients.iter().flatten();
        self.drop_at = clients.map(|client| client.until).min();
        self.drop_at
    }

    /// If there is no room, the client that has been still for longest gives way.
    fn add(&mut self, now: Moment, poll: &Poll, stream: LocalStream) {
        let until = |place: &Option<Client>| place.as_ref().map(|client| client.until);
        let stillest = (0..CLIENTS_MAX).min_by_key(|&number| until(&self.clients[number]));
        let number = stillest.unwrap_or(0);
        self.clients[number] = None;
        let source = Source::ControlClient(number);
        let added = poll.add(&stream, source);
        if added.is_ok() && poll.want_writable(&stream, source, true).is_ok() {
            self.clients[number] = Some(Client {
                stream,
                request: Vec::new(),
                answer: Vec::new(),
                until: now + PATIENCE,
            });
        }
    }
}

impl Client {
    /// Reads and writes what can be; returns false once there is no more to be done for it.
    fn go_on(&mut self, now: Moment, page: &mut impl FnMut(Page) -> String) -> bool {
        let mut buffer = [0; REQUEST_MAX];
        let error = loop {
            if self.answer.is_empty() {
                match self.stream.read(&mut buffer) {
                    Ok(0) => return false,
                    Ok(length) => self.request.extend(&buffer[..length]),
                    Err(error) => break error,
                }
                let has = |end: &[u8]| self.request.windows(end.len()).any(|it| it == end);
                if self.request.len() > REQUEST_MAX {
                    return false;
                } else if has(b"\r\n\r\n") || has(b"\n\n") {
                    self.answer = answer(&self.request, page);
                    self.until = now + PATIENCE;
                }
            } else {
                match self.stream.write(&self.answer) {
                    Ok(written) if written == self.answer.len() => return false,
                    Ok(written) => drop(self.answer.drain(..written)),
                    Err(error) => break error,
                }
                self.until = now + PATIENCE;
            }
        };
        error.kind() == ErrorKind::WouldBlock
    }
}

fn answer(request: &[u8], page: &mut impl FnMut(Page) -> String) -> Vec<u8> {
    let request = String::from_utf8_lossy(request);
    let mut words = request.split_ascii_whitespace();
    let (status, kind, body) = match (words.next(), words.next()) {
        (Some("GET"), Some("/status")) => ("200 OK", "application/json", page(Page::Status) + "\n"),
        (Some("GET"), Some("/metrics")) => {
            let kind = "text/plain; version=0.0.4";
            ("200 OK", kind, page(Page::Metrics))
        }
        (Some("GET"), _) => {
            let pages = "There are /status and /metrics.\n";
            ("404 Not Found", "text/plain", pages.into())
        }
        _ => {
            let only = "Only GET is known.\n";
            ("405 Method Not Allowed", "text/plain", only.into())
        }
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.0 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    (head + &body).into_bytes()
}

/// Clients at once: a screen, an exporter, and somebody who looks.
const CLIENTS_MAX: usize = CONTROL_CLIENTS_MAX;

/// Bytes of a request: curl sends less than a hundred.
const REQUEST_MAX: usize = 2048;

/// A client that neither asks nor reads is gone.
const PATIENCE: Duration = Duration::from_secs(5);
