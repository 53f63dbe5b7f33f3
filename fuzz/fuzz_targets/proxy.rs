//! What a proxy says of its client: the PROXY header, of which a verdict stands whatever follows, and
//! the headers of a request, which count for nothing from somebody who is no trusted proxy.

#![no_main]

use std::net::SocketAddr;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use relay::config::{Cidrs, Config, Sources};
use relay::frame::forwarded;
use relay::frame::proxy::{Proxied, parse};
use relay::headers::Headers;
use relay_fuzz::cut;

/// Short enough to be exceeded.
const HEADER_BYTES_MAX: usize = 300;
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../relay.toml");

static PROXIES: LazyLock<Cidrs> = LazyLock::new(|| {
    let set = vec!["trusted_proxies=[\"192.0.2.0/24\", \"2001:db8::/32\"]".to_owned()];
    let sources = Sources { config: Some(SHIPPED.into()), set, ..Sources::default() };
    Config::load_with(&sources, []).expect("the shipped config").trusted_proxies
});

fuzz_target!(|data: &[u8]| {
    let Some((&seed, bytes)) = data.split_first() else { return };
    let whole = parse(bytes, HEADER_BYTES_MAX);
    let mut verdict = parse(&[], HEADER_BYTES_MAX);
    let mut end = 0;
    for part in cut(seed, bytes) {
        end += part.len();
        verdict = parse(&bytes[..end], HEADER_BYTES_MAX);
        if verdict != Ok(Proxied::NeedMore) {
            break;
        }
    }
    assert_eq!(verdict, whole, "in parts, and in one");
    if let Ok(Proxied::Header { bytes: used, .. }) = whole {
        assert!(used <= HEADER_BYTES_MAX && used <= bytes.len());
    }

    // Each line is the value of one header, of one kind or the other.
    let names = ["forwarded", "x-forwarded-for"].into_iter().cycle().skip(usize::from(seed & 1));
    let lines = bytes.split(|byte| *byte == b'\n').take(8);
    let headers = Headers::from_wire(names.zip(lines));
    let (proxy, other) = ([192, 0, 2, 1], [198, 51, 100, 1]);
    let stranger: SocketAddr = (other, 1).into();
    assert_eq!(forwarded::client(stranger, &headers, &PROXIES).ok(), Some(stranger));
    if let Err(refusal) = forwarded::client((proxy, 1).into(), &headers, &PROXIES) {
        assert_eq!(refusal.status, 400);
    }
});
