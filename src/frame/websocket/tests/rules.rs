//! The rules of RFC 6455 and of `bufferON`, each with every cut.

use super::*;

/// A name, the frames of a stream, and what comes of it.
type Case<T> = (&'static str, Vec<Vec<u8>>, T);

#[test]
fn frames_that_are_right() {
    let full = "é".repeat(MAX / 2);
    let ping = || Frame::Ping(Bytes::from_static(b"hi"));
    let cases: Vec<Case<Vec<Frame>>> = vec![
        ("text", vec![masked(FIN | TEXT, "hello")], vec![message("hello")]),
        ("binary", vec![masked(FIN | BINARY, "hellö")], vec![message("hellö")]),
        ("empty", vec![masked(FIN | TEXT, "")], vec![message("")]),
        ("the limit", vec![masked(FIN | TEXT, &full)], vec![message(&full)]),
        (
            "coalesced",
            vec![masked(FIN | TEXT, "1"), masked(FIN | TEXT, "2"), masked(PING, "hi")],
            vec![message("1"), message("2"), ping()],
        ),
        (
            "fragments cut in a character, with control frames between them",
            vec![
                masked(TEXT, b"a\xf0\x9f"),
                masked(PING, "hi"),
                masked(CONTINUE, b"\x98"),
                masked(CONTINUE, ""),
                masked(PONG, ""),
                masked(FIN | CONTINUE, b"\x80b"),
                masked(FIN | TEXT, "next"),
            ],
            vec![ping(), Frame::Pong(Bytes::new()), message("a😀b"), message("next")],
        ),
        (
            "empty fragments",
            vec![masked(TEXT, ""), masked(CONTINUE, ""), masked(FIN | CONTINUE, "")],
            vec![message("")],
        ),
        (
            "the limit over fragments",
            vec![masked(BINARY, &full[..100]), masked(FIN | CONTINUE, &full[100..])],
            vec![message(&full)],
        ),
        (
            "the longest ping",
            vec![masked(PING, [b'x'; 125])],
            vec![Frame::Ping(Bytes::from_static(&[b'x'; 125]))],
        ),
        ("close", vec![masked(CLOSE, "")], vec![Frame::Close(None)]),
        (
            "close with text",
            vec![masked(CLOSE, b"\x03\xe8bye \xc3\xa9")],
            vec![Frame::Close(Some(1000))],
        ),
        ("close 1001", vec![masked(CLOSE, b"\x03\xe9")], vec![Frame::Close(Some(1001))]),
        ("close 3000", vec![masked(CLOSE, b"\x0b\xb8")], vec![Frame::Close(Some(3000))]),
        ("close 4999", vec![masked(CLOSE, b"\x13\x87")], vec![Frame::Close(Some(4999))]),
    ];
    for (name, stream, frames) in cases {
        check_every_cut(name, &stream.concat(), &(frames, None));
    }
}

/// A frame each: `.` is noise, all else a message.
fn expect(frames: &[&str]) -> Vec<Frame> {
    frames.iter().map(|text| if *text == "." { Frame::Noise } else { message(text) }).collect()
}

fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    masked(FIN | TEXT, text)
}

#[test]
fn what_is_held() {
    let (on, off) = (|| text("bufferON"), || text("bufferOFF"));
    let third = || text([b'x'; MAX / 3]);
    let fragments = vec![
        on(),
        text(b"{\xc3"),
        masked(TEXT, b"\xa9"),
        masked(FIN | CONTINUE, b"}\xc3"),
        text(b"\xa4"),
        off(),
        text("next"),
    ];
    let on_in_fragments = vec![masked(TEXT, "buffer"), masked(FIN | CONTINUE, "ON"), off()];
    let full = "x".repeat(MAX);
    let at_limit = [".", ".", ".", ".", &full];
    let cases: Vec<Case<&[&str]>> = vec![
        ("pieces cut in a character", fragments, &[".", ".", ".", ".", "{é}ä", "next"]),
        ("nothing", vec![on(), off()], &[".", ""]),
        ("on in fragments", on_in_fragments, &[".", ""]),
        ("an end of nothing", vec![off(), text("x")], &[".", "x"]),
        ("on again is held", vec![on(), on(), off()], &[".", ".", "bufferON"]),
        ("not the whole message", vec![text("bufferON "), text("x")], &["bufferON ", "x"]),
        ("the limit", vec![on(), third(), third(), third(), off()], &at_limit),
    ];
    for (name, stream, frames) in cases {
        check_every_cut(name, &stream.concat(), &(expect(frames), None));
    }
    let ping = [on(), masked(PING, ""), text("x"), off()].concat();
    let frames = vec![Frame::Noise, Frame::Ping(Bytes::new()), Frame::Noise, message("x")];
    check_every_cut("a ping between", &ping, &(frames, None));

    let too_big = CloseReason::TooBig { bytes_max: MAX };
    let wrong: Vec<Case<(usize, CloseReason)>> = vec![
        ("over the limit", vec![on(), third(), third(), third(), text("x")], (4, too_big)),
        ("no UTF-8", vec![on(), text(b"\xc3"), text("x"), off()], (2, CloseReason::NotUtf8)),
        ("half a character", vec![on(), text(b"\xc3"), off()], (2, CloseReason::NotUtf8)),
    ];
    for (name, stream, (noise, reason)) in wrong {
        check_every_cut(name, &stream.concat(), &(vec![Frame::Noise; noise], Some(reason)));
    }
}

#[test]
fn frames_that_are_wrong() {
    use CloseReason::{NotUtf8, Protocol};
    let too_big = || CloseReason::TooBig { bytes_max: MAX };
    let cases: Vec<(&str, Vec<u8>, CloseReason)> = vec![
        ("no mask", b"\x81\x01x".to_vec(), Protocol("a client frame without a mask")),
        ("rsv1", masked(FIN | 0x40 | TEXT, ""), Protocol("reserved bits without an extension")),
        ("rsv2", masked(FIN | 0x20 | TEXT, ""), Protocol("reserved bits without an extension")),
        ("rsv3", masked(PING | 0x10, ""), Protocol("reserved bits without an extension")),
        ("opcode 3", masked(FIN | 3, ""), Protocol("an unknown opcode")),
        ("opcode 7", masked(FIN | 7, ""), Protocol("an unknown opcode")),
        ("opcode 11", masked(FIN | 11, ""), Protocol("an unknown opcode")),
        ("opcode 15", masked(FIN | 15, "x"), Protocol("an unknown opcode")),
        ("long ping", masked(PING, [0; 126]), Protocol("a control frame over 125 bytes")),
        ("fragmented ping", masked(9, ""), Protocol("a fragmented control frame")),
        (
            "continuation of nothing",
            masked(FIN | CONTINUE, ""),
            Protocol("a continuation of no message"),
        ),
        (
            "text in a fragmented message",
            [masked(TEXT, "a"), masked(FIN | TEXT, "b")].concat(),
            Protocol("a new message inside a fragmented one"),
        ),
        (
            "binary in a fragmented message",
            [masked(TEXT, "a"), masked(BINARY, "b")].concat(),
            Protocol("a new message inside a fragmented one"),
        ),
        ("half a code", masked(CLOSE, "x"), Protocol("a Close frame with half a code")),
        ("close text", masked(CLOSE, b"\x03\xe8\xff"), NotUtf8),
        ("not UTF-8", masked(FIN | TEXT, b"ab\xffcd"), NotUtf8),
        ("cut UTF-8", masked(FIN | TEXT, b"ab\xc3"), NotUtf8),
        ("binary that is not UTF-8", masked(FIN | BINARY, b"\x80"), NotUtf8),
        ("fragment not UTF-8", masked(TEXT, b"\xed\xa0\x80"), NotUtf8),
        (
            "cut fragments",
            [masked(TEXT, b"\xf0"), masked(FIN | CONTINUE, b"\x9f")].concat(),
            NotUtf8,
        ),
        ("announced", masked(FIN | TEXT, [b'x'; MAX + 1])[..8].to_vec(), too_big()),
        ("announced, 63 bits", b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff1234".to_vec(), too_big()),
        (
            "announced, 64 bits",
            b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff1234".to_vec(),
            Protocol("a length with its highest bit set"),
        ),
        (
            "announced over fragments",
            [masked(TEXT, [b'x'; MAX]), masked(CONTINUE, "x")[..6].to_vec()].concat(),
            too_big(),
        ),
    ];
    let codes = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535_u16];
    let codes = codes.map(|code| {
        let reason = Protocol("a Close frame with an invalid code");
        ("close code", masked(CLOSE, code.to_be_bytes()), reason)
    });
    for (name, stream, reason) in cases.into_iter().chain(codes) {
        check_every_cut(name, &stream, &(vec![], Some(reason.clone())));
        let stream = [text("x"), stream].concat();
        check_every_cut(name, &stream, &(vec![message("x")], Some(reason)));
    }
}

#[test]
fn a_continuation_after_the_end() {
    let parts = [masked(TEXT, "a"), masked(FIN | CONTINUE, "b"), masked(CONTINUE, "c")];
    let reason = CloseReason::Protocol("a continuation of no message");
    check_every_cut("after the end", &parts.concat(), &(vec![message("ab")], Some(reason)));
}
