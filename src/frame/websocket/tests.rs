use std::cell::Cell;

use proptest::prelude::*;

use super::*;
use crate::frame;

mod rules;

const MAX: usize = 300;

thread_local! {
    static WORK: Cell<usize> = const { Cell::new(0) };
}

/// Bytes that were looked at or moved once more.
pub(super) fn count(bytes: usize) {
    WORK.set(WORK.get() + bytes);
}

const FIN: u8 = 0x80;
const CONTINUE: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = FIN | 8;
const PING: u8 = FIN | 9;
const PONG: u8 = FIN | 10;

/// A client frame, masked byte by byte after the text of RFC 6455, section 5.3.
fn masked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = vec![first];
    match payload.len() {
        n @ 0..=125 => out.push(0x80 | n as u8),
        n @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend((n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend((n as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
    out
}

fn message(text: impl AsRef<[u8]>) -> Frame {
    Frame::Message(Bytes::copy_from_slice(text.as_ref()))
}

type Outcome = (Vec<Frame>, Option<CloseReason>);

/// Decodes the parts one after the other; `kept`: each part is first kept, then decoded. Fragments
/// are passed over.
fn decode(decoder: &mut frame::Decoder, parts: &[&[u8]], kept: bool) -> Outcome {
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
                Ok(Some(Frame::Close(code))) => {
                    frames.push(Frame::Close(code));
                    return (frames, None);
                }
                Ok(Some(Frame::Fragment)) => {}
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(reason) => return (frames, Some(reason)),
            }
        }
        assert!(input.is_empty(), "not all input was taken");
    }
    (frames, None)
}

fn new() -> frame::Decoder {
    frame::Decoder::websocket(MAX)
}

/// Decodes the stream whole, cut in two at every byte, in single bytes, and kept first.
fn check_every_cut(name: &str, stream: &[u8], expected: &Outcome) {
    assert_eq!(&decode(&mut new(), &[stream], false), expected, "{name}, whole");
    assert_eq!(&decode(&mut new(), &[stream], true), expected, "{name}, kept");
    for cut in 0..=stream.len() {
        let (front, back) = stream.split_at(cut);
        assert_eq!(&decode(&mut new(), &[front, back], false), expected, "{name}, cut at {cut}");
        let mut decoder = new();
        decoder.keep(front);
        assert_eq!(&decode(&mut decoder, &[back], false), expected, "{name}, kept to {cut}");
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(&decode(&mut new(), &bytes, false), expected, "{name}, in single bytes");
}

/// Text that cannot become UTF-8 fails with its first wrong byte, not with the end of its frame.
#[test]
fn wrong_text_fails_at_once() {
    let stream = masked(FIN | TEXT, b"abc\xff.........");
    let (_, error) = decode(&mut new(), &[&stream[..9], &stream[9..10]], false);
    assert_eq!(error, Some(CloseReason::NotUtf8));
}

fn inner(decoder: &frame::Decoder) -> &Decoder {
    match &decoder.wire {
        frame::Wire::WebSocket(inner) => inner,
        frame::Wire::Raw(_) => panic!("made as a WebSocket"),
    }
}

#[test]
fn memory_follows_what_arrived() {
    let mut decoder = frame::Decoder::websocket(1 << 24);
    let stream = masked(FIN | TEXT, vec![b'x'; 1 << 20]);
    assert_eq!(decode(&mut decoder, &[&stream[..100]], false), (vec![], None));
    let held = inner(&decoder).message.as_ref().map(|text| text.bytes.capacity());
    assert!(held.is_some_and(|held| held < 200), "{held:?}");
    // All but the last byte, in two parts, so that doubling would overshoot.
    let (all_but_one, last) = stream.split_at(stream.len() - 1);
    decode(&mut decoder, &[&all_but_one[100..700_000], &all_but_one[700_000..]], false);
    let held = inner(&decoder).message.as_ref().map(|text| text.bytes.capacity());
    assert!(held.is_some_and(|held| held <= 1 << 20), "{held:?}");

    let (frames, error) = decode(&mut decoder, &[last], false);
    assert_eq!((frames.len(), error), (1, None));
    let inner = inner(&decoder);
    assert!(inner.message.is_none() && inner.arriving.is_none() && inner.held.is_none());
    assert!(decoder.backlog.is_none());
}

/// The most is kept of a message behind held pieces whose memory has just doubled: relay.toml tells so.
#[test]
fn a_client_makes_it_keep_up_to_half_as_much_again_as_a_message() {
    let half = MAX / 2;
    let mut most = 0;
    for held in [1, half / 2, half - 1, half, half + 1, MAX - 1, MAX] {
        for piece in [1, held] {
            let mut decoder = new();
            let mut step = |bytes: &[u8]| {
                assert_eq!(decode(&mut decoder, &[bytes], false).1, None);
                most = most.max(decoder.unfinished_bytes());
            };
            step(&masked(FIN | TEXT, "bufferON"));
            (0..held / piece).for_each(|_| step(&masked(FIN | TEXT, vec![b'x'; piece])));
            if held < MAX {
                step(&masked(TEXT, vec![b'x'; MAX - held]));
            }
        }
    }
    assert!((MAX * 4 / 3..=MAX * 3 / 2).contains(&most), "{most} of {MAX}");
}

/// A message that came whole is nothing; of every other so much as memory is kept for it.
#[test]
fn tells_what_is_kept_of_unfinished_messages() {
    let mut decoder = new();
    let mut step = |bytes: &[u8]| {
        assert_eq!(decode(&mut decoder, &[bytes], false).1, None);
        decoder.unfinished_bytes()
    };
    assert_eq!(step(&masked(FIN | TEXT, [b'x'; MAX])), 0);
    let half = masked(FIN | TEXT, [b'x'; 200]);
    assert_eq!(step(&half[..8]), 0, "a header is no part of a message");
    assert!((100..=200).contains(&step(&half[8..108])));
    assert!((180..=200).contains(&step(&half[108..188])));
    assert_eq!(step(&half[188..]), 0);
    assert_eq!(step(&masked(PING, "payload")), 0);

    assert!(step(&masked(TEXT, [b'x'; 100])) >= 100);
    assert!(step(&masked(PING, "")) >= 100, "fragments stay");
    assert!((250..=MAX).contains(&step(&masked(CONTINUE, [b'x'; 150]))));
    assert_eq!(step(&masked(FIN | CONTINUE, "")), 0);

    assert_eq!(step(&masked(FIN | TEXT, "bufferON")), 0);
    assert!(step(&masked(FIN | TEXT, [b'x'; 100])) >= 100, "pieces are held");
    let both = step(&masked(FIN | TEXT, [b'x'; 200])[..108]);
    assert!((200..=MAX).contains(&both), "and what comes is counted with them: {both}");
    decoder.clear();
    assert_eq!(decoder.unfinished_bytes(), 0);
}

/// What is held and what comes are one message in the end: together they take no more than one may.
#[test]
fn a_piece_that_can_not_be_held_fails_when_it_is_announced() {
    let on = [masked(FIN | TEXT, "bufferON"), masked(FIN | TEXT, [b'x'; MAX - 5])].concat();
    for first in [FIN | TEXT, TEXT] {
        let piece = masked(first, [b'x'; 10]);
        let (_, error) = decode(&mut new(), &[&on, &piece[..2]], false);
        assert_eq!(error, Some(CloseReason::TooBig { bytes_max: MAX }));
    }
    // The word that ends it is none.
    let off = masked(FIN | TEXT, "bufferOFF");
    let (frames, error) = decode(&mut new(), &[&on, &masked(FIN | TEXT, "12345"), &off], false);
    assert_eq!((frames.len(), error), (4, None));
}

/// A flood of frames that need no decision is no longer a step than any other frame: its sender can
/// be stopped after each.
#[test]
fn each_call_takes_one_frame() {
    for frame in [masked(CONTINUE, ""), masked(CONTINUE, "x"), masked(PING, ""), masked(PONG, "")] {
        let (mut decoder, mut open) = (new(), masked(TEXT, ""));
        let mut first: &mut [u8] = &mut open;
        assert_eq!(decoder.decode(&mut first), Ok(Some(Frame::Fragment)));
        let mut flood = frame.repeat(100);
        let mut input: &mut [u8] = &mut flood;
        for left in (0..100).rev() {
            assert!(matches!(decoder.decode(&mut input), Ok(Some(_))));
            assert_eq!(input.len(), left * frame.len());
        }
    }
}

#[test]
fn an_idle_decoder_is_small() {
    assert!(size_of::<frame::Decoder>() <= 64, "{} bytes", size_of::<frame::Decoder>());
}

/// Bytes looked at and moved, for 200 KB in single bytes or with each cut in a character: in one
/// frame, in fragments, in pieces.
#[test]
fn work_is_linear() {
    const SIZE: usize = 200_000;
    let text = format!("a{}b", "é".repeat(SIZE / 2 - 1));
    let bytes = text.as_bytes();
    let mut fragments = masked(TEXT, &bytes[..1]);
    fragments.extend(bytes[1..].iter().flat_map(|byte| masked(CONTINUE, [*byte])));
    fragments.extend(masked(FIN | CONTINUE, ""));
    let mut pieces = masked(FIN | TEXT, "bufferON");
    pieces.extend(bytes.iter().flat_map(|byte| masked(FIN | TEXT, [*byte])));
    pieces.extend(masked(FIN | TEXT, "bufferOFF"));
    let whole = masked(FIN | TEXT, bytes);
    for (stream, size) in [(&whole, 1), (&whole, 2), (&fragments, 1), (&pieces, 1)] {
        let mut decoder = frame::Decoder::websocket(SIZE);
        WORK.set(0);
        let parts: Vec<&[u8]> = stream.chunks(size).collect();
        let (frames, error) = decode(&mut decoder, &parts, false);
        assert!(frames.last() == Some(&message(&text)) && error.is_none());
        assert!(WORK.get() < 8 * SIZE, "{} bytes of work", WORK.get());
    }
}

proptest! {
    #[test]
    fn unmasking_is_that_of_the_rfc(bytes: Vec<u8>, mask: [u8; 4]) {
        let mut unmasked = bytes.clone();
        unmask(&mut unmasked, mask);
        let expected: Vec<u8> = bytes.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]).collect();
        prop_assert_eq!(unmasked, expected);
    }

    /// Nothing panics, and how the stream is cut makes no difference.
    #[test]
    fn any_bytes_in_any_parts(
        frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..9)), 0..9),
        noise: Vec<u8>,
        size in 1_usize..20,
    ) {
        let mut stream: Vec<u8> = frames.iter().flat_map(|(first, body)| {
            // Mostly frames that are right, or the first one would end it.
            masked(if first % 8 == 0 { *first } else { FIN | (first % 2 + 1) }, body)
        }).collect();
        stream.extend(noise);
        let whole = decode(&mut new(), &[&stream], false);
        let parts: Vec<&[u8]> = stream.chunks(size).collect();
        prop_assert_eq!(&decode(&mut new(), &parts, false), &whole);
        prop_assert_eq!(&decode(&mut new(), &parts, true), &whole);
    }
}
