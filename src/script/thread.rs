//! The script thread: takes what happens to clients, one thing after the other, has the script
//! decide it, and hands the outcome to the workers.

mod failures;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Map, Value as Setting};
use tokio::sync::mpsc;

use super::budget::{Budget, Budgets};
use super::engine::Engine;
use super::fault::{Fault, HandlerError, LoadError};
use super::queue::{Event, Queue, Request};
use super::reload::Watched;
use super::repeats::Repeats;
use super::reply::ErrorReply;
use super::source::Source;
use super::strikes::{GREETING, Strikes};
use crate::close::CloseReason;
use crate::hub::{Client, Delivery, Hub, HubLimits};
use crate::message::Message;
use crate::session::{ClientInfo, SessionId};

/// After this many events the workers get what they caused, even if more are waiting: enough to
/// make a hand-over cheap per event, few enough that the first of them waits under 0.1 ms.
const EVENTS_PER_HAND_OVER: usize = 64;

/// Stored values whose time is over that are freed at each hand-over, so that it takes microseconds;
/// what they are is gone already.
const SWEPT_PER_HAND_OVER: usize = 64;

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
    pub timers_max: usize,
    /// Where the watch learns what was read.
    pub watched: Watched,
    pub budgets: Budgets,
}

/// The state of the thread. Stays on it: the VM is bound to one thread.
pub struct ScriptThread {
    hub: Rc<RefCell<Hub>>,
    engine: Engine,
    budget: Rc<Budget>,
    /// Of the running generation.
    strikes: Strikes,
    failures: Repeats,
    slow: Repeats,
    file: PathBuf,
    settings: Map<String, Setting>,
    timers_max: usize,
    watched: Watched,
    workers: Vec<mpsc::Sender<Vec<Delivery>>>,
    status: Arc<Mutex<Status>>,
}

impl ScriptThread {
    /// Loads the first generation.
    pub fn new(setup: Setup) -> Result<ScriptThread, LoadError> {
        let hub = Rc::new(RefCell::new(Hub::new(setup.workers.len(), setup.limits)));
        let budget = Budget::new(setup.budgets)
            .map_err(|error| Fault::new(format!("no thread for the watchdog: {error}")))?;
        let timers_max = setup.timers_max;
        let engine = load(&setup.source, 1, &hub, &setup.settings, &budget, timers_max, false)?;
        let status = Status { generation: 1, hash: setup.source.hash(), rejected: None };
        let thread = ScriptThread {
            hub,
            engine,
            budget,
            strikes: Strikes::default(),
            failures: Repeats::default(),
            slow: Repeats::default(),
            file: setup.file,
            settings: setup.settings,
            timers_max: setup.timers_max,
            watched: setup.watched,
            workers: setup.workers,
            status: Arc::new(Mutex::new(status)),
        };
        thread.watched.set(thread.engine.source().modules.looked_at());
        thread.announce("script loaded");
        Ok(thread)
    }

    pub fn status(&self) -> Arc<Mutex<Status>> {
        Arc::clone(&self.status)
    }

    /// Decides until it is asked to stop.
    pub fn run(mut self, queue: &Queue) {
        let mut events = VecDeque::new();
        loop {
            if queue.is_empty() {
                self.engine.gc_step();
            }
            let requests = queue.take(&mut events, self.engine.next_timer());
            let mut stops = false;
            for request in requests {
                match request {
                    Request::Reload => self.confined(ScriptThread::reload),
                    Request::Stop => stops = true,
                }
            }
            self.decide_all(&mut events);
            self.sum_up((!stops).then(Instant::now));
            if stops {
                return;
            }
        }
    }

    /// Decides what was taken from the queue and hands the outcome over, in turns.
    fn decide_all(&mut self, events: &mut VecDeque<Event>) {
        loop {
            self.call_timers();
            for event in events.drain(..events.len().min(EVENTS_PER_HAND_OVER)) {
                self.confined(|thread| thread.decide(event));
            }
            self.hand_over();
            if events.is_empty() {
                return;
            }
        }
    }

    /// Calls the timers that are due, but not more of them than messages: neither may keep the other
    /// waiting.
    fn call_timers(&mut self) {
        for _ in 0..EVENTS_PER_HAND_OVER {
            let Some(function) = self.engine.take_due_timer() else { break };
            if self.strikes.is_off("timer") {
                continue;
            }
            self.confined(|thread| {
                if let Err(error) = thread.handle(|engine| engine.on_timer(&function)) {
                    thread.failed(&error, "timer", "timer", None);
                }
            });
        }
        let now = self.engine.clock().now();
        self.hub.borrow_mut().store().sweep(SWEPT_PER_HAND_OVER, now);
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
            let id = self.failed(&error, "connect", GREETING, Some(client.id()));
            self.reply(
                client.id(),
                &ErrorReply::new("handler_failed").reference(Some("connect")).id(&id),
            );
            self.act(|hub| hub.close(&client, CloseReason::HandlerFailed));
        }
    }

    fn message(&mut self, from: SessionId, message: &Message) {
        // First, so that the ack precedes whatever the handler sends to the same client.
        self.hub.borrow_mut().decided(from, message.raw.len());
        let Some(client) = self.client(from).filter(|client| client.is_connected()) else {
            return;
        };
        let opcode = message.opcode.as_ref().map(|opcode| opcode.as_str());
        if !self.strikes.all_on()
            && self.engine.handler_of(message).is_some_and(|name| self.strikes.is_off(&name))
        {
            return self.reply(from, &ErrorReply::new("handler_disabled").reference(opcode));
        }
        if let Err(error) = self.handle(|engine| engine.on_message(&client, message)) {
            let handler = self.engine.handler_of(message).unwrap_or_default();
            let id = self.failed(&error, opcode.unwrap_or_default(), &handler, Some(from));
            self.reply(from, &ErrorReply::new("handler_failed").reference(opcode).id(&id));
        }
    }

    fn disconnected(&mut self, id: SessionId, reason: &CloseReason) {
        // First, so that the script no longer counts or finds it.
        let client = self.hub.borrow_mut().disconnect(id);
        if let Some(client) = client
            && !self.strikes.is_off("on.disconnect")
            && let Err(error) = self.handle(|engine| engine.on_disconnect(&client, reason.label()))
        {
            self.failed(&error, "disconnect", "on.disconnect", Some(id));
        }
        // Its names are free: the connection may say its farewell.
        self.hub.borrow_mut().decided(id, 0);
    }

    /// Calls the script: all that it asked for happens, or nothing of it.
    fn handle(
        &mut self,
        call: impl FnOnce(&Engine) -> Result<(), HandlerError>,
    ) -> Result<(), HandlerError> {
        let result = transact(&self.hub, || call(&self.engine));
        self.warn_if_slow(&result);
        result
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

    // Reload.

    /// Loads the text on disk aside and puts it in place of the running one, if it is another one
    /// and good.
    fn reload(&mut self) {
        let source = match Source::read(&self.file) {
            Ok(source) if self.engine.source().is_on_disk(&source.text) => {
                if self.status_mut(|status| status.rejected.take()).is_some() {
                    self.announce("the script on disk is again the one that runs");
                }
                return;
            }
            Ok(source) => source,
            Err(error) => return self.reject(&error),
        };
        let next = self.engine.generation() + 1;
        let (settings, timers_max) = (&self.settings, self.timers_max);
        match load(&source, next, &self.hub, settings, &self.budget, timers_max, true) {
            Ok(engine) => {
                self.engine = engine;
                self.strikes = Strikes::default();
                self.status_mut(|status| {
                    *status = Status {
                        generation: self.engine.generation(),
                        hash: source.hash(),
                        rejected: None,
                    };
                });
                self.watched.set(source.modules.looked_at());
                self.announce("script reloaded");
                self.hand_over();
            }
            Err(error) => {
                // What runs may come back by way of any file, and so may a good version.
                let running = self.engine.source().modules.looked_at();
                self.watched.set([running, source.modules.looked_at()].concat());
                self.reject(&error);
            }
        }
    }

    fn reject(&self, error: &LoadError) {
        let (generation, hash) = (self.engine.generation(), self.engine.source().short_hash());
        tracing::error!("reload rejected, still generation {generation} ({hash}): {error}");
        self.status_mut(|status| status.rejected = Some(error.summary()));
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

/// Loads a generation up to and including its `on.load`.
fn load(
    source: &Source,
    generation: u64,
    hub: &Rc<RefCell<Hub>>,
    settings: &Map<String, Setting>,
    budget: &Rc<Budget>,
    timers_max: usize,
    reload: bool,
) -> Result<Engine, LoadError> {
    let engine = Engine::load(source, generation, Rc::clone(hub), settings, budget)?;
    engine.set_timers_max(timers_max);
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

#[cfg(test)]
mod tests;
