//! Which blocks may be out, and which one an ACK means (RFC 7440).
//!
//! Two counters, not a queue: everything below `base` is acknowledged, everything from `base` up to
//! `next` is out. Nothing here knows time.

use std::num::NonZero;

/// The window of a transfer. Block 0 is the OACK.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Lowest block not acknowledged.
    base: u64,
    /// Next block to send.
    next: u64,
    /// One above the highest block ever sent.
    fresh: u64,
    size: u16,
    /// One above the highest block that had been sent when the window last began anew.
    repeated_to: Option<NonZero<u64>>,
    /// The block that ends the file, once it is known.
    last: Option<NonZero<u64>>,
}

/// What an ACK means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Acknowledged {
    /// All that is out has arrived.
    All,
    /// Some of what is out has arrived; the rest is to be sent again.
    Part,
    /// Nothing new: it names the block before the outstanding one.
    Nothing,
    /// It names no block that it could mean: old, or not sent yet.
    Stranger,
}

impl Window {
    pub(super) fn new(first: u64, size: u16, last: Option<NonZero<u64>>) -> Window {
        Window {
            base: first,
            next: first,
            fresh: first,
            size,
            repeated_to: None,
            last,
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
        let end = self.base + u64::from(size);
        let end = self.last.map_or(end, |last| end.min(last.get() + 1));
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

    /// The file turned out to end with this block.
    pub(super) fn end_at(&mut self, last: NonZero<u64>) {
        self.last = Some(last);
    }

    /// Finds the one block that an ACK can mean and moves on to the one after it.
    pub(super) fn acknowledge(&mut self, block: u16) -> Acknowledged {
        // The distance from the block before the outstanding one, which is 0 for a repeated ACK. The
        // window is shorter than 65,536, so the distance shows which block it is.
        let ahead = u64::from(block.wrapping_sub(low_bits(self.base).wrapping_sub(1)));
        // What was sent before the window began anew may still arrive.
        let out = self.fresh - self.base;
        if ahead == 0 && self.base > 0 {
            return Acknowledged::Nothing;
        }
        if ahead == 0 || out < ahead {
            return Acknowledged::Stranger;
        }
        self.base += ahead;
        self.next = self.next.max(self.base);
        if ahead == out {
            Acknowledged::All
        } else {
            Acknowledged::Part
        }
    }

    /// Begins again with the lowest block that is not acknowledged.
    pub(super) fn rewind(&mut self) {
        self.next = self.base;
        self.repeated_to = NonZero::new(self.fresh);
    }

    /// The blocks before the outstanding one were the last to be sent twice. A client may acknowledge
    /// each copy, and all of them name the block before this window.
    pub(super) fn follows_a_repeat(&self) -> bool {
        self.repeated_to.is_some_and(|to| to.get() == self.base)
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn size(&self) -> u16 {
        self.size
    }

    /// Nothing is out.
    pub(super) fn is_at_base(&self) -> bool {
        self.next == self.base
    }

    /// The next block was never sent before.
    pub(super) fn is_fresh(&self) -> bool {
        self.next == self.fresh
    }

    /// All blocks but the last are acknowledged, and the last was sent.
    pub(super) fn is_last_out(&self) -> bool {
        self.last
            .is_some_and(|last| self.base == last.get() && self.fresh > last.get())
    }

    pub(super) fn is_complete(&self) -> bool {
        self.last.is_some_and(|last| self.base > last.get())
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
            self.last.is_none_or(|last| self.fresh <= last.get() + 1),
            "a block past the end was sent"
        );
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the wire has the low 16 bits"
)]
fn low_bits(block: u64) -> u16 {
    block as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window that has acknowledged everything below `base` and has sent `out` blocks from there.
    fn window(base: u64, out: u16, size: u16) -> Window {
        let mut window = Window::new(base, size, None);
        window.advance(out);
        window
    }

    #[test]
    fn an_ack_means_the_one_block_it_can_mean() {
        use Acknowledged::{All, Nothing, Part, Stranger};
        let cases = [
            (0, 1, 1, 0, All),
            (0, 1, 1, 1, Stranger),
            (0, 1, 1, 65535, Stranger),
            (1, 1, 1, 1, All),
            (1, 1, 1, 0, Nothing),
            (1, 1, 1, 2, Stranger),
            (5, 4, 4, 8, All),
            (5, 4, 4, 6, Part),
            (5, 4, 4, 4, Nothing),
            (5, 4, 4, 3, Stranger),
            (5, 4, 4, 9, Stranger),
            (5, 0, 4, 5, Stranger),
            (65535, 1, 1, 65535, All),
            (65536, 1, 1, 0, All),
            (65536, 1, 1, 65535, Nothing),
            (65530, 64, 64, 57, All),
            (65530, 64, 64, 0, Part),
            (65530, 64, 64, 65529, Nothing),
            (65530, 64, 64, 58, Stranger),
            (1 << 40, 1, 1, 0, All),
        ];
        for (base, out, size, block, expected) in cases {
            let mut window = window(base, out, size);
            assert_eq!(
                window.acknowledge(block),
                expected,
                "base {base}, out {out}, ACK {block}"
            );
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
