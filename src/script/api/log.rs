//! `relay.log`: the script's own lines in the log, each with its generation. Works while the script
//! loads, and what a failed handler logged stays logged.

use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};

use super::seal;
use crate::script::host::Host;
use crate::script::value::light_name;

/// What `log.level` calls these lines.
const TARGET: &str = "relay::script";
/// Longest text of a line; what peers sent may be in it.
const TEXT_BYTES_MAX: usize = 2_000;
/// Longest fields of a line, as JSON.
const FIELDS_BYTES_MAX: usize = 4_000;

#[derive(Clone, Copy)]
enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

pub fn table(lua: &Lua, host: &Rc<Host>) -> mlua::Result<Table> {
    let log = lua.create_table()?;
    let levels = [
        ("debug", Level::Debug),
        ("info", Level::Info),
        ("warn", Level::Warn),
        ("error", Level::Error),
    ];
    for (name, level) in levels {
        let host = Rc::clone(host);
        let function = lua.create_function(move |_, (text, fields): (Value, Option<Table>)| {
            let fields = fields.map(|fields| fields_text(&host, fields));
            write(level, host.generation, &line(&text_of(&text)?), fields.as_deref());
            Ok(())
        })?;
        log.raw_set(name, function)?;
    }
    seal(lua, "relay.log", log)
}

/// `print(...)`, which people write by habit: `relay.log.info` of its arguments, by tabs.
pub fn print(lua: &Lua, host: &Rc<Host>) -> mlua::Result<Function> {
    let generation = host.generation;
    lua.create_function(move |_, values: MultiValue| {
        let texts: Vec<String> = values.iter().map(text_of).collect::<mlua::Result<_>>()?;
        write(Level::Info, generation, &line(&texts.join("\t")), None);
        Ok(())
    })
}

fn text_of(value: &Value) -> mlua::Result<String> {
    match value {
        Value::String(text) => Ok(text.to_string_lossy()),
        Value::LightUserData(light) => Ok(light_name(*light).to_owned()),
        other => other.to_string(),
    }
}

/// A field that can not be JSON must not fail the handler that only wanted to tell something.
fn fields_text(host: &Host, fields: Table) -> String {
    let text = match host.json.encode(&Value::Table(fields)) {
        Ok(text) => text,
        Err(mlua::Error::RuntimeError(why)) => format!("({why})"),
        Err(error) => format!("({error})"),
    };
    cut(&text, FIELDS_BYTES_MAX)
}

/// One line of limited length: control characters could forge further ones.
fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(TEXT_BYTES_MAX));
    for c in cut(text, TEXT_BYTES_MAX).chars() {
        if c.is_control() && c != '\t' {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(bytes_max)])
}

fn write(level: Level, generation: u64, text: &str, fields: Option<&str>) {
    match level {
        Level::Debug => tracing::debug!(target: TARGET, generation, fields, "{text}"),
        Level::Info => tracing::info!(target: TARGET, generation, fields, "{text}"),
        Level::Warn => tracing::warn!(target: TARGET, generation, fields, "{text}"),
        Level::Error => tracing::error!(target: TARGET, generation, fields, "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_not_endless() {
        assert_eq!(line("a\nb\tc\u{1b}[31m"), "a\\nb\tc\\u{1b}[31m");
        let long = line(&"ü".repeat(5_000));
        assert_eq!(long.len(), TEXT_BYTES_MAX + "…".len());
        assert!(long.ends_with('…'));
    }
}
