//! The test page, as a browser gets it, and what is served to everything else that is HTTP.

use base64::prelude::{BASE64_STANDARD, Engine};
use ring::digest::{SHA256, digest};

use crate::client::{Door, Stream, Transport};
use crate::harness::{Setup, eventually, relay_test};
use crate::wire::{Response, Wire, request};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The answer to a request, with its body, up to the end of the stream.
async fn answer(door: &Door, transport: Transport, request: &str) -> (Response, String) {
    let mut wire = Wire::dial(door, transport).await;
    wire.write(request.as_bytes()).await;
    let response = wire.response().await;
    assert_eq!(response.header("connection"), Some("close"), "{request:?}: {}", response.head);
    let body = String::from_utf8(wire.read_to_end().await).expect("text");
    (response, body)
}

async fn status(door: &Door, request: &str) -> u16 {
    answer(door, Transport::Tcp, request).await.0.status
}

/// The page came, and whole.
fn assert_page(request: &str, (response, body): &(Response, String)) {
    assert_eq!(response.status, 200, "{request:?}: {}", response.head);
    let length = response.header("content-length").and_then(|length| length.parse().ok());
    assert_eq!(length, Some(body.len()), "{request:?}: {}", response.head);
    assert!(body.starts_with("<!doctype html>") && body.ends_with("</html>\n"), "{request:?}");
}

#[test]
fn a_browser_gets_the_page_on_every_transport() {
    relay_test(async |relay| {
        for transport in [Transport::Tcp, Transport::Ssl] {
            let page = answer(relay, transport, GET).await;
            assert_page(GET, &page);
            for (name, value) in [
                ("content-type", "text/html; charset=utf-8"),
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "no-referrer"),
                ("cache-control", "no-cache"),
                ("cross-origin-resource-policy", "same-origin"),
            ] {
                assert_eq!(page.0.header(name), Some(value), "{}", page.0.head);
            }
        }
    });
}

/// The policy allows what is in the page, and nothing else.
#[test]
fn the_policy_allows_exactly_the_pages_own_style_and_script() {
    relay_test(async |relay| {
        let (response, body) = answer(relay, Transport::Tcp, GET).await;
        let inside = |open: &str, close: &str| {
            let parts: Vec<&str> = body.split(open).collect();
            let [_, rest] = parts[..] else { panic!("expected one {open}") };
            let text = rest.split_once(close).expect(close).0;
            format!("'sha256-{}'", BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes())))
        };
        let script = format!("script-src {}", inside("<script type=\"module\">", "</script>"));
        let style = format!("style-src {}", inside("<style>", "</style>"));
        let policy = response.header("content-security-policy").expect("a policy");
        let mut directives: Vec<&str> = policy.split("; ").collect();
        directives.sort_unstable();
        let expected = [
            "base-uri 'none'",
            "connect-src 'self'",
            "default-src 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "img-src data:",
            "require-trusted-types-for 'script'",
            &script,
            &style,
            "trusted-types 'none'",
        ];
        assert_eq!(directives, expected);
        // Nothing in the document asks anybody for anything, or needs what the policy refuses.
        for (at, _) in body.match_indices("src=").chain(body.match_indices("href=")) {
            let value = &body[at..].split_once("=\"").expect("a quoted value").1[..5];
            assert!(value == "data:" || value.starts_with('"'), "expected data alone: {value}");
        }
        for refused in [" style=\"", " onclick", "innerHTML", "@import", "url(", "eval("] {
            assert!(!body.contains(refused), "expected no {refused:?}");
        }
    });
}

#[test]
fn a_head_request_gets_the_head_alone() {
    relay_test(async |relay| {
        let (page, body) = answer(relay, Transport::Tcp, GET).await;
        let (head, nothing) = answer(relay, Transport::Tcp, &GET.replace("GET", "HEAD")).await;
        assert_eq!((head.head, &*nothing), (page.head, ""));
        assert_ne!(body, "");
    });
}

#[test]
fn requests_for_the_page_take_every_form() {
    relay_test(async |relay| {
        for request in [
            "GET / HTTP/1.0\r\n\r\n".to_owned(),
            "GET / HTTP/1.0\nHost: localhost\n\n".to_owned(),
            "GET /?from=a%20link HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            "GET http://localhost:1/ HTTP/1.1\r\nHost: localhost:1\r\n\r\n".to_owned(),
            "GET http://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            // As browsers send it.
            format!(
                "GET / HTTP/1.1\r\nHost: localhost:8083\r\nConnection: keep-alive\r\n\
                 Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0\r\nAccept: text/html\r\n\
                 Accept-Encoding: gzip, deflate, br\r\nCookie: {}\r\n\r\n",
                "c".repeat(4000)
            ),
        ] {
            assert_page(&request, &answer(relay, Transport::Tcp, &request).await);
        }
        let mut wire = Wire::dial(relay, Transport::Tcp).await;
        for byte in GET.as_bytes() {
            wire.write(&[*byte]).await;
        }
        assert_eq!(wire.response().await.status, 200, "one byte at a time");
    });
}

#[test]
fn everything_else_is_no_request_for_the_page() {
    relay_test(async |relay| {
        let cases = [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET /web HTTP/1.1\r\nHost: localhost\r\n\r\n", 426),
            ("GET //  HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
            ("GET /index.html HTTP/1.1\r\nHost: localhost\r\n\r\n", 426),
            ("GET /favicon.ico HTTP/1.1\r\nHost: localhost\r\n\r\n", 426),
            ("GET /../ HTTP/1.1\r\nHost: localhost\r\n\r\n", 426),
            ("HEAD /web HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
            ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 405),
            ("OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
            // Whoever says Upgrade wants a WebSocket, or something that is not there.
            ("GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\n\r\n", 426),
            ("GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade:\r\n\r\n", 426),
        ];
        for (request, expected) in cases {
            assert_eq!(status(relay, request).await, expected, "{request:?}");
        }
        assert_eq!(status(relay, &request("/", &[("Sec-WebSocket-Key", "")])).await, 400);
        let old = request("/", &[]).replace("HTTP/1.1", "HTTP/1.0");
        assert_eq!(status(relay, &old).await, 400, "a WebSocket needs HTTP/1.1");
        relay.web(Transport::Ws, "/").await.hears_nothing().await;
    });
}

#[test]
fn switched_off_it_is_not_there() {
    Setup::new().set("web.test_page=false").run(async |relay| {
        assert_eq!(status(relay, GET).await, 426);
        assert_eq!(status(relay, &GET.replace("GET", "HEAD")).await, 405);
        relay.web(Transport::Ws, "/").await.hears_nothing().await;
    });
}

/// Closing on unread input would take the page back.
#[test]
fn the_page_comes_whole_whatever_follows_the_request() {
    relay_test(async |relay| {
        for transport in [Transport::Tcp, Transport::Ssl] {
            let mut wire = Wire::dial(relay, transport).await;
            wire.write([GET.as_bytes(), GET.as_bytes(), &[0xff; 40_000]].concat().as_slice()).await;
            let response = wire.response().await;
            let body = String::from_utf8(wire.read_to_end().await).expect("text");
            assert_page("with garbage behind it", &(response, body));
        }
    });
}

/// A reader that takes nothing holds up nobody, and its place is free in time: there is one.
#[test]
fn a_slow_reader_of_the_page_is_let_go() {
    let setup = Setup::new()
        .set("workers=1")
        .set("limits.handshakes_pending_max=1")
        .set("limits.handshake_timeout_ms=500")
        .set("limits.linger_timeout_ms=300");
    setup.run(async |relay| {
        for transport in [Transport::Tcp, Transport::Ssl] {
            let mut other = relay.backend(Transport::Tcp).await;
            let tcp = relay.dial_tcp().await;
            socket2::SockRef::from(&tcp).set_recv_buffer_size(4096).expect("a socket option");
            let stream: Stream = relay.dial_over(tcp, transport).await.expect("a handshake");
            let mut wire = Wire::new(stream);
            wire.write(GET.as_bytes()).await;
            other.hears_nothing().await;
            // What waits at the door is refused or let wait; it gets in as soon as there is room.
            eventually("room for another handshake", async || {
                let mut wire = Wire::dial(relay, Transport::Tcp).await;
                wire.try_write(b"{\"opcode\":\"echo\"}").await
                    && wire.try_read().await.is_some_and(|read| !read.is_empty())
            })
            .await;
            assert!(wire.ends().await);
        }
    });
}
