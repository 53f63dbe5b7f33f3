//! Reads JSON straight into Lua values. The text is valid when it comes here; should it not be,
//! reading fails and nothing worse.

use std::borrow::Cow;

use mlua::{Lua, Value};

use super::{Access, DEPTH_MAX, Json};

/// The largest integer up to which a Lua number holds all of them.
const INTEGER_MAX: u64 = 1 << 53;

pub struct Reader<'a> {
    lua: &'a Lua,
    json: &'a Json,
    text: &'a str,
    at: usize,
    access: Access,
    values: usize,
}

impl<'a> Reader<'a> {
    pub fn new(lua: &'a Lua, json: &'a Json, text: &'a str, access: Access) -> Reader<'a> {
        Reader { lua, json, text, at: 0, access, values: 0 }
    }

    pub fn read(mut self) -> mlua::Result<Value> {
        self.value(0)
    }

    fn value(&mut self, depth: usize) -> mlua::Result<Value> {
        self.json.stop.check()?;
        self.values += 1;
        if self.values > self.json.decoded_values_max {
            return Err(self.too_many());
        }
        match self.next_token() {
            Some(b'{' | b'[') if depth == DEPTH_MAX => {
                Err(mlua::Error::runtime(format!("JSON nested deeper than {DEPTH_MAX}")))
            }
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Value::String(self.lua.create_string(&*self.string()?)?)),
            Some(b't') => self.literal("true", Value::Boolean(true)),
            Some(b'f') => self.literal("false", Value::Boolean(false)),
            Some(b'n') => self.literal("null", Value::NULL),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(malformed()),
        }
    }

    fn too_many(&self) -> mlua::Error {
        mlua::Error::runtime(format!(
            "JSON of more than {} values is not decoded (script.decoded_values_max)",
            self.json.decoded_values_max
        ))
    }

    fn object(&mut self, depth: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table()?;
        self.at += 1;
        while self.next_token() != Some(b'}') {
            let key = self.string()?;
            self.expect(b':')?;
            let value = self.value(depth + 1)?;
            table.raw_set(&*key, value)?;
            self.comma_or(b'}')?;
        }
        self.at += 1;
        table.set_readonly(self.access == Access::ReadOnly);
        Ok(Value::Table(table))
    }

    fn array(&mut self, depth: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table()?;
        self.at += 1;
        while self.next_token() != Some(b']') {
            let value = self.value(depth + 1)?;
            table.raw_push(value)?;
            self.comma_or(b']')?;
        }
        self.at += 1;
        self.json.mark_array(&table)?;
        table.set_readonly(self.access == Access::ReadOnly);
        Ok(Value::Table(table))
    }

    /// The text of a string; borrowed unless it was written with escapes. Half of a surrogate pair
    /// is an error: no Lua string that is UTF-8 can hold it.
    fn string(&mut self) -> mlua::Result<Cow<'a, str>> {
        if self.next_token() != Some(b'"') {
            return Err(malformed());
        }
        let (start, mut escaped) = (self.at, false);
        self.at += 1;
        loop {
            let rest = self.text.as_bytes().get(self.at..).ok_or_else(malformed)?;
            self.at += memchr::memchr2(b'"', b'\\', rest).ok_or_else(malformed)?;
            if self.text.as_bytes().get(self.at) == Some(&b'"') {
                break;
            }
            escaped = true;
            self.at += 2;
        }
        self.at += 1;
        let token = self.text.get(start..self.at).ok_or_else(malformed)?;
        if !escaped {
            return Ok(Cow::Borrowed(&token[1..token.len() - 1]));
        }
        serde_json::from_str(token).map(Cow::Owned).map_err(|_| {
            mlua::Error::runtime(format!("JSON string with half a surrogate pair at byte {start}"))
        })
    }

    fn number(&mut self) -> mlua::Result<Value> {
        let rest = &self.text[self.at..];
        let is_part = |c: char| matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E');
        let token = rest.split(|c: char| !is_part(c)).next().unwrap_or_default();
        self.at += token.len();
        let number: f64 = token.parse().map_err(|_| malformed())?;
        let digits = token.strip_prefix('-').unwrap_or(token);
        let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
        let exact = if whole {
            digits.parse().is_ok_and(|integer: u64| integer <= INTEGER_MAX)
        } else {
            number.is_finite()
        };
        if exact {
            return Ok(Value::Number(number));
        }
        Ok(Value::String(self.lua.create_string(token)?))
    }

    fn literal(&mut self, word: &str, value: Value) -> mlua::Result<Value> {
        if !self.text[self.at..].starts_with(word) {
            return Err(malformed());
        }
        self.at += word.len();
        Ok(value)
    }

    /// The next byte that is no white space; stays in front of it.
    fn next_token(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> mlua::Result<()> {
        if self.next_token() != Some(byte) {
            return Err(malformed());
        }
        self.at += 1;
        Ok(())
    }

    /// Takes a comma, or stays in front of the end.
    fn comma_or(&mut self, end: u8) -> mlua::Result<()> {
        if self.next_token() == Some(end) { Ok(()) } else { self.expect(b',') }
    }
}

fn malformed() -> mlua::Error {
    mlua::Error::runtime("not JSON")
}
