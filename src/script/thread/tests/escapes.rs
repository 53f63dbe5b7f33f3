//! Handlers that try to get out, or to change what others rely on.

use super::*;

/// Each answers true if it got somewhere. Those that fail got nowhere.
const ESCAPES: [(&str, &str); 40] = [
    ("files", "return io ~= nil or os.open ~= nil"),
    ("processes", "return os.execute ~= nil or os.exit ~= nil or os.getenv ~= nil"),
    ("files removed", "return os.remove ~= nil or os.rename ~= nil or os.tmpname ~= nil"),
    ("load", "return load ~= nil or loadstring ~= nil or loadfile ~= nil or dofile ~= nil"),
    ("require of a file", "return require('/etc/passwd') ~= nil"),
    ("require of a library", "return require('io') ~= nil"),
    ("package", "return package ~= nil"),
    ("bytecode", "return string.dump ~= nil"),
    ("getfenv", "return getfenv ~= nil"),
    ("setfenv", "return setfenv ~= nil"),
    ("newproxy", "return newproxy ~= nil"),
    ("debug.getinfo", "return debug.getinfo ~= nil or debug.info ~= nil"),
    ("debug.getregistry", "return debug.getregistry ~= nil"),
    ("debug.setmetatable", "return debug.setmetatable ~= nil or debug.getmetatable ~= nil"),
    ("debug.getupvalue", "return debug.getupvalue ~= nil or debug.setupvalue ~= nil"),
    ("debug.sethook", "return debug.sethook ~= nil"),
    ("buffer", "return buffer ~= nil"),
    ("string.pack", "return string.pack ~= nil or string.unpack ~= nil"),
    ("table.foreach", "return table.foreach ~= nil or table.foreachi ~= nil"),
    ("string's metatable", "return type(getmetatable('')) == 'table'"),
    ("string's index", "getmetatable('').__index = {} return true"),
    ("string's method", "string.upper = function() return 'x' end return true"),
    ("string's method by rawset", "rawset(string, 'upper', print) return true"),
    ("string's method, emptied", "table.clear(string) return true"),
    ("client's metatable", "return type(getmetatable(client)) == 'table'"),
    ("client's metatable set", "setmetatable(client, {}) return true"),
    ("client's method", "client.send = print return true"),
    ("msg's metatable", "return type(getmetatable(msg)) == 'table'"),
    ("msg's field", "msg.opcode = 'x' return true"),
    ("relay's metatable", "return type(getmetatable(relay)) == 'table'"),
    ("relay's metatable set", "setmetatable(relay, nil) return true"),
    ("relay's function", "relay.broadcast = print return true"),
    ("relay's function by rawset", "rawset(relay, 'broadcast', print) return true"),
    ("library table", "table.insert = nil return true"),
    ("guarded function", "string.find = nil return true"),
    ("math", "math.huge = 1 return true"),
    (
        "all globals",
        "return getmetatable(_G) ~= nil and type(getmetatable(_G)) == 'table' and getmetatable(_G).__index ~= nil",
    ),
    ("base globals", "_G.pcall = nil return pcall == nil and false"),
    ("collector", "collectgarbage('stop') return true"),
    (
        "thread's environment",
        "local f = coroutine.wrap(function() return getfenv end) return f() ~= nil",
    ),
];

#[test]
fn nobody_gets_out() {
    for (name, code) in ESCAPES {
        let script = format!(
            "function opcodes.run(client, msg)\n\
             local function attempt() {code} end\n\
             local ok, got = pcall(attempt)\n\
             client:send(ok and tostring(got) or 'refused')\nend\n\
             function opcodes.ok(client) client:send(('ok'):upper()) end"
        );
        let mut room = Room::new("escape", &script);
        room.decide([connected(1)]);
        let took = room.decide([says(1, r#"{"opcode":"run"}"#)]);
        let safe = ["1 < false", "1 < refused"].contains(&took[1].as_str());
        assert!(safe, "{name}: {took:?}");
        let took = room.decide([says(1, r#"{"opcode":"ok"}"#)]);
        assert_eq!(took, ["1 next", "1 < OK"], "{name}");
    }
}

#[test]
fn opcodes_reach_only_what_the_script_named() {
    let script = "function opcodes.on(client) client:send('on') end
        function opcodes.constructor(client) client:send('constructor') end
        function opcodes.__index(client) client:send('never') end
        setmetatable(opcodes, {__index = function() return opcodes.on end})";
    let mut room = Room::new("opcodes", script);
    room.decide([connected(1)]);
    for (opcode, heard) in [
        ("on", vec!["1 next", "1 < on"]),
        ("constructor", vec!["1 next", "1 < constructor"]),
        ("__index", vec!["1 next"]),
        ("__gc", vec!["1 next"]),
        ("toString", vec!["1 next"]),
        ("connect", vec!["1 next"]),
        ("pcall", vec!["1 next"]),
    ] {
        let took = room.decide([says(1, &format!(r#"{{"opcode":"{opcode}"}}"#))]);
        assert_eq!(took, heard, "{opcode}");
    }
}
