//! What the hub keeps of a connected client.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::attributes::Attributes;
use crate::session::{ClientInfo, Scheme, SessionId};

/// A connected client as the script thread sees it. Shared by the hub and the script's objects;
/// one that outlives its connection only tells what it knows.
pub struct Client {
    pub info: ClientInfo,
    /// The uuid it is registered under: the one it chose, or the issued one at `/web`.
    pub(super) uuid: RefCell<Option<Arc<str>>>,
    /// The ident it holds: none where another backend came first.
    pub(super) ident: Option<Arc<str>>,
    pub(super) standing: Cell<Standing>,
    pub(super) failed_claims: Cell<u32>,
    /// The name it claims while another holds it.
    pub(super) claimed: RefCell<Option<Arc<str>>>,
    /// Whether it has been asked if it is alive, and has not answered yet.
    pub(super) asked: Cell<bool>,
    /// The rooms it has joined, in that order. Stays when it is closed, so that this can be undone.
    pub(super) rooms: RefCell<Vec<Arc<str>>>,
    pub(super) attributes: RefCell<Attributes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Connected,
    /// Its connection has ended while what it said still waits: it has no names any more.
    Departed,
    /// The relay has decided to close it: it is sent nothing more, and what it still says is ignored.
    Closing,
    /// Its connection has ended.
    Gone,
}

impl Client {
    pub(super) fn new(info: ClientInfo, ident: Option<Arc<str>>) -> Rc<Client> {
        Rc::new(Client {
            ident,
            info,
            uuid: RefCell::new(None),
            standing: Cell::new(Standing::Connected),
            failed_claims: Cell::new(0),
            claimed: RefCell::new(None),
            asked: Cell::new(false),
            rooms: RefCell::default(),
            attributes: RefCell::default(),
        })
    }

    pub fn id(&self) -> SessionId {
        self.info.id
    }

    /// The uuid it is registered under, if it is registered.
    pub fn uuid(&self) -> Option<Arc<str>> {
        self.uuid.borrow().clone()
    }

    /// Whether it asked for an ident that another one holds, on a raw socket. Old PHP clients, which
    /// would take a word about it for their next answer, have idents on WebSockets only.
    pub fn is_deaf_to_its_ident(&self) -> bool {
        let raw = matches!(self.info.scheme, Scheme::Tcp | Scheme::Ssl);
        raw && self.info.ident.is_some() && self.ident.is_none()
    }

    /// The ident it holds and is addressed by.
    pub fn ident(&self) -> Option<&str> {
        self.ident.as_deref()
    }

    pub fn is_registered(&self) -> bool {
        self.uuid.borrow().is_some()
    }

    pub(super) fn is_in(&self, room: &str) -> bool {
        self.rooms.borrow().iter().any(|joined| **joined == *room)
    }

    /// The JSON of what the script has noted under this key.
    pub fn attribute(&self, key: &str) -> Option<Arc<str>> {
        self.attributes.borrow().get(key)
    }

    /// Whether it can still be sent anything.
    pub fn is_connected(&self) -> bool {
        matches!(self.standing.get(), Standing::Connected | Standing::Departed)
    }

    /// Whether it counts among those who are there, and has names.
    pub(super) fn is_present(&self) -> bool {
        self.standing.get() == Standing::Connected
    }
}
