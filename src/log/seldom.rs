//! What the log is told once in a while, however often there is reason to.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// At most once in so long.
const EVERY: Duration = Duration::from_secs(60);

/// Something that goes on, and is counted between two lines about it.
#[derive(Debug, Default)]
pub struct Seldom {
    count: Cell<usize>,
    told: Cell<Option<Instant>>,
}

impl Seldom {
    /// It has happened once more.
    pub fn note(&self) {
        self.count.set(self.count.get() + 1);
    }

    /// How often it has happened since the last line, where it is time for one.
    pub fn due(&self, now: Instant) -> Option<usize> {
        if self.count.get() == 0 || self.is_recent(now) {
            return None;
        }
        self.told.set(Some(now));
        Some(self.count.take())
    }

    /// Whether the last line about it is too recent for another.
    pub fn is_recent(&self, now: Instant) -> bool {
        self.told.get().is_some_and(|told| now.saturating_duration_since(told) < EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_at_once_and_then_counted() {
        let (seldom, begin) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.due(begin), None);
        seldom.note();
        assert_eq!(seldom.due(begin), Some(1));
        for _ in 0..3 {
            seldom.note();
            assert_eq!(seldom.due(begin + EVERY / 2), None);
        }
        assert_eq!(seldom.due(begin + EVERY), Some(3));
        assert_eq!(seldom.due(begin + 3 * EVERY), None, "nothing happened");
    }
}
