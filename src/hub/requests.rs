//! What a handler asks for.

use std::rc::Rc;
use std::sync::Arc;

use super::attributes::TooManyAttributes;
use super::client::{Client, Standing};
use super::delivery::Payload;
use super::rooms::JoinError;
use super::transaction::Action;
use super::{Address, Hub};
use crate::close::CloseReason;
use crate::session::ClientKind;
use crate::store::Store;

/// Why a client was not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// Another client holds the name.
    Taken,
    /// Another client holds the name and is asked whether it is alive; the hub decides by that.
    Pending,
    /// Empty or longer than `limits.name_bytes_max`.
    Invalid,
    /// Backends are not addressed by uuid.
    Backend,
    /// The connection is closing.
    Closing,
}

impl RegisterError {
    /// The error code that the script and, by the default script, the client see.
    pub fn code(self) -> &'static str {
        match self {
            RegisterError::Taken => "uuid_taken",
            RegisterError::Pending => "pending",
            RegisterError::Invalid => "uuid_invalid",
            RegisterError::Backend => "not_a_web_client",
            RegisterError::Closing => "closing",
        }
    }
}

impl Hub {
    /// The values of the script. They are kept here because a handler that fails has changed neither
    /// the one nor the other.
    pub fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Registers a web client under a uuid, in place of the one it had. First claim wins. `reference`
    /// is what the `error` refers to that the client is sent if its claim has to wait and fails.
    pub fn register(
        &mut self,
        client: &Rc<Client>,
        uuid: &str,
        reference: Option<&str>,
    ) -> Result<(), RegisterError> {
        if !client.is_present() {
            return Err(RegisterError::Closing);
        }
        if client.info.kind != ClientKind::Web {
            return Err(RegisterError::Backend);
        }
        if uuid.is_empty() || uuid.len() > self.limits.name_bytes_max {
            return Err(RegisterError::Invalid);
        }
        let id = client.id();
        let uuid = match &client.info.issued_uuid {
            issued if uuid == &**issued => Arc::clone(issued),
            _ => Arc::from(uuid),
        };
        if let Some(owner) = self.uuids.holder(&uuid).filter(|owner| *owner != id) {
            return Err(self.contest(client, uuid, owner, reference));
        }
        self.uuids.claim(&uuid, id);
        let before = client.uuid.replace(Some(Arc::clone(&uuid)));
        match &before {
            Some(before) if *before != uuid => self.release_chosen(client, before),
            Some(_) => {}
            None => self.registered[usize::from(id.worker)] += 1,
        }
        self.actions.push(Action::Register { client: Rc::clone(client), uuid, before });
        Ok(())
    }

    /// Releases a uuid the client is no longer registered under; the issued one stays its own.
    pub(super) fn release_chosen(&mut self, client: &Client, uuid: &str) {
        if uuid != &*client.info.issued_uuid {
            self.uuids.release(uuid, client.id());
        }
    }

    /// Sends to one client; `false` where it is closing or gone.
    pub fn send(&mut self, to: &Rc<Client>, text: Payload) -> bool {
        let connected = to.is_connected();
        if connected {
            self.actions.push(Action::Send { to: Rc::clone(to), text });
        }
        connected
    }

    /// Sends to the client of that name; `false` where nobody has it.
    pub fn deliver(&mut self, name: Address<'_>, text: Payload) -> bool {
        match self.find(name).cloned() {
            Some(client) => self.send(&client, text),
            None => false,
        }
    }

    /// Sends to all registered web clients but one; returns to how many.
    pub fn broadcast(&mut self, text: Payload, except: Option<&Rc<Client>>) -> usize {
        // One that has left is not counted any more, but still hears what is decided before its end.
        let excepted = except.filter(|c| c.is_registered() && c.is_connected());
        let receivers = self.registered() - usize::from(excepted.is_some_and(|c| c.is_present()));
        self.actions.push(Action::Broadcast { text, except: excepted.map(|client| client.id()) });
        receivers
    }

    /// Closes a connection after what it was sent before. Its names are free from now on.
    pub fn close(&mut self, client: &Rc<Client>, reason: CloseReason) {
        if client.is_connected() {
            let before = client.standing.replace(Standing::Closing);
            if before == Standing::Connected {
                self.retire(client);
            }
            self.actions.push(Action::Close { client: Rc::clone(client), reason, before });
        }
    }

    /// Puts a web client, registered or not, into a room. `false` where it is in there already.
    pub fn join(&mut self, client: &Rc<Client>, room: &str) -> Result<bool, JoinError> {
        if !client.is_present() {
            return Err(JoinError::Closing);
        }
        if client.info.kind != ClientKind::Web {
            return Err(JoinError::Backend);
        }
        if room.is_empty() || room.len() > self.limits.name_bytes_max {
            return Err(JoinError::Invalid);
        }
        if client.is_in(room) {
            return Ok(false);
        }
        if client.rooms.borrow().len() >= self.limits.rooms_per_client_max {
            return Err(JoinError::TooMany);
        }
        let room: Arc<str> = Arc::from(room);
        self.rooms.enter(&room, client.id());
        client.rooms.borrow_mut().push(Arc::clone(&room));
        self.actions.push(Action::Join { client: Rc::clone(client), room });
        Ok(true)
    }

    /// Takes a client out of a room; `false` where it was not in there.
    pub fn leave(&mut self, client: &Rc<Client>, room: &str) -> bool {
        if !client.is_present() {
            return false;
        }
        let place = client.rooms.borrow().iter().position(|joined| **joined == *room);
        let Some(place) = place else { return false };
        let room = client.rooms.borrow_mut().remove(place);
        self.rooms.exit(&room, client.id());
        self.actions.push(Action::Leave { client: Rc::clone(client), place, room });
        true
    }

    /// How many are in a room.
    pub fn count(&self, room: &str) -> usize {
        self.rooms.count(room)
    }

    /// Sends to all who are in a room now but one; returns to how many.
    pub fn broadcast_to_room(
        &mut self,
        room: &str,
        text: Payload,
        except: Option<&Rc<Client>>,
    ) -> usize {
        let except = except.filter(|client| client.is_present() && client.is_in(room));
        let receivers = self.rooms.count(room) - usize::from(except.is_some());
        let members = self.rooms.members(room);
        // With nobody to receive it, it is no action: an empty room costs nothing.
        if receivers > 0 {
            let except = except.map(|client| client.id());
            self.actions.push(Action::Room { text, members, except });
        }
        receivers
    }

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

    /// How many actions the running handler has asked for.
    pub fn actions(&self) -> usize {
        self.actions.len()
    }
}
