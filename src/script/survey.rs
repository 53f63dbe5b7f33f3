//! What a script is, found out by loading it where nobody is connected.

use std::path::Path;

use tokio::sync::mpsc;

use super::clock::Clock;
use super::fault::LoadError;
use super::source::Source;
use super::terms::Terms;
use super::thread::{ScriptThread, Setup};
use crate::watch::Watched;

/// What a start with this script would have.
#[derive(Clone, Debug)]
pub struct Survey {
    /// SHA-256 of its text, in hex.
    pub hash: String,
    /// The opcodes that have a handler, in alphabetical order.
    pub opcodes: Vec<String>,
    /// The hooks it has, in alphabetical order.
    pub hooks: Vec<&'static str>,
    /// What it does that its author hardly meant; one line each, with its place.
    pub warnings: Vec<String>,
}

/// Loads the script as the relay does at its start, `on.load` included.
///
/// # Errors
/// What the start would say.
pub fn survey(file: &Path, terms: &Terms) -> Result<Survey, LoadError> {
    let source = Source::read(file)?;
    let (worker, _outlet) = mpsc::channel(1);
    let thread = ScriptThread::new(Setup {
        source,
        terms: terms.clone(),
        workers: vec![worker],
        clock: Clock::default(),
        watched: Watched::default(),
        rehearse: None,
    })?;
    let (opcodes, hooks) = thread.engine().names();
    let hash = thread.engine().source().hash();
    let mut warnings = thread.engine().warnings().to_vec();
    // Told here and not in the log: who has clients of their own may mean it.
    if !hooks.contains(&"connect") {
        let file = file.display();
        warnings.push(format!(
            "{file} has no on.connect, so nobody is greeted: relay send and tail, clients/web and \
             clients/php wait for a ready"
        ));
    }
    Ok(Survey { hash, opcodes, hooks, warnings })
}
