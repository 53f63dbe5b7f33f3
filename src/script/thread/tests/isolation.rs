//! What one client or timer that takes its time costs the others.

use super::*;

#[test]
fn who_sends_what_takes_long_waits_behind_the_others() {
    let script = "function opcodes.long(client, msg)
          local t = os.clock() while os.clock() < t + 0.004 do end
          client:send('long ' .. msg.data.n)
        end
        function opcodes.ok(client) client:send('ok') end";
    let mut room = Room::in_real_time("lane", script);
    room.decide([connected(1), connected(2)]);
    let mut events: Vec<Event> =
        (0..60).map(|n| says(1, &format!(r#"{{"opcode":"long","n":{n}}}"#))).collect();
    events.push(Event::Disconnected { id: id(1), reason: CloseReason::EndOfStream });
    events.push(says(2, r#"{"opcode":"ok"}"#));
    let took = room.decide(events);
    let answers: Vec<&str> =
        took.iter().filter_map(|line| line.split_once(" < ")).map(|(_, text)| text).collect();
    let ok = answers.iter().position(|answer| *answer == "ok").expect("answered");
    assert!(ok < 20, "answered behind {ok} others");
    // Its own order stays, up to its end.
    let long: Vec<String> = (0..60).map(|n| format!("long {n}")).collect();
    let longs: Vec<&str> = answers.into_iter().filter(|answer| *answer != "ok").collect();
    assert_eq!(longs, long);
    assert_eq!(room.thread.hub.borrow().connected(), 1);
}

#[test]
fn a_long_message_waits_behind_short_ones_before_it_took_long() {
    let script = "function on.default(client, msg) client:send('' .. msg.size) end";
    let mut room = Room::new("heavy", script);
    room.decide((1..=9).map(connected));
    let heavy = format!(r#"{{"opcode":"a","a":"{}"}}"#, "x".repeat(8 * 1024));
    let mut events: Vec<Event> = (1..9).map(|serial| says(serial, &heavy)).collect();
    events.push(says(9, r#"{"opcode":"a"}"#));
    events.push(says(1, r#"{"opcode":"a"}"#));
    let took = room.decide(events);
    let answers: Vec<&String> = took.iter().filter(|line| line.contains(" < ")).collect();
    let (size, short) = (heavy.len(), r#"{"opcode":"a"}"#.len());
    assert_eq!(*answers[0], format!("9 < {short}"));
    // In their order, and each client in its own.
    let others = (1..9).map(|serial| format!("{serial} < {size}")).collect::<Vec<_>>();
    assert_eq!(answers[1..9], others.iter().collect::<Vec<_>>());
    assert_eq!(*answers[9], format!("1 < {short}"));
}

/// Some 2 ms of a turn, but one event at least, and no more time than the others while there are any.
#[test]
fn the_lane_has_its_time_and_then_the_others_have_theirs() {
    let script = "function opcodes.long(client)
          local t = os.clock() while os.clock() < t + 0.02 do end
          client:send('long')
        end
        function opcodes.ok(client) client:send('ok') end";
    let mut room = Room::in_real_time("lane-time", script);
    room.decide((1..=9).map(connected));
    room.empty_lane();
    room.thread.lane.put(id(1));
    let turn = |room: &mut Room, events: Vec<Event>| {
        room.thread.decide_all(&mut events.into());
        let took = room.took().concat();
        took.into_iter().filter(|line| line.contains(" < ")).collect::<Vec<_>>()
    };
    let longs = (0..9).map(|_| says(1, r#"{"opcode":"long"}"#));
    assert!(turn(&mut room, longs.collect()).is_empty());
    // Each of another client: on a busy machine it may take long, too.
    let ok = |serial| vec![says(serial, r#"{"opcode":"ok"}"#)];
    assert_eq!(turn(&mut room, ok(2)), ["1 < long", "2 < ok"]);
    // Nobody is kept waiting by what it owes then.
    assert_eq!(turn(&mut room, Vec::new()), ["1 < long"]);
    assert!(room.thread.lane_owes >= Duration::from_millis(20));
    // More than the others can take on a busy machine.
    room.thread.lane_owes = Duration::from_secs(60);
    assert_eq!(turn(&mut room, ok(3)), ["3 < ok"]);
    // The time of the others counts against it.
    room.thread.lane_owes = Duration::from_nanos(1);
    assert_eq!(turn(&mut room, ok(4)), ["4 < ok"]);
    assert_eq!(turn(&mut room, ok(5)), ["1 < long", "5 < ok"]);
}

#[test]
fn timers_that_take_long_let_messages_come_between() {
    let script = "function opcodes.ok(client) client:send('ok') end
        function on.load()
          for _ = 1, 9 do
            relay.every(1, function()
              local t = os.clock() while os.clock() < t + 0.004 do end
              relay.broadcast('tick')
            end)
          end
        end";
    let mut room = Room::within(budgets(), "timers-long", script);
    room.decide([connected(1)]);
    room.clock.advance(Duration::from_secs(1));
    let took = room.decide([says(1, r#"{"opcode":"ok"}"#)]);
    let ticks = took.iter().filter(|took| *took == "all < tick").count();
    assert!((1..9).contains(&ticks), "{ticks} of 9 timers before the message: {took:?}");
    assert_eq!(took.last().map(String::as_str), Some("1 < ok"));
}

#[test]
fn a_timer_that_runs_away_ends_no_other() {
    let script = "local calls = 0
        function opcodes.calls(client) client:send(tostring(calls)) end
        function on.load()
          relay.every(0.01, function() calls += 1 while true do end end)
          relay.every(0.01, function() relay.broadcast('tick') end)
        end";
    let limits = Budgets { call_timeout: Duration::from_millis(50), ..budgets() };
    let mut room = Room::within(limits, "timer-strikes", script);
    let mut took = Vec::new();
    for _ in 0..6 {
        room.clock.advance(Duration::from_millis(10));
        took.extend(room.decide([]));
        took.extend(room.decide([]));
    }
    assert_eq!(took, ["all < tick"; 6]);
    assert!(room.thread.strikes.is_off(&format!("timer at {}:4", room.file.display())));
    room.decide([connected(1)]);
    assert_eq!(room.decide([says(1, r#"{"opcode":"calls"}"#)]), ["1 next", "1 < 3"]);
}
