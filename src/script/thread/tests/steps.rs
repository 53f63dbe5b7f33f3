//! The longest single steps that the guards and the memory limit allow: no interrupt ends these.

use std::time::Instant;

use super::*;

const STEPS: [(&str, &str); 19] = [
    (
        "plain find",
        "local s, p = ('a'):rep(2e6), ('a'):rep(50) .. 'b' return function() s:find(p, 1, true) end",
    ),
    (
        "plain find of long",
        "local s, p = ('a'):rep(16e3), ('a'):rep(15e3) .. 'b' return function() s:find(p, 1, true) end",
    ),
    (
        "set in a pattern",
        "local s, p = ('a'):rep(5e5), '[bcdefghijklmnopqrstuvwxyza]*$' return function() s:find(p) end",
    ),
    (
        "set of classes",
        "local s, p = ('a'):rep(4.5e5), '[%d%d%d%d%d%d%d%d%d%d%d%d%w]*$' return function() s:find(p) end",
    ),
    ("%b", "local s = ('('):rep(2e6) return function() s:find('^%b()') end"),
    ("split", "local s = ('a,'):rep(5e5) return function() s:split(',') end"),
    ("split to letters", "local s = ('a,'):rep(5e5) return function() s:split('') end"),
    ("lower", "local s = ('A'):rep(8e6) return function() s:lower() end"),
    ("utf8.len", "local s = ('ä'):rep(4e6) return function() utf8.len(s) end"),
    ("rep", "return function() local s = ('x'):rep(16e6) end"),
    ("join", "local s = ('x'):rep(15e6) return function() local t = s .. 'x' end"),
    ("%q", "local s = ('\\n'):rep(8e6) return function() string.format('%q', s) end"),
    (
        "%.99f",
        "local t, f = table.create(3200, 1e308), ('%.99f'):rep(3200) return function() string.format(f, table.unpack(t)) end",
    ),
    ("tonumber", "local s = ('1'):rep(16e6) return function() tonumber(s) end"),
    (
        "insert in front",
        "local t = table.create(1.5e6, 0) return function() table.insert(t, 1, 0) end",
    ),
    ("concat of nothing", "local t = table.create(2e6, '') return function() table.concat(t) end"),
    ("move", "local t = {} return function() table.move(t, 1, 262144, 1e6) end"),
    ("find in a table", "local t = table.create(2e6, 0) return function() table.find(t, 1) end"),
    (
        "next of an emptied table",
        "local t = {} for i = 1, 5e5 do t['k' .. i] = true end for k in t do t[k] = nil end return function() next(t) end",
    ),
];

#[test]
#[ignore = "prints times"]
fn how_long_single_steps_take() {
    for (name, code) in STEPS {
        let script = format!(
            "local step = (function() {code} end)()
            function opcodes.run(client) step() client:send('done') end"
        );
        let mut room = Room::new("steps", &script);
        room.decide([connected(1)]);
        let start = Instant::now();
        let took = room.decide([says(1, r#"{"opcode":"run"}"#)]);
        println!("{:>6.1} ms {name} {}", start.elapsed().as_secs_f64() * 1000.0, took[1]);
    }
}

#[test]
#[ignore = "prints times"]
fn what_a_dispatch_costs() {
    let mut room = Room::new("cost", "function opcodes.x(client, msg) local a = msg.opcode end");
    room.decide([connected(1)]);
    let mut message = message(r#"{"opcode":"x"}"#);
    let client = room.thread.client(id(1)).expect("connected");
    for _ in 0..3 {
        let start = Instant::now();
        for _ in 0..200_000 {
            room.thread.handle(|engine| engine.on_message(&client, &mut message)).expect("handled");
        }
        println!("{:.0} ns", start.elapsed().as_secs_f64() * 1e9 / 200_000.0);
    }
}
