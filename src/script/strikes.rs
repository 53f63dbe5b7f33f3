//! Which handlers are switched off, because they were killed too often.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Kills count together within this time.
const WITHIN: Duration = Duration::from_secs(60);

/// The hook that is never switched off: without a greeting a client would wait for ever, and the
/// one whose greeting is killed is closed, so that nobody can have it done again on one connection.
pub const GREETING: &str = "on.connect";

/// Counts the kills of one generation, by the name of the handler: as many names as the script has.
#[derive(Default)]
pub struct Strikes {
    kills: HashMap<String, Vec<Instant>>,
    off: HashSet<String>,
}

impl Strikes {
    /// Counts a kill. Says whether it was the one that switches the handler off.
    pub fn count(&mut self, handler: &str, most: usize, now: Instant) -> bool {
        if handler == GREETING || self.off.contains(handler) {
            return false;
        }
        let kills = self.kills.entry(handler.to_owned()).or_default();
        kills.retain(|kill| now.saturating_duration_since(*kill) < WITHIN);
        kills.push(now);
        let ends = kills.len() >= most;
        if ends {
            self.kills.remove(handler);
            self.off.insert(handler.to_owned());
        }
        ends
    }

    /// Whether nothing is switched off, which costs less to ask than the name of a handler.
    pub fn all_on(&self) -> bool {
        self.off.is_empty()
    }

    /// Begins anew, and says what was switched off, in alphabetical order.
    pub fn forget(&mut self) -> Vec<String> {
        self.kills.clear();
        let mut off: Vec<String> = self.off.drain().collect();
        off.sort_unstable();
        off
    }

    pub fn is_off(&self, handler: &str) -> bool {
        self.off.contains(handler)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_kills_within_a_minute_switch_off() {
        let (mut strikes, start) = (Strikes::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for (second, ends) in [(0, false), (30, false), (60, false), (89, true), (90, false)] {
            assert_eq!(strikes.count("opcodes.x", 3, at(second)), ends, "{second}");
        }
        assert!(strikes.is_off("opcodes.x") && !strikes.is_off("opcodes.y"));
    }

    #[test]
    fn a_greeting_stays() {
        let mut strikes = Strikes::default();
        assert!((0..9).all(|_| !strikes.count(GREETING, 3, Instant::now())));
        assert!(strikes.all_on());
    }
}
