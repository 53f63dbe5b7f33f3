//! `relay.json`: JSON and tables. Works while the script loads.

use std::rc::Rc;

use mlua::{Lua, Table, Value};

use super::{seal, text_argument};
use crate::script::host::Host;
use crate::script::value::Access;

pub fn table(lua: &Lua, host: &Rc<Host>) -> mlua::Result<Table> {
    let json = lua.create_table()?;
    json.raw_set("null", Value::NULL)?;
    let of = Rc::clone(host);
    json.raw_set("encode", lua.create_function(move |_, value: Value| of.json.encode(&value))?)?;
    let of = Rc::clone(host);
    json.raw_set(
        "decode",
        lua.create_function(move |lua, text: Value| {
            let text = text_argument("relay.json.decode", "text", &text)?;
            of.json.decode(lua, &text, Access::Editable)
        })?,
    )?;
    let of = Rc::clone(host);
    json.raw_set(
        "array",
        lua.create_function(move |lua, table: Option<Table>| {
            let table = table.map_or_else(|| lua.create_table(), Ok)?;
            if table.is_readonly() {
                return Err(mlua::Error::runtime(
                    "relay.json.array: read-only, use relay.json.copy first",
                ));
            }
            of.json.mark_array(&table)?;
            Ok(table)
        })?,
    )?;
    let of = Rc::clone(host);
    json.raw_set("copy", lua.create_function(move |lua, value: Value| of.json.copy(lua, &value))?)?;
    seal(lua, "relay.json", json)
}
