//! Events that wait for a turn of their own, so that their sender waits and nobody else.
//!
//! A client may have as many messages undecided as its share of the queue holds. Were they decided one
//! after the other, a handler that takes 30 ms, which is no reason to kill it, would cost everybody
//! else two seconds. So the events of such a client go to a lane, which has a short time in each turn,
//! and a long message its from the start: the first of each of many clients would take long, too.
//! What would broadcast too much goes to another (`broadcasts`). Its own order stays, and the
//! order of decisions is still the one order for everybody.
//!
//! What is in a lane has its room in the script's queue back, or those who wait would take all of it
//! and nobody would be read from. It is bounded all the same: for each client by what it may have
//! undecided, and in all by `aside_bytes_max`. Beyond that, what takes long keeps its room, so that
//! reading stops as it does for a full queue; of those who wait for a broadcast, which can last, the
//! client with the most is ended.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::hub::Hub;
use crate::script::clock::Clock;
use crate::script::queue::Event;
use crate::session::SessionId;

/// A message that takes this long puts its sender into the lane: a thousand times what most take.
const LONG: Duration = Duration::from_millis(2);
/// The same while the events before it have taken long: many that are just short of that must not
/// add up.
const LONG_AMONG_LONG: Duration = Duration::from_micros(250);
/// A message of so many bytes goes to the lane before anybody knows: decoding a shorter one takes a
/// handler a millisecond or so at most.
pub const HEAVY_BYTES: usize = 8 * 1024;
/// The clock is read once for so many events, until they take long together.
const EVENTS_PER_LOOK: usize = 4;

/// What waits: for each client in its order, and one client after the other, so that one with many
/// does not keep those with few.
pub struct Lane {
    hub: Rc<RefCell<Hub>>,
    /// What waits gives its room back up to so many bytes.
    aside_bytes_max: usize,
    /// Whose further events go here, and what of each waits. Its keys are the relay's own.
    clients: FxHashMap<SessionId, Held>,
    /// Those of whom anything waits.
    turns: VecDeque<SessionId>,
    bytes: usize,
}

#[derive(Default)]
struct Held {
    /// Each with whether its room was given back.
    events: VecDeque<(Event, bool)>,
    bytes: usize,
}

impl Lane {
    pub fn new(hub: &Rc<RefCell<Hub>>, aside_bytes_max: usize) -> Lane {
        let (clients, turns) = (FxHashMap::default(), VecDeque::new());
        Lane { hub: Rc::clone(hub), aside_bytes_max, clients, turns, bytes: 0 }
    }

    /// Another bound holds for what comes from now on.
    pub fn set_aside_bytes_max(&mut self, bytes: usize) {
        self.aside_bytes_max = bytes;
    }

    /// What comes of this client waits from now on.
    pub fn put(&mut self, client: SessionId) {
        self.clients.entry(client).or_default();
    }

    pub fn has(&self, client: SessionId) -> bool {
        !self.clients.is_empty() && self.clients.contains_key(&client)
    }

    /// Keeps an event of a client in the lane; gives it back for another. The end of a client waits
    /// behind what it said, but its names do not.
    pub fn keep(&mut self, event: Event) -> Option<Event> {
        if self.clients.is_empty() || matches!(event, Event::Departed { .. }) {
            return Some(event);
        }
        let client = event.client();
        let Some(held) = self.clients.get_mut(&client) else { return Some(event) };
        let mut hub = self.hub.borrow_mut();
        let aside = self.bytes < self.aside_bytes_max;
        if aside {
            hub.put_aside(client, event.bytes(), true);
        }
        if matches!(event, Event::Disconnected { .. }) {
            hub.depart(client);
        }
        if held.events.is_empty() {
            self.turns.push_back(client);
        }
        held.bytes += weight(&event);
        self.bytes += weight(&event);
        held.events.push_back((event, aside));
        None
    }

    /// What is next. With the last of it a client has left the lane.
    pub fn next(&mut self) -> Option<Event> {
        let client = self.turns.pop_front()?;
        let held = self.clients.get_mut(&client)?;
        let (event, aside) = held.events.pop_front()?;
        held.bytes -= weight(&event);
        self.bytes -= weight(&event);
        match held.events.is_empty() {
            true => drop(self.clients.remove(&client)),
            false => self.turns.push_back(client),
        }
        if aside {
            self.hub.borrow_mut().put_aside(client, event.bytes(), false);
        }
        Some(event)
    }

    /// Whether more than so many bytes wait, and not of one client alone: that one is bounded by what
    /// it may have undecided.
    pub fn exceeds(&self, bytes_max: usize) -> bool {
        self.turns.len() > 1 && self.bytes > bytes_max
    }

    /// Takes the client out of whom the most waits, with all of it.
    pub fn take_largest(&mut self) -> Option<(SessionId, Vec<Event>)> {
        let (client, _) = self.clients.iter().max_by_key(|(_, held)| held.bytes)?;
        let client = *client;
        let held = self.clients.remove(&client)?;
        self.turns.retain(|turn| *turn != client);
        self.bytes -= held.bytes;
        let mut hub = self.hub.borrow_mut();
        for (event, _) in held.events.iter().filter(|(_, aside)| *aside) {
            hub.put_aside(client, event.bytes(), false);
        }
        Some((client, held.events.into_iter().map(|(event, _)| event).collect()))
    }

    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}

/// What an event takes in memory, about.
fn weight(event: &Event) -> usize {
    size_of::<Event>() + event.bytes()
}

/// Notices which events take long, at the price of a look at the clock for some of them.
pub struct Pace {
    clock: Clock,
    start: Instant,
    last: Instant,
    events: usize,
    each: bool,
}

impl Pace {
    pub fn start(clock: &Clock) -> Pace {
        let now = clock.now();
        Pace { clock: clock.clone(), start: now, last: now, events: 0, each: false }
    }

    /// How long it was until the last look.
    pub fn spent(&self) -> Duration {
        self.last - self.start
    }

    /// Whether another event may be decided that is likely to take long.
    pub fn has_time(&self) -> bool {
        self.spent() < LONG
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
        let now = self.clock.now();
        let took = now - std::mem::replace(&mut self.last, now);
        let watched = self.each;
        self.each |= took >= LONG;
        watched && took >= LONG_AMONG_LONG
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::stage::{LIMITS, info, told};
    use crate::session::ClientKind;

    fn id(serial: u64) -> SessionId {
        info(serial, ClientKind::Web, "/", None).id
    }

    /// An event that can be told from others.
    fn says(serial: u64, bytes: usize) -> Event {
        Event::Refused { from: id(serial), bytes, code: "", text: String::new() }
    }

    /// What the worker was told.
    fn took(lane: &Lane) -> Vec<String> {
        lane.hub.borrow_mut().take_deliveries(0).iter().map(told).collect()
    }

    fn lane() -> Lane {
        Lane::new(&Rc::new(RefCell::new(Hub::new(1, LIMITS))), usize::MAX)
    }

    fn keep(lane: &mut Lane, serial: u64, bytes: usize) -> Option<usize> {
        lane.keep(says(serial, bytes)).map(|event| event.bytes())
    }

    fn next(lane: &mut Lane) -> Option<usize> {
        lane.next().map(|event| event.bytes())
    }

    #[test]
    fn a_client_in_the_lane_keeps_its_order_and_leaves_with_its_last_event() {
        let mut lane = lane();
        assert_eq!(keep(&mut lane, 1, 10), Some(10));
        lane.put(id(1));
        assert_eq!(keep(&mut lane, 1, 11), None);
        assert_eq!(keep(&mut lane, 2, 20), Some(20));
        assert_eq!(keep(&mut lane, 1, 12), None);
        assert_eq!(next(&mut lane), Some(11));
        assert_eq!(keep(&mut lane, 1, 13), None);
        assert_eq!([next(&mut lane), next(&mut lane), next(&mut lane)], [Some(12), Some(13), None]);
        assert!(lane.is_empty() && lane.bytes == 0);
        assert_eq!(keep(&mut lane, 1, 14), Some(14));
    }

    #[test]
    fn clients_in_the_lane_take_turns() {
        let mut lane = lane();
        for (client, what) in [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30), (3, 31)] {
            lane.put(id(client));
            assert_eq!(keep(&mut lane, client, what), None);
        }
        let order: Vec<_> = std::iter::from_fn(|| next(&mut lane)).collect();
        assert_eq!(order, [10, 20, 30, 11, 31, 12]);
    }

    #[test]
    fn beyond_its_bound_what_waits_keeps_its_room() {
        let mut lane = lane();
        lane.set_aside_bytes_max(2 * size_of::<Event>());
        lane.put(id(1));
        for what in 10..14 {
            keep(&mut lane, 1, what);
        }
        assert_eq!(took(&lane), ["aside 10", "aside 11"]);
        while next(&mut lane).is_some() {}
        assert_eq!(took(&lane), ["again 10", "again 11"]);
    }

    #[test]
    fn what_is_in_the_lane_takes_no_room_in_the_queue_and_the_most_of_it_can_be_taken_out() {
        let mut lane = lane();
        for (client, what) in [(1, 10), (2, 20), (2, 21), (3, 30)] {
            lane.put(id(client));
            keep(&mut lane, client, what);
        }
        assert_eq!(took(&lane), ["aside 10", "aside 20", "aside 21", "aside 30"]);
        let (client, events) = lane.take_largest().expect("somebody");
        assert_eq!((client, events.len()), (id(2), 2));
        assert_eq!(took(&lane), ["again 20", "again 21"]);
        assert_eq!([next(&mut lane), next(&mut lane), next(&mut lane)], [Some(10), Some(30), None]);
        assert_eq!(took(&lane), ["again 10", "again 30"]);
        assert_eq!(lane.bytes, 0);
    }
}
