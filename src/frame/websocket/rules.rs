//! The rules of RFC 6455 on one frame by itself: its header, its mask, and the body of a control frame.

use std::io::Cursor;

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{CloseCode, Control, OpCode},
};

use crate::close::CloseReason;
use crate::frame::{CONTROL_BYTES_MAX, Frame};

/// The longest header of a client frame (RFC 6455, section 5.2): 2 bytes, 8 of length, 4 of mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;

/// The header at the front of `bytes`, the payload length it announces, and its own length; `None`
/// while it is not whole.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(FrameHeader, u64, usize)>, CloseReason> {
    // No more, so that the cursor's position is a small number whatever the input.
    let bytes = &bytes[..bytes.len().min(HEADER_BYTES_MAX)];
    let mut cursor = Cursor::new(bytes);
    match FrameHeader::parse(&mut cursor) {
        Ok(Some((header, length))) => {
            let used = usize::try_from(cursor.position()).unwrap_or(bytes.len());
            Ok(Some((header, length, used)))
        }
        Ok(None) => Ok(None),
        // The one thing it judges; what it reads from cannot fail.
        Err(_) => Err(CloseReason::Protocol("an unknown opcode")),
    }
}

/// The rules on one frame by itself (RFC 6455, sections 5.1, 5.2 and 5.5). Its mask.
pub(super) fn check(header: &FrameHeader, length: u64) -> Result<[u8; 4], CloseReason> {
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return Err(CloseReason::Protocol("reserved bits without an extension"));
    }
    if length >> 63 == 1 {
        return Err(CloseReason::Protocol("a length with its highest bit set"));
    }
    if matches!(header.opcode, OpCode::Control(_)) {
        if !header.is_final {
            return Err(CloseReason::Protocol("a fragmented control frame"));
        }
        if length > CONTROL_BYTES_MAX as u64 {
            return Err(CloseReason::Protocol("a control frame over 125 bytes"));
        }
    }
    header.mask.ok_or(CloseReason::Protocol("a client frame without a mask"))
}

/// A whole control frame; for Close the rules on its body (RFC 6455, sections 5.5.1 and 7.4).
pub(super) fn control_frame(control: Control, payload: &[u8]) -> Result<Frame, CloseReason> {
    match control {
        Control::Ping => Ok(Frame::Ping(Bytes::copy_from_slice(payload))),
        Control::Pong => Ok(Frame::Pong(Bytes::copy_from_slice(payload))),
        Control::Close => match payload {
            [] => Ok(Frame::Close(None)),
            [_] => Err(CloseReason::Protocol("a Close frame with half a code")),
            [high, low, text @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                if !CloseCode::from(code).is_allowed() {
                    return Err(CloseReason::Protocol("a Close frame with an invalid code"));
                }
                std::str::from_utf8(text).map_err(|_| CloseReason::NotUtf8)?;
                Ok(Frame::Close(Some(code)))
            }
        },
        Control::Reserved(_) => Err(CloseReason::Protocol("an unknown opcode")),
    }
}

/// Takes the mask off (RFC 6455, section 5.3), eight bytes at a time, which the compiler vectorises.
pub(super) fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    #[cfg(test)]
    super::tests::count(bytes.len());
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}
