//! What came of a request to load the script again, for whoever asked.

use std::fmt;

use tokio::sync::oneshot;

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
    pub asked: Asked,
}

/// Where the outcome is sent, if somebody waits for it. Sending never waits.
pub type Asked = Option<oneshot::Sender<Outcome>>;

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Reloaded { generation, hash } => {
                write!(f, "reloaded: generation {generation} ({hash})")
            }
            Outcome::Unchanged { generation, hash } => {
                write!(f, "unchanged: generation {generation} ({hash})")
            }
            Outcome::Rejected { generation, hash, why } => {
                write!(f, "reload rejected, still generation {generation} ({hash}): {why}")
            }
        }
    }
}
