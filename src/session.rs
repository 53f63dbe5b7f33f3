//! Who is connected: the identity of a session and what is known of its client from the handshake on.
//! Plain data that travels from the I/O worker that owns the socket to the script thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ring::hmac;
use ring::rand::SystemRandom;

use crate::headers::Headers;

/// Names one session. `slot` is its place on its worker and is used again after the session ended;
/// `serial` is never used again, so that what arrives late for a slot cannot hit the next tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId {
    pub worker: u16,
    pub slot: u32,
    pub serial: u64,
}

/// What a client may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// A WebSocket client that may be addressed by uuid and, once registered, receives broadcasts.
    Web,
    /// A raw socket client, or a WebSocket client that says `Client-Type: php`.
    Backend,
}

impl ClientKind {
    pub fn name(self) -> &'static str {
        match self {
            ClientKind::Web => "web",
            ClientKind::Backend => "backend",
        }
    }
}

/// How the client reached the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Ws,
    Wss,
    Tcp,
    Ssl,
}

impl Scheme {
    pub fn new(websocket: bool, tls: bool) -> Scheme {
        match (websocket, tls) {
            (true, false) => Scheme::Ws,
            (true, true) => Scheme::Wss,
            (false, false) => Scheme::Tcp,
            (false, true) => Scheme::Ssl,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
            Scheme::Tcp => "tcp",
            Scheme::Ssl => "ssl",
        }
    }
}

/// What the handshake told of a client. Does not change while it is connected.
#[derive(Debug)]
pub struct ClientInfo {
    pub id: SessionId,
    pub kind: ClientKind,
    pub scheme: Scheme,
    pub addr: SocketAddr,
    /// The resource of the handshake, `/` where there was none.
    pub path: String,
    /// Empty for a raw client that sent none.
    pub headers: Headers,
    /// The name a backend asked to be addressed by (`Ident`); never empty.
    pub ident: Option<String>,
    /// The uuid that `ready` tells the client. A bearer secret.
    pub issued_uuid: Arc<str>,
    /// Whether the config lets it send feedback; whether it can is up to the script.
    pub may_send_feedback: bool,
}

/// Issues the uuids of new connections: a version 4 uuid, a dot, and 16 bytes (in hex) of its
/// HMAC-SHA256 under a secret that this process made at its start and never tells. The uuid itself is
/// made of the HMAC of its number: nobody without the secret can tell that from random bytes, and
/// asking the system for those costs more than all the rest.
pub struct Issuer {
    key: hmac::Key,
    issued: AtomicU64,
}

impl Issuer {
    /// Fails only where the system has no random numbers to give.
    pub fn new() -> anyhow::Result<Issuer> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
        Ok(Issuer { key, issued: AtomicU64::new(0) })
    }

    pub fn issue(&self) -> Arc<str> {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        // Of another length than a uuid, so that no number has the HMAC of one.
        let drawn = hmac::sign(&self.key, &number.to_be_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&drawn.as_ref()[..16]);
        // RFC 9562, section 5.4: version 4, variant 10.
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let mut text = String::with_capacity(36 + 1 + 32);
        for (at, byte) in bytes.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            push_hex(&mut text, *byte);
        }
        let tag = hmac::sign(&self.key, text.as_bytes());
        text.push('.');
        for byte in &tag.as_ref()[..16] {
            push_hex(&mut text, *byte);
        }
        text.into()
    }
}

fn push_hex(text: &mut String, byte: u8) {
    for digit in [byte >> 4, byte & 0x0f] {
        text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issued_uuids_are_version_4_with_a_tag_and_differ() {
        let issuer = Issuer::new().expect("random numbers");
        let (one, two) = (issuer.issue(), issuer.issue());
        assert_ne!(one, two);
        let other = Issuer::new().expect("random numbers");
        assert_ne!(one, other.issue(), "each process draws its own");
        let (uuid, tag) = one.split_once('.').expect("a dot");
        assert_eq!(tag.len(), 32);
        let groups: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert!(matches!(uuid.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert!(one.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-' || b == b'.'));
    }
}
