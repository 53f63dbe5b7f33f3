use std::cell::Cell;

use super::*;
use crate::frame;

mod bursts;
mod properties;

const MAX: usize = 300;

thread_local! {
    static WORK: Cell<usize> = const { Cell::new(0) };
}

/// Bytes that were looked at.
pub(super) fn count(bytes: usize) {
    WORK.set(WORK.get() + bytes);
}

type Outcome = (Vec<Frame>, Option<CloseReason>);

/// In a stream of parts: here the input pauses.
const PAUSE: &[u8] = b"<pause>";

fn message(text: impl AsRef<[u8]>) -> Frame {
    Frame::Message(Bytes::copy_from_slice(text.as_ref()))
}

/// Decodes the parts one after the other, in chunks of at most `size` bytes.
fn decode(decoder: &mut frame::Decoder, parts: &[&[u8]], size: usize, kept: bool) -> Outcome {
    let mut frames = Vec::new();
    for part in parts {
        if *part == PAUSE {
            let awaited = decoder.awaits_pause();
            let frame = decoder.pause();
            assert_eq!(awaited, frame.is_some(), "whether a pause decides something");
            frames.extend(frame);
            continue;
        }
        for chunk in part.chunks(size) {
            let mut chunk = chunk.to_vec();
            let mut input: &mut [u8] = &mut chunk;
            if kept {
                decoder.keep(input);
                input = &mut [];
                assert!(!decoder.awaits_pause() && decoder.pause().is_none());
            }
            loop {
                match decoder.decode(&mut input) {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(reason) => return (frames, Some(reason)),
                }
            }
            assert!(input.is_empty(), "not all input was taken");
        }
    }
    (frames, None)
}

fn new() -> frame::Decoder {
    frame::Decoder::raw(MAX)
}

/// Decodes the parts in chunks of every size, and with one cut at every byte.
fn check_every_cut(name: &str, parts: &[&[u8]], expected: &Outcome) {
    let longest = parts.iter().map(|part| part.len()).max().unwrap_or(0).max(1);
    for size in 1..=longest {
        assert_eq!(&decode(&mut new(), parts, size, false), expected, "{name}, {size} at a time");
        assert_eq!(&decode(&mut new(), parts, size, true), expected, "{name}, {size} kept");
    }
    for (which, part) in parts.iter().enumerate().filter(|(_, part)| **part != PAUSE) {
        for cut in 0..=part.len() {
            let (front, back) = part.split_at(cut);
            let mut cut_up = parts.to_vec();
            cut_up.splice(which..=which, [front, back]);
            let got = decode(&mut new(), &cut_up, longest, false);
            assert_eq!(&got, expected, "{name}, part {which} cut at {cut}");
        }
    }
}

/// A name, the parts of a stream, and its frames as in `expect`.
type Case<'a> = (&'a str, &'a [&'a [u8]], &'a [&'a str]);

/// A frame each: `.` is noise, all else a message.
fn expect(frames: &[&str]) -> Vec<Frame> {
    frames.iter().map(|text| if *text == "." { Frame::Noise } else { message(text) }).collect()
}

#[test]
fn values_and_runs() {
    let cases: &[Case] = &[
        ("nothing", &[b"", PAUSE], &[]),
        ("blanks", &[b" \t\r\n", PAUSE], &[]),
        ("objects", &[br#"{}{"a":1}"#, b"\n{} ", PAUSE], &["{}", r#"{"a":1}"#, "{}"]),
        ("arrays", &[br#"[][[1],{"a":[]}]"#], &["[]", r#"[[1],{"a":[]}]"#]),
        ("inner blanks stay", &[b" { \"a\" :\n1 } "], &["{ \"a\" :\n1 }"]),
        ("strings", &[br#"{"}\"]\\":"{[\\\""}"#, b"{}"], &[r#"{"}\"]\\":"{[\\\""}"#, "{}"]),
        ("characters", &["{\"é\":\"😀\"}".as_bytes()], &["{\"é\":\"😀\"}"]),
        ("brackets are not told apart", &[b"{]{}"], &["{]", "{}"]),
        ("a pause inside a value", &[br#"{"a"#, PAUSE, b"\":1", PAUSE, b"}"], &[r#"{"a":1}"#]),
        ("a word", &[b"pong", PAUSE, b"{}", PAUSE], &[".", "{}"]),
        ("words in a row", &[b" pong ", b"x 1 true\n", PAUSE, b"ping", PAUSE], &[".", "."]),
        ("a word, then a value", &[b"pong{}"], &[".", "{}"]),
        ("a value, then a word", &[b"{}pong [1]", PAUSE], &["{}", ".", "[1]"]),
        ("closing brackets", &[b"}]", PAUSE, b"{}"], &[".", "{}"]),
        ("a string", &[br#""a{b[\"{}" {}"#], &[".", "{}"]),
        ("an open string ends with a pause", &[br#"x"{}{}\"#, PAUSE, b"{}"], &[".", "{}"]),
        ("a pause behind a backslash", &[br#""\"#, PAUSE, br#""{" {}"#], &[".", ".", "{}"]),
        ("not UTF-8", &[b"{\"\xff\"}{}"], &[".", "{}"]),
        ("a run not UTF-8", &[b"\xff\xfe", PAUSE, b"{}"], &[".", "{}"]),
    ];
    for (name, parts, frames) in cases {
        check_every_cut(name, parts, &(expect(frames), None));
    }
}

#[test]
fn limits() {
    let value = |bytes: usize| format!("[\"{}\"]", "x".repeat(bytes - 4));
    let full = value(MAX);
    let over = value(MAX + 1);
    let held = format!("bufferON{full}bufferOFF{{}}");
    let held_over = format!("bufferON{over}bufferOFF");
    let blanks = format!("bufferON{full} bufferOFF");
    let text = "x".repeat(MAX);
    let endless = "x".repeat(MAX + 10);
    let long_run = "pong ".repeat(MAX);
    let right: &[Case] = &[
        ("the limit", &[full.as_bytes(), b"{}"], &[&full, "{}"]),
        ("a run has none", &[long_run.as_bytes(), PAUSE], &["."]),
        ("the limit, held", &[held.as_bytes()], &[".", &full, "{}"]),
        (
            "text to the limit",
            &[b"bufferON", PAUSE, text.as_bytes(), PAUSE, b"bufferOFF", PAUSE],
            &[".", ".", &text],
        ),
    ];
    let wrong: &[Case] = &[
        ("over it", &[b"{}", over.as_bytes()], &["{}"]),
        ("open and over it", &[&over.as_bytes()[..MAX + 1]], &[]),
        ("held and over it", &[held_over.as_bytes()], &["."]),
        ("blanks count", &[blanks.as_bytes()], &["."]),
        ("text over it", &[b"bufferON", PAUSE, endless.as_bytes()], &["."]),
    ];
    for (name, parts, frames) in right {
        check_every_cut(name, parts, &(expect(frames), None));
    }
    for (name, parts, frames) in wrong {
        let reason = CloseReason::TooBig { bytes_max: MAX };
        check_every_cut(name, parts, &(expect(frames), Some(reason)));
    }
}

#[test]
fn an_idle_decoder_holds_nothing() {
    let mut decoder = new();
    let parts: &[&[u8]] = &[b"x{\"a\":1}bufferON{}bufferOFF \n", PAUSE];
    decode(&mut decoder, parts, 3, true);
    assert!(decoder.backlog.is_none());
    assert!(matches!(&decoder.wire, frame::Wire::Raw(raw) if matches!(raw.state, State::Between)));
}

/// Bytes looked at, for 200 KB in single bytes, in each state.
#[test]
fn work_is_linear() {
    const SIZE: usize = 200_000;
    let text = "é\\\"{".repeat(SIZE / 5);
    let value = format!("[\"{text}\",{}]", "[] ".repeat(SIZE / 5));
    let blanks = " ".repeat(SIZE);
    let streams = [
        value.clone(),
        format!("x \"{text}"),
        "pong ".repeat(SIZE / 5),
        format!("bufferON{value}{blanks}bufferOFF"),
        format!("bufferON{text}"),
    ];
    for stream in streams {
        WORK.set(0);
        let mut decoder = frame::Decoder::raw(4 * SIZE);
        let (_, error) = decode(&mut decoder, &[stream.as_bytes(), PAUSE], 1, false);
        assert_eq!(error, None);
        let (work, name) = (WORK.get(), &stream[..12]);
        assert!(work <= stream.len() + 20, "{work} for {} bytes of {name}", stream.len());
    }
}

/// A value that came whole is nothing; of every other so much as memory is kept for it.
#[test]
fn tells_what_is_kept_of_unfinished_messages() {
    let mut decoder = new();
    let mut step = |bytes: &str| {
        assert_eq!(decode(&mut decoder, &[bytes.as_bytes()], MAX, false).1, None);
        decoder.unfinished_bytes()
    };
    let padding = "x".repeat(100);
    assert_eq!(step("{} [1] {}"), 0);
    assert!(step(&format!("[\"{padding}")) >= 100);
    assert!((202..=MAX).contains(&step(&padding)), "it grows no further than it may");
    assert_eq!(step("\"]"), 0);
    assert_eq!(step(&padding), 0, "a run is not kept");
    assert_eq!(step("{} "), 0);

    assert_eq!(step("bufferON"), 0);
    assert!(decoder.pause().is_some());
    let mut step = |bytes: &str| {
        assert_eq!(decode(&mut decoder, &[bytes.as_bytes()], MAX, false).1, None);
        decoder.unfinished_bytes()
    };
    assert!(step(&format!("[\"{padding}")) >= 100);
    assert!((202..=MAX + BUFFER_OFF.len()).contains(&step(&padding)));
    assert_eq!(step("\"]bufferOFF"), 0);
    assert!(step("[") > 0);
    decoder.clear();
    assert_eq!(decoder.unfinished_bytes(), 0);
}
