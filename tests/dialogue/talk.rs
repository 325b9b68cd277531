//! The fixture for one `Transfer`: a script of what comes in and what must go out, and when.
//!
//! Everything that the transfer wants to send leaves at once and waits to be named by the script. A line
//! that begins with `at` is a moment at which something comes in; it fails when something was sent that
//! the lines before did not name, or when the deadline has passed by then. A line that begins with `due`
//! is a deadline, which must be exactly there.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use ripple_tftpd::moment::Moment;
use ripple_tftpd::transfer::options::OACK_MAX;
use ripple_tftpd::transfer::{Blocks, Datagrams, Departed, Negotiated, Outcome, Terms};
use ripple_tftpd::transfer::{Transfer, Wanted};
use ripple_tftpd::wire::Request;

use crate::{moment, option_bytes};

/// What `-t` is in most tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(35);

/// A packet that left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Packet {
    Oack,
    /// A block with its number and what part of the file it holds.
    Data {
        block: u64,
        from: u64,
        to: u64,
    },
}

/// A conversation.
pub(crate) struct Talk {
    pub(crate) transfer: Transfer,
    now: Moment,
    /// Bytes of the stream, whether the transfer knows them or not.
    length: u64,
    /// Packets that the socket still takes.
    room: u16,
    /// Packets that left and that the script has not named yet.
    left: VecDeque<Packet>,
    /// The first OACK as bytes: every other must be the same.
    oack: Option<Vec<u8>>,
    /// How many packets left in all.
    pub(crate) packets: u64,
    ended: Option<Outcome>,
}

impl Talk {
    /// A client that asks with these options for a file of this length.
    pub(crate) fn new(options: &str, length: u64) -> Talk {
        Talk::with(options, length, Some(length), PATIENCE)
    }

    /// A netascii file: its length shows when its end is sent.
    pub(crate) fn netascii(options: &str, length: u64) -> Talk {
        Talk::with(options, length, None, PATIENCE)
    }

    /// A server with this `-t`.
    pub(crate) fn with_patience(options: &str, length: u64, patience: f64) -> Talk {
        let patience = Duration::from_secs_f64(patience);
        Talk::with(options, length, Some(length), patience)
    }

    fn with(options: &str, length: u64, known: Option<u64>, patience: Duration) -> Talk {
        let negotiated = negotiate(options, known);
        Talk {
            transfer: Transfer::new(Moment::START, negotiated, known, patience),
            now: Moment::START,
            length,
            room: u16::MAX,
            left: VecDeque::new(),
            oack: None,
            packets: 0,
            ended: None,
        }
    }

    /// A transfer that has just sent its OACK.
    pub(crate) fn begun(options: &str, length: u64) -> Talk {
        let mut talk = Talk::new(options, length);
        talk.at(0.0).begins().sends_oack();
        talk
    }

    /// A transfer with an answered OACK after a round trip of 1 ms: block 1 has just been sent at 0.001,
    /// and the RTO is 200 ms.
    pub(crate) fn under_way(options: &str, length: u64) -> Talk {
        let mut talk = Talk::begun(options, length);
        talk.at(0.001).ack(0);
        talk
    }

    // What comes in.

    /// Time goes on to `seconds`, and nothing may be due by then.
    pub(crate) fn at(&mut self, seconds: f64) -> &mut Talk {
        self.go_to(moment(seconds))
    }

    /// Time goes on by a millisecond.
    pub(crate) fn soon(&mut self) -> &mut Talk {
        self.go_to(self.now + Duration::from_millis(1))
    }

    fn go_to(&mut self, now: Moment) -> &mut Talk {
        self.nothing();
        assert_eq!(self.ended, None, "at {now:?} it was over");
        assert!(self.now <= now, "the script goes back from {:?}", self.now);
        let deadline = self.transfer.deadline();
        assert!(now < deadline, "nobody named the deadline at {deadline:?}");
        self.now = now;
        self
    }

    /// The deadline is at `seconds`, no sooner and no later, and it passes.
    pub(crate) fn due(&mut self, seconds: f64) -> &mut Talk {
        self.waits_until(seconds);
        self.now = moment(seconds);
        let step = self.transfer.on_deadline(self.now);
        self.take(step)
    }

    /// At each of these deadlines, and not between them, the same blocks leave.
    pub(crate) fn repeats(&mut self, blocks: RangeInclusive<u64>, deadlines: &[f64]) {
        for &seconds in deadlines {
            self.due(seconds).sends(blocks.clone());
        }
    }

    /// Nothing more is sent, and the deadline is at `seconds`.
    pub(crate) fn waits_until(&mut self, seconds: f64) -> &mut Talk {
        self.nothing();
        assert_eq!(self.ended, None, "it is over");
        assert_eq!(self.transfer.deadline(), moment(seconds), "the deadline");
        self
    }

    /// The transfer sends its first packet.
    pub(crate) fn begins(&mut self) -> &mut Talk {
        self.take(None)
    }

    /// An ACK comes in.
    pub(crate) fn ack(&mut self, block: u16) -> &mut Talk {
        let progress = self.transfer.on_ack(self.now, block);
        let is_complete = progress.is_some_and(|it| it.is_complete);
        self.take(is_complete.then_some(Outcome::Complete))
    }

    /// The client repeats its request.
    pub(crate) fn asks_again(&mut self) -> &mut Talk {
        self.transfer.on_repeated_request(self.now);
        self.take(None)
    }

    /// From now on the socket takes this many packets, and no more.
    pub(crate) fn socket_takes(&mut self, packets: u16) -> &mut Talk {
        self.room = packets;
        self
    }

    /// The socket takes everything again.
    pub(crate) fn socket_is_writable(&mut self) -> &mut Talk {
        self.room = u16::MAX;
        self.take(None)
    }

    /// The client acknowledges every window 1 ms after it was sent, until this block was sent.
    pub(crate) fn runs_until_sent(&mut self, block: u64) -> &mut Talk {
        while let Some(&Packet::Data { block: last, .. }) = self.left.back()
            && last < block
        {
            self.left.clear();
            self.soon().ack(on_wire(last));
        }
        let last = self.left.back().copied();
        assert!(
            matches!(last, Some(Packet::Data { block: last, .. }) if last >= block),
            "it stopped at {last:?}"
        );
        self
    }

    // What must go out.

    pub(crate) fn sends_oack(&mut self) -> &mut Talk {
        self.sends_packet(Packet::Oack)
    }

    /// These blocks leave, in this order; every block but the one that ends the file is full.
    pub(crate) fn sends(&mut self, blocks: RangeInclusive<u64>) -> &mut Talk {
        let blksize = u64::from(self.transfer.negotiated().blksize);
        for block in blocks {
            let from = (block - 1) * blksize;
            let to = (from + blksize).min(self.length);
            self.sends_packet(Packet::Data { block, from, to });
        }
        self
    }

    fn sends_packet(&mut self, expected: Packet) -> &mut Talk {
        let found = self.left.pop_front();
        assert_eq!(found, Some(expected), "at {:?}", self.now);
        self
    }

    /// Nothing (more) leaves.
    pub(crate) fn nothing(&mut self) -> &mut Talk {
        assert!(
            self.left.is_empty(),
            "at {:?} these left too: {:?}",
            self.now,
            self.left
        );
        self
    }

    /// It is over.
    pub(crate) fn ends(&mut self, outcome: Outcome) {
        self.nothing();
        assert_eq!(self.ended, Some(outcome), "at {:?}", self.now);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    // Behind the scenes.

    fn take(&mut self, outcome: Option<Outcome>) -> &mut Talk {
        self.transfer.audit();
        match outcome {
            Some(_) => self.ended = outcome,
            None => self.send(),
        }
        self
    }

    fn send(&mut self) {
        while self.room > 0
            && let Some(datagrams) = self.transfer.datagrams(self.room)
        {
            let departed = match datagrams {
                Datagrams::Oack(negotiated) => {
                    let bytes = oack_bytes(negotiated);
                    let first = self.oack.get_or_insert_with(|| bytes.clone());
                    assert_eq!(*first, bytes, "an OACK is repeated as it was");
                    self.left.push_back(Packet::Oack);
                    Departed {
                        packets: 1,
                        end: None,
                    }
                }
                Datagrams::Data(blocks) => self.send_blocks(blocks),
                Datagrams::Ack(_) | Datagrams::Error(_) => panic!("{datagrams:?} leaves"),
            };
            self.packets += u64::from(departed.packets);
            if self.room < u16::MAX {
                self.room -= departed.packets;
            }
            self.transfer.sent(self.now, departed);
            self.transfer.audit();
        }
    }

    /// Sends the blocks that exist, as a reader of the file would.
    fn send_blocks(&mut self, blocks: Blocks) -> Departed {
        let blksize = u64::from(self.transfer.negotiated().blksize);
        assert_eq!(u64::from(blocks.blksize), blksize);
        assert!(1 <= blocks.oldest && blocks.oldest <= blocks.first);
        assert!(1 <= blocks.count && blocks.count <= self.room);
        let mut departed = Departed {
            packets: 0,
            end: None,
        };
        for block in blocks.first..blocks.first + u64::from(blocks.count) {
            let from = blocks.offset(block);
            let to = (from + blksize).min(self.length);
            self.left.push_back(Packet::Data { block, from, to });
            departed.packets += 1;
            if to < from + blksize {
                departed.end = Some(self.length);
                break;
            }
        }
        departed
    }
}

impl Drop for Talk {
    /// A script that ends must have named everything that left.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.nothing();
        }
    }
}

/// What a client that asks with these options agrees on with a server that grants everything.
pub(crate) fn negotiate(options: &str, size: Option<u64>) -> Negotiated {
    let datagram = [&b"\0\x01file\0octet\0"[..], &option_bytes(options)].concat();
    let terms = Terms {
        max_windowsize: u16::MAX,
        ..Terms::default()
    };
    Wanted::new(Request::parse(&datagram).unwrap().options()).negotiate(terms, size, None)
}

fn oack_bytes(negotiated: &Negotiated) -> Vec<u8> {
    let mut buffer = [0xAA; OACK_MAX];
    let length = negotiated.write_oack(&mut buffer);
    buffer[..length].to_vec()
}

/// The number of a block on the wire.
pub(crate) fn on_wire(block: u64) -> u16 {
    u16::try_from(block % 65_536).unwrap()
}
