//! What a transfer in either direction has.

use std::time::Duration;

use super::options::Negotiated;
use super::timing::Timing;
use crate::moment::Moment;

/// What both halves act on.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub(super) negotiated: Negotiated,
    /// Bytes in all; unknown for netascii until the end was sent, and for an upload that announces none.
    pub(super) length: Option<u64>,
    pub(super) timing: Timing,
    /// The client acknowledged something, or sent a block: the handshake is over.
    pub(super) answered: bool,
    /// Packets sent more than once.
    pub(super) retransmissions: u64,
    /// When the first packet goes out again at the client's wish.
    pub(super) first_again_at: Option<Moment>,
}

/// A packet younger than this is not sent again at the client's wish: firmware repeats requests within
/// 5-9 ms, and PXELINUX its ACKs within 110 ms.
pub(super) const REPEAT_AFTER: Duration = Duration::from_millis(100);

/// What a round trip may take before one was measured. What was measured may have been the client's own
/// pause instead, where its ACK was lost and it sent another: an old ROM asks four times, 1 s apart.
pub(super) const UNMEASURED: Duration = Duration::from_secs(1);
