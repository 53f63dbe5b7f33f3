//! The worker's end of a session: its transport and what waits to be written to it. Shared, on one
//! thread, by the connection's task, which reads, and the shard, which writes once per turn.

mod output;

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;

use super::silence::{CLAIM_PING, Silence};
use super::turn::Part;
use crate::close::CloseReason;
use crate::frame::Encoding;
use crate::outbound::QueueLimits;
use crate::session::{ClientKind, SessionId};
use crate::transport::Transport;
use crate::waiting::{Counted, Waiting};
use output::Output;

/// One session on its worker.
pub struct Link {
    pub id: SessionId,
    pub kind: ClientKind,
    pub encoding: Encoding,
    pub(super) silence: Silence,
    /// Messages of this client that wait for the script's decision.
    undecided: Cell<usize>,
    undecided_bytes: Cell<usize>,
    /// What has come of its messages whose rest has not, as its decoder keeps it.
    unfinished: Counted,
    /// Whether its task has stopped until one of them is decided.
    awaits_decision: Cell<bool>,
    /// Whether it is not read from because it has sent more than it may.
    delayed: Cell<bool>,
    /// And whether that is in the midst of a message.
    delayed_in_message: Cell<bool>,
    /// Acks gathered in this turn.
    acks: Cell<usize>,
    failed_claims: Cell<u32>,
    /// The turn it was last written to.
    pub(super) turn: Cell<u64>,
    /// Its place among the shard's members, if it receives broadcasts.
    pub(super) place: Cell<Option<usize>>,
    /// What its acks carry.
    pub(super) uuid: RefCell<Option<Arc<str>>>,
    /// What is to be written before anything else; empty when it has been.
    pub(super) opening: Cell<Box<[u8]>>,
    /// Why it is being closed: once set, nothing is appended but the farewell.
    ending: RefCell<Ending>,
    output: RefCell<Output>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone)]
enum Ending {
    Open,
    /// Asked to end once its messages are decided.
    Asked(CloseReason),
    /// The farewell is queued.
    Said(CloseReason),
}

impl Link {
    pub fn new(
        id: SessionId,
        kind: ClientKind,
        encoding: Encoding,
        transport: Transport,
        waiting: &Waiting,
    ) -> Link {
        Link {
            id,
            kind,
            encoding,
            silence: Silence::default(),
            undecided: Cell::new(0),
            undecided_bytes: Cell::new(0),
            unfinished: Counted::new(&waiting.unfinished),
            awaits_decision: Cell::new(false),
            delayed: Cell::new(false),
            delayed_in_message: Cell::new(false),
            acks: Cell::new(0),
            failed_claims: Cell::new(0),
            turn: Cell::new(0),
            place: Cell::new(None),
            uuid: RefCell::new(None),
            opening: Cell::default(),
            ending: RefCell::new(Ending::Open),
            output: RefCell::new(Output::new(transport, &waiting.queues)),
            waker: RefCell::new(None),
        }
    }

    // For the connection's task.

    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = self.output.borrow_mut().transport.poll_read(cx, buffer);
        if matches!(read, Poll::Ready(Ok(1..))) {
            self.silence.heard();
        }
        read
    }

    /// Whether its peer has ended, though it is not read up to there.
    pub fn has_peer_ended(&self) -> bool {
        self.output.borrow().transport.has_peer_ended()
    }

    /// Ready when nothing waits to be written, or nothing can be.
    pub fn poll_written(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut output = self.output.borrow_mut();
        while output.holds() {
            output.write_waiting(self.one_by_one());
            if output.holds() && ready!(output.transport.poll_writable(cx)).is_err() {
                output.broken = true;
            }
        }
        Poll::Ready(())
    }

    /// The task to wake when the shard has something to say to it.
    pub fn wake_with(&self, waker: &Waker) {
        let mut own = self.waker.borrow_mut();
        if !own.as_ref().is_some_and(|own| own.will_wake(waker)) {
            *own = Some(waker.clone());
        }
    }

    /// One more message of this client waits for its decision.
    pub fn submitted(&self, bytes: usize) {
        self.silence.spoke();
        self.undecided.set(self.undecided.get() + 1);
        self.undecided_bytes.set(self.undecided_bytes.get() + bytes);
    }

    pub fn undecided(&self) -> usize {
        self.undecided.get()
    }

    pub fn undecided_bytes(&self) -> usize {
        self.undecided_bytes.get()
    }

    /// Has the task woken by the next decision.
    pub fn await_decision(&self) {
        self.awaits_decision.set(true);
    }

    /// Its reading is delayed, in the midst of a message or not.
    pub fn delay(&self, in_message: bool) {
        self.delayed.set(true);
        self.delayed_in_message.set(in_message);
    }

    /// Its reading goes on.
    pub fn read_on(&self) {
        self.delayed.set(false);
        self.delayed_in_message.set(false);
    }

    pub fn is_delayed(&self) -> bool {
        self.delayed.get()
    }

    /// Queues one frame, a pong or a ping, behind what waits.
    pub(super) fn send_frame(&self, frame: Bytes, limits: QueueLimits) {
        let part = Part { buffer: &frame, bytes: &frame, messages: 1 };
        if self.is_open() {
            self.write(&[part], limits);
        }
    }

    /// Queues the farewell, once.
    pub fn say_farewell(&self, reason: CloseReason) {
        if matches!(*self.ending.borrow(), Ending::Said(_)) {
            return;
        }
        let frame = self.encoding.farewell(&reason);
        let mut output = self.output.borrow_mut();
        if !output.broken && !frame.is_empty() {
            output.outbound.push_frames(frame, 0, 1);
            output.write_waiting(self.one_by_one());
        }
        output.ended = true;
        *self.ending.borrow_mut() = Ending::Said(reason);
    }

    /// Whether the socket has taken nothing of what waits for that long.
    pub fn is_stalled(&self, timeout: Duration) -> bool {
        self.output.borrow().is_stalled(timeout)
    }

    /// Whether all is written, the farewell behind it.
    pub fn has_parted(&self) -> bool {
        let output = self.output.borrow();
        !self.is_open() && !output.broken && !output.holds()
    }

    pub fn shut_down(&self) {
        self.output.borrow_mut().transport.shut_down();
    }

    /// Why the hub or the worker wants it to end, and whether the farewell is queued already.
    pub fn ending(&self) -> Option<(CloseReason, bool)> {
        match &*self.ending.borrow() {
            Ending::Open => None,
            Ending::Asked(reason) => Some((reason.clone(), false)),
            Ending::Said(reason) => Some((reason.clone(), true)),
        }
    }

    /// How many names it claimed and did not get, if any.
    pub fn failed_claims(&self) -> Option<u32> {
        Some(self.failed_claims.get()).filter(|count| *count > 0)
    }

    /// A pong came: whether it answers the question if this client is alive.
    pub fn answers(&self, pong: &[u8]) -> bool {
        pong == CLAIM_PING && self.silence.answered()
    }

    // For the shard.

    pub(super) fn is_open(&self) -> bool {
        !matches!(*self.ending.borrow(), Ending::Said(_))
    }

    fn is_cut(&self) -> bool {
        matches!(*self.ending.borrow(), Ending::Said(CloseReason::SlowConsumer))
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn decided(&self, bytes: usize) {
        self.undecided.set(self.undecided.get().saturating_sub(1));
        self.undecided_bytes.set(self.undecided_bytes.get().saturating_sub(bytes));
        if self.awaits_decision.take() {
            self.wake();
        }
    }

    pub(super) fn claim_failed(&self) {
        self.failed_claims.set(self.failed_claims.get().saturating_add(1));
    }

    /// Asks the connection to end once what it sent is decided.
    pub(super) fn ask_to_end(&self, reason: CloseReason) {
        let mut ending = self.ending.borrow_mut();
        if matches!(*ending, Ending::Open) {
            *ending = Ending::Asked(reason);
            self.wake();
        }
    }

    /// Closes it: returns the frame with which its share of this turn ends.
    pub(super) fn close(&self, reason: CloseReason) -> Bytes {
        let frame = self.encoding.farewell(&reason);
        *self.ending.borrow_mut() = Ending::Said(reason);
        self.wake();
        frame
    }

    /// Whether one more ack of this turn is to be sent: a backend that never reads must not be cut
    /// for acks, so from half a queue on they are left out, and while all queues are `half_full`
    /// together from the first that waits.
    pub(super) fn wants_ack(&self, limits: QueueLimits, half_full: bool) -> bool {
        let coming = self.acks.get();
        let outbound = &self.output.borrow().outbound;
        let wanted = self.encoding == Encoding::WebSocket
            || !(outbound.is_half_full(limits, coming) || half_full && !outbound.is_empty());
        self.acks.set(coming + usize::from(wanted));
        wanted
    }

    /// Writes a turn's share, or queues what the socket does not take.
    pub(super) fn write(&self, parts: &[Part<'_>], limits: QueueLimits) {
        self.acks.set(0);
        let mut output = self.output.borrow_mut();
        output.write(parts, self.one_by_one());
        if self.is_open() && output.outbound.exceeds(limits) {
            self.cut(&mut output);
        }
        if output.holds() {
            // The task waits for the socket from here on.
            self.wake();
        }
    }

    /// A panic struck while it was served: who knows what was written to it. It ends without a word.
    pub(super) fn fail(&self) {
        let mut output = self.output.borrow_mut();
        output.break_off();
        output.ended = true;
        *self.ending.borrow_mut() = Ending::Said(CloseReason::Internal);
        self.wake();
    }

    /// Whether it would say something, were it read: while its messages wait, or the rest of one has to.
    /// (Who is delayed has sent something, but that may be pings without end.)
    pub(super) fn is_speaking(&self) -> bool {
        self.undecided.get() > 0 || self.delayed_in_message.get()
    }

    /// Whether a ping would stand behind what is being written.
    pub(super) fn is_being_written(&self) -> bool {
        self.output.borrow().holds()
    }

    /// Cuts a client whose socket has taken nothing for `timeout`.
    pub(super) fn cut_if_stalled(&self, timeout: Duration) {
        let mut output = self.output.borrow_mut();
        if self.is_open() && output.is_stalled(timeout) {
            self.cut(&mut output);
            self.wake();
        }
    }

    /// What waits to be written to it, in bytes.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.output.borrow().outbound.bytes()
    }

    /// Frees memory that its queue takes: cuts the client, even one that is closing, and one that was
    /// cut before loses the rest of the frame that has begun, too. `true`: it was not cut before.
    pub(super) fn make_room(&self) -> bool {
        let cuts = !self.is_cut();
        let mut output = self.output.borrow_mut();
        match cuts {
            true => self.cut(&mut output),
            false => output.break_off(),
        }
        self.wake();
        cuts
    }

    /// What has come of its messages whose rest has not, in bytes of memory.
    pub fn unfinished_bytes(&self) -> usize {
        self.unfinished.bytes()
    }

    pub(super) fn count_unfinished(&self, bytes: usize) {
        self.unfinished.set(bytes);
    }

    /// Frees the memory that its unfinished messages take: it ends, and with that its decoder drops
    /// them, before anything else is read from it.
    pub(super) fn give_up_unfinished(&self) {
        self.unfinished.set(0);
        self.ask_to_end(CloseReason::NoRoom);
    }

    /// A client that does not keep up is told so behind the frame that has begun, and loses the rest.
    fn cut(&self, output: &mut Output) {
        output.outbound.clear_to_frame(|frames, at| self.encoding.frame_end(frames, at));
        output.outbound.push_frames(self.encoding.farewell(&CloseReason::SlowConsumer), 0, 1);
        output.ended = true;
        *self.ending.borrow_mut() = Ending::Said(CloseReason::SlowConsumer);
    }

    /// PHP clients read once per message and take what comes for one JSON.
    pub(super) fn one_by_one(&self) -> bool {
        self.kind == ClientKind::Backend
    }
}

#[cfg(test)]
pub(super) mod tests;
