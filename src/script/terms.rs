//! What the relay's config says to a script and its clients.

use super::budget::Budgets;
use crate::config::ScriptConfig;
use crate::hub::HubLimits;
use crate::message::MessageLimits;

/// The same in the relay and in the tests of a script.
#[derive(Clone)]
pub struct Terms {
    /// Other ones take another generation, while all the rest may change under the one that runs.
    pub script: ScriptConfig,
    pub hub: HubLimits,
    pub message: MessageLimits,
    pub budgets: Budgets,
    /// Broadcasts in all; 0: as many as there are. In tests nothing waits.
    pub broadcasts_per_second_max: usize,
    /// What waits for a turn of its own, in each lane: it takes no room in the script's queue, or nobody
    /// would be read from, and may have as much again.
    pub aside_bytes_max: usize,
}
