//! The way from a text on disk to the generation that runs.

use std::cell::RefCell;
use std::mem::replace;
use std::rc::Rc;
use std::sync::PoisonError;

use serde_json::{Map, Value as Setting};

use super::{ScriptThread, Status};
use crate::hub::Hub;
use crate::script::budget::Budget;
use crate::script::clock::Clock;
use crate::script::engine::Engine;
use crate::script::fault::{HandlerError, LoadError};
use crate::script::outcome::{Asked, Outcome, Reload};
use crate::script::source::Source;
use crate::script::strikes::Strikes;
use crate::script::terms::Terms;
use crate::threads::NoThread;
use crate::watch::LookedAt;

/// What every generation is loaded with.
pub struct Loader {
    pub hub: Rc<RefCell<Hub>>,
    pub settings: Map<String, Setting>,
    pub budget: Rc<Budget>,
    pub clock: Clock,
}

/// A version on disk that was refused, and what was said about it.
#[derive(PartialEq)]
pub struct Rejection {
    hash: Option<String>,
    looked_at: Vec<LookedAt>,
    said: String,
}

impl Rejection {
    fn new(refused: Option<&Source>, outcome: &Outcome) -> Rejection {
        Rejection {
            hash: refused.map(Source::hash),
            looked_at: refused.map(|source| source.modules.looked_at()).unwrap_or_default(),
            said: outcome.to_string(),
        }
    }
}

impl Loader {
    pub fn new(terms: &Terms, hub: Rc<RefCell<Hub>>, clock: Clock) -> Result<Loader, LoadError> {
        let budget = Budget::new(terms.budgets.clone()).map_err(NoThread::to("the watchdog"))?;
        Ok(Loader { hub, settings: terms.script.settings.clone(), budget, clock })
    }

    /// Loads a generation up to and including its `on.load`.
    pub fn load(
        &self,
        source: &Source,
        generation: u64,
        reload: bool,
    ) -> Result<Engine, LoadError> {
        let hub = Rc::clone(&self.hub);
        let engine =
            Engine::load(source, generation, hub, &self.settings, &self.budget, &self.clock)?;
        transact(&self.hub, || engine.on_load(reload))?;
        Ok(engine)
    }
}

impl ScriptThread {
    /// Loads the text on disk aside and puts it in place of the running one, if it is another one,
    /// or other terms are to hold for it, and good. Where it has tests to pass first, that goes on
    /// meanwhile.
    pub(super) fn reload(&mut self, reload: Reload) {
        let terms = self.terms_of(&reload);
        let rehearse = self.rehearse.as_ref().filter(|_| terms.script.test_before_reload);
        match Source::read(&terms.script.file) {
            Ok(source) if self.runs(&source, &reload) => self.keep(reload),
            Ok(source) => match rehearse {
                Some(rehearse) => rehearse(source, terms.clone(), reload),
                None => self.adopt(&source, reload),
            },
            Err(error) => self.reject(None, &error, reload.asked),
        }
    }

    /// What holds if this reload succeeds.
    fn terms_of<'a>(&'a self, reload: &'a Reload) -> &'a Terms {
        reload.terms.as_deref().unwrap_or(&self.terms)
    }

    /// Whether the text on disk is the one that runs, and under these terms.
    fn runs(&self, on_disk: &Source, reload: &Reload) -> bool {
        self.terms_of(reload).script == self.terms.script
            && self.engine.source().is_on_disk(&on_disk.text)
    }

    /// The tests of a text are over. There may be another one on disk by now: then that one counts.
    pub(super) fn rehearsed(
        &mut self,
        source: Source,
        result: Result<(), LoadError>,
        reload: Reload,
    ) {
        let on_disk = Source::read(&self.terms_of(&reload).script.file);
        match result {
            _ if !on_disk.is_ok_and(|now| source.is_on_disk(&now.text)) => self.reload(reload),
            // Two who asked at the same time had the same text tested.
            Ok(()) if self.runs(&source, &reload) => self.keep(reload),
            Ok(()) => self.adopt(&source.fresh(), reload),
            Err(error) => self.reject(Some(&source), &error, reload.asked),
        }
    }

    /// What is on disk is what runs.
    fn keep(&mut self, reload: Reload) {
        if !reload.begin() {
            return self.come_too_late();
        }
        let Reload { terms, asked } = reload;
        if let Some(terms) = terms {
            self.hub.borrow_mut().set_limits(terms.hub);
            self.terms = *terms;
            self.adopt_bounds();
        }
        let (generation, hash) = self.version();
        let on_again = if asked.is_some() { self.strikes.forget() } else { Vec::new() };
        let outcome = Outcome::Unchanged { generation, hash, on_again };
        self.rejection = None;
        if self.status_mut(|status| status.rejected.take()).is_some() {
            self.announce("the script on disk is again the one that runs");
        }
        if asked.is_some() {
            // Whoever sends a HUP has no other answer. The watch asks without being asked.
            tracing::info!("{outcome}");
        }
        tell(asked, outcome);
    }

    fn adopt(&mut self, source: &Source, reload: Reload) {
        if !reload.begin() {
            return self.come_too_late();
        }
        let Reload { terms, asked } = reload;
        let generation = self.engine.generation() + 1;
        let installed = match terms {
            Some(terms) => self.install_under(*terms, source, generation),
            None => self.install(source, generation),
        };
        match installed {
            Ok(()) => {
                self.announce("script reloaded");
                self.hand_over();
                let (generation, hash) = self.version();
                tell(asked, Outcome::Reloaded { generation, hash });
            }
            Err(error) => self.reject(Some(source), &error, asked),
        }
    }

    /// Whoever asked has been told that nothing is adopted: the rest of their config is not, either.
    fn come_too_late(&self) {
        let generation = self.engine.generation();
        tracing::warn!(generation, "a reload took too long for who asked for it: nothing adopted");
    }

    /// Starts the running generation anew from the bytes it was loaded from: whatever filled its
    /// memory is gone. What is on disk by now plays no part, and neither what was said about it.
    pub(super) fn restart(&mut self) {
        let (source, generation) = (self.engine.source().clone(), self.engine.generation());
        match self.install(&source, generation) {
            Ok(()) => {
                tracing::warn!(generation, "the script ran out of memory and was started anew");
            }
            Err(error) => {
                tracing::error!(
                    generation,
                    "the script ran out of memory and does not start anew: {error}"
                );
            }
        }
    }

    /// The same under other terms: they hold from its load on, and only if it succeeds.
    fn install_under(
        &mut self,
        terms: Terms,
        source: &Source,
        generation: u64,
    ) -> Result<(), LoadError> {
        let clock = self.loader.clock.clone();
        let loader = Loader::new(&terms, Rc::clone(&self.hub), clock)?;
        self.hub.borrow_mut().set_limits(terms.hub);
        let before = (replace(&mut self.loader, loader), replace(&mut self.terms, terms));
        let installed = self.install(source, generation);
        match installed {
            Ok(()) => self.adopt_bounds(),
            Err(_) => {
                (self.loader, self.terms) = before;
                self.hub.borrow_mut().set_limits(self.terms.hub);
            }
        }
        installed
    }

    /// What may wait, from now on.
    fn adopt_bounds(&mut self) {
        let now = self.loader.clock.now();
        self.broadcasts.set_per_second_max(self.terms.broadcasts_per_second_max, now);
        self.lane.set_aside_bytes_max(self.terms.aside_bytes_max);
    }

    /// Loads a generation aside and puts it in place of the running one. A new one begins without
    /// strikes, and it is what is on disk; one that starts anew changes neither.
    fn install(&mut self, source: &Source, generation: u64) -> Result<(), LoadError> {
        let engine = self.loader.load(source, generation, true)?;
        let is_new = generation != self.engine.generation();
        self.engine = engine;
        if is_new {
            self.strikes = Strikes::default();
            self.broadcasts.forget_handlers();
            self.rejection = None;
            self.status_mut(|status| {
                (status.generation, status.hash) = (generation, source.hash());
                status.rejected = None;
            });
            self.watch(&[]);
        }
        Ok(())
    }

    /// Has the script's file and its modules watched, and what a version that was refused looked at:
    /// what runs may come back by way of any file, and so may a good version.
    pub(super) fn watch(&self, refused: &[LookedAt]) {
        let running = self.engine.source();
        let text = Some(running.text.clone().into_bytes());
        let script = vec![(self.terms.script.file.clone(), text)];
        self.watched.set([&script, &*running.modules.looked_at(), refused].concat());
    }

    /// Goes on with what runs. The log is told once of each version on disk that is refused, however
    /// often somebody asks for it; `refused` is `None` where it can not even be read.
    fn reject(&mut self, refused: Option<&Source>, error: &LoadError, asked: Option<Asked>) {
        let (generation, hash) = self.version();
        let (still, why) = (format!("generation {generation} ({hash})"), error.to_string());
        let outcome = Outcome::Rejected { generation, hash, why };
        let rejection = Some(Rejection::new(refused, &outcome));
        if self.rejection != rejection {
            tracing::error!("{outcome}");
            self.rejection = rejection;
        } else if asked.is_some() {
            tracing::info!("unchanged: {still}, what is on disk is still rejected");
        }
        if let Some(refused) = refused {
            self.watch(&refused.modules.looked_at());
        }
        self.status_mut(|status| status.rejected = Some(error.summary()));
        tell(asked, outcome);
    }

    /// The running generation and the short hash of its text.
    fn version(&self) -> (u64, String) {
        (self.engine.generation(), self.engine.source().short_hash())
    }

    pub(super) fn announce(&self, what: &str) {
        let source = self.engine.source();
        let generation = self.engine.generation();
        tracing::info!(generation, hash = source.short_hash(), path = source.path, "{what}");
        for warning in self.engine.warnings() {
            tracing::warn!(generation, "{warning}");
        }
    }

    pub(super) fn status_mut<R>(&self, change: impl FnOnce(&mut Status) -> R) -> R {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn tell(asked: Option<Asked>, outcome: Outcome) {
    if let Some(asked) = asked {
        asked.tell(outcome);
    }
}

/// Calls the script: all that it asks the hub for happens, or nothing of it.
pub fn transact(
    hub: &Rc<RefCell<Hub>>,
    call: impl FnOnce() -> Result<(), HandlerError>,
) -> Result<(), HandlerError> {
    hub.borrow_mut().begin();
    let result = call();
    let mut hub = hub.borrow_mut();
    match result {
        Ok(()) => hub.commit(),
        Err(_) => hub.rollback(),
    }
    result
}
