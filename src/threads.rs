//! Threads, which the system may not give.

use std::io;

use thiserror::Error;

/// The system gives no thread: it has as many as it may have, or no memory for one.
#[derive(Debug, Error)]
#[error(
    "no thread for {what}: {error} (allow more of them: ulimit -u, TasksMax= of systemd, the limit \
     on pids of a container)"
)]
pub struct NoThread {
    what: String,
    error: io::Error,
}

impl NoThread {
    /// Made of what the system says when it refuses a thread that does this.
    pub fn to(what: impl Into<String>) -> impl FnOnce(io::Error) -> NoThread {
        |error| NoThread { what: what.into(), error }
    }
}
