//! Handlers that would never end, or would fill the memory: each is stopped, nothing of it
//! happened, and the next message is handled as if nothing had been.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;

/// What stops a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Time,
    Memory,
    /// A guard or a limit: the handler fails like any other.
    Refused,
    /// More than one of them can be the first.
    Any,
}
use End::{Any, Memory, Refused, Time};

/// The bodies of the handlers, shared with the benchmark of what others notice of them.
const RUNAWAYS: &str = include_str!("../../../../tests/runaways.lua");
/// Tables that are small and their JSON is not.
const JSON: &str = include_str!("../../../../tests/runaways_json.lua");

const DEADLINE: Duration = Duration::from_secs(10);

fn script(code: &str) -> String {
    format!(
        "function opcodes.run(client, msg)\nclient:send('never') relay.broadcast('never')\n\
         client:register('taken')\n;{code}\nend\n\
         function opcodes.ok(client) client:send('ok') end"
    )
}

/// Where something else than the time is to stop it, that must not depend on the machine's speed.
fn room(end: End, code: &str) -> Room {
    let limits = match end {
        Time | Any => Budgets { call_timeout: Duration::from_millis(50), ..budgets() },
        Memory | Refused => budgets(),
    };
    static ROOMS: AtomicUsize = AtomicUsize::new(0);
    let name = format!("runaway-{}", ROOMS.fetch_add(1, Ordering::Relaxed));
    Room::within(limits, &name, &script(code))
}

/// On a busy machine even this may take 50 ms now and then.
fn answers(room: &mut Room) -> bool {
    let until = Instant::now() + DEADLINE;
    loop {
        let took = room.decide([says(1, r#"{"opcode":"ok"}"#)]);
        if took == ["1 next", "1 < ok"] {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
    }
}

/// How long the handler ran, or what is wrong with its end.
fn stops(name: &str, end: End, code: &str) -> Result<Duration, String> {
    let mut room = room(end, code);
    room.decide([connected(1)]);
    let ready = answers(&mut room);
    let base = room.thread.engine.live_memory();
    let start = Instant::now();
    let mut took = Vec::new();
    let block = logged(|| took = room.decide([says(1, r#"{"opcode":"run"}"#)]));
    let lasted = start.elapsed();
    let found = match &block {
        block if block.contains("ms (script.call_timeout_ms)") => Time,
        block if block.contains("not enough memory: 67108864 bytes") => Memory,
        _ => Refused,
    };
    let failed = took.last().is_some_and(|last| last.contains(r#""handler_failed","ref":"run""#));
    let registered = room.thread.hub.borrow().registered();
    let answered = answers(&mut room);
    let memory = room.thread.engine.live_memory();
    for (holds, what) in [
        (ready, "is never ready".to_owned()),
        (lasted < DEADLINE, format!("took {lasted:?}")),
        (took.len() == 2 && failed, format!("caused {took:?}")),
        (end == Any || end == found, format!("ended by {found:?}, not {end:?}: {block}")),
        (found == Memory || block.contains("opcodes.lua:4: "), format!("has no line: {block}")),
        (registered == 0, "left a name behind".to_owned()),
        (answered, "was the last: nothing is handled any more".to_owned()),
        (memory < base + 256 * 1024, format!("left {memory} bytes, {base} before")),
        (room.status().generation == 1, "made a generation".to_owned()),
    ] {
        if !holds {
            return Err(format!("{name} {what}"));
        }
    }
    Ok(lasted)
}

/// Name, end and code of each case in such a file.
fn cases(file: &str) -> impl Iterator<Item = (&str, End, &str)> {
    file.split("\n--- ").skip(1).map(|case| {
        let (head, code) = case.split_once('\n').expect("code below the name");
        let (name, end) = head.rsplit_once(": ").expect("an end behind the name");
        let end = match end {
            "Time" => Time,
            "Memory" => Memory,
            "Refused" => Refused,
            "Any" => Any,
            other => panic!("{name}: {other:?} is no end"),
        };
        (name, end, code)
    })
}

fn all_stop(file: &str, at_least: usize) {
    let (mut times, mut wrong) = (Vec::new(), Vec::new());
    assert!(cases(file).count() >= at_least);
    for (name, end, code) in cases(file) {
        match stops(name, end, code) {
            Ok(time) => times.push((time, name)),
            Err(what) => wrong.push(what),
        }
    }
    times.sort();
    for (time, name) in times.iter().rev().take(10) {
        println!("{:>6.1} ms {name}", time.as_secs_f64() * 1000.0);
    }
    assert!(
        wrong.is_empty(),
        "{}",
        wrong.join(
            "
"
        )
    );
}

#[test]
fn every_runaway_is_stopped_and_the_next_message_is_handled() {
    all_stop(RUNAWAYS, 64);
}

#[test]
fn json_that_is_larger_than_it_looks_is_stopped() {
    all_stop(JSON, 6);
}

#[test]
fn what_peers_send_is_decoded_within_the_budget() {
    let keys: Vec<String> = (0..6_000).map(|n| format!(r#""k{n}":[{{}}]"#)).collect();
    let bodies = [
        format!(r#"{{"opcode":"run","a":[{}]}}"#, vec!["[]"; 15_000].join(",")),
        format!(r#"{{"opcode":"run",{}}}"#, keys.join(",")),
    ];
    for body in bodies {
        let mut room = room(Time, "local x while true do x = relay.json.copy(msg.data) end");
        room.decide([connected(1)]);
        let took = room.decide([says(1, &body)]);
        assert!(took.last().is_some_and(|last| last.contains("handler_failed")), "{took:?}");
        assert!(answers(&mut room));
    }
    let mut room = room(Refused, "local x = msg.data");
    room.decide([connected(1)]);
    let body = format!(r#"{{"opcode":"run","a":"{}"}}"#, "x".repeat(1024 * 1024));
    let block = logged(|| drop(room.decide([says(1, &body)])));
    let expected = "JSON over 1048576 bytes is not decoded (script.decoded_bytes_max)";
    assert!(block.contains(expected), "{block}");
    // Many of them are no kill, which would count against the handler for everybody.
    let body = format!(r#"{{"opcode":"run","a":[{}]}}"#, vec!["[]"; 20_000].join(","));
    let block = logged(|| drop(room.decide([says(1, &body)])));
    let expected = "JSON of more than 20000 values is not decoded (script.decoded_values_max)";
    assert!(block.contains(expected), "{block}");
    for _ in 0..5 {
        let took = room.decide([says(1, &body)]);
        assert!(took.last().is_some_and(|last| last.contains("handler_failed")), "{took:?}");
    }
    assert!(room.thread.strikes.all_on());
}
