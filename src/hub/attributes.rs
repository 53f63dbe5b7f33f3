//! What a script has noted about a client. Kept as JSON: that is a deep copy which no VM owns, so it
//! survives a reload, and its length is what it is counted with.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::Hub;
use super::client::Client;
use super::transaction::Action;

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

    fn bytes_with(&self, key: &str, json: &str) -> usize {
        let before = self.values.get(key).map_or(0, |before| key.len() + before.len());
        self.bytes - before + key.len() + json.len()
    }
}

impl Hub {
    /// Notes a value, as JSON, under a key, or nothing any more. A client that is gone may still be
    /// noted about: it takes that with it.
    pub fn set_attribute(
        &mut self,
        client: &Rc<Client>,
        key: &str,
        json: Option<&str>,
    ) -> Result<(), TooManyAttributes> {
        let bytes_max = self.limits.attributes_bytes_max;
        let mut attributes = client.attributes.borrow_mut();
        if json.is_some_and(|json| attributes.bytes_with(key, json) > bytes_max) {
            return Err(TooManyAttributes { bytes_max });
        }
        let key: Arc<str> = Arc::from(key);
        let before = attributes.replace(&key, json.map(Arc::from));
        self.actions.push(Action::Attribute { client: Rc::clone(client), key, before });
        Ok(())
    }
}
