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
}
