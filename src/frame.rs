//! Bytes to frames and back, on both kinds of stream: what a connection reads becomes [`Frame`]s,
//! what it sends goes out in an [`Encoding`].
//!
//! Nothing here does I/O or knows the time. The read buffer belongs to an I/O worker and serves all
//! its connections; a decoder keeps bytes only while a frame is incomplete, so that an idle one
//! holds no heap memory.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use crate::close::CloseReason;
use crate::session::Scheme;

pub mod forwarded;
pub mod handshake;
pub mod proxy;
pub mod raw;
pub mod sniff;
pub mod websocket;

/// The longest payload of a WebSocket control frame, in bytes (RFC 6455, section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// What a whole message is that starts the holding of pieces (the existing clients).
const BUFFER_ON: &[u8] = b"bufferON";
/// What a whole message, or the end of a burst, is that ends it (the existing clients).
const BUFFER_OFF: &[u8] = b"bufferOFF";

/// One unit on the wire, as the connection sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// One whole message: the text of a WebSocket message, one JSON object or array of a raw
    /// stream, or what was held between `bufferON` and `bufferOFF`. Always UTF-8, at most
    /// `message_bytes_max` long, perhaps empty; a raw one need not be valid JSON.
    Message(Bytes),
    /// Input that is acknowledged and otherwise ignored: `bufferON`, a held piece, a raw run that
    /// starts no JSON object or array, a raw value that is not UTF-8.
    Noise,
    /// A ping, to be answered with this payload (at most 125 bytes).
    Ping(Bytes),
    /// A pong with its payload (at most 125 bytes).
    Pong(Bytes),
    /// A data frame that completes no message; what it carries is kept until one does. Told so that
    /// each frame of a peer is one step of its connection, whatever it holds.
    Fragment,
    /// The peer's Close frame with its code (`None`: an empty body). Nothing may be decoded after it.
    Close(Option<u16>),
}

/// The decoder of one connection, for life.
#[derive(Debug)]
pub struct Decoder {
    /// Input that came when the caller had no room for frames; rare, therefore boxed.
    backlog: Option<Box<BytesMut>>,
    wire: Wire,
}

#[derive(Debug)]
enum Wire {
    WebSocket(websocket::Decoder),
    Raw(raw::Decoder),
}

impl Decoder {
    /// For the frames of a WebSocket client. `message_bytes_max` bounds a whole message over its
    /// fragments, and what `bufferON` holds.
    pub fn websocket(message_bytes_max: usize) -> Decoder {
        Decoder { backlog: None, wire: Wire::WebSocket(websocket::Decoder::new(message_bytes_max)) }
    }

    /// For the bare JSON of a raw client. `message_bytes_max` bounds one value, and what `bufferON`
    /// holds.
    pub fn raw(message_bytes_max: usize) -> Decoder {
        Decoder { backlog: None, wire: Wire::Raw(raw::Decoder::new(message_bytes_max)) }
    }

    /// The next frame out of what was kept and `input`, whose front it takes (and unmasks in place).
    /// `Ok(None)`: all input is taken, and kept as far as it is needed.
    ///
    /// # Errors
    /// `Protocol`, `NotUtf8` or `TooBig`; the stream has no meaning after one, so neither an error
    /// nor a [`Frame::Close`] may be followed by another call.
    pub fn decode(&mut self, input: &mut &mut [u8]) -> Result<Option<Frame>, CloseReason> {
        if let Some(mut backlog) = self.backlog.take() {
            let mut rest: &mut [u8] = &mut backlog;
            let frame = self.wire.decode(&mut rest)?;
            let left = rest.len();
            if left > 0 {
                let used = backlog.len() - left;
                backlog.advance(used);
                self.backlog = Some(backlog);
            }
            if frame.is_some() {
                return Ok(frame);
            }
        }
        self.wire.decode(input)
    }

    /// Keeps input that the caller has no room to decode now (back-pressure). A `decode` with empty
    /// input goes on with it; until that returned `Ok(None)` the caller should read no more, since
    /// nothing here bounds what is kept.
    pub fn keep(&mut self, input: &[u8]) {
        if !input.is_empty() {
            self.backlog.get_or_insert_default().extend_from_slice(input);
        }
    }

    /// Whether a part of a message has come in a frame whose rest has not. Not asked of raw clients.
    pub fn is_in_message(&self) -> bool {
        match &self.wire {
            Wire::WebSocket(websocket) => websocket.is_in_message(),
            Wire::Raw(_) => false,
        }
    }

    /// How much memory is kept for messages whose rest has not come: nothing behind a whole one. Input
    /// that was kept because the caller had no room is not counted.
    pub fn unfinished_bytes(&self) -> usize {
        match &self.wire {
            Wire::WebSocket(websocket) => websocket.unfinished_bytes(),
            Wire::Raw(raw) => raw.unfinished_bytes(),
        }
    }

    /// Drops all that is kept: nothing is decoded any more.
    pub fn clear(&mut self) {
        self.backlog = None;
        match &mut self.wire {
            Wire::WebSocket(websocket) => websocket.clear(),
            Wire::Raw(raw) => raw.clear(),
        }
    }

    /// Whether a pause in the input (`raw.pause_ms` without a byte) would decide something.
    pub fn awaits_pause(&self) -> bool {
        match &self.wire {
            Wire::WebSocket(_) => false,
            // Input that is kept came before the pause, and is to be decoded before it.
            Wire::Raw(raw) => self.backlog.is_none() && raw.awaits_pause(),
        }
    }

    /// The input has paused, or ended: judges the run or burst that is open. `None` where there is
    /// nothing to judge.
    pub fn pause(&mut self) -> Option<Frame> {
        match &mut self.wire {
            Wire::Raw(raw) if self.backlog.is_none() => raw.pause(),
            _ => None,
        }
    }
}

impl Wire {
    fn decode(&mut self, input: &mut &mut [u8]) -> Result<Option<Frame>, CloseReason> {
        match self {
            Wire::WebSocket(websocket) => websocket.decode(input),
            Wire::Raw(raw) => {
                let mut rest: &[u8] = input;
                let frame = raw.decode(&mut rest);
                let used = input.len() - rest.len();
                take(input, used);
                frame
            }
        }
    }
}

/// Appends a part of a message; the memory doubles with what has arrived, and never grows past the
/// `room` that is left to the announced or allowed length.
fn append(bytes: &mut Vec<u8>, part: &[u8], room: usize) {
    if bytes.capacity() - bytes.len() < part.len() {
        let more = bytes.len().min(room).max(part.len());
        bytes.reserve_exact(more);
    }
    bytes.extend_from_slice(part);
}

/// How outbound text is put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// One unmasked text frame with FIN set (RFC 6455, section 5.1: a server never masks).
    WebSocket,
    /// The bare bytes, with no delimiter (the existing clients).
    Raw,
}

impl From<Scheme> for Encoding {
    fn from(scheme: Scheme) -> Encoding {
        match scheme {
            Scheme::Ws | Scheme::Wss => Encoding::WebSocket,
            Scheme::Tcp | Scheme::Ssl => Encoding::Raw,
        }
    }
}

impl Encoding {
    /// Where the frame ends that holds the byte at `at`, of whole frames that this encoding made. A
    /// raw buffer holds a single one.
    pub fn frame_end(self, frames: &[u8], at: usize) -> usize {
        if self == Encoding::Raw {
            return frames.len();
        }
        let mut end = 0;
        while end <= at {
            let mut rest = std::io::Cursor::new(&frames[end.min(frames.len())..]);
            let Ok(Some((_, payload))) = FrameHeader::parse(&mut rest) else {
                return frames.len();
            };
            end += rest.position() as usize + payload as usize;
        }
        end.min(frames.len())
    }

    /// The last words to a client: a Close frame, or a `close` message where there is something to
    /// explain.
    pub fn farewell(self, reason: &CloseReason) -> Bytes {
        match (self, reason) {
            (Encoding::WebSocket, CloseReason::ClosedByPeer(None)) => empty_close_frame(),
            (Encoding::WebSocket, reason) => close_frame(reason.code(), &reason.text()),
            (Encoding::Raw, reason) if reason.text().is_empty() => Bytes::new(),
            (Encoding::Raw, reason) => {
                let error = serde_json::Value::from(reason.text());
                let code = reason.code();
                Bytes::from(format!(r#"{{"opcode":"close","error":{error},"code":{code}}}"#))
            }
        }
    }

    /// Appends `text`, which must be UTF-8, to `out`; reserves what that takes at once.
    pub fn encode(self, text: &[u8], out: &mut BytesMut) {
        match self {
            Encoding::WebSocket => frame_into(OpCode::Data(Data::Text), text, out),
            Encoding::Raw => out.extend_from_slice(text),
        }
    }
}

/// A Close frame (RFC 6455, section 5.5.1). `text` is cut at a character to the 123 bytes that have
/// room behind the code.
pub fn close_frame(code: u16, text: &str) -> Bytes {
    let text = &text[..text.floor_char_boundary(CONTROL_BYTES_MAX - 2)];
    let mut body = Vec::with_capacity(2 + text.len());
    body.extend_from_slice(&code.to_be_bytes());
    body.extend_from_slice(text.as_bytes());
    control_frame(Control::Close, &body)
}

/// The answer to a Close frame without a code, which may not be given one (RFC 6455, section 7.1.5).
pub fn empty_close_frame() -> Bytes {
    control_frame(Control::Close, &[])
}

/// A ping; of `payload` at most 125 bytes are sent.
pub fn ping_frame(payload: &[u8]) -> Bytes {
    control_frame(Control::Ping, payload)
}

/// The answer to a ping (RFC 6455, section 5.5.3); of `payload` at most 125 bytes are sent.
pub fn pong_frame(payload: &[u8]) -> Bytes {
    control_frame(Control::Pong, payload)
}

fn control_frame(control: Control, payload: &[u8]) -> Bytes {
    let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
    let mut out = BytesMut::new();
    frame_into(OpCode::Control(control), payload, &mut out);
    out.freeze()
}

fn frame_into(opcode: OpCode, payload: &[u8], out: &mut BytesMut) {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    // usize is at most 64 bits wide on every target of Rust's, so this widens.
    let length = payload.len() as u64;
    out.reserve(header.len(length) + payload.len());
    header.format(length, &mut out.writer()).expect("a write to memory does not fail");
    out.extend_from_slice(payload);
}

/// Takes up to `bytes` bytes off the front of `input`.
fn take<'a>(input: &mut &'a mut [u8], bytes: usize) -> &'a mut [u8] {
    let bytes = bytes.min(input.len());
    let (front, rest) = std::mem::take(input).split_at_mut(bytes);
    *input = rest;
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(encoding: Encoding, text: &[u8]) -> BytesMut {
        let mut out = BytesMut::from(&b"before"[..]);
        encoding.encode(text, &mut out);
        out.split_off(6)
    }

    #[test]
    fn text_on_the_wire() {
        let header = |length: usize| match length {
            125 => vec![0x81, 125],
            126 => vec![0x81, 126, 0, 126],
            0xffff => vec![0x81, 126, 0xff, 0xff],
            0x10000 => vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0],
            _ => vec![0x81, 0],
        };
        for length in [0, 125, 126, 0xffff, 0x10000] {
            let text = vec![b'x'; length];
            assert_eq!(encoded(Encoding::Raw, &text), text);
            let expected = [header(length), text.clone()].concat();
            assert_eq!(encoded(Encoding::WebSocket, &text), expected, "{length} bytes");
        }
    }

    #[test]
    fn where_a_frame_ends() {
        let mut frames = BytesMut::new();
        for length in [0, 3, 200] {
            Encoding::WebSocket.encode(&vec![b'x'; length], &mut frames);
        }
        let ends = [(0, 2), (1, 2), (2, 7), (6, 7), (7, 211), (210, 211), (211, 211)];
        for (at, end) in ends {
            assert_eq!(Encoding::WebSocket.frame_end(&frames, at), end, "at {at}");
        }
        assert_eq!(Encoding::Raw.frame_end(b"{}{}", 1), 4);
    }

    #[test]
    fn control_frames() {
        assert_eq!(ping_frame(b"hi"), &b"\x89\x02hi"[..]);
        assert_eq!(pong_frame(b""), &b"\x8a\x00"[..]);
        assert_eq!(pong_frame(&[7; 200])[..3], [0x8a, 125, 7]);
        assert_eq!(pong_frame(&[7; 200]).len(), 127);
        assert_eq!(empty_close_frame(), &b"\x88\x00"[..]);
        assert_eq!(close_frame(1000, ""), &b"\x88\x02\x03\xe8"[..]);
        assert_eq!(close_frame(1008, "slow"), &b"\x88\x06\x03\xf0slow"[..]);
    }

    #[test]
    fn the_text_of_a_close_is_cut_at_a_character() {
        for (text, length) in
            [("x".repeat(123), 123), ("x".repeat(124), 123), ("é".repeat(62), 122)]
        {
            let frame = close_frame(1000, &text);
            assert_eq!(usize::from(frame[1]), 2 + length);
            assert_eq!(frame[4..], text.as_bytes()[..length]);
        }
    }

    /// What is kept goes before what comes after it, and nothing of it is left when it is used up.
    #[test]
    fn the_backlog_is_in_order() {
        let mut decoder = Decoder::raw(100);
        decoder.keep(b"{}[");
        decoder.keep(b"]{");
        let mut input: &mut [u8] = &mut b"}".to_owned();
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = decoder.decode(&mut input) {
            frames.push(frame);
        }
        let expected = ["{}", "[]", "{}"].map(|text| Frame::Message(text.into()));
        assert_eq!(frames, expected);
        assert!(decoder.backlog.is_none());
    }
}
