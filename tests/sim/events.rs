//! What will happen, in the order of time. Nothing here allocates once a run is under way: events are
//! small, and the few datagrams with more than a number in them lie in buffers that are used again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ripple_tftpd::moment::Moment;

/// Something that will happen. Machines and hosts (addresses) are numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A machine gets power.
    SwitchOn(u32),
    /// A machine may have something to do.
    Deadline(u32),
    /// A packet arrives at a machine.
    ToMachine {
        machine: u32,
        port: u16,
        /// The server's port.
        from: u16,
        content: Content,
    },
    /// A machine hears that nobody listens to what it sent from `port`.
    MachineUnreachable { machine: u32, port: u16 },
    /// A packet arrives at the server's port `to`.
    ToTransfer {
        host: u32,
        port: u16,
        to: u16,
        reply: Reply,
    },
    /// A request arrives at the server.
    ToListener { host: u32, port: u16, bytes: Bytes },
    /// The server hears that nobody listens to what it sent from its port `to`.
    ServerUnreachable { host: u32, port: u16, to: u16 },
    /// The socket of a transfer takes packets again.
    Writable { client: u32, opened: u32 },
}

/// What is in a packet to a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    /// A block: its number, and which bytes of which file it holds.
    Data {
        block: u16,
        length: u16,
        file: u16,
        offset: u64,
    },
    Oack(Bytes),
    Ack(u16),
    Error(u16),
}

/// What a machine sends to a transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Ack(u16),
    Other(Bytes),
}

/// The number of a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bytes(u32);

/// Datagrams under way whose bytes matter.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    all: Vec<Vec<u8>>,
    free: Vec<u32>,
}

impl Buffers {
    pub(crate) fn keep(&mut self, bytes: &[u8]) -> Bytes {
        let place = self.place();
        self.all[place].extend_from_slice(bytes);
        Bytes(number(place))
    }

    pub(crate) fn copy(&mut self, of: Bytes) -> Bytes {
        let place = self.place();
        let [from, to] = self
            .all
            .get_disjoint_mut([of.0 as usize, place])
            .expect("the copy has a place of its own");
        to.extend_from_slice(from);
        Bytes(number(place))
    }

    /// An empty buffer.
    fn place(&mut self) -> usize {
        match self.free.pop() {
            Some(number) => {
                let place = number as usize;
                self.all[place].clear();
                place
            }
            None => {
                self.all.push(Vec::new());
                self.all.len() - 1
            }
        }
    }

    /// Hands out the bytes and makes the buffer free for others, which cannot take it before the
    /// caller has let go of the slice.
    pub(crate) fn take(&mut self, bytes: Bytes) -> &[u8] {
        self.free.push(bytes.0);
        &self.all[bytes.0 as usize]
    }
}

/// The queue of events. Of two at the same time the one that was filed first comes first.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// Time in nanoseconds, serial number, place: as one number, since that sorts fastest.
    heap: BinaryHeap<Reverse<u128>>,
    places: Vec<Event>,
    free: Vec<u32>,
    serial: u32,
    /// How many have happened.
    pub(crate) happened: u64,
}

impl Events {
    /// Files an event for a time in nanoseconds.
    pub(crate) fn file(&mut self, at: u64, event: Event) {
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = event;
                place
            }
            None => {
                self.places.push(event);
                number(self.places.len() - 1)
            }
        };
        // After four thousand million events the numbers begin again: the order stays a fixed one.
        self.serial = self.serial.wrapping_add(1);
        let key = u128::from(at) << 64 | u128::from(self.serial) << 32 | u128::from(place);
        self.heap.push(Reverse(key));
    }

    /// When the next one happens.
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|&Reverse(key)| time_of(key))
    }

    /// Takes out the next one that happens before `end`.
    #[allow(clippy::cast_possible_truncation)] // The low half of the key is the place.
    pub(crate) fn pop_before(&mut self, end: u64) -> Option<(u64, Event)> {
        let &Reverse(key) = self.heap.peek()?;
        let at = time_of(key);
        if at >= end {
            return None;
        }
        self.heap.pop();
        let place = key as u32;
        self.free.push(place);
        self.happened += 1;
        Some((at, self.places[place as usize]))
    }
}

#[allow(clippy::cast_possible_truncation)] // The high half of the key is the time.
fn time_of(key: u128) -> u64 {
    (key >> 64) as u64
}

/// A small number: of a machine, a host, a place.
pub(crate) fn number(of: usize) -> u32 {
    u32::try_from(of).expect("a world has fewer than 2^32 of anything")
}

/// The time of the core for a time in nanoseconds.
pub(crate) fn moment(nanos: u64) -> Moment {
    Moment::from_micros(nanos / 1000)
}
