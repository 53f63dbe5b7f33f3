//! What a client is, by its first bytes. A client is silent until it speaks, and all kinds of them
//! may share one port.

/// How a raw backend greets (the existing clients).
pub(super) const GREETING: &[u8] = b"php process";
/// The longest HTTP method that is waited for, in letters.
const METHOD_BYTES_MAX: usize = 16;

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniff {
    /// Too few bytes to tell; ask again with more in front of the same ones.
    NeedMore,
    /// A TLS handshake record. Sniff its plaintext with `tls` off and `plain` on.
    Tls,
    /// The greeting of a raw backend, for [`super::handshake::parse_greeting`].
    Greeting,
    /// An HTTP request, for [`super::handshake::parse_http`].
    Http,
    /// Bare JSON without a greeting; these bytes belong to the stream already.
    Json,
    /// Nothing that this listener serves: answer 400.
    Unknown,
}

/// Judges all bytes that have come so far. `tls` and `plain` say what the listener serves. At most
/// 17 bytes are looked at, so asking again for each new segment is cheap.
pub fn sniff(bytes: &[u8], tls: bool, plain: bool) -> Sniff {
    match bytes {
        [] => Sniff::NeedMore,
        // A record header: handshake, major version 3 (RFC 8446, section 5.1).
        [0x16] if tls => Sniff::NeedMore,
        [0x16, 0x03, ..] if tls => Sniff::Tls,
        _ if !plain => Sniff::Unknown,
        [b'{', ..] => Sniff::Json,
        _ if bytes.starts_with(GREETING) => Sniff::Greeting,
        _ if GREETING.starts_with(bytes) => Sniff::NeedMore,
        _ => method(bytes),
    }
}

/// An upper-case token and a space (RFC 9112, section 3; methods in use have no other characters).
fn method(bytes: &[u8]) -> Sniff {
    let front = &bytes[..bytes.len().min(METHOD_BYTES_MAX + 1)];
    let letters = front.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    match bytes.get(letters) {
        _ if letters > METHOD_BYTES_MAX => Sniff::Unknown,
        None => Sniff::NeedMore,
        Some(b' ') if letters > 0 => Sniff::Http,
        Some(_) => Sniff::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes, and the verdict by a listener for TLS alone, for plain alone, and for both.
    const CASES: &[(&[u8], [Sniff; 3])] = {
        use Sniff::*;
        &[
            (b"", [NeedMore, NeedMore, NeedMore]),
            (b"\x16", [NeedMore, Unknown, NeedMore]),
            (b"\x16\x03", [Tls, Unknown, Tls]),
            (b"\x16\x03\x01\x02", [Tls, Unknown, Tls]),
            (b"\x16\x02", [Unknown, Unknown, Unknown]),
            (b"p", [Unknown, NeedMore, NeedMore]),
            (b"php proces", [Unknown, NeedMore, NeedMore]),
            (b"php process", [Unknown, Greeting, Greeting]),
            (b"php process\n\n{", [Unknown, Greeting, Greeting]),
            (b"php processor", [Unknown, Greeting, Greeting]),
            (b"phq", [Unknown, Unknown, Unknown]),
            (b"{", [Unknown, Json, Json]),
            (b"{\"opcode\"", [Unknown, Json, Json]),
            (b"[", [Unknown, Unknown, Unknown]),
            (b" {", [Unknown, Unknown, Unknown]),
            (b"G", [Unknown, NeedMore, NeedMore]),
            (b"GET", [Unknown, NeedMore, NeedMore]),
            (b"GET ", [Unknown, Http, Http]),
            (b"GET /web HTTP/1.1\r\n", [Unknown, Http, Http]),
            (b"PROPPATCH /", [Unknown, Http, Http]),
            (b"GETs /", [Unknown, Unknown, Unknown]),
            (b"get / HTTP/1.1", [Unknown, Unknown, Unknown]),
            (b" / HTTP/1.1", [Unknown, Unknown, Unknown]),
            (b"ABCDEFGHIJKLMNOP", [Unknown, NeedMore, NeedMore]),
            (b"ABCDEFGHIJKLMNOP ", [Unknown, Http, Http]),
            (b"ABCDEFGHIJKLMNOPQ", [Unknown, Unknown, Unknown]),
            (b"ABCDEFGHIJKLMNOPQ ", [Unknown, Unknown, Unknown]),
            (b"\0", [Unknown, Unknown, Unknown]),
            (b"\xff\xfe", [Unknown, Unknown, Unknown]),
        ]
    };

    #[test]
    fn first_bytes_decide() {
        for (bytes, [tls, plain, both]) in CASES {
            let text = bytes.escape_ascii();
            assert_eq!(sniff(bytes, true, false), *tls, "TLS alone: {text}");
            assert_eq!(sniff(bytes, false, true), *plain, "plain alone: {text}");
            assert_eq!(sniff(bytes, true, true), *both, "both: {text}");
        }
    }

    /// More bytes never change a verdict, so it does not matter how the start is cut.
    #[test]
    fn a_verdict_stands() {
        for (bytes, _) in CASES {
            for (tls, plain) in [(true, false), (false, true), (true, true)] {
                let mut verdict = Sniff::NeedMore;
                for end in 0..=bytes.len() {
                    let now = sniff(&bytes[..end], tls, plain);
                    assert!(
                        verdict == Sniff::NeedMore || verdict == now,
                        "{} cut at {end}: {verdict:?}, then {now:?}",
                        bytes.escape_ascii()
                    );
                    verdict = now;
                }
            }
        }
    }
}
