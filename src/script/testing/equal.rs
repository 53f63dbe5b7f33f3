//! `t.equal`: whether two values are the same by content, and where they are not.

use mlua::{Table, Value};

use crate::script::value::{DEPTH_MAX, Json, type_name};

/// More differences than a person reads at once.
const DIFFERENCES_MAX: usize = 10;
/// Longest value shown.
const SHOWN_CHARS_MAX: usize = 200;

/// One line for each difference; none where the values are equal.
pub fn differences(json: &Json, found: &Value, wanted: &Value) -> mlua::Result<Vec<String>> {
    let mut lines = Vec::new();
    Comparison { json, lines: &mut lines }.compare(String::new(), found, wanted, 0)?;
    lines.truncate(DIFFERENCES_MAX);
    Ok(lines)
}

struct Comparison<'a> {
    json: &'a Json,
    lines: &'a mut Vec<String>,
}

impl Comparison<'_> {
    fn compare(
        &mut self,
        path: String,
        found: &Value,
        wanted: &Value,
        depth: usize,
    ) -> mlua::Result<()> {
        if depth > DEPTH_MAX {
            return Err(mlua::Error::runtime(format!("t.equal: nested deeper than {DEPTH_MAX}")));
        }
        match (found, wanted) {
            (Value::Table(one), Value::Table(other)) if one != other => {
                self.compare_tables(&path, one, other, depth)
            }
            _ if same(found, wanted) => Ok(()),
            _ => {
                let (found, wanted) = (shown(self.json, found), shown(self.json, wanted));
                let at = if path.is_empty() { path } else { format!("{path}: ") };
                self.lines.push(format!("{at}expected {wanted}, got {found}"));
                Ok(())
            }
        }
    }

    fn compare_tables(
        &mut self,
        path: &str,
        found: &Table,
        wanted: &Table,
        depth: usize,
    ) -> mlua::Result<()> {
        let mut keys: Vec<(String, Value)> = Vec::new();
        for pair in wanted.pairs::<Value, Value>().chain(found.pairs()) {
            let (key, _) = pair?;
            keys.push((key.to_string()?, key));
        }
        // In a fixed order; a key of both is there twice.
        keys.sort_by(|(one, _), (other, _)| one.cmp(other));
        keys.dedup_by(|(_, one), (_, other)| same(one, other));
        for (name, key) in keys {
            let path = match &key {
                Value::String(_) => format!("{path}.{name}"),
                _ => format!("{path}[{name}]"),
            };
            let (one, other): (Value, Value) = (found.raw_get(&key)?, wanted.raw_get(&key)?);
            self.compare(path, &one, &other, depth + 1)?;
        }
        Ok(())
    }
}

/// Luau has one type of number, mlua two.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Integer(one), Value::Number(other))
        | (Value::Number(other), Value::Integer(one)) => *one as f64 == *other,
        _ => one == other,
    }
}

/// A value as a person reads it: as JSON where it can be that.
pub fn shown(json: &Json, value: &Value) -> String {
    let text = match value {
        Value::Nil => "nil".to_owned(),
        _ => json.encode(value).unwrap_or_else(|_| format!("a {}", type_name(value))),
    };
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
