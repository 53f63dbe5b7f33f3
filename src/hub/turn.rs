//! What one worker sends in one turn, gathered before any of it is written.
//!
//! Broadcasts go once into a log that all receivers share, so that a client that gets nothing else
//! is served by one write of the whole log, however many messages that is. What concerns a single
//! client is a mark at a position in the log: a frame of its own to put in there, a broadcast to
//! leave out, the place where it starts or stops to receive.

use bytes::{Bytes, BytesMut};

use crate::frame::Encoding;

/// A turn that holds this many bytes is written out before more is gathered: it is about what the
/// sockets take in one write, and larger logs only fall out of the cache.
pub const TURN_BYTES: usize = 256 * 1024;

/// And so is one with this many marks, some 3 MB of them: a message to a large room is as many as
/// it has members.
const TURN_MARKS: usize = 64 * 1024;

/// Gathers a turn.
#[derive(Default)]
pub struct Turn {
    log: BytesMut,
    /// Where each broadcast of the log ends.
    ends: Vec<usize>,
    /// Frames for single clients.
    aside: BytesMut,
    marks: Vec<(u32, Mark)>,
}

/// Something that concerns one client, at a position in the log.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: usize,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// One frame out of `aside`.
    Insert {
        from: usize,
        to: usize,
    },
    /// The broadcast that starts here and ends there is not for this client.
    Skip {
        to: usize,
    },
    Join,
    Leave,
}

impl Turn {
    pub fn is_empty(&self) -> bool {
        self.log.is_empty() && self.marks.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.log.len() + self.aside.len() >= TURN_BYTES || self.marks.len() >= TURN_MARKS
    }

    pub fn broadcast(&mut self, text: &[u8], except: Option<u32>) {
        let at = self.log.len();
        Encoding::WebSocket.encode(text, &mut self.log);
        self.ends.push(self.log.len());
        if let Some(slot) = except {
            self.marks.push((slot, Mark { at, what: What::Skip { to: self.log.len() } }));
        }
    }

    pub fn send(&mut self, slot: u32, text: &[u8], encoding: Encoding) {
        let from = self.aside.len();
        encoding.encode(text, &mut self.aside);
        self.insert(slot, from);
    }

    /// Sends one text to several WebSocket clients, which share its frame.
    pub fn send_to_all(&mut self, slots: impl Iterator<Item = u32>, text: &[u8]) {
        let mut slots = slots.peekable();
        if slots.peek().is_none() {
            return;
        }
        let from = self.aside.len();
        Encoding::WebSocket.encode(text, &mut self.aside);
        for slot in slots {
            self.insert(slot, from);
        }
    }

    /// Sends a frame that is encoded already.
    pub fn send_frame(&mut self, slot: u32, frame: &[u8]) {
        let from = self.aside.len();
        self.aside.extend_from_slice(frame);
        self.insert(slot, from);
    }

    fn insert(&mut self, slot: u32, from: usize) {
        let what = What::Insert { from, to: self.aside.len() };
        self.marks.push((slot, Mark { at: self.log.len(), what }));
    }

    pub fn join(&mut self, slot: u32) {
        self.marks.push((slot, Mark { at: self.log.len(), what: What::Join }));
    }

    pub fn leave(&mut self, slot: u32) {
        self.marks.push((slot, Mark { at: self.log.len(), what: What::Leave }));
    }

    /// Ends the turn; the next one gathers into `self`.
    pub fn finish(&mut self) -> Finished {
        // Stable: what concerns one client stays in its order.
        self.marks.sort_by_key(|(slot, _)| *slot);
        Finished {
            log: std::mem::take(&mut self.log).freeze(),
            aside: std::mem::take(&mut self.aside).freeze(),
            ends: std::mem::take(&mut self.ends),
            marks: std::mem::take(&mut self.marks),
        }
    }

    /// Takes the memory of a finished turn back, where no client's queue still holds it.
    pub fn reclaim(&mut self, finished: Finished) {
        fn reuse(buffer: Bytes) -> BytesMut {
            let mut buffer = buffer.try_into_mut().unwrap_or_default();
            buffer.clear();
            match buffer.capacity() > 2 * TURN_BYTES {
                true => BytesMut::new(),
                false => buffer,
            }
        }
        let Finished { log, aside, mut ends, mut marks } = finished;
        (self.log, self.aside) = (reuse(log), reuse(aside));
        ends.clear();
        marks.clear();
        (self.ends, self.marks) = (ends, marks);
    }
}

/// A turn that is complete and can be written.
pub struct Finished {
    log: Bytes,
    aside: Bytes,
    ends: Vec<usize>,
    marks: Vec<(u32, Mark)>,
}

/// A run of whole frames for one client.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// What `bytes` is a part of.
    pub buffer: &'a Bytes,
    pub bytes: &'a [u8],
    pub messages: usize,
}

impl Finished {
    /// What every member gets that no mark concerns; `None` where nothing was broadcast.
    pub fn common(&self) -> Option<Part<'_>> {
        (!self.log.is_empty()).then(|| self.part_of_log(0, self.log.len()))
    }

    /// The clients that something concerns, each with its share of the turn.
    pub fn single_clients(&self) -> impl Iterator<Item = (u32, Share<'_>)> {
        self.marks
            .chunk_by(|(one, _), (other, _)| one == other)
            .map(|marks| (marks[0].0, Share { turn: self, marks }))
    }

    fn part_of_log(&self, from: usize, to: usize) -> Part<'_> {
        let before = |position: usize| self.ends.partition_point(|end| *end <= position);
        Part { buffer: &self.log, bytes: &self.log[from..to], messages: before(to) - before(from) }
    }
}

/// One client's share of a turn.
#[derive(Clone, Copy)]
pub struct Share<'a> {
    turn: &'a Finished,
    marks: &'a [(u32, Mark)],
}

impl<'a> Share<'a> {
    /// Its parts in order. `member`: whether the client receives broadcasts at the turn's end.
    /// `one_by_one`: whether each message is to be a part of its own; else frames that lie one behind
    /// the other are one, because a plain write is cheaper than a vectored one.
    pub fn parts(&self, member: bool, one_by_one: bool, parts: &mut Vec<Part<'a>>) {
        // The first change of membership tells what it was before; without one it did not change.
        let mut receives = self
            .marks
            .iter()
            .find_map(|(_, mark)| match mark.what {
                What::Join => Some(false),
                What::Leave => Some(true),
                _ => None,
            })
            .unwrap_or(member);
        let (mut at, mut joint) = (0, None);
        for (_, mark) in self.marks {
            if receives && at < mark.at {
                self.push_log(at, mark.at, parts);
                joint = None;
            }
            at = mark.at;
            match mark.what {
                What::Insert { from, to } => {
                    joint = match (joint, parts.last_mut()) {
                        (Some((start, end)), Some(last)) if end == from && !one_by_one => {
                            last.bytes = &self.turn.aside[start..to];
                            last.messages += 1;
                            Some((start, to))
                        }
                        _ => {
                            let (buffer, bytes) = (&self.turn.aside, &self.turn.aside[from..to]);
                            parts.push(Part { buffer, bytes, messages: 1 });
                            Some((from, to))
                        }
                    };
                }
                What::Skip { to } => at = to,
                What::Join => receives = true,
                What::Leave => receives = false,
            }
        }
        if receives {
            self.push_log(at, self.turn.log.len(), parts);
        }
    }

    fn push_log(&self, from: usize, to: usize, parts: &mut Vec<Part<'a>>) {
        if from < to {
            parts.push(self.turn.part_of_log(from, to));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(turn: &Finished, slot: u32, member: bool) -> (String, Vec<usize>) {
        let mut parts = Vec::new();
        match turn.single_clients().find(|(s, _)| *s == slot) {
            Some((_, share)) => share.parts(member, false, &mut parts),
            None => parts.extend(turn.common().filter(|_| member)),
        }
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.bytes).copied().collect();
        // Frames here are two bytes of header and one of text.
        let text = bytes.chunks(3).map(|frame| frame[2] as char).collect();
        (text, parts.iter().map(|part| part.messages).collect())
    }

    #[test]
    fn each_client_gets_its_share_in_order() {
        let mut turn = Turn::default();
        turn.send(1, b"a", Encoding::WebSocket);
        turn.broadcast(b"1", Some(1));
        turn.send(2, b"b", Encoding::WebSocket);
        turn.join(3);
        turn.broadcast(b"2", None);
        turn.leave(4);
        turn.send(4, b"x", Encoding::WebSocket);
        turn.broadcast(b"3", Some(2));
        turn.send(1, b"c", Encoding::WebSocket);
        let turn = turn.finish();
        assert_eq!(texts(&turn, 0, true), ("123".to_owned(), vec![3]));
        assert_eq!(texts(&turn, 0, false), (String::new(), vec![]));
        assert_eq!(texts(&turn, 1, true), ("a23c".to_owned(), vec![1, 2, 1]));
        assert_eq!(texts(&turn, 1, false), ("ac".to_owned(), vec![1, 1]));
        assert_eq!(texts(&turn, 2, true), ("1b2".to_owned(), vec![1, 1, 1]));
        assert_eq!(texts(&turn, 3, true), ("23".to_owned(), vec![2]));
        assert_eq!(texts(&turn, 4, false), ("12x".to_owned(), vec![2, 1]));
    }

    #[test]
    fn what_several_clients_get_is_encoded_once() {
        let mut turn = Turn::default();
        turn.broadcast(b"1", Some(3));
        turn.send_to_all([1, 2, 3].into_iter(), b"r");
        turn.send(2, b"b", Encoding::WebSocket);
        turn.send_to_all([2, 3].into_iter(), b"s");
        turn.send_to_all(std::iter::empty(), b"nobody");
        turn.broadcast(b"2", None);
        let turn = turn.finish();
        assert_eq!(turn.aside.len(), 9);
        assert_eq!(texts(&turn, 1, true).0, "1r2");
        assert_eq!(texts(&turn, 2, true).0, "1rbs2");
        assert_eq!(texts(&turn, 3, true).0, "rs2");
        assert_eq!(texts(&turn, 3, false).0, "rs");
    }

    #[test]
    fn neighbours_are_one_part_unless_they_go_one_by_one() {
        let mut turn = Turn::default();
        turn.send(1, b"a", Encoding::WebSocket);
        turn.send(1, b"b", Encoding::WebSocket);
        turn.send(2, b"x", Encoding::WebSocket);
        turn.send(1, b"c", Encoding::WebSocket);
        turn.broadcast(b"1", None);
        turn.send(1, b"d", Encoding::WebSocket);
        turn.send(1, b"e", Encoding::WebSocket);
        let turn = turn.finish();
        assert_eq!(texts(&turn, 1, true), ("abc1de".to_owned(), vec![2, 1, 1, 2]));
        assert_eq!(texts(&turn, 1, false), ("abcde".to_owned(), vec![2, 3]));
        let (_, share) = turn.single_clients().next().expect("a share");
        let mut parts = Vec::new();
        share.parts(true, true, &mut parts);
        assert_eq!(parts.iter().map(|part| part.messages).collect::<Vec<_>>(), [1; 6]);
    }

    #[test]
    fn joining_and_leaving_in_one_turn() {
        let mut turn = Turn::default();
        turn.broadcast(b"1", None);
        turn.join(7);
        turn.broadcast(b"2", None);
        turn.leave(7);
        turn.broadcast(b"3", None);
        let turn = turn.finish();
        assert_eq!(texts(&turn, 7, false).0, "2");
    }

    #[test]
    fn memory_is_used_again_unless_a_queue_holds_it() {
        let mut turn = Turn::default();
        turn.broadcast(b"1", None);
        let finished = turn.finish();
        let place = finished.log.as_ptr();
        turn.reclaim(finished);
        turn.broadcast(b"2", None);
        let finished = turn.finish();
        assert_eq!(finished.log.as_ptr(), place);
        let held = finished.log.slice(..1);
        turn.reclaim(finished);
        turn.broadcast(b"3", None);
        assert_ne!(turn.finish().log.as_ptr(), held.as_ptr());
    }
}
