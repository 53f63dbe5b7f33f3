//! What of Luau's library works for long in one step, which no interrupt can end, is bounded here.
//!
//! The bounds are chosen so that one step takes some 50 ms at the most. What a message can hold by
//! default stays far below them.

use mlua::Lua;
use mlua::chunk::Compiler;

/// Replaces functions by ones that look at the size of their arguments first. The memory limit
/// bounds the rest: no text is over 64 MiB, no table over 4 million entries.
///
/// * A plain search may compare its whole needle at every byte of the text, and a set in a pattern
///   is read anew for every byte. (Patterns as such are interrupted at every step.)
/// * `sort` compares without a step between; with a function in Lua there is one.
/// * `move` goes through its range, however empty; `insert` and `remove` move what is behind.
/// * `%q` looks at each byte.
/// * `pack`, `foreach` and `foreachi` are not of Lua 5.1's lasting part, and not worth a bound.
const GUARDS: &str = r#"
local string, table, utf8, os, info = ...
local type, error, tonumber, tostring = type, error, tonumber, tostring

local TEXT, WORK, SETS = 2097152, 268435456, 16777216

local function refuse(name, what, most)
    error(name .. ": " .. what .. " longer than " .. most .. " bytes", 3)
end

local find = string.find

local function hard(s, p, plain)
    local work = #s * #p
    return #s > TEXT or work > WORK or work > SETS and not plain and find(p, "[", 1, true)
end

for _, name in { "find", "match", "gmatch", "gsub" } do
    local native, finds = string[name], name == "find"
    string[name] = function(s, p, a, b)
        if type(s) == "string" and type(p) == "string" and #s * (#p + 8) > SETS
            and hard(s, p, finds and b) then
            error("string." .. name .. ": the text and the pattern are too long", 2)
        end
        return native(s, p, a, b)
    end
end

local split = string.split
function string.split(s, at)
    if type(s) == "string" and #s > 1048576 then
        refuse("string.split", "a text", 1048576)
    elseif type(at) == "string" and #at > 256 then
        refuse("string.split", "a separator", 256)
    end
    return split(s, at)
end

local format = string.format
function string.format(s, ...)
    if type(s) == "string" and #s > 16384 then
        refuse("string.format", "a format", 16384)
    elseif type(s) == "string" and find(s, "%q", 1, true) then
        for _, text in { ... } do
            if type(text) == "string" and #text > 1048576 then
                refuse("string.format", "a text for %q", 1048576)
            end
        end
    end
    return format(s, ...)
end

-- Luau takes a text of digits for a number, and a number for a text.
local rep = string.rep
function string.rep(s, n)
    local text, count = tostring(s), tonumber(n)
    if count and #text * count > 16777216 then
        refuse("string.rep", "a result", 16777216)
    end
    return rep(s, n)
end

local function bound(library, prefix, name, most)
    local native = library[name]
    library[name] = function(s, ...)
        if type(s) == "string" and #s > most then
            refuse(prefix .. name, "a text", most)
        end
        return native(s, ...)
    end
end

bound(string, "string.", "lower", 8388608)
bound(string, "string.", "upper", 8388608)
bound(string, "string.", "reverse", 8388608)
bound(utf8, "utf8.", "len", 8388608)
bound(utf8, "utf8.", "offset", 8388608)
bound(utf8, "utf8.", "codepoint", 8388608)
bound(os, "os.", "date", 256)

local move = table.move
function table.move(from, first, last, at, to)
    local from_number, to_number = tonumber(first), tonumber(last)
    if from_number and to_number and to_number - from_number >= 262144 then
        error("table.move: more than 262144 entries", 2)
    end
    return move(from, first, last, at, to)
end

-- Appending is the common case, and done by Luau without these.
for _, name in { "insert", "remove" } do
    local native = table[name]
    table[name] = function(list, at, ...)
        local place = tonumber(at)
        if place and type(list) == "table" and #list - place > 1048576 then
            error("table." .. name .. ": more than 1048576 entries to move", 2)
        end
        return native(list, at, ...)
    end
end

local sort = table.sort
local function before(a, b)
    return a < b
end
function table.sort(list, less)
    if less == nil then
        less = before
    elseif type(less) == "function" and info(less, "s") == "[C]" then
        local native = less
        less = function(a, b) return native(a, b) end
    end
    return sort(list, less)
end

for _, name in { "pack", "packsize", "unpack" } do
    string[name] = nil
end
table.foreach, table.foreachi = nil, nil
"#;

/// Needs `debug.info`, and every library still writable.
pub fn install(lua: &Lua) -> mlua::Result<()> {
    let globals = lua.globals();
    let library = |name: &str| globals.raw_get::<mlua::Table>(name);
    let info: mlua::Function = library("debug")?.raw_get("info")?;
    let libraries = (library("string")?, library("table")?, library("utf8")?, library("os")?, info);
    // Without line numbers errors of the guarded functions get no place of their own; that of the
    // script is in the traceback.
    lua.load(GUARDS)
        .set_name("=relay")
        .set_compiler(Compiler::new().set_optimization_level(2).set_debug_level(0))
        .call(libraries)
}
