//! Everything a script can see: `client` and `msg` in its handlers, and the table `relay`.

pub mod client;
mod json;
mod log;
mod message;
pub mod reference;
mod relay;
mod store;
mod timer;

use std::rc::Rc;
use std::time::Duration;

use mlua::{Lua, LuaString, Table, Value};
use serde_json::{Map, Value as Setting};

use super::host::Host;
use super::suggest::did_you_mean;
use super::value::{Access, type_name};

/// The version of what scripts see. Additions do not change it.
pub const API_VERSION: u32 = 1;

/// Puts the host objects into a VM whose globals are still writable.
pub fn install(lua: &Lua, host: &Rc<Host>, settings: &Map<String, Setting>) -> mlua::Result<()> {
    client::register(lua, host)?;
    message::register(lua, host)?;
    let config = serde_json::to_string(settings).map_err(mlua::Error::external)?;
    let relay = relay::table(lua, host)?;
    relay.raw_set("api_version", API_VERSION)?;
    relay.raw_set("config", host.json.decode_valid(lua, &config, Access::ReadOnly)?)?;
    relay.raw_set("json", json::table(lua, host)?)?;
    relay.raw_set("log", log::table(lua, host)?)?;
    relay.raw_set("store", store::table(lua, host)?)?;
    timer::install(lua, host, &relay)?;
    lua.globals().raw_set("relay", seal(lua, "relay", relay)?)?;
    lua.globals().raw_set("print", log::print(lua, host)?)
}

/// What of the host objects a test of a script gets: JSON, and `print`.
pub fn install_json(lua: &Lua, host: &Rc<Host>) -> mlua::Result<()> {
    let relay = lua.create_table()?;
    relay.raw_set("json", json::table(lua, host)?)?;
    lua.globals().raw_set("relay", seal(lua, "relay", relay)?)?;
    lua.globals().raw_set("print", log::print(lua, host)?)
}

/// Makes a table of host functions read-only, and a wrong name in it an error that helps.
pub fn seal(lua: &Lua, name: &'static str, table: Table) -> mlua::Result<Table> {
    let mut known = Vec::new();
    for pair in table.pairs::<String, Value>() {
        known.push(pair?.0);
    }
    let unknown =
        lua.create_function(move |_, (_, field): (Value, Value)| -> mlua::Result<Value> {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            Err(unknown_field(name, &field, &known))
        })?;
    let constant =
        lua.create_function(move |_, _: Value| -> mlua::Result<()> { Err(read_only(name)) })?;
    let metatable = lua.create_table()?;
    metatable.raw_set("__index", unknown)?;
    metatable.raw_set("__newindex", constant)?;
    metatable.raw_set("__metatable", name)?;
    metatable.set_readonly(true);
    table.set_metatable(Some(metatable))?;
    table.set_readonly(true);
    Ok(table)
}

pub fn unknown_field(object: &str, field: &Value, known: &[&str]) -> mlua::Error {
    let field = match field {
        Value::String(field) => field.to_string_lossy(),
        Value::Integer(_) | Value::Number(_) => field.to_string().unwrap_or_default(),
        other => type_name(other).to_owned(),
    };
    mlua::Error::runtime(no_such_field(object, &field, known))
}

/// What is wrong with a name that an object has not.
pub fn no_such_field(object: &str, field: &str, known: &[&str]) -> String {
    let suggestion = did_you_mean(field, known);
    format!("{object} has no field '{field}'{suggestion}")
}

fn read_only(object: &str) -> mlua::Error {
    mlua::Error::runtime(format!("{object} is read-only"))
}

/// An argument that has to be a text in UTF-8.
fn text_argument(function: &str, name: &str, value: &Value) -> mlua::Result<String> {
    optional_text_argument(function, name, value)?
        .ok_or_else(|| mlua::Error::runtime(format!("{function}: {name} is missing")))
}

fn optional_text_argument(
    function: &str,
    name: &str,
    value: &Value,
) -> mlua::Result<Option<String>> {
    match value {
        Value::Nil => Ok(None),
        Value::String(text) => match utf8(text) {
            Some(text) => Ok(Some(text)),
            None => Err(mlua::Error::runtime(format!("{function}: {name} is not UTF-8"))),
        },
        other => Err(mlua::Error::runtime(format!(
            "{function}: {name} must be a string, not a {}",
            type_name(other)
        ))),
    }
}

/// An argument that is a length of time: from a millisecond, so that a timer can not keep the thread
/// to itself.
pub fn seconds(function: &str, name: &str, value: &Value, max: f64) -> mlua::Result<Duration> {
    let seconds = match value {
        Value::Integer(seconds) => *seconds as f64,
        Value::Number(seconds) => *seconds,
        _ => f64::NAN,
    };
    if (0.001..=max).contains(&seconds) {
        return Ok(Duration::from_secs_f64(seconds));
    }
    let found = match value {
        Value::Integer(_) | Value::Number(_) => seconds.to_string(),
        other => format!("a {}", type_name(other)),
    };
    let problem = format!("{function}: {name} must be 0.001 to {max} seconds, not {found}");
    Err(mlua::Error::runtime(problem))
}

fn utf8(text: &LuaString) -> Option<String> {
    text.to_str().ok().map(|text| text.to_owned())
}
