//! A worker's side of the script's queue: events are gathered and handed over once per turn, and
//! the worker's share of the queue is counted here, as credit that comes back with each decision.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

use super::queue::{Event, Queue};
use crate::config::Limits;

/// What a worker hands to the script thread. Lives on the worker's thread.
pub struct Intake {
    queue: Queue,
    gathered: RefCell<Vec<Event>>,
    /// What may still be submitted. Both may go below zero: a message is let in while there is any
    /// room, and the start and the end of a connection always.
    messages: Cell<isize>,
    bytes: Cell<isize>,
    share: Cell<Share>,
    workers: usize,
    /// Connections that stopped reading for want of room.
    waiting: RefCell<Vec<Waker>>,
    turn: RefCell<Option<Waker>>,
}

/// What one worker may have in the queue.
#[derive(Clone, Copy)]
struct Share {
    messages: isize,
    bytes: isize,
}

impl Share {
    fn new(workers: usize, limits: &Limits) -> Share {
        let share = |of: usize| signed((of / workers).max(1));
        Share {
            messages: share(limits.script_queue_messages_max),
            bytes: share(limits.script_queue_bytes_max),
        }
    }
}

impl Intake {
    /// For one of so many workers.
    pub fn new(queue: Queue, workers: usize, limits: &Limits) -> Intake {
        let share = Share::new(workers, limits);
        Intake {
            queue,
            gathered: RefCell::default(),
            messages: Cell::new(share.messages),
            bytes: Cell::new(share.bytes),
            share: Cell::new(share),
            workers,
            waiting: RefCell::default(),
            turn: RefCell::default(),
        }
    }

    /// Other limits hold from now on. What waits already is counted against them.
    pub fn set_limits(&self, limits: &Limits) {
        let share = Share::new(self.workers, limits);
        let before = self.share.replace(share);
        self.grow(share.messages - before.messages, share.bytes - before.bytes);
    }

    pub fn has_room(&self) -> bool {
        self.messages.get() > 0 && self.bytes.get() > 0
    }

    /// Whether anything that was submitted is not decided yet.
    pub fn awaits_decisions(&self) -> bool {
        self.messages.get() < self.share.get().messages
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
        self.take(bytes);
        self.announce(event);
    }

    /// Hands over what needs no room, because each connection has one at a time.
    pub fn announce(&self, event: Event) {
        let mut gathered = self.gathered.borrow_mut();
        gathered.push(event);
        if gathered.len() == 1
            && let Some(turn) = self.turn.take()
        {
            turn.wake();
        }
    }

    /// The room of a message is taken, whether there is any or not.
    pub fn take(&self, bytes: usize) {
        self.messages.set(self.messages.get() - 1);
        self.bytes.set(self.bytes.get() - signed(bytes));
    }

    /// The room of a message is free: it is decided, or waits elsewhere.
    pub fn give_back(&self, bytes: usize) {
        self.grow(1, signed(bytes));
    }

    fn grow(&self, messages: isize, bytes: isize) {
        self.messages.set(self.messages.get() + messages);
        self.bytes.set(self.bytes.get() + bytes);
        if self.has_room() {
            // All of them: those who find it taken again wait again.
            for waker in self.waiting.borrow_mut().drain(..) {
                waker.wake();
            }
        }
    }

    /// The end of a turn: hands over what was gathered. Ready where there was anything.
    pub fn poll_hand_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.hand_over() {
            return Poll::Ready(());
        }
        self.turn.replace(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Hands over what was gathered; `false` where that is nothing.
    pub fn hand_over(&self) -> bool {
        let mut gathered = self.gathered.borrow_mut();
        let any = !gathered.is_empty();
        if any {
            self.queue.push(&mut gathered);
        }
        any
    }
}

fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}
