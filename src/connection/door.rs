//! What a listener serves, and what the log is told of those who do not get in there.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::config::Listening;
use crate::frame::handshake::Refusal;
use crate::log::Seldom;
use crate::transport::tls::Tls;

/// How much of what a peer says of itself the log is told, in bytes.
const PEER_TEXT_BYTES_MAX: usize = 200;

/// What a listener serves.
#[derive(Clone)]
pub struct Door {
    pub listening: Listening,
    pub tls: Option<Arc<Tls>>,
    refusals: Arc<Refusals>,
}

/// By what was wrong, of which there are some twenty kinds; shared by the workers.
type Refusals = Mutex<HashMap<&'static str, Seldom>>;

impl Door {
    /// `tls` is what a listener with TLS serves with.
    pub fn new(listening: Listening, tls: Option<Arc<Tls>>) -> Door {
        Door { listening, tls, refusals: Arc::default() }
    }

    /// Tells the log of a client that is refused: of each kind the first at once, and then one a minute.
    /// What the operator can mend is a warning.
    pub fn tell_refused(&self, peer: SocketAddr, refusal: &Refusal, origin: Option<&str>) {
        let Refusal { status, text, key } = *refusal;
        let Some(count) = self.note(text) else {
            return tracing::debug!(%peer, status, text, "refused");
        };
        let (listener, origin) = (&self.listening, origin.map(cut));
        match key {
            Some(key) => tracing::warn!(
                %listener, %peer, origin, status, text, key, count,
                "clients are refused: see this key of relay.toml"
            ),
            None => tracing::info!(
                %listener, %peer, origin, status, text, count, "clients are refused"
            ),
        }
    }

    /// The same for one that speaks TLS or the PROXY protocol wrongly, or does not like what it is
    /// offered there.
    pub fn tell_failed(&self, peer: SocketAddr, error: &dyn Display) {
        let (listener, error) = (&self.listening, error.to_string());
        let error = cut(&error);
        match self.note("handshake failed") {
            Some(count) => tracing::info!(%listener, %peer, error, count, "handshakes fail"),
            None => tracing::debug!(%peer, error, "handshake failed"),
        }
    }

    /// Counts one, and how many there were where it is time for a line.
    fn note(&self, what: &'static str) -> Option<usize> {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let seldom = refusals.entry(what).or_default();
        seldom.note();
        seldom.due(Instant::now())
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(PEER_TEXT_BYTES_MAX)]
}
