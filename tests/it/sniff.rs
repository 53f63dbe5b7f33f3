//! The first bytes decide what a client is, however the network cuts them.

use serde_json::json;

use crate::client::{Client, Door, Hello, Transport};
use crate::harness::{Setup, relay_test};
use crate::wire::{Frame, Wire, request};

/// All forms of the raw greeting.
const GREETINGS: &[&str] = &[
    "php process\n\n",
    "php process\r\n\r\n",
    "php process\nGET / HTTP/1.1\n\n",
    "php process\r\nGET /some/where HTTP/1.1\r\n\r\n",
    "php process\nGET /web HTTP/1.1\r\n\n",
];

const ECHO: &str = r#"{"opcode":"echo","text":"é🐎"}"#;

/// A relay with one worker. Its turns come one after the other, so an answer to somebody else,
/// asked for after some bytes were sent, shows that the relay has seen these bytes by themselves.
fn one_worker(body: impl AsyncFnOnce(&Door, &mut Client)) {
    Setup::new().set("workers=1").run(async |relay| {
        let mut other = relay.backend(Transport::Tcp).await;
        body(relay, &mut other).await;
    });
}

/// Sends bytes in two parts.
async fn write_cut(wire: &mut Wire, bytes: &[u8], at: usize, other: &mut Client) {
    other.hears_nothing().await;
    wire.write(&bytes[..at]).await;
    other.hears_nothing().await;
    wire.write(&bytes[at..]).await;
}

/// Reads bare JSON until there are so many objects.
async fn values(wire: &mut Wire, count: usize) -> Vec<serde_json::Value> {
    let mut bytes = Vec::new();
    loop {
        let values: Vec<_> = serde_json::Deserializer::from_slice(&bytes)
            .into_iter()
            .map_while(Result::ok)
            .collect();
        if values.len() >= count {
            return values;
        }
        let read = wire.read().await;
        let heard = String::from_utf8_lossy(&bytes);
        assert!(!read.is_empty(), "expected {count} values; the stream ended after {heard:?}");
        bytes.extend(read);
    }
}

async fn expect_conversation(wire: &mut Wire, what: &str) {
    let heard = values(wire, 3).await;
    assert_eq!(heard[0]["opcode"], "ready", "{what}: {heard:?}");
    assert_eq!(heard[1], crate::client::next(""), "{what}: expected the ack of an echo");
    assert_eq!(heard[2], json!({ "opcode": "echo", "text": "é🐎" }), "{what}: expected an echo");
    assert_eq!(heard.len(), 3, "{what}: expected nothing more");
}

fn greetings_cut_at_every_byte(transport: Transport) {
    one_worker(async |door, other| {
        let bare = [""].iter();
        for greeting in GREETINGS.iter().chain(bare) {
            let bytes = [greeting.as_bytes(), ECHO.as_bytes()].concat();
            for at in 1..bytes.len() {
                let mut wire = Wire::dial(door, transport).await;
                write_cut(&mut wire, &bytes, at, other).await;
                expect_conversation(&mut wire, &format!("{greeting:?} and an echo, cut at {at}"))
                    .await;
            }
        }
    });
}

#[test]
fn greetings_cut_at_every_byte_over_tcp() {
    greetings_cut_at_every_byte(Transport::Tcp);
}

#[test]
fn greetings_cut_at_every_byte_over_ssl() {
    greetings_cut_at_every_byte(Transport::Ssl);
}

fn upgrade_cut_at_every_byte(transport: Transport) {
    one_worker(async |door, other| {
        let frame = Frame::text(ECHO).bytes();
        let bytes = [request("/x", &[]).as_bytes(), &frame].concat();
        for at in 1..bytes.len() {
            let mut wire = Wire::dial(door, transport).await;
            write_cut(&mut wire, &bytes, at, other).await;
            assert_eq!(wire.response().await.status, 101, "cut at {at}");
            let ready = String::from_utf8(wire.text().await).expect("text");
            assert!(ready.contains("\"ready\""), "cut at {at}: {ready}");
            wire.acked("").await;
            assert_eq!(wire.text().await, ECHO.as_bytes(), "cut at {at}");
        }
    });
}

#[test]
fn upgrade_cut_at_every_byte_over_ws() {
    upgrade_cut_at_every_byte(Transport::Ws);
}

#[test]
fn upgrade_cut_at_every_byte_over_wss() {
    upgrade_cut_at_every_byte(Transport::Wss);
}

#[test]
fn client_hello_cut_at_its_first_bytes() {
    one_worker(async |door, other| {
        for at in 1..8 {
            let name = "localhost".try_into().expect("a name");
            let mut tls = rustls::ClientConnection::new(door.tls(), name).expect("a client");
            let mut hello = Vec::new();
            tls.write_tls(&mut hello).expect("memory");
            let mut wire = Wire::dial(door, Transport::Tcp).await;
            write_cut(&mut wire, &hello, at, other).await;
            let answer = wire.read().await;
            // The record of a handshake message, and in it a ServerHello.
            assert_eq!(answer.first(), Some(&0x16), "cut at {at}: {answer:?}");
            assert_eq!(answer.get(5), Some(&0x02), "cut at {at}: {answer:?}");
        }
    });
}

#[test]
fn bytes_behind_the_greeting_belong_to_the_stream() {
    relay_test(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        for transport in [Transport::Tcp, Transport::Ssl] {
            for greeting in GREETINGS {
                let mut wire = Wire::dial(relay, transport).await;
                let bytes = format!("{greeting}  {{\"n\":1}}\n{{\"n\":2}}{{\"n\"");
                wire.write(bytes.as_bytes()).await;
                page.hears(r#"{"n":1}"#).await;
                page.hears(r#"{"n":2}"#).await;
                wire.write(b":3}").await;
                page.hears(r#"{"n":3}"#).await;
                let heard = values(&mut wire, 4).await;
                let opcodes: Vec<_> = heard.iter().map(|value| value["opcode"].clone()).collect();
                assert_eq!(opcodes, ["ready", "next", "next", "next"], "{greeting:?}");
            }
        }
    });
}

#[test]
fn bytes_behind_the_upgrade_belong_to_the_frames() {
    relay_test(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        for transport in [Transport::Ws, Transport::Wss] {
            for headers in [&[][..], &[("Client-Type", "php")]] {
                let mut wire = Wire::dial(relay, transport).await;
                let (one, two) =
                    (Frame::text(r#"{"n":1}"#).bytes(), Frame::text(r#"{"n":2}"#).bytes());
                let bytes = [request("/", headers).as_bytes(), &one, &two[..5]].concat();
                wire.write(&bytes).await;
                page.hears(r#"{"n":1}"#).await;
                wire.write(&two[5..]).await;
                page.hears(r#"{"n":2}"#).await;
                assert_eq!(wire.response().await.status, 101);
                let ready = String::from_utf8(wire.text().await).expect("text");
                assert!(ready.contains("\"ready\""), "expected ready first: {ready}");
                wire.acked("").await;
                wire.acked("").await;
            }
        }
    });
}

#[test]
fn a_silent_client_hears_nothing_before_it_speaks() {
    relay_test(async |relay| {
        let mut other = relay.backend(Transport::Tcp).await;
        let mut wire = Wire::dial(relay, Transport::Tcp).await;
        for prefix in ["php process", "\n", "GET / HTTP/1.1", "\n"] {
            other.hears_nothing().await;
            wire.write(prefix.as_bytes()).await;
        }
        other.hears_nothing().await;
        wire.write(format!("\n{ECHO}").as_bytes()).await;
        expect_conversation(&mut wire, "a greeting line by line").await;
    });
}

#[test]
fn anything_else_is_answered_400() {
    relay_test(async |relay| {
        let mut other = relay.backend(Transport::Tcp).await;
        let cases: [&[u8]; 9] = [
            b"hello\n\n",
            b"[1,2]",
            b"\n{\"opcode\":\"echo\"}",
            b"\"text\"",
            b"\0\0\0\0",
            b"php processes\n\n",
            b"PHP process\n\n",
            b"get / http/1.1\r\n\r\n",
            b"\xff\xfe\xfd",
        ];
        for transport in [Transport::Tcp, Transport::Ssl] {
            for case in cases {
                let mut wire = Wire::dial(relay, transport).await;
                wire.write(case).await;
                let response = wire.refusal().await;
                let shown = String::from_utf8_lossy(case);
                assert_eq!(response.status, 400, "over {transport}: {shown:?}");
            }
        }
        other.hears_nothing().await;
    });
}

#[test]
fn a_client_that_ends_before_it_has_said_what_it_is() {
    relay_test(async |relay| {
        for prefix in ["", "p", "php process\n", "GET / HTTP/1.1\r\n", "\u{16}"] {
            let mut wire = Wire::dial(relay, Transport::Tcp).await;
            wire.write(prefix.as_bytes()).await;
            wire.finish().await;
            let heard = wire.read_to_end().await;
            let heard = String::from_utf8_lossy(&heard);
            let refused = heard.is_empty() || heard.starts_with("HTTP/1.1 400 ");
            assert!(refused, "{prefix:?}: expected the end, at most with a 400: {heard:?}");
        }
        relay.backend(Transport::Tcp).await.hears_nothing().await;
    });
}

#[test]
fn a_resource_in_the_greeting_makes_no_web_client() {
    relay_test(async |relay| {
        let mut backend = relay.open(Transport::Tcp, Hello::php(Some("/web"))).await;
        backend.hears_ready().await;
        let mut page = relay.web(Transport::Ws, "/web").await;
        page.send(r#"{"opcode":"broadcast"}"#).await;
        let uuid = page.uuid.clone();
        page.acked(&uuid).await;
        backend.hears_nothing().await;
    });
}
