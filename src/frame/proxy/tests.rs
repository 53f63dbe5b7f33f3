use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

const BYTES_MAX: usize = 1000;

/// Version 2: signature, version and command, family, and what follows with its length.
fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [SIGNATURE_2, &[command, family], &length, rest].concat()
}

fn header(client: Option<&str>, bytes: &[u8]) -> Result<Proxied, Malformed> {
    let client = client.map(|addr| addr.parse().expect("an address"));
    Ok(Proxied::Header { client, bytes: bytes.len() })
}

fn v4_block() -> Vec<u8> {
    [&[192, 0, 2, 7, 10, 0, 0, 1][..], &4711u16.to_be_bytes(), &443u16.to_be_bytes()].concat()
}

#[test]
fn headers_tell_the_client() {
    let v6 = ["2001:db8::7", "::1"].map(|ip| ip.parse::<Ipv6Addr>().expect("IPv6").octets());
    let v6 = [&v6.concat()[..], &4711u16.to_be_bytes(), &443u16.to_be_bytes()].concat();
    let tlvs = [&v4_block()[..], &[0x02, 0, 3, b'a', b'.', b'b', 0xee, 0, 0]].concat();
    let (v4, v4_text) = (v4_block(), Some("192.0.2.7:4711"));
    for (bytes, client) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n".to_vec(), v4_text),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n".to_vec(), Some("[2001:db8::7]:4711")),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN what ever 1 2\r\n".to_vec(), None),
        (version_2(0x21, 0x11, &v4), v4_text),
        (version_2(0x21, 0x12, &v4), v4_text),
        (version_2(0x21, 0x21, &v6), Some("[2001:db8::7]:4711")),
        (version_2(0x21, 0x11, &tlvs), v4_text),
        // No family, and a Unix socket.
        (version_2(0x21, 0x00, b""), None),
        (version_2(0x21, 0x00, b"passed over"), None),
        (version_2(0x21, 0x31, &[b'/'; 216]), None),
        // LOCAL: whatever it holds.
        (version_2(0x20, 0x00, b""), None),
        (version_2(0x20, 0x11, &v4), None),
        (version_2(0x20, 0x11, b"short"), None),
        (version_2(0x20, 0xff, b""), None),
    ] {
        let text = bytes.escape_ascii();
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end], BYTES_MAX), Ok(Proxied::NeedMore), "{text} to {end}");
        }
        assert_eq!(parse(&bytes, BYTES_MAX), header(client, &bytes), "{text}");
        let more = [&bytes[..], b"PROXY behind it"].concat();
        assert_eq!(parse(&more, BYTES_MAX), header(client, &bytes), "{text} and more");
    }
}

#[test]
fn malformed_headers_are_told() {
    let (long, v4) = (vec![b'x'; LINE_BYTES_MAX], v4_block());
    for bytes in [
        b"PROXY \n".to_vec(),
        b"PROXY TCP4\r\n".to_vec(),
        b"PROXY UDP4 192.0.2.7 10.0.0.1 4711 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443 \r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 65536\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.256 10.0.0.1 4711 443\r\n".to_vec(),
        b"PROXY TCP4 ::1 ::1 4711 443\r\n".to_vec(),
        b"PROXY TCP4 \xff \xff 1 1\r\n".to_vec(),
        [&b"PROXY UNKNOWN "[..], &long, b"\r\n"].concat(),
        // Version 1 and 3, an unknown command, families and protocols that do not exist, short blocks.
        version_2(0x11, 0x11, &v4),
        version_2(0x31, 0x11, &v4),
        version_2(0x22, 0x11, &v4),
        version_2(0x21, 0x41, &v4),
        version_2(0x21, 0x13, &v4),
        version_2(0x21, 0x11, &v4[..11]),
        version_2(0x21, 0x21, &v4),
        version_2(0x21, 0x31, &v4),
        version_2(0x21, 0x11, &vec![0; BYTES_MAX]),
    ] {
        assert_eq!(parse(&bytes, BYTES_MAX), Err(Malformed), "{}", bytes.escape_ascii());
    }
    // As soon as it can be told.
    let endless = [&b"PROXY TCP4 "[..], &long].concat();
    assert_eq!(parse(&endless[..LINE_BYTES_MAX], BYTES_MAX), Err(Malformed));
    let huge = [SIGNATURE_2, &[0x20, 0, 0xff, 0xff]].concat();
    assert_eq!(parse(&huge, BYTES_MAX), Err(Malformed));
}

#[test]
fn everything_else_is_none() {
    for bytes in [
        &b"GET / HTTP/1.1"[..],
        b"PUT / ",
        b"PROXYX",
        b"proxy ",
        b"{",
        b"\x16\x03",
        b"\r\n\r\n\r",
        b"\n",
    ] {
        assert_eq!(parse(bytes, BYTES_MAX), Ok(Proxied::No), "{}", bytes.escape_ascii());
    }
    for bytes in [&b""[..], b"P", b"PROXY", b"\r", b"\r\n\r\n\0\r\nQUIT"] {
        assert_eq!(parse(bytes, BYTES_MAX), Ok(Proxied::NeedMore), "{}", bytes.escape_ascii());
    }
}

fn addr() -> impl Strategy<Value = SocketAddr> {
    let v4 = any::<[u8; 4]>().prop_map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
    let v6 = any::<[u8; 16]>().prop_map(|octets| IpAddr::from(Ipv6Addr::from(octets)));
    (prop_oneof![v4, v6], any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

proptest! {
    /// What a proxy writes is read as it was meant, however it is cut and whatever follows.
    #[test]
    fn round_trip(addr in addr(), tlvs in prop::collection::vec(any::<u8>(), 0..50), rest: Vec<u8>) {
        let (family, word) = if addr.is_ipv4() { (0x11, "TCP4") } else { (0x21, "TCP6") };
        let ip = octets(addr.ip());
        let line = format!("PROXY {word} {0} {0} {1} 1\r\n", addr.ip(), addr.port()).into_bytes();
        let block = [&ip[..], &ip, &addr.port().to_be_bytes(), &[0, 1], &tlvs].concat();
        for header in [line, version_2(0x21, family, &block)] {
            let whole = [&header[..], &rest].concat();
            let expected = Proxied::Header { client: Some(addr), bytes: header.len() };
            prop_assert_eq!(parse(&whole, BYTES_MAX), Ok(expected));
            for end in 0..header.len() {
                prop_assert_eq!(parse(&whole[..end], BYTES_MAX), Ok(Proxied::NeedMore));
            }
        }
    }

    /// No bytes make it panic or wait for more than its bound, and a verdict stands.
    #[test]
    fn any_bytes(signature in 0..3usize, command in 0x1e..0x24u8, family: u8, rest in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = match signature {
            0 => [SIGNATURE_1, b"TCP4 ", &rest].concat(),
            1 => [SIGNATURE_2, &[command, family, 0, 30], &rest].concat(),
            _ => rest,
        };
        let mut verdict = Ok(Proxied::NeedMore);
        for end in 0..=bytes.len() {
            let now = parse(&bytes[..end], BYTES_MAX);
            prop_assert!(verdict == Ok(Proxied::NeedMore) || verdict == now, "{:?}, then {:?}", verdict, now);
            verdict = now;
        }
        if let Ok(Proxied::Header { bytes: used, .. }) = verdict {
            prop_assert!(used <= bytes.len() && used <= BYTES_MAX);
        }
        prop_assert!(verdict != Ok(Proxied::NeedMore) || bytes.len() <= BYTES_MAX);
    }
}
