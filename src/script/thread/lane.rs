//! Clients whose messages take long wait behind all others.
//!
//! A client may have as many messages undecided as its share of the queue holds. Were they decided one
//! after the other, a handler that takes 30 ms, which is no reason to kill it, would cost everybody
//! else two seconds. So the events of such a client go to the lane, of which one is decided in each
//! turn. Its own order stays, and the order of decisions is still the one order for everybody.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::session::SessionId;

/// A message that takes this long puts its sender into the lane: a thousand times what most take.
const LONG: Duration = Duration::from_millis(2);
/// The clock is read once for so many events, until they take long together.
const EVENTS_PER_LOOK: usize = 4;

/// What waits: for each client in its order, and one client after the other, so that one with many
/// does not keep those with few.
pub struct Lane<T> {
    /// Whose further events go here, and what of each waits.
    clients: HashMap<SessionId, VecDeque<T>>,
    /// Those of whom anything waits.
    turns: VecDeque<SessionId>,
}

impl<T> Default for Lane<T> {
    fn default() -> Lane<T> {
        Lane { clients: HashMap::new(), turns: VecDeque::new() }
    }
}

impl<T> Lane<T> {
    /// What comes of this client waits from now on.
    pub fn put(&mut self, client: SessionId) {
        self.clients.entry(client).or_default();
    }

    pub fn has(&self, client: SessionId) -> bool {
        !self.clients.is_empty() && self.clients.contains_key(&client)
    }

    /// Keeps what comes of a client in the lane; gives it back for another.
    pub fn keep(&mut self, client: SessionId, what: T) -> Option<T> {
        if self.clients.is_empty() {
            return Some(what);
        }
        let Some(waiting) = self.clients.get_mut(&client) else { return Some(what) };
        if waiting.is_empty() {
            self.turns.push_back(client);
        }
        waiting.push_back(what);
        None
    }

    /// What is next. With the last of it a client has left the lane.
    pub fn next(&mut self) -> Option<T> {
        let client = self.turns.pop_front()?;
        let waiting = self.clients.get_mut(&client)?;
        let what = waiting.pop_front();
        match waiting.is_empty() {
            true => drop(self.clients.remove(&client)),
            false => self.turns.push_back(client),
        }
        what
    }

    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}

/// Notices which events take long, at the price of a look at the clock for some of them.
pub struct Pace {
    last: Instant,
    events: usize,
    each: bool,
}

impl Pace {
    pub fn start() -> Pace {
        Pace { last: Instant::now(), events: 0, each: false }
    }

    pub fn look_at_each(&mut self) {
        self.each = true;
    }

    /// An event has been decided: whether that took long. The first that do are let pass.
    pub fn took_long(&mut self) -> bool {
        self.events += 1;
        if !self.each && !self.events.is_multiple_of(EVENTS_PER_LOOK) {
            return false;
        }
        let now = Instant::now();
        let took = now - std::mem::replace(&mut self.last, now);
        let long = took >= LONG;
        let watched = self.each;
        self.each |= long;
        watched && long
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::stage::info;
    use crate::session::ClientKind;

    fn id(serial: u64) -> SessionId {
        info(serial, ClientKind::Web, "/", None).id
    }

    #[test]
    fn a_client_in_the_lane_keeps_its_order_and_leaves_with_its_last_event() {
        let mut lane = Lane::default();
        let (one, other) = (id(1), id(2));
        assert_eq!(lane.keep(one, 10), Some(10));
        lane.put(one);
        assert_eq!(lane.keep(one, 11), None);
        assert_eq!(lane.keep(other, 20), Some(20));
        assert_eq!(lane.keep(one, 12), None);
        assert_eq!(lane.next(), Some(11));
        assert_eq!(lane.keep(one, 13), None);
        assert_eq!(lane.next(), Some(12));
        assert_eq!(lane.next(), Some(13));
        assert!(lane.is_empty() && lane.next().is_none());
        assert_eq!(lane.keep(one, 14), Some(14));
    }

    #[test]
    fn clients_in_the_lane_take_turns() {
        let mut lane = Lane::default();
        for (client, what) in [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30), (3, 31)] {
            lane.put(id(client));
            assert_eq!(lane.keep(id(client), what), None);
        }
        let order: Vec<_> = std::iter::from_fn(|| lane.next()).collect();
        assert_eq!(order, [10, 20, 30, 11, 31, 12]);
    }
}
