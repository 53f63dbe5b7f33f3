//! A request to load the script again, and what came of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::terms::Terms;

/// Which generation runs now, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Reloaded {
        generation: u64,
        hash: String,
    },
    /// The text on disk is the one that runs.
    Unchanged {
        generation: u64,
        hash: String,
        /// The handlers that were switched off before, in alphabetical order.
        on_again: Vec<String>,
    },
    /// The old one goes on. `why` is a block of several lines.
    Rejected {
        generation: u64,
        hash: String,
        why: String,
    },
}

/// What is asked for with a reload. The default is what the watch asks for.
#[derive(Default)]
pub struct Reload {
    /// What is to hold from then on; `None`: what holds now.
    pub terms: Option<Box<Terms>>,
    pub asked: Option<Asked>,
}

/// Somebody waits for the outcome, but not for ever.
#[derive(Debug)]
pub struct Asked {
    outcome: oneshot::Sender<Outcome>,
    settled: Arc<AtomicBool>,
}

/// The outcome that is waited for.
#[derive(Debug)]
pub struct Awaited {
    outcome: oneshot::Receiver<Outcome>,
    settled: Arc<AtomicBool>,
}

/// Why there is no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Nothing was adopted in time, and nothing will be.
    Late,
    /// The script thread has ended, or a bug has ended what was asked of it.
    Ended,
}

/// Both ends of a question.
pub fn question() -> (Asked, Awaited) {
    let (sender, outcome) = oneshot::channel();
    let settled = Arc::<AtomicBool>::default();
    (Asked { outcome: sender, settled: Arc::clone(&settled) }, Awaited { outcome, settled })
}

impl Reload {
    /// It is about to be adopted, which whoever asked waits for from now on. `false`: nobody does any
    /// more, and they were told that it is not.
    pub fn begin(&self) -> bool {
        self.asked.as_ref().is_none_or(|asked| !asked.settled.swap(true, Ordering::AcqRel))
    }
}

impl Asked {
    /// Never waits.
    pub fn tell(self, outcome: Outcome) {
        // Whoever asked may have gone.
        let _ = self.outcome.send(outcome);
    }
}

impl Awaited {
    /// Waits for the outcome; for longer than that only while it is being adopted.
    ///
    /// # Errors
    /// Nothing is adopted.
    pub async fn within(mut self, time: Duration) -> Result<Outcome, Unanswered> {
        let answer = match timeout(time, &mut self.outcome).await {
            Ok(answer) => answer,
            Err(_) if !self.settled.swap(true, Ordering::AcqRel) => return Err(Unanswered::Late),
            Err(_) => self.outcome.await,
        };
        answer.map_err(|_| Unanswered::Ended)
    }

    /// As long as it takes; for tests without a runtime.
    #[cfg(test)]
    pub fn wait(self) -> Outcome {
        self.outcome.blocking_recv().expect("decided")
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Reloaded { generation, hash } => {
                write!(f, "reloaded: generation {generation} ({hash})")
            }
            Outcome::Unchanged { generation, hash, on_again } => {
                write!(f, "unchanged: generation {generation} ({hash})")?;
                match &**on_again {
                    [] => Ok(()),
                    on_again => write!(f, ", switched on again: {}", on_again.join(", ")),
                }
            }
            Outcome::Rejected { generation, hash, why } => {
                write!(f, "reload rejected, still generation {generation} ({hash}): {why}")
            }
        }
    }
}
