use super::*;

const MAX: usize = 600;
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A request that is granted, with `change` (from, to) made to it.
fn request(change: (&str, &str)) -> String {
    let request = format!(
        "GET /web HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nX: y\r\n\r\n"
    );
    assert!(request.contains(change.0), "{change:?} changes nothing");
    request.replace(change.0, change.1)
}

fn answer(bytes: &[u8], origins: &[&str]) -> Result<Upgrade, Refusal> {
    let (request, used) = parse_http(bytes, MAX)?.expect("the head is whole");
    assert_eq!(used, bytes.len());
    let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
    upgrade(&request, &origins)
}

/// The example of RFC 6455, section 1.3.
#[test]
fn the_answer_is_exact() {
    let granted = answer(request(("", "")).as_bytes(), &[]).expect("a right request");
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                    Connection: Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&granted.response), expected);
}

#[test]
fn requests_and_their_status() {
    let cases: &[(&str, &str, u16)] = &[
        ("", "", 101),
        ("\r\n", "\n", 101),
        ("X: y\r\n", "X: y\n", 101),
        ("Upgrade: websocket", "UPGRADE: WebSocket", 101),
        ("Upgrade: websocket", "upgrade: h2c, websocket", 101),
        ("Connection: Upgrade", "Connection: keep-alive, upgrade", 101),
        ("Connection: Upgrade", "Connection: keep-alive\r\nConnection: UPGRADE", 101),
        ("Connection: Upgrade", "Connection: keep-alive", 400),
        ("Connection: Upgrade", "Connection: Upgraded", 400),
        ("Connection: Upgrade\r\n", "", 400),
        ("Host: relay\r\n", "", 400),
        ("Host: relay", "Host: ", 400),
        ("Host: relay", "Host: relay\r\nHost: relay", 400),
        ("Upgrade: websocket\r\n", "", 426),
        ("Upgrade: websocket", "Upgrade: h2c", 426),
        ("Version: 13", "Version: 8", 426),
        ("Version: 13", "Version: 13, 8", 426),
        ("Version: 13", "Version: 8\r\nSec-WebSocket-Version: 13", 400),
        ("Sec-WebSocket-Version: 13\r\n", "", 426),
        (KEY, "", 400),
        (KEY, "dGhlIHNhbXBsZSBub25jZQ", 400),
        (KEY, "dGhlIHNhbXBsZSBub25jZQA=", 400),
        (KEY, "dGhlIHNhbXBsZSBub25jZ!==", 400),
        (KEY, "dGhlIHNhbXBsZSBub25jZQAA==", 400),
        (KEY, "dGhlIHNhbXBsZSBub25jZZ==", 101),
        (KEY, &format!("{KEY} "), 101),
        (KEY, &format!("{KEY}\r\nSec-WebSocket-Key: {KEY}"), 400),
        ("GET", "POST", 405),
        ("GET", "HEAD", 405),
        ("HTTP/1.1", "HTTP/1.0", 400),
        ("HTTP/1.1", "HTTP/2.0", 400),
        ("GET /web HTTP/1.1", "GET /web", 400),
        ("GET /web", "GET web", 400),
        ("GET /web", "GET *", 400),
        ("X: y", "X: y\r\n folded", 400),
        ("X: y", "X : y", 400),
        ("X: y", "X\0: y", 400),
        ("X: y", "X: \0y", 400),
        ("X: y", "X: a\rb", 400),
        ("X: y", "no colon", 400),
        ("X: y", "Content-Length: 0", 101),
        ("X: y", "Content-Length: 5", 400),
        ("X: y", "Transfer-Encoding: chunked", 400),
        ("X: y", "Content-Length: 0\r\nContent-Length: 0", 400),
        ("X: y", "Origin: http://a\r\nOrigin: http://a", 400),
        ("X: y", "Origin: http://anything", 101),
    ];
    for (from, to, status) in cases {
        let got = answer(request((from, to)).as_bytes(), &[]).map_or_else(|no| no.status, |_| 101);
        assert_eq!(got, *status, "{from:?} replaced by {to:?}");
    }
}

#[test]
fn origins() {
    const ALLOWED: &[&str] = &["https://a.example", "null"];
    let cases: &[(&str, &[&str], bool)] = &[
        ("X: y", ALLOWED, false),
        ("X: y", &[], true),
        ("Origin: https://a.example", ALLOWED, true),
        ("Origin:  https://a.example \t", ALLOWED, true),
        ("Origin: https://a.example.evil", ALLOWED, false),
        ("Origin: https://A.example", ALLOWED, false),
        ("Origin: http://a.example", ALLOWED, false),
        ("Origin: null", ALLOWED, false),
        ("Origin: ", ALLOWED, false),
        ("Origin: null", &[], true),
    ];
    for (header, allowed, granted) in cases {
        let status = answer(request(("X: y", header)).as_bytes(), allowed);
        let expected = if *granted { None } else { Some(403) };
        assert_eq!(status.err().map(|no| no.status), expected, "{header} of {allowed:?}");
    }
}

#[test]
fn refusals_are_http() {
    for status in [400, 403, 404, 405, 408, 426, 429, 431, 503] {
        let bytes = Refusal::new(status, "what is wrong").response();
        let mut headers = [EMPTY_HEADER; 8];
        let mut response = httparse::Response::new(&mut headers);
        let Ok(Status::Complete(used)) = response.parse(&bytes) else {
            panic!("malformed {status}")
        };
        assert_eq!(response.code, Some(status));
        assert_ne!(response.reason, Some("Refused"));
        assert_eq!(&bytes[used..], b"what is wrong\n");
        let headers = from_parsed(response.headers);
        assert_eq!(headers.get("content-length"), Some("14"));
        assert_eq!(headers.get("connection"), Some("close"));
        assert_eq!(headers.get("allow"), (status == 405).then_some("GET"));
        assert_eq!(headers.get("upgrade"), (status == 426).then_some("websocket"));
        assert_eq!(headers.get("sec-websocket-version"), (status == 426).then_some("13"));
    }
    assert_eq!(Refusal::bad_request("x").to_string(), "400: x");
}

/// Not a byte before the last decides, whatever follows, and bytes behind the head are left.
#[test]
fn heads_cut_at_every_byte() {
    for text in [request(("", "")), request(("\r\n", "\n"))] {
        let stream = [text.as_bytes(), b"\x81\x80\n\n"].concat();
        for end in 0..=stream.len() {
            let parsed = parse_http(&stream[..end], MAX).expect("a right request");
            let used = parsed.map(|(_, used)| used);
            assert_eq!(used, (end >= text.len()).then_some(text.len()), "cut at {end}");
        }
    }
    let text = b"php process\nGET / HTTP/1.1\n\n";
    let stream = [text, &b"{\n\n"[..]].concat();
    for end in 0..=stream.len() {
        let parsed = parse_greeting(&stream[..end], MAX).expect("a right greeting");
        let used = parsed.map(|(_, used)| used);
        assert_eq!(used, (end >= text.len()).then_some(text.len()), "cut at {end}");
    }
}

#[test]
fn what_a_head_says() {
    let cases: &[(&str, &str, &str)] = &[
        ("/web", "/web", ""),
        ("/web?a=b?c", "/web", "a=b?c"),
        ("/?u=http://x/y", "/", "u=http://x/y"),
        ("http://relay:1/web?q", "/web", "q"),
        ("ws://relay", "/", ""),
        ("ws://relay?q", "/", "q"),
    ];
    for (target, path, query) in cases {
        let text = request(("/web", target));
        let (request, _) = parse_http(text.as_bytes(), MAX).expect(target).expect(target);
        assert_eq!((&*request.head.path, &*request.head.query), (*path, *query));
    }
    let text = request(("X: y", "CLIENT-type: \t php  \r\nX: \u{e9}\r\nX: 2"));
    let (mut request, _) = parse_http(text.as_bytes(), MAX).expect("right").expect("whole");
    assert!(request.wants_upgrade());
    let headers = &mut request.head.headers;
    assert_eq!(headers.get("client-type"), Some("php"));
    assert_eq!(headers.all("x").collect::<Vec<_>>(), ["\u{e9}", "2"]);
    assert_eq!(headers.iter().next(), Some(("host", "relay")));
    headers.retain(|name| name == "x");
    assert_eq!(headers.iter().collect::<Vec<_>>(), [("x", "\u{e9}"), ("x", "2")]);

    let plain = b"GET / HTTP/1.1\r\nHost: relay\r\nX: \xe9\r\n\r\n";
    let (request, _) = parse_http(plain, MAX).expect("right").expect("whole");
    assert!(!request.wants_upgrade());
    assert_eq!(request.head.headers.get("x"), Some("\u{fffd}"));
}

#[test]
fn heads_have_limits() {
    let head = |bytes: usize| {
        let front = "GET / HTTP/1.1\r\nX: ";
        format!("{front}{}\r\n\r\n", "x".repeat(bytes - front.len() - 4))
    };
    let lines = |count: usize| format!("GET / HTTP/1.1\n{}\n", "a:\n".repeat(count));
    let greeting = |bytes: usize| format!("php process\nX: {}\n\n", "x".repeat(bytes - 17));
    let cases = [
        (head(MAX), None),
        (head(MAX) + "much more", None),
        (head(MAX + 1), Some(431)),
        ("G".repeat(MAX), None),
        ("G".repeat(MAX + 1), Some(431)),
        (lines(64), None),
        (lines(65), Some(431)),
    ];
    for (text, status) in cases {
        let got = parse_http(text.as_bytes(), MAX).err().map(|no| no.status);
        assert_eq!(got, status, "{} bytes", text.len());
    }
    for (text, status) in [(greeting(MAX), None), (greeting(MAX + 1), Some(431))] {
        let got = parse_greeting(text.as_bytes(), MAX).err().map(|no| no.status);
        assert_eq!(got, status, "a greeting of {} bytes", text.len());
    }
}

#[test]
fn greetings() {
    type Said = Result<(&'static str, &'static str), u16>;
    let cases: &[(&[u8], Said)] = &[
        (b"php process\n\n", Ok(("/", ""))),
        (b"php process\r\n\r\n", Ok(("/", ""))),
        (b"php process \n\n", Ok(("/", ""))),
        (b"php process\nGET /web HTTP/1.1\n\n", Ok(("/web", ""))),
        (b"php process\r\nGET /web HTTP/1.1\r\n\r\n", Ok(("/web", ""))),
        (b"php process\nGET /web?q HTTP/1.1\nIdent: name \n\n", Ok(("/web", "name"))),
        (b"php process\nIdent: name\r\nX: y\n\n", Ok(("/", "name"))),
        (b"php process\nGET  HTTP/1.1\n\n", Ok(("/", ""))),
        (b"php process\nGET HTTP/1.1\n\n", Ok(("/", ""))),
        (b"php process\nGET web HTTP/1.1\n\n", Ok(("/web", ""))),
        (b"php process\nGET ssl://relay:1/web HTTP/1.1\n\n", Ok(("/web", ""))),
        (b"php processor\n\n", Err(400)),
        (b"php process GET / HTTP/1.1\n\n", Err(400)),
        (b"php process\nPOST / HTTP/1.1\n\n", Err(400)),
        (b"php process\nGET /\0 HTTP/1.1\n\n", Err(400)),
        (b"php process\nGET /\xff HTTP/1.1\n\n", Err(400)),
        (b"php process\nIdent\n\n", Err(400)),
        (b"php process\nIdent: a\0\n\n", Err(400)),
        (b"\n", Err(400)),
    ];
    for (text, expected) in cases {
        let got = match parse_greeting(text, MAX) {
            Ok(head) => Ok(head.expect("the greeting is whole").0),
            Err(refusal) => Err(refusal.status),
        };
        let said = got
            .as_ref()
            .map_err(|status| *status)
            .map(|head| (&*head.path, head.headers.get("ident").unwrap_or_default()));
        assert_eq!(said, *expected, "{}", text.escape_ascii());
    }
}
