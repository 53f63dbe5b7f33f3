//! `msg`: the message that is being handled.
//!
//! It is a light userdata: making one allocates nothing. All of them share one metatable, and the
//! null of JSON, the only other one there is, has it too.

use std::rc::Rc;

use mlua::{Either, LightUserData, Lua, Value};

use super::{no_such_field, read_only, unknown_field};
use crate::script::host::{Host, MessageHandle};
use crate::script::value::light_name;

pub const KNOWN: [&str; 6] = ["opcode", "uuid", "ident", "size", "raw", "data"];

/// What a script names a field by; anything but a text is a mistake.
type Field = Either<String, Value>;

pub fn register(lua: &Lua, host: &Rc<Host>) -> mlua::Result<()> {
    let constant =
        lua.create_function(|_, msg: LightUserData| Err::<(), _>(read_only(light_name(msg))))?;
    let words = lua.create_function(|_, msg: LightUserData| Ok(light_name(msg)))?;
    let host = Rc::clone(host);
    // As a String the name costs a short allocation; as a text of the VM it would be twice as dear.
    let index = lua.create_function(move |lua, (msg, field): (LightUserData, Field)| {
        let handle = MessageHandle::from(msg);
        match &field {
            Either::Left(field) if !msg.0.is_null() => read(&host, lua, handle, field),
            _ => None,
        }
        .unwrap_or_else(|| Err(no_such(msg, field)))
    })?;
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

/// The value of a field; `None` where there is no such field.
fn read(host: &Host, lua: &Lua, msg: MessageHandle, field: &str) -> Option<mlua::Result<Value>> {
    Some(match field {
        "opcode" => host.message_text(lua, msg, |message| message.opcode.as_ref()),
        "uuid" => host.message_text(lua, msg, |message| message.uuid.as_ref()),
        "ident" => host.message_text(lua, msg, |message| message.ident.as_ref()),
        "size" => host.with_message(msg, |message| Value::Number(message.raw.len() as f64)),
        "raw" => host
            .with_message(msg, |message| lua.create_string(&message.raw))
            .and_then(|raw| raw.map(Value::String)),
        "data" => host.message_data(lua, msg),
        _ => return None,
    })
}

fn no_such(msg: LightUserData, field: Field) -> mlua::Error {
    let known: &[&str] = if msg.0.is_null() { &[] } else { &KNOWN };
    match field {
        Either::Left(field) => mlua::Error::runtime(no_such_field(light_name(msg), &field, known)),
        Either::Right(field) => unknown_field(light_name(msg), &field, known),
    }
}
