//! What the relay's config says to a script and its clients.

use serde_json::{Map, Value as Setting};

use super::budget::Budgets;
use crate::hub::HubLimits;
use crate::message::MessageLimits;

/// The same in the relay and in the tests of a script.
#[derive(Clone)]
pub struct Terms {
    pub settings: Map<String, Setting>,
    pub hub: HubLimits,
    pub message: MessageLimits,
    pub budgets: Budgets,
}
