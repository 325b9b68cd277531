//! A bounded table of what is remembered of machines, or of networks.
//!
//! Each record stands in one line, is looked at when it comes to the front, and goes to the end again if it
//! was heard meanwhile. Nobody is woken for that.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use crate::moment::Moment;

/// What a [`Table`] remembers.
pub(super) trait Record {
    /// Of one that is heard for the first time.
    fn new(now: Moment) -> Self;

    /// Until when it is kept if there is room.
    fn kept_until(&self) -> Moment;

    /// Something refers to it: it must not be forgotten.
    fn is_in_use(&self) -> bool;
}

/// The table.
#[derive(Debug)]
pub(super) struct Table<K, R> {
    records: HashMap<K, R>,
    /// Every key once, with the time when its record is to be looked at.
    line: VecDeque<(Moment, K)>,
    max: usize,
}

impl<K: Copy + Eq + Hash, R: Record> Table<K, R> {
    /// An empty table that remembers `max` at most and whatever is in use beyond that, with room for `room`
    /// before it has to ask for more.
    pub(super) fn new(max: usize, room: usize) -> Table<K, R> {
        Table {
            records: HashMap::with_capacity(room),
            line: VecDeque::with_capacity(room),
            max,
        }
    }

    pub(super) fn get(&self, key: K) -> Option<&R> {
        self.records.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut R> {
        self.records.get_mut(&key)
    }

    /// The record of `key`, a new one if there was none.
    pub(super) fn enter(&mut self, now: Moment, key: K) -> &mut R {
        self.forget(now);
        let line = &mut self.line;
        self.records.entry(key).or_insert_with(|| {
            line.push_back((now + MEMORY, key));
            R::new(now)
        })
    }

    /// All records, in no order: for the audit.
    pub(super) fn values(&self) -> impl Iterator<Item = &R> {
        self.records.values()
    }

    /// Forgets those whose time is over and, if there are too many, the first whose time has become no longer
    /// since it took its place in the line.
    fn forget(&mut self, now: Moment) {
        for look in 1..=LOOKS_MAX {
            let is_full = self.line.len() >= self.max;
            let Some(&(look_at, key)) = self.line.front() else {
                return;
            };
            if now < look_at && !is_full {
                return;
            }
            self.line.pop_front();
            let record = &self.records[&key];
            let forget_at = record.kept_until();
            let is_least = is_full && (forget_at <= look_at || look == LOOKS_MAX);
            if !record.is_in_use() && (forget_at < now || is_least) {
                self.records.remove(&key);
            } else {
                self.line.push_back((forget_at.max(now + LOOK_AGAIN), key));
            }
        }
    }
}

/// How long most records are kept after they were last heard.
pub(super) const MEMORY: Duration = Duration::from_secs(60);

/// Records looked at for one that is entered.
const LOOKS_MAX: usize = 4;

/// When a record that is in use is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Heard {
        at: Moment,
        is_in_use: bool,
    }

    impl Record for Heard {
        fn new(now: Moment) -> Heard {
            Heard {
                at: now,
                is_in_use: false,
            }
        }

        fn kept_until(&self) -> Moment {
            self.at + MEMORY
        }

        fn is_in_use(&self) -> bool {
            self.is_in_use
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn whoever_is_silent_is_forgotten_unless_in_use() {
        let mut table: Table<u64, Heard> = Table::new(1000, 0);
        for key in 0..500 {
            table.enter(at(1), key).is_in_use = key == 7;
        }
        for number in 0..400 {
            table.enter(at(62 + number / 100), 900).at = at(62);
        }
        assert_eq!(table.records.len(), 2);
        assert!(table.get(7).is_some() && table.get(900).is_some());
        assert_eq!(table.line.len(), 2);
    }

    #[test]
    fn the_table_is_bounded_and_keeps_those_who_go_on() {
        let mut table: Table<u64, Heard> = Table::new(1000, 0);
        table.enter(at(0), 7).is_in_use = true;
        for key in 1000..100_000 {
            table.enter(at(key / 1000), key);
            table.enter(at(key / 1000), 1).at = at(key / 1000);
            if key % 500 == 0 {
                table.enter(at(key / 1000), 2).at = at(key / 1000) + Duration::from_millis(500);
            }
        }
        assert!(table.records.len() <= 1001, "{}", table.records.len());
        assert_eq!(table.records.len(), table.line.len());
        assert!([1, 7].iter().all(|&key| table.get(key).is_some()));
    }
}
