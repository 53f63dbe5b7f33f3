//! A worker's side of the script's queue: events are gathered and handed over once per turn, and
//! the worker's share of the queue is counted here, as credit that comes back with each decision.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

use super::queue::{Event, Queue};

/// What a worker hands to the script thread. Lives on the worker's thread.
pub struct Intake {
    queue: Queue,
    gathered: RefCell<Vec<Event>>,
    /// What may still be submitted. Both may go below zero: a message is let in while there is any
    /// room, and the start and the end of a connection always.
    messages: Cell<isize>,
    bytes: Cell<isize>,
    /// Connections that stopped reading for want of room.
    waiting: RefCell<Vec<Waker>>,
    turn: RefCell<Option<Waker>>,
}

impl Intake {
    /// `messages_max` and `bytes_max` are this worker's share of the queue.
    pub fn new(queue: Queue, messages_max: usize, bytes_max: usize) -> Intake {
        Intake {
            queue,
            gathered: RefCell::default(),
            messages: Cell::new(signed(messages_max.max(1))),
            bytes: Cell::new(signed(bytes_max.max(1))),
            waiting: RefCell::default(),
            turn: RefCell::default(),
        }
    }

    pub fn has_room(&self) -> bool {
        self.messages.get() > 0 && self.bytes.get() > 0
    }

    /// Has the task woken when there is room again.
    pub fn wake_when_room(&self, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waits| waits.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    /// Hands over what waits for a decision: a message, for which the caller has seen that there is
    /// room, or the start or the end of a connection. `bytes` is its size, which the event carries
    /// too, and which comes back with the decision.
    pub fn submit(&self, event: Event, bytes: usize) {
        self.messages.set(self.messages.get() - 1);
        self.bytes.set(self.bytes.get() - signed(bytes));
        let mut gathered = self.gathered.borrow_mut();
        gathered.push(event);
        if gathered.len() == 1
            && let Some(turn) = self.turn.take()
        {
            turn.wake();
        }
    }

    /// A message is decided: its room is free.
    pub fn decided(&self, bytes: usize) {
        self.messages.set(self.messages.get() + 1);
        self.bytes.set(self.bytes.get() + signed(bytes));
        if self.has_room() {
            // All of them: those who find it taken again wait again.
            for waker in self.waiting.borrow_mut().drain(..) {
                waker.wake();
            }
        }
    }

    /// The end of a turn: hands over what was gathered. Ready where there was anything.
    pub fn poll_hand_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut gathered = self.gathered.borrow_mut();
        if gathered.is_empty() {
            self.turn.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        self.queue.push(&mut gathered);
        Poll::Ready(())
    }
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}
