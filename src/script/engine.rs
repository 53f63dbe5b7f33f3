//! One generation of the script: its VM, and the calls into it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use mlua::chunk::ChunkMode;
use mlua::{Function, IntoLuaMulti, Lua, Table};
use serde_json::{Map, Value as Setting};

use super::budget::{Budget, Running};
use super::clock::Clock;
use super::fault::{Fault, HandlerError, LoadError};
use super::handlers::{Handlers, stray_globals, unknown_names};
use super::host::Host;
use super::modules::Modules;
use super::source::Source;
use super::value::Json;
use super::{api, sandbox, unknowns};
use crate::hub::{Client, Hub};
use crate::message::Message;
use crate::session::SessionId;

/// A loaded script. What its handlers ask of the hub belongs between the caller's `begin` and
/// `commit`; a handler that fails is undone by the caller's `rollback`.
pub struct Engine {
    lua: Lua,
    host: Rc<Host>,
    budget: Rc<Budget>,
    handlers: Handlers,
    warnings: Vec<String>,
}

impl Engine {
    /// Compiles the script and runs its top level in a fresh VM, in which host functions that act
    /// are still refused, and looks its handlers up. Does not call `on.load`.
    pub fn load(
        source: &Source,
        generation: u64,
        hub: Rc<RefCell<Hub>>,
        settings: &Map<String, Setting>,
        budget: &Rc<Budget>,
        clock: &Clock,
    ) -> Result<Engine, LoadError> {
        let running = budget.load("the top level", generation);
        let fault = |error| Fault::from_call(running.judge(error), source);
        let lua = sandbox::open(source).map_err(fault)?;
        budget.watch(&lua).map_err(fault)?;
        let json = Json::new(&lua).map_err(fault)?;
        let json = json.within(budget.stop(), &budget.limits);
        let (budget, clock) = (Rc::clone(budget), clock.clone());
        let host = Host::new(generation, json, source.clone(), hub, Rc::clone(&budget), clock);
        let host = Rc::new(host);
        api::install(&lua, &host, settings).map_err(fault)?;
        let globals = lua.globals();
        sandbox::close(&lua).map_err(fault)?;
        let ran = running.verdict(run_top_level(&lua, source, globals.clone()));
        let unknown = |source: &Source, environment: &Table| {
            unknowns::of(source, environment, &globals, &budget)
        };
        // What nothing defines on the line that failed is why something is nil there.
        let explained = |fault: Fault| {
            let Some(line) = fault.own_line(source) else { return fault };
            match unknown(source, &lua.globals()).iter().find(|unknown| unknown.is_on(line)) {
                Some(unknown) => fault.adding(&unknown.words()),
                None => fault,
            }
        };
        let modules = ran.map_err(|failed| explained(Fault::from_call(failed, source)))?;
        let fault = |error| Fault::from_lua(&error, source);
        let mut warnings = stray_globals(&lua.globals(), source).map_err(fault)?;
        warnings.extend(unknown_names(&unknown(source, &lua.globals()), source));
        for (module, environment) in modules.environments() {
            warnings.extend(stray_globals(&environment, &module).map_err(fault)?);
            warnings.extend(unknown_names(&unknown(&module, &environment), &module));
        }
        let handlers = Handlers::read(&lua, source, &mut warnings)?;
        host.set_loaded();
        Ok(Engine { lua, host, budget, handlers, warnings })
    }

    pub fn source(&self) -> &Source {
        &self.host.source
    }

    pub fn generation(&self) -> u64 {
        self.host.generation
    }

    /// What the script does that its author hardly meant; one line each, with its place.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The opcodes and the hooks that have a function, each in alphabetical order.
    pub fn names(&self) -> (Vec<String>, Vec<&'static str>) {
        let mut opcodes: Vec<String> = self.handlers.opcodes.keys().cloned().collect();
        opcodes.sort();
        let handlers = &self.handlers;
        let hooks = [
            ("connect", &handlers.connect),
            ("default", &handlers.default),
            ("disconnect", &handlers.disconnect),
            ("load", &handlers.load),
            ("text", &handlers.text),
        ];
        let hooks = hooks.into_iter().filter(|(_, function)| function.is_some());
        (opcodes, hooks.map(|(name, _)| name).collect())
    }

    /// Whether there is a handler for this opcode, `on.default` not counted.
    pub fn handles(&self, opcode: &str) -> bool {
        self.handlers.opcodes.contains_key(opcode)
    }

    pub fn on_load(&self, reload: bool) -> Result<(), HandlerError> {
        let Some(function) = &self.handlers.load else { return Ok(()) };
        let _call = self.host.enter_hook("load");
        let info = || {
            let info = self.lua.create_table()?;
            info.raw_set("reload", reload)?;
            info.raw_set("generation", self.generation())?;
            Ok(info)
        };
        self.call(self.budget.load("on.load", self.generation()), function, info)
    }

    pub fn on_connect(&self, client: &Rc<Client>) -> Result<(), HandlerError> {
        let Some(function) = &self.handlers.connect else { return Ok(()) };
        let _call = self.host.enter_hook("connect");
        let client = || Ok((*self.host.client_object(&self.lua, client)?).clone());
        self.call(self.budget.call("on.connect", self.generation()), function, client)
    }

    /// `why` is the label of the close reason.
    pub fn on_disconnect(&self, client: &Rc<Client>, why: &str) -> Result<(), HandlerError> {
        let Some(function) = &self.handlers.disconnect else { return Ok(()) };
        let _call = self.host.enter_hook("disconnect");
        let args = || Ok(((*self.host.client_object(&self.lua, client)?).clone(), why));
        self.call(self.budget.call("on.disconnect", self.generation()), function, args)
    }

    /// The script's object for a client that is gone ends here.
    pub fn forget_client(&self, id: SessionId) {
        self.host.forget_client(id);
    }

    /// Calls the handler of the message's opcode, else `on.default`, else nothing; for text that is no
    /// JSON `on.text`, else nothing. The message is the same again afterwards.
    pub fn on_message(
        &self,
        client: &Rc<Client>,
        message: &mut Message,
    ) -> Result<(), HandlerError> {
        let opcode = message.opcode.as_ref().map(|opcode| opcode.as_str());
        let Some((function, hook)) = self.handlers.of(message, opcode) else { return Ok(()) };
        let what = opcode.or(hook).unwrap_or_default();
        let running = self.budget.call(what, self.generation());
        let _call = self.host.enter_message(message);
        let client = self.host.client_object(&self.lua, client);
        let args = || match &client {
            Ok(client) => Ok((&**client, self.host.message())),
            Err(error) => Err(error.clone()),
        };
        self.call(running, function, args)
    }

    /// The name of what handles such a message: `opcodes.` and the opcode, or that of a hook.
    pub fn handler_of(&self, message: &Message) -> Option<String> {
        let opcode = message.opcode.as_ref().map(|opcode| opcode.as_str());
        let (_, hook) = self.handlers.of(message, opcode)?;
        Some(hook.map_or_else(|| format!("opcodes.{}", opcode.unwrap_or_default()), str::to_owned))
    }

    /// The memory of what the VM still holds, in bytes.
    #[cfg(test)]
    pub fn live_memory(&self) -> usize {
        // A stack that was deep shrinks by half with each.
        for _ in 0..12 {
            self.lua.gc_collect().expect("no finaliser fails");
        }
        self.lua.used_memory()
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Option<Instant> {
        self.host.next_timer()
    }

    /// A timer that is due by now, to be called with [`Engine::on_timer`].
    pub fn take_due_timer(&self) -> Option<Function> {
        self.host.take_due_timer(self.host.clock.now())
    }

    /// What a timer is called where it is counted: by the place of its function.
    pub fn timer_name(&self, function: &Function) -> String {
        let info = function.info();
        let line = info.line_defined.unwrap_or_default();
        format!("timer at {}:{line}", info.short_src.unwrap_or_default())
    }

    pub fn on_timer(&self, function: &Function) -> Result<(), HandlerError> {
        let _call = self.host.enter_hook("timer");
        self.call(self.budget.call("timer", self.generation()), function, || Ok(()))
    }

    /// One step of garbage collection, for when there is nothing else to do.
    pub fn gc_step(&self) {
        // A step fails only in a finaliser, and Luau runs none of the script's.
        let _ = self.lua.gc_step();
    }

    /// Whether the next call would hardly find memory to run in.
    pub fn is_full(&self) -> bool {
        self.budget.is_full(&self.lua)
    }

    fn call<A: IntoLuaMulti>(
        &self,
        running: Running<'_>,
        function: &Function,
        args: impl FnOnce() -> mlua::Result<A>,
    ) -> Result<(), HandlerError> {
        let outcome = args().and_then(|args| function.call::<()>(args));
        let outcome = outcome.and_then(|()| self.host.check_actions());
        let verdict = running.verdict(outcome);
        self.host.settle_timers(verdict.is_ok());
        verdict.map_err(|failed| Fault::in_function(failed, &self.host.source, function).into())
    }
}

/// `globals` are what all environments start from, now read-only.
fn run_top_level(lua: &Lua, source: &Source, globals: Table) -> mlua::Result<Rc<Modules>> {
    let given = vec![("opcodes", lua.create_table()?), ("on", lua.create_table()?)];
    let environment = lua.globals();
    for (name, table) in &given {
        environment.raw_set(*name, table)?;
    }
    let modules = Modules::new(source, globals, given);
    environment.raw_set("require", modules.require(lua, "")?)?;
    lua.load(source.text.as_str())
        .set_name(format!("@{}", source.path))
        .set_mode(ChunkMode::Text)
        .exec()?;
    modules.close();
    Ok(modules)
}

#[cfg(test)]
mod tests;
