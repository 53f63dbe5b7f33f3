//! Writes a Lua value as JSON, or says which key's value has no JSON.

use std::borrow::Cow;
use std::ffi::c_void;

use mlua::{LuaString, Table, Value};

use super::{DEPTH_MAX, Json, TEXT_BYTES_MAX, type_name};

/// The largest integer up to which a Lua number holds all of them.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Entries of one table. mlua holds a million references at a time; this leaves half of them.
const ENTRIES_MAX: usize = TEXT_BYTES_MAX / 16;
/// Keys of one object. They are sorted, and let go, in one go that nothing ends: of so many that
/// takes a handler's time about once more.
const KEYS_MAX: usize = ENTRIES_MAX / 4;

/// How much of a key, and of the keys around what can not be JSON, its problem tells.
const KEY_BYTES_MAX: usize = 40;
const PATH_BYTES_MAX: usize = 200;

pub struct Writer<'a> {
    json: &'a Json,
    out: Vec<u8>,
    /// The tables around the present value, to notice one that holds itself.
    within: Vec<*const c_void>,
}

/// What can not be JSON, and where it is. The path is put together on the way out, so that it
/// costs nothing where all is well.
struct Problem {
    what: String,
    path: String,
}

type Written = Result<(), Problem>;

/// The keys of a table.
enum Shape {
    Object(Vec<(LuaString, Value)>),
    Array(Vec<Value>),
}

impl<'a> Writer<'a> {
    pub fn new(json: &'a Json) -> Writer<'a> {
        Writer { json, out: Vec::with_capacity(128), within: Vec::new() }
    }

    pub fn write(mut self, value: &Value) -> mlua::Result<String> {
        match self.value(value) {
            Ok(()) => String::from_utf8(self.out).map_err(mlua::Error::external),
            Err(Problem { what, path }) if path.is_empty() => Err(mlua::Error::runtime(what)),
            Err(Problem { what, path }) => {
                let path = path.strip_prefix('.').unwrap_or(&path);
                Err(mlua::Error::runtime(format!("{what}, at {path}")))
            }
        }
    }

    fn value(&mut self, value: &Value) -> Written {
        if let Err(mlua::Error::RuntimeError(stopped)) = self.json.stop.check() {
            return Err(problem(stopped));
        }
        match value {
            Value::Nil => self.out.extend_from_slice(b"null"),
            value if value.is_null() => self.out.extend_from_slice(b"null"),
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            // A whole number of Luau's: a double all the same. Written as digits, one beyond 2^53
            // would be read as a text.
            Value::Integer(integer) => self.number(*integer as f64)?,
            Value::Number(number) => self.number(*number)?,
            Value::String(text) => self.string(text)?,
            Value::Table(table) => self.table(table)?,
            other => return Err(problem(format!("a {} can not be JSON", type_name(other)))),
        }
        self.check_length(0)
    }

    fn check_length(&self, more: usize) -> Written {
        if self.out.len() + more > TEXT_BYTES_MAX {
            return Err(problem(format!("longer than {TEXT_BYTES_MAX} bytes as JSON")));
        }
        Ok(())
    }

    fn number(&mut self, number: f64) -> Written {
        if !number.is_finite() {
            let name = if number.is_nan() { "NaN (0/0)" } else { "an infinite number" };
            return Err(problem(format!("{name} can not be JSON")));
        }
        let whole = number.fract() == 0.0 && number.abs() <= INTEGER_MAX;
        let negative_zero = number == 0.0 && number.is_sign_negative();
        let text = if whole && !negative_zero {
            format!("{number:.0}")
        } else {
            serde_json::to_string(&number).map_err(|error| problem(error.to_string()))?
        };
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Writes a text or a key. The length is looked at before: keys are written on the way in, and
    /// those of nested tables are many before the first value ends.
    fn string(&mut self, text: &LuaString) -> Written {
        self.check_length(text.as_bytes().len())?;
        let text =
            text.to_str().map_err(|_| problem("a string that is not UTF-8 can not be JSON"))?;
        serde_json::to_writer(&mut self.out, &*text).map_err(|error| problem(error.to_string()))
    }

    fn table(&mut self, table: &Table) -> Written {
        let pointer = table.to_pointer();
        if self.within.contains(&pointer) {
            return Err(problem("a table that holds itself can not be JSON"));
        }
        if self.within.len() == DEPTH_MAX {
            return Err(problem(format!("nested deeper than {DEPTH_MAX}")));
        }
        let shape = shape(self.json, table)?;
        self.within.push(pointer);
        match shape {
            Shape::Object(fields) => self.object(fields)?,
            Shape::Array(values) => self.array(values)?,
        }
        self.within.pop();
        Ok(())
    }

    fn object(&mut self, mut fields: Vec<(LuaString, Value)>) -> Written {
        // One order, so that the same table is the same bytes; a reader looks for the opcode first.
        fields.sort_by_cached_key(|(key, _)| {
            let key = key.as_bytes();
            (*key != *b"opcode", key.to_vec())
        });
        for (index, (key, value)) in fields.iter().enumerate() {
            self.out.push(if index == 0 { b'{' } else { b',' });
            self.string(key)?;
            self.out.push(b':');
            self.value(value).map_err(|p| {
                p.within(&format!(".{}", cut(&key.to_string_lossy(), KEY_BYTES_MAX)))
            })?;
        }
        if fields.is_empty() {
            self.out.push(b'{');
        }
        self.out.push(b'}');
        Ok(())
    }

    fn array(&mut self, values: Vec<Value>) -> Written {
        self.out.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.value(value).map_err(|p| p.within(&format!("[{}]", index + 1)))?;
        }
        self.out.push(b']');
        Ok(())
    }
}

/// Tells objects and arrays apart. Keys of both kinds, or holes between numbers, are errors.
fn shape(json: &Json, table: &Table) -> Result<Shape, Problem> {
    let marked = json.is_array(table);
    let (mut fields, mut items) = (Vec::new(), Vec::new());
    let collected = table.for_each(|key: Value, value: Value| {
        let wrong = |what: String| Err(mlua::Error::RuntimeError(what));
        json.stop.check()?;
        if fields.len() + items.len() == ENTRIES_MAX {
            return wrong(format!("a table of more than {ENTRIES_MAX} entries can not be JSON"));
        }
        match key {
            Value::String(_) if fields.len() == KEYS_MAX => {
                return wrong(format!("an object of more than {KEYS_MAX} keys can not be JSON"));
            }
            Value::String(key) => fields.push((key, value)),
            Value::Integer(index) if index >= 1 => items.push((index, value)),
            Value::Integer(_) | Value::Number(_) => {
                return wrong(
                    "a key that is a number, but not 1, 2, 3 ..., can not be JSON".into(),
                );
            }
            other => return wrong(format!("a {} as key can not be JSON", type_name(&other))),
        }
        Ok(())
    });
    match collected {
        Ok(()) => {}
        Err(mlua::Error::RuntimeError(what)) => return Err(problem(what)),
        // As Luau says it, so that it counts as what it is.
        Err(mlua::Error::MemoryError(_)) => return Err(problem("not enough memory")),
        Err(other) => return Err(problem(other.to_string())),
    }
    if items.is_empty() && !(marked && fields.is_empty()) {
        return match marked {
            false => Ok(Shape::Object(fields)),
            true => Err(problem("an array with keys that are strings can not be JSON")),
        };
    }
    if !fields.is_empty() {
        return Err(problem("a table with both numbers and strings as keys can not be JSON"));
    }
    items.sort_by_key(|(index, _)| *index);
    match items.iter().zip(1..).find(|((index, _), place)| index != place) {
        Some((_, hole)) => Err(problem(format!("an array with a hole at {hole} can not be JSON"))),
        None => Ok(Shape::Array(items.into_iter().map(|(_, value)| value).collect())),
    }
}

fn problem(what: impl Into<String>) -> Problem {
    Problem { what: what.into(), path: String::new() }
}

impl Problem {
    fn within(mut self, step: &str) -> Problem {
        // Cut at every step, or a deep path would be copied at each level.
        self.path = cut(&format!("{step}{}", self.path), PATH_BYTES_MAX).into_owned();
        self
    }
}

fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}…", &text[..text.floor_char_boundary(bytes_max)]))
}

#[cfg(test)]
mod tests {
    use mlua::Lua;

    use super::*;

    /// What is written before the tables within counts before them, and a path says little of it.
    #[test]
    fn long_keys_of_nested_tables_stay_within_the_bounds() {
        const KEY_BYTES: usize = 1024 * 1024;
        let lua = Lua::new();
        let json = Json::new(&lua).expect("a metatable");
        for key in ["k", "é"] {
            let key = key.repeat(KEY_BYTES / key.len());
            lua.globals().set("key", key).expect("set");
            let code = "local v = print for _ = 1, 120 do v = {[key] = v} end return v";
            let value: Value = lua.load(code).eval().expect("nested");
            let mut writer = Writer::new(&json);
            assert!(writer.value(&value).is_err());
            assert!(writer.out.len() <= TEXT_BYTES_MAX + KEY_BYTES, "{}", writer.out.len());
            let error = json.encode(&value).expect_err("too long").to_string();
            assert!(error.len() <= 400, "{} bytes", error.len());
            assert!(error.contains("longer than 4194304 bytes as JSON, at "), "{error}");
        }
    }

    #[test]
    fn an_object_has_no_more_keys_than_are_sorted_in_time() {
        let lua = Lua::new();
        let json = Json::new(&lua).expect("a metatable");
        let code = format!("local v = {{}} for i = 1, {KEYS_MAX} do v['k' .. i] = i end return v");
        let value: Table = lua.load(code).eval().expect("a table");
        assert!(json.encode(&Value::Table(value.clone())).is_ok());
        value.set("one more", 1).expect("set");
        let error = json.encode(&Value::Table(value)).expect_err("too many").to_string();
        assert!(error.contains("an object of more than 65536 keys can not be JSON"), "{error}");
    }

    #[test]
    fn a_path_is_cut_where_it_is_deep() {
        let lua = Lua::new();
        let json = Json::new(&lua).expect("a metatable");
        let code = "local v = print for i = 120, 1, -1 do v = {['é' .. i] = v} end return v";
        let value: Value = lua.load(code).eval().expect("nested");
        let error = json.encode(&value).expect_err("a function").to_string();
        assert!(error.contains("a function can not be JSON, at é1.é2.é3."), "{error}");
        assert!(error.ends_with('…') && error.matches('…').count() == 1, "{error}");
        assert!(error.len() <= 400, "{} bytes", error.len());
    }
}
