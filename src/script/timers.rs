//! The timers of one generation: they end with it.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// Timers that call a `F`. What a handler does to them is undone if it fails.
pub struct Timers<F> {
    max: usize,
    timers: HashMap<u64, Timer<F>>,
    /// When each is due next, the first one first; of several at one time the oldest.
    due: BTreeSet<(Instant, u64)>,
    last: u64,
    undo: Vec<Undo<F>>,
}

#[derive(Clone)]
struct Timer<F> {
    due: Instant,
    every: Option<Duration>,
    calls: F,
}

enum Undo<F> {
    Start(u64),
    Cancel(u64, Timer<F>),
}

impl<F: Clone> Timers<F> {
    pub fn new(max: usize) -> Timers<F> {
        Timers { max, timers: HashMap::new(), due: BTreeSet::new(), last: 0, undo: Vec::new() }
    }

    pub fn max(&self) -> usize {
        self.max
    }

    /// Starts a timer that calls once, or again and again; `None` where there are too many.
    pub fn start(&mut self, now: Instant, wait: Duration, repeats: bool, calls: F) -> Option<u64> {
        if self.timers.len() >= self.max {
            return None;
        }
        self.last += 1;
        let every = repeats.then_some(wait);
        self.insert(self.last, Timer { due: now + wait, every, calls });
        self.undo.push(Undo::Start(self.last));
        Some(self.last)
    }

    /// `false` where it would not have called any more.
    pub fn cancel(&mut self, id: u64) -> bool {
        let Some(timer) = self.remove(id) else { return false };
        self.undo.push(Undo::Cancel(id, timer));
        true
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Takes one that is due, outside any handler: what it calls can fail, but not un-happen. One
    /// that repeats is late at most once: the times that were missed are left out, and it goes on in
    /// the rhythm it had.
    pub fn take_due(&mut self, now: Instant) -> Option<F> {
        let (due, id) = *self.due.first().filter(|(due, _)| *due <= now)?;
        let mut timer = self.remove(id)?;
        let calls = timer.calls.clone();
        if let Some(every) = timer.every {
            let missed = now.saturating_duration_since(due).as_nanos() / every.as_nanos().max(1);
            let missed = u32::try_from(missed).unwrap_or(u32::MAX);
            // A clock that jumped by more than that starts a new rhythm.
            let next = every.checked_mul(missed.saturating_add(1)).map(|passed| due + passed);
            timer.due = next.filter(|next| *next > now).unwrap_or(now + every);
            self.insert(id, timer);
        }
        Some(calls)
    }

    /// From here on what is done can be undone.
    pub fn begin(&mut self) {
        // Left there only by a bug that unwound out of a handler, which then has done nothing.
        if !self.undo.is_empty() {
            self.rollback();
        }
    }

    pub fn commit(&mut self) {
        self.undo.clear();
    }

    pub fn rollback(&mut self) {
        for undo in std::mem::take(&mut self.undo).into_iter().rev() {
            match undo {
                Undo::Start(id) => drop(self.remove(id)),
                Undo::Cancel(id, timer) => self.insert(id, timer),
            }
        }
    }

    fn insert(&mut self, id: u64, timer: Timer<F>) {
        self.due.insert((timer.due, id));
        self.timers.insert(id, timer);
    }

    fn remove(&mut self, id: u64) -> Option<Timer<F>> {
        let timer = self.timers.remove(&id)?;
        self.due.remove(&(timer.due, id));
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn due(timers: &mut Timers<&'static str>, now: Instant) -> Vec<&'static str> {
        std::iter::from_fn(|| timers.take_due(now)).collect()
    }

    #[test]
    fn they_are_due_in_order_and_late_ones_keep_their_rhythm() {
        let (mut timers, start) = (Timers::new(9), Instant::now());
        timers.start(start, 5 * MS, false, "once");
        timers.start(start, 2 * MS, true, "every 2");
        timers.start(start, 5 * MS, true, "every 5");
        timers.commit();
        assert_eq!(timers.next(), Some(start + 2 * MS));
        assert_eq!(due(&mut timers, start + MS), [""; 0]);
        assert_eq!(due(&mut timers, start + 2 * MS), ["every 2"]);
        // Late: each calls once, and is next due at a multiple of its own time.
        assert_eq!(due(&mut timers, start + 11 * MS), ["every 2", "once", "every 5"]);
        assert_eq!(timers.next(), Some(start + 12 * MS));
        assert_eq!(due(&mut timers, start + 12 * MS), ["every 2"]);
        assert_eq!(due(&mut timers, start + 14 * MS), ["every 2"]);
        assert_eq!(due(&mut timers, start + 15 * MS), ["every 5"]);
    }

    #[test]
    fn a_handler_that_fails_has_neither_started_nor_cancelled_any() {
        let (mut timers, start) = (Timers::new(2), Instant::now());
        let kept = timers.start(start, MS, true, "kept").expect("room");
        timers.commit();
        timers.begin();
        let gone = timers.start(start, MS, false, "gone").expect("room");
        assert!(timers.start(start, MS, false, "too many").is_none());
        assert!(timers.cancel(kept) && timers.cancel(gone) && !timers.cancel(kept));
        assert_eq!(timers.next(), None);
        timers.rollback();
        assert_eq!(due(&mut timers, start + MS), ["kept"]);
        timers.begin();
        timers.cancel(kept);
        timers.commit();
        timers.rollback();
        assert_eq!((timers.next(), timers.timers.len()), (None, 0));
    }
}
