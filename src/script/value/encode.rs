//! Writes a Lua value as JSON, or says which key's value has no JSON.

use std::ffi::c_void;

use mlua::{LuaString, Table, Value};

use super::{DEPTH_MAX, Json, TEXT_BYTES_MAX, type_name};

/// The largest integer up to which a Lua number holds all of them.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Entries of one table. mlua holds a million references at a time; this leaves half of them.
const ENTRIES_MAX: usize = TEXT_BYTES_MAX / 16;

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
        if self.out.len() > TEXT_BYTES_MAX {
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

    fn string(&mut self, text: &LuaString) -> Written {
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
            self.value(value).map_err(|p| p.within(&format!(".{}", key.to_string_lossy())))?;
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
        self.path.insert_str(0, step);
        self
    }
}
