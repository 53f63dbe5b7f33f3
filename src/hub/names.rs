//! Which session holds which name. A name belongs to the first that claims it until that very
//! session releases it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::session::SessionId;

/// Names and their holders. Uuids and idents are two of these: a page cannot take a backend's name.
#[derive(Default)]
pub struct Names {
    holders: HashMap<Arc<str>, SessionId>,
}

impl Names {
    /// Claims a name; `false` where another session holds it. Claiming one's own name again is fine.
    pub fn claim(&mut self, name: &Arc<str>, by: SessionId) -> bool {
        match self.holders.entry(Arc::clone(name)) {
            Entry::Occupied(held) => *held.get() == by,
            Entry::Vacant(free) => {
                free.insert(by);
                true
            }
        }
    }

    /// Releases a name if this session holds it.
    pub fn release(&mut self, name: &str, by: SessionId) {
        if self.holders.get(name) == Some(&by) {
            self.holders.remove(name);
        }
    }

    pub fn holder(&self, name: &str) -> Option<SessionId> {
        self.holders.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Claim(u8, u64),
        Release(u8, u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step =
            (any::<bool>(), 0..6u8, 0..5u64).prop_map(|(claims, name, serial)| match claims {
                true => Step::Claim(name, serial),
                false => Step::Release(name, serial),
            });
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Against the plainest model: the first claim wins, only the holder's release frees.
        #[test]
        fn names_follow_the_model(steps in steps()) {
            let mut names = Names::default();
            let mut model: BTreeMap<u8, u64> = BTreeMap::new();
            let id = |serial| SessionId { worker: 0, slot: 0, serial };
            for step in steps {
                match step {
                    Step::Claim(name, serial) => {
                        let won = names.claim(&Arc::from(name.to_string()), id(serial));
                        prop_assert_eq!(won, *model.entry(name).or_insert(serial) == serial);
                    }
                    Step::Release(name, serial) => {
                        names.release(&name.to_string(), id(serial));
                        if model.get(&name) == Some(&serial) {
                            model.remove(&name);
                        }
                    }
                }
                for name in 0..6u8 {
                    let holder = names.holder(&name.to_string()).map(|id| id.serial);
                    prop_assert_eq!(holder, model.get(&name).copied());
                }
                prop_assert_eq!(names.holders.len(), model.len());
            }
        }
    }
}
