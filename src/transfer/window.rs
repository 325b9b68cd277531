//! Which blocks may be out, and which one an ACK means (RFC 7440).
//!
//! Two counters, not a queue: everything below `base` is acknowledged, everything from `base` up to
//! `next` is out. Nothing here knows time.

use super::low_bits;

/// The window of a transfer. Block 0 is the OACK.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Lowest block not acknowledged.
    pub(super) base: u64,
    /// Next block to send.
    pub(super) next: u64,
    /// One above the highest block ever sent.
    fresh: u64,
    pub(super) size: u16,
    /// One above the highest block that had been sent when the window last began anew.
    repeated_to: u64,
    /// The block that ends the file; the greatest number until it is known.
    last: u64,
}

impl Window {
    pub(super) fn new(first: u64, size: u16) -> Window {
        Window {
            base: first,
            next: first,
            fresh: first,
            size,
            repeated_to: 0,
            last: u64::MAX,
        }
    }

    /// How many blocks may be sent now. Before the handshake is answered it is one, so that a forged
    /// request draws little; the OACK always travels alone.
    pub(super) fn unsent(&self, answered: bool) -> u16 {
        let size = if answered && self.base > 0 {
            self.size
        } else {
            1
        };
        let end = (self.base + u64::from(size)).min(self.last.saturating_add(1));
        u16::try_from(end.saturating_sub(self.next)).unwrap_or(u16::MAX)
    }

    /// `count` blocks left. Returns how many of them had been sent before.
    pub(super) fn advance(&mut self, count: u16) -> u64 {
        let from = self.next;
        self.next += u64::from(count);
        let repeated = self.fresh.min(self.next).saturating_sub(from);
        self.fresh = self.fresh.max(self.next);
        repeated
    }

    /// The file ends with this block.
    pub(super) fn end_at(&mut self, last: u64) {
        self.last = last;
    }

    /// How many blocks an ACK acknowledges, of those that are out: 0 if it names the block before them. `None` if it is
    /// stale, or out of range.
    pub(super) fn acknowledged_by(&self, block: u16) -> Option<u16> {
        // The window is shorter than 65,536, so this distance shows which block it is.
        let before = low_bits(self.base).wrapping_sub(1);
        let blocks = block.wrapping_sub(before);
        let least = u16::from(self.base == 0);
        (least <= blocks && u64::from(blocks) <= self.out()).then_some(blocks)
    }

    /// What is not acknowledged. What was sent before the window began anew may still arrive.
    pub(super) fn out(&self) -> u64 {
        self.fresh - self.base
    }

    /// This number of blocks was acknowledged.
    pub(super) fn acknowledge(&mut self, blocks: u16) {
        self.base += u64::from(blocks);
        self.next = self.next.max(self.base);
    }

    /// Begins again with the lowest block that is not acknowledged.
    pub(super) fn rewind(&mut self) {
        self.next = self.base;
        self.repeated_to = self.fresh;
    }

    /// The blocks before the outstanding one were the last to be sent twice. A client may acknowledge
    /// each copy, and all of them name the block before this window.
    pub(super) fn follows_a_repeat(&self) -> bool {
        self.repeated_to == self.base
    }

    /// Nothing is out, or all of it is about to go out again.
    pub(super) fn is_at_base(&self) -> bool {
        self.next == self.base
    }

    /// All blocks but the last are acknowledged, and the last was sent.
    pub(super) fn is_last_out(&self) -> bool {
        self.base == self.last && self.out() > 0
    }

    pub(super) fn is_complete(&self) -> bool {
        self.base > self.last
    }

    /// A block numbered 65,535 on the wire was sent, and no ACK past it has come.
    pub(super) fn is_around_wrap(&self) -> bool {
        // Blocks base-1 .. fresh: the first of them may be a 65,535 whose ACK came, but none past it.
        let before = self.base.saturating_sub(1);
        let wrap = before | 0xFFFF;
        wrap < self.fresh
    }

    pub(super) fn audit(&self) {
        assert!(self.base <= self.next && self.next <= self.fresh);
        assert!(
            self.fresh <= self.base + u64::from(self.size),
            "more is out than the window holds"
        );
        assert!(
            self.fresh <= self.last.saturating_add(1),
            "a block past the end was sent"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window that has acknowledged everything below `base` and has sent `out` blocks from there.
    fn window(base: u64, out: u16, size: u16) -> Window {
        let mut window = Window::new(base, size);
        window.advance(out);
        window
    }

    #[test]
    fn an_ack_means_the_one_block_it_can_mean() {
        let cases = [
            (0, 1, 1, 0, Some(1)),
            (0, 1, 1, 1, None),
            (0, 1, 1, 65535, None),
            (1, 1, 1, 1, Some(1)),
            (1, 1, 1, 0, Some(0)),
            (1, 1, 1, 2, None),
            (5, 4, 4, 8, Some(4)),
            (5, 4, 4, 6, Some(2)),
            (5, 4, 4, 4, Some(0)),
            (5, 4, 4, 3, None),
            (5, 4, 4, 9, None),
            (5, 0, 4, 5, None),
            (65535, 1, 1, 65535, Some(1)),
            (65536, 1, 1, 0, Some(1)),
            (65536, 1, 1, 65535, Some(0)),
            (65530, 64, 64, 57, Some(64)),
            (65530, 64, 64, 0, Some(7)),
            (65530, 64, 64, 65529, Some(0)),
            (65530, 64, 64, 58, None),
            (1 << 40, 1, 1, 0, Some(1)),
        ];
        for (base, out, size, block, expected) in cases {
            let mut window = window(base, out, size);
            let acknowledged = window.acknowledged_by(block);
            assert_eq!(
                acknowledged, expected,
                "base {base}, out {out}, ACK {block}"
            );
            window.acknowledge(acknowledged.unwrap_or(0));
            window.audit();
        }
    }

    #[test]
    fn the_wrap_is_near_from_its_first_sending_to_an_ack_past_it() {
        assert!(!window(65534, 1, 1).is_around_wrap());
        assert!(window(65535, 1, 1).is_around_wrap());
        assert!(window(65536, 1, 1).is_around_wrap());
        assert!(!window(65537, 1, 1).is_around_wrap());
        assert!(window(65500, 64, 64).is_around_wrap());
        assert!(!window(65400, 64, 64).is_around_wrap());
        assert!(window(2 * 65536, 1, 1).is_around_wrap());
        assert!(!window(0, 1, 1).is_around_wrap());
    }
}
