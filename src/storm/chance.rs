//! Chance that can be repeated (splitmix64): equal seeds give equal storms.

/// A stream of numbers that look random.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream `number` of those that belong to `seed`.
    pub(crate) fn new(seed: u64, number: u64) -> Random {
        let mut random = Random(seed ^ number.wrapping_mul(GOLDEN).rotate_left(32));
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 where that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    pub(crate) fn happens(&mut self, chance: Chance) -> bool {
        0.0 < chance.percent && (self.next() as f64) < chance.percent / 100.0 * WHOLE
    }
}

/// How likely something is.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Chance {
    pub(crate) percent: f64,
}

impl Chance {
    /// `1%`, `0.5%`; the sign may be left out.
    pub(crate) fn parse(text: &str) -> Result<Chance, String> {
        let percent = text.trim_end_matches('%').parse::<f64>().ok();
        let percent = percent.filter(|&percent| 0.0 <= percent && percent <= 100.0);
        percent
            .map(|percent| Chance { percent })
            .ok_or_else(|| format!("'{text}' is not a share such as 1%"))
    }
}

/// The golden ratio in 64 bits.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
/// 2^64.
const WHOLE: f64 = 18_446_744_073_709_551_616.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_hold_in_the_long_run() {
        let mut random = Random::new(1, 0);
        let mut count = |text| {
            let chance = Chance::parse(text).expect("a share");
            (0..10_000).filter(|_| random.happens(chance)).count()
        };
        assert_eq!(count("0%"), 0);
        assert_eq!(count("100"), 10_000);
        let some = count("5%");
        assert!(400 < some && some < 600, "{some}");
    }
}
