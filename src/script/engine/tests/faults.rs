//! What people read when a script is wrong.

use super::*;
use crate::script::budget::Kill;
use crate::script::fault::Fault;
use crate::script::source::Source;

#[test]
fn a_runtime_error_shows_line_caret_and_way() {
    let script = "local function helper(msg)
\tlocal id = msg.data.x.uuid
\treturn id
end

function opcodes.go(client, msg)
  local id = helper(msg)
end
";
    let mut stage = Stage::new(script);
    let client = stage.web("/");
    let error = stage.says(&client, r#"{"opcode":"go"}"#).expect_err("fails");
    assert_eq!(error.summary(), "scripts/opcodes.lua:2: attempt to index nil with 'uuid'");
    assert_eq!(
        error.to_string(),
        "scripts/opcodes.lua:2: attempt to index nil with 'uuid'
     2 |     local id = msg.data.x.uuid
       |                           ^
  at scripts/opcodes.lua:2 in function 'helper'
  at scripts/opcodes.lua:7 in function 'go'"
    );
}

#[test]
fn errors_of_host_functions_look_like_any_other() {
    let mut stage = Stage::with("local x = 1\nclient:send(7)");
    let client = stage.web("/");
    let error = stage.says(&client, "{}").expect_err("fails").to_string();
    assert_eq!(
        error,
        "scripts/opcodes.lua:3: a number can not be sent, only msg, a table or a text
     3 | client:send(7)
       | ^
  at scripts/opcodes.lua:3 in function 'default'"
    );
}

#[test]
fn a_caught_error_is_a_text() {
    for (code, expected) in [
        ("pcall(client.send, client, 7)", "false string"),
        ("pcall(error, 'x')", "false string"),
        ("xpcall(function() client:send(7) end, function(e) return e end)", "false string"),
        ("coroutine.resume(coroutine.create(function() client:send(7) end))", "false string"),
        ("pcall(error, {})", "false table"),
        ("pcall(function() return 'x' end)", "true string"),
    ] {
        let sent =
            run(&format!("local ok, why = {code} client:send(tostring(ok) .. ' ' .. type(why))"));
        assert_eq!(sent, Ok(vec![format!("1 < {expected}")]), "{code}");
    }
    let sent = run("local ok, why = pcall(function() client:send(7) end) client:send(why)");
    let expected =
        "1 < scripts/opcodes.lua:2: a number can not be sent, only msg, a table or a text";
    assert_eq!(sent.map(|sent| sent.concat()), Ok(expected.to_owned()));
}

#[test]
fn a_peer_can_not_forge_log_lines_or_flood_the_log() {
    let error = run("error('a\\nERROR b\\r\\27[31m' .. string.rep('x', 5000))").expect_err("fails");
    assert!(error.starts_with("scripts/opcodes.lua:2: a\n  ERROR b\\r\\u{1b}[31mx"), "{error}");
    assert!(error.len() < 1_500, "{}", error.len());
    let deep = run("local function f(n) return 1 + f(n + 1) end f(1)").expect_err("fails");
    assert!(deep.lines().count() < 20, "{deep}");
}

#[test]
fn error_values_of_any_kind_are_survived() {
    for code in [
        "error()",
        "error(nil)",
        "error({})",
        "error(client)",
        "error(0/0)",
        "error('', 0)",
        "coroutine.yield()",
        "error(setmetatable({}, {__tostring = function() error('again') end}))",
    ] {
        assert!(!run(code).expect_err(code).is_empty(), "{code}");
    }
}

#[test]
fn load_errors_name_the_line() {
    for (script, start, within) in [
        ("function on.default()\n  local = 1\nend", ":2: ", "local = 1"),
        ("\n\nerror('no')", ":3: no", "error('no')"),
        ("\nrelay.jsn()", ":2: relay has no field 'jsn' (did you mean 'json'?)", "^"),
        ("", ": no opcode handler, no on.default and no on.text", ""),
        (
            "\nfunction on.conect() end",
            ":2: there is no hook on.conect (did you mean 'connect'?)",
            "^",
        ),
        ("\non.default = 7", ":2: on.default is a", "not a function"),
        ("opcodes.a = print\n\nopcodes.b = 'x'", ":3: opcodes.b is a string", "opcodes.b = 'x'"),
        ("opcodes[1] = print", ":1: a key of 'opcodes' is a", "not a name"),
        ("opcodes = nil", ":1: 'opcodes' must stay a table", "opcodes = nil"),
        ("function opcodes.__x() end", ": no opcode handler", ""),
    ] {
        let error = load_error(script);
        assert!(error.starts_with(&format!("scripts/opcodes.lua{start}")), "{script}\n{error}");
        assert!(error.contains(within), "{script}\n{error}");
    }
}

#[test]
fn a_load_that_fails_for_an_unknown_name_says_so() {
    let script = "-- strng\nlocal f = function() return strng end\nprint(strng.rep('x', 2))";
    let error = load_error(script);
    let wanted =
        "nil with 'rep'; nothing defines 'strng' (did you mean 'string'?)\n     3 | print(";
    assert!(error.contains(wanted), "{error}");
    let error = load_error("local f = function() return strng end\nerror('no')");
    assert!(!error.contains("strng"), "{error}");
}

#[test]
fn where_a_load_was_killed_is_nothing_wrong() {
    let source = Source::new("a.lua", "\nfor n = 1, 1e9 do print(prnt) end");
    let fault = |kill| Fault::from_call((mlua::Error::runtime("a.lua:2: x"), kill), &source);
    assert!(fault(None).own_line(&source).is_some_and(|line| line.starts_with("for")));
    assert_eq!(fault(Some(Kill::Time)).own_line(&source), None);
    assert_eq!(fault(None).own_line(&Source::new("b.lua", source.text.clone())), None);
}

#[test]
fn stray_globals_are_reported_with_their_line() {
    let stage = Stage::new("\ncount = 0\nfunction helper() end\nfunction on.default() end");
    assert_eq!(
        stage.engine.warnings(),
        [
            "scripts/opcodes.lua:2: 'count' is a global, write 'local count'",
            "scripts/opcodes.lua:3: 'helper' is a global, write 'local helper'",
        ]
    );
    // A table of one's own in place of the given one is fine.
    let mut stage = Stage::new("opcodes = { go = function(client) client:send('x') end }");
    let client = stage.web("/");
    assert_eq!(stage.says(&client, r#"{"opcode":"go"}"#).expect("handled"), ["1 < x"]);
}

#[test]
fn many_warnings_of_one_kind_are_one() {
    let names: String = (10..99).map(|n| format!("g{n} = 1 ")).collect();
    let script = format!(
        "{names}
        for n = 10, 99 do opcodes['__' .. n] = print end
        function on.default() end"
    );
    let stage = Stage::new(&script);
    let warnings = stage.engine.warnings();
    assert_eq!(warnings.len(), 40);
    assert!(warnings[0].starts_with("scripts/opcodes.lua:1: 'g10' is a global"), "{warnings:?}");
    assert!(warnings[19].ends_with("'local g29' (and 69 more like this)"), "{warnings:?}");
    assert!(warnings[39].ends_with("two underscores (and 70 more like this)"), "{warnings:?}");
    let reads: String = (0..3_000).map(|n| format!("f = function() return u{n} end ")).collect();
    let stage = Stage::new(&format!("local f {reads} function on.default() end"));
    let warnings = stage.engine.warnings();
    assert_eq!(warnings.len(), 20);
    assert!(warnings[19].ends_with("(and at least 980 more like this)"), "{warnings:?}");
}

#[test]
fn a_handler_that_is_defined_after_the_load_is_a_mistake_with_its_line() {
    for (table, name) in [("opcodes", "late"), ("on", "connect")] {
        let script = format!("function opcodes.x()\n  function {table}.{name}() end\nend");
        let mut stage = Stage::new(&script);
        let client = stage.web("/");
        let error = stage.says(&client, r#"{"opcode":"x"}"#).expect_err("refused").to_string();
        assert!(error.starts_with("scripts/opcodes.lua:2: "), "{error}");
        assert!(error.contains("readonly"), "{error}");
    }
}

#[test]
fn an_error_that_is_a_table_is_told_without_its_address() {
    let mut stage = Stage::new("function opcodes.x() error({why = 'no'}) end");
    let client = stage.web("/");
    let error = stage.says(&client, r#"{"opcode":"x"}"#).expect_err("fails").to_string();
    assert!(error.starts_with("scripts/opcodes.lua:1: the error is a table: raise a"), "{error}");
}

/// A script makes names of anything, from what a peer sent perhaps.
#[test]
fn a_warning_is_one_short_line_whatever_the_name_is() {
    let long = "c".repeat(2_000);
    let stage = Stage::new(&format!(
        r#"function opcodes.a() end
        opcodes["__a\n2026-11-26 ERROR forged \27[31m"] = print
        opcodes["__" .. ("b"):rep(1e6)] = print
        {long} = 1"#,
    ));
    let warnings = stage.engine.warnings();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    for warning in warnings {
        assert!(!warning.contains(char::is_control), "{warning:?}");
        assert!(warning.chars().count() < 1_100, "{warning:?}");
    }
}
