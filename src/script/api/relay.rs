//! `relay`: whom a message goes to, and who is there.

use std::rc::Rc;

use mlua::{Either, Lua, LuaString, Table, UserDataRef, Value};

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
    let names = Options { except: lua.create_string(EXCEPT)?, room: lua.create_string(ROOM)? };
    relay.raw_set(
        "broadcast",
        lua.create_function(move |_, (what, options): (Value, Value)| {
            let payload = of.payload(&what)?;
            let (except, room) = names.read(&options)?;
            of.broadcast(payload, room.as_deref(), except.as_ref())
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

const EXCEPT: &str = "except";
const ROOM: &str = "room";

/// The names of what `relay.broadcast` may be told besides, as texts of the VM: making one for each
/// call, or reading the table's own, costs more than the rest of it.
struct Options {
    except: LuaString,
    room: LuaString,
}

impl Options {
    /// Whom to leave out, and the room, of `{except = client, room = name}`.
    fn read(&self, options: &Value) -> mlua::Result<(Option<Rc<Client>>, Option<String>)> {
        let options = match options {
            Value::Nil => return Ok((None, None)),
            Value::Table(options) => options,
            other => {
                return refused(format!(
                    "options must be a table like {{except = client}}, not a {}",
                    type_name(other)
                ));
            }
        };
        let except = client(options.raw_get(&self.except)?)?;
        let others = keys(options) - usize::from(except.is_some());
        if others == 0 {
            return Ok((except, None));
        }
        let room = optional_text_argument("relay.broadcast", ROOM, &options.raw_get(&self.room)?)?;
        match others == usize::from(room.is_some()) {
            true => Ok((except, room)),
            false => refuse_unknown(options),
        }
    }
}

/// How many keys there are, but at most one more than there are names for.
fn keys(options: &Table) -> usize {
    let mut keys = 0;
    // Any error ends it; the keys themselves are not read.
    let counted = options.for_each(|_: bool, _: bool| {
        keys += 1;
        if keys > 2 { Err(mlua::Error::StackError) } else { Ok(()) }
    });
    counted.map_or(3, |()| keys)
}

fn refuse_unknown<T>(options: &Table) -> mlua::Result<T> {
    for pair in options.pairs::<Value, Value>() {
        let key = match pair?.0 {
            Value::String(key) => key.to_string_lossy(),
            other => other.to_string()?,
        };
        if key != EXCEPT && key != ROOM {
            let suggestion = did_you_mean(&key, &[EXCEPT, ROOM]);
            return refused(format!("unknown option '{key}'{suggestion}"));
        }
    }
    refused("unknown option".to_owned())
}

fn client(
    value: Either<Option<UserDataRef<ClientHandle>>, Value>,
) -> mlua::Result<Option<Rc<Client>>> {
    match value {
        Either::Left(client) => Ok(client.map(|client| Rc::clone(&client.0))),
        Either::Right(other) => {
            refused(format!("except must be a client, not a {}", type_name(&other)))
        }
    }
}

fn refused<T>(why: String) -> mlua::Result<T> {
    Err(mlua::Error::runtime(format!("relay.broadcast: {why}")))
}
