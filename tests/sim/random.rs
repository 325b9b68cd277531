//! Chance that can be repeated, so that equal seeds give equal runs.

use ripple_tftpd::firmware::random::Random;

/// How likely something is, in parts of 2^32.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) const NEVER: Chance = Chance(0);

    pub(crate) const fn per_mille(parts: u64) -> Chance {
        Chance((parts << 32) / 1000)
    }

    /// A chance of nothing draws no number.
    pub(crate) fn happens(self, random: &mut Random) -> bool {
        self.0 > 0 && random.next() >> 32 < self.0
    }
}

/// The running hash of everything that happened: equal for equal runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Digest(pub(crate) u64);

impl Digest {
    pub(crate) fn add(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(GOLDEN);
    }
}

/// The golden ratio in 64 bits.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
