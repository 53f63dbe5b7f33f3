//! What the host functions of one generation share: the hub, and what is being handled right now.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{mem, ptr};

use mlua::{AnyUserData, FromLua, Function, IntoLua, LightUserData, Lua, Value};

use super::budget::Budget;
use super::clients::Clients;
use super::clock::Clock;
use super::source::Source;
use super::timers::Timers;
use super::value::{Access, Json, TEXT_BYTES_MAX, type_name};
use crate::hub::{Client, Hub, Payload};
use crate::message::{Message, Text};
use crate::session::SessionId;

/// The state behind `client`, `msg` and `relay` of one generation.
pub struct Host {
    pub generation: u64,
    pub json: Json,
    pub source: Source,
    pub clock: Clock,
    hub: Rc<RefCell<Hub>>,
    loaded: Cell<bool>,
    /// The number of the call that is running or ran last; a `msg` of another one has expired.
    call: Cell<usize>,
    handling: Cell<Handling>,
    /// The message that is being handled, and its body once it was decoded.
    message: RefCell<Message>,
    data: RefCell<Option<Value>>,
    clients: Clients,
    timers: RefCell<Timers<Function>>,
    budget: Rc<Budget>,
    /// What the running call has built to be sent, in bytes.
    built: Cell<usize>,
}

/// What is being handled.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Handling {
    #[default]
    Nothing,
    Hook(&'static str),
    Message,
}

/// A message as the script holds it: the number of the call it belongs to, and nothing else, so
/// that keeping one keeps no message alive. Never 0, which is the null of JSON. A script has no means
/// to make a light userdata of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MessageHandle(usize);

impl IntoLua for MessageHandle {
    fn into_lua(self, _: &Lua) -> mlua::Result<Value> {
        Ok(Value::LightUserData(LightUserData(ptr::without_provenance_mut(self.0))))
    }
}

impl FromLua for MessageHandle {
    fn from_lua(value: Value, _: &Lua) -> mlua::Result<MessageHandle> {
        match value {
            Value::LightUserData(number) => Ok(MessageHandle::from(number)),
            _ => Err(mlua::Error::UserDataTypeMismatch),
        }
    }
}

impl From<LightUserData> for MessageHandle {
    fn from(LightUserData(number): LightUserData) -> MessageHandle {
        MessageHandle(number.addr())
    }
}

/// A timer as the script holds it.
#[derive(Clone, Copy)]
pub struct TimerHandle(u64);

/// Ends the call when it goes out of scope: every `msg` of it has expired then, and the message is
/// its owner's again.
pub struct Call<'a> {
    host: &'a Host,
    lent: Option<&'a mut Message>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.host.handling.set(Handling::Nothing);
        if let Some(lent) = &mut self.lent {
            mem::swap(&mut *self.host.message.borrow_mut(), lent);
            self.host.data.take();
        }
    }
}

impl Host {
    pub fn new(
        generation: u64,
        json: Json,
        source: Source,
        hub: Rc<RefCell<Hub>>,
        budget: Rc<Budget>,
        clock: Clock,
    ) -> Host {
        Host {
            generation,
            json,
            source,
            clock,
            hub,
            loaded: Cell::new(false),
            call: Cell::new(0),
            handling: Cell::default(),
            message: RefCell::default(),
            data: RefCell::default(),
            clients: Clients::default(),
            timers: RefCell::new(Timers::new(budget.limits.timers_max)),
            budget,
            built: Cell::new(0),
        }
    }

    /// From here on host functions do what they are asked to.
    pub fn set_loaded(&self) {
        self.loaded.set(true);
    }

    /// The hub, for one host function. The borrow must end before Lua runs again.
    pub fn hub(&self) -> mlua::Result<RefMut<'_, Hub>> {
        self.check_loaded()?;
        let hub = self.hub.try_borrow_mut().map_err(mlua::Error::external)?;
        self.check_actions_of(&hub)?;
        Ok(hub)
    }

    fn check_loaded(&self) -> mlua::Result<()> {
        match self.loaded.get() {
            true => Ok(()),
            false => Err(mlua::Error::runtime("can not be called while the script loads")),
        }
    }

    /// Fails once the running call has asked for more than it may.
    pub fn check_actions(&self) -> mlua::Result<()> {
        self.hub.try_borrow().map_or(Ok(()), |hub| self.check_actions_of(&hub))
    }

    fn check_actions_of(&self, hub: &Hub) -> mlua::Result<()> {
        let most = self.budget.limits.actions_max;
        match hub.actions() > most {
            true => Err(mlua::Error::runtime(format!(
                "more than {most} actions in one call (script.actions_max)"
            ))),
            false => Ok(()),
        }
    }

    /// Counts what is built to be sent: a copy outside the VM, of which a loop could make many.
    fn build(&self, text: String) -> mlua::Result<Payload> {
        let most = self.budget.limits.memory_bytes_max;
        self.built.set(self.built.get().saturating_add(text.len()));
        if self.built.get() > most {
            return Err(mlua::Error::runtime(format!(
                "more than {most} bytes to send in one call (script.memory_bytes_max)"
            )));
        }
        Ok(Payload::from(text))
    }

    // Calls.

    pub fn enter_hook(&self, hook: &'static str) -> Call<'_> {
        self.enter(Handling::Hook(hook));
        Call { host: self, lent: None }
    }

    /// Takes the message for as long as the call lasts: what it refers to is counted by other threads
    /// too, which makes a copy dear.
    pub fn enter_message<'a>(&'a self, message: &'a mut Message) -> Call<'a> {
        self.enter(Handling::Message);
        mem::swap(&mut *self.message.borrow_mut(), message);
        Call { host: self, lent: Some(message) }
    }

    fn enter(&self, handling: Handling) {
        self.call.set(self.call.get() + 1);
        self.built.set(0);
        self.handling.set(handling);
        self.timers.borrow_mut().begin();
    }

    /// What an `error` to a client refers to: the opcode or the hook that is being handled.
    pub fn reference(&self) -> Option<String> {
        match self.handling.get() {
            Handling::Nothing => None,
            Handling::Hook(hook) => Some(hook.to_owned()),
            Handling::Message => {
                let message = self.message.borrow();
                message.opcode.as_ref().map(|opcode| opcode.as_str().to_owned())
            }
        }
    }

    /// Keeps or undoes what the call did to timers.
    pub fn settle_timers(&self, succeeded: bool) {
        let mut timers = self.timers.borrow_mut();
        match succeeded {
            true => timers.commit(),
            false => timers.rollback(),
        }
    }

    // Timers.

    pub fn start_timer(
        &self,
        function: &str,
        wait: Duration,
        repeats: bool,
        calls: Function,
    ) -> mlua::Result<TimerHandle> {
        self.check_loaded()?;
        let mut timers = self.timers.borrow_mut();
        timers.start(self.clock.now(), wait, repeats, calls).map(TimerHandle).ok_or_else(|| {
            let max = timers.max();
            mlua::Error::runtime(format!("{function}: {max} timers run (script.timers_max)"))
        })
    }

    pub fn cancel_timer(&self, timer: TimerHandle) -> mlua::Result<bool> {
        Ok(self.timers.borrow_mut().cancel(timer.0))
    }

    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.borrow().next()
    }

    /// What a timer that is due calls.
    pub fn take_due_timer(&self, now: Instant) -> Option<Function> {
        self.timers.borrow_mut().take_due(now)
    }

    // Messages.

    /// The message that is being handled, for Lua.
    pub fn message(&self) -> MessageHandle {
        MessageHandle(self.call.get())
    }

    /// Reads something of a message, if its handler is still running.
    pub fn with_message<R>(
        &self,
        handle: MessageHandle,
        read: impl FnOnce(&Message) -> R,
    ) -> mlua::Result<R> {
        match self.handling.get() {
            Handling::Message if handle == self.message() => Ok(read(&self.message.borrow())),
            _ => Err(mlua::Error::runtime(
                "msg is only valid during its handler: copy what is needed later, \
                 as in local text = msg.raw",
            )),
        }
    }

    /// A field of a message for Lua: an absent one is nil.
    pub fn message_text(
        &self,
        lua: &Lua,
        handle: MessageHandle,
        field: impl FnOnce(&Message) -> Option<&Text>,
    ) -> mlua::Result<Value> {
        self.with_message(handle, |message| match field(message) {
            Some(text) => {
                let made = self.budget.beyond_limit(lua, || lua.create_string(text.as_str()));
                made.map(Value::String)
            }
            None => Ok(Value::Nil),
        })?
    }

    /// The decoded body of a message, the same read-only value each time.
    pub fn message_data(&self, lua: &Lua, handle: MessageHandle) -> mlua::Result<Value> {
        let raw =
            self.with_message(handle, |message| message.is_json.then(|| message.raw.clone()))?;
        let Some(raw) = raw else { return Ok(Value::Nil) };
        if let Some(data) = &*self.data.borrow() {
            return Ok(data.clone());
        }
        let text = std::str::from_utf8(&raw).map_err(mlua::Error::external)?;
        let decode = || self.json.decode_valid(lua, text, Access::ReadOnly);
        let data = self.budget.beyond_limit(lua, decode)?;
        self.data.replace(Some(data.clone()));
        Ok(data)
    }

    /// What a script wants sent: a message as it came, a table as JSON, or a text as it is.
    pub fn payload(&self, what: &Value) -> mlua::Result<Payload> {
        match what {
            Value::LightUserData(msg) if !what.is_null() => {
                let forward = |message: &Message| Payload::forwarded(message.raw.clone());
                self.with_message(MessageHandle::from(*msg), forward)
            }
            Value::UserData(_) => {
                Err(mlua::Error::runtime("a client can not be sent, only msg, a table or a text"))
            }
            Value::Table(_) => self.build(self.json.encode(what)?),
            Value::String(text) => {
                let text = text.to_str().map_err(|_| {
                    mlua::Error::runtime("a text that is not UTF-8 can not be sent")
                })?;
                if text.len() > TEXT_BYTES_MAX {
                    let problem = format!("a text over {TEXT_BYTES_MAX} bytes can not be sent");
                    return Err(mlua::Error::runtime(problem));
                }
                self.build(text.to_owned())
            }
            other => Err(mlua::Error::runtime(format!(
                "a {} can not be sent, only msg, a table or a text",
                type_name(other)
            ))),
        }
    }

    /// To all registered pages, or to the members of a room; to how many.
    pub fn broadcast(
        &self,
        payload: Payload,
        room: Option<&str>,
        except: Option<&Rc<Client>>,
    ) -> mlua::Result<usize> {
        let mut hub = self.hub()?;
        Ok(match room {
            Some(room) => hub.broadcast_to_room(room, payload, except),
            None => hub.broadcast(payload, except),
        })
    }

    /// The object of a client, the same each time.
    pub fn client_object(&self, lua: &Lua, client: &Rc<Client>) -> mlua::Result<Rc<AnyUserData>> {
        self.clients.object(lua, client)
    }

    /// Forgets the object of a client that is gone; the script may still hold it.
    pub fn forget_client(&self, id: SessionId) {
        self.clients.forget(id);
    }
}
