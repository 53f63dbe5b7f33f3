//! What a handler asks for is kept until it returns, with what it takes to undo it.

use std::rc::Rc;
use std::sync::Arc;

use super::Hub;
use super::claims::Claim;
use super::client::{Client, Standing};
use super::delivery::{Delivery, Payload};
use super::rooms::Members;
use crate::close::CloseReason;
use crate::session::SessionId;

/// What a handler asked for, with what it takes to undo it.
pub(super) enum Action {
    Send { to: Rc<Client>, text: Payload },
    Broadcast { text: Payload, except: Option<SessionId> },
    Room { text: Payload, members: Vec<(u16, Members)>, except: Option<SessionId> },
    Join { client: Rc<Client>, room: Arc<str> },
    Leave { client: Rc<Client>, place: usize, room: Arc<str> },
    Attribute { client: Rc<Client>, key: Arc<str>, before: Option<Arc<str>> },
    Register { client: Rc<Client>, uuid: Arc<str>, before: Option<Arc<str>> },
    Claim { claim: Claim, name: Arc<str> },
    ClaimFailed { client: Rc<Client> },
    Ack { client: Rc<Client> },
    Close { client: Rc<Client>, reason: CloseReason, before: Standing },
}

impl Hub {
    /// Starts a handler's doing.
    pub fn begin(&mut self) {
        self.actions.clear();
        self.store.begin();
    }

    /// Makes what the handler asked for happen, in the order asked.
    pub fn commit(&mut self) {
        self.store.commit();
        // What follows from it may ask for more: a name that is free for who waits for it, a claim
        // that was one too many. That comes after whatever the handler had to say to them.
        while !self.actions.is_empty() {
            self.commit_actions();
        }
        self.deciding = None;
    }

    fn commit_actions(&mut self) {
        let mut left = Vec::new();
        for action in std::mem::take(&mut self.actions) {
            match action {
                Action::Send { to, text } => {
                    self.push(to.id(), Delivery::Send { to: to.id(), text })
                }
                Action::Broadcast { text, except } => {
                    self.broadcasts += 1;
                    self.push_broadcast(&text, except);
                }
                Action::Room { text, members, except } => {
                    self.broadcasts += 1;
                    for (worker, to) in members {
                        let except = except.filter(|id| id.worker == worker);
                        let delivery = Delivery::Room { to, text: text.clone(), except };
                        self.deliveries[usize::from(worker)].push(delivery);
                    }
                }
                Action::Join { .. } | Action::Leave { .. } | Action::Attribute { .. } => {}
                Action::Register { client, uuid, before } => {
                    let to = client.id();
                    self.push(to, Delivery::Register { to, uuid: Arc::clone(&uuid) });
                    self.withdraw(&client, &uuid);
                    left.extend(before.map(|before| (before, to)));
                }
                Action::Claim { claim, name } => self.wait(claim, &name),
                Action::Ack { client } => {
                    self.push(client.id(), Delivery::Ack { to: client.id() });
                }
                Action::ClaimFailed { client } => {
                    let failed = client.failed_claims.get() + 1;
                    client.failed_claims.set(failed);
                    self.push(client.id(), Delivery::ClaimFailed { to: client.id() });
                    if failed >= self.limits.failed_claims_max {
                        self.close(&client, CloseReason::TooManyClaims);
                    }
                }
                Action::Close { client, reason, before } => {
                    let to = client.id();
                    self.push(to, Delivery::Close { to, reason });
                    if before == Standing::Connected {
                        self.claims.take_of(&client);
                        left.extend(client.uuid().map(|uuid| (uuid, to)));
                    }
                }
            }
        }
        for (name, former) in left {
            self.settle(&name, former);
        }
    }

    /// Makes as if the handler had never run.
    pub fn rollback(&mut self) {
        self.store.rollback();
        self.deciding = None;
        for action in std::mem::take(&mut self.actions).into_iter().rev() {
            match action {
                Action::Register { client, uuid, before } => {
                    self.unregister(&client, &uuid, before)
                }
                Action::Close { client, before: Standing::Connected, .. } => {
                    self.reinstate(&client);
                }
                Action::Close { client, before, .. } => client.standing.set(before),
                Action::Join { client, room } => {
                    self.rooms.exit(&room, client.id());
                    client.rooms.borrow_mut().pop();
                }
                Action::Leave { client, place, room } => {
                    self.rooms.enter(&room, client.id());
                    client.rooms.borrow_mut().insert(place, room);
                }
                Action::Attribute { client, key, before } => {
                    client.attributes.borrow_mut().replace(&key, before);
                }
                Action::Send { .. }
                | Action::Broadcast { .. }
                | Action::Room { .. }
                | Action::Claim { .. }
                | Action::ClaimFailed { .. }
                | Action::Ack { .. } => {}
            }
        }
    }

    fn unregister(&mut self, client: &Client, uuid: &str, before: Option<Arc<str>>) {
        if before.as_deref() != Some(uuid) {
            self.release_chosen(client, uuid);
        }
        match &before {
            Some(before) => {
                self.uuids.claim(before, client.id());
            }
            None => self.registered[usize::from(client.id().worker)] -= 1,
        }
        client.uuid.replace(before);
    }

    fn reinstate(&mut self, client: &Client) {
        let id = client.id();
        client.standing.set(Standing::Connected);
        self.uuids.claim(&client.info.issued_uuid, id);
        if let Some(uuid) = client.uuid.borrow().as_ref() {
            self.uuids.claim(uuid, id);
            self.registered[usize::from(id.worker)] += 1;
        }
        if let Some(ident) = &client.ident {
            self.idents.claim(ident, id);
        }
        for room in &*client.rooms.borrow() {
            self.rooms.enter(room, id);
        }
    }

    /// One entry per worker, however many clients it has.
    fn push_broadcast(&mut self, text: &Payload, except: Option<SessionId>) {
        for (worker, deliveries) in self.deliveries.iter_mut().enumerate() {
            let except = except.filter(|id| usize::from(id.worker) == worker);
            deliveries.push(Delivery::Broadcast { text: text.clone(), except });
        }
    }
}
