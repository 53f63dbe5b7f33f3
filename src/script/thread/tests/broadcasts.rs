use super::*;

const SCRIPT: &str = "
    function opcodes.say(client, msg) relay.broadcast(msg) end
    function opcodes.twice(client, msg) relay.broadcast(msg) relay.broadcast(msg) end
    function opcodes.fails(client, msg) relay.broadcast(msg) error('no') end
    function opcodes.room(client, msg) client:join('r') relay.broadcast(msg, {room = 'r'}) end
    function opcodes.tick(client, msg) relay.after(0.01, function() relay.broadcast('t') end) end
    function on.default(client, msg) client:send(msg) end";

fn limited(name: &str, per_second_max: usize, script: &str) -> Room {
    let mut room = Room::new(name, &[SCRIPT, script].join("\n"));
    room.thread.broadcasts.set_per_second_max(per_second_max, room.clock.now());
    let events = (1..5).map(connected);
    room.decide(events);
    room
}

fn say(serial: u64, n: usize) -> Event {
    says(serial, &format!(r#"{{"opcode":"say","n":{n}}}"#))
}

/// The numbers of what was broadcast.
fn broadcast(took: &[String]) -> Vec<usize> {
    let number = |text: &String| {
        let n = text.strip_prefix("all < ")?.rsplit_once(':')?.1;
        n.trim_end_matches('}').parse().ok()
    };
    took.iter().filter_map(number).collect()
}

impl Room {
    fn after(&mut self, millis: u64) -> Vec<String> {
        self.clock.advance(Duration::from_millis(millis));
        self.decide([])
    }
}

#[test]
fn what_would_broadcast_too_much_waits_for_its_turn() {
    let mut room = limited("broadcasts", 2, "");
    // The burst; whoever it was.
    assert_eq!(broadcast(&room.decide([say(1, 10), say(2, 20)])), [10, 20]);
    let took = room.decide([say(1, 11), say(1, 12), say(2, 21), say(3, 30), say(1, 13)]);
    assert!(broadcast(&took).is_empty());
    // One after the other, and the one with many behind those with few.
    let order: Vec<_> = (0..5).flat_map(|_| broadcast(&room.after(500))).collect();
    assert_eq!(order, [11, 21, 30, 12, 13]);
    assert!(room.thread.broadcasts.due(room.clock.now()).is_none());
    // A second without any saves a second's worth, no more.
    room.after(60_000);
    let took = room.decide([say(1, 14), say(1, 15), say(1, 16)]);
    assert_eq!(broadcast(&took), [14, 15]);
    assert_eq!(broadcast(&room.after(500)), [16]);
}

#[test]
fn nobody_else_waits_and_the_sender_keeps_its_order() {
    let mut room = limited("broadcasts-others", 1, "");
    room.decide([say(1, 10)]);
    let took = room.decide([say(1, 11), says(1, r#"{"x":1}"#), says(2, r#"{"x":2}"#)]);
    assert_eq!(took[..2], ["aside 23", "aside 7"]);
    assert!(took.ends_with(&["2 next".to_owned(), r#"2 < {"x":2}"#.to_owned()]), "{took:?}");
    let took = room.after(1_000);
    assert_eq!(broadcast(&took), [11]);
    let took = room.after(1_000);
    assert!(took.ends_with(&["1 next".to_owned(), r#"1 < {"x":1}"#.to_owned()]), "{took:?}");
    // It has left the lane.
    let took = room.decide([says(1, r#"{"x":3}"#)]);
    assert_eq!(took, ["1 next", r#"1 < {"x":3}"#]);
}

fn gone(serial: u64) -> Event {
    Event::Disconnected { id: id(serial), reason: CloseReason::EndOfStream }
}

/// It has no names any more, but what it said is decided, answers included, and its end behind that.
#[test]
fn its_end_waits_behind_what_a_client_has_sent_and_its_names_do_not() {
    let name = "function opcodes.name(client) client:send(tostring(client:register('page'))) end
        function opcodes.of(client) client:send(client.uuid .. tostring(client:join('r'))) end
        function opcodes.but(client, msg) relay.broadcast(msg, {except = client}) end
        function on.disconnect(client) relay.broadcast({gone = client.uuid}) end";
    let (name_it, of) = (r#"{"opcode":"name"}"#, r#"{"opcode":"of"}"#);
    let mut room = limited("broadcasts-end", 1, name);
    room.decide([says(1, name_it), say(1, 10)]);
    let took = room.decide([
        say(1, 11),
        says(1, name_it),
        says(1, of),
        says(1, r#"{"opcode":"but"}"#),
        gone(1),
        says(2, name_it),
        says(3, name_it),
    ]);
    let names = ["2 next", "2 is page", "2 < true", "3 no next", "2 asked", "3 < false"];
    assert_eq!(took[5..], names);
    assert_eq!(broadcast(&room.after(1_000)), [11]);
    // Never again a name of its own, and it is not counted.
    let took = room.after(1_000);
    let answers = took.iter().filter(|told| told.starts_with("1 < ")).collect::<Vec<_>>();
    assert_eq!(answers, ["1 < false", "1 < pagefalse"], "{took:?}");
    assert!(took.contains(&r#"all but 1 < {"opcode":"but"}"#.to_owned()), "{took:?}");
    assert!(room.thread.client(id(1)).is_some());
    let took = room.after(1_000);
    assert!(took.contains(&r#"all < {"gone":"page"}"#.to_owned()), "{took:?}");
    assert!(room.thread.client(id(1)).is_none());
    assert_eq!(room.thread.hub.borrow().registered(), 1);
}

#[test]
fn a_departed_client_that_is_closed_takes_no_name_from_anybody() {
    let script = "function opcodes.name(client) client:register('page') end
        function opcodes.quits(client) client:close() end
        function opcodes.fails(client) client:close() error('no') end";
    let name_it = r#"{"opcode":"name"}"#;
    for (last, ignored) in [("quits", true), ("fails", false)] {
        let mut room = limited(&format!("broadcasts-{last}"), 1, script);
        room.decide([says(1, name_it), say(1, 10)]);
        let last = format!(r#"{{"opcode":"{last}"}}"#);
        room.decide([say(1, 11), says(1, &last), say(1, 12), gone(1), says(2, name_it)]);
        let heard = [room.after(1_000), room.after(1_000), room.after(1_000)];
        assert_eq!(heard.iter().any(|took| broadcast(took) == [12]), !ignored, "{heard:?}");
        let hub = room.thread.hub.borrow();
        assert!(hub.client(id(1)).is_none());
        let holder = hub.find(crate::hub::Address::Uuid("page")).map(|client| client.id());
        assert_eq!((holder, hub.registered()), (Some(id(2)), 1));
    }
}

/// In all; what a few large ones take is not missed by the others.
#[test]
fn whose_messages_take_the_most_of_too_much_is_closed_and_they_are_dropped() {
    let mut room = limited("broadcasts-most", 1, "");
    room.thread.terms.aside_bytes_max = 10_000;
    room.decide([say(1, 10)]);
    let large = format!(r#"{{"opcode":"say","x":"{}","n":20}}"#, "x".repeat(4_000));
    let events = || [say(1, 11), says(2, &large), says(2, &large), say(3, 30)];
    assert!(room.decide(events()).iter().all(|told| told.starts_with("aside ")));
    let took = room.decide([says(2, &large), gone(3)]);
    let closed = "2 closed 1008 too much of it waits for limits.broadcasts_per_second_max";
    assert!(took.iter().any(|told| told == closed), "{took:?}");
    assert_eq!(took.iter().filter(|told| *told == "2 no next").count(), 3, "{took:?}");
    assert_eq!(broadcast(&room.after(1_000)), [11]);
    assert_eq!(broadcast(&room.after(1_000)), [30]);
    room.after(1_000);
    // Whoever is alone there has a bound of its own.
    room.thread.terms.aside_bytes_max = 1;
    assert_eq!(broadcast(&room.decide([say(4, 40), say(4, 41)])), [40]);
    assert_eq!(broadcast(&room.after(1_000)), [41]);
}

#[test]
fn who_is_closed_for_too_much_that_waits_is_told_once_a_minute() {
    let mut room = limited("broadcasts-told", 1, "");
    room.thread.terms.aside_bytes_max = 1;
    room.decide([say(1, 10)]);
    let closed = |room: &mut Room| {
        let log = logged(|| drop(room.decide((1..5).map(|serial| say(serial, 1)))));
        let lines = log.lines().filter(|line| line.contains("closed the clients with the most"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let lines = closed(&mut room);
    assert!(matches!(&*lines, [line] if line.contains(" closed=3")), "{lines:?}");
    assert_eq!(
        CloseReason::TooMuchWaiting.level(),
        tracing::Level::DEBUG,
        "not once more for each"
    );
    // Counted, and told when it is time.
    room.decide((5..9).map(connected));
    let more = logged(|| drop(room.decide((5..9).map(|serial| say(serial, 2)))));
    assert!(!more.contains("WARN"), "{more}");
    let later = logged(|| drop(room.after(60_000)));
    assert!(later.contains(" closed=4"), "{later}");
}

#[test]
fn all_that_was_broadcast_counts_and_what_was_undone_does_not() {
    let mut room = limited("broadcasts-count", 4, "");
    let (twice, fails) = (r#"{"opcode":"twice","n":1}"#, r#"{"opcode":"fails"}"#);
    let (in_room, tick) = (r#"{"opcode":"room"}"#, r#"{"opcode":"tick"}"#);
    room.decide([say(1, 1), says(2, twice), says(1, fails), says(1, fails), says(3, tick)]);
    room.after(10);
    // Four: one, two and the timer's. The room's is known only by what it does.
    room.decide([says(4, in_room)]);
    assert!(broadcast(&room.decide([say(1, 2), says(2, twice)])).is_empty());
    // That one is paid first.
    assert!(broadcast(&room.after(250)).is_empty());
    assert_eq!(broadcast(&room.after(250)), [2]);
    assert_eq!(broadcast(&room.after(250)), [1, 1]);
}

#[test]
fn the_end_of_the_relay_waits_for_nothing() {
    let mut room = limited("broadcasts-lifted", 1, "");
    room.decide([say(1, 10)]);
    room.decide([say(1, 11), say(2, 20), say(3, 30)]);
    room.thread.broadcasts.lift();
    assert_eq!(broadcast(&room.decide([say(4, 40)])), [11, 20, 30, 40]);
}

#[test]
fn a_reload_on_the_way_to_the_end_limits_nothing() {
    let mut room = limited("broadcasts-reloaded", 1, "");
    room.decide([say(1, 10)]);
    room.decide([say(1, 11)]);
    room.thread.broadcasts.lift();
    let terms = Terms { broadcasts_per_second_max: 2, ..room.thread.terms.clone() };
    room.thread.reload(Reload { terms: Some(Box::new(terms)), asked: None });
    assert_eq!(room.thread.terms.broadcasts_per_second_max, 2);
    assert_eq!(broadcast(&room.decide((20..25).map(|n| say(2, n)))), [11, 20, 21, 22, 23, 24]);
}
