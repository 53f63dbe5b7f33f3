//! What a handler asks for about rooms and attributes.

use std::rc::Rc;
use std::sync::Arc;

use super::Hub;
use super::attributes::TooManyAttributes;
use super::client::Client;
use super::delivery::Payload;
use super::rooms::JoinError;
use super::transaction::Action;
use crate::session::ClientKind;

impl Hub {
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
}
