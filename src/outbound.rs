//! What a client has been sent but its socket has not taken. Empty, and without memory of its own,
//! for every client that keeps up.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::Bytes;

use crate::config::Limits;
use crate::transport::Transport;
use crate::waiting::{Counted, Sum};

/// A slice that is smaller than this part of the buffer it would keep alive is copied instead, so
/// that a queue never holds more than this many times what it counts.
const PINNED_PER_COUNTED: usize = 2;

/// How many pieces one write takes at most; the kernel takes up to 1,024.
const PIECES_PER_WRITE: usize = 64;

/// The outbound queue of one client.
pub struct Outbound {
    pieces: VecDeque<Piece>,
    /// How much of the first piece is written.
    written: usize,
    bytes: Counted,
    messages: usize,
}

/// Whole frames, one or several, but for the part of the first piece that is written.
struct Piece {
    bytes: Bytes,
    messages: usize,
}

/// The bounds of one client's queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    pub bytes_max: usize,
    pub messages_max: usize,
}

impl From<&Limits> for QueueLimits {
    fn from(limits: &Limits) -> QueueLimits {
        let (bytes_max, messages_max) = (limits.queue_bytes_max, limits.queue_messages_max);
        QueueLimits { bytes_max, messages_max }
    }
}

impl Outbound {
    /// An empty one, which is counted there.
    pub fn new(queues: &Sum) -> Outbound {
        let bytes = Counted::new(queues);
        Outbound { pieces: VecDeque::new(), written: 0, bytes, messages: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that wait, those of shared buffers counted in full.
    pub fn bytes(&self) -> usize {
        self.bytes.bytes()
    }

    pub fn exceeds(&self, limits: QueueLimits) -> bool {
        self.bytes() > limits.bytes_max || self.messages > limits.messages_max
    }

    /// Whether acks to a client that never reads are to be left out, with `coming` messages more on
    /// their way.
    pub fn is_half_full(&self, limits: QueueLimits, coming: usize) -> bool {
        self.bytes() > limits.bytes_max / 2 || self.messages + coming > limits.messages_max / 2
    }

    /// Appends whole frames that are a part of `buffer`; `written` bytes of them have gone out
    /// already, which is possible only where nothing waits.
    pub fn push(&mut self, buffer: &Bytes, part: &[u8], written: usize, messages: usize) {
        let bytes = match part.len() * PINNED_PER_COUNTED < buffer.len() {
            true => Bytes::copy_from_slice(part),
            false => buffer.slice_ref(part),
        };
        self.push_frames(bytes, written, messages);
    }

    /// Appends whole frames in a buffer of their own.
    pub fn push_frames(&mut self, bytes: Bytes, written: usize, messages: usize) {
        if written > 0 {
            debug_assert!(self.pieces.is_empty(), "only what is written first is written in part");
            self.written = written;
        }
        self.bytes.set(self.bytes() + bytes.len() - written);
        self.messages += messages;
        self.pieces.push_back(Piece { bytes, messages });
    }

    /// Writes until all is written or the socket takes no more; returns how much went out.
    /// `one_by_one`: a write per piece, for clients that read once per message.
    pub fn write(&mut self, transport: &mut Transport, one_by_one: bool) -> io::Result<usize> {
        let mut total = 0;
        while !self.pieces.is_empty() {
            let most = if one_by_one { 1 } else { PIECES_PER_WRITE };
            let mut slices = [IoSlice::new(&[]); PIECES_PER_WRITE];
            let mut count = 0;
            for (slot, piece) in slices.iter_mut().zip(self.pieces.iter().take(most)) {
                let skip = if count == 0 { self.written } else { 0 };
                *slot = IoSlice::new(&piece.bytes[skip..]);
                count += 1;
            }
            match transport.try_write(&slices[..count]) {
                Ok(written) => {
                    self.advance(written);
                    total += written;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn advance(&mut self, written: usize) {
        self.bytes.set(self.bytes() - written);
        self.written += written;
        while let Some(first) = self.pieces.front() {
            if self.written < first.bytes.len() {
                return;
            }
            self.written -= first.bytes.len();
            self.messages -= first.messages;
            self.pieces.pop_front();
        }
        // A queue that is empty again gives its memory back.
        self.pieces = VecDeque::new();
    }

    /// Drops all that waits.
    pub fn clear(&mut self) {
        self.bytes.set(0);
        self.pieces = VecDeque::new();
        (self.written, self.messages) = (0, 0);
    }

    /// Drops all that waits, but for the rest of a frame that has begun: `frame_end` tells where
    /// the frame that holds the byte at an offset ends.
    pub fn clear_to_frame(&mut self, frame_end: impl Fn(&[u8], usize) -> usize) {
        let first = self.pieces.pop_front().filter(|_| self.written > 0);
        let written = self.written;
        self.clear();
        if let Some(Piece { bytes, .. }) = first {
            let end = frame_end(&bytes, written - 1).min(bytes.len());
            if end > written {
                self.push_frames(bytes.slice(..end), written, 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting::Waiting;

    fn empty() -> Outbound {
        Outbound::new(&Waiting::of_workers(1).remove(0).queues)
    }

    fn frames(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn accounts_for_what_waits() {
        let limits = QueueLimits { bytes_max: 10, messages_max: 3 };
        let mut queue = empty();
        queue.push_frames(frames("aaaaa"), 2, 1);
        assert_eq!((queue.bytes(), queue.messages), (3, 1));
        queue.push_frames(frames("bbbbb"), 0, 2);
        assert!(!queue.exceeds(limits) && queue.is_half_full(limits, 0));
        queue.push_frames(frames("ccc"), 0, 1);
        assert!(queue.exceeds(limits));
        queue.advance(3 + 4);
        assert_eq!((queue.bytes(), queue.messages, queue.written), (4, 3, 4));
        queue.advance(4);
        assert!(queue.is_empty());
        assert_eq!((queue.bytes(), queue.messages, queue.written), (0, 0, 0));
    }

    #[test]
    fn all_queues_are_counted_together() {
        let waiting = Waiting::of_workers(1).remove(0).queues;
        let mut queues = [(); 3].map(|()| Outbound::new(&waiting));
        for queue in &mut queues {
            queue.push_frames(frames("aaaabbbb"), 2, 2);
            queue.push_frames(frames("cccc"), 0, 1);
        }
        assert_eq!(waiting.in_all(), 30);
        let [mut one, mut other, gone] = queues;
        one.advance(6);
        assert_eq!(waiting.in_all(), 24);
        other.clear_to_frame(|_, at| (at / 4 + 1) * 4);
        assert_eq!(waiting.in_all(), 16);
        drop(gone);
        assert_eq!(waiting.in_all(), 6);
        one.clear();
        assert_eq!((waiting.in_all(), other.bytes()), (2, 2));
    }

    #[test]
    fn a_small_part_does_not_keep_a_large_buffer() {
        let buffer = Bytes::from(vec![b'x'; 1000]);
        let mut queue = empty();
        queue.push(&buffer, &buffer[..10], 0, 1);
        queue.push(&buffer, &buffer[..600], 0, 60);
        let shares = |piece: &Piece| piece.bytes.as_ptr() == buffer.as_ptr();
        assert_eq!(queue.pieces.iter().map(shares).collect::<Vec<_>>(), [false, true]);
        assert_eq!(queue.bytes(), 610);
    }

    #[test]
    fn clearing_keeps_the_frame_that_has_begun() {
        let by_four = |_: &[u8], at: usize| (at / 4 + 1) * 4;
        let mut queue = empty();
        queue.push_frames(frames("aaaabbbbcccc"), 5, 3);
        queue.push_frames(frames("dddd"), 0, 1);
        queue.clear_to_frame(by_four);
        assert_eq!((queue.bytes(), queue.messages), (3, 1));
        assert_eq!(&queue.pieces[0].bytes[..], b"aaaabbbb");

        let mut between = empty();
        between.push_frames(frames("aaaabbbb"), 4, 2);
        between.clear_to_frame(by_four);
        assert!(between.is_empty());

        let mut fresh = empty();
        fresh.push_frames(frames("aaaa"), 0, 1);
        fresh.clear_to_frame(by_four);
        assert!(fresh.is_empty() && fresh.bytes() == 0);
    }
}
