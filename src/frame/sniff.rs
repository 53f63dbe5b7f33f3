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
    /// A TLS handshake record. Its plaintext is to be sniffed anew.
    Tls,
    /// The greeting of a raw backend, for [`super::handshake::parse_greeting`].
    Greeting,
    /// An HTTP request, for [`super::handshake::parse_http`].
    Http,
    /// Bare JSON without a greeting; these bytes belong to the stream already.
    Json,
    /// None of these: answer 400.
    Unknown,
}

/// Judges all bytes that have come so far, whatever the listener serves: who comes to the wrong one is to
/// be told so in its own words. At most 17 bytes are looked at, so asking again for each new segment is
/// cheap.
pub fn sniff(bytes: &[u8]) -> Sniff {
    match bytes {
        [] => Sniff::NeedMore,
        // A record header: handshake, major version 3 (RFC 8446, section 5.1).
        [0x16] => Sniff::NeedMore,
        [0x16, 0x03, ..] => Sniff::Tls,
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

    const CASES: &[(&[u8], Sniff)] = {
        use Sniff::*;
        &[
            (b"", NeedMore),
            (b"\x16", NeedMore),
            (b"\x16\x03", Tls),
            (b"\x16\x03\x01\x02", Tls),
            (b"\x16\x02", Unknown),
            (b"p", NeedMore),
            (b"php proces", NeedMore),
            (b"php process", Greeting),
            (b"php process\n\n{", Greeting),
            (b"php processor", Greeting),
            (b"phq", Unknown),
            (b"{", Json),
            (b"{\"opcode\"", Json),
            (b"[", Unknown),
            (b" {", Unknown),
            (b"G", NeedMore),
            (b"GET", NeedMore),
            (b"GET ", Http),
            (b"GET /web HTTP/1.1\r\n", Http),
            (b"PROPPATCH /", Http),
            (b"GETs /", Unknown),
            (b"get / HTTP/1.1", Unknown),
            (b" / HTTP/1.1", Unknown),
            (b"ABCDEFGHIJKLMNOP", NeedMore),
            (b"ABCDEFGHIJKLMNOP ", Http),
            (b"ABCDEFGHIJKLMNOPQ", Unknown),
            (b"ABCDEFGHIJKLMNOPQ ", Unknown),
            (b"\0", Unknown),
            (b"\xff\xfe", Unknown),
        ]
    };

    #[test]
    fn first_bytes_decide() {
        for (bytes, verdict) in CASES {
            assert_eq!(sniff(bytes), *verdict, "{}", bytes.escape_ascii());
        }
    }

    /// More bytes never change a verdict, so it does not matter how the start is cut.
    #[test]
    fn a_verdict_stands() {
        for (bytes, _) in CASES {
            let mut verdict = Sniff::NeedMore;
            for end in 0..=bytes.len() {
                let now = sniff(&bytes[..end]);
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
