//! JSON and Lua values. What one of them can not say of the other is an error, not damage.

mod decode;
mod encode;

use mlua::{LightUserData, Lua, Table, Value};

use super::budget::{Budgets, Stop};

/// Deepest nesting read or written; the same as for messages.
pub const DEPTH_MAX: usize = 127;
/// Longest text written. A longer one could never be queued for a client.
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Converts between JSON and the values of one VM.
///
/// * An array is a table with a marking metatable, so that an empty one stays `[]`. A table without
///   it is an array if its keys are 1 to n, and an object if it is empty or all keys are strings.
/// * An object is written with `opcode` first, then its keys in the order of their bytes.
/// * `null` is [`Value::NULL`], `relay.json.null` to a script.
/// * A number that a Lua number can not hold (an integer beyond 2^53, a fraction beyond 1.8e308)
///   is read as the string of its digits: nothing of it is lost, and nobody calculates with a
///   number that its sender did not write.
/// * Where a key occurs twice, the last one counts, as in [`crate::message::Message::parse`].
#[derive(Clone)]
pub struct Json {
    /// The metatable that marks arrays.
    array: Table,
    /// Asked at every value: hostile texts and tables can make each of them slow.
    stop: Stop,
    /// The longest text read, and the most values in one.
    decoded_bytes_max: usize,
    decoded_values_max: usize,
}

/// Whether a script may change what was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    Editable,
}

impl Json {
    pub fn new(lua: &Lua) -> mlua::Result<Json> {
        let array = lua.create_table()?;
        array.raw_set("__metatable", "array")?;
        array.set_readonly(true);
        let (decoded_bytes_max, decoded_values_max) = (usize::MAX, usize::MAX);
        Ok(Json { array, stop: Stop::default(), decoded_bytes_max, decoded_values_max })
    }

    /// The same within these limits.
    pub fn within(self, stop: Stop, limits: &Budgets) -> Json {
        let Budgets { decoded_bytes_max, decoded_values_max, .. } = *limits;
        Json { stop, decoded_bytes_max, decoded_values_max, ..self }
    }

    /// The value of a JSON text. Fails with the position for people where the text is no JSON.
    pub fn decode(&self, lua: &Lua, text: &str, access: Access) -> mlua::Result<Value> {
        self.check_length(text)?;
        serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map_err(|error| mlua::Error::runtime(format!("not JSON: {error}")))?;
        self.decode_valid(lua, text, access)
    }

    /// The value of a text that is known to be JSON, as that of every message is.
    pub fn decode_valid(&self, lua: &Lua, text: &str, access: Access) -> mlua::Result<Value> {
        self.check_length(text)?;
        decode::Reader::new(lua, self, text, access).read()
    }

    fn check_length(&self, text: &str) -> mlua::Result<()> {
        let most = self.decoded_bytes_max;
        if text.len() > most {
            let problem =
                format!("JSON over {most} bytes is not decoded (script.decoded_bytes_max)");
            return Err(mlua::Error::runtime(problem));
        }
        Ok(())
    }

    /// The JSON text of a value. Fails with the path of the key whose value can not be JSON.
    pub fn encode(&self, value: &Value) -> mlua::Result<String> {
        encode::Writer::new(self).write(value)
    }

    /// Marks a table as an array. Fails where the table is read-only.
    pub fn mark_array(&self, table: &Table) -> mlua::Result<()> {
        table.set_metatable(Some(self.array.clone()))
    }

    fn is_array(&self, table: &Table) -> bool {
        table.metatable().is_some_and(|metatable| metatable == self.array)
    }

    /// A copy that may be edited, tables within tables included. Fails beyond [`DEPTH_MAX`], which
    /// includes tables that hold themselves.
    pub fn copy(&self, lua: &Lua, value: &Value) -> mlua::Result<Value> {
        self.copy_at(lua, value, 0)
    }

    fn copy_at(&self, lua: &Lua, value: &Value, depth: usize) -> mlua::Result<Value> {
        let Value::Table(table) = value else {
            return Ok(value.clone());
        };
        if depth == DEPTH_MAX {
            return Err(mlua::Error::runtime(format!("nested deeper than {DEPTH_MAX}")));
        }
        let copy = lua.create_table()?;
        for pair in table.pairs::<Value, Value>() {
            self.stop.check()?;
            let (key, value) = pair?;
            copy.raw_set(key, self.copy_at(lua, &value, depth + 1)?)?;
        }
        if self.is_array(table) {
            self.mark_array(&copy)?;
        }
        Ok(Value::Table(copy))
    }
}

/// What a script calls the type of a value.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) | Value::Number(_) => "number",
        Value::LightUserData(light) if light.0.is_null() => light_name(*light),
        Value::UserData(_) | Value::LightUserData(_) => "host object (client, msg)",
        other => other.type_name(),
    }
}

/// What a light userdata is: there are these two.
pub fn light_name(light: LightUserData) -> &'static str {
    if light.0.is_null() { "null" } else { "msg" }
}

#[cfg(test)]
mod tests;
