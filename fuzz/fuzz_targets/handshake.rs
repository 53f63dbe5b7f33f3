//! Sniffing, and the heads of HTTP requests and greetings: a verdict stands whatever follows, and a
//! head is judged by its own bytes alone.

#![no_main]

use libfuzzer_sys::fuzz_target;
use relay::frame::handshake::{Refusal, parse_greeting, parse_http, upgrade};
use relay::frame::sniff::{Sniff, sniff};
use relay_fuzz::cut;

/// Short enough to be exceeded.
const HEADER_BYTES_MAX: usize = 512;

fuzz_target!(|data: &[u8]| {
    let Some((&seed, bytes)) = data.split_first() else { return };
    let mut ends: Vec<usize> = vec![0];
    for part in cut(seed, bytes) {
        ends.push(ends[ends.len() - 1] + part.len());
    }
    let verdicts = ends.iter().map(|&end| sniff(&bytes[..end]));
    verdicts.reduce(|before, now| {
        assert!(before == Sniff::NeedMore || before == now, "{before:?}, then {now:?}");
        now
    });
    if let Some((head, _)) = in_parts(bytes, &ends, parse_greeting) {
        assert!(head.path.starts_with('/') && !head.path.contains('?'));
    }
    if let Some((request, _)) = in_parts(bytes, &ends, parse_http) {
        assert!(request.head.path.starts_with('/') && !request.head.path.contains('?'));
        for allowed in [&[][..], &["https://a".to_owned()]] {
            match upgrade(&request, allowed) {
                Ok(upgrade) => {
                    assert!(upgrade.response.len() < 1024);
                    assert!(upgrade.response.ends_with(b"\r\n\r\n"));
                }
                Err(refusal) => assert!((400..500).contains(&refusal.status)),
            }
        }
    }
});

type Parsed<T> = Result<Option<(T, usize)>, Refusal>;

/// Parses as bytes come in, which must come to the same as all at once, and returns what it comes to.
fn in_parts<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    ends: &[usize],
    parse: impl Fn(&[u8], usize) -> Parsed<T>,
) -> Option<(T, usize)> {
    let whole = parse(bytes, HEADER_BYTES_MAX);
    let first = ends.iter().map(|&end| parse(&bytes[..end], HEADER_BYTES_MAX));
    let first = first.filter(|parsed| *parsed != Ok(None)).next().unwrap_or(Ok(None));
    assert_eq!(first, whole, "in parts, and in one");
    let (parsed, used) = whole.ok()??;
    assert!(used <= HEADER_BYTES_MAX && used <= bytes.len());
    assert_eq!(parse(&bytes[..used - 1], HEADER_BYTES_MAX), Ok(None), "the head ended before");
    Some((parsed, used))
}
