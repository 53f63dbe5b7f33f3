//! Claims of names that others hold.
//!
//! A page whose network died would have to wait until its own last connection is given up; and nobody
//! may take a name from an owner that lives. So the owner is asked, by a ping, and the claims on its
//! name wait for whatever comes first: its answer, with which they fail, or the end of its hold on the
//! name, with which the first of them succeeds.

use std::rc::Rc;
use std::sync::Arc;

use super::claims::Claim;
use super::client::Client;
use super::transaction::Action;
use super::{Delivery, ErrorReply, Hub, RegisterError};
use crate::session::SessionId;

impl Hub {
    /// A handler has a client claim a name that another holds.
    pub(super) fn contest(
        &mut self,
        client: &Rc<Client>,
        name: Arc<str>,
        owner: SessionId,
        reference: Option<&str>,
    ) -> RegisterError {
        let by = Rc::clone(client);
        // An issued uuid is its client's for life, however that ends.
        if self.client(owner).is_some_and(|owner| *owner.info.issued_uuid == *name) {
            self.actions.push(Action::ClaimFailed { client: by });
            return RegisterError::Taken;
        }
        let claim = Claim { by, reference: reference.map(Arc::from), holds_ack: false };
        self.actions.push(Action::Claim { claim, name });
        RegisterError::Pending
    }

    /// The commit of a claim: it waits, and the owner is asked, once for all who claim.
    pub(super) fn wait(&mut self, mut claim: Claim, name: &Arc<str>) {
        let by = Rc::clone(&claim.by);
        if !by.is_present() {
            return;
        }
        if by.claimed.borrow().as_ref() == Some(name) {
            return self.repeat(claim, name);
        }
        self.withdraw(&by, name);
        claim.holds_ack = self.hold_ack(by.id());
        self.claims.add(name, claim);
        let owner = self.uuids.holder(name).and_then(|owner| self.client(owner));
        if let Some(owner) = owner.filter(|owner| !owner.asked.replace(true)).map(|o| o.id()) {
            self.push(owner, Delivery::Ask { to: owner });
        }
    }

    /// The same claim once more: it keeps its place, and only the last message waits for its ack.
    fn repeat(&mut self, claim: Claim, name: &str) {
        let by = claim.by.id();
        let holds_ack = self.hold_ack(by);
        for before in self.claims.on(name).filter(|before| before.by.id() == by) {
            before.reference.clone_from(&claim.reference);
            if holds_ack && std::mem::replace(&mut before.holds_ack, true) {
                self.deliveries[usize::from(by.worker)].push(Delivery::Ack { to: by });
            }
        }
    }

    /// A client is to have this name now: what it claimed before is settled. Another name was one
    /// that somebody holds, and has cost its claimant nothing yet: that counts as a claim that failed,
    /// or else guessing would be free.
    pub(super) fn withdraw(&mut self, client: &Rc<Client>, for_name: &str) {
        let Some((name, claim)) = self.claims.take_of(client) else { return };
        if claim.holds_ack {
            self.release_ack(client.id());
        }
        if *name != *for_name {
            self.actions.push(Action::ClaimFailed { client: Rc::clone(client) });
        }
    }

    /// A client may have given up a name: then the first who waits for it has it now, unless a handler
    /// gave it to somebody already.
    pub(super) fn settle(&mut self, name: &str, former: SessionId) {
        if self.uuids.holder(name) == Some(former) {
            return;
        }
        for claim in self.claims.take_on(name) {
            if self.uuids.holder(name).is_some() || self.register(&claim.by, name, None).is_err() {
                self.refuse(claim);
            } else if claim.holds_ack {
                self.actions.push(Action::Ack { client: claim.by });
            }
        }
    }

    /// The owner of a name has answered that it lives: the claims on its name have failed. Between
    /// `begin` and `commit`.
    pub fn answered(&mut self, owner: SessionId) {
        let Some(owner) = self.client(owner) else { return };
        owner.asked.set(false);
        let name = owner.uuid().filter(|name| self.uuids.holder(name) == Some(owner.id()));
        if let Some(name) = name {
            self.claims.take_on(&name).into_iter().for_each(|claim| self.refuse(claim));
        }
    }

    fn refuse(&mut self, claim: Claim) {
        let Claim { by: client, reference, holds_ack } = claim;
        if holds_ack {
            self.actions.push(Action::Ack { client: Rc::clone(&client) });
        }
        let reply = ErrorReply::new(RegisterError::Taken.code()).message(Some("not registered"));
        self.send(&client, reply.reference(reference.as_deref()).payload());
        self.actions.push(Action::ClaimFailed { client });
    }

    /// Takes the ack of the message that is being decided back, if it is this client's.
    fn hold_ack(&mut self, of: SessionId) -> bool {
        self.ack_of_decided(of).is_some_and(std::mem::take)
    }

    /// Gives an ack that was held back, in its place if its message is still the one being decided.
    fn release_ack(&mut self, of: SessionId) {
        match self.ack_of_decided(of) {
            Some(ack) if !*ack => *ack = true,
            _ => self.push(of, Delivery::Ack { to: of }),
        }
    }

    /// Whether the message that is being decided is acknowledged, if it is this client's.
    fn ack_of_decided(&mut self, of: SessionId) -> Option<&mut bool> {
        let (from, place) = self.deciding.filter(|(from, _)| *from == of)?;
        match self.deliveries[usize::from(from.worker)].get_mut(place)? {
            Delivery::Decided { ack, .. } => Some(ack),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
