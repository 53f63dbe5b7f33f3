use super::*;

#[test]
fn a_panic_costs_one_event_and_is_undone() {
    let mut room = Room::new("panic", DEFAULT_SCRIPT);
    room.decide([connected(1)]);
    room.thread.confined(|thread| {
        let client = thread.client(id(1)).expect("connected");
        let mut hub = thread.hub.borrow_mut();
        hub.begin();
        hub.register(&client, "u-1", None).expect("free");
        panic!("on purpose");
    });
    assert_eq!(room.thread.hub.borrow().registered(), 0);
    assert_eq!(room.decide([says(1, r#"{"opcode":"echo"}"#)]).len(), 2);
}
