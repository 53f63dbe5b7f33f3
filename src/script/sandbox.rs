//! The VM a script runs in: what it can reach of Lua.

use mlua::chunk::Compiler;
use mlua::{Function, Lua, LuaOptions, LuaString, StdLib, Table, Value};

use super::fault::caught;
use super::guards;
use super::source::Source;

/// The globals that stay. Everything else that Luau or mlua brings (`loadstring`, `require` of
/// files, `getfenv`, `newproxy` ...) goes; a new version of theirs can not slip something in.
const GLOBALS: [&str; 28] = [
    "_G",
    "_VERSION",
    "assert",
    "bit32",
    "collectgarbage",
    "coroutine",
    "debug",
    "error",
    "getmetatable",
    "ipairs",
    "math",
    "next",
    "os",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",
    "select",
    "setmetatable",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
    "utf8",
    "xpcall",
];

/// What stays of the libraries that reach beyond the script.
const PARTS: [(&str, &[&str]); 2] =
    [("debug", &["traceback"]), ("os", &["clock", "date", "difftime", "time"])];

/// Errors of host functions are objects of mlua. A script that catches one gets its text, as from
/// any other error; `words` makes it.
const CATCHING: &str = r#"
local pcall, xpcall, resume, type, words = ...
local function settle(ok, err, ...)
    if ok or type(err) ~= "userdata" then return ok, err, ... end
    return false, words(err)
end
return function(...) return settle(pcall(...)) end,
    function(run, handler, ...)
        return xpcall(run, function(err)
            if type(err) == "userdata" then err = words(err) end
            return handler(err)
        end, ...)
    end,
    function(...) return settle(resume(...)) end
"#;

/// A VM with writable globals, for the host objects to be put in; [`close`] comes next.
pub fn open(source: &Source) -> mlua::Result<Lua> {
    let libraries = StdLib::COROUTINE
        | StdLib::TABLE
        | StdLib::OS
        | StdLib::STRING
        | StdLib::UTF8
        | StdLib::BIT
        | StdLib::MATH
        | StdLib::DEBUG;
    let lua = Lua::new_with(libraries, LuaOptions::default())?;
    lua.set_compiler(compiler());
    guards::install(&lua)?;
    let globals = lua.globals();
    keep(&globals, &GLOBALS)?;
    for (library, parts) in PARTS {
        keep(&globals.raw_get(library)?, parts)?;
    }
    replace_catching(&lua, &globals, source)?;
    let strings: Option<Table> = lua.type_metatable::<LuaString>();
    if let Some(strings) = strings {
        strings.raw_set("__metatable", "string")?;
    }
    Ok(lua)
}

/// Level 2 would inline functions, and their frames would be missing in tracebacks.
pub fn compiler() -> Compiler {
    Compiler::new().set_optimization_level(1).set_debug_level(1)
}

/// Makes everything that is in the VM by now read-only and gives the script an environment of its own.
pub fn close(lua: &Lua) -> mlua::Result<()> {
    lua.sandbox(true)
}

fn keep(table: &Table, names: &[&str]) -> mlua::Result<()> {
    let mut unknown = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        let (key, _) = pair?;
        let name = key.to_string()?;
        if !names.contains(&name.as_str()) {
            unknown.push(key);
        }
    }
    unknown.into_iter().try_for_each(|key| table.raw_set(key, Value::Nil))
}

fn replace_catching(lua: &Lua, globals: &Table, source: &Source) -> mlua::Result<()> {
    let source = source.clone();
    let words = lua.create_function(move |lua, error: Value| match error {
        Value::Error(error) => Ok(Value::String(lua.create_string(caught(&error, &source))?)),
        other => Ok(other),
    })?;
    let coroutine: Table = globals.raw_get("coroutine")?;
    let originals: (Function, Function, Function, Function, Function) = (
        globals.raw_get("pcall")?,
        globals.raw_get("xpcall")?,
        coroutine.raw_get("resume")?,
        globals.raw_get("type")?,
        words,
    );
    let (pcall, xpcall, resume): (Function, Function, Function) =
        lua.load(CATCHING).set_name("=relay").call(originals)?;
    globals.raw_set("pcall", pcall)?;
    globals.raw_set("xpcall", xpcall)?;
    coroutine.raw_set("resume", resume)
}
