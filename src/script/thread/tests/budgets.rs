//! What follows when a budget is used up.

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::*;
use crate::script::budget::Stuck;

fn short() -> Budgets {
    Budgets { call_timeout: Duration::from_millis(20), ..budgets() }
}

const LOOPS: &str = "function on.connect(client) if client.path == '/bad' then while true do end end end
    function on.disconnect() while true do end end
    function on.default() while true do end end
    function opcodes.x(client, msg) if msg.uuid then client:send('ok') else while true do end end end
    function opcodes.y(client) client:send('y') end";

fn disabled(reference: &str) -> String {
    format!(r#"1 < {{"opcode":"error","code":"handler_disabled","ref":"{reference}"}}"#)
}

#[test]
fn a_killed_handler_names_its_line_and_the_way_there() {
    let script = "local function helper()\n  while true do\n  end\nend\n\
        function opcodes.x(client)\n  client:send('a')\n  helper()\nend";
    let mut room = Room::within(short(), "line", script);
    room.decide([connected(1)]);
    let block = logged(|| drop(room.decide([says(1, r#"{"opcode":"x"}"#)])));
    let path = room.file.display().to_string();
    let at = |line: usize| {
        format!("handler failed: {path}:{line}: used up its 20 ms (script.call_timeout_ms)\n")
    };
    assert!(block.contains(&at(2)) || block.contains(&at(3)), "{block}");
    assert!(block.contains(&format!("  at {path}:7 in function 'x'")), "{block}");
}

#[test]
fn the_third_kill_within_a_minute_switches_an_opcode_off() {
    let mut room = Room::within(short(), "off", LOOPS);
    room.decide([connected(1)]);
    let log = logged(|| {
        for _ in 0..3 {
            let took = room.decide([says(1, r#"{"opcode":"x"}"#)]);
            assert!(took[1].contains("handler_failed"), "{took:?}");
        }
        for _ in 0..2 {
            let took = room.decide([says(1, r#"{"opcode":"x","uuid":"u"}"#)]);
            assert_eq!(took, ["1 next", &disabled("x")]);
        }
    });
    assert_eq!(log.matches("opcodes.x is switched off until a reload").count(), 1, "{log}");
    assert_eq!(room.decide([says(1, r#"{"opcode":"y"}"#)]), ["1 next", "1 < y"]);
    // The watch does not switch it on again, somebody who asks for it does.
    room.save(LOOPS);
    assert_eq!(room.decide([says(1, r#"{"opcode":"x"}"#)]), ["1 next", &disabled("x")]);
    let asked = Some(crate::script::outcome::question().0);
    room.thread.reload(Reload { asked, ..Reload::default() });
    let took = room.decide([says(1, r#"{"opcode":"x"}"#)]);
    assert!(took[1].contains("handler_failed"), "{took:?}");
    room.save(&format!("{LOOPS}\n-- mended"));
    assert_eq!(room.decide([says(1, r#"{"opcode":"x","uuid":"u"}"#)]), ["1 next", "1 < ok"]);
}

#[test]
fn hooks_are_switched_off_too_but_not_the_greeting() {
    let mut room = Room::within(short(), "hooks", LOOPS);
    room.decide([connected(1)]);
    for opcode in ["a", "b", "c"] {
        room.decide([says(1, &format!(r#"{{"opcode":"{opcode}"}}"#))]);
    }
    assert_eq!(room.decide([says(1, r#"{"opcode":"d"}"#)]), ["1 next", &disabled("d")]);
    for serial in 2..7 {
        let info = info(serial, ClientKind::Web, "/bad", None);
        let took = room.decide([Event::Connected(Box::new(info))]);
        let failed = took[1].contains(r#""code":"handler_failed","ref":"connect""#);
        assert!(failed && took[2].ends_with("closed 1011 handler failed"), "{took:?}");
    }
    for serial in 2..7 {
        let gone = Event::Disconnected { id: id(serial), reason: CloseReason::Internal };
        room.decide([gone]);
    }
    assert!(room.thread.strikes.is_off("on.disconnect"));
    assert_eq!(room.thread.hub.borrow().connected(), 1);
}

#[test]
fn a_client_is_forgotten_even_if_its_farewell_is_switched_off() {
    let mut room = Room::within(short(), "forgotten", LOOPS);
    for serial in 1..6 {
        room.decide([connected(serial)]);
        let client = room.thread.client(id(serial)).expect("connected");
        room.decide([Event::Disconnected { id: id(serial), reason: CloseReason::Internal }]);
        // Collects what nobody holds.
        room.thread.engine.live_memory();
        assert_eq!(Rc::strong_count(&client), 1, "{serial}");
    }
    assert!(room.thread.strikes.is_off("on.disconnect"));
}

#[test]
fn after_a_memory_kill_the_same_version_starts_anew() {
    let script = "local kept = {}
        function on.load(info) relay.broadcast({info.reload, info.generation, #kept}) end
        function opcodes.fill() while true do kept[#kept + 1] = ('x'):rep(1e6) .. #kept end end
        function opcodes.count(client) client:send(tostring(#kept)) end";
    let mut room = Room::new("memory", script);
    room.decide([connected(1)]);
    let base = room.thread.engine.live_memory();
    let mut took = Vec::new();
    let log = logged(|| took = room.decide([says(1, r#"{"opcode":"fill"}"#)]));
    assert_eq!(took[1], "all < [true,1,0]");
    assert!(log.contains("not enough memory: 67108864 bytes (script.memory_bytes_max)"), "{log}");
    assert!(log.contains("started anew"), "{log}");
    assert!(room.thread.engine.live_memory() < base + 64 * 1024);
    assert_eq!(room.decide([says(1, r#"{"opcode":"count"}"#)]), ["1 next", "1 < 0"]);
    assert_eq!(room.status().generation, 1);
}

#[test]
fn a_memory_kill_names_a_line_of_the_handler() {
    let script = "require('lib')
        local function double(s) while true do s = s .. s end end\n
        function opcodes.join()\n double('xxxxxxxx')\n end
        function opcodes.host() local s, t = ('x'):rep(1e6), {} for i = 1, 99 do t[i] = relay.json.encode({s, i}) end end
        function on.default() relay.after(1, function()\n double('xxxxxxxx')\n end) end";
    let limits = Budgets { memory_bytes_max: 8 * 1024 * 1024, ..budgets() };
    let mut room = Room::within(limits, "memory-line", "function on.default() end");
    let lib = room.file.with_file_name("lib.lua");
    std::fs::write(lib, "\nfunction opcodes.lib() table.create(1e7, 0) end").expect("written");
    assert_eq!(room.save(script).generation, 2);
    room.decide([connected(1), says(1, "{}")]);
    room.clock.advance(Duration::from_secs(1));
    let directory = format!("{}/", room.file.parent().expect("a directory").display());
    let killed = "not enough memory: 8388608 bytes (script.memory_bytes_max)";
    // First the timer, which ends with the VM.
    for (message, line, text) in [
        (None, "opcodes.lua:8", "function on.default()"),
        (Some("join"), "opcodes.lua:4", "function opcodes.join()"),
        (Some("lib"), "lib.lua:2", "function opcodes.lib()"),
    ] {
        let events = message.map(|opcode| says(1, &format!(r#"{{"opcode":"{opcode}"}}"#)));
        let log = logged(|| drop(room.decide(events))).replace(&directory, "");
        let place =
            format!("failed: {line}: {killed}, in a call of the function that begins here\n");
        assert!(log.contains(&place) && log.contains(text), "{log}");
        assert!(log.contains("  | ") && log.contains("^ "), "{log}");
    }
    let log = logged(|| drop(room.decide([says(1, r#"{"opcode":"host"}"#)])));
    let log = log.replace(&directory, "");
    assert!(log.contains(&format!("failed: opcodes.lua:7: {killed}")), "{log}");
    assert!(!log.contains("unavailable"), "{log}");
}

#[test]
fn the_words_of_a_memory_kill_are_none() {
    let script = "local kept, count = {}, 0
        local function fill() while true do kept[#kept + 1] = ('x'):rep(1e6 + #kept) end end
        local function catch(f) local ok, why = pcall(f) error(why, 0) end
        function on.load() count = 0 end
        function opcodes.spoof(client, msg) error(msg.data.text, 0) end
        function opcodes.rethrown() catch(function() table.create(1e8, 0) end) end
        function opcodes.wrapped() coroutine.wrap(function() table.create(1e8, 0) end)() end
        function opcodes.kept() catch(fill) end
        function opcodes.silent() pcall(fill) end
        function opcodes.count(client) count += 1 client:send(tostring(count)) end";
    let mut room = Room::new("memory-words", script);
    room.decide([connected(1)]);
    let said = |opcode: &str| says(1, &format!(r#"{{"opcode":"{opcode}"}}"#));
    let mut count = 0;
    let words = [
        r#"{"opcode":"spoof","text":"not enough memory"}"#,
        r#"{"opcode":"rethrown"}"#,
        r#"{"opcode":"wrapped"}"#,
    ];
    for message in words.into_iter().cycle().take(12) {
        let log = logged(|| drop(room.decide([says(1, message)])));
        assert!(!log.contains("anew") && !log.contains("switched off"), "{log}");
        count += 1;
        assert_eq!(room.decide([said("count")])[1], format!("1 < {count}"));
    }
    // What was caught may still be held: then the VM is of no use, however its handler ended.
    for _ in 0..4 {
        let log = logged(|| drop(room.decide([said("kept")])));
        assert!(log.contains("was started anew") && !log.contains("switched off"), "{log}");
        assert_eq!(room.decide([said("count")])[1], "1 < 1");
    }
    room.decide([said("silent")]);
    let until = Instant::now() + Duration::from_secs(10);
    while room.decide([says(1, r#"{"opcode":"rethrown"}"#), said("count")])[3] != "1 < 1" {
        assert!(Instant::now() < until, "never rescued");
    }
}

/// Bodies are decoded outside of the limit; keeping them must not get around it.
#[test]
fn bodies_that_are_kept_count_as_memory() {
    let script = "local kept = table.create(100, false)
        function on.default(client, msg) kept[msg.data.n] = msg.data client:send('kept') end";
    let limits = Budgets { memory_bytes_max: 2 * 1024 * 1024, ..budgets() };
    let mut room = Room::within(limits, "kept", script);
    room.decide([connected(1)]);
    let mut kept = 0;
    let log = logged(|| {
        for n in 1..=100 {
            let list = vec!["[]"; 2_000].join(",");
            let took = room.decide([says(1, &format!(r#"{{"n":{n},"a":[{list}]}}"#))]);
            if took.last().is_some_and(|last| last == "1 < kept") {
                kept += 1;
            }
        }
    });
    assert!((2..100).contains(&kept), "{kept}");
    assert!(log.contains("not enough memory: 2097152 bytes"), "{log}");
    assert!(log.contains("the script ran out of memory and was started anew"), "{log}");
}

#[test]
fn a_load_has_its_budgets_too() {
    let version = |text: &str| format!("{text} function on.default(c) c:send('x') end");
    let limits = Budgets {
        load_timeout: Duration::from_millis(100),
        memory_bytes_max: 8 * 1024 * 1024,
        ..budgets()
    };
    let mut room = Room::within(limits, "load", &version(""));
    room.decide([connected(1)]);
    for (bad, why) in [
        ("while true do end", ":1: used up its 100 ms (script.load_timeout_ms)"),
        ("pcall(function() while true do end end)", ":1: used up its 100 ms"),
        ("function on.load() while true do end end", ":1: used up its 100 ms"),
        ("local t = table.create(1e7, 0)", "not enough memory: 8388608 bytes"),
    ] {
        let rejected = room.save(&version(bad)).rejected.expect(bad);
        assert!(rejected.contains(why), "{rejected}");
        assert_eq!(room.decide([says(1, "{}")]), ["1 next", "1 < x"]);
    }
}

#[test]
fn actions_and_their_bytes_are_limited() {
    let script = "function opcodes.x(client, msg)
            for i = 1, msg.data.n do client:send('a') end
            if msg.data.more then client:send(tostring(relay.count())) end
        end
        function opcodes.big(client, msg)
            local text = ('x'):rep(1e6)
            for i = 1, msg.data.n do client:send(text) end
        end";
    let limits = Budgets { actions_max: 10, memory_bytes_max: 8_000_000, ..budgets() };
    let mut room = Room::within(limits, "actions", script);
    room.decide([connected(1)]);
    for (message, sent) in [
        (r#"{"opcode":"x","n":10}"#, 10),
        (r#"{"opcode":"x","n":11}"#, 0),
        (r#"{"opcode":"x","n":9,"more":true}"#, 10),
        (r#"{"opcode":"x","n":20}"#, 0),
        (r#"{"opcode":"big","n":8}"#, 8),
        (r#"{"opcode":"big","n":9}"#, 0),
    ] {
        let mut took = Vec::new();
        let log = logged(|| took = room.decide([says(1, message)]));
        if sent > 0 {
            assert_eq!(took.len(), 1 + sent, "{message} {log}");
            continue;
        }
        assert!(took.len() == 2 && took[1].contains("handler_failed"), "{message}");
        let named = log.contains("more than 10 actions in one call (script.actions_max)")
            || log
                .contains("more than 8000000 bytes to send in one call (script.memory_bytes_max)");
        assert!(named, "{log}");
    }
}

#[test]
fn equal_failures_are_one_block_and_a_count() {
    let script = "function opcodes.x() error('no') end function opcodes.y() error('no') end";
    let mut room = Room::new("equal", script);
    room.decide([connected(1)]);
    let mut ids = Vec::new();
    let log = logged(|| {
        for _ in 0..413 {
            let took = room.decide([says(1, r#"{"opcode":"x"}"#)]);
            ids.push(took[1].rsplit('"').nth(1).expect("an id").to_owned());
        }
        room.decide([says(1, r#"{"opcode":"y"}"#)]);
    });
    assert_eq!(log.matches("ERROR").count(), 2, "{log}");
    assert!(ids.iter().all(|id| log.contains(id)), "{log}");
    let log = logged(|| room.thread.sum_up(None));
    assert_eq!(log.matches("again 412 times").count(), 1, "{log}");
    assert!(log.contains(&ids[0]) && log.contains("opcodes.lua:1: no"), "{log}");
    assert_eq!(logged(|| room.thread.sum_up(None)), "");
}

#[test]
fn a_slow_call_is_one_warning() {
    let limits = Budgets { call_warn: Duration::from_millis(5), ..budgets() };
    let script = "function opcodes.x() local t = os.clock() while os.clock() < t + 0.05 do end end
        function on.default() end";
    let mut room = Room::within(limits, "slow", script);
    room.decide([connected(1)]);
    let log = logged(|| {
        for _ in 0..3 {
            room.decide([says(1, r#"{"opcode":"x"}"#)]);
        }
    });
    assert_eq!(log.matches("slow handler").count(), 1, "{log}");
    assert!(log.contains(r#"opcode="x" generation=1 took_ms="#), "{log}");
}

#[test]
fn a_call_that_nothing_stops_is_told() {
    let (tell, told) = sync_channel::<Stuck>(1);
    let limits = Budgets {
        call_timeout: Duration::from_millis(10),
        stuck: Arc::new(move |stuck| tell.send(stuck.clone()).expect("heard")),
        ..budgets()
    };
    let budget = Budget::new(limits).expect("a thread");
    // Longer than the watchdog takes to fall asleep.
    std::thread::sleep(Duration::from_millis(600));
    let start = Instant::now();
    let running = budget.call("x", 7);
    let stuck = told.recv_timeout(Duration::from_secs(10)).expect("told");
    assert_eq!((stuck.what.as_str(), stuck.generation), ("x", 7));
    assert!(start.elapsed() >= Duration::from_millis(200), "{stuck:?}");
    drop(running);
}
