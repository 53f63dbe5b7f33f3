//! The tests of a new text, before it is loaded: on a thread of its own, as messages are decided
//! meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::budget::Stuck;
use super::fault::{Fault, LoadError};
use super::outcome::Reload;
use super::queue::{Queue, Request};
use super::source::Source;
use super::terms::Terms;
use super::testing;
use crate::log::millis;
use crate::threads::NoThread;

/// Starts the tests and returns at once. Their end comes as [`Request::Rehearsed`], whatever it is,
/// unless one hangs.
pub fn rehearse(source: Source, mut terms: Terms, reload: Reload, queue: Queue) {
    // What hangs in a test holds up this reload and nobody else.
    terms.budgets.stuck = Arc::new(|stuck: &Stuck| {
        tracing::error!(
            what = stuck.what,
            since_ms = millis(stuck.since),
            "a test of the script hangs, nothing reloaded"
        );
    });
    let (back, script) = (queue.clone(), source.clone());
    let (hand, handed) = sync_channel::<(Source, Reload)>(1);
    let run = move || {
        let Ok((source, reload)) = handed.recv() else { return };
        let result = concluded(|| testing::rehearse(&script, &terms.script.file, &terms));
        back.request(Request::Rehearsed { source, result, reload });
    };
    let result = match std::thread::Builder::new().name("script-test".to_owned()).spawn(run) {
        // It waits for exactly this.
        Ok(_) => return drop(hand.send((source, reload))),
        Err(error) => Err(NoThread::to("the tests")(error).into()),
    };
    queue.request(Request::Rehearsed { source, result, reload });
}

/// Runs tests to their end. Whatever they make the script log happened to nobody, and a panic is
/// relay's own bug.
fn concluded(tests: impl FnOnce() -> Result<(), LoadError>) -> Result<(), LoadError> {
    let silence = tracing::subscriber::NoSubscriber::default();
    let silent = || tracing::subscriber::with_default(silence, tests);
    catch_unwind(AssertUnwindSafe(silent))
        .unwrap_or_else(|_| Err(Fault::new("the tests were ended by a bug in relay").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_panic_have_failed() {
        assert!(concluded(|| Ok(())).is_ok());
        let error = concluded(|| panic!("on purpose")).expect_err("no success");
        assert!(error.summary().contains("a bug in relay"), "{error}");
    }
}
