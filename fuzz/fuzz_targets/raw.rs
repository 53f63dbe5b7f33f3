//! The splitter of raw streams: however the stream is cut, it is the same frames and the same
//! mistake; and as far as serde_json can read the stream, they are what it reads.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use relay::frame::{Decoder, Frame};
use relay_fuzz::{cut, decode};
use serde::de::IgnoredAny;

/// Short enough to be exceeded.
const MESSAGE_BYTES_MAX: usize = 60;

fuzz_target!(|data: &[u8]| {
    let Some((&seed, stream)) = data.split_first() else { return };
    let whole = decode(Decoder::raw(MESSAGE_BYTES_MAX), &[stream], false);
    let parts = cut(seed, stream);
    for kept in [false, true] {
        let got = decode(Decoder::raw(MESSAGE_BYTES_MAX), &parts, kept);
        assert_eq!(got, whole, "in parts, kept: {kept}");
    }
    // Of a stream that ends in a mistake, all that came before it counts.
    let (frames, mistake) = decode(Decoder::raw(usize::MAX), &parts, false);
    assert_eq!(mistake, None);
    let expected = by_serde(stream);
    assert!(frames.starts_with(&expected), "{frames:?} is not what serde_json reads: {expected:?}");
});

/// The frames of the stream up to where it is no JSON any more. Scalars make no frame of their own:
/// a run of them is one piece of noise.
fn by_serde(stream: &[u8]) -> Vec<Frame> {
    let text = match std::str::from_utf8(stream) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&stream[..error.valid_up_to()]).unwrap_or_default(),
    };
    let (mut frames, mut start, mut in_run) = (Vec::new(), 0, false);
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    while let Some(Ok(_)) = values.next() {
        let value = text[start..values.byte_offset()].trim_ascii();
        start = values.byte_offset();
        if value.starts_with(['{', '[']) {
            frames.push(Frame::Message(Bytes::copy_from_slice(value.as_bytes())));
            in_run = false;
        } else if !in_run {
            frames.push(Frame::Noise);
            in_run = true;
        }
    }
    frames
}
