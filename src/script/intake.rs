//! A worker's side of the script's queue: events are gathered and handed over once per turn, and
//! the worker's share of the queue is counted here, as credit that comes back with each decision.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
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
    line: Rc<RefCell<Line>>,
    turn: RefCell<Option<Waker>>,
}

/// Connections that stopped reading for want of room, in the order in which they did.
#[derive(Default)]
struct Line {
    tickets: u64,
    waiting: BTreeMap<u64, Waker>,
    /// How many were told that there is room, and have not come for it yet.
    called: usize,
}

/// A connection's place in the line for room. Dropped, it is given up.
pub struct Ticket {
    number: u64,
    /// Whether any room was taken with it: then it is at the end of the line when it waits again.
    used: bool,
    line: Rc<RefCell<Line>>,
}

impl Ticket {
    /// Whether it still waits to be told that there is room.
    pub fn waits(&self) -> bool {
        self.line.borrow().waiting.contains_key(&self.number)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut line = self.line.borrow_mut();
        if line.waiting.remove(&self.number).is_none() {
            line.called -= 1;
        }
    }
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
            line: Rc::default(),
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

    /// Whether there is room for a connection: for one that was called, or beside those that were.
    /// If not, its task is woken when its turn in the line has come. Whoever was called comes back with
    /// [`Intake::call`], used or not.
    pub fn admits(&self, ticket: &mut Option<Ticket>, waker: &Waker) -> bool {
        let mut line = self.line.borrow_mut();
        let waits = ticket.as_ref().map(|ticket| line.waiting.contains_key(&ticket.number));
        let before = line.called - usize::from(waits == Some(false));
        if self.bytes.get() > 0 && self.messages.get() > signed(before) {
            if let Some(ticket) = ticket {
                ticket.used = true;
            }
            return true;
        }
        line.called = before;
        line.tickets += 1;
        let last = line.tickets;
        let ticket = ticket.get_or_insert_with(|| {
            let line = Rc::clone(&self.line);
            Ticket { number: last, used: false, line }
        });
        // Who was called and took some room goes to the end of the line, so that one with much to say
        // does not pass the others for ever. Who found it taken, or is only looked at again, stays.
        if std::mem::take(&mut ticket.used) {
            ticket.number = last;
        }
        line.waiting.insert(ticket.number, waker.clone());
        false
    }

    /// Tells as many of those in the line as there is room for.
    pub fn call(&self) {
        let mut line = self.line.borrow_mut();
        while self.bytes.get() > 0
            && self.messages.get() > signed(line.called)
            && let Some((_, waker)) = line.waiting.pop_first()
        {
            line.called += 1;
            waker.wake();
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
        self.call();
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    /// Counts how often its task is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[derive(Default)]
    struct Task {
        ticket: Option<Ticket>,
        woken: Arc<Woken>,
    }

    impl Task {
        /// What a connection does when it is polled: takes room for so many messages.
        fn poll(&mut self, intake: &Intake, wants: usize) -> usize {
            let waker = Waker::from(Arc::clone(&self.woken));
            let took = (0..wants).take_while(|_| {
                let admitted = intake.admits(&mut self.ticket, &waker);
                if admitted {
                    intake.take(1);
                }
                admitted
            });
            let took = took.count();
            if self.ticket.take_if(|ticket| !ticket.waits()).is_some() {
                intake.call();
            }
            took
        }

        fn woken(&self) -> usize {
            self.woken.0.load(Ordering::Relaxed)
        }
    }

    fn intake(messages: usize) -> Intake {
        let limits = Limits { script_queue_messages_max: messages, ..Limits::default() };
        Intake::new(Queue::default(), 1, &limits)
    }

    fn line(intake: &Intake, length: usize) -> Vec<Task> {
        let mut tasks: Vec<Task> = std::iter::repeat_with(Task::default).take(length).collect();
        for task in &mut tasks {
            assert_eq!(task.poll(intake, 1), 0);
        }
        tasks
    }

    #[test]
    fn as_many_are_woken_as_there_is_room_for_and_in_their_order() {
        let intake = intake(3);
        assert_eq!(Task::default().poll(&intake, 9), 3);
        let mut tasks = line(&intake, 1_000);
        for given in 0..tasks.len() {
            assert!(tasks[given..].iter().all(|task| task.woken() == 0));
            intake.give_back(1);
            assert_eq!(tasks[given].woken(), 1);
            // Nobody passes by who was called.
            assert_eq!(Task::default().poll(&intake, 1), 0);
            assert_eq!(tasks[given].poll(&intake, 1), 1);
        }
        let wakes: usize = tasks.iter().map(Task::woken).sum();
        assert_eq!(wakes, tasks.len(), "one for each room");
    }

    #[test]
    fn room_that_is_not_used_goes_to_the_next() {
        let intake = intake(2);
        assert_eq!(Task::default().poll(&intake, 2), 2);
        let mut tasks = line(&intake, 5);
        intake.give_back(1);
        // It has ended meanwhile; the next has nothing to say after all.
        drop(tasks.remove(0));
        intake.call();
        assert_eq!((tasks[0].woken(), tasks[0].poll(&intake, 0)), (1, 0));
        assert_eq!((tasks[1].woken(), tasks[2].woken()), (1, 0));
        // One that ends while it waits is not waited for.
        drop(tasks.remove(2));
        assert_eq!(tasks[1].poll(&intake, 1), 1);
        intake.give_back(1);
        assert_eq!(tasks[2].woken(), 1);
    }

    #[test]
    fn who_finds_its_room_taken_keeps_its_place_and_who_took_some_is_last() {
        let intake = intake(2);
        assert_eq!(Task::default().poll(&intake, 2), 2);
        let mut tasks = line(&intake, 4);
        intake.give_back(1);
        intake.give_back(1);
        // The first has more to say.
        assert_eq!((tasks[0].poll(&intake, 2), tasks[1].woken()), (1, 1));
        // No bytes are left for the second.
        intake.take(usize::MAX / 4);
        assert_eq!(tasks[1].poll(&intake, 1), 0);
        intake.give_back(usize::MAX / 4);
        assert_eq!(tasks[1].poll(&intake, 1), 1);
        for _ in 0..2 {
            intake.give_back(1);
        }
        assert_eq!(tasks.iter().map(Task::woken).collect::<Vec<_>>(), [1, 2, 1, 1]);
    }
}
