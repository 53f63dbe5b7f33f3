//! What a script has noted about a client. Kept as JSON: that is a deep copy which no VM owns, so it
//! survives a reload, and its length is what it is counted with.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The attributes of one client.
#[derive(Default)]
pub struct Attributes {
    values: BTreeMap<Arc<str>, Arc<str>>,
    /// The length of all keys and values.
    bytes: usize,
}

/// The attributes of this client would be over `limits.attributes_bytes_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyAttributes {
    pub bytes_max: usize,
}

impl Attributes {
    /// The JSON of a value.
    pub fn get(&self, key: &str) -> Option<Arc<str>> {
        self.values.get(key).cloned()
    }

    /// Puts a value in place of another, which it returns.
    pub(super) fn replace(&mut self, key: &Arc<str>, json: Option<Arc<str>>) -> Option<Arc<str>> {
        let length = |json: &Option<Arc<str>>| json.as_ref().map_or(0, |j| key.len() + j.len());
        let added = length(&json);
        let before = match json {
            Some(json) => self.values.insert(Arc::clone(key), json),
            None => self.values.remove(key),
        };
        self.bytes = self.bytes + added - length(&before);
        before
    }

    pub(super) fn bytes_with(&self, key: &str, json: &str) -> usize {
        let before = self.values.get(key).map_or(0, |before| key.len() + before.len());
        self.bytes - before + key.len() + json.len()
    }
}
