//! Every answer of HTTP: the upgrade as it should be, and each refusal.

use crate::client::{Door, Transport};
use crate::harness::{Setup, TempDir, relay_test};
use crate::wire::{ACCEPT, Frame, PING, PONG, Response, Wire, request};

async fn answer(door: &Door, transport: Transport, request: &str) -> Response {
    let mut wire = Wire::dial(door, transport).await;
    wire.write(request.as_bytes()).await;
    wire.refusal().await
}

async fn expect_upgrade(door: &Door, transport: Transport, request: &str) {
    let mut wire = Wire::dial(door, transport).await;
    wire.write(request.as_bytes()).await;
    let response = wire.response().await;
    let head = &response.head;
    assert_eq!(response.status, 101, "over {transport}: {request:?} got {head}");
    assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT), "{head}");
    let upgrade = response.header("upgrade").map(str::to_ascii_lowercase);
    assert_eq!(upgrade.as_deref(), Some("websocket"), "{head}");
    assert_eq!(
        response.header("connection"),
        Some("Upgrade"),
        "alone, for old PHP clients: {head}"
    );
    assert_eq!(response.header("sec-websocket-extensions"), None, "none is spoken: {head}");
    assert_eq!(response.header("sec-websocket-protocol"), None, "none is spoken: {head}");
    assert!(head.len() < 1024, "expected a 101 under 1 KB: {head}");
    let ready = String::from_utf8(wire.text().await).expect("text");
    assert!(ready.contains("\"ready\""), "expected ready first: {ready}");
    wire.send(Frame::text("x")).await;
    wire.acked("").await;
}

#[test]
fn good_requests_are_upgraded() {
    relay_test(async |relay| {
        for transport in [Transport::Ws, Transport::Wss] {
            let requests = [
                request("/", &[]),
                // As browsers send it.
                request(
                    "/chat?x=%20&y",
                    &[
                        ("Connection", "keep-alive, Upgrade"),
                        ("Upgrade", "WebSocket"),
                        ("Origin", "https://example.org"),
                        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) žluťoučký"),
                        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
                        ("Sec-WebSocket-Protocol", "chat, superchat"),
                        ("Cache-Control", "no-cache"),
                        ("Cookie", &"c".repeat(4000)),
                    ],
                ),
                // Names and tokens in any case.
                request("/", &[("Connection", "uPGRADE"), ("Upgrade", "WEBSOCKET")])
                    .replace("Sec-WebSocket-Key", "SEC-WEBSOCKET-KEY")
                    .replace("Host", "hOST"),
                // Blanks around values, and none.
                request("/", &[("Origin", " null \t")]).replace("Host: ", "Host:"),
                request("/", &[("Origin", "null")]),
                // Bare LF is tolerated.
                request("/", &[]).replace("\r\n", "\n"),
                request("http://localhost/absolute", &[]),
            ];
            for request in requests {
                expect_upgrade(relay, transport, &request).await;
            }
        }
    });
}

#[test]
fn the_answer_and_ready_precede_whatever_was_sent_behind_the_request() {
    relay_test(async |relay| {
        for transport in [Transport::Ws, Transport::Wss] {
            let mut wire = Wire::dial(relay, transport).await;
            let early = [Frame::new(PING, "early"), Frame::text("x")];
            let early: Vec<u8> = early.iter().flat_map(Frame::bytes).collect();
            wire.write(&[request("/", &[]).as_bytes(), &early].concat()).await;
            assert_eq!(wire.response().await.status, 101, "over {transport}");
            let ready = String::from_utf8(wire.text().await).expect("text");
            assert!(ready.contains("\"ready\""), "expected ready first: {ready}");
            let pong = wire.frame().await.expect("a pong");
            assert_eq!((pong.first, &*pong.payload), (0x80 | PONG, &b"early"[..]));
            wire.acked("").await;
        }
    });
}

#[test]
fn a_script_that_greets_nobody_lets_everybody_in() {
    let dir = TempDir::new();
    let script = dir.write("opcodes.lua", "function on.default() end");
    Setup::new().script(&script).run(async |relay| {
        for transport in [Transport::Ws, Transport::Wss] {
            let mut wire = Wire::dial(relay, transport).await;
            wire.write(request("/", &[]).as_bytes()).await;
            assert_eq!(wire.response().await.status, 101, "over {transport}");
            wire.send(Frame::text("x")).await;
            wire.acked("").await;
        }
    });
}

#[test]
fn requests_without_a_usable_key_host_or_connection_get_400() {
    relay_test(async |relay| {
        let cases: &[&[(&str, &str)]] = &[
            &[("Host", "")],
            &[("Sec-WebSocket-Key", "")],
            &[("Sec-WebSocket-Key", "short")],
            &[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZSBpcyBsb25n")],
            &[("Sec-WebSocket-Key", "!!!!IHNhbXBsZSBub25jZQ==")],
            &[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ")],
            &[("Connection", "")],
            &[("Connection", "keep-alive")],
            &[("Connection", "Upgraded")],
            &[("Connection", "close")],
        ];
        for transport in [Transport::Ws, Transport::Wss] {
            for case in cases {
                let response = answer(relay, transport, &request("/", case)).await;
                assert_eq!(response.status, 400, "over {transport}: {case:?}: {}", response.head);
            }
        }
    });
}

#[test]
fn malformed_requests_get_400() {
    relay_test(async |relay| {
        let cases = [
            "GET\r\n\r\n".to_owned(),
            "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(),
            request("/", &[("Bad\u{1}Name", "x")]),
            request("/", &[("Origin", "a\u{0}b")]),
            request("/", &[]).replace("GET / ", "GET / / "),
        ];
        for case in &cases {
            let response = answer(relay, Transport::Ws, case).await;
            assert_eq!(response.status, 400, "{case:?}: {}", response.head);
        }
    });
}

#[test]
fn other_versions_get_426_with_the_right_one() {
    relay_test(async |relay| {
        for version in ["", "8", "12", "14", "13, 8", "thirteen"] {
            let request = request("/", &[("Sec-WebSocket-Version", version)]);
            let response = answer(relay, Transport::Ws, &request).await;
            assert_eq!(response.status, 426, "version {version:?}: {}", response.head);
            assert_eq!(response.header("sec-websocket-version"), Some("13"), "{}", response.head);
        }
    });
}

#[test]
fn other_methods_get_405() {
    relay_test(async |relay| {
        // The last is a method as far as its form goes.
        for method in ["POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "HELLO"] {
            for path in ["/", "/web"] {
                let request = request(path, &[]).replacen("GET", method, 1);
                let response = answer(relay, Transport::Ws, &request).await;
                assert_eq!(response.status, 405, "{method} {path}: {}", response.head);
            }
        }
    });
}

#[test]
fn a_plain_get_gets_426_without_the_test_page() {
    Setup::new().set("web.test_page=false").run(async |relay| {
        for transport in [Transport::Ws, Transport::Wss] {
            let plain = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n";
            let response = answer(relay, transport, plain).await;
            assert_eq!(response.status, 426, "over {transport}: {}", response.head);
            assert!(response.header("upgrade").is_some(), "RFC 9110 wants it: {}", response.head);
        }
    });
}

#[test]
fn origins_are_free_unless_they_are_listed() {
    relay_test(async |relay| {
        for origin in ["", "null", "https://anything.example", "no URL"] {
            expect_upgrade(relay, Transport::Ws, &request("/", &[("Origin", origin)])).await;
        }
    });
}

#[test]
fn listed_origins_are_compared_exactly() {
    let setup = Setup::new();
    let setup =
        setup.set(r#"web.allowed_origins=["https://example.org", "http://localhost:8080"]"#);
    setup.run(async |relay| {
        for origin in ["https://example.org", "http://localhost:8080"] {
            expect_upgrade(relay, Transport::Ws, &request("/", &[("Origin", origin)])).await;
            expect_upgrade(relay, Transport::Wss, &request("/", &[("Origin", origin)])).await;
        }
        let wrong = [
            // None at all: optional only where every origin is allowed.
            "",
            "null",
            "https://example.org.evil.example",
            "https://EXAMPLE.org",
            "http://example.org",
            "https://example.org:443",
            "https://example.org/",
            "example.org",
            "http://localhost",
            "https://example.org, null",
        ];
        for origin in wrong {
            let response = answer(relay, Transport::Ws, &request("/", &[("Origin", origin)])).await;
            assert_eq!(response.status, 403, "{origin:?}: {}", response.head);
        }
        // A raw backend has no origin to be judged by.
        relay.backend(Transport::Tcp).await.hears_nothing().await;
    });
}

#[test]
fn an_origin_with_a_trailing_blank_is_the_origin() {
    // PHP WebSocket clients may send one.
    Setup::new().set(r#"web.allowed_origins=["https://example.org"]"#).run(async |relay| {
        let request = request("/", &[("Origin", "https://example.org "), ("Client-Type", "php")]);
        expect_upgrade(relay, Transport::Ws, &request).await;
    });
}

#[test]
fn a_head_over_the_limit_is_refused() {
    relay_test(async |relay| {
        for transport in [Transport::Ws, Transport::Wss] {
            let long = request("/", &[("Cookie", &"c".repeat(9000))]);
            let response = answer(relay, transport, &long).await;
            assert!(matches!(response.status, 400 | 431), "over {transport}: {}", response.head);
            // It is not waited for the end of such a head either.
            let endless = format!("GET /{} HTTP/1.1\r\n", "x".repeat(9000));
            let response = answer(relay, transport, &endless).await;
            assert!((400..500).contains(&response.status), "over {transport}: {}", response.head);
        }
        relay.web(Transport::Ws, "/").await.hears_nothing().await;
    });
}
