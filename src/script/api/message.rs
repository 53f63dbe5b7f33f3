//! `msg`: the message that is being handled.
//!
//! It is a light userdata: making one allocates nothing. All of them share one metatable, and the
//! null of JSON, the only other one there is, has it too.

use std::rc::Rc;

use mlua::{Function, IntoLua, LightUserData, Lua, Table, Value};

use super::{read_only, unknown_field};
use crate::script::host::{Host, MessageHandle};
use crate::script::value::light_name;

pub const KNOWN: [&str; 6] = ["opcode", "uuid", "ident", "size", "raw", "data"];

/// Finds the function that reads a field: in the VM, for to the host each name would be a new text.
const INDEX: &str = r#"
local readers, unknown, null = ...
return function(msg, field)
    local read = msg ~= null and readers[field]
    if read then return read(msg) end
    return unknown(msg, field)
end
"#;

pub fn register(lua: &Lua, host: &Rc<Host>) -> mlua::Result<()> {
    let unknown = lua.create_function(|_, (msg, field): (LightUserData, Value)| {
        let known: &[&str] = if msg.0.is_null() { &[] } else { &KNOWN };
        Err::<(), _>(unknown_field(light_name(msg), &field, known))
    })?;
    let constant =
        lua.create_function(|_, msg: LightUserData| Err::<(), _>(read_only(light_name(msg))))?;
    let words = lua.create_function(|_, msg: LightUserData| Ok(light_name(msg)))?;
    let index = lua.load(INDEX).set_name("=relay");
    let index: Function = index.call((readers(lua, host)?, unknown, Value::NULL))?;
    let metatable = lua.create_table()?;
    metatable.raw_set("__index", index)?;
    metatable.raw_set("__newindex", constant)?;
    metatable.raw_set("__tostring", words)?;
    // Luau's own messages name it by this, and do not look which of the two it is.
    metatable.raw_set("__type", "msg or null")?;
    metatable.raw_set("__metatable", false)?;
    metatable.set_readonly(true);
    lua.set_type_metatable::<LightUserData>(Some(metatable));
    Ok(())
}

/// For each field the function that reads it.
fn readers(lua: &Lua, host: &Rc<Host>) -> mlua::Result<Table> {
    let readers = lua.create_table()?;
    reader(lua, &readers, host, "opcode", |host, lua, msg| {
        host.message_text(lua, msg, |message| message.opcode.as_ref())
    })?;
    reader(lua, &readers, host, "uuid", |host, lua, msg| {
        host.message_text(lua, msg, |message| message.uuid.as_ref())
    })?;
    reader(lua, &readers, host, "ident", |host, lua, msg| {
        host.message_text(lua, msg, |message| message.ident.as_ref())
    })?;
    reader(lua, &readers, host, "size", |host, _, msg| {
        host.with_message(msg, |message| message.raw.len())
    })?;
    reader(lua, &readers, host, "raw", |host, lua, msg| {
        host.with_message(msg, |message| lua.create_string(&message.raw))?
    })?;
    reader(lua, &readers, host, "data", Host::message_data)?;
    Ok(readers)
}

fn reader<R: IntoLua>(
    lua: &Lua,
    readers: &Table,
    host: &Rc<Host>,
    field: &str,
    read: impl Fn(&Host, &Lua, MessageHandle) -> mlua::Result<R> + 'static,
) -> mlua::Result<()> {
    let host = Rc::clone(host);
    let function = lua.create_function(move |lua, msg: MessageHandle| read(&host, lua, msg))?;
    readers.raw_set(field, function)
}
