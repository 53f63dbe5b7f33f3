//! What a script can not reach.

use super::*;

#[test]
fn nothing_that_reaches_outside_is_there() {
    for name in [
        "io",
        "load",
        "loadstring",
        "loadfile",
        "dofile",
        "package",
        "getfenv",
        "setfenv",
        "newproxy",
        "gcinfo",
        "module",
        "buffer",
        "vector",
        "integer",
        "os.execute",
        "os.getenv",
        "os.exit",
        "os.remove",
        "os.rename",
        "os.tmpname",
        "debug.getinfo",
        "debug.info",
        "debug.getregistry",
        "debug.getmetatable",
        "debug.setmetatable",
        "debug.sethook",
        "debug.getupvalue",
        "string.dump",
    ] {
        assert_eq!(eval(name), "nil", "{name}");
    }
}

#[test]
fn what_is_there_can_not_be_changed() {
    for code in [
        "string.format = nil",
        "string.new = 1",
        "table.insert = print",
        "math.pi = 3",
        "_G.pcall = nil",
        "coroutine.resume = nil",
        "debug.traceback = nil",
        "rawset(string, 'x', 1)",
        "rawset(relay, 'broadcast', nil)",
        "rawset(relay.json, 'null', nil)",
        "rawset(relay.config, 'x', 1)",
        "relay.config.greeting = 'x'",
        "relay.config.deep.on = false",
        "msg.data.n = 1",
        "msg.data.n[1] = 7",
        "client.headers.host = 'x'",
        "table.insert(relay.config.list, 3)",
        "table.clear(msg.data)",
        "collectgarbage('collect')",
        "collectgarbage('stop')",
    ] {
        assert!(run(code).is_err(), "{code}");
    }
    // A handler's own globals hide nothing from the host, and no library changes.
    let hidden = run("string = nil pcall = nil client:send(('x'):upper())");
    assert_eq!(hidden, Ok(vec!["1 < X".to_owned()]));
}

#[test]
fn metatables_of_strings_and_host_objects_are_locked() {
    eval_all(&[
        ("getmetatable('')", "string"),
        ("getmetatable(client)", "false"),
        ("getmetatable(msg)", "false"),
        ("getmetatable(relay.json.null)", "false"),
        ("pcall(setmetatable, msg, {})", "false"),
        ("getmetatable(relay)", "relay"),
        ("getmetatable(relay.json)", "relay.json"),
        ("getmetatable(relay.json.array())", "array"),
        ("pcall(setmetatable, relay, {})", "false"),
        ("pcall(setmetatable, relay.json.array(), {})", "false"),
        ("getmetatable(_G)", "nil"),
    ]);
    assert!(run("getmetatable('').__index = {}").is_err());
}

#[test]
fn bytecode_is_not_loaded() {
    let compiled = mlua::chunk::Compiler::new().compile("on.default = print").expect("compiled");
    let compiled = String::from_utf8_lossy(&compiled);
    assert!(compiled.starts_with(|first: char| first < '\n'), "what mlua takes for bytecode");
    let error = load_error(&compiled);
    assert!(error.starts_with("scripts/opcodes.lua: attempt to load a binary chunk"), "{error}");
    // That of other Luas is text with a mistake in it.
    let error = load_error("\u{1b}Lua");
    assert!(error.starts_with("scripts/opcodes.lua:1: Expected identifier"), "{error}");
}

#[test]
fn what_is_harmless_works() {
    eval_all(&[
        ("collectgarbage('count') > 0", "true"),
        ("type(debug.traceback())", "string"),
        ("os.time() > 1e9", "true"),
        ("bit32.band(6, 3)", "2"),
        ("utf8.char(252)", "ü"),
        ("('x'):rep(3)", "xxx"),
    ]);
}

#[test]
fn host_functions_that_act_are_refused_while_the_script_loads() {
    for code in [
        "relay.deliver('u', 'x')",
        "relay.broadcast('x')",
        "relay.find('u')",
        "relay.find(nil)",
        "relay.count()",
    ] {
        let error = load_error(&format!("\n{code}\nfunction on.default() end"));
        let expected = "scripts/opcodes.lua:2: can not be called while the script loads";
        assert!(error.starts_with(expected), "{error}");
    }
    Stage::new(
        "assert(relay.json.encode({1}) == '[1]' and relay.now() > 1e9 and relay.api_version == 1)
        assert(relay.config.greeting == 'hello') relay.log.info('x') print('x', nil)
        function on.default() end",
    );
}

#[test]
fn names_from_the_wire_reach_only_what_was_defined() {
    let script = "function opcodes.__index(client) client:send('a') end
        function opcodes.connect(client) client:send('b') end
        function opcodes.on(client) client:send('c') end
        setmetatable(opcodes, {__index = function() return opcodes.on end})";
    let mut stage = Stage::new(script);
    let never = "scripts/opcodes.lua:1: opcodes.__index is never called: \
                 the name starts with two underscores";
    assert_eq!(stage.engine.warnings(), [never]);
    let client = stage.web("/");
    let cases =
        [("__index", None), ("connect", Some("1 < b")), ("on", Some("1 < c")), ("other", None)];
    for (opcode, sent) in cases {
        let took = stage.says(&client, &format!(r#"{{"opcode":"{opcode}"}}"#)).expect("handled");
        assert_eq!(took.first().map(String::as_str), sent, "{opcode}");
    }
}

#[test]
fn huge_tables_are_errors_and_no_panics() {
    for (code, problem) in [
        (
            "local t = {} for i = 1, 3e5 do t[i] = {} end client:send(t)",
            "a table of more than 262144 entries can not be JSON",
        ),
        (
            "local t = {} for i = 1, 3e5 do t['k' .. i] = {} end client:send(t)",
            "an object of more than 65536 keys can not be JSON",
        ),
    ] {
        let error = run(code).expect_err(code);
        assert!(error.contains(problem), "{code}: {error}");
    }
}
