//! How much is held for all clients together.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a worker holds for its clients, in sums over all of them.
#[derive(Clone)]
pub struct Waiting {
    /// What waits in their outbound queues.
    pub queues: Sum,
    /// What has come of messages whose rest has not.
    pub unfinished: Sum,
}

impl Waiting {
    /// One for each of so many workers.
    pub fn of_workers(workers: usize) -> Vec<Waiting> {
        let both = Sum::of_workers(workers).into_iter().zip(Sum::of_workers(workers));
        both.map(|(queues, unfinished)| Waiting { queues, unfinished }).collect()
    }
}

/// A worker's count, in bytes, and its view of the others'. Each worker writes its own count and no
/// other, so that counting costs no worker a wait for another's memory; only who has to judge adds
/// them up.
#[derive(Clone)]
pub struct Sum {
    counts: Arc<[Count]>,
    worker: usize,
}

/// On a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Count(AtomicUsize);

impl Sum {
    fn of_workers(workers: usize) -> Vec<Sum> {
        let counts: Arc<[Count]> = (0..workers).map(|_| Count::default()).collect();
        (0..workers).map(|worker| Sum { counts: Arc::clone(&counts), worker }).collect()
    }

    /// Whether all hold more than `bytes_max` and this worker more than its even part of that: then
    /// it is for this worker to mend. So it is for one worker at least while they do.
    pub fn is_too_much(&self, bytes_max: usize) -> bool {
        self.own() > bytes_max / self.counts.len() && self.in_all() > bytes_max
    }

    /// Whether something is held here, and in all more than half of `bytes_max`.
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
}

/// What is held for one client, as a part of its worker's count until it is dropped.
pub struct Counted {
    sum: Sum,
    bytes: Cell<usize>,
}

impl Counted {
    /// Nothing yet.
    pub fn new(sum: &Sum) -> Counted {
        Counted { sum: sum.clone(), bytes: Cell::new(0) }
    }

    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    pub fn set(&self, bytes: usize) {
        // Nobody else writes the count, and it holds what was here before.
        let own = self.sum.own() - self.bytes.replace(bytes) + bytes;
        self.sum.counts[self.sum.worker].0.store(own, Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_with_more_than_its_part_has_to_mend_it() {
        let sums = Sum::of_workers(2);
        let [one, other] = [&sums[0], &sums[1]].map(Counted::new);
        one.set(60);
        other.set(40);
        assert!(sums.iter().all(|sum| !sum.is_too_much(100)));
        assert!(sums.iter().all(|sum| sum.is_half_full(100)));
        let more = Counted::new(&sums[1]);
        more.set(5);
        assert_eq!(sums[1].in_all(), 105);
        assert_eq!(sums.iter().map(|sum| sum.is_too_much(100)).collect::<Vec<_>>(), [true, false]);
        one.set(20);
        assert!(sums.iter().all(|sum| !sum.is_too_much(100)));
        drop((other, more));
        assert!(sums.iter().all(|sum| !sum.is_half_full(100)));
        assert_eq!((one.bytes(), sums[0].in_all()), (20, 20));
    }
}
