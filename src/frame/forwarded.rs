//! Whom a proxy speaks for by the headers of a request: `Forwarded` (RFC 7239) and
//! `X-Forwarded-For`. Each proxy on the way adds whom it was spoken to by, so the right-most address
//! that is no proxy of ours is the client; what stands left of it is the client's own writing.

use std::net::{IpAddr, SocketAddr};

use super::handshake::Refusal;
use crate::config::Cidrs;
use crate::headers::Headers;

/// The client of a request that came from `peer`: `peer` itself, unless it is one of `proxies`. Where
/// the proxy tells no port, it is 0.
///
/// # Errors
/// 400 for a malformed `Forwarded`, in which nothing is where it seems to be; and where the two
/// headers disagree, because then one of them was written by the client.
pub fn client(peer: SocketAddr, headers: &Headers, proxies: &Cidrs) -> Result<SocketAddr, Refusal> {
    if !proxies.contains(peer.ip()) {
        return Ok(peer);
    }
    let back = |nodes: Vec<Node>| {
        nodes.into_iter().rev().fold(Walk::at(peer), |walk, node| walk.to(node, proxies)).client
    };
    let named = |name| headers.get(name).is_some();
    let by_list = || back(headers.all("x-forwarded-for").flat_map(list).collect());
    match (named("forwarded"), named("x-forwarded-for")) {
        (false, false) => Ok(peer),
        (false, true) => Ok(by_list()),
        (true, also) => {
            let nodes: Option<Vec<Vec<Node>>> = headers.all("forwarded").map(elements).collect();
            let nodes = nodes.ok_or(Refusal::bad_request("the Forwarded header is malformed"))?;
            let client = back(nodes.concat());
            if also && by_list().ip() != client.ip() {
                let text = "Forwarded and X-Forwarded-For name different clients";
                return Err(Refusal::bad_request(text));
            }
            Ok(client)
        }
    }
}

/// An address that a proxy tells; `None` where it hides it or does not know it.
type Node = Option<SocketAddr>;

/// The way back from the peer to the client.
struct Walk {
    client: SocketAddr,
    over: bool,
}

impl Walk {
    fn at(client: SocketAddr) -> Walk {
        Walk { client, over: false }
    }

    /// On to whom the last one was spoken to by, if its word counts and it tells.
    fn to(self, node: Node, proxies: &Cidrs) -> Walk {
        match node {
            Some(client) if !self.over && proxies.contains(self.client.ip()) => Walk::at(client),
            _ => Walk { over: true, ..self },
        }
    }
}

/// The nodes of one line of `X-Forwarded-For`.
fn list(line: &str) -> impl Iterator<Item = Node> {
    line.split(',').map(node)
}

/// The nodes of one line of `Forwarded` (RFC 7239, section 4); `None` where it is malformed.
fn elements(line: &str) -> Option<Vec<Node>> {
    let elements = split(line, ',')?.into_iter();
    elements.filter(|element| !element.trim().is_empty()).map(element).collect()
}

fn element(text: &str) -> Option<Node> {
    let mut told = None;
    for pair in split(text, ';')?.into_iter().map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let value = match value.strip_prefix('"') {
            Some(inner) => inner.strip_suffix('"')?,
            None if value.contains('"') => return None,
            None => value,
        };
        if name.eq_ignore_ascii_case("for") && told.replace(node(value)).is_some() {
            return None;
        }
    }
    Some(told.flatten())
}

/// Splits outside of quoted strings (RFC 9110, section 5.6.4); `None` where one does not end.
fn split(text: &str, at: char) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if c == at && !quoted => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!quoted).then_some(parts)
}

/// An address with or without a port, IPv6 with or without brackets.
fn node(text: &str) -> Node {
    let text = text.trim();
    // RFC 7239, section 6.3: a proxy may hide the port alone.
    let text = text.rsplit_once(":_").map_or(text, |(address, _)| address);
    let alone = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = text.parse::<SocketAddr>();
    let node = with_port.or_else(|_| alone.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)));
    node.ok().map(canonical)
}

/// IPv4 as IPv4, also where it came in IPv6's clothes.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10.0.0.0/8 and 2001:db8:1::/48 are proxies; the peer is 10.0.0.1:1.
    fn told(headers: &[(&str, &str)]) -> Result<String, &'static str> {
        told_to("10.0.0.1:1", headers)
    }

    fn told_to(peer: &str, headers: &[(&str, &str)]) -> Result<String, &'static str> {
        let proxies = ["10.0.0.0/8", "2001:db8:1::/48"].map(|text| text.parse().expect(text));
        let headers = headers.iter().copied().collect();
        client(peer.parse().expect(peer), &headers, &proxies.into_iter().collect())
            .map(|addr| addr.to_string())
            .map_err(|refusal| refusal.text)
    }

    #[test]
    fn x_forwarded_for_is_read_from_the_right() {
        for (list, client) in [
            ("192.0.2.7", "192.0.2.7:0"),
            ("1.1.1.1, 192.0.2.7", "192.0.2.7:0"),
            ("1.1.1.1,192.0.2.7,10.0.0.2 , 10.9.9.9", "192.0.2.7:0"),
            ("192.0.2.7:4711", "192.0.2.7:4711"),
            ("2001:db8::7", "[2001:db8::7]:0"),
            ("[2001:db8::7]", "[2001:db8::7]:0"),
            ("[2001:db8::7]:4711", "[2001:db8::7]:4711"),
            ("192.0.2.7, 2001:db8:1::5", "192.0.2.7:0"),
            ("::ffff:192.0.2.7", "192.0.2.7:0"),
            // Proxies all of them: the one furthest away.
            ("10.0.0.3, 10.0.0.2", "10.0.0.3:0"),
            // Hidden, or no address: nothing left of it counts.
            ("1.1.1.1, unknown", "10.0.0.1:1"),
            ("1.1.1.1, unknown, 10.0.0.2", "10.0.0.2:0"),
            ("1.1.1.1, 192.0.2.700", "10.0.0.1:1"),
            ("1.1.1.1,", "10.0.0.1:1"),
            ("", "10.0.0.1:1"),
        ] {
            assert_eq!(told(&[("x-forwarded-for", list)]), Ok(client.to_owned()), "{list}");
        }
        let lines = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.7, 10.0.0.2")];
        assert_eq!(told(&lines), Ok("192.0.2.7:0".to_owned()));
    }

    #[test]
    fn forwarded_is_read_from_the_right() {
        for (line, client) in [
            ("for=192.0.2.7", "192.0.2.7:0"),
            ("For=192.0.2.7;proto=http;by=203.0.113.43", "192.0.2.7:0"),
            ("for=1.1.1.1, FOR=192.0.2.7, for=10.0.0.2", "192.0.2.7:0"),
            ("proto=https ; for=\"192.0.2.7:4711\"", "192.0.2.7:4711"),
            ("for=\"[2001:db8::7]\"", "[2001:db8::7]:0"),
            ("for=\"[2001:db8::7]:4711\"", "[2001:db8::7]:4711"),
            ("for=\"192.0.2.7:_hidden\"", "192.0.2.7:0"),
            ("by=\"a, \\\" for=1.1.1.1; x\";for=192.0.2.7", "192.0.2.7:0"),
            ("for=192.0.2.7,,", "192.0.2.7:0"),
            ("for=1.1.1.1, for=unknown", "10.0.0.1:1"),
            ("for=1.1.1.1, for=_gazonk", "10.0.0.1:1"),
            ("for=1.1.1.1, proto=http", "10.0.0.1:1"),
        ] {
            assert_eq!(told(&[("forwarded", line)]), Ok(client.to_owned()), "{line}");
        }
        let lines = [("forwarded", "for=1.1.1.1"), ("forwarded", "for=192.0.2.7")];
        assert_eq!(told(&lines), Ok("192.0.2.7:0".to_owned()));
    }

    /// What a client wrote on the left must not change how the proxy's part is read.
    #[test]
    fn malformed_forwarded_is_refused() {
        for line in [
            "for=\"1.1.1.1, for=192.0.2.7",
            "for=x\", for=\"192.0.2.7\"",
            "for=\"x\\, for=\"192.0.2.7\"",
            "for=\"a\"b",
            "for=1.1.1.1;for=192.0.2.7",
            "192.0.2.7",
        ] {
            let error = Err("the Forwarded header is malformed");
            assert_eq!(told(&[("forwarded", line)]), error, "{line}");
        }
    }

    #[test]
    fn two_headers_have_to_agree() {
        let both = |forwarded, list| told(&[("x-forwarded-for", list), ("forwarded", forwarded)]);
        let client = Ok("192.0.2.7:5".to_owned());
        assert_eq!(both("for=\"192.0.2.7:5\"", "1.1.1.1, 192.0.2.7"), client);
        let error = Err("Forwarded and X-Forwarded-For name different clients");
        assert_eq!(both("for=1.1.1.1", "1.1.1.1, 192.0.2.7"), error);
        assert_eq!(both("for=192.0.2.7", "1.1.1.1"), error);
    }

    #[test]
    fn others_are_not_believed() {
        let headers = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=\"2.2.2.2")];
        assert_eq!(told_to("192.0.2.7:5", &headers), Ok("192.0.2.7:5".to_owned()));
    }
}
