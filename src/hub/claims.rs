//! Claims that wait for what the owners of their names say.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::client::Client;

/// The claims that wait, those of each name in their order. A client has one at most.
#[derive(Default)]
pub struct Claims {
    waiting: HashMap<Arc<str>, VecDeque<Claim>>,
}

/// What one client claims, until that is decided.
pub struct Claim {
    pub by: Rc<Client>,
    /// What its refusal refers to: the opcode of the message that claimed.
    pub reference: Option<Arc<str>>,
    /// Whether the `next` of that message is held back until the claim is decided, and then carries
    /// what came of it: old pages go on with the ack that carries their uuid.
    pub holds_ack: bool,
}

impl Claims {
    pub fn add(&mut self, name: &Arc<str>, claim: Claim) {
        claim.by.claimed.replace(Some(Arc::clone(name)));
        self.waiting.entry(Arc::clone(name)).or_default().push_back(claim);
    }

    /// Takes out what this client claims, and under which name.
    pub fn take_of(&mut self, client: &Client) -> Option<(Arc<str>, Claim)> {
        let name = client.claimed.take()?;
        let waiting = self.waiting.get_mut(&name)?;
        let place = waiting.iter().position(|claim| claim.by.id() == client.id())?;
        let claim = waiting.remove(place)?;
        if waiting.is_empty() {
            self.waiting.remove(&name);
        }
        Some((name, claim))
    }

    /// Takes out all claims on a name.
    pub fn take_on(&mut self, name: &str) -> VecDeque<Claim> {
        let claims = self.waiting.remove(name).unwrap_or_default();
        for claim in &claims {
            claim.by.claimed.take();
        }
        claims
    }

    /// What waits for this name.
    pub fn on(&mut self, name: &str) -> impl Iterator<Item = &mut Claim> {
        self.waiting.get_mut(name).into_iter().flatten()
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
