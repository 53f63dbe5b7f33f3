//! `msg`: the message that is being handled.

use std::rc::Rc;

use mlua::{Lua, UserDataFields, UserDataMethods, Value};

use super::{no_such_field, read_only};
use crate::script::host::{Host, MessageHandle};

pub const KNOWN: [&str; 6] = ["opcode", "uuid", "ident", "size", "raw", "data"];

pub fn register(lua: &Lua, host: &Rc<Host>) -> mlua::Result<()> {
    lua.register_userdata_type::<MessageHandle>(|registry| {
        let host_of = || Rc::clone(host);
        let host = host_of();
        registry.add_field_method_get("opcode", move |lua, msg| {
            host.message_text(lua, *msg, |message| message.opcode.as_ref())
        });
        let host = host_of();
        registry.add_field_method_get("uuid", move |lua, msg| {
            host.message_text(lua, *msg, |message| message.uuid.as_ref())
        });
        let host = host_of();
        registry.add_field_method_get("ident", move |lua, msg| {
            host.message_text(lua, *msg, |message| message.ident.as_ref())
        });
        let host = host_of();
        registry.add_field_method_get("size", move |_, msg| {
            host.with_message(*msg, |message| message.raw.len())
        });
        let host = host_of();
        registry.add_field_method_get("raw", move |lua, msg| {
            host.with_message(*msg, |message| lua.create_string(&message.raw))?
        });
        let host = host_of();
        registry.add_field_method_get("data", move |lua, msg| host.message_data(lua, *msg));
        registry.add_meta_field("__type", "msg");
        registry.add_meta_method("__index", |_, _, field: Value| -> mlua::Result<Value> {
            Err(no_such_field("msg", &field, &KNOWN))
        });
        registry.add_meta_method("__newindex", |_, _, _: (Value, Value)| -> mlua::Result<()> {
            Err(read_only("msg"))
        });
    })
}
