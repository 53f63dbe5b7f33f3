//! Who may send feedback.

use serde::{Deserialize, Serialize};

use super::cidr::Cidrs;

/// `[feedback]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeedbackConfig {
    /// The networks of the backends that may send it. Empty: all.
    pub from: Cidrs,
    /// Whether web clients may send it.
    pub allow_web: bool,
}

impl Default for FeedbackConfig {
    fn default() -> Self {
        FeedbackConfig { from: Cidrs::default(), allow_web: true }
    }
}
