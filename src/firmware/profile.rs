//! What can set one kind of firmware apart from another: the [`Profile`] and the few rules it is made of.
//!
//! `roms`, `loaders` and `tools` fill it in for each kind, `exchange` acts on it.

use std::time::Duration;

/// How one firmware behaves, from its first request for a file to the end of that file.
#[derive(Debug)]
pub(super) struct Profile {
    /// The options of a request, in the order sent.
    pub(super) options: &'static [(&'static str, Value)],
    /// What it does with a file before it reads it.
    pub(super) before: Before,
    /// What it says to the server, with ERROR 0, where it goes back in a file; `None` if it says nothing.
    pub(super) seek_word: Option<&'static str>,
    /// Which port a request leaves from.
    pub(super) ports: Ports,
    /// A repeated request leaves from the next port.
    pub(super) repeats_from_new_port: bool,

    /// When the request is repeated.
    pub(super) asks: Resend,
    /// When the last ACK is repeated.
    pub(super) acks: Resend,
    /// Repeats of the request and of all ACKs of a file are counted together, and never forgotten.
    pub(super) counts_whole_file: bool,
    /// A clock beside the repeats.
    pub(super) patience: Patience,
    /// Timers run out only at multiples of this many milliseconds, if not 0.
    pub(super) tick: u64,

    /// What it takes in an OACK.
    pub(super) oack: OackRules,
    /// An OACK begins a fresh wait; otherwise the wait of the request runs on.
    pub(super) oack_is_fresh: bool,
    /// A second OACK.
    pub(super) oack_again: Answer,
    /// A block from before the one awaited.
    pub(super) old_block: Answer,
    /// A block from behind the one awaited.
    pub(super) gap: Answer,
    /// How 16 bits on the wire become a block.
    pub(super) numbering: Numbering,
    /// Blocks longer than agreed are taken, and read on from where shorter ones would have ended.
    pub(super) takes_long_blocks: bool,
    /// The last block is acknowledged.
    pub(super) acks_last_block: bool,
    /// A packet from a port that is not the transfer's.
    pub(super) wrong_port: WrongPort,
    /// ERROR is acted on only as the answer to a request.
    pub(super) deaf_to_errors: bool,
    /// ICMP port unreachable ends the transfer.
    pub(super) heeds_unreachable: bool,
    /// A closed port is answered with ICMP port unreachable.
    pub(super) closed_port_answers: bool,
    /// The first size of the buffer, where a larger file is fetched again from the start.
    pub(super) buffer: Option<u64>,
    /// What follows a failed boot.
    pub(super) restart: Restart,
}

/// The value of an option in a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    /// Always this.
    Is(u32),
    /// What the probe learned.
    KnownSize,
    /// One of these, always the same for one machine.
    OneOf(&'static [u32]),
}

/// What firmware does with a file before it reads it.
#[derive(Debug)]
pub(super) enum Before {
    Nothing,
    /// It asks for the size.
    Probe(Probe),
    /// It opens the file and leaves it after the first block, without a word.
    Glance {
        /// From that to the request for the whole file.
        pause: (Duration, Duration),
    },
}

/// A request that only asks for the size; the transfer is ended as soon as the server answers.
#[derive(Debug)]
pub(super) struct Probe {
    /// Its options, in the order sent.
    pub(super) options: &'static [(&'static str, Value)],
    /// The error code that ends it.
    pub(super) code: u16,
    /// From that to the real request.
    pub(super) pause: (Duration, Duration),
}

/// Which port a request leaves from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ports {
    /// Any of these.
    Random { least: u16, most: u16 },
    /// This one, then the next; the same after a reboot.
    Counted(u16),
    /// As counted, from a first port that every machine has for itself.
    CountedFromOwn { least: u16, most: u16 },
    /// Always this one.
    Fixed(u16),
    /// One of these, and the same until the next power-on.
    OneRandom { least: u16, most: u16 },
    /// Seconds of a clock that runs for ever, modulo `span`, behind `first`.
    BySecond { first: u16, span: u16 },
    /// Milliseconds since power-on, modulo `span`, behind `first`.
    ByClock { first: u16, span: u16 },
}

/// When a packet is sent again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resend {
    /// After these milliseconds, one entry per sending; after the last of them it gives up.
    Table(&'static [u32]),
    /// iPXE's timer: follows the round-trip time, doubles, and keeps what it doubled to.
    Adaptive,
    /// Never.
    Never,
}

/// A clock that ends a file, beside the schedule of repeats.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    /// None.
    Unbounded,
    /// Milliseconds without a new block, counted from the request at first.
    SinceRequestOrBlock(u64),
    /// Milliseconds without a new block, counted from the first answer at first.
    SinceAnswerOrBlock(u64),
    /// Milliseconds for the whole file, from the first request (or probe) on.
    WholeFile(u64),
}

/// What firmware accepts in an OACK.
#[derive(Clone, Copy, Debug)]
pub(super) struct OackRules {
    /// The block sizes it takes.
    pub(super) blksize: Blksize,
    /// The error code for an option it did not ask for; `None` if it does not care.
    pub(super) unasked: Option<u16>,
    /// The error code for a `timeout` other than the one asked for.
    pub(super) other_timeout: Option<u16>,
    /// It takes over a `timeout` that it never asked for.
    pub(super) adopts_timeout: bool,
    /// What a size of 0 means to it.
    pub(super) empty: Empty,
    /// It needs one: DATA in answer to a request is not understood.
    pub(super) required: bool,
}

/// The block sizes that firmware takes in an OACK.
#[derive(Clone, Copy, Debug)]
pub(super) enum Blksize {
    /// Any.
    Any,
    /// What it asked for or less; else this error code.
    UpToAsked(u16),
    /// These; else this error code.
    Within(u32, u32, u16),
}

/// What a size of 0 in an OACK means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Empty {
    /// An empty file.
    File,
    /// That there is no such file.
    NoFile,
    /// A broken server.
    Broken,
}

/// What firmware does with a packet that is not the block it waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// Nothing.
    Ignore,
    /// Nothing is sent, but the current wait begins anew.
    WaitAnew,
    /// The last ACK again; the timer runs on.
    Ack,
    /// The last ACK again; timer and count of repeats begin anew.
    AckAnew,
    /// The same until the first block has come, then nothing.
    AckAnewBeforeData,
    /// The last ACK again, if the block is the one that it acknowledged; timer and count of repeats
    /// begin anew.
    AckAnewIfLast,
    /// The last ACK again, if the block is the one that it acknowledged; else [`Answer::Complain`].
    AckIfLastElseComplain,
    /// The last ACK again, once until the next new block; every time the wait begins anew.
    AckOnce,
    /// The last ACK again, once until the next new block, for block numbers below this; the timer runs on.
    AckOnceBelow(u16),
    /// The last ACK again and the wait anew, but the n-th copy since the last new block ends it all.
    AckUpTo(u8),
    /// An ACK of the old block; the timer runs on.
    AckOld,
    /// An ACK of the old block, then the last ACK again; the timer runs on.
    AckOldAndLast,
    /// An ACK of the block that comes next, though it never came. From then on that is all it ever says.
    AckNext,
    /// The payload is filed where it belongs, and the last ACK goes out again with a fresh timer.
    Store,
    /// Until the first block has come: the end of an empty file, acknowledged as block 1. Then nothing.
    EndBeforeData,
    /// ACK 0, and the block awaited is 1 again; the timer runs on.
    Forget,
    /// The same; timer and count of repeats begin anew.
    ForgetAnew,
    /// ERROR 5 with lwIP's words for it, but the transfer goes on.
    Complain,
    /// An ERROR packet with this code, and the transfer is over.
    Die(u16),
    /// The transfer is over without a word.
    Abort,
}

/// How 16 bits on the wire become a block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Numbering {
    /// The nearest block with that number.
    Nearest,
    /// The upper bits are those of the awaited block: just after the wrap, a copy of an old block
    /// looks like one that is 65536 blocks ahead.
    UpperBitsOfAwaited,
    /// There is no block after 65535.
    NoWrap,
}

/// What firmware does with a packet from a port that is not the transfer's.
#[derive(Clone, Copy, Debug)]
pub(super) enum WrongPort {
    /// Drops it.
    Drop,
    /// Takes it as if it came from the right one.
    Accept,
    /// Takes it and answers to that port from now on.
    Adopt,
    /// The same until the first block has come; then takes it, but answers to the old port.
    AcceptAdoptFirst,
    /// Gives up the transfer.
    Abort,
    /// Counts it as one wait that ran out.
    CountAsTimeout,
    /// Its kernel answers with ICMP port unreachable.
    Unreachable,
}

/// What follows a failed boot.
#[derive(Clone, Copy, Debug)]
pub(super) enum Restart {
    /// A prompt, or the end of the program.
    Never,
    /// The whole boot again, after this many seconds.
    After { least: u64, most: u64 },
    /// The same, but a prompt where a file that its configuration names is refused or not answered.
    AfterOrPrompt { seconds: u64 },
}

/// The plainest client there is; the others are described by how they differ from it.
pub(super) const PLAIN: Profile = Profile {
    options: &[],
    before: Before::Nothing,
    seek_word: None,
    ports: Ports::Counted(2070),
    repeats_from_new_port: false,
    asks: Resend::Table(&[1000, 2000, 4000, 8000, 8000]),
    acks: Resend::Table(&[1000; 5]),
    counts_whole_file: false,
    patience: Patience::Unbounded,
    tick: 0,
    oack: OackRules {
        blksize: Blksize::Any,
        unasked: None,
        other_timeout: None,
        adopts_timeout: false,
        empty: Empty::File,
        required: false,
    },
    oack_is_fresh: true,
    oack_again: Answer::Ignore,
    old_block: Answer::Ack,
    gap: Answer::Ignore,
    numbering: Numbering::Nearest,
    takes_long_blocks: false,
    acks_last_block: true,
    wrong_port: WrongPort::Drop,
    deaf_to_errors: false,
    heeds_unreachable: false,
    closed_port_answers: false,
    buffer: None,
    restart: Restart::After { least: 5, most: 60 },
};
