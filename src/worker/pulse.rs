//! What a worker tells of itself once a second, to whoever asks how the relay is.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Written by the worker's tick, read by anybody.
pub struct Pulse {
    since: Instant,
    beat_ms: AtomicU64,
    clients: AtomicUsize,
    panics: AtomicUsize,
}

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse {
            since: Instant::now(),
            beat_ms: AtomicU64::new(0),
            clients: AtomicUsize::new(0),
            panics: AtomicUsize::new(0),
        }
    }
}

impl Pulse {
    /// Of a worker that has not been heard of for so long.
    #[cfg(test)]
    pub fn unheard_for(time: Duration) -> Pulse {
        let since = Instant::now().checked_sub(time).expect("the machine runs for longer");
        Pulse { since, ..Pulse::default() }
    }

    pub(super) fn beat(&self, clients: usize, panics: usize) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.store(now, Relaxed);
        self.clients.store(clients, Relaxed);
        self.panics.store(panics, Relaxed);
    }

    /// The worker has ended as it was told to: it has no clients, and nobody waits for a beat.
    pub(super) fn end(&self) {
        self.beat_ms.store(u64::MAX, Relaxed);
        self.clients.store(0, Relaxed);
    }

    /// How long ago it was last heard of; nothing once the worker has ended by order. More than a few
    /// seconds is a worker that hangs, which only a bug in relay can make it do.
    pub fn age(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_millis(self.beat_ms.load(Relaxed)))
    }

    /// The clients it had then, those included that are being closed.
    pub fn clients(&self) -> usize {
        self.clients.load(Relaxed)
    }

    /// The panics that had been confined to one client each.
    pub fn panics(&self) -> usize {
        self.panics.load(Relaxed)
    }
}
