//! What comes before the stream: the HTTP request of a WebSocket client and its answer, and the
//! greeting of a raw backend.

use httparse::{EMPTY_HEADER, Status};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::sniff::GREETING;
use crate::headers::Headers;
pub use refusal::Refusal;

mod refusal;

/// The most header lines of a head; browsers behind proxies send about 30.
const HEADERS_MAX: usize = 64;
/// Headers that decide something and may therefore come once only: of two, a proxy in front may have
/// believed the other.
const SINGLE: [&str; 5] =
    ["host", "sec-websocket-key", "sec-websocket-version", "origin", "content-length"];

/// Headers that every upgrade has and that tell nothing once it is granted.
pub const OF_THE_UPGRADE: [&str; 4] =
    ["connection", "upgrade", "sec-websocket-key", "sec-websocket-version"];

/// What a client said of itself before its stream began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Begins with `/`; as sent, without the query.
    pub path: String,
    /// What follows the first `?` of the target; empty if there is none.
    pub query: String,
    pub headers: Headers,
}

/// An HTTP request, of which the body, if any, is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// HTTP/1.0 rather than 1.1: enough for a page, not for a WebSocket.
    pub is_1_0: bool,
    pub head: Head,
}

impl Request {
    /// Whether it has an `Upgrade` header at all. A `GET` without one may be served a page.
    pub fn wants_upgrade(&self) -> bool {
        self.head.headers.get("upgrade").is_some()
    }
}

const TOO_LARGE: Refusal =
    Refusal::new(431, "the request's head is too large").mended_by("limits.header_bytes_max");

/// Parses an HTTP head out of all bytes that have come so far; bare line feeds are tolerated (the
/// existing clients). The second value is the head's length in bytes; what follows belongs to the
/// stream. `Ok(None)`: it has not come whole, ask again with more behind the same bytes.
///
/// # Errors
/// 400 for a malformed head, and for what may mean another thing to a proxy in front
/// (folded lines, control characters, a header twice that may come once); 431 for a head of more than
/// `header_bytes_max` bytes or 64 headers.
pub fn parse_http(
    bytes: &[u8],
    header_bytes_max: usize,
) -> Result<Option<(Request, usize)>, Refusal> {
    let Some(used) = head_end(bytes, header_bytes_max)? else {
        return Ok(None);
    };
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    if request.parse(&bytes[..used]).map_err(malformed)? != Status::Complete(used) {
        return Err(Refusal::bad_request("malformed request"));
    }
    let is_1_0 = request.version == Some(0);
    let headers = from_parsed(request.headers);
    if SINGLE.iter().any(|name| headers.all(name).nth(1).is_some()) {
        return Err(Refusal::bad_request("a header came twice that may come once only"));
    }
    let (path, query) = request
        .path
        .and_then(target)
        .ok_or(Refusal::bad_request("the request's target is no path"))?;
    let method = request.method.unwrap_or_default().to_owned();
    Ok(Some((Request { method, is_1_0, head: Head { path, query, headers } }, used)))
}

/// Parses the greeting of a raw backend (the existing clients) out of all bytes that have come so
/// far: `php process`, perhaps a line `GET <resource> HTTP/1.1`, perhaps header lines such as
/// `Ident: name`, and an empty line. The second value is its length in bytes; what follows belongs to
/// the stream. Without a resource the path is `/`. `Ok(None)`: it has not come whole.
///
/// # Errors
/// 400 for anything else, 431 as in [`parse_http`].
pub fn parse_greeting(
    bytes: &[u8],
    header_bytes_max: usize,
) -> Result<Option<(Head, usize)>, Refusal> {
    let Some(used) = head_end(bytes, header_bytes_max)? else {
        return Ok(None);
    };
    let (greeting, mut rest) = line(&bytes[..used]);
    if greeting != GREETING {
        return Err(Refusal::bad_request("malformed greeting"));
    }
    let mut resource = "/".to_owned();
    if let (request, behind) = line(rest)
        && let Some(words) = request.strip_prefix(b"GET ")
    {
        let words = std::str::from_utf8(words)
            .ok()
            .filter(|words| !words.contains(char::is_control))
            .ok_or(Refusal::bad_request("the greeting's resource is not printable text"))?;
        let words = words.trim().strip_suffix("HTTP/1.1").unwrap_or(words).trim();
        resource = match words.starts_with('/') || words.contains("://") {
            true => words.to_owned(),
            false => format!("/{words}"),
        };
        rest = behind;
    }
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let headers = match httparse::parse_headers(rest, &mut headers).map_err(malformed)? {
        Status::Complete((_, headers)) => from_parsed(headers),
        Status::Partial => return Err(Refusal::bad_request("malformed greeting")),
    };
    let (path, query) =
        target(&resource).ok_or(Refusal::bad_request("the greeting's resource is no path"))?;
    Ok(Some((Head { path, query, headers }, used)))
}

/// The opening of a WebSocket, granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The whole 101 answer, under 1 KB, with neither extension nor subprotocol.
    pub response: Vec<u8>,
}

/// Grants a WebSocket to a request that may have one (RFC 6455, section 4.2). An empty
/// `allowed_origins` allows all; otherwise there must be an `Origin` that equals one of them and is
/// not `null`.
///
/// # Errors
/// 405: not a GET. 426: no `Upgrade: websocket`, or a version other than 13. 400: HTTP/1.0, no usable
/// host, connection or key, or an announced body. 403: the origin.
pub fn upgrade(request: &Request, allowed_origins: &[String]) -> Result<Upgrade, Refusal> {
    let headers = &request.head.headers;
    if request.method != "GET" {
        return Err(Refusal::new(405, "only GET is served"));
    }
    if !headers.has_token("upgrade", "websocket") {
        return Err(Refusal::new(426, "this is a WebSocket server"));
    }
    if request.is_1_0 {
        return Err(Refusal::bad_request("HTTP/1.1 is needed"));
    }
    if headers.get("host").is_none_or(str::is_empty) {
        return Err(Refusal::bad_request("the Host header is missing"));
    }
    if !headers.has_token("connection", "upgrade") {
        return Err(Refusal::bad_request("the Connection header does not say Upgrade"));
    }
    let Some(key) = headers.get("sec-websocket-key").filter(|key| is_key(key)) else {
        return Err(Refusal::bad_request("Sec-WebSocket-Key is missing or not 16 bytes in base64"));
    };
    if headers.get("sec-websocket-version") != Some("13") {
        return Err(Refusal::new(426, "Sec-WebSocket-Version must be 13"));
    }
    // A proxy in front would take the first frames for the body.
    if headers.get("transfer-encoding").is_some()
        || headers.get("content-length").is_some_and(|length| length != "0")
    {
        return Err(Refusal::bad_request("an upgrade with a body"));
    }
    judge_origin(headers.get("origin"), allowed_origins)?;
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    Ok(Upgrade { response: response.into_bytes() })
}

fn judge_origin(origin: Option<&str>, allowed: &[String]) -> Result<(), Refusal> {
    match origin {
        _ if allowed.is_empty() => Ok(()),
        Some(origin) if origin != "null" && allowed.iter().any(|a| a == origin) => Ok(()),
        Some(_) => {
            Err(Refusal::new(403, "this origin is not allowed").mended_by("web.allowed_origins"))
        }
        // A page always has one, so it is none: there is nothing to mend.
        None => {
            Err(Refusal::new(403, "there is no Origin header, and only some origins are allowed"))
        }
    }
}

/// Whether this is 16 bytes in base64. The unused bits of the last letter may be set, because some
/// clients draw the letters themselves.
fn is_key(key: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    key.strip_suffix("==").is_some_and(|front| front.len() == 22 && front.bytes().all(letter))
}

/// Behind the first empty line, if that has come.
fn head_end(bytes: &[u8], header_bytes_max: usize) -> Result<Option<usize>, Refusal> {
    let mut start = 0;
    for at in memchr::memchr_iter(b'\n', &bytes[..bytes.len().min(header_bytes_max)]) {
        if matches!(&bytes[start..at], [] | [b'\r']) {
            return Ok(Some(at + 1));
        }
        start = at + 1;
    }
    if bytes.len() > header_bytes_max { Err(TOO_LARGE) } else { Ok(None) }
}

/// The first line without its end and trailing blanks, and what follows it.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'\n', bytes) {
        Some(end) => (bytes[..end].trim_ascii_end(), &bytes[end + 1..]),
        None => (bytes.trim_ascii_end(), &[]),
    }
}

/// Path and query of a request target in origin or absolute form (RFC 9112, section 3.2).
fn target(target: &str) -> Option<(String, String)> {
    let local = match target.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            rest.find(['/', '?']).map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    let (path, query) = local.split_once('?').unwrap_or((local, ""));
    let path = if path.is_empty() { "/" } else { path };
    path.starts_with('/').then(|| (path.to_owned(), query.to_owned()))
}

fn malformed(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::new(431, "more than 64 header lines"),
        httparse::Error::Version => Refusal::bad_request("HTTP/1.1 is needed"),
        httparse::Error::HeaderName | httparse::Error::HeaderValue => {
            Refusal::bad_request("malformed header")
        }
        _ => Refusal::bad_request("malformed request"),
    }
}

fn from_parsed(headers: &[httparse::Header<'_>]) -> Headers {
    Headers::from_wire(headers.iter().map(|header| (header.name, header.value)))
}

#[cfg(test)]
mod tests;
