use std::time::{Duration, Instant};

use super::*;

/// A room, and the time it started with: its clock stands.
fn room(name: &str, script: &str) -> (Room, Instant) {
    let room = Room::new(name, script);
    let start = room.clock.now();
    (room, start)
}

impl Room {
    fn at(&mut self, time: Instant) -> Vec<String> {
        self.clock.advance(time - self.clock.now());
        self.decide([])
    }
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn timers_are_handlers_of_their_own() {
    let script = "local ticks = 0
        function opcodes.start(client)
          relay.after(0.01, function() relay.broadcast('once') end)
          local every
          every = relay.every(0.02, function()
            ticks += 1
            relay.broadcast('tick ' .. ticks)
            if ticks == 3 then assert(every:cancel() and not every:cancel()) end
            if ticks == 2 then error('no') end
          end)
        end
        function opcodes.fail() relay.after(0.01, function() relay.broadcast('never') end) error('x') end";
    let (mut room, start) = room("timers", script);
    room.decide([connected(1), says(1, r#"{"opcode":"start"}"#), says(1, r#"{"opcode":"fail"}"#)]);
    assert_eq!(room.at(start + 9 * MS), [""; 0]);
    assert_eq!(room.at(start + 10 * MS), ["all < once"]);
    assert_eq!(room.at(start + 20 * MS), ["all < tick 1"]);
    // One that fails has sent nothing, is one block in the log, and goes on.
    let mut took = Vec::new();
    let block = logged(|| took = room.at(start + 40 * MS));
    assert_eq!(took, [""; 0]);
    assert!(block.contains(r#"opcode="timer" generation=1"#), "{block}");
    assert!(block.contains("opcodes.lua:9: no") && block.contains("at "), "{block}");
    assert_eq!(room.at(start + 200 * MS), ["all < tick 3"]);
    assert_eq!(room.thread.engine.next_timer(), None);
}

#[test]
fn timers_end_with_their_generation() {
    let version = |text: &str| {
        format!(
            "function on.default() end
            function on.load() relay.every(0.01, function() relay.broadcast('{text}') end) end"
        )
    };
    let (mut room, start) = room("timers-reload", &version("one"));
    room.save(&format!("{} error('x')", version("bad")));
    room.save(
        "function on.default() end function on.load() relay.after(0.01, print) error('x') end",
    );
    assert_eq!(room.at(start + 20 * MS), ["all < one"]);
    room.save(&version("two"));
    assert_eq!(room.status().generation, 2);
    assert_eq!(room.at(start + 40 * MS), ["all < two"]);
}

#[test]
fn timers_have_limits() {
    let script = "function opcodes.many() for _ = 1, 4 do relay.after(1, print) end end
        function opcodes.short() relay.every(0.0005, print) end
        function opcodes.nan() relay.after(0/0, print) end
        function opcodes.none() relay.after(1) end
        function opcodes.wrong() relay.after(1, print).stop() end";
    let (mut room, _) = room("timers-limits", script);
    room.decide([connected(1)]);
    for (opcode, problem) in [
        ("many", "relay.after: 3 timers run (script.timers_max)"),
        ("short", "relay.every: seconds must be 0.001 to 31536000 seconds, not 0.0005"),
        ("nan", "not NaN"),
        ("none", "relay.after: expected a function to call, not a nil"),
        ("wrong", "timer has no field 'stop'"),
    ] {
        let message = format!(r#"{{"opcode":"{opcode}"}}"#);
        let block = logged(|| drop(room.decide([says(1, &message)])));
        assert!(block.contains(problem), "{block}");
    }
    assert_eq!(room.thread.engine.next_timer(), None);
}

#[test]
fn many_timers_and_messages_take_turns() {
    let script = "function opcodes.x() relay.broadcast('message') end
        function on.load() relay.every(0.001, function() relay.broadcast('timer') end) end";
    let (mut room, _) = room("timers-turns", script);
    room.clock.advance(Duration::from_secs(1));
    room.decide([connected(1)]);
    room.clock.advance(Duration::from_secs(1));
    let took = room.decide((0..100).map(|_| says(1, r#"{"opcode":"x"}"#)));
    let timers = took.iter().filter(|took| *took == "all < timer").count();
    assert_eq!((took[0].as_str(), timers, took.len()), ("all < timer", 1, 201));
}
