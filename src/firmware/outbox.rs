//! What a machine has to send, until the driver fetches it: a few words each; bytes are made on the
//! way out.

use super::datagram::{Datagram, Destination};
use super::exchange::Exchange;

/// What a machine has to send, until the driver fetches it.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: [Option<Outgoing>; OUTBOX_MAX],
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    pub(super) from_port: u16,
    pub(super) to: Destination,
    pub(super) content: Content,
    /// The window to tell behind an ACK.
    pub(super) window: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    Request,
    Ack(u16),
    /// A code and a text, which most leave empty.
    Error(u16, &'static str),
}

impl Outbox {
    pub(super) fn push(&mut self, outgoing: Outgoing) {
        let free = self.waiting.iter_mut().find(|place| place.is_none());
        *free.expect("the driver fetches what a call left here before the next call") =
            Some(outgoing);
    }

    pub(super) fn pop(&mut self) -> Option<Outgoing> {
        let first = self.waiting[0].take();
        self.waiting.rotate_left(1);
        first
    }
}

impl Outgoing {
    /// The bytes of it. Only a request needs the file's name and its exchange, which is the current one.
    pub(super) fn datagram(&self, name: &str, exchange: Option<&Exchange>) -> Datagram {
        let datagram = Datagram::new(self.from_port, self.to);
        match self.content {
            Content::Request => {
                let request = datagram.request(name);
                let options = exchange.map_or(&[][..], Exchange::options);
                let value = |value| exchange.map_or(0, |exchange| exchange.value(value));
                options.iter().fold(request, |request, (name, asked)| {
                    request.option(name, value(*asked))
                })
            }
            Content::Ack(block) => match self.window {
                Some(window) => datagram.ack(block).byte(window.to_le_bytes()[0]),
                None => datagram.ack(block),
            },
            Content::Error(code, text) => datagram.error(code, text),
        }
    }
}

/// No call leaves more than this: two ACKs, or an ACK or ERROR and the next request.
const OUTBOX_MAX: usize = 3;
