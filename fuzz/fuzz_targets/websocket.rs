//! The WebSocket decoder: however the stream is cut, it is the same frames and the same mistake.

#![no_main]

use libfuzzer_sys::fuzz_target;
use relay::frame::{Decoder, Frame};
use relay_fuzz::{cut, decode};

/// Short enough to be exceeded, long enough for a header with a length in 16 bits.
const MESSAGE_BYTES_MAX: usize = 300;

fuzz_target!(|data: &[u8]| {
    let Some((&seed, stream)) = data.split_first() else { return };
    let decoder = || Decoder::websocket(MESSAGE_BYTES_MAX);
    let whole = decode(decoder(), &[stream], false);
    let parts = cut(seed, stream);
    assert_eq!(decode(decoder(), &parts, false), whole, "in parts");
    assert_eq!(decode(decoder(), &parts, true), whole, "kept, then decoded");
    for frame in whole.0 {
        let Frame::Message(text) = frame else { continue };
        assert!(text.len() <= MESSAGE_BYTES_MAX, "longer than the limit");
        assert!(std::str::from_utf8(&text).is_ok(), "not UTF-8");
    }
});
