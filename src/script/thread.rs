//! The script thread: takes what happens to clients, one thing after the other, has the script
//! decide it, and hands the outcome to the workers.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value as Setting};
use tokio::sync::mpsc;

use super::clock::Clock;
use super::engine::Engine;
use super::fault::{HandlerError, LoadError};
use super::outcome::{Asked, Outcome};
use super::queue::{Event, Queue, Request};
use super::reply::ErrorReply;
use super::source::Source;
use crate::close::CloseReason;
use crate::hub::{Client, Delivery, Hub, HubLimits};
use crate::message::Message;
use crate::session::{ClientInfo, SessionId};

/// After this many events the workers get what they caused, even if more are waiting: enough to
/// make a hand-over cheap per event, few enough that the first of them waits under 0.1 ms.
const EVENTS_PER_HAND_OVER: usize = 64;

/// Which version of the script runs, and whether it is the one on disk.
#[derive(Clone, Debug)]
pub struct Status {
    /// Counts the loads that were accepted; the first is 1.
    pub generation: u64,
    /// SHA-256 of the running text, in hex.
    pub hash: String,
    /// Why the text on disk is not the one that runs, in one line.
    pub rejected: Option<String>,
}

/// What the thread starts with.
pub struct Setup {
    pub file: PathBuf,
    pub source: Source,
    pub settings: Map<String, Setting>,
    pub workers: Vec<mpsc::Sender<Vec<Delivery>>>,
    pub limits: HubLimits,
    pub clock: Clock,
    /// Where a new text goes before it is loaded; it comes back as [`Request::Rehearsed`].
    pub rehearse: Option<Rehearse>,
}

/// Starts the tests of a text and returns at once.
pub type Rehearse = Box<dyn Fn(Source, Asked) + Send>;

/// The state of the thread. Stays on it: the VM is bound to one thread.
pub struct ScriptThread {
    hub: Rc<RefCell<Hub>>,
    engine: Engine,
    file: PathBuf,
    settings: Map<String, Setting>,
    workers: Vec<mpsc::Sender<Vec<Delivery>>>,
    status: Arc<Mutex<Status>>,
    clock: Clock,
    rehearse: Option<Rehearse>,
}

impl ScriptThread {
    /// Loads the first generation.
    pub fn new(setup: Setup) -> Result<ScriptThread, LoadError> {
        let hub = Rc::new(RefCell::new(Hub::new(setup.workers.len(), setup.limits)));
        let engine = load(&setup.source, 1, &hub, &setup.settings, &setup.clock, false)?;
        let status = Status { generation: 1, hash: setup.source.hash, rejected: None };
        let thread = ScriptThread {
            hub,
            engine,
            file: setup.file,
            settings: setup.settings,
            workers: setup.workers,
            status: Arc::new(Mutex::new(status)),
            clock: setup.clock,
            rehearse: setup.rehearse,
        };
        thread.announce("script loaded");
        Ok(thread)
    }

    pub fn status(&self) -> Arc<Mutex<Status>> {
        Arc::clone(&self.status)
    }

    pub fn hub(&self) -> &Rc<RefCell<Hub>> {
        &self.hub
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Decides until it is asked to stop.
    pub fn run(mut self, queue: &Queue) {
        let mut events = VecDeque::new();
        loop {
            if queue.is_empty() {
                self.engine.gc_step();
            }
            let requests = queue.take(&mut events);
            let mut stops = false;
            for request in requests {
                match request {
                    Request::Reload(asked) => self.confined(|thread| thread.reload(asked)),
                    Request::Rehearsed { source, result, asked } => {
                        self.confined(|thread| thread.rehearsed(&source, result, asked));
                    }
                    Request::Stop => stops = true,
                }
            }
            self.decide_all(&mut events);
            if stops {
                return;
            }
        }
    }

    /// Decides what was taken from the queue and hands the outcome over, in turns.
    pub fn decide_all(&mut self, events: &mut VecDeque<Event>) {
        loop {
            for event in events.drain(..events.len().min(EVENTS_PER_HAND_OVER)) {
                self.confined(|thread| thread.decide(event));
            }
            self.hand_over();
            if events.is_empty() {
                return;
            }
        }
    }

    /// Does one thing. A panic is relay's own bug; it must not end the decisions for everybody, so
    /// it costs this one thing only. What the hub was asked for is undone.
    fn confined(&mut self, does: impl FnOnce(&mut ScriptThread)) {
        let unwound = catch_unwind(AssertUnwindSafe(|| does(self)));
        if let Err(panic) = unwound {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            tracing::error!(
                generation = self.engine.generation(),
                "bug in relay, event dropped: {text}"
            );
            self.hub.borrow_mut().rollback();
        }
    }

    fn hand_over(&mut self) {
        for (worker, sender) in self.workers.iter().enumerate() {
            let deliveries = self.hub.borrow_mut().take_deliveries(worker);
            if !deliveries.is_empty() {
                // A worker that is gone took its clients with it.
                let _ = sender.blocking_send(deliveries);
            }
        }
    }

    fn decide(&mut self, event: Event) {
        match event {
            Event::Connected(info) => self.connected(*info),
            Event::Message { from, message } => self.message(from, &message),
            Event::Noise { from, bytes } => self.hub.borrow_mut().decided(from, bytes),
            Event::Refused { from, bytes, code, text } => {
                self.hub.borrow_mut().decided(from, bytes);
                self.reply(from, &ErrorReply::new(code).message(Some(&text)));
            }
            Event::Disconnected { id, reason } => self.disconnected(id, &reason),
        }
    }

    fn connected(&mut self, info: ClientInfo) {
        let client = self.hub.borrow_mut().connect(info);
        if let Err(error) = self.handle(|engine| engine.on_connect(&client)) {
            let id = self.report(&error, "connect", client.id());
            self.reply(
                client.id(),
                &ErrorReply::new("handler_failed").reference(Some("connect")).id(&id),
            );
            self.act(|hub| hub.close(&client, CloseReason::Internal));
        }
    }

    fn message(&mut self, from: SessionId, message: &Message) {
        // First, so that the ack precedes whatever the handler sends to the same client.
        self.hub.borrow_mut().decided(from, message.raw.len());
        let Some(client) = self.client(from).filter(|client| client.is_connected()) else {
            return;
        };
        if let Err(error) = self.handle(|engine| engine.on_message(&client, message)) {
            let opcode = message.opcode.as_ref().map(|opcode| opcode.as_str());
            let id = self.report(&error, opcode.unwrap_or_default(), from);
            self.reply(from, &ErrorReply::new("handler_failed").reference(opcode).id(&id));
        }
    }

    fn disconnected(&mut self, id: SessionId, reason: &CloseReason) {
        // First, so that the script no longer counts or finds it.
        let client = self.hub.borrow_mut().disconnect(id);
        if let Some(client) = client
            && let Err(error) = self.handle(|engine| engine.on_disconnect(&client, reason.label()))
        {
            self.report(&error, "disconnect", id);
        }
        // Its names are free: the connection may say its farewell.
        self.hub.borrow_mut().decided(id, 0);
    }

    /// Calls the script: all that it asked for happens, or nothing of it.
    fn handle(
        &mut self,
        call: impl FnOnce(&Engine) -> Result<(), HandlerError>,
    ) -> Result<(), HandlerError> {
        transact(&self.hub, || call(&self.engine))
    }

    /// Something of the relay's own, outside any handler.
    fn act(&mut self, does: impl FnOnce(&mut Hub)) {
        let mut hub = self.hub.borrow_mut();
        hub.begin();
        does(&mut hub);
        hub.commit();
    }

    fn reply(&mut self, to: SessionId, reply: &ErrorReply<'_>) {
        let Some(client) = self.client(to) else { return };
        self.act(|hub| {
            hub.send(&client, reply.payload());
        });
    }

    fn client(&self, id: SessionId) -> Option<Rc<Client>> {
        self.hub.borrow().client(id).cloned()
    }

    /// Logs a failed handler and returns the number under which it can be found.
    fn report(&self, error: &HandlerError, opcode: &str, session: SessionId) -> String {
        let id = error_id();
        let generation = self.engine.generation();
        let session = session.serial;
        tracing::error!(id, ?opcode, generation, session, "handler failed: {error}");
        id
    }

    // Reload.

    /// Loads the text on disk aside and puts it in place of the running one, if it is another one
    /// and good. Where it has tests to pass first, that goes on meanwhile.
    fn reload(&mut self, asked: Asked) {
        match Source::read(&self.file) {
            Ok(source) if source.text == self.engine.source().text => {
                if self.status_mut(|status| status.rejected.take()).is_some() {
                    self.announce("the script on disk is again the one that runs");
                }
                let (generation, hash) = self.version();
                tell(asked, Outcome::Unchanged { generation, hash });
            }
            Ok(source) => match &self.rehearse {
                Some(rehearse) => rehearse(source, asked),
                None => self.adopt(&source, asked),
            },
            Err(error) => self.reject(&error, asked),
        }
    }

    /// The tests of a text are over. The file may hold another one by now: then that one counts.
    fn rehearsed(&mut self, source: &Source, result: Result<(), LoadError>, asked: Asked) {
        let on_disk = Source::read(&self.file).is_ok_and(|now| now.text == source.text);
        match result {
            _ if !on_disk => self.reload(asked),
            Ok(()) => self.adopt(source, asked),
            Err(error) => self.reject(&error, asked),
        }
    }

    fn adopt(&mut self, source: &Source, asked: Asked) {
        let next = self.engine.generation() + 1;
        match load(source, next, &self.hub, &self.settings, &self.clock, true) {
            Ok(engine) => {
                self.engine = engine;
                self.status_mut(|status| {
                    *status = Status {
                        generation: self.engine.generation(),
                        hash: source.hash.clone(),
                        rejected: None,
                    };
                });
                self.announce("script reloaded");
                self.hand_over();
                let (generation, hash) = self.version();
                tell(asked, Outcome::Reloaded { generation, hash });
            }
            Err(error) => self.reject(&error, asked),
        }
    }

    fn reject(&self, error: &LoadError, asked: Asked) {
        let (generation, hash) = self.version();
        let outcome = Outcome::Rejected { generation, hash, why: error.to_string() };
        tracing::error!("{outcome}");
        self.status_mut(|status| status.rejected = Some(error.summary()));
        tell(asked, outcome);
    }

    /// The running generation and the short hash of its text.
    fn version(&self) -> (u64, String) {
        (self.engine.generation(), self.engine.source().short_hash().to_owned())
    }

    fn announce(&self, what: &str) {
        let source = self.engine.source();
        let generation = self.engine.generation();
        tracing::info!(generation, hash = source.short_hash(), path = source.path, "{what}");
        for warning in self.engine.warnings() {
            tracing::warn!(generation, "{warning}");
        }
    }

    fn status_mut<R>(&self, change: impl FnOnce(&mut Status) -> R) -> R {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn tell(asked: Asked, outcome: Outcome) {
    if let Some(asked) = asked {
        // Whoever asked may have gone.
        let _ = asked.send(outcome);
    }
}

/// Loads a generation up to and including its `on.load`.
fn load(
    source: &Source,
    generation: u64,
    hub: &Rc<RefCell<Hub>>,
    settings: &Map<String, Setting>,
    clock: &Clock,
    reload: bool,
) -> Result<Engine, LoadError> {
    let engine = Engine::load(source, generation, Rc::clone(hub), settings, clock)?;
    transact(hub, || engine.on_load(reload))?;
    Ok(engine)
}

fn transact(
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

/// A number that is told to the client and stands in the log.
fn error_id() -> String {
    let random = ring::rand::generate::<[u8; 4]>(&ring::rand::SystemRandom::new());
    random.map_or_else(
        |_| "none".to_owned(),
        |random| random.expose().iter().map(|byte| format!("{byte:02x}")).collect(),
    )
}

#[cfg(test)]
mod tests;
