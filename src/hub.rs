//! The registry of who is there, and the hand-over of what they are sent. Lives on the script
//! thread, which is the sequencer: nothing here is shared, and the order in which it is called is
//! the order that everybody sees.
//!
//! What a handler asks for between [`Hub::begin`] and [`Hub::commit`] changes the registry at once,
//! so that the handler reads its own doing, and leaves the script thread only with the commit.
//! [`Hub::rollback`] undoes all of it.

mod attributes;
mod claims;
mod client;
mod contest;
mod delivery;
mod link;
mod names;
mod reply;
mod requests;
mod rooms;
mod shard;
mod silence;
mod transaction;
mod turn;

use std::rc::Rc;
use std::sync::Arc;

pub use attributes::TooManyAttributes;
use claims::Claims;
pub use client::Client;
use client::Standing;
pub use delivery::{Delivery, Payload};
pub use link::Link;
use names::Names;
pub use reply::ErrorReply;
pub use requests::RegisterError;
pub use rooms::JoinError;
use rooms::Rooms;
pub use shard::Shard;
use transaction::Action;
pub use turn::TURN_BYTES;

use crate::session::{ClientInfo, ClientKind, SessionId};
use crate::store::Store;

/// The registry and what is to be handed to the workers next.
pub struct Hub {
    limits: HubLimits,
    /// By worker and slot.
    clients: Vec<Vec<Option<Rc<Client>>>>,
    uuids: Names,
    idents: Names,
    claims: Claims,
    rooms: Rooms,
    store: Store,
    /// How many registered web clients each worker has.
    registered: Vec<usize>,
    connected: usize,
    /// Broadcasts that have happened, to all or to a room.
    broadcasts: usize,
    /// What the running handler has asked for.
    actions: Vec<Action>,
    deliveries: Vec<Vec<Delivery>>,
    /// Whose message a handler is about to decide, and where its ack stands among the deliveries.
    deciding: Option<(SessionId, usize)>,
}

/// The limits on what clients and the script make the hub keep.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    pub name_bytes_max: usize,
    /// The failed claim of this number closes the claimant.
    pub failed_claims_max: u32,
    pub rooms_per_client_max: usize,
    pub attributes_bytes_max: usize,
    pub store_bytes_max: usize,
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug)]
pub enum Address<'a> {
    /// The registered web client of this uuid, chosen or issued.
    Uuid(&'a str),
    /// The backend of this name.
    Ident(&'a str),
}

impl Hub {
    pub fn new(workers: usize, limits: HubLimits) -> Hub {
        Hub {
            limits,
            clients: (0..workers).map(|_| Vec::new()).collect(),
            uuids: Names::default(),
            idents: Names::default(),
            claims: Claims::default(),
            rooms: Rooms::default(),
            store: Store::new(limits.store_bytes_max),
            registered: vec![0; workers],
            connected: 0,
            broadcasts: 0,
            actions: Vec::new(),
            deliveries: (0..workers).map(|_| Vec::new()).collect(),
            deciding: None,
        }
    }

    /// Other limits hold from now on, for what is asked for: nobody loses what they have.
    pub fn set_limits(&mut self, limits: HubLimits) {
        self.limits = limits;
        self.store.set_limit(limits.store_bytes_max);
    }

    // Who is there.

    /// Takes a new client in. Its issued uuid is its own from now on, so that nobody else can take
    /// it, registered or not; its ident too, if it is a backend and the first to ask for it.
    pub fn connect(&mut self, info: ClientInfo) -> Rc<Client> {
        let id = info.id;
        self.uuids.claim(&info.issued_uuid, id);
        let ident = info.ident.as_deref().filter(|_| info.kind == ClientKind::Backend);
        let ident = ident.and_then(|ident| self.claim_ident(ident, id));
        let client = Client::new(info, ident);
        let slots = &mut self.clients[usize::from(id.worker)];
        let slot = id.slot as usize;
        if slots.len() <= slot {
            slots.resize(slot + 1, None);
        }
        // Where a panic broke its connection off, the slot's last client may still be here: its end waits
        // in a lane. Its names are free by then, and now it is gone: what it said gives its room back and
        // does nothing, and its hook is not called.
        let before = slots[slot].replace(Rc::clone(&client));
        self.connected += usize::from(before.is_none());
        client
    }

    fn claim_ident(&mut self, ident: &str, by: SessionId) -> Option<Arc<str>> {
        let ident: Arc<str> = Arc::from(ident);
        let valid = !ident.is_empty() && ident.len() <= self.limits.name_bytes_max;
        let claimed = valid && self.idents.claim(&ident, by);
        if !claimed {
            tracing::debug!(session = by.serial, "ident in use or too long: not claimed");
        }
        claimed.then_some(ident)
    }

    /// Takes a client out: its names are free or pass to who waits for them, nothing reaches it any
    /// more.
    pub fn disconnect(&mut self, id: SessionId) -> Option<Rc<Client>> {
        let slot = self.clients[usize::from(id.worker)].get_mut(id.slot as usize)?;
        let client = slot.take_if(|client| client.id() == id)?;
        self.connected -= 1;
        if client.standing.replace(Standing::Gone) == Standing::Connected {
            self.vacate(&client);
        }
        Some(client)
    }

    /// The connection of a client has ended while what it said still waits: that is decided, with its
    /// answers for a client that still reads, but its names do not wait for it.
    pub fn depart(&mut self, id: SessionId) {
        let Some(client) = self.client(id).cloned() else { return };
        if client.is_present() {
            client.standing.set(Standing::Departed);
            self.vacate(&client);
        }
    }

    /// The names of a client that has gone are free or pass to who waits for them.
    fn vacate(&mut self, client: &Client) {
        self.retire(client);
        self.begin();
        self.claims.take_of(client);
        if let Some(uuid) = client.uuid() {
            self.settle(&uuid, client.id());
        }
        self.commit();
    }

    /// Frees the names of a client that is closing or gone.
    fn retire(&mut self, client: &Client) {
        let id = client.id();
        self.uuids.release(&client.info.issued_uuid, id);
        if let Some(uuid) = client.uuid.borrow().as_ref() {
            self.uuids.release(uuid, id);
            self.registered[usize::from(id.worker)] -= 1;
        }
        if let Some(ident) = &client.ident {
            self.idents.release(ident, id);
        }
        for room in &*client.rooms.borrow() {
            self.rooms.exit(room, id);
        }
    }

    /// A client that is there, closing or not.
    pub fn client(&self, id: SessionId) -> Option<&Rc<Client>> {
        self.clients[usize::from(id.worker)]
            .get(id.slot as usize)?
            .as_ref()
            .filter(|client| client.id() == id)
    }

    /// Every client that is there, in no order that means anything.
    pub fn clients(&self) -> impl Iterator<Item = &Rc<Client>> {
        self.clients.iter().flatten().flatten()
    }

    /// The client that can be reached under this name.
    pub fn find(&self, name: Address<'_>) -> Option<&Rc<Client>> {
        let (names, name, registered) = match name {
            Address::Uuid(uuid) => (&self.uuids, uuid, true),
            Address::Ident(ident) => (&self.idents, ident, false),
        };
        self.client(names.holder(name)?)
            .filter(|client| client.is_present() && (!registered || client.is_registered()))
    }

    /// How many web clients are registered.
    pub fn registered(&self) -> usize {
        self.registered.iter().sum()
    }

    /// How many clients of any kind are connected.
    pub fn connected(&self) -> usize {
        self.connected
    }

    // What goes to the workers.

    /// A message of this session goes to its handler next, which may hold its ack back by a claim.
    pub fn deciding(&mut self, from: SessionId, bytes: usize) {
        self.decided(from, bytes);
        self.deciding = Some((from, self.deliveries[usize::from(from.worker)].len() - 1));
    }

    /// A message of this session is decided: acknowledged unless the session is closing.
    pub fn decided(&mut self, from: SessionId, bytes: usize) {
        let ack = self.client(from).is_some_and(|client| client.is_connected());
        self.push(from, Delivery::Decided { to: from, bytes, ack });
    }

    /// A message of this session waits for a turn of its own, beside the script's queue, or no longer.
    pub fn put_aside(&mut self, from: SessionId, bytes: usize, aside: bool) {
        self.push(from, Delivery::Aside { bytes, aside });
    }

    /// How many broadcasts have happened since the last time.
    pub fn take_broadcasts(&mut self) -> usize {
        std::mem::take(&mut self.broadcasts)
    }

    /// The hand-over of one worker, in order; empty again afterwards.
    pub fn take_deliveries(&mut self, worker: usize) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries[worker])
    }

    fn push(&mut self, to: SessionId, delivery: Delivery) {
        self.deliveries[usize::from(to.worker)].push(delivery);
    }
}

#[cfg(test)]
mod tests;
