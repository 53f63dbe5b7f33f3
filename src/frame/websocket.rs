//! The server's side of RFC 6455 framing: masked client frames to whole messages.
//!
//! A message that lies whole in the input is copied once, into its own buffer. One that arrives in
//! parts is unmasked, checked and appended part by part, each byte once, and its buffer becomes the
//! message without a copy.

mod rules;

use std::borrow::Cow;

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Data, OpCode},
};

use super::{BUFFER_OFF, BUFFER_ON, Frame, append, take};
use crate::close::CloseReason;
use rules::{HEADER_BYTES_MAX, check, control_frame, parse, unmask};

/// Decodes the frames of one WebSocket client. Binary messages count as text (the existing clients).
#[derive(Debug)]
pub struct Decoder {
    message_bytes_max: usize,
    /// The front of a header whose rest has not arrived.
    head: [u8; HEADER_BYTES_MAX],
    head_bytes: u8,
    /// The frame whose payload is arriving.
    arriving: Option<Box<Arriving>>,
    /// The message that the data frames so far belong to, until its final one is complete.
    message: Option<Box<Text>>,
    /// What came since `bufferON`.
    held: Option<Box<Text>>,
}

#[derive(Debug)]
struct Arriving {
    opcode: OpCode,
    is_final: bool,
    /// Turned so that its first byte belongs to the next byte of payload.
    mask: [u8; 4],
    /// Payload bytes still to come.
    left: usize,
    /// The payload so far, if this is a control frame. That of a data frame is in `message`.
    control: Vec<u8>,
}

impl Decoder {
    pub(super) fn new(message_bytes_max: usize) -> Decoder {
        Decoder {
            message_bytes_max,
            head: [0; HEADER_BYTES_MAX],
            head_bytes: 0,
            arriving: None,
            message: None,
            held: None,
        }
    }

    /// As [`super::Decoder::is_in_message`]. Between two fragments it is not: what comes there may be pings
    /// without end.
    pub(super) fn is_in_message(&self) -> bool {
        self.arriving.as_ref().is_some_and(|frame| matches!(frame.opcode, OpCode::Data(_)))
    }

    /// As [`super::Decoder::unfinished_bytes`].
    pub(super) fn unfinished_bytes(&self) -> usize {
        let texts = [&self.message, &self.held].into_iter().flatten();
        texts.map(|text| text.bytes.capacity()).sum()
    }

    /// As [`super::Decoder::clear`].
    pub(super) fn clear(&mut self) {
        *self = Decoder::new(self.message_bytes_max);
    }

    /// As [`super::Decoder::decode`].
    pub(super) fn decode(&mut self, input: &mut &mut [u8]) -> Result<Option<Frame>, CloseReason> {
        loop {
            let frame = if let Some(mut arriving) = self.arriving.take() {
                let frame = self.payload(&mut arriving, input)?;
                if arriving.left > 0 {
                    self.arriving = Some(arriving);
                }
                frame
            } else if let Some((header, length)) = self.header(input)? {
                self.start(&header, length, input)?
            } else {
                return Ok(None);
            };
            if frame.is_some() || input.is_empty() {
                return Ok(frame);
            }
        }
    }

    /// The header at the front of the input, once it is there whole.
    fn header(&mut self, input: &mut &mut [u8]) -> Result<Option<(FrameHeader, u64)>, CloseReason> {
        if self.head_bytes == 0
            && let Some((header, length, used)) = parse(input)?
        {
            take(input, used);
            return Ok(Some((header, length)));
        }
        // Byte by byte, so that nothing of the payload gets in here.
        while let Some(&mut byte) = input.first_mut() {
            let Some(slot) = self.head.get_mut(usize::from(self.head_bytes)) else {
                return Err(CloseReason::Protocol("a frame header that does not end"));
            };
            *slot = byte;
            self.head_bytes += 1;
            take(input, 1);
            let head = &self.head[..usize::from(self.head_bytes)];
            if let Some((header, length, _)) = parse(head)? {
                self.head_bytes = 0;
                return Ok(Some((header, length)));
            }
        }
        self.judge_unfinished()?;
        Ok(None)
    }

    /// A header that lacks nothing but its mask is judged before that comes: a peer that announces
    /// too much may never send it.
    fn judge_unfinished(&self) -> Result<(), CloseReason> {
        let head = &self.head[..usize::from(self.head_bytes)];
        let masked = head.get(1).is_some_and(|second| second & 0x80 != 0);
        if masked && let Some((header, length, _)) = parse(&[head, &[0; 4]].concat())? {
            self.judge(&header, length)?;
        }
        Ok(())
    }

    /// The rules on a header: by itself, and behind what came before it. Its mask.
    fn judge(&self, header: &FrameHeader, length: u64) -> Result<[u8; 4], CloseReason> {
        let mask = check(header, length)?;
        if let OpCode::Data(data) = header.opcode {
            self.check_data(data, length)?;
        }
        Ok(mask)
    }

    /// Judges a header and takes what there is of its payload; gives the frame if that is all.
    fn start(
        &mut self,
        header: &FrameHeader,
        length: u64,
        input: &mut &mut [u8],
    ) -> Result<Option<Frame>, CloseReason> {
        let mask = self.judge(header, length)?;
        let left = usize::try_from(length).map_err(|_| self.too_big())?;
        let is_message = matches!(header.opcode, OpCode::Data(_));
        if is_message && header.is_final && self.message.is_none() && left <= input.len() {
            let payload = take(input, left);
            unmask(payload, mask);
            // Held pieces are checked together, see `message`.
            if self.held.is_none() && std::str::from_utf8(payload).is_err() {
                return Err(CloseReason::NotUtf8);
            }
            return self.message(Cow::Borrowed(payload)).map(Some);
        }
        let mut arriving = Arriving {
            opcode: header.opcode,
            is_final: header.is_final,
            mask,
            left,
            control: Vec::new(),
        };
        let frame = self.payload(&mut arriving, input)?;
        if arriving.left > 0 {
            self.arriving = Some(Box::new(arriving));
        }
        Ok(frame)
    }

    /// The rules on fragments (RFC 6455, section 5.4), and the limit on the message over all of them.
    fn check_data(&self, data: Data, length: u64) -> Result<(), CloseReason> {
        match (data, &self.message) {
            (Data::Continue, None) => {
                return Err(CloseReason::Protocol("a continuation of no message"));
            }
            (Data::Text | Data::Binary, Some(_)) => {
                return Err(CloseReason::Protocol("a new message inside a fragmented one"));
            }
            _ => {}
        }
        let before = self.message.as_ref().map_or(0, |message| message.bytes.len());
        match length > self.room().saturating_sub(before) as u64 {
            true => Err(self.too_big()),
            false => Ok(()),
        }
    }

    /// How long a message may be. What is held is one with it in the end, all but a `bufferOFF`.
    fn room(&self) -> usize {
        match &self.held {
            None => self.message_bytes_max,
            Some(held) => {
                self.message_bytes_max.saturating_sub(held.bytes.len()).max(BUFFER_OFF.len())
            }
        }
    }

    /// Takes what has arrived of a payload; gives the frame when that completes it.
    fn payload(
        &mut self,
        arriving: &mut Arriving,
        input: &mut &mut [u8],
    ) -> Result<Option<Frame>, CloseReason> {
        let part = take(input, arriving.left);
        unmask(part, arriving.mask);
        arriving.mask.rotate_left(part.len() % 4);
        let control = match arriving.opcode {
            OpCode::Data(_) => {
                self.append(part, arriving)?;
                None
            }
            OpCode::Control(control) => {
                arriving.control.extend_from_slice(part);
                Some(control)
            }
        };
        arriving.left -= part.len();
        match control {
            _ if arriving.left > 0 => Ok(None),
            Some(control) => control_frame(control, &arriving.control).map(Some),
            None if !arriving.is_final => Ok(Some(Frame::Fragment)),
            None => {
                let message = self.message.take().unwrap_or_default();
                if self.held.is_none() && !message.is_checked() {
                    return Err(CloseReason::NotUtf8);
                }
                self.message(Cow::Owned(message.bytes)).map(Some)
            }
        }
    }

    /// Appends a part of a data frame to its message.
    fn append(&mut self, part: &[u8], arriving: &Arriving) -> Result<(), CloseReason> {
        let allowed = self.room();
        let message = self.message.get_or_insert_default();
        let room = match arriving.is_final {
            true => arriving.left,
            false => allowed.saturating_sub(message.bytes.len()),
        };
        message.append(part, room);
        match self.held {
            None => message.check(),
            Some(_) => Ok(()),
        }
    }

    /// One whole message. It is text if nothing is held; the UTF-8 of held pieces is checked in
    /// their concatenation, because a client that cuts by bytes cuts inside characters.
    fn message(&mut self, text: Cow<'_, [u8]>) -> Result<Frame, CloseReason> {
        let Some(held) = &mut self.held else {
            return Ok(match &*text {
                BUFFER_ON => {
                    self.held = Some(Box::default());
                    Frame::Noise
                }
                // Ends nothing, so it is a word like any other.
                BUFFER_OFF => Frame::Noise,
                _ => Frame::Message(Bytes::from(text.into_owned())),
            });
        };
        if &*text == BUFFER_OFF {
            let held = self.held.take().unwrap_or_default();
            return match held.is_checked() {
                true => Ok(Frame::Message(Bytes::from(held.bytes))),
                false => Err(CloseReason::NotUtf8),
            };
        }
        let room = self.message_bytes_max.saturating_sub(held.bytes.len());
        if text.len() > room {
            return Err(self.too_big());
        }
        held.append(&text, room);
        held.check()?;
        Ok(Frame::Noise)
    }

    fn too_big(&self) -> CloseReason {
        CloseReason::TooBig { bytes_max: self.message_bytes_max }
    }
}

/// Text that arrives in parts.
#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    /// So many bytes are known to be whole UTF-8 characters.
    checked: usize,
}

impl Text {
    /// As [`append`].
    fn append(&mut self, part: &[u8], room: usize) {
        #[cfg(test)]
        if self.bytes.capacity() - self.bytes.len() < part.len() {
            tests::count(self.bytes.len());
        }
        append(&mut self.bytes, part, room);
    }

    /// Fails as soon as no continuation can make this UTF-8 (RFC 6455, section 8.1).
    fn check(&mut self) -> Result<(), CloseReason> {
        let unchecked = &self.bytes[self.checked..];
        #[cfg(test)]
        tests::count(unchecked.len());
        match std::str::from_utf8(unchecked) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(CloseReason::NotUtf8),
        }
        Ok(())
    }

    /// Whether it is UTF-8 to the end.
    fn is_checked(&self) -> bool {
        self.checked == self.bytes.len()
    }
}

#[cfg(test)]
mod tests;
