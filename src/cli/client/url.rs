//! The address of a relay as a client writes it: `ws://host:port/path`, `tcp://host:port`.

use std::fmt;
use std::str::FromStr;

use crate::config::{ListenAt, ListenScheme, ListenUrl};
use crate::session::Scheme;

/// Where a client connects, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteUrl {
    pub scheme: Scheme,
    /// An IPv4 address, an IPv6 address without its brackets, or a name.
    pub host: String,
    pub port: u16,
    /// Begins with `/`, with the query if there is one; `/` for raw clients, who have none.
    pub path: String,
}

impl RemoteUrl {
    /// Whether the client is to speak TLS.
    pub fn tls(&self) -> bool {
        matches!(self.scheme, Scheme::Wss | Scheme::Ssl)
    }

    pub fn websocket(&self) -> bool {
        matches!(self.scheme, Scheme::Ws | Scheme::Wss)
    }

    /// The same without TLS.
    pub fn without_tls(&self) -> RemoteUrl {
        let scheme = if self.websocket() { Scheme::Ws } else { Scheme::Tcp };
        RemoteUrl { scheme, ..self.clone() }
    }

    /// Host and port as they stand in a URL.
    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for RemoteUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<RemoteUrl, String> {
        let (front, path) = match text.split_once("://") {
            Some((scheme, rest)) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                (&text[..scheme.len() + 3 + end], &rest[end..])
            }
            None => return Err("it has no scheme: write ws://HOST:PORT".to_owned()),
        };
        if path.contains(|c: char| c == '#' || c.is_whitespace() || c.is_control()) {
            return Err("its path holds what a path cannot".to_owned());
        }
        let front = with_port(front);
        let ListenUrl { scheme, at } =
            front.parse::<ListenUrl>().map_err(|error| error.to_string())?;
        let scheme = match scheme {
            ListenScheme::Ws => Scheme::Ws,
            ListenScheme::Wss => Scheme::Wss,
            ListenScheme::Tcp => Scheme::Tcp,
            ListenScheme::Ssl => Scheme::Ssl,
            ListenScheme::Any => {
                return Err("any is a listener's: a client says ws, wss, tcp or ssl".to_owned());
            }
        };
        let ListenAt::Address { host, port } = at else {
            return Err("a socket of systemd is a listener's: write HOST:PORT".to_owned());
        };
        if port == 0 {
            return Err("its port is 0, where nothing listens".to_owned());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let url = RemoteUrl { scheme, host, port, path };
        match url.websocket() || url.path == "/" {
            true => Ok(url),
            false => Err("it has a path, of which a raw client knows nothing".to_owned()),
        }
    }
}

/// WebSocket URLs have ports that need not be written (RFC 6455, section 3).
fn with_port(front: &str) -> String {
    let (scheme, authority) = front.split_once("://").unwrap_or(("", front));
    let has_port = authority.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
    match scheme.to_ascii_lowercase().as_str() {
        "ws" if !has_port => format!("{front}:80"),
        "wss" if !has_port => format!("{front}:443"),
        _ => front.to_owned(),
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.websocket() { &*self.path } else { "" };
        write!(f, "{}://{}{path}", self.scheme.name(), self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_urls() {
        for (text, written) in [
            ("ws://a:1", "ws://a:1/"),
            ("ws://a", "ws://a:80/"),
            ("WSS://a/web?x=1", "wss://a:443/web?x=1"),
            ("ws://a:1?x", "ws://a:1/?x"),
            ("wss://[::1]/", "wss://[::1]:443/"),
            ("tcp://[::1]:2", "tcp://[::1]:2"),
            ("ssl://127.0.0.1:8083/", "ssl://127.0.0.1:8083"),
        ] {
            let url: RemoteUrl = text.parse().expect(text);
            assert_eq!(url.to_string(), written);
            assert_eq!(url.to_string().parse::<RemoteUrl>().expect(written), url);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            ("a:1", "no scheme"),
            ("any://a:1", "a client says"),
            ("http://a:1", "did you mean ws://?"),
            ("tcp://a", "no port"),
            ("tcp://a:0", "port is 0"),
            ("tcp://a:1/web", "raw client"),
            ("ws://a:1/x#y", "a path cannot"),
            ("ws://a:1/x y", "a path cannot"),
            ("ws://a b:1", "no IPv4 address and no name"),
            ("ws://me@a:1", "has a user"),
        ] {
            let error = text.parse::<RemoteUrl>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
