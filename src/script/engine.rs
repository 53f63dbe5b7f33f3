//! One generation of the script: its VM, and the calls into it.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Function, IntoLuaMulti, Lua};
use serde_json::{Map, Value as Setting};

use super::clock::Clock;
use super::fault::{Fault, HandlerError, LoadError};
use super::handlers::{Handlers, stray_globals};
use super::host::Host;
use super::source::Source;
use super::value::Json;
use super::{api, sandbox};
use crate::hub::{Client, Hub};
use crate::message::Message;

/// A loaded script. What its handlers ask of the hub belongs between the caller's `begin` and
/// `commit`; a handler that fails is undone by the caller's `rollback`.
pub struct Engine {
    lua: Lua,
    host: Rc<Host>,
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
        clock: &Clock,
    ) -> Result<Engine, LoadError> {
        let fault = |error: mlua::Error| Fault::from_lua(&error, source);
        let lua = sandbox::open(source).map_err(fault)?;
        let json = Json::new(&lua).map_err(fault)?;
        let host = Rc::new(Host::new(generation, json, source.clone(), hub, clock.clone()));
        api::install(&lua, &host, settings).map_err(fault)?;
        sandbox::close(&lua).map_err(fault)?;
        run_top_level(&lua, source).map_err(fault)?;
        let mut warnings = stray_globals(&lua, source).map_err(fault)?;
        let handlers = Handlers::read(&lua, source, &mut warnings)?;
        host.set_loaded();
        Ok(Engine { lua, host, handlers, warnings })
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
        self.call(function, info().map_err(|error| self.failed(&error))?)
    }

    pub fn on_connect(&self, client: &Rc<Client>) -> Result<(), HandlerError> {
        let Some(function) = &self.handlers.connect else { return Ok(()) };
        let _call = self.host.enter_hook("connect");
        let client = self.host.client_object(&self.lua, client);
        self.call(function, client.map_err(|error| self.failed(&error))?)
    }

    /// `why` is the label of the close reason. The script's object for the client ends here.
    pub fn on_disconnect(&self, client: &Rc<Client>, why: &str) -> Result<(), HandlerError> {
        let result = self.call_disconnect(client, why);
        self.host.forget_client(client);
        result
    }

    fn call_disconnect(&self, client: &Rc<Client>, why: &str) -> Result<(), HandlerError> {
        let Some(function) = &self.handlers.disconnect else { return Ok(()) };
        let _call = self.host.enter_hook("disconnect");
        let client = self.host.client_object(&self.lua, client);
        self.call(function, (client.map_err(|error| self.failed(&error))?, why))
    }

    /// Calls the handler of the message's opcode, else `on.default`, else nothing.
    pub fn on_message(&self, client: &Rc<Client>, message: &Message) -> Result<(), HandlerError> {
        let opcode = message.opcode.as_ref().map(|opcode| opcode.as_str());
        let handler = opcode.and_then(|opcode| self.handlers.opcodes.get(opcode));
        let Some(function) = handler.or(self.handlers.default.as_ref()) else { return Ok(()) };
        let _call = self.host.enter_message(message);
        let args = || {
            let client = self.host.client_object(&self.lua, client)?;
            Ok((client, self.lua.create_any_userdata(self.host.message_handle())?))
        };
        self.call(function, args().map_err(|error| self.failed(&error))?)
    }

    /// One step of garbage collection, for when there is nothing else to do.
    pub fn gc_step(&self) {
        // A step fails only in a finaliser, and Luau runs none of the script's.
        let _ = self.lua.gc_step();
    }

    fn call(&self, function: &Function, args: impl IntoLuaMulti) -> Result<(), HandlerError> {
        function.call::<()>(args).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &mlua::Error) -> HandlerError {
        HandlerError::from(Fault::from_lua(error, &self.host.source))
    }
}

fn run_top_level(lua: &Lua, source: &Source) -> mlua::Result<()> {
    let globals = lua.globals();
    globals.raw_set("opcodes", lua.create_table()?)?;
    globals.raw_set("on", lua.create_table()?)?;
    lua.load(source.text.as_str())
        .set_name(format!("@{}", source.path))
        .set_mode(ChunkMode::Text)
        .exec()
}

#[cfg(test)]
mod tests;
