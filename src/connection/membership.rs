//! A client's membership in the hub, as a guard: dropping it leaves.

use std::rc::Rc;

use super::home::Home;
use crate::close::CloseReason;
use crate::hub::Link;
use crate::script::Event;
use crate::session::{ClientInfo, SessionId};

/// The hub knows the client while this lives. The only way out is the drop, so that a connection
/// that ends by a panic leaves as well.
pub struct Membership {
    home: Rc<Home>,
    id: SessionId,
    reason: CloseReason,
    departed: bool,
}

impl Membership {
    pub fn new(home: Rc<Home>, info: ClientInfo) -> Membership {
        let id = info.id;
        home.intake.submit(Event::Connected(Box::new(info)), 0);
        Membership { home, id, reason: CloseReason::Internal, departed: false }
    }

    /// The client's peer has ended, while more of what it said is to be read and decided: its names are
    /// not for that long.
    pub fn depart(&mut self) {
        if !std::mem::replace(&mut self.departed, true) {
            self.home.intake.announce(Event::Departed { id: self.id });
        }
    }

    pub fn end(mut self, reason: CloseReason) {
        self.reason = reason;
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let reason = self.reason.clone();
        self.home.intake.submit(Event::Disconnected { id: self.id, reason }, 0);
    }
}

/// A connection's place in its worker's shard, held as long as there is anything to write to it.
pub struct Seat {
    pub home: Rc<Home>,
    pub link: Rc<Link>,
}

impl Seat {
    pub fn new(home: Rc<Home>, link: Rc<Link>) -> Seat {
        Seat { home, link }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.home.shard.borrow_mut().remove(&self.link);
        self.home.tell_left();
    }
}
