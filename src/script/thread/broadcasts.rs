//! The limit on broadcasts in all: what would broadcast waits while there have been too many.
//!
//! Which messages broadcast is known by their handler, once it has done so. So they wait before
//! their handler is called, and nothing has to be undone; with each waits what its sender said after
//! it, and nobody else. What a hook or a timer broadcasts counts too, though it does not wait.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::ScriptThread;
use super::lane::Lane;
use crate::close::CloseReason;
use crate::hub::Hub;
use crate::log::Seldom;
use crate::rate::Bucket;
use crate::script::queue::Event;

/// The broadcasts of the script, and the messages that wait until there may be one.
pub struct Broadcasts {
    /// 0: as many as there are.
    per_second_max: usize,
    bucket: Option<Bucket>,
    /// Nothing waits any more, whatever a reload says.
    lifted: bool,
    /// The handlers of the running generation that have broadcast.
    handlers: HashSet<String>,
    pub(super) waiting: Lane,
    /// Senders that have to wait.
    waits: Seldom,
    /// Those that were closed because too much waits.
    closed: Seldom,
}

impl Broadcasts {
    pub fn new(per_second_max: usize, hub: &Rc<RefCell<Hub>>, now: Instant) -> Broadcasts {
        Broadcasts {
            per_second_max,
            bucket: Bucket::new(per_second_max, per_second_max, now),
            lifted: false,
            handlers: HashSet::new(),
            // Whose turn may be long in coming must not keep room that others need.
            waiting: Lane::new(hub, usize::MAX),
            waits: Seldom::default(),
            closed: Seldom::default(),
        }
    }

    /// Another limit holds from now on.
    pub fn set_per_second_max(&mut self, per_second_max: usize, now: Instant) {
        if per_second_max != self.per_second_max && !self.lifted {
            self.bucket = Bucket::new(per_second_max, per_second_max, now);
        }
        self.per_second_max = per_second_max;
    }

    /// Another generation has other handlers.
    pub fn forget_handlers(&mut self) {
        self.handlers.clear();
    }

    /// From now on nothing waits: the relay is about to end.
    pub fn lift(&mut self) {
        (self.bucket, self.lifted) = (None, true);
    }

    /// When what waits may go on; `None` where nothing waits.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| now + self.wait(now))
    }

    pub fn is_limited(&self) -> bool {
        self.bucket.is_some()
    }

    fn wait(&self, now: Instant) -> Duration {
        self.bucket.map_or(Duration::ZERO, |bucket| bucket.wait(now))
    }

    fn tell(&self, now: Instant) {
        self.waits.note();
        if let Some(senders) = self.waits.due(now) {
            tracing::warn!(
                per_second_max = self.per_second_max,
                senders,
                "limits.broadcasts_per_second_max: senders have to wait"
            );
        }
    }
}

impl ScriptThread {
    /// Gives an event back if it may be decided now; else it waits.
    pub(super) fn admit(&mut self, event: Event) -> Option<Event> {
        if !self.broadcasts.is_limited() && self.broadcasts.waiting.is_empty() {
            return Some(event);
        }
        let client = event.client();
        if !self.broadcasts.waiting.has(client) {
            let now = self.loader.clock.now();
            if self.broadcasts.wait(now).is_zero() || !self.would_broadcast(&event) {
                return Some(event);
            }
            self.broadcasts.tell(now);
            self.broadcasts.waiting.put(client);
        }
        self.broadcasts.waiting.keep(event)
    }

    /// What has waited and may be decided now.
    pub(super) fn next_admitted(&mut self) -> Option<Event> {
        let now = self.loader.clock.now();
        if self.broadcasts.waiting.is_empty() || !self.broadcasts.wait(now).is_zero() {
            return None;
        }
        self.broadcasts.waiting.next()
    }

    /// While more waits than may, ends the client of whom the most does, and what it said is dropped.
    /// To be called before a hand-over: that is what gives the room back.
    pub(super) fn bound_waiting(&mut self) {
        while self.broadcasts.waiting.exceeds(self.terms.aside_bytes_max)
            && let Some((client, events)) = self.broadcasts.waiting.take_largest()
        {
            self.broadcasts.closed.note();
            if let Some(client) = self.client(client) {
                self.act(|hub| hub.close(&client, CloseReason::TooMuchWaiting));
            }
            for event in events {
                self.decide(event);
            }
        }
        if let Some(closed) = self.broadcasts.closed.due(self.loader.clock.now()) {
            tracing::warn!(
                closed,
                "too much waits for limits.broadcasts_per_second_max: closed the clients with the most"
            );
        }
    }

    fn would_broadcast(&self, event: &Event) -> bool {
        self.handler_of(event).is_some_and(|handler| self.broadcasts.handlers.contains(&handler))
    }

    /// The name of what decides an event, where it may have to wait for its broadcasts.
    pub(super) fn handler_of(&self, event: &Event) -> Option<String> {
        match event {
            Event::Message { message, .. } if self.broadcasts.is_limited() => {
                self.engine.handler_of(message)
            }
            _ => None,
        }
    }

    /// Counts what has just been broadcast, by that handler.
    pub(super) fn count_broadcasts(&mut self, handler: Option<String>) {
        let count = self.hub.borrow_mut().take_broadcasts();
        let Some(bucket) = self.broadcasts.bucket.as_mut().filter(|_| count > 0) else { return };
        bucket.take(count, self.loader.clock.now());
        self.broadcasts.handlers.extend(handler);
    }
}
