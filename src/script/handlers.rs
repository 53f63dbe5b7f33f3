//! What a script has defined, looked up once per load: its opcode handlers and hooks.

use mlua::{Function, Lua, Table, Value};
use rustc_hash::FxHashMap;

use super::fault::{Fault, tame};
use super::source::Source;
use super::suggest::did_you_mean;
use super::unknowns::{NOTED_MAX, Unknown};
use super::value::type_name;
use crate::message::Message;

const HOOKS: [&str; 5] = ["load", "connect", "disconnect", "default", "text"];

/// Warnings of one kind that are told in full.
const ALIKE_MAX: usize = 20;

/// The functions of one generation.
#[derive(Default)]
pub struct Handlers {
    /// Its keys are the script's: no peer can make them collide.
    pub opcodes: FxHashMap<String, Function>,
    pub load: Option<Function>,
    pub connect: Option<Function>,
    pub disconnect: Option<Function>,
    pub default: Option<Function>,
    pub text: Option<Function>,
}

impl Handlers {
    /// What handles such a message with this opcode, and the name of the hook if it is one.
    pub fn of(
        &self,
        message: &Message,
        opcode: Option<&str>,
    ) -> Option<(&Function, Option<&'static str>)> {
        if !message.is_json {
            return self.text.as_ref().map(|function| (function, Some("on.text")));
        }
        let handler = opcode.and_then(|opcode| self.opcodes.get(opcode));
        let default = || self.default.as_ref().map(|function| (function, Some("on.default")));
        handler.map(|function| (function, None)).or_else(default)
    }

    /// Reads `opcodes` and `on` after the top level has run. Adds to `warnings` what is allowed but
    /// surely not meant.
    pub fn read(lua: &Lua, source: &Source, warnings: &mut Vec<String>) -> Result<Handlers, Fault> {
        let mut handlers = Handlers::default();
        let mut unreachable = Vec::new();
        for (name, value) in entries(lua, source, "opcodes")? {
            if name.starts_with("__") {
                unreachable.push(name);
                continue;
            }
            let function = function(source, "opcodes", &name, value)?;
            handlers.opcodes.insert(name, function);
        }
        warnings.extend(some(&unreachable, |name| {
            let place = place(source, source.line_of(name));
            format!("{place}opcodes.{name} is never called: the name starts with two underscores")
        }));
        for (name, value) in entries(lua, source, "on")? {
            let hook = match name.as_str() {
                "load" => &mut handlers.load,
                "connect" => &mut handlers.connect,
                "disconnect" => &mut handlers.disconnect,
                "default" => &mut handlers.default,
                "text" => &mut handlers.text,
                _ => {
                    let suggestion = did_you_mean(&name, &HOOKS);
                    let message = format!("there is no hook on.{name}{suggestion}");
                    return Err(Fault::at(source, source.line_of(&name), message));
                }
            };
            *hook = Some(function(source, "on", &name, value)?);
        }
        // What is defined later would never be called: an error says so, in its line.
        for table in ["opcodes", "on"] {
            if let Ok(Value::Table(table)) = lua.globals().raw_get::<Value>(table) {
                table.set_readonly(true);
            }
        }
        if handlers.opcodes.is_empty() && handlers.default.is_none() && handlers.text.is_none() {
            let message =
                "no opcode handler, no on.default and no on.text: nothing would ever be done";
            return Err(Fault::at(source, None, message));
        }
        Ok(handlers)
    }
}

/// The script's own globals, which it hardly means to have: they do not survive a reload, and a
/// missing `local` makes one.
pub fn stray_globals(environment: &Table, source: &Source) -> mlua::Result<Vec<String>> {
    let mut names = Vec::new();
    for pair in environment.pairs::<Value, Value>() {
        let name = pair?.0.to_string()?;
        if !matches!(name.as_str(), "opcodes" | "on" | "require") {
            names.push(name);
        }
    }
    names.sort();
    Ok(some(&names, |name| {
        let place = place(source, source.line_of(name));
        format!("{place}'{name}' is a global, write 'local {name}'")
    }))
}

/// What the script reads and nothing defines.
pub fn unknown_names(unknowns: &[Unknown], source: &Source) -> Vec<String> {
    some(unknowns, |unknown| format!("{}{}", place(source, unknown.line(source)), unknown.words()))
}

/// A warning for each of the first names, and how many more there are. Each costs a look through the
/// whole text for its line, and is one line whatever the name is.
fn some<T>(names: &[T], warning: impl Fn(&T) -> String) -> Vec<String> {
    let line = |name: &T| tame(&warning(name)).replace('\n', "\\n");
    let mut warnings: Vec<String> = names.iter().take(ALIKE_MAX).map(line).collect();
    if let (Some(last), Some(_)) = (warnings.last_mut(), names.get(ALIKE_MAX)) {
        let least = if names.len() < NOTED_MAX { "" } else { "at least " };
        let more = names.len() - ALIKE_MAX;
        last.push_str(&format!(" (and {least}{more} more like this)"));
    }
    warnings
}

/// The entries of one of the two tables, by name. The script may have put a new table in its place.
fn entries(lua: &Lua, source: &Source, table: &str) -> Result<Vec<(String, Value)>, Fault> {
    let wrong = |message: String| Fault::at(source, source.line_of(table), message);
    let Ok(Value::Table(entries)) = lua.globals().raw_get::<Value>(table) else {
        return Err(wrong(format!("'{table}' must stay a table")));
    };
    let entries: Table = entries;
    let mut named = Vec::new();
    for pair in entries.pairs::<Value, Value>() {
        let (key, value) = pair.map_err(|error| Fault::from_lua(&error, source))?;
        match key {
            Value::String(key) => match key.to_str() {
                Ok(key) => named.push((key.to_owned(), value)),
                Err(_) => return Err(wrong(format!("a name in '{table}' is not UTF-8"))),
            },
            key => {
                let name = type_name(&key);
                return Err(wrong(format!("a key of '{table}' is a {name}, not a name")));
            }
        }
    }
    // In a fixed order, so that of several mistakes the same one is reported each time.
    named.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(named)
}

fn function(source: &Source, table: &str, name: &str, value: Value) -> Result<Function, Fault> {
    match value {
        Value::Function(function) => Ok(function),
        other => {
            let message = format!("{table}.{name} is a {}, not a function", type_name(&other));
            Err(Fault::at(source, source.line_of(name), message))
        }
    }
}

/// `path:line: `, where the line is known.
fn place(source: &Source, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("{}:{line}: ", source.path),
        None => format!("{}: ", source.path),
    }
}
