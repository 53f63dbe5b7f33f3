//! The tests of a new text, before it is loaded: on a thread of its own, as messages are decided
//! meanwhile.

use std::sync::Arc;

use super::budget::Stuck;
use super::outcome::Reload;
use super::queue::{Queue, Request};
use super::source::Source;
use super::terms::Terms;
use super::testing;

/// Starts the tests and returns at once. Their end comes as [`Request::Rehearsed`].
pub fn rehearse(source: Source, mut terms: Terms, reload: Reload, queue: Queue) {
    // What hangs in a test holds up this reload and nobody else.
    terms.budgets.stuck = Arc::new(|stuck: &Stuck| {
        tracing::error!(what = stuck.what, since = ?stuck.since, "a test of the script hangs, nothing reloaded");
    });
    let run = move || {
        // Whatever the tests make the script log happened to nobody.
        let silence = tracing::subscriber::NoSubscriber::default();
        let result = tracing::subscriber::with_default(silence, || {
            testing::rehearse(&source, &terms.script.file, &terms)
        });
        queue.request(Request::Rehearsed { source, result, reload });
    };
    if let Err(error) = std::thread::Builder::new().name("script-test".to_owned()).spawn(run) {
        tracing::error!("no thread for the tests of the script, nothing reloaded: {error}");
    }
}
