//! Processes: where they run, and what they used. CPU time comes from schedstat, which counts
//! nanoseconds where stat counts ticks of 10 ms.

use std::fs;
use std::io;
use std::process::{Child, Command};
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The core of the server under test.
pub const SERVER_CORE: usize = 0;
/// The core of the load generator.
pub const GENERATOR_CORE: usize = 1;

/// Whether server and generator have a core each.
pub fn has_two_cores() -> bool {
    thread::available_parallelism().is_ok_and(|cores| cores.get() >= 2)
}

/// Starts a process on that core alone, or anywhere for `None`. A child inherits the affinity of the
/// thread that starts it.
pub fn spawn(command: &mut Command, core: Option<usize>) -> io::Result<Child> {
    let before = sched_getaffinity(None)?;
    if let Some(core) = core.filter(|_| has_two_cores()) {
        let mut only = CpuSet::new();
        only.set(core);
        sched_setaffinity(None, &only)?;
    }
    let child = command.spawn();
    sched_setaffinity(None, &before)?;
    child
}

/// The CPU time of all threads of a process, in nanoseconds.
pub fn cpu_nanos(process: u32) -> io::Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let stat = fs::read_to_string(task?.path().join("schedstat"))?;
        total += stat.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(total)
}

/// The resident memory of a process, in bytes. status is cheaper to read, but counts in batches.
pub fn resident_bytes(process: u32) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).map(str::trim);
    kilobytes
        .and_then(|number| number.parse::<u64>().ok())
        .map(|number| number * 1024)
        .ok_or_else(|| io::Error::other("smaps_rollup without Rss"))
}
