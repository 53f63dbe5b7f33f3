//! The queue between the I/O workers and the script thread.
//!
//! It is bounded by credit, not by its own size: a worker may have only so many messages in it
//! (see [`crate::worker`]), stops reading from its clients when they are used up, and gets the
//! room back with each decision. So a push never has to wait, and a worker never waits for a script.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::fault::LoadError;
use super::outcome::Reload;
use super::source::Source;
use crate::close::CloseReason;
use crate::message::Message;
use crate::session::{ClientInfo, SessionId};

/// What happens to a client, in the order in which it happens to it.
#[derive(Debug)]
pub enum Event {
    /// A client is through its handshake.
    Connected(Box<ClientInfo>),
    /// It sent a message.
    Message { from: SessionId, message: Message },
    /// It sent something that is acknowledged and ignored.
    Noise { from: SessionId },
    /// It sent something the relay refuses: acknowledged, then an `error` with this code.
    Refused { from: SessionId, bytes: usize, code: &'static str, text: String },
    /// It has answered that it is alive, which a claim of its name had made the relay ask.
    Alive { id: SessionId },
    /// Its peer has ended; what it said before that is still to come, or waits.
    Departed { id: SessionId },
    /// It is gone.
    Disconnected { id: SessionId, reason: CloseReason },
}

impl Event {
    /// Whom it happens to.
    pub fn client(&self) -> SessionId {
        match self {
            Event::Connected(info) => info.id,
            Event::Message { from, .. } | Event::Noise { from } => *from,
            Event::Refused { from, .. } => *from,
            Event::Alive { id } | Event::Departed { id } | Event::Disconnected { id, .. } => *id,
        }
    }

    /// Its share of the queue, beside one message.
    pub fn bytes(&self) -> usize {
        match self {
            Event::Message { message, .. } => message.raw.len(),
            Event::Refused { bytes, .. } => *bytes,
            Event::Noise { .. }
            | Event::Connected(_)
            | Event::Alive { .. }
            | Event::Departed { .. }
            | Event::Disconnected { .. } => 0,
        }
    }
}

/// Both ends of the queue.
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    requests: Vec<Request>,
}

/// What the script thread is asked to do besides deciding messages.
pub enum Request {
    /// Load the script again if its bytes or its terms have changed.
    Reload(Reload),
    /// The tests of a new text are over: go on with its load, or reject it.
    Rehearsed { source: Source, result: Result<(), LoadError>, reload: Reload },
    /// The relay is about to end: what waits for a limit on its rate waits no longer.
    Drain,
    /// Decide what is queued, then end the thread.
    Stop,
}

impl Default for Queue {
    fn default() -> Queue {
        let shared = Shared { state: Mutex::default(), filled: Condvar::new() };
        Queue { shared: Arc::new(shared) }
    }
}

impl Queue {
    /// Appends a worker's events of one turn, and leaves the vector empty.
    pub fn push(&self, events: &mut Vec<Event>) {
        self.lock().events.extend(events.drain(..));
        self.shared.filled.notify_one();
    }

    pub fn request(&self, request: Request) {
        self.lock().requests.push(request);
        self.shared.filled.notify_one();
    }

    /// Whether there is nothing to take at this moment.
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.events.is_empty() && state.requests.is_empty()
    }

    /// Waits until there is something, or until that time, then takes all of it: requests were made before the events
    /// they are returned with, or among them.
    pub fn take(&self, events: &mut VecDeque<Event>, until: Option<Instant>) -> Vec<Request> {
        let mut state = self.lock();
        while state.events.is_empty() && state.requests.is_empty() {
            let Some(until) = until else {
                state = self.shared.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.shared.filled.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut state.events, events);
        std::mem::take(&mut state.requests)
    }

    /// A panic of one side while it held the lock left whole events behind: both are plain
    /// collections that change in one call.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
