//! A whole connection, fed from bytes: it ends when its peer does, what it says is what its protocol
//! allows, each message is acked, and another client notices nothing but broadcasts.
//!
//! The first byte of an input says what comes before the rest, and how it is framed; the second how
//! it is cut, and whether time passes in between.

#![no_main]

use std::cell::RefCell;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use relay::config::{Config, Sources};
use relay::frame::{Decoder, Frame};
use relay::message::{Message, MessageLimits};
use relay_fuzz::stage::{Peer, Stage};
use relay_fuzz::{cut, decode};
use serde_json::Value as Json;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../relay.toml");
/// Short enough to be exceeded.
const MESSAGE_BYTES_MAX: usize = 2048;
const GET: &str = "GET /web HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
const MESSAGE_LIMITS: MessageLimits = MessageLimits { depth_max: 127, opcode_bytes_max: 128 };

thread_local! {
    static SCENE: RefCell<(Stage, Peer)> = RefCell::new(scene());
}

/// A relay with one client, which the inputs can reach as `watcher`.
fn scene() -> (Stage, Peer) {
    // The peers are a trusted proxy, so that PROXY headers and Forwarded are read.
    let set = vec!["trusted_proxies=[\"192.0.2.1\"]".to_owned()];
    let sources = Sources { config: Some(SHIPPED.into()), set, ..Sources::default() };
    let mut config = Config::load_with(&sources, []).expect("the shipped config");
    config.limits.message_bytes_max = MESSAGE_BYTES_MAX;
    config.limits.undecided_messages_max = 4;
    config.limits.failed_claims_max = 3;
    let mut stage = Stage::new(config);
    let mut watcher = stage.connect();
    watcher.say(&mut stage, format!("{GET}\r\n").as_bytes());
    watcher.say(&mut stage, &masked(br#"{"opcode":"uuid","message":"watcher"}"#));
    let heard = std::mem::take(&mut watcher.heard);
    let at = head_end(&heard).expect("an upgrade");
    assert_eq!(frames(&heard[at..]).len(), 2, "ready and next");
    (stage, watcher)
}

fuzz_target!(|data: &[u8]| {
    let [kind, seed, rest @ ..] = data else { return };
    SCENE.with_borrow_mut(|(stage, watcher)| {
        let framed = || rest.split(|byte| *byte == b'\n').flat_map(masked).collect();
        // What comes before; then the stream; and whether that is the bytes of a WebSocket.
        let (before, stream, is_websocket): (String, Vec<u8>, bool) = match kind % 6 {
            0 => (String::new(), rest.to_vec(), false),
            1 => (format!("{GET}\r\n"), rest.to_vec(), true),
            2 => (format!("{GET}\r\n"), framed(), true),
            3 => (format!("{GET}Client-Type: php\r\nIdent: a\r\n\r\n"), framed(), true),
            4 => ("php process\n\n".to_owned(), rest.to_vec(), false),
            _ => ("php process\nGET /web HTTP/1.1\nIdent: b\n\n".to_owned(), rest.to_vec(), false),
        };
        let mut peer = stage.connect();
        peer.say(stage, before.as_bytes());
        // The wait of PHP clients for their `ready`; for others a pause.
        stage.wait(Duration::from_millis(30));
        for part in cut_in_few(*seed, &stream) {
            peer.say(stage, part);
            if seed & 0xc0 == 0xc0 {
                stage.wait(Duration::from_millis(25));
            }
        }
        // A claim on the watcher's name waits for its answer, and the claim's ack with it.
        attend(stage, watcher);
        peer.hang_up(stage);
        assert!(peer.ended, "the relay keeps a connection whose peer has ended");
        assert_eq!(stage.connected(), 1, "a client is left in the hub");
        check(&peer.heard, is_websocket.then_some(&*stream));

        attend(stage, watcher);
    });
});

/// The watcher hears what there is for it, and answers pings.
fn attend(stage: &mut Stage, watcher: &mut Peer) {
    watcher.listen();
    assert!(!watcher.ended, "one client's input ended another");
    let heard = std::mem::take(&mut watcher.heard);
    for (opcode, payload) in frames(&heard) {
        match opcode {
            1 => drop(json(payload)),
            9 => watcher.say(stage, &masked_as(0x8a, payload)),
            other => panic!("the watcher was sent a frame of kind {other}"),
        }
    }
}

/// In one piece for a quarter of the seeds, else in a few: each costs a turn of everything.
fn cut_in_few(seed: u8, stream: &[u8]) -> Vec<&[u8]> {
    let few = if seed & 0xc0 == 0 { 0 } else { 3 };
    let mut parts = cut(seed, stream);
    parts.truncate(few);
    let used = parts.iter().map(|part| part.len()).sum();
    parts.push(&stream[used..]);
    parts
}

/// Checks what the relay said, against what it was sent behind its handshake.
fn check(heard: &[u8], websocket: Option<&[u8]>) {
    if let Some(sent) = websocket {
        let at = head_end(heard).expect("an answer to a good request");
        assert!(heard.starts_with(b"HTTP/1.1 101 "), "a good request is granted");
        return check_websocket(&heard[at..], sent);
    }
    match heard {
        b"" => {}
        [b'H', ..] => {
            let at = head_end(heard).expect("a whole head");
            if heard.starts_with(b"HTTP/1.1 101 ") {
                frames(&heard[at..]);
            }
        }
        // An alert of TLS.
        [0x15, ..] => {}
        _ => {
            let texts = serde_json::Deserializer::from_slice(heard).into_iter::<Json>();
            let texts: Vec<Json> = texts.map(|text| text.expect("whole JSON")).collect();
            assert!(texts[0]["opcode"] == "ready" || texts[0]["opcode"] == "close");
        }
    }
}

fn check_websocket(heard: &[u8], sent: &[u8]) {
    let (received, _) = decode(Decoder::websocket(MESSAGE_BYTES_MAX), &[sent], false);
    let says = |wanted: &str| {
        let is_it = |text: &Bytes| {
            let message = Message::parse(text.clone(), MESSAGE_LIMITS).ok();
            message.and_then(|it| it.opcode).is_some_and(|opcode| opcode.as_str() == wanted)
        };
        received.iter().any(|frame| matches!(frame, Frame::Message(text) if is_it(text)))
    };
    let messages =
        received.iter().filter(|frame| matches!(frame, Frame::Message(_) | Frame::Noise));
    let messages = messages.count();
    let mut acks = 0;
    let frames = frames(heard);
    for (at, &(opcode, payload)) in frames.iter().enumerate() {
        match opcode {
            1 => {
                let text = json(payload);
                assert_eq!(at == 0, text["opcode"] == "ready", "ready comes first");
                acks += usize::from(text["opcode"] == "next");
            }
            8 => assert_eq!(at + 1, frames.len(), "something behind the Close frame"),
            10 => {}
            other => panic!("a frame of kind {other}"),
        }
    }
    assert!(acks <= messages, "{acks} acks for {messages} messages");
    // A claim that still waits when its client breaks the rules is never answered. One that is given up
    // for another name fails without a word.
    let late = usize::from(says("uuid"));
    let claimed_too_often = frames.last().is_some_and(|(opcode, payload)| {
        *opcode == 8 && payload.ends_with(b"too many claims of names in use")
    });
    if !says("quit") && !claimed_too_often {
        assert!(acks + late >= messages, "{acks} acks for {messages} messages");
    }
}

/// One masked text frame of a client.
fn masked(text: impl AsRef<[u8]>) -> Vec<u8> {
    masked_as(0x81, text.as_ref())
}

/// One masked frame that begins with this byte; the mask is 0, which is as good as any here.
fn masked_as(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    relay::frame::Encoding::WebSocket.encode(payload, &mut frame);
    let head = frame.len() - payload.len();
    frame[0] = first;
    frame[1] |= 0x80;
    [&frame[..head], &[0; 4], payload].concat()
}

/// Opcode and payload of each server frame: whole, unmasked, not fragmented.
fn frames(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        assert_eq!(first & 0xf0, 0x80, "a fragment, or reserved bits");
        let (length, rest) = match second {
            0..126 => (usize::from(*second), rest),
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            _ => panic!("longer than anything here, or masked"),
        };
        let (payload, rest) = rest.split_at(length);
        frames.push((first & 0x0f, payload));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a frame");
    frames
}

fn json(text: &[u8]) -> Json {
    std::str::from_utf8(text).expect("UTF-8");
    // What is forwarded may hold what only the bytes can say.
    serde_json::from_slice(text).unwrap_or_default()
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}
