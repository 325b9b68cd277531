//! What a machine has to send, until the driver fetches it: a few words each; bytes are made on the
//! way out.

use super::datagram::{Datagram, Destination};

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
    /// The window that is announced behind an ACK.
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
    /// The bytes of it. Only a request needs the name of the file and the options asked for.
    pub(super) fn datagram(
        &self,
        name: &str,
        options: impl Iterator<Item = (&'static str, u64)>,
    ) -> Datagram {
        let datagram = Datagram::new(self.from_port, self.to);
        match self.content {
            Content::Request => {
                let request = datagram.request(name);
                options.fold(request, |request, (name, value)| {
                    request.option(name, value)
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

/// No call leaves more than this: two ACKs, or an ACK, an ERROR and the next request.
const OUTBOX_MAX: usize = 3;
