//! What the fuzz targets share.

use relay::close::CloseReason;
use relay::frame::{Decoder, Frame};

pub mod stage;

/// What a stream decodes to: its frames, and the mistake that ended it.
pub type Decoded = (Vec<Frame>, Option<CloseReason>);

/// Cuts `bytes` into parts of 1 to 16 bytes, other ones for each seed; 0 is byte by byte.
pub fn cut(seed: u8, mut bytes: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut state) = (Vec::new(), u32::from(seed));
    while !bytes.is_empty() {
        state = state.wrapping_mul(0x915f_77f5).wrapping_add(state >> 16);
        let length = 1 + (state >> 13) as usize % 16;
        let (part, rest) = bytes.split_at(length.min(bytes.len()));
        parts.push(part);
        bytes = rest;
    }
    parts
}

/// Decodes the parts as a connection does. `kept`: as one that has no room for frames when a part
/// comes. After the last one the input pauses.
pub fn decode(mut decoder: Decoder, parts: &[&[u8]], kept: bool) -> Decoded {
    let mut frames = Vec::new();
    for part in parts {
        let mut part = part.to_vec();
        let mut input: &mut [u8] = &mut part;
        if kept {
            decoder.keep(input);
            input = &mut [];
        }
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(frame @ Frame::Close(_))) => {
                    frames.push(frame);
                    return (frames, None);
                }
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(reason) => return (frames, Some(reason)),
            }
        }
        assert!(input.is_empty(), "input was left");
    }
    frames.extend(decoder.pause());
    (frames, None)
}
