//! What time it is for a script's timers and for what it stores.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

/// The system's clock, or one that stands still until it is set.
#[derive(Clone, Default)]
pub struct Clock(Rc<Cell<Option<Instant>>>);

impl Clock {
    pub fn now(&self) -> Instant {
        self.0.get().unwrap_or_else(Instant::now)
    }

    #[cfg(test)]
    pub fn set(&self, now: Instant) {
        self.0.set(Some(now));
    }
}
