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
/// Origins that are told each by itself within a minute. Any more, which anybody can make up, are told
/// together.
const ORIGINS_MAX: usize = 8;

/// What a listener serves.
#[derive(Clone)]
pub struct Door {
    pub listening: Listening,
    pub tls: Option<Arc<Tls>>,
    /// Shared by the workers.
    refusals: Arc<Mutex<Refusals>>,
}

/// What was told, by what was wrong, of which there are some twenty kinds; where the operator can let
/// that page in, by its Origin, too.
#[derive(Default)]
struct Refusals {
    kinds: HashMap<&'static str, Seldom>,
    origins: HashMap<(&'static str, String), Seldom>,
}

impl Refusals {
    fn of(&mut self, what: &'static str, origin: Option<&str>, now: Instant) -> &Seldom {
        if let Some(origin) = origin {
            let page = (what, origin.to_owned());
            let has_place = |origins: &HashMap<_, _>| {
                origins.len() < ORIGINS_MAX || origins.contains_key(&page)
            };
            if !has_place(&self.origins) {
                self.origins.retain(|_, seldom| seldom.is_recent(now));
            }
            if has_place(&self.origins) {
                return self.origins.entry(page).or_default();
            }
        }
        self.kinds.entry(what).or_default()
    }
}

impl Door {
    /// `tls` is what a listener with TLS serves with.
    pub fn new(listening: Listening, tls: Option<Arc<Tls>>) -> Door {
        Door { listening, tls, refusals: Arc::default() }
    }

    /// Tells the log of a client that is refused: of each kind the first at once, and then one a minute.
    /// What the operator can mend is a warning.
    pub fn tell_refused(&self, peer: SocketAddr, refusal: &Refusal, origin: Option<&str>) {
        let Refusal { status, text, key } = *refusal;
        let (listener, origin) = (&self.listening, origin.map(cut));
        let Some(count) = self.note(text, origin.filter(|_| key.is_some()), Instant::now()) else {
            return tracing::debug!(%peer, status, text, "refused");
        };
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
        match self.note("handshake failed", None, Instant::now()) {
            Some(count) => tracing::info!(%listener, %peer, error, count, "handshakes fail"),
            None => tracing::debug!(%peer, error, "handshake failed"),
        }
    }

    /// Counts one, and how many there were where it is time for a line.
    fn note(&self, what: &'static str, origin: Option<&str>, now: Instant) -> Option<usize> {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let seldom = refusals.of(what, origin, now);
        seldom.note();
        seldom.due(now)
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(PEER_TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::ListenScheme;

    #[test]
    fn origins_that_are_made_up_do_not_fill_the_log() {
        let addr = ([127, 0, 0, 1], 0).into();
        let door = Door::new(Listening { scheme: ListenScheme::Any, addr }, None);
        let begin = Instant::now();
        let lines = |origins: std::ops::Range<usize>, now| {
            let made_up = origins.map(|n| format!("https://{n}.example"));
            made_up.filter_map(|origin| door.note("no", Some(&origin), now)).collect::<Vec<_>>()
        };
        assert_eq!(lines(0..ORIGINS_MAX, begin), [1; ORIGINS_MAX]);
        assert_eq!(lines(0..ORIGINS_MAX, begin).len(), 0, "each once");
        assert_eq!(lines(100..200, begin), [1], "the others together");
        assert_eq!(lines(200..300, begin).len(), 0);
        assert_eq!(door.note("another", None, begin), Some(1));
        // The first two go on, and there is room for as many others as are left.
        let later = begin + Duration::from_secs(60);
        assert_eq!(lines(0..2, later), [2, 2]);
        assert_eq!(lines(300..400, later).len(), ORIGINS_MAX - 2 + 1);
    }
}
