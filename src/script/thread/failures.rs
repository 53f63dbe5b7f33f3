//! What follows when a handler fails, is killed or takes long: the log, the count, a new VM.

use std::time::Instant;

use super::ScriptThread;
use crate::log::millis;
use crate::script::budget::Kill;
use crate::script::fault::HandlerError;
use crate::script::repeats::Telling;
use crate::session::SessionId;

impl ScriptThread {
    /// Does what follows a failed handler, and returns the number under which it can be found.
    pub(super) fn failed(
        &mut self,
        error: &HandlerError,
        opcode: &str,
        handler: &str,
        session: Option<SessionId>,
    ) -> String {
        let id = self.report(error, opcode, session);
        if error.kill().is_some() {
            self.strike(handler);
        }
        // One that caught the kill has failed like any other, and may still hold the memory.
        if error.kill() == Some(Kill::Memory) || self.engine.is_full() {
            self.restart();
        }
        id
    }

    /// Counts a kill of this handler.
    fn strike(&mut self, handler: &str) {
        let kills_max = self.loader.budget.limits.kills_max;
        if self.strikes.count(handler, kills_max, Instant::now()) {
            let generation = self.engine.generation();
            tracing::warn!(
                generation,
                "{handler} is switched off until a reload: killed {kills_max} times within a minute"
            );
        }
    }

    /// Logs a failed handler, or counts it if the like was logged within a minute.
    fn report(&mut self, error: &HandlerError, opcode: &str, session: Option<SessionId>) -> String {
        let generation = self.engine.generation();
        let session = session.map(|session| session.serial);
        let what = format!("generation {generation}, {opcode:?}: {}", error.summary());
        match self.failures.note(&what, Instant::now(), error_id) {
            Telling::First(id) => {
                tracing::error!(id, ?opcode, generation, session, "handler failed: {error}");
                id
            }
            Telling::Again(id) => id,
        }
    }

    /// Logs what was only counted, where its minute is over.
    pub(super) fn sum_up(&mut self, now: Option<Instant>) {
        for line in self.failures.sum_up(now) {
            tracing::error!("handler failed {line}");
        }
        for line in self.slow.sum_up(now) {
            tracing::warn!("slow handler {line}");
        }
    }

    /// Once a minute for each handler. A kill has its own words.
    pub(super) fn warn_if_slow(&mut self, result: &Result<(), HandlerError>) {
        let Some((what, took)) = self.loader.budget.take_slow() else { return };
        if result.as_ref().is_err_and(|error| error.kill().is_some()) {
            return;
        }
        let generation = self.engine.generation();
        let key = format!("generation {generation}, {what:?}");
        if let Telling::First(_) = self.slow.note(&key, Instant::now(), String::new) {
            let (took_ms, budget_ms) =
                (millis(took), millis(self.loader.budget.limits.call_timeout));
            tracing::warn!(opcode = ?what, generation, took_ms, budget_ms, "slow handler");
        }
    }
}

/// A number that is told to the client and stands in the log.
fn error_id() -> String {
    let random = ring::rand::generate::<[u8; 4]>(&ring::rand::SystemRandom::new());
    random.map_or_else(
        |_| "none".to_owned(),
        |random| random.expose().iter().map(|byte| format!("{byte:02x}")).collect(),
    )
}
