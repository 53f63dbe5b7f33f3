//! `relay`: whom a message goes to, and who is there.

use std::rc::Rc;

use mlua::{Lua, Table, Value};

use super::{optional_text_argument, utf8};
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
            let Receivers { except, room } = Receivers::read(&options)?;
            let mut hub = of.hub()?;
            Ok(match room {
                Some(room) => hub.broadcast_to_room(&room, payload, except.as_ref()),
                None => hub.broadcast(payload, except.as_ref()),
            })
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
    relay.raw_set(
        "count",
        lua.create_function(move |_, room: Value| {
            let room = optional_text_argument("relay.count", "room", &room)?;
            let hub = of.hub()?;
            Ok(room.map_or_else(|| hub.registered(), |room| hub.count(&room)))
        })?,
    )?;
    let of = Rc::clone(host);
    relay.raw_set("now", lua.create_function(move |_, ()| Ok(of.clock.unix()))?)?;
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

/// The options of a broadcast: `{except = client, room = name}`.
#[derive(Default)]
struct Receivers {
    except: Option<Rc<Client>>,
    room: Option<String>,
}

impl Receivers {
    fn read(options: &Value) -> mlua::Result<Receivers> {
        let problem = |why: String| mlua::Error::runtime(format!("relay.broadcast: {why}"));
        let options = match options {
            Value::Nil => return Ok(Receivers::default()),
            Value::Table(options) => options,
            other => {
                let found = type_name(other);
                return Err(problem(format!(
                    "options must be a table like {{except = client}}, not a {found}"
                )));
            }
        };
        let mut receivers = Receivers::default();
        options.for_each(|key: Value, value: Value| {
            let key = key.to_string()?;
            match key.as_str() {
                "except" => receivers.except = Some(client(&value).map_err(problem)?),
                "room" => {
                    receivers.room = optional_text_argument("relay.broadcast", "room", &value)?;
                }
                _ => {
                    let suggestion = did_you_mean(&key, &["except", "room"]);
                    return Err(problem(format!("unknown option '{key}'{suggestion}")));
                }
            }
            Ok(())
        })?;
        Ok(receivers)
    }
}

fn client(value: &Value) -> Result<Rc<Client>, String> {
    let client = match value {
        Value::UserData(object) => {
            object.borrow_scoped(|handle: &ClientHandle| Rc::clone(&handle.0)).ok()
        }
        _ => None,
    };
    client.ok_or_else(|| format!("except must be a client, not a {}", type_name(value)))
}
