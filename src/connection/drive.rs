//! A connection after its handshake: reads frames, hands messages over, writes what waits, and
//! says goodbye. One small future for each connection; what is rare is boxed.

mod reading;

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Sleep;

use super::allowance::Allowance;
use super::home::Home;
use super::membership::Membership;
use crate::close::CloseReason;
use crate::frame::Decoder;
use crate::hub::Link;
use crate::script::Ticket;
use reading::{READS_PER_TURN, give_way};

/// A client that goes on reading may take its farewell, and what waits before it, for so many stall
/// timeouts in all: a full queue of 4 MiB in the minute that this is by default takes 70 KB/s. Without
/// an end a byte now and then would hold a place for ever.
const STALLS_PER_FAREWELL: u32 = 6;

/// One connection's life after its handshake.
pub struct Drive {
    home: Rc<Home>,
    link: Rc<Link>,
    decoder: Decoder,
    phase: Phase,
    timer: Option<Pin<Box<Sleep>>>,
    membership: Option<Membership>,
    allowance: Option<Box<Allowance>>,
    /// While it waits for room in the script's queue.
    ticket: Option<Ticket>,
    /// Answers that wait for the end of the turn.
    pongs: BytesMut,
}

/// Where in its life it is. It only goes forward.
enum Phase {
    /// The script does not know the client yet: until then nothing may be written to it, a pong
    /// neither.
    Entering,
    Reading,
    /// No more input counts; what was received is still decided.
    Deciding(CloseReason),
    /// The farewell is queued; what waits is written, for so many stall timeouts more.
    Parting(CloseReason, u32),
    /// All is written and FIN sent; the peer has a moment to end its side.
    Lingering(CloseReason),
    Over(CloseReason),
}

impl Future for Drive {
    type Output = CloseReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.link.wake_with(cx.waker());
        loop {
            self.obey();
            match self.phase {
                Phase::Entering => {
                    if self.link.undecided() > 0 {
                        self.link.await_decision();
                        return Poll::Pending;
                    }
                    self.phase = Phase::Reading;
                }
                Phase::Reading => {
                    // Not awaited: a slow reader is read from as long as its queue holds.
                    let _ = self.link.poll_written(cx);
                    let input = self.poll_input(cx);
                    self.answer_pings();
                    self.count_unfinished();
                    let reason = ready!(input);
                    self.decide(reason);
                }
                Phase::Deciding(ref reason) => {
                    let _ = self.link.poll_written(cx);
                    if self.link.undecided() > 0 {
                        self.link.await_decision();
                        return Poll::Pending;
                    }
                    self.link.say_farewell(reason.clone());
                }
                Phase::Parting(..) => {
                    let peer_ended = self.poll_discard(cx).is_ready();
                    if self.link.poll_written(cx).is_ready() {
                        self.linger(peer_ended);
                    } else {
                        ready!(self.poll_timer(cx));
                        self.give_up_or_wait_on();
                    }
                }
                Phase::Lingering(_) => {
                    if self.poll_discard(cx).is_pending() {
                        ready!(self.poll_timer(cx));
                    }
                    self.phase = Phase::Over(self.reason());
                }
                Phase::Over(ref reason) => {
                    // Its slot is nobody else's while the hub knows it by that.
                    if self.link.undecided() > 0 {
                        self.link.await_decision();
                        return Poll::Pending;
                    }
                    return Poll::Ready(reason.clone());
                }
            }
        }
    }
}

impl Drive {
    pub fn new(home: Rc<Home>, link: Rc<Link>, decoder: Decoder, membership: Membership) -> Drive {
        Drive {
            allowance: None,
            ticket: None,
            home,
            link,
            decoder,
            phase: Phase::Entering,
            timer: None,
            membership: Some(membership),
            pongs: BytesMut::new(),
        }
    }

    /// Moves on where the hub or the worker wants an end.
    fn obey(&mut self) {
        match (&self.phase, self.link.ending()) {
            (Phase::Entering | Phase::Reading, Some((reason, false))) => self.decide(reason),
            (Phase::Entering | Phase::Reading | Phase::Deciding(_), Some((reason, true))) => {
                self.part(reason);
            }
            // Cut while it was closing: it has no more time than another that is cut.
            (Phase::Parting(old, _), Some((reason @ CloseReason::SlowConsumer, true)))
                if *old != reason =>
            {
                self.part(reason);
            }
            _ => {}
        }
    }

    fn decide(&mut self, reason: CloseReason) {
        self.leave(&reason);
        self.timer = None;
        self.phase = Phase::Deciding(reason);
    }

    fn part(&mut self, reason: CloseReason) {
        self.leave(&reason);
        let limits = &self.home.config().limits;
        let (time, more) = match reason {
            // It had its chance to read.
            CloseReason::SlowConsumer => (limits.linger_timeout, 0),
            _ => (limits.write_stall_timeout, STALLS_PER_FAREWELL - 1),
        };
        self.start_timer(time);
        self.phase = Phase::Parting(reason, more);
    }

    /// All is written: says so, and gives the peer a moment to end its side.
    fn linger(&mut self, peer_ended: bool) {
        self.link.shut_down();
        let reason = self.reason();
        self.phase = match peer_ended {
            true => Phase::Over(reason),
            false => Phase::Lingering(reason),
        };
        self.start_timer(self.home.config().limits.linger_timeout);
    }

    /// Time is up for a farewell that is not written: unless the peer is reading, slowly, and has not
    /// had all the time there is.
    fn give_up_or_wait_on(&mut self) {
        let timeout = self.home.config().limits.write_stall_timeout;
        match &mut self.phase {
            Phase::Parting(_, more @ 1..) if !self.link.is_stalled(timeout) => {
                *more -= 1;
                self.start_timer(timeout);
            }
            _ => self.phase = Phase::Over(self.reason()),
        }
    }

    /// Why it ends; the peer's end of stream while it has not ended.
    fn reason(&self) -> CloseReason {
        match &self.phase {
            Phase::Entering | Phase::Reading => CloseReason::EndOfStream,
            Phase::Deciding(reason)
            | Phase::Parting(reason, _)
            | Phase::Lingering(reason)
            | Phase::Over(reason) => reason.clone(),
        }
    }

    /// Leaves the hub: behind all that this client has sent, and before its farewell, which waits
    /// for it as for a message. So whoever hears the farewell knows that the names are free.
    fn leave(&mut self, reason: &CloseReason) {
        self.link.read_on();
        self.ticket = None;
        self.decoder.clear();
        self.count_unfinished();
        if let Some(membership) = self.membership.take() {
            self.link.submitted(0);
            membership.end(reason.clone());
        }
    }

    /// Tells how much is kept of unfinished messages, where that has changed.
    fn count_unfinished(&self) {
        let bytes = self.decoder.unfinished_bytes();
        if bytes != self.link.unfinished_bytes() {
            self.home.shard.borrow().count_unfinished(&self.link, bytes);
        }
    }

    /// Reads and drops, so that a peer that is still writing gets to read its farewell. Ready when
    /// the peer's side has ended.
    fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut buffer = self.home.buffer.borrow_mut();
        for _ in 0..READS_PER_TURN {
            match ready!(self.link.poll_read(cx, &mut buffer)) {
                Ok(count) if count > 0 => {}
                _ => return Poll::Ready(()),
            }
        }
        give_way(cx);
        Poll::Pending
    }

    fn start_timer(&mut self, duration: Duration) {
        self.timer = Some(Box::pin(tokio::time::sleep(duration)));
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests;
