//! A connection after its handshake: reads frames, hands messages over, writes what waits, and
//! says goodbye. One small future for each connection; what is rare is boxed.

use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Sleep;

use super::home::Home;
use super::membership::Membership;
use crate::close::CloseReason;
use crate::frame::{self, Decoder, Frame};
use crate::hub::Link;
use crate::message::{Message, MessageLimits, NoMessage};
use crate::outbound::QueueLimits;
use crate::script::Event;

/// How many times a connection reads before the others have their turn: a flood by one delays
/// the others by this much decoding at most.
const READS_PER_TURN: usize = 2;

/// How many frames it takes before that, of whatever kind: those that need no decision, pings and
/// fragments, are bounded by nothing else.
const FRAMES_PER_TURN: usize = 256;

/// One connection's life after its handshake.
pub struct Drive {
    home: Rc<Home>,
    link: Rc<Link>,
    decoder: Decoder,
    phase: Phase,
    timer: Option<Pin<Box<Sleep>>>,
    membership: Option<Membership>,
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
    /// The farewell is queued; what waits is written.
    Parting(CloseReason),
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
                Phase::Parting(_) => {
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
                Phase::Over(ref reason) => return Poll::Ready(reason.clone()),
            }
        }
    }
}

impl Drive {
    pub fn new(home: Rc<Home>, link: Rc<Link>, decoder: Decoder, membership: Membership) -> Drive {
        Drive {
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
        self.start_timer(match reason {
            // It had its chance to read.
            CloseReason::SlowConsumer => limits.linger_timeout,
            _ => limits.write_stall_timeout,
        });
        self.phase = Phase::Parting(reason);
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

    /// Time is up for a farewell that is not written: unless the peer is reading, slowly.
    fn give_up_or_wait_on(&mut self) {
        let timeout = self.home.config().limits.write_stall_timeout;
        let slow = self.reason() == CloseReason::SlowConsumer;
        if slow || self.link.is_stalled(timeout) {
            self.phase = Phase::Over(self.reason());
        } else {
            self.start_timer(timeout);
        }
    }

    /// Why it ends; the peer's end of stream while it has not ended.
    fn reason(&self) -> CloseReason {
        match &self.phase {
            Phase::Entering | Phase::Reading => CloseReason::EndOfStream,
            Phase::Deciding(reason)
            | Phase::Parting(reason)
            | Phase::Lingering(reason)
            | Phase::Over(reason) => reason.clone(),
        }
    }

    /// Leaves the hub: behind all that this client has sent, and before its farewell, which waits
    /// for it as for a message. So whoever hears the farewell knows that the names are free.
    fn leave(&mut self, reason: &CloseReason) {
        if let Some(membership) = self.membership.take() {
            self.link.submitted(0);
            membership.end(reason.clone());
        }
    }

    /// Reads, decodes and hands over until there is no input (pending) or never will be again.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let home = Rc::clone(&self.home);
        let mut buffer = home.buffer.borrow_mut();
        let (mut reads, mut frames, mut count) = (0, 0, 0);
        loop {
            let mut input = &mut buffer[..count];
            loop {
                if frames == FRAMES_PER_TURN {
                    give_way(cx);
                }
                if frames == FRAMES_PER_TURN || !self.may_submit(cx) {
                    self.decoder.keep(input);
                    return Poll::Pending;
                }
                frames += 1;
                match self.decoder.decode(&mut input) {
                    Ok(Some(Frame::Close(code))) => {
                        return Poll::Ready(CloseReason::ClosedByPeer(code));
                    }
                    Ok(Some(frame)) => self.take(frame),
                    Ok(None) => break,
                    Err(reason) => return Poll::Ready(reason),
                }
            }
            if reads == READS_PER_TURN {
                give_way(cx);
                return Poll::Pending;
            }
            reads += 1;
            count = match self.link.poll_read(cx, &mut buffer) {
                Poll::Pending => return self.poll_pause(cx),
                Poll::Ready(Ok(0)) => return Poll::Ready(self.end_of_stream()),
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(error)) => return Poll::Ready(self.broken(&error)),
            };
            self.timer = None;
        }
    }

    /// Whether one more message may wait for the script, of this client and of this worker.
    fn may_submit(&self, cx: &Context<'_>) -> bool {
        let limits = &self.home.config().limits;
        if self.link.undecided() >= limits.undecided_messages_max
            || self.link.undecided_bytes() >= limits.undecided_bytes_max
        {
            self.link.await_decision();
            return false;
        }
        if !self.home.intake.has_room() {
            self.home.intake.wake_when_room(cx.waker());
            return false;
        }
        true
    }

    fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Message(text) => self.submit_text(text),
            Frame::Noise => self.submit(Event::Noise { from: self.link.id, bytes: 0 }, 0),
            Frame::Ping(payload) => self.pongs.extend_from_slice(&frame::pong_frame(&payload)),
            Frame::Pong(_) | Frame::Fragment | Frame::Close(_) => {}
        }
    }

    /// All pongs of a turn in one write: a flood of pings costs no more than one.
    fn answer_pings(&mut self) {
        if !self.pongs.is_empty() {
            let pongs = std::mem::take(&mut self.pongs).freeze();
            self.link.send_frame(pongs, QueueLimits::from(&self.home.config().limits));
        }
    }

    fn submit_text(&mut self, text: Bytes) {
        let (from, bytes) = (self.link.id, text.len());
        let limits = MessageLimits::from(&self.home.config().limits);
        let event = match Message::parse(text, limits) {
            Ok(message) => Event::Message { from, message },
            Err(NoMessage::NotJson) => Event::Noise { from, bytes },
            Err(NoMessage::TooDeep) => {
                let text = format!("nested deeper than {} levels", limits.depth_max);
                Event::Refused { from, bytes, code: "too_deep", text }
            }
            Err(NoMessage::OpcodeTooLong) => {
                let text = format!("an opcode over {} bytes", limits.opcode_bytes_max);
                Event::Refused { from, bytes, code: "opcode_too_long", text }
            }
        };
        self.submit(event, bytes);
    }

    fn submit(&self, event: Event, bytes: usize) {
        self.link.submitted(bytes);
        self.home.intake.submit(event, bytes);
    }

    /// The input has paused: raw input that is no JSON is judged when that lasts.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        if !self.decoder.awaits_pause() {
            return Poll::Pending;
        }
        if self.timer.is_none() {
            self.start_timer(self.home.config().raw.pause);
        }
        if self.poll_timer(cx).is_ready() {
            self.timer = None;
            self.judge_pause();
        }
        Poll::Pending
    }

    fn judge_pause(&mut self) {
        if let Some(frame) = self.decoder.pause() {
            self.take(frame);
        }
    }

    fn end_of_stream(&mut self) -> CloseReason {
        self.judge_pause();
        CloseReason::EndOfStream
    }

    fn broken(&mut self, error: &io::Error) -> CloseReason {
        self.judge_pause();
        tracing::debug!(session = self.link.id.serial, %error, "connection broken");
        CloseReason::Broken
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

/// Has the task go on when all others had their turn and the sockets were asked for news. A task
/// that wakes itself plainly is back before that, sixty times in a row: so often tokio asks while
/// there is anything to run.
fn give_way(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

#[cfg(test)]
mod tests;
