//! Which bytes of a file a machine has.

/// The pieces of one file that came.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    /// All bytes before this one are here.
    pub(crate) to: u64,
    /// Pieces beyond that, in order.
    ahead: Vec<(u64, u64)>,
}

impl Coverage {
    /// Returns how many bytes of a piece are new.
    pub(crate) fn add(&mut self, begin: u64, end: u64) -> u64 {
        let begin = begin.max(self.to);
        if end <= begin || self.ahead.contains(&(begin, end)) {
            return 0;
        }
        if self.to < begin {
            let place = self.ahead.partition_point(|&piece| piece < (begin, end));
            self.ahead.insert(place, (begin, end));
        } else {
            self.to = end;
            while let Some(&(begin, end)) = self.ahead.first()
                && begin <= self.to
            {
                self.to = self.to.max(end);
                self.ahead.remove(0);
            }
        }
        end - begin
    }

    /// The file is complete if it has this length.
    pub(crate) fn is_all_of(&self, length: u64) -> bool {
        self.to == length && self.ahead.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts_once() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.add(0, 400), 400);
        assert_eq!(coverage.add(0, 400), 0);
        assert_eq!(coverage.add(800, 1000), 200);
        assert_eq!(coverage.add(800, 1000), 0);
        assert!(!coverage.is_all_of(1000));
        assert_eq!(coverage.add(400, 800), 400);
        assert!(coverage.is_all_of(1000));
        assert_eq!(coverage.add(900, 1100), 100);
    }
}
