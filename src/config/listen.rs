//! A listener's address as the operator writes it: `any://127.0.0.1:8083`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::error::{closest, quoted};
use super::list;

const SCHEMES: [(&str, ListenScheme); 5] = [
    ("ws", ListenScheme::Ws),
    ("wss", ListenScheme::Wss),
    ("tcp", ListenScheme::Tcp),
    ("ssl", ListenScheme::Ssl),
    ("any", ListenScheme::Any),
];

/// What people write for the schemes that relay names otherwise.
const OTHER_NAMES: [(&str, &str); 5] =
    [("http", "ws"), ("https", "wss"), ("tls", "ssl"), ("socket", "tcp"), ("*", "any")];

/// What a listener takes. WebSocket and raw clients share every listener; the scheme decides
/// about TLS alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenScheme {
    /// Plain. The same listener as [`ListenScheme::Tcp`].
    Ws,
    /// TLS. The same listener as [`ListenScheme::Ssl`].
    Wss,
    /// Plain.
    Tcp,
    /// TLS.
    Ssl,
    /// Plain and TLS on one port.
    Any,
}

/// The address of a listener: `scheme://host:port`, or `scheme://systemd:name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenUrl {
    /// What the listener takes.
    pub scheme: ListenScheme,
    pub at: ListenAt,
}

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAt {
    Address {
        /// An IPv4 address, an IPv6 address without its brackets, or a name.
        host: String,
        /// The TCP port. 0: the system chooses a free one.
        port: u16,
    },
    /// The sockets that systemd opened under this name.
    Systemd(String),
}

/// A bound address; prints as the URL that a client would use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    pub scheme: ListenScheme,
    pub addr: SocketAddr,
}

/// Why a text is no [`ListenUrl`], and what to write instead where that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ListenUrlError(String);

impl ListenScheme {
    /// Whether the listener takes clients without TLS.
    pub fn plain(self) -> bool {
        matches!(self, ListenScheme::Ws | ListenScheme::Tcp | ListenScheme::Any)
    }

    /// Whether the listener takes clients with TLS, and so needs a certificate.
    pub fn tls(self) -> bool {
        matches!(self, ListenScheme::Wss | ListenScheme::Ssl | ListenScheme::Any)
    }
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.addr)
    }
}

impl Default for ListenUrl {
    /// Every kind of client, from this machine only: who opens it to the network says so.
    fn default() -> Self {
        let at = ListenAt::Address { host: "127.0.0.1".to_owned(), port: 8083 };
        ListenUrl { scheme: ListenScheme::Any, at }
    }
}

impl FromStr for ListenUrl {
    type Err = ListenUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: String| ListenUrlError(format!("{} {why}", quoted(text)));
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong("has no scheme: write any://HOST:PORT".to_owned()));
        };
        let scheme = parse_scheme(scheme).map_err(wrong)?;
        if rest.contains(['/', '?', '#']) {
            return Err(wrong("has a path: a listener takes every path".to_owned()));
        }
        if rest.contains('@') {
            return Err(wrong("has a user: a listener knows none".to_owned()));
        }
        if let Some(name) = rest.strip_prefix("systemd:").filter(|name| is_socket_name(name)) {
            return Ok(ListenUrl { scheme, at: ListenAt::Systemd(name.to_owned()) });
        }
        let (host, port) = split_port(rest).map_err(wrong)?;
        let host = parse_host(host).map_err(wrong)?;
        Ok(ListenUrl { scheme, at: ListenAt::Address { host, port } })
    }
}

fn parse_scheme(text: &str) -> Result<ListenScheme, String> {
    let word = text.to_ascii_lowercase();
    if let Some((_, scheme)) = SCHEMES.iter().find(|(name, _)| *name == word) {
        return Ok(*scheme);
    }
    let other = OTHER_NAMES.iter().find(|(name, _)| *name == word).map(|(_, meant)| *meant);
    match other.or_else(|| closest(&word, SCHEMES.map(|(name, _)| name))) {
        Some(meant) => Err(format!("has an unknown scheme; did you mean {meant}://?")),
        None => Err("has an unknown scheme; there are ws, wss, tcp, ssl and any".to_owned()),
    }
}

/// A `FileDescriptorName=`, of which one that is a number would be a port.
fn is_socket_name(text: &str) -> bool {
    let may_be = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.bytes().all(may_be) && text.bytes().any(|byte| !byte.is_ascii_digit())
}

/// Splits `host:port` behind the host, which for IPv6 is in brackets because it has colons itself.
fn split_port(text: &str) -> Result<(&str, u16), String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => return Err("has no port: write HOST:PORT (port 0: any free one)".to_owned()),
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(port) if digits => Ok((host, port)),
        _ => Err(format!("has the port {}; ports are 0 to 65535", quoted(port))),
    }
}

fn parse_host(text: &str) -> Result<String, String> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').unwrap_or(inner);
        return match inner.parse::<Ipv6Addr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => Err(format!("has {} in brackets, which is no IPv6 address", quoted(inner))),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("has an IPv6 address without brackets: write [{text}]:PORT"));
    }
    if text == "*" || text.is_empty() {
        return Err("has no host: 0.0.0.0 means all IPv4 addresses, [::] all".to_owned());
    }
    if text.parse::<Ipv4Addr>().is_ok() || is_name(text) {
        return Ok(text.to_owned());
    }
    Err(format!("has the host {}, which is no IPv4 address and no name", quoted(text)))
}

/// A host name by RFC 1123, with the underscore that container networks use. A name that ends in a
/// number is refused: it is an IPv4 address with a mistake in it.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    let last = text.rsplit('.').next().unwrap_or(text);
    text.len() <= 253 && text.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for ListenScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ListenScheme::Ws => "ws",
            ListenScheme::Wss => "wss",
            ListenScheme::Tcp => "tcp",
            ListenScheme::Ssl => "ssl",
            ListenScheme::Any => "any",
        })
    }
}

impl fmt::Display for ListenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.at)
    }
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAt::Address { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            ListenAt::Address { host, port } => write!(f, "{host}:{port}"),
            ListenAt::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

impl Serialize for ListenUrl {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// Reads a list of URLs, or a single one without brackets: `RELAY_LISTEN=any://0.0.0.0:8083`.
pub fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ListenUrl>, D::Error> {
    list::one_or_many(from, "a list of URLs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_urls() {
        for (text, host, port, plain, tls) in [
            ("ws://0.0.0.0:80", "0.0.0.0", 80, true, false),
            ("tcp://localhost:0", "localhost", 0, true, false),
            ("ws://systemd:80", "systemd", 80, true, false),
            ("wss://relay.example.org:443", "relay.example.org", 443, false, true),
            ("ssl://[::1]:8083", "::1", 8083, false, true),
            ("any://my_host-1:65535", "my_host-1", 65535, true, true),
        ] {
            let url: ListenUrl = text.parse().expect(text);
            assert_eq!((url.scheme.plain(), url.scheme.tls()), (plain, tls));
            assert_eq!(url.at, ListenAt::Address { host: host.to_owned(), port });
            assert_eq!(url.to_string(), text);
        }
        let inherited: ListenUrl = "any://systemd:relay-1.socket".parse().expect("a name");
        assert_eq!(inherited.at, ListenAt::Systemd("relay-1.socket".to_owned()));
        assert_eq!(inherited.to_string(), "any://systemd:relay-1.socket");
        assert_eq!(
            "WSS://[0:0::1]:1".parse::<ListenUrl>().expect("valid").to_string(),
            "wss://[::1]:1"
        );
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            ("http://a:1", "did you mean ws://?"),
            ("https://a:1", "did you mean wss://?"),
            ("tls://a:1", "did you mean ssl://?"),
            ("anny://a:1", "did you mean any://?"),
            ("ftp://a:1", "there are ws, wss, tcp, ssl and any"),
            ("0.0.0.0:1", "no scheme"),
            ("", "no scheme"),
            ("ws://a", "no port"),
            ("ws://[::1]", "no port"),
            ("ws://a:", "ports are"),
            ("ws://systemd:", "ports are"),
            ("ws://systemd:a b", "ports are"),
            ("ws://a:+1", "ports are"),
            ("ws://a:65536", "ports are"),
            ("ws://a:1/", "has a path"),
            ("ws://me@a:1", "has a user"),
            ("ws://::1:1", "without brackets"),
            ("ws://:\u{85}:1", "\":\\u{85}\", which is no IPv4 address and no name"),
            ("ws://[::g]:1", "no IPv6"),
            ("ws://*:1", "0.0.0.0"),
            ("ws://:1", "0.0.0.0"),
            ("ws://300.0.0.1:1", "no IPv4 address and no name"),
            ("ws://-a:1", "no IPv4 address and no name"),
            ("ws://a..b:1", "no IPv4 address and no name"),
            ("ws://a b:1", "no IPv4 address and no name"),
        ] {
            let error = text.parse::<ListenUrl>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
