//! What the relay's config says to a script and its clients.

use super::budget::Budgets;
use crate::config::{Limits, ScriptConfig};
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
    /// In tests nothing waits.
    pub broadcasts: BroadcastLimits,
}

/// How many broadcasts are allowed, and how much may wait for them or for another turn of its own.
#[derive(Clone, Copy, Debug)]
pub struct BroadcastLimits {
    /// 0: as many as there are.
    pub per_second_max: usize,
    /// What waits so takes no room in the script's queue, or nobody would be read from. In all it may
    /// take as much again.
    pub aside_bytes_max: usize,
}

impl Default for BroadcastLimits {
    /// None.
    fn default() -> BroadcastLimits {
        BroadcastLimits { per_second_max: 0, aside_bytes_max: usize::MAX }
    }
}

impl From<&Limits> for BroadcastLimits {
    fn from(limits: &Limits) -> BroadcastLimits {
        BroadcastLimits {
            per_second_max: limits.broadcasts_per_second_max,
            aside_bytes_max: limits.script_queue_bytes_max,
        }
    }
}
