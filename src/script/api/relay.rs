//! `relay`: whom a message goes to, and who is there.

use std::rc::Rc;

use mlua::{Either, Function, Lua, Table, UserDataRef, Value};

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
    let broadcast =
        lua.create_function(move |_, (what, except, room): (Value, Except, Value)| {
            let payload = of.payload(&what)?;
            let except = except_argument(except)?;
            let room = optional_text_argument("relay.broadcast", "room", &room)?;
            let mut hub = of.hub()?;
            Ok(match room {
                Some(room) => hub.broadcast_to_room(&room, payload, except.as_ref()),
                None => hub.broadcast(payload, except.as_ref()),
            })
        })?;
    let refuse = lua.create_function(|_, options: Value| refuse_options(&options))?;
    let options = lua.load(BROADCAST).set_name("=relay");
    relay.raw_set("broadcast", options.call::<Function>((broadcast, refuse))?)?;
    let of = Rc::clone(host);
    relay.raw_set(
        "find",
        lua.create_function(move |lua, name: Value| {
            let name = Name::read("relay.find", &name)?;
            let found = {
                let hub = of.hub()?;
                name.and_then(|name| hub.find(name.address()).cloned())
            };
            let object = found.map(|client| of.client_object(lua, &client)).transpose()?;
            Ok(object.map(|object| (*object).clone()))
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

/// `{except = client, room = name}` is taken apart in Luau: from here each key would be a call. `next`
/// is not named, for a global of the time before the sandbox is looked up anew each time.
const BROADCAST: &str = r#"
local broadcast, refuse = ...
return function(what, options)
    if options == nil then return broadcast(what) end
    if type(options) ~= "table" then return refuse(options) end
    local except, room
    for key, value in options do
        if key == "except" then except = value
        elseif key == "room" then room = value
        else return refuse(tostring(key)) end
    end
    return broadcast(what, except, room)
end
"#;

type Except = Either<Option<UserDataRef<ClientHandle>>, Value>;

fn except_argument(except: Except) -> mlua::Result<Option<Rc<Client>>> {
    match except {
        Either::Left(except) => Ok(except.map(|client| Rc::clone(&client.0))),
        Either::Right(other) => {
            let found = type_name(&other);
            refused(format!("except must be a client, not a {found}"))
        }
    }
}

/// Why these are no options, or this is none of them.
fn refuse_options(what: &Value) -> mlua::Result<()> {
    match what {
        Value::String(key) => {
            let key = key.to_string_lossy();
            let suggestion = did_you_mean(&key, &["except", "room"]);
            refused(format!("unknown option '{key}'{suggestion}"))
        }
        other => refused(format!(
            "options must be a table like {{except = client}}, not a {}",
            type_name(other)
        )),
    }
}

fn refused<T>(why: String) -> mlua::Result<T> {
    Err(mlua::Error::runtime(format!("relay.broadcast: {why}")))
}
