//! What time it is for a script: the system's, or in a test the one that the test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where `relay.now()` comes from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    System,
    /// Stands still until it is advanced. Seconds since 1970, as the bits of an `f64`.
    Standing(Arc<AtomicU64>),
}

impl Clock {
    pub fn standing_at(seconds: f64) -> Clock {
        Clock::Standing(Arc::new(AtomicU64::new(seconds.to_bits())))
    }

    /// Seconds since 1970, with a fraction.
    pub fn now(&self) -> f64 {
        match self {
            // A clock before 1970 is no reason to fail.
            Clock::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0.0, |since| since.as_secs_f64()),
            Clock::Standing(bits) => f64::from_bits(bits.load(Ordering::Relaxed)),
        }
    }

    /// Lets time pass on a standing clock. The system's goes by itself.
    pub fn advance(&self, seconds: f64) {
        if let Clock::Standing(bits) = self {
            bits.store((self.now() + seconds).to_bits(), Ordering::Relaxed);
        }
    }
}
