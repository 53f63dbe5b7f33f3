//! So many per second: the token bucket behind every limit on a rate.

use std::time::{Duration, Instant};

/// A token bucket. It is kept as the moment at which it is full again, so that it needs no timer,
/// and may be left in debt, which delays what comes next.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    per_second: u64,
    /// How long it takes from empty to full.
    fills_in: Duration,
    full_at: Instant,
}

impl Bucket {
    /// A full bucket of `burst` tokens, of which `per_second` come back each second. `None` where
    /// that is 0: no limit.
    pub fn new(per_second: usize, burst: usize, now: Instant) -> Option<Bucket> {
        let mut bucket =
            Bucket { per_second: per_second as u64, fills_in: Duration::ZERO, full_at: now };
        (per_second > 0).then(|| {
            bucket.fills_in = bucket.time_of(burst);
            bucket
        })
    }

    /// How long it takes until there is a token; zero while there is one.
    pub fn wait(&self, now: Instant) -> Duration {
        (self.full_at + self.time_of(1)).saturating_duration_since(now + self.fills_in)
    }

    /// Takes that many, whether they are there or not.
    pub fn take(&mut self, tokens: usize, now: Instant) {
        self.full_at = self.full_at.max(now) + self.time_of(tokens);
    }

    fn time_of(&self, tokens: usize) -> Duration {
        Duration::from_nanos((tokens as u64).saturating_mul(1_000_000_000) / self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_steady_rate() {
        let begin = Instant::now();
        let mut bucket = Bucket::new(10, 5, begin).expect("a limit");
        let mut now = begin;
        let mut taken_at = Vec::new();
        for _ in 0..8 {
            now += bucket.wait(now);
            bucket.take(1, now);
            taken_at.push((now - begin).as_millis());
        }
        assert_eq!(taken_at, [0, 0, 0, 0, 0, 100, 200, 300]);
        // What was not used is saved, up to the burst.
        now += Duration::from_secs(60);
        for _ in 0..5 {
            assert_eq!(bucket.wait(now), Duration::ZERO);
            bucket.take(1, now);
        }
        assert_eq!(bucket.wait(now), Duration::from_millis(100));
    }

    #[test]
    fn a_debt_is_paid_before_more_is_taken() {
        let now = Instant::now();
        let mut bucket = Bucket::new(1_000, 1_000, now).expect("a limit");
        bucket.take(3_000, now);
        assert_eq!(bucket.wait(now), Duration::from_millis(2_001));
        assert_eq!(bucket.wait(now + Duration::from_millis(2_001)), Duration::ZERO);
    }

    #[test]
    fn zero_is_no_limit() {
        assert!(Bucket::new(0, 5, Instant::now()).is_none());
    }
}
