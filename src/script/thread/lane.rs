//! Clients whose messages take long wait behind all others.
//!
//! A client may have as many messages undecided as its share of the queue holds. Were they decided one
//! after the other, a handler that takes 30 ms, which is no reason to kill it, would cost everybody
//! else two seconds. So the events of such a client go to the lane, of which one is decided in each
//! turn. Its own order stays, and the order of decisions is still the one order for everybody.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::script::queue::Event;
use crate::session::SessionId;

/// A message that takes this long puts its sender into the lane: a thousand times what most take.
const LONG: Duration = Duration::from_millis(2);
/// The clock is read once for so many events, until they take long together.
const EVENTS_PER_LOOK: usize = 4;

/// The events that wait, in their order.
#[derive(Default)]
pub struct Lane {
    waiting: VecDeque<Event>,
    /// Whose further events go here, and how many of each wait.
    clients: HashMap<SessionId, usize>,
}

impl Lane {
    /// The further events of this client wait.
    pub fn put(&mut self, client: SessionId) {
        self.clients.entry(client).or_default();
    }

    /// Keeps an event of a client in the lane; gives back that of another.
    pub fn keep(&mut self, event: Event) -> Option<Event> {
        if self.clients.is_empty() {
            return Some(event);
        }
        match self.clients.get_mut(&event.client()) {
            Some(count) => {
                *count += 1;
                self.waiting.push_back(event);
                None
            }
            None => Some(event),
        }
    }

    /// The event that has waited longest. With its last one a client has left the lane.
    pub fn next(&mut self) -> Option<Event> {
        let event = self.waiting.pop_front()?;
        let client = event.client();
        if let Some(count) = self.clients.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(&client);
            }
        }
        Some(event)
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
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
    use crate::script::stage::{info, message};
    use crate::session::ClientKind;

    fn says(serial: u64, n: usize) -> Event {
        let from = info(serial, ClientKind::Web, "/", None).id;
        Event::Message { from, message: message(&format!("[{n}]")) }
    }

    fn told(event: Option<Event>) -> String {
        match event {
            Some(Event::Message { from, message }) => {
                format!("{} {}", from.serial, String::from_utf8_lossy(&message.raw))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_client_in_the_lane_keeps_its_order_and_leaves_with_its_last_event() {
        let mut lane = Lane::default();
        assert_eq!(told(lane.keep(says(1, 0))), "1 [0]");
        lane.put(says(1, 0).client());
        assert_eq!(told(lane.keep(says(1, 1))), "None");
        assert_eq!(told(lane.keep(says(2, 0))), "2 [0]");
        assert_eq!(told(lane.keep(says(1, 2))), "None");
        assert_eq!(told(lane.next()), "1 [1]");
        assert_eq!(told(lane.keep(says(1, 3))), "None");
        assert_eq!(told(lane.next()), "1 [2]");
        assert_eq!(told(lane.next()), "1 [3]");
        assert!(lane.is_empty() && lane.next().is_none());
        assert_eq!(told(lane.keep(says(1, 4))), "1 [4]");
    }
}
