//! `relay`: whom a message goes to, and who is there.

use std::rc::Rc;

use mlua::{Lua, Table, Value};

use super::utf8;
use crate::hub::{Address, Client};
use crate::script::clients::ClientHandle;
use crate::script::host::Host;
use crate::script::suggest::did_you_mean;
use crate::script::value::type_name;

/// The functions of `relay` itself.
pub fn table(lua: &Lua, host: &Rc<Host>) -> mlua::Result<Table> {
    let relay = lua.create_table()?;
    let of = Rc::clone(host);
    relay.raw_set(
        "deliver",
        lua.create_function(move |_, (name, what): (Value, Value)| {
            let name = Name::read("relay.deliver", &name)?;
            let payload = of.payload(&what)?;
            let mut hub = of.hub()?;
            Ok(name.is_some_and(|name| hub.deliver(name.address(), payload)))
        })?,
    )?;
    let of = Rc::clone(host);
    relay.raw_set(
        "broadcast",
        lua.create_function(move |_, (what, options): (Value, Value)| {
            let payload = of.payload(&what)?;
            let except = except(&options)?;
            Ok(of.hub()?.broadcast(payload, except.as_ref()))
        })?,
    )?;
    let of = Rc::clone(host);
    relay.raw_set(
        "find",
        lua.create_function(move |lua, name: Value| {
            let name = Name::read("relay.find", &name)?;
            let found = {
                let hub = of.hub()?;
                name.and_then(|name| hub.find(name.address()).cloned())
            };
            found.map(|client| of.client_object(lua, &client)).transpose()
        })?,
    )?;
    let of = Rc::clone(host);
    relay.raw_set("count", lua.create_function(move |_, ()| Ok(of.hub()?.registered()))?)?;
    let of = Rc::clone(host);
    relay.raw_set("now", lua.create_function(move |_, ()| Ok(of.clock.now()))?)?;
    Ok(relay)
}

/// A name to deliver to. Uuids and idents are two name spaces.
enum Name {
    Uuid(String),
    Ident(String),
}

impl Name {
    fn address(&self) -> Address<'_> {
        match self {
            Name::Uuid(uuid) => Address::Uuid(uuid),
            Name::Ident(ident) => Address::Ident(ident),
        }
    }

    /// A uuid, `{uuid = ...}` or `{ident = ...}`. `None` where nobody can have that name: nil, an
    /// empty text, or one that is not UTF-8.
    fn read(function: &str, name: &Value) -> mlua::Result<Option<Name>> {
        let refused = |why: String| Err(mlua::Error::runtime(format!("{function}: {why}")));
        let table = match name {
            Value::Nil => return Ok(None),
            Value::String(uuid) => return Ok(utf8(uuid).filter(|u| !u.is_empty()).map(Name::Uuid)),
            Value::Table(table) => table,
            other => {
                return refused(format!(
                    "name must be a uuid or a table like {{ident = \"...\"}}, not a {}",
                    type_name(other)
                ));
            }
        };
        let mut found = None;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            let key = key.to_string()?;
            let Value::String(text) = value else {
                return refused(format!("{key} must be a string, not a {}", type_name(&value)));
            };
            let text = utf8(&text).filter(|text| !text.is_empty());
            let name = match key.as_str() {
                "uuid" => text.map(Name::Uuid),
                "ident" => text.map(Name::Ident),
                _ => {
                    let suggestion = did_you_mean(&key, &["uuid", "ident"]);
                    return refused(format!("unknown name space '{key}'{suggestion}"));
                }
            };
            if found.replace(name).is_some() {
                return refused("either uuid or ident, not both".to_owned());
            }
        }
        Ok(found.flatten())
    }
}

/// The client of `{except = client}`.
fn except(options: &Value) -> mlua::Result<Option<Rc<Client>>> {
    let problem = |why: String| mlua::Error::runtime(format!("relay.broadcast: {why}"));
    let options = match options {
        Value::Nil => return Ok(None),
        Value::Table(options) => options,
        other => {
            let found = type_name(other);
            return Err(problem(format!(
                "options must be a table like {{except = client}}, not a {found}"
            )));
        }
    };
    let mut except = None;
    options.for_each(|key: Value, value: Value| {
        let known = matches!(&key, Value::String(key) if *key.as_bytes() == *b"except");
        if !known {
            let key = key.to_string()?;
            let suggestion = did_you_mean(&key, &["except"]);
            return Err(problem(format!("unknown option '{key}'{suggestion}")));
        }
        let client = match &value {
            Value::UserData(object) => {
                object.borrow_scoped(|handle: &ClientHandle| Rc::clone(&handle.0)).ok()
            }
            _ => None,
        };
        match client {
            Some(client) => except = Some(client),
            None => {
                return Err(problem(format!(
                    "except must be a client, not a {}",
                    type_name(&value)
                )));
            }
        }
        Ok(())
    })?;
    Ok(except)
}
