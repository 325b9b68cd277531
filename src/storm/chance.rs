//! Chance that can be repeated: equal seeds give equal storms.

use ripple_tftpd::firmware::random::Random;

/// How likely something is.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Chance {
    pub(crate) percent: f64,
}

impl Chance {
    pub(crate) fn happens(self, random: &mut Random) -> bool {
        0.0 < self.percent && (random.next() as f64) < self.percent / 100.0 * WHOLE
    }

    /// `1%`, `0.5%`; the sign may be left out.
    pub(crate) fn parse(text: &str) -> Result<Chance, String> {
        let percent = text.trim_end_matches('%').parse::<f64>().ok();
        let percent = percent.filter(|&percent| 0.0 <= percent && percent <= 100.0);
        percent
            .map(|percent| Chance { percent })
            .ok_or_else(|| format!("'{text}' is not a share such as 1%"))
    }
}

/// 2^64.
const WHOLE: f64 = 18_446_744_073_709_551_616.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_hold_in_the_long_run() {
        let mut random = Random::stream(1, 0);
        let mut count = |text| {
            let chance = Chance::parse(text).expect("a share");
            (0..10_000).filter(|_| chance.happens(&mut random)).count()
        };
        assert_eq!(count("0%"), 0);
        assert_eq!(count("100"), 10_000);
        let some = count("5%");
        assert!(400 < some && some < 600, "{some}");
    }
}
