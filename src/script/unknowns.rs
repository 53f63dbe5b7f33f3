//! Names that a script reads and nothing defines: a mistyped function of the relay's, most of all, which
//! would be noticed only when its line is run.
//!
//! Nothing is parsed here. Luau resolves the globals that a chunk never writes, with up to two fields,
//! when it loads the chunk, in all of its functions: loaded into a VM of its own, whose globals note what
//! they are asked for, and not run. A global that the chunk writes itself is none of them, and neither
//! are a local's fields.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Lua, LuaOptions, StdLib, Table, Value};

use super::sandbox;
use super::source::Source;
use super::suggest::did_you_mean;

/// Tables whose fields are for the script to have or not to have.
const FREE: [&str; 4] = ["_G", "on", "opcodes", "relay.config"];

/// A name that is read, and what it may have been meant to be.
pub struct Unknown {
    /// With the tables it is looked up in, as it is read: `relay.brodcast`.
    pub path: String,
    pub line: Option<usize>,
    suggestion: String,
}

impl Unknown {
    pub fn words(&self) -> String {
        format!("nothing defines '{}'{}", self.path, self.suggestion)
    }
}

type Noted = Rc<RefCell<BTreeSet<String>>>;

/// Those of a text, where it runs in this environment, in alphabetical order. `globals` are what that
/// starts from. None for a text that is no Lua.
pub fn of(source: &Source, environment: &Table, globals: &Table) -> Vec<Unknown> {
    let noted = reads(source).unwrap_or_default();
    let unknown = |path: &String| judge(path, environment, globals);
    let mut found: Vec<(String, String)> = noted.iter().filter_map(unknown).collect();
    found.dedup();
    let line = |path: &str| {
        let name = path.rsplit('.').next().unwrap_or(path);
        source.line_of(path).or_else(|| source.line_of(name))
    };
    found
        .into_iter()
        .map(|(path, suggestion)| Unknown { line: line(&path), path, suggestion })
        .collect()
}

/// What a text reads of its globals.
fn reads(source: &Source) -> mlua::Result<BTreeSet<String>> {
    let lua = Lua::new_with(StdLib::NONE, LuaOptions::default())?;
    lua.set_compiler(sandbox::compiler());
    let (noted, globals) = (Noted::default(), lua.globals());
    globals.clear()?;
    globals.set_metatable(Some(noting(&lua, Rc::clone(&noted), String::new())?))?;
    // Nothing is resolved early but in globals that nobody else can change.
    lua.sandbox(true)?;
    lua.load(source.text.as_str()).set_mode(ChunkMode::Text).into_function()?;
    Ok(noted.take())
}

/// A metatable that notes what is read, and has something behind each name.
fn noting(lua: &Lua, noted: Noted, of: String) -> mlua::Result<Table> {
    let index = lua.create_function(move |lua, (_, name): (Value, String)| {
        let path = format!("{of}{name}");
        noted.borrow_mut().insert(path.clone());
        let fields = lua.create_table()?;
        fields.set_metatable(Some(noting(lua, Rc::clone(&noted), format!("{path}."))?))?;
        Ok(fields)
    })?;
    let metatable = lua.create_table()?;
    metatable.raw_set("__index", index)?;
    Ok(metatable)
}

/// The part of a path that is not there, with a suggestion.
fn judge(path: &str, environment: &Table, globals: &Table) -> Option<(String, String)> {
    let mut table = environment.clone();
    let mut end = 0;
    for name in path.split('.') {
        if FREE.contains(&path[..end].trim_end_matches('.')) {
            return None;
        }
        end += name.len() + 1;
        match table.get(name) {
            // The relay's own tables know no such name, and say so.
            Ok(Value::Nil) | Err(_) => {
                let names = names(&table).chain(names(globals).filter(|_| table == *environment));
                let known: Vec<String> = names.collect();
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                return Some((path[..end - 1].to_owned(), did_you_mean(name, &known)));
            }
            Ok(Value::Table(fields)) => table = fields,
            Ok(_) => return None,
        }
    }
    None
}

fn names(table: &Table) -> impl Iterator<Item = String> + use<> {
    let keys = table.pairs::<String, Value>().filter_map(Result::ok).map(|(name, _)| name);
    keys.collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(text: &str) -> Vec<String> {
        let lua = Lua::new();
        let relay = "relay = { broadcast = print, json = { decode = print }, config = {} }\n\
                     opcodes, on = {}, {}";
        lua.load(relay).exec().expect("Lua");
        let globals = lua.globals();
        let found = of(&Source::new("a.lua", text), &globals, &globals);
        found.iter().map(|it| format!("{}: {}", it.line.unwrap_or_default(), it.words())).collect()
    }

    #[test]
    fn what_nothing_defines_is_found_though_it_is_never_run() {
        let text = "function opcodes.a(client)\n\
                    \x20 if client.x then relay.brodcast('x') end\n\
                    \x20 return function() return relay.json.decod, pirnt end\n\
                    end\n\
                    function opcods.b() strng.format('x') end";
        assert_eq!(
            unknown(text),
            [
                "5: nothing defines 'opcods' (did you mean 'opcodes'?)",
                "3: nothing defines 'pirnt' (did you mean 'print'?)",
                "2: nothing defines 'relay.brodcast' (did you mean 'broadcast'?)",
                "3: nothing defines 'relay.json.decod' (did you mean 'decode'?)",
                "5: nothing defines 'strng' (did you mean 'string'?)",
            ]
        );
    }

    #[test]
    fn what_somebody_defines_or_may_define_is_not() {
        for text in [
            "local relay = {} relay.brodcast()",
            "local function f(prnt) return prnt.x end",
            "mine = mine or 1 function f() return mine, other end function g() other = 1 end",
            "if relay.config.greeting then print(on.connect, opcodes.x, _G.y) end",
            "local text = 'relay.brodcast()' -- relay.brodcast()",
            "return relay.broadcast, relay.json.decode, string.format",
            "no Lua",
        ] {
            assert_eq!(unknown(text), [] as [String; 0], "{text}");
        }
    }
}
