//! What a browser gets that opens the address of a listener: the test page, one document that holds
//! all it needs. A page of the relay's own may do no more than it has to, so its
//! `Content-Security-Policy` allows exactly its own script and style, by their hashes, and a
//! connection to where it came from.

use std::ops::Range;
use std::sync::LazyLock;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use ring::digest::{SHA256, digest};

use crate::config::WebConfig;
use crate::frame::handshake::{Refusal, Request};

const DOCUMENT: &str = include_str!("http/page.html");
const STYLE: &str = include_str!("http/page.css");
/// The client library as it is shipped: the page shows it in use. It is a module, and so is what
/// the page itself has to say, which follows it.
const LIBRARY: &str = include_str!("../clients/web/relay.js");
const SCRIPT: &str = include_str!("http/page.js");

/// The answer to a request for a page, or why there is none. `Ok(None)`: this is no such request, so
/// it is to be judged as a WebSocket's.
///
/// # Errors
/// 400 for HTTP/1.1 without its Host.
pub fn page(request: &Request, config: &WebConfig) -> Result<Option<Bytes>, Refusal> {
    let asks = matches!(&*request.method, "GET" | "HEAD") && !request.wants_upgrade();
    if !config.test_page || !asks || request.head.path != "/" {
        return Ok(None);
    }
    // RFC 9112, section 3.2.
    if !request.is_1_0 && request.head.headers.get("host").is_none() {
        return Err(Refusal::bad_request("the Host header is missing"));
    }
    static ANSWER: LazyLock<Answer> = LazyLock::new(test_page);
    let Answer { bytes, head } = &*ANSWER;
    Ok(Some(if request.method == "HEAD" { bytes.slice(head.clone()) } else { bytes.clone() }))
}

/// A whole HTTP answer, and where its head is.
struct Answer {
    bytes: Bytes,
    head: Range<usize>,
}

fn test_page() -> Answer {
    let script = format!("{LIBRARY}\n{SCRIPT}");
    let body = DOCUMENT.replace("/* style */", STYLE).replace("/* script */", &script);
    // `connect-src 'self'` is the host and port of the page, with ws: or wss: as well (CSP 3,
    // section 6.7.2.8). Nothing in the page makes HTML out of text; trusted types keep it so.
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        source_hash(&script),
        source_hash(STYLE),
    );
    let head = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html; charset=utf-8\r\n\
         Content-Length: {}\r\nContent-Security-Policy: {policy}\r\n\
         X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\n\
         Cache-Control: no-cache\r\n\r\n",
        body.len()
    );
    let end = head.len();
    Answer { bytes: (head + &body).into(), head: 0..end }
}

/// What a `Content-Security-Policy` calls an inline script or style (CSP 3, section 2.3.1).
fn source_hash(text: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf abc | openssl dgst -sha256 -binary | base64`
    #[test]
    fn hashes_are_as_browsers_make_them() {
        assert_eq!(source_hash("abc"), "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    /// A browser hashes what it finds between the tags.
    #[test]
    fn style_and_script_are_what_their_tags_hold() {
        let Answer { bytes, head } = test_page();
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let (head, body) = text.split_at(head.end);
        for (open, close) in [("<style>", "</style>"), ("<script type=\"module\">", "</script>")] {
            let (_, rest) = body.split_once(open).expect(open);
            let (inside, rest) = rest.split_once(close).expect(close);
            assert!(head.contains(&source_hash(inside)), "{open}");
            assert!(!rest.contains(open), "one {open} only");
        }
        assert!(!body.contains("/* s"), "every placeholder is filled");
        // The tokens that would end the script early, or change how it is read.
        assert!(!SCRIPT.contains("<!--") && !LIBRARY.contains("<!--"));
    }
}
