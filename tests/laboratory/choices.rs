//! Where the choices of a history come from: a seeded generator, or the bytes of a fuzzer.

#![allow(dead_code, reason = "no suite needs all of it")]

use ripple_tftpd::firmware::random::Random;

/// Chooses until nothing is left to choose.
pub(crate) trait Choices {
    /// A number below `end`, which is not 0; always the same one when no choice is left.
    fn below(&mut self, end: u64) -> u64;

    /// No choice is left.
    fn is_over(&self) -> bool;

    fn within(&mut self, least: u64, end: u64) -> u64 {
        least + self.below(end - least)
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let place = self.below(from.len() as u64);
        from[usize::try_from(place).expect("a place in a slice")]
    }

    /// Below `end`, as an index or a length.
    fn length(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("a byte")
    }

    fn port(&mut self) -> u16 {
        u16::try_from(self.below(1 << 16)).expect("16 bits")
    }
}

/// The numbers of a seed, for a bounded number of choices.
#[derive(Debug)]
pub(crate) struct Seeded {
    random: Random,
    left: u64,
}

impl Seeded {
    pub(crate) fn new(seed: u64, choices: u64) -> Seeded {
        Seeded {
            random: Random::new(seed),
            left: choices,
        }
    }

    /// For more choices than anybody makes.
    pub(crate) fn endless(seed: u64) -> Seeded {
        Seeded::new(seed, u64::MAX)
    }
}

impl Choices for Seeded {
    fn below(&mut self, end: u64) -> u64 {
        self.left = self.left.saturating_sub(1);
        self.random.next() % end
    }

    fn is_over(&self) -> bool {
        self.left == 0
    }
}

/// The bytes of a fuzzer, as few for each choice as it needs.
#[derive(Debug)]
pub(crate) struct Bytes<'b> {
    rest: &'b [u8],
}

impl<'b> Bytes<'b> {
    pub(crate) fn new(rest: &'b [u8]) -> Bytes<'b> {
        Bytes { rest }
    }
}

impl Choices for Bytes<'_> {
    fn below(&mut self, end: u64) -> u64 {
        let mut number = 0_u64;
        let mut reach = 1_u64;
        while reach < end {
            let Some((&first, rest)) = self.rest.split_first() else {
                break;
            };
            self.rest = rest;
            number = number << 8 | u64::from(first);
            reach = reach.saturating_mul(256);
        }
        number % end
    }

    fn is_over(&self) -> bool {
        self.rest.is_empty()
    }
}
