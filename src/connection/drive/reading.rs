//! The reading of a connection: bytes to frames to events, in turns.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use super::Drive;
use crate::close::CloseReason;
use crate::connection::allowance::Allowance;
use crate::frame::{self, Frame};
use crate::message::{Message, MessageLimits, NoMessage};
use crate::script::Event;

/// How many times a connection reads before the others have their turn: a flood by one delays
/// the others by this much decoding at most.
pub(super) const READS_PER_TURN: usize = 2;

/// How many frames it takes before that, of whatever kind: those that need no decision, pings and
/// fragments, are bounded by nothing else.
pub(super) const FRAMES_PER_TURN: usize = 256;

impl Drive {
    /// Reads, decodes and hands over until there is no input (pending) or never will be again.
    pub(super) fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let input = self.poll_frames(cx);
        // Room that it waited for and has no use for any more is for the next.
        if self.ticket.take_if(|ticket| !ticket.waits()).is_some() {
            self.home.intake.call();
        }
        input
    }

    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        ready!(self.poll_delay(cx));
        let home = Rc::clone(&self.home);
        Allowance::follow(&home.config().limits, &mut self.allowance);
        let mut buffer = home.buffer.borrow_mut();
        let (mut reads, mut frames, mut count) = (0, 0, 0);
        loop {
            let mut input = &mut buffer[..count];
            loop {
                if frames == FRAMES_PER_TURN {
                    give_way(cx);
                }
                if frames == FRAMES_PER_TURN || !self.may_submit(cx) || !self.may_send_frame(cx) {
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
            let Some(most) = self.may_send_bytes(cx, buffer.len()) else { return Poll::Pending };
            count = match self.link.poll_read(cx, &mut buffer[..most]) {
                Poll::Pending => return self.poll_pause(cx),
                Poll::Ready(Ok(0)) => return Poll::Ready(self.end_of_stream()),
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(error)) => return Poll::Ready(self.broken(&error)),
            };
            self.timer = None;
            if let Some(allowance) = &mut self.allowance {
                allowance.has_sent_bytes(count);
            }
        }
    }

    /// Whether this client may send a frame now; else its reading is delayed until it may.
    fn may_send_frame(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(allowance) = &self.allowance else { return true };
        let wait = allowance.frame_wait();
        self.is_in_time(cx, wait)
    }

    /// How many bytes it may send now, `most` if nothing else limits them. `None`: its reading is
    /// delayed until it may.
    fn may_send_bytes(&mut self, cx: &mut Context<'_>, most: usize) -> Option<usize> {
        let Some(allowance) = &self.allowance else { return Some(most) };
        let (wait, at_once) = (allowance.read_wait(), allowance.bytes_at_once());
        self.is_in_time(cx, wait).then_some(most.min(at_once))
    }

    /// Whether there is nothing to wait for; else begins the delay.
    fn is_in_time(&mut self, cx: &mut Context<'_>, wait: Duration) -> bool {
        if wait.is_zero() {
            return true;
        }
        self.link.delay(self.decoder.is_in_message());
        self.start_timer(wait);
        // Over at once only where it was hardly any.
        if self.poll_delay(cx).is_ready() {
            give_way(cx);
        }
        false
    }

    /// Ready unless the client is delayed.
    fn poll_delay(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.link.is_delayed() {
            ready!(self.poll_timer(cx));
            self.timer = None;
            self.link.read_on();
        }
        Poll::Ready(())
    }

    /// Whether one more message may wait for the script, of this client and of this worker.
    fn may_submit(&mut self, cx: &Context<'_>) -> bool {
        let limits = &self.home.config().limits;
        if self.link.undecided() >= limits.undecided_messages_max
            || self.link.undecided_bytes() >= limits.undecided_bytes_max
        {
            self.link.await_decision();
            if self.link.has_peer_ended()
                && let Some(membership) = &mut self.membership
            {
                membership.depart();
            }
            return false;
        }
        self.home.intake.admits(&mut self.ticket, cx.waker())
    }

    fn take(&mut self, frame: Frame) {
        if let Some(allowance) = &mut self.allowance {
            allowance.has_sent_frame();
        }
        match frame {
            Frame::Message(text) => self.submit_text(text),
            Frame::Noise => self.submit_noise(),
            Frame::Ping(payload) => self.pongs.extend_from_slice(&frame::pong_frame(&payload)),
            Frame::Pong(payload) => {
                if self.link.answers(&payload) {
                    self.home.intake.announce(Event::Alive { id: self.link.id });
                }
            }
            Frame::Fragment | Frame::Close(_) => {}
        }
    }

    /// All pongs of a turn in one write: a flood of pings costs no more than one.
    pub(super) fn answer_pings(&mut self) {
        if !self.pongs.is_empty() {
            let pongs = std::mem::take(&mut self.pongs).freeze();
            self.home.shard.borrow().send_frame(&self.link, pongs);
        }
    }

    fn submit_text(&mut self, text: Bytes) {
        let (from, bytes) = (self.link.id, text.len());
        let limits = MessageLimits::from(&self.home.config().limits);
        let event = match Message::parse(text, limits) {
            Ok(message) => Event::Message { from, message },
            // No frame has such a text.
            Err(NoMessage::NotText) => return self.submit_noise(),
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

    fn submit_noise(&self) {
        self.submit(Event::Noise { from: self.link.id }, 0);
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
}

/// Has the task go on when all others had their turn and the sockets were asked for news. A task
/// that wakes itself plainly is back before that, sixty times in a row: so often tokio asks while
/// there is anything to run.
pub(super) fn give_way(cx: &mut Context<'_>) {
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}
