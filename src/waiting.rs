//! How much waits in all outbound queues together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A worker's count of what waits in its queues, in bytes, and its view of the others'. Each worker
/// writes its own count and no other, so that counting costs no worker a wait for another's memory;
/// only who has to judge adds them up.
#[derive(Clone)]
pub struct Waiting {
    counts: Arc<[Count]>,
    worker: usize,
}

/// On a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Count(AtomicUsize);

impl Waiting {
    /// One for each of so many workers.
    pub fn of_workers(workers: usize) -> Vec<Waiting> {
        let counts: Arc<[Count]> = (0..workers).map(|_| Count::default()).collect();
        (0..workers).map(|worker| Waiting { counts: Arc::clone(&counts), worker }).collect()
    }

    /// Whether all queues hold more than `bytes_max` and this worker's more than its even part of
    /// that: then it is for this worker to mend. So it is for one worker at least while they do.
    pub fn is_too_much(&self, bytes_max: usize) -> bool {
        self.own() > bytes_max / self.counts.len() && self.in_all() > bytes_max
    }

    /// Whether something waits here, and in all more than half of `bytes_max`.
    pub fn is_half_full(&self, bytes_max: usize) -> bool {
        self.own() > 0 && self.in_all() > bytes_max / 2
    }

    pub fn in_all(&self) -> usize {
        let counts = self.counts.iter().map(|count| count.0.load(Ordering::Relaxed));
        counts.fold(0, usize::saturating_add)
    }

    fn own(&self) -> usize {
        self.counts[self.worker].0.load(Ordering::Relaxed)
    }

    /// A queue of this worker has changed its length.
    pub fn changed(&self, before: usize, after: usize) {
        // Nobody else writes it, and it counts `before`.
        self.counts[self.worker].0.store(self.own() - before + after, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_with_more_than_its_part_has_to_mend_it() {
        let workers = Waiting::of_workers(2);
        workers[0].changed(0, 60);
        workers[1].changed(0, 40);
        assert!(workers.iter().all(|worker| !worker.is_too_much(100)));
        assert!(workers.iter().all(|worker| worker.is_half_full(100)));
        workers[1].changed(0, 5);
        assert_eq!(workers[1].in_all(), 105);
        assert_eq!(
            workers.iter().map(|worker| worker.is_too_much(100)).collect::<Vec<_>>(),
            [true, false]
        );
        workers[0].changed(60, 20);
        assert!(workers.iter().all(|worker| !worker.is_too_much(100)));
        workers[1].changed(45, 0);
        assert!(workers.iter().all(|worker| !worker.is_half_full(100)));
    }
}
