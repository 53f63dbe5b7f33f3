//! How much processor time a thread has used, as Linux tells it to everybody.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The processor time of one thread, to be read from any.
pub struct CpuTime(PathBuf);

impl CpuTime {
    /// `None` where the system does not tell.
    pub fn of_this_thread() -> Option<CpuTime> {
        // A link to "PID/task/TID".
        let thread = fs::read_link("/proc/thread-self").ok()?;
        let time = CpuTime(Path::new("/proc").join(thread).join("schedstat"));
        time.used().map(|_| time)
    }

    /// Up to the thread's last tick: some milliseconds late while it runs.
    pub fn used(&self) -> Option<Duration> {
        let text = fs::read_to_string(&self.0).ok()?;
        let nanos = text.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Duration::from_nanos(nanos))
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn a_thread_that_works_uses_time_and_another_reads_it() {
        let time = CpuTime::of_this_thread().expect("Linux");
        let before = time.used().expect("told");
        let mut sum = 0u64;
        while time.used().expect("told") < before + Duration::from_millis(20) {
            sum = black_box((0..10_000).fold(sum, u64::wrapping_add));
        }
        let seen = std::thread::spawn(move || time.used()).join().expect("no panic");
        assert!(seen.expect("told") >= before + Duration::from_millis(20));
    }
}
