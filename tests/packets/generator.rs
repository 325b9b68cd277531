//! A tiny seeded generator (splitmix64), so that a failure can be run again.

/// Numbers that look random and are the same for the same seed.
pub(crate) struct Generator(u64);

impl Generator {
    pub(crate) fn new(seed: u64) -> Generator {
        Generator(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("usize fits in 64 bits");
        usize::try_from(self.next() % bound).expect("it is below a usize")
    }

    pub(crate) fn pick<'s, T>(&mut self, from: &'s [T]) -> &'s T {
        &from[self.below(from.len())]
    }
}

#[test]
fn equal_seeds_give_equal_numbers_and_others_do_not() {
    let run = |seed| {
        let mut generator = Generator::new(seed);
        [generator.next(), generator.next(), generator.next()]
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    // The published first output for seed 0: a generator that is stuck would pass the two above.
    assert_eq!(Generator::new(0).next(), 0xE220_A839_7B1D_CDAF);
}
