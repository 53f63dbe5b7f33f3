//! What time it is for a script, its timers and what it stores.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The system's clock, or in a test one that stands until it is advanced.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<Mutex<Standing>>>);

struct Standing {
    since: Instant,
    since_unix: Duration,
    passed: Duration,
}

impl Clock {
    /// A clock that stands at so many seconds after 1970.
    pub fn standing_at(unix: Duration) -> Clock {
        let standing = Standing { since: Instant::now(), since_unix: unix, passed: Duration::ZERO };
        Clock(Some(Arc::new(Mutex::new(standing))))
    }

    /// For timers: never goes back.
    pub fn now(&self) -> Instant {
        self.standing(|it| it.since + it.passed).unwrap_or_else(Instant::now)
    }

    /// Seconds since 1970, with a fraction.
    pub fn unix(&self) -> f64 {
        let system = || SystemTime::now().duration_since(UNIX_EPOCH);
        let since = self.standing(|it| it.since_unix + it.passed);
        // A clock before 1970 is no reason to fail.
        since.unwrap_or_else(|| system().unwrap_or_default()).as_secs_f64()
    }

    /// Lets time pass on a standing clock. The system's goes by itself.
    pub fn advance(&self, by: Duration) {
        self.standing(|it| it.passed += by);
    }

    fn standing<R>(&self, of: impl FnOnce(&mut Standing) -> R) -> Option<R> {
        let standing = self.0.as_ref()?;
        Some(of(&mut standing.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
