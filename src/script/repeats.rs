//! What is logged once in full and then counted, so that one mistake in a handler that everybody
//! uses does not fill the disk.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Equal ones within this time are one.
const WITHIN: Duration = Duration::from_secs(60);
/// Different ones within that time that are logged in full. Their texts may come from peers.
const DIFFERENT_MAX: usize = 100;

/// Counts by the text that makes two of them equal.
#[derive(Default)]
pub struct Repeats {
    told: HashMap<String, Told>,
    beyond: usize,
}

struct Told {
    since: Instant,
    id: String,
    again: usize,
}

/// What is to be done about one.
#[derive(Debug, PartialEq, Eq)]
pub enum Telling {
    /// Log it in full under this number.
    First(String),
    /// It is counted; the log has it under this number.
    Again(String),
}

impl Repeats {
    pub fn note(&mut self, what: &str, now: Instant, id: impl FnOnce() -> String) -> Telling {
        if let Some(told) = self.told.get_mut(what) {
            told.again += 1;
            return Telling::Again(told.id.clone());
        }
        let id = id();
        if self.told.len() == DIFFERENT_MAX {
            self.beyond += 1;
            return Telling::Again(id);
        }
        self.told.insert(what.to_owned(), Told { since: now, id: id.clone(), again: 0 });
        Telling::First(id)
    }

    /// When the next line is to be had.
    pub fn due(&self) -> Option<Instant> {
        let counted = self.told.values().filter(|told| told.again > 0 || self.beyond > 0);
        counted.map(|told| told.since + WITHIN).min()
    }

    /// Forgets those that are a minute old at this time, or all, and gives a line for each that
    /// came again.
    pub fn sum_up(&mut self, now: Option<Instant>) -> Vec<String> {
        if self.told.is_empty() {
            return Vec::new();
        }
        let over = |told: &Told| now.is_none_or(|now| now.duration_since(told.since) >= WITHIN);
        let mut lines: Vec<String> = self
            .told
            .extract_if(|_, told| over(told))
            .filter(|(_, told)| told.again > 0)
            .map(|(what, told)| format!("again {} times (id {}): {what}", told.again, told.id))
            .collect();
        lines.sort();
        if self.told.len() < DIFFERENT_MAX && self.beyond > 0 {
            lines.push(format!("and {} more of other kinds", std::mem::take(&mut self.beyond)));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(repeats: &mut Repeats, what: &str, at: Instant, id: &str) -> Telling {
        repeats.note(what, at, || id.to_owned())
    }

    #[test]
    fn equal_ones_within_a_minute_are_counted() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        assert_eq!(note(&mut repeats, "a:1: x", start, "1"), Telling::First("1".to_owned()));
        for id in ["2", "3"] {
            assert_eq!(note(&mut repeats, "a:1: x", start, id), Telling::Again("1".to_owned()));
        }
        assert_eq!(note(&mut repeats, "a:2: x", start, "4"), Telling::First("4".to_owned()));
        assert_eq!(repeats.sum_up(Some(start + WITHIN / 2)), [] as [String; 0]);
        assert_eq!(repeats.due(), Some(start + WITHIN));
        let lines = repeats.sum_up(Some(start + WITHIN));
        assert_eq!(lines, ["again 2 times (id 1): a:1: x"]);
        let later = start + WITHIN;
        assert_eq!(note(&mut repeats, "a:1: x", later, "5"), Telling::First("5".to_owned()));
        assert_eq!(repeats.due(), None);
        assert_eq!(repeats.sum_up(None), [] as [String; 0]);
    }

    #[test]
    fn a_flood_of_different_ones_is_counted_too() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        for number in 0..DIFFERENT_MAX + 7 {
            let telling = note(&mut repeats, &number.to_string(), now, "x");
            assert_eq!(matches!(telling, Telling::First(_)), number < DIFFERENT_MAX, "{number}");
        }
        assert_eq!(repeats.sum_up(None), ["and 7 more of other kinds"]);
    }
}
