//! A hashed timer wheel: what is due when, in O(1) however many clients there are.
//!
//! Nothing is ever cancelled or moved. An entry comes up at its tick; its owner then looks whether it is
//! its latest and whether the true deadline has come, and files it again if not. A deadline beyond the
//! wheel's horizon comes up at the horizon and is filed again then. The wheel knows no clients.

use std::time::Duration;

use slab::Slab;

use crate::moment::Moment;

/// The wheel.
#[derive(Debug)]
pub(super) struct Wheel {
    entries: Slab<Entry>,
    /// First entry of each tick's list, or [`NONE`].
    heads: Box<[usize]>,
    /// One bit per tick whose list is not empty.
    occupied: [u64; WORDS],
    /// The next tick to look at; everything before it has come up.
    cursor: u64,
}

#[derive(Debug)]
struct Entry {
    owner: usize,
    next: usize,
}

impl Wheel {
    /// An empty wheel that begins at `now`, with room for `room` entries before it has to ask for more.
    pub(super) fn new(now: Moment, room: usize) -> Wheel {
        Wheel {
            entries: Slab::with_capacity(room),
            heads: vec![NONE; TICKS].into(),
            occupied: [0; WORDS],
            cursor: tick_before(now),
        }
    }

    /// Skips the time in which nothing was filed: no need to turn the wheel through an idle month.
    pub(super) fn skip_idle(&mut self, now: Moment) {
        if self.entries.is_empty() {
            self.advance(now);
        }
    }

    /// Files `owner` to come up by `deadline`, never later than that plus [`TICK`]; earlier where the
    /// deadline lies beyond the horizon. Returns when it comes up.
    pub(super) fn file(&mut self, owner: usize, deadline: Moment) -> Moment {
        let tick = tick_after(deadline).clamp(self.cursor, self.cursor + TICKS as u64 - 1);
        let place = place_of(tick);
        self.heads[place] = self.entries.insert(Entry {
            owner,
            next: self.heads[place],
        });
        self.occupied[place / 64] |= 1 << (place % 64);
        begin_of(tick)
    }

    /// Takes out the next entry that is due at `now`, and returns whose it is and when it came up; `None` if no more
    /// are.
    pub(super) fn pop(&mut self, now: Moment) -> Option<(usize, Moment)> {
        let tick = self.next_tick()?;
        if now < begin_of(tick) {
            return None;
        }
        self.cursor = tick;
        let place = place_of(tick);
        let entry = self.entries.remove(self.heads[place]);
        self.heads[place] = entry.next;
        if entry.next == NONE {
            self.occupied[place / 64] &= !(1 << (place % 64));
        }
        Some((entry.owner, begin_of(tick)))
    }

    /// Moves the wheel on to `now`, after everything due has been taken out.
    pub(super) fn advance(&mut self, now: Moment) {
        self.cursor = self.cursor.max(tick_before(now));
    }

    /// When the next entry comes up; `None` if the wheel is empty.
    pub(super) fn next_wakeup(&self) -> Option<Moment> {
        self.next_tick().map(begin_of)
    }

    /// No entry comes up before one that does so at this time.
    pub(super) fn comes_up_next(&self, at: Moment) -> bool {
        tick_after(at) <= self.cursor
    }

    /// The first tick from the cursor on with an entry.
    fn next_tick(&self) -> Option<u64> {
        if self.entries.is_empty() {
            return None;
        }
        let begin = place_of(self.cursor);
        // The cursor's word comes first, and last with what lies before the cursor.
        let found = (0..=WORDS).find_map(|ahead| {
            let word = (begin / 64 + ahead) % WORDS;
            let from_cursor = u64::MAX << (begin % 64);
            let bits = match ahead {
                0 => self.occupied[word] & from_cursor,
                _ => self.occupied[word],
            };
            (bits != 0).then(|| word * 64 + bits.trailing_zeros() as usize)
        });
        let place = found.expect("what is filed has its bit");
        Some(self.cursor + ((place + TICKS - begin) % TICKS) as u64)
    }
}

/// How much later than its deadline a timer may come up.
pub(super) const TICK: Duration = Duration::from_micros(TICK_MICROS);

/// Ticks in a turn of the wheel: a horizon of 4 s, which holds nearly every RTO.
const TICKS: usize = 4096;
const WORDS: usize = TICKS / 64;
/// As fine as epoll_wait(2) sleeps: under loss every repeat is late by half a tick.
const TICK_MICROS: u64 = 1000;
const NONE: usize = usize::MAX;

/// The last tick that begins at `moment` or before.
fn tick_before(moment: Moment) -> u64 {
    moment.micros() / TICK_MICROS
}

/// The first tick that begins at `moment` or after.
fn tick_after(moment: Moment) -> u64 {
    moment.micros().div_ceil(TICK_MICROS)
}

fn begin_of(tick: u64) -> Moment {
    Moment::from_micros(tick * TICK_MICROS)
}

fn place_of(tick: u64) -> usize {
    usize::try_from(tick % TICKS as u64).expect("smaller than TICKS")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_micros(millis * 1000)
    }

    fn owners_due(wheel: &mut Wheel, now: Moment) -> Vec<usize> {
        let mut owners: Vec<usize> = std::iter::from_fn(|| wheel.pop(now))
            .map(|(owner, _)| owner)
            .collect();
        wheel.advance(now);
        owners.sort_unstable();
        owners
    }

    #[test]
    fn entries_come_up_at_their_time_and_not_before() {
        let mut wheel = Wheel::new(at(0), 0);
        assert_eq!(wheel.next_wakeup(), None);
        for (owner, millis) in [(1, 10), (2, 250), (3, 250), (4, 4000)] {
            let comes_up = wheel.file(owner, at(millis));
            assert!(at(millis) <= comes_up && comes_up < at(millis) + TICK);
        }
        assert_eq!(wheel.next_wakeup(), Some(at(10)));
        assert_eq!(owners_due(&mut wheel, at(9)), [0; 0]);
        assert_eq!(owners_due(&mut wheel, at(10)), [1]);
        assert_eq!(owners_due(&mut wheel, at(249)), [0; 0]);
        assert_eq!(owners_due(&mut wheel, at(5000)), [2, 3, 4]);
        assert_eq!(wheel.next_wakeup(), None);
    }

    #[test]
    fn a_deadline_beyond_the_horizon_comes_up_early() {
        let mut wheel = Wheel::new(at(1000), 0);
        let comes_up = wheel.file(7, at(36_000));
        assert!(comes_up < at(6000));
        assert_eq!(owners_due(&mut wheel, comes_up), [7]);
    }

    #[test]
    fn a_deadline_in_the_past_comes_up_at_once() {
        let mut wheel = Wheel::new(at(9000), 0);
        wheel.file(1, at(10));
        assert_eq!(owners_due(&mut wheel, at(9000)), [1]);
    }

    #[test]
    fn every_place_of_the_wheel_is_found_from_every_cursor() {
        for cursor in (0..2 * TICKS as u64).step_by(37) {
            for ahead in (0..TICKS as u64).step_by(61) {
                let mut wheel = Wheel::new(begin_of(cursor), 0);
                wheel.file(1, begin_of(cursor + ahead));
                assert_eq!(wheel.next_wakeup(), Some(begin_of(cursor + ahead)));
            }
        }
    }
}
