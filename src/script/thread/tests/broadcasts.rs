use super::*;
use crate::script::terms::BroadcastLimits;

const SCRIPT: &str = "
    function opcodes.say(client, msg) relay.broadcast(msg) end
    function opcodes.twice(client, msg) relay.broadcast(msg) relay.broadcast(msg) end
    function opcodes.fails(client, msg) relay.broadcast(msg) error('no') end
    function opcodes.room(client, msg) client:join('r') relay.broadcast(msg, {room = 'r'}) end
    function opcodes.tick(client, msg) relay.after(0.01, function() relay.broadcast('t') end) end
    function on.default(client, msg) client:send(msg) end";

fn limited(name: &str, per_second_max: usize, aside_messages_max: usize) -> Room {
    let limits = BroadcastLimits { per_second_max, aside_messages_max, aside_bytes_max: 1_000 };
    let mut room = Room::new(name, SCRIPT);
    room.thread.broadcasts = Broadcasts::new(limits, room.clock.now());
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
    let mut room = limited("broadcasts", 2, 100);
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
    let mut room = limited("broadcasts-others", 1, 100);
    room.decide([say(1, 10)]);
    let took = room.decide([say(1, 11), says(1, r#"{"x":1}"#), says(2, r#"{"x":2}"#)]);
    let aside = |took: &[String]| took.iter().filter(|told| told.contains("aside")).count();
    assert_eq!(aside(&took), 2, "{took:?}");
    assert!(took.ends_with(&["2 next".to_owned(), r#"2 < {"x":2}"#.to_owned()]), "{took:?}");
    let took = room.after(1_000);
    assert_eq!(broadcast(&took), [11]);
    let took = room.after(1_000);
    assert!(took.ends_with(&["1 next".to_owned(), r#"1 < {"x":1}"#.to_owned()]), "{took:?}");
    // It has left the lane.
    let took = room.decide([says(1, r#"{"x":3}"#)]);
    assert_eq!(took, ["1 next", r#"1 < {"x":3}"#]);
}

/// With room beside the queue or without: else those who wait would take all that is in it.
#[test]
fn who_has_to_wait_is_not_read_from_until_all_of_it_is_decided() {
    let mut room = limited("broadcasts-unread", 1, 1);
    room.decide([say(1, 10)]);
    assert_eq!(room.decide([say(2, 20), say(3, 30)]), ["put aside", "3 held true"]);
    assert_eq!(room.after(1_000)[0], "again");
    assert_eq!(room.after(1_000)[0], "3 held false");
}

#[test]
fn its_end_waits_behind_what_a_client_has_sent() {
    let mut room = limited("broadcasts-end", 1, 100);
    room.decide([say(1, 10)]);
    room.decide([say(1, 11), Event::Disconnected { id: id(1), reason: CloseReason::EndOfStream }]);
    assert_eq!(broadcast(&room.after(1_000)), [11]);
    assert!(room.thread.client(id(1)).is_some());
    room.after(1_000);
    assert!(room.thread.client(id(1)).is_none());
}

#[test]
fn all_that_was_broadcast_counts_and_what_was_undone_does_not() {
    let mut room = limited("broadcasts-count", 4, 100);
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
fn room_in_the_queue_is_given_back_up_to_a_bound_and_the_end_waits_for_nothing() {
    let mut room = limited("broadcasts-aside", 1, 2);
    room.decide([say(1, 10)]);
    let took = room.decide([say(1, 11), say(2, 20), say(3, 30)]);
    assert_eq!(took.iter().filter(|told| told.contains("aside")).count(), 2, "{took:?}");
    let back = |took: &[String]| took.iter().filter(|told| told.contains("again")).count();
    assert_eq!(back(&room.after(1_000)), 1);
    room.thread.broadcasts.lift();
    let took = room.decide([say(4, 40)]);
    assert_eq!((broadcast(&took), back(&took)), (vec![20, 30, 40], 1));
}
