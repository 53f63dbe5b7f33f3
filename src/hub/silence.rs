//! How long a client has said nothing, and what follows from it. Counted by the worker's tick, in
//! seconds, so that no connection needs a timer of its own.

use std::cell::Cell;
use std::time::Duration;

use crate::close::CloseReason;
use crate::config::Limits;
use crate::session::ClientKind;

/// The payload of the ping to a client whose name another one claims. Only the pong with the same
/// payload (RFC 6455, section 5.5.3) came after it.
pub const CLAIM_PING: &[u8] = b"claim";

/// What one client has said lately.
pub struct Silence {
    /// Since the last tick: any bytes, and a message.
    heard: Cell<bool>,
    spoke: Cell<bool>,
    /// Seconds since the last bytes, and since the last message.
    silent: Cell<u32>,
    speechless: Cell<u32>,
    /// Seconds of silence since that ping, while its pong is waited for.
    asked: Cell<Option<u32>>,
}

/// How long it may last, in seconds; 0 means for ever.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    ping_interval: u32,
    pings_missed_max: u32,
    claim: u32,
    unregistered: u32,
    backend_idle: u32,
}

/// What is to be done about a silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Wait,
    Ping,
    End(CloseReason),
}

impl From<&Limits> for Patience {
    fn from(limits: &Limits) -> Patience {
        // A part of a second counts as one: the tick knows no less.
        let seconds =
            |time: Duration| u32::try_from(time.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
        Patience {
            ping_interval: seconds(limits.ping_interval),
            pings_missed_max: u32::try_from(limits.pings_missed_max).unwrap_or(u32::MAX),
            claim: seconds(limits.claim_timeout),
            unregistered: seconds(limits.unregistered_timeout),
            backend_idle: seconds(limits.backend_idle_timeout),
        }
    }
}

impl Default for Silence {
    /// As if it had just said something: it has, to get in, and its first second is not a whole one.
    fn default() -> Silence {
        Silence {
            heard: Cell::new(true),
            spoke: Cell::new(true),
            silent: Cell::new(0),
            speechless: Cell::new(0),
            asked: Cell::new(None),
        }
    }
}

impl Silence {
    /// Bytes came, of whatever kind.
    pub fn heard(&self) {
        self.heard.set(true);
    }

    /// A message came, and so bytes did.
    pub fn spoke(&self) {
        self.heard.set(true);
        self.spoke.set(true);
    }

    /// It is asked whether it is alive.
    pub fn ask(&self) {
        self.asked.set(Some(0));
    }

    /// It has answered; `false` where it was not asked.
    pub fn answered(&self) -> bool {
        self.asked.take().is_some()
    }

    /// A second is over.
    pub fn tick(&self, kind: ClientKind, registered: bool, patience: Patience) -> Step {
        let count = |seconds: &Cell<u32>, broken: bool| {
            seconds.set(if broken { 0 } else { seconds.get().saturating_add(1) });
            seconds.get()
        };
        let heard = self.heard.take();
        // Whatever it says shows that it is alive: its pong may stand behind a long message.
        self.asked.set(self.asked.get().map(|seconds| if heard { 0 } else { seconds + 1 }));
        let silent = count(&self.silent, heard);
        let speechless = count(&self.speechless, self.spoke.take());
        let over = |seconds: u32, most: u32| most > 0 && seconds >= most;
        let Patience { ping_interval, pings_missed_max, claim, unregistered, backend_idle } =
            patience;
        match kind {
            // PHP reads once for each message, so a ping would be taken for an answer.
            ClientKind::Backend if over(silent, backend_idle) => Step::End(CloseReason::Idle),
            ClientKind::Backend => Step::Wait,
            ClientKind::Web if !registered && over(speechless, unregistered) => {
                Step::End(CloseReason::Unregistered)
            }
            // The first of these seconds was not a whole one.
            ClientKind::Web if self.asked.get().is_some_and(|seconds| seconds > claim) => {
                Step::End(CloseReason::Unresponsive)
            }
            ClientKind::Web if over(silent, ping_interval.saturating_mul(pings_missed_max + 1)) => {
                Step::End(CloseReason::Unresponsive)
            }
            ClientKind::Web
                if over(silent, ping_interval) && silent.is_multiple_of(ping_interval) =>
            {
                Step::Ping
            }
            ClientKind::Web => Step::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Step::{End, Ping, Wait};

    const PATIENCE: Patience = Patience {
        ping_interval: 2,
        pings_missed_max: 2,
        claim: 2,
        unregistered: 3,
        backend_idle: 4,
    };

    fn steps(silence: &Silence, kind: ClientKind, registered: bool, count: usize) -> Vec<Step> {
        (0..count).map(|_| silence.tick(kind, registered, PATIENCE)).collect()
    }

    #[test]
    fn a_page_is_pinged_and_given_up_when_it_misses_two() {
        let silence = Silence::default();
        let gone = End(CloseReason::Unresponsive);
        let took = steps(&silence, ClientKind::Web, true, 7);
        assert_eq!(took, [Wait, Wait, Ping, Wait, Ping, Wait, gone]);
        let silence = Silence::default();
        assert_eq!(steps(&silence, ClientKind::Web, true, 6).last(), Some(&Wait));
        // A pong is enough.
        silence.heard();
        assert_eq!(steps(&silence, ClientKind::Web, true, 3), [Wait, Wait, Ping]);
    }

    #[test]
    fn an_owner_that_is_asked_has_to_answer_unless_it_speaks() {
        let patient = Patience { ping_interval: 0, ..PATIENCE };
        let tick = |silence: &Silence| silence.tick(ClientKind::Web, true, patient);
        let gone = End(CloseReason::Unresponsive);
        let silence = Silence::default();
        assert!((0..9).all(|_| tick(&silence) == Wait), "nobody asked");
        assert!(!silence.answered());
        silence.ask();
        assert_eq!([tick(&silence), tick(&silence), tick(&silence)], [Wait, Wait, gone]);
        // The rest of a long message before its pong, or what the relay did not read for so long.
        let silence = Silence::default();
        silence.ask();
        for _ in 0..9 {
            silence.heard();
            assert_eq!([tick(&silence), tick(&silence), tick(&silence)], [Wait, Wait, Wait]);
        }
        assert!(silence.answered());
        assert!((0..9).all(|_| tick(&silence) == Wait));
    }

    #[test]
    fn a_page_that_does_not_register_has_to_say_something() {
        let silence = Silence::default();
        let gone = End(CloseReason::Unregistered);
        assert_eq!(steps(&silence, ClientKind::Web, false, 3), [Wait, Wait, Ping]);
        silence.heard();
        assert_eq!(silence.tick(ClientKind::Web, false, PATIENCE), gone);
        let silence = Silence::default();
        for _ in 0..9 {
            silence.heard();
            silence.spoke();
            assert_eq!(silence.tick(ClientKind::Web, false, PATIENCE), Wait);
        }
    }

    #[test]
    fn a_backend_is_never_pinged_and_may_be_idle_for_so_long() {
        let silence = Silence::default();
        let gone = End(CloseReason::Idle);
        let took = steps(&silence, ClientKind::Backend, false, 5);
        assert_eq!(took, [Wait, Wait, Wait, Wait, gone]);
    }

    #[test]
    fn nothing_means_for_ever() {
        let silence = Silence::default();
        let never = Patience {
            ping_interval: 0,
            pings_missed_max: 2,
            claim: 2,
            unregistered: 0,
            backend_idle: 0,
        };
        for kind in [ClientKind::Web, ClientKind::Backend] {
            assert!((0..1_000).all(|_| silence.tick(kind, false, never) == Wait));
        }
    }
}
