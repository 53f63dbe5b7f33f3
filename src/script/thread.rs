//! The script thread: takes what happens to clients, one thing after the other, has the script
//! decide it, and hands the outcome to the workers.

mod broadcasts;
mod failures;
mod lane;
mod reload;
mod turn;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::clock::Clock;
use super::engine::Engine;
use super::fault::{HandlerError, LoadError};
use super::outcome::Reload;
use super::queue::{Event, Queue, Request};
use super::repeats::Repeats;
use super::source::Source;
use super::strikes::{GREETING, Strikes};
use super::terms::Terms;
use crate::close::CloseReason;
use crate::hub::{Client, Delivery, ErrorReply, Hub};
use crate::message::Message;
use crate::panics::{Whom, confined};
use crate::session::{ClientInfo, SessionId};
use crate::watch::Watched;
use broadcasts::Broadcasts;
use lane::Lane;
use reload::{Loader, Rejection, transact};

/// Which version of the script runs, whether it is the one on disk, and how its thread fares.
#[derive(Clone, Debug)]
pub struct Status {
    /// Counts the loads that were accepted; the first is 1.
    pub generation: u64,
    /// SHA-256 of the running text, in hex.
    pub hash: String,
    /// Why the text on disk is not the one that runs, in one line.
    pub rejected: Option<String>,
    /// How many events, timers and reloads have been dropped for a panic, of any generation.
    pub panics: usize,
}

/// What the thread starts with.
pub struct Setup {
    pub source: Source,
    pub terms: Terms,
    pub workers: Vec<mpsc::Sender<Vec<Delivery>>>,
    pub clock: Clock,
    /// Where the watch learns what was read.
    pub watched: Watched,
    /// Where a new text that has tests to pass goes before it is loaded; it comes back as
    /// [`Request::Rehearsed`]. `None`: no tests are run.
    pub rehearse: Option<Rehearse>,
}

/// Starts the tests of a text under these terms and returns at once.
pub type Rehearse = Box<dyn Fn(Source, Terms, Reload) + Send>;

/// The state of the thread. Stays on it: the VM is bound to one thread.
pub struct ScriptThread {
    hub: Rc<RefCell<Hub>>,
    engine: Engine,
    loader: Loader,
    lane: Lane,
    /// How much time the lane has had that the others have not had since.
    lane_owes: Duration,
    broadcasts: Broadcasts,
    /// Of the running generation.
    strikes: Strikes,
    failures: Repeats,
    slow: Repeats,
    terms: Terms,
    watched: Watched,
    rehearse: Option<Rehearse>,
    workers: Vec<mpsc::Sender<Vec<Delivery>>>,
    /// Of the version on disk, if it is refused.
    rejection: Option<Rejection>,
    status: Arc<Mutex<Status>>,
}

impl ScriptThread {
    /// Loads the first generation.
    pub fn new(setup: Setup) -> Result<ScriptThread, LoadError> {
        let terms = setup.terms;
        let hub = Rc::new(RefCell::new(Hub::new(setup.workers.len(), terms.hub)));
        let loader = Loader::new(&terms, Rc::clone(&hub), setup.clock)?;
        let engine = loader.load(&setup.source, 1, false)?;
        let (lane, now) = (Lane::new(&hub, terms.aside_bytes_max), loader.clock.now());
        let broadcasts = Broadcasts::new(terms.broadcasts_per_second_max, &hub, now);
        let status = Status { generation: 1, hash: setup.source.hash(), rejected: None, panics: 0 };
        let thread = ScriptThread {
            hub,
            engine,
            loader,
            lane,
            lane_owes: Duration::ZERO,
            broadcasts,
            strikes: Strikes::default(),
            failures: Repeats::default(),
            slow: Repeats::default(),
            terms,
            watched: setup.watched,
            rehearse: setup.rehearse,
            workers: setup.workers,
            rejection: None,
            status: Arc::new(Mutex::new(status)),
        };
        thread.watch(&[]);
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
            if queue.is_empty() && !self.waits() {
                self.engine.gc_step();
            }
            // What was only counted is told in time, even if nothing happens any more.
            let at_once = self.waits().then(Instant::now);
            let waits = self.broadcasts.due(self.loader.clock.now());
            let due =
                [at_once, waits, self.engine.next_timer(), self.failures.due(), self.slow.due()];
            let requests = queue.take(&mut events, due.into_iter().flatten().min());
            let mut stops = false;
            for request in requests {
                match request {
                    Request::Reload(reload) => {
                        self.confined(Whom::Nobody, |thread| thread.reload(reload));
                    }
                    Request::Rehearsed { source, result, reload } => self
                        .confined(Whom::Nobody, |thread| thread.rehearsed(source, result, reload)),
                    Request::Drain => self.broadcasts.lift(),
                    Request::Stop => {
                        self.broadcasts.lift();
                        stops = true;
                    }
                }
            }
            self.decide_all(&mut events);
            while stops && self.waits() {
                self.decide_all(&mut events);
            }
            self.sum_up((!stops).then(Instant::now));
            if stops {
                return;
            }
        }
    }

    /// Does one thing. A panic is relay's own bug; it must not end the decisions for everybody, so
    /// it costs this one thing only. What the hub was asked for is undone.
    fn confined(&mut self, whom: Whom, does: impl FnOnce(&mut ScriptThread)) {
        if confined(whom, || does(self)).is_err() {
            self.hub.borrow_mut().rollback();
            self.status_mut(|status| status.panics += 1);
        }
    }

    /// Decides one event, or drops it for a panic.
    fn decide(&mut self, event: Event) {
        let id = event.client();
        let whom = Whom::Session(id.serial);
        let ends = matches!(event, Event::Disconnected { .. });
        self.confined(whom, |thread| thread.decide_event(event));
        if ends {
            self.confined(whom, |thread| thread.end(id));
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

    fn decide_event(&mut self, event: Event) {
        match event {
            Event::Connected(info) => self.connected(*info),
            Event::Message { from, message } => self.message(from, message),
            Event::Noise { from } => self.hub.borrow_mut().decided(from, 0),
            Event::Refused { from, bytes, code, text } => {
                self.hub.borrow_mut().decided(from, bytes);
                self.reply(from, &ErrorReply::new(code).message(Some(&text)));
            }
            Event::Alive { id } => self.act(|hub| hub.answered(id)),
            Event::Departed { id } => self.hub.borrow_mut().depart(id),
            Event::Disconnected { id, reason } => self.disconnected(id, &reason),
        }
    }

    fn connected(&mut self, info: ClientInfo) {
        // First, so that the answer to the handshake precedes whatever the handler sends. Nobody has
        // this id yet, so it is no ack.
        self.hub.borrow_mut().decided(info.id, 0);
        let client = self.hub.borrow_mut().connect(info);
        if let Err(error) = self.handle(|engine| engine.on_connect(&client)) {
            let id = self.failed(&error, "connect", GREETING, Some(client.id()));
            self.reply(
                client.id(),
                &ErrorReply::new("handler_failed").reference(Some("connect")).id(&id),
            );
            self.act(|hub| hub.close(&client, CloseReason::HandlerFailed));
        } else if client.is_deaf_to_its_ident() {
            let text = "another client has this ident: nothing for it comes here";
            let reply = ErrorReply::new("ident_taken").message(Some(text));
            self.reply(client.id(), &reply.reference(Some("connect")));
        }
    }

    fn message(&mut self, from: SessionId, mut message: Message) {
        // First, so that the ack precedes whatever the handler sends to the same client.
        self.hub.borrow_mut().deciding(from, message.raw.len());
        let Some(client) = self.client(from).filter(|client| client.is_connected()) else {
            return;
        };
        if !self.strikes.all_on()
            && self.engine.handler_of(&message).is_some_and(|name| self.strikes.is_off(&name))
        {
            let opcode = message.opcode.as_ref().map(|opcode| opcode.as_str());
            return self.reply(from, &ErrorReply::new("handler_disabled").reference(opcode));
        }
        if let Err(error) = self.handle(|engine| engine.on_message(&client, &mut message)) {
            let opcode = message.opcode.as_ref().map(|opcode| opcode.as_str());
            let handler = self.engine.handler_of(&message).unwrap_or_default();
            let id = self.failed(&error, opcode.unwrap_or_default(), &handler, Some(from));
            self.reply(from, &ErrorReply::new("handler_failed").reference(opcode).id(&id));
        }
    }

    fn disconnected(&mut self, id: SessionId, reason: &CloseReason) {
        // First, so that the script no longer counts or finds it.
        let Some(client) = self.hub.borrow_mut().disconnect(id) else { return };
        if !self.strikes.is_off("on.disconnect")
            && let Err(error) = self.handle(|engine| engine.on_disconnect(&client, reason.label()))
        {
            self.failed(&error, "disconnect", "on.disconnect", Some(id));
        }
    }

    /// The end of a client, whatever came of its hook: not even a bug may keep its connection from it.
    fn end(&mut self, id: SessionId) {
        // It is there still where a panic came before the hook.
        self.hub.borrow_mut().disconnect(id);
        self.engine.forget_client(id);
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
}

#[cfg(test)]
mod tests;
