//! What happens many times in a row and is to be told twice: when it begins, and when it is over.

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// After so long without another it is over. Shorter, and clients that come back every few seconds
/// would be told of each time.
const CALM: Duration = Duration::from_secs(3);

/// Something that the operator can mend. Whatever the number of times, it is one warning and one line
/// at its end.
pub struct Alarm {
    what: &'static str,
    spell: Mutex<Spell>,
    begun: Notify,
}

#[derive(Default)]
struct Spell {
    count: u64,
    first: String,
}

impl Alarm {
    pub fn new(what: &'static str) -> Alarm {
        Alarm { what, spell: Mutex::default(), begun: Notify::new() }
    }

    /// It has happened; `about` is told of the first time alone.
    pub fn note(&self, about: &dyn Display) {
        let mut spell = self.spell();
        spell.count += 1;
        if spell.count == 1 {
            spell.first = about.to_string();
            self.begun.notify_one();
        }
    }

    /// Tells the log. Never returns.
    pub async fn tell(&self) {
        loop {
            self.begun.notified().await;
            tracing::warn!(first = self.spell().first, "{}", self.what);
            let count = self.over().await;
            tracing::info!(count, "over: {}", self.what);
        }
    }

    /// Waits for the end of a spell; how many times it has happened.
    async fn over(&self) -> u64 {
        let mut seen = 0;
        loop {
            tokio::time::sleep(CALM).await;
            let mut spell = self.spell();
            if spell.count == seen {
                return std::mem::take(&mut *spell).count;
            }
            seen = spell.count;
        }
    }

    fn spell(&self) -> MutexGuard<'_, Spell> {
        self.spell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_spell_is_over_after_a_calm() {
        let alarm = Alarm::new("it happens");
        let end = async {
            alarm.begun.notified().await;
            (alarm.over().await, tokio::time::Instant::now())
        };
        let last = async {
            for number in 0..100 {
                alarm.note(&number);
                tokio::time::sleep(CALM / 3).await;
            }
            tokio::time::Instant::now() - CALM / 3
        };
        let ((count, over), last) = tokio::join!(end, last);
        assert_eq!(count, 100);
        let calm = over - last;
        assert!(calm >= CALM && calm <= 2 * CALM, "{calm:?}");
        // The next spell begins at its own first time.
        assert_eq!(alarm.spell().count, 0);
        alarm.note(&"again");
        alarm.begun.notified().await;
        assert_eq!(alarm.spell().first, "again");
    }
}
