use super::*;
use crate::panics::faults::{befall, told as told_by_the_hook};

#[test]
fn a_panic_costs_one_event_and_is_undone() {
    let mut room = Room::new("panic", DEFAULT_SCRIPT);
    room.decide([connected(1)]);
    room.thread.confined(Whom::Nobody, |thread| {
        let client = thread.client(id(1)).expect("connected");
        let mut hub = thread.hub.borrow_mut();
        hub.begin();
        hub.register(&client, "u-1", None).expect("free");
        panic!("on purpose");
    });
    assert_eq!(room.thread.hub.borrow().registered(), 0);
    assert_eq!(room.decide([says(1, r#"{"opcode":"echo"}"#)]).len(), 2);
}

/// As those of the workers: by the hook, with its place and client, and on the page that tells how
/// the relay is.
#[test]
fn a_panic_is_logged_once_and_counted_once() {
    let mut room = Room::new("panic-told", DEFAULT_SCRIPT);
    room.decide([connected(1), connected(2)]);
    befall(Whom::Session(2));
    let log = logged(|| {
        told_by_the_hook(|| drop(room.decide([says(1, "{}"), says(2, "{}"), says(1, "{}")])))
    });
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("bug in relay: a bug that a test has made"), "{log}");
    assert!(log.contains(" session=2 at=src/panics.rs:"), "{log}");
    assert_eq!(room.status().panics, 1);
    // Of whatever generation.
    let status = room.save("function on.default() end");
    assert_eq!((status.generation, status.panics), (2, 1));
}

/// Its connection waits for the end to be decided, and others for its names and its slot.
#[test]
fn a_panic_at_its_end_does_not_keep_a_client_from_ending() {
    let script = "function opcodes.name(client) client:register('page') end
        function on.default(client) client:send(tostring(relay.count())) end";
    let mut room = Room::new("panic-end", script);
    let name_it = r#"{"opcode":"name"}"#;
    room.decide([connected(1), connected(2), says(1, name_it)]);
    befall(Whom::Session(1));
    let gone = Event::Disconnected { id: id(1), reason: CloseReason::EndOfStream };
    assert_eq!(room.decide([gone, says(2, "{}")]), ["1 no next", "2 next", "2 < 0"]);
    assert_eq!((room.status().panics, room.thread.hub.borrow().connected()), (1, 1));
    // Whoever has its slot next has nothing of it.
    let next = SessionId { slot: id(1).slot, ..id(3) };
    let info = ClientInfo { id: next, ..info(3, ClientKind::Web, "/", None) };
    room.decide([Event::Connected(Box::new(info))]);
    let took =
        room.decide([says(2, name_it), Event::Message { from: next, message: message("{}") }]);
    assert_eq!(took, ["2 next", "2 is page", "3 next", "3 < 1"]);
}

/// Where a panic broke a connection off, its slot may be another's before its end is decided.
#[test]
fn the_object_of_a_client_ends_though_its_slot_is_another_s() {
    let script = "local held = setmetatable({}, {__mode = 'k'})
        function opcodes.hold(client) held[client] = true end
        function opcodes.count(client)
          local n = 0
          for _ in held do n += 1 end
          client:send(tostring(n))
        end";
    let mut room = Room::new("panic-slot", script);
    room.decide([connected(1), connected(2), says(1, r#"{"opcode":"hold"}"#)]);
    let next = SessionId { slot: id(1).slot, ..id(3) };
    let info = ClientInfo { id: next, ..info(3, ClientKind::Web, "/", None) };
    let mut held = |event| {
        room.decide([event]);
        room.thread.engine.live_memory();
        room.decide([says(2, r#"{"opcode":"count"}"#)])[1].clone()
    };
    assert_eq!(held(Event::Connected(Box::new(info))), "2 < 1", "its end is still to come");
    let gone = Event::Disconnected { id: id(1), reason: CloseReason::Internal };
    assert_eq!(held(gone), "2 < 0");
}
