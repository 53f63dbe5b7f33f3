//! The script's objects for clients: one per connected client, so that equal clients are equal
//! objects and serve as keys of tables.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{AnyUserData, Lua};

use crate::hub::Client;
use crate::session::SessionId;

/// A client as the script holds it.
pub struct ClientHandle(pub Rc<Client>);

/// The objects made so far, by worker and slot: finding one hashes nothing.
#[derive(Default)]
pub struct Clients {
    workers: RefCell<Vec<Vec<Option<Known>>>>,
}

/// The object of the session with this serial, in whose slot it is.
struct Known {
    serial: u64,
    object: Rc<AnyUserData>,
}

impl Clients {
    /// The object of a client, made when the script first meets it.
    pub fn object(&self, lua: &Lua, client: &Rc<Client>) -> mlua::Result<Rc<AnyUserData>> {
        let id = client.id();
        let (worker, slot) = (usize::from(id.worker), id.slot as usize);
        let mut workers = self.workers.borrow_mut();
        if let Some(Some(known)) = workers.get(worker).and_then(|slots| slots.get(slot))
            && known.serial == id.serial
        {
            return Ok(Rc::clone(&known.object));
        }
        let object = Rc::new(lua.create_any_userdata(ClientHandle(Rc::clone(client)))?);
        if !client.is_connected() {
            // Nothing would ever forget it.
            return Ok(object);
        }
        if workers.len() <= worker {
            workers.resize_with(worker + 1, Vec::new);
        }
        let slots = &mut workers[worker];
        if slots.len() <= slot {
            slots.resize_with(slot + 1, || None);
        }
        slots[slot] = Some(Known { serial: id.serial, object: Rc::clone(&object) });
        Ok(object)
    }

    /// Forgets the object of a client that is gone, or whose slot is another's by now.
    pub fn forget(&self, id: SessionId) {
        let mut workers = self.workers.borrow_mut();
        let slots = workers.get_mut(usize::from(id.worker));
        if let Some(place) = slots.and_then(|slots| slots.get_mut(id.slot as usize)) {
            place.take_if(|known| known.serial == id.serial);
        }
    }
}
