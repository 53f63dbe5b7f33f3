//! WebSocket on real sockets: what is right in any cut, and what each violation gets (RFC 6455).

use crate::client::{Door, Transport};
use crate::harness::{Setup, relay_test};
use crate::wire::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, TEXT, Wire};

const ECHO: &str = r#"{"opcode":"echo","text":"é🐎"}"#;

/// The two transports, one after the other.
const TRANSPORTS: [Transport; 2] = [Transport::Ws, Transport::Wss];

async fn expect_echo(wire: &mut Wire, text: &str) {
    wire.acked("").await;
    assert_eq!(String::from_utf8_lossy(&wire.text().await), text, "expected the echo");
}

/// The relay answers these bytes with a Close frame of this code, then ends the stream.
async fn expect_violation(door: &Door, transport: Transport, bytes: &[u8], code: u16, what: &str) {
    let mut wire = Wire::web(door, transport, "/").await;
    wire.write(bytes).await;
    loop {
        let frame = wire.frame().await;
        let frame = frame.unwrap_or_else(|| panic!("{transport}: {what}: expected Close {code}"));
        if frame.first == 0x80 | CLOSE {
            assert_eq!(frame.close_code(), Some(code), "{transport}: {what}: {frame:?}");
            break;
        }
        assert_ne!(frame.first & 0x0f, PONG, "{transport}: {what}: expected no pong");
    }
    // A client that answers, and one that does not, both see the end.
    wire.try_write(&Frame::close(code, "").bytes()).await;
    assert_eq!(wire.frame().await, None, "{transport}: {what}: expected the end after the Close");
}

#[test]
fn violations_of_the_framing_get_1002() {
    let text = Frame::text(ECHO);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no mask", text.clone().unmasked().bytes()),
        ("RSV1", text.clone().with_bits(0x40).bytes()),
        ("RSV2", text.clone().with_bits(0x20).bytes()),
        ("RSV3", text.clone().with_bits(0x10).bytes()),
        ("RSV1 on a ping", Frame::new(PING, "").with_bits(0x40).bytes()),
        ("opcode 3", Frame::new(0x3, ECHO).bytes()),
        ("opcode 7", Frame::new(0x7, ECHO).bytes()),
        ("opcode 11", Frame::new(0xb, "").bytes()),
        ("opcode 15", Frame::new(0xf, "").bytes()),
        ("a ping in fragments", Frame::new(PING, "").unfinished().bytes()),
        ("a Close in fragments", Frame::close(1000, "").unfinished().bytes()),
        ("a ping of 126 bytes", Frame::new(PING, [0; 126]).bytes()),
        ("a pong of 126 bytes", Frame::new(PONG, [0; 126]).bytes()),
        ("a Close of 126 bytes", Frame::close(1000, [b'x'; 124]).bytes()),
        ("a continuation of nothing", Frame::new(CONTINUATION, ECHO).bytes()),
        (
            "an unfinished continuation of nothing",
            Frame::new(CONTINUATION, ECHO).unfinished().bytes(),
        ),
        ("text within text", [text.clone().unfinished().bytes(), text.bytes()].concat()),
        (
            "binary within text",
            [text.clone().unfinished().bytes(), Frame::new(BINARY, "x").bytes()].concat(),
        ),
        (
            "a continuation after the end",
            [text.bytes(), Frame::new(CONTINUATION, "").bytes()].concat(),
        ),
        ("a Close of one byte", Frame::new(CLOSE, [3]).bytes()),
        ("a length with its highest bit set", Frame::head(0x81, true, 1 << 63)),
        ("no frame at all", b"{\"opcode\":\"echo\"}".to_vec()),
    ];
    relay_test(async |relay| {
        for transport in TRANSPORTS {
            for (what, bytes) in &cases {
                expect_violation(relay, transport, bytes, 1002, what).await;
            }
        }
        relay.web(Transport::Ws, "/").await.hears_nothing().await;
    });
}

#[test]
fn close_codes_that_must_not_be_sent_get_1002() {
    relay_test(async |relay| {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            let bytes = Frame::close(code, "").bytes();
            expect_violation(relay, Transport::Ws, &bytes, 1002, &format!("close code {code}"))
                .await;
        }
    });
}

#[test]
fn text_that_is_not_utf_8_gets_1007() {
    let invalid: &[&[u8]] = &[
        b"\xff",
        b"{\"opcode\":\"echo\",\"x\":\"\xc3\"}",
        // Overlong, a surrogate, beyond Unicode, a character cut at the end.
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"x\xf0\x9f\x90",
    ];
    relay_test(async |relay| {
        for transport in TRANSPORTS {
            for bytes in invalid {
                let what = format!("{bytes:?}");
                let text = Frame::text(bytes).bytes();
                expect_violation(relay, transport, &text, 1007, &format!("{what} as text")).await;
                let binary = Frame::new(BINARY, bytes).bytes();
                expect_violation(relay, transport, &binary, 1007, &format!("{what} as binary"))
                    .await;
                let parts = [
                    Frame::text(&bytes[..1]).unfinished().bytes(),
                    Frame::new(CONTINUATION, &bytes[1..]).bytes(),
                ];
                expect_violation(
                    relay,
                    transport,
                    &parts.concat(),
                    1007,
                    &format!("{what} in parts"),
                )
                .await;
            }
            let reason = Frame::close(1000, b"\xff").bytes();
            expect_violation(relay, transport, &reason, 1007, "the reason of a Close").await;
        }
    });
}

#[test]
fn messages_over_the_limit_get_1009() {
    Setup::new().set("limits.message_bytes_max=65536").run(async |relay| {
        let fragments = |count: usize| {
            let first = Frame::text("x".repeat(10_000)).unfinished().bytes();
            let rest =
                (1..count).map(|_| Frame::new(CONTINUATION, "x".repeat(10_000)).unfinished());
            rest.fold(first, |bytes, frame| [bytes, frame.bytes()].concat())
        };
        let cases = [
            ("one byte too many", Frame::text("x".repeat(65_537)).bytes()),
            ("announced, not sent", Frame::head(0x81, true, 65_537)),
            ("the largest there can be", Frame::head(0x81, true, (1 << 63) - 1)),
            ("announced as binary", Frame::head(0x82, true, 1 << 40)),
            ("in fragments", fragments(7)),
            ("in fragments, announced", [fragments(6), Frame::head(0x80, true, 60_000)].concat()),
        ];
        for transport in TRANSPORTS {
            for (what, bytes) in &cases {
                expect_violation(relay, transport, bytes, 1009, what).await;
            }
            let largest = format!("{{\"opcode\":\"echo\",\"x\":\"{}\"}}", "x".repeat(65_536 - 24));
            assert_eq!(largest.len(), 65_536, "the largest message that is allowed");
            let mut wire = Wire::web(relay, transport, "/").await;
            wire.send(Frame::text(&largest)).await;
            expect_echo(&mut wire, &largest).await;
        }
    });
}

#[test]
fn the_largest_message_of_the_shipped_config_passes() {
    relay_test(async |relay| {
        let mut page = relay.web(Transport::Wss, "/web").await;
        let mut client = relay.web(Transport::Ws, "/").await;
        let text = format!("{{\"x\":\"{}\"}}", "x".repeat(1024 * 1024 - 8));
        client.send(&text).await;
        client.acked("").await;
        page.hears(&text).await;
        client.send(&format!("{text} ")).await;
        client.expect_close(1009).await;
        let uuid = page.uuid.clone();
        page.send("x").await;
        page.acked(&uuid).await;
    });
}

#[test]
fn fragments_make_one_message() {
    relay_test(async |relay| {
        for transport in TRANSPORTS {
            let mut wire = Wire::web(relay, transport, "/").await;
            // Cut at every byte, within characters too; with empty fragments in between.
            for at in 0..=ECHO.len() {
                let (one, two) = ECHO.as_bytes().split_at(at);
                wire.send(Frame::text(one).unfinished()).await;
                wire.send(Frame::new(CONTINUATION, "").unfinished()).await;
                wire.send(Frame::new(CONTINUATION, two)).await;
                expect_echo(&mut wire, ECHO).await;
            }
            // Every byte a fragment, all in one write.
            let mut bytes = Frame::text("").unfinished().bytes();
            for byte in ECHO.bytes() {
                bytes.extend(Frame::new(CONTINUATION, [byte]).unfinished().bytes());
            }
            bytes.extend(Frame::new(CONTINUATION, "").bytes());
            wire.write(&bytes).await;
            expect_echo(&mut wire, ECHO).await;
        }
    });
}

#[test]
fn frames_may_be_cut_and_joined_anywhere() {
    Setup::new().set("workers=1").run(async |relay| {
        let mut other = relay.backend(Transport::Tcp).await;
        for transport in TRANSPORTS {
            let mut wire = Wire::web(relay, transport, "/").await;
            // Cut within the header, the mask, the payload. With one worker the answer to somebody
            // else shows that the relay has seen the first part by itself.
            let long = format!("{{\"opcode\":\"echo\",\"x\":\"{}\"}}", "é".repeat(100));
            let bytes = [Frame::text(&long).bytes(), Frame::text(ECHO).bytes()].concat();
            for at in 1..bytes.len() {
                wire.write(&bytes[..at]).await;
                other.hears_nothing().await;
                wire.write(&bytes[at..]).await;
                expect_echo(&mut wire, &long).await;
                expect_echo(&mut wire, ECHO).await;
            }
            // Many frames in one write.
            wire.write(&Frame::text(ECHO).bytes().repeat(50)).await;
            for _ in 0..50 {
                expect_echo(&mut wire, ECHO).await;
            }
        }
    });
}

#[test]
fn binary_frames_that_are_utf_8_are_taken_as_text() {
    relay_test(async |relay| {
        for transport in TRANSPORTS {
            let mut page = Wire::web(relay, transport, "/web").await;
            let mut wire = Wire::web(relay, transport, "/").await;
            wire.send(Frame::new(BINARY, ECHO)).await;
            expect_echo(&mut wire, ECHO).await;
            wire.send(Frame::new(BINARY, r#"{"opcode":"#).unfinished()).await;
            wire.send(Frame::new(CONTINUATION, r#""x"}"#)).await;
            wire.acked("").await;
            // Its receivers get a text frame all the same.
            assert_eq!(page.text().await, br#"{"opcode":"x"}"#);
        }
    });
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    relay_test(async |relay| {
        for transport in TRANSPORTS {
            let mut wire = Wire::web(relay, transport, "/").await;
            for payload in [&b""[..], b"hello", &[0xff; 125]] {
                wire.send(Frame::new(PING, payload)).await;
                let pong = wire.frame().await.expect("a pong");
                assert_eq!(
                    (pong.first, &*pong.payload),
                    (0x80 | PONG, payload),
                    "over {transport}"
                );
            }
            // Between the fragments of a message. A control frame is no message: no ack.
            wire.send(Frame::text(r#"{"opcode":"#).unfinished()).await;
            wire.send(Frame::new(PING, "between")).await;
            let pong = wire.frame().await.expect("a pong");
            assert_eq!((pong.first, &*pong.payload), (0x80 | PONG, &b"between"[..]));
            wire.send(Frame::new(PONG, "nobody asked")).await;
            wire.send(Frame::new(CONTINUATION, r#""echo"}"#)).await;
            expect_echo(&mut wire, r#"{"opcode":"echo"}"#).await;
        }
    });
}

#[test]
fn a_close_is_answered_by_a_close() {
    relay_test(async |relay| {
        for transport in TRANSPORTS {
            for code in [1000, 1001, 1003, 1007, 1011, 3000, 4999] {
                let mut wire = Wire::web(relay, transport, "/").await;
                wire.send(Frame::close(code, "because")).await;
                let close = wire.frame().await.expect("a Close frame");
                assert_eq!(close.close_code(), Some(code), "over {transport}: {close:?}");
                assert_eq!(wire.frame().await, None, "expected the end after the Close");
            }
            // PHP clients end with a Close frame of length 0.
            let mut wire = Wire::web(relay, transport, "/").await;
            wire.send(Frame::new(CLOSE, "")).await;
            let close = wire.frame().await.expect("a Close frame");
            assert_eq!(close.first, 0x80 | CLOSE, "over {transport}: {close:?}");
            assert_eq!(wire.frame().await, None, "expected the end after the Close");
        }
    });
}

#[test]
fn what_comes_before_a_close_counts_and_what_follows_does_not() {
    relay_test(async |relay| {
        for transport in TRANSPORTS {
            let mut page = relay.web(transport, "/web").await;
            let mut wire = Wire::web(relay, transport, "/").await;
            let frames = [
                Frame::text(r#"{"n":1}"#),
                Frame::text(r#"{"n":2}"#),
                Frame::close(1000, ""),
                Frame::text(r#"{"n":3}"#),
            ];
            wire.write(&frames.map(|frame| frame.bytes()).concat()).await;
            page.hears(r#"{"n":1}"#).await;
            page.hears(r#"{"n":2}"#).await;
            wire.acked("").await;
            wire.acked("").await;
            let close = wire.frame().await.expect("a Close frame");
            assert_eq!(close.close_code(), Some(1000), "expected Close behind the acks: {close:?}");
            let uuid = page.uuid.clone();
            page.send("x").await;
            page.acked(&uuid).await;
        }
    });
}

#[test]
fn a_message_that_is_not_finished_is_no_message() {
    relay_test(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let uuid = page.uuid.clone();
        for transport in TRANSPORTS {
            let mut wire = Wire::web(relay, transport, "/").await;
            wire.send(Frame::text(r#"{"n":1}"#).unfinished()).await;
            wire.finish().await;
            assert!(wire.ends().await, "expected the end");
            page.send("x").await;
            page.acked(&uuid).await;
        }
    });
}

#[test]
fn every_message_of_the_relay_is_one_text_frame_with_the_shortest_header() {
    relay_test(async |relay| {
        for transport in TRANSPORTS {
            let mut wire = Wire::web(relay, transport, "/").await;
            for (bytes, head_bytes) in
                [(125, 2), (126, 4), (65_535, 4), (65_536, 10), (200_000, 10)]
            {
                let fill = "x".repeat(bytes - r#"{"opcode":"echo","x":""}"#.len());
                let text = format!("{{\"opcode\":\"echo\",\"x\":\"{fill}\"}}");
                wire.send(Frame::text(&text)).await;
                wire.acked("").await;
                let frame = wire.frame().await.expect("the echo");
                assert_eq!(frame.first, 0x80 | TEXT, "{bytes} bytes");
                assert_eq!(frame.head_bytes, head_bytes, "{bytes} bytes");
                assert_eq!(frame.payload, text.as_bytes(), "{bytes} bytes");
            }
        }
    });
}
