//! A world that fails: whatever the server asks of it may be refused, at any time and in every way that
//! the trait [`Io`] allows. It keeps books of its own, and a server that breaks them ends the test.

use std::collections::BTreeMap;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::name::FileName;
use ripple_tftpd::server::{Event, Io, Local, Opened, Opening, Unopened, Unsent};
use ripple_tftpd::transfer::options::{BLKSIZE_MAX, BLKSIZE_MIN, OACK_MAX};
use ripple_tftpd::transfer::{Blocks, DATA_SENDINGS, Datagrams, Departed, OACK_SENDINGS, Outcome};
use ripple_tftpd::wire::{Mode, Peer, Refusal};

use super::choices::Choices;

/// What a client has open.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) peer: Peer,
    /// The block that was sent last.
    pub(crate) block: u64,
    /// Bytes of the stream.
    length: u64,
    /// The socket took nothing more and did not become writable yet.
    is_full: bool,
    /// Something came from the client on its socket.
    was_heard: bool,
    /// Packets sent before that, and requests of the client, each of which may draw one more.
    sent_unheard: u64,
    repeats: u64,
}

#[derive(Debug)]
pub(crate) struct World<C> {
    pub(crate) choices: C,
    /// One call of so many fails; 0: none.
    pub(crate) faults: u64,
    pub(crate) now: Moment,
    /// By the client's number, in an order that is the same in every run.
    pub(crate) open: BTreeMap<usize, Open>,
    pub(crate) opens: u64,
    pub(crate) closes: u64,
    pub(crate) ended: Vec<Outcome>,
    pub(crate) sent: u64,
    /// Requests delivered and not refused yet: each draws one ERROR at most.
    refusals_left: u64,
}

impl<C: Choices> World<C> {
    pub(crate) fn new(choices: C) -> World<C> {
        World {
            choices,
            faults: 0,
            now: Moment::START,
            open: BTreeMap::new(),
            opens: 0,
            closes: 0,
            ended: Vec::new(),
            sent: 0,
            refusals_left: 0,
        }
    }

    /// A datagram is about to arrive on a listening socket.
    pub(crate) fn expect_request(&mut self, from: Peer) {
        self.refusals_left += 1;
        let same = self.open.values_mut().filter(|open| open.peer == from);
        same.for_each(|open| open.repeats += 1);
    }

    /// A datagram is about to arrive on the socket of a client.
    pub(crate) fn expect_reply(&mut self, client: usize) {
        if let Some(open) = self.open.get_mut(&client) {
            open.was_heard = true;
        }
    }

    /// The socket of a client takes packets again.
    pub(crate) fn becomes_writable(&mut self, client: usize) {
        if let Some(open) = self.open.get_mut(&client) {
            open.is_full = false;
        }
    }

    fn fails(&mut self) -> bool {
        self.faults > 0 && self.choices.one_in(self.faults)
    }

    fn look_up(&mut self, name: FileName<'_>) -> Result<u64, Unopened> {
        for component in name.as_bytes().split(|&byte| byte == b'/') {
            assert!(
                !matches!(component, b"" | b"." | b"..") && !component.contains(&0),
                "an unsafe name is looked up"
            );
        }
        if self.fails() {
            return Err(match self.choices.below(6) {
                0 | 1 => Unopened::Exhausted,
                2 => Unopened::Busy(None),
                _ => Unopened::Refused(self.choices.pick(&REFUSALS)),
            });
        }
        let file = FILES.iter().find(|(file, _)| *file == name.as_bytes());
        file.map(|&(_, size)| size)
            .ok_or(Unopened::Refused(Refusal::NotFound))
    }

    /// Sends as many of `blocks` as the socket takes.
    fn send_blocks(&mut self, client: usize, blocks: Blocks) -> Departed {
        let count = match self.fails() {
            true => self.choices.within(1, u64::from(blocks.count) + 1),
            false => blocks.count.into(),
        };
        let open = self.open.get_mut(&client).expect("it is open");
        let last = open.length / u64::from(blocks.blksize) + 1;
        assert!(1 <= blocks.oldest && blocks.oldest <= blocks.first);
        assert!(1 <= blocks.count, "asked to send nothing");
        assert!(blocks.first <= last, "a block past the end of the file");
        assert!(
            open.was_heard || (blocks.first, blocks.count) == (1, 1),
            "more than one block for a stranger"
        );
        let sent = count.min(last - blocks.first + 1);
        open.block = blocks.first + sent - 1;
        Departed {
            packets: u16::try_from(sent).expect("a burst is short"),
            end: (open.block == last).then_some(open.length),
        }
    }
}

impl<C: Choices> Io for World<C> {
    fn find(&mut self, name: FileName<'_>) -> Result<u64, Unopened> {
        self.look_up(name)
    }

    fn open(&mut self, client: usize, opening: Opening<'_>) -> Result<Opened, Unopened> {
        assert!(!self.open.contains_key(&client), "opened twice");
        assert!(BLKSIZE_MIN <= opening.blksize && opening.blksize <= BLKSIZE_MAX);
        let size = self.look_up(opening.name)?;
        if self.fails() {
            return Err(Unopened::Unreachable);
        }
        let is_text = opening.mode == Mode::Netascii;
        let length = match is_text {
            // A text grows by its line ends.
            true => size + self.choices.below(size + 1),
            false => size,
        };
        let open = Open {
            peer: opening.peer,
            block: 0,
            length,
            is_full: false,
            was_heard: false,
            sent_unheard: 0,
            repeats: 0,
        };
        self.open.insert(client, open);
        self.opens += 1;
        let payload_max = match self.choices.below(4) {
            0 => Some(self.choices.port()),
            1 => Some(1472),
            _ => None,
        };
        Ok(Opened {
            size,
            length: (!is_text).then_some(length),
            payload_max,
        })
    }

    fn send(&mut self, client: usize, datagrams: Datagrams<'_>) -> Result<Departed, Unsent> {
        let fault = self.fails().then(|| self.choices.pick(&UNSENT));
        let open = self.open.get_mut(&client).expect("sends to the open only");
        assert!(!open.is_full, "sends to a socket that takes nothing");
        if let Some(fault) = fault {
            open.is_full = fault == Unsent::Full;
            return Err(fault);
        }
        let departed = match datagrams {
            Datagrams::Oack(negotiated) => {
                let length = negotiated.write_oack(&mut [0; OACK_MAX]);
                assert!(negotiated.has_oack() && 2 < length);
                Departed {
                    packets: 1,
                    end: None,
                }
            }
            Datagrams::Error(_) => Departed {
                packets: 1,
                end: None,
            },
            Datagrams::Data(blocks) => self.send_blocks(client, blocks),
        };
        self.sent += u64::from(departed.packets);
        let open = self.open.get_mut(&client).expect("it is open");
        if !open.was_heard && !matches!(datagrams, Datagrams::Error(_)) {
            open.sent_unheard += 1;
            let sendings = match datagrams {
                Datagrams::Oack(_) => OACK_SENDINGS,
                Datagrams::Data(_) | Datagrams::Error(_) => DATA_SENDINGS,
            };
            assert!(
                open.sent_unheard <= u64::from(sendings) + open.repeats,
                "too much for a stranger"
            );
        }
        Ok(departed)
    }

    fn refuse(&mut self, _: Peer, _: Local, _: Refusal) {
        let left = self.refusals_left.checked_sub(1);
        self.refusals_left = left.expect("one ERROR at most for each request");
    }

    fn close(&mut self, client: usize) {
        assert!(self.open.remove(&client).is_some(), "closed twice");
        self.closes += 1;
    }

    fn report(&mut self, event: Event<'_>) {
        if let Event::Ended(report) = event {
            assert!(report.pending <= self.now.since(Moment::START));
            self.ended.push(report.outcome);
        }
    }
}

/// What there is, with its size in bytes.
const FILES: [(&[u8], u64); 6] = [
    (b"empty", 0),
    (b"small", 100),
    (b"even", 1024),
    (b"medium", 20_000),
    (b"large", 50_000_000),
    // As sparse as a file can be.
    (b"a/huge", i64::MAX as u64),
];

/// Whatever may be wrong with a file.
const REFUSALS: [Refusal; 7] = [
    Refusal::NotFound,
    Refusal::NameTooLong,
    Refusal::OutsideRoot,
    Refusal::NotAFile,
    Refusal::NoAccess,
    Refusal::NotPublic,
    Refusal::ReadFailed,
];

/// Every way in which a send fails.
const UNSENT: [Unsent; 5] = [
    Unsent::Full,
    Unsent::Full,
    Unsent::Absent,
    Unsent::PortClosed,
    Unsent::Unreadable(Refusal::ReadFailed),
];
