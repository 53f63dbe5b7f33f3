//! Rooms: web clients that are sent to together. A room exists while somebody is in it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::session::SessionId;

/// The members of one room on one worker, shared with the deliveries that go to them.
pub type Members = Arc<[SessionId]>;

/// Who is in which room.
#[derive(Default)]
pub struct Rooms {
    rooms: HashMap<Arc<str>, Room>,
}

#[derive(Default)]
struct Room {
    /// By worker, then by slot.
    workers: BTreeMap<u16, Seats>,
}

#[derive(Default)]
struct Seats {
    taken: BTreeMap<u32, SessionId>,
    /// The same as a list: a room that does not change is listed once, however often it is sent to.
    listed: Option<Members>,
}

/// Why a client did not join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// Empty or longer than `limits.name_bytes_max`.
    Invalid,
    /// Backends are never broadcast to.
    Backend,
    /// The client is in `limits.rooms_per_client_max` rooms.
    TooMany,
    /// The connection is closing.
    Closing,
}

impl JoinError {
    /// The error code that the script sees.
    pub fn code(self) -> &'static str {
        match self {
            JoinError::Invalid => "room_invalid",
            JoinError::Backend => "not_a_web_client",
            JoinError::TooMany => "too_many_rooms",
            JoinError::Closing => "closing",
        }
    }
}

impl Rooms {
    pub(super) fn enter(&mut self, room: &Arc<str>, id: SessionId) {
        let room = self.rooms.entry(Arc::clone(room)).or_default();
        let seats = room.workers.entry(id.worker).or_default();
        seats.taken.insert(id.slot, id);
        seats.listed = None;
    }

    pub(super) fn exit(&mut self, name: &str, id: SessionId) {
        let Some(room) = self.rooms.get_mut(name) else { return };
        let Some(seats) = room.workers.get_mut(&id.worker) else { return };
        seats.taken.remove(&id.slot);
        seats.listed = None;
        if seats.taken.is_empty() {
            room.workers.remove(&id.worker);
        }
        if room.workers.is_empty() {
            self.rooms.remove(name);
        }
    }

    pub(super) fn count(&self, room: &str) -> usize {
        let seats = self.rooms.get(room).into_iter().flat_map(|room| room.workers.values());
        seats.map(|seats| seats.taken.len()).sum()
    }

    /// The members as they are now, a list for each worker that has any.
    pub(super) fn members(&mut self, room: &str) -> Vec<(u16, Members)> {
        let Some(room) = self.rooms.get_mut(room) else { return Vec::new() };
        let list = |(worker, seats): (&u16, &mut Seats)| {
            let taken = &seats.taken;
            let listed = seats.listed.get_or_insert_with(|| taken.values().copied().collect());
            (*worker, Arc::clone(listed))
        };
        room.workers.iter_mut().map(list).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rooms.len()
    }
}
