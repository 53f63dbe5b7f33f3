//! What a thread makes of its time, as Linux tells it to everybody.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One thread, to be looked at from any.
pub struct CpuTime(PathBuf);

/// What a thread is seen to do.
#[derive(Clone, Copy, Debug)]
pub struct Doing {
    /// The processor time it has used, up to its last tick: some milliseconds late while it runs.
    pub used: Duration,
    /// It waits for something else than a processor.
    pub is_blocked: bool,
}

impl CpuTime {
    /// `None` where the system does not tell.
    pub fn of_this_thread() -> Option<CpuTime> {
        // A link to "PID/task/TID".
        let thread = fs::read_link("/proc/thread-self").ok()?;
        let time = CpuTime(Path::new("/proc").join(thread));
        time.look().map(|_| time)
    }

    pub fn look(&self) -> Option<Doing> {
        let text = fs::read_to_string(self.0.join("schedstat")).ok()?;
        let nanos = text.split_ascii_whitespace().next()?.parse().ok()?;
        // Its state stands behind its name, which is in parentheses and may be anything.
        let text = fs::read_to_string(self.0.join("stat")).ok()?;
        let state = text.rsplit_once(')')?.1.trim_start().chars().next()?;
        Some(Doing { used: Duration::from_nanos(nanos), is_blocked: matches!(state, 'S' | 'D') })
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn a_thread_that_works_uses_time_and_another_reads_it() {
        let time = CpuTime::of_this_thread().expect("Linux");
        let before = time.look().expect("told").used;
        let mut sum = 0u64;
        while time.look().expect("told").used < before + Duration::from_millis(20) {
            sum = black_box((0..10_000).fold(sum, u64::wrapping_add));
        }
        assert!(!time.look().expect("told").is_blocked, "it runs");
        let seen = std::thread::spawn(move || {
            // Until the one that is looked at waits for this one.
            while !time.look().expect("told").is_blocked {
                std::thread::yield_now();
            }
            time.look()
        });
        let seen = seen.join().expect("no panic").expect("told");
        assert!(seen.used >= before + Duration::from_millis(20));
    }
}
