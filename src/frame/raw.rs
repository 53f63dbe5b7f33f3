//! The streaming splitter of raw streams: bare JSON with no delimiters (the existing clients).
//!
//! It finds where objects and arrays end and nothing else; whether they are valid is for the JSON
//! parser. Each byte is scanned once, however the stream is cut.

use bytes::Bytes;
use memchr::memchr3;

use super::{BUFFER_OFF, BUFFER_ON, Frame, append};
use crate::close::CloseReason;
use burst::Burst;
use scan::{Quote, Scan};

mod burst;
mod scan;

/// Splits the stream of one raw client.
#[derive(Debug)]
pub struct Decoder {
    message_bytes_max: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Between values; whitespace is skipped.
    Between,
    /// In an object or array whose end has not arrived.
    Value(Box<Value>),
    /// In a run of bytes that starts no object or array.
    Run(Run),
    /// After `bufferON`.
    Burst(Box<Burst>),
}

impl Decoder {
    pub(super) fn new(message_bytes_max: usize) -> Decoder {
        Decoder { message_bytes_max, state: State::Between }
    }

    /// As [`super::Decoder::unfinished_bytes`].
    pub(super) fn unfinished_bytes(&self) -> usize {
        match &self.state {
            State::Between | State::Run(_) => 0,
            State::Value(value) => value.bytes.capacity(),
            State::Burst(burst) => burst.held.capacity(),
        }
    }

    /// As [`super::Decoder::clear`].
    pub(super) fn clear(&mut self) {
        self.state = State::Between;
    }

    /// As [`super::Decoder::decode`].
    pub(super) fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, CloseReason> {
        loop {
            let frame = match &mut self.state {
                State::Between => self.begin(input),
                State::Value(_) => self.go_on(input),
                State::Run(run) => {
                    let is_over = run.take(input);
                    Ok(is_over.then(|| self.end_run()))
                }
                State::Burst(_) => self.burst(input),
            }?;
            if frame.is_some() || input.is_empty() {
                return Ok(frame);
            }
        }
    }

    /// As [`super::Decoder::awaits_pause`].
    pub(super) fn awaits_pause(&self) -> bool {
        match &self.state {
            State::Between | State::Value(_) => false,
            State::Run(_) => true,
            State::Burst(burst) => burst.is_unacked,
        }
    }

    /// As [`super::Decoder::pause`].
    pub(super) fn pause(&mut self) -> Option<Frame> {
        match &mut self.state {
            State::Between | State::Value(_) => None,
            State::Run(_) => Some(self.end_run()),
            State::Burst(burst) if !burst.is_unacked => None,
            State::Burst(burst) => {
                burst.is_unacked = false;
                let Some(held) = burst.held.trim_ascii_end().strip_suffix(BUFFER_OFF) else {
                    return Some(Frame::Noise);
                };
                let length = held.len();
                let mut held = std::mem::take(&mut burst.held);
                held.truncate(length);
                self.state = State::Between;
                Some(message(held))
            }
        }
    }

    /// Skips whitespace and begins what comes then. A value that lies whole in the input is copied
    /// from there into its message.
    fn begin(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, CloseReason> {
        *input = input.trim_ascii_start();
        match input.first() {
            None => return Ok(None),
            Some(b'{' | b'[') => {}
            Some(_) => {
                self.state = State::Run(Run::default());
                return Ok(None);
            }
        }
        let mut scan = Scan::default();
        let bytes = scan.take(input);
        if bytes.len() > self.message_bytes_max {
            return Err(self.too_big());
        }
        let bytes = bytes.to_vec();
        if scan.is_over() {
            return Ok(Some(message(bytes)));
        }
        self.state = State::Value(Box::new(Value { bytes, scan }));
        Ok(None)
    }

    /// More of a value.
    fn go_on(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, CloseReason> {
        let State::Value(value) = &mut self.state else {
            return Ok(None);
        };
        let part = value.scan.take(input);
        let room = self.message_bytes_max.saturating_sub(value.bytes.len());
        if part.len() > room {
            return Err(self.too_big());
        }
        append(&mut value.bytes, part, room);
        if !value.scan.is_over() {
            return Ok(None);
        }
        let bytes = std::mem::take(&mut value.bytes);
        self.state = State::Between;
        Ok(Some(message(bytes)))
    }

    /// Judges a run: its one ack, and whether it was `bufferON`.
    fn end_run(&mut self) -> Frame {
        let is_buffer_on = matches!(&self.state, State::Run(run) if run.is_buffer_on());
        self.state = match is_buffer_on {
            true => State::Burst(Box::default()),
            false => State::Between,
        };
        Frame::Noise
    }

    /// More of a burst.
    fn burst(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, CloseReason> {
        let State::Burst(burst) = &mut self.state else {
            return Ok(None);
        };
        let bytes_max = self.message_bytes_max.saturating_add(BUFFER_OFF.len());
        let Some(held) = burst.take(input, bytes_max) else {
            return match burst.held.len() > bytes_max {
                true => Err(self.too_big()),
                false => Ok(None),
            };
        };
        if held.len() > self.message_bytes_max {
            return Err(self.too_big());
        }
        self.state = State::Between;
        Ok(Some(message(held)))
    }

    fn too_big(&self) -> CloseReason {
        CloseReason::TooBig { bytes_max: self.message_bytes_max }
    }
}

/// A message, if it can be one: what is not UTF-8 is no JSON, and must not reach a WebSocket.
fn message(mut bytes: Vec<u8>) -> Frame {
    if std::str::from_utf8(&bytes).is_err() {
        return Frame::Noise;
    }
    bytes.shrink_to_fit();
    Frame::Message(Bytes::from(bytes))
}

#[derive(Debug)]
struct Value {
    bytes: Vec<u8>,
    scan: Scan,
}

/// A run of bytes that starts no object or array. None of its bytes are kept.
#[derive(Debug, Default)]
struct Run {
    /// So many bytes of `bufferON` have been seen.
    matched: u8,
    /// Something was seen that makes it another word.
    is_other: bool,
    /// In a string (a JSON scalar) braces are no structure.
    string: Quote,
}

impl Run {
    /// Takes the bytes up to where a value starts, or all. Whether a value starts.
    fn take(&mut self, input: &mut &[u8]) -> bool {
        while let Some(byte) = input.first() {
            let used = match (self.string, byte) {
                (Quote::Outside, b'{' | b'[') => return true,
                (Quote::Outside, b'"') => {
                    self.string = Quote::Inside;
                    self.is_other = true;
                    1
                }
                (Quote::Outside, _) => {
                    let used = memchr3(b'{', b'[', b'"', input).unwrap_or(input.len());
                    self.compare(&input[..used]);
                    used
                }
                (Quote::Inside | Quote::Escaped, _) => self.string.skip(input),
            };
            #[cfg(test)]
            tests::count(used);
            *input = &input[used..];
        }
        false
    }

    /// Compares with `bufferON` and the whitespace that may follow it.
    fn compare(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match BUFFER_ON.get(usize::from(self.matched)) {
                _ if self.is_other => return,
                Some(expected) if expected == byte => self.matched += 1,
                None if byte.is_ascii_whitespace() => {}
                _ => self.is_other = true,
            }
        }
    }

    fn is_buffer_on(&self) -> bool {
        !self.is_other && usize::from(self.matched) == BUFFER_ON.len()
    }
}

#[cfg(test)]
mod tests;
